use proptest::prelude::*;

use super::*;
use crate::psn::Psn;

fn datagram(opcode: Opcode, extension: &Extension, payload: &[u8]) -> Vec<u8> {
    let mut bth = Bth::new(opcode, 0x11, Psn::new(0x22));
    bth.pad_count = pad_count(payload.len());
    let mut bytes = HeaderBytes::emit(bth, extension).as_slice().to_vec();
    bytes.extend(payload);
    bytes.resize(bytes.len() + usize::from(bth.pad_count) + ICRC_LEN, 0);
    bytes
}

fn extension(layout: Layout) -> Extension {
    Extension {
        deth: layout.deth.then_some(Deth {
            q_key: GSI_Q_KEY,
            source: 1,
        }),
        reth: layout.reth.then_some(Reth {
            address: 0x1122_3344_5566_7788,
            key: 0x99aa_bbcc,
            length: 0x0102_0304,
        }),
        aeth: layout.aeth.then_some(Aeth {
            syndrome: Syndrome::RnrNak(3),
            msn: 0x01_0203,
        }),
        immediate: layout.immediate.then_some(0xdead_beef),
        invalidate: layout.invalidate.then_some(0x0bad_cafe),
    }
}

#[test]
fn every_opcode_survives_a_round_trip() {
    for byte in 0..=255 {
        let opcode = Opcode(byte);
        let Some(shape) = opcode.shape() else {
            continue;
        };
        if shape.layout.atomic || shape.layout.atomic_acknowledge {
            continue;
        }
        let payload: &[u8] = if shape.layout.payload {
            b"seven b"
        } else {
            b""
        };
        let extension = extension(shape.layout);
        let bytes = datagram(opcode, &extension, payload);
        let packet = Packet::parse(&bytes).expect("whole");
        assert_eq!(packet.bth.opcode, opcode);
        assert_eq!(packet.extension, extension);
        assert_eq!(packet.payload, payload);
    }
}

#[test]
fn every_opcode_cut_anywhere_is_refused_or_shorter() {
    for byte in 0..=255 {
        let Some(shape) = Opcode(byte).shape() else {
            continue;
        };
        let bytes = datagram(Opcode(byte), &extension(shape.layout), b"");
        let need = bytes.len()
            - if shape.layout.atomic || shape.layout.atomic_acknowledge {
                0
            } else {
                1
            };
        for len in 0..need {
            assert!(
                Packet::parse(&bytes[..len]).is_err(),
                "{:?} {len}",
                Opcode(byte)
            );
        }
    }
}

#[test]
fn refusals_name_what_was_wrong() {
    let mut version = datagram(Opcode::RC_SEND_ONLY, &Extension::default(), b"");
    version[1] |= 2;
    assert_eq!(Packet::parse(&version), Err(PacketError::Version(2)));
    let unknown = datagram(Opcode(0x1f), &Extension::default(), b"");
    assert_eq!(
        Packet::parse(&unknown),
        Err(PacketError::Opcode(Opcode(0x1f)))
    );
    let mut pad = datagram(Opcode::RC_SEND_ONLY, &Extension::default(), b"");
    pad[1] |= 0x30;
    assert_eq!(
        Packet::parse(&pad),
        Err(PacketError::Pad {
            bytes: 0,
            pad_count: 3
        })
    );
    let aeth = extension(Opcode::RC_ACKNOWLEDGE.shape().expect("known").layout);
    let payload = datagram(Opcode::RC_ACKNOWLEDGE, &aeth, b"data");
    assert_eq!(
        Packet::parse(&payload),
        Err(PacketError::Payload {
            opcode: Opcode::RC_ACKNOWLEDGE,
            bytes: 4
        })
    );
    let mut read = [0; 20];
    read[0] = 0x0c;
    let short = Packet::parse(&read).expect_err("no RETH");
    assert_eq!(
        short.to_string(),
        "expected at least 32 bytes for RC_RDMA_READ_REQUEST, got 20"
    );
}

#[test]
fn atomics_are_understood_so_that_they_can_be_refused() {
    let mut bytes = vec![0; 12 + 28 + 4];
    bytes[0] = 0x13;
    let packet = Packet::parse(&bytes).expect("whole");
    assert_eq!(packet.shape.family, Family::Atomic);
    assert!(packet.payload.is_empty());
}

proptest! {
    #[test]
    fn no_bytes_make_the_parser_read_beyond_them(bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
        if let Ok(packet) = Packet::parse(&bytes) {
            prop_assert!(packet.payload.len() + 16 <= bytes.len());
        }
    }
}
