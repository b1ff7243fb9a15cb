//! A regular file as a medium.
//!
//! A file is made sparse when a size is given and nothing is there; what is there is never truncated.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, FlockOperation, fallocate, flock};

use crate::descriptor::Descriptor;
use crate::geometry::{MediumGeometry, Queue, UnmapGeometry, direct_alignment};
use crate::medium::{Identity, Opened, Store};
use crate::open_error::OpenError;

const IN_USE: &str = "another LUN or another srptgt has it (see `srptgt lun list`, `lslocks`)";

/// Opens the file at `path`, or makes it with `create_size` bytes.
pub(crate) fn open(
    path: &Path,
    create_size: Option<u64>,
    read_only: bool,
    block_size: u32,
) -> Result<Opened, OpenError> {
    let file = match (look(path)?, create_size) {
        (true, _) => open_existing(path, read_only)?,
        (false, Some(size)) if !read_only => create(path, size)?,
        (false, _) => {
            return Err(OpenError::Missing {
                path: path.to_owned(),
                advice: ", or give the size of a new file (--size, without --read-only)",
            });
        }
    };
    let io_error = |doing| OpenError::io(path, doing);
    let found = file.metadata().map_err(io_error("reading its size"))?;
    let size = found.len();
    check_size(path, size, create_size)?;
    let geometry = MediumGeometry {
        physical_block_size: physical_block_size(found.blksize(), block_size),
        rotational: Queue::of_device(found.dev()).is_some_and(|queue| queue.rotational()),
        unmap: probe_unmap(&file, &found, read_only),
    };
    let alignment = direct_alignment(&file);
    Ok(Opened {
        identity: Identity::File {
            device: found.dev(),
            inode: found.ino(),
        },
        store: Store::Descriptor(Descriptor::new(file, false, alignment, block_size, size)),
        size,
        geometry,
    })
}

/// Whether a regular file is there; anything else that is there is refused.
fn look(path: &Path) -> Result<bool, OpenError> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(OpenError::at_open(path, true, IN_USE, error)),
    };
    if found.is_file() {
        return Ok(true);
    }
    if found.is_symlink() {
        return Err(OpenError::SymbolicLink {
            path: path.to_owned(),
            leads_to: fs::read_link(path).unwrap_or_default(),
        });
    }
    let advice = if found.is_dir() {
        "give the path of a file in it"
    } else if found.is_block_device() {
        "add it with --block"
    } else {
        "give the path of a regular file"
    };
    Err(OpenError::wrong_kind(path, found, "a regular file", advice))
}

fn open_existing(path: &Path, read_only: bool) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(!read_only)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|error| OpenError::at_open(path, read_only, IN_USE, error))?;
    lock(&file, path, read_only)?;
    Ok(file)
}

/// Several read-only media may share a file; a writer has it alone.
fn lock(file: &File, path: &Path, read_only: bool) -> Result<(), OpenError> {
    let operation = if read_only {
        FlockOperation::NonBlockingLockShared
    } else {
        FlockOperation::NonBlockingLockExclusive
    };
    match flock(file, operation) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::InUse {
            path: path.to_owned(),
            advice: IN_USE,
        }),
        Err(error) => Err(OpenError::io(path, "locking it")(error.into())),
    }
}

fn create(path: &Path, size: u64) -> Result<File, OpenError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| missing_folder(path, error))?;
    let made = lock(&file, path, false).and_then(|()| {
        set_size(&file, path, size).map_err(OpenError::io(path, "setting its size"))
    });
    if let Err(error) = made {
        // Nobody else can have put anything into a file that this call has just made.
        let _ = fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

fn missing_folder(path: &Path, error: io::Error) -> OpenError {
    match path.parent() {
        Some(folder) if error.kind() == io::ErrorKind::NotFound => OpenError::MissingFolder {
            path: path.to_owned(),
            folder: folder.to_owned(),
        },
        _ => OpenError::at_open(path, false, IN_USE, error),
    }
}

/// Sets the size and makes both it and the file's name durable, before any write is acknowledged.
fn set_size(file: &File, path: &Path, size: u64) -> io::Result<()> {
    grow(file, size)?;
    let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new(".")))?.sync_all() {
        // Some file systems sync no folders; they have no other way either.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        result => result,
    }
}

fn check_size(path: &Path, found: u64, wanted: Option<u64>) -> Result<(), OpenError> {
    match wanted {
        Some(wanted) if wanted != found => Err(OpenError::SizeDiffers {
            path: path.to_owned(),
            found,
            wanted,
        }),
        _ => Ok(()),
    }
}

/// The file system's block, within what READ CAPACITY(16) can sensibly say.
fn physical_block_size(file_system_block: u64, block_size: u32) -> u32 {
    let found = u32::try_from(file_system_block).unwrap_or(block_size);
    if found.is_power_of_two() {
        found.clamp(block_size, 4096)
    } else {
        block_size
    }
}

/// Punches a hole behind the end of the file, which changes nothing and tells whether holes can be punched.
fn probe_unmap(file: &File, found: &fs::Metadata, read_only: bool) -> Option<UnmapGeometry> {
    if read_only {
        return None;
    }
    let block = found.blksize().max(4096);
    let behind = found.len().checked_next_multiple_of(block)?;
    let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(file, how, behind, block).ok()?;
    Some(UnmapGeometry {
        granularity_bytes: u32::try_from(found.blksize()).unwrap_or(4096),
        reads_zeroes: true,
    })
}

/// Grows the file; the caller has checked that it is growth. Durable when it returns.
pub(crate) fn grow(file: &File, size: u64) -> io::Result<()> {
    file.set_len(size)?;
    file.sync_all()
}

#[cfg(test)]
mod tests;
