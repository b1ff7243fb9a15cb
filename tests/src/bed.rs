//! Two beds for one scenario with the project's own initiator: a guest, with the kernel's soft RoCE below `verbs`; and
//! this machine as it is, with a daemon beside the test and the soft fabric on loopback addresses of its own.

use std::cell::Cell;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

use initiator::{ConnectError, ConnectOptions, Session, TargetPortId};
use rdma::{Fabric, SoftConfig};
use tempfile::TempDir;

use crate::rxe::Rxe;
use crate::srptgt::{Home, ID_EXT, IOC_GUID, PORT, Srptgt};
use crate::vm::{Options, scenario};

/// Where a scenario runs.
#[derive(Debug)]
pub struct Bed {
    ground: Ground,
    peers: Cell<u8>,
}

#[derive(Debug)]
enum Ground {
    Guest(Rxe),
    Native { folder: TempDir, address: IpAddr },
}

/// Somebody who reaches the target: a port with a GUID. What is made of [`Peer::fabric`] stays in one thread.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// Where the target listens.
    pub target: SocketAddr,
    /// What the peer's port calls itself.
    pub guid: u64,
    is_soft: bool,
}

/// Runs `body` in a guest; `name` is that of the calling test, with its modules.
pub fn in_guest(name: &str, body: impl FnOnce(&Bed)) {
    let options = Options {
        time_limit_s: 180,
        ..Options::default()
    };
    scenario(name, options, || {
        body(&Bed::on(Ground::Guest(Rxe::on_dummy(0))))
    });
}

/// Runs `body` here.
pub fn natively(body: impl FnOnce(&Bed)) {
    let folder = tempfile::tempdir().expect("a folder for the daemon");
    let address = loopback_address();
    body(&Bed::on(Ground::Native { folder, address }));
}

/// Makes a test of each body on each of the two beds.
#[macro_export]
macro_rules! on_both_beds {
    ($($body:ident),+ $(,)?) => {
        mod guest {
            $(#[test]
            fn $body() {
                $crate::bed::in_guest(concat!("guest::", stringify!($body)), super::$body);
            })+
        }

        mod native {
            $(#[test]
            fn $body() {
                $crate::bed::natively(super::$body);
            })+
        }
    };
}

/// An address of the loopback interface that nobody else has: the last two numbers are this process's, the one before
/// them counts.
///
/// # Panics
///
/// This process has used up its own.
pub fn loopback_address() -> IpAddr {
    const LAST: u8 = 63;
    static NEXT: AtomicU8 = AtomicU8::new(LAST + 1);
    let count = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(count != LAST, "no loopback address is left");
    let [.., high, low] = process::id().to_be_bytes();
    Ipv4Addr::new(127, count, high, low).into()
}

impl Bed {
    fn on(ground: Ground) -> Self {
        Self {
            ground,
            peers: Cell::new(0),
        }
    }

    /// The device of the guest, where there is one.
    pub fn rxe(&self) -> Option<&Rxe> {
        match &self.ground {
            Ground::Guest(rxe) => Some(rxe),
            Ground::Native { .. } => None,
        }
    }

    /// A path that a file of the target's can have.
    pub fn path(&self, name: &str) -> impl Display {
        match &self.ground {
            Ground::Guest(_) => format!("/run/{name}"),
            Ground::Native { folder, .. } => folder.path().join(name).display().to_string(),
        }
    }

    /// Where a daemon of this bed lives.
    pub fn home(&self) -> Home {
        match &self.ground {
            Ground::Guest(_) => Home::in_guest("verbs"),
            Ground::Native { folder, address } => Home {
                fabric: "soft",
                folder: folder.path().to_owned(),
                listen: SocketAddr::new(*address, PORT),
                in_guest: false,
                memory_lock_bytes: None,
                namespace: None,
            },
        }
    }

    /// Somebody new.
    pub fn peer(&self) -> Peer {
        let number = self.peers.get() + 1;
        self.peers.set(number);
        let (address, is_soft) = match &self.ground {
            Ground::Guest(rxe) => (rxe.address.into(), false),
            Ground::Native { address, .. } => (*address, true),
        };
        Peer {
            target: SocketAddr::new(address, PORT),
            // Far apart, for neighbours are taken for ports of one card.
            guid: 0x0052_0000_00be_d000 | u64::from(number) << 40 | u64::from(number),
            is_soft,
        }
    }

    /// A daemon that serves nothing yet.
    pub fn target(&self) -> Srptgt {
        Srptgt::start_at(self.home())
    }

    /// A daemon that serves these LUNs to the host `initiator`, which is all of these peers; see
    /// [`Srptgt::serving`].
    #[track_caller]
    pub fn serving(&self, luns: &[&str], peers: &[&Peer]) -> Srptgt {
        let target = self.target();
        let guids = peers
            .iter()
            .map(|peer| format!(" --guid {:#018x}", peer.guid));
        target.run(&format!("host add initiator{}", guids.collect::<String>()));
        target.add_luns(luns);
        target
    }
}

impl Peer {
    /// The fabric that the peer is on, for the calling thread. Without RDMA it has an address of its own: an address
    /// that was used before may still be held by a process that another thread is just starting.
    pub fn fabric(&self) -> Fabric {
        match self.is_soft {
            false => Fabric::verbs(),
            true => self.fabric_at(loopback_address()),
        }
    }

    /// The soft fabric with this address, for the calling thread.
    pub fn fabric_at(&self, address: IpAddr) -> Fabric {
        Fabric::soft(SoftConfig {
            addresses: vec![address],
            port_guid: Some(self.guid),
            ..SoftConfig::default()
        })
    }

    /// The target that everybody logs in to.
    pub fn target_port() -> TargetPortId {
        let hex = |guid: &str| u64::from_str_radix(guid.trim_start_matches("0x"), 16);
        TargetPortId {
            id_ext: hex(ID_EXT).expect("an identifier extension in hex"),
            ioc_guid: hex(IOC_GUID).expect("a GUID in hex"),
        }
    }

    /// The usual login.
    pub fn options(&self) -> ConnectOptions {
        ConnectOptions {
            initiator_guid: Some(self.guid),
            command_timeout_ms: 20_000,
            ..ConnectOptions::new(self.target, Self::target_port())
        }
    }

    /// Logs in on a fabric of its own.
    ///
    /// # Errors
    ///
    /// What came in the way.
    pub fn try_log_in(&self, options: &ConnectOptions) -> Result<Session, ConnectError> {
        Session::connect_on(&self.fabric(), options)
    }

    /// Logs in on a fabric of its own.
    ///
    /// # Panics
    ///
    /// It is refused.
    #[track_caller]
    pub fn log_in(&self, options: &ConnectOptions) -> Session {
        let session = self.try_log_in(options);
        session.unwrap_or_else(|error| panic!("no session: {error}"))
    }
}
