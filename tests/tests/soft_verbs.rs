//! The soft fabric and the kernel's soft RoCE seen from user space: `rping` of rdmacm-utils, and an endpoint of our own
//! over verbs, which sends, writes and reads what `perftest` would, and looks at every byte.

use std::net::{IpAddr, SocketAddr};
use std::thread;

use iobuf::RemoteSegment;
use rdma::{Fabric, SoftConfig};
use tests::deadline::until;
use tests::endpoint::{Endpoint, MESSAGE_BYTES, Waiting};
use tests::rping;
use tests::rxe::Wire;
use tests::vm::{Options, scenario};

const PORT: u16 = 7174;
/// `rping` can do no more.
const RPING_BYTES: usize = 65535;

fn options() -> Options {
    Options {
        time_limit_s: 240,
        ..Options::default()
    }
}

fn soft() -> Fabric {
    Fabric::soft(SoftConfig::default())
}

/// Addresses of the two ends of a wire: of ours and of the kernel's, by IPv4 and IPv6.
fn addresses(wire: &Wire) -> [(IpAddr, IpAddr); 2] {
    let v6 = (wire.target.add_ipv6(), wire.initiator.add_ipv6());
    let v4 = (wire.target.address, wire.initiator.address);
    [(v4.0.into(), v4.1.into()), (v6.0.into(), v6.1.into())]
}

fn connect(fabric: &Fabric, address: SocketAddr) -> Endpoint {
    until("somebody to listen", 30, || {
        Endpoint::connect(fabric, address)
    })
}

#[test]
fn rping_of_the_kernels_side_in_both_roles() {
    let name = "rping_of_the_kernels_side_in_both_roles";
    scenario(name, options(), || {
        let wire = Wire::with_bare_target(0);
        for (ours, kernels) in addresses(&wire) {
            for (bytes, rounds) in [(64, 20), (4999, 20), (RPING_BYTES, 30)] {
                let rping = format!("timeout 60 rping -p {PORT} -C {rounds} -S {bytes} -V");
                let waiting = Waiting::on(&soft(), SocketAddr::new(ours, PORT));
                let client = wire.initiator.start(&format!("{rping} -c -a {ours}"));
                assert_eq!(rping::serve(waiting.accept()), rounds);
                client.finish("").output();

                let server = wire.initiator.start(&format!("{rping} -s -a {kernels}"));
                let end = connect(&soft(), SocketAddr::new(kernels, PORT));
                rping::ask(end, rounds, bytes);
                server.finish("").output();
            }
        }
    });
}

#[test]
fn large_messages_reads_and_writes_many_at_a_time() {
    let name = "large_messages_reads_and_writes_many_at_a_time";
    scenario(name, options(), || {
        let wire = Wire::with_bare_target(0);
        let theirs = &wire.initiator;
        for (ours, kernels) in addresses(&wire) {
            let [ours, kernels] = [ours, kernels].map(|ip| SocketAddr::new(ip, PORT));
            thread::scope(|scope| {
                let waiting = Waiting::on(&soft(), ours);
                scope.spawn(move || theirs.within(|| ask(connect(&Fabric::verbs(), ours))));
                answer(waiting.accept());
            });
            thread::scope(|scope| {
                let waiting = || Waiting::on(&Fabric::verbs(), kernels);
                scope.spawn(move || theirs.within(|| answer(waiting().accept())));
                ask(connect(&soft(), kernels));
            });
        }
    });
}

/// Operations outstanding.
const DEPTH: usize = 8;
const LENGTHS: [usize; 5] = [1, 4097, 65_536, 300_001, MESSAGE_BYTES];

/// Bytes of one operation; all are different.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    let seed = (seed as u32 + 1).wrapping_mul(0x9e37_79b9);
    let byte =
        |index: usize| (seed.wrapping_add(index as u32).wrapping_mul(2_654_435_761) >> 21) as u8;
    (0..len).map(byte).collect()
}

/// The part of a region that belongs to one operation.
fn part(region: RemoteSegment, number: usize, len: usize) -> RemoteSegment {
    RemoteSegment {
        address: region.address + (number * len) as u64,
        length: u32::try_from(len).expect("short"),
        ..region
    }
}

/// Sends messages, reads what the peer has, writes it anew, and has every byte compared.
fn ask(mut end: Endpoint) {
    for len in LENGTHS {
        (0..DEPTH).for_each(|number| end.send(&pattern(number, len)));
        end.settle();
        let announced = end.message().expect("an announcement");
        let region = RemoteSegment {
            address: word(&announced[..8]),
            key: u32::try_from(word(&announced[8..16])).expect("a key"),
            length: 0,
        };
        (0..DEPTH).for_each(|number| end.read(part(region, number, len)));
        for number in 0..DEPTH {
            assert!(
                end.pulled() == pattern(100 + number, len),
                "read {number} of {len}"
            );
        }
        for number in 0..DEPTH {
            let data = pattern(200 + number, len);
            end.write(Some((&data, part(region, number, len))), b"written");
        }
        end.settle();
        assert_eq!(end.message().as_deref(), Some(&b"right"[..]), "{len} bytes");
    }
    end.close();
}

fn answer(mut end: Endpoint) {
    for len in LENGTHS {
        for number in 0..DEPTH {
            let message = end.message().expect("a message");
            assert!(message == pattern(number, len), "message {number} of {len}");
        }
        let whole = |seed: usize| -> Vec<u8> {
            let parts = (seed..seed + DEPTH).map(|seed| pattern(seed, len));
            parts.collect::<Vec<_>>().concat()
        };
        let mut region = end.expose(&whole(100));
        let RemoteSegment { address, key, .. } = region.segment();
        end.send(&[address.to_be_bytes(), u64::from(key).to_be_bytes()].concat());
        for _ in 0..DEPTH {
            assert_eq!(end.message().as_deref(), Some(&b"written"[..]));
        }
        let mut written = vec![0; DEPTH * len];
        assert!(region.read(0, &mut written));
        assert!(written == whole(200), "writes of {len}");
        end.send(b"right");
        end.settle();
    }
    assert_eq!(end.message(), None, "the end");
    end.close();
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_be_bytes(bytes.try_into().expect("eight bytes"))
}
