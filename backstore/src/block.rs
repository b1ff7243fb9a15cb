//! A block device as a medium.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{ioctl_blkpbszget, ioctl_blksszget};

use crate::descriptor::{Descriptor, size_of};
use crate::geometry::{DirectAlignment, MediumGeometry, Queue, device_is_read_only};
use crate::medium::{Identity, Opened, Store};
use crate::open_error::OpenError;

const IN_USE: &str =
    "it is mounted, part of a RAID or volume group, or another LUN (see `lsblk`, `fuser`)";

/// Opens the block device at `path`; symbolic links are followed, for `/dev/disk/by-id` holds the stable names.
pub(crate) fn open(path: &Path, read_only: bool, block_size: u32) -> Result<Opened, OpenError> {
    let device = look(path)?;
    if !read_only && device_is_read_only(device) {
        return Err(OpenError::ReadOnlyStore {
            path: path.to_owned(),
            why: "the device is set read-only",
        });
    }
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_EXCL)
        .open(path)
        .map_err(|error| OpenError::at_open(path, read_only, IN_USE, error))?;
    let io_error = |doing| OpenError::io(path, doing);
    let size = size_of(&file).map_err(io_error("reading its size"))?;
    let logical =
        ioctl_blksszget(&file).map_err(|error| io_error("reading its block size")(error.into()))?;
    let queue = Queue::of_device(device);
    let geometry = MediumGeometry {
        physical_block_size: ioctl_blkpbszget(&file).unwrap_or(logical).max(block_size),
        rotational: queue.as_ref().is_some_and(Queue::rotational),
        unmap: queue.as_ref().filter(|_| !read_only).and_then(Queue::unmap),
    };
    let alignment = alignment(queue.as_ref(), logical);
    Ok(Opened {
        identity: Identity::Block { device },
        store: Store::Descriptor(Descriptor::new(file, true, alignment, block_size, size)),
        size,
        geometry,
    })
}

/// The device number behind the path.
fn look(path: &Path) -> Result<u64, OpenError> {
    let found =
        fs::metadata(path).map_err(|error| OpenError::at_open(path, true, IN_USE, error))?;
    let kind = found.file_type();
    if kind.is_block_device() {
        return Ok(found.rdev());
    }
    let advice = if kind.is_file() {
        "add it with --file"
    } else {
        "give the path of a disk, partition or logical volume"
    };
    Err(OpenError::wrong_kind(path, kind, "a block device", advice))
}

/// Kernels that tell the DMA alignment take memory that is no finer; older ones want whole logical blocks.
fn alignment(queue: Option<&Queue>, logical: u32) -> DirectAlignment {
    let memory = queue
        .and_then(|queue| queue.number("dma_alignment"))
        .and_then(|mask| u32::try_from(mask + 1).ok());
    DirectAlignment::Known {
        memory: memory.unwrap_or(logical),
        offset: logical,
    }
}

#[cfg(test)]
mod tests;
