//! Discovery, login and logout of an unmodified open-iscsi, over TCP and over iSER.

use serde_json::Value;
use tests::command::run;
use tests::open_iscsi::{INITIATOR, OpenIscsi, PORT, Transport};
use tests::rxe::Rxe;
use tests::srptgt::{Home, Srptgt};
use tests::vm::{Options, scenario};

#[test]
fn discovery_login_and_logout_over_both_transports() {
    let name = "discovery_login_and_logout_over_both_transports";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        println!("{}", target.run("portal list"));
        let mut initiator = OpenIscsi::start();
        for transport in Transport::ALL {
            let node = initiator.discover(transport, rxe.address);
            assert_eq!(node.target, target.iqn());
            assert_eq!((*node.portal.ip(), node.portal.port()), (rxe.address, PORT));
            // A second session of the same initiator to the same target comes after the end of the first.
            for _ in 0..2 {
                let session = node.log_in();
                let disk = session.disk(0);
                assert_eq!(disk.bytes(), 16 << 20);
                assert!(run(&format!("sg_inq {}", disk.path())).contains("SRPTGT"));
                assert_listed(&target, transport);
                println!("{}", target.run("session list"));
                session.log_out();
                assert_eq!(target.json::<Vec<Value>>("session list").len(), 0);
            }
        }
        target.wait_until_idle();
    });
}

#[test]
fn a_portal_that_is_switched_off_is_told_of_no_more() {
    let name = "a_portal_that_is_switched_off_is_told_of_no_more";
    scenario(name, Options::default(), || {
        let rxe = Rxe::on_dummy(0);
        let target = Srptgt::serving_iscsi(Home::in_guest("verbs"), &["--ram --size 16M"]);
        let mut initiator = OpenIscsi::start();
        let session = initiator.discover(Transport::Tcp, rxe.address).log_in();
        target.run("portal remove tcp 0.0.0.0");
        let found = initiator.try_discover(Transport::Tcp, rxe.address);
        assert!(found.is_err(), "TCP is switched off: {found:?}");
        // What is logged in stays, and the other transport with it.
        run(&format!("sg_turs {}", session.disk(0).path()));
        initiator.discover(Transport::Iser, rxe.address);
        session.log_out();
    });
}

/// The one session is that of the initiator, over this transport.
fn assert_listed(target: &Srptgt, transport: Transport) {
    let sessions: Vec<Value> = target.json("session list");
    let [session] = &*sessions else {
        panic!("not one session: {sessions:?}");
    };
    assert_eq!(session["transport"], transport.name());
    assert_eq!(session["identity"], INITIATOR);
    assert_eq!(session["host"], "initiator");
    assert_eq!(session["vouched"], "claimed");
}
