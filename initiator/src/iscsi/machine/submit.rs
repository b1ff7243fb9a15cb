//! Requests of the initiator: commands, task management, pings, texts, logout.

use target_core::lun::Lun;
use transport_iser::Sn;
use transport_iser::login::Negotiated;
use transport_iser::pdu::{
    Ahs, AttributeCode, LogoutReason, LogoutRequest, NopOut, RESERVED_TAG, ScsiCommand,
    TaskManagementCode, TaskManagementRequest, TextRequest,
};
use transport_iser::text;

use super::task::{Burst, Incoming, Kind, Outgoing, Task};
use super::transmit::{Header, Item, Segment};
use super::{Command, Machine, RequestId, SubmitError, TaskFunction, initiator_task_tag};

/// Requests whose places fit into an Initiator Task Tag.
const MOST_REQUESTS: usize = 1 << 15;

/// Bytes of the CDB in the basic header.
const SHORT_CDB: usize = 16;

impl Machine {
    /// Makes a command. When the clock passes `deadline_ms`, [`super::Event::TimedOut`] says so.
    ///
    /// # Errors
    /// Nothing is made.
    pub fn submit(
        &mut self,
        command: &Command<'_>,
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        let agreed = self.live()?;
        let unasked = Unasked::of(command.data_out_len, agreed);
        let ahs = ahs(command)?;
        if !self.has_room() {
            return Err(SubmitError::WindowClosed);
        }
        let kind = Kind::Command {
            data_in: Incoming::new(command.data_in_len),
            data_out: Outgoing::new(command.data_out_len, unasked.total),
        };
        let cmd_sn = self.cmd_sn;
        let request = self.begin(Task::new(kind, command.lun, cmd_sn), deadline_ms)?;
        self.cmd_sn = cmd_sn.plus(1);
        let header = header(command, request, cmd_sn, &unasked);
        let segment = match unasked.immediate {
            0 => Segment::None,
            len => Segment::DataOut { offset: 0, len },
        };
        self.queue.push_back(Item::Pdu {
            header: Header(header.encode_with_ahs(ahs.len(), unasked.immediate)),
            ahs,
            segment,
            request: Some(request),
            unasked: unasked.total,
        });
        if unasked.total > unasked.immediate {
            let burst = Burst {
                target_transfer_tag: RESERVED_TAG,
                lun: command.lun,
                offset: unasked.immediate,
                end: unasked.total,
                data_sn: Sn(0),
            };
            self.queue.push_back(Item::Burst { request, burst });
        }
        Ok(request)
    }

    /// Makes a task management request, which is immediate.
    ///
    /// # Errors
    /// Nothing is made.
    pub fn task_management(
        &mut self,
        function: TaskFunction,
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        self.live()?;
        let (code, lun, task) = match function {
            TaskFunction::AbortTask(task) => (TaskManagementCode::ABORT_TASK, None, Some(task)),
            TaskFunction::QueryTask(task) => (TaskManagementCode::QUERY_TASK, None, Some(task)),
            TaskFunction::Of(code, lun) => (code, Some(lun), None),
        };
        let mut pdu = TaskManagementRequest {
            immediate: true,
            function: code,
            lun: lun.unwrap_or_default(),
            referenced_task_tag: RESERVED_TAG,
            cmd_sn: self.cmd_sn,
            ..TaskManagementRequest::default()
        };
        if let Some(id) = task {
            let task = self.tasks.get(id).filter(|task| task.request.is_command());
            let task = task.ok_or(SubmitError::NothingToAbort)?;
            pdu.lun = task.request.lun;
            pdu.referenced_task_tag = initiator_task_tag(id);
            pdu.ref_cmd_sn = task.request.cmd_sn;
        }
        let kind = Kind::TaskManagement(function);
        let request = self.begin(Task::new(kind, pdu.lun, self.cmd_sn), deadline_ms)?;
        pdu.initiator_task_tag = initiator_task_tag(request);
        self.queue_pdu(pdu.encode(0), Segment::None, Some(request));
        Ok(request)
    }

    /// Makes a ping, which is immediate; `data` comes back unchanged.
    ///
    /// # Errors
    /// Nothing is made.
    pub fn ping(
        &mut self,
        data: Vec<u8>,
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        self.live()?;
        let cmd_sn = self.cmd_sn;
        let request = self.begin(Task::new(Kind::Ping, Lun::default(), cmd_sn), deadline_ms)?;
        let pdu = NopOut {
            immediate: true,
            initiator_task_tag: initiator_task_tag(request),
            target_transfer_tag: RESERVED_TAG,
            cmd_sn,
            ..NopOut::default()
        };
        self.queue_pdu(
            pdu.encode(data.len() as u32),
            Segment::Bytes(data),
            Some(request),
        );
        Ok(request)
    }

    /// Makes a text request of these pairs. It takes a place in the command window.
    ///
    /// # Errors
    /// Nothing is made.
    pub fn text(
        &mut self,
        pairs: &[(&str, &str)],
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        self.live()?;
        if !self.has_room() {
            return Err(SubmitError::WindowClosed);
        }
        let mut text = text::Outgoing::default();
        for (key, value) in pairs {
            text.pair(key, value);
        }
        let task = Task::new(Kind::Text(text), Lun::default(), self.cmd_sn);
        let request = self.begin(task, deadline_ms)?;
        self.queue_text(request, RESERVED_TAG, Lun::default());
        Ok(request)
    }

    /// The next PDU of a text request: what is left to say, or nothing, so that the target goes on.
    pub(super) fn queue_text(&mut self, request: RequestId, target_transfer_tag: u32, lun: Lun) {
        let most = self.agreed.as_ref();
        let most = most.map_or(0, |agreed| agreed.max_xmit_data_segment_length);
        let Some(task) = self.tasks.get_mut(request) else {
            return;
        };
        let Kind::Text(text) = &mut task.kind else {
            return;
        };
        let segment = text.take_segment(most as usize);
        let pdu = TextRequest {
            is_final: text.is_empty(),
            continues: !text.is_empty(),
            lun,
            initiator_task_tag: initiator_task_tag(request),
            target_transfer_tag,
            cmd_sn: self.cmd_sn,
            ..TextRequest::default()
        };
        self.cmd_sn = self.cmd_sn.plus(1);
        let header = pdu.encode(segment.len() as u32);
        self.queue_pdu(header, Segment::Bytes(segment), Some(request));
    }

    /// Makes a logout, which is immediate. The session ends with its answer.
    ///
    /// # Errors
    /// Nothing is made.
    pub fn logout(
        &mut self,
        reason: LogoutReason,
        deadline_ms: Option<u64>,
    ) -> Result<RequestId, SubmitError> {
        self.live()?;
        let cmd_sn = self.cmd_sn;
        let request = self.begin(Task::new(Kind::Logout, Lun::default(), cmd_sn), deadline_ms)?;
        let pdu = LogoutRequest {
            immediate: true,
            reason,
            initiator_task_tag: initiator_task_tag(request),
            cid: self.options.identity.cid,
            cmd_sn,
            ..LogoutRequest::default()
        };
        self.queue_pdu(pdu.encode(0), Segment::None, Some(request));
        Ok(request)
    }

    pub(super) fn queue_pdu(
        &mut self,
        header: transport_iser::pdu::Bhs,
        segment: Segment,
        request: Option<RequestId>,
    ) {
        self.queue.push_back(Item::Pdu {
            header: Header(header),
            ahs: Vec::new(),
            segment,
            request,
            unasked: 0,
        });
    }

    fn live(&self) -> Result<&Negotiated, SubmitError> {
        let agreed = self.agreed.as_ref().filter(|_| self.is_live());
        agreed.ok_or(SubmitError::NotLoggedIn)
    }

    fn begin(&mut self, task: Task, deadline_ms: Option<u64>) -> Result<RequestId, SubmitError> {
        let request = self.tasks.next_id();
        if request.place() >= MOST_REQUESTS {
            return Err(SubmitError::WindowClosed);
        }
        self.tasks.begin(task, deadline_ms);
        Ok(request)
    }
}

/// Data-Out that travels without an R2T (RFC 7143 4.2.5.2).
struct Unasked {
    /// With the command.
    immediate: u32,
    /// With the command and in unsolicited PDUs.
    total: u32,
}

impl Unasked {
    fn of(len: u32, agreed: &Negotiated) -> Self {
        let most = len.min(agreed.first_burst_length);
        let immediate = match agreed.immediate_data {
            true => most.min(agreed.max_xmit_data_segment_length),
            false => 0,
        };
        let follow = (most - immediate).div_ceil(agreed.max_xmit_data_segment_length.max(1));
        // What the target has no buffers for would wait for the end of its own command (RFC 7145 6.7).
        let target = agreed.rdma.map_or(0, |r| r.max_outstanding_unexpected_pdus);
        let has_room = target == 0 || follow <= target;
        let total = match !agreed.initial_r2t && has_room {
            true => most,
            false => immediate,
        };
        Self { immediate, total }
    }
}

fn header(command: &Command<'_>, request: RequestId, cmd_sn: Sn, unasked: &Unasked) -> ScsiCommand {
    let mut cdb = [0; SHORT_CDB];
    for (to, from) in cdb.iter_mut().zip(command.cdb) {
        *to = *from;
    }
    ScsiCommand {
        immediate: false,
        is_final: unasked.total == unasked.immediate,
        read: command.data_in_len > 0,
        write: command.data_out_len > 0,
        attribute: AttributeCode::SIMPLE,
        lun: command.lun,
        initiator_task_tag: initiator_task_tag(request),
        expected_data_transfer_length: match command.data_out_len {
            0 => command.data_in_len,
            len => len,
        },
        cmd_sn,
        exp_stat_sn: Sn(0),
        cdb,
    }
}

/// Additional headers: a long CDB, and the Data-In length of a bidirectional command.
fn ahs(command: &Command<'_>) -> Result<Vec<u8>, SubmitError> {
    let is_bidirectional = command.data_in_len > 0 && command.data_out_len > 0;
    let ahs = Ahs {
        extended_cdb: command.cdb.get(SHORT_CDB..).filter(|rest| !rest.is_empty()),
        bidirectional_read_length: is_bidirectional.then_some(command.data_in_len),
    };
    let mut bytes = vec![0; ahs.len()];
    match ahs.encode(&mut bytes) {
        Some(_) => Ok(bytes),
        None => Err(SubmitError::CdbTooLong(command.cdb.len())),
    }
}
