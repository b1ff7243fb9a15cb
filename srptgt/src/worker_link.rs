//! The seam between the control plane and the worker thread: plain messages, no shared state.
//!
//! The control plane holds a [`WorkerLink`], the worker a [`Mailbox`] whose eventfd it waits for beside everything
//! else. Requests are few and each is answered once; events from the worker go by a bounded queue, since peers
//! cause them.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::SystemTime;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::{read, write};
use target_core::logical_unit::LogicalUnit;
use tokio::sync::oneshot;

use crate::access::{Access, LoginIdentity, Refused};
pub use crate::config::IscsiSettings;
use crate::portal::{Endpoint, Portal};

mod report;

pub(crate) use report::unix_ms;
pub use report::{Counters, IscsiValues, LatencyMicros, SessionChannel, SessionInfo, SessionLun};

/// Longest transfer of one command, in bytes; the worker's data pool has room for several.
pub const MAX_TRANSFER_BYTES: u32 = 4 << 20;

/// Events that may wait for the control plane; more are counted and dropped.
const EVENT_QUEUE: usize = 256;

/// What the worker could not do, in one sentence, with what to do next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct WorkerError {
    /// What was expected and what came.
    pub text: String,
    /// What to do next.
    pub fix: String,
}

/// Where an answer goes. Dropping it tells the asker that the worker is gone.
#[derive(Debug)]
pub struct Reply<T>(oneshot::Sender<T>);

impl<T> Reply<T> {
    /// Answers. An asker that does not wait any more is no error.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }
}

/// What changed in a logical unit; its atomics hold the new values already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LunChange {
    /// CAPACITY DATA HAS CHANGED.
    Capacity,
    /// MODE PARAMETERS CHANGED: write protection or write cache.
    ModeParameters,
}

/// What the control plane asks of the worker.
#[derive(Debug)]
pub enum Request {
    /// A logical unit to serve. It is reachable only by what the next [`Request::SetAccess`] maps.
    AddLun {
        /// The logical unit; its name is in its identity.
        lu: Arc<LogicalUnit>,
        /// Its medium.
        medium: Arc<backstore::Medium>,
        /// Answered when commands could run.
        reply: Reply<Result<(), WorkerError>>,
    },
    /// A logical unit that no access maps any more.
    RemoveLun {
        /// Its name.
        name: Arc<str>,
        /// Answered when no command runs on it and the worker has let go of its medium.
        reply: Reply<Result<(), WorkerError>>,
    },
    /// Establish the unit attentions for a change.
    LunChanged {
        /// Its name.
        name: Arc<str>,
        /// What.
        change: LunChange,
        /// Answered when they are established.
        reply: Reply<Result<(), WorkerError>>,
    },
    /// Who may come in and sees what, from now on. Live sessions are asked again: one that is not admitted any more,
    /// or as another host, is dropped; one that sees other LUNs gets REPORTED LUNS DATA HAS CHANGED. Names of
    /// logical units that were not added never appear.
    SetAccess {
        /// The whole of it.
        access: Arc<Access>,
        /// Answered when it holds.
        reply: Reply<()>,
    },
    /// What the target is called over iSCSI, from the next login on; comes before the first iSCSI portal.
    SetIscsi {
        /// All of it.
        settings: Arc<IscsiSettings>,
        /// Answered when it holds.
        reply: Reply<()>,
    },
    /// Listen.
    AddPortal {
        /// Where.
        portal: Portal,
        /// What initiators dial, or why it cannot listen.
        reply: Reply<Result<Vec<Endpoint>, WorkerError>>,
    },
    /// Listen no more. Sessions that came by the portal stay.
    RemovePortal {
        /// Where.
        portal: Portal,
        /// Answered when the listener is closed; one that does not exist is no error.
        reply: Reply<()>,
    },
    /// All live sessions.
    Sessions {
        /// In the order of their ids.
        reply: Reply<Vec<SessionInfo>>,
    },
    /// End a session, with the protocol's goodbye.
    DropSession {
        /// Which.
        id: u64,
        /// Whether there was one; answered when it is gone.
        reply: Reply<bool>,
    },
    /// All counters.
    Counters {
        /// Since the worker started.
        reply: Reply<Counters>,
    },
    /// Fault injection: the medium of a logical unit completes nothing until this is taken back.
    Stall {
        /// Which.
        name: Arc<str>,
        /// Begin or end.
        on: bool,
        /// Answered when it holds.
        reply: Reply<Result<(), WorkerError>>,
    },
    /// End all sessions and the thread.
    Shutdown {
        /// How long commands in flight may take.
        drain_ms: u64,
        /// Answered when all sessions are gone, just before the thread ends.
        reply: Reply<()>,
    },
}

/// What the worker tells without being asked.
#[derive(Clone, Debug)]
pub enum Event {
    /// A login was refused.
    Refused(Refusal),
    /// A portal that listened does not any more; the control plane adds it again when it can.
    PortalDown {
        /// Which.
        portal: Portal,
        /// Why.
        error: WorkerError,
    },
    /// What initiators dial has changed.
    PortalEndpoints {
        /// Which.
        portal: Portal,
        /// All of it.
        endpoints: Vec<Endpoint>,
    },
    /// An RDMA device went away, and its sessions with it.
    DeviceLost {
        /// Its name.
        device: String,
        /// Why.
        text: String,
    },
}

/// A refused login.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// When.
    pub when: SystemTime,
    /// Who; identities that did not arrive are zero or `None`.
    pub login: LoginIdentity,
    /// Why.
    pub refused: Refused,
}

/// The worker thread is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker thread has ended; the daemon's log says why, and a restart brings it back")]
pub struct WorkerGone;

/// Makes the two ends.
pub fn link() -> std::io::Result<(WorkerLink, Mailbox, EventReceiver)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (requests, mailbox) = mpsc::channel();
    let (events, received) = tokio::sync::mpsc::channel(EVENT_QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    Ok((
        WorkerLink {
            requests,
            wake: wake.clone(),
        },
        Mailbox {
            requests: mailbox,
            wake,
            events: EventSender {
                events,
                dropped: dropped.clone(),
            },
        },
        EventReceiver {
            events: received,
            dropped,
        },
    ))
}

/// The control plane's end.
#[derive(Clone, Debug)]
pub struct WorkerLink {
    requests: mpsc::Sender<Request>,
    wake: Arc<OwnedFd>,
}

impl WorkerLink {
    /// Asks and waits for the answer: `link.ask(|reply| Request::Sessions { reply }).await`.
    pub async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, WorkerGone> {
        let (sender, answer) = oneshot::channel();
        self.requests
            .send(request(Reply(sender)))
            .map_err(|_| WorkerGone)?;
        // A full counter means that the worker is woken already.
        let _ = write(&*self.wake, &1u64.to_ne_bytes());
        answer.await.map_err(|_| WorkerGone)
    }
}

/// The worker's end.
#[derive(Debug)]
pub struct Mailbox {
    requests: mpsc::Receiver<Request>,
    wake: Arc<OwnedFd>,
    events: EventSender,
}

impl Mailbox {
    /// The eventfd that becomes readable when requests wait.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// Makes the eventfd quiet; call it before emptying the mailbox, so that no request is missed.
    pub fn acknowledge(&self) {
        // Not readable means quiet already.
        let _ = read(&*self.wake, &mut [0u8; 8]);
    }

    /// The next request, or `None` when none waits.
    pub fn poll(&mut self) -> Option<Request> {
        self.requests.try_recv().ok()
    }

    /// Where events go.
    pub fn events(&self) -> &EventSender {
        &self.events
    }
}

/// The worker's end of the event queue; never blocks.
#[derive(Clone, Debug)]
pub struct EventSender {
    events: tokio::sync::mpsc::Sender<Event>,
    dropped: Arc<AtomicU64>,
}

impl EventSender {
    /// Tells the control plane. When the queue is full the event is counted and dropped.
    pub fn send(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The control plane's end of the event queue.
#[derive(Debug)]
pub struct EventReceiver {
    events: tokio::sync::mpsc::Receiver<Event>,
    dropped: Arc<AtomicU64>,
}

impl EventReceiver {
    /// The next event, or `None` when the worker is gone.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// A handle on the number of events that found the queue full.
    pub fn dropped(&self) -> Arc<AtomicU64> {
        self.dropped.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    }

    #[test]
    fn a_request_wakes_and_is_answered() {
        let (link, mut mailbox, _events) = link().unwrap();
        let worker = std::thread::spawn(move || {
            let mut fds = [rustix::event::PollFd::new(
                &mailbox.wake,
                rustix::event::PollFlags::IN,
            )];
            rustix::event::poll(&mut fds, None).unwrap();
            mailbox.acknowledge();
            match mailbox.poll() {
                Some(Request::DropSession { id, reply }) => reply.send(id == 7),
                other => panic!("{other:?}"),
            }
            assert!(mailbox.poll().is_none());
        });
        let answer = runtime().block_on(link.ask(|reply| Request::DropSession { id: 7, reply }));
        assert_eq!(answer, Ok(true));
        worker.join().unwrap();
    }

    #[test]
    fn a_worker_that_ends_is_told_apart() {
        let (link, mailbox, _events) = link().unwrap();
        drop(mailbox);
        let answer = runtime().block_on(link.ask(|reply| Request::Sessions { reply }));
        assert_eq!(answer.unwrap_err(), WorkerGone);
    }

    #[test]
    fn events_are_bounded() {
        let (_link, mailbox, events) = link().unwrap();
        for _ in 0..EVENT_QUEUE + 3 {
            mailbox.events().send(Event::DeviceLost {
                device: String::new(),
                text: String::new(),
            });
        }
        assert_eq!(events.dropped().load(Ordering::Relaxed), 3);
    }
}
