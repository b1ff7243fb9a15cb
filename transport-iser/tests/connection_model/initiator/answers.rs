//! What the initiator is told: everything is compared with what was sent and with what the core decided.

use iobuf::RemoteSegment;
use target_core::command::Residual;
use target_core::status::Status;
use transport_iser::Sn;
use transport_iser::pdu::{
    Bhs, DataIn, NopIn, NopOut, Opcode, R2t, RESERVED_TAG, ScsiResponse, TaskManagementResponse,
    scsi_response,
};
use transport_iser::tcp::{Framed, Framer};

use super::super::split_message;
use super::{Initiator, Kind, NO_STAG, Request, Sequence, bytes, read_stag};

impl Initiator {
    /// A message over iSER, with the data that were written before it.
    pub(in crate::connection_model) fn message(
        &mut self,
        message: &[u8],
        data: Option<&[u8]>,
        segments: &[RemoteSegment],
        invalidate: Option<u32>,
    ) {
        let (bhs, segment) = split_message(message);
        if let Some(data) = data
            && !self.wild
        {
            let response = ScsiResponse::parse(&bhs).expect("data go before a response");
            let tag = response.initiator_task_tag;
            let [to] = segments else {
                panic!("one segment expected, {segments:?} came");
            };
            let stag = read_stag(tag);
            assert_eq!((to.key, to.address), (stag.key, stag.address));
            assert_eq!(to.length as usize, data.len());
            assert_eq!(invalidate, Some(stag.key));
            assert!(
                data == bytes(tag, 0, data.len() as u32),
                "Data-In of {tag:#x}"
            );
            let request = self.outstanding(tag).expect("outstanding");
            request.received = data.len() as u32;
        }
        self.take(&bhs, segment);
    }

    /// Bytes of the stream.
    pub(in crate::connection_model) fn stream(&mut self, mut bytes: &[u8]) {
        let mut framer = std::mem::replace(&mut self.framer, Framer::new(0));
        while let Some(event) = framer.next(&mut bytes).expect("PDUs") {
            match event {
                Framed::Header => self.data.clear(),
                Framed::Data(data) => self.data.extend(data),
                Framed::End { intact } => {
                    assert!(intact, "a data digest");
                    let data = std::mem::take(&mut self.data);
                    self.take(framer.bhs(), &data);
                }
            }
        }
        self.framer = framer;
    }

    fn numbers(&mut self, max: Sn) {
        assert!(max >= self.max_cmd_sn, "MaxCmdSN went back");
        self.max_cmd_sn = max;
    }

    fn status(&mut self, stat_sn: Sn) {
        assert_eq!(stat_sn, self.exp_stat_sn, "StatSN");
        self.exp_stat_sn = stat_sn.plus(1);
    }

    fn take(&mut self, bhs: &Bhs, data: &[u8]) {
        if self.wild || self.closed {
            return;
        }
        assert!(data.len() <= self.agreed.max_xmit_data_segment_length as usize);
        match Opcode::of(bhs) {
            Opcode::SCSI_RESPONSE => {
                self.take_response(&ScsiResponse::parse(bhs).expect("its opcode"), data)
            }
            Opcode::DATA_IN => self.take_data_in(&DataIn::parse(bhs).expect("its opcode"), data),
            Opcode::R2T => self.take_r2t(&R2t::parse(bhs).expect("its opcode")),
            Opcode::NOP_IN => self.take_nop_in(&NopIn::parse(bhs).expect("its opcode"), data),
            Opcode::TASK_MANAGEMENT_RESPONSE => {
                let pdu = TaskManagementResponse::parse(bhs).expect("its opcode");
                self.numbers(pdu.max_cmd_sn);
                self.status(pdu.stat_sn);
                self.end(pdu.initiator_task_tag, Kind::TaskManagement);
            }
            other => panic!("{other:?} came to an orderly initiator"),
        }
    }

    fn end(&mut self, tag: u32, kind: Kind) -> Option<Request> {
        let index = self
            .requests
            .iter()
            .position(|r| r.tag == tag && r.kind == kind);
        let index = index.unwrap_or_else(|| panic!("{kind:?} {tag:#x} is not outstanding"));
        self.answered += 1;
        Some(self.requests.remove(index))
    }

    fn take_response(&mut self, pdu: &ScsiResponse, data: &[u8]) {
        self.numbers(pdu.max_cmd_sn);
        self.status(pdu.stat_sn);
        let sense = scsi_response::sense(data).expect("sense");
        assert_eq!(sense.is_empty(), pdu.status != Status::CHECK_CONDITION);
        let count = pdu.residual_count;
        self.finish(
            pdu.initiator_task_tag,
            pdu.status,
            residual(pdu.overflow, pdu.underflow, count),
        );
    }

    fn finish(&mut self, tag: u32, status: Status, residual: Residual) {
        let Some(request) = self.end(tag, Kind::Command) else {
            return;
        };
        let Some(expected) = request.expected else {
            assert!(
                !request.delivered && status == Status::BUSY,
                "{request:?} {status:?}"
            );
            return;
        };
        assert_eq!(status, expected.status);
        assert_eq!(request.received, expected.data_in_len);
        assert_eq!(residual, expected.residual);
    }

    fn take_data_in(&mut self, pdu: &DataIn, data: &[u8]) {
        self.numbers(pdu.max_cmd_sn);
        let tag = pdu.initiator_task_tag;
        let max_burst = self.agreed.max_burst_length;
        let request = self.outstanding(tag).expect("outstanding");
        assert_eq!(
            (pdu.data_sn.0, pdu.buffer_offset),
            (request.next_data_sn, request.received)
        );
        assert!(!data.is_empty() && data == bytes(tag, pdu.buffer_offset, data.len() as u32));
        request.next_data_sn += 1;
        request.received += data.len() as u32;
        request.in_burst += data.len() as u32;
        assert!(request.in_burst <= max_burst && request.received <= request.data_in_len);
        if pdu.is_final {
            request.in_burst = 0;
        }
        if pdu.has_status {
            assert!(pdu.is_final);
            self.status(pdu.stat_sn);
            let count = pdu.residual_count;
            self.finish(
                tag,
                pdu.status,
                residual(pdu.overflow, pdu.underflow, count),
            );
        }
    }

    fn take_r2t(&mut self, pdu: &R2t) {
        self.numbers(pdu.max_cmd_sn);
        assert_eq!(pdu.stat_sn, self.exp_stat_sn);
        let (max_burst, max) = (
            self.agreed.max_burst_length,
            self.agreed.max_outstanding_r2t,
        );
        let tag = pdu.initiator_task_tag;
        let request = self.outstanding(tag).expect("outstanding");
        let len = pdu.desired_data_transfer_length;
        assert!(pdu.buffer_offset >= request.asked, "asked for twice");
        assert!(len > 0 && len <= max_burst);
        request.asked = pdu.buffer_offset + len;
        assert!(request.asked <= request.data_out_len);
        assert_eq!(pdu.r2t_sn.0, request.next_r2t_sn);
        request.next_r2t_sn += 1;
        request.outstanding += 1;
        assert!(request.outstanding <= max, "MaxOutstandingR2T");
        self.sequences.push_back(Sequence {
            tag,
            ttt: pdu.target_transfer_tag,
            next: pdu.buffer_offset,
            end: pdu.buffer_offset + len,
            data_sn: 0,
        });
    }

    fn take_nop_in(&mut self, pdu: &NopIn, data: &[u8]) {
        self.numbers(pdu.max_cmd_sn);
        if pdu.initiator_task_tag == RESERVED_TAG {
            assert_eq!(pdu.stat_sn, self.exp_stat_sn);
            let answer = NopOut {
                immediate: true,
                initiator_task_tag: RESERVED_TAG,
                target_transfer_tag: pdu.target_transfer_tag,
                cmd_sn: self.next_cmd_sn,
                ..NopOut::default()
            };
            return self.send(NO_STAG, &answer.encode(0), &[]);
        }
        self.status(pdu.stat_sn);
        let Some(ping) = self.end(pdu.initiator_task_tag, Kind::Ping) else {
            return;
        };
        let len = ping
            .data_in_len
            .min(self.agreed.max_xmit_data_segment_length);
        assert!(data == bytes(ping.tag, 0, len), "the echo of a ping");
    }
}

fn residual(overflow: bool, underflow: bool, count: u32) -> Residual {
    match (overflow, underflow) {
        (false, false) => Residual::None,
        (true, false) => Residual::Overflow(count),
        (false, true) => Residual::Underflow(count),
        (true, true) => panic!("O and U"),
    }
}
