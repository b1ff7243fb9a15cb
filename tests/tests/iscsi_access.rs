//! Who gets in over iSCSI: the listed, the one who is allowed while the daemon runs, and, with CHAP, who knows the
//! secret.

use std::net::Ipv4Addr;

use serde_json::Value;
use tests::command::run;
use tests::deadline::{until, until_true};
use tests::open_iscsi::{INITIATOR, LOGIN_REFUSED, Node, OpenIscsi, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

/// Of the initiator and of the target, and one that is neither's.
const SECRETS: [&str; 3] = [
    "initiator's-own-1",
    "target's-own-word-2",
    "neither's-secret-3",
];
const ALGORITHMS: [&str; 4] = ["SHA3-256", "SHA256", "SHA1", "MD5"];

#[test]
fn an_unlisted_name_is_refused_until_it_is_allowed() {
    let name = "an_unlisted_name_is_refused_until_it_is_allowed";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::start();
        target.listen_for_iscsi();
        target.run("lun add ds1 --ram --size 16M");
        let mut initiator = OpenIscsi::start();
        for transport in Transport::ALL {
            let refused = initiator.try_discover(transport, rxe.address);
            let refused = refused.expect_err("a stranger learnt of the target");
            assert_eq!(refused.status, Some(LOGIN_REFUSED), "{transport:?}");
        }
        // A stranger who knows the names is not let in either.
        for node in &nodes_by_hand(&target, rxe.address) {
            let refused = node.try_log_in().expect_err("a stranger got in");
            assert_eq!(refused.status, Some(LOGIN_REFUSED), "{node:?}");
        }

        let pending = only_pending(&target);
        assert_eq!(pending["identity"], INITIATOR);
        let fix = pending["fix"].as_str().expect("a fix");
        let fix = fix.strip_prefix("srptgt ").expect("the fix is a command");
        target.run(&fix.replace("NAME", "esx01"));
        target.run("map ds1 --host esx01 --lun 0");
        assert!(target.json::<Vec<Value>>("pending").is_empty());
        for transport in Transport::ALL {
            let session = initiator.discover(transport, rxe.address).log_in();
            assert_eq!(session.disk(0).bytes(), 16 << 20);
            session.log_out();
        }
    });
}

#[test]
fn chap_one_way_and_both_ways() {
    scenario("chap_one_way_and_both_ways", Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        let [own, theirs, _] = SECRETS;
        let mut initiator = OpenIscsi::start();
        set_chap(&target, own);
        for (algorithm, transport) in ALGORITHMS
            .into_iter()
            .zip(Transport::ALL.into_iter().cycle())
        {
            initiator.configure(&chap(algorithm, own, None));
            come_and_go(&target, &mut initiator, transport, rxe.address);
        }
        set_mutual_chap(&target, theirs);
        for transport in Transport::ALL {
            initiator.configure(&chap("SHA256", own, Some(theirs)));
            come_and_go(&target, &mut initiator, transport, rxe.address);
        }
        // Nobody has to ask the target for its secret.
        initiator.configure(&chap("SHA256", own, None));
        come_and_go(&target, &mut initiator, Transport::Tcp, rxe.address);
        assert!(target.json::<Vec<Value>>("pending").is_empty());
    });
}

#[test]
fn a_wrong_secret_is_refused_by_either_end() {
    let name = "a_wrong_secret_is_refused_by_either_end";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        let [own, theirs, wrong] = SECRETS;
        let mut initiator = OpenIscsi::start();
        let session = initiator.discover(Transport::Tcp, rxe.address).log_in();
        set_chap(&target, own);
        // A session that came in without a secret ends.
        until_true("the session to end", 30, || {
            target.json::<Vec<Value>>("session list").is_empty()
        });
        session.log_out();
        set_mutual_chap(&target, theirs);

        initiator.configure(&chap("SHA256", wrong, None));
        for transport in Transport::ALL {
            let refused = initiator.try_discover(transport, rxe.address);
            assert!(refused.is_err(), "a wrong secret was enough for discovery");
        }
        initiator.configure(&[]);
        let nodes = nodes_by_hand(&target, rxe.address);
        for node in &nodes {
            let refused = node.try_log_in().expect_err("in without CHAP");
            assert_eq!(refused.status, Some(LOGIN_REFUSED), "{node:?}");
            set_chap_of(node, &chap("SHA256", wrong, None));
            let refused = node.try_log_in().expect_err("in with a wrong secret");
            assert_eq!(refused.status, Some(LOGIN_REFUSED), "{node:?}");
        }
        let pending = only_pending(&target);
        assert_eq!(pending["identity"], INITIATOR);
        assert_eq!(pending["reason"], "chap-failed");

        // The initiator refuses a target that does not know its secret.
        for node in &nodes {
            set_chap_of(node, &chap("SHA256", own, Some(wrong)));
            node.try_log_in()
                .expect_err("a target with a wrong secret was believed");
            set_chap_of(node, &chap("SHA256", own, Some(theirs)));
            let session = node.log_in();
            run(&format!("sg_turs {}", session.disk(0).path()));
            session.log_out();
        }
        assert_tells_no_secret(&target);
    });
}

/// Records that no discovery has made.
fn nodes_by_hand(target: &Srptgt, address: Ipv4Addr) -> [Node; 2] {
    Transport::ALL.map(|transport| {
        let node = Node {
            transport,
            portal: Node::portal_at(address),
            target: target.iqn(),
        };
        node.make();
        node
    })
}

/// Values of `iscsid.conf` for CHAP, in discovery and login.
fn chap<'a>(
    algorithm: &'a str,
    own: &'a str,
    theirs: Option<&'a str>,
) -> Vec<(&'static str, &'a str)> {
    let mut values = vec![
        ("node.session.auth.authmethod", "CHAP"),
        ("node.session.auth.chap_algs", algorithm),
        ("node.session.auth.username", "initiator"),
        ("node.session.auth.password", own),
        ("discovery.sendtargets.auth.authmethod", "CHAP"),
        ("discovery.sendtargets.auth.chap_algs", algorithm),
        ("discovery.sendtargets.auth.username", "initiator"),
        ("discovery.sendtargets.auth.password", own),
    ];
    if let Some(theirs) = theirs {
        values.extend([
            ("node.session.auth.username_in", "tank"),
            ("node.session.auth.password_in", theirs),
            ("discovery.sendtargets.auth.username_in", "tank"),
            ("discovery.sendtargets.auth.password_in", theirs),
        ]);
    }
    values
}

/// Gives a record those values that are a session's.
fn set_chap_of(node: &Node, values: &[(&str, &str)]) {
    for (name, value) in values {
        if name.starts_with("node.") {
            node.set(name, value);
        }
    }
}

fn set_chap(target: &Srptgt, secret: &str) {
    let set = "host set initiator --chap-user initiator --chap-secret-file -";
    target.run_with_input(set, secret);
}

fn set_mutual_chap(target: &Srptgt, secret: &str) {
    let set = "host set initiator --mutual-chap-user tank --mutual-chap-secret-file -";
    target.run_with_input(set, secret);
}

fn come_and_go(
    target: &Srptgt,
    initiator: &mut OpenIscsi,
    transport: Transport,
    address: Ipv4Addr,
) {
    let session = initiator.discover(transport, address).log_in();
    run(&format!("sg_turs {}", session.disk(0).path()));
    let listed: Vec<Value> = target.json("session list");
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["vouched"], "chap");
    session.log_out();
}

#[track_caller]
fn only_pending(target: &Srptgt) -> Value {
    // The refusal is told to the control plane a moment after the initiator has it.
    let pending = until("a refusal to be pending", 30, || {
        let pending: Vec<Value> = target.json("pending");
        (!pending.is_empty()).then_some(pending)
    });
    println!("{}", target.run("pending"));
    let [row] = &*pending else {
        panic!("not one row: {pending:?}");
    };
    row.clone()
}

fn assert_tells_no_secret(target: &Srptgt) {
    let told = [
        "pending",
        "pending --output json",
        "host show initiator",
        "host list --output json",
        "export",
        "status --output json",
    ];
    for line in told {
        let told = target.run(line);
        let secret = SECRETS.iter().find(|secret| told.contains(*secret));
        assert_eq!(secret, None, "srptgt {line} tells it");
    }
}
