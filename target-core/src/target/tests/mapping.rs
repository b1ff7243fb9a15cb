//! Maps that change while commands run.

use crate::command::TaskAttribute;
use crate::target::tests::harness::{Bench, Io, TEST_UNIT_READY, blocks};

#[test]
fn a_new_number_is_told_on_the_old_ones() {
    let mut bench = Bench::new();
    let map = [bench.entry(0), bench.entry(5)];
    bench.target.nexus_set_map(bench.a.nexus, &map);
    assert_eq!(bench.run(bench.a, Io::new(&TEST_UNIT_READY)).line, "6/3f0e");
    assert_eq!(bench.run(bench.a, Io::new(&TEST_UNIT_READY)).line, "GOOD");
    let path = bench.a;
    let mut lun_5 = || bench.run(path, Io::new(&TEST_UNIT_READY).lun(5)).line;
    assert_eq!([lun_5(), lun_5(), lun_5()], ["6/2900", "6/3f0e", "GOOD"]);
    assert_eq!(bench.run(bench.b, Io::new(&TEST_UNIT_READY)).line, "GOOD");
}

#[test]
fn report_luns_makes_the_attention_superfluous() {
    let mut bench = Bench::new();
    let map = [bench.entry(0), bench.entry(5)];
    bench.target.nexus_set_map(bench.a.nexus, &map);
    let list = Io::new(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]).data_in(256);
    assert_eq!(bench.run(bench.a, list).line, "GOOD");
    assert_eq!(bench.run(bench.a, Io::new(&TEST_UNIT_READY)).line, "GOOD");
}

#[test]
fn a_removed_unit_is_told_on_the_others() {
    let mut bench = Bench::new();
    let second = bench
        .target
        .lu_add(bench.unit.clone(), crate::backend::MediumId(2));
    let mut entry = bench.entry(1);
    entry.lu = second;
    bench
        .target
        .nexus_set_map(bench.a.nexus, &[bench.entry(0), entry]);
    bench.run(bench.a, Io::new(&TEST_UNIT_READY));
    bench.target.lu_remove(second);
    assert_eq!(bench.run(bench.a, Io::new(&TEST_UNIT_READY)).line, "6/3f0e");
    assert_eq!(bench.run(bench.b, Io::new(&TEST_UNIT_READY)).line, "GOOD");
    bench
        .target
        .nexus_set_map(bench.b.nexus, &[bench.entry(0), entry]);
    let numbers: Vec<_> = bench.lun_counters(bench.b).iter().map(|c| c.0).collect();
    assert_eq!(numbers, [0], "what was removed cannot be mapped");
}

#[test]
fn commands_that_wait_end_with_their_mapping() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.is_transport_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    bench.send(bench.a, Io::read(0, 1).attribute(TaskAttribute::Ordered));
    bench.trace();
    bench.target.nexus_set_map(bench.a.nexus, &[]);
    bench.poll();
    bench.fill();
    bench.complete();
    assert_eq!(bench.trace(), ["3: 5/2500", "2: 5/2500", "1: GOOD"]);
    assert_eq!(bench.disk[..512], blocks(0, 1));
    bench.assert_idle();
}

#[test]
fn who_cannot_reach_a_unit_any_more_does_not_reserve_it() {
    let mut bench = Bench::new();
    bench.run(bench.a, Io::new(&[0x16, 0, 0, 0, 0, 0]));
    assert_eq!(
        bench.run(bench.b, Io::read(0, 1)).line,
        "RESERVATION CONFLICT"
    );
    bench.target.nexus_set_map(bench.a.nexus, &[]);
    assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
}
