use proptest::prelude::*;

use super::*;

fn req() -> Req {
    Req {
        local_id: 0x0102_0304,
        service_id: 0x0106_1c06,
        ca_guid: 0x1122_3344_5566_7788,
        qpn: 0xab_cdef,
        responder_resources: 3,
        initiator_depth: 4,
        remote_response_timeout: 20,
        transport_type: 0,
        flow_control: true,
        starting_psn: Psn::new(0x12_3456),
        local_response_timeout: 19,
        retry_count: 7,
        p_key: 0xffff,
        path_mtu: 5,
        rnr_retry: 6,
        max_retries: 15,
        srq: true,
        local_gid: [1; 16],
        remote_gid: [2; 16],
        flow_label: 0xf_1234,
        traffic_class: 9,
        hop_limit: 64,
        ack_timeout: 17,
        private_data: PrivateData::of(&[7; 92]),
    }
}

fn every_message() -> Vec<Message> {
    let ids = Ids {
        local: 0x1111_2222,
        remote: 0x3333_4444,
    };
    vec![
        Message::Req(req()),
        Message::Mra {
            ids,
            answered: Answered::Rep,
            service_timeout: 21,
        },
        Message::Rej(Rej {
            ids,
            answered: Answered::Other,
            reason: RejectReason::CONSUMER_DEFINED,
            additional: 0x99,
            private_data: PrivateData::of(&[3; 148]),
        }),
        Message::Rep(Rep {
            ids,
            qpn: 0x12_3456,
            starting_psn: Psn::new(0x65_4321),
            responder_resources: 1,
            initiator_depth: 2,
            ack_delay: 15,
            flow_control: true,
            rnr_retry: 7,
            srq: true,
            ca_guid: 5,
            private_data: PrivateData::of(&[4; 196]),
        }),
        Message::Rtu {
            ids,
            private_data: PrivateData::of(&[5; 224]),
        },
        Message::Dreq {
            ids,
            remote_qpn: 0x77_8899,
        },
        Message::Drep { ids },
        Message::SidrReq {
            request_id: 5,
            service_id: 6,
        },
        Message::SidrRep {
            request_id: 5,
            status: 1,
            service_id: 6,
        },
        Message::Lap { ids },
        Message::Apr { ids, status: 2 },
    ]
}

#[test]
fn every_message_survives_a_round_trip() {
    for message in every_message() {
        let mad = Mad {
            transaction_id: 0x0123_4567_89ab_cdef,
            message,
        };
        assert_eq!(Mad::parse(&mad.emit()), Ok(mad));
    }
}

#[test]
fn fields_of_the_req_stand_where_table_106_says() {
    let bytes = Mad {
        transaction_id: 0,
        message: Message::Req(req()),
    }
    .emit();
    let body = &bytes[24..];
    assert_eq!(body[..4], [1, 2, 3, 4]);
    assert_eq!(body[32..36], [0xab, 0xcd, 0xef, 3]);
    assert_eq!(body[39], 4);
    assert_eq!(body[43], 20 << 3 | 1);
    assert_eq!(body[44..48], [0x12, 0x34, 0x56, 19 << 3 | 7]);
    assert_eq!(body[50..52], [5 << 4 | 6, 15 << 4 | 8]);
    assert_eq!(body[88..91], [0xf1, 0x23, 0x40]);
    assert_eq!(body[95], 17 << 3);
    assert_eq!(body[140..], [7; 92]);
}

#[test]
fn foreign_mads_are_refused_by_name() {
    let good = Mad {
        transaction_id: 0,
        message: Message::Req(req()),
    }
    .emit();
    assert_eq!(Mad::parse(&good[..255]), Err(MadError::Length(255)));
    let mut class = good;
    class[1] = 3;
    assert_eq!(
        Mad::parse(&class),
        Err(MadError::Class {
            class: 3,
            version: 2,
            method: 3
        })
    );
    let mut attribute = good;
    attribute[17] = 0x30;
    assert_eq!(Mad::parse(&attribute), Err(MadError::Attribute(0x30)));
}

proptest! {
    #[test]
    fn what_is_parsed_is_stable(
        attribute in 0x10_u8..0x1c,
        body in proptest::collection::vec(any::<u8>(), 232),
    ) {
        let mut bytes = vec![1, 7, 2, 3, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, attribute, 0, 0, 0, 0, 0, 0];
        bytes.extend(body);
        if let Ok(mad) = Mad::parse(&bytes) {
            prop_assert_eq!(Mad::parse(&mad.emit()), Ok(mad));
        }
    }
}
