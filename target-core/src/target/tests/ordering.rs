//! Task attributes: who runs before whom.

use crate::command::TaskAttribute::{HeadOfQueue, Ordered, Simple};
use crate::target::tests::harness::{Bench, Io, TEST_UNIT_READY, blocks};

fn held() -> Bench {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench
}

#[test]
fn simple_commands_run_at_once() {
    let mut bench = held();
    for lba in 0..4 {
        bench.send(bench.a, Io::read(lba, 1));
    }
    assert_eq!(bench.executing.len(), 4);
    for nth in [3, 1, 1, 0] {
        bench.complete_nth(nth);
    }
    bench.assert_idle();
}

#[test]
fn ordered_is_a_fence() {
    let mut bench = held();
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.b, Io::read(1, 1));
    bench.send(bench.a, Io::read(2, 1).attribute(Ordered));
    bench.send(bench.b, Io::read(3, 1));
    bench.trace();
    assert_eq!(bench.target.counters().dormant, 2);
    bench.complete_nth(1);
    assert_eq!(bench.trace(), ["2: GOOD"]);
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD", "read 1024+512"]);
    bench.complete();
    assert_eq!(bench.trace(), ["3: GOOD", "read 1536+512"]);
    bench.complete();
    bench.assert_idle();
}

#[test]
fn head_of_queue_overtakes_and_holds_back() {
    let mut bench = held();
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::read(1, 1).attribute(Ordered));
    bench.send(bench.a, Io::read(2, 1).attribute(HeadOfQueue));
    bench.send(bench.a, Io::read(3, 1).attribute(Simple));
    assert_eq!(bench.trace(), ["read 0+512", "read 1024+512"]);
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD"], "head of queue still runs");
    bench.complete();
    assert_eq!(bench.trace(), ["3: GOOD", "read 512+512"]);
    bench.complete();
    assert_eq!(bench.trace(), ["2: GOOD", "read 1536+512"]);
    bench.complete();
    bench.assert_idle();
}

#[test]
fn inquiry_waits_for_nobody() {
    let mut bench = held();
    bench.send(bench.a, Io::read(0, 1).attribute(Ordered));
    bench.send(bench.a, Io::new(&TEST_UNIT_READY));
    bench.send(bench.a, Io::inquiry());
    assert_eq!(bench.trace(), ["read 0+512", "3: GOOD"]);
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD", "2: GOOD"]);
    bench.assert_idle();
}

#[test]
fn an_ordered_write_pulls_only_when_it_is_its_turn() {
    let mut bench = held();
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::write(0, &blocks(1, 1)).attribute(Ordered));
    assert_eq!(bench.trace(), ["read 0+512"]);
    bench.complete();
    assert_eq!(
        bench.trace(),
        ["1: GOOD", "2: pull 0+512", "durable write 0+512"]
    );
    bench.complete();
    bench.assert_idle();
}

#[test]
fn a_long_row_of_ordered_commands_ends_in_order() {
    let mut bench = held();
    bench.send(bench.a, Io::read(0, 1));
    for _ in 0..50 {
        bench.send(bench.a, Io::new(&TEST_UNIT_READY).attribute(Ordered));
    }
    bench.trace();
    bench.complete();
    let expected: Vec<_> = (1..=51).map(|n| format!("{n}: GOOD")).collect();
    assert_eq!(bench.trace(), expected);
    bench.assert_idle();
}
