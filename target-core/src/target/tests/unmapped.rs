//! What is not mapped is not there, however it is addressed.

use crate::command::TaskManagementFunction;
use crate::lun::Lun;
use crate::target::tests::harness::{Bench, Io, TEST_UNIT_READY, blocks};

fn report_luns(select: u8) -> Io {
    Io::new(&[0xa0, 0, select, 0, 0, 0, 0, 0, 1, 0, 0, 0]).data_in(256)
}

fn list(bytes: &[u8]) -> Vec<u64> {
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("header"));
    assert_eq!(length as usize, bytes.len() - 8);
    bytes[8..]
        .chunks(8)
        .map(|lun| u64::from_be_bytes(lun.try_into().expect("eight bytes")))
        .collect()
}

const REPORT_LUNS_LU: u64 = 0xc101_0000_0000_0000;

/// Every single-level form of the number, and forms of other things that hold it.
fn forms(number: u8) -> Vec<Lun> {
    let mut forms = vec![
        Lun::peripheral(number),
        Lun([0x40, number, 0, 0, 0, 0, 0, 0]),
        Lun([0x80, number, 0, 0, 0, 0, 0, 0]),
        Lun([0xc0, number, 0, 0, 0, 0, 0, 0]),
        Lun([0xd2, 0, 0, number, 0, 0, 0, 0]),
        Lun([1, number, 0, 0, 0, 0, 0, 0]),
        Lun([0x41, number, 0, 0, 0, 0, 0, 0]),
        Lun([0, number, 0, 1, 0, 0, 0, 0]),
        Lun([0, number, 0, 0, 0, 0, 0, 1]),
    ];
    forms.extend((0..8).map(|byte| {
        let mut lun = [0; 8];
        lun[byte] = number;
        Lun(lun)
    }));
    forms
}

#[test]
fn an_unmapped_number_answers_to_no_form() {
    let mut bench = Bench::new();
    for lun in forms(9) {
        let path = bench.a;
        let mut run = |io: Io| bench.run(path, io.at(lun));
        assert_eq!(run(Io::new(&TEST_UNIT_READY)).line, "5/2500");
        assert_eq!(run(Io::read(0, 1)).line, "5/2500");
        assert_eq!(run(Io::write(0, &blocks(1, 1))).line, "5/2500");
        assert_eq!(run(Io::new(&[0x42; 10])).line, "5/2500");
        assert_eq!(run(report_luns(0)).line, "5/2500");
        let inquiry = run(Io::inquiry());
        assert_eq!((inquiry.line.as_str(), inquiry.data[0]), ("GOOD", 0x7f));
        assert_eq!(inquiry.data[8..36], [b' '; 28]);
        let sense = run(Io::new(&[3, 0, 0, 0, 18, 0]).data_in(18));
        assert_eq!(sense.line, "GOOD");
        assert_eq!((sense.data[2], &sense.data[12..14]), (5, &[0x25, 0][..]));
    }
    bench.assert_idle();
}

#[test]
fn a_mapped_number_answers_to_its_own_forms_only() {
    let mut bench = Bench::new();
    let map = [bench.entry(0), bench.entry(9)];
    bench.target.nexus_set_map(bench.a.nexus, &map);
    for number in [0, 9] {
        bench.run(bench.a, report_luns(0));
        bench.run(bench.a, Io::new(&TEST_UNIT_READY).lun(number));
    }
    let mapped: Vec<_> = forms(9)
        .into_iter()
        .filter(|&lun| bench.run(bench.a, Io::new(&TEST_UNIT_READY).at(lun)).line == "GOOD")
        .collect();
    let own = [Lun::peripheral(9), Lun([0x40, 9, 0, 0, 0, 0, 0, 0])];
    assert_eq!(mapped[..2], own);
    assert!(mapped[2..].iter().all(|lun| lun.flat() == Some(9)));
}

#[test]
fn no_other_vital_product_data_than_a_mapped_unit_has() {
    let mut bench = Bench::new();
    let vpd = Io::new(&[0x12, 1, 0x83, 0, 255, 0]).data_in(255);
    assert_eq!(bench.run(bench.a, vpd.lun(9)).line, "5/2400");
}

#[test]
fn report_luns_lists_what_is_mapped() {
    let mut bench = Bench::new();
    let map = [0, 7, 255].map(|number| bench.entry(number));
    bench.target.nexus_set_map(bench.a.nexus, &map);
    let end = bench.run(bench.a, report_luns(0));
    let mapped = [0, 7 << 48, 255 << 48];
    assert_eq!(list(&end.data), mapped);
    assert_eq!(
        list(&bench.run(bench.a, report_luns(1)).data),
        [REPORT_LUNS_LU]
    );
    let all = list(&bench.run(bench.a, report_luns(2)).data);
    assert_eq!(all, [&mapped[..], &[REPORT_LUNS_LU]].concat());
    assert_eq!(bench.run(bench.a, report_luns(3)).line, "5/2400");
    assert_eq!(list(&bench.run(bench.b, report_luns(0)).data), [0]);
    let short = Io::new(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0]).data_in(8);
    assert_eq!(bench.run(bench.a, short).data, [0, 0, 0, 24, 0, 0, 0, 0]);
}

#[test]
fn all_256_numbers_fit_in_one_answer() {
    let mut bench = Bench::new();
    let map: Vec<_> = (0..=255).map(|number| bench.entry(number)).collect();
    bench.target.nexus_set_map(bench.a.nexus, &map);
    let io = Io::new(&[0xa0, 0, 2, 0, 0, 0, 0, 0, 0x10, 0, 0, 0]).data_in(4096);
    assert_eq!(list(&bench.run(bench.a, io).data).len(), 257);
}

#[test]
fn lun_zero_and_the_well_known_unit_list_even_when_nothing_is_mapped() {
    let mut bench = Bench::new();
    bench.target.nexus_set_map(bench.a.nexus, &[]);
    assert_eq!(list(&bench.run(bench.a, report_luns(0)).data), [0; 0]);
    let well_known = Lun::WELL_KNOWN_REPORT_LUNS;
    let end = bench.run(bench.a, report_luns(2).at(well_known));
    assert_eq!(list(&end.data), [REPORT_LUNS_LU]);
    assert_eq!(bench.run(bench.a, Io::inquiry()).data[0], 0x7f);
    assert_eq!(bench.run(bench.a, Io::read(0, 1)).line, "5/2500");
}

#[test]
fn the_well_known_unit_has_four_commands() {
    let mut bench = Bench::new();
    let path = bench.a;
    let mut run = |io: Io| bench.run(path, io.at(Lun::WELL_KNOWN_REPORT_LUNS));
    assert_eq!(run(Io::inquiry()).data[0], 0x1e);
    assert_eq!(run(Io::new(&TEST_UNIT_READY)).line, "GOOD");
    let sense = run(Io::new(&[3, 0, 0, 0, 18, 0]).data_in(18));
    assert_eq!(sense.data[2], 0);
    assert_eq!(run(report_luns(0)).line, "GOOD");
    for io in [Io::read(0, 1), Io::new(&[0x25; 10]), Io::new(&[0xff; 16])] {
        assert_eq!(run(io).line, "5/2000");
    }
}

#[test]
fn task_management_of_nothing() {
    let mut bench = Bench::new();
    let reset = TaskManagementFunction::LogicalUnitReset;
    for lun in forms(9) {
        bench.manage_lun(bench.a, lun, reset);
        let trace = bench.trace();
        assert!(trace[0].ends_with("IncorrectLogicalUnitNumber"), "{lun:?}");
    }
    bench.manage_lun(bench.a, Lun::WELL_KNOWN_REPORT_LUNS, reset);
    assert!(bench.trace()[0].ends_with("FunctionComplete"));
}

#[test]
fn without_a_buffer_what_is_no_unit_is_busy() {
    let mut bench = Bench::with(8, 4096);
    let held = bench.pool.take(4096);
    assert_eq!(bench.run(bench.a, Io::inquiry().lun(9)).line, "BUSY");
    drop(held);
    assert_eq!(bench.run(bench.a, Io::inquiry().lun(9)).line, "GOOD");
}
