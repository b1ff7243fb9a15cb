//! The iSCSI initiator of Linux as administrators drive it: open-iscsi's daemon, `iscsid`, its tool, `iscsiadm`, and
//! beneath them the kernel's `iscsi_tcp` and `ib_iser`.
//!
//! Its settings and its database of targets lie where the package has them, in `/etc/iscsi`, which in a guest is in
//! memory: every scenario begins with none. The kernel's half lives in the first network namespace only.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use crate::command::{Finished, attempt, run};
use crate::deadline::until_true;
use crate::disk::{self, Disk};
use crate::trial;

/// What the initiator calls itself.
pub const INITIATOR: &str = "iqn.2026-11.test.initiator:guest";

/// The port that iSCSI has.
pub const PORT: u16 = 3260;

/// The group that all portals of the target are in. A record that does not say it has room for one transport only.
const GROUP_TAG: u16 = 1;

/// `iscsiadm`: the target refused the login for who the initiator is.
pub const LOGIN_REFUSED: i32 = 24;

const FOLDER: &str = "/etc/iscsi";
const LIMIT_S: u64 = 60;

/// What carries iSCSI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP, by the kernel's `iscsi_tcp`.
    Tcp,
    /// RDMA, by the kernel's `ib_iser`.
    Iser,
}

impl Transport {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Tcp, Self::Iser];

    /// Its name in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Iser => "iser",
        }
    }

    /// What `iscsiadm -I` calls it.
    fn interface(self) -> &'static str {
        match self {
            Self::Tcp => "default",
            Self::Iser => "iser",
        }
    }
}

/// A running initiator.
#[derive(Debug)]
pub struct OpenIscsi {
    daemon: Child,
}

impl OpenIscsi {
    /// Starts `iscsid`, which knows no target yet.
    ///
    /// # Panics
    ///
    /// It does not come up.
    pub fn start() -> Self {
        let name = format!("InitiatorName={INITIATOR}\n");
        fs::write(Path::new(FOLDER).join("initiatorname.iscsi"), name).expect("naming it");
        // Its lock is made in there, and the guest's /run begins empty.
        fs::create_dir_all("/run/lock").expect("a folder for its lock");
        configure(&[]);
        let mut iscsid = Command::new("iscsid");
        // Its log belongs to the transcript.
        iscsid.arg("--foreground").stderr(io::stdout());
        println!("$ {iscsid:?} &");
        let daemon = iscsid.stdin(Stdio::null()).spawn();
        let mut daemon = daemon.unwrap_or_else(|error| panic!("starting iscsid: {error}"));
        until_true("iscsid to listen to iscsiadm", LIMIT_S, || {
            let ended = daemon.try_wait().expect("iscsid's state");
            assert!(ended.is_none(), "iscsid has ended: {ended:?}");
            let sockets = fs::read_to_string("/proc/net/unix").expect("a list of sockets");
            sockets.contains("@ISCSIADM_ABSTRACT_NAMESPACE")
        });
        Self { daemon }
    }

    /// Replaces the settings, by their names in `iscsid.conf`: they hold for the discoveries that follow, and for what
    /// these find.
    ///
    /// # Panics
    ///
    /// The file cannot be written.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        configure(settings);
    }

    /// Asks a portal for its targets by SendTargets.
    ///
    /// # Errors
    ///
    /// `iscsiadm` failed.
    ///
    /// # Panics
    ///
    /// `iscsid` has ended.
    pub fn try_discover(
        &mut self,
        transport: Transport,
        address: Ipv4Addr,
    ) -> Result<Vec<Node>, Finished> {
        let ended = self.daemon.try_wait().expect("iscsid's state");
        assert!(ended.is_none(), "iscsid has ended: {ended:?}");
        let discovery = attempt(&format!(
            "iscsiadm -m discovery -t sendtargets -p {address}:{PORT} -I {}",
            transport.interface()
        ));
        match discovery.succeeded() {
            true => Ok(Node::list(transport, &discovery.stdout)),
            false => Err(discovery),
        }
    }

    /// The one target that a portal tells of.
    ///
    /// # Panics
    ///
    /// The discovery failed, or found something else than one target.
    #[track_caller]
    pub fn discover(&mut self, transport: Transport, address: Ipv4Addr) -> Node {
        let found = self.try_discover(transport, address);
        let found = found.unwrap_or_else(|refused| panic!("no discovery: {refused:?}"));
        let [node] = &*found else {
            panic!("not one target: {found:?}");
        };
        node.clone()
    }
}

fn configure(settings: &[(&str, &str)]) {
    let lines = settings
        .iter()
        .map(|(name, value)| format!("{name} = {value}\n"));
    let text = lines.collect::<String>();
    fs::write(Path::new(FOLDER).join("iscsid.conf"), text).expect("writing iscsid.conf");
}

/// A record of the initiator's database: a target at a portal, and how to log in to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What carries it.
    pub transport: Transport,
    /// Where the target is.
    pub portal: SocketAddrV4,
    /// The target's name.
    pub target: String,
}

impl Node {
    /// Reads what a discovery prints: `10.99.0.1:3260,1 iqn.…`, a line for each portal of each target.
    fn list(transport: Transport, printed: &str) -> Vec<Self> {
        let nodes = printed.lines().filter_map(|line| {
            let (portal, target) = line.split_once(' ')?;
            let (portal, _group_tag) = portal.split_once(',')?;
            Some(Self {
                transport,
                portal: portal.parse().ok()?,
                target: target.trim().to_owned(),
            })
        });
        nodes.collect()
    }

    /// The usual portal at an address.
    pub fn portal_at(address: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(address, PORT)
    }

    /// Makes the record by hand, without a discovery.
    ///
    /// # Panics
    ///
    /// `iscsiadm` refuses.
    #[track_caller]
    pub fn make(&self) {
        run(&self.iscsiadm("-o new"));
    }

    /// Sets a value of the record by its name, such as `node.session.iscsi.InitialR2T`.
    ///
    /// # Panics
    ///
    /// `iscsiadm` refuses.
    #[track_caller]
    pub fn set(&self, name: &str, value: impl Display) {
        run(&self.iscsiadm(&format!("-o update -n {name} -v {value}")));
    }

    /// Logs in.
    ///
    /// # Panics
    ///
    /// The login failed.
    #[track_caller]
    pub fn log_in(&self) -> Session {
        let session = self.try_log_in();
        session.unwrap_or_else(|refused| panic!("no session: {refused:?}"))
    }

    /// Tries to log in.
    ///
    /// # Errors
    ///
    /// `iscsiadm` failed.
    ///
    /// # Panics
    ///
    /// It succeeded, and there is no session.
    pub fn try_log_in(&self) -> Result<Session, Finished> {
        // Which session is new is only known while no other login runs.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _guard = ONE_AT_A_TIME.lock();
        let before = sessions();
        let login = attempt(&self.iscsiadm("--login"));
        if !login.succeeded() {
            return Err(login);
        }
        let number = *sessions().difference(&before).next().expect("a session");
        Ok(Session {
            number,
            host: host_of(number),
        })
    }

    fn iscsiadm(&self, what: &str) -> String {
        let Self {
            transport,
            portal,
            target,
        } = self;
        let interface = transport.interface();
        format!("iscsiadm -m node -T {target} -p {portal},{GROUP_TAG} -I {interface} {what}")
    }
}

/// Numbers of the sessions that the kernel has.
fn sessions() -> BTreeSet<u32> {
    let sessions = fs::read_dir("/sys/class/iscsi_session").expect("the kernel has iSCSI");
    let sessions = sessions.filter_map(|session| {
        let name = session.ok()?.file_name();
        name.to_str()?.strip_prefix("session")?.parse().ok()
    });
    sessions.collect()
}

/// The SCSI host of a session, by its place in the kernel's tree: `…/host2/session1/…`.
fn host_of(session: u32) -> u32 {
    let path = format!("/sys/class/iscsi_session/session{session}");
    let path = fs::canonicalize(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut hosts = path.iter().filter_map(|name| {
        let number = name.to_str()?.strip_prefix("host")?;
        number.parse().ok()
    });
    let host = hosts.next_back();
    host.unwrap_or_else(|| panic!("{} is below no SCSI host", path.display()))
}

/// A session of the initiator: one SCSI host with one connection. It stays until it is logged out.
#[derive(Debug)]
pub struct Session {
    /// The kernel's number of it.
    pub number: u32,
    /// Number of its SCSI host.
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

    /// Looks for LUNs that came or changed since the login.
    ///
    /// # Panics
    ///
    /// `iscsiadm` refuses.
    #[track_caller]
    pub fn rescan(&self) {
        run(&format!("iscsiadm -m session -r {} --rescan", self.number));
    }

    /// What was agreed at login, or a time-out: an attribute of the kernel's session, such as `initial_r2t`, or of its
    /// connection, such as `header_digest`.
    ///
    /// # Panics
    ///
    /// The session is gone, or has no such attribute.
    #[track_caller]
    pub fn attribute(&self, name: &str) -> String {
        let value = self.try_attribute(name);
        value.unwrap_or_else(|| panic!("session {} has no {name}", self.number))
    }

    fn try_attribute(&self, name: &str) -> Option<String> {
        let number = self.number;
        let [session, connection]: [PathBuf; 2] = [
            format!("/sys/class/iscsi_session/session{number}").into(),
            format!("/sys/class/iscsi_connection/connection{number}:0").into(),
        ];
        let value = fs::read_to_string(session.join(name));
        let value = value.or_else(|_| fs::read_to_string(connection.join(name)));
        Some(value.ok()?.trim().to_owned())
    }

    /// State of the session: `LOGGED_IN`, `FAILED` while the initiator tries to come back, or `FREE` when it fails its
    /// commands; none when it is gone.
    pub fn state(&self) -> Option<String> {
        let path = format!("/sys/class/iscsi_session/session{}/state", self.number);
        Some(fs::read_to_string(path).ok()?.trim().to_owned())
    }

    /// Waits until the session is in this state.
    ///
    /// # Panics
    ///
    /// It is not within `limit_s` seconds.
    #[track_caller]
    pub fn wait_for_state(&self, state: &str, limit_s: u64) {
        let what = format!("session {} to be {state}", self.number);
        until_true(&what, limit_s, || self.state().as_deref() == Some(state));
    }

    /// Logs out and waits until the SCSI host is gone.
    ///
    /// # Panics
    ///
    /// `iscsiadm` refuses, or the host stays.
    #[track_caller]
    pub fn log_out(self) {
        run(&format!("iscsiadm -m session -r {} --logout", self.number));
        disk::wait_until_gone(self.host);
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
        self.wait_for_state("FAILED", 60);
    }

    fn wait_until_back(&self) {
        self.wait_for_state("LOGGED_IN", 60);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_discovery_is_read() {
        let printed =
            "10.99.0.1:3260,1 iqn.2026-11.test:one\n10.99.1.1:3260,1 iqn.2026-11.test:one\n";
        let nodes = Node::list(Transport::Iser, printed);
        assert_eq!(nodes.len(), 2);
        assert_eq!(nodes[1].target, "iqn.2026-11.test:one");
        assert_eq!(
            nodes[1].iscsiadm("--login"),
            "iscsiadm -m node -T iqn.2026-11.test:one -p 10.99.1.1:3260,1 -I iser --login"
        );
    }
}
