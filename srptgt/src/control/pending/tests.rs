use super::*;
use crate::access::{Credentials, Host, LinkLayer, RefusalReason};
use crate::identity::{ChapAccount, ChapSecrets, Guid, Secret};
use crate::portal::{Portal, Protocol};

const PORT: u64 = 0x0002_c903_000e_0b73;

fn login(guid: u64) -> LoginIdentity {
    LoginIdentity {
        portal: crate::portal::Portal {
            protocol: crate::portal::Protocol::Srp,
            listen: "10.99.0.1:5555".parse().unwrap(),
            fabric: None,
        },
        local: Some("rxe0:1".parse().unwrap()),
        link_layer: Some(LinkLayer::Ethernet),
        source_gid: Some(Id128([7; 16])),
        address: None,
        pkey: None,
        who: Credentials::Srp {
            initiator_port_id: Id128(u128::from(guid).to_be_bytes()),
            claimed_guid: Guid::new(guid),
        },
    }
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn refusal(guid: u64, seconds: u64) -> Refusal {
    let login = login(guid);
    let refused = Access::default().admit(&login).unwrap_err();
    Refusal {
        when: at(seconds),
        login,
        refused,
    }
}

fn access(guids: &[u64]) -> Access {
    Access::new(vec![Host {
        name: "esx01".into(),
        guids: guids.iter().filter_map(|guid| Guid::new(*guid)).collect(),
        iqns: Vec::new(),
        chap: None,
        require_fabric: false,
        addresses: Vec::new(),
        pkeys: Vec::new(),
        ports: Vec::new(),
        luns: Default::default(),
    }])
}

#[test]
fn an_initiator_is_one_entry_that_counts() {
    let mut pending = Pending::default();
    for seconds in 0..10 {
        pending.record(refusal(PORT, seconds));
    }
    let entries = pending.list();
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!((entry.count, entry.first, entry.last), (10, at(0), at(9)));
    assert_eq!(
        entry.refused.fix,
        "srptgt allow 0x0002c903000e0b73 --as NAME"
    );
}

#[test]
fn a_login_without_guid_is_known_by_its_gid() {
    let mut pending = Pending::default();
    pending.record(refusal(0, 1));
    pending.record(refusal(0, 2));
    assert_eq!(pending.list()[0].count, 2);
    assert_eq!(pending.list()[0].identity, None);
}

#[test]
fn a_flood_forgets_the_oldest_and_stays_bounded() {
    let mut pending = Pending::default();
    for number in 0..3 * CAPACITY as u64 {
        pending.record(refusal(0x1000 + 16 * number, number));
    }
    assert_eq!(pending.len(), CAPACITY);
    let newest = Guid::new(0x1000 + 16 * (3 * CAPACITY as u64 - 1));
    assert_eq!(pending.list()[0].identity, newest.map(Identity::Guid));
    assert_eq!(
        pending.list().last().map(|entry| entry.last),
        Some(at(2 * CAPACITY as u64))
    );
}

#[test]
fn repeated_knocking_is_logged_once_a_minute() {
    let mut pending = Pending::default();
    let logged = |pending: &mut Pending, seconds| pending.record(refusal(PORT, seconds)).is_some();
    assert!(logged(&mut pending, 0));
    assert!(!logged(&mut pending, 1));
    assert!(!logged(&mut pending, 59));
    assert!(logged(&mut pending, 60));
    let mut other = refusal(PORT, 61);
    other.refused.reason = RefusalReason::FabricRequired;
    assert!(pending.record(other).is_some(), "another reason is news");
}

#[test]
fn a_review_forgets_the_admitted_and_renews_the_advice() {
    let mut pending = Pending::default();
    pending.record(refusal(PORT, 1));
    pending.record(refusal(PORT + 1, 2));
    pending.review(&access(&[PORT]));
    let entries = pending.list();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].refused.reason, RefusalReason::SameCard);
    assert_eq!(
        entries[0].refused.fix,
        "srptgt allow 0x0002c903000e0b74 --as esx01"
    );
}

#[test]
fn a_broken_login_stays_whoever_is_listed() {
    let mut pending = Pending::default();
    let mut broken = refusal(PORT, 1);
    broken.refused.reason = RefusalReason::Protocol;
    pending.record(broken);
    pending.review(&access(&[PORT]));
    assert_eq!(pending.len(), 1);
    pending.review(&Access::default());
    assert_eq!(pending.list()[0].refused.reason, RefusalReason::Protocol);
}

#[test]
fn neighbours_that_knocked_are_found_unless_the_guid_itself_did() {
    let mut pending = Pending::default();
    pending.record(refusal(PORT, 1));
    let guid = |value| Identity::Guid(Guid::new(value).unwrap());
    assert_eq!(pending.near(&guid(PORT - 1)), Some(guid(PORT)));
    assert_eq!(pending.near(&guid(PORT ^ 1 << 57)), Some(guid(PORT)));
    assert_eq!(pending.near(&guid(PORT)), None);
    assert_eq!(pending.near(&guid(PORT + 9)), None);
}

const NAME: &str = "iqn.1993-08.org.debian:01:1ec01ae32adf";

fn iscsi(name: &str, seconds: u64) -> Refusal {
    let mut login = login(0);
    login.portal = Portal {
        protocol: Protocol::Tcp,
        listen: "10.99.0.1:3260".parse().unwrap(),
        fabric: None,
    };
    (login.local, login.link_layer, login.source_gid) = (None, None, None);
    login.address = "10.99.0.2".parse().ok();
    login.who = Credentials::Iscsi {
        initiator_name: name.to_owned(),
        isid: [0, 2, 0x3d, 0, 0, 1],
        target_name: None,
        discovery: true,
    };
    let refused = Access::default().admit(&login).unwrap_err();
    Refusal {
        when: at(seconds),
        login,
        refused,
    }
}

#[test]
fn a_name_is_one_entry_whatever_its_case_and_portal() {
    let mut pending = Pending::default();
    pending.record(iscsi(NAME, 1));
    pending.record(iscsi(&NAME.to_ascii_uppercase(), 2));
    let entries = pending.list();
    assert_eq!((entries.len(), entries[0].count), (1, 2));
    assert_eq!(
        entries[0].identity,
        Some(Identity::Iqn(NAME.parse().unwrap()))
    );
    assert_eq!(
        entries[0].refused.fix,
        format!("srptgt allow {NAME} --as NAME")
    );
}

#[test]
fn a_name_that_is_none_is_known_by_its_address() {
    let mut pending = Pending::default();
    pending.record(iscsi("fred", 1));
    pending.record(iscsi("wilma", 2));
    let entries = pending.list();
    assert_eq!((entries.len(), &entries[0].identity), (1, &None));
    assert_eq!(entries[0].refused.reason, RefusalReason::BadIqn);
}

#[test]
fn names_that_knocked_and_differ_in_one_character_are_found() {
    let mut pending = Pending::default();
    pending.record(iscsi(NAME, 1));
    let name = |text: &str| Identity::Iqn(text.parse().unwrap());
    assert_eq!(
        pending.near(&name("iqn.1993-08.org.debian:01:1ec01ae32ad")),
        Some(name(NAME))
    );
    assert_eq!(pending.near(&name("iqn.1993-08.org.debian:01:other")), None);
    assert_eq!(pending.near(&name(NAME)), None);
}

#[test]
fn a_failed_secret_stays_until_none_is_asked_for() {
    let mut pending = Pending::default();
    let mut failed = iscsi(NAME, 1);
    failed.refused = Refused::chap_failed("esx01", "u", "the response is wrong");
    pending.record(failed);
    let mut host = Host {
        name: "esx01".into(),
        guids: Vec::new(),
        iqns: vec![NAME.parse().unwrap()],
        chap: Some(std::sync::Arc::new(ChapSecrets {
            initiator: ChapAccount::new("u", Secret::new("twelve bytes").unwrap()).unwrap(),
            target: None,
        })),
        require_fabric: false,
        addresses: Vec::new(),
        pkeys: Vec::new(),
        ports: Vec::new(),
        luns: Default::default(),
    };
    pending.review(&Access::new(vec![host.clone()]));
    assert_eq!(pending.list()[0].refused.reason, RefusalReason::ChapFailed);
    host.chap = None;
    pending.review(&Access::new(vec![host]));
    assert_eq!(pending.len(), 0);
}

#[test]
fn a_flood_of_refusals_has_few_lines_and_all_are_counted() {
    let mut pending = Pending::default();
    let mut lines = 0;
    for number in 0..1000 {
        // All within one second.
        lines += u64::from(pending.record(refusal(0x1000 + 16 * number, 7)).is_some());
    }
    assert_eq!(lines, u64::from(LINES_PER_SECOND));
    let news = pending
        .record(refusal(PORT, 8))
        .expect("a line of the next second");
    assert_eq!(news.left_out, 1000 - lines);
    assert_eq!(news.entry.login.claimed_guid().map(Guid::value), Some(PORT));
    let news = pending.record(refusal(PORT + 16, 8)).expect("a line");
    assert_eq!(news.left_out, 0);
}
