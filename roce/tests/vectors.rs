//! Datagrams that a kernel sent: parsed, checked, and made again byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use roce::cm::{Mad, Message, RdmaCmHeader, tcp_service_id};
use roce::packet::icrc::{self, Ends, Verdict};
use roce::packet::{
    Bth, DEFAULT_P_KEY, Extension, GSI_Q_KEY, HeaderBytes, Opcode, Packet, Reth, Syndrome,
    UDP_PORT, pad_count,
};

/// A captured frame.
struct Frame {
    ends: Ends,
    identification: Option<u16>,
    payload: Vec<u8>,
}

fn frames() -> Vec<Frame> {
    let text = include_str!("../testdata/rxe.hex");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| frame(&hex(line))).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("hex") as u8;
    text.as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn frame(bytes: &[u8]) -> Frame {
    let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let (source, destination, udp): (IpAddr, IpAddr, usize) = match word(12) {
        0x0800 => {
            let ip = |at: usize| -> [u8; 4] { bytes[at..at + 4].try_into().expect("4") };
            (
                Ipv4Addr::from(ip(26)).into(),
                Ipv4Addr::from(ip(30)).into(),
                34,
            )
        }
        _ => {
            let ip = |at: usize| -> [u8; 16] { bytes[at..at + 16].try_into().expect("16") };
            (
                Ipv6Addr::from(ip(22)).into(),
                Ipv6Addr::from(ip(38)).into(),
                54,
            )
        }
    };
    let length = usize::from(word(udp + 4)) - 8;
    Frame {
        ends: Ends {
            source: SocketAddr::new(source, word(udp)),
            destination: SocketAddr::new(destination, word(udp + 2)),
        },
        identification: source.is_ipv4().then(|| word(18)),
        payload: bytes[udp + 8..udp + 8 + length].to_vec(),
    }
}

#[test]
fn every_icrc_is_right_with_and_without_the_identification() {
    let frames = frames();
    assert_eq!(frames.len(), 14);
    for frame in frames {
        assert_eq!(frame.ends.destination.port(), UDP_PORT);
        let check = |known| icrc::check(&frame.ends, &frame.payload, known);
        assert_eq!(check(frame.identification), Verdict::Good);
        assert_eq!(check(None), Verdict::Good);
        if let Some(identification) = frame.identification {
            assert_eq!(check(Some(identification ^ 1)), Verdict::Bad);
        }
    }
}

#[test]
fn every_packet_is_made_again_byte_for_byte() {
    for frame in frames() {
        let packet = Packet::parse(&frame.payload).expect("whole");
        assert_eq!(packet.bth.p_key, DEFAULT_P_KEY);
        assert!(!packet.bth.mig_req, "rxe sends 0");
        assert_eq!(packet.bth.pad_count, pad_count(packet.payload.len()));
        let header = HeaderBytes::emit(packet.bth, &packet.extension);
        let length = frame.payload.len();
        let body = std::iter::once(packet.payload);
        let pad = packet.bth.pad_count;
        let mut crc = icrc::compute(&frame.ends, header.as_slice(), body, pad, length);
        if let Some(identification) = frame.identification {
            crc = icrc::renumber(crc, identification, length);
        }
        let mut bytes = header.as_slice().to_vec();
        bytes.extend(packet.payload);
        bytes.resize(bytes.len() + usize::from(pad), 0);
        bytes.extend(crc.to_le_bytes());
        assert_eq!(bytes, frame.payload);
    }
}

#[test]
fn headers_say_what_was_sent() {
    let frames = frames();
    let find = |opcode: Opcode| -> (Bth, Extension, usize) {
        let packets = frames
            .iter()
            .map(|frame| Packet::parse(&frame.payload).expect("whole"));
        let found = packets
            .into_iter()
            .find(|packet| packet.bth.opcode == opcode);
        let packet = found.expect("captured");
        (packet.bth, packet.extension, packet.payload.len())
    };
    let (bth, extension, length) = find(Opcode::RC_RDMA_READ_REQUEST);
    assert!(bth.ack_request);
    assert_eq!(length, 0);
    let reth = Reth {
        address: 0x5000_1000,
        key: 0x18a,
        length: 30,
    };
    assert_eq!(extension.reth, Some(reth));
    let (bth, extension, length) = find(Opcode::RC_RDMA_READ_RESPONSE_ONLY);
    assert_eq!((bth.pad_count, length), (2, 30));
    assert_eq!(extension.aeth.expect("AETH").syndrome, Syndrome::ACK);
    let (_, extension, _) = find(Opcode::RC_ACKNOWLEDGE);
    assert_eq!(extension.aeth.expect("AETH").msn, 2);
    let (bth, _, length) = find(Opcode::RC_SEND_ONLY);
    assert_eq!((bth.ack_request, bth.solicited, length), (true, false, 16));
    let (_, extension, _) = find(Opcode::UD_SEND_ONLY);
    let deth = extension.deth.expect("DETH");
    assert_eq!((deth.q_key, deth.source), (GSI_Q_KEY, 1));
}

fn mads() -> Vec<(Vec<u8>, Mad)> {
    let frames = frames();
    let packets = frames
        .iter()
        .map(|frame| Packet::parse(&frame.payload).expect("whole"));
    let mads = packets.filter(|packet| packet.bth.opcode == Opcode::UD_SEND_ONLY);
    mads.map(|packet| {
        (
            packet.payload.to_vec(),
            Mad::parse(packet.payload).expect("MAD"),
        )
    })
    .collect()
}

#[test]
fn the_req_of_rdma_cm_is_understood() {
    let mads = mads();
    let reqs: Vec<_> = mads
        .iter()
        .filter_map(|(_, mad)| match mad.message {
            Message::Req(req) => Some(req),
            _ => None,
        })
        .collect();
    let addresses = [("10.7.0.1:37592", "10.7.0.2"), ("", "fd00::2")];
    assert_eq!(reqs.len(), 2);
    for (req, (source, destination)) in reqs.into_iter().zip(addresses) {
        assert_eq!(req.service_id, tcp_service_id(7174));
        assert_eq!(req.ca_guid, 0xff_fe00_0001);
        assert_eq!((req.responder_resources, req.initiator_depth), (1, 1));
        assert_eq!(
            (req.retry_count, req.rnr_retry, req.max_retries),
            (7, 7, 15)
        );
        assert_eq!(
            (req.local_response_timeout, req.remote_response_timeout),
            (20, 20)
        );
        assert_eq!(
            (req.transport_type, req.path_mtu, req.ack_timeout),
            (0, 3, 17)
        );
        let (header, rest) = RdmaCmHeader::parse(req.private_data.as_slice()).expect("header");
        assert_eq!(header.destination.to_string(), destination);
        if !source.is_empty() {
            assert_eq!(header.source.to_string(), source);
        }
        assert_eq!(rest, [0; 56]);
        let gid = header.source.ip();
        assert_eq!(roce::cm::gid(gid), req.local_gid);
    }
}

#[test]
fn the_short_messages_are_made_again_byte_for_byte() {
    let mut seen = 0;
    for (bytes, mad) in mads() {
        if matches!(mad.message, Message::Req(_)) {
            continue;
        }
        assert_eq!(mad.emit().as_slice(), bytes, "{mad:?}");
        seen += 1;
    }
    assert_eq!(seen, 4);
}
