//! A daemon that has no descriptor left: who is in goes on, nobody spins, and whoever waits outside comes in when there is
//! one again.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tests::bed::{loopback_address, natively};
use tests::deadline::until_true;
use tests::srptgt::Srptgt;
use transport_iser::pdu::{LoginResponse, LoginStatus};

use crate::attacker::{Attacker, Peer};
use crate::scene::{HOSTILE, beside_an_honest_session};

/// More than there are descriptors for, and fewer than the kernel keeps waiting.
const KNOCKING: u8 = 64;

/// Descriptors that are left to the daemon.
const LEFT: usize = 8;

/// The daemon's descriptors, of which there may be no more from now on than these; as many as before when dropped.
struct Shortage<'a> {
    target: &'a Srptgt,
    before: Rlimit,
    most: u64,
}

impl<'a> Shortage<'a> {
    fn begin(target: &'a Srptgt) -> Self {
        let used = target.descriptors();
        // The limit is one of numbers, and there may be high ones among those that it has been started with.
        let free = (0..).filter(|number| !used.contains(number));
        let most = free.take(LEFT).last().map_or(0, |number| number + 1);
        let fewer = Rlimit {
            current: Some(most),
            maximum: getrlimit(Resource::Nofile).maximum,
        };
        let before = limit(target, fewer);
        Self {
            target,
            before,
            most,
        }
    }

    /// A portal that accepts as the limit now is: an entry of the ring keeps that which was when it was made.
    fn add_portal(&self) -> SocketAddr {
        let address = SocketAddr::new(loopback_address(), 3260);
        self.target.run(&format!("portal add tcp {address}"));
        address
    }

    #[track_caller]
    fn wait_until_complete(&self) {
        until_true("the last descriptor to be taken", 60, || {
            let used = self.target.descriptors();
            (0..self.most).all(|number| used.contains(&number))
        });
        until_true("a word about it", 60, || self.warnings() > 0);
    }

    /// How often the daemon has found that it cannot accept.
    fn warnings(&self) -> usize {
        let log = self.target.log();
        log.matches("nobody can be accepted now").count()
    }
}

impl Drop for Shortage<'_> {
    fn drop(&mut self) {
        limit(self.target, self.before);
    }
}

/// Sets how many descriptors the daemon may have; how many it might have before.
fn limit(target: &Srptgt, new: Rlimit) -> Rlimit {
    let process = i32::try_from(target.process()).ok().and_then(Pid::from_raw);
    prlimit(process, Resource::Nofile, new).expect("a limit of the daemon")
}

/// So many connections that the last ones find no descriptor, each with the whole of its login.
fn knock(attacker: &Attacker) -> Vec<Peer> {
    let knock = |number| {
        let mut login = attacker.login;
        login.isid[4..].copy_from_slice(&[1, number]);
        let keys = attacker.keys(&[]);
        let mut peer = attacker.connect();
        peer.send(&login.encode(keys.len() as u32), &keys);
        peer
    };
    (0..KNOCKING).map(knock).collect()
}

#[test]
fn who_is_in_goes_on_without_descriptors_and_others_come_in_later() {
    beside_an_honest_session(|stage| {
        let mut inside = stage.attacker.session(&[]);
        let shortage = Shortage::begin(stage.target);
        let address = shortage.add_portal();
        let peers = knock(&Attacker {
            address,
            ..stage.attacker.clone()
        });
        shortage.wait_until_complete();
        inside.assert_alive("who was in before");
        stage.honest.assert_goes_on(2);
        drop(shortage);
        for mut peer in peers {
            let (bhs, _) = peer.pdu("an answer to who had to wait");
            let response = LoginResponse::parse(&bhs).expect("a login response");
            assert_eq!(response.status, LoginStatus::SUCCESS);
        }
        stage.honest.assert_goes_on(1);
    });
}

/// It looks once a second whether there is a descriptor again.
#[test]
fn a_daemon_without_descriptors_sleeps() {
    const WATCHED: Duration = Duration::from_secs(5);
    natively(|bed| {
        let target = bed.target();
        let shortage = Shortage::begin(&target);
        let address = shortage.add_portal();
        let attacker = Attacker::new(address, HOSTILE, "iqn.2026-11.example:nobody");
        // They say nothing, and are let in one by one as those before them are given up.
        let silent: Vec<_> = (0..KNOCKING).map(|_| attacker.connect()).collect();
        shortage.wait_until_complete();
        let (before_ms, told, begun) = (target.cpu_ms(), shortage.warnings(), Instant::now());
        thread::sleep(WATCHED);
        let used_ms = target.cpu_ms() - before_ms;
        assert!(used_ms < WATCHED.as_millis() as u64 / 10, "{used_ms} ms");
        let looks = shortage.warnings() - told;
        let seconds = begun.elapsed().as_secs() as usize;
        assert!(looks <= seconds + 2, "{looks} looks in {seconds} s");
        drop(shortage);
        drop(silent);
        // The API has found a descriptor again, too.
        target.json::<Value>("status");
    });
}
