//! Whatever comes in whatever order: every command ends once, nothing leaks, and what was acknowledged is read.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use crate::command::{ChannelId, TaskAttribute, TaskManagementFunction};
use crate::lun::Lun;
use crate::target::tests::harness::{BLOCK, Bench, Io, Path, TEST_UNIT_READY, blocks};

/// Blocks that the random commands are about; few, so that they meet.
const SPAN: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Write {
        from: usize,
        lba: u32,
        count: usize,
        immediate: usize,
        attribute: TaskAttribute,
    },
    Read {
        from: usize,
        lba: u32,
        count: u16,
        attribute: TaskAttribute,
    },
    Ready {
        from: usize,
        attribute: TaskAttribute,
    },
    Flush {
        from: usize,
        immediate: bool,
    },
    Complete(usize),
    Fill(usize),
    Abort {
        from: usize,
        back: u32,
    },
    Manage {
        from: usize,
        function: TaskManagementFunction,
    },
    CloseChannel {
        from: usize,
    },
    CloseNexus {
        from: usize,
    },
    Hold,
    LetGo,
}

fn attribute() -> impl Strategy<Value = TaskAttribute> {
    prop_oneof![
        6 => Just(TaskAttribute::Simple),
        1 => Just(TaskAttribute::Ordered),
        1 => Just(TaskAttribute::HeadOfQueue),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let from = 0..3usize;
    prop_oneof![
        8 => (from.clone(), 0..SPAN, 1..4usize, 0..3usize, attribute()).prop_map(
            |(from, lba, count, immediate, attribute)| Step::Write {
                from,
                lba,
                count,
                immediate: [0, 300, count * BLOCK][immediate],
                attribute,
            }
        ),
        6 => (from.clone(), 0..SPAN, 1..4u16, attribute())
            .prop_map(|(from, lba, count, attribute)| Step::Read { from, lba, count, attribute }),
        2 => (from.clone(), attribute())
            .prop_map(|(from, attribute)| Step::Ready { from, attribute }),
        1 => (from.clone(), any::<bool>())
            .prop_map(|(from, immediate)| Step::Flush { from, immediate }),
        12 => any::<usize>().prop_map(Step::Complete),
        8 => any::<usize>().prop_map(Step::Fill),
        3 => (from.clone(), 0..6u32).prop_map(|(from, back)| Step::Abort { from, back }),
        1 => (from.clone(), prop_oneof![
            Just(TaskManagementFunction::AbortTaskSet),
            Just(TaskManagementFunction::ClearTaskSet),
            Just(TaskManagementFunction::LogicalUnitReset),
            Just(TaskManagementFunction::TargetWarmReset),
            Just(TaskManagementFunction::TargetColdReset),
        ])
            .prop_map(|(from, function)| Step::Manage { from, function }),
        1 => from.clone().prop_map(|from| Step::CloseChannel { from }),
        1 => from.prop_map(|from| Step::CloseNexus { from }),
        1 => Just(Step::Hold),
        1 => Just(Step::LetGo),
    ]
}

/// A write that was sent, and when its sender knew that it was over: answered, aborted or abandoned.
struct Sent {
    exchange: u32,
    fill: u8,
    lba: u32,
    count: u32,
    at: u64,
    over: Option<u64>,
}

/// What each block may hold, from all that initiators were told: the fill bytes of all writes but those that were
/// over before a later one that ended with GOOD was sent.
struct Disk {
    clock: u64,
    may_hold: Vec<HashSet<u8>>,
    writes: Vec<Sent>,
}

impl Disk {
    fn new() -> Self {
        Self {
            clock: 0,
            may_hold: vec![HashSet::from([0]); SPAN as usize + 4],
            writes: Vec::new(),
        }
    }

    fn sent(&mut self, exchange: u32, fill: u8, lba: u32, count: u32) {
        self.clock += 1;
        for block in lba..lba + count {
            self.may_hold[block as usize].insert(fill);
        }
        self.writes.push(Sent {
            exchange,
            fill,
            lba,
            count,
            at: self.clock,
            over: None,
        });
    }

    fn over(&mut self, exchange: u32, is_good: bool) {
        self.clock += 1;
        let clock = self.clock;
        let Some(write) = self.writes.iter_mut().find(|w| w.exchange == exchange) else {
            return;
        };
        write.over = Some(clock);
        let (at, lba, count) = (write.at, write.lba, write.count);
        if !is_good {
            return;
        }
        let earlier = self
            .writes
            .iter()
            .filter(|w| w.over.is_some_and(|over| over < at));
        let mut gone: HashSet<u8> = earlier.map(|w| w.fill).collect();
        gone.insert(0);
        for block in lba..lba + count {
            self.may_hold[block as usize].retain(|fill| !gone.contains(fill));
        }
    }
}

/// A read under way: what its blocks could hold when it was sent.
struct Reading {
    lba: u32,
    could_hold: Vec<HashSet<u8>>,
}

/// A bench and what its initiators may expect of it.
struct Model {
    bench: Bench,
    paths: [Path; 3],
    channels: u32,
    /// Exchange to connection, of what has no end yet.
    open: HashMap<u32, ChannelId>,
    requests: HashMap<u32, ChannelId>,
    sent: u32,
    hog: Option<iobuf::Buf>,
    disk: Disk,
    reads: HashMap<u32, Reading>,
}

impl Model {
    fn new() -> Self {
        let mut bench = Bench::with(12, 16 << 10);
        bench.is_backend_held = true;
        bench.is_transport_held = true;
        let second = Path {
            channel: ChannelId(3),
            ..bench.a
        };
        Self {
            paths: [bench.a, bench.b, second],
            bench,
            channels: 3,
            open: HashMap::new(),
            requests: HashMap::new(),
            sent: 0,
            hog: None,
            disk: Disk::new(),
            reads: HashMap::new(),
        }
    }

    fn send(&mut self, from: usize, io: Io) {
        let path = self.paths[from];
        self.sent += 1;
        self.open.insert(self.sent, path.channel);
        let exchange = self.bench.send(path, io);
        assert_eq!(exchange, self.sent);
        self.read_trace();
    }

    fn manage(&mut self, from: usize, function: TaskManagementFunction) {
        let path = self.paths[from];
        self.sent += 1;
        self.requests.insert(self.sent, path.channel);
        self.bench.manage_lun(path, Lun::peripheral(0), function);
        self.read_trace();
    }

    /// Every line that ends something ends what was open, and is for a connection that is there.
    fn read_trace(&mut self) {
        for line in self.bench.trace() {
            let Some((exchange, what)) = line.split_once(": ") else {
                continue;
            };
            let exchange: u32 = exchange.parse().expect("a number");
            if what.starts_with("pull") {
                assert!(self.open.contains_key(&exchange), "{line}");
            } else if what.starts_with("Function") {
                assert!(self.requests.remove(&exchange).is_some(), "{line}");
            } else {
                assert!(self.open.remove(&exchange).is_some(), "{line}");
                self.ended(exchange, what == "GOOD");
            }
        }
    }

    fn ended(&mut self, exchange: u32, is_good: bool) {
        self.disk.over(exchange, is_good);
        let Some(read) = self.reads.remove(&exchange).filter(|_| is_good) else {
            return;
        };
        for (nth, block) in self.bench.ends[&exchange].data.chunks(BLOCK).enumerate() {
            let may_hold = &self.disk.may_hold[read.lba as usize + nth];
            let could_hold = &read.could_hold[nth];
            assert!(block.iter().all(|byte| *byte == block[0]), "a torn block");
            assert!(
                may_hold.contains(&block[0]) || could_hold.contains(&block[0]),
                "block {} holds {}",
                read.lba as usize + nth,
                block[0]
            );
        }
    }

    fn forget(&mut self, is_gone: impl Fn(ChannelId) -> bool) {
        let gone = self.open.iter().filter(|(_, channel)| is_gone(**channel));
        let gone: Vec<_> = gone.map(|(exchange, _)| *exchange).collect();
        for exchange in gone {
            self.open.remove(&exchange);
            self.disk.over(exchange, false);
        }
        self.requests.retain(|_, channel| !is_gone(*channel));
    }

    fn close_channel(&mut self, from: usize) {
        let path = self.paths[from];
        self.bench.close_channel(path);
        self.forget(|channel| channel == path.channel);
        self.channels += 1;
        self.paths[from].channel = ChannelId(self.channels);
        self.read_trace();
    }

    /// The initiator comes back at once, with a new nexus; with a second connection when it had one.
    fn close_nexus(&mut self, from: usize) {
        let old = self.paths[from].nexus;
        let closed: HashSet<_> = self.channels_of(old).collect();
        self.bench.target.nexus_close(old);
        self.bench
            .pulls
            .retain(|pull| !closed.contains(&pull.channel));
        self.bench.poll();
        self.forget(|channel| closed.contains(&channel));
        let id = crate::target::TransportId::Srp {
            initiator_port_id: [from as u8; 16],
        };
        let nexus = self.bench.target.nexus_open(id);
        let entry = self.bench.entry(0);
        self.bench.target.nexus_set_map(nexus, &[entry]);
        for path in self.paths.iter_mut().filter(|path| path.nexus == old) {
            self.channels += 1;
            *path = Path {
                nexus,
                channel: ChannelId(self.channels),
            };
        }
        self.read_trace();
    }

    fn channels_of(&self, nexus: crate::target::NexusId) -> impl Iterator<Item = ChannelId> {
        let paths = self.paths.iter().filter(move |path| path.nexus == nexus);
        paths.map(|path| path.channel)
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Write {
                from,
                lba,
                count,
                immediate,
                attribute,
            } => {
                let fill = 1 + self.disk.writes.len() as u8;
                self.disk.sent(self.sent + 1, fill, lba, count as u32);
                let io = Io::write(lba, &blocks(fill, count)).immediate(immediate);
                self.send(from, io.attribute(attribute));
            }
            Step::Read {
                from,
                lba,
                count,
                attribute,
            } => {
                let range = lba as usize..lba as usize + usize::from(count);
                let could_hold = self.disk.may_hold[range].to_vec();
                self.reads
                    .insert(self.sent + 1, Reading { lba, could_hold });
                self.send(from, Io::read(lba, count).attribute(attribute));
            }
            Step::Ready { from, attribute } => {
                self.send(from, Io::new(&TEST_UNIT_READY).attribute(attribute));
            }
            Step::Flush { from, immediate } => {
                let cdb = [0x35, u8::from(immediate) << 1, 0, 0, 0, 0, 0, 0, 0, 0];
                self.send(from, Io::new(&cdb));
            }
            Step::Complete(nth) => self.complete(nth),
            Step::Fill(nth) => {
                if let Some(nth) = nth.checked_rem(self.bench.pulls.len()) {
                    self.bench.fill_nth(nth);
                }
            }
            Step::Abort { from, back } => {
                let tag = u64::from(self.sent.saturating_sub(back));
                self.manage(from, TaskManagementFunction::AbortTask { tag });
            }
            Step::Manage { from, function } => self.manage(from, function),
            Step::CloseChannel { from } => self.close_channel(from),
            Step::CloseNexus { from } => self.close_nexus(from),
            Step::Hold => self.hog = self.hog.take().or_else(|| self.bench.pool.take(8192)),
            Step::LetGo => self.let_go(),
        }
        self.read_trace();
    }

    fn complete(&mut self, nth: usize) {
        if let Some(nth) = nth.checked_rem(self.bench.executing.len()) {
            self.bench.complete_nth(nth);
        }
    }

    fn let_go(&mut self) {
        self.hog = None;
        self.bench.target.handle_buffers_freed();
        self.bench.poll();
    }

    fn drain(&mut self) {
        self.let_go();
        while !(self.bench.executing.is_empty() && self.bench.pulls.is_empty()) {
            while !self.bench.pulls.is_empty() {
                self.bench.fill();
            }
            self.complete(0);
        }
        self.read_trace();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn everything_ends_once_and_nothing_leaks(steps in prop::collection::vec(step(), 1..120)) {
        let mut model = Model::new();
        for step in steps {
            model.step(step);
        }
        model.drain();
        prop_assert!(model.open.is_empty(), "no end: {:?}", model.open);
        for (lba, block) in model.bench.disk.chunks(BLOCK).take(SPAN as usize + 4).enumerate() {
            let may_hold = &model.disk.may_hold[lba];
            prop_assert!(may_hold.contains(&block[0]), "block {lba} holds {}", block[0]);
        }
        prop_assert!(model.requests.is_empty(), "no answer: {:?}", model.requests);
        model.bench.assert_idle();
    }
}

/// A command of which nothing is certain.
fn any_command() -> impl Strategy<Value = (Vec<u8>, [u8; 8], usize, usize, usize)> {
    let cdb = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        (0..26usize, prop::collection::vec(any::<u8>(), 32)).prop_map(|(nth, mut bytes)| {
            let row = &crate::opcode::ROWS[nth % crate::opcode::ROWS.len()];
            bytes[0] = row.opcode();
            if let Some(action) = row.service_action {
                bytes[1] = action;
            }
            // Mostly within the medium.
            bytes[2..6].fill(0);
            bytes
        }),
    ];
    let lun = prop_oneof![
        4 => Just([0; 8]),
        1 => Just(Lun::WELL_KNOWN_REPORT_LUNS.0),
        1 => any::<[u8; 8]>(),
    ];
    (cdb, lun, 0..5000usize, 0..5000usize, 0..5000usize)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_upset_the_core(commands in prop::collection::vec(any_command(), 1..20)) {
        let mut bench = Bench::new();
        let count = commands.len();
        for (cdb, lun, data_in, data_out, immediate) in commands {
            let io = Io::new(&cdb)
                .at(Lun(lun))
                .data_in(data_in)
                .data_out(&vec![1; data_out])
                .immediate(immediate.min(data_out));
            bench.send(bench.a, io);
        }
        prop_assert_eq!(bench.ends.len(), count);
        bench.assert_idle();
    }
}
