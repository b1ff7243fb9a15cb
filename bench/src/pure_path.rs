//! A worker's loop without a NIC and without a medium.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Result, ensure};
use iobuf::{Arena, Buf, Pool};
use target_core::backend::{BlockCompletion, BlockOperation, BlockRequest, MediumId};
use target_core::command::{ChannelId, ExchangeId};
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use target_core::port::{Channel as _, ChannelEvent, Transmit};
use target_core::status::Status;
use target_core::target::{MapEntry, Next, NexusId, Target, TargetLimits, TransportId};
use transport_srp::layout::{DEFAULT_MAX_IT_IU_LEN, LINUX_IMM_DATA_OFFSET};
use transport_srp::{Channel, Negotiated, RecvLayout, recv_layout};

use crate::canned::{DATA_BYTES, Job};

const LAYOUT: RecvLayout = recv_layout(DEFAULT_MAX_IT_IU_LEN);
/// Commands that the initiator may have open.
const REQUEST_LIMIT: u32 = 128;
/// Where the status stands in an SRP_RSP (SRP r16a 6.9).
const RSP_STATUS_OFFSET: usize = 19;

/// One channel of one nexus with one logical unit, and the same command again and again.
#[derive(Debug)]
pub struct PurePath {
    target: Target,
    channel: Channel,
    nexus: NexusId,
    receive: Pool,
    message: Vec<u8>,
    /// What the back end has done.
    done: VecDeque<BlockCompletion>,
    /// What the NIC has fetched.
    pulled: VecDeque<(ExchangeId, Buf)>,
    /// Commands that were answered with GOOD.
    good: u64,
    moved_bytes: u64,
}

impl PurePath {
    /// A path for commands of this kind, whose unit attention has been reported already.
    ///
    /// # Errors
    /// There is no memory for the buffers, or the command is not answered: then the path itself is wrong.
    pub fn new(job: Job) -> Result<Self> {
        let data = 0..16 << 20;
        let receive = data.end..data.end + REQUEST_LIMIT as usize * LAYOUT.slot_len;
        let messages = receive.end..receive.end + REQUEST_LIMIT as usize * 256;
        let arena = Arena::new(messages.end)?;
        let data = Pool::buddy(&arena, data, 1 << 20);
        let login = Negotiated {
            request_limit: REQUEST_LIMIT,
            max_it_iu_len: DEFAULT_MAX_IT_IU_LEN,
            imm_data_offset: Some(LINUX_IMM_DATA_OFFSET),
        };
        let messages = Pool::slots(&arena, messages, 256);
        let mut target = Target::new(TargetLimits { tasks: 1024 }, data.clone());
        let initiator = TransportId::Srp {
            initiator_port_id: [7; 16],
        };
        let nexus = nexus(&mut target, initiator);
        let mut path = Self {
            target,
            channel: Channel::new(ChannelId(0), login, messages, data),
            nexus,
            receive: Pool::slots(&arena, receive, LAYOUT.slot_len),
            message: job.message()?,
            done: VecDeque::with_capacity(REQUEST_LIMIT as usize),
            pulled: VecDeque::with_capacity(REQUEST_LIMIT as usize),
            good: 0,
            moved_bytes: 0,
        };
        // The first command of a nexus is told of the power on.
        path.turn(1)?;
        ensure!(path.good == 0, "the power on was not reported");
        path.run(1, 1)?;
        Ok(path)
    }

    /// Bytes of commands' data that went to the initiator's memory, came from it, or came with commands.
    pub fn moved_bytes(&self) -> u64 {
        self.moved_bytes
    }

    /// Does `commands` commands, of which `depth` arrive at a time.
    ///
    /// # Errors
    /// A command was not answered with GOOD.
    pub fn run(&mut self, commands: u64, depth: u64) -> Result<()> {
        let expected = self.good + commands;
        let mut left = commands;
        while left > 0 {
            let batch = left.min(depth);
            self.turn(batch)?;
            left -= batch;
        }
        ensure!(
            self.good == expected,
            "{expected} commands were to be answered with GOOD, {} were",
            self.good
        );
        Ok(())
    }

    /// One turn of the loop: so many commands arrive and are answered.
    fn turn(&mut self, commands: u64) -> Result<()> {
        for _ in 0..commands {
            let Some(message) = self.arrived() else {
                anyhow::bail!("more commands at a time than the request limit, {REQUEST_LIMIT}");
            };
            self.channel.handle_recv(message, 0);
            self.handle_channel_events();
        }
        self.settle();
        self.transmit();
        while let Some((exchange, buf)) = self.pulled.pop_front() {
            self.channel.handle_pulled(exchange, buf);
            self.handle_channel_events();
        }
        self.settle();
        self.transmit();
        Ok(())
    }

    /// The command in a receive buffer, as the NIC writes it.
    fn arrived(&mut self) -> Option<Buf> {
        let mut message = self.receive.take(LAYOUT.slot_len)?;
        let fits = message.set_window(LAYOUT.window_start, self.message.len());
        debug_assert!(fits, "the layout is for messages of this length");
        // Writing data is the NIC's work, not the path's.
        let head = self.message.len().min(usize::from(LINUX_IMM_DATA_OFFSET));
        message[..head].copy_from_slice(&self.message[..head]);
        Some(message)
    }

    fn handle_channel_events(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            match event {
                ChannelEvent::Command(command) => {
                    let immediate = command.immediate.as_deref().map_or(0, <[u8]>::len);
                    self.moved_bytes += immediate as u64;
                    self.target.submit(self.nexus, command);
                }
                ChannelEvent::DataOut { task, buf } => self.target.data_out_ready(task, buf),
                ChannelEvent::DataOutLost { task } => self.target.data_out_lost(task),
                ChannelEvent::Recycle(buf) => drop(buf),
                // None of them comes from the canned messages; a path that made one would answer no command.
                ChannelEvent::TaskManagement(_)
                | ChannelEvent::Close(_)
                | ChannelEvent::Transport => {}
            }
        }
    }

    fn settle(&mut self) {
        loop {
            let mut quiet = true;
            while let Some(completion) = self.done.pop_front() {
                self.target.complete(completion);
                quiet = false;
            }
            while let Some(next) = self.target.poll_next() {
                self.carry_out(next);
                quiet = false;
            }
            if quiet {
                return;
            }
        }
    }

    fn carry_out(&mut self, next: Next) {
        match next {
            Next::Execute(request) => self.done.push_back(done(request)),
            Next::PullDataOut {
                exchange,
                task,
                offset,
                buf,
                ..
            } => self.channel.pull_data_out(exchange, task, offset, buf),
            Next::Done {
                exchange, outcome, ..
            } => self.channel.handle_outcome(exchange, outcome),
            // Nothing is ever aborted here.
            Next::StopDataOut { .. }
            | Next::Cancel(_)
            | Next::Aborted { .. }
            | Next::TaskManagementDone { .. } => {}
        }
        self.handle_channel_events();
    }

    /// Drops what would be posted, as its completion would.
    fn transmit(&mut self) {
        while let Some(transmit) = self.channel.poll_transmit() {
            match transmit {
                Transmit::Respond { data, message, .. } => {
                    self.good += u64::from(message[RSP_STATUS_OFFSET] == Status::GOOD.0);
                    self.moved_bytes += data.as_deref().map_or(0, <[u8]>::len) as u64;
                }
                // SRP has no byte stream.
                Transmit::Stream { .. } => {}
                Transmit::Pull { exchange, buf, .. } => {
                    self.moved_bytes += buf.len() as u64;
                    self.pulled.push_back((exchange, buf));
                }
            }
        }
    }
}

/// A back end that is done at once and keeps nothing.
pub(crate) fn done(request: BlockRequest) -> BlockCompletion {
    let buf = match request.operation {
        BlockOperation::Read { buf, .. } | BlockOperation::Write { buf, .. } => Some(buf),
        BlockOperation::Flush
        | BlockOperation::Unmap { .. }
        | BlockOperation::WriteZeroes { .. } => None,
    };
    BlockCompletion {
        task: request.task,
        buf,
        result: Ok(()),
    }
}

/// A nexus that sees one logical unit of 1 MiB.
pub(crate) fn nexus(target: &mut Target, initiator: TransportId) -> NexusId {
    let identity = Identity {
        name: "bench".to_owned(),
        serial: "bench".to_owned(),
        naa: [0x60; 16],
        vendor: *b"SRPTGT  ",
        product: *b"bench           ",
        revision: *b"1   ",
    };
    let geometry = Geometry {
        block_size: 512,
        physical_block_exponent: 3,
        max_transfer_bytes: 1 << 20,
        unmap_granularity_bytes: DATA_BYTES,
        rotational: false,
        thin: false,
    };
    let unit = Arc::new(LogicalUnit::new(identity, geometry, 2048));
    let lu = target.lu_add(unit, MediumId(0));
    let nexus = target.nexus_open(initiator);
    let entry = MapEntry {
        number: 0,
        lu,
        read_only: false,
    };
    target.nexus_set_map(nexus, &[entry]);
    nexus
}
