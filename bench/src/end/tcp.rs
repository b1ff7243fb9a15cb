//! iSCSI over TCP: PDUs one behind the other, in chunks as a socket gives them.

use std::collections::VecDeque;
use std::sync::Arc;

use iobuf::{Buf, Pool};
use target_core::command::ChannelId;
use target_core::port::{Part, Transmit};
use target_core::target::TransportId;
use transport_iser::connection::Connection;
use transport_iser::login::Datamover;
use transport_iser::pdu::{BHS_BYTES, Bhs, DataOut, Lengths, Opcode, R2t};

use super::iscsi::{self, Commands};
use super::{DebugChannel, End, Room};
use crate::job::Kind;

/// Bytes of a data segment that the two agree on.
const SEGMENT_BYTES: u32 = 256 << 10;
/// Bytes that come at a time, when there are so many.
const CHUNK_BYTES: usize = 32 << 10;

#[derive(Debug)]
struct Initiator {
    receive: Pool,
    commands: Commands,
}

pub(super) fn ends(room: &Room, kind: Kind) -> (Box<dyn DebugChannel>, Box<dyn End>) {
    let connection = Connection::tcp(
        ChannelId(0),
        Arc::new(iscsi::settings(Datamover::Tcp)),
        room.messages(),
        room.data.clone(),
        0,
    );
    let negotiated = iscsi::negotiated(kind, SEGMENT_BYTES);
    let initiator = Initiator {
        receive: room.slots(CHUNK_BYTES),
        commands: Commands::new(kind),
    };
    let connection = connection.established(&negotiated, iscsi::FIRST);
    (Box::new(connection), Box::new(initiator))
}

impl Initiator {
    /// Appends a PDU to the stream.
    fn push(&self, bhs: &Bhs, data_bytes: usize, arrived: &mut VecDeque<Buf>) {
        let mut stream = Stream {
            receive: &self.receive,
            arrived,
        };
        stream.push(Some(bhs), BHS_BYTES);
        // Writing data is the socket's work, not the path's.
        stream.push(None, data_bytes);
    }
}

/// Chunks that are being filled.
struct Stream<'a> {
    receive: &'a Pool,
    arrived: &'a mut VecDeque<Buf>,
}

impl Stream<'_> {
    fn push(&mut self, bytes: Option<&Bhs>, len: usize) {
        let mut done = 0;
        while done < len {
            let Some((chunk, begin)) = self.room() else {
                return;
            };
            let count = (CHUNK_BYTES - begin).min(len - done);
            let fits = chunk.set_window(0, begin + count);
            debug_assert!(fits, "a chunk is not longer than its slot");
            if let Some(bytes) = bytes {
                chunk[begin..].copy_from_slice(&bytes[done..done + count]);
            }
            done += count;
        }
    }

    /// A chunk with room, and how full it is.
    fn room(&mut self) -> Option<(&mut Buf, usize)> {
        let is_full = |chunk: &Buf| chunk.len() == CHUNK_BYTES;
        if self.arrived.back().is_none_or(is_full) {
            let mut chunk = self.receive.take(CHUNK_BYTES)?;
            chunk.truncate(0);
            self.arrived.push_back(chunk);
        }
        let chunk = self.arrived.back_mut()?;
        let len = chunk.len();
        Some((chunk, len))
    }
}

impl End for Initiator {
    fn transport_id(&self) -> TransportId {
        iscsi::transport_id()
    }

    fn send(&mut self, commands: u64, arrived: &mut VecDeque<Buf>) {
        let data_bytes = self.commands.segment_bytes() as usize;
        for _ in 0..commands {
            let bhs = self.commands.next();
            self.push(&bhs, data_bytes, arrived);
        }
    }

    fn receive(&mut self, transmit: &Transmit<'_>, arrived: &mut VecDeque<Buf>) -> u64 {
        let Transmit::Stream {
            message, pieces, ..
        } = transmit
        else {
            return 0;
        };
        let mut good = 0;
        // Bytes of a data segment that are still to come.
        let mut data = 0;
        for piece in *pieces {
            let (start, len) = (piece.start as usize, piece.len as usize);
            if piece.of == Part::Data {
                data -= len;
                continue;
            }
            let mut bytes = message.get(start..start + len).unwrap_or(&[]);
            loop {
                let (_, rest) = bytes.split_at(data.min(bytes.len()));
                data -= bytes.len() - rest.len();
                let Some((bhs, rest)) = rest.split_first_chunk::<BHS_BYTES>() else {
                    break;
                };
                bytes = rest;
                data = segment_bytes(bhs);
                good += u64::from(iscsi::is_good(bhs));
                if let Some((bhs, data_bytes)) = answer(bhs) {
                    self.push(&bhs, data_bytes, arrived);
                }
            }
        }
        good
    }
}

/// Bytes of the data segment with its padding.
fn segment_bytes(bhs: &Bhs) -> usize {
    let lengths = Lengths::parse(bhs, 0, SEGMENT_BYTES);
    lengths.map_or(0, |lengths| (lengths.data as usize).next_multiple_of(4))
}

/// What is sent when the target asks for data.
fn answer(bhs: &Bhs) -> Option<(Bhs, usize)> {
    if Opcode::of(bhs) != Opcode::R2T {
        return None;
    }
    let r2t = R2t::parse(bhs).ok()?;
    let data_out = DataOut {
        is_final: true,
        lun: r2t.lun,
        initiator_task_tag: r2t.initiator_task_tag,
        target_transfer_tag: r2t.target_transfer_tag,
        buffer_offset: r2t.buffer_offset,
        ..DataOut::default()
    };
    let len = r2t.desired_data_transfer_length;
    Some((data_out.encode(len), len as usize))
}
