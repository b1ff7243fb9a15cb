//! A connection with pools, and an initiator's hands.

use std::sync::Arc;

use iobuf::{Arena, Buf, Pool, RemoteSegment};
use target_core::backend::TaskId;
use target_core::command::{ChannelId, Command, ExchangeId, Outcome, Residual, TaskManagement};
use target_core::lun::Lun;
use target_core::port::{Channel, ChannelEvent, CloseReason, Part, Transmit};
use target_core::status::Status;

use crate::Sn;
use crate::connection::{Connection, Settings};
use crate::iser::{CmHeader, Header, Stag};
use crate::login::{
    Datamover, Digest, Identity, LoginLimits, Negotiated, RdmaValues, SessionType, TaskReporting,
};
use crate::pdu::{AttributeCode, Bhs, Opcode, RESERVED_TAG, ScsiCommand, padding};
use crate::tcp::{Framed, Framer};

pub(super) const LUN: Lun = Lun([0, 3, 0, 0, 0, 0, 0, 0]);
pub(super) const FIRST: Sn = Sn(100);
pub(super) const TASK: TaskId = TaskId {
    index: 1,
    generation: 1,
};

const MIB: usize = 1 << 20;

pub(super) struct Bed {
    pub(super) connection: Connection,
    pub(super) recv: Pool,
    pub(super) data: Pool,
    pub(super) messages: Pool,
    /// Digests of what is sent and read.
    digests: (bool, bool),
    framer: Framer,
    pub(super) now_ms: u64,
    pub(super) next_cmd_sn: Sn,
}

/// A PDU that the connection has sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) bhs: Bhs,
    pub(super) data: Vec<u8>,
}

impl Sent {
    pub(super) fn opcode(&self) -> Opcode {
        Opcode::of(&self.bhs)
    }
}

/// What the connection posted over iSER.
#[derive(Debug)]
pub(super) enum Posted {
    Respond {
        data: Vec<u8>,
        segments: Vec<RemoteSegment>,
        sent: Sent,
        invalidate: Option<u32>,
    },
    Pull {
        exchange: ExchangeId,
        buf: Buf,
        segments: Vec<RemoteSegment>,
    },
}

pub(super) fn settings(datamover: Datamover) -> Settings {
    Settings {
        command_window: 8,
        immediate_requests: 2,
        ..Settings::new(LoginLimits::new(datamover))
    }
}

pub(super) fn negotiated(datamover: Datamover) -> Negotiated {
    Negotiated {
        identity: Identity {
            initiator_name: "iqn.2026-11.test:initiator".into(),
            initiator_alias: None,
            target_name: Some("iqn.2026-11.test:target".into()),
            session_type: SessionType::Normal,
            isid: [1; 6],
            tsih: 0,
            cid: 7,
        },
        tsih: 1,
        max_recv_data_segment_length: 8192,
        max_xmit_data_segment_length: 1024,
        header_digest: Digest::None,
        data_digest: Digest::None,
        initial_r2t: false,
        immediate_data: true,
        max_burst_length: 4096,
        first_burst_length: 2048,
        max_outstanding_r2t: 2,
        default_time2wait: 2,
        default_time2retain: 0,
        data_pdu_in_order: true,
        data_sequence_in_order: true,
        error_recovery_level: 0,
        protocol_level: 1,
        task_reporting: TaskReporting::Rfc3720,
        rdma: (datamover == Datamover::Iser).then_some(RdmaValues {
            initiator_recv_data_segment_length: 8192,
            target_recv_data_segment_length: 8192,
            max_outstanding_unexpected_pdus: 0,
            max_ahs_length: 0,
            tagged_buffer_for_solicited_data_only: false,
            iser_hello_required: false,
        }),
    }
}

impl Bed {
    /// Full feature phase over TCP, after `change` of what the login came to.
    pub(super) fn tcp(change: impl FnOnce(&mut Negotiated)) -> Self {
        let mut negotiated = negotiated(Datamover::Tcp);
        change(&mut negotiated);
        let mut bed = Self::login(Datamover::Tcp);
        bed.connection = bed.connection.established(&negotiated, FIRST);
        bed.agree(&negotiated);
        bed
    }

    /// Full feature phase over iSER.
    pub(super) fn iser(change: impl FnOnce(&mut Negotiated)) -> Self {
        let mut negotiated = negotiated(Datamover::Iser);
        change(&mut negotiated);
        let mut bed = Self::login(Datamover::Iser);
        bed.connection = bed.connection.established(&negotiated, FIRST);
        bed
    }

    /// Nothing was said yet.
    pub(super) fn login(datamover: Datamover) -> Self {
        let arena = Arena::new(4 * MIB).expect("map");
        let recv = Pool::buddy(&arena, 0..MIB, 64 << 10);
        let messages = Pool::slots(&arena, MIB..MIB + (256 << 10), 2048);
        let data = Pool::buddy(&arena, 2 * MIB..4 * MIB, MIB);
        let settings = Arc::new(settings(datamover));
        let (id, m, d) = (ChannelId(1), messages.clone(), data.clone());
        let connection = match datamover {
            Datamover::Tcp => Connection::tcp(id, settings, m, d, 0),
            Datamover::Iser => {
                let both = CmHeader {
                    send_with_invalidate: true,
                    ..CmHeader::default()
                };
                Connection::iser(id, settings, both, m, d, 0)
            }
        };
        Self {
            connection,
            recv,
            data,
            messages,
            digests: (false, false),
            framer: Framer::new(1 << 20),
            now_ms: 0,
            next_cmd_sn: FIRST,
        }
    }

    pub(super) fn agree(&mut self, negotiated: &Negotiated) {
        let header = negotiated.header_digest == Digest::Crc32c;
        let data = negotiated.data_digest == Digest::Crc32c;
        self.digests = (header, data);
        self.framer.agree(header, data, 1 << 20);
    }

    /// CmdSN of the next command.
    pub(super) fn cmd_sn(&mut self) -> Sn {
        let sn = self.next_cmd_sn;
        self.next_cmd_sn = sn.plus(1);
        sn
    }

    /// Bytes of a PDU in the stream.
    pub(super) fn stream(&self, bhs: &Bhs, data: &[u8]) -> Vec<u8> {
        let mut bytes = bhs.to_vec();
        if self.digests.0 {
            bytes.extend(crc32c::crc32c(bhs).to_le_bytes());
        }
        if !data.is_empty() {
            let padding = padding(data.len() as u32) as usize;
            let padded = [data, &[0; 3][..padding]].concat();
            bytes.extend(&padded);
            if self.digests.1 {
                bytes.extend(crc32c::crc32c(&padded).to_le_bytes());
            }
        }
        bytes
    }

    pub(super) fn receive(&mut self, bytes: &[u8]) {
        let mut buf = self.recv.take(bytes.len()).expect("room");
        buf.copy_from_slice(bytes);
        self.connection.handle_recv(buf, self.now_ms);
    }

    /// Sends a PDU over TCP.
    pub(super) fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        let bytes = self.stream(bhs, data);
        self.receive(&bytes);
    }

    /// Sends a PDU over iSER.
    pub(super) fn send_iser(
        &mut self,
        write: Option<Stag>,
        read: Option<Stag>,
        bhs: &Bhs,
        data: &[u8],
    ) {
        let header = Header {
            write,
            read,
            ..Header::CONTROL
        };
        let bytes = [&header.encode()[..], bhs, data].concat();
        self.receive(&bytes);
    }

    /// What the driver hears.
    pub(super) fn events(&mut self) -> Vec<ChannelEvent> {
        std::iter::from_fn(|| self.connection.poll_event()).collect()
    }

    /// The one command that has come.
    pub(super) fn command(&mut self) -> Command {
        let mut events = self.events();
        match (events.pop(), events.is_empty()) {
            (Some(ChannelEvent::Command(command)), true) => command,
            other => panic!("one command expected, {other:?} came"),
        }
    }

    pub(super) fn task_management(&mut self) -> TaskManagement {
        match self.events().pop() {
            Some(ChannelEvent::TaskManagement(request)) => request,
            other => panic!("a task management request expected, {other:?} came"),
        }
    }

    /// Whether the connection has closed, and why.
    pub(super) fn close_reason(&mut self) -> Option<CloseReason> {
        self.events().into_iter().find_map(|event| match event {
            ChannelEvent::Close(reason) => Some(reason),
            _ => None,
        })
    }

    /// The PDUs that the connection sends over TCP now.
    pub(super) fn sent(&mut self) -> Vec<Sent> {
        let mut stream = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit() {
            let Transmit::Stream {
                message,
                data,
                pieces,
            } = transmit
            else {
                panic!("{transmit:?} over TCP");
            };
            for piece in pieces {
                let of = match piece.of {
                    Part::Message => &message[..],
                    Part::Data => data.as_deref().expect("data"),
                };
                stream.extend(&of[piece.start as usize..(piece.start + piece.len) as usize]);
            }
        }
        assert!(!self.connection.has_transmit());
        let (mut bytes, mut sent, mut data) = (&stream[..], Vec::new(), Vec::new());
        while let Some(event) = self.framer.next(&mut bytes).expect("PDUs") {
            match event {
                Framed::Header => data = Vec::new(),
                Framed::Data(part) => data.extend(part),
                Framed::End { intact } => {
                    assert!(intact, "data digest");
                    let (bhs, data) = (*self.framer.bhs(), std::mem::take(&mut data));
                    sent.push(Sent { bhs, data });
                }
            }
        }
        assert!(bytes.is_empty());
        sent
    }

    /// The one PDU that the connection sends over TCP now.
    pub(super) fn sent_one(&mut self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.remove(0)
    }

    /// What the connection posts over iSER now.
    pub(super) fn posted(&mut self) -> Vec<Posted> {
        let mut posted = Vec::new();
        while let Some(transmit) = self.connection.poll_transmit() {
            posted.push(match transmit {
                Transmit::Respond {
                    data,
                    segments,
                    message,
                    invalidate,
                } => {
                    let (_, rest) = Header::parse(&message).expect("iSER header");
                    let (bhs, segment) = rest.split_first_chunk().expect("header");
                    Posted::Respond {
                        data: data.map(|data| data.to_vec()).unwrap_or_default(),
                        segments: segments.to_vec(),
                        sent: Sent {
                            bhs: *bhs,
                            data: segment.to_vec(),
                        },
                        invalidate,
                    }
                }
                Transmit::Pull {
                    exchange,
                    buf,
                    segments,
                } => Posted::Pull {
                    exchange,
                    buf,
                    segments: segments.to_vec(),
                },
                Transmit::Stream { .. } => panic!("a stream over iSER"),
            });
        }
        posted
    }

    /// A READ of `len` bytes, up to the core.
    pub(super) fn read(&mut self, tag: u32, len: u32) -> Command {
        let pdu = read(self.cmd_sn(), tag, len);
        self.send(&pdu.encode(0), &[]);
        self.command()
    }

    /// A data buffer with a pattern.
    pub(super) fn filled(&self, len: usize) -> Buf {
        let mut buf = self.data.take(len).expect("room");
        buf.copy_from_slice(&pattern(0, len));
        buf
    }

    pub(super) fn outcome(&mut self, exchange: ExchangeId, outcome: Outcome) {
        self.connection.handle_outcome(exchange, outcome);
    }
}

/// Bytes that tell their place.
pub(super) fn pattern(begin: usize, len: usize) -> Vec<u8> {
    (begin..begin + len).map(|at| (at % 251) as u8).collect()
}

pub(super) fn good() -> Outcome {
    Outcome {
        status: Status::GOOD,
        sense: None,
        data_in: None,
        data_in_residual: Residual::None,
        data_out_residual: Residual::None,
    }
}

pub(super) fn read(cmd_sn: Sn, tag: u32, len: u32) -> ScsiCommand {
    ScsiCommand {
        is_final: true,
        read: true,
        attribute: AttributeCode::SIMPLE,
        lun: LUN,
        initiator_task_tag: tag,
        expected_data_transfer_length: len,
        cmd_sn,
        cdb: [0x28; 16],
        ..ScsiCommand::default()
    }
}

pub(super) fn write(cmd_sn: Sn, tag: u32, len: u32, is_final: bool) -> ScsiCommand {
    ScsiCommand {
        is_final,
        read: false,
        write: true,
        cdb: [0x2a; 16],
        ..read(cmd_sn, tag, len)
    }
}

/// Unsolicited or solicited Data-Out.
pub(super) fn data_out(
    tag: u32,
    ttt: Option<u32>,
    data_sn: u32,
    offset: u32,
) -> crate::pdu::DataOut {
    crate::pdu::DataOut {
        initiator_task_tag: tag,
        target_transfer_tag: ttt.unwrap_or(RESERVED_TAG),
        data_sn: Sn(data_sn),
        buffer_offset: offset,
        ..crate::pdu::DataOut::default()
    }
}
