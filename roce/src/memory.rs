//! Registered memory: who may touch which bytes under which key (IBTA 10.6), and the door to the bytes
//! themselves. Keys, bounds and rights are checked here; the bytes belong to the caller.

use std::fmt;

use thiserror::Error;

use crate::work::{Segment, Segments, Sge};

/// A protection domain: queue pairs and regions meet only inside one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pd(pub u32);

/// The caller's own name for a piece of memory, given at registration and handed back at every access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RegionHandle(pub u32);

/// The caller's memory. Offsets count from the start of what the handle names; `None` means that the range is not
/// (or no longer) there, which the peer learns as a remote operational error.
pub trait Memory {
    /// Bytes to send.
    fn bytes(&self, region: RegionHandle, offset: u64, length: u32) -> Option<&[u8]>;

    /// Bytes to fill.
    fn bytes_mut(&mut self, region: RegionHandle, offset: u64, length: u32) -> Option<&mut [u8]>;
}

/// Memory made of plain vectors; the handle is the index.
impl Memory for Vec<Vec<u8>> {
    fn bytes(&self, region: RegionHandle, offset: u64, length: u32) -> Option<&[u8]> {
        let bytes = self.get(usize::try_from(region.0).ok()?)?;
        bytes.get(range(offset, length)?)
    }

    fn bytes_mut(&mut self, region: RegionHandle, offset: u64, length: u32) -> Option<&mut [u8]> {
        let bytes = self.get_mut(usize::try_from(region.0).ok()?)?;
        bytes.get_mut(range(offset, length)?)
    }
}

fn range(offset: u64, length: u32) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    Some(start..end)
}

/// What may be done under a key.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Access(u8);

impl Access {
    /// Local reads only.
    pub const LOCAL_READ: Self = Self(0);
    /// Receives and RDMA READ responses may land here.
    pub const LOCAL_WRITE: Self = Self(1);
    /// The peer may RDMA READ.
    pub const REMOTE_READ: Self = Self(2);
    /// The peer may RDMA WRITE.
    pub const REMOTE_WRITE: Self = Self(4);
    /// The peer may invalidate the key by SEND with invalidate.
    pub const REMOTE_INVALIDATE: Self = Self(8);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Every right in `wanted` is in this one.
    pub const fn allows(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = [
            (Self::LOCAL_WRITE, "LOCAL_WRITE"),
            (Self::REMOTE_READ, "REMOTE_READ"),
            (Self::REMOTE_WRITE, "REMOTE_WRITE"),
            (Self::REMOTE_INVALIDATE, "REMOTE_INVALIDATE"),
        ];
        let set = names.into_iter().filter(|(right, _)| self.allows(*right));
        f.debug_set().entries(set.map(|(_, name)| name)).finish()
    }
}

/// A memory key. L_Key and R_Key of a region are the same number; the rights tell them apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(pub u32);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:#010x})", self.0)
    }
}

/// A range of memory as it is registered.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// The only protection domain it serves.
    pub pd: Pd,
    /// Whose memory.
    pub handle: RegionHandle,
    /// Where in that memory the region begins.
    pub offset: u64,
    /// The virtual address by which work requests and peers name its first byte.
    pub address: u64,
    /// Bytes.
    pub length: u64,
    /// Rights.
    pub access: Access,
}

/// Why an access was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccessError {
    /// No such key, or not any more.
    #[error("{0:?} names no valid region of this protection domain")]
    Key(Key),
    /// The region has fewer rights.
    #[error("{key:?} grants {granted:?}, {wanted:?} was wanted")]
    Rights {
        /// Which.
        key: Key,
        /// Has.
        granted: Access,
        /// Should have.
        wanted: Access,
    },
    /// Some byte lies outside.
    #[error("{length} bytes at {address:#x} are not inside {key:?}")]
    Bounds {
        /// Which.
        key: Key,
        /// First byte.
        address: u64,
        /// Bytes.
        length: u32,
    },
    /// All keys are in use.
    #[error("all {0} memory keys are in use: deregister some")]
    Full(usize),
}

/// Most regions at a time.
const MAX_REGIONS: usize = 1 << 20;

/// Low byte of a key: changes at every registration, so that an old key does not open a new region.
const VARIANT_BITS: u32 = 8;

/// The table of keys.
#[derive(Debug, Default)]
pub struct Keys {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Where the variants come from: a counter scrambled by a secret.
    secret: u64,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    region: Option<Region>,
}

impl Keys {
    /// An empty table; `secret` makes keys hard to guess.
    pub fn new(secret: u64) -> Self {
        Self {
            secret,
            ..Self::default()
        }
    }

    /// Makes memory known. The key is good until [`Keys::deregister`], or an invalidation.
    pub fn register(&mut self, region: Region) -> Result<Key, AccessError> {
        let index = self.free_index()?;
        let variant = self.next_variant();
        let slot = usize::try_from(index)
            .ok()
            .and_then(|i| self.slots.get_mut(i));
        let slot = slot.ok_or(AccessError::Full(MAX_REGIONS))?;
        let old = slot.key.0 & ((1 << VARIANT_BITS) - 1);
        let low = if variant == old {
            variant ^ 0x55
        } else {
            variant
        };
        slot.key = Key((index + 1) << VARIANT_BITS | low);
        slot.region = Some(region);
        Ok(slot.key)
    }

    /// Forgets a key. False when it was not known.
    pub fn deregister(&mut self, key: Key) -> bool {
        let Some(slot) = self.slot_mut(key) else {
            return false;
        };
        slot.region = None;
        self.free.push((key.0 >> VARIANT_BITS) - 1);
        true
    }

    /// The peer asks to invalidate `key` (IETH). The slot stays taken until [`Keys::deregister`].
    pub(crate) fn invalidate_remotely(&mut self, pd: Pd, key: Key) -> Result<(), AccessError> {
        let slot = self.slot_mut(key).ok_or(AccessError::Key(key))?;
        match slot.region {
            Some(region) if region.pd == pd => {
                require(key, region.access, Access::REMOTE_INVALIDATE)?;
                slot.region = None;
                Ok(())
            }
            _ => Err(AccessError::Key(key)),
        }
    }

    /// Where `length` bytes at `address` under `key` are, if `wanted` is granted there.
    pub fn resolve(
        &self,
        pd: Pd,
        key: Key,
        address: u64,
        length: u32,
        wanted: Access,
    ) -> Result<Segment, AccessError> {
        let region = self.region(key).filter(|region| region.pd == pd);
        let region = region.ok_or(AccessError::Key(key))?;
        require(key, region.access, wanted)?;
        let bounds = AccessError::Bounds {
            key,
            address,
            length,
        };
        let inside = address.checked_sub(region.address).ok_or(bounds)?;
        let end = inside.checked_add(u64::from(length)).ok_or(bounds)?;
        if end > region.length {
            return Err(bounds);
        }
        Ok(Segment {
            region: region.handle,
            offset: region.offset + inside,
            length,
        })
    }

    /// All elements of a scatter/gather list.
    pub(crate) fn resolve_list(
        &self,
        pd: Pd,
        list: &[Sge],
        wanted: Access,
    ) -> Result<Segments, AccessError> {
        let mut segments = Segments::default();
        for sge in list {
            let segment = self.resolve(pd, sge.key, sge.address, sge.length, wanted)?;
            segments.push(segment);
        }
        Ok(segments)
    }

    fn region(&self, key: Key) -> Option<&Region> {
        let slot = self.slots.get(slot_index(key)?)?;
        slot.region.as_ref().filter(|_| slot.key == key)
    }

    fn slot_mut(&mut self, key: Key) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(slot_index(key)?)?;
        (slot.key == key).then_some(slot)
    }

    fn free_index(&mut self) -> Result<u32, AccessError> {
        if let Some(index) = self.free.pop() {
            return Ok(index);
        }
        let index = u32::try_from(self.slots.len())
            .ok()
            .filter(|_| self.slots.len() < MAX_REGIONS)
            .ok_or(AccessError::Full(MAX_REGIONS))?;
        self.slots.push(Slot {
            key: Key(0),
            region: None,
        });
        Ok(index)
    }

    fn next_variant(&mut self) -> u32 {
        self.secret = crate::scramble(self.secret);
        u32::from(self.secret.to_le_bytes()[3])
    }
}

fn slot_index(key: Key) -> Option<usize> {
    usize::try_from((key.0 >> VARIANT_BITS).checked_sub(1)?).ok()
}

fn require(key: Key, granted: Access, wanted: Access) -> Result<(), AccessError> {
    if granted.allows(wanted) {
        Ok(())
    } else {
        Err(AccessError::Rights {
            key,
            granted,
            wanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PD: Pd = Pd(1);

    fn region(access: Access) -> Region {
        Region {
            pd: PD,
            handle: RegionHandle(7),
            offset: 100,
            address: 0x1000,
            length: 50,
            access,
        }
    }

    #[test]
    fn bounds_are_exact_and_do_not_wrap() {
        let mut keys = Keys::new(1);
        let key = keys.register(region(Access::REMOTE_READ)).expect("room");
        let read = |address, length| keys.resolve(PD, key, address, length, Access::REMOTE_READ);
        let whole = read(0x1000, 50).expect("whole");
        assert_eq!((whole.offset, whole.length), (100, 50));
        assert!(read(0x1032, 0).is_ok());
        assert!(read(0x1000, 51).is_err());
        assert!(read(0xfff, 1).is_err());
        assert!(read(0x1032, 1).is_err());
        assert!(read(u64::MAX, u32::MAX).is_err());
    }

    #[test]
    fn rights_and_protection_domain_are_required() {
        let mut keys = Keys::new(1);
        let key = keys.register(region(Access::REMOTE_READ)).expect("room");
        assert!(
            keys.resolve(PD, key, 0x1000, 1, Access::REMOTE_WRITE)
                .is_err()
        );
        assert!(
            keys.resolve(Pd(2), key, 0x1000, 1, Access::REMOTE_READ)
                .is_err()
        );
        assert!(
            keys.resolve(PD, Key(key.0 ^ 1), 0x1000, 1, Access::REMOTE_READ)
                .is_err()
        );
        assert!(
            keys.resolve(PD, Key(0), 0x1000, 1, Access::LOCAL_READ)
                .is_err()
        );
        assert!(
            keys.resolve(PD, Key(u32::MAX), 0x1000, 1, Access::LOCAL_READ)
                .is_err()
        );
    }

    #[test]
    fn a_new_region_in_an_old_slot_has_another_key() {
        let mut keys = Keys::new(9);
        let mut old = keys.register(region(Access::LOCAL_READ)).expect("room");
        for _ in 0..300 {
            assert!(keys.deregister(old));
            assert!(!keys.deregister(Key(old.0 ^ 0x80)));
            let new = keys.register(region(Access::LOCAL_READ)).expect("room");
            assert_ne!(old, new);
            assert_eq!(old.0 >> 8, new.0 >> 8);
            old = new;
        }
    }

    #[test]
    fn the_peer_invalidates_only_what_it_may() {
        let mut keys = Keys::new(9);
        let fixed = keys.register(region(Access::REMOTE_WRITE)).expect("room");
        assert!(keys.invalidate_remotely(PD, fixed).is_err());
        let window = keys
            .register(region(Access::REMOTE_INVALIDATE))
            .expect("room");
        assert!(keys.invalidate_remotely(Pd(2), window).is_err());
        assert!(keys.invalidate_remotely(PD, window).is_ok());
        assert!(keys.invalidate_remotely(PD, window).is_err());
        assert!(
            keys.resolve(PD, window, 0x1000, 1, Access::LOCAL_READ)
                .is_err()
        );
        assert!(keys.deregister(window));
    }
}
