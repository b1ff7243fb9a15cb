//! Information units as bytes and as values (SRP r16a clause 6).
//!
//! One file per family. Each has a raw struct with the field order of the standard's figure and a
//! size that the compiler checks, and a typed value on top with `parse` and `emit`. The received
//! length bounds every parse. Reserved bits are neither checked nor kept, as the standard allows a
//! recipient; tags are opaque.

pub mod aer;
pub mod cmd;
pub mod cred;
pub mod desc;
pub mod login;
pub mod logout;
pub mod rsp;
pub mod tsk_mgmt;

use thiserror::Error;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

pub use aer::{AerReq, AerRsp};
pub use cmd::Cmd;
pub use cred::{CredReq, CredRsp};
pub use login::{LoginRej, LoginReq, LoginRsp};
pub use logout::{ILogout, TLogout};
pub use rsp::Rsp;
pub use tsk_mgmt::TskMgmt;

/// Declares a code of the standard: a newtype that keeps what came, with constants and a `Debug`
/// that prints the standard's word.
macro_rules! codes {
    ($(#[$doc:meta])* $name:ident($int:ty) { $($(#[$code_doc:meta])* $code:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub struct $name(pub $int);

        #[allow(missing_docs, reason = "the standard's own words")]
        impl $name {
            $($(#[$code_doc])* pub const $code: $name = $name($value);)*
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.0 {
                    $($value => f.write_str(stringify!($code)),)*
                    code => write!(f, "{}({code:#x})", stringify!($name)),
                }
            }
        }
    };
}
pub(crate) use codes;

codes! {
    /// TYPE, the first byte of every information unit (SRP table 6).
    Opcode(u8) {
        LOGIN_REQ = 0x00,
        TSK_MGMT = 0x01,
        CMD = 0x02,
        I_LOGOUT = 0x03,
        CRED_RSP = 0x41,
        AER_RSP = 0x42,
        T_LOGOUT = 0x80,
        CRED_REQ = 0x81,
        AER_REQ = 0x82,
        LOGIN_RSP = 0xc0,
        RSP = 0xc1,
        LOGIN_REJ = 0xc2,
    }
}

/// Bytes that are not the information unit that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{what} at byte {offset}: {fault}")]
pub struct WireError {
    /// The field, or the information unit when its fixed part is cut.
    pub what: &'static str,
    /// Where it begins in the message.
    pub offset: usize,
    /// What is wrong with it.
    pub fault: WireFault,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum WireFault {
    /// The message ends before the field does.
    #[error("{needed} bytes expected, {received} came")]
    Truncated {
        /// Bytes from `offset` that the field takes.
        needed: usize,
        /// Bytes from `offset` that are there.
        received: usize,
    },
    /// The field holds something that the standard does not define there.
    #[error("{expected} expected, {found:#x} came")]
    Value {
        /// What the field may hold.
        expected: &'static str,
        /// What it holds.
        found: u64,
    },
}

impl WireError {
    #[cold]
    pub(crate) fn truncated(
        what: &'static str,
        offset: usize,
        needed: usize,
        received: usize,
    ) -> Self {
        let fault = WireFault::Truncated { needed, received };
        Self {
            what,
            offset,
            fault,
        }
    }

    #[cold]
    pub(crate) fn value(
        what: &'static str,
        offset: usize,
        expected: &'static str,
        found: impl Into<u64>,
    ) -> Self {
        let found = found.into();
        let fault = WireFault::Value { expected, found };
        Self {
            what,
            offset,
            fault,
        }
    }
}

/// The fixed part of an information unit, and what follows it.
#[inline]
pub(crate) fn split<'a, T>(
    what: &'static str,
    bytes: &'a [u8],
) -> Result<(&'a T, &'a [u8]), WireError>
where
    T: FromBytes + KnownLayout + Immutable + Unaligned,
{
    T::ref_from_prefix(bytes)
        .map_err(|_| WireError::truncated(what, 0, size_of::<T>(), bytes.len()))
}

/// Checks the first byte of an information unit.
#[inline]
pub(crate) fn expect_opcode(
    found: u8,
    expected: Opcode,
    name: &'static str,
) -> Result<(), WireError> {
    if found == expected.0 {
        return Ok(());
    }
    Err(WireError::value("TYPE", 0, name, found))
}

/// The `len` bytes of a list that follows the fixed part of `fixed` bytes.
#[inline]
pub(crate) fn list<'a>(
    what: &'static str,
    fixed: usize,
    rest: &'a [u8],
    len: u32,
) -> Result<(&'a [u8], &'a [u8]), WireError> {
    let needed = len as usize;
    rest.split_at_checked(needed)
        .ok_or_else(|| WireError::truncated(what, fixed, needed, rest.len()))
}

/// Copies the parts of an information unit to `out`, one after the other. `None` when there is no
/// room.
pub(crate) fn put(out: &mut [u8], parts: &[&[u8]]) -> Option<usize> {
    let len = parts.iter().map(|part| part.len()).sum();
    let mut room = out.get_mut(..len)?;
    for part in parts {
        let (here, after) = room.split_at_mut(part.len());
        here.copy_from_slice(part);
        room = after;
    }
    Some(len)
}

/// Any information unit, in the form that it has on an RDMA channel or in the private data of a
/// native InfiniBand connection. (The shorter login of RDMA-CM is [`LoginReq::parse_rdma_cm`].)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the standard's own words")]
pub enum Iu<'a> {
    LoginReq(LoginReq),
    LoginRsp(LoginRsp),
    LoginRej(LoginRej),
    Cmd(Cmd<'a>),
    Rsp(Rsp<'a>),
    TskMgmt(TskMgmt),
    ILogout(ILogout),
    TLogout(TLogout),
    CredReq(CredReq),
    CredRsp(CredRsp),
    AerReq(AerReq<'a>),
    AerRsp(AerRsp),
}

impl<'a> Iu<'a> {
    /// Parses whatever the first byte says.
    ///
    /// # Errors
    /// The field that is cut, or that holds what the standard does not define.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, WireError> {
        let Some(&first) = bytes.first() else {
            return Err(WireError::truncated("TYPE", 0, 1, 0));
        };
        Ok(match Opcode(first) {
            Opcode::CMD => Iu::Cmd(Cmd::parse(bytes)?),
            Opcode::RSP => Iu::Rsp(Rsp::parse(bytes)?),
            Opcode::TSK_MGMT => Iu::TskMgmt(TskMgmt::parse(bytes)?),
            Opcode::LOGIN_REQ => Iu::LoginReq(LoginReq::parse(bytes)?),
            Opcode::LOGIN_RSP => Iu::LoginRsp(LoginRsp::parse(bytes)?),
            Opcode::LOGIN_REJ => Iu::LoginRej(LoginRej::parse(bytes)?),
            Opcode::I_LOGOUT => Iu::ILogout(ILogout::parse(bytes)?),
            Opcode::T_LOGOUT => Iu::TLogout(TLogout::parse(bytes)?),
            Opcode::CRED_REQ => Iu::CredReq(CredReq::parse(bytes)?),
            Opcode::CRED_RSP => Iu::CredRsp(CredRsp::parse(bytes)?),
            Opcode::AER_REQ => Iu::AerReq(AerReq::parse(bytes)?),
            Opcode::AER_RSP => Iu::AerRsp(AerRsp::parse(bytes)?),
            Opcode(code) => return Err(WireError::value("TYPE", 0, "a type of SRP", code)),
        })
    }

    /// Writes the information unit to the start of `out` and says how long it is. `None` when `out`
    /// is too short, or a list inside is longer than its length field can say.
    pub fn emit(&self, out: &mut [u8]) -> Option<usize> {
        match self {
            Iu::LoginReq(iu) => put(out, &[&iu.to_bytes()]),
            Iu::LoginRsp(iu) => put(out, &[&iu.to_bytes()]),
            Iu::LoginRej(iu) => put(out, &[&iu.to_bytes()]),
            Iu::Cmd(iu) => iu.emit(out),
            Iu::Rsp(iu) => iu.emit(out),
            Iu::TskMgmt(iu) => put(out, &[&iu.to_bytes()]),
            Iu::ILogout(iu) => put(out, &[&iu.to_bytes()]),
            Iu::TLogout(iu) => put(out, &[&iu.to_bytes()]),
            Iu::CredReq(iu) => put(out, &[&iu.to_bytes()]),
            Iu::CredRsp(iu) => put(out, &[&iu.to_bytes()]),
            Iu::AerReq(iu) => iu.emit(out),
            Iu::AerRsp(iu) => put(out, &[&iu.to_bytes()]),
        }
    }

    /// The first byte.
    pub fn opcode(&self) -> Opcode {
        match self {
            Iu::LoginReq(_) => Opcode::LOGIN_REQ,
            Iu::LoginRsp(_) => Opcode::LOGIN_RSP,
            Iu::LoginRej(_) => Opcode::LOGIN_REJ,
            Iu::Cmd(_) => Opcode::CMD,
            Iu::Rsp(_) => Opcode::RSP,
            Iu::TskMgmt(_) => Opcode::TSK_MGMT,
            Iu::ILogout(_) => Opcode::I_LOGOUT,
            Iu::TLogout(_) => Opcode::T_LOGOUT,
            Iu::CredReq(_) => Opcode::CRED_REQ,
            Iu::CredRsp(_) => Opcode::CRED_RSP,
            Iu::AerReq(_) => Opcode::AER_REQ,
            Iu::AerRsp(_) => Opcode::AER_RSP,
        }
    }
}

#[cfg(test)]
mod tests;
