//! Commands that wait for a data buffer.

use crate::target::tests::harness::{Bench, Io, blocks};

/// A pool of two pages, both of which are held.
fn starved() -> (Bench, Vec<iobuf::Buf>) {
    let bench = Bench::with(16, 8192);
    let held = std::iter::from_fn(|| bench.pool.take(4096)).collect();
    (bench, held)
}

#[test]
fn buffers_are_given_in_order_of_arrival() {
    let (mut bench, mut held) = starved();
    bench.send(bench.a, Io::read(0, 16));
    bench.send(bench.a, Io::read(1, 1));
    bench.send(bench.a, Io::inquiry());
    assert_eq!(bench.target.counters().waiting_for_buffer, 3);
    held.pop();
    bench.target.handle_buffers_freed();
    bench.poll();
    assert_eq!(
        bench.trace(),
        [""; 0],
        "one page is not enough for the first"
    );
    held.pop();
    bench.target.handle_buffers_freed();
    bench.poll();
    assert_eq!(
        bench.trace(),
        [
            "read 0+8192",
            "1: GOOD",
            "read 512+512",
            "2: GOOD",
            "3: GOOD"
        ]
    );
    assert_eq!(bench.target.counters().totals.buffer_waits, 3);
    bench.assert_idle();
}

#[test]
fn a_finished_write_makes_room_by_itself() {
    let mut bench = Bench::with(16, 8192);
    bench.is_transport_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 16)));
    bench.send(bench.b, Io::write(16, &blocks(2, 16)));
    assert_eq!(bench.trace(), ["1: pull 0+8192"]);
    bench.fill();
    assert_eq!(
        bench.trace(),
        ["durable write 0+8192", "1: GOOD", "2: pull 0+8192"]
    );
    bench.fill();
    assert_eq!(bench.disk[..16384], [blocks(1, 16), blocks(2, 16)].concat());
    bench.assert_idle();
}

#[test]
fn what_needs_no_buffer_does_not_wait() {
    let (mut bench, held) = starved();
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::write(8, &blocks(1, 1)).immediate(512));
    assert_eq!(bench.trace(), ["durable write 4096+512", "2: GOOD"]);
    drop(held);
    bench.target.handle_buffers_freed();
    bench.poll();
    bench.assert_idle();
}

#[test]
fn immediate_data_waits_with_its_command() {
    let (mut bench, held) = starved();
    let data = [blocks(1, 1), blocks(2, 1)].concat();
    bench.send(bench.a, Io::write(0, &data).immediate(600));
    drop(held);
    bench.target.handle_buffers_freed();
    bench.poll();
    assert_eq!(
        bench.trace(),
        ["1: pull 600+424", "durable write 0+1024", "1: GOOD"]
    );
    assert_eq!(bench.disk[..1024], data);
    bench.assert_idle();
}

/// Who asks for more than there is, and takes nothing of it, waits for itself alone.
#[test]
fn nobody_waits_behind_a_nexus_that_holds_its_share() {
    let mut bench = Bench::with(16, 32768);
    bench.is_transport_held = true;
    for lba in 0..8 {
        bench.send(bench.a, Io::write(lba * 8, &blocks(1, 8)));
    }
    let pulled = bench.trace();
    assert_eq!(pulled.len(), 4, "half of eight pages: {pulled:?}");
    assert_eq!(bench.target.counters().waiting_for_buffer, 4);
    bench.send(bench.b, Io::write(0, &blocks(2, 8)));
    bench.send(bench.b, Io::write(8, &blocks(2, 8)));
    assert_eq!(bench.trace().len(), 2, "the other nexus goes first");
    for _ in 0..10 {
        bench.fill();
        bench.trace();
    }
    bench.assert_idle();
}
