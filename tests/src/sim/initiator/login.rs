//! How an initiator begins: with a machine of its own, and with a session that has said nothing yet.

use initiator::iscsi::machine as iscsi_machine;
use initiator::machine::ChannelNumber;
use roce::cm::CmConfig;
use roce::qp::{PathMtu, Tuning};
use roce::{Node, NodeConfig};
use transport_iser::Sn;
use transport_iser::iser::CmHeader;
use transport_iser::login::Datamover;

use super::memory::Memory;
use super::session::Session;
use super::step::Step;
use super::{Initiator, Stage};
use crate::sim::random::Random;
use crate::sim::scenario::{Protocol, Scenario};

impl Initiator {
    /// A session that has said nothing yet.
    pub(super) fn session(&mut self) -> Session {
        if self.protocol == Protocol::Srp {
            return Session::srp(self.options, self.channels);
        }
        let mut options = self.iscsi_options.clone();
        options.first_cmd_sn = Sn(self.random.pick(&[1, u32::MAX - 5, 0x7fff_fffa]));
        Session::iscsi(options)
    }

    /// What it says of itself when it connects over iSER.
    pub(super) fn own_header(&self) -> CmHeader {
        CmHeader {
            zero_based_addresses: false,
            send_with_invalidate: self.invalidates,
        }
    }

    /// Drops all connections and begins again.
    pub(super) fn log_in(&mut self, now_us: u64) {
        self.hang_up(now_us);
        self.plans.retain(|(_, step)| *step == Step::Act);
        self.machine = self.session();
        if self.stage < Stage::Leaving {
            self.connect(ChannelNumber(0), now_us);
        }
    }

    pub(super) fn hang_up(&mut self, now_us: u64) {
        while !self.links.is_empty() {
            self.lose(|_| true, now_us);
        }
    }
}

pub(super) fn iscsi_options(
    index: u64,
    protocol: Protocol,
    scenario: &Scenario,
) -> iscsi_machine::LoginOptions {
    let datamover = match protocol {
        Protocol::Iser => Datamover::Iser,
        Protocol::Srp | Protocol::Tcp => Datamover::Tcp,
    };
    let name = format!("iqn.2026-11.model:initiator{index}");
    let target = Some("iqn.2026-11.model:target");
    iscsi_machine::LoginOptions {
        limits: scenario.iscsi.limits(1, datamover),
        ..iscsi_machine::LoginOptions::new(datamover, &name, target)
    }
}

pub(super) fn machine_room(index: u64, path_mtu: PathMtu, random: &mut Random) -> (Node, Memory) {
    let mut node = Node::new(NodeConfig {
        secret: random.next(),
        cm: CmConfig {
            max_mtu: path_mtu,
            ca_guid: 0x100 + index,
            ..CmConfig::default()
        },
        tuning: Tuning::default(),
    });
    let memory = Memory::new(&mut node);
    (node, memory)
}
