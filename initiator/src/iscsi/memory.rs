//! Memory for the data of commands, and whose it is at the moment.

use iobuf::RemoteSegment;
use rdma::ExposedRegion;

use super::machine::{Placement, RequestId};
use crate::error::SessionError;
use crate::fabric::port::Port;

/// The data of one command at a time.
#[derive(Debug)]
pub(super) enum Memory {
    /// For a byte stream.
    Plain(Vec<u8>),
    /// That the target reads and writes by itself.
    Exposed(Option<ExposedRegion>),
}

impl Memory {
    pub(super) fn plain(len: usize) -> Self {
        Self::Plain(vec![0; len])
    }

    pub(super) fn exposed(port: &Port, len: usize) -> Result<Self, SessionError> {
        // A region of no bytes cannot be exposed.
        let buf = port
            .data
            .take(len.max(1))
            .ok_or(SessionError::NoBuffer(len))?;
        Ok(Self::Exposed(Some(ExposedRegion::new(&port.domain, buf)?)))
    }

    pub(super) fn capacity(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Exposed(region) => region
                .as_ref()
                .map_or(0, |region| region.segment().length as usize),
        }
    }

    #[must_use]
    pub(super) fn read(&mut self, offset: usize, into: &mut [u8]) -> bool {
        match self {
            Self::Plain(bytes) => {
                let from = offset
                    .checked_add(into.len())
                    .and_then(|end| bytes.get(offset..end));
                from.map(|from| into.copy_from_slice(from)).is_some()
            }
            Self::Exposed(region) => region
                .as_mut()
                .is_some_and(|region| region.read(offset, into)),
        }
    }

    #[must_use]
    pub(super) fn write(&mut self, offset: usize, from: &[u8]) -> bool {
        match self {
            Self::Plain(bytes) => {
                let into = offset
                    .checked_add(from.len())
                    .and_then(|end| bytes.get_mut(offset..end));
                into.map(|into| into.copy_from_slice(from)).is_some()
            }
            Self::Exposed(region) => region
                .as_mut()
                .is_some_and(|region| region.write(offset, from)),
        }
    }

    /// The bytes, when they are plain.
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Exposed(_) => &[],
        }
    }

    /// How the target names it.
    pub(super) fn segment(&self) -> Option<RemoteSegment> {
        match self {
            Self::Plain(_) => None,
            Self::Exposed(region) => region.as_ref().map(ExposedRegion::segment),
        }
    }

    /// The target has made the key invalid: a new one is made. False when the key is another's.
    fn renew(&mut self, key: u32, port: &Port) -> bool {
        let Self::Exposed(region) = self else {
            return false;
        };
        let Some(old) = region.take_if(|region| region.segment().key == key) else {
            return false;
        };
        // Without a new key the memory is no longer of use, and the next command says so.
        *region = ExposedRegion::new(&port.domain, old.withdraw()).ok();
        true
    }
}

/// Whose the data of a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// A slot of the caller's.
    Slot(usize),
    /// A blocking command.
    Blocking,
}

/// A place for one command of [`crate::Nexus::send`].
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) memory: Memory,
    pub(super) request: Option<RequestId>,
}

/// All memory of a session.
#[derive(Debug)]
pub(super) struct Memories {
    pub(super) slots: Vec<Slot>,
    pub(super) blocking: Memory,
    /// By the place of the request.
    owners: Vec<Option<Owner>>,
}

impl Memories {
    pub(super) fn new(blocking: Memory) -> Self {
        Self {
            slots: Vec::new(),
            blocking,
            owners: Vec::new(),
        }
    }

    pub(super) fn hold(&mut self, request: RequestId, owner: Owner) {
        let place = request.place();
        if self.owners.len() <= place {
            self.owners.resize(place + 1, None);
        }
        if let Some(held) = self.owners.get_mut(place) {
            *held = Some(owner);
        }
    }

    pub(super) fn release(&mut self, request: RequestId) {
        if let Some(held) = self.owners.get_mut(request.place()) {
            *held = None;
        }
    }

    pub(super) fn of(&mut self, request: RequestId) -> Option<&mut Memory> {
        match self.owners.get(request.place()).copied().flatten()? {
            Owner::Blocking => Some(&mut self.blocking),
            Owner::Slot(slot) => Some(&mut self.slots.get_mut(slot)?.memory),
        }
    }

    /// Puts Data-In where it belongs.
    pub(super) fn place(&mut self, at: Placement, data: &[u8]) {
        let memory = self.of(at.request);
        let is_placed = memory.is_some_and(|memory| memory.write(at.offset as usize, data));
        debug_assert!(is_placed, "the machine places nothing outside of a buffer");
    }

    /// Makes a new key for the memory whose key the target has invalidated; false when there is none such.
    pub(super) fn renew(&mut self, key: u32, port: &Port) -> bool {
        let slots = self.slots.iter_mut().map(|slot| &mut slot.memory);
        slots
            .chain([&mut self.blocking])
            .any(|memory| memory.renew(key, port))
    }
}
