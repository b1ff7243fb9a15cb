//! RoCEv2 in user space as a pure state machine: packets, RC queue pairs, memory keys, connection management.
//!
//! No I/O, no clock, no threads, no `unsafe`. A [`Node`] takes datagrams (`handle_datagram`), time
//! (`handle_timeout`) and work requests in, and gives packets (`poll_transmit`), completions and events out. Time is
//! microseconds of any clock that only goes forward. Memory is the caller's, behind the trait [`Memory`];
//! payloads are copied once, from the datagram to where they belong, and leave as references for a scatter/gather
//! send.
//!
//! # Facts learnt from Linux 7.2 `rdma_rxe`, `ib_cm` and `rdma_cm`
//!
//! - **Addresses.** The GID of a RoCEv2 port is its IP address, IPv4 mapped into IPv6. rxe drops a packet for a
//!   queue pair when either address is not that of its path, so both sides must send from the address that the
//!   connection was made with. Interfaces have MTU 1500 as a rule, so the path MTU is 1024; 4096 needs 4200.
//! - **Ports.** Packets go to UDP port 4791 whatever port they came from. The source port is free: rxe derives it
//!   from the queue pair for the sake of path entropy, cards from the flow label. It is part of the ICRC.
//! - **UDP checksum.** rxe sends none (0), on IPv6 too: a socket needs `UDP_NO_CHECK6_RX` there, or sees nothing.
//!   The ICRC masks it, so either way is right for sending.
//! - **IPv4 identification** is part of the ICRC and invisible to sockets; see [`packet::icrc`].
//! - **MigReq.** rxe sends 0 and ignores it; cards send 1 (migrated). This crate sends 1 and ignores it.
//! - **Pad.** Payloads are padded to four bytes with zeros; the pad is part of the ICRC and not of the length.
//! - **P_Key** 0xffff, and the membership bit is ignored. **Credits**: rxe sends 31 ("not counted"), as here.
//! - **AckReq.** rxe acknowledges only packets that ask for it, and duplicates always. It asks at the end of every
//!   message. Here an acknowledge is asked for at the end of a signaled or last request, and every so many
//!   packets.
//! - **Repeated RDMA READ.** rxe answers the rest of a READ with MIDDLE and LAST, not with FIRST, and as a requester
//!   takes an answer that begins with FIRST for an error unless it begins at the first packet. This crate does
//!   the former, and takes either.
//! - **READ depth.** rxe recycles its responder resources instead of refusing one READ too many; so does this crate.
//! - **Starting PSN.** A REQ or REP says where its *receiver* begins to send: each side chooses what it will expect.
//! - **Segmented sends.** Linux counts the IPv4 identification up from that of the first segment, so segment i of one
//!   `UDP_SEGMENT` send needs [`Transmit::icrc_for`]`(i)` (seen on veth with an unconnected socket and `IP_PMTUDISC_DO`).
//! - **CM timers.** Linux repeats a REQ after 4.3 s and up to 15 times, drops a repeated REQ while its consumer
//!   decides, and lets a REP be repeated by its sender only. The local acknowledge timeout that it announces is
//!   537 ms (exponent 17); rxe does not wind that timer up when an acknowledge comes, so a short one only makes it
//!   repeat what has long arrived. Its RNR NAKs ask for 655 ms (code 0) unless the
//!   consumer sets another wait.
#![forbid(unsafe_code)]

pub mod cm;
pub mod memory;
mod node;
pub mod packet;
mod psn;
pub mod qp;
mod statistics;
mod work;

pub use memory::{Access, Key, Memory, Pd, Region, RegionHandle};
pub use node::{Datagram, Node, NodeConfig, SharedReceiveQueueId, Transmit};
pub use psn::Psn;
pub use statistics::Statistics;
pub use work::{
    Completion, CompletionKind, MAX_MESSAGE_LEN, MAX_SGE, Operation, PostError, QueuePairNumber,
    RecvRequest, Remote, Segment, SendRequest, Sge, Status,
};

/// One step of splitmix64: turns a secret into numbers that a stranger cannot guess cheaply. Not cryptography.
const fn scramble(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}
