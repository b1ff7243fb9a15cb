//! Probing: what a file or block device says about its block sizes, alignment and unmapping.
//!
//! May touch sysfs, statx and ioctl; runs on the control plane only.

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, StatxFlags, major, minor, statx};

/// What a medium is like, for READ CAPACITY and the VPD pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediumGeometry {
    /// The smallest unit in bytes that the medium writes without reading first, as it tells itself.
    pub physical_block_size: u32,
    /// True for a medium that spins.
    pub rotational: bool,
    /// How ranges are unmapped, or `None` when the medium cannot give space back.
    pub unmap: Option<UnmapGeometry>,
}

/// How a medium gives space back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmapGeometry {
    /// Space comes back in pieces of this many bytes.
    pub granularity_bytes: u32,
    /// An unmapped range reads as zeroes (LBPRZ).
    pub reads_zeroes: bool,
}

/// What O_DIRECT wants of memory and offsets, as far as the kernel tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DirectAlignment {
    /// The kernel does not say.
    Unknown,
    /// The file system does not do direct I/O on this file.
    Refused,
    /// Both in bytes.
    Known { memory: u32, offset: u32 },
}

/// STATX_DIOALIGN of an open file (Linux 6.1).
pub(crate) fn direct_alignment(file: impl AsFd) -> DirectAlignment {
    let wanted = StatxFlags::DIOALIGN;
    let Ok(found) = statx(file, c"", AtFlags::EMPTY_PATH, wanted) else {
        return DirectAlignment::Unknown;
    };
    if found.stx_mask & wanted.bits() == 0 {
        return DirectAlignment::Unknown;
    }
    match (found.stx_dio_mem_align, found.stx_dio_offset_align) {
        (_, 0) => DirectAlignment::Refused,
        (memory, offset) => DirectAlignment::Known { memory, offset },
    }
}

/// The `queue` folder of a block device in sysfs.
#[derive(Debug)]
pub(crate) struct Queue(PathBuf);

impl Queue {
    /// The queue of a device number, or of the disk that it is a partition of.
    pub(crate) fn of_device(device: u64) -> Option<Self> {
        let name = format!("{}:{}", major(device), minor(device));
        Self::below(&Path::new("/sys/dev/block").join(name))
    }

    fn below(device: &Path) -> Option<Self> {
        [device.join("queue"), device.join("../queue")]
            .into_iter()
            .find(|path| path.is_dir())
            .map(Self)
    }

    /// An attribute, or `None` when this kernel has none of that name.
    pub(crate) fn number(&self, attribute: &str) -> Option<u64> {
        let text = fs::read_to_string(self.0.join(attribute)).ok()?;
        text.trim().parse().ok()
    }

    pub(crate) fn rotational(&self) -> bool {
        self.number("rotational") == Some(1)
    }

    /// What the device does for UNMAP. Write-zeroes is what punching a hole becomes on a block device.
    pub(crate) fn unmap(&self) -> Option<UnmapGeometry> {
        let most = |attribute| self.number(attribute).unwrap_or(0);
        let reads_zeroes = most("write_zeroes_max_bytes") > 0;
        if most("discard_max_bytes") == 0 {
            return None;
        }
        let granularity = most("discard_granularity").max(512);
        Some(UnmapGeometry {
            granularity_bytes: u32::try_from(granularity).unwrap_or(u32::MAX),
            reads_zeroes,
        })
    }
}

/// True when the device is set read-only (`blockdev --setro`, a write-protected card, `losetup -r`).
pub(crate) fn device_is_read_only(device: u64) -> bool {
    let path = format!("/sys/dev/block/{}:{}/ro", major(device), minor(device));
    fs::read_to_string(path).is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(attributes: &[(&str, &str)]) -> (tempfile::TempDir, Queue) {
        let folder = tempfile::tempdir().expect("folder");
        fs::create_dir(folder.path().join("queue")).expect("queue");
        for (name, value) in attributes {
            fs::write(folder.path().join("queue").join(name), value).expect("attribute");
        }
        let queue = Queue::below(folder.path()).expect("queue");
        (folder, queue)
    }

    #[test]
    fn a_disk_that_discards_and_zeroes() {
        let (_folder, queue) = queue(&[
            ("rotational", "0\n"),
            ("discard_max_bytes", "2147450880\n"),
            ("discard_granularity", "4096\n"),
            ("write_zeroes_max_bytes", "131072\n"),
        ]);
        assert!(!queue.rotational());
        let expected = UnmapGeometry {
            granularity_bytes: 4096,
            reads_zeroes: true,
        };
        assert_eq!(queue.unmap(), Some(expected));
    }

    #[test]
    fn a_disk_that_only_spins() {
        let (_folder, queue) = queue(&[("rotational", "1\n"), ("discard_max_bytes", "0\n")]);
        assert!(queue.rotational());
        assert_eq!(queue.unmap(), None);
    }

    #[test]
    fn a_partition_uses_the_queue_of_its_disk() {
        let (folder, _queue) = queue(&[("rotational", "1\n")]);
        let partition = folder.path().join("sda1");
        fs::create_dir(&partition).expect("partition");
        assert!(Queue::below(&partition).expect("queue").rotational());
    }
}
