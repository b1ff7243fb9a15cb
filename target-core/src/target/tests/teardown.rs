//! Connections, nexuses and logical units that go while commands are under way.

use crate::backend::MediumId;
use crate::command::{ChannelId, TaskAttribute};
use crate::target::tests::harness::{Bench, Io, MEDIUM, Path, TEST_UNIT_READY, blocks};

#[test]
fn a_closed_channel_hears_nothing_more() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.is_transport_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::write(8, &blocks(1, 1)));
    bench.send(
        bench.a,
        Io::new(&TEST_UNIT_READY).attribute(TaskAttribute::Ordered),
    );
    bench.trace();
    bench.close_channel(bench.a);
    assert_eq!(bench.trace(), ["cancel"]);
    bench.complete();
    assert_eq!(bench.trace(), [""; 0]);
    assert_eq!(bench.target.counters().totals.abandoned, 3);
    bench.assert_idle();
}

#[test]
fn what_was_not_polled_yet_goes_with_its_channel() {
    let mut bench = Bench::new();
    bench.is_transport_held = true;
    let (path, io) = (bench.a, Io::new(&TEST_UNIT_READY));
    // Straight to the core, so that the answer and the pull stay in its queue.
    let command = |exchange: u32, io: &Io| crate::command::Command {
        channel: path.channel,
        exchange: crate::command::ExchangeId(exchange),
        tag: 0,
        lun: io.lun,
        attribute: io.attribute,
        cdb: crate::command::CdbBytes::new(&io.cdb),
        data_in_len: 0,
        data_out_len: io.data_out.len() as u32,
        immediate: None,
    };
    bench.target.submit(path.nexus, command(1, &io));
    let write = Io::write(0, &blocks(1, 1));
    bench.target.submit(path.nexus, command(2, &write));
    bench.target.channel_close(path.nexus, path.channel);
    bench.poll();
    assert_eq!(bench.trace(), [""; 0]);
    bench.assert_idle();
}

#[test]
fn other_channels_of_the_nexus_live_on() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    let second = Path {
        channel: ChannelId(9),
        ..bench.a
    };
    bench.send(bench.a, Io::read(0, 1));
    bench.send(second, Io::read(1, 1));
    bench.close_channel(bench.a);
    bench.complete_nth(1);
    assert_eq!(bench.ends[&2].line, "GOOD");
    bench.complete();
    bench.assert_idle();
}

#[test]
fn a_late_data_buffer_is_dropped() {
    let mut bench = Bench::new();
    bench.is_transport_held = true;
    bench.send(bench.a, Io::write(0, &blocks(1, 1)));
    bench.target.channel_close(bench.a.nexus, bench.a.channel);
    bench.fill();
    assert_eq!(bench.disk[..512], blocks(0, 1));
    bench.assert_idle();
}

#[test]
fn a_closed_nexus_releases_its_reservation() {
    let mut bench = Bench::new();
    bench.run(bench.a, Io::new(&[0x16, 0, 0, 0, 0, 0]));
    bench.close_nexus(bench.a);
    assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
    assert_eq!(bench.target.counters().nexuses, 1);
}

#[test]
fn a_command_of_a_closed_nexus_goes_nowhere() {
    let mut bench = Bench::new();
    bench.close_nexus(bench.a);
    bench.send(bench.a, Io::write(0, &blocks(1, 1)).immediate(512));
    assert_eq!(bench.trace(), [""; 0]);
    bench.assert_idle();
}

#[test]
fn a_dead_nexus_does_not_hold_an_ordered_command_up() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.b, Io::read(1, 1).attribute(TaskAttribute::Ordered));
    bench.trace();
    bench.close_nexus(bench.a);
    assert_eq!(bench.trace(), ["cancel", "read 512+512"]);
}

#[test]
fn a_removed_unit_ends_what_has_not_started() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.is_transport_held = true;
    bench.send(bench.b, Io::write(8, &blocks(1, 1)));
    bench.send(bench.b, Io::read(1, 1).attribute(TaskAttribute::Ordered));
    bench.trace();
    bench.target.lu_remove(bench.lu);
    bench.poll();
    assert_eq!(bench.trace(), ["3: 5/2500"]);
    assert!(!bench.target.lu_is_idle(bench.lu) && !bench.target.medium_is_idle(MEDIUM));
    bench.fill();
    assert_eq!(bench.trace(), ["2: 5/2500"], "it is not written any more");
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD"]);
    assert!(bench.target.lu_is_idle(bench.lu) && bench.target.medium_is_idle(MEDIUM));
    assert_eq!(bench.target.counters().logical_units, 0);
    assert_eq!(bench.run(bench.a, Io::read(0, 1)).line, "5/2500");
    bench.assert_idle();
}

#[test]
fn a_replaced_medium_is_for_what_starts_later() {
    let mut bench = Bench::new();
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.target.lu_replace_medium(bench.lu, MediumId(2));
    bench.send(bench.a, Io::read(0, 1));
    let media = |bench: &Bench| -> Vec<u32> {
        bench
            .executing
            .iter()
            .map(|request| request.medium.0)
            .collect()
    };
    assert_eq!(media(&bench), [1, 2]);
    bench.complete();
    assert!(bench.target.medium_is_idle(MEDIUM));
    assert!(!bench.target.medium_is_idle(MediumId(2)));
}
