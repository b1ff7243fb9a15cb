//! LIO's iSCSI target, with its datamovers for TCP and RDMA (`isert`).

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::{CONFIG, SERIAL, link, make, write};

/// The target's name.
pub const TARGET: &str = "iqn.2026-11.test.lio:disk";

/// A target whose LUN 0 is a block device, open to everybody.
#[derive(Debug)]
pub struct Target {
    group: PathBuf,
}

impl Target {
    /// Makes it; it has no portal yet.
    ///
    /// # Panics
    ///
    /// LIO refuses.
    pub fn export(block_device: &str) -> Self {
        let disk = make(Path::new(CONFIG).join("core/iblock_1/disk"));
        write(&disk.join("control"), &format!("udev_path={block_device}"));
        write(&disk.join("enable"), "1");
        // Without one it has no vital product data.
        write(&disk.join("wwn/vpd_unit_serial"), SERIAL);
        let group = make(Path::new(CONFIG).join("iscsi").join(TARGET).join("tpgt_1"));
        let lun = make(group.join("lun/lun_0"));
        link(&disk, &lun.join("disk"));
        for (attribute, value) in [
            ("authentication", "0"),
            ("generate_node_acls", "1"),
            ("demo_mode_write_protect", "0"),
            ("cache_dynamic_acls", "1"),
        ] {
            write(&group.join("attrib").join(attribute), value);
        }
        write(&group.join("enable"), "1");
        Self { group }
    }

    /// Waits a minute for the data that this initiator was asked for, which is the longest that there is. Otherwise it is
    /// three seconds and then ends the connection, which is soon where a guest does not run all the time.
    pub fn be_patient_with(&self, initiator: &str) {
        let node = make(self.group.join("acls").join(initiator));
        let lun = make(node.join("lun_0"));
        link(&self.group.join("lun/lun_0"), &lun.join("lun"));
        write(&node.join("attrib/dataout_timeout"), "60");
    }

    /// Listens for TCP.
    pub fn listen_tcp(&self, address: SocketAddr) {
        make(self.group.join("np").join(address.to_string()));
    }

    /// Listens for RDMA-CM. Each address has one datamover.
    pub fn listen_iser(&self, address: SocketAddr) {
        let portal = make(self.group.join("np").join(address.to_string()));
        write(&portal.join("iser"), "1");
    }

    /// What it offers for a key.
    pub fn set_key(&self, key: &str, value: &str) {
        write(&self.group.join("param").join(key), value);
    }

    /// Wants CHAP of everybody; with `mutual` it shows this user and secret when it is asked itself.
    pub fn require_chap(&self, (user, secret): (&str, &str), mutual: (&str, &str)) {
        // Those that it knows by name have accounts of their own.
        let named = fs::read_dir(self.group.join("acls")).expect("a list of initiators");
        let named = named.map(|node| node.expect("an initiator").path());
        for whose in named.chain([self.group.clone()]) {
            for (file, value) in [
                ("userid", user),
                ("password", secret),
                ("userid_mutual", mutual.0),
                ("password_mutual", mutual.1),
            ] {
                write(&whose.join("auth").join(file), value);
            }
        }
        write(&self.group.join("attrib/authentication"), "1");
    }
}
