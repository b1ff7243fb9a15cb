//! From where each of several sessions reaches a target.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::exercise::Dial;

use super::Failure;

/// How sessions reach a target over one transport.
#[derive(Debug)]
pub(crate) struct Route {
    dial: Dial,
    stranger: Option<Dial>,
    sources: Sources,
}

/// Addresses to come from.
#[derive(Debug)]
enum Sources {
    /// Those behind the target's own, since each session over soft needs one.
    Behind(Ipv4Addr),
    /// Those that were named.
    Given(Vec<IpAddr>),
}

impl Route {
    /// To a target of our own, which lets the first in and not the other.
    pub(super) fn on_loopback(target: Ipv4Addr, dial: Dial, stranger: Dial) -> Self {
        Self {
            dial,
            stranger: Some(stranger),
            sources: Sources::Behind(target),
        }
    }

    /// To a target that runs; there are as many addresses as are needed.
    pub(super) fn from_given(dial: Dial, sources: Vec<IpAddr>) -> Self {
        Self {
            dial,
            stranger: None,
            sources: Sources::Given(sources),
        }
    }

    /// How session `number` of several that run at the same time reaches the target.
    ///
    /// # Errors
    /// It has no address to come from.
    pub(crate) fn dial(&self, number: u16) -> Result<Dial, Failure> {
        let source = match &self.sources {
            Sources::Behind(target) => Some(loopback(*target, u32::from(number) + 1)?),
            Sources::Given(sources) => {
                let source = sources.get(usize::from(number));
                source.or(sources.first()).copied()
            }
        };
        let source = source.map(|ip| SocketAddr::new(ip, 0));
        Ok(self.dial.clone().coming_from(source))
    }

    /// Who must not be let in, when that is known.
    pub(crate) fn stranger(&self) -> Option<Dial> {
        self.stranger.clone()
    }
}

/// The address behind another, which is the target's own.
///
/// # Errors
/// It is none of loopback.
pub(super) fn loopback(first: Ipv4Addr, more: u32) -> Result<IpAddr, Failure> {
    let address = Ipv4Addr::from(u32::from(first).wrapping_add(more));
    if address.is_loopback() && first.is_loopback() {
        return Ok(IpAddr::V4(address));
    }
    Err(Failure::Usage(
        format!("{first} and the addresses behind it are not all of 127.0.0.0/8"),
        "leave --address out, or give one like 127.0.1.1".to_owned(),
    ))
}
