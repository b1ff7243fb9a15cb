//! A soft-RoCE device (`rdma_rxe`) on a network device of its own.
//!
//! The port GUID is the EUI-64 of the network device's MAC address, so the MAC is fixed: a GUID that changes from run
//! to run could not stand in an access list. MTU 4200 gives the path MTU of 4096 that storage HCAs have.

use std::net::Ipv4Addr;

use crate::command::{attempt, run};

/// A soft-RoCE device.
#[derive(Clone, Debug)]
pub struct Rxe {
    /// Name of the RDMA device, such as `rxe0`.
    pub device: String,
    /// Name of the network device below it.
    pub netdev: String,
    /// Address of the network device.
    pub address: Ipv4Addr,
}

impl Rxe {
    /// The device with this number, on a dummy network device: initiator and target on it reach each other through
    /// rxe's loopback, without UDP. Numbers give different devices, addresses and GUIDs.
    ///
    /// # Panics
    ///
    /// The guest refuses it.
    pub fn on_dummy(number: u8) -> Self {
        let rxe = Self {
            device: format!("rxe{number}"),
            netdev: format!("bed{number}"),
            address: Ipv4Addr::new(10, 99, number, 1),
        };
        run(&format!(
            "ip link add {} address 02:5e:00:00:00:{number:02x} type dummy",
            rxe.netdev
        ));
        rxe.bring_up(number);
        rxe
    }

    fn bring_up(&self, number: u8) {
        let Self {
            device,
            netdev,
            address,
        } = self;
        if number == 0 {
            run("ip link set lo up");
        }
        run(&format!("ip link set {netdev} mtu 4200 up"));
        run(&format!("ip address add {address}/24 dev {netdev}"));
        run(&format!("rdma link add {device} type rxe netdev {netdev}"));
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

    /// Pulls the cable.
    ///
    /// # Panics
    ///
    /// The network device refuses.
    pub fn link_down(&self) {
        run(&format!("ip link set {} down", self.netdev));
    }

    /// Plugs the cable in again; a kernel that dropped the address with the link gets it back.
    ///
    /// # Panics
    ///
    /// The network device refuses.
    pub fn link_up(&self) {
        run(&format!("ip link set {} up", self.netdev));
        attempt(&format!(
            "ip address add {}/24 dev {}",
            self.address, self.netdev
        ));
    }
}
