//! TCP: the sockets that listen, and what happened to those that are connected.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use backstore::{Engine, StreamEvent};
use iobuf::Buf;
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};
use target_core::port::Channel;
use tracing::warn;

use crate::portal::{Listen, Portal};
use crate::worker_link::WorkerError;

use super::Worker;
use super::clock::millis;
use super::connection::Phase;

/// Connections that may wait to be accepted: a storm of logins is absorbed.
const BACKLOG: i32 = 1024;

/// The TCP portals.
#[derive(Debug, Default)]
pub(super) struct TcpPortals {
    /// With the tokens that the engine knows their sockets by.
    portals: Vec<(u64, Portal)>,
    last_token: u64,
    /// Bytes that came for machines that could not take them.
    pub(super) held_bytes: usize,
    /// Listeners that found no descriptor or memory for a connection.
    stalled: Vec<u64>,
}

impl TcpPortals {
    /// Listens on a portal; one that listens already stays as it is.
    ///
    /// # Errors
    /// Why it cannot, and what to do.
    pub(super) fn listen(
        &mut self,
        engine: &mut Engine,
        portal: &Portal,
    ) -> Result<SocketAddr, WorkerError> {
        let Listen::Ip(address) = portal.listen else {
            return Err(WorkerError {
                text: format!("{portal} is no IP address"),
                fix: "srptgt portal add tcp ADDRESS:3260".to_owned(),
            });
        };
        if self.portals.iter().all(|(_, known)| known != portal) {
            let socket = open(address).map_err(|error| WorkerError {
                text: format!("cannot listen on {portal}: {error}"),
                fix: "ss -ltn shows who listens, ip address the addresses that there are"
                    .to_owned(),
            })?;
            self.last_token += 1;
            self.portals.push((self.last_token, portal.clone()));
            engine.listen(socket, self.last_token);
        }
        Ok(address)
    }

    /// Listens on a portal no more. Connections that came by it stay.
    pub(super) fn stop_listening(&mut self, engine: &mut Engine, portal: &Portal) {
        for (token, _) in self.portals.extract_if(.., |(_, known)| known == portal) {
            engine.unlisten(token);
        }
    }

    /// Listens nowhere any more.
    pub(super) fn stop_all(&mut self, engine: &mut Engine) {
        for (token, _) in self.portals.drain(..) {
            engine.unlisten(token);
        }
    }

    /// The portal of a listener.
    pub(super) fn portal_of(&self, token: u64) -> Option<&Portal> {
        let mut portals = self.portals.iter();
        portals
            .find(|(of, _)| *of == token)
            .map(|(_, portal)| portal)
    }

    /// Tries again to accept.
    pub(super) fn resume(&mut self, engine: &mut Engine) {
        for token in self.stalled.drain(..) {
            engine.resume_accept(token);
        }
    }

    /// True when a listener is to be tried again after a while.
    pub(super) fn is_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }
}

fn open(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // On all addresses means all of both kinds, whatever this machine's default is.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

impl Worker {
    /// Takes everything that happened to sockets. Returns how much that was.
    pub(super) fn handle_stream_events(&mut self) -> usize {
        let mut count = 0;
        let mut freed = false;
        while let Some(event) = self.engine.next_stream_event() {
            count += 1;
            freed |= matches!(event, StreamEvent::Sent { .. } | StreamEvent::Closed { .. });
            self.handle_stream_event(event);
        }
        if freed {
            self.connections.messages_freed();
            if self.target.waits_for_buffer() {
                self.target.handle_buffers_freed();
            }
        }
        count
    }

    fn handle_stream_event(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Accepted { token, socket } => self.handle_accepted(token, socket),
            StreamEvent::AcceptFailed { token, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                warn!(%error, "nobody can be accepted now; srptgt doctor shows the limits");
                self.tcp.stalled.push(token);
            }
            StreamEvent::Received { token, chunk } => self.handle_chunk(number(token), chunk),
            StreamEvent::Ended { token, errno: None } => {
                self.end_connection(number(token), "the initiator closed the connection");
            }
            StreamEvent::Ended {
                token,
                errno: Some(errno),
            }
            | StreamEvent::SendFailed { token, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                match error.kind() {
                    io::ErrorKind::TimedOut => {
                        self.end_silent_connection(number(token), &error.to_string());
                    }
                    _ => self.end_connection(number(token), &error.to_string()),
                }
            }
            StreamEvent::Sent { token } => {
                debug_assert!(self.connections.get(number(token)).is_some());
            }
            StreamEvent::Closed { token } => self.handle_closed(number(token)),
        }
    }

    fn handle_closed(&mut self, number: u32) {
        let connection = self.connections.get_mut(number);
        if let Some(link) = connection.and_then(|connection| connection.link.stream_mut()) {
            link.closed = true;
        }
    }

    /// Hop 1 and 2 of what comes over TCP. What the machine cannot take yet is kept, and nothing more is received for it.
    fn handle_chunk(&mut self, number: u32, chunk: Buf) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        let Some(link) = connection.link.stream_mut() else {
            return;
        };
        if connection.phase != Phase::Live {
            return;
        }
        if link.paused {
            link.held.push_back(chunk.to_vec());
            self.tcp.held_bytes += chunk.len();
            if self.tcp.held_bytes > self.memory.most_held_bytes {
                self.end_connection(number, "too many connections wait for buffers");
            }
            return;
        }
        connection.machine.handle_recv(chunk, millis(self.now));
        self.handle_channel_events(number);
        self.pause_if_full(number);
    }

    fn pause_if_full(&mut self, number: u32) {
        let Some(connection) = self.connections.get_mut(number) else {
            return;
        };
        if connection.phase != Phase::Live || connection.machine.wants_input() {
            return;
        }
        if let Some(link) = connection.link.stream_mut() {
            self.totals.stream_pauses += 1;
            link.paused = true;
            self.engine.pause(link.stream);
            self.connections.mark_paused(number);
        }
    }

    /// Asks machines that had no buffer for what comes whether they have one now.
    pub(super) fn tend_paused(&mut self) {
        for number in self.connections.take_paused() {
            self.handle_channel_events(number);
            self.feed(number);
        }
    }

    /// Hands over what was kept, as far as the machine takes it, and receives again when it took everything.
    fn feed(&mut self, number: u32) {
        while let Some(connection) = self.connections.get_mut(number)
            && connection.phase == Phase::Live
            && let Some(link) = connection.link.stream_mut()
        {
            let Some(bytes) = link.held.front() else {
                if connection.machine.wants_input() {
                    link.paused = false;
                    self.engine.resume(link.stream);
                    return;
                }
                break;
            };
            let wanted = connection.machine.wants_input();
            let Some(mut chunk) = self.memory.data.take(bytes.len()).filter(|_| wanted) else {
                break;
            };
            chunk.copy_from_slice(bytes);
            self.tcp.held_bytes -= bytes.len();
            link.held.pop_front();
            connection.machine.handle_recv(chunk, millis(self.now));
            self.handle_channel_events(number);
        }
        self.connections.mark_paused(number);
    }
}

/// The connection that a stream's token names; tokens of streams are numbers of connections.
fn number(token: u64) -> u32 {
    u32::try_from(token).unwrap_or(u32::MAX)
}
