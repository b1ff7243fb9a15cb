//! A target, a session that keeps the rules with verified I/O all the time, and the proof that it noticed nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use initiator::iscsi::machine::LoginOptions;
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{Lun, Scsi};
use serde_json::Value;
use tests::bed::{loopback_address, natively};
use tests::deadline::until_true;
use tests::srptgt::Srptgt;
use tests::sweep::Sweep;
use transport_iser::login::Datamover;

use crate::attacker::Attacker;

const HONEST: &str = "iqn.2026-11.example:honest";
pub(crate) const HOSTILE: &str = "iqn.2026-11.example:hostile";

/// What the daemon may hold in memory more than before an attack: the whole pool for the data of commands, which the honest
/// session touches too, and something for everything else.
pub(crate) const GROWTH_KIB: u64 = (128 << 10) + (32 << 10);

/// What an attack has to work with.
pub(crate) struct Scene<'a> {
    pub(crate) target: &'a Srptgt,
    pub(crate) attacker: Attacker,
    pub(crate) honest: &'a Honest,
}

/// A session that keeps the rules, with verified I/O on LUN 0 all the time.
pub(crate) struct Honest {
    sweeps: Arc<AtomicU32>,
    is_over: Arc<AtomicBool>,
    load: JoinHandle<()>,
}

impl Honest {
    fn begin(address: SocketAddr, target: &str) -> Self {
        const DEPTH: usize = 8;
        let (sweeps, is_over) = (
            Arc::new(AtomicU32::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut login = LoginOptions::new(Datamover::Tcp, HONEST, Some(target));
        login.outstanding = DEPTH as u32;
        let options = ConnectOptions::new(address, login);
        let (count, end) = (Arc::clone(&sweeps), Arc::clone(&is_over));
        let load = thread::spawn(move || {
            let mut session = Session::connect_tcp(&options).expect("a session");
            session.await_ready(Lun([0; 8])).expect("ready");
            while !end.load(Ordering::Relaxed) {
                let sweep = Sweep {
                    lun: Lun([0; 8]),
                    bytes: 2 << 20,
                    depth: DEPTH,
                    seed: count.load(Ordering::Relaxed).into(),
                };
                sweep.verify(&mut session);
                count.fetch_add(1, Ordering::Relaxed);
            }
            session.logout();
        });
        Self {
            sweeps,
            is_over,
            load,
        }
    }

    /// It gets on: so many whole sweeps from now.
    #[track_caller]
    pub(crate) fn assert_goes_on(&self, sweeps: u32) {
        let goal = self.sweeps.load(Ordering::Relaxed) + sweeps;
        until_true("the honest session to go on", 120, || {
            assert!(!self.load.is_finished(), "the honest session has ended");
            self.sweeps.load(Ordering::Relaxed) >= goal
        });
    }

    fn leave(self) {
        self.is_over.store(true, Ordering::Relaxed);
        self.load.join().expect("the honest session");
    }
}

impl Scene<'_> {
    pub(crate) fn sessions(&self) -> usize {
        self.target.json::<Vec<Value>>("session list").len()
    }

    pub(crate) fn assert_growth(&self, before_kib: u64, most_kib: u64) {
        let after_kib = self.target.resident_kib();
        println!("resident memory: {before_kib} KiB before, {after_kib} KiB after");
        assert!(after_kib <= before_kib + most_kib);
    }
}

/// A target, a well-behaved session with verified I/O on LUN 0, and an attacker that may use LUN 1.
pub(crate) fn beside_an_honest_session(attack: impl FnOnce(&Scene<'_>)) {
    natively(|bed| {
        let target = bed.target();
        let address = SocketAddr::new(loopback_address(), 3260);
        target.run(&format!("portal add tcp {address}"));
        target.run(&format!("host add initiator --iqn {HONEST}"));
        target.run(&format!("host add hostile --iqn {HOSTILE}"));
        target.add_luns(&["--ram --size 4M", "--ram --size 16M"]);
        target.run("map lun1 --host hostile --lun 1");
        let shown: Value = target.json("target show");
        let name = shown["iqn"].as_str().expect("an iSCSI name");
        let honest = Honest::begin(address, name);
        honest.assert_goes_on(1);
        let before_kib = target.resident_kib();
        let stage = Scene {
            target: &target,
            attacker: Attacker::new(address, HOSTILE, name),
            honest: &honest,
        };
        attack(&stage);
        honest.assert_goes_on(1);
        until_true("the attacker's sessions to end", 120, || {
            stage.sessions() == 1
        });
        stage.assert_growth(before_kib, GROWTH_KIB);
        honest.leave();
        until_true("everybody to be gone", 60, || {
            target.json::<Vec<Value>>("session list").is_empty()
        });
        target.wait_until_idle();
        until_true("all buffers to be free", 60, || {
            target.counters().pool_used_bytes == 0
        });
    });
}
