//! The SRP initiator of the kernel, `ib_srp`, driven the way `srp_daemon` and administrators drive it: through sysfs.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use crate::command::{Finished, attempt_with_input};
use crate::deadline::{until, until_true};
use crate::disk::{self, Disk};
use crate::kernel_log::Mark;
use crate::rxe::Rxe;
use crate::trial;

/// A login is quick; what takes longer than this has gone wrong.
const LIMIT_S: u64 = 20;

/// A login to be made.
#[derive(Clone, Debug)]
pub struct Login {
    initiator: Rxe,
    options: Vec<(String, String)>,
}

/// A login that the target, or the initiator itself, refused.
#[derive(Debug)]
pub struct Refused {
    /// What writing to `add_target` said.
    pub error: String,
    /// What the kernel logged about it: it names the SRP_LOGIN_REJ reason.
    pub kernel_log: String,
}

impl Login {
    /// A login from `initiator` to the target that listens on `destination` (`ADDRESS:PORT`) by RDMA-CM; identifier
    /// extension and I/O controller GUID are the two halves of the target's port identifier.
    pub fn new(initiator: &Rxe, destination: impl Display, id_ext: &str, ioc_guid: &str) -> Self {
        let digits = |guid: &str| guid.trim_start_matches("0x").to_string();
        let login = Self {
            initiator: initiator.clone(),
            options: Vec::new(),
        };
        login
            .option("id_ext", digits(id_ext))
            .option("ioc_guid", digits(ioc_guid))
            .option("dest", destination)
    }

    /// Adds an option of `add_target`, or replaces it.
    #[must_use]
    pub fn option(mut self, name: &str, value: impl Display) -> Self {
        self.options.retain(|(known, _)| known != name);
        self.options.push((name.to_string(), value.to_string()));
        self
    }

    /// Logs in.
    ///
    /// # Panics
    ///
    /// The login was refused; the message holds the kernel's words.
    #[track_caller]
    pub fn succeed(&self) -> Session {
        match self.attempt() {
            Ok(session) => session,
            Err(Refused { error, kernel_log }) => panic!("login refused: {error}\n{kernel_log}"),
        }
    }

    /// Tries to log in.
    ///
    /// # Errors
    ///
    /// The login was refused.
    pub fn attempt(&self) -> Result<Session, Refused> {
        // Which SCSI host is new is only known while no other login runs.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock();
        let (before, mark) = (srp_hosts(), Mark::set());
        let refused = |error: &str| Refused {
            error: error.to_string(),
            kernel_log: mark.since(),
        };
        let written = self.write();
        if !written.succeeded() {
            return Err(refused(&written.stderr));
        }
        let host = srp_hosts().difference(&before).copied().next();
        let host = host.ok_or_else(|| refused("the initiator logged in and gave up again"))?;
        Ok(Session { host })
    }

    /// `ib_srp` forgets a session a moment after its SCSI host is gone, and until then takes the next login of the
    /// same initiator for a second one.
    fn write(&self) -> Finished {
        let (add_target, text) = (self.add_target(), self.text());
        until("ib_srp to forget the last session", LIMIT_S, || {
            let written = attempt_with_input(&add_target, &text);
            (!written.stderr.contains("File exists")).then_some(written)
        })
    }

    /// The session belongs to the network namespace of the process that asks for it.
    fn add_target(&self) -> String {
        let Rxe { device, .. } = &self.initiator;
        let tee = format!("tee /sys/class/infiniband_srp/srp-{device}-1/add_target");
        self.initiator.enter(&tee)
    }

    fn text(&self) -> String {
        let options = self
            .options
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        options.collect::<Vec<_>>().join(",")
    }
}

/// Numbers of the SCSI hosts that are SRP sessions.
fn srp_hosts() -> BTreeSet<u32> {
    let hosts = fs::read_dir("/sys/class/scsi_host").expect("the kernel has SCSI");
    let hosts = hosts.filter_map(|host| {
        let path = host.ok()?.path();
        path.join("ioc_guid").exists().then_some(())?;
        path.file_name()?
            .to_str()?
            .strip_prefix("host")?
            .parse()
            .ok()
    });
    hosts.collect()
}

/// A session of the initiator: one SCSI host with one remote port. It stays until it is logged out.
#[derive(Debug)]
pub struct Session {
    /// Number of the SCSI host.
    pub host: u32,
}

impl Session {
    /// The disk with this LUN, once the kernel has done with looking at it.
    ///
    /// # Panics
    ///
    /// There is none.
    #[track_caller]
    pub fn disk(&self, lun: u64) -> Disk {
        disk::wait_for(self.host, lun)
    }

    /// The disks that the session has now, in the order of their LUNs.
    pub fn disks(&self) -> Vec<Disk> {
        disk::of_host(self.host)
    }

    /// An attribute of the SCSI host, such as `ch_count`, `req_lim` or `cmd_sg_entries`.
    ///
    /// # Panics
    ///
    /// The session is gone, or has no such attribute.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> String {
        let path = format!("/sys/class/scsi_host/host{}/{name}", self.host);
        let value = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        value.trim().to_string()
    }

    /// Looks for LUNs that came or changed since the login.
    ///
    /// # Panics
    ///
    /// The session is gone.
    #[track_caller]
    pub fn rescan(&self) {
        self.scan("- - -");
    }

    /// Asks for one LUN by its number, whatever the target reports.
    ///
    /// # Panics
    ///
    /// The session is gone.
    #[track_caller]
    pub fn probe(&self, lun: u64) {
        self.scan(&format!("0 0 {lun}"));
    }

    #[track_caller]
    fn scan(&self, what: &str) {
        let path = format!("/sys/class/scsi_host/host{}/scan", self.host);
        println!("$ echo {what} > {path}");
        fs::write(&path, what).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    /// State of the remote port: `running`, `blocked`, `fail-fast` or `lost`; none when it is gone.
    pub fn state(&self) -> Option<String> {
        let state = fs::read_to_string(self.remote_port().join("state")).ok()?;
        Some(state.trim().to_string())
    }

    /// Waits until the remote port is in this state.
    ///
    /// # Panics
    ///
    /// It is not within `limit_s` seconds.
    #[track_caller]
    pub fn wait_for_state(&self, state: &str, limit_s: u64) {
        until_true(&format!("host{} to be {state}", self.host), limit_s, || {
            self.state().as_deref() == Some(state)
        });
    }

    /// Sets a time-out of the remote port: `reconnect_delay`, `fast_io_fail_tmo` or `dev_loss_tmo`.
    ///
    /// # Panics
    ///
    /// The kernel refuses the value.
    #[track_caller]
    pub fn set_timeout(&self, name: &str, value: impl Display) {
        let path = self.remote_port().join(name);
        fs::write(&path, value.to_string())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Logs out and waits until the SCSI host is gone.
    ///
    /// # Panics
    ///
    /// It stays.
    #[track_caller]
    pub fn logout(self) {
        let path = self.remote_port().join("delete");
        println!("$ echo 1 > {}", path.display());
        fs::write(&path, "1").unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        // The attributes by which a host is known as an SRP session go before its disks do.
        disk::wait_until_gone(self.host);
    }

    fn remote_port(&self) -> PathBuf {
        format!("/sys/class/srp_remote_ports/port-{}:1", self.host).into()
    }
}

impl trial::Session for Session {
    fn disk(&self, lun: u64) -> Disk {
        Session::disk(self, lun)
    }

    fn rescan(&self) {
        Session::rescan(self);
    }

    fn wait_until_lost(&self) {
        self.wait_for_state("blocked", 20);
    }

    fn wait_until_back(&self) {
        self.wait_for_state("running", 30);
    }
}

/// Sets a module parameter that may change at run time, such as `use_imm_data`; it holds for the logins that follow.
///
/// # Panics
///
/// `ib_srp` has no such parameter, or takes it on the kernel's command line only.
#[track_caller]
pub fn set_parameter(name: &str, value: impl Display) {
    let path = format!("/sys/module/ib_srp/parameters/{name}");
    println!("$ echo {value} > {path}");
    fs::write(&path, value.to_string()).unwrap_or_else(|error| panic!("{path}: {error}"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn options_are_written_once_each_as_add_target_wants_them() {
        let rxe = Rxe {
            device: "rxe0".into(),
            netdev: "bed0".into(),
            address: Ipv4Addr::LOCALHOST,
            namespace: Some("far".into()),
        };
        let login = Login::new(&rxe, "10.99.0.1:5555", "0x12", "34").option("queue_size", 8);
        let login = login.option("queue_size", 64);
        assert_eq!(
            login.text(),
            "id_ext=12,ioc_guid=34,dest=10.99.0.1:5555,queue_size=64"
        );
        assert!(
            login
                .add_target()
                .starts_with("nsenter --net=/run/netns/far tee ")
        );
    }
}
