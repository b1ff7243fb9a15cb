use std::net::TcpListener;

use transport_iser::pdu::{LoginRequest, NopOut};

use super::*;
use crate::iscsi::machine::Segment;

const BOTH: (Digest, Digest) = (Digest::Crc32c, Digest::Crc32c);

/// Both ends of a connection.
fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let here = Stream::connect(address, None, Duration::from_secs(10)).expect("a connection");
    let (there, _) = listener.accept().expect("its other end");
    there.set_nonblocking(true).expect("a socket");
    (here, Stream::new(there))
}

fn transmit(data: &[u8], (header_digest, data_digest): (Digest, Digest)) -> Transmit {
    Transmit {
        header: NopOut::default().encode(data.len() as u32),
        ahs: Vec::new(),
        segment: Segment::Bytes(data.to_vec()),
        request: None,
        unasked: 0,
        header_digest,
        data_digest,
    }
}

/// Waits for the next PDU; its data.
fn receive(stream: &mut Stream, digests: (Digest, Digest)) -> Result<Vec<u8>, ProtocolError> {
    let limit = std::time::Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(pdu) = stream.next(digests, 1 << 20)? {
            return Ok(pdu.data.to_vec());
        }
        assert!(std::time::Instant::now() < limit, "nothing came");
        stream.wait(Duration::from_secs(1)).expect("a socket");
        stream.fill().expect("a connection");
    }
}

#[test]
fn pdus_come_as_they_went_with_and_without_digests() {
    let none = (Digest::None, Digest::None);
    for digests in [
        none,
        (Digest::Crc32c, Digest::None),
        (Digest::None, Digest::Crc32c),
        BOTH,
    ] {
        let (mut here, mut there) = pair();
        let lengths = [0, 1, 3, 4, 512, 5, 300_000, 2];
        let data = |len: usize| -> Vec<u8> { (0..len).map(|place| place as u8).collect() };
        for len in lengths {
            here.push(&transmit(&data(len), digests), &[]);
        }
        for len in lengths {
            // The longest does not fit into the socket at once.
            here.flush().expect("a connection");
            let found = loop {
                here.flush().expect("a connection");
                match there.next(digests, 1 << 20).expect("a PDU") {
                    Some(pdu) => break pdu.data.to_vec(),
                    None => {
                        there.wait(Duration::from_millis(20)).expect("a socket");
                        there.fill().expect("a connection");
                    }
                }
            };
            assert!(found == data(len), "{len} bytes, {digests:?}");
        }
        assert!(!here.has_outgoing());
    }
}

#[test]
fn a_byte_that_changes_is_seen_by_its_digest() {
    for (at, of) in [(20, "header"), (60, "data")] {
        let (mut here, mut there) = pair();
        here.push(&transmit(&[7; 100], BOTH), &[]);
        here.outgoing[at] ^= 1;
        here.flush().expect("a connection");
        let error = receive(&mut there, BOTH).expect_err("a wrong digest");
        assert!(
            matches!(error, ProtocolError::Digest { of: found, .. } if found == of),
            "{error}"
        );
    }
}

#[test]
fn a_length_that_was_not_agreed_on_is_refused_by_its_header() {
    let (mut here, mut there) = pair();
    here.push_bytes(&LoginRequest::default().encode((1 << 20) + 1));
    here.flush().expect("a connection");
    let error = receive(&mut there, (Digest::None, Digest::None)).expect_err("too long");
    assert!(matches!(error, ProtocolError::Header(_)), "{error}");
}

#[test]
fn the_end_of_a_connection_is_an_error() {
    let (here, mut there) = pair();
    drop(here);
    there.wait(Duration::from_secs(30)).expect("a socket");
    assert!(there.fill().is_err());
}

#[test]
fn a_source_can_be_chosen() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let source = "127.0.0.9:0".parse().ok();
    let stream = Stream::connect(address, source, Duration::from_secs(10)).expect("a connection");
    let local = stream.local_address().expect("an address");
    assert_eq!(local.ip().to_string(), "127.0.0.9");
}
