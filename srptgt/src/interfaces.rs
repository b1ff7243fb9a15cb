//! The IP addresses of this machine, for portals that listen on all of them. Reads the interfaces, changes nothing.

use std::net::{IpAddr, SocketAddr};

use crate::portal::Endpoint;

/// What initiators dial: a wildcard address becomes one endpoint for each address that it stands for.
pub(crate) fn reachable(endpoints: &[Endpoint]) -> Vec<Endpoint> {
    let is_wildcard =
        |endpoint: &Endpoint| endpoint.ip().is_some_and(|at| at.ip().is_unspecified());
    if !endpoints.iter().any(is_wildcard) {
        return endpoints.to_vec();
    }
    // Without the list of interfaces the wildcard itself is shown: it says where we listen at least.
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).collect();
    let shown = endpoints.iter().flat_map(|endpoint| match endpoint.ip() {
        Some(at) if at.ip().is_unspecified() => expand(at, &own),
        _ => vec![endpoint.clone()],
    });
    shown.collect()
}

/// The addresses that a wildcard stands for. Link-local ones need a zone, which no initiator knows; loopback is for a
/// machine that has nothing else. The wildcard of IPv6 takes IPv4 too.
fn expand(wildcard: SocketAddr, own: &[IpAddr]) -> Vec<Endpoint> {
    let is_meant = |ip: &&IpAddr| match ip {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => wildcard.is_ipv6() && !v6.is_unicast_link_local(),
    };
    let (local, mut meant): (Vec<_>, Vec<_>) =
        own.iter().filter(is_meant).partition(|ip| ip.is_loopback());
    if meant.is_empty() {
        meant = local;
    }
    if meant.is_empty() {
        return vec![Endpoint::from(wildcard)];
    }
    meant.sort();
    meant.dedup();
    let dialled = |ip: &IpAddr| Endpoint::from(SocketAddr::new(*ip, wildcard.port()));
    meant.into_iter().map(dialled).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(wildcard: &str, own: &[&str]) -> Vec<String> {
        let own: Vec<IpAddr> = own.iter().map(|ip| ip.parse().unwrap()).collect();
        let endpoints = expand(wildcard.parse().unwrap(), &own);
        let addresses = endpoints.iter().filter_map(Endpoint::ip);
        addresses.map(|address| address.to_string()).collect()
    }

    #[test]
    fn a_wildcard_is_every_address_that_can_be_dialled() {
        let own = [
            "127.0.0.1",
            "10.98.0.1",
            "10.0.0.1",
            "10.0.0.1",
            "::1",
            "fe80::1",
            "fd00::1",
        ];
        assert_eq!(
            expanded("0.0.0.0:3260", &own),
            ["10.0.0.1:3260", "10.98.0.1:3260"]
        );
        assert_eq!(
            expanded("[::]:3261", &own),
            ["10.0.0.1:3261", "10.98.0.1:3261", "[fd00::1]:3261"]
        );
    }

    #[test]
    fn a_machine_without_network_is_dialled_by_loopback() {
        assert_eq!(expanded("0.0.0.0:3260", &["127.0.0.1"]), ["127.0.0.1:3260"]);
        assert_eq!(expanded("0.0.0.0:3260", &[]), ["0.0.0.0:3260"]);
    }

    #[test]
    fn an_address_stays_itself() {
        let one = [Endpoint::from(
            "10.0.0.1:3260".parse::<SocketAddr>().unwrap(),
        )];
        assert_eq!(reachable(&one), one);
        let all = [Endpoint::from(
            "0.0.0.0:3260".parse::<SocketAddr>().unwrap(),
        )];
        assert!(!reachable(&all).is_empty());
    }
}
