//! iSER: a PDU behind its header in each message (RFC 7145 9).

use std::collections::VecDeque;
use std::sync::Arc;

use iobuf::{Buf, Pool};
use target_core::command::ChannelId;
use target_core::port::Transmit;
use target_core::target::TransportId;
use transport_iser::connection::Connection;
use transport_iser::iser::{CmHeader, HEADER_BYTES, Header, MESSAGE_BYTES, MessageType, Stag};
use transport_iser::login::Datamover;
use transport_iser::pdu::BHS_BYTES;

use super::iscsi::{self, Commands};
use super::{DebugChannel, End, Room};
use crate::job::Kind;

/// Bytes of a data segment that the two agree on.
const SEGMENT_BYTES: u32 = 8192;
const SLOT_BYTES: usize = MESSAGE_BYTES.next_multiple_of(4096);

#[derive(Debug)]
struct Initiator {
    receive: Pool,
    header: [u8; HEADER_BYTES],
    commands: Commands,
}

pub(super) fn ends(room: &Room, kind: Kind) -> (Box<dyn DebugChannel>, Box<dyn End>) {
    let connection = Connection::iser(
        ChannelId(0),
        Arc::new(iscsi::settings(Datamover::Iser)),
        CmHeader::default(),
        room.messages(),
        room.data.clone(),
        0,
    );
    let negotiated = iscsi::negotiated(kind, SEGMENT_BYTES);
    let stag = Some(Stag {
        key: 0x1234,
        address: 0x1000,
    });
    let header = Header {
        kind: MessageType::Control,
        write: stag.filter(|_| kind == Kind::WritePulled),
        read: stag.filter(|_| kind == Kind::Read),
    };
    let initiator = Initiator {
        receive: room.slots(SLOT_BYTES),
        header: header.encode(),
        commands: Commands::new(kind),
    };
    let connection = connection.established(&negotiated, iscsi::FIRST);
    (Box::new(connection), Box::new(initiator))
}

impl End for Initiator {
    fn transport_id(&self) -> TransportId {
        iscsi::transport_id()
    }

    fn send(&mut self, commands: u64, arrived: &mut VecDeque<Buf>) {
        for _ in 0..commands {
            let len = HEADER_BYTES + BHS_BYTES + self.commands.segment_bytes() as usize;
            let Some(mut message) = self.receive.take(len) else {
                return;
            };
            // Writing data is the NIC's work, not the path's.
            let (header, rest) = message.split_at_mut(HEADER_BYTES);
            header.copy_from_slice(&self.header);
            rest[..BHS_BYTES].copy_from_slice(&self.commands.next());
            arrived.push_back(message);
        }
    }

    fn receive(&mut self, transmit: &Transmit<'_>, _arrived: &mut VecDeque<Buf>) -> u64 {
        let Transmit::Respond { message, .. } = transmit else {
            return 0;
        };
        let bhs = message.get(HEADER_BYTES..).and_then(<[u8]>::first_chunk);
        u64::from(bhs.is_some_and(iscsi::is_good))
    }
}
