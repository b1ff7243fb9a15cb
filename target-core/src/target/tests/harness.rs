//! A model of everything around the core: two initiators, a transport, a disk. What the core says is kept as
//! a trace of short lines, so that a test reads like a log.

use std::collections::HashMap;
use std::sync::Arc;

use iobuf::{Arena, Buf, Pool};

use crate::backend::{
    BlockCompletion, BlockError, BlockErrorKind, BlockOperation, BlockRequest, MediumId, TaskId,
};
use crate::command::{
    CdbBytes, ChannelId, Command, ExchangeId, Outcome, Residual, TaskAttribute, TaskManagement,
    TaskManagementFunction,
};
use crate::counters::LunCounters;
use crate::logical_unit::LogicalUnit;
use crate::lun::Lun;
use crate::request::tests::{BLOCKS, logical_unit};
use crate::sense::Sense;
use crate::target::{LuId, MapEntry, Next, NexusId, Target, TargetLimits, TransportId};

pub(super) const BLOCK: usize = 512;
pub(super) const MEDIUM: MediumId = MediumId(1);
pub(super) const TEST_UNIT_READY: [u8; 6] = [0; 6];
pub(super) const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One connection of an initiator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    pub(super) nexus: NexusId,
    pub(super) channel: ChannelId,
}

/// A command to be, with what most tests want as the default.
#[derive(Clone, Debug)]
pub(super) struct Io {
    pub(super) cdb: Vec<u8>,
    pub(super) lun: Lun,
    pub(super) attribute: TaskAttribute,
    pub(super) data_in: usize,
    pub(super) data_out: Vec<u8>,
    pub(super) immediate: usize,
    pub(super) tag: Option<u64>,
}

impl Io {
    pub(super) fn new(cdb: &[u8]) -> Self {
        Self {
            cdb: cdb.to_vec(),
            lun: Lun::peripheral(0),
            attribute: TaskAttribute::Simple,
            data_in: 0,
            data_out: Vec::new(),
            immediate: 0,
            tag: None,
        }
    }

    pub(super) fn read(lba: u32, blocks: u16) -> Self {
        let io = Self::new(&transfer(0x28, lba, blocks));
        io.data_in(usize::from(blocks) * BLOCK)
    }

    pub(super) fn write(lba: u32, data: &[u8]) -> Self {
        let blocks = (data.len() / BLOCK) as u16;
        Self::new(&transfer(0x2a, lba, blocks)).data_out(data)
    }

    pub(super) fn inquiry() -> Self {
        Self::new(&[0x12, 0, 0, 0, 96, 0]).data_in(96)
    }

    pub(super) fn data_in(mut self, len: usize) -> Self {
        self.data_in = len;
        self
    }

    pub(super) fn data_out(mut self, data: &[u8]) -> Self {
        self.data_out = data.to_vec();
        self
    }

    pub(super) fn immediate(mut self, len: usize) -> Self {
        self.immediate = len;
        self
    }

    pub(super) fn lun(mut self, number: u8) -> Self {
        self.lun = Lun::peripheral(number);
        self
    }

    pub(super) fn at(mut self, lun: Lun) -> Self {
        self.lun = lun;
        self
    }

    pub(super) fn attribute(mut self, attribute: TaskAttribute) -> Self {
        self.attribute = attribute;
        self
    }

    pub(super) fn tag(mut self, tag: u64) -> Self {
        self.tag = Some(tag);
        self
    }
}

pub(super) fn transfer(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [h, l]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, a, b, c, d, 0, h, l, 0]
}

/// A Data-Out Buffer of the initiator that the core wants bytes of.
#[derive(Debug)]
pub(super) struct Pull {
    pub(super) channel: ChannelId,
    pub(super) task: TaskId,
    pub(super) exchange: ExchangeId,
    offset: u32,
    buf: Buf,
}

/// How a command ended; the data is copied out of the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) line: String,
    pub(super) data: Vec<u8>,
    pub(super) sense: Option<Sense>,
    pub(super) data_in_residual: Residual,
    pub(super) data_out_residual: Residual,
}

pub(super) struct Bench {
    pub(super) target: Target,
    pub(super) pool: Pool,
    messages: Pool,
    pub(super) unit: Arc<LogicalUnit>,
    pub(super) lu: LuId,
    pub(super) a: Path,
    pub(super) b: Path,
    pub(super) disk: Vec<u8>,
    /// Operations and pulls that the test has not let go on yet.
    pub(super) executing: Vec<BlockRequest>,
    pub(super) pulls: Vec<Pull>,
    pub(super) is_backend_held: bool,
    pub(super) is_transport_held: bool,
    data_out: HashMap<ExchangeId, Vec<u8>>,
    pub(super) ends: HashMap<u32, End>,
    trace: Vec<String>,
    exchanges: u32,
}

impl Bench {
    /// A logical unit that two initiators see as LUN 0, with no unit attention left.
    pub(super) fn new() -> Self {
        Self::with(64, 1 << 20)
    }

    pub(super) fn with(tasks: u32, pool_bytes: usize) -> Self {
        let arena = Arena::new(4 << 20).expect("map");
        let pool = Pool::buddy(&arena, 0..pool_bytes, pool_bytes);
        let messages = Pool::slots(&arena, 3 << 20..4 << 20, 16 << 10);
        let mut target = Target::new(TargetLimits { tasks }, pool.clone());
        let unit = Arc::new(logical_unit());
        let lu = target.lu_add(Arc::clone(&unit), MEDIUM);
        let [a, b] = [1, 2].map(|n| Path {
            nexus: target.nexus_open(TransportId::Srp {
                initiator_port_id: [n; 16],
            }),
            channel: ChannelId(u32::from(n)),
        });
        let mut bench = Self {
            target,
            pool,
            messages,
            unit,
            lu,
            a,
            b,
            disk: vec![0; BLOCKS as usize * BLOCK],
            executing: Vec::new(),
            pulls: Vec::new(),
            is_backend_held: false,
            is_transport_held: false,
            data_out: HashMap::new(),
            ends: HashMap::new(),
            trace: Vec::new(),
            exchanges: 0,
        };
        for path in [a, b] {
            bench.target.nexus_set_map(path.nexus, &[bench.entry(0)]);
            bench.run(path, Io::new(&TEST_UNIT_READY));
        }
        bench.exchanges = 0;
        bench.trace.clear();
        bench
    }

    pub(super) fn entry(&self, number: u8) -> MapEntry {
        MapEntry {
            number,
            lu: self.lu,
            read_only: false,
        }
    }

    /// Sends a command; exchanges count from 1.
    pub(super) fn send(&mut self, path: Path, io: Io) -> u32 {
        self.exchanges += 1;
        let exchange = ExchangeId(self.exchanges);
        let immediate = (io.immediate != 0).then(|| {
            let mut buf = self.messages.take(io.immediate).expect("message buffer");
            buf.copy_from_slice(&io.data_out[..io.immediate]);
            buf
        });
        let command = Command {
            channel: path.channel,
            exchange,
            tag: io.tag.unwrap_or(u64::from(exchange.0)),
            lun: io.lun,
            attribute: io.attribute,
            cdb: CdbBytes::new(&io.cdb),
            data_in_len: io.data_in as u32,
            data_out_len: io.data_out.len() as u32,
            immediate,
        };
        self.data_out.insert(exchange, io.data_out);
        self.target.submit(path.nexus, command);
        self.poll();
        exchange.0
    }

    /// Sends a command that ends without further ado.
    pub(super) fn run(&mut self, path: Path, io: Io) -> End {
        let exchange = self.send(path, io);
        let end = self.ends.remove(&exchange).expect("an outcome");
        self.trace.pop();
        end
    }

    /// A second logical unit, which is LUN 1 of A, and perhaps of B. No unit attention is left.
    pub(super) fn add_second_unit(&mut self, b_too: bool) {
        let mut second = self.entry(1);
        second.lu = self.target.lu_add(Arc::clone(&self.unit), MediumId(2));
        let map = [self.entry(0), second];
        for path in [Some(self.a), b_too.then_some(self.b)]
            .into_iter()
            .flatten()
        {
            self.target.nexus_set_map(path.nexus, &map);
            self.attentions(path, 0);
            self.attentions(path, 1);
        }
        self.exchanges = 0;
        self.trace.clear();
    }

    /// The unit attentions that a nexus is told on this LUN, which are then no more.
    pub(super) fn attentions(&mut self, path: Path, lun: u8) -> String {
        let lines = std::iter::from_fn(|| {
            let line = self.run(path, Io::new(&TEST_UNIT_READY).lun(lun)).line;
            (line != "GOOD").then_some(line)
        });
        lines.collect::<Vec<_>>().join(" ")
    }

    pub(super) fn manage(&mut self, path: Path, function: TaskManagementFunction) -> u32 {
        self.manage_lun(path, Lun::peripheral(0), function)
    }

    pub(super) fn manage_lun(
        &mut self,
        path: Path,
        lun: Lun,
        function: TaskManagementFunction,
    ) -> u32 {
        self.exchanges += 1;
        let request = TaskManagement {
            channel: path.channel,
            exchange: ExchangeId(self.exchanges),
            lun,
            function,
        };
        self.target.task_management(path.nexus, request);
        self.poll();
        self.exchanges
    }

    /// Lets the oldest held operation end.
    pub(super) fn complete(&mut self) {
        self.complete_nth(0);
    }

    pub(super) fn complete_nth(&mut self, nth: usize) {
        let request = self.executing.remove(nth);
        let completion = self.perform(request);
        self.target.complete(completion);
        self.poll();
    }

    pub(super) fn fail(&mut self, kind: BlockErrorKind, offset: u64) {
        let request = self.executing.remove(0);
        let error = BlockError {
            kind,
            offset,
            errno: 0,
        };
        let buf = match request.operation {
            BlockOperation::Read { buf, .. } | BlockOperation::Write { buf, .. } => Some(buf),
            _ => None,
        };
        self.target.complete(BlockCompletion {
            task: request.task,
            buf,
            result: Err(error),
        });
        self.poll();
    }

    /// Fills the buffer that the core has wanted longest.
    pub(super) fn fill(&mut self) {
        self.fill_nth(0);
    }

    pub(super) fn fill_nth(&mut self, nth: usize) {
        let mut pull = self.pulls.remove(nth);
        let from = &self.data_out[&pull.exchange][pull.offset as usize..];
        let len = pull.buf.len();
        pull.buf.copy_from_slice(&from[..len]);
        self.target.data_out_ready(pull.task, pull.buf);
        self.poll();
    }

    /// The transport lost what the core has wanted longest.
    pub(super) fn lose(&mut self) {
        let pull = self.pulls.remove(0);
        self.target.data_out_lost(pull.task);
        self.poll();
    }

    /// Drops what the transport has for a connection, as a driver does when the connection goes.
    pub(super) fn close_channel(&mut self, path: Path) {
        self.target.channel_close(path.nexus, path.channel);
        self.pulls.retain(|pull| pull.channel != path.channel);
        self.poll();
    }

    pub(super) fn close_nexus(&mut self, path: Path) {
        self.target.nexus_close(path.nexus);
        self.pulls.retain(|pull| pull.channel != path.channel);
        self.poll();
    }

    /// What happened since the last call.
    pub(super) fn trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    pub(super) fn lun_counters(&self, path: Path) -> Vec<(u8, LunCounters)> {
        self.target.lun_counters(path.nexus).collect()
    }

    /// Nothing runs, and every buffer is back.
    pub(super) fn assert_idle(&self) {
        let counters = self.target.counters();
        assert_eq!(counters.tasks, 0, "{counters:?}");
        assert_eq!(counters.task_management_pending, 0);
        assert_eq!(self.pool.level().in_use_bytes, 0);
        assert_eq!(self.messages.level().in_use_bytes, 0);
        let totals = counters.totals;
        assert_eq!(
            totals.commands,
            totals.answered + totals.aborted + totals.abandoned
        );
    }

    pub(super) fn poll(&mut self) {
        loop {
            let Some(next) = self.target.poll_next() else {
                return;
            };
            self.note(&next);
            match next {
                Next::Execute(request) if self.is_backend_held => self.executing.push(request),
                Next::Execute(request) => {
                    let completion = self.perform(request);
                    self.target.complete(completion);
                }
                Next::PullDataOut {
                    channel,
                    task,
                    exchange,
                    offset,
                    buf,
                } => {
                    self.pulls.push(Pull {
                        channel,
                        task,
                        exchange,
                        offset,
                        buf,
                    });
                    if !self.is_transport_held {
                        self.fill();
                    }
                }
                Next::Done {
                    exchange, outcome, ..
                } => {
                    self.ends.insert(exchange.0, end(outcome));
                    // The transport has sent the data: its buffer is back.
                    self.target.handle_buffers_freed();
                }
                Next::StopDataOut { .. }
                | Next::Cancel(_)
                | Next::Aborted { .. }
                | Next::TaskManagementDone { .. } => {}
            }
        }
    }

    fn perform(&mut self, request: BlockRequest) -> BlockCompletion {
        let buf = match request.operation {
            BlockOperation::Read { offset, mut buf } => {
                let at = offset as usize;
                let len = buf.len();
                buf.copy_from_slice(&self.disk[at..at + len]);
                Some(buf)
            }
            BlockOperation::Write { offset, buf, .. } => {
                let at = offset as usize;
                self.disk[at..at + buf.len()].copy_from_slice(&buf);
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

    fn note(&mut self, next: &Next) {
        let line = match next {
            Next::Execute(request) => operation(&request.operation),
            Next::Cancel(_) => "cancel".to_owned(),
            Next::StopDataOut { exchange, .. } => format!("stop {}", exchange.0),
            Next::PullDataOut {
                exchange,
                offset,
                buf,
                ..
            } => format!("{}: pull {}+{}", exchange.0, offset, buf.len()),
            Next::Done {
                exchange, outcome, ..
            } => format!("{}: {}", exchange.0, outcome_line(outcome)),
            Next::Aborted { exchange, .. } => format!("{}: aborted", exchange.0),
            Next::TaskManagementDone {
                exchange,
                response,
                ends_sessions,
                ..
            } => {
                let then = if *ends_sessions {
                    ", ends sessions"
                } else {
                    ""
                };
                format!("{}: {response:?}{then}", exchange.0)
            }
        };
        self.trace.push(line);
    }
}

fn operation(operation: &BlockOperation) -> String {
    match operation {
        BlockOperation::Read { offset, buf } => format!("read {offset}+{}", buf.len()),
        BlockOperation::Write {
            offset,
            buf,
            durable,
        } => {
            let how = if *durable { "durable " } else { "" };
            format!("{how}write {offset}+{}", buf.len())
        }
        BlockOperation::Flush => "flush".to_owned(),
        other => format!("{other:?}"),
    }
}

fn outcome_line(outcome: &Outcome) -> String {
    match outcome.sense {
        Some(sense) => format!("{:x}/{:04x}", sense.key as u8, sense.code.0),
        None => format!("{:?}", outcome.status),
    }
}

fn end(outcome: Outcome) -> End {
    End {
        line: outcome_line(&outcome),
        data: outcome.data_in.as_deref().unwrap_or_default().to_vec(),
        sense: outcome.sense,
        data_in_residual: outcome.data_in_residual,
        data_out_residual: outcome.data_out_residual,
    }
}

/// Blocks full of one byte.
pub(super) fn blocks(byte: u8, count: usize) -> Vec<u8> {
    vec![byte; count * BLOCK]
}
