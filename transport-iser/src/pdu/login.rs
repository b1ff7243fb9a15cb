//! Login Request and Login Response (RFC 7143 11.12, 11.13). The keys are in the data segment.

use super::field::code_bits;
use super::{codes, pdu};
use crate::Sn;

codes! {
    /// CSG and NSG (RFC 7143 11.12.3).
    Stage(u8) {
        SECURITY_NEGOTIATION = 0,
        LOGIN_OPERATIONAL_NEGOTIATION = 1,
        FULL_FEATURE_PHASE = 3,
    }
}
code_bits!(Stage);

codes! {
    /// Status-Class in the high byte, Status-Detail in the low one (RFC 7143 11.13.5).
    LoginStatus(u16) {
        SUCCESS = 0x0000,
        TARGET_MOVED_TEMPORARILY = 0x0101,
        TARGET_MOVED_PERMANENTLY = 0x0102,
        INITIATOR_ERROR = 0x0200,
        AUTHENTICATION_FAILURE = 0x0201,
        AUTHORIZATION_FAILURE = 0x0202,
        NOT_FOUND = 0x0203,
        TARGET_REMOVED = 0x0204,
        UNSUPPORTED_VERSION = 0x0205,
        TOO_MANY_CONNECTIONS = 0x0206,
        MISSING_PARAMETER = 0x0207,
        CANNOT_INCLUDE_IN_SESSION = 0x0208,
        SESSION_TYPE_NOT_SUPPORTED = 0x0209,
        SESSION_DOES_NOT_EXIST = 0x020a,
        INVALID_DURING_LOGIN = 0x020b,
        TARGET_ERROR = 0x0300,
        SERVICE_UNAVAILABLE = 0x0301,
        OUT_OF_RESOURCES = 0x0302,
    }
}

impl LoginStatus {
    /// Status-Class.
    pub fn class(self) -> u8 {
        self.0.to_be_bytes()[0]
    }

    /// Status-Detail.
    pub fn detail(self) -> u8 {
        self.0.to_be_bytes()[1]
    }
}

/// Status-Class: the login goes on or has succeeded.
pub const CLASS_SUCCESS: u8 = 0;
/// Status-Class: the initiator has to go somewhere else.
pub const CLASS_REDIRECTION: u8 = 1;
/// Status-Class: the initiator's fault; the same request will fail again.
pub const CLASS_INITIATOR_ERROR: u8 = 2;
/// Status-Class: the target's fault; the same request may succeed later.
pub const CLASS_TARGET_ERROR: u8 = 3;

/// The only version of the protocol (RFC 7143 11.12.4).
pub const VERSION: u8 = 0;

pdu! {
    /// Login Request. Byte 0 is 0x43: a login is always immediate.
    LoginRequest(LOGIN_REQUEST, 0) {
        /// I; set in every login.
        immediate: bool => (0, 0x40),
        /// T: the initiator is ready for the next stage.
        transit: bool => (1, 0x80),
        /// C: the text goes on in the next request.
        continues: bool => (1, 0x40),
        /// CSG.
        current_stage: Stage => (1, 0x0c),
        /// NSG; only with T.
        next_stage: Stage => (1, 0x03),
        /// Version-max.
        version_max: u8 => 2,
        /// Version-min.
        version_min: u8 => 3,
        /// ISID.
        isid: [u8; 6] => 8,
        /// TSIH; 0 begins a session.
        tsih: u16 => 14,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// CID.
        cid: u16 => 20,
        /// CmdSN: the first of the session, not used up.
        cmd_sn: Sn => 24,
        /// ExpStatSN.
        exp_stat_sn: Sn => 28,
    }
}

pdu! {
    /// Login Response.
    LoginResponse(LOGIN_RESPONSE, 0) {
        /// T: the target goes to the next stage too.
        transit: bool => (1, 0x80),
        /// C: the text goes on in the next response.
        continues: bool => (1, 0x40),
        /// CSG.
        current_stage: Stage => (1, 0x0c),
        /// NSG; only with T.
        next_stage: Stage => (1, 0x03),
        /// Version-max.
        version_max: u8 => 2,
        /// Version-active.
        version_active: u8 => 3,
        /// ISID of the request.
        isid: [u8; 6] => 8,
        /// TSIH; of a new session in its final response.
        tsih: u16 => 14,
        /// Initiator Task Tag.
        initiator_task_tag: u32 => 16,
        /// StatSN.
        stat_sn: Sn => 24,
        /// ExpCmdSN.
        exp_cmd_sn: Sn => 28,
        /// MaxCmdSN.
        max_cmd_sn: Sn => 32,
        /// Status-Class and Status-Detail.
        status: LoginStatus => 36,
    }
}
