use super::*;
use iobuf::{Arena, Pool};
use proptest::prelude::*;

const KEY: u32 = 0x11;
const LIMITS: SendLimits = SendLimits {
    depth: 15,
    max_inline_bytes: 48,
    max_message_bytes: 4096,
};

struct Bed {
    pool: Pool,
    queue: SendQueue,
    chain: Vec<WorkRequest>,
}

impl Bed {
    fn new(limits: SendLimits) -> Self {
        let arena = Arena::new(4 << 20).expect("map");
        Self {
            pool: Pool::buddy(&arena, 0..4 << 20, 1 << 20),
            queue: SendQueue::new(limits),
            chain: Vec::new(),
        }
    }

    fn buf(&self, len: usize) -> KeyedBuf {
        let buf = self.pool.take(len).expect("room");
        KeyedBuf { buf, key: KEY }
    }

    fn respond(&mut self, data: usize, segments: &[RemoteSegment], message: usize) {
        let data = (data > 0).then(|| self.buf(data));
        let message = self.buf(message);
        let queued = self.queue.queue_respond(data, segments, message, None);
        queued.expect("queued");
    }

    fn pull(&mut self, token: u64, len: usize, segments: &[RemoteSegment]) {
        let buf = self.buf(len);
        let queued = self.queue.queue_pull(token, buf, segments);
        queued.expect("queued");
    }

    /// The next chain, posted.
    fn post(&mut self) -> &[WorkRequest] {
        self.chain.clear();
        self.queue.fill(&mut self.chain);
        self.queue.posted();
        &self.chain
    }

    fn completed(&mut self) -> Vec<Completed> {
        std::iter::from_fn(|| self.queue.poll_completed()).collect()
    }

    fn bytes_in_use(&self) -> usize {
        self.pool.level().in_use_bytes
    }
}

fn segments(lengths: &[u32]) -> Vec<RemoteSegment> {
    let segment = |(index, &length): (usize, &u32)| RemoteSegment {
        address: (index as u64) << 32,
        key: index as u32,
        length,
    };
    lengths.iter().enumerate().map(segment).collect()
}

#[test]
fn a_response_writes_its_data_and_then_sends() {
    let mut bed = Bed::new(LIMITS);
    bed.respond(1000, &segments(&[600, 600]), 36);
    let chain = bed.post().to_vec();
    let operations: Vec<_> = chain.iter().map(|r| (r.operation, r.len)).collect();
    let expected = [
        (Operation::Write { address: 0, key: 0 }, 600),
        (
            Operation::Write {
                address: 1 << 32,
                key: 1,
            },
            400,
        ),
        (Operation::Send, 36),
    ];
    assert_eq!(operations, expected);
    assert_eq!(chain[1].address, chain[0].address + 600);
    let signalled: Vec<_> = chain.iter().map(|r| r.signalled).collect();
    assert_eq!(signalled, [false, false, true]);
    assert!(chain[2].inline && !chain[0].inline);
    assert!(bed.queue.retire(2, WorkStatus::Success));
    assert!(matches!(bed.completed()[..], [Completed::Sent]));
    assert_eq!(bed.bytes_in_use(), 0);
}

#[test]
fn an_inline_message_is_free_when_posted_and_a_longer_one_when_sent() {
    let mut bed = Bed::new(LIMITS);
    bed.respond(0, &[], 48);
    bed.post();
    assert_eq!(bed.bytes_in_use(), 0);
    bed.respond(0, &[], 49);
    assert!(!bed.post()[0].inline);
    assert!(bed.bytes_in_use() > 0);
    bed.queue.retire(1, WorkStatus::Success);
    assert_eq!(bed.bytes_in_use(), 0);
    assert_eq!(bed.completed().len(), 2);
}

#[test]
fn more_segments_than_room_go_out_in_pieces() {
    let mut bed = Bed::new(LIMITS);
    bed.respond(255 * 16, &segments(&[16; 255]), 36);
    let mut posted = 0;
    while bed.queue.has_pending() {
        let chain = bed.post();
        assert!(chain.last().is_some_and(|last| last.signalled));
        posted += chain.len();
        assert!(bed.post().is_empty(), "no room is left");
        bed.queue.retire(posted as u32 - 1, WorkStatus::Success);
    }
    assert_eq!(posted, 256);
    assert!(matches!(bed.completed()[..], [Completed::Sent]));
    assert!(bed.queue.is_drained());
}

#[test]
fn one_request_in_a_quarter_of_the_queue_is_signalled() {
    let mut bed = Bed::new(LIMITS);
    bed.respond(14, &segments(&[1; 14]), 36);
    let signalled: Vec<_> = bed.post().iter().map(|r| r.signalled).collect();
    let expected: Vec<_> = (0..15).map(|i| matches!(i, 3 | 7 | 11 | 14)).collect();
    assert_eq!(signalled, expected);
}

#[test]
fn a_pull_ends_with_a_signalled_read_and_long_segments_are_split() {
    let mut bed = Bed::new(LIMITS);
    bed.pull(7, 10_000, &segments(&[10_000]));
    bed.respond(0, &[], 36);
    let chain = bed.post().to_vec();
    let reads: Vec<_> = chain[..3]
        .iter()
        .map(|r| (r.operation, r.len, r.signalled))
        .collect();
    let read = |address| Operation::Read { address, key: 0 };
    let expected = [
        (read(0), 4096, false),
        (read(4096), 4096, false),
        (read(8192), 1808, true),
    ];
    assert_eq!(reads, expected);
    bed.queue.retire(2, WorkStatus::Success);
    match &bed.completed()[..] {
        [Completed::Pulled { token: 7, buf }] => assert_eq!(buf.len(), 10_000),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_written_beyond_what_the_peer_offers() {
    let mut bed = Bed::new(LIMITS);
    let (data, message) = (bed.buf(101), bed.buf(36));
    let refused = bed
        .queue
        .queue_respond(Some(data), &segments(&[50, 50]), message, None);
    let expected = PostError::SegmentsTooShort {
        data_len: 101,
        segments_len: 100,
    };
    assert_eq!(refused, Err(expected));
    assert!(bed.post().is_empty());
    assert_eq!(bed.bytes_in_use(), 0);
}

#[test]
fn a_pull_of_nothing_is_done_at_once() {
    let mut bed = Bed::new(LIMITS);
    bed.pull(1, 0, &segments(&[0, 16]));
    assert!(bed.post().is_empty());
    assert!(matches!(
        bed.completed()[..],
        [Completed::Pulled { token: 1, .. }]
    ));
}

#[test]
fn a_failure_keeps_posted_buffers_until_they_are_flushed() {
    let mut bed = Bed::new(LIMITS);
    bed.pull(1, 64, &segments(&[64]));
    bed.pull(2, 20, &segments(&[1; 20]));
    bed.pull(3, 64, &segments(&[64]));
    assert_eq!(bed.post().len(), 15);
    bed.queue.retire(0, WorkStatus::RemoteAccess);
    let failed = bed.completed();
    assert!(
        matches!(
            failed[..],
            [
                Completed::Failed {
                    token: Some(3),
                    status: WorkStatus::RemoteAccess
                },
                Completed::Failed { token: Some(1), .. }
            ]
        ),
        "{failed:?}"
    );
    assert_eq!(
        bed.bytes_in_use(),
        4096,
        "the half-posted pull is still the NIC's"
    );
    assert!(bed.post().is_empty());
    let late = bed.buf(16);
    let late = bed.queue.queue_pull(4, late, &segments(&[16]));
    assert_eq!(late, Err(PostError::QueuePairFailed));
    for sequence in 1..15 {
        assert!(!bed.queue.is_drained());
        assert!(bed.queue.retire(sequence, WorkStatus::Flushed));
    }
    assert!(bed.queue.is_drained());
    assert!(matches!(
        bed.completed()[..],
        [Completed::Failed { token: Some(2), .. }]
    ));
    assert_eq!(bed.bytes_in_use(), 0);
}

#[test]
fn completions_of_nothing_in_flight_are_refused() {
    let mut bed = Bed::new(LIMITS);
    assert!(!bed.queue.retire(0, WorkStatus::Success));
    bed.respond(0, &[], 36);
    bed.post();
    assert!(!bed.queue.retire(1, WorkStatus::Success));
    assert!(bed.queue.retire(0, WorkStatus::Success));
    assert!(!bed.queue.retire(0, WorkStatus::Success));
}

#[test]
fn what_could_not_be_posted_fails_with_what_was() {
    let mut bed = Bed::new(LIMITS);
    bed.pull(1, 64, &segments(&[64]));
    bed.pull(2, 64, &segments(&[32, 32]));
    bed.pull(3, 64, &segments(&[64]));
    bed.queue.fill(&mut bed.chain);
    bed.queue.not_posted(2);
    assert!(bed.completed().is_empty(), "two requests are in the queue");
    assert!(!bed.queue.is_drained());
    bed.queue.retire(1, WorkStatus::Flushed);
    assert!(bed.queue.is_drained());
    assert_eq!(bed.completed().len(), 3);
    assert_eq!(bed.bytes_in_use(), 0);
}

#[test]
fn a_chain_of_which_nothing_was_posted_fails_at_once() {
    let mut bed = Bed::new(LIMITS);
    bed.respond(64, &segments(&[64]), 36);
    bed.queue.fill(&mut bed.chain);
    bed.queue.not_posted(0);
    assert!(bed.queue.is_drained() && bed.queue.has_failed());
    assert!(matches!(
        bed.completed()[..],
        [Completed::Failed { token: None, .. }]
    ));
    assert_eq!(bed.bytes_in_use(), 0);
}

#[test]
fn sequence_numbers_wrap() {
    let mut bed = Bed::new(LIMITS);
    (bed.queue.next, bed.queue.oldest) = (u32::MAX - 1, u32::MAX - 1);
    for round in 0..4_u32 {
        bed.respond(0, &[], 36);
        bed.post();
        let sequence = (u32::MAX - 1).wrapping_add(round);
        assert!(bed.queue.retire(sequence, WorkStatus::Success));
        assert!(matches!(bed.completed()[..], [Completed::Sent]));
    }
}

/// One step of the model below.
#[derive(Clone, Debug)]
enum Step {
    Respond(usize, Vec<u32>),
    Pull(Vec<u32>),
    Post,
    Complete(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let lengths = || prop::collection::vec(0_u32..900, 0..20);
    let step = prop_oneof![
        (0_usize..9000, lengths()).prop_map(|(len, segments)| Step::Respond(len, segments)),
        lengths().prop_map(Step::Pull),
        Just(Step::Post),
        (0_usize..20).prop_map(Step::Complete),
    ];
    prop::collection::vec(step, 1..60)
}

proptest! {
    /// Every operation ends once and in order, every byte moves once, the queue never overflows, and no
    /// buffer is lost.
    #[test]
    fn operations_end_once_and_in_order(steps in steps()) {
        let mut bed = Bed::new(SendLimits { max_message_bytes: 512, ..LIMITS });
        let mut queued: Vec<Option<u64>> = Vec::new();
        let mut ended: Vec<Option<u64>> = Vec::new();
        let mut bytes = (0_u64, 0_u64);
        let mut signals: VecDeque<u32> = VecDeque::new();
        let mut in_flight = 0_u32;
        let mut retired = 0_u32;
        let finish = std::iter::repeat_n([Step::Post, Step::Complete(0)], 1500).flatten();
        for step in steps.into_iter().chain(finish) {
            match step {
                Step::Respond(len, lengths) => {
                    let total: u32 = lengths.iter().sum();
                    let len = len.min(total as usize);
                    bed.respond(len, &segments(&lengths), 36);
                    bytes.0 += len as u64;
                    queued.push(None);
                }
                Step::Pull(lengths) => {
                    let total: u32 = lengths.iter().sum();
                    if total == 0 {
                        continue;
                    }
                    bed.pull(queued.len() as u64, total as usize, &segments(&lengths));
                    bytes.0 += u64::from(total);
                    queued.push(Some(queued.len() as u64));
                }
                Step::Post => {
                    for request in bed.post() {
                        in_flight += 1;
                        prop_assert!(request.len <= 512);
                        if request.operation != Operation::Send {
                            bytes.1 += u64::from(request.len);
                        }
                        if request.signalled {
                            signals.push_back(request.sequence);
                        }
                    }
                    prop_assert!(in_flight <= LIMITS.depth);
                }
                Step::Complete(pick) => {
                    // A completion may come late, but in order.
                    let Some(&sequence) = signals.get(pick.min(signals.len().saturating_sub(1))) else {
                        continue;
                    };
                    signals.retain(|s| *s > sequence);
                    in_flight -= sequence + 1 - retired;
                    retired = sequence + 1;
                    prop_assert!(bed.queue.retire(sequence, WorkStatus::Success));
                }
            }
            for completed in bed.completed() {
                ended.push(match completed {
                    Completed::Pulled { token, .. } => Some(token),
                    Completed::Sent => None,
                    Completed::Failed { .. } => return Err(TestCaseError::fail("failed")),
                });
            }
        }
        prop_assert_eq!(ended, queued);
        prop_assert_eq!(bytes.0, bytes.1);
        prop_assert_eq!(bed.bytes_in_use(), 0);
    }
}
