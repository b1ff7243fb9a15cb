//! The target's memory as its NIC sees it: only the buffers that were moved to it.

use std::collections::{BTreeMap, VecDeque};

use iobuf::{Arena, Buf, RemoteSegment};
use roce::{
    Access, Key, Memory, Node, Operation, Pd, QueuePairNumber, Region, RegionHandle, Remote,
    SendRequest, Sge,
};
use target_core::command::ExchangeId;

/// The only protection domain.
pub(super) const PD: Pd = Pd(1);

/// Buffers that the NIC may touch, by address.
#[derive(Debug)]
pub(super) struct Nic {
    base: u64,
    key: Key,
    held: BTreeMap<u64, Buf>,
}

impl Nic {
    /// Registers the whole arena once.
    pub(super) fn new(node: &mut Node, arena: &Arena) -> Self {
        let base = arena.base().as_ptr() as u64;
        let region = Region {
            pd: PD,
            handle: RegionHandle(0),
            offset: 0,
            address: base,
            length: arena.len() as u64,
            access: Access::LOCAL_WRITE,
        };
        Self {
            base,
            key: node.register(region).expect("room for a key"),
            held: BTreeMap::new(),
        }
    }

    pub(super) fn hold(&mut self, buf: Buf) -> Sge {
        let sge = Sge {
            address: buf.address(),
            length: buf.len() as u32,
            key: self.key,
        };
        let before = self.held.insert(sge.address, buf);
        assert!(before.is_none(), "a buffer is with the NIC twice");
        sge
    }

    pub(super) fn take(&mut self, address: u64) -> Buf {
        let buf = self.held.remove(&address);
        buf.expect("a buffer that is with the NIC")
    }

    fn place(&self, offset: u64) -> (u64, usize) {
        let at = self.base + offset;
        let found = self.held.range(..=at).next_back();
        let (&address, _) = found.expect("the NIC touches a buffer that it does not own");
        (address, (at - address) as usize)
    }
}

impl Memory for Nic {
    fn bytes(&self, _: RegionHandle, offset: u64, length: u32) -> Option<&[u8]> {
        let (address, start) = self.place(offset);
        let bytes = self.held[&address].get(start..start + length as usize);
        Some(bytes.expect("the NIC reads a buffer that it does not own"))
    }

    fn bytes_mut(&mut self, _: RegionHandle, offset: u64, length: u32) -> Option<&mut [u8]> {
        let (address, start) = self.place(offset);
        let bytes = self.held.get_mut(&address)?;
        let bytes = bytes.get_mut(start..start + length as usize);
        Some(bytes.expect("the NIC writes a buffer that it does not own"))
    }
}

/// What a queue pair gives back when its last work request has completed.
#[derive(Debug)]
enum Held {
    Respond { data: Option<u64>, message: u64 },
    Pull { exchange: ExchangeId, buf: u64 },
}

/// What came back.
#[derive(Debug)]
pub(super) enum Returned {
    Message,
    Pulled(ExchangeId, Buf),
}

/// The sends of one queue pair, in order.
#[derive(Debug)]
pub(super) struct SendQueue {
    qp: QueuePairNumber,
    posted: u64,
    in_flight: VecDeque<(u64, Held)>,
}

impl SendQueue {
    /// Work requests at a time: more than any request limit and table of segments of a scenario needs.
    pub(super) const DEPTH: usize = 1024;

    pub(super) fn new(qp: QueuePairNumber) -> Self {
        Self {
            qp,
            posted: 0,
            in_flight: VecDeque::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// RDMA WRITEs, and the message behind them.
    pub(super) fn respond(
        &mut self,
        node: &mut Node,
        nic: &mut Nic,
        data: Option<Buf>,
        segments: &[RemoteSegment],
        message: Buf,
        invalidate: Option<u32>,
    ) {
        let data = data.map(|data| nic.hold(data));
        if let Some(data) = data {
            self.cut(node, data, segments, Operation::Write, false);
        }
        let message = nic.hold(message);
        let send = invalidate.map_or(Operation::Send, |key| {
            Operation::SendWithInvalidate(Key(key))
        });
        self.post(node, send, message, true);
        let held = Held::Respond {
            data: data.map(|sge| sge.address),
            message: message.address,
        };
        self.in_flight.push_back((self.posted, held));
    }

    /// RDMA READs.
    pub(super) fn pull(
        &mut self,
        node: &mut Node,
        nic: &mut Nic,
        exchange: ExchangeId,
        buf: Buf,
        segments: &[RemoteSegment],
    ) {
        let into = nic.hold(buf);
        self.cut(node, into, segments, Operation::Read, true);
        let buf = into.address;
        self.in_flight
            .push_back((self.posted, Held::Pull { exchange, buf }));
    }

    /// One work request for each segment, as far as there are bytes.
    fn cut(
        &mut self,
        node: &mut Node,
        mut local: Sge,
        segments: &[RemoteSegment],
        operation: impl Fn(Remote) -> Operation,
        is_read: bool,
    ) {
        for segment in segments {
            let length = segment.length.min(local.length);
            let remote = Remote {
                address: segment.address,
                key: Key(segment.key),
            };
            let piece = Sge { length, ..local };
            local.address += u64::from(length);
            local.length -= length;
            let is_last = local.length == 0;
            self.post(node, operation(remote), piece, is_read && is_last);
            if is_last {
                return;
            }
        }
        panic!("{} bytes have no segment", local.length);
    }

    fn post(&mut self, node: &mut Node, operation: Operation, sge: Sge, signaled: bool) {
        self.posted += 1;
        let request = SendRequest {
            wr_id: self.posted,
            operation,
            sges: &[sge],
            signaled,
            fence: false,
            solicited: false,
        };
        let posted = node.post_send(self.qp, &request);
        posted.unwrap_or_else(|error| panic!("a send is not taken: {error}"));
    }

    /// Everything up to this work request has completed, well or not.
    pub(super) fn complete(&mut self, wr_id: u64, nic: &mut Nic) -> Vec<Returned> {
        let mut returned = Vec::new();
        while self
            .in_flight
            .front()
            .is_some_and(|(last, _)| *last <= wr_id)
        {
            returned.extend(self.in_flight.pop_front().map(|(_, held)| match held {
                Held::Respond { data, message } => {
                    drop(data.map(|data| nic.take(data)));
                    drop(nic.take(message));
                    Returned::Message
                }
                Held::Pull { exchange, buf } => Returned::Pulled(exchange, nic.take(buf)),
            }));
        }
        returned
    }
}
