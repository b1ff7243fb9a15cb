//! A session between the kernel's initiator on its soft RoCE and the soft fabric, recorded on the wire and read by
//! somebody else's dissector.

use std::net::UdpSocket;

use roce::packet::UDP_PORT;
use roce::packet::icrc::{self, Ends, Verdict};
use tests::capture::{Capture, Packet};
use tests::deadline::until_true;
use tests::fio::Fio;
use tests::rxe::Wire;
use tests::srptgt::Srptgt;
use tests::vm::{Options, scenario};

#[test]
fn every_packet_of_a_session_is_well_formed_and_its_icrc_is_right() {
    let name = "every_packet_of_a_session_is_well_formed_and_its_icrc_is_right";
    let options = Options {
        time_limit_s: 240,
        ..Options::default()
    };
    scenario(name, options, || {
        let wire = Wire::with_bare_target(0);
        let target = Srptgt::serving_on("soft", &wire.initiator, &["--ram --size 8M"]);
        let capture = Capture::start(&wire.target.netdev);
        let session = target.login(&wire.initiator, wire.target.address).succeed();
        Fio::random_write(&session.disk(0).path())
            .verified()
            .with("bsrange", "4k-256k")
            .with("blockalign", "4k")
            .with("iodepth", 8)
            .with("size", "4m")
            .run();
        session.logout();
        let counters = target.counters();
        let recorded = capture.stop(counters.packets_sent + counters.packets_received);
        assert_eq!(recorded.faults(), [""; 0]);
        let packets = recorded.packets();
        packets.iter().for_each(check_icrc);

        let ours = |packet: &&Packet| packet.source.ip() == wire.target.address;
        let sent = packets.iter().filter(ours).count() as u64;
        let received = packets.len() as u64 - sent;
        println!("{sent} packets of ours, {received} of the kernel's; {counters:?}");
        assert!(sent > 1000 && received > 1000);

        // That the dissector would say so.
        let capture = Capture::start(&wire.target.netdev);
        wire.initiator.within(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            let address = (wire.target.address, UDP_PORT);
            socket.send_to(&[0x0c; 5], address).expect("a cut packet");
        });
        let refused = || target.counters().packets_refused;
        until_true("the cut packet to arrive", 20, || refused() == 1);
        assert_eq!(capture.stop(1).faults().len(), 1);
    });
}

/// With the identification of the IPv4 header, which is on the wire, all 32 bits of it.
fn check_icrc(packet: &Packet) {
    let ends = Ends {
        source: packet.source,
        destination: packet.destination,
    };
    let trailer = packet.payload.last_chunk().expect("an ICRC");
    assert_eq!(packet.invariant_crc, u32::from_be_bytes(*trailer));
    let verdict = icrc::check(&ends, &packet.payload, Some(packet.identification));
    assert_eq!(verdict, Verdict::Good, "{packet:02x?}");
}
