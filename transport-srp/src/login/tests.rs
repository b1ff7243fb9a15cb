use super::*;
use crate::port_id::PortIdOrder;

const TARGET: TargetPortId = TargetPortId {
    id_ext: 0x0002_c903_0050_5174,
    ioc_guid: 0x0002_c903_0050_5175,
};
const GUID: u64 = 0x0023_7dff_ff95_169d;

fn policy() -> LoginPolicy {
    LoginPolicy::new(TARGET)
}

/// What `ib_srp` sends for a second channel.
fn linux() -> LoginReq {
    let mut initiator_port_id = [0; 16];
    initiator_port_id[8..].copy_from_slice(&GUID.to_be_bytes());
    LoginReq {
        tag: 0x77,
        req_it_iu_len: 8260,
        req_buf_fmt: FORMAT_DIRECT | FORMAT_INDIRECT,
        multichannel: MultichannelAction::MULTI,
        imm_data_offset: Some(68),
        initiator_port_id,
        target_port_id: TARGET.to_bytes(PortIdOrder::Rev16a),
    }
}

fn refusal(policy: &LoginPolicy, iu: &LoginReq) -> LoginRefusal {
    let examined = policy.examine(&iu.to_bytes(), Carrier::IbCm, None);
    let refused = examined.expect_err("refused");
    assert_eq!(refused.tag, iu.tag);
    let reject = LoginRej::parse(&refused.to_bytes()).expect("a reject");
    assert_eq!(reject.tag, iu.tag);
    assert_eq!(reject.reason, refused.refusal.reason());
    refused.refusal
}

#[test]
fn both_carriers_bring_the_same_request() {
    let native = policy().examine(&linux().to_bytes(), Carrier::IbCm, None);
    let mut padded = linux().to_rdma_cm_bytes().to_vec();
    padded.resize(196, 0);
    let request = policy().examine(&padded, Carrier::RdmaCm, None);
    assert_eq!(native, request);
    let request = request.expect("granted");
    assert_eq!(request.initiator_port.guid(), GUID);
    assert_eq!(request.initiator_port.order, PortIdOrder::Rev16a);
    assert_eq!(request.multichannel, MultichannelAction::MULTI);
}

#[test]
fn an_old_draft_initiator_is_understood() {
    let mut iu = linux();
    iu.initiator_port_id.rotate_left(8);
    iu.target_port_id.rotate_left(8);
    let request = policy().examine(&iu.to_bytes(), Carrier::IbCm, None);
    let port = request.expect("granted").initiator_port;
    assert_eq!((port.order, port.guid()), (PortIdOrder::Rev10, GUID));
}

#[test]
fn the_answer_to_linux() {
    let request = policy().examine(&linux().to_bytes(), Carrier::IbCm, None);
    let request = request.expect("granted");
    let (negotiated, bytes) = policy().accept(&request, MultichannelResult::MAINTAINED);
    assert_eq!(
        negotiated,
        Negotiated {
            request_limit: 128,
            max_it_iu_len: 8260,
            imm_data_offset: Some(68),
        }
    );
    let response = LoginRsp::parse(&bytes).expect("a response");
    assert_eq!(
        response,
        LoginRsp {
            tag: 0x77,
            request_limit_delta: 128,
            max_it_iu_len: 8260,
            max_ti_iu_len: 256,
            buf_fmt: 6,
            multichannel: MultichannelResult::MAINTAINED,
            immediate_data: true,
        }
    );
}

#[test]
fn immediate_data_is_granted_only_where_it_can_be_used_in_place() {
    let granted = |policy: LoginPolicy, offset| {
        let iu = LoginReq {
            imm_data_offset: offset,
            ..linux()
        };
        let request = policy.examine(&iu.to_bytes(), Carrier::IbCm, None);
        let request = request.expect("granted");
        let (negotiated, bytes) = policy.accept(&request, MultichannelResult::NO_CHAN);
        let response = LoginRsp::parse(&bytes).expect("a response");
        let offset = negotiated.imm_data_offset;
        assert_eq!(response.immediate_data, offset.is_some());
        offset
    };
    assert_eq!(granted(policy(), Some(68)), Some(68));
    assert_eq!(granted(policy(), Some(68 + 512)), Some(68 + 512));
    assert_eq!(granted(policy(), None), None);
    assert_eq!(granted(policy(), Some(48)), None, "inside the command");
    assert_eq!(granted(policy(), Some(72)), None, "unaligned");
    assert_eq!(
        granted(policy(), Some(68 + 16 * 512)),
        None,
        "behind the message"
    );
    let off = LoginPolicy {
        immediate_data: false,
        ..policy()
    };
    assert_eq!(granted(off, Some(68)), None);
}

#[test]
fn message_lengths_have_bounds() {
    let with = |req_it_iu_len| LoginReq {
        req_it_iu_len,
        ..linux()
    };
    // 580 is what an ESXi host was seen to ask for.
    for good in [64, 580, 4148, 8260] {
        let iu = with(good).to_bytes();
        assert!(policy().examine(&iu, Carrier::IbCm, None).is_ok());
    }
    let large = refusal(&policy(), &with(8261));
    assert_eq!(large.reason(), LoginRejReason::REQ_IT_IU_LENGTH_TOO_LARGE);
    let small = refusal(&policy(), &with(63));
    assert_eq!(small.reason(), LoginRejReason::UNABLE_TO_ESTABLISH_CHANNEL);
}

#[test]
fn each_refusal_has_the_reason_of_the_standard() {
    let formats = LoginReq {
        req_buf_fmt: FORMAT_DIRECT | 1,
        ..linux()
    };
    let refused = refusal(&policy(), &formats);
    assert_eq!(refused.reason(), LoginRejReason(0x0001_0004));

    let other = LoginReq {
        target_port_id: [9; 16],
        ..linux()
    };
    let refused = refusal(&policy(), &other);
    assert_eq!(refused.reason(), LoginRejReason(0x0001_0003));
    assert!(refused.to_string().contains("09090909"), "{refused}");

    let single = LoginPolicy {
        multichannel: false,
        ..policy()
    };
    let refused = refusal(&single, &linux());
    assert_eq!(refused.reason(), LoginRejReason(0x0001_0005));

    let undefined = LoginReq {
        multichannel: MultichannelAction(3),
        ..linux()
    };
    let refused = refusal(&policy(), &undefined);
    assert_eq!(refused.reason(), LoginRejReason(0x0001_0000));

    let caller = [
        (LoginRefusal::InsufficientResources, 0x0001_0001),
        (LoginRefusal::NotAdmitted, 0x0001_0003),
        (LoginRefusal::ChannelLimitReached, 0x0001_0006),
    ];
    let request = policy().examine(&linux().to_bytes(), Carrier::IbCm, None);
    let request = request.expect("granted");
    for (refusal, reason) in caller {
        let bytes = request.refuse(refusal).to_bytes();
        let reject = LoginRej::parse(&bytes).expect("a reject");
        assert_eq!((reject.tag, reject.reason), (0x77, LoginRejReason(reason)));
    }
}

#[test]
fn a_single_channel_target_takes_a_single_channel_login() {
    let single = LoginPolicy {
        multichannel: false,
        ..policy()
    };
    let iu = LoginReq {
        multichannel: MultichannelAction::SINGLE,
        ..linux()
    };
    assert!(single.examine(&iu.to_bytes(), Carrier::IbCm, None).is_ok());
}

#[test]
fn private_data_without_a_login_is_refused() {
    for len in 0..64 {
        let refused = policy().examine(&linux().to_bytes()[..len], Carrier::IbCm, None);
        let reason = refused.expect_err("cut").refusal.reason();
        assert_eq!(reason, LoginRejReason::UNABLE_TO_ESTABLISH_CHANNEL);
    }
}
