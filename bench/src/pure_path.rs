//! A worker's loop without a NIC and without a medium.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Result, ensure};
use iobuf::Buf;
use target_core::backend::{BlockCompletion, BlockOperation, BlockRequest, MediumId};
use target_core::command::ExchangeId;
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};
use target_core::port::{ChannelEvent, Transmit};
use target_core::target::{MapEntry, Next, NexusId, Target, TargetLimits, TransportId};

use crate::end::{DebugChannel, End, Ends, MOST_OUTSTANDING, ends};
use crate::job::{DATA_BYTES, Job};

/// One channel of one nexus with one logical unit, and the same command again and again.
#[derive(Debug)]
pub struct PurePath {
    target: Target,
    channel: Box<dyn DebugChannel>,
    end: Box<dyn End>,
    nexus: NexusId,
    /// What the initiator has sent.
    arrived: VecDeque<Buf>,
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
        let Ends { data, channel, end } = ends(job)?;
        let mut target = Target::new(TargetLimits { tasks: 1024 }, data);
        let nexus = nexus(&mut target, end.transport_id());
        let most = MOST_OUTSTANDING as usize;
        let mut path = Self {
            target,
            channel,
            end,
            nexus,
            arrived: VecDeque::with_capacity(most),
            done: VecDeque::with_capacity(most),
            pulled: VecDeque::with_capacity(most),
            good: 0,
            moved_bytes: 0,
        };
        // The first command of a nexus is told of the power on.
        path.turn(1)?;
        ensure!(path.good == 0, "the power on was not reported");
        path.run(1, 1)?;
        Ok(path)
    }

    /// Bytes of commands' data that went to the initiator, came from it, or came with commands.
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

    /// Turns of the loop: so many commands arrive and are answered.
    fn turn(&mut self, commands: u64) -> Result<()> {
        ensure!(
            commands <= u64::from(MOST_OUTSTANDING),
            "more commands at a time than the initiator may have open, {MOST_OUTSTANDING}"
        );
        self.end.send(commands, &mut self.arrived);
        while !(self.arrived.is_empty() && self.pulled.is_empty()) {
            while let Some(message) = self.arrived.pop_front() {
                self.channel.handle_recv(message, 0);
                self.handle_channel_events();
            }
            while let Some((exchange, buf)) = self.pulled.pop_front() {
                self.channel.handle_pulled(exchange, buf);
                self.handle_channel_events();
            }
            self.settle();
            self.transmit();
        }
        Ok(())
    }

    fn handle_channel_events(&mut self) {
        while let Some(event) = self.channel.poll_event() {
            match event {
                ChannelEvent::Command(command) => {
                    let immediate = command.immediate.as_deref().map_or(0, <[u8]>::len);
                    self.moved_bytes += immediate as u64;
                    self.target.submit(self.nexus, command);
                }
                ChannelEvent::DataOut { task, buf } => {
                    self.moved_bytes += buf.len() as u64;
                    self.target.data_out_ready(task, buf);
                }
                ChannelEvent::DataOutLost { task } => self.target.data_out_lost(task),
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
            } => {
                self.channel.pull_data_out(exchange, task, offset, buf);
                self.handle_channel_events();
            }
            Next::Done {
                exchange, outcome, ..
            } => {
                self.channel.handle_outcome(exchange, outcome);
                self.handle_channel_events();
            }
            // Nothing is ever aborted here.
            Next::StopDataOut { .. }
            | Next::Cancel(_)
            | Next::Aborted { .. }
            | Next::TaskManagementDone { .. } => {}
        }
    }

    /// Drops what would be posted, as its completion would.
    fn transmit(&mut self) {
        while let Some(transmit) = self.channel.poll_transmit() {
            self.good += self.end.receive(&transmit, &mut self.arrived);
            match transmit {
                Transmit::Respond { data, .. } | Transmit::Stream { data, .. } => {
                    self.moved_bytes += data.as_deref().map_or(0, <[u8]>::len) as u64;
                }
                Transmit::Pull { exchange, buf, .. } => self.pulled.push_back((exchange, buf)),
            }
        }
    }
}

/// A back end that is done at once and keeps nothing.
fn done(request: BlockRequest) -> BlockCompletion {
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
fn nexus(target: &mut Target, transport_id: TransportId) -> NexusId {
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
    let nexus = target.nexus_open(transport_id);
    let entry = MapEntry {
        number: 0,
        lu,
        read_only: false,
    };
    target.nexus_set_map(nexus, &[entry]);
    nexus
}
