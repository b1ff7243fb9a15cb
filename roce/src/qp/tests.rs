use std::net::SocketAddr;

use super::*;
use crate::memory::{Key, Region, RegionHandle};
use crate::packet::{Aeth, Nak, Reth, Syndrome};
use crate::work::{CompletionKind, Operation, Remote, Sge};

const PD: Pd = Pd(1);
const BASE: u64 = 0x1000;

/// One end of a connection, without a node around it.
struct End {
    pair: QueuePair,
    keys: Keys,
    key: Key,
    memory: Vec<Vec<u8>>,
    completions: VecDeque<Completion>,
    statistics: Statistics,
    now_us: u64,
}

impl End {
    fn new(tuning: Tuning) -> Self {
        let access = Access::REMOTE_READ.or(Access::REMOTE_WRITE);
        let config = QueuePairConfig {
            pd: PD,
            access,
            send_capacity: 16,
            recv_capacity: 16,
        };
        let mut pair = QueuePair::new(config, tuning);
        let nowhere: SocketAddr = "10.0.0.1:4791".parse().expect("address");
        let rtr = RtrAttributes {
            path: Path {
                local: nowhere,
                remote: nowhere,
            },
            responder_resources: 2,
            min_rnr_timer: 12,
            ..RtrAttributes::default()
        };
        pair.make_ready_to_receive(rtr).expect("RTR");
        let rts = RtsAttributes {
            timeout: 14,
            retry_count: 3,
            rnr_retry: 2,
            initiator_depth: 2,
            ..RtsAttributes::default()
        };
        pair.make_ready_to_send(rts).expect("RTS");
        let mut keys = Keys::new(1);
        let region = Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: 0,
            address: BASE,
            length: 65536,
            access: access.or(Access::LOCAL_WRITE),
        };
        let key = keys.register(region).expect("room");
        Self {
            pair,
            keys,
            key,
            memory: vec![vec![0; 65536]],
            completions: VecDeque::new(),
            statistics: Statistics::default(),
            now_us: 0,
        }
    }

    fn sge(&self, length: u32) -> Sge {
        Sge {
            address: BASE,
            length,
            key: self.key,
        }
    }

    fn post(&mut self, operation: Operation, length: u32, signaled: bool) {
        self.post_with(operation, length, signaled, false);
    }

    fn post_with(&mut self, operation: Operation, length: u32, signaled: bool, fence: bool) {
        let sges = [self.sge(length)];
        let request = SendRequest {
            wr_id: 1,
            operation,
            sges: &sges,
            signaled,
            fence,
            solicited: true,
        };
        let mut report = Report {
            qp: QueuePairNumber(1),
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        self.pair
            .post_send(&request, &self.keys, &mut report)
            .expect("posted");
    }

    fn post_recv(&mut self, length: u32) {
        let sges = [self.sge(length)];
        let request = RecvRequest {
            wr_id: 2,
            sges: &sges,
        };
        let mut report = Report {
            qp: QueuePairNumber(1),
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        self.pair
            .post_recv(&request, &self.keys, &mut report)
            .expect("posted");
    }

    fn poll(&mut self) -> Option<Emission> {
        let mut report = Report {
            qp: QueuePairNumber(1),
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        self.pair.poll(&self.keys, self.now_us, &mut report)
    }

    fn poll_all(&mut self) -> Vec<Emission> {
        std::iter::from_fn(|| self.poll()).collect()
    }

    fn deliver(&mut self, emission: &Emission) {
        let mut bth = crate::packet::Bth::new(emission.opcode, 1, emission.psn);
        bth.ack_request = emission.ack_request;
        bth.solicited = emission.solicited;
        let length = usize::try_from(emission.payload.length()).expect("short");
        let payload = vec![0x77; length];
        let packet = Packet {
            bth,
            shape: emission.opcode.shape().expect("known"),
            extension: emission.extension,
            payload: &payload,
        };
        let mut report = Report {
            qp: QueuePairNumber(1),
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        let (memory, keys) = (&mut self.memory, &mut self.keys);
        self.pair
            .handle_packet(&packet, memory, keys, None, self.now_us, &mut report);
    }

    fn answer(&mut self, psn: u32, syndrome: Syndrome) {
        let emission = Emission {
            opcode: Opcode::RC_ACKNOWLEDGE,
            psn: Psn::new(psn),
            ack_request: false,
            solicited: false,
            extension: Extension {
                aeth: Some(Aeth { syndrome, msn: 0 }),
                ..Extension::default()
            },
            payload: Segments::default(),
        };
        self.deliver(&emission);
    }

    fn pass(&mut self, time_us: u64) {
        self.now_us += time_us;
        let mut report = Report {
            qp: QueuePairNumber(1),
            completions: &mut self.completions,
            statistics: &mut self.statistics,
        };
        self.pair.handle_timeout(self.now_us, &mut report);
    }

    fn remote(&self) -> Remote {
        Remote {
            address: BASE,
            key: self.key,
        }
    }
}

fn psns(emissions: &[Emission]) -> Vec<u32> {
    emissions
        .iter()
        .map(|emission| emission.psn.value())
        .collect()
}

fn syndrome(emission: &Emission) -> Syndrome {
    emission.extension.aeth.expect("AETH").syndrome
}

#[test]
fn one_acknowledge_answers_a_whole_batch() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    for _ in 0..5 {
        near.post(Operation::Send, 300, true);
        far.post_recv(1000);
    }
    for packet in near.poll_all() {
        far.deliver(&packet);
    }
    let answers = far.poll_all();
    assert_eq!(psns(&answers), [9]);
    assert_eq!(
        answers[0].extension.aeth,
        Some(Aeth {
            syndrome: Syndrome::ACK,
            msn: 5
        })
    );
    near.deliver(&answers[0]);
    assert_eq!(near.completions.len(), 5);
    assert_eq!(near.pair.deadline_us(), None);
}

#[test]
fn unsignaled_requests_before_a_signaled_one_ask_for_nothing() {
    let mut near = End::new(Tuning::default());
    near.post(Operation::Write(near.remote()), 300, false);
    near.post(Operation::Send, 10, true);
    let asks: Vec<_> = near
        .poll_all()
        .iter()
        .map(|packet| packet.ack_request)
        .collect();
    assert_eq!(asks, [false, false, true]);
    near.answer(2, Syndrome::ACK);
    assert_eq!(near.completions.len(), 1);
    near.post(Operation::Write(near.remote()), 1, false);
    assert!(
        near.poll().expect("packet").ack_request,
        "nothing follows that would ask"
    );
}

#[test]
fn the_window_stops_the_sender_and_asks_for_acknowledges_on_the_way() {
    let tuning = Tuning {
        window: 8,
        ack_interval: 3,
        read_chunk: 4,
    };
    let mut near = End::new(tuning);
    near.post(Operation::Write(near.remote()), 20 * 256, true);
    let sent = near.poll_all();
    assert_eq!(sent.len(), 8);
    assert_eq!(sent.iter().filter(|packet| packet.ack_request).count(), 2);
    near.answer(3, Syndrome::ACK);
    assert_eq!(psns(&near.poll_all()), [8, 9, 10, 11]);
}

#[test]
fn a_read_is_asked_for_in_chunks_up_to_the_initiator_depth() {
    let tuning = Tuning {
        window: 64,
        ack_interval: 3,
        read_chunk: 4,
    };
    let (mut near, mut far) = (End::new(tuning), End::new(tuning));
    near.post(Operation::Read(near.remote()), 10 * 256 + 1, true);
    let asked = near.poll_all();
    assert_eq!(psns(&asked), [0, 4], "two at a time");
    let reth = asked[1].extension.reth.expect("RETH");
    assert_eq!((reth.address, reth.length), (BASE + 1024, 1024));
    for request in &asked {
        far.deliver(request);
    }
    let answers = far.poll_all();
    assert_eq!(psns(&answers), [0, 1, 2, 3, 4, 5, 6, 7]);
    for answer in &answers {
        near.deliver(answer);
    }
    let rest = near.poll_all();
    assert_eq!(psns(&rest), [8]);
    assert_eq!(rest[0].extension.reth.map(|reth| reth.length), Some(513));
}

#[test]
fn a_fence_waits_for_reads() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    near.post(Operation::Read(near.remote()), 10, true);
    near.post_with(Operation::Send, 10, true, true);
    let first = near.poll_all();
    assert_eq!(psns(&first), [0]);
    far.deliver(&first[0]);
    for answer in far.poll_all() {
        near.deliver(&answer);
    }
    assert_eq!(psns(&near.poll_all()), [1]);
}

#[test]
fn a_lost_response_is_asked_for_again_once() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    near.post(Operation::Read(near.remote()), 5 * 256, true);
    far.deliver(&near.poll().expect("request"));
    let answers = far.poll_all();
    for answer in [&answers[0], &answers[2], &answers[3], &answers[4]] {
        near.deliver(answer);
    }
    let again = near.poll_all();
    assert_eq!(psns(&again), [1]);
    assert_eq!(
        again[0].extension.reth.map(|reth| reth.length),
        Some(4 * 256)
    );
    far.deliver(&again[0]);
    let repeated = far.poll_all();
    let opcodes: Vec<_> = repeated.iter().map(|packet| packet.opcode).collect();
    let middle = Opcode::RC_RDMA_READ_RESPONSE_MIDDLE;
    let last = Opcode::RC_RDMA_READ_RESPONSE_LAST;
    assert_eq!(opcodes, [middle, middle, middle, last], "as rxe repeats");
    for answer in &repeated {
        near.deliver(answer);
    }
    assert_eq!(near.completions[0].status, Status::Success);
    assert_eq!(near.completions[0].kind, CompletionKind::Read);
}

#[test]
fn a_repeated_read_must_be_a_part_of_the_old_one() {
    let mut far = End::new(Tuning::default());
    let request = |address, length, psn| Emission {
        opcode: Opcode::RC_RDMA_READ_REQUEST,
        psn: Psn::new(psn),
        ack_request: true,
        solicited: false,
        extension: Extension {
            reth: Some(Reth {
                address,
                key: 0,
                length,
            }),
            ..Extension::default()
        },
        payload: Segments::default(),
    };
    let with_key = |mut emission: Emission, key: Key| {
        if let Some(reth) = &mut emission.extension.reth {
            reth.key = key.0;
        }
        emission
    };
    let key = far.key;
    far.deliver(&with_key(request(BASE, 1024, 0), key));
    assert_eq!(far.poll_all().len(), 4);
    far.deliver(&with_key(request(BASE + 256, 768, 1), key));
    assert_eq!(psns(&far.poll_all()), [1, 2, 3]);
    let wrong = [
        with_key(request(BASE + 512, 256, 1), key),
        with_key(request(BASE + 256, 1024, 1), key),
        request(BASE + 256, 768, 1),
    ];
    for other in &wrong {
        far.deliver(other);
        assert!(far.poll_all().is_empty());
    }
    assert_eq!(far.statistics.duplicate_requests, 4);
}

#[test]
fn a_gap_is_reported_once_and_forgotten_when_it_closes() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    for _ in 0..4 {
        near.post(Operation::Send, 10, true);
        far.post_recv(1000);
    }
    let sent = near.poll_all();
    far.deliver(&sent[1]);
    far.deliver(&sent[2]);
    let naks = far.poll_all();
    assert_eq!(psns(&naks), [0]);
    assert_eq!(syndrome(&naks[0]), Syndrome::Nak(Nak::Sequence));
    far.deliver(&sent[3]);
    assert!(far.poll_all().is_empty());
    near.deliver(&naks[0]);
    near.deliver(&naks[0]);
    let again = near.poll_all();
    assert_eq!(psns(&again), [0, 1, 2, 3], "once, whatever comes twice");
    for packet in &again {
        far.deliver(packet);
    }
    let acks = far.poll_all();
    assert_eq!((psns(&acks), syndrome(&acks[0])), (vec![3], Syndrome::ACK));
    near.deliver(&acks[0]);
    near.post(Operation::Send, 10, true);
    near.post(Operation::Send, 10, true);
    far.deliver(&near.poll_all()[1]);
    let naks = far.poll_all();
    assert_eq!(
        (psns(&naks), syndrome(&naks[0])),
        (vec![4], Syndrome::Nak(Nak::Sequence))
    );
}

#[test]
fn a_duplicate_is_acknowledged_up_to_now_and_not_executed_again() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    near.post(Operation::Send, 10, true);
    near.post(Operation::Send, 10, true);
    far.post_recv(1000);
    far.post_recv(1000);
    let sent = near.poll_all();
    for packet in &sent {
        far.deliver(packet);
    }
    far.poll_all();
    far.deliver(&sent[0]);
    assert_eq!(psns(&far.poll_all()), [1]);
    assert_eq!(far.completions.len(), 2);
}

#[test]
fn not_ready_waits_as_long_as_the_peer_says_and_gives_up_in_the_end() {
    let mut near = End::new(Tuning::default());
    near.post(Operation::Send, 10, true);
    for _ in 0..2 {
        assert_eq!(near.poll_all().len(), 1);
        near.answer(0, Syndrome::RnrNak(12));
        assert!(near.poll().is_none());
        assert_eq!(near.pair.deadline_us(), Some(near.now_us + 640));
        near.pass(639);
        assert!(near.poll().is_none());
        near.pass(1);
    }
    assert_eq!(near.poll_all().len(), 1);
    near.answer(0, Syndrome::RnrNak(12));
    assert_eq!(near.completions[0].status, Status::RnrRetryExceeded);
    assert_eq!(near.pair.state(), State::Error);
}

#[test]
fn a_responder_that_is_not_ready_says_so_once_and_takes_the_repetition() {
    let (mut near, mut far) = (End::new(Tuning::default()), End::new(Tuning::default()));
    near.post(Operation::Send, 10, true);
    near.post(Operation::Send, 10, true);
    let sent = near.poll_all();
    far.deliver(&sent[0]);
    far.deliver(&sent[1]);
    let answers = far.poll_all();
    assert_eq!(psns(&answers), [0]);
    assert_eq!(syndrome(&answers[0]), Syndrome::RnrNak(12));
    far.post_recv(10);
    far.deliver(&sent[0]);
    assert_eq!(syndrome(&far.poll_all()[0]), Syndrome::ACK);
}

#[test]
fn timeouts_double_and_end_with_retry_exceeded() {
    let mut near = End::new(Tuning::default());
    near.post(Operation::Send, 10, true);
    let mut waits = Vec::new();
    while near.completions.is_empty() {
        near.poll_all();
        let due = near.pair.deadline_us().expect("armed");
        waits.push(due - near.now_us);
        near.pass(due - near.now_us);
    }
    assert_eq!(waits, [67_108, 134_216, 268_432, 536_864]);
    assert_eq!(near.completions[0].status, Status::TransportRetryExceeded);
}

#[test]
fn every_nak_ends_the_oldest_request_with_its_own_status() {
    let cases = [
        (Nak::InvalidRequest, Status::RemoteInvalidRequestError),
        (Nak::RemoteAccess, Status::RemoteAccessError),
        (Nak::RemoteOperational, Status::RemoteOperationError),
        (Nak::Other(9), Status::RemoteOperationError),
    ];
    for (nak, status) in cases {
        let mut near = End::new(Tuning::default());
        for _ in 0..3 {
            near.post(Operation::Send, 10, true);
        }
        near.poll_all();
        near.answer(1, Syndrome::Nak(nak));
        let seen: Vec<_> = near
            .completions
            .iter()
            .map(|completion| completion.status)
            .collect();
        assert_eq!(seen, [Status::Success, status, Status::Flushed]);
        assert_eq!(near.pair.state(), State::Error);
        assert!(near.poll().is_none());
    }
}

#[test]
fn wild_acknowledges_are_counted_and_ignored() {
    let mut near = End::new(Tuning::default());
    near.post(Operation::Send, 300, true);
    near.answer(0, Syndrome::ACK);
    near.poll_all();
    for psn in [2, 3, 0x7f_ffff, 0x80_0000, 0xff_ffff] {
        near.answer(psn, Syndrome::Nak(Nak::RemoteAccess));
    }
    assert_eq!(near.statistics.stale_responses, 6);
    near.answer(1, Syndrome::Reserved(0x40));
    assert_eq!(near.statistics.bad_responses, 1);
    assert!(near.completions.is_empty());
    near.answer(1, Syndrome::ACK);
    assert_eq!(near.completions.len(), 1);
}

#[test]
fn a_response_to_what_is_no_read_is_counted_and_ignored() {
    let mut near = End::new(Tuning::default());
    near.post(Operation::Send, 10, true);
    near.poll_all();
    let response = Emission {
        opcode: Opcode::RC_RDMA_READ_RESPONSE_ONLY,
        psn: Psn::new(0),
        ack_request: false,
        solicited: false,
        extension: Extension::default(),
        payload: Segments::default(),
    };
    near.deliver(&response);
    assert_eq!(near.statistics.bad_responses, 1);
    assert!(near.completions.is_empty());
}

/// A request packet as a peer could make it.
fn request(opcode: Opcode, psn: u32, length: u32, reth: Option<Reth>) -> Emission {
    Emission {
        opcode,
        psn: Psn::new(psn),
        ack_request: true,
        solicited: false,
        extension: Extension {
            reth,
            ..Extension::default()
        },
        payload: Segments::single(crate::work::Segment {
            region: RegionHandle(0),
            offset: 0,
            length,
        }),
    }
}

#[test]
fn requests_out_of_order_or_of_a_wrong_length_are_invalid() {
    let key = End::new(Tuning::default()).key.0;
    let reth = |length| {
        Some(Reth {
            address: BASE,
            key,
            length,
        })
    };
    let cases = [
        vec![request(Opcode::RC_SEND_MIDDLE, 0, 256, None)],
        vec![request(Opcode::RC_SEND_FIRST, 0, 255, None)],
        vec![request(Opcode::RC_SEND_ONLY, 0, 257, None)],
        vec![
            request(Opcode::RC_SEND_FIRST, 0, 256, None),
            request(Opcode::RC_SEND_LAST, 1, 0, None),
        ],
        vec![
            request(Opcode::RC_SEND_FIRST, 0, 256, None),
            request(Opcode::RC_RDMA_WRITE_LAST, 1, 10, None),
        ],
        vec![
            request(Opcode::RC_SEND_FIRST, 0, 256, None),
            request(Opcode::RC_SEND_ONLY, 1, 10, None),
        ],
        vec![request(Opcode::RC_RDMA_WRITE_ONLY, 0, 10, reth(11))],
        vec![request(Opcode::RC_RDMA_WRITE_ONLY, 0, 10, reth(9))],
        vec![request(Opcode::RC_RDMA_WRITE_ONLY, 0, 0, reth(u32::MAX))],
        vec![request(Opcode::RC_RDMA_READ_REQUEST, 0, 0, reth(u32::MAX))],
        vec![request(Opcode::RC_COMPARE_SWAP, 0, 0, None)],
        vec![request(Opcode::RC_FETCH_ADD, 0, 0, None)],
    ];
    for case in cases {
        let mut far = End::new(Tuning::default());
        far.post_recv(1000);
        for packet in &case {
            far.deliver(packet);
        }
        assert_eq!(far.pair.state(), State::Error, "{case:?}");
        let answers = far.poll_all();
        let last = answers.last().expect("the last word");
        assert_eq!(
            syndrome(last),
            Syndrome::Nak(Nak::InvalidRequest),
            "{case:?}"
        );
        assert_ne!(far.completions[0].status, Status::Success);
        assert!(far.poll_all().is_empty());
    }
}

#[test]
fn a_write_whose_key_goes_away_on_the_way_is_refused() {
    let mut far = End::new(Tuning::default());
    let reth = Reth {
        address: BASE,
        key: far.key.0,
        length: 512,
    };
    far.deliver(&request(Opcode::RC_RDMA_WRITE_FIRST, 0, 256, Some(reth)));
    assert_eq!(far.memory[0][..256], [0x77; 256]);
    far.keys.deregister(far.key);
    far.deliver(&request(Opcode::RC_RDMA_WRITE_LAST, 1, 256, None));
    let answers = far.poll_all();
    let last = answers.last().expect("NAK");
    assert_eq!(syndrome(last), Syndrome::Nak(Nak::RemoteAccess));
    assert_eq!(far.memory[0][256..512], [0; 256]);
}

#[test]
fn a_read_whose_key_goes_away_on_the_way_is_refused() {
    let mut far = End::new(Tuning::default());
    let reth = Reth {
        address: BASE,
        key: far.key.0,
        length: 512,
    };
    far.deliver(&request(Opcode::RC_RDMA_READ_REQUEST, 0, 0, Some(reth)));
    assert!(far.poll().is_some());
    far.keys.deregister(far.key);
    let nak = far.poll().expect("NAK");
    assert_eq!(
        (nak.psn, syndrome(&nak)),
        (Psn::new(1), Syndrome::Nak(Nak::RemoteAccess))
    );
    assert_eq!(far.pair.state(), State::Error);
}

#[test]
fn a_late_copy_of_a_read_finds_its_key_gone_and_harms_nobody() {
    let mut far = End::new(Tuning::default());
    let reth = Reth {
        address: BASE,
        key: far.key.0,
        length: 512,
    };
    let read = request(Opcode::RC_RDMA_READ_REQUEST, 0, 0, Some(reth));
    far.deliver(&read);
    assert_eq!(far.poll_all().len(), 2);
    far.deliver(&read);
    assert!(far.poll().is_some(), "repeated while the key is there");
    far.keys.deregister(far.key);
    assert!(far.poll_all().is_empty());
    far.deliver(&read);
    assert!(far.poll_all().is_empty());
    assert_eq!(far.pair.state(), State::ReadyToSend);
    assert_eq!(far.statistics.refused_requests, 0);
}

#[test]
fn a_transfer_of_no_bytes_needs_no_key() {
    let mut far = End::new(Tuning::default());
    let reth = Reth {
        address: 0,
        key: 0,
        length: 0,
    };
    far.deliver(&request(Opcode::RC_RDMA_WRITE_ONLY, 0, 0, Some(reth)));
    far.deliver(&request(Opcode::RC_RDMA_READ_REQUEST, 1, 0, Some(reth)));
    assert_eq!(psns(&far.poll_all()), [1]);
    assert_eq!(far.pair.state(), State::ReadyToSend);
}

#[test]
fn states_are_entered_in_order_only() {
    let config = QueuePairConfig {
        pd: PD,
        access: Access::default(),
        send_capacity: 1,
        recv_capacity: 1,
    };
    let mut pair = QueuePair::new(config, Tuning::default());
    assert!(pair.make_ready_to_send(RtsAttributes::default()).is_err());
    assert!(pair.drain_send_queue().is_err());
    assert!(pair.make_ready_to_receive(RtrAttributes::default()).is_ok());
    assert!(
        pair.make_ready_to_receive(RtrAttributes::default())
            .is_err()
    );
    assert!(pair.drain_send_queue().is_err());
    assert!(pair.make_ready_to_send(RtsAttributes::default()).is_ok());
    let error = pair
        .make_ready_to_receive(RtrAttributes::default())
        .expect_err("RTS");
    let text = "a queue pair in state ReadyToSend cannot go to ReadyToReceive";
    assert_eq!(error.to_string(), text);
}

#[test]
fn queues_are_bounded() {
    let mut near = End::new(Tuning::default());
    for _ in 0..16 {
        near.post(Operation::Send, 1, true);
        near.post_recv(1);
    }
    let sges = [near.sge(1)];
    let send = SendRequest {
        wr_id: 0,
        operation: Operation::Send,
        sges: &sges,
        signaled: true,
        fence: false,
        solicited: false,
    };
    let recv = RecvRequest {
        wr_id: 0,
        sges: &sges,
    };
    let mut report = Report {
        qp: QueuePairNumber(1),
        completions: &mut near.completions,
        statistics: &mut near.statistics,
    };
    let refused = near.pair.post_send(&send, &near.keys, &mut report);
    assert_eq!(refused, Err(PostError::Full(16)));
    let refused = near.pair.post_recv(&recv, &near.keys, &mut report);
    assert_eq!(refused, Err(PostError::Full(16)));
}

#[test]
fn path_mtus_fit_their_interfaces() {
    assert_eq!(PathMtu::for_interface(1500), PathMtu::Mtu1024);
    assert_eq!(PathMtu::for_interface(4200), PathMtu::Mtu4096);
    assert_eq!(PathMtu::for_interface(65536), PathMtu::Mtu4096);
    assert_eq!(PathMtu::for_interface(100), PathMtu::Mtu256);
    for mtu in PathMtu::ALL {
        assert_eq!(PathMtu::from_code(mtu.code()), Some(mtu));
    }
    assert_eq!(PathMtu::from_code(0), None);
    assert_eq!(PathMtu::from_code(6), None);
}
