//! A peer that sends what it likes, and what it gets for it.

use std::net::SocketAddr;
use std::time::Duration;

use initiator::{Lun, RawChannel, RawLogin, RawReceived, TargetPortId};
use rdma::Fabric;
use target_core::sense::AdditionalSense;
use target_core::status::Status;
use tests::bed::Peer;
use transport_srp::PortIdOrder;
use transport_srp::wire::cmd::{BufferFormat, TaskAttributeCode};
use transport_srp::wire::login::{
    FORMAT_DIRECT, FORMAT_INDIRECT, LoginRejReason, MultichannelAction,
};
use transport_srp::wire::logout::LogoutReason;
use transport_srp::wire::{Cmd, Iu, LoginRej, LoginReq, LoginRsp, TLogout};

/// Nothing here takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_MS: u32 = 10_000;

pub(crate) struct Attacker {
    address: SocketAddr,
    fabric: Fabric,
    /// The login of a host that is let in.
    pub(crate) login: LoginReq,
}

impl Attacker {
    pub(crate) fn new(peer: &Peer) -> Self {
        let this = TargetPortId {
            id_ext: 0x0bad,
            ioc_guid: peer.guid,
        };
        let login = LoginReq {
            tag: 0x1122_3344_5566_7788,
            req_it_iu_len: 8260,
            req_buf_fmt: FORMAT_DIRECT | FORMAT_INDIRECT,
            multichannel: MultichannelAction::SINGLE,
            imm_data_offset: Some(68),
            initiator_port_id: this.to_bytes(PortIdOrder::Rev16a),
            target_port_id: Peer::target_port().to_bytes(PortIdOrder::Rev16a),
        };
        Self {
            address: peer.target,
            fabric: peer.fabric(),
            login,
        }
    }

    pub(crate) fn attempt(&self, private_data: &[u8]) -> RawLogin {
        let attempt = RawLogin::attempt_on(&self.fabric, self.address, private_data, PATIENCE_MS);
        attempt.unwrap_or_else(|error| panic!("no verdict on {private_data:02x?}: {error}"))
    }

    /// The login reject that this login gets.
    #[track_caller]
    pub(crate) fn refused(&self, what: &str, private_data: &[u8]) -> LoginRejReason {
        match self.attempt(private_data) {
            RawLogin::Accepted(_) => panic!("{what}: was let in"),
            RawLogin::Rejected {
                reason,
                private_data,
            } => {
                assert_eq!(reason, 28, "{what}: not the target's own reject");
                let reject = LoginRej::parse(&private_data);
                reject
                    .unwrap_or_else(|error| panic!("{what}: {error}"))
                    .reason
            }
        }
    }

    /// A channel of this login, and what it was granted.
    #[track_caller]
    pub(crate) fn admitted(&self, private_data: &[u8]) -> (Channel, LoginRsp) {
        match self.attempt(private_data) {
            RawLogin::Accepted(raw) => {
                let response = LoginRsp::parse(raw.response()).expect("a login response");
                (Channel { raw: *raw, next: 1 }, response)
            }
            RawLogin::Rejected { private_data, .. } => {
                panic!("refused: {:?}", LoginRej::parse(&private_data))
            }
        }
    }

    #[track_caller]
    pub(crate) fn channel(&self) -> Channel {
        self.admitted(&self.login.to_rdma_cm_bytes()).0
    }
}

/// A command without data for LUN 1, which is the attacker's to play with.
pub(crate) fn plain(tag: u64) -> Cmd<'static> {
    Cmd {
        sol_not: 0,
        data_out_format: BufferFormat::NONE,
        data_in_format: BufferFormat::NONE,
        data_out_count: 0,
        data_in_count: 0,
        tag,
        lun: Lun::peripheral(1),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &[0; 16],
        data: &[],
    }
}

pub(crate) fn emitted(iu: &Iu<'_>) -> Vec<u8> {
    let mut out = vec![0; 16 << 10];
    let len = iu.emit(&mut out).expect("room");
    out.truncate(len);
    out
}

pub(crate) fn bytes(cmd: &Cmd<'_>) -> Vec<u8> {
    emitted(&Iu::Cmd(*cmd))
}

/// What a response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) tag: u64,
    pub(crate) status: Status,
    pub(crate) sense: Option<AdditionalSense>,
    pub(crate) code: Option<u8>,
}

/// How a channel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Response(Response),
    Logout(LogoutReason),
    Gone,
    Silence,
    Other(Vec<u8>),
}

pub(crate) struct Channel {
    raw: RawChannel,
    next: u64,
}

impl Channel {
    pub(crate) fn send(&mut self, message: &[u8]) {
        self.raw.send(message).expect("room for the message");
    }

    pub(crate) fn raw(&self) -> &RawChannel {
        &self.raw
    }

    /// What comes next, in a time in which it must.
    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_within(PATIENCE)
    }

    pub(crate) fn answer_within(&mut self, patience: Duration) -> Answer {
        let bytes = match self.raw.receive(patience).expect("a working device") {
            RawReceived::Message(bytes) => bytes,
            RawReceived::Disconnected => return Answer::Gone,
            RawReceived::Nothing => return Answer::Silence,
        };
        match Iu::parse(&bytes) {
            Ok(Iu::TLogout(TLogout { reason, .. })) => Answer::Logout(reason),
            Ok(Iu::Rsp(rsp)) => Answer::Response(Response {
                tag: rsp.tag,
                status: rsp.status,
                sense: rsp.sense.and_then(additional_sense),
                code: rsp.response.map(|code| code.0),
            }),
            _ => Answer::Other(bytes),
        }
    }

    #[track_caller]
    pub(crate) fn response(&mut self, what: &str) -> Response {
        match self.answer() {
            Answer::Response(response) => response,
            other => panic!("{what}: {other:?} instead of a response"),
        }
    }

    /// The channel still works: a command is answered.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self, what: &str) {
        let tag = 0xa11_0000 + self.next;
        self.next += 1;
        self.send(&bytes(&plain(tag)));
        assert_eq!(self.response(what).tag, tag, "{what}");
    }

    /// The channel still works, or has ended with the protocol's goodbye.
    #[track_caller]
    pub(crate) fn assert_alive_or_ended(&mut self, what: &str) {
        if self.raw.send(&bytes(&plain(0xa12_0000))).is_ok() {
            let answer = self.answer();
            assert!(
                matches!(
                    answer,
                    Answer::Response(_) | Answer::Logout(_) | Answer::Gone
                ),
                "{what}: {answer:?}"
            );
        }
    }

    /// The target says goodbye for this reason, and ends the connection.
    #[track_caller]
    pub(crate) fn assert_logged_out(&mut self, what: &str, reason: LogoutReason) {
        assert_eq!(self.answer(), Answer::Logout(reason), "{what}");
        assert_eq!(self.answer(), Answer::Gone, "{what}");
    }
}

/// Of fixed format sense data.
fn additional_sense(sense: &[u8]) -> Option<AdditionalSense> {
    let code = sense.get(12..14)?;
    Some(AdditionalSense(u16::from_be_bytes([code[0], code[1]])))
}
