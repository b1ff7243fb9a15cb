//! A peer on TCP that sends what it likes, and what it gets for it.

use std::net::SocketAddr;
use std::time::Duration;

use initiator::iscsi::{RawStream, RawStreamState};
use target_core::lun::Lun;
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::pdu::{
    AttributeCode, BHS_BYTES, Bhs, Lengths, LoginRequest, LoginResponse, LoginStatus, NopOut,
    Opcode, RESERVED_TAG, Reject, RejectReason, ScsiCommand, ScsiResponse, Stage,
};

/// Nothing here takes longer, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The attacker's own LUN.
pub(crate) const LUN: Lun = Lun([0, 1, 0, 0, 0, 0, 0, 0]);

/// A PDU of the target, or that there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Pdu(Box<Bhs>, Vec<u8>),
    /// The target has ended the connection.
    Gone,
    /// Nothing came in the time that was given.
    Silence,
}

/// Who logs in, and where.
#[derive(Clone, Debug)]
pub(crate) struct Attacker {
    pub(crate) address: SocketAddr,
    pub(crate) initiator: String,
    pub(crate) target: String,
    /// The login's first request; its keys are those of [`Attacker::keys`].
    pub(crate) login: LoginRequest,
}

impl Attacker {
    pub(crate) fn new(address: SocketAddr, initiator: &str, target: &str) -> Self {
        let login = LoginRequest {
            immediate: true,
            transit: true,
            current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
            next_stage: Stage::FULL_FEATURE_PHASE,
            isid: [0x80, 0, 0, 0, 0, 1],
            initiator_task_tag: 1,
            cmd_sn: Sn(1),
            ..LoginRequest::default()
        };
        Self {
            address,
            initiator: initiator.to_owned(),
            target: target.to_owned(),
            login,
        }
    }

    pub(crate) fn connect(&self) -> Peer {
        let stream = RawStream::connect(self.address, PATIENCE).expect("a connection");
        Peer {
            stream,
            cmd_sn: 1,
            tag: 1,
            digests: false,
        }
    }

    /// The keys of a normal session, and more.
    pub(crate) fn keys(&self, more: &[&str]) -> Vec<u8> {
        let (initiator, target) = (&self.initiator, &self.target);
        let keys = [
            format!("InitiatorName={initiator}"),
            "SessionType=Normal".to_owned(),
            format!("TargetName={target}"),
        ];
        let keys = keys.iter().map(String::as_str).chain(more.iter().copied());
        text(&keys.collect::<Vec<_>>())
    }

    /// What a login with these keys is answered.
    #[track_caller]
    pub(crate) fn status(&self, keys: &[u8]) -> (LoginStatus, LoginResponse, Peer) {
        let mut peer = self.connect();
        peer.send(&self.login.encode(keys.len() as u32), keys);
        let (bhs, _) = peer.pdu("a login response");
        let response = LoginResponse::parse(&bhs).expect("a login response");
        (response.status, response, peer)
    }

    /// A session with these keys beside the usual.
    #[track_caller]
    pub(crate) fn session(&self, more: &[&str]) -> Peer {
        let (status, response, mut peer) = self.status(&self.keys(more));
        assert_eq!(status, LoginStatus::SUCCESS);
        assert!(response.transit, "{response:?}");
        peer.digests = more.contains(&"HeaderDigest=CRC32C");
        // The first command is told that the nexus is new.
        peer.command(command([0; 16], 0), &[]);
        let (bhs, _) = peer.pdu("a unit attention");
        let first = ScsiResponse::parse(&bhs).expect("a SCSI response");
        assert_eq!(first.status, Status::CHECK_CONDITION);
        peer
    }
}

/// Keys as they are in a data segment.
pub(crate) fn text(keys: &[&str]) -> Vec<u8> {
    keys.iter()
        .flat_map(|key| [key.as_bytes(), b"\0"].concat())
        .collect()
}

/// A command of a LUN with data in one direction.
pub(crate) fn command(cdb: [u8; 16], len: u32) -> ScsiCommand {
    let writes = cdb[0] == WRITE_16;
    ScsiCommand {
        is_final: true,
        read: !writes && len != 0,
        write: writes && len != 0,
        attribute: AttributeCode::SIMPLE,
        lun: LUN,
        expected_data_transfer_length: len,
        cdb,
        ..ScsiCommand::default()
    }
}

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;

/// READ (16) from the beginning.
pub(crate) fn read(blocks: u32) -> ScsiCommand {
    command(cdb(READ_16, blocks), blocks * 512)
}

/// WRITE (16) to the beginning.
pub(crate) fn write(blocks: u32) -> ScsiCommand {
    command(cdb(WRITE_16, blocks), blocks * 512)
}

fn cdb(opcode: u8, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

/// A connection.
pub(crate) struct Peer {
    pub(crate) stream: RawStream,
    pub(crate) cmd_sn: u32,
    tag: u32,
    /// Whether both digests were agreed on.
    pub(crate) digests: bool,
}

impl Peer {
    /// A tag that was not used before.
    pub(crate) fn next_tag(&mut self) -> u32 {
        self.tag += 1;
        self.tag
    }

    /// The bytes of a PDU, with the digests that were agreed on.
    pub(crate) fn bytes(&self, bhs: &Bhs, data: &[u8]) -> Vec<u8> {
        let digest = |bytes: &[u8]| match self.digests {
            true => crc32c::crc32c(bytes).to_le_bytes().to_vec(),
            false => Vec::new(),
        };
        let mut bytes = bhs.to_vec();
        bytes.extend(digest(bhs));
        if !data.is_empty() {
            let mut data = data.to_vec();
            data.resize(data.len().next_multiple_of(4), 0);
            bytes.extend(&data);
            bytes.extend(digest(&data));
        }
        bytes
    }

    /// Bytes as they are. The target may have gone.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.send(bytes, PATIENCE)
    }

    pub(crate) fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        let bytes = self.bytes(bhs, data);
        self.send_bytes(&bytes);
    }

    /// Sends a command in its turn; its tag.
    pub(crate) fn command(&mut self, command: ScsiCommand, immediate: &[u8]) -> u32 {
        let tag = self.next_tag();
        let command = ScsiCommand {
            initiator_task_tag: tag,
            cmd_sn: self.take_cmd_sn(),
            ..command
        };
        self.send(&command.encode(immediate.len() as u32), immediate);
        tag
    }

    pub(crate) fn take_cmd_sn(&mut self) -> Sn {
        let cmd_sn = Sn(self.cmd_sn);
        self.cmd_sn += 1;
        cmd_sn
    }

    /// The next PDU, or that there is none.
    pub(crate) fn answer_within(&mut self, patience: Duration) -> Answer {
        let digest = if self.digests { 4 } else { 0 };
        match self.stream.receive(BHS_BYTES + digest, patience) {
            RawStreamState::Ready => {}
            RawStreamState::Disconnected => return Answer::Gone,
            RawStreamState::Waiting => return Answer::Silence,
        }
        let bhs = *self
            .stream
            .received()
            .first_chunk::<BHS_BYTES>()
            .expect("a header");
        let lengths = Lengths::of(&bhs);
        let padded = lengths.padded_data() as usize;
        let tail = if padded == 0 { 0 } else { padded + digest };
        let whole = BHS_BYTES + digest + tail;
        match self.stream.receive(whole, patience) {
            RawStreamState::Ready => {}
            RawStreamState::Disconnected => return Answer::Gone,
            RawStreamState::Waiting => return Answer::Silence,
        }
        let pdu = self.stream.take(whole);
        let begin = BHS_BYTES + digest;
        let data = pdu[begin..begin + lengths.data as usize].to_vec();
        Answer::Pdu(Box::new(bhs), data)
    }

    pub(crate) fn answer(&mut self) -> Answer {
        self.answer_within(PATIENCE)
    }

    /// The next PDU.
    #[track_caller]
    pub(crate) fn pdu(&mut self, what: &str) -> (Bhs, Vec<u8>) {
        match self.answer() {
            Answer::Pdu(bhs, data) => (*bhs, data),
            other => panic!("{what}: {other:?}"),
        }
    }

    /// The next PDU is a Reject for this reason.
    #[track_caller]
    pub(crate) fn assert_rejected(&mut self, what: &str, reason: RejectReason) {
        let (bhs, data) = self.pdu(what);
        let reject = Reject::parse(&bhs).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(reject.reason, reason, "{what}");
        assert_eq!(data.len(), BHS_BYTES, "{what}: the header comes back");
    }

    #[track_caller]
    pub(crate) fn assert_gone(&mut self, what: &str) {
        assert_eq!(self.answer(), Answer::Gone, "{what}");
    }

    /// A ping is answered: nothing else is on its way.
    #[track_caller]
    pub(crate) fn assert_alive(&mut self, what: &str) {
        let tag = self.next_tag();
        let ping = NopOut {
            immediate: true,
            initiator_task_tag: tag,
            target_transfer_tag: RESERVED_TAG,
            cmd_sn: Sn(self.cmd_sn),
            ..NopOut::default()
        };
        self.send(&ping.encode(4), b"ping");
        let (bhs, data) = self.pdu(what);
        assert_eq!(Opcode::of(&bhs), Opcode::NOP_IN, "{what}");
        assert_eq!(transport_iser::pdu::initiator_task_tag(&bhs), tag, "{what}");
        assert_eq!(data, b"ping", "{what}");
    }
}
