//! Random work on several queue pairs in both directions, one shared receive queue, and a model of all memory.

mod network;

use std::collections::{HashMap, VecDeque};

use network::{BASE, Network, PD, Pair, Random, Weather};
use proptest::prelude::*;
use roce::memory::{Access, Key};
use roce::packet::icrc::{self, Ends};
use roce::packet::{
    Aeth, Bth, Extension, HeaderBytes, Opcode, Reth, Syndrome, UDP_PORT, pad_count,
};
use roce::qp::{PathMtu, QueuePairConfig, State, Tuning};
use roce::{
    CompletionKind, Operation, Psn, QueuePairNumber, RecvRequest, Remote, SendRequest,
    SharedReceiveQueueId, Status,
};

/// Every slot of memory is used by one operation at a time.
const SLOT: usize = 16 << 10;

/// What an operation must have done when it completes.
enum Promise {
    /// These bytes are in host `at` from this offset on.
    There {
        at: usize,
        offset: usize,
        data: Vec<u8>,
    },
    /// The next message to host `at` on this queue pair has these bytes.
    Sent,
}

struct World {
    network: Network,
    pairs: Vec<Pair>,
    free: Vec<usize>,
    promises: HashMap<u64, (Promise, Vec<usize>)>,
    /// Messages sent by order, by receiving host and queue pair.
    messages: HashMap<(usize, QueuePairNumber), VecDeque<Vec<u8>>>,
    shared: SharedReceiveQueueId,
    next: u64,
    seen: [usize; 2],
}

impl World {
    fn new(seed: u64, weather: Weather) -> Self {
        let tuning = Tuning {
            window: 16,
            ack_interval: 5,
            read_chunk: 6,
        };
        let mut network = Network::new(seed, weather, tuning);
        let mtu = [PathMtu::Mtu256, PathMtu::Mtu512, PathMtu::Mtu1024][seed as usize % 3];
        let pairs = (0..3).map(|_| {
            for host in &mut network.hosts {
                host.events.clear();
            }
            network.connect(mtu, 3)
        });
        let pairs = pairs.collect();
        let shared = network.hosts[0].node.create_shared_receive_queue(PD, 64);
        Self {
            network,
            pairs,
            free: (0..32).collect(),
            promises: HashMap::new(),
            messages: HashMap::new(),
            shared,
            next: 0,
            seen: [0; 2],
        }
    }

    /// Receive buffers live in the upper half of memory, one per host and request.
    fn post_recv(&mut self, host: usize, qp: QueuePairNumber) {
        self.next += 1;
        let offset = (32 + self.next as usize % 32) * SLOT;
        let host = &mut self.network.hosts[host];
        let sges = [host.sge(offset, 5000), host.sge(offset + 5000, SLOT - 5000)];
        let request = RecvRequest {
            wr_id: offset as u64,
            sges: &sges,
        };
        host.node.post_recv(qp, &request).expect("room");
    }

    /// One random work request from one random end.
    fn act(&mut self) {
        let random = &mut self.network.random;
        let from = random.below(2) as usize;
        let pair = self.pairs[random.below(self.pairs.len() as u64) as usize];
        let (qp, peer) = match from {
            0 => (pair.near, pair.far),
            _ => (pair.far, pair.near),
        };
        let length = match random.below(3) {
            0 => random.below(20),
            1 => 250 + random.below(20),
            _ => random.below(SLOT as u64 - 16),
        } as usize;
        let choice = random.below(3);
        let fence = random.chance(100);
        let (Some(here), Some(there)) = (self.free.pop(), self.free.pop()) else {
            return;
        };
        let to = 1 - from;
        let mut data = vec![0; length];
        self.network.random.fill(&mut data);
        let remote = Remote {
            address: BASE + (there * SLOT) as u64 + 1,
            key: self.network.hosts[to].key,
        };
        let source = if choice == 1 { to } else { from };
        let offset = if choice == 1 {
            there * SLOT + 1
        } else {
            here * SLOT
        };
        self.network.hosts[source].memory[0][offset..offset + length].copy_from_slice(&data);
        let (operation, promise) = match choice {
            0 => {
                let offset = there * SLOT + 1;
                (
                    Operation::Write(remote),
                    Promise::There {
                        at: to,
                        offset,
                        data,
                    },
                )
            }
            1 => {
                let offset = here * SLOT;
                (
                    Operation::Read(remote),
                    Promise::There {
                        at: from,
                        offset,
                        data,
                    },
                )
            }
            _ => {
                self.post_recv(to, peer);
                self.messages.entry((to, peer)).or_default().push_back(data);
                (Operation::Send, Promise::Sent)
            }
        };
        self.next += 1;
        let split = length / 3;
        let host = &mut self.network.hosts[from];
        let sges = [
            host.sge(here * SLOT, split),
            host.sge(here * SLOT + split, length - split),
        ];
        let request = SendRequest {
            wr_id: 1 << 40 | self.next,
            operation,
            sges: &sges,
            signaled: true,
            fence,
            solicited: false,
        };
        host.node.post_send(qp, &request).expect("room");
        self.promises
            .insert(request.wr_id, (promise, vec![here, there]));
    }

    fn check(&mut self) {
        for at in 0..2 {
            let fresh: Vec<_> = self.network.hosts[at].completions[self.seen[at]..].to_vec();
            self.seen[at] += fresh.len();
            for completion in fresh {
                assert_eq!(completion.status, Status::Success, "{completion:?}");
                if completion.kind == CompletionKind::Recv {
                    let queue = self
                        .messages
                        .get_mut(&(at, completion.qp))
                        .expect("expected");
                    let data = queue.pop_front().expect("in order");
                    let offset = completion.wr_id as usize;
                    assert_eq!(completion.length as usize, data.len());
                    let came = &self.network.hosts[at].memory[0][offset..offset + data.len()];
                    assert_eq!(came, data);
                    continue;
                }
                let (promise, slots) = self.promises.remove(&completion.wr_id).expect("once");
                if let Promise::There { at, offset, data } = promise {
                    let came = &self.network.hosts[at].memory[0][offset..offset + data.len()];
                    assert_eq!(came, data);
                }
                self.free.extend(slots);
            }
        }
    }

    fn run(&mut self, operations: u32) {
        for _ in 0..operations {
            self.act();
            for _ in 0..self.network.random.below(6) {
                self.network.step();
            }
            self.check();
        }
        while !self.promises.is_empty() {
            assert!(self.network.step(), "nothing moves any more");
            self.check();
            assert!(self.network.now_us < 1 << 40);
        }
        self.network.settle(5_000_000);
        self.check();
        assert!(self.messages.values().all(VecDeque::is_empty));
        assert_eq!(self.network.hosts[0].node.shared_receives(self.shared), 0);
    }
}

#[test]
fn random_work_does_what_it_promises() {
    for seed in 0..24 {
        let weather = match seed % 4 {
            0 => Weather::default(),
            1 => Weather {
                loss: 20,
                ..Weather::default()
            },
            2 => Weather {
                jitter_us: 100,
                duplication: 50,
                ..Weather::default()
            },
            _ => Weather {
                loss: 10,
                duplication: 20,
                corruption: 10,
                jitter_us: 60,
            },
        };
        World::new(seed, weather).run(150);
    }
}

#[test]
fn a_shared_receive_queue_feeds_all_its_queue_pairs() {
    let mut network = Network::new(5, Weather::default(), Tuning::default());
    let queue = network.hosts[1].node.create_shared_receive_queue(PD, 16);
    let config = QueuePairConfig {
        pd: PD,
        access: Access::default(),
        send_capacity: 4,
        recv_capacity: 0,
    };
    let pairs: Vec<_> = (0..3_u32)
        .map(|_| {
            let near = network.hosts[0].queue_pair();
            let far = network.hosts[1]
                .node
                .create_queue_pair(config, Some(queue))
                .expect("room");
            ready(&mut network, near, far);
            (near, far)
        })
        .collect();
    let sges = [network.hosts[1].sge(0, 100)];
    let recv = |wr_id| RecvRequest { wr_id, sges: &sges };
    let refused = network.hosts[1].node.post_recv(pairs[0].1, &recv(0));
    assert_eq!(refused, Err(roce::PostError::Shared));
    for wr_id in 0..6 {
        network.hosts[1]
            .node
            .post_shared_recv(queue, &recv(wr_id))
            .expect("room");
    }
    for (near, _) in &pairs {
        let sges = [network.hosts[0].sge(0, 50)];
        for wr_id in 0..2 {
            let request = SendRequest {
                wr_id,
                operation: Operation::Send,
                sges: &sges,
                signaled: false,
                fence: false,
                solicited: true,
            };
            network.hosts[0]
                .node
                .post_send(*near, &request)
                .expect("room");
        }
    }
    network.run_until(1_000_000, |network| network.hosts[1].completions.len() == 6);
    let completions = &network.hosts[1].completions;
    let mut wr_ids: Vec<_> = completions
        .iter()
        .map(|completion| completion.wr_id)
        .collect();
    wr_ids.sort_unstable();
    assert_eq!(wr_ids, [0, 1, 2, 3, 4, 5]);
    for (_, far) in &pairs {
        assert_eq!(
            completions
                .iter()
                .filter(|completion| completion.qp == *far)
                .count(),
            2
        );
    }
    assert!(completions.iter().all(|completion| completion.solicited));
    assert!(network.hosts[0].completions.is_empty(), "unsignaled");
    assert_eq!(network.hosts[1].node.shared_receives(queue), 0);
}

fn ready(network: &mut Network, near: QueuePairNumber, far: QueuePairNumber) {
    for (host, qp, peer) in [(0, near, far), (1, far, near)] {
        let path = network.path(host, 1 - host);
        let node = &mut network.hosts[host].node;
        let rtr = roce::qp::RtrAttributes {
            path,
            remote_qp: peer.0,
            ..Default::default()
        };
        node.make_ready_to_receive(qp, rtr).expect("RTR");
        let rts = roce::qp::RtsAttributes {
            timeout: 10,
            retry_count: 7,
            rnr_retry: 7,
            ..Default::default()
        };
        node.make_ready_to_send(qp, rts).expect("RTS");
    }
}

/// A packet that a malicious peer could send: right addresses, right ICRC, anything else.
#[derive(Clone, Debug)]
struct Malice {
    opcode: u8,
    psn_ahead: i32,
    reth: (u64, u32, u32),
    syndrome: u8,
    payload: usize,
}

fn malice() -> impl Strategy<Value = Malice> {
    let ahead = prop_oneof![-4..5_i32, any::<i32>()];
    let address = prop_oneof![BASE..BASE + 70_000, any::<u64>()];
    let length = prop_oneof![0..2000_u32, any::<u32>()];
    let payload = prop_oneof![Just(0_usize), Just(256), 0..300_usize];
    let reth = (address, any::<bool>().prop_map(u32::from), length);
    (0..0x18_u8, ahead, reth, any::<u8>(), payload).prop_map(
        |(opcode, psn_ahead, reth, syndrome, payload)| Malice {
            opcode,
            psn_ahead,
            reth,
            syndrome,
            payload,
        },
    )
}

fn extension(opcode: Opcode, malice: &Malice, key: Key) -> Extension {
    let layout = opcode.shape().expect("known").layout;
    let (address, right_key, length) = malice.reth;
    Extension {
        reth: layout.reth.then_some(Reth {
            address,
            key: if right_key == 1 { key.0 } else { 0 },
            length,
        }),
        aeth: layout.aeth.then_some(Aeth {
            syndrome: match malice.syndrome % 3 {
                0 => Syndrome::Ack(31),
                1 => Syndrome::RnrNak(malice.syndrome & 31),
                _ => Syndrome::Reserved(malice.syndrome),
            },
            msn: 0,
        }),
        immediate: layout.immediate.then_some(1),
        invalidate: layout.invalidate.then_some(key.0),
        deth: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_malicious_peer_reaches_nothing_but_the_window(packets in proptest::collection::vec(malice(), 1..40)) {
        let mut network = Network::new(9, Weather::default(), Tuning::default());
        let pair = network.connect(PathMtu::Mtu256, 2);
        network.settle(10_000);
        let window = roce::Region {
            pd: PD,
            handle: roce::RegionHandle(0),
            offset: 4096,
            address: BASE,
            length: 1000,
            access: Access::REMOTE_READ.or(Access::REMOTE_WRITE),
        };
        let host = &mut network.hosts[1];
        let key = host.node.register(window).expect("room");
        host.memory[0].fill(0x5a);
        for wr_id in 0..4 {
            host.post_recv(pair.far, wr_id, 100_000, 700);
        }
        let expected = network.hosts[1].node.attributes(pair.far).expect("ready").expected_psn;
        for malice in &packets {
            let opcode = Opcode(malice.opcode);
            if opcode.shape().is_none_or(|shape| shape.layout.atomic || shape.layout.atomic_acknowledge) {
                continue;
            }
            let payload = if opcode.shape().expect("known").layout.payload { malice.payload } else { 0 };
            let psn = Psn::new(expected.value().wrapping_add(malice.psn_ahead.cast_unsigned()));
            let mut bth = Bth::new(opcode, pair.far.0, psn);
            bth.pad_count = pad_count(payload);
            let header = HeaderBytes::emit(bth, &extension(opcode, malice, key));
            let mut bytes = header.as_slice().to_vec();
            bytes.resize(bytes.len() + payload, 0xff);
            bytes.resize(bytes.len() + usize::from(bth.pad_count), 0);
            let path = network.path(0, 1);
            let ends = Ends { source: path.local, destination: path.remote };
            let crc = icrc::compute(&ends, &bytes, std::iter::empty(), 0, bytes.len() + 4);
            bytes.extend(crc.to_le_bytes());
            network.inject(path.local, std::net::SocketAddr::new(network.hosts[1].ip, UDP_PORT), bytes);
            network.settle(100);
        }
        prop_assert_eq!(network.hosts[1].node.statistics().bad_icrc, 0);
        let memory = &network.hosts[1].memory[0];
        prop_assert!(memory[..4096].iter().all(|byte| *byte == 0x5a));
        prop_assert!(memory[5096..100_000].iter().all(|byte| *byte == 0x5a));
        prop_assert!(memory[100_700..].iter().all(|byte| *byte == 0x5a));
        prop_assert!(network.hosts[1].completions.len() <= 4);
        let state = network.hosts[1].node.state(pair.far);
        prop_assert!(matches!(state, Some(State::ReadyToSend | State::Error)));
    }
}

#[test]
fn the_random_numbers_of_the_tests_are_what_they_were() {
    assert_eq!(Random(1).next(), 0x910a_2dec_8902_5cc1);
}
