//! An initiator that keeps the rules while somebody else breaks them: verified I/O all the time, and the proof that it
//! noticed nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use initiator::{Lun, Scsi};
use serde_json::Value;

use crate::bed::{Bed, Peer, loopback_address};
use crate::deadline::until_true;
use crate::fio::Fio;
use crate::ib_srp::Session;
use crate::rxe::Rxe;
use crate::srptgt::Srptgt;
use crate::sweep::Sweep;

const LIMIT_S: u64 = 30;
/// A job of the bystander takes seconds at worst, also on a busy machine.
const JOB_LIMIT: Duration = Duration::from_secs(90);

/// A session with verified I/O on LUN 0, which is the only one when it begins.
#[derive(Debug)]
pub struct Bystander {
    queue_pairs: Vec<u64>,
    is_over: Arc<AtomicBool>,
    /// How many jobs were done, once they are over.
    jobs: Receiver<u32>,
    load: JoinHandle<()>,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Kernel(Session),
    Own {
        address: IpAddr,
        /// Dropped, it lets the session end.
        stay: Sender<()>,
    },
}

impl Bystander {
    /// Logs in to the target and begins: in a guest the kernel's initiator, elsewhere our own as this peer.
    ///
    /// # Panics
    ///
    /// It is not let in.
    pub fn on(bed: &Bed, target: &Srptgt, peer: Peer) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (tell, jobs) = channel();
        let (side, load) = match bed.rxe() {
            Some(rxe) => kernel(rxe, target, Arc::clone(&is_over), tell),
            None => own(peer, Arc::clone(&is_over), tell),
        };
        until_true("the bystander's load to begin", LIMIT_S, || {
            target.counters().written_bytes > 0
        });
        Self {
            queue_pairs: queue_pairs(target),
            is_over,
            jobs,
            load,
            side,
        }
    }

    /// The address that it came from; none for the kernel's.
    pub fn address(&self) -> Option<IpAddr> {
        match self.side {
            Side::Kernel(_) => None,
            Side::Own { address, .. } => Some(address),
        }
    }

    /// The queue pairs that the target knows it by.
    pub fn queue_pairs(&self) -> &[u64] {
        &self.queue_pairs
    }

    /// Ends it: every byte was right, and its connections are still those that it began with. Then nobody is left, and
    /// nothing is left behind.
    ///
    /// # Panics
    ///
    /// It noticed something, or the target has lost something.
    pub fn leave(self, target: &Srptgt) {
        let sessions = || target.json::<Vec<Value>>("session list").len();
        self.is_over.store(true, Ordering::Relaxed);
        let jobs = self.jobs.recv_timeout(JOB_LIMIT);
        println!("{} verified jobs ran", jobs.expect("the bystander's load"));
        until_true("everybody else's sessions to end", LIMIT_S, || {
            sessions() == 1
        });
        assert_eq!(queue_pairs(target), self.queue_pairs, "it had to reconnect");
        target.wait_until_idle();
        match self.side {
            Side::Kernel(session) => {
                assert_eq!(session.state().as_deref(), Some("running"));
                session.logout();
            }
            Side::Own { stay, .. } => drop(stay),
        }
        self.load.join().expect("the bystander");
        until_true("the last session to end", LIMIT_S, || sessions() == 0);
        until_true("all buffers to be free", LIMIT_S, || {
            target.counters().pool_used_bytes == 0
        });
    }
}

/// Numbers of the queue pairs of all sessions.
///
/// # Panics
///
/// The daemon does not answer.
pub fn queue_pairs(target: &Srptgt) -> Vec<u64> {
    let sessions: Vec<Value> = target.json("session list");
    let channels = sessions
        .iter()
        .flat_map(|session| session["channels"].as_array());
    let numbers = channels
        .flatten()
        .map(|channel| channel["queue_pair"].as_u64());
    numbers
        .map(|number| number.expect("a queue pair"))
        .collect()
}

/// Runs short jobs until it is over, at least one; says how many.
fn repeat(is_over: &AtomicBool, mut job: impl FnMut(u32)) -> u32 {
    let mut jobs = 0;
    while jobs == 0 || !is_over.load(Ordering::Relaxed) {
        job(jobs);
        jobs += 1;
    }
    jobs
}

fn kernel(
    rxe: &Rxe,
    target: &Srptgt,
    is_over: Arc<AtomicBool>,
    tell: Sender<u32>,
) -> (Side, JoinHandle<()>) {
    // The kernel's port has its own GUID, whatever peers there are.
    target.run(&format!("host set initiator --guid {}", rxe.port_guid()));
    let session = target.login(rxe, rxe.address).succeed();
    let job = Fio::random_write(&session.disk(0).path())
        .verified()
        .with("bs", "4k")
        .with("iodepth", 4)
        .with("size", "2m");
    let load = move || {
        let jobs = repeat(&is_over, |_| assert_eq!(job.run().error, 0));
        // Nobody asks when the scenario has failed.
        let _ = tell.send(jobs);
    };
    (Side::Kernel(session), thread::spawn(load))
}

fn own(peer: Peer, is_over: Arc<AtomicBool>, tell: Sender<u32>) -> (Side, JoinHandle<()>) {
    const DEPTH: usize = 8;
    let (stay, left) = channel();
    let address = loopback_address();
    let load = move || {
        let options = Sweep::options(DEPTH, peer.options());
        let session = initiator::Session::connect_on(&peer.fabric_at(address), &options);
        let mut session = session.expect("a session");
        session.await_ready(Lun::peripheral(0)).expect("ready");
        let jobs = repeat(&is_over, |job| {
            let sweep = Sweep {
                lun: Lun::peripheral(0),
                bytes: 2 << 20,
                depth: DEPTH,
                seed: job.into(),
            };
            sweep.verify(&mut session);
        });
        let _ = tell.send(jobs);
        // Comes back with an error when the other end is dropped.
        let _ = left.recv();
        session.logout();
    };
    (Side::Own { address, stay }, thread::spawn(load))
}
