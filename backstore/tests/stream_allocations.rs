//! In steady state nothing that comes or goes over a stream allocates.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use backstore::{Engine, EngineSettings, StreamEvent, StreamId, Wait};
use iobuf::{Arena, Pool};
use target_core::port::{Part, Piece};

const MIB: usize = 1 << 20;
const CHUNK: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends back what comes, in two pieces, until it is this much.
fn echo(engine: &mut Engine, stream: StreamId, bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        engine.turn(Wait::For(Some(PATIENCE))).expect("turn");
        while let Some(event) = engine.next_stream_event() {
            if let StreamEvent::Received { chunk, .. } = event {
                left -= chunk.len();
                let (len, half) = (chunk.len() as u32, chunk.len() as u32 / 2);
                let of = Part::Message;
                let pieces =
                    [(half, len - half), (0, half)].map(|(start, len)| Piece { of, start, len });
                let sent = engine.send(stream, chunk, None, &pieces);
                sent.expect("an open stream");
            }
        }
    }
}

/// Writes and reads as much, so many times.
fn peer(mut socket: TcpStream, bytes: usize, rounds: usize) {
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let (out, mut back) = (vec![7; bytes], vec![0; bytes]);
    for _ in 0..rounds {
        socket.write_all(&out).expect("written");
        socket.read_exact(&mut back).expect("read");
    }
}

#[test]
fn streams_allocate_nothing_for_what_they_move() {
    let arena = Arena::new(4 * MIB).expect("map");
    let bounce = Pool::buddy(&arena, 0..MIB, MIB);
    let settings = EngineSettings {
        fixed_buffers: false,
        ..EngineSettings::default()
    };
    let mut engine = Engine::new(settings, &arena, bounce).expect("engine");
    let chunks = Pool::slots(&arena, MIB..2 * MIB, CHUNK);
    engine.provide_chunks(16, chunks).expect("chunks");
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let socket = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (ours, _) = listener.accept().expect("accept");
    let stream = engine.add_stream(ours.into(), 1);
    let peer = thread::spawn(move || peer(socket, 3000, 1100));
    echo(&mut engine, stream, 3000 * 100);
    let counted = allocation_counter::measure(|| echo(&mut engine, stream, 3000 * 1000));
    assert_eq!(counted.count_total, 0);
    while !engine.is_sent(stream) {
        engine.turn(Wait::For(Some(PATIENCE))).expect("turn");
    }
    peer.join().expect("the peer");
}
