//! A session that keeps to the protocol: commands go in, answers come out.

mod slots;
mod submit;
mod turn;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use target_core::lun::Lun;
use transport_srp::Carrier;
use transport_srp::layout::LINUX_IMM_DATA_OFFSET;

use rdma::Fabric;

use super::buffer::DataBuffer;
use super::machine::{
    ChannelNumber, CloseReason, Granted, LoginOptions, Machine, Outcome, RequestId,
};
use super::options::ConnectOptions;
use crate::clock::Clock;
use crate::error::{ConnectError, SessionError};
use crate::fabric::cm::{CmEvents, Patience, Verdict};
use crate::fabric::link::Link;
use crate::fabric::port::{Port, Sizes};

/// The longest message in bytes that can be received. LIO names the length that it was asked for as its own.
const RECEIVE_BYTES: u32 = 8448;

/// Receives of each channel for what is no answer to a command.
const SPARE_RECEIVES: u32 = 8;

/// Longest time for a goodbye to reach the target.
const GOODBYE: Duration = Duration::from_secs(1);

/// A data transfer; the buffer comes back with [`Finished`].
#[derive(Debug)]
pub enum Transfer {
    /// No data.
    None,
    /// Data-In.
    In(DataBuffer),
    /// Data-Out.
    Out(DataBuffer),
}

/// A command to be sent.
#[derive(Debug)]
pub struct Request<'a> {
    /// LOGICAL UNIT NUMBER.
    pub lun: Lun,
    /// Command descriptor block.
    pub cdb: &'a [u8],
    /// Its data.
    pub transfer: Transfer,
}

/// A request that was not made; its buffer comes back.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub error: SessionError,
    /// What was to be transferred.
    pub transfer: Transfer,
}

/// A request that has ended, or whose time is over.
#[derive(Debug)]
pub struct Finished {
    /// Which.
    pub request: RequestId,
    /// How; `None` when it is still outstanding after its time.
    pub outcome: Option<Outcome>,
    /// What was transferred; [`Transfer::None`] while it is still outstanding.
    pub transfer: Transfer,
}

/// An SRP session. It belongs to one thread, and ends when it is dropped; [`Session::logout`] says goodbye first.
#[derive(Debug)]
pub struct Session {
    machine: Machine,
    /// Dropped before the port that they are made of.
    links: Vec<Link>,
    cm: CmEvents,
    pub(super) port: Port,
    clock: Clock,
    pub(super) options: ConnectOptions,
    /// What outstanding requests transfer, by their place.
    held: Vec<Transfer>,
    finished: VecDeque<Finished>,
    /// Buffers of blocking commands, for the next one.
    pub(super) spare: Vec<DataBuffer>,
    /// For the commands of [`crate::Nexus::send`].
    slots: Vec<slots::Slot>,
    immediate: Vec<u8>,
    next_channel: u16,
    closed: Option<CloseReason>,
}

impl Session {
    /// Logs in over RDMA hardware or the kernel's soft devices.
    ///
    /// # Errors
    /// What is missing here, or the target's reason for its refusal.
    pub fn connect(options: &ConnectOptions) -> Result<Self, ConnectError> {
        Self::connect_on(&Fabric::verbs(), options)
    }

    /// Logs in over a fabric of choice.
    ///
    /// # Errors
    /// What is missing here, or the target's reason for its refusal.
    pub fn connect_on(fabric: &Fabric, options: &ConnectOptions) -> Result<Self, ConnectError> {
        let mut cm = CmEvents::new(fabric)?;
        let patience = Patience {
            address: options.address,
            timeout_ms: options.connect_timeout_ms,
        };
        let first = cm.resolve(options.source, patience)?;
        let device = first.device_name().unwrap_or_default();
        let port = Port::open(first.open_device()?, sizes(options))?;
        let guid = options.initiator_guid;
        let guid = guid.or_else(|| Some(port.device.info().port(first.port())?.port_guid));
        let login = login_options(options, guid.unwrap_or(0));
        let mut session = Self {
            machine: Machine::new(login, options.channels),
            links: Vec::new(),
            cm,
            port,
            clock: Clock::new(),
            options: options.clone(),
            held: Vec::new(),
            finished: VecDeque::new(),
            spare: Vec::new(),
            slots: Vec::new(),
            immediate: Vec::new(),
            next_channel: 0,
            closed: None,
        };
        session.log_in(ChannelNumber(0), first, patience)?;
        for channel in 1..options.channels {
            let next = session.cm.resolve(options.source, patience)?;
            if next.device_name().as_ref() != Some(&device) {
                return Err(ConnectError::OtherDevice(options.address));
            }
            session.log_in(ChannelNumber(channel), next, patience)?;
        }
        Ok(session)
    }

    fn log_in(
        &mut self,
        channel: ChannelNumber,
        connection: rdma::Connection,
        patience: Patience,
    ) -> Result<(), ConnectError> {
        self.cm.resolve_route(&connection, patience)?;
        let login = self.machine.login_request(channel, Carrier::RdmaCm);
        let (mut link, verdict) =
            Link::ask(&self.port, &mut self.cm, connection, &login, patience)?;
        let granted = match verdict {
            Verdict::Accepted(response) => self.machine.handle_accepted(channel, &response),
            Verdict::Rejected { private_data, .. } => {
                Err(self.machine.handle_rejected(channel, &private_data))
            }
        };
        let granted = granted.map_err(|error| ConnectError::Login {
            channel: channel.0,
            error,
        })?;
        if granted.max_ti_iu_len > RECEIVE_BYTES {
            return Err(ConnectError::MessageLength {
                asked: granted.max_ti_iu_len,
                most: RECEIVE_BYTES,
            });
        }
        self.port.post_receives()?;
        link.establish()?;
        self.links.push(link);
        Ok(())
    }

    /// What the target granted at the login of a channel, while the channel lives.
    pub fn granted(&self, channel: u16) -> Option<&Granted> {
        self.machine.granted(ChannelNumber(channel))
    }

    /// The state machine: counters and limits.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Why the session is over, if it is.
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// A buffer for [`Session::submit`]; keep it for many commands.
    ///
    /// # Errors
    /// The session's data memory is used up.
    pub fn buffer(&mut self, capacity: usize) -> Result<DataBuffer, SessionError> {
        let (pieces, inline) = (self.options.pieces, self.options.inline_pieces);
        DataBuffer::new(&self.port, capacity, pieces, inline)
    }

    /// Says goodbye, and waits a moment until the target has heard it.
    pub fn logout(mut self) {
        self.machine.logout();
        let limit = Instant::now() + GOODBYE;
        // The first turn sends it; later ones see its completion.
        while self.turn().is_ok() && Instant::now() < limit {
            if self
                .links
                .iter()
                .all(|link| !link.is_open() || link.is_drained())
            {
                break;
            }
            self.sleep(GOODBYE);
        }
        self.links.iter_mut().for_each(Link::close);
    }
}

fn sizes(options: &ConnectOptions) -> Sizes {
    let channels = u32::from(options.channels.max(1));
    let outstanding = options.outstanding.max(1);
    let requests = outstanding.saturating_mul(channels) as usize;
    Sizes {
        data_bytes: options.data_bytes,
        // A message's completion may be seen after its answer.
        messages: requests * 2 + 8,
        message_bytes: options.max_it_iu_len.max(64) as usize,
        receives: (outstanding + SPARE_RECEIVES) * channels,
        receive_bytes: RECEIVE_BYTES as usize,
    }
}

fn login_options(options: &ConnectOptions, initiator_guid: u64) -> LoginOptions {
    LoginOptions {
        initiator_extension: options.initiator_extension,
        order: options.order,
        first_channel: options.first_channel(),
        max_it_iu_len: options.max_it_iu_len,
        imm_data_offset: options.immediate_data.then_some(LINUX_IMM_DATA_OFFSET),
        outstanding: options.outstanding.max(1),
        ..LoginOptions::new(options.target_port, initiator_guid)
    }
}
