//! Many sessions, one after another and all at once: memory comes back.

use serde_json::Value;
use tests::rxe::{Rxe, Wire};
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

#[test]
fn sixty_four_logins_in_a_row_leave_no_memory_behind() {
    scenario(
        "sixty_four_logins_in_a_row_leave_no_memory_behind",
        Options::default(),
        || {
            let rxe = Rxe::on_dummy(0);
            let target = Srptgt::serving(&rxe, &["--ram --size 16M"]);
            let log_in_and_out = |times| {
                for _ in 0..times {
                    let session = target.login(&rxe, rxe.address).succeed();
                    session.disk(0);
                    session.logout();
                }
            };
            log_in_and_out(8);
            let before = target.resident_kib();
            log_in_and_out(56);
            let after = target.resident_kib();
            println!("resident memory: {before} KiB after 8 logins, {after} KiB after 64");
            assert!(
                after <= before + 256,
                "{} KiB leaked in 56 logins",
                after - before
            );
            assert_eq!(target.json::<Vec<Value>>("session list").len(), 0);
        },
    );
}

#[test]
fn thirty_two_sessions_at_once() {
    let options = Options {
        time_limit_s: 180,
        ..Options::default()
    };
    scenario("thirty_two_sessions_at_once", options, || {
        let (near, wire) = (
            [Rxe::on_dummy(0), Rxe::on_dummy(1)],
            [Wire::new(2), Wire::new(3)],
        );
        let paths = near.iter().map(|rxe| (rxe, rxe.address));
        let paths = paths.chain(
            wire.iter()
                .map(|wire| (&wire.initiator, wire.target.address)),
        );
        let target = Srptgt::serving(&near[0], &["--ram --size 16M"]);
        let empty = target.resident_kib();
        let mut sessions = Vec::new();
        for (index, (rxe, address)) in paths.enumerate() {
            if index > 0 {
                target.run(&format!("host set initiator --guid {}", rxe.port_guid()));
            }
            for extension in 0..8 {
                let login = target
                    .login(rxe, address)
                    .option("initiator_ext", format!("{extension:016x}"));
                sessions.push(login.succeed());
            }
        }
        for session in &sessions {
            session.disk(0);
        }
        let listed: Vec<Value> = target.json("session list");
        assert_eq!(listed.len(), 32);
        let each = (target.resident_kib() - empty) / 32;
        println!("idle memory of a session with two channels: {each} KiB resident");
        assert!(each <= 256, "{each} KiB for an idle session");
        sessions
            .into_iter()
            .for_each(tests::ib_srp::Session::logout);
        assert_eq!(target.json::<Vec<Value>>("session list").len(), 0);
    });
}
