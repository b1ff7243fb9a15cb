//! Bytes of anybody: headers, a stream, messages.

use std::sync::Arc;

use iobuf::{Arena, Pool};
use target_core::command::{ChannelId, Residual, TaskManagementResponse};
use target_core::port::{Channel, ChannelEvent};
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::connection::{Connection, Settings};
use transport_iser::iser::CmHeader;
use transport_iser::login::{Datamover, LoginLimits};
use transport_iser::pdu::{Ahs, Lengths};

use super::{Link, Script, WINDOW, answer, negotiated};

/// Reads one PDU's headers as every type: what can be read means the same after it was written again. True when the lengths are
/// those of the bytes.
pub(crate) fn pdu(bytes: &[u8]) -> bool {
    use transport_iser::pdu as p;
    let Some((bhs, rest)) = bytes.split_first_chunk::<48>() else {
        return false;
    };
    macro_rules! again {
        ($($type:ident),*) => {
            $(if let Ok(value) = p::$type::parse(bhs) {
                let written = value.encode(Lengths::of(bhs).data);
                assert_eq!(p::$type::parse(&written), Ok(value));
            })*
        };
    }
    again!(
        NopOut,
        NopIn,
        ScsiCommand,
        ScsiResponse,
        TaskManagementRequest,
        TaskManagementResponse,
        LoginRequest,
        LoginResponse,
        TextRequest,
        TextResponse,
        DataOut,
        DataIn,
        LogoutRequest,
        LogoutResponse,
        R2t,
        AsyncMessage,
        Snack,
        Reject
    );
    let _ = p::scsi_response::sense(rest);
    let lengths = Lengths::of(bhs);
    let Some(ahs) = rest.get(..lengths.ahs as usize) else {
        return false;
    };
    if let Ok(ahs) = Ahs::parse(ahs) {
        let mut out = vec![0; ahs.len()];
        assert_eq!(ahs.encode(&mut out), Some(ahs.len()));
        assert_eq!(Ahs::parse(&out), Ok(ahs));
    }
    rest.len() == (lengths.ahs + lengths.padded_data()) as usize
}

/// Bytes of anybody as a stream: neither a login nor a session may panic or lose a buffer. True when it was not closed.
pub(crate) fn stream(bytes: &[u8]) -> bool {
    let Some((&[digests, chunk, in_login], bytes)) = bytes.split_first_chunk() else {
        return false;
    };
    let mut pools = Pools::new();
    let mut connection = pools.connection(Link::Tcp);
    if in_login & 1 == 0 {
        let digests = (digests & 1 != 0, digests & 2 != 0);
        connection = connection.established(
            &negotiated(&mut Script::new(&[]), Link::Tcp, digests),
            Sn(0),
        );
    }
    let chunks = bytes.chunks(usize::from(chunk) + 1);
    pools.feed(connection, chunks.map(<[u8]>::to_vec))
}

/// Bytes of anybody as messages over iSER, each after its length.
pub(crate) fn messages(bytes: &[u8]) -> bool {
    let Some((&in_login, mut bytes)) = bytes.split_first() else {
        return false;
    };
    let mut pools = Pools::new();
    let mut connection = pools.connection(Link::Iser);
    if in_login & 1 == 0 {
        let values = negotiated(&mut Script::new(&[]), Link::Iser, (false, false));
        connection = connection.established(&values, Sn(0));
    }
    let mut list = Vec::new();
    while let Some((&len, rest)) = bytes.split_first() {
        let (message, rest) = rest.split_at(usize::from(len).min(rest.len()));
        list.push(message.to_vec());
        bytes = rest;
    }
    pools.feed(connection, list.into_iter())
}

pub(super) struct Pools {
    pub(super) recv: Pool,
    pub(super) messages: Pool,
    pub(super) data: Pool,
}

impl Pools {
    pub(super) fn new() -> Self {
        let arena = Arena::new(1 << 20).expect("map");
        let data = 512 << 10;
        Self {
            recv: Pool::buddy(&arena, 0..256 << 10, 16 << 10),
            messages: Pool::slots(&arena, 256 << 10..(256 << 10) + 12 * 1024, 1024),
            data: Pool::buddy(&arena, data..data + (128 << 10), 32 << 10),
        }
    }

    pub(super) fn connection(&self, link: Link) -> Connection {
        let datamover = match link {
            Link::Tcp => Datamover::Tcp,
            Link::Iser => Datamover::Iser,
        };
        let settings = Arc::new(Settings {
            command_window: WINDOW,
            immediate_requests: 2,
            ..Settings::new(LoginLimits::new(datamover))
        });
        let (messages, data) = (self.messages.clone(), self.data.clone());
        match link {
            Link::Tcp => Connection::tcp(ChannelId(7), settings, messages, data, 0),
            Link::Iser => {
                let peer = CmHeader::parse(&[0x80, 0, 0, 0]);
                Connection::iser(ChannelId(7), settings, peer, messages, data, 0)
            }
        }
    }

    /// Hands everything to the connection, whose core answers each command with BUSY, and looks that all buffers come back.
    fn feed(&mut self, mut connection: Connection, list: impl Iterator<Item = Vec<u8>>) -> bool {
        let mut closed = 0;
        for bytes in list.filter(|bytes| !bytes.is_empty()) {
            let mut buf = self.recv.take(bytes.len()).expect("room");
            buf.copy_from_slice(&bytes);
            connection.handle_recv(buf, 0);
            while let Some(event) = connection.poll_event() {
                match event {
                    ChannelEvent::Command(command) => {
                        let outcome = answer(Status::BUSY, None, None, Residual::None);
                        connection.handle_outcome(command.exchange, outcome);
                    }
                    ChannelEvent::TaskManagement(request) => connection.handle_task_management(
                        request.exchange,
                        TaskManagementResponse::FunctionComplete,
                    ),
                    ChannelEvent::Close(_) => closed += 1,
                    _ => {}
                }
            }
            while connection.poll_login().is_some() {}
            while connection.poll_transmit().is_some() {}
        }
        assert!(closed <= 1, "closed twice");
        drop(connection);
        for pool in [&self.recv, &self.messages, &self.data] {
            assert_eq!(pool.level().in_use_bytes, 0, "a buffer is lost");
        }
        closed == 0
    }
}
