//! A worker's loop over iSCSI on a byte stream, without sockets and without a medium.

use std::collections::VecDeque;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use iobuf::{Arena, Pool};
use target_core::backend::BlockCompletion;
use target_core::command::ChannelId;
use target_core::lun::Lun;
use target_core::port::{Channel as _, ChannelEvent, Part, Piece, Transmit};
use target_core::status::Status;
use target_core::target::{Next, NexusId, Target, TargetLimits, TransportId};
use transport_iser::Sn;
use transport_iser::connection::{Connection, Settings};
use transport_iser::login::{Datamover, Digest, Identity, LoginLimits, Negotiated, SessionType};
use transport_iser::pdu::scsi_command::AttributeCode;
use transport_iser::pdu::{BHS_BYTES, Bhs, DataIn, DataOut, R2t, ScsiCommand, ScsiResponse};

use crate::canned::{DATA_BYTES, READ_16, WRITE_16, cdb};
use crate::pure_path::{done, nexus};

/// Bytes that come at a time, and how many such chunks there are.
const CHUNK_BYTES: usize = 32 << 10;
const CHUNKS: usize = 16;

/// One kind of command, 4 KiB each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamJob {
    /// READ(16).
    Read,
    /// WRITE(16) whose data come with the command.
    WriteImmediate,
    /// WRITE(16) whose data are asked for by R2T.
    WriteSolicited,
}

impl StreamJob {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Read, Self::WriteImmediate, Self::WriteSolicited];

    /// The header of the command.
    fn command(self, tag: u32, cmd_sn: Sn) -> ScsiCommand {
        let read = self == Self::Read;
        ScsiCommand {
            is_final: true,
            read,
            write: !read,
            attribute: AttributeCode::SIMPLE,
            lun: Lun::peripheral(0),
            initiator_task_tag: tag,
            expected_data_transfer_length: DATA_BYTES,
            cmd_sn,
            cdb: cdb(if read { READ_16 } else { WRITE_16 }),
            ..ScsiCommand::default()
        }
    }
}

/// One connection of one nexus with one logical unit, and the same command again and again.
#[derive(Debug)]
pub struct StreamPath {
    job: StreamJob,
    target: Target,
    connection: Connection,
    nexus: NexusId,
    chunks: Pool,
    cmd_sn: Sn,
    /// What is on the wire to the target.
    wire: Vec<u8>,
    /// Headers that came from the target.
    answers: Vec<Bhs>,
    /// What the back end has done.
    done: VecDeque<BlockCompletion>,
    /// Commands that were answered, and those with GOOD.
    answered: u64,
    good: u64,
    moved_bytes: u64,
}

impl StreamPath {
    /// A path for commands of this kind, whose unit attention has been reported already.
    ///
    /// # Errors
    /// There is no memory for the buffers, or the command is not answered: then the path itself is wrong.
    pub fn new(job: StreamJob) -> Result<Self> {
        let data = 0..16 << 20;
        let messages = data.end..data.end + (4 << 20);
        let chunks = messages.end..messages.end + CHUNKS * CHUNK_BYTES;
        let arena = Arena::new(chunks.end)?;
        let data = Pool::buddy(&arena, data, 1 << 20);
        let messages = Pool::buddy(&arena, messages, 1 << 20);
        let mut target = Target::new(TargetLimits { tasks: 1024 }, data.clone());
        let initiator = TransportId::Iscsi {
            initiator_name: Arc::from("iqn.2026-11.example:bench"),
            isid: [0x80, 0, 0, 0, 0, 1],
        };
        let nexus = nexus(&mut target, initiator);
        let settings = Arc::new(Settings::new(LoginLimits::new(Datamover::Tcp)));
        let connection = Connection::tcp(ChannelId(0), settings, messages, data, 0);
        let mut path = Self {
            job,
            target,
            connection: connection.established(&negotiated(), Sn(1)),
            nexus,
            chunks: Pool::slots(&arena, chunks, CHUNK_BYTES),
            cmd_sn: Sn(1),
            wire: Vec::new(),
            answers: Vec::new(),
            done: VecDeque::new(),
            answered: 0,
            good: 0,
            moved_bytes: 0,
        };
        // The first command of a nexus is told of the power on.
        path.turn(1)?;
        ensure!(path.good == 0, "the power on was not reported");
        path.run(1, 1)?;
        Ok(path)
    }

    /// Bytes of commands' data that went to the initiator or came from it.
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

    /// One turn of the loop and what follows from it: so many commands arrive and are answered.
    fn turn(&mut self, commands: u64) -> Result<()> {
        let expected = self.answered + commands;
        for tag in 0..commands {
            self.put_command(u32::try_from(tag)?);
        }
        while !self.wire.is_empty() {
            self.receive()?;
            self.settle();
            self.transmit();
        }
        ensure!(self.answered == expected, "a command was not answered");
        Ok(())
    }

    fn put_command(&mut self, tag: u32) {
        let command = self.job.command(tag, self.cmd_sn);
        self.cmd_sn = self.cmd_sn.plus(1);
        let immediate = self.job == StreamJob::WriteImmediate;
        let data = if immediate { DATA_BYTES } else { 0 };
        self.put(&command.encode(data), data);
    }

    fn put(&mut self, header: &Bhs, data: u32) {
        self.moved_bytes += u64::from(data);
        self.wire.extend_from_slice(header);
        self.wire.resize(self.wire.len() + data as usize, 0x5a);
    }

    /// Everything that is on the wire comes.
    fn receive(&mut self) -> Result<()> {
        let mut begin = 0;
        while begin < self.wire.len() {
            let rest = &self.wire[begin..];
            let len = rest.len().min(CHUNK_BYTES);
            let mut chunk = self.chunks.take(len).context("the chunks are all in use")?;
            chunk.copy_from_slice(&rest[..len]);
            begin += len;
            self.connection.handle_recv(chunk, 0);
            self.handle_events();
        }
        self.wire.clear();
        Ok(())
    }

    fn handle_events(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                ChannelEvent::Command(command) => self.target.submit(self.nexus, command),
                ChannelEvent::DataOut { task, buf } => self.target.data_out_ready(task, buf),
                ChannelEvent::Recycle(buf) => drop(buf),
                // None of them comes from these PDUs; a path that made one would answer no command.
                ChannelEvent::TaskManagement(_)
                | ChannelEvent::DataOutLost { .. }
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
            } => self.connection.pull_data_out(exchange, task, offset, buf),
            Next::Done {
                exchange, outcome, ..
            } => self.connection.handle_outcome(exchange, outcome),
            // Nothing is ever aborted here.
            Next::StopDataOut { .. }
            | Next::Cancel(_)
            | Next::Aborted { .. }
            | Next::TaskManagementDone { .. } => {}
        }
        self.handle_events();
    }

    /// Reads what would be sent, as the initiator would, and puts what that asks for on the wire.
    fn transmit(&mut self) {
        while let Some(transmit) = self.connection.poll_transmit() {
            let Transmit::Stream {
                message, pieces, ..
            } = transmit
            else {
                continue;
            };
            for Piece { of, start, len } in pieces {
                let range = *start as usize..(*start + *len) as usize;
                match of {
                    Part::Data => self.moved_bytes += u64::from(*len),
                    Part::Message => {
                        for header in message[range].as_chunks::<BHS_BYTES>().0 {
                            self.answers.push(*header);
                        }
                    }
                }
            }
        }
        while let Some(header) = self.answers.pop() {
            self.take_answer(&header);
        }
    }

    fn take_answer(&mut self, header: &Bhs) {
        if let Ok(data_in) = DataIn::parse(header) {
            self.answered += u64::from(data_in.has_status);
            self.good += u64::from(data_in.has_status && data_in.status == Status::GOOD);
        } else if let Ok(response) = ScsiResponse::parse(header) {
            self.answered += 1;
            self.good += u64::from(response.status == Status::GOOD);
        } else if let Ok(r2t) = R2t::parse(header) {
            let data_out = DataOut {
                is_final: true,
                initiator_task_tag: r2t.initiator_task_tag,
                target_transfer_tag: r2t.target_transfer_tag,
                buffer_offset: r2t.buffer_offset,
                ..DataOut::default()
            };
            let len = r2t.desired_data_transfer_length;
            self.put(&data_out.encode(len), len);
        }
    }
}

fn negotiated() -> Negotiated {
    let limits = LoginLimits::new(Datamover::Tcp);
    Negotiated {
        identity: Identity {
            initiator_name: "iqn.2026-11.example:bench".to_owned(),
            initiator_alias: None,
            target_name: Some("iqn.2026-11.example:target".to_owned()),
            session_type: SessionType::Normal,
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
        },
        tsih: 1,
        max_recv_data_segment_length: limits.max_recv_data_segment_length,
        max_xmit_data_segment_length: limits.max_recv_data_segment_length,
        header_digest: Digest::None,
        data_digest: Digest::None,
        initial_r2t: true,
        immediate_data: true,
        max_burst_length: limits.max_burst_length,
        first_burst_length: limits.first_burst_length,
        max_outstanding_r2t: limits.max_outstanding_r2t,
        default_time2wait: limits.default_time2wait,
        default_time2retain: limits.default_time2retain,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        protocol_level: limits.protocol_level,
        task_reporting: limits.task_reporting,
        rdma: None,
    }
}
