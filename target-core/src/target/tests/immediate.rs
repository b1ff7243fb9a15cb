//! Data that comes with the command.

use crate::target::tests::harness::{BLOCK, Bench, Io, blocks, transfer};

#[test]
fn all_of_it_is_used_in_place() {
    let mut bench = Bench::new();
    bench.send(bench.a, Io::write(0, &blocks(3, 2)).immediate(1024));
    assert_eq!(bench.trace(), ["durable write 0+1024", "1: GOOD"]);
    assert_eq!(
        bench.pool.level().high_water_bytes,
        0,
        "no buffer was needed"
    );
    assert_eq!(bench.disk[..1024], blocks(3, 2));
    bench.assert_idle();
}

#[test]
fn part_of_it_is_copied_and_the_rest_pulled() {
    let mut bench = Bench::new();
    let data: Vec<u8> = (0..4 * BLOCK).map(|i| (i / 7) as u8).collect();
    bench.send(bench.a, Io::write(4, &data).immediate(700));
    assert_eq!(
        bench.trace(),
        ["1: pull 700+1348", "durable write 2048+2048", "1: GOOD"]
    );
    assert_eq!(bench.disk[2048..4096], data);
    bench.assert_idle();
}

#[test]
fn more_than_the_command_takes_is_left_alone() {
    let mut bench = Bench::new();
    let io = Io::new(&transfer(0x2a, 0, 1))
        .data_out(&blocks(3, 3))
        .immediate(1536);
    bench.send(bench.a, io);
    assert_eq!(bench.trace(), ["durable write 0+512", "1: GOOD"]);
    assert_eq!(bench.disk[..1024], [blocks(3, 1), blocks(0, 1)].concat());
    bench.assert_idle();
}

#[test]
fn it_goes_back_when_the_command_is_refused() {
    let mut bench = Bench::new();
    bench.send(bench.a, Io::write(8192, &blocks(3, 1)).immediate(512));
    assert_eq!(bench.trace(), ["1: 5/2100"]);
    bench.assert_idle();
}

#[test]
fn it_goes_back_when_the_command_is_for_nothing() {
    let mut bench = Bench::new();
    bench.send(bench.a, Io::write(0, &blocks(3, 1)).immediate(512).lun(9));
    assert_eq!(bench.trace(), ["1: 5/2500"]);
    bench.assert_idle();
}
