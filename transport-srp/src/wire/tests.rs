use proptest::prelude::*;
use target_core::command::{Residual, TaskManagementFunction};
use target_core::lun::Lun;
use target_core::status::Status;

use super::cmd::{BufferFormat, TaskAttributeCode};
use super::login::{LoginRejReason, MultichannelAction, MultichannelResult};
use super::logout::LogoutReason;
use super::rsp::RspCode;
use super::tsk_mgmt::TaskFunctionCode;
use super::*;

const TAG: u64 = 0x0102_0304_0506_0708;

fn emitted(iu: &Iu<'_>) -> Vec<u8> {
    let mut out = vec![0xaa; 4096];
    let len = iu.emit(&mut out).expect("room");
    out.truncate(len);
    out
}

fn login_req() -> LoginReq {
    LoginReq {
        tag: TAG,
        req_it_iu_len: 8260,
        req_buf_fmt: 6,
        multichannel: MultichannelAction::MULTI,
        imm_data_offset: Some(68),
        initiator_port_id: [0x11; 16],
        target_port_id: [0x22; 16],
    }
}

#[test]
fn login_request_vectors() {
    let mut long = vec![0u8; 64];
    long[8..16].copy_from_slice(&TAG.to_be_bytes());
    long[16..20].copy_from_slice(&[0, 0, 0x20, 0x44]);
    long[24..27].copy_from_slice(&[0, 6, 0x81]);
    long[29] = 68;
    long[32..48].fill(0x11);
    long[48..64].fill(0x22);
    assert_eq!(login_req().to_bytes()[..], long);

    let mut short = TAG.to_be_bytes().to_vec();
    short.extend([0, 6, 0x81, 0, 0, 0, 0x20, 0x44]);
    short.extend([0x11; 16]);
    short.extend([0x22; 16]);
    short.extend([0, 68, 0, 0, 0, 0, 0, 0]);
    assert_eq!(login_req().to_rdma_cm_bytes()[..], short);
    // The connection manager fills its private data up.
    short.extend([0; 36]);
    assert_eq!(LoginReq::parse_rdma_cm(&short), Ok(login_req()));
}

#[test]
fn login_answer_vectors() {
    let rsp = LoginRsp {
        tag: TAG,
        request_limit_delta: 128,
        max_it_iu_len: 8260,
        max_ti_iu_len: 256,
        buf_fmt: 6,
        multichannel: MultichannelResult::MAINTAINED,
        immediate_data: true,
    };
    let mut bytes = vec![0xc0, 0, 0, 0, 0, 0, 0, 128];
    bytes.extend(TAG.to_be_bytes());
    bytes.extend([0, 0, 0x20, 0x44, 0, 0, 1, 0, 0, 6, 0x82]);
    bytes.resize(52, 0);
    assert_eq!(rsp.to_bytes()[..], bytes);

    let rej = LoginRej {
        tag: TAG,
        reason: LoginRejReason::REQ_IT_IU_LENGTH_TOO_LARGE,
        buf_fmt: 6,
    };
    let mut bytes = vec![0xc2, 0, 0, 0, 0, 1, 0, 2];
    bytes.extend(TAG.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0]);
    assert_eq!(rej.to_bytes()[..], bytes);
}

#[test]
fn command_vector() {
    let mut bytes = vec![0x02, 0, 0, 0, 0, 0x12, 3, 4];
    bytes.extend(TAG.to_be_bytes());
    bytes.extend([0, 0, 0, 0]);
    bytes.extend([0, 7, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0, 2, 0, 4 | 1]);
    bytes.extend([0x88; 16]);
    bytes.extend([0x99; 4]);
    bytes.extend([0x55; 9]);
    let Ok(Iu::Cmd(cmd)) = Iu::parse(&bytes) else {
        panic!("no command");
    };
    assert_eq!(cmd.data_out_format, BufferFormat::DIRECT);
    assert_eq!(cmd.data_in_format, BufferFormat::INDIRECT);
    assert_eq!((cmd.data_out_count, cmd.data_in_count), (3, 4));
    assert_eq!((cmd.tag, cmd.lun), (TAG, Lun::peripheral(7)));
    assert_eq!(cmd.task_attribute, TaskAttributeCode::ORDERED);
    assert_eq!(cmd.cdb.len(), 20, "the low bits of the length are reserved");
    assert_eq!(cmd.data, [0x55; 9]);
    assert_eq!(cmd.data_offset(), 52);
}

#[test]
fn a_command_whose_cdb_is_beyond_the_message_is_cut() {
    let cmd = Cmd {
        sol_not: 0,
        data_out_format: BufferFormat::NONE,
        data_in_format: BufferFormat::NONE,
        data_out_count: 0,
        data_in_count: 0,
        tag: TAG,
        lun: Lun::default(),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &[0x7f; 32],
        data: &[],
    };
    let bytes = emitted(&Iu::Cmd(cmd));
    assert_eq!(bytes.len(), 64);
    let error = Cmd::parse(&bytes[..60]).expect_err("cut");
    assert_eq!(
        error.to_string(),
        "ADDITIONAL CDB at byte 48: 16 bytes expected, 12 came"
    );
}

#[test]
fn a_cdb_that_no_length_field_can_say_is_not_written() {
    let long = [0; 16 + 256];
    let mut out = [0; 512];
    let cmd = Cmd {
        sol_not: 0,
        data_out_format: BufferFormat::NONE,
        data_in_format: BufferFormat::NONE,
        data_out_count: 0,
        data_in_count: 0,
        tag: 0,
        lun: Lun::default(),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &long,
        data: &[],
    };
    assert_eq!(cmd.emit(&mut out), None);
    let shorter = Cmd {
        cdb: &long[..16 + 249],
        ..cmd
    };
    assert_eq!(shorter.emit(&mut out), Some(48 + 252), "padded");
}

#[test]
fn response_vectors() {
    let task_management = Rsp {
        sol_not: 0,
        request_limit_delta: 3,
        tag: TAG,
        status: Status::GOOD,
        data_out_residual: Residual::None,
        data_in_residual: Residual::None,
        response: Some(RspCode::TASK_MANAGEMENT_FUNCTION_NOT_SUPPORTED),
        sense: None,
    };
    let mut bytes = vec![0xc1, 0, 0, 0, 0, 0, 0, 3];
    bytes.extend(TAG.to_be_bytes());
    bytes.extend([0, 0, 1, 0]);
    bytes.extend([0; 12]);
    bytes.extend([0, 0, 0, 4, 0, 0, 0, 4]);
    assert_eq!(emitted(&Iu::Rsp(task_management)), bytes);
}

#[test]
fn each_response_flag_is_its_own_bit() {
    let flags = |out, in_| {
        let rsp = Rsp {
            sol_not: 0,
            request_limit_delta: 0,
            tag: 0,
            status: Status::CHECK_CONDITION,
            data_out_residual: out,
            data_in_residual: in_,
            response: None,
            sense: Some(&[0x70, 1]),
        };
        let bytes = emitted(&Iu::Rsp(rsp));
        assert_eq!((bytes[19], bytes[31]), (2, 2), "status, sense length");
        assert_eq!(bytes[36..], [0x70, 1]);
        (bytes[18], bytes[20..28].to_vec())
    };
    let (over, under) = (Residual::Overflow(5), Residual::Underflow(6));
    assert_eq!(flags(over, Residual::None).0, 0x02 | 0x04);
    assert_eq!(flags(under, Residual::None).0, 0x02 | 0x08);
    assert_eq!(flags(Residual::None, over).0, 0x02 | 0x10);
    let (both, counts) = flags(over, under);
    assert_eq!(
        (both, counts),
        (0x02 | 0x04 | 0x20, vec![0, 0, 0, 5, 0, 0, 0, 6])
    );
}

#[test]
fn a_response_with_contradicting_flags_or_short_response_data_is_refused() {
    let mut bytes = vec![0; 36];
    bytes[0] = 0xc1;
    bytes[18] = 0x0c;
    assert_eq!(Rsp::parse(&bytes).expect_err("both").offset, 18);
    bytes[18] = 0x01;
    bytes[35] = 3;
    assert_eq!(Rsp::parse(&bytes).expect_err("short").offset, 32);
    bytes[18] = 0x00;
    assert!(
        Rsp::parse(&bytes).is_ok(),
        "the length means nothing without RSPVALID"
    );
}

#[test]
fn task_management_vector() {
    let iu = TskMgmt {
        sol_not: 0,
        tag: TAG,
        lun: Lun::peripheral(9),
        function: TaskFunctionCode::ABORT_TASK,
        task_tag: !TAG,
    };
    let mut bytes = vec![0x01, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(TAG.to_be_bytes());
    bytes.extend([0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    bytes.extend((!TAG).to_be_bytes());
    bytes.extend([0; 8]);
    assert_eq!(emitted(&Iu::TskMgmt(iu)), bytes);
    let abort = TaskManagementFunction::AbortTask { tag: !TAG };
    assert_eq!(iu.sam_function(), abort);
    let two = TskMgmt {
        function: TaskFunctionCode(0x03),
        ..iu
    };
    assert_eq!(two.sam_function(), TaskManagementFunction::Unknown(3));
}

#[test]
fn logout_and_credit_vectors() {
    let logout = TLogout {
        sol_not: 0,
        reason: LogoutReason::INVALID_IU_LENGTH,
        tag: 0,
    };
    let bytes = [0x80, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    assert_eq!(logout.to_bytes(), bytes);
    let request = CredReq {
        sol_not: 0,
        request_limit_delta: -1,
        tag: 5,
    };
    let bytes = [0x81, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 5];
    assert_eq!(request.to_bytes(), bytes);
}

#[test]
fn unknown_types_and_empty_messages_are_errors() {
    let error = Iu::parse(&[0x7f; 64]).expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "TYPE at byte 0: a type of SRP expected, 0x7f came"
    );
    assert!(Iu::parse(&[]).is_err());
    assert!(LoginReq::parse(&[1; 64]).is_err(), "not a login");
    assert_eq!(
        LoginReq::parse_rdma_cm(&[1; 56])
            .expect_err("not a login")
            .offset,
        11
    );
}

#[test]
fn codes_print_as_the_standard_writes_them() {
    assert_eq!(format!("{:?}", Opcode::T_LOGOUT), "T_LOGOUT");
    assert_eq!(format!("{:?}", Opcode(0x99)), "Opcode(0x99)");
}

fn residuals() -> impl Strategy<Value = Residual> {
    prop_oneof![
        Just(Residual::None),
        any::<u32>().prop_map(Residual::Overflow),
        any::<u32>().prop_map(Residual::Underflow),
    ]
}

fn login_reqs() -> impl Strategy<Value = LoginReq> {
    let numbers = any::<(u64, u32, u16, Option<u16>)>();
    let ids = any::<([u8; 16], [u8; 16])>();
    (numbers, 0u8..4, ids).prop_map(|((tag, length, formats, offset), action, ids)| LoginReq {
        tag,
        req_it_iu_len: length,
        req_buf_fmt: formats,
        multichannel: MultichannelAction(action),
        imm_data_offset: offset,
        initiator_port_id: ids.0,
        target_port_id: ids.1,
    })
}

fn fixed_ius() -> impl Strategy<Value = Iu<'static>> {
    prop_oneof![
        login_reqs().prop_map(Iu::LoginReq),
        (any::<(u64, u32, u32, u32, u16, bool)>(), 0u8..4).prop_map(|(n, result)| {
            Iu::LoginRsp(LoginRsp {
                tag: n.0,
                request_limit_delta: n.1,
                max_it_iu_len: n.2,
                max_ti_iu_len: n.3,
                buf_fmt: n.4,
                immediate_data: n.5,
                multichannel: MultichannelResult(result),
            })
        }),
        any::<(u64, u32, u16)>().prop_map(|(tag, reason, buf_fmt)| {
            Iu::LoginRej(LoginRej {
                tag,
                reason: LoginRejReason(reason),
                buf_fmt,
            })
        }),
        any::<(u8, u64, [u8; 8], u8, u64)>().prop_map(|(sol_not, tag, lun, function, task_tag)| {
            Iu::TskMgmt(TskMgmt {
                sol_not,
                tag,
                lun: Lun(lun),
                function: TaskFunctionCode(function),
                task_tag,
            })
        }),
        any::<u64>().prop_map(|tag| Iu::ILogout(ILogout { tag })),
        any::<(u8, u32, u64)>().prop_map(|(sol_not, reason, tag)| {
            let reason = LogoutReason(reason);
            Iu::TLogout(TLogout {
                sol_not,
                reason,
                tag,
            })
        }),
        any::<(u8, i32, u64)>().prop_map(|(sol_not, request_limit_delta, tag)| {
            Iu::CredReq(CredReq {
                sol_not,
                request_limit_delta,
                tag,
            })
        }),
        any::<u64>().prop_map(|tag| Iu::CredRsp(CredRsp { tag })),
        any::<u64>().prop_map(|tag| Iu::AerRsp(AerRsp { tag })),
    ]
}

/// Writing and reading gives the same value, and any shorter message is an error.
fn check_whole(iu: &Iu<'_>) -> Result<(), TestCaseError> {
    let bytes = emitted(iu);
    prop_assert_eq!(Iu::parse(&bytes), Ok(*iu));
    prop_assert_eq!(bytes[0], iu.opcode().0);
    let mut short = vec![0; bytes.len() - 1];
    prop_assert_eq!(iu.emit(&mut short), None);
    for len in 0..bytes.len() {
        prop_assert!(Iu::parse(&bytes[..len]).is_err(), "{} bytes", len);
    }
    Ok(())
}

proptest! {
    #[test]
    fn fixed_units_are_written_and_read(iu in fixed_ius()) {
        check_whole(&iu)?;
    }

    #[test]
    fn the_rdma_cm_login_is_written_and_read(iu in login_reqs()) {
        let bytes = iu.to_rdma_cm_bytes();
        prop_assert_eq!(LoginReq::parse_rdma_cm(&bytes), Ok(iu));
        for len in 0..bytes.len() {
            prop_assert!(LoginReq::parse_rdma_cm(&bytes[..len]).is_err());
        }
    }

    #[test]
    fn responses_are_written_and_read(
        numbers in any::<(u8, i32, u64, u8)>(),
        residuals in (residuals(), residuals()),
        code in any::<Option<u8>>(),
        sense in any::<Option<Vec<u8>>>(),
    ) {
        check_whole(&Iu::Rsp(Rsp {
            sol_not: numbers.0,
            request_limit_delta: numbers.1,
            tag: numbers.2,
            status: Status(numbers.3),
            data_out_residual: residuals.0,
            data_in_residual: residuals.1,
            response: code.map(RspCode),
            sense: sense.as_deref(),
        }))?;
    }

    #[test]
    fn event_reports_are_written_and_read(
        numbers in any::<(u8, i32, u64, [u8; 8])>(),
        sense in any::<Vec<u8>>(),
    ) {
        check_whole(&Iu::AerReq(AerReq {
            sol_not: numbers.0,
            request_limit_delta: numbers.1,
            tag: numbers.2,
            lun: Lun(numbers.3),
            sense: &sense,
        }))?;
    }

    #[test]
    fn commands_are_written_and_read(
        numbers in any::<(u8, u8, u8, u64, [u8; 8])>(),
        formats in (0u8..16, 0u8..16, 0u8..8),
        additional in 0usize..64,
        data in any::<Vec<u8>>(),
    ) {
        let cdb = vec![0x5a; 16 + 4 * additional];
        let cmd = Cmd {
            sol_not: numbers.0,
            data_out_format: BufferFormat(formats.0),
            data_in_format: BufferFormat(formats.1),
            data_out_count: numbers.1,
            data_in_count: numbers.2,
            tag: numbers.3,
            lun: Lun(numbers.4),
            task_attribute: TaskAttributeCode(formats.2),
            cdb: &cdb,
            data: &data,
        };
        let bytes = emitted(&Iu::Cmd(cmd));
        prop_assert_eq!(Iu::parse(&bytes), Ok(Iu::Cmd(cmd)));
        // Where descriptors and immediate data end is only known from the descriptors.
        for len in 0..cmd.data_offset() {
            prop_assert!(Iu::parse(&bytes[..len]).is_err());
        }
    }

    /// Whatever can be read means the same after it was written again.
    #[test]
    fn any_bytes_are_read_or_refused(mut bytes in any::<Vec<u8>>(), opcode in 0u8..4, high in 0u8..4) {
        if let Some(first) = bytes.first_mut() {
            *first = high << 6 | opcode;
        }
        if let Ok(iu) = Iu::parse(&bytes) {
            let again = emitted(&iu);
            prop_assert_eq!(Iu::parse(&again), Ok(iu));
        }
    }
}
