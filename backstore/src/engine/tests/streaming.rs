//! Streams and listeners on real sockets of the loopback device.

use super::*;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::thread;

use crate::stream::{SendError, StreamEvent, StreamId};
use target_core::port::{Part, Piece};

mod model;

const CHUNK: usize = 4096;
const LISTENER: u64 = 1000;

/// An engine with chunks to receive into, and a pool for what it sends.
struct Bed {
    rig: Rig,
    chunks: Pool,
    messages: Pool,
}

impl Bed {
    fn new(chunks: u16) -> Self {
        let mut rig = Rig::new();
        let arena = Arena::new(4 * MIB).expect("map");
        let chunk_bytes = usize::from(chunks) * CHUNK;
        let pool = Pool::slots(&arena, 0..chunk_bytes, CHUNK);
        let messages = Pool::buddy(&arena, 2 * MIB..4 * MIB, MIB);
        let provided = rig.engine.provide_chunks(chunks, pool.clone());
        provided.expect("a table of chunks");
        Self {
            rig,
            chunks: pool,
            messages,
        }
    }

    fn engine(&mut self) -> &mut Engine {
        &mut self.rig.engine
    }

    /// Our end of a new connection, and the peer's.
    fn connect(&mut self, token: u64) -> (StreamId, TcpStream) {
        let (ours, peer) = pair();
        (self.engine().add_stream(ours, token), peer)
    }

    fn message(&self, bytes: &[u8]) -> Buf {
        let mut buf = self.messages.take(bytes.len()).expect("room");
        buf.copy_from_slice(bytes);
        buf
    }

    fn send(&mut self, stream: StreamId, bytes: &[u8]) {
        let message = self.message(bytes);
        let all = piece(Part::Message, 0, bytes.len());
        let queued = self.engine().send(stream, message, None, &[all]);
        queued.expect("an open stream");
    }

    fn next(&mut self) -> StreamEvent {
        let begin = Instant::now();
        loop {
            if let Some(event) = self.engine().next_stream_event() {
                return event;
            }
            assert!(begin.elapsed() < DEADLINE, "nothing happened");
            let wait = Wait::For(Some(DEADLINE));
            self.engine().turn(wait).expect("turn");
        }
    }

    /// What comes next, sends aside.
    fn next_but_sent(&mut self) -> StreamEvent {
        loop {
            match self.next() {
                StreamEvent::Sent { .. } => {}
                event => return event,
            }
        }
    }

    fn receive(&mut self, wanted: u64, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            match self.next_but_sent() {
                StreamEvent::Received { token, chunk } if token == wanted => bytes.extend(&*chunk),
                other => panic!("{other:?} instead of bytes"),
            }
        }
        bytes
    }

    /// Closes the stream; everything that it had is back then.
    fn close(&mut self, stream: StreamId, wanted: u64) {
        self.engine().close_stream(stream);
        let event = self.next();
        assert!(
            matches!(event, StreamEvent::Closed { token } if token == wanted),
            "{event:?}"
        );
        assert_eq!(self.messages.level().in_use_bytes, 0);
        assert_eq!(self.engine().stream_counters().open, 0);
    }

    fn quiet(&mut self) {
        for _ in 0..3 {
            self.engine().turn(Wait::No).expect("turn");
        }
        let event = self.engine().next_stream_event();
        assert!(event.is_none(), "{event:?}");
    }
}

fn piece(of: Part, start: usize, len: usize) -> Piece {
    Piece {
        of,
        start: start as u32,
        len: len as u32,
    }
}

fn listener() -> (OwnedFd, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    (listener.into(), address)
}

fn pair() -> (OwnedFd, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address");
    let peer = TcpStream::connect(address).expect("connect");
    peer.set_read_timeout(Some(DEADLINE)).expect("timeout");
    peer.set_write_timeout(Some(DEADLINE)).expect("timeout");
    let (ours, _) = listener.accept().expect("accept");
    (ours.into(), peer)
}

#[test]
fn bytes_go_both_ways() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    peer.write_all(b"over there").expect("write");
    assert_eq!(bed.receive(7, 10), b"over there");
    bed.send(stream, b"and back");
    bed.engine().turn(Wait::No).expect("turn");
    let mut answer = [0; 8];
    peer.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"and back");
    assert!(matches!(bed.next(), StreamEvent::Sent { token: 7 }));
    assert!(bed.engine().is_sent(stream));
    bed.close(stream, 7);
    assert_eq!(peer.read(&mut answer).expect("the end"), 0);
}

#[test]
fn kernels_without_multishot_receives_get_one_at_a_time() {
    let mut bed = Bed::new(8);
    bed.engine().streams.forget_multishot();
    let (stream, mut peer) = bed.connect(7);
    for round in 0..5u8 {
        peer.write_all(&[round; 9000]).expect("write");
        assert_eq!(bed.receive(7, 9000), [round; 9000]);
    }
    let submitted = bed.engine().counters().submitted;
    assert!(submitted >= 15, "{submitted} entries for 15 chunks");
    bed.close(stream, 7);
}

#[test]
fn one_entry_receives_many_chunks() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    let before = bed.engine().counters().submitted;
    for round in 0..20u8 {
        peer.write_all(&[round; 100]).expect("write");
        assert_eq!(bed.receive(7, 100), [round; 100]);
    }
    let entries = bed.engine().counters().submitted - before;
    assert!(entries <= 2, "{entries} entries");
    bed.close(stream, 7);
}

#[test]
fn a_gather_list_is_sent_in_order() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    let message = bed.message(b"headdigestfoot");
    let data = bed.message(b"DATA");
    let pieces = [
        piece(Part::Message, 0, 4),
        piece(Part::Data, 0, 2),
        piece(Part::Message, 4, 6),
        piece(Part::Data, 2, 2),
        piece(Part::Data, 0, 0),
        piece(Part::Message, 10, 4),
    ];
    let queued = bed.engine().send(stream, message, Some(data), &pieces);
    queued.expect("queued");
    bed.send(stream, b"!");
    bed.engine().turn(Wait::No).expect("turn");
    let mut answer = [0; 19];
    peer.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"headDAdigestTAfoot!");
    assert_eq!(bed.engine().stream_counters().sends, 1);
    bed.next();
    bed.close(stream, 7);
}

#[test]
fn more_pieces_than_a_gather_list_holds_go_in_several() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    let bytes: Vec<u8> = (0..10_000usize).map(|n| n as u8).collect();
    let message = bed.message(&bytes);
    // Backwards, so that no two can be joined.
    let pieces: Vec<_> = (0..5000)
        .rev()
        .map(|n| piece(Part::Message, 2 * n, 2))
        .collect();
    bed.engine()
        .send(stream, message, None, &pieces)
        .expect("queued");
    let reader = thread::spawn(move || {
        let mut all = vec![0; 10_000];
        peer.read_exact(&mut all).expect("read");
        all
    });
    while !bed.engine().is_sent(stream) {
        bed.next();
    }
    let expected: Vec<u8> = bytes.rchunks(2).flatten().copied().collect();
    assert_eq!(reader.join().expect("joined"), expected);
    assert_eq!(bed.engine().stream_counters().sends, 5);
    bed.close(stream, 7);
}

#[test]
fn pieces_outside_their_buffer_are_refused() {
    let mut bed = Bed::new(8);
    let (stream, _peer) = bed.connect(7);
    let cases = [
        piece(Part::Message, 0, 5),
        piece(Part::Message, u32::MAX as usize, 1),
        piece(Part::Data, 0, 1),
    ];
    for bad in cases {
        let message = bed.message(b"four");
        let good = piece(Part::Message, 0, 4);
        let refused = bed.engine().send(stream, message, None, &[good, bad]);
        assert!(matches!(refused, Err(SendError::Outside { piece, .. }) if piece == bad));
        assert!(bed.engine().is_sent(stream));
    }
    assert_eq!(bed.messages.level().in_use_bytes, 0);
    bed.engine().turn(Wait::No).expect("turn");
    assert_eq!(bed.engine().stream_counters().sends, 0);
    bed.close(stream, 7);
    let message = bed.message(b"late");
    let refused = bed.engine().send(stream, message, None, &[]);
    assert_eq!(refused, Err(SendError::Closed));
}

#[test]
fn a_paused_stream_receives_nothing_and_loses_nothing() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    peer.write_all(b"before").expect("write");
    assert_eq!(bed.receive(7, 6), b"before");
    bed.engine().pause(stream);
    bed.quiet();
    peer.write_all(b"meanwhile").expect("write");
    bed.quiet();
    bed.engine().resume(stream);
    assert_eq!(bed.receive(7, 9), b"meanwhile");
    // Both in one turn: the receive that is on its way out of the ring begins again.
    bed.engine().pause(stream);
    bed.engine().resume(stream);
    peer.write_all(b"after").expect("write");
    assert_eq!(bed.receive(7, 5), b"after");
    bed.close(stream, 7);
}

#[test]
fn the_end_of_what_comes_is_not_the_end_of_what_goes() {
    let mut bed = Bed::new(8);
    let (stream, mut peer) = bed.connect(7);
    peer.write_all(b"last words").expect("write");
    peer.shutdown(std::net::Shutdown::Write).expect("shutdown");
    assert_eq!(bed.receive(7, 10), b"last words");
    let event = bed.next();
    assert!(
        matches!(
            event,
            StreamEvent::Ended {
                token: 7,
                errno: None
            }
        ),
        "{event:?}"
    );
    bed.send(stream, b"heard");
    bed.next();
    let mut answer = [0; 5];
    peer.read_exact(&mut answer).expect("read");
    assert_eq!(&answer, b"heard");
    bed.close(stream, 7);
}

/// Closes with a reset.
fn reset(peer: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).expect("linger");
    drop(peer);
}

#[test]
fn a_reset_ends_both_directions() {
    let mut bed = Bed::new(8);
    let (stream, peer) = bed.connect(7);
    reset(peer);
    let event = bed.next();
    let is_reset = matches!(event, StreamEvent::Ended { token: 7, errno: Some(errno) } if errno == libc::ECONNRESET);
    assert!(is_reset, "{event:?}");
    bed.send(stream, b"to nobody");
    let event = bed.next();
    assert!(
        matches!(event, StreamEvent::SendFailed { token: 7, .. }),
        "{event:?}"
    );
    assert!(bed.engine().is_sent(stream), "it never will be");
    assert_eq!(bed.messages.level().in_use_bytes, 0);
    bed.close(stream, 7);
}

#[test]
fn closing_takes_back_what_a_peer_does_not_read() {
    let mut bed = Bed::new(8);
    let (ours, peer) = pair();
    rustix::net::sockopt::set_socket_send_buffer_size(&ours, 8192).expect("small buffer");
    rustix::net::sockopt::set_socket_recv_buffer_size(&peer, 8192).expect("small buffer");
    let stream = bed.engine().add_stream(ours, 7);
    for _ in 0..16 {
        let message = bed.messages.take(64 << 10).expect("room");
        let all = piece(Part::Message, 0, 64 << 10);
        let queued = bed.engine().send(stream, message, None, &[all]);
        queued.expect("queued");
    }
    bed.engine().turn(Wait::No).expect("turn");
    bed.engine().turn(Wait::No).expect("turn");
    assert!(!bed.engine().is_sent(stream), "a peer that reads nothing");
    bed.close(stream, 7);
    bed.quiet();
    drop(peer);
}

#[test]
fn without_chunks_everybody_waits_and_goes_on() {
    let mut bed = Bed::new(4);
    let (greedy, mut greedy_peer) = bed.connect(1);
    let (modest, mut modest_peer) = bed.connect(2);
    greedy_peer.write_all(&[1; 4 * CHUNK]).expect("write");
    let mut held = Vec::new();
    while bed.chunks.level().in_use_bytes < 4 * CHUNK || held.len() < 4 {
        match bed.next() {
            StreamEvent::Received { token: 1, chunk } => held.push(chunk),
            other => panic!("{other:?}"),
        }
    }
    modest_peer.write_all(b"me too").expect("write");
    bed.quiet();
    assert!(bed.engine().stream_counters().starved >= 1);
    held.clear();
    assert_eq!(bed.receive(2, 6), b"me too");
    greedy_peer.write_all(b"more").expect("write");
    assert_eq!(bed.receive(1, 4), b"more");
    bed.engine().close_stream(greedy);
    bed.next();
    bed.close(modest, 2);
}

#[test]
fn a_listener_accepts_until_it_is_closed() {
    let mut bed = Bed::new(8);
    let (socket, address) = listener();
    bed.engine().listen(socket, LISTENER);
    for round in 0..3 {
        let mut peer = TcpStream::connect(address).expect("connect");
        let StreamEvent::Accepted {
            token: LISTENER,
            socket,
        } = bed.next_but_sent()
        else {
            panic!("nobody was accepted");
        };
        let stream = bed.engine().add_stream(socket, round);
        peer.write_all(b"hello").expect("write");
        assert_eq!(bed.receive(round, 5), b"hello");
        bed.close(stream, round);
    }
    assert_eq!(bed.engine().stream_counters().accepted, 3);
    bed.engine().unlisten(LISTENER);
    TcpStream::connect(address).expect_err("nobody listens");
    bed.quiet();
    let again = TcpListener::bind(address).expect("the address is free");
    bed.engine().listen(again.into(), LISTENER);
    let _peer = TcpStream::connect(address).expect("connect");
    let event = bed.next();
    assert!(
        matches!(
            event,
            StreamEvent::Accepted {
                token: LISTENER,
                ..
            }
        ),
        "{event:?}"
    );
}

#[test]
fn a_listener_and_streams_end_with_the_engine() {
    let mut bed = Bed::new(8);
    let (socket, address) = listener();
    bed.engine().listen(socket, LISTENER);
    let (stream, mut peer) = bed.connect(1);
    bed.send(stream, b"goodbye");
    let mut waiting = TcpStream::connect(address).expect("connect");
    bed.engine().turn(Wait::No).expect("turn");
    let (chunks, messages) = (bed.chunks.clone(), bed.messages.clone());
    drop(bed);
    assert_eq!(chunks.level().in_use_bytes, 0);
    assert_eq!(messages.level().in_use_bytes, 0);
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).expect("the end");
    waiting
        .set_read_timeout(Some(DEADLINE))
        .expect("a time-out");
    // The end, or a reset: in any case nobody holds the socket any more.
    assert_eq!(waiting.read(&mut [0]).unwrap_or(0), 0);
    TcpStream::connect(address).expect_err("nobody listens");
}

#[test]
fn many_streams_cost_one_system_call_a_turn() {
    let mut bed = Bed::new(64);
    let mut ends: Vec<_> = (0..32).map(|token| bed.connect(token)).collect();
    bed.engine().turn(Wait::No).expect("turn");
    let before = bed.engine().counters().enters;
    for (_, peer) in &mut ends {
        peer.write_all(b"question").expect("write");
    }
    let mut answered = 0;
    let mut turns = 0;
    while answered < 32 {
        bed.engine().turn(Wait::For(Some(DEADLINE))).expect("turn");
        turns += 1;
        while let Some(event) = bed.engine().next_stream_event() {
            if let StreamEvent::Received { token, chunk } = event {
                let all = piece(Part::Message, 0, chunk.len());
                let stream = ends[token as usize].0;
                let queued = bed.engine().send(stream, chunk, None, &[all]);
                queued.expect("queued");
                answered += 1;
            }
        }
    }
    bed.engine().turn(Wait::No).expect("turn");
    let enters = bed.engine().counters().enters - before;
    assert!(
        enters <= turns + 1,
        "{enters} system calls in {turns} turns"
    );
    assert!(turns <= 16, "{turns} turns for 32 messages that waited");
    for (_, peer) in &mut ends {
        let mut answer = [0; 8];
        peer.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"question");
    }
}
