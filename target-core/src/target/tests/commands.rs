//! Commands from end to end: data, residuals, refusals.

use crate::backend::BlockErrorKind;
use crate::command::{Residual, TaskAttribute};
use crate::counters::LunCounters;
use crate::sense::Sense;
use crate::target::LuEvent;
use crate::target::tests::harness::{
    BLOCK, Bench, Io, SYNCHRONIZE_CACHE, TEST_UNIT_READY, blocks, transfer,
};

#[test]
fn a_write_is_checked_then_pulled_then_written() {
    let mut bench = Bench::new();
    bench.send(bench.a, Io::write(8, &blocks(0x5a, 2)));
    assert_eq!(
        bench.trace(),
        ["1: pull 0+1024", "durable write 4096+1024", "1: GOOD"]
    );
    let end = bench.run(bench.a, Io::read(7, 4));
    let expected = [blocks(0, 1), blocks(0x5a, 2), blocks(0, 1)].concat();
    assert_eq!((end.line.as_str(), end.data), ("GOOD", expected));
    assert_eq!(bench.trace(), ["read 3584+2048"]);
    bench.assert_idle();
}

#[test]
fn a_write_whose_data_are_lost_ends_and_writes_nothing() {
    let mut bench = Bench::new();
    bench.is_transport_held = true;
    bench.send(bench.a, Io::write(8, &blocks(0x5a, 2)));
    bench.trace();
    bench.lose();
    assert_eq!(bench.trace(), ["1: b/4705"]);
    bench.assert_idle();
}

#[test]
fn a_refused_write_moves_no_data() {
    let mut bench = Bench::new();
    bench.unit.set_read_only(true);
    let end = bench.run(bench.a, Io::write(0, &blocks(1, 1)));
    assert_eq!(end.line, "7/2700");
    assert_eq!(end.data_out_residual, Residual::Underflow(512));
    assert_eq!(bench.trace(), [""; 0]);
}

#[test]
fn a_read_only_mapping_protects_for_one_nexus() {
    let mut bench = Bench::new();
    let mut entry = bench.entry(0);
    entry.read_only = true;
    bench.target.nexus_set_map(bench.a.nexus, &[entry]);
    assert_eq!(bench.run(bench.a, Io::read(0, 1)).line, "6/2a01");
    assert_eq!(
        bench.run(bench.a, Io::write(0, &blocks(1, 1))).line,
        "7/2700"
    );
    let sense = bench.run(bench.a, Io::new(&[0x1a, 8, 0x0a, 0, 255, 0]).data_in(255));
    assert_eq!(sense.data[2], 0x90);
    assert_eq!(bench.run(bench.b, Io::write(0, &blocks(1, 1))).line, "GOOD");
}

#[test]
fn durability_follows_the_write_cache() {
    let mut bench = Bench::new();
    bench.unit.set_write_cache(true);
    bench.run(bench.a, Io::write(0, &blocks(1, 1)));
    let mut fua = Io::write(0, &blocks(1, 1));
    fua.cdb[1] = 0x08;
    bench.run(bench.a, fua);
    bench.run(bench.a, Io::new(&SYNCHRONIZE_CACHE));
    assert_eq!(
        bench.trace(),
        [
            "1: pull 0+512",
            "write 0+512",
            "2: pull 0+512",
            "durable write 0+512",
            "flush"
        ]
    );
}

#[test]
fn an_immediate_flush_is_answered_before_it_ends() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    let mut cdb = SYNCHRONIZE_CACHE;
    cdb[1] = 2;
    bench.send(bench.a, Io::new(&cdb));
    assert_eq!(bench.trace(), ["flush", "1: GOOD"]);
    assert_eq!(bench.target.counters().orphaned, 1);
    bench.complete();
    bench.assert_idle();
}

#[test]
fn an_immediate_flush_does_not_keep_an_ordered_command_waiting() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    let mut cdb = SYNCHRONIZE_CACHE;
    cdb[1] = 2;
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::new(&cdb).attribute(TaskAttribute::Ordered));
    let ready = Io::new(&TEST_UNIT_READY).attribute(TaskAttribute::Ordered);
    bench.send(bench.a, ready);
    bench.trace();
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD", "flush", "2: GOOD", "3: GOOD"]);
    bench.complete();
    bench.assert_idle();
}

#[test]
fn residuals_of_reads() {
    let mut bench = Bench::new();
    bench.disk[..1024].fill(7);
    let read = |data_in| Io::new(&transfer(0x28, 0, 2)).data_in(data_in);
    for (room, moved, residual) in [
        (0, 0, Residual::Overflow(1024)),
        (200, 200, Residual::Overflow(824)),
        (512, 512, Residual::Overflow(512)),
        (1024, 1024, Residual::None),
        (10_000, 1024, Residual::Underflow(10_000 - 1024)),
    ] {
        let end = bench.run(bench.a, read(room));
        assert_eq!(end.line, "GOOD");
        assert_eq!((end.data.len(), end.data_in_residual), (moved, residual));
        assert!(end.data.iter().all(|&byte| byte == 7));
    }
    assert_eq!(
        bench.trace(),
        ["read 0+512", "read 0+512", "read 0+1024", "read 0+1024"],
        "no block is read in vain"
    );
}

#[test]
fn residuals_of_writes() {
    let mut bench = Bench::new();
    let write = |len: usize| Io::new(&transfer(0x2a, 0, 2)).data_out(&vec![9; len]);
    for (there, written, residual) in [
        (511, 0, Residual::Overflow(513)),
        (512, 512, Residual::Overflow(512)),
        (1000, 512, Residual::Overflow(24)),
        (1024, 1024, Residual::None),
        (2000, 1024, Residual::Underflow(976)),
    ] {
        bench.disk[..2048].fill(0);
        let end = bench.run(bench.a, write(there));
        assert_eq!(end.line, "GOOD");
        assert_eq!(end.data_out_residual, residual);
        assert_eq!(
            bench.disk.iter().filter(|&&byte| byte == 9).count(),
            written
        );
    }
    bench.assert_idle();
}

#[test]
fn a_write_with_a_data_in_buffer_only_is_refused() {
    let mut bench = Bench::new();
    let mut write = Io::write(0, &blocks(1, 1));
    write.data_out.clear();
    let end = bench.run(bench.a, write.data_in(512));
    assert_eq!(end.line, "5/0e03");
    assert_eq!(end.data_in_residual, Residual::Underflow(512));
}

#[test]
fn a_read_with_a_data_out_buffer_only_overflows() {
    let mut bench = Bench::new();
    let end = bench.run(bench.a, Io::read(0, 1).data_in(0).data_out(&blocks(1, 1)));
    assert_eq!(end.line, "GOOD");
    assert_eq!(end.data_in_residual, Residual::Overflow(512));
    assert_eq!(end.data_out_residual, Residual::Underflow(512));
    bench.assert_idle();
}

#[test]
fn a_command_without_data_may_have_buffers() {
    let mut bench = Bench::new();
    let end = bench.run(bench.a, Io::new(&TEST_UNIT_READY).data_in(36));
    assert_eq!(end.line, "GOOD");
    assert_eq!(end.data_in_residual, Residual::Underflow(36));
    let end = bench.run(
        bench.a,
        Io::new(&TEST_UNIT_READY).data_out(&[0; 8]).immediate(8),
    );
    assert_eq!(end.data_out_residual, Residual::Underflow(8));
    bench.assert_idle();
}

#[test]
fn answers_are_cut_to_the_allocation_length_and_to_the_room() {
    let mut bench = Bench::new();
    let inquiry = |allocation: u8| Io::new(&[0x12, 0, 0, 0, allocation, 0]);
    let end = bench.run(bench.a, inquiry(36).data_in(255));
    assert_eq!(end.data.len(), 36);
    assert_eq!(end.data_in_residual, Residual::Underflow(255 - 36));
    assert_eq!(end.data[4], 91, "the additional length is not cut");
    let end = bench.run(bench.a, inquiry(96).data_in(5));
    assert_eq!(end.data.len(), 5);
    assert_eq!(end.data_in_residual, Residual::Overflow(91));
    let end = bench.run(bench.a, inquiry(0).data_in(5));
    assert_eq!((end.line.as_str(), end.data.len()), ("GOOD", 0));
    let end = bench.run(bench.a, Io::new(&transfer(0x25, 0, 0)).data_in(8));
    assert_eq!(end.data, [0, 0, 0x1f, 0xff, 0, 0, 2, 0]);
}

#[test]
fn unknown_commands_and_bad_cdbs() {
    let mut bench = Bench::new();
    let mut line = |cdb: &[u8]| {
        let path = bench.a;
        bench.run(path, Io::new(cdb)).sense.expect("sense data")
    };
    assert_eq!(line(&[0x42; 10]).code.0, 0x2000);
    assert_eq!(line(&[0x1e, 0, 0, 0, 1, 0]).code.0, 0x2000);
    assert_eq!(
        line(&[]).code.0,
        0x2400,
        "an empty CDB is a short TEST UNIT READY"
    );
    let action = line(&[0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(action, Sense::invalid_field_in_cdb(1, Some(4)));
    let naca = line(&[0, 0, 0, 0, 0, 4]);
    assert_eq!(naca, Sense::invalid_field_in_cdb(5, Some(2)));
    let short = line(&[0x28, 0, 0, 0]);
    assert_eq!(short, Sense::invalid_field_in_cdb(4, None));
    let aca = Io::new(&TEST_UNIT_READY).attribute(TaskAttribute::Aca);
    assert_eq!(bench.run(bench.a, aca).line, "5/4900");
}

#[test]
fn too_long_a_transfer_points_to_its_length() {
    let mut bench = Bench::new();
    let end = bench.run(bench.a, Io::read(0, 2049));
    assert_eq!(end.sense, Some(Sense::invalid_field_in_cdb(7, None)));
    let limits = bench.run(bench.a, Io::new(&[0x12, 1, 0xb0, 0, 64, 0]).data_in(64));
    assert_eq!(limits.data[8..12], 2048_u32.to_be_bytes());
}

#[test]
fn no_transfer_is_longer_than_the_largest_buffer() {
    let mut bench = Bench::with(8, 64 << 10);
    let limits = bench.run(bench.a, Io::new(&[0x12, 1, 0xb0, 0, 64, 0]).data_in(64));
    assert_eq!(limits.data[8..12], 128_u32.to_be_bytes());
    assert_eq!(bench.run(bench.a, Io::read(0, 128)).line, "GOOD");
    assert_eq!(bench.run(bench.a, Io::read(0, 129)).line, "5/2400");
}

#[test]
fn a_failed_medium_becomes_sense_data() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(16, 4));
    bench.fail(BlockErrorKind::Medium, 17 * BLOCK as u64);
    bench.send(bench.a, Io::write(16, &blocks(1, 4)));
    bench.fail(BlockErrorKind::NoSpace, 0);
    bench.send(bench.a, Io::write(16, &blocks(1, 4)));
    bench.fail(BlockErrorKind::Busy, 0);
    let read = &bench.ends[&1];
    assert_eq!(read.line, "3/1100");
    assert_eq!(read.sense.and_then(|sense| sense.information), Some(17));
    assert_eq!(read.data_in_residual, Residual::Underflow(2048));
    assert_eq!(bench.ends[&2].line, "7/2707");
    assert_eq!(bench.ends[&2].data_out_residual, Residual::None);
    assert_eq!(bench.ends[&3].line, "BUSY");
    bench.assert_idle();
}

#[test]
fn a_full_table_says_task_set_full() {
    let mut bench = Bench::with(2, 1 << 20);
    bench.is_backend_held = true;
    for _ in 0..3 {
        bench.send(bench.a, Io::read(0, 1));
    }
    assert_eq!(bench.ends[&3].line, "TASK SET FULL");
    bench.complete();
    bench.send(bench.a, Io::read(0, 1));
    bench.complete();
    bench.complete();
    assert_eq!(bench.ends[&4].line, "GOOD");
    assert_eq!(bench.target.counters().totals.task_set_full, 1);
    bench.assert_idle();
}

#[test]
fn unit_attentions_are_reported_once_to_each_nexus() {
    let mut bench = Bench::new();
    bench.target.lu_event(bench.lu, LuEvent::CapacityChanged);
    bench.target.lu_event(bench.lu, LuEvent::CapacityChanged);
    assert_eq!(bench.run(bench.a, Io::inquiry()).line, "GOOD");
    assert_eq!(
        bench.run(bench.a, Io::write(0, &blocks(1, 1))).line,
        "6/2a09"
    );
    assert_eq!(bench.run(bench.a, Io::write(0, &blocks(1, 1))).line, "GOOD");
    let sense = bench.run(bench.b, Io::new(&[3, 0, 0, 0, 18, 0]).data_in(18));
    assert_eq!((sense.data[2], &sense.data[12..14]), (6, &[0x2a, 9][..]));
    assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
    for (event, line) in [
        (LuEvent::ModeParametersChanged, "6/2a01"),
        (LuEvent::InquiryChanged, "6/3f03"),
    ] {
        bench.target.lu_event(bench.lu, event);
        assert_eq!(bench.run(bench.a, Io::new(&[0x42; 10])).line, line);
        assert_eq!(bench.run(bench.b, Io::new(&TEST_UNIT_READY)).line, line);
    }
}

#[test]
fn request_sense_without_anything_to_say() {
    let mut bench = Bench::new();
    let end = bench.run(bench.a, Io::new(&[3, 0, 0, 0, 255, 0]).data_in(255));
    let mut expected = [0; 18];
    (expected[0], expected[7]) = (0x70, 10);
    assert_eq!(end.data, expected);
    let end = bench.run(bench.a, Io::new(&[3, 1, 0, 0, 255, 0]).data_in(255));
    assert_eq!(end.data, [0x72, 0, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_reservation_keeps_others_out_until_it_ends() {
    let mut bench = Bench::new();
    let reserve = || Io::new(&[0x16, 0, 0, 0, 0, 0]);
    assert_eq!(bench.run(bench.a, reserve()).line, "GOOD");
    for io in [
        Io::new(&TEST_UNIT_READY),
        Io::read(0, 1),
        Io::write(0, &blocks(1, 1)),
        Io::new(&SYNCHRONIZE_CACHE),
        reserve(),
    ] {
        assert_eq!(bench.run(bench.b, io).line, "RESERVATION CONFLICT");
    }
    for io in [
        Io::inquiry(),
        Io::new(&[0x17, 0, 0, 0, 0, 0]),
        Io::new(&transfer(0x25, 0, 0)).data_in(8),
    ] {
        assert_eq!(bench.run(bench.b, io).line, "GOOD");
    }
    assert_eq!(bench.run(bench.a, Io::write(0, &blocks(1, 1))).line, "GOOD");
    assert_eq!(bench.run(bench.a, Io::new(&[0x57; 1])).line, "5/2400");
    assert_eq!(
        bench.run(bench.a, Io::new(&transfer(0x57, 0, 0))).line,
        "GOOD"
    );
    assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
}

#[test]
fn sessions_are_counted_by_number() {
    let mut bench = Bench::new();
    let before = bench.lun_counters(bench.a);
    assert_eq!(before[0].1.errors, 1, "the unit attention at login");
    bench.run(bench.a, Io::read(0, 4));
    bench.run(bench.a, Io::read(0, 4).data_in(100));
    bench.run(bench.a, Io::write(0, &blocks(1, 2)));
    bench.run(bench.a, Io::inquiry());
    bench.run(bench.a, Io::read(8192, 1));
    let expected = LunCounters {
        reads: 2,
        writes: 1,
        other: 1,
        read_bytes: 2148,
        write_bytes: 1024,
        errors: 2,
    };
    assert_eq!(bench.lun_counters(bench.a), [(0, expected)]);
    assert_eq!(bench.lun_counters(bench.b)[0].1.reads, 0);
}
