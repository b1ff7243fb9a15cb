//! What a worker waits for besides its media: event fds, completion channels, sockets.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use io_uring::squeue::Entry;
use io_uring::{opcode, types};
use iobuf::Buf;

use crate::ring::{Completion, Ring};
use crate::slots::{Key, Slots};
use crate::submission::Target;

/// Bytes that a watching read takes: an eventfd's counter, a completion channel's event.
pub(crate) const EVENT_BYTES: usize = 8;

/// Something that was watched happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Woken {
    /// As given when the watch began.
    pub token: u64,
    /// The eight bytes that were read, in native order, or the poll mask. A pipe may give fewer bytes; the
    /// rest is zero then.
    pub value: u64,
    /// errno when the watch ended by itself; `ENODATA` when a read found the end of the file.
    pub error: Option<i32>,
}

/// Whom a watch is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The worker, by its token.
    Worker(u64),
    /// The engine: a medium lets held operations go.
    Engine,
    /// Nobody any more; it goes with its last completion.
    Nobody,
}

/// How a descriptor is watched.
#[derive(Debug)]
pub(crate) enum How {
    /// A poll is always posted, and a read linked to it. The kernel writes to the buffer until the read's completion.
    ///
    /// A read alone would do on kernels that poll for it by themselves; Linux 6.1 first tries a completion channel
    /// more than a hundred times and then gives it to a thread.
    Read(Buf),
    /// A multishot poll.
    Poll,
}

/// A watched descriptor. It is a duplicate, so that what the caller closes cannot become another file
/// under a queued entry.
#[derive(Debug)]
struct Watch {
    fd: OwnedFd,
    how: How,
    audience: Audience,
}

/// All watches of an engine, and what they saw.
#[derive(Debug, Default)]
pub(crate) struct Watches {
    table: Slots<Watch>,
    woken: VecDeque<Woken>,
}

impl Watches {
    /// Begins a watch.
    pub(crate) fn add(
        &mut self,
        ring: &mut Ring,
        fd: impl AsFd,
        how: How,
        audience: Audience,
    ) -> io::Result<()> {
        if self.find(audience).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let fd = fd.as_fd().try_clone_to_owned()?;
        let key = self.table.insert(Watch { fd, how, audience });
        self.arm(ring, key);
        Ok(())
    }

    /// Ends the worker's watch with this token.
    pub(crate) fn remove(&mut self, ring: &mut Ring, token: u64) {
        self.woken.retain(|woken| woken.token != token);
        let Some(key) = self.find(Audience::Worker(token)) else {
            return;
        };
        let Some(watch) = self.table.get_mut(key) else {
            return;
        };
        let user_data = Target::Watch(key).user_data();
        let poll = Target::PollOfWatch(key).user_data();
        let is_waiting = match watch.how {
            How::Read(_) => ring.retract_linked(poll, user_data),
            How::Poll => ring.retract(user_data),
        };
        if is_waiting {
            self.table.remove(key);
            return;
        }
        watch.audience = Audience::Nobody;
        // A read that waits for its poll ends with it.
        ring.cancel(match watch.how {
            How::Read(_) => poll,
            How::Poll => user_data,
        });
    }

    /// Takes a completion, arms the watch again unless it is over, and tells whom it was for.
    pub(crate) fn handle_completion(
        &mut self,
        ring: &mut Ring,
        key: Key,
        completion: Completion,
    ) -> Audience {
        let Some(watch) = self.table.get_mut(key) else {
            return Audience::Nobody;
        };
        let audience = watch.audience;
        // Somebody else has read it.
        if completion.result == -libc::EAGAIN && audience != Audience::Nobody {
            self.arm(ring, key);
            return Audience::Nobody;
        }
        let outcome = watch.how.outcome(completion.result);
        if let Audience::Worker(token) = audience {
            self.woken.push_back(Woken {
                token,
                value: outcome.unwrap_or(0),
                error: outcome.err(),
            });
        }
        match completion.more {
            true => {}
            false if outcome.is_err() || audience == Audience::Nobody => {
                self.table.remove(key);
            }
            false => self.arm(ring, key),
        }
        audience
    }

    pub(crate) fn next_woken(&mut self) -> Option<Woken> {
        self.woken.pop_front()
    }

    pub(crate) fn has_woken(&self) -> bool {
        !self.woken.is_empty()
    }

    fn find(&mut self, audience: Audience) -> Option<Key> {
        self.table
            .iter_mut()
            .find_map(|(key, watch)| (watch.audience == audience).then_some(key))
    }

    fn arm(&mut self, ring: &mut Ring, key: Key) {
        let Some(watch) = self.table.get_mut(key) else {
            return;
        };
        let entry = watch.entry().user_data(Target::Watch(key).user_data());
        let poll = watch.poll().build();
        let poll = poll.user_data(Target::PollOfWatch(key).user_data());
        match watch.how {
            // SAFETY: the entries name the watch's own duplicate descriptor and its buffer, which nobody else has;
            // the watch stays in the table until their completion.
            How::Read(_) => unsafe { ring.push_linked(poll, entry) },
            // SAFETY: as above, without a buffer.
            How::Poll => unsafe { ring.push(entry) },
        }
    }
}

impl Watch {
    fn entry(&mut self) -> Entry {
        let fd = types::Fd(self.fd.as_raw_fd());
        match &mut self.how {
            How::Read(buf) => opcode::Read::new(fd, buf.as_mut_ptr(), EVENT_BYTES as u32)
                // A descriptor with a position of its own is read there.
                .offset(u64::MAX)
                .build(),
            How::Poll => self.poll().multi(true).build(),
        }
    }

    fn poll(&self) -> opcode::PollAdd {
        opcode::PollAdd::new(types::Fd(self.fd.as_raw_fd()), libc::POLLIN as u32)
    }
}

impl How {
    /// The value that woke, or the errno that ends the watch.
    fn outcome(&self, result: i32) -> Result<u64, i32> {
        match (usize::try_from(result), self) {
            (Err(_), _) => Err(result.saturating_neg()),
            (Ok(0), Self::Read(_)) => Err(libc::ENODATA),
            (Ok(count), Self::Read(buf)) => Ok(value_of(buf, count)),
            (Ok(mask), Self::Poll) => Ok(mask as u64),
        }
    }
}

fn value_of(buf: &[u8], count: usize) -> u64 {
    let mut bytes = [0; EVENT_BYTES];
    for (to, from) in bytes.iter_mut().zip(buf.iter().take(count)) {
        *to = *from;
    }
    u64::from_ne_bytes(bytes)
}
