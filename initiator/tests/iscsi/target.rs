//! The other end, by hand: logs a machine in, and makes PDUs as good or as bad as a test wants them.

use initiator::iscsi::machine::{Command, Event, LoginOptions, Machine, Outcome, Transmit};
use initiator::{Answer, Lun};
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::login::{Admission, Datamover, Login, LoginLimits, Step};
use transport_iser::pdu::{
    DataIn, LoginRequest, R2t, RESERVED_TAG, ScsiCommand, ScsiResponse, TaskManagementResponse,
    TaskManagementResult,
};

pub(crate) const LUN: Lun = Lun([0; 8]);

/// StatSN of the first PDU behind the login.
pub(crate) const STAT_SN: Sn = Sn(0x100);

/// The last command number that the target takes at first.
pub(crate) const MAX_CMD_SN: Sn = Sn(8);

pub(crate) fn options(datamover: Datamover) -> LoginOptions {
    LoginOptions::new(datamover, "iqn.test:initiator", Some("iqn.test:target"))
}

/// A machine that has logged in with these values of both ends.
pub(crate) fn live(options: LoginOptions, limits: LoginLimits) -> Machine {
    let mut machine = Machine::new(options);
    let mut target = Login::new(limits);
    while let Some(transmit) = machine.poll_transmit() {
        let request = LoginRequest::parse(&transmit.header).expect("a login request");
        let initiator::iscsi::machine::Segment::Bytes(text) = &transmit.segment else {
            panic!("{transmit:?}");
        };
        target.handle_request(&request, text);
        while let Some(step) = target.poll() {
            answer(step, &mut target, &mut machine);
        }
    }
    assert_eq!(machine.poll_event(), Some(Event::LoggedIn));
    machine
}

fn answer(step: Step, target: &mut Login, machine: &mut Machine) {
    match step {
        Step::Admit(_) => target.handle_admission(Ok(Admission {
            tsih: 1,
            portal_group_tag: 1,
            target_alias: None,
            chap: None,
        })),
        Step::Respond(mut response, text) => {
            response.stat_sn = Sn(STAT_SN.0 - 1);
            response.exp_cmd_sn = Sn(1);
            response.max_cmd_sn = MAX_CMD_SN;
            machine.handle_pdu(&response.encode(text.len() as u32), &text);
        }
        Step::Done(_) => {}
        Step::Failed(failure) => panic!("{failure}"),
    }
}

/// The usual session.
pub(crate) fn usual(datamover: Datamover) -> Machine {
    live(options(datamover), LoginLimits::new(datamover))
}

pub(crate) fn read(len: u32) -> Command<'static> {
    Command {
        lun: LUN,
        cdb: &[0x88; 16],
        data_in_len: len,
        data_out_len: 0,
    }
}

pub(crate) fn write(len: u32) -> Command<'static> {
    Command {
        lun: LUN,
        cdb: &[0x8a; 16],
        data_in_len: 0,
        data_out_len: len,
    }
}

/// Everything that is to be sent.
pub(crate) fn sent(machine: &mut Machine) -> Vec<Transmit> {
    std::iter::from_fn(|| machine.poll_transmit()).collect()
}

/// Submits a command; its PDUs, and its tag.
pub(crate) fn submit(machine: &mut Machine, command: &Command<'_>) -> (Vec<Transmit>, u32) {
    machine.submit(command, None).expect("room");
    let sent = sent(machine);
    let command = ScsiCommand::parse(&sent[0].header).expect("a command");
    (sent, command.initiator_task_tag)
}

pub(crate) fn response(tag: u32, stat_sn: Sn) -> ScsiResponse {
    ScsiResponse {
        initiator_task_tag: tag,
        status: Status::GOOD,
        stat_sn,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN.plus(1),
        ..ScsiResponse::default()
    }
}

pub(crate) fn data_in(tag: u32, data_sn: u32, offset: u32) -> DataIn {
    DataIn {
        initiator_task_tag: tag,
        target_transfer_tag: RESERVED_TAG,
        data_sn: Sn(data_sn),
        buffer_offset: offset,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN.plus(1),
        ..DataIn::default()
    }
}

pub(crate) fn r2t(tag: u32, number: u32, offset: u32, len: u32) -> R2t {
    R2t {
        initiator_task_tag: tag,
        target_transfer_tag: 0x77 + number,
        r2t_sn: Sn(number),
        stat_sn: STAT_SN,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN.plus(1),
        buffer_offset: offset,
        desired_data_transfer_length: len,
        ..R2t::default()
    }
}

pub(crate) fn managed(
    tag: u32,
    stat_sn: Sn,
    response: TaskManagementResult,
) -> TaskManagementResponse {
    TaskManagementResponse {
        response,
        initiator_task_tag: tag,
        stat_sn,
        exp_cmd_sn: Sn(2),
        max_cmd_sn: MAX_CMD_SN.plus(1),
    }
}

/// The outcome of the one request that has ended.
#[track_caller]
pub(crate) fn outcome(machine: &mut Machine) -> Outcome {
    match machine.poll_event() {
        Some(Event::Done { outcome, .. }) => outcome,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn answered(machine: &mut Machine) -> Answer {
    match outcome(machine) {
        Outcome::Answered(answer) => answer,
        other => panic!("{other:?}"),
    }
}
