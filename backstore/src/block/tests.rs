use super::*;
use crate::descriptor::Direct;
use crate::loop_device::{LoopDevice, children_settled};
use crate::medium::{Medium, MediumConfig, StoreConfig};
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn config(path: &Path, read_only: bool, block_size: u32) -> MediumConfig {
    MediumConfig {
        store: StoreConfig::Block {
            path: path.to_owned(),
            read_only,
        },
        block_size,
    }
}

fn open(path: &Path) -> Result<Arc<Medium>, OpenError> {
    open_with(&config(path, false, 512))
}

fn open_with(config: &MediumConfig) -> Result<Arc<Medium>, OpenError> {
    children_settled();
    Medium::open(config)
}

fn refusal(path: &Path) -> String {
    open(path).expect_err("must be refused").to_string()
}

#[test]
fn a_device_is_probed() {
    let Some(device) = LoopDevice::new(8 * MIB) else {
        return;
    };
    let medium = open(device.path()).expect("opened");
    assert_eq!(medium.size_bytes(), 8 * MIB);
    assert_eq!(medium.direct(), Direct::Yes);
    let geometry = medium.geometry();
    assert_eq!(geometry.physical_block_size, 512);
    let unmap = geometry.unmap.expect("loop devices discard");
    assert!(unmap.reads_zeroes && unmap.granularity_bytes >= 512);
}

#[test]
fn a_device_has_one_user_by_whatever_name() {
    let Some(device) = LoopDevice::new(MIB) else {
        return;
    };
    let folder = tempfile::tempdir().expect("folder");
    let link = folder.path().join("by-id");
    std::os::unix::fs::symlink(device.path(), &link).expect("link");
    let medium = open(&link).expect("links are followed");
    assert!(refusal(device.path()).contains("in use"));
    let identity = medium.identity();
    drop(medium);
    assert_eq!(open(device.path()).expect("free").identity(), identity);
}

#[test]
fn a_read_only_device_takes_read_only_media() {
    let Some(device) = LoopDevice::with(MIB, &["--read-only"]) else {
        return;
    };
    assert!(refusal(device.path()).contains("--read-only"));
    let medium = open_with(&config(device.path(), true, 512)).expect("opened");
    assert_eq!(medium.geometry().unmap, None);
}

#[test]
fn coarse_blocks_are_served_finely_through_the_page_cache() {
    let Some(device) = LoopDevice::with(MIB, &["--sector-size", "4096"]) else {
        return;
    };
    let fine = open(device.path()).expect("opened");
    assert!(matches!(fine.direct(), Direct::No { reason } if reason.contains("4096")));
    assert_eq!(fine.geometry().physical_block_size, 4096);
    drop(fine);
    let coarse = open_with(&config(device.path(), false, 4096)).expect("opened");
    assert_eq!(coarse.direct(), Direct::Yes);
}

#[test]
fn what_is_no_block_device_is_named() {
    let file = tempfile::NamedTempFile::new().expect("file");
    let message = refusal(file.path());
    assert!(
        message.contains("a regular file, where a block device"),
        "{message}"
    );
    assert!(message.contains("--file"), "{message}");
    assert!(refusal(Path::new("/dev/null")).contains("a character device"));
    assert!(refusal(Path::new("/dev/no-such-disk")).contains("does not exist"));
}

#[test]
fn a_device_without_a_disk_is_empty() {
    let Some(device) = LoopDevice::new(0) else {
        return;
    };
    assert!(refusal(device.path()).contains("attach a disk"));
}

#[test]
fn the_size_of_a_device_is_read_again() {
    let Some(device) = LoopDevice::new(MIB) else {
        return;
    };
    let medium = open(device.path()).expect("opened");
    let error = medium.resize(2 * MIB).expect_err("must be refused");
    assert!(
        error.to_string().contains("grow the device itself"),
        "{error}"
    );
    device.backing().set_len(2 * MIB).expect("grow");
    device.take_size();
    assert_eq!(medium.refresh_size().expect("read"), 2 * MIB);
    assert_eq!(medium.size_bytes(), 2 * MIB);
    device.backing().set_len(MIB).expect("shrink");
    device.take_size();
    assert!(medium.refresh_size().is_err());
    assert_eq!(medium.size_bytes(), 2 * MIB);
}
