//! iSCSI logins: by name, by what the fabric vouches for, with and without CHAP.

use super::*;
use crate::identity::{ChapAccount, Secret};
use crate::portal::Protocol;

const NAME: &str = "iqn.1998-01.com.vmware:esx01";
const TARGET: &str = "iqn.2026-11.io.srptgt:0252000000000002";

fn named(name: &str, iqns: &[&str]) -> Host {
    Host {
        iqns: iqns.iter().map(|iqn| iqn.parse().unwrap()).collect(),
        ..host(name, &[])
    }
}

fn with_chap(host: Host) -> Host {
    let secret = Secret::new("twelve bytes").unwrap();
    Host {
        chap: Some(Arc::new(ChapSecrets {
            initiator: ChapAccount::new("u", secret).unwrap(),
            target: None,
        })),
        ..host
    }
}

fn access(hosts: Vec<Host>) -> Access {
    Access::new(hosts).of_target(TARGET.parse().unwrap())
}

fn says(name: &str, target: Option<&str>) -> Credentials {
    Credentials::Iscsi {
        initiator_name: name.to_owned(),
        isid: [0, 2, 0x3d, 0, 0, 1],
        target_name: target.map(str::to_owned),
        discovery: target.is_none(),
    }
}

/// Over TCP: the path shows an address and nothing else.
fn tcp(name: &str) -> LoginIdentity {
    LoginIdentity {
        portal: Portal {
            protocol: Protocol::Tcp,
            listen: "10.99.0.1:3260".parse().unwrap(),
            fabric: None,
        },
        local: None,
        link_layer: None,
        source_gid: None,
        address: "10.99.0.2".parse().ok(),
        pkey: None,
        who: says(name, Some(TARGET)),
    }
}

/// Over iSER on InfiniBand: the path shows a port GUID.
fn iser(port: u64, name: &str) -> LoginIdentity {
    LoginIdentity {
        who: says(name, Some(TARGET)),
        ..infiniband(port)
    }
}

#[test]
fn a_listed_name_comes_in_whatever_its_case() {
    let access = access(vec![named("esx01", &[NAME])]);
    for name in [NAME, "IQN.1998-01.com.VMware:ESX01"] {
        let admitted = access.admit(&tcp(name)).unwrap();
        assert_eq!(&*admitted.host.name, "esx01");
        assert_eq!(admitted.by, Identity::Iqn(NAME.parse().unwrap()));
        assert_eq!((admitted.vouched, admitted.chap), (Vouched::Claimed, None));
    }
}

#[test]
fn who_is_not_listed_learns_nothing_by_discovery_or_by_a_wrong_target() {
    let access = access(vec![named("esx01", &[NAME])]);
    for target in [None, Some(TARGET), Some("iqn.2001-04.com.example:other")] {
        let mut login = tcp("iqn.2001-04.com.example:stranger");
        login.who = says("iqn.2001-04.com.example:stranger", target);
        let refused = access.admit(&login).unwrap_err();
        assert_eq!(refused.reason, RefusalReason::IqnNotListed);
        assert_eq!(
            refused.fix,
            "srptgt allow iqn.2001-04.com.example:stranger --as NAME"
        );
    }
}

#[test]
fn a_listed_host_discovers_and_names_the_target() {
    let access = access(vec![named("esx01", &[NAME])]);
    let mut login = tcp(NAME);
    for target in [None, Some(TARGET), Some(&*TARGET.to_ascii_uppercase())] {
        login.who = says(NAME, target);
        assert!(access.admit(&login).is_ok(), "{target:?}");
    }
    login.who = says(NAME, Some("iqn.2001-04.com.example:other"));
    let refused = access.admit(&login).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::WrongTargetName);
    assert!(refused.text.contains(TARGET), "{}", refused.text);
    login.who = Credentials::Iscsi {
        initiator_name: NAME.to_owned(),
        isid: [0; 6],
        target_name: None,
        discovery: false,
    };
    assert_eq!(reason(&access, &login), RefusalReason::WrongTargetName);
}

#[test]
fn what_is_no_name_is_refused_with_the_form() {
    let refused = access(Vec::new()).admit(&tcp("esx01")).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::BadIqn);
    assert!(refused.text.contains("iqn.YYYY-MM"), "{}", refused.text);
    assert!(
        access(Vec::new())
            .admit(&tcp(&"x".repeat(70000)))
            .unwrap_err()
            .text
            .len()
            < 400,
        "what a peer sends is clipped"
    );
}

#[test]
fn near_misses_are_named() {
    let access = access(vec![named("esx01", &[NAME])]);
    let refused = access.admit(&tcp(&format!("{NAME}0"))).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::SimilarIqn);
    assert!(
        refused.text.contains("host esx01 lists"),
        "{}",
        refused.text
    );
    let refused = access.admit(&tcp(TARGET)).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::TargetsOwnName);
}

#[test]
fn chap_of_the_host_is_asked_for() {
    let access = access(vec![with_chap(named("esx01", &[NAME]))]);
    let admitted = access.admit(&tcp(NAME)).unwrap();
    assert_eq!(admitted.vouched, Vouched::Chap);
    assert_eq!(admitted.chap.unwrap().initiator.user, "u");
}

#[test]
fn a_session_without_secret_does_not_outlive_the_day_that_one_is_set() {
    for (had, now, stays) in [
        (Vouched::Claimed, Vouched::Chap, false),
        (Vouched::Claimed, Vouched::Claimed, true),
        (Vouched::Chap, Vouched::Chap, true),
        (Vouched::Chap, Vouched::Claimed, true),
        (Vouched::Fabric, Vouched::Claimed, true),
    ] {
        assert_eq!(had.satisfies(now), stays, "{had} {now}");
    }
}

#[test]
fn on_infiniband_the_port_admits_as_well() {
    let mut both = named("esx01", &[NAME]);
    both.guids = vec![guid(PORT)];
    let access = access(vec![both, host("esx02", &[PORT + 0x100])]);
    let by = |login: &LoginIdentity| {
        let admitted = access.admit(login).unwrap();
        (admitted.host.name.to_string(), admitted.vouched)
    };
    let esx01 = |vouched| ("esx01".to_owned(), vouched);
    assert_eq!(by(&iser(PORT, NAME)), esx01(Vouched::Fabric));
    assert_eq!(by(&iser(PORT + 0x1000, NAME)), esx01(Vouched::Claimed));
    let unlisted = "iqn.2001-04.com.example:other";
    assert_eq!(by(&iser(PORT, unlisted)), esx01(Vouched::Fabric));
    let refused = access.admit(&iser(PORT + 0x100, NAME)).unwrap_err();
    assert_eq!(refused.reason, RefusalReason::ClaimsOtherHost);
    assert!(
        refused.fix.contains(&format!("--remove-iqn {NAME}")),
        "{}",
        refused.fix
    );
    let refused = access.admit(&iser(PORT + 0x1000, unlisted)).unwrap_err();
    assert!(
        refused.text.contains("nor port GUID 0x0002c903000e1b73"),
        "{}",
        refused.text
    );
}

#[test]
fn the_hosts_limits_hold_on_every_path() {
    let limited = |limit: fn(&mut Host)| {
        let mut esx01 = named("esx01", &[NAME]);
        esx01.guids = vec![guid(PORT)];
        limit(&mut esx01);
        access(vec![esx01])
    };
    let fabric = limited(|host| host.require_fabric = true);
    assert_eq!(reason(&fabric, &tcp(NAME)), RefusalReason::FabricRequired);
    assert!(fabric.admit(&iser(PORT, NAME)).is_ok());
    let address = limited(|host| host.addresses = vec!["10.99.0.2".parse().unwrap()]);
    assert!(address.admit(&tcp(NAME)).is_ok());
    let ports = limited(|host| host.ports = vec!["mlx4_0:1".parse().unwrap()]);
    assert_eq!(reason(&ports, &tcp(NAME)), RefusalReason::PortNotAllowed);
    assert!(ports.admit(&iser(PORT, NAME)).is_ok());
    let pkeys = limited(|host| host.pkeys = vec![0x8001]);
    assert_eq!(reason(&pkeys, &tcp(NAME)), RefusalReason::PkeyNotAllowed);
}

proptest! {
    /// Deny by default: only the host that lists the name, or the port that the fabric vouches for, comes in.
    #[test]
    fn only_what_is_listed_admits(
        listed in 0..4u8, shown in 0..4u8, port_listed in 1..4u64, port in 1..4u64, ib in any::<bool>(), discovery in any::<bool>(),
    ) {
        let name = |number: u8| format!("iqn.2001-04.com.example:{number}{number}{number}");
        let mut esx01 = named("a", &[&name(listed)]);
        esx01.guids = vec![guid(port_listed)];
        let access = access(vec![esx01]);
        let mut login = if ib { iser(port, &name(shown)) } else { tcp(&name(shown)) };
        login.who = says(&name(shown), (!discovery).then_some(TARGET));
        let expected = shown == listed || ib && port == port_listed;
        prop_assert_eq!(access.admit(&login).is_ok(), expected);
    }

    /// Whatever a peer calls itself or asks for, it is admitted or told why.
    #[test]
    fn no_name_panics(name in "\\PC{0,300}", target in proptest::option::of("\\PC{0,300}")) {
        let mut login = tcp(&name);
        login.who = says(&name, target.as_deref());
        let refused = access(vec![named("a", &[NAME])]).admit(&login).unwrap_err();
        prop_assert!(refused.text.len() < 2000);
    }
}
