//! A hostile peer on UDP port 4791 of a daemon that serves over the soft fabric: whatever comes by the wire costs its
//! sender something and nobody else. Beside every attack an honest session verifies every byte, and afterwards the
//! daemon holds no more memory than before and lets the next one in.

#[path = "soft_hostile/stranger.rs"]
mod stranger;

use std::net::IpAddr;
use std::time::Duration;

use initiator::{Lun, PortIdOrder, Scsi, Session, TargetPortId};
use roce::cm::Event;
use roce::packet::icrc::{self, Verdict};
use roce::packet::{Aeth, Bth, Deth, Extension, GSI_Q_KEY, Nak, Opcode, Reth, Syndrome};
use roce::{Key, Operation, Psn, Remote, Status};
use stranger::Stranger;
use tests::bed::{Peer, natively};
use tests::bystander::Bystander;
use tests::deadline::{until, until_true};
use tests::srptgt::Srptgt;
use transport_srp::wire::LoginReq;
use transport_srp::wire::login::{FORMAT_DIRECT, MultichannelAction};

/// The honest session goes on to touch memory for the first time while the attack runs; an attack adds little.
const GROWTH_KIB: u64 = 16 << 10;

/// What an attack has to work with.
struct Stage<'a> {
    target: &'a Srptgt,
    address: IpAddr,
    bystander: &'a Bystander,
    /// A host that is let in, and knows how to misuse it.
    insider: Peer,
}

fn beside_a_bystander(attack: impl FnOnce(&Stage<'_>)) {
    natively(|bed| {
        let (honest, insider) = (bed.peer(), bed.peer());
        let target = bed.serving(&["--ram --size 16M"], &[&honest, &insider]);
        let bystander = Bystander::on(bed, &target, honest);
        let before = target.resident_kib();
        attack(&Stage {
            target: &target,
            address: honest.target.ip(),
            bystander: &bystander,
            insider,
        });
        let after = target.resident_kib();
        println!("resident memory: {before} KiB before, {after} KiB after");
        assert!(after <= before + GROWTH_KIB, "{} KiB more", after - before);
        let fabric = insider.fabric();
        let mut session = until("the next one to be let in", 60, || {
            Session::connect_on(&fabric, &insider.options()).ok()
        });
        session.await_ready(Lun::peripheral(0)).expect("ready");
        session.logout();
        bystander.leave(&target);
    });
}

impl Stage<'_> {
    fn stranger(&self) -> Stranger {
        Stranger::new(self.address)
    }

    /// Waits until the target has refused that many packets more than `before`.
    #[track_caller]
    fn refused_since(&self, before: u64, count: u64) {
        let refused = || self.target.counters().packets_refused - before;
        until_true("the packets to be refused", 30, || refused() >= count);
    }

    /// The private data of a login that is granted; another extension is another session.
    fn login(&self, extension: u64) -> Vec<u8> {
        let this = TargetPortId {
            id_ext: extension,
            ioc_guid: self.insider.guid,
        };
        let login = LoginReq {
            tag: 1,
            req_it_iu_len: 1024,
            req_buf_fmt: FORMAT_DIRECT,
            multichannel: MultichannelAction::SINGLE,
            imm_data_offset: None,
            initiator_port_id: this.to_bytes(PortIdOrder::Rev16a),
            target_port_id: Peer::target_port().to_bytes(PortIdOrder::Rev16a),
        };
        login.to_rdma_cm_bytes().to_vec()
    }
}

/// A sequence that looks like chance and is the same in every run.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn word(&mut self) -> u32 {
        (self.next() >> 32) as u32
    }

    fn psn(&mut self) -> Psn {
        Psn::new(self.word() & 0x00ff_ffff)
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| (self.next() >> 24) as u8).collect()
    }
}

fn request(opcode: Opcode, queue_pair: u32, dice: &mut Dice) -> (Bth, Extension) {
    let shape = opcode.shape().expect("a known opcode");
    let reth = Reth {
        address: dice.next(),
        key: dice.word(),
        length: dice.word(),
    };
    let extension = Extension {
        deth: None,
        reth: shape.layout.reth.then_some(reth),
        aeth: None,
        immediate: shape.layout.immediate.then(|| dice.word()),
        invalidate: shape.layout.invalidate.then(|| dice.word()),
    };
    let bth = Bth {
        ack_request: true,
        ..Bth::new(opcode, queue_pair, dice.psn())
    };
    (bth, extension)
}

fn response(opcode: Opcode, syndrome: Syndrome, queue_pair: u32, psn: Psn) -> (Bth, Extension) {
    let extension = Extension {
        aeth: Some(Aeth { syndrome, msn: 1 }),
        ..Extension::default()
    };
    (Bth::new(opcode, queue_pair, psn), extension)
}

const REQUESTS: [Opcode; 9] = [
    Opcode::RC_SEND_ONLY,
    Opcode::RC_SEND_FIRST,
    Opcode::RC_SEND_LAST,
    Opcode::RC_SEND_ONLY_WITH_INVALIDATE,
    Opcode::RC_RDMA_WRITE_ONLY,
    Opcode::RC_RDMA_WRITE_FIRST,
    Opcode::RC_RDMA_WRITE_ONLY_WITH_IMMEDIATE,
    Opcode::RC_RDMA_WRITE_LAST,
    Opcode::RC_RDMA_READ_REQUEST,
];

#[test]
fn damaged_and_cut_packets_are_counted_and_forgotten() {
    beside_a_bystander(|stage| {
        let stranger = stage.stranger();
        let mut dice = Dice(11);
        let queue_pair = stage.bystander.queue_pairs()[0] as u32;
        let (bth, extension) = request(Opcode::RC_RDMA_WRITE_ONLY, queue_pair, &mut dice);
        let write = stranger.packet(bth, &extension, &dice.bytes(100));
        let datagram = Extension {
            deth: Some(Deth {
                q_key: GSI_Q_KEY,
                source: 1,
            }),
            ..Extension::default()
        };
        let bth = Bth::new(Opcode::UD_SEND_ONLY, 1, Psn::new(0));
        let mad = stranger.packet(bth, &datagram, &dice.bytes(256));
        let before = stage.target.counters().packets_refused;
        let mut bad = 0;
        let mut send = |bytes: &[u8]| {
            // What a router may change is not damage, and what is cut to nothing does not go out.
            if icrc::check(&stranger.ends, bytes, None) == Verdict::Bad && !bytes.is_empty() {
                stranger.send(bytes);
                bad += 1;
            }
        };
        for packet in [&write, &mad] {
            (0..packet.len()).for_each(|len| send(&packet[..len]));
            for bit in 0..packet.len() * 8 {
                let mut flipped = packet.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                send(&flipped);
            }
        }
        for len in (1..1500).step_by(3) {
            send(&dice.bytes(len));
        }
        println!("{bad} bad packets");
        assert!(bad > 3000);
        stage.refused_since(before, bad);
    });
}

#[test]
fn packets_for_queue_pairs_of_others_are_refused() {
    beside_a_bystander(|stage| {
        let stranger = stage.stranger();
        let mut dice = Dice(12);
        let before = stage.target.counters().packets_refused;
        let mut sent = 0;
        let theirs = stage.bystander.queue_pairs().to_vec();
        for round in 0..300 {
            // Theirs, their neighbours, and anything.
            let near = theirs[round % theirs.len()] as u32;
            let anywhere = dice.word() & 0x00ff_ffff;
            for queue_pair in [near, near ^ 1, near + 0x4000, anywhere.max(2)] {
                let opcode = REQUESTS[round % REQUESTS.len()];
                let (bth, extension) = request(opcode, queue_pair, &mut dice);
                stranger.send(&stranger.packet(bth, &extension, &payload(opcode)));
                let nak = Syndrome::Nak(Nak::RemoteAccess);
                let psn = dice.psn();
                let (bth, extension) = response(Opcode::RC_ACKNOWLEDGE, nak, queue_pair, psn);
                stranger.send(&stranger.packet(bth, &extension, &[]));
                sent += 2;
            }
        }
        stage.refused_since(before, sent);
    });
}

/// Bytes that an opcode carries; those of the middle of a message fill the path MTU.
fn payload(opcode: Opcode) -> Vec<u8> {
    match opcode {
        Opcode::RC_RDMA_READ_REQUEST => Vec::new(),
        Opcode::RC_SEND_FIRST | Opcode::RC_RDMA_WRITE_FIRST => vec![0xee; 1024],
        _ => vec![0xee; 64],
    }
}

/// With the honest session's own address on it. Whoever also hits the packet number, one in sixteen million, is
/// believed: RoCE has nothing to tell the two apart by. The rest must be harmless.
#[test]
fn wild_packet_numbers_and_forged_keys_under_a_borrowed_address_are_harmless() {
    beside_a_bystander(|stage| {
        let victim = stage.bystander.address().expect("our own initiator");
        let stranger = Stranger::posing_as(victim, stage.address);
        let mut dice = Dice(13);
        let before = stage.target.counters().packets_received;
        let queue_pair = stage.bystander.queue_pairs()[0] as u32;
        for round in 0..450 {
            let opcode = REQUESTS[round % REQUESTS.len()];
            let (bth, extension) = request(opcode, queue_pair, &mut dice);
            stranger.send(&stranger.packet(bth, &extension, &payload(opcode)));
        }
        for round in 0..40 {
            let syndrome = match round % 4 {
                0 => Syndrome::Nak(Nak::Sequence),
                1 => Syndrome::Nak(Nak::RemoteOperational),
                2 => Syndrome::RnrNak(31),
                _ => Syndrome::ACK,
            };
            let (opcode, payload) = match round % 3 {
                0 => (Opcode::RC_RDMA_READ_RESPONSE_ONLY, vec![0xee; 64]),
                _ => (Opcode::RC_ACKNOWLEDGE, Vec::new()),
            };
            let (bth, extension) = response(opcode, syndrome, queue_pair, dice.psn());
            stranger.send(&stranger.packet(bth, &extension, &payload));
        }
        until_true("all of it to arrive", 30, || {
            stage.target.counters().packets_received >= before + 490
        });
    });
}

#[test]
fn forged_keys_and_addresses_out_of_bounds_end_the_forgers_connection_only() {
    beside_a_bystander(|stage| {
        let mut dice = Dice(14);
        let mut stranger = stage.stranger();
        for round in 0..60 {
            let granted = stranger.ask(&stage.login(round));
            let event = stranger.event();
            assert!(matches!(event, Event::Connected { .. }), "{event:?}");
            let remote = Remote {
                address: match round % 3 {
                    0 => dice.next(),
                    1 => u64::MAX - 100,
                    _ => 0,
                },
                key: Key(dice.word()),
            };
            let (operation, length) = match round % 4 {
                0 => (Operation::Write(remote), 64),
                1 => (Operation::Read(remote), 4096),
                2 => (Operation::Write(remote), 60_000),
                _ => (Operation::Read(remote), 60_000),
            };
            stranger.post(granted.qp, operation, length);
            let completion = stranger.completion();
            // The target's goodbye may overtake its NAK.
            use Status::{Flushed, RemoteAccessError, RemoteInvalidRequestError};
            let refused = [RemoteAccessError, RemoteInvalidRequestError, Flushed];
            assert!(refused.contains(&completion.status), "{completion:?}");
            assert!(stranger.has_learnt_nothing(), "memory of the target came");
            stranger.disconnect(granted);
            while !matches!(stranger.event(), Event::Disconnected { .. }) {}
        }
    });
}

#[test]
fn a_flood_of_connection_requests_is_bounded() {
    beside_a_bystander(|stage| {
        let before = stage.target.counters();
        // Somebody who is let in and says nothing more, somebody who is not, and somebody who speaks no SRP.
        let mut strangers: Vec<_> = (0..3).map(|_| stage.stranger()).collect();
        let mut dice = Dice(15);
        for round in 0..1500 {
            let logins = [stage.login(1000 + round), vec![0; 56], dice.bytes(56)];
            for (stranger, login) in strangers.iter_mut().zip(logins) {
                stranger.ask(&login);
                if round % 32 == 0 {
                    stranger.listen(Duration::from_millis(2));
                }
            }
        }
        for stranger in &mut strangers {
            stranger.listen(Duration::from_millis(200));
        }
        let after = stage.target.counters();
        let logins = after.logins_accepted - before.logins_accepted;
        let answers: usize = strangers.iter().map(|stranger| stranger.heard.len()).sum();
        println!("4500 requests: {answers} answers, {logins} logins granted");
        assert!(answers > 100);
        // What is half open is bounded by 128; what times out makes room for others.
        assert!((1..=512).contains(&logins), "{logins} logins were granted");
    });
}

#[test]
fn what_the_target_said_means_nothing_when_it_comes_back() {
    beside_a_bystander(|stage| {
        let mut stranger = stage.stranger();
        let granted = stranger.ask(&stage.login(1));
        let event = stranger.event();
        assert!(matches!(event, Event::Connected { .. }), "{event:?}");
        for _ in 0..100 {
            stranger.ask(&[0; 56]);
        }
        stranger.post(granted.qp, Operation::Send, 3);
        stranger.listen(Duration::from_millis(300));
        let heard = std::mem::take(&mut stranger.heard);
        assert!(heard.len() > 50, "{} packets", heard.len());
        let before = stage.target.counters().packets_received;
        for bytes in &heard {
            // As it was, and with a checksum that is right for the way back.
            stranger.send(bytes);
            let body = bytes[..bytes.len() - 4].to_vec();
            stranger.send(&stranger.sealed(body));
        }
        let sent = 2 * heard.len() as u64;
        until_true("all of it to arrive", 30, || {
            stage.target.counters().packets_received >= before + sent
        });
    });
}
