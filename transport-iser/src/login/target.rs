//! The target's side of a login.

use super::{Identity, LoginFailure, Negotiated};
use crate::pdu::LoginResponse;

/// What a login has to say, in this order.
#[derive(Clone, Debug)]
pub enum Step {
    /// Who knocks, after the first request: the driver answers by `handle_admission`.
    Admit(Identity),
    /// Send this Login Response with this data segment. StatSN, ExpCmdSN and MaxCmdSN are the connection's to fill in.
    Respond(LoginResponse, Vec<u8>),
    /// The final response was handed out: full feature phase with these values.
    Done(Box<Negotiated>),
    /// The login failed. The response with the status was handed out before; close the connection after it.
    Failed(LoginFailure),
}
