//! A soft-RoCE device (`rdma_rxe`) on a network device of its own.
//!
//! The port GUID is the EUI-64 of the network device's MAC address, so the MAC is fixed: a GUID that changes from run
//! to run could not stand in an access list. The addresses differ far from their end, for GUIDs that are neighbours are
//! taken for ports of one card. MTU 4200 gives the path MTU of 4096 that storage HCAs have.

use std::fs::File;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::command::{Started, attempt_with_input, run, start};

/// A soft-RoCE device.
#[derive(Clone, Debug)]
pub struct Rxe {
    /// Name of the RDMA device, such as `rxe0`.
    pub device: String,
    /// Name of the network device below it.
    pub netdev: String,
    /// Address of the network device.
    pub address: Ipv4Addr,
    /// The network namespace that it lives in, if not the first.
    pub namespace: Option<String>,
}

/// Two devices with a cable between them.
#[derive(Clone, Debug)]
pub struct Wire {
    /// The end for the target, in the first namespace unless the wire is turned.
    pub target: Rxe,
    /// The end for an initiator, in a namespace of its own: what it sends goes out as real packets.
    pub initiator: Rxe,
    number: u8,
}

impl Wire {
    /// The wire with this number. Numbers are shared with [`Rxe::on_dummy`].
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn new(number: u8) -> Self {
        Self::bare(number).with_devices()
    }

    /// The same turned round: the initiator is in the first namespace, where the kernel's iSCSI initiator has to be,
    /// and the target in the namespace `target`, which all turned wires lead to.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn turned(number: u8) -> Self {
        Self::bare_turned(number).with_devices()
    }

    /// A turned wire with no RDMA device at the target's end: only its network device and address are there.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn turned_with_bare_target(number: u8) -> Self {
        let wire = Self::bare_turned(number);
        wire.initiator.make_device();
        wire
    }

    fn with_devices(self) -> Self {
        self.initiator.make_device();
        self.target.make_device();
        self
    }

    /// The same with no RDMA device at the target's end: only its network device and address are there.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn with_bare_target(number: u8) -> Self {
        let wire = Self::bare(number);
        wire.initiator.make_device();
        wire
    }

    /// The same with no RDMA device at the initiator's end.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn with_bare_initiator(number: u8) -> Self {
        let wire = Self::bare(number);
        wire.target.make_device();
        wire
    }

    /// Network devices and addresses, and no RDMA.
    fn bare(number: u8) -> Self {
        let namespace = Some(format!("initiator{number}"));
        Self::between(number, None, namespace)
    }

    fn bare_turned(number: u8) -> Self {
        Self::between(number, Some("target".to_owned()), None)
    }

    fn between(number: u8, target: Option<String>, initiator: Option<String>) -> Self {
        let wire = Self {
            target: Rxe {
                namespace: target,
                ..Rxe::named(number, "", 1)
            },
            initiator: Rxe {
                namespace: initiator,
                ..Rxe::named(number, "far", 2)
            },
            number,
        };
        wire.make_namespaces();
        wire.run_in_switch("link add switch type bridge");
        wire.run_in_switch("link set switch up");
        wire.attach(&wire.target, "00");
        wire.attach(&wire.initiator, "01");
        wire.target.set_address();
        wire.initiator.set_address();
        wire
    }

    /// The switch needs a namespace too: where its ports and the target's device share one, nothing arrives.
    fn make_namespaces(&self) {
        let ends = [&self.target.namespace, &self.initiator.namespace];
        let switch = self.switch();
        for namespace in ends.into_iter().flatten().chain([&switch]) {
            if !Path::new("/run/netns").join(namespace).exists() {
                run(&format!("ip netns add {namespace}"));
            }
        }
    }

    /// Makes the network device of one end, and plugs it into the switch between the two. Its number is that of its
    /// peer, for [`Wire::pull_unheard`].
    fn attach(&self, end: &Rxe, mac: &str) {
        let (netdev, number, switch) = (&end.netdev, self.number, self.switch());
        let namespace = end.namespace.as_ref();
        let index = 100 + 2 * u32::from(number) + u32::from(namespace.is_some());
        let namespace = namespace.map_or(String::new(), |name| format!("netns {name}"));
        run(&format!(
            "ip link add {netdev} index {index} address 02:5e:{mac}:{number:02x}:00:00 {namespace} \
             type veth peer name {netdev}port index {index} mtu 4200 netns {switch}"
        ));
        self.run_in_switch(&format!("link set {netdev}port master switch up"));
    }

    /// Lays a cable between switch and initiator that carries nothing, for [`Wire::pull_unheard`].
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn lay_other_cable(&self) {
        let switch = self.switch();
        let index = 1000 + u32::from(self.number);
        self.initiator.run(&format!(
            "ip link add other index {index} type veth peer name otherport index {index} netns {switch}"
        ));
        self.initiator.run("ip link set other up");
    }

    /// Pulls the target's cable: its network device stays up and loses its carrier. (To take the device itself down
    /// would prove nothing of a target: soft RDMA's management queue pair fails for ever when it sends meanwhile. With
    /// a lost carrier only the time until the kernel has told of it is dangerous, and a target can ask.)
    ///
    /// # Panics
    ///
    /// The switch refuses.
    pub fn pull(&self) {
        self.run_in_switch(&format!("link set {}port down", self.target.netdev));
    }

    /// Pulls the target's cable so that its device is not told for about a second, while everything that it sends
    /// fails. The kernel looks at carriers once a second at most where a device and its peer have the same number, as
    /// [`Wire::attach`] sees to; and it has just looked, at another cable.
    ///
    /// # Panics
    ///
    /// The switch refuses, or there is no other cable.
    pub fn pull_unheard(&self) {
        let port = format!("{}port", self.target.netdev);
        let pulls = format!("link set otherport down\nlink set {port} down\n");
        self.run_in_switch("link set otherport up");
        let switch = self.switch();
        attempt_with_input(&format!("ip -n {switch} -batch -"), &pulls).output();
    }

    /// Plugs the target's cable in again.
    ///
    /// # Panics
    ///
    /// The switch refuses.
    pub fn plug(&self) {
        self.run_in_switch(&format!("link set {}port up", self.target.netdev));
    }

    /// Makes the wire a bad one in both directions: `faults` are `tc netem`'s words, such as `loss 1%`.
    ///
    /// # Panics
    ///
    /// The guest refuses.
    pub fn impair(&self, faults: &str) {
        for end in [&self.target, &self.initiator] {
            let netdev = &end.netdev;
            end.run(&format!(
                "tc qdisc replace dev {netdev} root netem {faults}"
            ));
        }
    }

    fn switch(&self) -> String {
        format!("switch{}", self.number)
    }

    #[track_caller]
    fn run_in_switch(&self, ip: &str) {
        run(&format!("ip -n {} {ip}", self.switch()));
    }
}

impl Rxe {
    /// The device with this number, on a dummy network device: initiator and target on it reach each other through
    /// rxe's loopback, without UDP. Numbers give different devices, addresses and GUIDs.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn on_dummy(number: u8) -> Self {
        let rxe = Self::named(number, "", 1);
        run(&format!(
            "ip link add {} address 02:5e:00:{number:02x}:00:00 type dummy",
            rxe.netdev
        ));
        rxe.set_address();
        rxe.make_device();
        rxe
    }

    fn named(number: u8, end: &str, host: u8) -> Self {
        Self {
            device: format!("rxe{number}{end}"),
            netdev: format!("bed{number}{end}"),
            address: Ipv4Addr::new(10, 99, number, host),
            namespace: None,
        }
    }

    fn set_address(&self) {
        let Self {
            netdev, address, ..
        } = self;
        self.run("ip link set lo up");
        self.run(&format!("ip link set {netdev} mtu 4200 up"));
        self.run(&format!("ip address add {address}/24 dev {netdev}"));
    }

    fn make_device(&self) {
        let Self { device, netdev, .. } = self;
        self.run(&format!("rdma link add {device} type rxe netdev {netdev}"));
    }

    /// Runs a command in the device's network namespace; sysfs stays the guest's own there.
    #[track_caller]
    fn run(&self, line: &str) -> String {
        run(&self.enter(line))
    }

    /// Starts a command in the device's network namespace.
    ///
    /// # Panics
    ///
    /// It cannot be started.
    #[track_caller]
    pub fn start(&self, line: &str) -> Started {
        start(&self.enter(line))
    }

    /// Gives the network device an address of IPv6 too, in the range for private use, and returns it.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn add_ipv6(&self) -> Ipv6Addr {
        let [.., number, host] = self.address.octets();
        let address = Ipv6Addr::new(0xfd00, number.into(), 0, 0, 0, 0, 0, host.into());
        let netdev = &self.netdev;
        self.run(&format!("ip address add {address}/64 dev {netdev} nodad"));
        address
    }

    /// The command line that runs `line` in the device's network namespace.
    pub(crate) fn enter(&self, line: &str) -> String {
        match &self.namespace {
            Some(namespace) => format!("nsenter --net=/run/netns/{namespace} {line}"),
            None => line.to_string(),
        }
    }

    /// Runs `body` on a thread of its own in the device's network namespace.
    ///
    /// # Panics
    ///
    /// `body` does, or the guest does not let the thread in.
    pub fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter_thread();
                body()
            });
            inside
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn enter_thread(&self) {
        let Some(namespace) = &self.namespace else {
            return;
        };
        let path = format!("/run/netns/{namespace}");
        let file = File::open(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .unwrap_or_else(|error| panic!("entering {path}: {error}"));
    }

    /// Whether a connected queue pair of the device is in error.
    ///
    /// # Panics
    ///
    /// The guest does not list them.
    pub fn has_failed_queue_pair(&self) -> bool {
        let queue_pairs = run(&format!("rdma resource show qp link {}", self.device));
        let mut lines = queue_pairs.lines();
        lines.any(|line| line.contains("type RC") && line.contains("state ERR"))
    }

    /// What `ibstat` prints about the device: the text that a user pastes.
    ///
    /// # Panics
    ///
    /// `ibstat` does not know the device.
    pub fn ibstat(&self) -> String {
        run(&format!("ibstat {}", self.device))
    }

    /// The port GUID as `ibstat -p` prints it, `0x` and 16 digits.
    ///
    /// # Panics
    ///
    /// `ibstat` does not know the device.
    pub fn port_guid(&self) -> String {
        run(&format!("ibstat {} -p", self.device))
    }
}
