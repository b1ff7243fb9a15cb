//! Stalled media, cancelled operations, and an engine that goes while operations run.

use super::*;
use std::thread;

fn read(rig: &Rig) -> BlockOperation {
    BlockOperation::Read {
        offset: 0,
        buf: rig.pool.take(512).expect("room"),
    }
}

fn is_cancelled(completion: &BlockCompletion) -> bool {
    matches!(
        completion.result,
        Err(BlockError {
            kind: BlockErrorKind::Cancelled,
            errno: libc::ECANCELED,
            ..
        })
    )
}

#[test]
fn a_stalled_medium_holds_operations_and_lets_all_of_them_go() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    for (id, medium) in [
        rig.attach_file(folder.path(), MIB),
        rig.attach_ram(MIB),
        rig.attach(StoreConfig::Null { size_bytes: 4096 }),
    ] {
        medium.stall(true);
        let tasks: Vec<_> = (0..5).map(|_| rig.submit(id, read(&rig))).collect();
        rig.engine.turn(Wait::No).expect("turn");
        assert!(rig.engine.poll().is_none());
        assert_eq!(rig.engine.counters().in_flight, 5);
        // From another thread, while the engine sleeps.
        let switch = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            medium.stall(false);
        });
        for task in tasks {
            let completion = rig.wait();
            assert_eq!(completion.task, task);
            completion.result.expect("done");
        }
        switch.join().expect("joined");
        assert_eq!(rig.engine.counters().in_flight, 0);
    }
}

#[test]
fn a_stall_is_of_one_medium() {
    let mut rig = Rig::new();
    let (stuck, medium) = rig.attach_ram(MIB);
    let (free, other) = rig.attach_ram(MIB);
    medium.stall(true);
    let task = rig.submit(stuck, read(&rig));
    rig.read(free, 0, 512).expect("the other works");
    // A bell for another medium lets nothing of this one go.
    other.stall(false);
    rig.engine.turn(Wait::For(Some(DEADLINE))).expect("turn");
    assert!(rig.engine.poll().is_none());
    medium.stall(false);
    assert_eq!(rig.wait().task, task);
}

#[test]
fn a_held_operation_is_cancelled_at_once_and_alone() {
    let mut rig = Rig::new();
    let (id, medium) = rig.attach_ram(MIB);
    medium.stall(true);
    let first = rig.submit(id, read(&rig));
    let second = rig.submit(id, read(&rig));
    rig.engine.cancel(first);
    rig.engine.cancel(first);
    let completion = rig.engine.poll().expect("at once");
    assert!(is_cancelled(&completion) && completion.buf.is_some());
    assert_eq!(completion.task, first);
    assert!(rig.engine.poll().is_none());
    medium.stall(false);
    let completion = rig.wait();
    assert_eq!(completion.task, second);
    completion.result.expect("done");
    rig.engine.detach(id).expect("nothing is left");
}

#[test]
fn every_operation_completes_once_whether_it_was_cancelled_or_not() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = EngineSettings {
        entries: 8,
        ..EngineSettings::default()
    };
    let mut rig = Rig::with(settings, |arena| Pool::slots(arena, 8 * MIB..9 * MIB, 4096));
    let (id, _medium) = rig.attach_file(folder.path(), MIB);
    let mut written = Vec::new();
    for n in 0..64 {
        let buf = rig.buf(&[n as u8 + 1; 4096]);
        let offset = n * 4096;
        let task = rig.submit(
            id,
            BlockOperation::Write {
                offset,
                buf,
                durable: false,
            },
        );
        if n % 3 == 0 {
            rig.engine.turn(Wait::No).expect("turn");
        }
        if n % 2 == 0 {
            rig.engine.cancel(task);
        }
    }
    for _ in 0..64 {
        let completion = rig.wait();
        assert!(completion.buf.is_some());
        match completion.result {
            Ok(()) => written.push(completion.task.index as usize),
            Err(error) => {
                assert_eq!(error.kind, BlockErrorKind::Cancelled);
                assert_eq!(completion.task.index % 2, 0);
            }
        }
    }
    rig.engine.turn(Wait::No).expect("turn");
    assert!(rig.engine.poll().is_none());
    assert_eq!(rig.engine.counters().in_flight, 0);
    // What was told to be done is done, and what was told to be cancelled did nothing.
    for n in 0..64 {
        let found = rig.read(id, n * 4096, 4096).expect("read");
        let expected = if written.contains(&n) { n as u8 + 1 } else { 0 };
        assert_eq!(found, [expected; 4096]);
    }
}

#[test]
fn cancelling_what_is_not_there_is_nothing() {
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach_ram(MIB);
    let task = rig.submit(id, read(&rig));
    rig.engine.cancel(task);
    rig.wait().result.expect("was done already");
    rig.engine.cancel(task);
    rig.engine.turn(Wait::No).expect("turn");
    assert!(rig.engine.poll().is_none());
}

#[test]
fn a_cancelled_wait_for_a_bounce_buffer_ends() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::with(EngineSettings::default(), |arena| {
        Pool::slots(arena, 8 * MIB..8 * MIB + 3 * 4096, 4096)
    });
    let (id, _medium) = rig.attach_file(folder.path(), MIB);
    let misaligned = |rig: &Rig| {
        let mut buf = rig.pool.take(4097).expect("room");
        assert!(buf.set_window(1, 4096));
        BlockOperation::Read { offset: 0, buf }
    };
    let first = rig.submit(id, misaligned(&rig));
    let second = rig.submit(id, misaligned(&rig));
    rig.engine.cancel(second);
    let completion = rig.engine.poll().expect("at once");
    assert!(is_cancelled(&completion));
    assert_eq!(completion.task, second);
    let completion = rig.wait();
    assert_eq!(completion.task, first);
    completion.result.expect("done");
}

#[test]
fn an_engine_that_goes_takes_nothing_with_it() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach_file(folder.path(), MIB);
    let (stuck, medium) = rig.attach_ram(MIB);
    medium.stall(true);
    rig.submit(stuck, read(&rig));
    let flags = rustix::pipe::PipeFlags::NONBLOCK;
    let (reader, _writer) = rustix::pipe::pipe_with(flags).expect("pipe");
    rig.engine.watch_read(&reader, 1).expect("watch");
    rig.engine.watch_poll(&reader, 2).expect("watch");
    for n in 0..16 {
        let buf = rig.buf(&[9; 4096]);
        let offset = n * 4096;
        rig.submit(
            id,
            BlockOperation::Write {
                offset,
                buf,
                durable: true,
            },
        );
        if n % 4 == 0 {
            rig.engine.turn(Wait::No).expect("turn");
        }
    }
    let Rig { engine, pool, .. } = rig;
    drop(engine);
    assert_eq!(pool.level().in_use_bytes, 0);
    medium.stall(false);
    assert_eq!(Arc::strong_count(&medium), 1);
}
