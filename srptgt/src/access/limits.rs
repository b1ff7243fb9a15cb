//! A host's limits: by which of our ports, in which partitions, from where it may come. Pure.
//!
//! A limit on something that the path does not show refuses: who held a host to a partition does not expect it to come
//! in over TCP.

use super::{Host, LoginIdentity, RefusalReason, Refused, Vouched};

/// Whether the host may come in this way.
///
/// # Errors
/// The first limit that forbids it.
pub(super) fn check(host: &Host, login: &LoginIdentity, vouched: Vouched) -> Result<(), Refused> {
    if host.require_fabric && vouched != Vouched::Fabric {
        return Err(Refused {
            reason: RefusalReason::FabricRequired,
            text: format!(
                "host {} requires that the fabric vouches for its GUID; {} it is only claimed",
                host.name,
                login
                    .local
                    .as_ref()
                    .map_or("over TCP".to_owned(), |port| format!("on {port}"))
            ),
            fix: format!(
                "log in over InfiniBand, or srptgt host set {} --require any",
                host.name
            ),
        });
    }
    check_port(host, login)?;
    check_pkey(host, login)?;
    check_address(host, login)
}

fn check_port(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    let listed = |port| host.ports.contains(port);
    if host.ports.is_empty() || login.local.as_ref().is_some_and(listed) {
        return Ok(());
    }
    let (came, lifted) = match &login.local {
        Some(port) => (port.to_string(), port.to_string()),
        None => ("TCP, which has no such port".to_owned(), "none".to_owned()),
    };
    Err(Refused {
        reason: RefusalReason::PortNotAllowed,
        text: format!(
            "host {} may come in by {}, and came by {came}",
            host.name,
            list(&host.ports),
        ),
        fix: format!("srptgt host set {} --port {lifted}", host.name),
    })
}

fn check_pkey(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    const PARTITION: u16 = 0x7fff;
    let listed = |pkey: u16| {
        host.pkeys
            .iter()
            .any(|own| own & PARTITION == pkey & PARTITION)
    };
    if host.pkeys.is_empty() || login.pkey.is_some_and(listed) {
        return Ok(());
    }
    let came = login
        .pkey
        .map_or("a path without P_Key".to_owned(), |pkey| {
            format!("0x{pkey:04x}")
        });
    let allowed: Vec<_> = host
        .pkeys
        .iter()
        .map(|pkey| format!("0x{pkey:04x}"))
        .collect();
    Err(Refused {
        reason: RefusalReason::PkeyNotAllowed,
        text: format!(
            "host {} may use partition {}, and used {came}",
            host.name,
            list(&allowed)
        ),
        fix: format!("srptgt host set {} --pkey P_KEY", host.name),
    })
}

fn check_address(host: &Host, login: &LoginIdentity) -> Result<(), Refused> {
    let inside = |address| host.addresses.iter().any(|range| range.contains(address));
    if host.addresses.is_empty() || login.address.is_some_and(inside) {
        return Ok(());
    }
    let came = login
        .address
        .map_or("a path without IP address".to_owned(), |ip| ip.to_string());
    Err(Refused {
        reason: RefusalReason::AddressNotAllowed,
        text: format!(
            "host {} may come from {}, and came from {came}",
            host.name,
            list(&host.addresses)
        ),
        fix: format!("srptgt host set {} --address ADDRESS", host.name),
    })
}

fn list<T: ToString>(items: &[T]) -> String {
    items
        .iter()
        .map(T::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
