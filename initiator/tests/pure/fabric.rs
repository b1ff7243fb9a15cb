//! A target in the same thread: real channels and the real SCSI core on a model disk, a model NIC, and the initiator's
//! memory as plain bytes.

use std::sync::Arc;

use initiator::machine::{
    ChannelNumber, Command, Event, LoginOptions, Machine, RequestId, SubmitError, TaskFunction,
};
use iobuf::{Arena, Buf, Pool, RemoteSegment};
use target_core::Target;
use target_core::backend::{
    BlockCompletion, BlockError, BlockErrorKind, BlockOperation, BlockRequest, MediumId,
};
use target_core::command::{ChannelId, TaskManagement, TaskManagementFunction};
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use target_core::lun::Lun;
use target_core::port::{Channel as _, ChannelEvent, CloseReason, Transmit};
use target_core::target::{MapEntry, Next, NexusId, TargetLimits, TransportId};
use transport_srp::wire::login::MultichannelResult;
use transport_srp::{Carrier, Channel, LoginPolicy, RecvLayout, TargetPortId, recv_layout};

pub(crate) const BLOCK: usize = 512;
pub(crate) const BLOCKS: usize = 4096;
pub(crate) const LUN: Lun = Lun([0, 5, 0, 0, 0, 0, 0, 0]);
/// Where the initiator's memory begins, by what it tells the target.
pub(crate) const MEMORY_AT: u64 = 0x7000_0000;
const KEY: u32 = 0x1234;
const MEMORY_BYTES: usize = 1 << 20;
/// The channel of the other initiator, of which nothing is seen.
const OTHER_CHANNEL: ChannelId = ChannelId(99);
const MEDIUM: MediumId = MediumId(1);

pub(crate) const TARGET_PORT: TargetPortId = TargetPortId {
    id_ext: 0x11,
    ioc_guid: 0x22,
};

pub(crate) fn policy() -> LoginPolicy {
    LoginPolicy {
        request_limit: 8,
        ..LoginPolicy::new(TARGET_PORT)
    }
}

pub(crate) struct Fabric {
    pub(crate) machine: Machine,
    pub(crate) channels: Vec<Channel>,
    pub(crate) target: Target,
    nexus: NexusId,
    other: NexusId,
    pub(crate) memory: Vec<u8>,
    pub(crate) disk: Vec<u8>,
    /// The disk does nothing until this is false.
    pub(crate) is_disk_held: bool,
    held: Vec<BlockRequest>,
    /// Why channels ended at the target.
    pub(crate) target_closes: Vec<CloseReason>,
    pools: Pools,
}

struct Pools {
    receives: Pool,
    layout: RecvLayout,
    data: Pool,
    messages: Pool,
    tables: Pool,
}

impl Pools {
    fn new(max_it_iu_len: u32) -> Self {
        let arena = Arena::new(8 << 20).expect("map");
        let layout = recv_layout(max_it_iu_len);
        Self {
            receives: Pool::slots(&arena, 4 << 20..6 << 20, layout.slot_len),
            layout,
            data: Pool::buddy(&arena, 0..4 << 20, 1 << 20),
            messages: Pool::slots(&arena, 6 << 20..(6 << 20) + (64 << 10), 256),
            tables: Pool::buddy(&arena, 7 << 20..8 << 20, 64 << 10),
        }
    }
}

fn logical_unit() -> LogicalUnit {
    let identity = Identity {
        name: "model".into(),
        serial: "0001".into(),
        naa: [0x60; 16],
        vendor: *b"MODEL   ",
        product: *b"DISK            ",
        revision: *b"0001",
    };
    let geometry = Geometry {
        block_size: BLOCK as u32,
        physical_block_exponent: 0,
        max_transfer_bytes: 1 << 20,
        unmap_granularity_bytes: 0,
        rotational: false,
        thin: false,
    };
    LogicalUnit::new(identity, geometry, BLOCKS as u64)
}

pub(crate) fn options() -> LoginOptions {
    LoginOptions::new(TARGET_PORT, 0x33)
}

impl Fabric {
    /// Logs in on this many channels, and leaves the unit attentions to the test.
    pub(crate) fn new(policy: LoginPolicy, options: LoginOptions, channels: u16) -> Self {
        let pools = Pools::new(policy.max_it_iu_len);
        let mut target = Target::new(TargetLimits { tasks: 64 }, pools.data.clone());
        let lu = target.lu_add(Arc::new(logical_unit()), MEDIUM);
        let [nexus, other] = [1, 2].map(|n| {
            let initiator_port_id = [n; 16];
            let nexus = target.nexus_open(TransportId::Srp { initiator_port_id });
            let entry = MapEntry {
                number: 5,
                lu,
                read_only: false,
            };
            target.nexus_set_map(nexus, &[entry]);
            nexus
        });
        let mut fabric = Self {
            machine: Machine::new(options, channels),
            channels: Vec::new(),
            target,
            nexus,
            other,
            memory: vec![0; MEMORY_BYTES],
            disk: vec![0; BLOCKS * BLOCK],
            is_disk_held: false,
            held: Vec::new(),
            target_closes: Vec::new(),
            pools,
        };
        for channel in 0..channels {
            fabric.log_in(&policy, ChannelNumber(channel));
        }
        fabric
    }

    fn log_in(&mut self, policy: &LoginPolicy, channel: ChannelNumber) {
        let carrier = [Carrier::RdmaCm, Carrier::IbCm][usize::from(channel.0 % 2)];
        let request = self.machine.login_request(channel, carrier);
        let request = policy.examine(&request, carrier, None).expect("granted");
        let (negotiated, response) = policy.accept(&request, MultichannelResult::NO_CHAN);
        let (messages, tables) = (self.pools.messages.clone(), self.pools.tables.clone());
        let id = ChannelId(channel.0.into());
        self.channels
            .push(Channel::new(id, negotiated, messages, tables));
        let granted = self.machine.handle_accepted(channel, &response);
        assert_eq!(
            granted.expect("a login response").request_limit,
            policy.request_limit
        );
    }

    /// A piece of the initiator's memory.
    pub(crate) fn segment(at: usize, length: usize) -> RemoteSegment {
        assert!(at + length <= MEMORY_BYTES);
        RemoteSegment {
            address: MEMORY_AT + at as u64,
            key: KEY,
            length: length as u32,
        }
    }

    pub(crate) fn submit(
        &mut self,
        channel: u16,
        command: &Command<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        let channel = ChannelNumber(channel);
        let mut out = vec![0xee; 16 << 10];
        let (id, len) = self
            .machine
            .submit(channel, command, deadline_ms, &mut out)?;
        self.deliver(channel, &out[..len]);
        Ok(id)
    }

    pub(crate) fn manage(&mut self, function: TaskFunction) -> Result<RequestId, SubmitError> {
        let mut out = [0; 64];
        let (id, channel, len) =
            self.machine
                .task_management(ChannelNumber(0), function, None, &mut out)?;
        self.deliver(channel, &out[..len]);
        Ok(id)
    }

    /// A logical unit reset by another initiator.
    pub(crate) fn other_initiator_resets(&mut self) {
        let request = TaskManagement {
            channel: OTHER_CHANNEL,
            exchange: target_core::command::ExchangeId(0),
            lun: LUN,
            function: TaskManagementFunction::LogicalUnitReset,
        };
        self.target.task_management(self.other, request);
        self.run();
    }

    /// Bytes of the initiator reach a channel of the target.
    pub(crate) fn deliver(&mut self, channel: ChannelNumber, bytes: &[u8]) {
        let layout = self.pools.layout;
        let mut buf = self.pools.receives.take(layout.slot_len).expect("a slot");
        assert!(buf.set_window(layout.window_start, bytes.len()));
        buf.copy_from_slice(bytes);
        self.channels[usize::from(channel.0)].handle_recv(buf, 0);
        self.run();
    }

    /// Lets the disk do what it held back.
    pub(crate) fn release_disk(&mut self) {
        self.is_disk_held = false;
        for request in std::mem::take(&mut self.held) {
            let completion = self.perform(request);
            self.target.complete(completion);
        }
        self.run();
    }

    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.machine.poll_event()).collect()
    }

    /// Nothing runs at the target, and nothing is outstanding here.
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.machine.outstanding(), 0);
        assert!(self.target.is_idle(), "{:?}", self.target.counters());
        assert_eq!(self.pools.data.level().in_use_bytes, 0);
        assert_eq!(self.pools.receives.level().in_use_bytes, 0);
        assert_eq!(self.pools.messages.level().in_use_bytes, 0);
        for (number, channel) in self.channels.iter().enumerate() {
            assert_eq!(channel.exchanges_in_use(), 0, "channel {number}");
        }
    }

    /// Everything happens that can happen.
    pub(crate) fn run(&mut self) {
        loop {
            let mut moved = self.run_target();
            for place in 0..self.channels.len() {
                moved |= self.run_events(place);
                moved |= self.run_transmits(place);
            }
            let mut reply = [0; 64];
            while let Some((channel, len)) = self.machine.poll_transmit(&mut reply) {
                self.deliver(channel, &reply[..len]);
            }
            if !moved {
                return;
            }
        }
    }

    fn run_target(&mut self) -> bool {
        let mut moved = false;
        while let Some(next) = self.target.poll_next() {
            moved = true;
            match next {
                Next::Execute(request) if self.is_disk_held => self.held.push(request),
                Next::Execute(request) => {
                    let completion = self.perform(request);
                    self.target.complete(completion);
                }
                Next::Cancel(task) => self.cancel(task),
                Next::PullDataOut {
                    channel,
                    exchange,
                    task,
                    offset,
                    buf,
                } => self
                    .channel(channel)
                    .pull_data_out(exchange, task, offset, buf),
                Next::StopDataOut { channel, exchange } => {
                    self.channel(channel).stop_data_out(exchange);
                }
                Next::Done {
                    channel,
                    exchange,
                    outcome,
                    ..
                } => self.channel(channel).handle_outcome(exchange, outcome),
                Next::Aborted { channel, exchange } => {
                    self.channel(channel).handle_aborted(exchange);
                }
                Next::TaskManagementDone {
                    channel: OTHER_CHANNEL,
                    ..
                } => {}
                Next::TaskManagementDone {
                    channel,
                    exchange,
                    response,
                    ..
                } => self
                    .channel(channel)
                    .handle_task_management(exchange, response),
            }
        }
        moved
    }

    fn channel(&mut self, id: ChannelId) -> &mut Channel {
        &mut self.channels[id.0 as usize]
    }

    fn run_events(&mut self, place: usize) -> bool {
        let mut moved = false;
        while let Some(event) = self.channels[place].poll_event() {
            moved = true;
            match event {
                ChannelEvent::Command(command) => self.target.submit(self.nexus, command),
                ChannelEvent::TaskManagement(request) => {
                    self.target.task_management(self.nexus, request);
                }
                ChannelEvent::DataOut { task, buf } => self.target.data_out_ready(task, buf),
                ChannelEvent::DataOutLost { task } => self.target.data_out_lost(task),
                ChannelEvent::Transport => panic!("SRP has no question of its own"),
                ChannelEvent::Close(reason) => {
                    self.target_closes.push(reason);
                    let id = ChannelId(place as u32);
                    self.target.channel_close(self.nexus, id);
                }
            }
        }
        moved
    }

    fn run_transmits(&mut self, place: usize) -> bool {
        let mut moved = false;
        while let Some(transmit) = self.channels[place].poll_transmit() {
            moved = true;
            match transmit {
                Transmit::Respond {
                    data,
                    segments,
                    message,
                    ..
                } => {
                    let data = data.as_deref().unwrap_or(&[]);
                    scatter(&mut self.memory, segments, data);
                    let number = ChannelNumber(place as u16);
                    self.machine.handle_message(number, &message);
                }
                Transmit::Stream { .. } => panic!("SRP has no byte stream"),
                Transmit::Pull {
                    exchange,
                    mut buf,
                    segments,
                } => {
                    gather(&self.memory, segments, &mut buf);
                    self.channels[place].handle_pulled(exchange, buf);
                }
            }
        }
        moved
    }

    fn perform(&mut self, request: BlockRequest) -> BlockCompletion {
        let place = |offset: u64, len: usize| offset as usize..offset as usize + len;
        let buf = match request.operation {
            BlockOperation::Read { offset, mut buf } => {
                let place = place(offset, buf.len());
                buf.copy_from_slice(&self.disk[place]);
                Some(buf)
            }
            BlockOperation::Write { offset, buf, .. } => {
                self.disk[place(offset, buf.len())].copy_from_slice(&buf);
                Some(buf)
            }
            _ => None,
        };
        BlockCompletion {
            task: request.task,
            buf,
            result: Ok(()),
        }
    }

    fn cancel(&mut self, task: target_core::backend::TaskId) {
        let place = self.held.iter().position(|request| request.task == task);
        let request = self.held.remove(place.expect("a held operation"));
        let buf = match request.operation {
            BlockOperation::Read { buf, .. } | BlockOperation::Write { buf, .. } => Some(buf),
            _ => None,
        };
        let error = BlockError {
            kind: BlockErrorKind::Cancelled,
            offset: 0,
            errno: 0,
        };
        self.target.complete(BlockCompletion {
            task,
            buf,
            result: Err(error),
        });
    }
}

/// Bytes of the initiator's memory, as the target names them.
fn ranges(segments: &[RemoteSegment]) -> impl Iterator<Item = std::ops::Range<usize>> {
    segments.iter().map(|segment| {
        assert_eq!(segment.key, KEY, "a key that the initiator never gave");
        let at = (segment.address - MEMORY_AT) as usize;
        at..at + segment.length as usize
    })
}

fn scatter(memory: &mut [u8], segments: &[RemoteSegment], mut data: &[u8]) {
    for range in ranges(segments) {
        let (now, later) = data.split_at(data.len().min(range.len()));
        memory[range.start..range.start + now.len()].copy_from_slice(now);
        data = later;
    }
    assert!(data.is_empty(), "segments are too short");
}

fn gather(memory: &[u8], segments: &[RemoteSegment], buf: &mut Buf) {
    let bytes: Vec<u8> = ranges(segments)
        .flat_map(|range| &memory[range])
        .copied()
        .collect();
    buf.copy_from_slice(&bytes);
}
