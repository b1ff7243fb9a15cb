//! Every function against a task in every state: it is answered once the task has stopped.

use crate::command::TaskAttribute::Ordered;
use crate::command::TaskManagementFunction::{self, *};
use crate::lun::Lun;
use crate::target::tests::harness::{Bench, Io, TEST_UNIT_READY, blocks};

/// Where a task of initiator A stands when the request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Dormant,
    WaitingForOrphan,
    WaitingForBuffer,
    Pulling,
    Executing,
}

const STAGES: [Stage; 5] = [
    Stage::Dormant,
    Stage::WaitingForOrphan,
    Stage::WaitingForBuffer,
    Stage::Pulling,
    Stage::Executing,
];

/// A bench whose exchange with tag 77 is a write of A at this stage; and a buffer that keeps the pool empty.
fn staged(stage: Stage) -> (Bench, Option<iobuf::Buf>) {
    let mut bench = Bench::with(16, 16384);
    bench.is_backend_held = true;
    bench.is_transport_held = true;
    let mut write = Io::write(0, &blocks(7, 1)).tag(77);
    let mut hog = None;
    match stage {
        Stage::Dormant => {
            bench.send(bench.b, Io::read(9, 1));
            write = write.attribute(Ordered);
        }
        Stage::WaitingForOrphan => {
            bench.is_transport_held = false;
            bench.send(bench.b, Io::write(0, &blocks(1, 1)));
            bench.close_channel(bench.b);
        }
        Stage::WaitingForBuffer => hog = bench.pool.take(16384),
        Stage::Pulling | Stage::Executing => {}
    }
    let exchange = bench.send(bench.a, write);
    if stage == Stage::Executing {
        bench.fill();
    }
    assert!(!bench.ends.contains_key(&exchange));
    bench.trace();
    (bench, hog)
}

/// The lines that end the staged task and the request after it.
fn stopped(trace: &[String]) -> bool {
    matches!(trace, [.., aborted, done]
        if aborted.ends_with("aborted") && is_complete(done))
}

fn is_complete(line: &str) -> bool {
    line.ends_with("FunctionComplete") || line.ends_with("FunctionComplete, ends sessions")
}

fn finish_everything(bench: &mut Bench) {
    while !bench.executing.is_empty() {
        bench.complete();
    }
    bench.poll();
}

fn stop(stage: Stage, function: TaskManagementFunction, from_a: bool) {
    let (mut bench, hog) = staged(stage);
    let from = if from_a { bench.a } else { bench.b };
    bench.manage(from, function);
    let mut trace = bench.trace();
    match stage {
        Stage::Pulling => {
            // The transport may still fill the buffer, or give it up.
            let exchange = bench.pulls[0].exchange.0;
            assert_eq!(trace, [format!("stop {exchange}")]);
            match from_a {
                true => bench.fill(),
                false => bench.lose(),
            }
            trace = bench.trace();
        }
        Stage::Executing => {
            assert_eq!(trace, ["cancel"]);
            bench.complete();
            trace = bench.trace();
        }
        _ => {}
    }
    let resets = matches!(
        function,
        ClearTaskSet | LogicalUnitReset | TargetWarmReset | TargetColdReset
    );
    if resets && matches!(stage, Stage::Dormant | Stage::WaitingForOrphan) {
        // The other task, or the orphan, has to stop as well.
        let waits = trace.last().is_some_and(|line| line.ends_with("aborted"));
        assert!(waits, "{stage:?} {function:?}: {trace:?}");
        bench.complete();
        let rest = bench.trace();
        assert!(rest.last().is_some_and(|line| is_complete(line)));
    } else {
        assert!(stopped(&trace), "{stage:?} {function:?}: {trace:?}");
    }
    drop(hog);
    finish_everything(&mut bench);
    if stage != Stage::Executing {
        let is_written = bench.disk[0] == 7;
        assert!(!is_written, "{stage:?}: an aborted write was done");
    }
    bench.assert_idle();
}

#[test]
fn abort_task_in_every_state() {
    for stage in STAGES {
        stop(stage, AbortTask { tag: 77 }, true);
    }
}

#[test]
fn abort_task_set_in_every_state() {
    for stage in STAGES {
        stop(stage, AbortTaskSet, true);
    }
}

#[test]
fn clear_task_set_in_every_state() {
    for stage in STAGES {
        stop(stage, ClearTaskSet, true);
    }
}

#[test]
fn logical_unit_reset_in_every_state() {
    for stage in STAGES {
        stop(stage, LogicalUnitReset, true);
    }
}

#[test]
fn target_resets_in_every_state() {
    for stage in STAGES {
        stop(stage, TargetWarmReset, true);
        stop(stage, TargetColdReset, true);
    }
}

#[test]
fn another_nexus_clears_and_resets_in_every_state() {
    for stage in STAGES {
        stop(stage, ClearTaskSet, false);
        stop(stage, LogicalUnitReset, false);
        stop(stage, TargetWarmReset, false);
        stop(stage, TargetColdReset, false);
    }
}

#[test]
fn another_nexus_aborts_nothing() {
    for function in [AbortTask { tag: 77 }, AbortTaskSet] {
        let (mut bench, _) = staged(Stage::Executing);
        bench.manage(bench.b, function);
        assert_eq!(bench.trace(), ["2: FunctionComplete"]);
        bench.complete();
        assert_eq!(bench.trace(), ["1: GOOD"]);
    }
}

#[test]
fn an_abort_of_what_has_ended_is_complete() {
    let mut bench = Bench::new();
    bench.run(bench.a, Io::new(&TEST_UNIT_READY).tag(5));
    bench.manage(bench.a, AbortTask { tag: 5 });
    assert_eq!(bench.trace(), ["2: FunctionComplete"]);
}

#[test]
fn an_abort_stops_only_its_task() {
    let (mut bench, _) = staged(Stage::Executing);
    bench.send(bench.a, Io::read(4, 1));
    bench.trace();
    bench.manage(bench.a, AbortTask { tag: 77 });
    bench.complete_nth(1);
    assert_eq!(bench.trace(), ["cancel", "2: GOOD"]);
    bench.complete();
    assert_eq!(bench.trace(), ["1: aborted", "3: FunctionComplete"]);
}

#[test]
fn requests_that_wait_for_the_same_task_are_all_answered() {
    let (mut bench, _) = staged(Stage::Executing);
    bench.manage(bench.a, AbortTask { tag: 77 });
    bench.manage(bench.a, LogicalUnitReset);
    bench.manage(bench.b, LogicalUnitReset);
    assert_eq!(bench.trace(), ["cancel"], "one cancel is enough");
    assert_eq!(bench.target.counters().task_management_pending, 3);
    bench.complete();
    assert_eq!(
        bench.trace(),
        [
            "1: aborted",
            "2: FunctionComplete",
            "3: FunctionComplete",
            "4: FunctionComplete"
        ]
    );
    bench.assert_idle();
}

#[test]
fn a_command_after_the_request_is_not_touched() {
    let (mut bench, _) = staged(Stage::Executing);
    bench.manage(bench.a, AbortTaskSet);
    bench.send(bench.a, Io::read(4, 1));
    bench.trace();
    bench.complete();
    assert_eq!(bench.trace(), ["1: aborted", "2: FunctionComplete"]);
    bench.complete();
    assert_eq!(bench.trace(), ["3: GOOD"]);
}

#[test]
fn clear_task_set_tells_those_who_lost_a_command() {
    let (mut bench, _) = staged(Stage::Executing);
    bench.manage(bench.b, ClearTaskSet);
    bench.complete();
    bench.trace();
    bench.is_backend_held = false;
    assert_eq!(bench.run(bench.a, Io::read(0, 1)).line, "6/2f00");
    assert_eq!(bench.run(bench.a, Io::read(0, 1)).line, "GOOD");
    assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
    bench.manage(bench.b, ClearTaskSet);
    assert_eq!(
        bench.run(bench.a, Io::read(0, 1)).line,
        "GOOD",
        "none was lost"
    );
}

#[test]
fn logical_unit_reset_tells_everybody_and_ends_the_reservation() {
    let mut bench = Bench::new();
    bench.run(bench.a, Io::new(&[0x16, 0, 0, 0, 0, 0]));
    bench.manage(bench.b, LogicalUnitReset);
    for nexus in [bench.b, bench.a] {
        assert_eq!(bench.run(nexus, Io::read(0, 1)).line, "6/2903");
        assert_eq!(bench.run(nexus, Io::read(0, 1)).line, "GOOD");
    }
}

#[test]
fn a_warm_reset_is_of_every_unit_that_the_nexus_has_and_of_no_other() {
    let mut bench = Bench::new();
    bench.add_second_unit(false);
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.send(bench.a, Io::read(0, 1).lun(1));
    bench.send(bench.b, Io::read(0, 1));
    bench.trace();
    // B does not have LUN 1, and its LUN field says nothing.
    bench.manage_lun(bench.b, Lun::peripheral(9), TargetWarmReset);
    assert_eq!(bench.trace(), ["cancel", "cancel"]);
    bench.complete_nth(2);
    bench.complete_nth(0);
    assert_eq!(
        bench.trace(),
        ["3: aborted", "1: aborted", "4: FunctionComplete"]
    );
    bench.complete();
    assert_eq!(bench.trace(), ["2: GOOD"]);
    bench.is_backend_held = false;
    assert_eq!(bench.attentions(bench.b, 0), "6/2903");
    assert_eq!(bench.attentions(bench.a, 0), "6/2903");
    assert_eq!(bench.attentions(bench.a, 1), "");
    bench.manage(bench.a, TargetWarmReset);
    assert_eq!(bench.attentions(bench.a, 1), "6/2903");
    assert_eq!(bench.target.counters().totals.target_reset, 2);
    bench.assert_idle();
}

#[test]
fn a_target_reset_ends_reservations_on_every_unit() {
    for function in [TargetWarmReset, TargetColdReset] {
        let mut bench = Bench::new();
        bench.add_second_unit(true);
        bench.run(bench.a, Io::new(&[0x16, 0, 0, 0, 0, 0]));
        bench.manage(bench.b, function);
        bench.attentions(bench.b, 0);
        assert_eq!(bench.run(bench.b, Io::read(0, 1)).line, "GOOD");
    }
}

#[test]
fn a_unit_with_two_numbers_is_reset_once() {
    let (mut bench, _) = staged(Stage::Executing);
    let map = [bench.entry(0), bench.entry(5)];
    bench.target.nexus_set_map(bench.a.nexus, &map);
    bench.manage(bench.a, TargetWarmReset);
    bench.complete();
    assert!(stopped(&bench.trace()));
    bench.assert_idle();
}

#[test]
fn a_cold_reset_is_a_power_on_and_ends_the_sessions() {
    let mut bench = Bench::new();
    bench.add_second_unit(true);
    bench.manage(bench.a, TargetColdReset);
    assert_eq!(bench.trace(), ["1: FunctionComplete, ends sessions"]);
    for (path, lun) in [(bench.a, 0), (bench.a, 1), (bench.b, 0), (bench.b, 1)] {
        assert_eq!(bench.attentions(path, lun), "6/2900");
    }
}

#[test]
fn a_cold_reset_that_would_end_others_work_is_refused() {
    let mut bench = Bench::new();
    bench.add_second_unit(false);
    bench.is_backend_held = true;
    bench.send(bench.a, Io::read(0, 1));
    bench.trace();
    // A has what B does not have.
    bench.manage(bench.b, TargetColdReset);
    assert_eq!(bench.trace(), ["2: FunctionAuthorizationFailed"]);
    bench.complete();
    assert_eq!(bench.trace(), ["1: GOOD"]);
    bench.manage(bench.a, TargetColdReset);
    assert_eq!(bench.trace(), ["3: FunctionComplete, ends sessions"]);
}

#[test]
fn other_functions() {
    let mut bench = Bench::new();
    bench.manage(bench.a, ClearAca);
    bench.manage(bench.a, Unknown(0x80));
    assert_eq!(
        bench.trace(),
        ["1: FunctionComplete", "2: FunctionRejected"]
    );
    let totals = bench.target.counters().totals;
    assert_eq!((totals.clear_aca, totals.task_management_rejected), (1, 1));
}

#[test]
fn no_request_is_refused_because_others_wait() {
    let (mut bench, _) = staged(Stage::Executing);
    // Three times as many as there are tasks.
    let requests = 48;
    for _ in 0..requests {
        bench.manage(bench.b, LogicalUnitReset);
    }
    bench.manage(bench.a, AbortTask { tag: 77 });
    assert_eq!(bench.trace(), ["cancel"]);
    bench.complete();
    let trace = bench.trace();
    let (aborted, answers) = trace.split_first().expect("an end");
    assert_eq!(aborted, "1: aborted");
    assert_eq!(answers.len(), 1 + requests);
    assert!(
        answers
            .iter()
            .all(|line| line.ends_with("FunctionComplete"))
    );
    bench.assert_idle();
}

#[test]
fn a_request_whose_connection_goes_is_not_answered() {
    let (mut bench, _) = staged(Stage::Executing);
    bench.manage(bench.b, LogicalUnitReset);
    bench.close_channel(bench.b);
    bench.trace();
    bench.complete();
    assert_eq!(bench.trace(), ["1: aborted"]);
    bench.assert_idle();
}

#[test]
fn an_aborted_task_whose_connection_goes_still_holds_the_reset_up() {
    for stage in [Stage::Pulling, Stage::Executing] {
        let (mut bench, _) = staged(stage);
        bench.manage(bench.b, LogicalUnitReset);
        bench.trace();
        bench.close_nexus(bench.a);
        if stage == Stage::Executing {
            assert_eq!(bench.trace(), [""; 0], "its write may still come");
            bench.complete();
        }
        assert_eq!(bench.trace(), ["2: FunctionComplete"]);
        bench.assert_idle();
    }
}
