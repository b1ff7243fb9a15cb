//! A disk of the initiator: what the kernel made of one LUN, and the file systems put on it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::command::run;
use crate::deadline::{until, until_true};
use crate::kernel_log;

const LIMIT_S: u64 = 60;

/// The disk with this LUN of a SCSI host, once the kernel has done with looking at it. Its block device exists long
/// before: a scenario that cuts the wire meanwhile cuts off commands that it knows nothing of.
///
/// # Panics
///
/// There is none.
#[track_caller]
pub fn wait_for(host: u32, lun: u64) -> Disk {
    until(&format!("LUN {lun} of host{host}"), LIMIT_S, || {
        let mut disks = of_host(host).into_iter();
        disks.find(|disk| disk.lun == lun && disk.is_attached())
    })
}

/// The disks that a SCSI host has now, in the order of their LUNs.
///
/// # Panics
///
/// The kernel has no SCSI.
pub fn of_host(host: u32) -> Vec<Disk> {
    let devices = fs::read_dir("/sys/class/scsi_device").expect("the kernel has SCSI");
    let addresses = devices.filter_map(|device| device.ok()?.file_name().into_string().ok());
    let own = addresses.filter(|address| address.starts_with(&format!("{host}:")));
    let mut disks: Vec<Disk> = own.filter_map(|address| Disk::at(&address)).collect();
    disks.sort_by_key(|disk| disk.lun);
    disks
}

/// Waits until a SCSI host is gone, as after a logout.
///
/// # Panics
///
/// It stays.
#[track_caller]
pub fn wait_until_gone(host: u32) {
    let path = PathBuf::from(format!("/sys/class/scsi_host/host{host}"));
    until_true(&format!("the logout of host{host}"), LIMIT_S, || {
        !path.exists()
    });
}

/// A SCSI disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its address: host, channel, target and LUN, with colons.
    pub address: String,
    /// Its LUN.
    pub lun: u64,
    /// Name of its block device, such as `sda`.
    pub name: String,
}

impl Disk {
    /// The disk at a SCSI address, when its block device exists.
    fn at(address: &str) -> Option<Self> {
        let block = fs::read_dir(format!("/sys/class/scsi_device/{address}/device/block")).ok()?;
        let name = block
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .next()?;
        Path::new("/dev").join(&name).exists().then_some(())?;
        let lun = address.rsplit(':').next()?.parse().ok()?;
        Some(Self {
            address: address.to_string(),
            lun,
            name,
        })
    }

    /// Whether the kernel has read all that it wants to know of the disk; nothing but its log tells.
    fn is_attached(&self) -> bool {
        let Self { address, name, .. } = self;
        kernel_log::read().contains(&format!("sd {address}: [{name}] Attached SCSI"))
    }

    /// Its block device.
    pub fn path(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// Its block device's number, such as `8:16`.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn device_number(&self) -> String {
        self.block_attribute("dev")
    }

    /// The name of the LUN that the kernel takes from its vital product data, the same over every path.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn wwid(&self) -> String {
        self.block_attribute("device/wwid")
    }

    /// Its size as the kernel knows it now.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn bytes(&self) -> u64 {
        // The kernel counts in sectors of 512 bytes whatever the disk's block size is.
        self.block_attribute("size")
            .parse::<u64>()
            .expect("a number of sectors")
            * 512
    }

    /// Whether the kernel knows it as write protected.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn is_read_only(&self) -> bool {
        self.block_attribute("ro") == "1"
    }

    /// Makes the kernel read size and mode of the disk again.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn rescan(&self) {
        self.tell_device("rescan");
    }

    /// Takes the disk from the system, as an administrator does when the LUN is to go.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn delete(&self) {
        self.tell_device("delete");
    }

    /// Sets how long the kernel waits for a command before it aborts it.
    ///
    /// # Panics
    ///
    /// The disk is gone.
    #[track_caller]
    pub fn set_timeout(&self, seconds: u32) {
        let path = format!("/sys/block/{}/device/timeout", self.name);
        fs::write(&path, seconds.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// Reads an attribute below `/sys/block/NAME`, such as `queue/write_cache`.
    ///
    /// # Panics
    ///
    /// The disk is gone, or has no such attribute.
    #[track_caller]
    pub fn block_attribute(&self, name: &str) -> String {
        let path = format!("/sys/block/{}/{name}", self.name);
        let value = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        value.trim().to_string()
    }

    /// Makes a file system, `ext4` or `xfs`, and mounts it.
    ///
    /// # Panics
    ///
    /// The tools refuse.
    #[track_caller]
    pub fn make_file_system(&self, kind: FileSystem) -> Mounted {
        match kind {
            FileSystem::Ext4 => run(&format!("mkfs.ext4 -q -F {}", self.path())),
            FileSystem::Xfs => run(&format!("mkfs.xfs -q -f {}", self.path())),
        };
        self.mount(kind)
    }

    /// Mounts the file system that is on the disk.
    ///
    /// # Panics
    ///
    /// The kernel refuses.
    #[track_caller]
    pub fn mount(&self, kind: FileSystem) -> Mounted {
        let path = PathBuf::from(format!("/run/mnt/{}", self.name));
        fs::create_dir_all(&path).expect("making a mount point");
        run(&format!(
            "mount -t {} {} {}",
            kind.name(),
            self.path(),
            path.display()
        ));
        Mounted { path }
    }

    /// Checks the file system that is on the disk, changing nothing.
    ///
    /// # Panics
    ///
    /// It is not clean.
    #[track_caller]
    pub fn check_file_system(&self, kind: FileSystem) {
        match kind {
            FileSystem::Ext4 => run(&format!("e2fsck -f -n {}", self.path())),
            FileSystem::Xfs => run(&format!("xfs_repair -n {}", self.path())),
        };
    }

    #[track_caller]
    fn tell_device(&self, attribute: &str) {
        let path = format!("/sys/class/scsi_device/{}/device/{attribute}", self.address);
        fs::write(&path, "1").unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}

/// A kind of file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4
    Ext4,
    /// XFS
    Xfs,
}

impl FileSystem {
    /// Its name for `mount -t`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

/// A mounted file system; it stays mounted until it is unmounted.
#[derive(Debug)]
pub struct Mounted {
    /// Where it is mounted.
    pub path: PathBuf,
}

impl Mounted {
    /// Unmounts it.
    ///
    /// # Panics
    ///
    /// It is in use.
    #[track_caller]
    pub fn unmount(self) {
        run(&format!("umount {}", self.path.display()));
    }
}
