//! Requests of the control plane. Most are answered at once; what must wait is kept here until it is done.

use std::sync::Arc;
use std::time::Duration;

use backstore::Medium;
use target_core::logical_unit::LogicalUnit;
use target_core::target::{LuEvent, LuId};
use tracing::info;

use crate::access::Access;
use crate::portal::{Endpoint, Portal, Protocol};
use crate::worker_link::{LunChange, Reply, Request, WorkerError};

use super::Worker;
use super::connection::{DRAIN, GOODBYE, Phase};
use super::iscsi::{CHUNKS_IN_KERNEL, IscsiMemory};
use super::luns::Served;
use super::wakes;

/// What has been asked for and is not done.
#[derive(Default)]
pub(super) struct Pending {
    removals: Vec<Removal>,
    drops: Vec<Drop>,
    shutdown: Option<Shutdown>,
    ended: bool,
}

/// A logical unit that still has operations in the ring.
struct Removal {
    lu: LuId,
    served: Served,
    reply: Reply<Result<(), WorkerError>>,
}

/// A session that is on its way out.
struct Drop {
    connections: Vec<u32>,
    reply: Reply<bool>,
}

struct Shutdown {
    /// When the commands that still run are given up.
    commands_until: Duration,
    /// When everything ends, whatever is left.
    until: Duration,
    said_goodbye: bool,
    reply: Reply<()>,
}

impl Pending {
    /// True when the thread is to end.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// True when nobody is let in any more.
    pub(super) fn is_draining(&self) -> bool {
        self.shutdown.is_some()
    }

    /// When the next thing is due although nothing happens.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.shutdown
            .as_ref()
            .map(|shutdown| match shutdown.said_goodbye {
                false => shutdown.commands_until,
                true => shutdown.until,
            })
    }
}

fn unknown(name: &str) -> WorkerError {
    WorkerError {
        text: format!("the worker serves no logical unit {name}"),
        fix: "srptgt lun list shows what there is; a restart of the daemon loads the configuration anew".to_owned(),
    }
}

impl Worker {
    /// Takes all requests that wait.
    pub(super) fn handle_mailbox(&mut self) {
        self.mailbox.acknowledge();
        while let Some(request) = self.mailbox.poll() {
            self.handle_request(request);
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::AddLun { lu, medium, reply } => reply.send(self.add_lun(lu, medium)),
            Request::RemoveLun { name, reply } => self.remove_lun(&name, reply),
            Request::LunChanged {
                name,
                change,
                reply,
            } => reply.send(self.lun_changed(&name, change)),
            Request::SetAccess { access, reply } => {
                self.set_access(access);
                reply.send(());
            }
            Request::SetIscsi { settings, reply } => {
                self.iscsi.set(settings);
                reply.send(());
            }
            Request::AddPortal { portal, reply } => reply.send(self.add_portal(&portal)),
            Request::RemovePortal { portal, reply } => {
                self.remove_portal(&portal);
                reply.send(());
            }
            Request::Sessions { reply } => reply.send(self.report_sessions()),
            Request::DropSession { id, reply } => self.drop_session(id, reply),
            Request::Counters { reply } => reply.send(self.report_counters()),
            Request::Stall { name, on, reply } => reply.send(self.stall(&name, on)),
            Request::Shutdown { drain_ms, reply } => self.shut_down(drain_ms, reply),
        }
    }

    fn add_lun(&mut self, lu: Arc<LogicalUnit>, medium: Arc<Medium>) -> Result<(), WorkerError> {
        let name: Arc<str> = lu.identity.name.as_str().into();
        let medium_id = self
            .engine
            .attach(Arc::clone(&medium))
            .map_err(|error| WorkerError {
                text: format!("the ring cannot take logical unit {name}: {error}"),
                fix: "srptgt doctor shows the limits of this process".to_owned(),
            })?;
        let lu = self.target.lu_add(lu, medium_id);
        self.luns.insert(
            name,
            Served {
                lu,
                medium_id,
                medium,
            },
        );
        Ok(())
    }

    fn remove_lun(&mut self, name: &str, reply: Reply<Result<(), WorkerError>>) {
        match self.luns.remove(name) {
            None => reply.send(Err(unknown(name))),
            Some(served) => {
                self.target.lu_remove(served.lu);
                self.requests.removals.push(Removal {
                    lu: served.lu,
                    served,
                    reply,
                });
            }
        }
    }

    fn lun_changed(&mut self, name: &str, change: LunChange) -> Result<(), WorkerError> {
        let served = self.luns.get(name).ok_or_else(|| unknown(name))?;
        let event = match change {
            LunChange::Capacity => LuEvent::CapacityChanged,
            LunChange::ModeParameters => LuEvent::ModeParametersChanged,
        };
        self.target.lu_event(served.lu, event);
        Ok(())
    }

    /// Every live session is asked again; untouched ones notice nothing.
    fn set_access(&mut self, access: Arc<Access>) {
        self.access = access;
        let mut unwelcome = Vec::new();
        for session in self.sessions.iter_mut() {
            match self.access.admit(&session.login) {
                Ok(admitted)
                    if admitted.host.name == session.host.name
                        && session.vouched.satisfies(admitted.vouched) =>
                {
                    self.target
                        .nexus_set_map(session.nexus, &self.luns.map_of(&admitted.host));
                    session.host = admitted.host;
                }
                _ => unwelcome.push(session.id),
            }
        }
        for session in unwelcome {
            info!(session, "session is not admitted any more");
            self.leave_session(session);
        }
    }

    fn add_portal(&mut self, portal: &Portal) -> Result<Vec<Endpoint>, WorkerError> {
        if !portal.protocol.is_iscsi() {
            return self.listen_rdma(portal);
        }
        self.prepare_iscsi(portal)?;
        let endpoints = match portal.protocol {
            Protocol::Tcp => {
                let address = self.tcp.listen(&mut self.engine, portal)?;
                vec![Endpoint::from(address)]
            }
            Protocol::Iser | Protocol::Srp => self.listen_rdma(portal)?,
        };
        self.iscsi.add_portal(portal, &endpoints);
        Ok(endpoints)
    }

    /// What the first iSCSI portal needs.
    fn prepare_iscsi(&mut self, portal: &Portal) -> Result<(), WorkerError> {
        if !self.iscsi.has_name() {
            return Err(WorkerError {
                text: format!("cannot listen on {portal}: the target has no iSCSI name"),
                fix: "restart the daemon".to_owned(),
            });
        }
        if self.iscsi_memory.is_some() {
            return Ok(());
        }
        let cannot = |error: std::io::Error| WorkerError {
            text: format!("cannot have memory for iSCSI: {error}"),
            fix: "srptgt doctor shows the limits of this process; TCP needs Linux 5.19".to_owned(),
        };
        let memory = IscsiMemory::new().map_err(cannot)?;
        self.engine
            .provide_chunks(CHUNKS_IN_KERNEL, memory.chunks.clone())
            .map_err(cannot)?;
        self.iscsi_memory = Some(memory);
        Ok(())
    }

    fn remove_portal(&mut self, portal: &Portal) {
        self.iscsi.remove_portal(portal);
        match portal.protocol {
            Protocol::Tcp => self.tcp.stop_listening(&mut self.engine, portal),
            Protocol::Srp | Protocol::Iser => self.fabric.stop_listening(portal),
        }
    }

    fn listen_rdma(&mut self, portal: &Portal) -> Result<Vec<Endpoint>, WorkerError> {
        let first = self.fabric.cm_fd().is_none();
        let endpoints = self.fabric.listen(portal)?;
        let mut watched = self.fabric.watch_sockets(&mut self.engine);
        if first && let Some(cm) = self.fabric.cm_fd() {
            watched = watched.and(self.engine.watch_poll(cm, wakes::CM));
        }
        match watched {
            Ok(()) => Ok(endpoints),
            Err(error) => Err(WorkerError {
                text: format!("the ring cannot wait for the connection manager: {error}"),
                fix: "restart the daemon".to_owned(),
            }),
        }
    }

    fn drop_session(&mut self, id: u64, reply: Reply<bool>) {
        let Some(connections) = self
            .sessions
            .get(id)
            .map(|session| session.connections.clone())
        else {
            return reply.send(false);
        };
        self.leave_session(id);
        self.requests.drops.push(Drop { connections, reply });
    }

    fn stall(&mut self, name: &str, on: bool) -> Result<(), WorkerError> {
        let served = self.luns.get(name).ok_or_else(|| unknown(name))?;
        served.medium.stall(on);
        Ok(())
    }

    fn shut_down(&mut self, drain_ms: u64, reply: Reply<()>) {
        self.fabric.stop_all();
        self.tcp.stop_all(&mut self.engine);
        let commands_until = self.now + Duration::from_millis(drain_ms);
        let until = commands_until + GOODBYE + DRAIN;
        self.requests.shutdown = Some(Shutdown {
            commands_until,
            until,
            said_goodbye: false,
            reply,
        });
    }

    /// Looks whether something that was asked for is done now.
    pub(super) fn tend_requests(&mut self) {
        self.tend_removals();
        self.tend_drops();
        self.tend_shutdown();
    }

    fn tend_removals(&mut self) {
        let mut index = 0;
        while let Some(removal) = self.requests.removals.get(index) {
            if !self.target.lu_is_idle(removal.lu)
                || self.engine.detach(removal.served.medium_id).is_err()
            {
                index += 1;
                continue;
            }
            let removal = self.requests.removals.swap_remove(index);
            std::mem::drop(removal.served);
            removal.reply.send(Ok(()));
        }
    }

    fn tend_drops(&mut self) {
        let connections = &self.connections;
        // Those that wait for a link may do so for days, and the session is over.
        let is_gone = |&number: &u32| {
            connections
                .get(number)
                .is_none_or(|connection| connection.phase == Phase::Silent)
        };
        let gone = |drop: &mut Drop| drop.connections.iter().all(is_gone);
        for drop in self.requests.drops.extract_if(.., gone) {
            drop.reply.send(true);
        }
    }

    /// Says goodbye to connections that have no session.
    fn leave_strangers(&mut self) {
        for number in self.connections.numbers() {
            let connection = self.connections.get(number);
            if connection.is_some_and(|connection| connection.member.is_none()) {
                self.leave(number);
            }
        }
    }

    fn tend_shutdown(&mut self) {
        let Some(shutdown) = &mut self.requests.shutdown else {
            return;
        };
        let out_of_patience = self.now >= shutdown.commands_until;
        if !shutdown.said_goodbye && (self.target.is_idle() || out_of_patience) {
            shutdown.said_goodbye = true;
            let sessions: Vec<_> = self.sessions.iter().map(|session| session.id).collect();
            for session in sessions {
                self.leave_session(session);
            }
            self.leave_strangers();
            self.transmit();
        }
        let over = self.now >= self.requests.deadline().unwrap_or_default();
        let done = self.connections.is_empty() && self.target.is_idle();
        if let Some(shutdown) = self
            .requests
            .shutdown
            .take_if(|s| s.said_goodbye && (done || over))
        {
            shutdown.reply.send(());
            self.requests.ended = true;
        }
    }
}
