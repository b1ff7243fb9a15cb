//! Both ends of connections over one device, in one thread.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use iobuf::{Arena, Buf, Pool};
use rdma::*;

const MIB: usize = 1 << 20;

/// Nothing here takes longer, unless it hangs.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) const RECEIVES: u32 = 63;
pub(crate) const RECEIVE_BYTES: usize = 1024;

/// Everything of one device that a worker has, and a listener.
pub(crate) struct Bed {
    pub(crate) fabric: Fabric,
    /// Another fabric that moves while this one waits.
    pub(crate) beside: Option<Fabric>,
    pub(crate) channel: EventChannel,
    pub(crate) listener: Listener,
    pub(crate) device: Device,
    pub(crate) domain: ProtectionDomain,
    pub(crate) cq_channel: CompletionChannel,
    pub(crate) cq: CompletionQueue,
    pub(crate) srq: SharedReceiveQueue,
    pub(crate) pool: Pool,
    pub(crate) received: VecDeque<Received>,
    pub(crate) address: SocketAddr,
    receive_pool: Pool,
    _region: MemoryRegion,
    _alone: Option<MutexGuard<'static, ()>>,
}

/// One end of a connection.
pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) qp: QueuePair,
    pub(crate) completed: Vec<Completed>,
}

impl End {
    pub(crate) fn new(connection: Connection, qp: QueuePair) -> Self {
        let completed = Vec::new();
        Self {
            connection,
            qp,
            completed,
        }
    }

    pub(crate) fn failures(&self) -> usize {
        let failed = |c: &&Completed| matches!(c, Completed::Failed { .. });
        self.completed.iter().filter(failed).count()
    }
}

impl Bed {
    pub(crate) fn new(
        fabric: Fabric,
        name: &str,
        ip: IpAddr,
        alone: Option<MutexGuard<'static, ()>>,
    ) -> Self {
        let channel = EventChannel::new(&fabric).expect("event channel");
        let any_port = ListenAddress::Ip(SocketAddr::new(ip, 0));
        let listener = Listener::bind(&channel, &any_port, 128).expect("listener");
        let address = listener.local_address().expect("bound");
        let device = Device::open(&fabric, name).expect("device");
        let domain = ProtectionDomain::new(&device).expect("domain");
        let arena: Arc<Arena> = Arena::new(64 * MIB).expect("arena");
        let region = MemoryRegion::register(&domain, &arena).expect("region");
        let cq_channel = CompletionChannel::new(&device).expect("channel");
        let cq = CompletionQueue::new(&device, RECEIVES, Some(&cq_channel)).expect("cq");
        let srq = SharedReceiveQueue::new(&domain, RECEIVES).expect("srq");
        let mut bed = Self {
            fabric,
            beside: None,
            channel,
            listener,
            device,
            domain,
            cq_channel,
            cq,
            srq,
            pool: Pool::buddy(&arena, 0..62 * MIB, 16 * MIB),
            received: VecDeque::new(),
            address,
            receive_pool: Pool::slots(&arena, 62 * MIB..64 * MIB, RECEIVE_BYTES),
            _region: region,
            _alone: alone,
        };
        bed.post_receives();
        bed
    }

    pub(crate) fn post_receives(&mut self) {
        while self.srq.room() > 0 {
            let buf = self.receive_pool.take(RECEIVE_BYTES).expect("room");
            self.srq.post(buf).expect("post");
        }
        self.srq.flush().expect("flush");
    }

    pub(crate) fn buf(&self, bytes: &[u8]) -> Buf {
        let mut buf = self.pool.take(bytes.len()).expect("room");
        buf.copy_from_slice(bytes);
        buf
    }

    pub(crate) fn expose(&self, len: usize) -> ExposedRegion {
        let buf = self.pool.take(len).expect("room");
        let mut region = ExposedRegion::new(&self.domain, buf).expect("exposed");
        assert!(region.write(0, &vec![0; len]));
        region
    }

    pub(crate) fn queue_pair(&self, remote_access: bool) -> QueuePair {
        let config = QueuePairConfig {
            remote_access,
            ..QueuePairConfig::default()
        };
        QueuePair::new(&self.domain, &self.cq, &self.cq, &self.srq, config).expect("queue pair")
    }

    /// The next event of the connection manager.
    pub(crate) fn event(&self) -> CmEvent {
        let start = Instant::now();
        loop {
            if let Some(event) = self.channel.next_event().expect("event") {
                return event;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "no event of the connection manager"
            );
            self.wait(self.channel.fd());
        }
    }

    /// Begins a connection. Returns it with its queue pair, and the request as the listener sees it.
    pub(crate) fn request(&self, private_data: &[u8]) -> (End, Box<ConnectRequest>) {
        let initiator = self.connecting(self.address, private_data);
        match self.event() {
            CmEvent::ConnectRequest(request) => (initiator, request),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn connecting(&self, address: SocketAddr, private_data: &[u8]) -> End {
        let connection = Connection::resolve(&self.channel, None, address, 2000).expect("resolve");
        match self.event() {
            CmEvent::AddressResolved(id) => assert_eq!(id, connection.id()),
            other => panic!("{other:?}"),
        }
        connection.resolve_route(2000).expect("route");
        match self.event() {
            CmEvent::RouteResolved(id) => assert_eq!(id, connection.id()),
            other => panic!("{other:?}"),
        }
        let mut qp = self.queue_pair(true);
        let parameters = ConnectParameters {
            private_data,
            responder_resources: 4,
            initiator_depth: 4,
            retry_count: 7,
            rnr_retry_count: 7,
        };
        connection.connect(&mut qp, &parameters).expect("connect");
        End::new(connection, qp)
    }

    /// Accepts, and completes the connection on both sides. Returns the target's end and what it told the
    /// initiator.
    pub(crate) fn accept(
        &self,
        initiator: &mut End,
        request: ConnectRequest,
        private_data: &[u8],
    ) -> (End, Vec<u8>) {
        let mut qp = self.queue_pair(false);
        let parameters = AcceptParameters {
            private_data,
            responder_resources: request.responder_resources,
            initiator_depth: request.initiator_depth,
            rnr_retry_count: 7,
        };
        let connection = request.connection;
        connection.accept(&mut qp, &parameters).expect("accept");
        let told = match self.event() {
            CmEvent::Accepted {
                id, private_data, ..
            } if id == initiator.connection.id() => private_data,
            other => panic!("{other:?}"),
        };
        initiator
            .connection
            .establish(&mut initiator.qp)
            .expect("establish");
        match self.event() {
            CmEvent::Established(id) => assert_eq!(id, connection.id()),
            other => panic!("{other:?}"),
        }
        (End::new(connection, qp), told)
    }

    /// An established connection: initiator and target.
    pub(crate) fn connected(&self) -> (End, End) {
        let (mut initiator, request) = self.request(b"hello");
        let (target, _) = self.accept(&mut initiator, *request, b"welcome");
        (initiator, target)
    }

    /// Posts and handles completions until `done`.
    pub(crate) fn run(&mut self, ends: &mut [&mut End], done: impl Fn(&Self, &[&mut End]) -> bool) {
        let start = Instant::now();
        while !done(self, ends) {
            assert!(start.elapsed() < DEADLINE, "the work does not end");
            for end in ends.iter_mut().filter(|end| !end.qp.has_failed()) {
                end.qp.flush().expect("flush");
            }
            if self.reap(ends) == 0 {
                self.cq.arm().expect("arm");
                if self.reap(ends) == 0 {
                    self.wait(self.cq_channel.fd());
                }
                while self.cq_channel.next_event().expect("event").is_some() {}
            }
        }
    }

    /// Handles the completions that have come.
    pub(crate) fn reap(&mut self, ends: &mut [&mut End]) -> usize {
        let mut batch = [WorkCompletion::default(); 32];
        let got = self.cq.poll(&mut batch).expect("poll");
        for completion in &batch[..got] {
            if completion.kind == WorkKind::Receive {
                let received = self.srq.take(completion).expect("a posted receive");
                self.received.push_back(received);
                continue;
            }
            for end in ends.iter_mut() {
                if end.qp.number() == completion.queue_pair {
                    end.qp.handle_completion(completion);
                    let ended = std::iter::from_fn(|| end.qp.poll_completed());
                    end.completed.extend(ended);
                }
            }
        }
        got
    }

    /// Ends a connection as a driver does: say goodbye, flush, wait until the NIC has given all back, drop.
    pub(crate) fn disconnect(&mut self, mut initiator: End, mut target: End) {
        target.connection.disconnect().expect("disconnect");
        match self.event() {
            CmEvent::Disconnected(id) => assert_eq!(id, initiator.connection.id()),
            other => panic!("{other:?}"),
        }
        initiator.connection.disconnect().expect("disconnect");
        match self.event() {
            CmEvent::Disconnected(id) => assert_eq!(id, target.connection.id()),
            other => panic!("{other:?}"),
        }
        initiator.qp.to_error().expect("error state");
        target.qp.to_error().expect("error state");
        self.run(&mut [&mut initiator, &mut target], |_, ends| {
            ends.iter().all(|end| end.qp.is_drained())
        });
    }

    /// Waits a moment for the descriptor, or moves the packets of a fabric that has none.
    pub(crate) fn wait(&self, fd: Option<BorrowedFd<'_>>) {
        let moment = Duration::from_millis(100);
        let Some(beside) = &self.beside else {
            return self.fabric.wait(&[fd], moment).expect("wait");
        };
        self.fabric.wait(&[fd], Duration::ZERO).expect("wait");
        beside.wait(&[], Duration::from_millis(1)).expect("wait");
    }

    /// Waits for an event of the device that `wanted` names.
    pub(crate) fn device_event(&self, wanted: DeviceEvent) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            match self.device.next_event().expect("device event") {
                Some(event) if event == wanted => return true,
                Some(_) => {}
                None => self.wait(self.device.event_fd()),
            }
        }
        false
    }
}
