//! The queue of the connection manager's events.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use super::fabric::SoftFabric;
use crate::cm_event::{CmEvent, ConnectionId};
use crate::error::Error;

/// Clones are the same channel.
#[derive(Clone, Debug)]
pub(crate) struct EventChannel(pub(super) Rc<ChannelInner>);

#[derive(Debug)]
pub(super) struct ChannelInner {
    pub(super) fabric: SoftFabric,
    waiting: RefCell<VecDeque<CmEvent>>,
}

impl EventChannel {
    pub(crate) fn new(fabric: &SoftFabric) -> Self {
        Self(Rc::new(ChannelInner {
            fabric: fabric.clone(),
            waiting: RefCell::default(),
        }))
    }

    pub(crate) fn next_event(&self) -> Result<Option<CmEvent>, Error> {
        self.0.fabric.dispatch();
        Ok(self.0.waiting.borrow_mut().pop_front())
    }
}

impl ChannelInner {
    pub(super) fn push(&self, event: CmEvent) {
        self.waiting.borrow_mut().push_back(event);
    }

    /// Requests of a listener that nobody has looked at.
    pub(super) fn backlog_of(&self, listener: ConnectionId) -> usize {
        let of_it = |event: &&CmEvent| matches!(event, CmEvent::ConnectRequest(request) if request.listener == listener);
        self.waiting.borrow().iter().filter(of_it).count()
    }

    /// Takes back a request whose peer has given up. False when somebody has it already.
    pub(super) fn withdraw(&self, id: ConnectionId) -> bool {
        let is_it = |event: &CmEvent| matches!(event, CmEvent::ConnectRequest(request) if request.connection.id() == id);
        let mut waiting = self.waiting.borrow_mut();
        let place = waiting.iter().position(is_it);
        let withdrawn = place.and_then(|place| waiting.remove(place));
        // The connection in it looks at the fabric when it goes.
        drop(waiting);
        withdrawn.is_some()
    }
}
