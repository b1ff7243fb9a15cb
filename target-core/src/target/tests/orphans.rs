//! Operations that outlive their connection must not undo what was acknowledged later.

use crate::command::TaskManagementFunction;
use crate::target::tests::harness::{Bench, Io, blocks};

/// A write of A to blocks 0 to 3 that is in the back end when A goes.
fn orphaned() -> Bench {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 4)));
    bench.close_nexus(bench.a);
    assert_eq!(bench.target.counters().orphaned, 1);
    assert_eq!(
        bench.trace(),
        ["1: pull 0+2048", "durable write 0+2048", "cancel"]
    );
    bench
}

#[test]
fn an_overlapping_write_waits_for_the_orphan() {
    let mut bench = orphaned();
    bench.send(bench.b, Io::write(3, &blocks(2, 2)));
    assert_eq!(bench.trace(), [""; 0]);
    assert_eq!(bench.target.counters().waiting_for_orphan, 1);
    bench.complete();
    assert_eq!(bench.trace(), ["2: pull 0+1024", "durable write 1536+1024"]);
    bench.complete();
    assert_eq!(bench.disk[1536..2560], blocks(2, 2));
    assert_eq!(bench.target.counters().totals.orphan_waits, 1);
    bench.assert_idle();
}

#[test]
fn so_does_an_overlapping_read() {
    let mut bench = orphaned();
    bench.send(bench.b, Io::read(0, 1));
    bench.complete();
    bench.complete();
    assert_eq!(bench.ends[&2].data, blocks(1, 1));
    bench.assert_idle();
}

#[test]
fn other_blocks_and_flushes_do_not_wait() {
    let mut bench = orphaned();
    bench.send(bench.b, Io::write(4, &blocks(2, 1)));
    bench.send(bench.b, Io::new(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(
        bench.trace(),
        ["2: pull 0+512", "durable write 2048+512", "flush"]
    );
}

#[test]
fn a_read_that_is_orphaned_holds_nobody_up() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.close_channel(bench.a);
    bench.send(bench.b, Io::write(0, &blocks(2, 1)));
    bench.complete_nth(1);
    assert_eq!(bench.ends[&2].line, "GOOD");
    bench.complete();
    bench.assert_idle();
}

#[test]
fn several_orphans_are_all_waited_for() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    bench.send(bench.a, Io::write(1, &blocks(1, 1)));
    bench.close_channel(bench.a);
    bench.send(bench.b, Io::write(0, &blocks(2, 2)));
    bench.complete();
    assert_eq!(bench.target.counters().waiting_for_orphan, 1);
    bench.complete();
    bench.complete();
    assert_eq!(bench.disk[..1024], blocks(2, 2));
    assert_eq!(bench.target.counters().totals.orphan_waits, 1);
    bench.assert_idle();
}

#[test]
fn an_orphan_that_comes_while_data_is_pulled_is_waited_for() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    bench.is_transport_held = true;
    bench.send(bench.b, Io::write(0, &blocks(2, 1)));
    bench.close_channel(bench.a);
    bench.trace();
    bench.fill();
    assert_eq!(bench.trace(), [""; 0]);
    bench.complete();
    assert_eq!(bench.trace(), ["durable write 0+512"]);
    bench.complete();
    assert_eq!(bench.disk[..512], blocks(2, 1));
    bench.assert_idle();
}

#[test]
fn an_orphan_that_comes_while_a_buffer_is_awaited_is_waited_for() {
    let mut bench = Bench::with(8, 8192);
    bench.is_backend_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    let hog = bench.pool.take(4096);
    bench.send(bench.b, Io::read(0, 1));
    assert_eq!(bench.target.counters().waiting_for_buffer, 1);
    bench.close_channel(bench.a);
    drop(hog);
    bench.target.handle_buffers_freed();
    assert_eq!(bench.target.counters().waiting_for_orphan, 1);
    bench.complete();
    bench.complete();
    assert_eq!(bench.ends[&2].data, blocks(1, 1));
    bench.assert_idle();
}

#[test]
fn a_write_that_has_its_data_and_waits_can_be_aborted() {
    let mut bench = orphaned();
    bench.send(bench.b, Io::write(0, &blocks(2, 1)).immediate(512));
    bench.manage(bench.b, TaskManagementFunction::AbortTask { tag: 2 });
    assert_eq!(bench.trace(), ["2: aborted", "3: FunctionComplete"]);
    bench.complete();
    bench.assert_idle();
}

#[test]
fn the_same_nexus_waits_for_the_orphans_of_its_other_connection() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    bench.close_channel(bench.a);
    let mut second = bench.a;
    second.channel.0 = 9;
    bench.send(second, Io::write(0, &blocks(2, 1)));
    assert_eq!(bench.target.counters().waiting_for_orphan, 1);
    bench.complete();
    bench.complete();
    assert_eq!(bench.disk[..512], blocks(2, 1));
    bench.assert_idle();
}
