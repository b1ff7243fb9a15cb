//! An initiator's memory: messages, and a slot with keys of its own for each command.

use iobuf::RemoteSegment;
use roce::{Access, Key, Node, Pd, Region, RegionHandle, Sge};
use transport_srp::wire::desc::direct_to_bytes;

use crate::sim::random::Random;
use crate::sim::scenario::Scenario;

pub(super) const PD: Pd = Pd(2);

/// Bytes of a message slot: the longest SRP_CMD, the longest message of iSER, or a target's message.
const MESSAGE_BYTES: usize = 8320;
const MESSAGES: usize = 160;
const COMMANDS: usize = 48;
const MOST_PIECES: u64 = 12;
/// Behind the data of a command: its descriptor table.
const TABLE_AT: usize = Scenario::MAX_TRANSFER;
const COMMAND_BYTES: usize = TABLE_AT + 16 * MOST_PIECES as usize;

/// How the target is told of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Direct,
    /// The whole table is in the message.
    Indirect,
    /// A part of the table has to be fetched.
    External,
    Immediate,
}

/// A command's memory while the target may use it.
#[derive(Debug)]
pub(super) struct Slot {
    place: usize,
    keys: Vec<Key>,
    /// In the order of the buffer.
    pub(super) pieces: Vec<RemoteSegment>,
    pub(super) table: RemoteSegment,
}

pub(super) struct Memory {
    /// Messages, then one region for each command.
    pub(super) regions: Vec<Vec<u8>>,
    key: Key,
    free_messages: Vec<usize>,
    free_commands: Vec<usize>,
}

impl Memory {
    pub(super) fn new(node: &mut Node) -> Self {
        let len = MESSAGES * MESSAGE_BYTES;
        let key = register(node, 0, 0, len, Access::LOCAL_WRITE);
        Self {
            regions: vec![vec![0; len]],
            key,
            free_messages: (0..MESSAGES).rev().collect(),
            free_commands: (0..COMMANDS).rev().collect(),
        }
    }

    pub(super) fn take_message(&mut self) -> Option<usize> {
        self.free_messages.pop()
    }

    pub(super) fn free_message(&mut self, place: usize) {
        self.free_messages.push(place);
    }

    pub(super) fn message(&mut self, place: usize) -> &mut [u8] {
        let at = place * MESSAGE_BYTES;
        &mut self.regions[0][at..at + MESSAGE_BYTES]
    }

    pub(super) fn message_sge(&self, place: usize, len: usize) -> Sge {
        Sge {
            address: address_of(0) + (place * MESSAGE_BYTES) as u64,
            length: len as u32,
            key: self.key,
        }
    }

    /// Whole slots of a message, for receives.
    pub(super) fn receive_sge(&self, place: usize) -> Sge {
        self.message_sge(place, MESSAGE_BYTES)
    }

    pub(super) fn has_command(&self) -> bool {
        !self.free_commands.is_empty()
    }

    /// Memory for `len` bytes in pieces as the shape wants them, registered for the peer.
    pub(super) fn take_command(
        &mut self,
        node: &mut Node,
        random: &mut Random,
        shape: Shape,
        len: usize,
        access: Access,
    ) -> Slot {
        let place = self.free_commands.pop().expect("room for a command");
        let region = place + 1;
        if self.regions.len() <= region {
            self.regions.resize_with(region + 1, Vec::new);
        }
        self.regions[region] = vec![0xa5; COMMAND_BYTES];
        let key = register(node, region, 0, len, access);
        let mut pieces = vec![(0, len)];
        if matches!(shape, Shape::Indirect | Shape::External) {
            pieces = cut(random, len);
        }
        let pieces: Vec<_> = pieces
            .into_iter()
            .map(|(at, length)| RemoteSegment {
                address: address_of(region) + at as u64,
                key: key.0,
                length: length as u32,
            })
            .collect();
        let table: Vec<u8> = pieces.iter().copied().flat_map(direct_to_bytes).collect();
        self.regions[region][TABLE_AT..TABLE_AT + table.len()].copy_from_slice(&table);
        let table_key = register(node, region, TABLE_AT, table.len(), Access::REMOTE_READ);
        Slot {
            place,
            keys: vec![key, table_key],
            pieces,
            table: RemoteSegment {
                address: address_of(region) + TABLE_AT as u64,
                key: table_key.0,
                length: table.len() as u32,
            },
        }
    }

    /// The target may not touch this memory any more.
    pub(super) fn free_command(&mut self, node: &mut Node, slot: Slot) {
        for key in slot.keys {
            assert!(node.deregister(key), "a key is known until here");
        }
        self.free_commands.push(slot.place);
    }

    /// The bytes of a buffer, in its order.
    pub(super) fn read(&self, slot: &Slot) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (start, len) in self.ranges(slot) {
            bytes.extend_from_slice(&self.regions[slot.place + 1][start..start + len]);
        }
        bytes
    }

    pub(super) fn write(&mut self, slot: &Slot, mut bytes: &[u8]) {
        for (start, len) in self.ranges(slot) {
            let (now, later) = bytes.split_at(len);
            self.regions[slot.place + 1][start..start + len].copy_from_slice(now);
            bytes = later;
        }
    }

    /// Data that came for a part of a buffer in one piece.
    pub(super) fn write_at(&mut self, slot: &Slot, offset: usize, bytes: &[u8]) {
        self.regions[slot.place + 1][offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn ranges(&self, slot: &Slot) -> Vec<(usize, usize)> {
        let base = address_of(slot.place + 1);
        let range = |s: &RemoteSegment| ((s.address - base) as usize, s.length as usize);
        slot.pieces.iter().map(range).collect()
    }
}

/// Pieces of any length in any order.
fn cut(random: &mut Random, len: usize) -> Vec<(usize, usize)> {
    let most = random.within(1, MOST_PIECES).min(len as u64);
    let mut cuts: Vec<usize> = (1..most)
        .map(|_| random.within(1, len as u64 - 1) as usize)
        .collect();
    cuts.extend([0, len]);
    cuts.sort_unstable();
    cuts.dedup();
    let mut pieces: Vec<_> = cuts.windows(2).map(|w| (w[0], w[1] - w[0])).collect();
    for place in (1..pieces.len()).rev() {
        pieces.swap(place, random.below(place as u64 + 1) as usize);
    }
    pieces
}

fn address_of(region: usize) -> u64 {
    0x4000_0000 + ((region as u64) << 24)
}

fn register(node: &mut Node, region: usize, at: usize, length: usize, access: Access) -> Key {
    let region = Region {
        pd: PD,
        handle: RegionHandle(region as u32),
        offset: at as u64,
        address: address_of(region) + at as u64,
        length: length as u64,
        access,
    };
    node.register(region).expect("room for a key")
}
