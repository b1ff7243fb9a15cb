//! The keys: one row for each, as clause 13 of RFC 7143, clause 6 of RFC 7145 and clause 3 of RFC 7144 describe it.
//!
//! Every value that is negotiated is a number here: a boolean is 0 or 1, a value of a list is its place in the row's list.

use std::ops::RangeInclusive;

use crate::pdu::Stage;
use crate::text::value;

/// An end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that logs in.
    Initiator,
    /// The one that is logged in to.
    Target,
}

/// When a key may come: "Use" in the standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Only in the security stage.
    Security,
    /// IO: in the login of any connection; such a key says who is there, and comes in any stage.
    InitializeAny,
    /// IO: in the operational stage of any connection.
    Initialize,
    /// LO: in the operational stage of a session's first connection. As a session has one connection here, each one is the
    /// first, also one that is reinstated.
    Leading,
    /// LO that says what the session is: in any stage of the login.
    LeadingAny,
    /// ALL: always.
    Always,
    /// FFPO: only in the full feature phase.
    FullFeature,
}

/// Who may send a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Senders {
    Initiator,
    Target,
    Both,
}

/// Where a key has a meaning; elsewhere the answer is `Irrelevant`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relevance {
    Always,
    /// Not in a discovery session.
    Normal,
    /// On iSER.
    Rdma,
}

/// What comes of the two ends' values: the result function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Yes if both say so.
    And,
    /// Yes if one says so.
    Or,
    Minimum(RangeInclusive<u64>),
    Maximum(RangeInclusive<u64>),
    /// The first of the originator's values that the responder takes.
    List(&'static [&'static str]),
    /// Each end says its own number; there is no answer.
    DeclaredNumber(RangeInclusive<u64>),
    /// One end says Yes or No; there is no answer.
    DeclaredBoolean,
    /// A text that is said and not answered.
    DeclaredText,
    /// Has its own rules.
    Special,
    /// RFC 3720 had it; the answer is always this one (RFC 7143 13.25).
    Obsolete(&'static str),
}

/// One row.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) usage: Use,
    pub(super) senders: Senders,
    pub(super) relevance: Relevance,
    pub(super) function: Function,
    /// What holds if nobody names the key.
    pub(super) default: u64,
}

macro_rules! keys {
    ($($key:ident $name:literal $usage:ident $senders:ident $relevance:ident $function:expr, $default:literal;)*) => {
        /// A key of the standards.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Key { $($key,)* }

        impl Key {
            /// Every key.
            pub(super) const ALL: &[Key] = &[$(Key::$key,)*];
        }

        pub(super) const ROWS: [Row; Key::ALL.len()] = [$(Row {
            name: $name,
            usage: Use::$usage,
            senders: Senders::$senders,
            relevance: Relevance::$relevance,
            function: { use Function::*; $function },
            default: $default,
        },)*];
    };
}

const SEGMENT: RangeInclusive<u64> = 512..=0xff_ffff;
const SECONDS: RangeInclusive<u64> = 0..=3600;
const COUNT: RangeInclusive<u64> = 1..=65535;
/// MaxOutstandingUnexpectedPDUs and MaxAHSLength also exclude 1, which is below every use of them (RFC 7145 6.7, 6.8).
const ANY_32: RangeInclusive<u64> = 0..=0xffff_ffff;

const DIGESTS: &[&str] = &["None", "CRC32C"];
const REPORTINGS: &[&str] = &["RFC3720", "ResponseFence", "FastAbort"];

keys! {
    AuthMethod "AuthMethod" Security Both Always Special, 0;
    ChapA "CHAP_A" Security Both Always Special, 0;
    ChapI "CHAP_I" Security Both Always Special, 0;
    ChapC "CHAP_C" Security Both Always Special, 0;
    ChapN "CHAP_N" Security Both Always Special, 0;
    ChapR "CHAP_R" Security Both Always Special, 0;
    InitiatorName "InitiatorName" InitializeAny Initiator Always Special, 0;
    TargetName "TargetName" InitializeAny Initiator Always Special, 0;
    SessionType "SessionType" LeadingAny Initiator Always Special, 0;
    InitiatorAlias "InitiatorAlias" Always Initiator Always DeclaredText, 0;
    TargetAlias "TargetAlias" Always Target Always DeclaredText, 0;
    TargetAddress "TargetAddress" Always Target Always DeclaredText, 0;
    TargetPortalGroupTag "TargetPortalGroupTag" InitializeAny Target Always DeclaredNumber(0..=65535), 0;
    NodeArchitecture "X#NodeArchitecture" Always Both Always DeclaredText, 0;
    SendTargets "SendTargets" FullFeature Initiator Always Special, 0;
    HeaderDigest "HeaderDigest" Initialize Both Always List(DIGESTS), 0;
    DataDigest "DataDigest" Initialize Both Always List(DIGESTS), 0;
    MaxRecvDataSegmentLength "MaxRecvDataSegmentLength" Always Both Always DeclaredNumber(SEGMENT), 8192;
    MaxConnections "MaxConnections" Leading Both Normal Minimum(COUNT), 1;
    InitialR2T "InitialR2T" Leading Both Normal Or, 1;
    ImmediateData "ImmediateData" Leading Both Normal And, 1;
    MaxBurstLength "MaxBurstLength" Leading Both Normal Minimum(SEGMENT), 262144;
    FirstBurstLength "FirstBurstLength" Leading Both Normal Minimum(SEGMENT), 65536;
    DefaultTime2Wait "DefaultTime2Wait" Leading Both Always Maximum(SECONDS), 2;
    DefaultTime2Retain "DefaultTime2Retain" Leading Both Always Minimum(SECONDS), 20;
    MaxOutstandingR2T "MaxOutstandingR2T" Leading Both Normal Minimum(COUNT), 1;
    DataPduInOrder "DataPDUInOrder" Leading Both Normal Or, 1;
    DataSequenceInOrder "DataSequenceInOrder" Leading Both Normal Or, 1;
    ErrorRecoveryLevel "ErrorRecoveryLevel" Leading Both Always Minimum(0..=2), 0;
    TaskReporting "TaskReporting" Leading Both Normal List(REPORTINGS), 0;
    ProtocolLevel "iSCSIProtocolLevel" Leading Both Normal Minimum(0..=31), 1;
    OfMarker "OFMarker" Initialize Both Always Obsolete("No"), 0;
    IfMarker "IFMarker" Initialize Both Always Obsolete("No"), 0;
    OfMarkInt "OFMarkInt" Initialize Both Always Obsolete("Reject"), 0;
    IfMarkInt "IFMarkInt" Initialize Both Always Obsolete("Reject"), 0;
    RdmaExtensions "RDMAExtensions" Leading Both Always And, 0;
    TargetRecvDataSegmentLength "TargetRecvDataSegmentLength" Initialize Both Rdma Minimum(SEGMENT), 8192;
    InitiatorRecvDataSegmentLength "InitiatorRecvDataSegmentLength" Initialize Both Rdma Minimum(SEGMENT), 8192;
    MaxOutstandingUnexpectedPdus "MaxOutstandingUnexpectedPDUs" Leading Both Always DeclaredNumber(ANY_32), 0;
    MaxAhsLength "MaxAHSLength" Leading Both Always DeclaredNumber(ANY_32), 256;
    TaggedBufferForSolicitedDataOnly "TaggedBufferForSolicitedDataOnly" Leading Both Always DeclaredBoolean, 0;
    IserHelloRequired "iSERHelloRequired" Leading Initiator Always DeclaredBoolean, 0;
}

impl Key {
    /// The key of this name; keys are compared to the letter.
    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// The standard's word.
    pub(super) fn name(self) -> &'static str {
        self.row().name
    }

    pub(super) fn row(self) -> &'static Row {
        const { &ROWS }
            .get(self as usize)
            .unwrap_or(const { &ROWS[0] })
    }

    /// Reads a number in the key's range; `None` also for a key whose values are none.
    pub(super) fn number(self, value: &str) -> Option<u64> {
        match &self.row().function {
            Function::Minimum(range)
            | Function::Maximum(range)
            | Function::DeclaredNumber(range) => {
                value::number(value).filter(|number| range.contains(number))
            }
            _ => None,
        }
    }

    /// Whether an end may send the key in a stage.
    pub(super) fn is_in_place(self, sender: Side, stage: Stage) -> bool {
        let row = self.row();
        let is_sender = match row.senders {
            Senders::Both => true,
            Senders::Initiator => sender == Side::Initiator,
            Senders::Target => sender == Side::Target,
        };
        let operational = stage == Stage::LOGIN_OPERATIONAL_NEGOTIATION;
        let full_feature = stage == Stage::FULL_FEATURE_PHASE;
        is_sender
            && match row.usage {
                Use::Security => stage == Stage::SECURITY_NEGOTIATION,
                Use::InitializeAny | Use::LeadingAny => !full_feature,
                Use::Initialize | Use::Leading => operational,
                Use::Always => true,
                Use::FullFeature => full_feature,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_own_name_and_finds_its_row() {
        for &key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(key));
            assert_eq!(ROWS[key as usize].name, key.name());
        }
        assert_eq!(Key::named("headerdigest"), None);
        assert_eq!(Key::named("X-com.example"), None);
        assert!(Key::ALL.len() <= 64, "sets of keys are 64 bits");
    }

    #[test]
    fn defaults_are_values_of_their_keys() {
        for row in &ROWS {
            let fits = match &row.function {
                Function::Minimum(range)
                | Function::Maximum(range)
                | Function::DeclaredNumber(range) => range.contains(&row.default),
                Function::And | Function::Or | Function::DeclaredBoolean => row.default < 2,
                Function::List(values) => row.default < values.len() as u64,
                _ => row.default == 0,
            };
            assert!(fits, "{}", row.name);
        }
    }

    #[test]
    fn keys_have_their_stages_and_senders() {
        use Stage as S;
        let (i, t) = (Side::Initiator, Side::Target);
        let (security, operational, full) = (
            S::SECURITY_NEGOTIATION,
            S::LOGIN_OPERATIONAL_NEGOTIATION,
            S::FULL_FEATURE_PHASE,
        );
        assert!(Key::AuthMethod.is_in_place(i, security));
        assert!(!Key::AuthMethod.is_in_place(i, operational));
        assert!(Key::InitiatorName.is_in_place(i, security));
        assert!(Key::InitiatorName.is_in_place(i, operational));
        assert!(!Key::InitiatorName.is_in_place(t, operational));
        assert!(!Key::InitiatorName.is_in_place(i, full));
        assert!(Key::HeaderDigest.is_in_place(t, operational));
        assert!(!Key::HeaderDigest.is_in_place(i, security));
        assert!(Key::MaxBurstLength.is_in_place(i, operational));
        assert!(!Key::MaxBurstLength.is_in_place(i, full));
        assert!(Key::MaxRecvDataSegmentLength.is_in_place(i, full));
        assert!(Key::SendTargets.is_in_place(i, full));
        assert!(!Key::SendTargets.is_in_place(i, operational));
        assert!(!Key::TargetPortalGroupTag.is_in_place(i, security));
        assert!(Key::SessionType.is_in_place(i, security));
    }
}
