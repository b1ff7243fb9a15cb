//! The protocol of rdmacm-utils' `rping`, both roles. One round: the client announces a source by SEND, the server
//! fetches it by RDMA READ and says so; the client announces a sink, the server fills it by RDMA WRITE and says so; the
//! client compares.

use iobuf::RemoteSegment;
use rdma::ExposedRegion;

use crate::endpoint::Endpoint;

/// Bytes of an announcement: address, key, length, in network order. The server's words are as long.
const ANNOUNCEMENT_BYTES: usize = 16;

/// Serves until the client goes; returns how many rounds that were.
///
/// # Panics
///
/// The client speaks something else.
pub fn serve(mut end: Endpoint) -> u32 {
    let mut rounds = 0;
    while let Some(message) = end.message() {
        end.read(announced(&message));
        let data = end.pulled();
        end.send(&[0; ANNOUNCEMENT_BYTES]);
        let message = end.message().expect("the second half of a round");
        let sink = announced(&message);
        assert_eq!(sink.length as usize, data.len());
        end.write(Some((&data, sink)), &[0; ANNOUNCEMENT_BYTES]);
        end.settle();
        rounds += 1;
    }
    end.close();
    rounds
}

/// Asks for that many rounds of `len` bytes, and checks every byte.
///
/// # Panics
///
/// Something else comes back than was sent.
pub fn ask(mut end: Endpoint, rounds: u32, len: usize) {
    for round in 0..rounds {
        // The server takes it for a string: no zeros but the last.
        let text = |index: usize| (1 + (index * 31 + round as usize) % 255) as u8;
        let data: Vec<u8> = (1..len).map(text).chain([0]).collect();
        let source = end.expose(&data);
        announce(&mut end, &source);
        let mut sink = end.expose(&vec![0; len]);
        announce(&mut end, &sink);
        let mut back = vec![0; len];
        assert!(sink.read(0, &mut back));
        assert!(back == data, "round {round}: other bytes came back");
    }
    end.close();
}

fn announce(end: &mut Endpoint, region: &ExposedRegion) {
    let RemoteSegment {
        address,
        key,
        length,
    } = region.segment();
    let bytes = [
        &address.to_be_bytes()[..],
        &key.to_be_bytes(),
        &length.to_be_bytes(),
    ];
    end.send(&bytes.concat());
    end.message().expect("the server's word");
    end.settle();
}

fn announced(message: &[u8]) -> RemoteSegment {
    let message: &[u8; ANNOUNCEMENT_BYTES] = message.try_into().expect("an announcement");
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *message;
    RemoteSegment {
        address: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        key: u32::from_be_bytes([i, j, k, l]),
        length: u32::from_be_bytes([m, n, o, p]),
    }
}
