//! Text Requests in the full feature phase (RFC 7143 11.10, 11.11, appendix C): SendTargets, and the few keys that may still
//! change. What is wrong with one request is said by a Reject, and the session goes on (RFC 7143 7.11).

use std::net::SocketAddr;

use super::key::{Key, Side};
use super::{Negotiated, SessionType};
use crate::pdu::{RESERVED_TAG, RejectReason, Stage, TextRequest, TextResponse};
use crate::text::{self, Assembly, NOT_UNDERSTOOD, Outgoing, Pair, REJECT, value};

/// A target as SendTargets tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRecord {
    /// Its iSCSI name.
    pub name: String,
    /// Where this initiator can reach it by its transport.
    pub addresses: Vec<SocketAddr>,
    /// TargetPortalGroupTag of these addresses.
    pub portal_group_tag: u16,
}

/// The answer to a Text Request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextAnswer {
    /// Send this with this data segment. StatSN, ExpCmdSN and MaxCmdSN are the connection's to fill in.
    Respond(TextResponse, Vec<u8>),
    /// Reject the request. What there was of its exchange is forgotten.
    Reject(RejectReason),
}

/// The text negotiation of one connection; one exchange at a time (RFC 7143 11.10.4).
#[derive(Debug)]
pub struct TextPhase {
    session_type: SessionType,
    target_name: Option<String>,
    is_rdma: bool,
    max_xmit: u32,
    last_tag: u32,
    exchange: Option<Exchange>,
}

/// A request that has not been answered with F.
#[derive(Debug)]
struct Exchange {
    initiator_task_tag: u32,
    target_transfer_tag: u32,
    assembly: Assembly,
    outgoing: Outgoing,
}

impl TextPhase {
    /// Begins where a login ended.
    pub fn new(negotiated: &Negotiated) -> Self {
        Self {
            session_type: negotiated.identity.session_type,
            target_name: negotiated.identity.target_name.clone(),
            is_rdma: negotiated.rdma.is_some(),
            max_xmit: negotiated.max_xmit_data_segment_length,
            last_tag: 0,
            exchange: None,
        }
    }

    /// The longest data segment in bytes that the initiator takes, as it has last declared it.
    pub fn max_xmit_data_segment_length(&self) -> u32 {
        self.max_xmit
    }

    /// One Text Request and its data segment. `targets` is what SendTargets may tell this initiator.
    pub fn handle_request(
        &mut self,
        request: &TextRequest,
        data: &[u8],
        targets: &[TargetRecord],
    ) -> TextAnswer {
        match self.take_request(request, data, targets) {
            Ok((response, segment)) => TextAnswer::Respond(response, segment),
            Err(reason) => {
                self.exchange = None;
                TextAnswer::Reject(reason)
            }
        }
    }

    fn take_request(
        &mut self,
        request: &TextRequest,
        data: &[u8],
        targets: &[TargetRecord],
    ) -> Result<(TextResponse, Vec<u8>), RejectReason> {
        if request.continues && request.is_final {
            return Err(RejectReason::INVALID_PDU_FIELD);
        }
        let mut exchange = self.take_exchange(request)?;
        if !exchange.outgoing.is_empty() {
            if request.continues || !data.is_empty() {
                return Err(RejectReason::PROTOCOL_ERROR);
            }
            return Ok(self.answer(request, exchange));
        }
        let pushed = exchange.assembly.push(data);
        pushed.map_err(|_| RejectReason::PROTOCOL_ERROR)?;
        if !request.continues {
            let sequence = exchange.assembly.take();
            self.take_sequence(&sequence, targets, &mut exchange.outgoing)?;
        }
        Ok(self.answer(request, exchange))
    }

    /// The exchange that a request belongs to. One that begins anew ends the one before it.
    fn take_exchange(&mut self, request: &TextRequest) -> Result<Exchange, RejectReason> {
        let former = self.exchange.take();
        if request.target_transfer_tag == RESERVED_TAG {
            self.last_tag = (self.last_tag + 1) % RESERVED_TAG;
            return Ok(Exchange {
                initiator_task_tag: request.initiator_task_tag,
                target_transfer_tag: self.last_tag,
                assembly: Assembly::default(),
                outgoing: Outgoing::default(),
            });
        }
        let is_its = |exchange: &Exchange| {
            exchange.target_transfer_tag == request.target_transfer_tag
                && exchange.initiator_task_tag == request.initiator_task_tag
        };
        former.filter(is_its).ok_or(RejectReason::PROTOCOL_ERROR)
    }

    fn take_sequence(
        &mut self,
        sequence: &[u8],
        targets: &[TargetRecord],
        answers: &mut Outgoing,
    ) -> Result<(), RejectReason> {
        let pairs = text::parse(sequence).map_err(|_| RejectReason::PROTOCOL_ERROR)?;
        let mut asked = pairs
            .iter()
            .filter(|pair| pair.key == Key::SendTargets.name());
        // Appendix C of RFC 7143 has one; many would make a long answer of a short question.
        if asked.nth(1).is_some() {
            return Err(RejectReason::PROTOCOL_ERROR);
        }
        for pair in &pairs {
            self.take_pair(pair, targets, answers);
        }
        Ok(())
    }

    fn take_pair(&mut self, pair: &Pair<'_>, targets: &[TargetRecord], answers: &mut Outgoing) {
        let Some(key) = Key::named(pair.key) else {
            if !text::is_refusal(pair.value) {
                answers.pair(pair.key, NOT_UNDERSTOOD);
            }
            return;
        };
        let is_taken = match key {
            Key::SendTargets => self.send_targets(pair.value, targets, answers),
            Key::MaxRecvDataSegmentLength => self.redeclare(key, pair.value),
            _ => key.is_in_place(Side::Initiator, Stage::FULL_FEATURE_PHASE),
        };
        if !is_taken {
            answers.pair(key.name(), REJECT);
        }
    }

    /// MaxRecvDataSegmentLength may be declared again at any time; it holds from here on. With RDMAExtensions=Yes it says
    /// nothing (RFC 7145 6.2).
    fn redeclare(&mut self, key: Key, value: &str) -> bool {
        match key
            .number(value)
            .and_then(|number| u32::try_from(number).ok())
        {
            Some(_) if self.is_rdma => true,
            Some(number) => {
                self.max_xmit = number;
                true
            }
            None => false,
        }
    }

    /// `All` in a discovery session, nothing in a normal one, or a name in both, of which a normal one knows its own only. A
    /// name that nobody has is answered by nothing.
    fn send_targets(&self, value: &str, targets: &[TargetRecord], answers: &mut Outgoing) -> bool {
        let is_discovery = self.session_type == SessionType::Discovery;
        let named = match value {
            "All" if is_discovery => None,
            "" if !is_discovery => self.target_name.clone(),
            "All" | "" => return false,
            name => match value::name(name) {
                Some(name) if is_discovery || Some(&name) == self.target_name.as_ref() => {
                    Some(name)
                }
                Some(_) => return true,
                None => return false,
            },
        };
        for target in targets {
            if named.as_ref().is_none_or(|name| *name == target.name) {
                write_record(target, answers);
            }
        }
        true
    }

    /// The next piece of the answer. F only answers F, and ends the exchange.
    fn answer(&mut self, request: &TextRequest, mut exchange: Exchange) -> (TextResponse, Vec<u8>) {
        let max = usize::try_from(self.max_xmit).unwrap_or(usize::MAX);
        let segment = exchange.outgoing.take_segment(max);
        let continues = !exchange.outgoing.is_empty();
        let is_final = request.is_final && !continues;
        let response = TextResponse {
            is_final,
            continues,
            initiator_task_tag: request.initiator_task_tag,
            target_transfer_tag: if is_final {
                RESERVED_TAG
            } else {
                exchange.target_transfer_tag
            },
            ..TextResponse::default()
        };
        self.exchange = (!is_final).then_some(exchange);
        (response, segment)
    }
}

/// TargetName and its addresses, as `address:port,tag` (RFC 7143 13.8).
fn write_record(target: &TargetRecord, text: &mut Outgoing) {
    text.pair(Key::TargetName.name(), &target.name);
    for address in &target.addresses {
        let tag = target.portal_group_tag;
        text.pair(Key::TargetAddress.name(), format_args!("{address},{tag}"));
    }
}

#[cfg(test)]
mod tests;
