//! The login phase: PDUs to the login's machine, its steps to the driver and to the initiator.

use target_core::port::{ChannelEvent, CloseReason};

use super::answer::ConnectionError;
use super::outbox::Control;
use super::window::CommandWindow;
use super::{Agreed, Connection, Datamover, LoginEvent, Phase};
use crate::Sn;
use crate::login::{Admission, Negotiated, Step, TextPhase};
use crate::pdu::{Bhs, LoginRequest, LoginResponse, LoginStatus};

impl Connection {
    /// What the login asks or tells. Polled until `None` after [`ChannelEvent::Transport`].
    pub fn poll_login(&mut self) -> Option<LoginEvent> {
        self.login_events.pop_front()
    }

    /// The answer to [`LoginEvent::Admit`].
    pub fn handle_admission(&mut self, admission: Result<Admission, LoginStatus>) {
        if let Phase::Login(login) = &mut self.phase
            && !self.closed
        {
            login.handle_admission(admission);
            self.take_steps();
        }
    }

    pub(super) fn take_login_request(
        &mut self,
        bhs: &Bhs,
        data: &[u8],
    ) -> Result<(), ConnectionError> {
        let request = LoginRequest::parse(bhs)?;
        if !self.timers.knocked() {
            self.begin_window(request.cmd_sn);
        }
        if let Phase::Login(login) = &mut self.phase {
            login.handle_request(&request, data);
            self.take_steps();
        }
        Ok(())
    }

    pub(super) fn begin_window(&mut self, first: Sn) {
        let (places, immediate) = (
            self.settings.command_window,
            self.settings.immediate_requests,
        );
        self.window = CommandWindow::new(first, places, immediate);
    }

    fn take_steps(&mut self) {
        while let Phase::Login(login) = &mut self.phase {
            match login.poll() {
                None => return,
                Some(Step::Respond(response, segment)) => {
                    self.send_control(Control::Login(response), segment);
                }
                Some(Step::Admit(identity)) => self.tell(LoginEvent::Admit(identity)),
                Some(Step::Done(negotiated)) => {
                    self.begin_full_feature(&negotiated);
                    self.tell(LoginEvent::Established(negotiated));
                }
                Some(Step::Failed(failure)) => {
                    let reason = CloseReason::LoginRefused(failure.to_string());
                    self.tell(LoginEvent::Failed(failure));
                    return self.close(reason);
                }
            }
        }
    }

    fn tell(&mut self, event: LoginEvent) {
        self.login_events.push_back(event);
        self.events.push_back(ChannelEvent::Transport);
    }

    pub(super) fn begin_full_feature(&mut self, negotiated: &Negotiated) {
        let agreed = Agreed::new(negotiated);
        if let Datamover::Tcp(framer) = &mut self.datamover {
            let max_data = agreed.max_recv_data_segment_length;
            framer.agree(agreed.header_digest, agreed.data_digest, max_data);
        }
        self.agreed = agreed;
        self.phase = Phase::FullFeature(Box::new(TextPhase::new(negotiated)));
        self.control = Vec::new();
    }

    /// A login that something else than a Login Request has broken.
    pub(super) fn refuse_login(&mut self, status: LoginStatus) {
        let response = LoginResponse {
            status,
            initiator_task_tag: crate::pdu::initiator_task_tag(&self.last_bhs),
            ..LoginResponse::default()
        };
        self.send_control(Control::Login(response), Vec::new());
    }
}
