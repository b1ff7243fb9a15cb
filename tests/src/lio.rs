//! LIO, the kernel's own target, as a peer that shows whether the bed itself works: `ib_srpt` here, [`iscsi`] beside it.

pub mod iscsi;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::rxe::Rxe;

const CONFIG: &str = "/sys/kernel/config/target";
/// LIO makes the logical unit's names from it.
const SERIAL: &str = "5eed0000-0000-0000-0000-000000000001";
/// The port of RDMA-CM that LIO listens on.
pub const PORT: u16 = 5555;

/// Exports a block device through every port of `rxe` as LUN 0, to every initiator that comes by it.
///
/// # Panics
///
/// LIO refuses.
pub fn export(block_device: &str, rxe: &Rxe) {
    let disk = make(Path::new(CONFIG).join("core/iblock_0/disk"));
    write(&disk.join("control"), &format!("udev_path={block_device}"));
    write(&disk.join("enable"), "1");
    // Without one it has no vital product data.
    write(&disk.join("wwn/vpd_unit_serial"), SERIAL);
    make(Path::new(CONFIG).join("srpt"));
    write(
        &Path::new(CONFIG).join("srpt/discovery_auth/rdma_cm_port"),
        &PORT.to_string(),
    );

    let name = port_name(&rxe.port_guid());
    let group = make(Path::new(CONFIG).join("srpt").join(&name).join(&name));
    let lun = make(group.join("lun/lun_0"));
    link(&disk, &lun.join("disk"));
    write(&group.join("enable"), "1");
    // Over RDMA-CM this target takes the address that was dialled for the name of who dialled it.
    let acl = make(
        group
            .join("acls")
            .join(rxe.address.to_string())
            .join("lun_0"),
    );
    link(&lun, &acl.join("lun"));
}

/// LIO names a port by its GUID with colons: `025e:00ff:fe00:0000`.
fn port_name(guid: &str) -> String {
    let digits = guid.trim_start_matches("0x").as_bytes();
    let groups = digits
        .chunks(4)
        .map(|group| String::from_utf8_lossy(group).into_owned());
    groups.collect::<Vec<_>>().join(":")
}

fn make(path: PathBuf) -> PathBuf {
    fs::create_dir_all(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    path
}

fn write(path: &Path, value: &str) {
    fs::write(path, value).unwrap_or_else(|error| panic!("{value} > {}: {error}", path.display()));
}

fn link(original: &Path, link: &Path) {
    symlink(original, link).unwrap_or_else(|error| panic!("{}: {error}", link.display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_its_guid_in_groups() {
        assert_eq!(port_name("0x025e00fffe000000"), "025e:00ff:fe00:0000");
    }
}
