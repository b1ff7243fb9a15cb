//! A medium as one engine knows it.

use std::sync::Arc;

use target_core::backend::{BlockError, BlockErrorKind, MediumId};

use crate::descriptor::{Descriptor, Limits};
use crate::medium::{Medium, Store};
use crate::operation::{Abilities, Failure, Operation};
use crate::slots::Key;

/// Its index in the table is its place in the ring's file table.
#[derive(Debug)]
pub(crate) struct Attachment {
    pub(crate) medium: Arc<Medium>,
    pub(crate) abilities: Abilities,
    /// Operations on it that are in the engine, whatever they wait for.
    pub(crate) in_flight: u64,
}

impl Attachment {
    pub(crate) fn new(medium: Arc<Medium>) -> Self {
        let is_device = match medium.store() {
            Store::Descriptor(descriptor) => descriptor.is_device,
            Store::Memory(_) => false,
        };
        Self {
            medium,
            abilities: Abilities {
                punch_hole: true,
                zero_range: true,
                discard: is_device,
            },
            in_flight: 0,
        }
    }

    pub(crate) fn descriptor(&self) -> Option<&Descriptor> {
        match self.medium.store() {
            Store::Descriptor(descriptor) => Some(descriptor),
            Store::Memory(_) => None,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        self.descriptor()
            .map_or(Limits::BUFFERED, |descriptor| descriptor.limits)
    }

    /// What to tell about an operation that failed. May ask the kernel for the size of a device.
    pub(crate) fn error(&self, operation: &Operation, failure: Failure) -> BlockError {
        let (kind, errno) = match (failure, self.descriptor()) {
            (Failure::Errno(errno), Some(descriptor)) => {
                (descriptor.explain(errno, operation.end()), errno)
            }
            (Failure::Ended, Some(descriptor)) if operation.is_read() => {
                (descriptor.explain_end(operation.end()), 0)
            }
            _ => (BlockErrorKind::Other, 0),
        };
        BlockError {
            kind,
            offset: operation.position(),
            errno,
        }
    }
}

/// The generation is above the index, so that an id of a detached medium names no later one.
pub(crate) fn medium_id(key: Key) -> MediumId {
    MediumId(u32::from(key.generation) << 16 | key.index)
}

pub(crate) fn medium_key(id: MediumId) -> Key {
    Key {
        index: id.0 & 0xFFFF,
        generation: (id.0 >> 16) as u16,
    }
}
