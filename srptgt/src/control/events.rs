//! What happens without being asked for: events of the worker, trying again what did not come up, and addresses that
//! have come.

use std::sync::Arc;
use std::time::Duration;

use crate::worker_link::{Event, EventReceiver};

use super::Control;
use super::addresses::Addresses;
use super::apply::Change;
use super::fault::Fault;
use super::media::Creation;
use super::pending::News;
use super::state::State;

/// How long something that did not come up is left alone, and how long between two looks at the addresses.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);

impl Control {
    /// Takes events until the worker is gone, and tries again what is configured and not up.
    pub async fn run(self: Arc<Self>, mut events: EventReceiver) {
        let mut retry = tokio::time::interval(RETRY_INTERVAL);
        let mut addresses = Addresses::default();
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.handle_event(event).await,
                    None => return,
                },
                _ = retry.tick() => {
                    if let Err(fault) = self.retry().await {
                        tracing::warn!("trying again what is down: {fault}");
                    }
                    if let Err(fault) = self.follow_addresses(&mut addresses).await {
                        tracing::warn!("following the addresses of this machine: {fault}");
                    }
                }
            }
        }
    }

    async fn handle_event(&self, event: Event) {
        match event {
            Event::Refused(refusal) => self.handle_refused(refusal),
            Event::PortalDown { portal, error } => {
                tracing::warn!(%portal, "not listening any more: {error}");
                self.note(|state| note_portal(state, portal, Err(error.into())))
                    .await;
            }
            Event::PortalEndpoints { portal, endpoints } => {
                self.note(|state| note_portal(state, portal, Ok(endpoints)))
                    .await;
            }
            Event::DeviceLost { device, text } => {
                tracing::error!(device, "an RDMA device went away: {text}");
            }
        }
    }

    fn handle_refused(&self, refusal: crate::worker_link::Refusal) {
        let mut pending = self.pending();
        let Some(News { entry, left_out }) = pending.record(refusal) else {
            return;
        };
        let login = &entry.login;
        tracing::warn!(
            portal = %login.portal,
            port = login.local.as_ref().map(tracing::field::display),
            source_gid = login.source_gid.map(tracing::field::display),
            address = login.address.map(tracing::field::display),
            initiator_port_id = login.initiator_port_id().map(tracing::field::display),
            iqn = login.iqn().map(tracing::field::display),
            fabric_guid = login.fabric_guid().map(tracing::field::display),
            claimed_guid = login.claimed_guid().map(tracing::field::display),
            times = entry.count,
            left_out = (left_out > 0).then_some(left_out),
            "login refused: {}; {}",
            entry.refused.text,
            entry.refused.fix,
        );
    }

    /// Changes what is known of the worker, between changes of the configuration.
    async fn note(&self, note: impl FnOnce(&mut State)) {
        let _changing = self.changing.lock().await;
        let mut state = State::clone(&self.state());
        note(&mut state);
        self.publish(state);
    }

    async fn retry(&self) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let config = self.state().config.clone();
        let mut change = Change::new(self, config, Creation::Never);
        if !change.is_incomplete() {
            return Ok(());
        }
        change.run_lenient().await?;
        change.publish();
        Ok(())
    }
}

/// A portal that is not configured any more is not noted.
pub(super) fn note_portal(
    state: &mut State,
    portal: crate::portal::Portal,
    heard: Result<Vec<crate::portal::Endpoint>, Fault>,
) {
    if let Some(known) = state.portals.get_mut(&portal) {
        *known = heard;
    }
}
