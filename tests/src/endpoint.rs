//! One end of an RDMA connection over either provider: plain SENDs, RDMA WRITEs and RDMA READs, many at a time. What
//! is on the other end is another program, or the same one over the other provider.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use iobuf::{Arena, Buf, Pool, RemoteSegment};
use rdma::{
    AcceptParameters, CmEvent, Completed, CompletionChannel, CompletionQueue, ConnectParameters,
    ConnectRequest, Connection, Device, EventChannel, ExposedRegion, Fabric, ListenAddress,
    Listener, MemoryRegion, ProtectionDomain, QueuePair, QueuePairConfig, SharedReceiveQueue,
    WorkCompletion, WorkKind,
};

const MIB: usize = 1 << 20;
/// Nothing takes longer, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest message that can be received.
pub const MESSAGE_BYTES: usize = MIB;
const RECEIVES: u32 = 15;
/// Requests to connect that nobody has looked at.
const BACKLOG: u32 = 8;
/// RDMA READs at a time, in each direction.
const READS: u8 = 8;
const DATA_BYTES: usize = 64 * MIB;
const RECEIVES_END: usize = DATA_BYTES + RECEIVES as usize * MESSAGE_BYTES;

/// One end of an established connection.
#[derive(Debug)]
pub struct Endpoint {
    connection: Connection,
    qp: QueuePair,
    received: VecDeque<Vec<u8>>,
    pulled: VecDeque<Buf>,
    /// Operations that have not ended.
    outstanding: usize,
    is_over: bool,
    objects: Objects,
    way: Way,
}

/// What a connection is made on.
#[derive(Debug)]
struct Way {
    fabric: Fabric,
    channel: EventChannel,
}

/// What a connection is made of.
#[derive(Debug)]
struct Objects {
    events: CompletionChannel,
    cq: CompletionQueue,
    srq: SharedReceiveQueue,
    data: Pool,
    receives: Pool,
    domain: ProtectionDomain,
    _region: MemoryRegion,
}

/// Somewhere to connect to.
#[derive(Debug)]
pub struct Waiting {
    listener: Listener,
    way: Way,
}

impl Waiting {
    /// Listens.
    ///
    /// # Panics
    ///
    /// The address cannot be had.
    pub fn on(fabric: &Fabric, address: SocketAddr) -> Self {
        let way = Way::new(fabric);
        let listener = Listener::bind(&way.channel, &ListenAddress::Ip(address), BACKLOG);
        Self {
            listener: listener.unwrap_or_else(|error| panic!("listening on {address}: {error}")),
            way,
        }
    }

    /// Accepts the next connection, and listens no more.
    ///
    /// # Panics
    ///
    /// Nobody comes.
    pub fn accept(self) -> Endpoint {
        let Self { listener, way } = self;
        let ConnectRequest {
            connection,
            initiator_depth,
            responder_resources,
            ..
        } = match way.event() {
            CmEvent::ConnectRequest(request) => *request,
            other => panic!("{other:?}"),
        };
        let objects = Objects::new(&connection.open_device().expect("device"));
        let mut qp = objects.queue_pair();
        let parameters = AcceptParameters {
            private_data: b"",
            responder_resources,
            initiator_depth,
            rnr_retry_count: 7,
        };
        connection.accept(&mut qp, &parameters).expect("accept");
        match way.event() {
            CmEvent::Established(id) => assert_eq!(id, connection.id()),
            other => panic!("{other:?}"),
        }
        drop(listener);
        Endpoint::new(connection, qp, objects, way)
    }
}

impl Way {
    fn new(fabric: &Fabric) -> Self {
        Self {
            fabric: fabric.clone(),
            channel: EventChannel::new(fabric).expect("an event channel"),
        }
    }

    #[track_caller]
    fn event(&self) -> CmEvent {
        let limit = Instant::now() + PATIENCE;
        loop {
            if let Some(event) = self.channel.next_event().expect("an event") {
                return event;
            }
            assert!(Instant::now() < limit, "nothing happens");
            let fd = self.channel.fd();
            let moment = Duration::from_millis(100);
            self.fabric.wait(&[fd], moment).expect("waiting");
        }
    }
}

impl Objects {
    fn new(device: &Device) -> Self {
        let domain = ProtectionDomain::new(device).expect("a domain");
        let arena = Arena::new(RECEIVES_END).expect("memory");
        let events = CompletionChannel::new(device).expect("a channel");
        let objects = Self {
            cq: CompletionQueue::new(device, RECEIVES, Some(&events)).expect("a queue"),
            srq: SharedReceiveQueue::new(&domain, RECEIVES).expect("a queue"),
            data: Pool::buddy(&arena, 0..DATA_BYTES, 16 * MIB),
            receives: Pool::slots(&arena, DATA_BYTES..RECEIVES_END, MESSAGE_BYTES),
            _region: MemoryRegion::register(&domain, &arena).expect("a region"),
            events,
            domain,
        };
        objects.post_receives();
        objects
    }

    fn post_receives(&self) {
        while self.srq.room() > 0 {
            let Some(buf) = self.receives.take(MESSAGE_BYTES) else {
                break;
            };
            self.srq.post(buf).expect("a receive");
        }
        self.srq.flush().expect("the receives");
    }

    fn queue_pair(&self) -> QueuePair {
        let config = QueuePairConfig {
            remote_access: true,
            ..QueuePairConfig::default()
        };
        QueuePair::new(&self.domain, &self.cq, &self.cq, &self.srq, config).expect("a queue pair")
    }
}

impl Endpoint {
    /// Connects; `None` when nobody listens yet.
    ///
    /// # Panics
    ///
    /// There is no way to the destination, or no answer.
    pub fn connect(fabric: &Fabric, destination: SocketAddr) -> Option<Self> {
        const STEP_MS: u32 = 10_000;
        let way = Way::new(fabric);
        let connection = Connection::resolve(&way.channel, None, destination, STEP_MS);
        let connection = connection.expect("a way");
        match way.event() {
            CmEvent::AddressResolved(_) => {}
            other => panic!("{other:?}"),
        }
        connection.resolve_route(STEP_MS).expect("a route");
        match way.event() {
            CmEvent::RouteResolved(_) => {}
            other => panic!("{other:?}"),
        }
        let objects = Objects::new(&connection.open_device().expect("device"));
        let mut qp = objects.queue_pair();
        let parameters = ConnectParameters {
            private_data: b"",
            responder_resources: READS,
            initiator_depth: READS,
            retry_count: 7,
            rnr_retry_count: 7,
        };
        connection.connect(&mut qp, &parameters).expect("a request");
        match way.event() {
            CmEvent::Accepted { .. } => connection.establish(&mut qp).expect("a connection"),
            CmEvent::Rejected { .. } => return None,
            other => panic!("{other:?}"),
        }
        Some(Self::new(connection, qp, objects, way))
    }

    fn new(connection: Connection, qp: QueuePair, objects: Objects, way: Way) -> Self {
        Self {
            connection,
            qp,
            received: VecDeque::new(),
            pulled: VecDeque::new(),
            outstanding: 0,
            is_over: false,
            objects,
            way,
        }
    }

    /// Memory that the peer may read and write, with these bytes.
    pub fn expose(&self, bytes: &[u8]) -> ExposedRegion {
        let buf = self.objects.data.take(bytes.len()).expect("memory");
        let mut region = ExposedRegion::new(&self.objects.domain, buf).expect("a key");
        assert!(region.write(0, bytes));
        region
    }

    /// Begins a SEND.
    ///
    /// # Panics
    ///
    /// There is no room for it.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.write(None, bytes);
    }

    /// Begins an RDMA WRITE, if there is one to be made, and then a SEND of `message`.
    ///
    /// # Panics
    ///
    /// There is no room for it.
    #[track_caller]
    pub fn write(&mut self, data: Option<(&[u8], RemoteSegment)>, message: &[u8]) {
        let message = self.buf(message);
        let (data, segment) = data.unzip();
        let data = data.map(|bytes| self.buf(bytes));
        let queued = self
            .qp
            .queue_respond(data, segment.as_slice(), message, None);
        queued.expect("room");
        self.outstanding += 1;
    }

    /// Begins an RDMA READ of the segment; [`Endpoint::pulled`] gives what it brought.
    ///
    /// # Panics
    ///
    /// There is no room for it.
    #[track_caller]
    pub fn read(&mut self, segment: RemoteSegment) {
        let buf = self.objects.data.take(segment.length as usize);
        let queued = self.qp.queue_pull(0, buf.expect("memory"), &[segment]);
        queued.expect("room");
        self.outstanding += 1;
    }

    /// The next message; `None` when the peer has ended the connection.
    ///
    /// # Panics
    ///
    /// It does not come, or an operation failed before the end of the connection.
    #[track_caller]
    pub fn message(&mut self) -> Option<Vec<u8>> {
        self.run_until(|end| !end.received.is_empty() || end.is_over);
        self.received.pop_front()
    }

    /// What the next RDMA READ in order brought.
    ///
    /// # Panics
    ///
    /// An operation fails.
    #[track_caller]
    pub fn pulled(&mut self) -> Vec<u8> {
        self.run_until(|end| !end.pulled.is_empty());
        let buf = self.pulled.pop_front();
        buf.map_or_else(Vec::new, |buf| buf.to_vec())
    }

    /// Waits until everything that was begun has ended.
    ///
    /// # Panics
    ///
    /// An operation fails.
    #[track_caller]
    pub fn settle(&mut self) {
        self.run_until(|end| end.outstanding == 0);
    }

    /// Ends the connection, or agrees to its end, and goes on for a moment so that the peer hears of it.
    pub fn close(mut self) {
        // The peer may have ended it first.
        let _ = self.connection.disconnect();
        let limit = Instant::now() + Duration::from_secs(5);
        while !self.is_over && Instant::now() < limit {
            self.turn();
        }
        for _ in 0..10 {
            self.turn();
        }
    }

    fn buf(&self, bytes: &[u8]) -> Buf {
        let mut buf = self.objects.data.take(bytes.len()).expect("memory");
        buf.copy_from_slice(bytes);
        buf
    }

    #[track_caller]
    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        let limit = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < limit, "the peer does not go on");
            assert!(!self.is_over, "the peer has gone");
            self.turn();
        }
    }

    /// Posts what is queued, takes what has come, and waits for a moment when nothing has.
    fn turn(&mut self) {
        if !self.qp.has_failed() {
            self.qp.flush().expect("a working queue pair");
        }
        if self.reap() > 0 {
            return;
        }
        self.objects.cq.arm().expect("a working queue");
        if self.reap() == 0 {
            let fds = [self.objects.events.fd(), self.way.channel.fd()];
            let moment = Duration::from_millis(20);
            self.way.fabric.wait(&fds, moment).expect("waiting");
        }
        while self
            .objects
            .events
            .next_event()
            .expect("an event")
            .is_some()
        {}
        while let Some(event) = self.way.channel.next_event().expect("an event") {
            if matches!(event, CmEvent::Disconnected(_)) {
                // The peer's last message may have come just before.
                while self.reap() > 0 {}
                self.is_over = true;
            }
        }
    }

    fn reap(&mut self) -> usize {
        let mut batch = [WorkCompletion::default(); 32];
        let got = self.objects.cq.poll(&mut batch).expect("a working queue");
        for completion in &batch[..got] {
            match completion.kind {
                WorkKind::Receive => self.receive(completion),
                WorkKind::Send => {
                    self.qp.handle_completion(completion);
                    self.take_completed();
                }
            }
        }
        self.objects.post_receives();
        got
    }

    fn receive(&mut self, completion: &WorkCompletion) {
        let received = self.objects.srq.take(completion).expect("a posted receive");
        if received.status.is_success() {
            self.received.push_back(received.buf.to_vec());
        }
    }

    fn take_completed(&mut self) {
        while let Some(completed) = self.qp.poll_completed() {
            self.outstanding -= 1;
            match completed {
                Completed::Sent => {}
                Completed::Pulled { buf, .. } => self.pulled.push_back(buf),
                failed @ Completed::Failed { .. } => panic!("{failed:?}"),
            }
        }
    }
}
