//! Everything else that a worker waits for.

use super::*;
use std::os::fd::OwnedFd;
use std::thread;

use rustix::pipe::PipeFlags;

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("eventfd")
}

/// A pipe whose ends do not block.
fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).expect("pipe")
}

fn ring_it(fd: &OwnedFd, count: u64) {
    rustix::io::write(fd, &count.to_ne_bytes()).expect("write");
}

fn wait(rig: &mut Rig) -> Woken {
    let begin = Instant::now();
    loop {
        if let Some(woken) = rig.engine.next_woken() {
            return woken;
        }
        assert!(begin.elapsed() < DEADLINE, "nothing woke");
        rig.engine.turn(Wait::For(Some(DEADLINE))).expect("turn");
    }
}

fn nothing_more(rig: &mut Rig) {
    for _ in 0..3 {
        rig.engine.turn(Wait::No).expect("turn");
        assert_eq!(rig.engine.next_woken(), None);
    }
}

#[test]
fn an_eventfd_wakes_each_time_with_its_count() {
    let mut rig = Rig::new();
    let (first, second) = (event(), event());
    rig.engine.watch_read(&first, 10).expect("watch");
    rig.engine.watch_read(&second, 20).expect("watch");
    for round in 1..=3 {
        ring_it(&first, round);
        let expected = Woken {
            token: 10,
            value: round,
            error: None,
        };
        assert_eq!(wait(&mut rig), expected);
    }
    ring_it(&second, 7);
    assert_eq!(wait(&mut rig).token, 20);
    nothing_more(&mut rig);
}

#[test]
fn a_sleeping_engine_is_woken_from_another_thread() {
    let mut rig = Rig::new();
    let fd = event();
    rig.engine.watch_read(&fd, 1).expect("watch");
    let bell = fd.try_clone().expect("duplicate");
    let ringer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        ring_it(&bell, 1);
    });
    rig.engine.turn(Wait::For(None)).expect("turn");
    assert_eq!(rig.engine.next_woken().map(|woken| woken.token), Some(1));
    ringer.join().expect("joined");
}

#[test]
fn the_end_of_a_pipe_ends_its_watch() {
    let mut rig = Rig::new();
    let (reader, writer) = pipe();
    rig.engine.watch_read(&reader, 5).expect("watch");
    rustix::io::write(&writer, &[1, 0, 0]).expect("write");
    let expected = Woken {
        token: 5,
        value: u64::from_ne_bytes([1, 0, 0, 0, 0, 0, 0, 0]),
        error: None,
    };
    assert_eq!(wait(&mut rig), expected);
    drop(writer);
    assert_eq!(wait(&mut rig).error, Some(libc::ENODATA));
    nothing_more(&mut rig);
    // The token is free again.
    rig.engine.watch_read(event(), 5).expect("watch");
}

#[test]
fn a_polled_descriptor_wakes_for_each_arrival() {
    let mut rig = Rig::new();
    let (reader, writer) = pipe();
    rig.engine.watch_poll(&reader, 3).expect("watch");
    for _ in 0..3 {
        rustix::io::write(&writer, &[1]).expect("write");
        let woken = wait(&mut rig);
        assert_eq!((woken.token, woken.error), (3, None));
        assert!(woken.value & libc::POLLIN as u64 != 0);
        rustix::io::read(&reader, &mut [0u8; 8]).expect("read");
        nothing_more(&mut rig);
    }
}

#[test]
fn what_is_no_longer_watched_wakes_nobody() {
    let mut rig = Rig::new();
    let (read, polled) = (event(), event());
    rig.engine.watch_read(&read, 1).expect("watch");
    rig.engine.watch_poll(&polled, 2).expect("watch");
    rig.engine.turn(Wait::No).expect("turn");
    ring_it(&read, 1);
    ring_it(&polled, 1);
    rig.engine.turn(Wait::No).expect("turn");
    rig.engine.unwatch(1);
    rig.engine.unwatch(2);
    rig.engine.unwatch(3);
    nothing_more(&mut rig);
    ring_it(&read, 1);
    ring_it(&polled, 1);
    nothing_more(&mut rig);
    rig.engine.watch_read(&read, 1).expect("the token is free");
    assert_eq!(wait(&mut rig).token, 1);
}

#[test]
fn a_watch_that_was_never_submitted_ends_too() {
    let settings = EngineSettings {
        entries: 1,
        ..EngineSettings::default()
    };
    let mut rig = Rig::with(settings, |arena| Pool::slots(arena, 8 * MIB..9 * MIB, 4096));
    let fds: Vec<_> = (0..4).map(|_| event()).collect();
    for (token, fd) in (0..).zip(&fds) {
        rig.engine.watch_read(fd, token).expect("watch");
    }
    rig.engine.unwatch(3);
    ring_it(&fds[3], 1);
    ring_it(&fds[0], 1);
    assert_eq!(wait(&mut rig).token, 0);
    nothing_more(&mut rig);
}

#[test]
fn a_watch_outlives_the_descriptor_it_was_given() {
    let mut rig = Rig::new();
    let (reader, writer) = pipe();
    rig.engine.watch_read(&reader, 1).expect("watch");
    drop(reader);
    // Takes the number that was just given back.
    let _other = event();
    rustix::io::write(&writer, &[1; 8]).expect("the pipe still has a reader");
    assert_eq!(wait(&mut rig).value, u64::from_ne_bytes([1; 8]));
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let mut rig = Rig::new();
    let fd = eventfd(0, EventfdFlags::CLOEXEC).expect("eventfd");
    let error = rig.engine.watch_read(&fd, 1).expect_err("must be refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    rig.engine.watch_poll(&fd, 1).expect("watch");
    let error = rig.engine.watch_poll(&fd, 1).expect_err("must be refused");
    assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
}
