//! Why a login failed, and which status tells it to the peer (RFC 7143 11.13.5).

use thiserror::Error;

use crate::chap::ChapError;
use crate::pdu::{LoginStatus, Stage};
use crate::text::TextError;

/// A login that failed: what the peer was told, and what the log should say.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{error} (login status {:#06x})", status.0)]
pub struct LoginFailure {
    /// The status of the last Login Response.
    pub status: LoginStatus,
    /// What was wrong.
    pub error: LoginError,
}

impl LoginFailure {
    /// The failed authentication, if it was one.
    pub fn chap(&self) -> Option<ChapError> {
        match self.error {
            LoginError::Chap(error) => Some(error),
            _ => None,
        }
    }
}

impl From<LoginError> for LoginFailure {
    fn from(error: LoginError) -> Self {
        let status = error.status();
        Self { status, error }
    }
}

/// What was wrong in a login. Places are bytes from the start of the sequence of data segments.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoginError {
    /// The data segments are no text.
    #[error(transparent)]
    Text(#[from] TextError),
    /// The authentication failed.
    #[error(transparent)]
    Chap(#[from] ChapError),
    /// The driver does not let the initiator in.
    #[error("the initiator was not admitted: {0:?}")]
    NotAdmitted(LoginStatus),
    /// The target ended the login.
    #[error("the target refused the login: {0:?}")]
    Refused(LoginStatus),
    /// No version that both ends speak.
    #[error("version {0} is the lowest that is offered; 0 is spoken")]
    Version(u8),
    /// A field of the header is not what it has to be.
    #[error("{field} is {came:#x}; expected {expected:#x}")]
    Field {
        /// The standard's word for it.
        field: &'static str,
        /// What the first PDU had, or what the standard wants.
        expected: u64,
        /// What came.
        came: u64,
    },
    /// CSG, NSG, T and C do not go together.
    #[error(
        "no stage follows so: CSG {current:?}, NSG {next:?}, T {transit}, C {continues}; T needs an NSG behind CSG and no C"
    )]
    Transition {
        /// CSG.
        current: Stage,
        /// NSG.
        next: Stage,
        /// T.
        transit: bool,
        /// C.
        continues: bool,
    },
    /// Text came where the peer had to wait for the rest of an answer.
    #[error("text came before the answer that goes on (C bit) was taken; expected an empty PDU")]
    Interrupted,
    /// More requests or responses than a login needs.
    #[error("the login is not over after {} requests", super::MAX_LOGIN_REQUESTS)]
    TooManyRequests,
    /// A key that has to be there is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A key came twice.
    #[error("{key} at byte {offset} was negotiated already; a login takes each key once")]
    Repeated {
        /// The key.
        key: &'static str,
        /// Where.
        offset: usize,
    },
    /// A key that this end may not send, or not now.
    #[error("{key} at byte {offset} is not for the sender, the stage {stage:?} or this connection")]
    OutOfPlace {
        /// The key.
        key: &'static str,
        /// Where.
        offset: usize,
        /// The stage in which it came.
        stage: Stage,
    },
    /// A declared value, or an answer, that the key cannot have.
    #[error("{key}={value} at byte {offset} is not a value that can be taken")]
    Value {
        /// The key.
        key: &'static str,
        /// The value, cut if it was long.
        value: String,
        /// Where.
        offset: usize,
    },
    /// A SessionType that is none of the two.
    #[error("SessionType={0}; expected Discovery or Normal")]
    SessionType(String),
    /// No authentication method in common.
    #[error("AuthMethod={0} has none that is taken here; expected {1}")]
    AuthMethod(String, &'static str),
    /// The initiator went on without the authentication that it needs.
    #[error("the initiator left out the authentication; set up CHAP for this target on its side")]
    NotAuthenticated,
    /// RDMA does not go without its extensions.
    #[error("RDMAExtensions=Yes was not negotiated, and this connection is iSER")]
    NoRdmaExtensions,
}

impl LoginError {
    /// A value as the error keeps it.
    pub(super) fn value(key: &'static str, value: &str, offset: usize) -> Self {
        let value = shortened(value);
        Self::Value { key, value, offset }
    }

    /// The status that tells it to an initiator.
    fn status(&self) -> LoginStatus {
        match self {
            Self::Chap(ChapError::SameSecret) => LoginStatus::TARGET_ERROR,
            Self::Chap(_) | Self::AuthMethod(..) | Self::NotAuthenticated => {
                LoginStatus::AUTHENTICATION_FAILURE
            }
            Self::NotAdmitted(status) | Self::Refused(status) => *status,
            Self::Version(_) => LoginStatus::UNSUPPORTED_VERSION,
            Self::Missing(_) => LoginStatus::MISSING_PARAMETER,
            Self::SessionType(_) => LoginStatus::SESSION_TYPE_NOT_SUPPORTED,
            _ => LoginStatus::INITIATOR_ERROR,
        }
    }
}

/// The start of a peer's text, short enough for a log line and without what would move a terminal's cursor.
pub(super) fn shortened(value: &str) -> String {
    let printable = value.chars().map(|c| if c.is_control() { '?' } else { c });
    printable.take(40).collect()
}

/// Compares fields of a header with what they have to be: name, expected, came.
pub(super) fn expect_fields<const N: usize>(
    fields: [(&'static str, u64, u64); N],
) -> Result<(), LoginError> {
    let wrong = fields
        .into_iter()
        .find(|(_, expected, came)| expected != came);
    wrong.map_or(Ok(()), |(field, expected, came)| {
        Err(LoginError::Field {
            field,
            expected,
            came,
        })
    })
}

/// An ISID as one number, for [`expect_fields`].
pub(super) fn isid_number(isid: [u8; 6]) -> u64 {
    isid.iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}
