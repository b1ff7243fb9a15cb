use proptest::prelude::*;

use super::*;
use crate::identity::Id128;
use crate::portal::Portal;

mod iscsi;

const PORT: u64 = 0x0002_c903_000e_0b73;

fn guid(value: u64) -> Guid {
    Guid::new(value).unwrap()
}

fn id(upper: u64, lower: u64) -> Id128 {
    Id128((u128::from(upper) << 64 | u128::from(lower)).to_be_bytes())
}

fn host(name: &str, guids: &[u64]) -> Host {
    Host {
        name: name.into(),
        guids: guids.iter().copied().map(guid).collect(),
        iqns: Vec::new(),
        chap: None,
        require_fabric: false,
        addresses: Vec::new(),
        pkeys: Vec::new(),
        ports: Vec::new(),
        luns: BTreeMap::new(),
    }
}

fn srp(initiator_port_id: Id128, claimed: u64) -> Credentials {
    Credentials::Srp {
        initiator_port_id,
        claimed_guid: Guid::new(claimed),
    }
}

/// A login over InfiniBand in which path and login show the same port.
fn infiniband(port: u64) -> LoginIdentity {
    LoginIdentity {
        portal: Portal {
            protocol: crate::portal::Protocol::Srp,
            listen: "mlx4_0:1".parse().unwrap(),
            fabric: None,
        },
        local: "mlx4_0:1".parse().ok(),
        link_layer: Some(LinkLayer::InfiniBand),
        source_gid: Some(id(0xfe80 << 48, port)),
        address: None,
        pkey: Some(0xffff),
        who: srp(id(0xd949_560e_4ff0_0301, port), port),
    }
}

/// A login over RoCE: the path shows an address, the login claims a port.
fn roce(claimed: u64) -> LoginIdentity {
    LoginIdentity {
        portal: Portal {
            protocol: crate::portal::Protocol::Srp,
            listen: "10.99.0.1:5555".parse().unwrap(),
            fabric: None,
        },
        local: "rxe0:1".parse().ok(),
        link_layer: Some(LinkLayer::Ethernet),
        source_gid: Some(id(0, 0xffff_0a63_0002)),
        address: Some("10.99.0.2".parse().unwrap()),
        pkey: Some(0xffff),
        who: srp(id(0, claimed), claimed),
    }
}

fn reason(access: &Access, login: &LoginIdentity) -> RefusalReason {
    access.admit(login).unwrap_err().reason
}

#[test]
fn nobody_is_admitted_unless_listed() {
    let access = Access::default();
    for login in [infiniband(PORT), roce(PORT)] {
        let refused = access.admit(&login).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::NotListed);
        assert_eq!(refused.fix, "srptgt allow 0x0002c903000e0b73 --as NAME");
    }
}

#[test]
fn the_fabric_vouches_on_infiniband_and_the_initiator_claims_on_roce() {
    let access = Access::new(vec![host("a", &[1 << 32]), host("esx01", &[PORT])]);
    let admitted = access.admit(&infiniband(PORT)).unwrap();
    assert_eq!(
        (&*admitted.host.name, admitted.by, admitted.vouched),
        ("esx01", Identity::Guid(guid(PORT)), Vouched::Fabric)
    );
    let admitted = access.admit(&roce(PORT)).unwrap();
    assert_eq!(
        (&*admitted.host.name, admitted.vouched),
        ("esx01", Vouched::Claimed)
    );
}

#[test]
fn a_claim_counts_for_nothing_on_infiniband() {
    let access = Access::new(vec![host("esx01", &[PORT])]);
    let mut login = infiniband(PORT + 0x1_0000);
    login.who = srp(id(0, 0), PORT);
    let refused = access.admit(&login).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::NotListed);
    assert!(
        refused
            .text
            .contains("claims 0x0002c903000e0b73 of host esx01"),
        "{}",
        refused.text
    );
    assert!(
        refused
            .fix
            .contains("srptgt allow 0x0002c903000f0b73 --as esx01"),
        "{}",
        refused.fix
    );
}

#[test]
fn a_listed_port_may_claim_its_node_guid_but_not_another_hosts_port() {
    let access = Access::new(vec![host("a", &[PORT]), host("b", &[PORT + 0x100])]);
    let mut login = infiniband(PORT);
    login.who = srp(id(0, 0), PORT - 1);
    assert_eq!(&*access.admit(&login).unwrap().host.name, "a");
    login.who = srp(id(0, 0), PORT + 0x100);
    assert_eq!(reason(&access, &login), RefusalReason::ClaimsOtherHost);
}

#[test]
fn a_source_gid_without_port_guid_is_refused() {
    let mut login = infiniband(PORT);
    login.source_gid = Some(id(0xfe80 << 48, 0));
    let access = Access::new(vec![host("a", &[PORT])]);
    assert_eq!(reason(&access, &login), RefusalReason::NoGuid);
    let mut login = roce(PORT);
    login.who = srp(id(0, 0), 0);
    assert_eq!(reason(&access, &login), RefusalReason::NoGuid);
}

#[test]
fn a_listed_node_guid_is_named() {
    for above in [1, 2] {
        let access = Access::new(vec![host("esx01", &[PORT - above])]);
        let refused = access.admit(&infiniband(PORT)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::SameCard);
        assert!(refused.text.contains("node GUID"), "{}", refused.text);
        assert!(
            refused.text.contains(&format!("{above} below it")),
            "{}",
            refused.text
        );
        assert_eq!(refused.fix, "srptgt allow 0x0002c903000e0b73 --as esx01");
    }
}

#[test]
fn a_shown_node_guid_is_named() {
    for below in [1, 2] {
        let access = Access::new(vec![host("esx01", &[PORT + below])]);
        let refused = access.admit(&roce(PORT)).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::SameCard);
        assert!(
            refused.text.contains("shows its card's node GUID"),
            "{}",
            refused.text
        );
    }
}

#[test]
fn three_away_is_another_card() {
    let access = Access::new(vec![host("esx01", &[PORT - 3, PORT + 3])]);
    assert_eq!(reason(&access, &infiniband(PORT)), RefusalReason::NotListed);
}

#[test]
fn a_listed_ipoib_address_is_named() {
    let access = Access::new(vec![host("esx01", &[PORT | 1 << 57])]);
    let refused = access.admit(&infiniband(PORT)).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::IpoibAddress);
    assert!(
        refused.text.contains("0x0202c903000e0b73"),
        "{}",
        refused.text
    );
    assert_eq!(refused.fix, "srptgt allow 0x0002c903000e0b73 --as esx01");
}

#[test]
fn a_host_may_require_the_fabric() {
    let mut esx = host("esx01", &[PORT]);
    esx.require_fabric = true;
    let access = Access::new(vec![esx]);
    assert!(access.admit(&infiniband(PORT)).is_ok());
    assert_eq!(reason(&access, &roce(PORT)), RefusalReason::FabricRequired);
}

#[test]
fn a_host_may_be_held_to_addresses() {
    let mut esx = host("esx01", &[PORT]);
    esx.addresses = vec!["10.99.0.0/30".parse().unwrap()];
    let access = Access::new(vec![esx]);
    assert!(access.admit(&roce(PORT)).is_ok());
    let mut elsewhere = roce(PORT);
    elsewhere.address = Some("10.99.0.9".parse().unwrap());
    assert_eq!(
        reason(&access, &elsewhere),
        RefusalReason::AddressNotAllowed
    );
    assert_eq!(
        reason(&access, &infiniband(PORT)),
        RefusalReason::AddressNotAllowed
    );
}

#[test]
fn a_host_may_be_held_to_partitions_whatever_its_membership() {
    let mut esx = host("esx01", &[PORT]);
    esx.pkeys = vec![0x8001];
    let access = Access::new(vec![esx]);
    let mut login = infiniband(PORT);
    assert_eq!(reason(&access, &login), RefusalReason::PkeyNotAllowed);
    login.pkey = None;
    assert_eq!(reason(&access, &login), RefusalReason::PkeyNotAllowed);
    login.pkey = Some(0x0001);
    assert!(access.admit(&login).is_ok());
}

#[test]
fn a_host_may_be_held_to_our_ports() {
    let mut esx = host("esx01", &[PORT]);
    esx.ports = vec!["mlx4_0:2".parse().unwrap()];
    let access = Access::new(vec![esx]);
    assert_eq!(
        reason(&access, &infiniband(PORT)),
        RefusalReason::PortNotAllowed
    );
    let mut login = infiniband(PORT);
    login.local = "mlx4_0:2".parse().ok();
    assert!(access.admit(&login).is_ok());
}

proptest! {
    /// Deny by default: whatever a login shows, it comes in only as the host that lists the GUID that counts.
    #[test]
    fn only_the_listed_guid_admits(
        listed in 1..64u64, path in 0..64u64, claimed in 0..64u64, extension in any::<u64>(), ib in any::<bool>(),
    ) {
        let access = Access::new(vec![host("a", &[listed])]);
        let mut login = if ib { infiniband(path) } else { roce(path) };
        login.who = srp(id(extension, 0), claimed);
        let counts = if ib { path } else { claimed };
        prop_assert_eq!(access.admit(&login).is_ok(), counts == listed);
    }

    /// The upper half of the port id never matters.
    #[test]
    fn the_extension_is_not_compared(extension in any::<u64>()) {
        let access = Access::new(vec![host("a", &[PORT])]);
        let mut login = roce(PORT);
        login.who = srp(id(extension, PORT), PORT);
        prop_assert!(access.admit(&login).is_ok());
    }
}
