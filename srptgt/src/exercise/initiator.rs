//! An initiator: a thread with a line and a session of its own.

use std::sync::mpsc;
use std::thread;

use initiator::{ConnectError, Nexus};
use tokio::sync::oneshot;

use super::Dial;

type Task = Box<dyn FnOnce(&mut dyn Nexus) + Send>;

/// A session that is logged in. It logs out when [`Initiator::log_out`] is called, or when this is dropped.
#[derive(Debug)]
pub struct Initiator {
    tasks: mpsc::Sender<Task>,
    ended: oneshot::Receiver<()>,
}

/// The initiator's thread panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the initiator's thread ended by itself; this is a defect, please report it")]
pub struct InitiatorGone;

impl Initiator {
    /// Logs in as initiator port `number`; initiators that run at the same time have different numbers.
    ///
    /// # Errors
    /// The target's reason for its refusal, or what is missing here.
    pub async fn log_in(dial: Dial, number: u64) -> Result<Self, ConnectError> {
        let (tell, told) = oneshot::channel();
        let (tasks, queue) = mpsc::channel::<Task>();
        let (end, ended) = oneshot::channel();
        let thread = thread::Builder::new().name("initiator".to_owned());
        let body = move || {
            // A line belongs to the thread that makes it.
            match dial.line(number).log_in(number) {
                Ok(session) => {
                    let _ = tell.send(Ok(()));
                    serve(session, &queue);
                }
                Err(error) => drop(tell.send(Err(error))),
            }
            drop(end);
        };
        thread.spawn(body).map_err(ConnectError::Memory)?;
        let gone = || std::io::Error::other(InitiatorGone);
        told.await
            .unwrap_or_else(|_| Err(ConnectError::Memory(gone())))?;
        Ok(Self { tasks, ended })
    }

    /// Lets the session do something, and waits for the result.
    ///
    /// # Errors
    /// The thread panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Nexus) -> T + Send + 'static,
    ) -> Result<T, InitiatorGone> {
        self.start(work)?.await.map_err(|_| InitiatorGone)
    }

    /// Lets the session do something; the result comes later.
    ///
    /// # Errors
    /// The thread panicked.
    pub fn start<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut dyn Nexus) -> T + Send + 'static,
    ) -> Result<oneshot::Receiver<T>, InitiatorGone> {
        let (tell, told) = oneshot::channel();
        let task: Task = Box::new(move |session| drop(tell.send(work(session))));
        self.tasks.send(task).map_err(|_| InitiatorGone)?;
        Ok(told)
    }

    /// Logs out, and waits until the address is free again.
    pub async fn log_out(self) {
        drop(self.tasks);
        // The sender is dropped unsent; that is the message.
        let _ = self.ended.await;
    }
}

fn serve(mut session: Box<dyn Nexus>, queue: &mpsc::Receiver<Task>) {
    for task in queue {
        task(&mut *session);
    }
    session.log_out();
}
