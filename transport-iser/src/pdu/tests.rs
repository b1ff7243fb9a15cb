//! Vectors made by hand from the RFC's pictures, and round trips of everything.

use proptest::collection::vec;
use proptest::prelude::*;
use target_core::lun::Lun;
use target_core::status::Status;

use super::*;
use crate::Sn;

/// A header from hex words of four bytes, as the RFC draws them.
fn words(hex: &str) -> Bhs {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    bytes.try_into().expect("48 bytes")
}

/// Checks that the value encodes to the words and parses from them.
macro_rules! vector {
    ($value:expr, $type:ident, $data:expr, $hex:expr) => {{
        let (value, bytes): ($type, Bhs) = ($value, words($hex));
        assert_eq!(value.encode($data), bytes);
        assert_eq!($type::parse(&bytes), Ok(value));
        assert_eq!(Lengths::of(&bytes).data, $data);
    }};
}

const LUN_5: Lun = Lun([0, 5, 0, 0, 0, 0, 0, 0]);

#[test]
fn scsi_command_vector() {
    vector!(
        ScsiCommand {
            immediate: true,
            is_final: true,
            read: false,
            write: true,
            attribute: AttributeCode::HEAD_OF_QUEUE,
            lun: LUN_5,
            initiator_task_tag: 0x0102_0304,
            expected_data_transfer_length: 0x1_0000,
            cmd_sn: Sn(7),
            exp_stat_sn: Sn(8),
            cdb: [0x2a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 0, 0, 0, 0, 0xff],
        },
        ScsiCommand,
        0x0001_0203,
        "41a30000 00010203 00050000 00000000 01020304 00010000 00000007 00000008
         2a010203 04050607 08090000 000000ff"
    );
}

#[test]
fn scsi_response_vector() {
    vector!(
        ScsiResponse {
            bidirectional_read_overflow: true,
            bidirectional_read_underflow: false,
            overflow: false,
            underflow: true,
            response: ResponseCode::COMMAND_COMPLETED_AT_TARGET,
            status: Status::CHECK_CONDITION,
            initiator_task_tag: 0xa,
            snack_tag: 0xb,
            stat_sn: Sn(0xc),
            exp_cmd_sn: Sn(0xd),
            max_cmd_sn: Sn(0xe),
            exp_data_sn: Sn(0xf),
            bidirectional_read_residual_count: 0x10,
            residual_count: 0x11,
        },
        ScsiResponse,
        20,
        "21920002 00000014 00000000 00000000 0000000a 0000000b 0000000c 0000000d
         0000000e 0000000f 00000010 00000011"
    );
}

#[test]
fn data_vectors() {
    vector!(
        DataOut {
            is_final: true,
            lun: LUN_5,
            initiator_task_tag: 1,
            target_transfer_tag: 2,
            exp_stat_sn: Sn(3),
            data_sn: Sn(4),
            buffer_offset: 5,
        },
        DataOut,
        512,
        "05800000 00000200 00050000 00000000 00000001 00000002 00000000 00000003
         00000000 00000004 00000005 00000000"
    );
    vector!(
        DataIn {
            is_final: true,
            acknowledge: false,
            overflow: false,
            underflow: true,
            has_status: true,
            status: Status::GOOD,
            lun: Lun::default(),
            initiator_task_tag: 1,
            target_transfer_tag: RESERVED_TAG,
            stat_sn: Sn(2),
            exp_cmd_sn: Sn(3),
            max_cmd_sn: Sn(4),
            data_sn: Sn(5),
            buffer_offset: 6,
            residual_count: 7,
        },
        DataIn,
        36,
        "25830000 00000024 00000000 00000000 00000001 ffffffff 00000002 00000003
         00000004 00000005 00000006 00000007"
    );
    vector!(
        R2t {
            lun: LUN_5,
            initiator_task_tag: 1,
            target_transfer_tag: 2,
            stat_sn: Sn(3),
            exp_cmd_sn: Sn(4),
            max_cmd_sn: Sn(5),
            r2t_sn: Sn(6),
            buffer_offset: 7,
            desired_data_transfer_length: 8,
        },
        R2t,
        0,
        "31800000 00000000 00050000 00000000 00000001 00000002 00000003 00000004
         00000005 00000006 00000007 00000008"
    );
}

#[test]
fn nop_vectors() {
    vector!(
        NopOut {
            immediate: true,
            lun: LUN_5,
            initiator_task_tag: RESERVED_TAG,
            target_transfer_tag: 1,
            cmd_sn: Sn(2),
            exp_stat_sn: Sn(3),
        },
        NopOut,
        0,
        "40800000 00000000 00050000 00000000 ffffffff 00000001 00000002 00000003
         00000000 00000000 00000000 00000000"
    );
    vector!(
        NopIn {
            lun: LUN_5,
            initiator_task_tag: 1,
            target_transfer_tag: RESERVED_TAG,
            stat_sn: Sn(2),
            exp_cmd_sn: Sn(3),
            max_cmd_sn: Sn(4),
        },
        NopIn,
        4,
        "20800000 00000004 00050000 00000000 00000001 ffffffff 00000002 00000003
         00000004 00000000 00000000 00000000"
    );
}

#[test]
fn task_management_vectors() {
    vector!(
        TaskManagementRequest {
            immediate: true,
            function: TaskManagementCode::ABORT_TASK,
            lun: LUN_5,
            initiator_task_tag: 1,
            referenced_task_tag: 2,
            cmd_sn: Sn(3),
            exp_stat_sn: Sn(4),
            ref_cmd_sn: Sn(5),
            exp_data_sn: Sn(6),
        },
        TaskManagementRequest,
        0,
        "42810000 00000000 00050000 00000000 00000001 00000002 00000003 00000004
         00000005 00000006 00000000 00000000"
    );
    vector!(
        TaskManagementResponse {
            response: TaskManagementResult::FUNCTION_REJECTED,
            initiator_task_tag: 1,
            stat_sn: Sn(2),
            exp_cmd_sn: Sn(3),
            max_cmd_sn: Sn(4),
        },
        TaskManagementResponse,
        0,
        "2280ff00 00000000 00000000 00000000 00000001 00000000 00000002 00000003
         00000004 00000000 00000000 00000000"
    );
}

#[test]
fn login_vectors() {
    vector!(
        LoginRequest {
            immediate: true,
            transit: true,
            continues: false,
            current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
            next_stage: Stage::FULL_FEATURE_PHASE,
            version_max: 1,
            version_min: 0,
            isid: [0x00, 0x02, 0x3d, 4, 5, 6],
            tsih: 0x0708,
            initiator_task_tag: 9,
            cid: 0x0a0b,
            cmd_sn: Sn(0xc),
            exp_stat_sn: Sn(0xd),
        },
        LoginRequest,
        8192,
        "43870100 00002000 00023d04 05060708 00000009 0a0b0000 0000000c 0000000d
         00000000 00000000 00000000 00000000"
    );
    vector!(
        LoginResponse {
            transit: false,
            continues: true,
            current_stage: Stage::LOGIN_OPERATIONAL_NEGOTIATION,
            next_stage: Stage::SECURITY_NEGOTIATION,
            version_max: 0,
            version_active: 1,
            isid: [1, 2, 3, 4, 5, 6],
            tsih: 0x0708,
            initiator_task_tag: 9,
            stat_sn: Sn(0xa),
            exp_cmd_sn: Sn(0xb),
            max_cmd_sn: Sn(0xc),
            status: LoginStatus::NOT_FOUND,
        },
        LoginResponse,
        1,
        "23440001 00000001 01020304 05060708 00000009 00000000 0000000a 0000000b
         0000000c 02030000 00000000 00000000"
    );
    assert_eq!(LoginStatus::NOT_FOUND.class(), login::CLASS_INITIATOR_ERROR);
    assert_eq!(LoginStatus::NOT_FOUND.detail(), 3);
}

#[test]
fn text_vectors() {
    vector!(
        TextRequest {
            immediate: false,
            is_final: true,
            continues: false,
            lun: Lun::default(),
            initiator_task_tag: 1,
            target_transfer_tag: RESERVED_TAG,
            cmd_sn: Sn(2),
            exp_stat_sn: Sn(3),
        },
        TextRequest,
        16,
        "04800000 00000010 00000000 00000000 00000001 ffffffff 00000002 00000003
         00000000 00000000 00000000 00000000"
    );
    vector!(
        TextResponse {
            is_final: false,
            continues: true,
            lun: LUN_5,
            initiator_task_tag: 1,
            target_transfer_tag: 2,
            stat_sn: Sn(3),
            exp_cmd_sn: Sn(4),
            max_cmd_sn: Sn(5),
        },
        TextResponse,
        0,
        "24400000 00000000 00050000 00000000 00000001 00000002 00000003 00000004
         00000005 00000000 00000000 00000000"
    );
}

#[test]
fn logout_vectors() {
    vector!(
        LogoutRequest {
            immediate: true,
            reason: LogoutReason::CLOSE_CONNECTION,
            initiator_task_tag: 1,
            cid: 2,
            cmd_sn: Sn(3),
            exp_stat_sn: Sn(4),
        },
        LogoutRequest,
        0,
        "46810000 00000000 00000000 00000000 00000001 00020000 00000003 00000004
         00000000 00000000 00000000 00000000"
    );
    vector!(
        LogoutResponse {
            response: LogoutResult::CONNECTION_RECOVERY_NOT_SUPPORTED,
            initiator_task_tag: 1,
            stat_sn: Sn(2),
            exp_cmd_sn: Sn(3),
            max_cmd_sn: Sn(4),
            time2wait: 5,
            time2retain: 6,
        },
        LogoutResponse,
        0,
        "26800200 00000000 00000000 00000000 00000001 00000000 00000002 00000003
         00000004 00000000 00050006 00000000"
    );
}

#[test]
fn snack_reject_and_async_message_vectors() {
    vector!(
        Snack {
            kind: SnackType::DATA_ACK,
            lun: LUN_5,
            initiator_task_tag: 1,
            target_transfer_tag: 2,
            exp_stat_sn: Sn(3),
            beg_run: Sn(4),
            run_length: 5,
        },
        Snack,
        0,
        "10820000 00000000 00050000 00000000 00000001 00000002 00000000 00000003
         00000000 00000000 00000004 00000005"
    );
    vector!(
        Reject {
            reason: RejectReason::INVALID_PDU_FIELD,
            initiator_task_tag: RESERVED_TAG,
            stat_sn: Sn(1),
            exp_cmd_sn: Sn(2),
            max_cmd_sn: Sn(3),
            data_sn: Sn(4),
        },
        Reject,
        48,
        "3f800900 00000030 00000000 00000000 ffffffff 00000000 00000001 00000002
         00000003 00000004 00000000 00000000"
    );
    vector!(
        AsyncMessage {
            lun: LUN_5,
            initiator_task_tag: RESERVED_TAG,
            stat_sn: Sn(1),
            exp_cmd_sn: Sn(2),
            max_cmd_sn: Sn(3),
            event: AsyncEvent::TARGET_REQUESTS_LOGOUT,
            vendor_code: 4,
            parameter1: 5,
            parameter2: 6,
            parameter3: 7,
        },
        AsyncMessage,
        0,
        "32800000 00000000 00050000 00000000 ffffffff 00000000 00000001 00000002
         00000003 01040005 00060007 00000000"
    );
}

#[test]
fn another_opcode_is_named_with_its_place() {
    let error = NopOut::parse(&words(&"06".repeat(48))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "Opcode at byte 0: NopOut expected, 0x6 came"
    );
}

#[test]
fn lengths_are_bounded() {
    let mut bhs = NopOut::default().encode(8193);
    bhs[4] = 2;
    let lengths = Lengths { ahs: 8, data: 8193 };
    assert_eq!(Lengths::parse(&bhs, 8, 8193), Ok(lengths));
    assert_eq!(lengths.padded_data(), 8196);
    let data = Lengths::parse(&bhs, 8, 8192).unwrap_err();
    assert_eq!(data, PduError::too_long("DataSegmentLength", 5, 8192, 8193));
    let ahs = Lengths::parse(&bhs, 4, 8193).unwrap_err();
    assert_eq!(ahs, PduError::too_long("TotalAHSLength", 4, 4, 8));
}

#[test]
fn sense_is_bounded_by_its_segment() {
    use super::scsi_response::sense;
    assert_eq!(sense(&[]), Ok(&[][..]));
    assert_eq!(sense(&[0, 2, 7, 8, 9]), Ok(&[7, 8][..]));
    assert_eq!(sense(&[0, 3, 7, 8]).unwrap_err().offset, 50);
    assert_eq!(sense(&[0]).unwrap_err().offset, 48);
}

#[test]
fn additional_headers_by_hand() {
    // An extended CDB of 20 bytes in all: AHSLength 5, four bytes of CDB; then a length of 4096.
    let bytes = [
        0, 5, 1, 0, 0xa, 0xb, 0xc, 0xd, //
        0, 5, 2, 0, 0, 0, 0x10, 0,
    ];
    let ahs = Ahs::parse(&bytes).unwrap();
    assert_eq!(ahs.extended_cdb, Some(&[0xa, 0xb, 0xc, 0xd][..]));
    assert_eq!(ahs.bidirectional_read_length, Some(4096));
    let mut out = [0xff; 16];
    assert_eq!(ahs.encode(&mut out), Some(16));
    assert_eq!(out, bytes);
    let command = ScsiCommand::default().encode_with_ahs(16, 0);
    assert_eq!(Lengths::of(&command).ahs, 16);
}

#[test]
fn additional_headers_that_lie_are_refused() {
    let cut = Ahs::parse(&[0, 9, 1, 0]).unwrap_err();
    assert_eq!(cut, PduError::truncated("AHSLength", 48, 9, 1));
    assert!(Ahs::parse(&[0, 1]).is_err());
    assert!(Ahs::parse(&[0, 4, 2, 0, 0, 0, 0, 0]).is_err());
    let twice = [0, 5, 2, 0, 0, 0, 0, 1, 0, 5, 2, 0, 0, 0, 0, 1];
    assert_eq!(Ahs::parse(&twice).unwrap_err().offset, 56);
    assert_eq!(Ahs::parse(&[0, 1, 9, 0]), Ok(Ahs::default()));
}

/// What is read from any header is written as it was, and writes no bit that was not set, but the fixed ones of byte 1.
fn round_trip(bytes: Bhs) {
    macro_rules! each {
        ($($type:ident),*) => {
            $({
                let mut bhs = bytes;
                bhs[0] = bhs[0] & 0x40 | $type::OPCODE.0;
                let value = $type::parse(&bhs).unwrap();
                let written = value.encode(Lengths::of(&bhs).data);
                assert_eq!($type::parse(&written), Ok(value));
                assert_eq!(Lengths::of(&written).data, Lengths::of(&bhs).data);
                for (at, (written, read)) in written.iter().zip(bhs).enumerate() {
                    let fixed = if at == 1 { 0x80 } else { 0 };
                    assert_eq!(written & !read & !fixed, 0, "byte {at}");
                }
            })*
        };
    }
    each!(
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
}

proptest! {
    #[test]
    fn every_header_round_trips(bytes in proptest::array::uniform32(any::<u8>()), rest in proptest::array::uniform16(any::<u8>())) {
        let mut bhs = [0; BHS_BYTES];
        bhs[..32].copy_from_slice(&bytes);
        bhs[32..].copy_from_slice(&rest);
        round_trip(bhs);
    }

    #[test]
    fn additional_headers_round_trip(cdb in proptest::option::of(vec(any::<u8>(), 1..=ahs::MAX_EXTENDED_CDB)), length in any::<Option<u32>>()) {
        let ahs = Ahs { extended_cdb: cdb.as_deref(), bidirectional_read_length: length };
        let mut out = [0xee; 300];
        let len = ahs.encode(&mut out).unwrap();
        prop_assert_eq!(len % 4, 0);
        prop_assert_eq!(Ahs::parse(&out[..len]), Ok(ahs));
    }

    #[test]
    fn no_additional_header_panics(bytes in vec(any::<u8>(), 0..64)) {
        let _ = Ahs::parse(&bytes);
    }
}
