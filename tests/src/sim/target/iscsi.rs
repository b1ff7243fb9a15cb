//! iSCSI at the target: connections over RDMA and over streams, and their logins, as the daemon's worker has them.

use std::sync::Arc;

use roce::cm::{Accept, ConnectRequest};
use target_core::command::ChannelId;
use target_core::target::TransportId;
use transport_iser::connection::{Connection as IscsiConnection, LoginEvent, Settings};
use transport_iser::iser::CmHeader;
use transport_iser::login::{Admission, Datamover, Negotiated};
use transport_iser::pdu::LoginStatus;

use super::carrier::{Carrier, Machine, Outgoing};
use super::login::DEPTH;
use super::room::CHUNK_BYTES;
use super::{Connection, ISER, Phase, Port, TargetSide};
use crate::sim::journal::Entry;
use crate::sim::scenario::Scenario;
use crate::sim::stream::{Found, Side};

/// What holds for all connections of a datamover.
pub(super) fn settings(scenario: &Scenario, datamover: Datamover) -> Arc<Settings> {
    let choices = &scenario.iscsi;
    Arc::new(Settings {
        command_window: scenario.request_limit as u16,
        immediate_requests: choices.immediate_requests,
        nop_interval_ms: choices.nop_ms,
        ..Settings::new(choices.limits(0, datamover))
    })
}

impl TargetSide {
    pub(super) fn handle_iser_request(&mut self, request: &ConnectRequest, now_us: u64) {
        let header = request.rdma_cm.expect("the header of RDMA-CM");
        let link = u32::from(header.source.port());
        let qp = self.queue_pair(ISER);
        let peer = CmHeader::parse(request.private_data.as_slice());
        let answer = peer.answer(self.invalidates);
        let accept = Accept {
            responder_resources: 0,
            initiator_depth: request.initiator_depth.min(DEPTH),
            private_data: &answer.encode(),
        };
        let accepted = self.node.accept(request.connection, qp, &accept, now_us);
        if accepted.is_err() {
            self.node.destroy_queue_pair(qp);
            return;
        }
        let machine = IscsiConnection::iser(
            ChannelId(link),
            self.settings[0].clone(),
            answer,
            self.pools.pdus.clone(),
            self.pools.unsolicited.share(),
            now_us / 1000,
        );
        self.insert_iscsi(link, Carrier::queue(request.connection, qp), machine);
    }

    pub(super) fn accept_streams(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        while let Some(link) = self.streams.accept(now_us) {
            moved = true;
            if self.is_closed {
                self.streams.close(link, Side::Target, now_us);
                continue;
            }
            let machine = IscsiConnection::tcp(
                ChannelId(link),
                self.settings[1].clone(),
                self.pools.pdus.clone(),
                self.pools.unsolicited.share(),
                now_us / 1000,
            );
            self.insert_iscsi(link, Carrier::Stream(Outgoing::default()), machine);
        }
        moved
    }

    fn insert_iscsi(&mut self, link: u32, carrier: Carrier, machine: IscsiConnection) {
        let connection = Connection {
            carrier,
            channel: Machine::Iscsi(Box::new(machine)),
            phase: Phase::Live,
            member: None,
            starves: false,
        };
        let before = self.connections.insert(link, connection);
        assert!(before.is_none(), "a link is used twice");
    }

    /// What streams have brought goes to their machines, as far as they want it.
    pub(super) fn run_streams(&mut self, now_us: u64) -> bool {
        let mut moved = false;
        let streams = self.connections.iter();
        let streams = streams.filter(|(_, c)| matches!(c.carrier, Carrier::Stream(_)));
        let links: Vec<_> = streams.map(|(link, _)| *link).collect();
        for link in links {
            // There may be buffers now for what it has.
            self.run_channel(link, now_us);
            while self.run_stream(link, now_us) {
                moved = true;
            }
        }
        moved
    }

    fn run_stream(&mut self, link: u32, now_us: u64) -> bool {
        let Some(connection) = self.connections.get_mut(&link) else {
            return false;
        };
        if connection.phase != Phase::Live {
            return false;
        }
        if !connection.channel.wants_input() {
            return false;
        }
        let found = self.streams.read(link, Side::Target, CHUNK_BYTES, now_us);
        match found {
            Found::Nothing => return false,
            Found::End => self.end_connection(link, now_us),
            Found::Bytes(bytes) => {
                let chunk = self.pools.chunks.take(bytes.len());
                let mut chunk = chunk.expect("a chunk for what came");
                chunk.copy_from_slice(&bytes);
                connection.channel.handle_recv(chunk, now_us / 1000);
                self.run_channel(link, now_us);
            }
        }
        true
    }

    /// What a login asks or tells.
    pub(super) fn handle_login_events(&mut self, link: u32, now_us: u64) {
        while let Some(connection) = self.connections.get_mut(&link)
            && let Some(machine) = connection.channel.iscsi()
            && let Some(event) = machine.poll_login()
        {
            match event {
                LoginEvent::Admit(_) if self.is_closed => {
                    machine.handle_admission(Err(LoginStatus::SERVICE_UNAVAILABLE));
                }
                LoginEvent::Admit(_) => machine.handle_admission(Ok(Admission {
                    tsih: (self.opened % 0xffff) as u16 + 1,
                    portal_group_tag: 1,
                    target_alias: None,
                    chap: None,
                })),
                LoginEvent::Established(negotiated) => self.establish(link, &negotiated, now_us),
                LoginEvent::Failed(failure) => {
                    assert!(self.is_closed, "a login is refused: {}", failure.error);
                }
            }
        }
    }

    /// The session begins, and ends the one that the same initiator port had before (RFC 7143 6.3.5).
    fn establish(&mut self, link: u32, negotiated: &Negotiated, now_us: u64) {
        let identity = &negotiated.identity;
        let port = Port::Iscsi(identity.initiator_name.clone(), identity.isid);
        if let Some(former) = self.sessions.get(&port) {
            self.past.reinstated += 1;
            for link in former.links.clone() {
                self.end_connection(link, now_us);
            }
        }
        let nexus = self.open_session(
            &port,
            TransportId::Iscsi {
                initiator_name: identity.initiator_name.as_str().into(),
                isid: identity.isid,
            },
        );
        self.join(link, port, nexus);
    }

    /// A connection becomes one of a session.
    pub(super) fn join(&mut self, link: u32, port: Port, nexus: target_core::target::NexusId) {
        let session = self.sessions.get_mut(&port).expect("a session");
        session.links.push(link);
        let number = session.number;
        if let Some(connection) = self.connections.get_mut(&link) {
            connection.member = Some((port, nexus));
        }
        self.journal.write(Entry::Opened {
            link,
            nexus: number,
        });
    }
}
