//! Soft-RoCE devices, made and removed with iproute2's `rdma`. May read sysfs and run that program.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::identity::Guid;

/// A path MTU of 4,096 bytes and its headers.
const GOOD_MTU: u32 = 4200;
/// Longest name of a network interface, and the terminating zero (IFNAMSIZ).
const NAME_MAX: usize = 16;

/// Why there is no device, or why it is still there.
#[derive(Debug, thiserror::Error)]
pub enum RxeError {
    /// Not a name of a network interface.
    #[error("'{0}' is no network interface here; ip link shows what there is")]
    NoInterface(String),
    /// It has a device already.
    #[error(
        "{netdev} has the RDMA device {device} already; srptgt rxe down {netdev} removes a soft one"
    )]
    Exists {
        /// The interface.
        netdev: String,
        /// Its device.
        device: String,
    },
    /// It has none.
    #[error("{0} has no soft-RoCE device; rdma link show shows what there is")]
    None(String),
    /// The program is not there, or may not be run.
    #[error("{program} cannot be run: {source}; install {package}")]
    Program {
        /// Which.
        program: &'static str,
        /// What it is in.
        package: &'static str,
        /// What came.
        source: io::Error,
    },
    /// The program said no.
    #[error("{command} failed: {said}")]
    Refused {
        /// What was run.
        command: String,
        /// What it said.
        said: String,
    },
}

/// A device that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Its name.
    pub device: String,
    /// Its port GUID, once the kernel shows it.
    pub guid: Option<Guid>,
    /// What will be slow or change.
    pub warnings: Vec<String>,
}

/// Runs a program with arguments; what it says on standard error is the inner error.
type Run<'a> = &'a dyn Fn(&'static str, &[&str]) -> io::Result<Result<(), String>>;

/// Where sysfs is, and how programs are run; tests have others.
pub struct Machine<'a> {
    sys: PathBuf,
    run: Run<'a>,
}

impl Machine<'_> {
    /// This machine.
    pub fn this() -> Machine<'static> {
        Machine {
            sys: "/sys".into(),
            run: &run,
        }
    }

    /// Makes a device on a network interface.
    ///
    /// # Errors
    /// [`RxeError`].
    pub fn up(&self, netdev: &str) -> Result<Made, RxeError> {
        let interface = self.interface(netdev)?;
        if let Some(device) = self.device_of(netdev) {
            return Err(RxeError::Exists {
                netdev: netdev.to_owned(),
                device,
            });
        }
        // In kernels that have it built in there is no module to load: the next command tells.
        let _ = (self.run)("modprobe", &["rdma_rxe"]);
        let device = format!("rxe_{netdev}");
        self.rdma(&["link", "add", &device, "type", "rxe", "netdev", netdev])?;
        let guid = self.guid_of(&device);
        Ok(Made {
            device,
            guid,
            warnings: warnings(netdev, &interface),
        })
    }

    /// Removes the device of a network interface, and returns its name.
    ///
    /// # Errors
    /// [`RxeError`].
    pub fn down(&self, netdev: &str) -> Result<String, RxeError> {
        self.interface(netdev)?;
        let device = self
            .device_of(netdev)
            .ok_or_else(|| RxeError::None(netdev.to_owned()))?;
        self.rdma(&["link", "delete", &device])?;
        Ok(device)
    }

    fn interface(&self, netdev: &str) -> Result<PathBuf, RxeError> {
        let named = !netdev.is_empty()
            && netdev.len() < NAME_MAX
            && !netdev.contains('/')
            && !netdev.starts_with(['-', '.']);
        let path = self.sys.join("class/net").join(netdev);
        let found = named && path.is_dir();
        found
            .then_some(path)
            .ok_or_else(|| RxeError::NoInterface(netdev.to_owned()))
    }

    /// rxe names its interface in the file `parent`.
    fn device_of(&self, netdev: &str) -> Option<String> {
        let devices = fs::read_dir(self.sys.join("class/infiniband")).ok()?;
        let on_it = |path: &Path| {
            fs::read_to_string(path.join("parent")).is_ok_and(|parent| parent.trim() == netdev)
        };
        let device = devices.flatten().find(|device| on_it(&device.path()))?;
        device.file_name().into_string().ok()
    }

    fn guid_of(&self, device: &str) -> Option<Guid> {
        let gid = self
            .sys
            .join("class/infiniband")
            .join(device)
            .join("ports/1/gids/0");
        fs::read_to_string(gid).ok()?.trim().parse().ok()
    }

    fn rdma(&self, arguments: &[&str]) -> Result<(), RxeError> {
        let ran = (self.run)("rdma", arguments).map_err(|source| RxeError::Program {
            program: "rdma",
            package: "iproute2",
            source,
        })?;
        ran.map_err(|said| RxeError::Refused {
            command: format!("rdma {}", arguments.join(" ")),
            said,
        })
    }
}

fn run(program: &'static str, arguments: &[&str]) -> io::Result<Result<(), String>> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(Err(if said.is_empty() {
        output.status.to_string()
    } else {
        said
    }))
}

fn warnings(netdev: &str, interface: &Path) -> Vec<String> {
    let number = |file: &str| {
        let text = fs::read_to_string(interface.join(file)).ok()?;
        text.trim().parse::<u32>().ok()
    };
    let mtu = number("mtu").filter(|mtu| *mtu < GOOD_MTU).map(|mtu| {
        format!(
            "the MTU of {netdev} is {mtu}, so messages go out in packets of {} bytes: ip link set {netdev} mtu {GOOD_MTU}",
            path_mtu(mtu)
        )
    });
    // NET_ADDR_RANDOM: the kernel chose the address, and will choose another.
    let address = number("addr_assign_type").filter(|kind| *kind == 1).map(|_| {
        format!(
            "the address of {netdev} is random, and the port GUID is made from it: it changes with the next boot unless \
             you set it (ip link set {netdev} address …) before srptgt rxe up"
        )
    });
    [mtu, address].into_iter().flatten().collect()
}

/// The largest path MTU that fits beside the headers (IBA 1.7 volume 1, 9.7.1: powers of two from 256).
fn path_mtu(mtu: u32) -> u32 {
    const HEADERS: u32 = 80;
    [4096, 2048, 1024, 512, 256]
        .into_iter()
        .find(|size| size + HEADERS <= mtu)
        .unwrap_or(256)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// A machine with an interface `eth9`, and what is run in it.
    fn with_machine(mtu: &str, test: impl FnOnce(&Machine<'_>, &Path, &RefCell<Vec<String>>)) {
        let folder = tempfile::tempdir().unwrap();
        let interface = folder.path().join("class/net/eth9");
        fs::create_dir_all(&interface).unwrap();
        fs::write(interface.join("mtu"), mtu).unwrap();
        fs::write(interface.join("addr_assign_type"), "1\n").unwrap();
        let ran = RefCell::new(Vec::new());
        let run = |program: &'static str, arguments: &[&str]| {
            ran.borrow_mut()
                .push(format!("{program} {}", arguments.join(" ")));
            Ok(Ok(()))
        };
        test(
            &Machine {
                sys: folder.path().to_owned(),
                run: &run,
            },
            folder.path(),
            &ran,
        );
    }

    fn add_device(sys: &Path) {
        let device = sys.join("class/infiniband/rxe_eth9");
        fs::create_dir_all(device.join("ports/1/gids")).unwrap();
        fs::write(device.join("parent"), "eth9\n").unwrap();
        fs::write(
            device.join("ports/1/gids/0"),
            "fe80:0000:0000:0000:082c:2cff:fe2f:25cc\n",
        )
        .unwrap();
    }

    #[test]
    fn up_runs_rdma_and_warns() {
        with_machine("1500\n", |machine, _, ran| {
            let made = machine.up("eth9").unwrap();
            assert_eq!(made.device, "rxe_eth9");
            assert_eq!(made.warnings.len(), 2, "{:?}", made.warnings);
            assert!(
                made.warnings[0].contains("packets of 1024 bytes"),
                "{}",
                made.warnings[0]
            );
            assert_eq!(
                *ran.borrow(),
                [
                    "modprobe rdma_rxe",
                    "rdma link add rxe_eth9 type rxe netdev eth9"
                ]
            );
        });
    }

    #[test]
    fn a_good_mtu_gives_no_warning_of_it() {
        with_machine("4200\n", |machine, _, _| {
            assert!(
                machine
                    .up("eth9")
                    .unwrap()
                    .warnings
                    .iter()
                    .all(|warning| !warning.contains("MTU"))
            );
        });
    }

    #[test]
    fn down_finds_the_device_of_the_interface() {
        with_machine("4200\n", |machine, sys, ran| {
            assert!(matches!(machine.down("eth9"), Err(RxeError::None(_))));
            add_device(sys);
            assert_eq!(
                machine.guid_of("rxe_eth9").unwrap().to_string(),
                "0x082c2cfffe2f25cc"
            );
            assert!(matches!(machine.up("eth9"), Err(RxeError::Exists { .. })));
            assert_eq!(machine.down("eth9").unwrap(), "rxe_eth9");
            assert_eq!(*ran.borrow(), ["rdma link delete rxe_eth9"]);
        });
    }

    #[test]
    fn what_is_no_interface_is_never_given_to_a_program() {
        with_machine("4200\n", |machine, _, ran| {
            for name in ["", "eth8", "../eth9", "-h", ".", "a-name-that-is-too-long"] {
                assert!(
                    matches!(machine.up(name), Err(RxeError::NoInterface(_))),
                    "{name}"
                );
            }
            assert!(ran.borrow().is_empty());
        });
    }

    #[test]
    fn a_refusal_is_told_in_the_programs_words() {
        let error = run("sh", &["-c", "echo 'Operation not permitted' >&2; exit 1"]).unwrap();
        assert_eq!(error, Err("Operation not permitted".to_owned()));
        assert!(run("srptgt-no-such-program", &[]).is_err());
    }
}
