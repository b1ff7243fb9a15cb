//! Portals on all addresses follow the addresses of this machine: those that come while the daemon runs are listened on
//! and shown. May read the interfaces and ask the worker.

use rdma::{DeviceInfo, SoftConfig, soft_devices};

use crate::portal::{Listen, Portal, Protocol};
use crate::worker_link::Request;

use super::events::note_portal;
use super::{Control, Fault};

/// After a change the worker is asked so often: an address of IPv6 is announced a second or two before it can be used
/// (RFC 4862 5.4).
const LOOKS: u8 = 2;

/// What was there when somebody last looked.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    interfaces: Vec<DeviceInfo>,
    looks_left: u8,
}

impl Addresses {
    /// Whether the worker has to be asked, seeing these interfaces.
    fn see(&mut self, interfaces: Vec<DeviceInfo>) -> bool {
        if self.interfaces != interfaces {
            self.interfaces = interfaces;
            self.looks_left = LOOKS;
        }
        let is_new = self.looks_left > 0;
        self.looks_left = self.looks_left.saturating_sub(1);
        is_new
    }
}

/// RDMA-CM on the wildcard address. What TCP listens on there follows by itself, and is looked up when it is shown.
fn follows(portal: &Portal) -> bool {
    let is_wildcard = matches!(portal.listen, Listen::Ip(address) if address.ip().is_unspecified());
    is_wildcard && portal.protocol != Protocol::Tcp
}

impl Control {
    /// Looks at the interfaces, and has the worker do so if they are others than before.
    ///
    /// # Errors
    /// The worker cannot listen on an address that has come.
    pub(super) async fn follow_addresses(&self, known: &mut Addresses) -> Result<(), Fault> {
        let interfaces = soft_devices(&SoftConfig::default())
            .map_err(|error| Fault::failed(error.to_string()))?;
        if !known.see(interfaces) {
            return Ok(());
        }
        let state = self.state();
        let up = state.portals.iter().filter(|(_, heard)| heard.is_ok());
        for (portal, _) in up.filter(|(portal, _)| follows(portal)) {
            self.look_again(portal).await?;
        }
        Ok(())
    }

    async fn look_again(&self, portal: &Portal) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let mut state = super::State::clone(&self.state());
        let Some(Ok(before)) = state.portals.get(portal) else {
            return Ok(());
        };
        let asked = portal.clone();
        let request = |reply| Request::AddPortal {
            portal: asked,
            reply,
        };
        let endpoints = self.link.ask(request).await??;
        if endpoints != *before {
            tracing::info!(%portal, addresses = endpoints.len(), "the addresses of this machine have changed");
            note_portal(&mut state, portal.clone(), Ok(endpoints));
            self.publish(state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str) -> DeviceInfo {
        DeviceInfo {
            name: name.to_owned(),
            node_guid: 1,
            limits: Default::default(),
            ports: Vec::new(),
        }
    }

    #[test]
    fn a_change_is_looked_at_twice_and_then_no_more() {
        let mut addresses = Addresses::default();
        let looks: Vec<_> = (0..4)
            .map(|_| addresses.see(vec![interface("a")]))
            .collect();
        assert_eq!(looks, [true, true, false, false]);
        assert!(addresses.see(vec![interface("a"), interface("b")]));
    }

    #[test]
    fn only_wildcards_of_rdma_follow() {
        let portal = |protocol, listen: &str| Portal {
            protocol,
            listen: listen.parse().unwrap(),
            fabric: None,
        };
        assert!(follows(&portal(Protocol::Srp, "0.0.0.0:5555")));
        assert!(follows(&portal(Protocol::Iser, "[::]:3260")));
        assert!(!follows(&portal(Protocol::Tcp, "[::]:3260")));
        assert!(!follows(&portal(Protocol::Srp, "10.0.0.1:5555")));
        assert!(!follows(&portal(Protocol::Srp, "mlx4_0:1")));
    }
}
