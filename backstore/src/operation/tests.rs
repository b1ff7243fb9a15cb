use super::*;
use iobuf::Arena;
use std::sync::Arc;

const ALL: Abilities = Abilities {
    punch_hole: true,
    zero_range: true,
    discard: true,
};
const DIRECT: Limits = Limits {
    memory_align: 512,
    offset_align: 512,
};

/// An operation with what its steps are made with.
struct Rig {
    operation: Operation,
    known: Abilities,
    limits: Limits,
    bounce: Pool,
    counters: EngineCounters,
}

impl Rig {
    /// `make` gets a pool for the operation's buffer.
    fn new(make: impl FnOnce(&Pool) -> BlockOperation) -> Self {
        let arena: Arc<Arena> = Arena::new(2 << 20).expect("map");
        let data = Pool::buddy(&arena, 0..1 << 20, 1 << 20);
        let bounce = Pool::slots(&arena, 1 << 20..(1 << 20) + 3 * 4096, 4096);
        let zeroes = Rc::new(bounce.take(4096).expect("room"));
        let request = BlockRequest {
            task: TaskId {
                index: 1,
                generation: 2,
            },
            medium: MediumId(0),
            operation: make(&data),
        };
        Self {
            operation: Operation::new(request, ALL, &zeroes),
            known: ALL,
            limits: DIRECT,
            bounce,
            counters: EngineCounters::default(),
        }
    }

    fn next(&mut self) -> Next {
        let mut means = Means {
            limits: self.limits,
            bounce: &self.bounce,
            counters: &mut self.counters,
        };
        self.operation.next_step(&mut means)
    }

    fn step(&mut self) -> Step {
        match self.next() {
            Next::Issue(step) => step,
            other => panic!("{other:?} where a step was expected"),
        }
    }

    fn answer(&mut self, result: i32) -> Result<(), Failure> {
        let mut means = Means {
            limits: self.limits,
            bounce: &self.bounce,
            counters: &mut self.counters,
        };
        self.operation
            .handle_result(result, &mut self.known, &mut means)
    }
}

fn write(len: usize, durable: bool) -> impl FnOnce(&Pool) -> BlockOperation {
    move |pool| BlockOperation::Write {
        offset: 8192,
        buf: pool.take(len).expect("room"),
        durable,
    }
}

fn read(len: usize) -> impl FnOnce(&Pool) -> BlockOperation {
    move |pool| BlockOperation::Read {
        offset: 8192,
        buf: pool.take(len).expect("room"),
    }
}

fn zeroes(unmap: bool, durable: bool) -> impl FnOnce(&Pool) -> BlockOperation {
    move |_| BlockOperation::WriteZeroes {
        offset: 8192,
        len: 10240,
        durable,
        unmap,
    }
}

#[test]
fn a_durable_write_is_one_durable_step() {
    for durable in [true, false] {
        let mut rig = Rig::new(write(4096, durable));
        let Step::Write {
            durable: found,
            len: 4096,
            offset: 8192,
            ..
        } = rig.step()
        else {
            panic!("no write of it all");
        };
        assert_eq!(found, durable);
        assert_eq!(rig.answer(4096), Ok(()));
        assert_eq!(rig.next(), Next::Finished);
    }
}

#[test]
fn a_short_transfer_goes_on_where_it_stopped() {
    let mut rig = Rig::new(read(4096));
    let Step::Read { address, .. } = rig.step() else {
        panic!("no read");
    };
    assert_eq!(rig.answer(1024), Ok(()));
    let expected = Step::Read {
        address: address + 1024,
        len: 3072,
        offset: 9216,
    };
    assert_eq!(rig.step(), expected);
    assert_eq!(rig.counters.short_transfers, 1);
    assert_eq!(rig.answer(3072), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
}

#[test]
fn a_short_direct_transfer_goes_on_at_an_aligned_offset() {
    let mut rig = Rig::new(write(4096, false));
    rig.step();
    assert_eq!(rig.answer(1500), Ok(()));
    assert!(matches!(
        rig.step(),
        Step::Write {
            offset: 9216,
            len: 3072,
            ..
        }
    ));
}

#[test]
fn a_transfer_that_does_not_move_ends() {
    for result in [0, 511] {
        let mut rig = Rig::new(read(4096));
        rig.step();
        assert_eq!(rig.answer(result), Err(Failure::Ended));
        assert_eq!(rig.operation.position(), 8192);
    }
}

#[test]
fn an_interrupted_step_is_tried_again_but_not_for_ever() {
    let mut rig = Rig::new(write(4096, false));
    for _ in 0..RETRIES {
        rig.step();
        assert_eq!(rig.answer(-libc::EINTR), Ok(()));
    }
    rig.step();
    assert_eq!(rig.answer(-libc::EAGAIN), Err(Failure::Errno(libc::EAGAIN)));
}

#[test]
fn an_interrupted_cancelled_step_is_cancelled() {
    let mut rig = Rig::new(write(4096, false));
    rig.step();
    rig.operation.cancelled = true;
    let cancelled = Err(Failure::Errno(libc::ECANCELED));
    assert_eq!(rig.answer(-libc::EINTR), cancelled);
}

#[test]
fn what_is_done_is_not_cancelled_any_more() {
    let mut rig = Rig::new(write(4096, false));
    rig.step();
    rig.operation.cancelled = true;
    assert_eq!(rig.answer(4096), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
}

#[test]
fn a_cancelled_operation_stops_between_its_steps() {
    let mut rig = Rig::new(write(4096, false));
    rig.step();
    rig.operation.cancelled = true;
    assert_eq!(rig.answer(1024), Ok(()));
    assert_eq!(rig.next(), Next::Cancelled);
    assert_eq!(rig.operation.position(), 9216);
    assert!(!rig.operation.is_issued());
    let mut rig = Rig::new(|_| BlockOperation::Flush);
    rig.operation.cancelled = true;
    assert_eq!(rig.next(), Next::Cancelled);
}

#[test]
fn a_flush_is_one_sync() {
    let mut rig = Rig::new(|_| BlockOperation::Flush);
    assert_eq!(rig.step(), Step::Sync);
    assert_eq!(rig.answer(0), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
}

#[test]
fn a_failed_sync_is_no_success() {
    let mut rig = Rig::new(|_| BlockOperation::Flush);
    rig.step();
    assert_eq!(rig.answer(-libc::EIO), Err(Failure::Errno(libc::EIO)));
}

#[test]
fn zeroes_that_may_be_holes_are_punched_and_made_durable() {
    let mut rig = Rig::new(zeroes(true, true));
    let expected = Step::PunchHole {
        offset: 8192,
        len: 10240,
    };
    assert_eq!(rig.step(), expected);
    assert_eq!(rig.answer(0), Ok(()));
    assert_eq!(rig.step(), Step::Sync);
    assert_eq!(rig.answer(0), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
}

#[test]
fn zeroes_that_must_stay_allocated_are_not_punched() {
    let mut rig = Rig::new(zeroes(false, false));
    assert!(matches!(rig.step(), Step::ZeroRange { .. }));
}

#[test]
fn zeroes_are_written_in_pieces_where_nothing_else_works() {
    let mut rig = Rig::new(zeroes(true, true));
    assert!(matches!(rig.step(), Step::PunchHole { .. }));
    assert_eq!(rig.answer(-libc::EOPNOTSUPP), Ok(()));
    assert!(matches!(rig.step(), Step::ZeroRange { .. }));
    assert_eq!(rig.answer(-libc::EOPNOTSUPP), Ok(()));
    let mut pieces = Vec::new();
    while let Next::Issue(Step::Write { offset, len, .. }) = rig.next() {
        pieces.push((offset, len));
        assert_eq!(rig.answer(len as i32), Ok(()));
    }
    assert_eq!(pieces, [(8192, 4096), (12288, 4096), (16384, 2048)]);
    assert_eq!(rig.operation.issued, Some(Step::Sync));
    assert!(!rig.known.punch_hole && !rig.known.zero_range);
}

#[test]
fn a_range_that_is_refused_once_is_not_given_up_for_ever() {
    let mut rig = Rig::new(zeroes(true, false));
    rig.step();
    assert_eq!(rig.answer(-libc::EINVAL), Ok(()));
    assert!(matches!(rig.step(), Step::ZeroRange { .. }));
    assert_eq!(rig.known, ALL);
}

#[test]
fn an_unmap_that_cannot_be_done_leaves_things_as_they_are() {
    let mut rig = Rig::new(|_| BlockOperation::Unmap {
        offset: 512,
        len: 1024,
    });
    let (offset, len) = (512, 1024);
    assert_eq!(rig.step(), Step::PunchHole { offset, len });
    assert_eq!(rig.answer(-libc::EOPNOTSUPP), Ok(()));
    assert_eq!(rig.step(), Step::Discard { offset, len });
    assert_eq!(rig.answer(-libc::EOPNOTSUPP), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
}

#[test]
fn a_real_failure_of_an_unmap_is_told() {
    let mut rig = Rig::new(|_| BlockOperation::Unmap {
        offset: 512,
        len: 1024,
    });
    rig.step();
    assert_eq!(rig.answer(-libc::EIO), Err(Failure::Errno(libc::EIO)));
}

/// A buffer that starts at an odd address, filled with a pattern.
fn odd_buf(pool: &Pool, len: usize) -> Buf {
    let mut buf = pool.take(len + 3).expect("room");
    assert!(buf.set_window(3, len));
    for (at, byte) in buf.iter_mut().enumerate() {
        *byte = at as u8;
    }
    buf
}

#[test]
fn misaligned_writes_go_through_a_bounce_buffer_piece_by_piece() {
    let mut rig = Rig::new(|pool| BlockOperation::Write {
        offset: 0,
        buf: odd_buf(pool, 6144),
        durable: true,
    });
    let mut pieces = Vec::new();
    while let Next::Issue(Step::Write {
        address,
        offset,
        len,
        durable,
    }) = rig.next()
    {
        assert!(durable && address % 4096 == 0);
        let bounce = rig.operation.bounce.as_ref().expect("bounce");
        assert_eq!(address, bounce.address());
        assert!((0..len).all(|at| bounce[at as usize] == (offset as u32 + at) as u8));
        pieces.push((offset, len));
        assert_eq!(rig.answer(len as i32), Ok(()));
    }
    assert_eq!(pieces, [(0, 4096), (4096, 2048)]);
    assert_eq!(rig.counters.bounced, 1);
}

#[test]
fn misaligned_reads_are_copied_to_their_place() {
    let mut rig = Rig::new(|pool| BlockOperation::Read {
        offset: 0,
        buf: odd_buf(pool, 1024),
    });
    rig.step();
    rig.operation.bounce.as_mut().expect("bounce").fill(0x5A);
    assert_eq!(rig.answer(1024), Ok(()));
    assert_eq!(rig.next(), Next::Finished);
    let buf = rig.operation.into_buf().expect("buffer");
    assert_eq!(&*buf, &[0x5A; 1024]);
}

#[test]
fn a_misaligned_buffer_is_no_matter_to_the_page_cache() {
    let mut rig = Rig::new(|pool| BlockOperation::Read {
        offset: 0,
        buf: odd_buf(pool, 1024),
    });
    rig.limits = Limits::BUFFERED;
    rig.step();
    assert_eq!(rig.counters.bounced, 0);
}

#[test]
fn without_a_bounce_buffer_nothing_is_issued() {
    let mut rig = Rig::new(|pool| BlockOperation::Read {
        offset: 0,
        buf: odd_buf(pool, 1024),
    });
    let held: Vec<_> = std::iter::from_fn(|| rig.bounce.take(1)).collect();
    assert_eq!(rig.next(), Next::NoBounce);
    drop(held);
    assert!(matches!(rig.next(), Next::Issue(_)));
}

#[test]
fn nothing_to_move_is_done_at_once() {
    let mut rig = Rig::new(|pool| BlockOperation::Read {
        offset: 0,
        buf: pool.take(0).expect("room"),
    });
    assert_eq!(rig.next(), Next::Finished);
}
