//! One end's view of a negotiation: what has been said of each key, and what comes of it. Both ends use it.

use std::borrow::Cow;

use super::key::{Function, Key, ROWS, Relevance, Side};
use super::negotiated::{Digest, Negotiated, RdmaValues, TaskReporting};
use super::{Datamover, Identity, LoginError, LoginLimits, SessionType};
use crate::pdu::Stage;
use crate::text::{self, IRRELEVANT, NOT_UNDERSTOOD, Outgoing, Pair, REJECT, value};

/// A value for each key.
#[derive(Clone, Debug)]
struct Values([u64; ROWS.len()]);

impl Values {
    /// What holds when nobody has said anything.
    fn defaults() -> Self {
        Self(ROWS.each_ref().map(|row| row.default))
    }

    fn get(&self, key: Key) -> u64 {
        self.0.get(key as usize).copied().unwrap_or_default()
    }

    fn set(&mut self, key: Key, value: u64) {
        if let Some(slot) = self.0.get_mut(key as usize) {
            *slot = value;
        }
    }
}

/// A set of keys.
#[derive(Clone, Copy, Debug, Default)]
struct Keys(u64);

impl Keys {
    /// Adds a key; `false` if it was in.
    fn insert(&mut self, key: Key) -> bool {
        let before = self.0;
        self.0 |= 1 << key as u8;
        self.0 != before
    }

    fn contains(self, key: Key) -> bool {
        self.0 & 1 << key as u8 != 0
    }
}

/// The negotiation as one end sees it.
#[derive(Clone, Debug)]
pub(super) struct Negotiation {
    side: Side,
    pub(super) session_type: SessionType,
    datamover: Datamover,
    /// What this end offers and takes.
    ours: Values,
    /// What holds; for a declared key, what the peer said.
    agreed: Values,
    /// What this end has offered or declared.
    said: Keys,
    /// What the peer has offered, declared or answered.
    heard: Keys,
}

impl Negotiation {
    pub(super) fn new(side: Side, limits: &LoginLimits) -> Self {
        Self {
            side,
            session_type: SessionType::Normal,
            datamover: limits.datamover,
            ours: values_of(side, limits),
            agreed: Values::defaults(),
            said: Keys::default(),
            heard: Keys::default(),
        }
    }

    /// A key that the peer sends of its own accord, or as an answer to what this end said. What has to be answered is written.
    pub(super) fn hear(
        &mut self,
        pair: &Pair<'_>,
        stage: Stage,
        answers: &mut Outgoing,
    ) -> Result<(), LoginError> {
        let Some(key) = Key::named(pair.key) else {
            // An answer of this kind to an answer would go on for ever (RFC 7143 6.2).
            if !text::is_refusal(pair.value) {
                answers.pair(pair.key, NOT_UNDERSTOOD);
            }
            return Ok(());
        };
        self.note(key, pair.offset, stage)?;
        if text::is_refusal(pair.value) {
            return self.hear_refusal(key, pair);
        }
        if self.said.contains(key) && is_negotiated(key) {
            return self.hear_answer(key, pair);
        }
        if let Some(answer) = self.respond(key, pair)? {
            answers.pair(key.name(), answer);
        }
        Ok(())
    }

    /// Notes that the peer named a key, which it may once, in its place.
    pub(super) fn note(&mut self, key: Key, offset: usize, stage: Stage) -> Result<(), LoginError> {
        let sender = match self.side {
            Side::Initiator => Side::Target,
            Side::Target => Side::Initiator,
        };
        let name = key.name();
        if !key.is_in_place(sender, stage) {
            return Err(LoginError::OutOfPlace {
                key: name,
                offset,
                stage,
            });
        }
        // A target has as many addresses as it likes (RFC 7143 6.3).
        if !self.heard.insert(key) && key != Key::TargetAddress {
            return Err(LoginError::Repeated { key: name, offset });
        }
        Ok(())
    }

    /// The peer does not take what this end said: what held before goes on to hold.
    fn hear_refusal(&self, key: Key, pair: &Pair<'_>) -> Result<(), LoginError> {
        if self.said.contains(key) {
            return Ok(());
        }
        Err(LoginError::value(key.name(), pair.value, pair.offset))
    }

    /// The peer's answer to an offer: it must be what the result function can make of the offer.
    fn hear_answer(&mut self, key: Key, pair: &Pair<'_>) -> Result<(), LoginError> {
        let ours = self.ours.get(key);
        let function = &key.row().function;
        let result = read(key, pair.value).filter(|&theirs| match function {
            Function::List(_) => theirs <= ours,
            _ => result_of(function, theirs, ours) == theirs,
        });
        let wrong = || LoginError::value(key.name(), pair.value, pair.offset);
        self.agreed.set(key, result.ok_or_else(wrong)?);
        Ok(())
    }

    /// What to answer to a key of the peer's; `None` for what is only declared.
    fn respond(
        &mut self,
        key: Key,
        pair: &Pair<'_>,
    ) -> Result<Option<Cow<'static, str>>, LoginError> {
        let row = key.row();
        let ours = self.ours.get(key);
        if let Function::Obsolete(answer) = row.function {
            return Ok(Some(answer.into()));
        }
        if !is_declared(key) && !self.is_relevant(row.relevance) {
            return Ok(Some(IRRELEVANT.into()));
        }
        let wrong = || LoginError::value(row.name, pair.value, pair.offset);
        match &row.function {
            Function::DeclaredText => {
                value::label(pair.value).ok_or_else(wrong)?;
                Ok(None)
            }
            Function::DeclaredNumber(_) | Function::DeclaredBoolean => {
                let theirs = read(key, pair.value).ok_or_else(wrong)?;
                self.agreed.set(key, theirs);
                Ok(None)
            }
            Function::List(_) => {
                let mut known = value::list(pair.value).filter_map(|one| read(key, one));
                let first = known.find(|&place| place <= ours);
                Ok(Some(self.settle(key, first)))
            }
            function => {
                let theirs = read(key, pair.value);
                let result = theirs.map(|theirs| result_of(function, theirs, ours));
                Ok(Some(self.settle(key, result)))
            }
        }
    }

    /// Keeps a result and writes it; a proposal without one is rejected, and what held before goes on to hold.
    fn settle(&mut self, key: Key, result: Option<u64>) -> Cow<'static, str> {
        let Some(result) = result else {
            return REJECT.into();
        };
        self.agreed.set(key, result);
        write(&key.row().function, result)
    }

    fn is_relevant(&self, relevance: Relevance) -> bool {
        match relevance {
            Relevance::Always => true,
            Relevance::Normal => self.session_type == SessionType::Normal,
            Relevance::Rdma => self.datamover == Datamover::Iser,
        }
    }

    /// Says this end's value of a key, once; not when the peer has named it already and both ends agree on one value.
    pub(super) fn say(&mut self, key: Key, text: &mut Outgoing) {
        let is_settled = is_negotiated(key) && self.heard.contains(key);
        if is_settled || !self.is_relevant(key.row().relevance) || !self.said.insert(key) {
            return;
        }
        let function = &key.row().function;
        if is_decided(function, self.ours.get(key)) {
            self.agreed.set(key, self.ours.get(key));
        }
        match function {
            Function::List(names) => {
                let ours = usize::try_from(self.ours.get(key)).unwrap_or_default();
                let taken = names.get(..=ours).unwrap_or(names);
                let best_first: Vec<_> = taken.iter().rev().copied().collect();
                text.pair(key.name(), best_first.join(","));
            }
            _ => text.pair(key.name(), write(function, self.ours.get(key))),
        }
    }

    /// Offers what the defaults would allow and this end does not, of what the peer has not named. Whether there was any.
    pub(super) fn say_restrictions(&mut self, text: &mut Outgoing) -> bool {
        let before = self.said.0;
        for key in RESTRICTIONS {
            let row = key.row();
            if result_of(&row.function, row.default, self.ours.get(key)) != row.default {
                self.say(key, text);
            }
        }
        self.said.0 != before
    }

    /// A key that this end offered, and whose answer is missing and not optional.
    pub(super) fn unanswered(&self) -> Option<Key> {
        let is_open = |&key: &Key| {
            let is_decided = is_decided(&key.row().function, self.ours.get(key));
            let is_due = is_negotiated(key) && !is_decided;
            is_due && self.said.contains(key) && !self.heard.contains(key)
        };
        Key::ALL.iter().copied().find(is_open)
    }

    /// What the peer declared, or what was agreed; 0 or 1 for a boolean.
    fn agreed(&self, key: Key) -> u64 {
        self.agreed.get(key)
    }

    /// Whether a normal session on iSER has what it needs; on TCP nothing is needed.
    pub(super) fn is_fit_for_datamover(&self) -> bool {
        self.datamover == Datamover::Tcp
            || self.session_type == SessionType::Discovery
            || self.agreed(Key::RdmaExtensions) == 1
    }

    /// What holds from now on.
    pub(super) fn finish(&self, identity: Identity, tsih: u16) -> Negotiated {
        let number = |key| u32::try_from(self.agreed(key)).unwrap_or(u32::MAX);
        let short = |key| u16::try_from(self.agreed(key)).unwrap_or(u16::MAX);
        let yes = |key| self.agreed(key) == 1;
        let (recv, xmit) = self.segment_lengths();
        let max_burst_length = number(Key::MaxBurstLength);
        Negotiated {
            identity,
            tsih,
            max_recv_data_segment_length: recv,
            max_xmit_data_segment_length: xmit,
            header_digest: self.digest(Key::HeaderDigest),
            data_digest: self.digest(Key::DataDigest),
            initial_r2t: yes(Key::InitialR2T),
            immediate_data: yes(Key::ImmediateData),
            max_burst_length,
            // A peer that lowers MaxBurstLength alone leaves the default of the other one above it (RFC 7143 13.14).
            first_burst_length: number(Key::FirstBurstLength).min(max_burst_length),
            max_outstanding_r2t: short(Key::MaxOutstandingR2T),
            default_time2wait: short(Key::DefaultTime2Wait),
            default_time2retain: short(Key::DefaultTime2Retain),
            data_pdu_in_order: yes(Key::DataPduInOrder),
            data_sequence_in_order: yes(Key::DataSequenceInOrder),
            error_recovery_level: 0,
            protocol_level: u8::try_from(self.agreed(Key::ProtocolLevel)).unwrap_or_default(),
            task_reporting: match self.agreed(Key::TaskReporting) {
                1 => TaskReporting::ResponseFence,
                2 => TaskReporting::FastAbort,
                _ => TaskReporting::Rfc3720,
            },
            rdma: yes(Key::RdmaExtensions).then(|| RdmaValues {
                initiator_recv_data_segment_length: number(Key::InitiatorRecvDataSegmentLength),
                target_recv_data_segment_length: number(Key::TargetRecvDataSegmentLength),
                max_outstanding_unexpected_pdus: number(Key::MaxOutstandingUnexpectedPdus),
                max_ahs_length: number(Key::MaxAhsLength),
                tagged_buffer_for_solicited_data_only: yes(Key::TaggedBufferForSolicitedDataOnly),
                iser_hello_required: yes(Key::IserHelloRequired),
            }),
        }
    }

    /// The longest data segments that this end gets and sends. With RDMAExtensions=Yes two keys of their own say it, and
    /// MaxRecvDataSegmentLength is ignored (RFC 7145 6.2).
    fn segment_lengths(&self) -> (u32, u32) {
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let agreed = |key| number(self.agreed(key));
        if self.agreed(Key::RdmaExtensions) == 1 {
            let to_target = agreed(Key::TargetRecvDataSegmentLength);
            let to_initiator = agreed(Key::InitiatorRecvDataSegmentLength);
            return match self.side {
                Side::Target => (to_target, to_initiator),
                Side::Initiator => (to_initiator, to_target),
            };
        }
        let key = Key::MaxRecvDataSegmentLength;
        let declared = if self.said.contains(key) {
            self.ours.get(key)
        } else {
            key.row().default
        };
        (number(declared), agreed(key))
    }

    fn digest(&self, key: Key) -> Digest {
        match self.agreed(key) {
            1 => Digest::Crc32c,
            _ => Digest::None,
        }
    }
}

/// Keys by which one end keeps the other one from what it could not deal with.
const RESTRICTIONS: [Key; 7] = [
    Key::InitialR2T,
    Key::ImmediateData,
    Key::MaxBurstLength,
    Key::FirstBurstLength,
    Key::MaxOutstandingR2T,
    Key::DataPduInOrder,
    Key::DataSequenceInOrder,
];

/// Whether an offer settles a boolean whatever the peer wants: its answer is optional then (RFC 7143 6.2.2).
fn is_decided(function: &Function, ours: u64) -> bool {
    match function {
        Function::And => ours == 0,
        Function::Or => ours == 1,
        _ => false,
    }
}

/// Whether both ends come to one value of a key.
fn is_negotiated(key: Key) -> bool {
    use Function as F;
    matches!(
        key.row().function,
        F::And | F::Or | F::Minimum(_) | F::Maximum(_) | F::List(_)
    )
}

fn is_declared(key: Key) -> bool {
    use Function as F;
    matches!(
        key.row().function,
        F::DeclaredNumber(_) | F::DeclaredBoolean | F::DeclaredText
    )
}

/// Reads a value as its key wants it.
fn read(key: Key, text: &str) -> Option<u64> {
    match &key.row().function {
        Function::And | Function::Or | Function::DeclaredBoolean => {
            value::boolean(text).map(u64::from)
        }
        Function::List(names) => names
            .iter()
            .position(|name| *name == text)
            .map(|at| at as u64),
        _ => key.number(text),
    }
}

/// Writes a value as the function has it.
fn write(function: &Function, value: u64) -> Cow<'static, str> {
    match function {
        Function::And | Function::Or | Function::DeclaredBoolean => {
            value::from_boolean(value == 1).into()
        }
        Function::List(names) => {
            let at = usize::try_from(value).unwrap_or_default();
            names.get(at).copied().unwrap_or(REJECT).into()
        }
        _ => value.to_string().into(),
    }
}

/// What comes of two values; for a list the place in it is compared elsewhere.
fn result_of(function: &Function, theirs: u64, ours: u64) -> u64 {
    match function {
        Function::And | Function::Minimum(_) => theirs.min(ours),
        Function::Or | Function::Maximum(_) => theirs.max(ours),
        _ => theirs,
    }
}

/// This end's value of every key. Of a list it is the last place that is taken.
fn values_of(side: Side, limits: &LoginLimits) -> Values {
    let iser = limits.datamover == Datamover::Iser;
    let (recv, xmit) = (
        limits.max_recv_data_segment_length,
        limits.max_xmit_data_segment_length,
    );
    let (target_recv, initiator_recv) = match side {
        Side::Target => (recv, xmit),
        Side::Initiator => (xmit, recv),
    };
    let mut values = Values::defaults();
    for (key, value) in [
        (Key::HeaderDigest, u64::from(limits.header_digest && !iser)),
        (Key::DataDigest, u64::from(limits.data_digest && !iser)),
        (Key::MaxRecvDataSegmentLength, recv.into()),
        (Key::MaxConnections, 1),
        (Key::InitialR2T, limits.initial_r2t.into()),
        (Key::ImmediateData, limits.immediate_data.into()),
        (Key::MaxBurstLength, limits.max_burst_length.into()),
        (Key::FirstBurstLength, limits.first_burst_length.into()),
        (Key::DefaultTime2Wait, limits.default_time2wait.into()),
        (Key::DefaultTime2Retain, limits.default_time2retain.into()),
        (Key::MaxOutstandingR2T, limits.max_outstanding_r2t.into()),
        (Key::DataPduInOrder, limits.data_pdu_in_order.into()),
        (
            Key::DataSequenceInOrder,
            limits.data_sequence_in_order.into(),
        ),
        (Key::ErrorRecoveryLevel, 0),
        (Key::TaskReporting, limits.task_reporting as u64),
        (Key::ProtocolLevel, limits.protocol_level.into()),
        (Key::RdmaExtensions, iser.into()),
        (Key::TargetRecvDataSegmentLength, target_recv.into()),
        (Key::InitiatorRecvDataSegmentLength, initiator_recv.into()),
        (
            Key::MaxOutstandingUnexpectedPdus,
            limits.max_outstanding_unexpected_pdus.into(),
        ),
    ] {
        values.set(key, value);
    }
    values
}
