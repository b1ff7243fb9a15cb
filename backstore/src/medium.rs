//! One opened backstore, shared by all workers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use target_core::backend::{BlockErrorKind, BlockOperation};

use crate::descriptor::{Descriptor, Direct, size_of};
use crate::fault::FaultSwitch;
use crate::geometry::{MediumGeometry, UnmapGeometry};
use crate::memory::Memory;
use crate::null::Null;
use crate::open_error::{OpenError, ResizeError, whole_blocks};
use crate::ram::{self, Ram};
use crate::{block, file};

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediumConfig {
    /// Where the bytes are.
    pub store: StoreConfig,
    /// LOGICAL BLOCK LENGTH IN BYTES: 512 or 4096.
    pub block_size: u32,
}

/// Where the bytes of a medium are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreConfig {
    /// A regular file.
    File {
        /// Its path; the last component is no symbolic link.
        path: PathBuf,
        /// Make it, sparse, with this many bytes when it does not exist; an existing file must have this size.
        create_size: Option<u64>,
        /// Open it for reading only.
        read_only: bool,
    },
    /// A block device.
    Block {
        /// Its path; symbolic links are followed.
        path: PathBuf,
        /// Open it for reading only.
        read_only: bool,
    },
    /// Memory, gone with the process.
    Ram {
        /// How much.
        size_bytes: u64,
    },
    /// Reads zeroes, drops writes.
    Null {
        /// How much it pretends to hold.
        size_bytes: u64,
    },
}

/// What makes two media the same: the caller refuses a second one with an equal identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A file, by whatever path.
    File {
        /// Device number of its file system.
        device: u64,
        /// Its number there.
        inode: u64,
    },
    /// A block device, by whatever node.
    Block {
        /// Its device number.
        device: u64,
    },
    /// Memory: never the same as another.
    Memory {
        /// Counts up in this process.
        number: u64,
    },
}

/// How a medium does its operations.
#[derive(Debug)]
pub(crate) enum Store {
    /// Through the ring.
    Descriptor(Descriptor),
    /// At once.
    Memory(Box<dyn Memory>),
}

/// What opening a store gives.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) size: u64,
    pub(crate) geometry: MediumGeometry,
    pub(crate) identity: Identity,
}

/// One opened backstore. All methods here are for the control plane and may block, but for the getters.
#[derive(Debug)]
pub struct Medium {
    name: String,
    store: Store,
    block_size: u32,
    read_only: bool,
    geometry: MediumGeometry,
    identity: Identity,
    size: AtomicU64,
    /// Held while the size changes, so that two resizes do not cross.
    resizing: Mutex<()>,
    fault: FaultSwitch,
}

impl Medium {
    /// Opens a store, makes a file when that was asked for, and takes it for this process alone.
    ///
    /// # Errors
    /// Whatever is not as `config` says; nothing that existed before was changed.
    pub fn open(config: &MediumConfig) -> Result<Arc<Self>, OpenError> {
        let block_size = config.block_size;
        if !matches!(block_size, 512 | 4096) {
            return Err(OpenError::BlockSize { found: block_size });
        }
        if let Some(size) = config.store.wanted_size() {
            check_size(config, size)?;
        }
        let opened = match &config.store {
            StoreConfig::File {
                path,
                create_size,
                read_only,
            } => file::open(path, *create_size, *read_only, block_size)?,
            StoreConfig::Block { path, read_only } => block::open(path, *read_only, block_size)?,
            StoreConfig::Ram { size_bytes } => open_ram(*size_bytes, block_size)?,
            StoreConfig::Null { size_bytes } => in_memory(Box::new(Null), *size_bytes, block_size),
        };
        check_size(config, opened.size)?;
        Ok(Arc::new(Self {
            name: config.store.name(),
            store: opened.store,
            block_size,
            read_only: config.store.read_only(),
            geometry: opened.geometry,
            identity: opened.identity,
            size: AtomicU64::new(opened.size),
            resizing: Mutex::default(),
            fault: FaultSwitch::default(),
        }))
    }

    /// Path, or kind of memory.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Capacity in bytes, a multiple of [`Medium::block_size`].
    pub fn size_bytes(&self) -> u64 {
        self.size.load(Ordering::Relaxed)
    }

    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub fn block_size(&self) -> u32 {
        self.block_size
    }

    /// Whether it was opened for reading only.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// Block sizes, rotation, unmapping.
    pub fn geometry(&self) -> MediumGeometry {
        self.geometry
    }

    /// What tells whether another medium is the same store.
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// Whether data bypasses the page cache, and why not.
    pub fn direct(&self) -> Direct {
        match &self.store {
            Store::Descriptor(descriptor) => descriptor.direct.clone(),
            Store::Memory(_) => Direct::Yes,
        }
    }

    /// Grows a file, durably, or the number that a null medium pretends. The new size holds for operations
    /// that are submitted after this returns.
    ///
    /// # Errors
    /// [`ResizeError`]; nothing has changed then.
    pub fn resize(&self, new_size: u64) -> Result<(), ResizeError> {
        let _resizing = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        whole_blocks(new_size, self.block_size)?;
        if new_size < self.size_bytes() {
            return Err(self.would_shrink(new_size));
        }
        match &self.store {
            Store::Descriptor(descriptor) if descriptor.is_device => {
                return Err(self.fixed("grow the device itself, then let its size be read again"));
            }
            Store::Descriptor(descriptor) => self.grow_file(&descriptor.file, new_size)?,
            Store::Memory(memory) => {
                if let Some(advice) = memory.why_fixed() {
                    return Err(self.fixed(advice));
                }
            }
        }
        self.size.store(new_size, Ordering::Relaxed);
        Ok(())
    }

    /// Reads the size again after a device or file was grown from outside, and returns it.
    ///
    /// # Errors
    /// When it has become smaller (the old size stays, and reads behind the end fail as
    /// [`BlockErrorKind::Shrunk`]), is not whole blocks, or cannot be read.
    pub fn refresh_size(&self) -> Result<u64, ResizeError> {
        let _resizing = self.resizing.lock().unwrap_or_else(PoisonError::into_inner);
        let Store::Descriptor(descriptor) = &self.store else {
            return Ok(self.size_bytes());
        };
        let found = size_of(&descriptor.file).map_err(|e| self.io_error("reading its size", e))?;
        whole_blocks(found, self.block_size)?;
        if found < self.size_bytes() {
            return Err(self.would_shrink(found));
        }
        self.size.store(found, Ordering::Relaxed);
        Ok(found)
    }

    /// A switch for tests and rehearsals: while on, operations are accepted and not started. Cancelling
    /// ends them as cancelled; switching off lets all of them go, on every worker.
    pub fn stall(&self, on: bool) {
        self.fault.stall(on);
    }

    /// A switch for tests and rehearsals: the next operation that is submitted fails with this errno, at its
    /// first byte and without reaching the store. A second call before that replaces the first; 0 takes it back.
    pub fn fail_next(&self, errno: u16) {
        self.fault.fail_next(errno);
    }

    pub(crate) fn fault(&self) -> &FaultSwitch {
        &self.fault
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Refuses what must not reach the store: outside the medium, in parts of blocks, or writing where
    /// only reading is allowed. The SCSI core has checked all that; a store must not depend on it.
    pub(crate) fn admit(&self, operation: &BlockOperation) -> Result<(), BlockErrorKind> {
        let (offset, len, writes) = extent(operation);
        if writes && self.read_only {
            return Err(BlockErrorKind::ReadOnly);
        }
        if (offset | len) & u64::from(self.block_size - 1) != 0 {
            return Err(BlockErrorKind::Other);
        }
        let end = offset.checked_add(len).ok_or(BlockErrorKind::Shrunk)?;
        if end > self.size_bytes() {
            return Err(BlockErrorKind::Shrunk);
        }
        Ok(())
    }

    fn grow_file(&self, file: &File, new_size: u64) -> Result<(), ResizeError> {
        let found = size_of(file).map_err(|e| self.io_error("reading its size", e))?;
        if new_size < found {
            return Err(self.would_shrink(new_size));
        }
        file::grow(file, new_size).map_err(|e| self.io_error("growing it", e))
    }

    fn would_shrink(&self, wanted: u64) -> ResizeError {
        ResizeError::Shrink {
            name: self.name.clone(),
            found: self.size_bytes(),
            wanted,
        }
    }

    fn fixed(&self, advice: &'static str) -> ResizeError {
        ResizeError::Fixed {
            name: self.name.clone(),
            advice,
        }
    }

    fn io_error(&self, doing: &'static str, source: std::io::Error) -> ResizeError {
        ResizeError::Io {
            name: self.name.clone(),
            doing,
            source,
        }
    }
}

/// First byte, length in bytes, and whether the medium is changed.
pub(crate) fn extent(operation: &BlockOperation) -> (u64, u64, bool) {
    match operation {
        BlockOperation::Read { offset, buf } => (*offset, buf.len() as u64, false),
        BlockOperation::Write { offset, buf, .. } => (*offset, buf.len() as u64, true),
        BlockOperation::Flush => (0, 0, false),
        BlockOperation::Unmap { offset, len } | BlockOperation::WriteZeroes { offset, len, .. } => {
            (*offset, *len, true)
        }
    }
}

impl StoreConfig {
    fn path(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } | Self::Block { path, .. } => Some(path),
            Self::Ram { .. } | Self::Null { .. } => None,
        }
    }

    fn name(&self) -> String {
        match (self, self.path()) {
            (_, Some(path)) => path.display().to_string(),
            (Self::Ram { .. }, _) => "ram".to_owned(),
            _ => "null".to_owned(),
        }
    }

    fn read_only(&self) -> bool {
        match self {
            Self::File { read_only, .. } | Self::Block { read_only, .. } => *read_only,
            Self::Ram { .. } | Self::Null { .. } => false,
        }
    }

    fn wanted_size(&self) -> Option<u64> {
        match self {
            Self::File { create_size, .. } => *create_size,
            Self::Block { .. } => None,
            Self::Ram { size_bytes } | Self::Null { size_bytes } => Some(*size_bytes),
        }
    }
}

fn check_size(config: &MediumConfig, size: u64) -> Result<(), OpenError> {
    if size == 0 {
        return Err(OpenError::Empty {
            name: config.store.name(),
            advice: match config.store {
                StoreConfig::Block { .. } => "attach a disk to the device first",
                _ => "give a size (--size) and, for a file, a path where nothing is yet",
            },
        });
    }
    Ok(whole_blocks(size, config.block_size)?)
}

fn open_ram(size_bytes: u64, block_size: u32) -> Result<Opened, OpenError> {
    let too_large = |available| OpenError::TooLarge {
        wanted: size_bytes,
        available,
    };
    let available = ram::available_bytes();
    if size_bytes > available {
        return Err(too_large(available));
    }
    let len = usize::try_from(size_bytes).map_err(|_| too_large(available))?;
    let ram = Ram::new(len).map_err(OpenError::io(Path::new("ram"), "mapping memory"))?;
    Ok(in_memory(Box::new(ram), size_bytes, block_size))
}

fn in_memory(memory: Box<dyn Memory>, size: u64, block_size: u32) -> Opened {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    Opened {
        store: Store::Memory(memory),
        size,
        geometry: MediumGeometry {
            physical_block_size: 4096,
            rotational: false,
            unmap: Some(UnmapGeometry {
                granularity_bytes: 4096.max(block_size),
                reads_zeroes: true,
            }),
        },
        identity: Identity::Memory {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
        },
    }
}

#[cfg(test)]
mod tests;
