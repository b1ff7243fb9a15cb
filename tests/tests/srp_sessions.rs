//! Many sessions, one after another and all at once: memory comes back.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::command::run;
use tests::deadline::{until, until_true};
use tests::rxe::{Rxe, Wire};
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

#[test]
fn sixty_four_logins_in_a_row_leave_no_memory_behind() {
    let options = Options {
        time_limit_s: 360,
        ..Options::default()
    };
    scenario(
        "sixty_four_logins_in_a_row_leave_no_memory_behind",
        options,
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
            // The first logins bring what is kept: the device's shared queues, the allocator's arenas.
            log_in_and_out(8);
            // A connection is given back a little after its logout; what is held until then must not be the measure.
            let held = until("the first connections to be given back", 30, || {
                Some(Held::now(&target)).filter(Held::is_no_connection)
            });
            let resident = target.resident_kib();
            log_in_and_out(56);
            until_true("memory and RDMA objects to be given back", 30, || {
                Held::now(&target) == held
            });
            let after = target.resident_kib();
            println!("resident memory: {resident} KiB after 8 logins, {after} KiB after 64");
            // The allocator goes on settling for some eighty logins, by a few hundred KiB in all, and then stays.
            assert!(
                after <= resident + 768,
                "{} KiB more after 56 logins",
                after - resident
            );
            assert_eq!(target.json::<Vec<Value>>("session list").len(), 0);
        },
    );
}

/// What the daemon and the kernel hold for sessions.
#[derive(Debug, PartialEq, Eq)]
struct Held {
    buffer_bytes: u64,
    /// Queue pairs, completion queues, memory regions and so on of the device, counted by the kernel.
    rdma_objects: String,
}

impl Held {
    fn now(target: &Srptgt) -> Self {
        let buffer_bytes = target.counters().pool_used_bytes;
        Self {
            buffer_bytes,
            rdma_objects: run("rdma resource show"),
        }
    }

    /// Queue pair and completion queue of management, the daemon's two completion queues, and its listener.
    fn is_no_connection(&self) -> bool {
        self.rdma_objects.contains(" cq 3 qp 1 cm_id 1 ")
    }
}

#[test]
fn thirty_two_sessions_at_once() {
    let options = Options {
        time_limit_s: 360,
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
        let guids = paths
            .clone()
            .map(|(rxe, _)| format!(" --guid {}", rxe.port_guid()));
        target.run(&format!("host set initiator{}", guids.collect::<String>()));

        let paths: Vec<_> = paths.collect();
        let log_in = |extension: u32| {
            let log_in_by = |&(rxe, address): &(&Rxe, Ipv4Addr)| {
                let login = target.login(rxe, address);
                let session = login
                    .option("initiator_ext", format!("{extension:016x}"))
                    .succeed();
                session.disk(0);
                session
            };
            paths.iter().map(log_in_by).collect::<Vec<_>>()
        };
        // The first session of a device brings the memory that all of its sessions share.
        let mut sessions = log_in(0);
        let before = target.resident_kib();
        sessions.extend((1..8).flat_map(log_in));
        assert_eq!(target.json::<Vec<Value>>("session list").len(), 32);
        let each = (target.resident_kib() - before) / 28;
        println!("idle memory of a session with two channels: {each} KiB resident");
        assert!(each <= 256, "{each} KiB for an idle session");
        sessions
            .into_iter()
            .for_each(tests::ib_srp::Session::logout);
        assert_eq!(target.json::<Vec<Value>>("session list").len(), 0);
    });
}
