//! Whatever the sizes, whoever is slow, and however it ends: what went in on one side comes out on the other.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// What a peer does, and how the engine deals with it.
#[derive(Clone, Debug)]
struct Talk {
    /// Bytes of each write.
    writes: Vec<usize>,
    /// Bytes of each read, again and again.
    reads: usize,
    /// A small receive buffer at the peer: sends of the engine stop half way.
    narrow: bool,
    /// After how many chunks the engine stops receiving for a turn, again and again; 0 for never.
    pause_after: usize,
    /// Cuts of each chunk into the pieces of its answer.
    cuts: usize,
    ending: Ending,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    /// The peer says that it sends no more, and reads to the end.
    HalfClose,
    /// The peer resets the connection when it has written everything.
    Reset,
}

fn talks() -> impl Strategy<Value = Vec<Talk>> {
    let write = prop_oneof![1usize..200, 4000usize..4200, 20_000usize..80_000];
    let ending = prop_oneof![4 => Just(Ending::HalfClose), 1 => Just(Ending::Reset)];
    let talk = (
        prop::collection::vec(write, 0..8),
        prop_oneof![500usize..3000, Just(1 << 16)],
        any::<bool>(),
        prop_oneof![Just(0), 1usize..4],
        1usize..9,
        ending,
    )
        .prop_map(|(writes, reads, narrow, pause_after, cuts, ending)| Talk {
            writes,
            reads,
            narrow,
            pause_after,
            cuts,
            ending,
        });
    prop::collection::vec(talk, 1..5)
}

/// The byte at a place of a stream.
fn byte(token: usize, place: usize) -> u8 {
    (place.wrapping_mul(31) ^ (place >> 8) ^ token.wrapping_mul(17)) as u8
}

/// Writes everything, and reads it back as the engine echoes it.
fn peer(token: usize, talk: Talk, mut socket: TcpStream) {
    let total: usize = talk.writes.iter().sum();
    if talk.narrow {
        rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 32 << 10).expect("buffer");
    }
    let reader = (talk.ending == Ending::HalfClose).then(|| {
        let mut socket = socket.try_clone().expect("duplicate");
        thread::spawn(move || read_back(token, total, talk.reads, &mut socket))
    });
    let mut place = 0;
    for len in talk.writes {
        let bytes: Vec<u8> = (place..place + len)
            .map(|place| byte(token, place))
            .collect();
        socket.write_all(&bytes).expect("write");
        place += len;
    }
    match reader {
        None => reset(socket),
        Some(reader) => {
            socket
                .shutdown(std::net::Shutdown::Write)
                .expect("shutdown");
            reader.join().expect("read back");
        }
    }
}

fn read_back(token: usize, total: usize, at_once: usize, socket: &mut TcpStream) {
    let mut buf = vec![0; at_once];
    let mut place = 0;
    loop {
        let count = socket.read(&mut buf).expect("read");
        if count == 0 {
            break;
        }
        for (n, found) in buf[..count].iter().enumerate() {
            assert_eq!(
                *found,
                byte(token, place + n),
                "byte {} of {token}",
                place + n
            );
        }
        place += count;
    }
    assert_eq!(place, total);
}

/// The engine's side of one talk.
struct Side {
    stream: StreamId,
    talk: Talk,
    chunks: usize,
    ended: bool,
    closed: bool,
    received: usize,
}

impl Side {
    fn echo(&mut self, engine: &mut Engine, token: usize, chunk: Buf) {
        for (n, found) in chunk.iter().enumerate() {
            assert_eq!(*found, byte(token, self.received + n));
        }
        self.received += chunk.len();
        self.chunks += 1;
        if self.talk.pause_after > 0 && self.chunks.is_multiple_of(self.talk.pause_after) {
            engine.pause(self.stream);
        }
        let len = chunk.len();
        let cuts = self.talk.cuts.min(len);
        let pieces: Vec<_> = (0..cuts)
            .map(|cut| (cut * len / cuts, (cut + 1) * len / cuts))
            .map(|(start, end)| piece(Part::Message, start, end - start))
            .collect();
        match engine.send(self.stream, chunk, None, &pieces) {
            Ok(()) => {}
            Err(SendError::Closed) => assert_eq!(self.talk.ending, Ending::Reset),
            Err(error) => panic!("{error}"),
        }
    }
}

fn run(one_shot: bool, talks: Vec<Talk>) {
    let mut bed = Bed::new(8);
    if one_shot {
        bed.engine().streams.forget_multishot();
    }
    let mut sides = Vec::new();
    let mut peers = Vec::new();
    for (token, talk) in talks.into_iter().enumerate() {
        let (stream, socket) = bed.connect(token as u64);
        sides.push(Side {
            stream,
            talk: talk.clone(),
            chunks: 0,
            ended: false,
            closed: false,
            received: 0,
        });
        peers.push(thread::spawn(move || peer(token, talk, socket)));
    }
    let begin = Instant::now();
    while sides.iter().any(|side| !side.closed) {
        assert!(begin.elapsed() < DEADLINE, "it hangs");
        turn(&mut bed, &mut sides);
    }
    for peer in peers {
        peer.join().expect("a peer");
    }
    for side in &sides {
        let total: usize = side.talk.writes.iter().sum();
        let all = side.received == total;
        assert!(all || side.talk.ending == Ending::Reset);
    }
    assert_eq!(bed.messages.level().in_use_bytes, 0);
    assert_eq!(bed.engine().stream_counters().open, 0);
    bed.quiet();
}

fn turn(bed: &mut Bed, sides: &mut [Side]) {
    let engine = &mut bed.rig.engine;
    engine
        .turn(Wait::For(Some(Duration::from_millis(100))))
        .expect("turn");
    while let Some(event) = engine.next_stream_event() {
        match event {
            StreamEvent::Received { token, chunk } => {
                let token = token as usize;
                sides[token].echo(engine, token, chunk);
            }
            StreamEvent::Ended { token, errno } => {
                let side = &mut sides[token as usize];
                side.ended = true;
                let expected = errno.is_none() || side.talk.ending == Ending::Reset;
                assert!(expected, "{errno:?}");
            }
            StreamEvent::Sent { .. } => {}
            StreamEvent::SendFailed { token, .. } => {
                assert_eq!(sides[token as usize].talk.ending, Ending::Reset);
            }
            StreamEvent::Closed { token } => sides[token as usize].closed = true,
            other => panic!("{other:?}"),
        }
    }
    for side in sides.iter_mut().filter(|side| !side.closed) {
        engine.resume(side.stream);
        if side.ended && engine.is_sent(side.stream) {
            engine.close_stream(side.stream);
        }
    }
}

fn echoes(one_shot: bool, cases: u32) {
    let mut runner = TestRunner::new(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(cases)
    });
    let result = runner.run(&talks(), |talks| {
        run(one_shot, talks);
        Ok(())
    });
    result.expect("every talk is heard");
}

#[test]
fn whatever_is_sent_comes_back() {
    echoes(false, 24);
}

#[test]
fn whatever_is_sent_comes_back_on_kernels_without_multishot() {
    echoes(true, 8);
}
