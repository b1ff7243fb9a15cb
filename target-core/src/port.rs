//! What a transport is to the rest: a state machine that the daemon's port driver feeds and empties.

use iobuf::{Buf, RemoteSegment};

use crate::backend::TaskId;
use crate::command::{Command, ExchangeId, Outcome, TaskManagement, TaskManagementResponse};

/// A connection's protocol machine. Everything is an event in (`handle_*`) or a question (`poll_*`); nothing
/// blocks, and time comes as an argument in milliseconds of a clock that only goes forward.
///
/// The driver polls `poll_event` until `None` after each `handle_*`, and `poll_transmit` until `None` at the
/// end of its turn, so that everything for one queue pair leaves with one doorbell.
pub trait Channel {
    /// A received message, cut to the bytes that came; of a byte stream, a chunk of whatever size. The buffer goes back
    /// to its pool as soon as it was read, or becomes a command's immediate data.
    fn handle_recv(&mut self, message: Buf, now_ms: u64);

    /// Whether the channel can take what comes next. False while the channel of a byte stream has no buffer for it: the
    /// driver then stops receiving for it, and asks again when buffers have come back, on whatever channel. What
    /// was received before it stopped is still handed over.
    fn wants_input(&self) -> bool {
        true
    }

    /// A [`Transmit::Pull`] has finished: `buf` now holds what the peer's memory held.
    fn handle_pulled(&mut self, exchange: ExchangeId, buf: Buf);

    /// The core wants `buf` filled from the Data-Out Buffer of this command, from byte `offset` of it on.
    /// Answered by [`ChannelEvent::DataOut`] with the same `task`; a command has one such request at a time.
    fn pull_data_out(&mut self, exchange: ExchangeId, task: TaskId, offset: u32, buf: Buf);

    /// The core does not want the Data-Out Buffer of this command any more, but still waits for the answer to
    /// [`Channel::pull_data_out`]. A channel that waits for its peer answers at once, by [`ChannelEvent::DataOutLost`];
    /// what a NIC is reading is answered when it has been read.
    fn stop_data_out(&mut self, _exchange: ExchangeId) {}

    /// A command has finished; the exchange ends when its response is on its way.
    fn handle_outcome(&mut self, exchange: ExchangeId, outcome: Outcome);

    /// A command was aborted by task management: no response is sent, and the exchange ends.
    fn handle_aborted(&mut self, exchange: ExchangeId);

    /// A task management request has finished.
    fn handle_task_management(&mut self, exchange: ExchangeId, response: TaskManagementResponse);

    /// `poll_timeout`'s time has come.
    fn handle_timeout(&mut self, now_ms: u64);

    /// The daemon wants the channel to end: say goodbye to the peer if the protocol has a word for it.
    fn handle_shutdown(&mut self);

    /// The next event for the driver.
    fn poll_event(&mut self) -> Option<ChannelEvent>;

    /// The next thing to post on the queue pair or to send on the stream, in order.
    fn poll_transmit(&mut self) -> Option<Transmit<'_>>;

    /// Whether something waits to be posted. True after `poll_transmit` gave `None` when there was no buffer for
    /// a message: the driver asks again when a SEND has given one back, on whatever channel.
    fn has_transmit(&self) -> bool {
        false
    }

    /// When to call `handle_timeout`.
    fn poll_timeout(&self) -> Option<u64>;
}

/// What a channel wants from its driver.
#[derive(Debug)]
pub enum ChannelEvent {
    /// A command for the core.
    Command(Command),
    /// A task management request for the core.
    TaskManagement(TaskManagement),
    /// The Data-Out Buffer's bytes that [`Channel::pull_data_out`] asked for.
    DataOut {
        /// Whose.
        task: TaskId,
        /// The filled buffer.
        buf: Buf,
    },
    /// The bytes that [`Channel::pull_data_out`] asked for never come whole: some were damaged or out of sequence on their
    /// way, and the transport goes on without them.
    DataOutLost {
        /// Whose.
        task: TaskId,
    },
    /// The channel has something that only its own transport can name, such as a question at login: the driver asks
    /// the concrete type.
    Transport,
    /// The channel is over: the peer logged out, fell silent, or broke the protocol (the text says how). The driver posts
    /// what `poll_transmit` still has, then disconnects.
    Close(CloseReason),
}

/// Why a channel ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer said goodbye.
    PeerLogout,
    /// The daemon asked for it.
    Shutdown,
    /// The peer broke the protocol: field, offset and what came.
    Protocol(String),
    /// The peer's login was refused, and it has been told why.
    LoginRefused(String),
    /// The peer was silent for too long: what it owed, and for how long. It may be dead, and broke no rule.
    Silent(String),
}

/// Something to post. Buffers move in; the driver keeps them until the NIC has given them back.
#[derive(Debug)]
pub enum Transmit<'a> {
    /// RDMA WRITE `data` to the segments in order (the last may be longer than what is left), then SEND `message`.
    Respond {
        /// What goes to the peer's memory first.
        data: Option<Buf>,
        /// Where to; covers at least `data`.
        segments: &'a [RemoteSegment],
        /// The message.
        message: Buf,
        /// The peer's memory handle that the SEND invalidates (SEND with invalidate); a plain SEND without one.
        invalidate: Option<u32>,
    },
    /// Bytes for a byte stream: the pieces in order. Both buffers are the driver's until the last byte has been sent.
    /// One of these may hold many PDUs, whose headers lie in `message` and whose data segments lie in `data`.
    Stream {
        /// What the pieces of [`Part::Message`] are cut from.
        message: Buf,
        /// What the pieces of [`Part::Data`] are cut from.
        data: Option<Buf>,
        /// What to send; inside the windows of the buffers.
        pieces: &'a [Piece],
    },
    /// RDMA READ the segments in order into `buf`, which they cover exactly. Answer by
    /// [`Channel::handle_pulled`].
    Pull {
        /// Whose.
        exchange: ExchangeId,
        /// Where to.
        buf: Buf,
        /// Where from.
        segments: &'a [RemoteSegment],
    },
}

/// Bytes of one buffer of a [`Transmit::Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which buffer.
    pub of: Part,
    /// First byte, counted from the start of the buffer's window.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// A buffer of a [`Transmit::Stream`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Headers, digests and padding, and whole short PDUs.
    Message,
    /// A Data-In Buffer.
    Data,
}
