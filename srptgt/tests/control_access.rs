//! Changes through the API to who may come in, by what, and who is in.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use serde_json::{Value, json};
use support::{Bed, PORT, add_host, refused, served};

#[tokio::test]
async fn a_refused_login_is_shown_with_the_command_that_admits_it() {
    let bed = served().await;
    bed.refuse(PORT + 0x100).await;
    let pending = bed.client.get("/v1/pending").await.unwrap();
    assert_eq!(pending[0]["identity"], "0x0002c903000e0c73");
    assert_eq!(
        pending[0]["fix"],
        "srptgt allow 0x0002c903000e0c73 --as NAME"
    );
    let allow = json!({ "guid": "0002:c903:000e:0c73", "host": "esx02" });
    let host = bed.client.post("/v1/allow", allow).await.unwrap();
    assert_eq!(host["guids"][0], "0x0002c903000e0c73");
    assert!(
        host["notes"][0]
            .as_str()
            .unwrap()
            .contains("srptgt map LUN --host esx02"),
        "{host}"
    );
    assert_eq!(bed.client.get("/v1/pending").await.unwrap(), json!([]));
    assert!(
        bed.told()
            .access
            .admit(&support::login(PORT + 0x100))
            .is_ok()
    );
}

#[tokio::test]
async fn allowing_the_node_guid_names_the_port_that_knocked() {
    let bed = Bed::new().await;
    bed.refuse(PORT).await;
    let allow = json!({ "guid": format!("0x{:016x}", PORT - 1), "host": "esx01" });
    let host = bed.client.post("/v1/allow", allow).await.unwrap();
    let note = host["notes"][0].as_str().unwrap();
    assert!(
        note.contains("srptgt allow 0x0002c903000e0b73 --as esx01"),
        "{note}"
    );
    let pending = bed.client.get("/v1/pending").await.unwrap();
    assert_eq!(
        pending[0]["reason"], "same-card",
        "what is shown holds after the change"
    );
}

#[tokio::test]
async fn a_port_is_in_one_machine() {
    let bed = served().await;
    let (_, why, fix) = refused(add_host(&bed, "esx02", PORT).await);
    assert!(why.contains("listed under host esx01"), "{why}");
    assert!(fix.contains("--remove-guid 0x0002c903000e0b73"), "{fix}");
}

#[tokio::test]
async fn whole_ibstat_outputs_are_taken() {
    let bed = Bed::new().await;
    let text = include_str!("../testdata/ibstat-connectx2-two-ports.txt");
    let host = bed
        .client
        .post("/v1/hosts/esx01", json!({ "ibstat": [text] }))
        .await
        .unwrap();
    assert_eq!(
        host["guids"],
        json!(["0x0002c903000e0b73", "0x0002c903000e0b74"])
    );
}

#[tokio::test]
async fn a_limit_is_set_and_lifted() {
    let bed = served().await;
    bed.client
        .patch("/v1/hosts/esx01", json!({ "require": "fabric" }))
        .await
        .unwrap();
    assert!(bed.told().access.admit(&support::login(PORT)).is_err());
    let limits = json!({ "require": "any", "addresses": ["10.99.0.0/24"], "ports": ["rxe0:1"] });
    bed.client.patch("/v1/hosts/esx01", limits).await.unwrap();
    assert!(bed.told().access.admit(&support::login(PORT)).is_ok());
    let host = bed
        .client
        .patch("/v1/hosts/esx01", json!({ "addresses": [] }))
        .await
        .unwrap();
    assert_eq!(
        (&host["addresses"], &host["ports"]),
        (&json!([]), &json!(["rxe0:1"]))
    );
}

#[tokio::test]
async fn portals_show_what_to_dial_and_why_not() {
    let bed = Bed::new().await;
    let target = bed.control.target();
    let portal = |listen: &str| json!({ "protocol": "srp", "listen": listen });
    let made = bed
        .client
        .post("/v1/portals", portal("10.99.0.1:5555"))
        .await
        .unwrap();
    let expected = format!(
        "id_ext={:016x},ioc_guid={:016x},dest=10.99.0.1:5555",
        target.id_ext.value(),
        target.ioc_guid.value()
    );
    assert_eq!(made["endpoints"][0]["add_target"], Value::String(expected));
    bed.client
        .post("/v1/portals", portal("[fd00::1]:5555"))
        .await
        .unwrap();
    refused(
        bed.client
            .post("/v1/portals", portal("10.99.0.1:5555"))
            .await,
    );
    bed.client
        .delete("/v1/portals/srp/10.99.0.1:5555")
        .await
        .unwrap();
    bed.client
        .delete("/v1/portals/srp/[fd00::1]:5555")
        .await
        .unwrap();
    assert!(bed.told().portals.is_empty());
    assert_eq!(bed.client.get("/v1/portals").await.unwrap(), json!([]));
}

#[tokio::test]
async fn sessions_are_listed_and_dropped() {
    let bed = served().await;
    bed.told().sessions = vec![support::session(7)];
    let sessions = bed.client.get("/v1/sessions").await.unwrap();
    assert_eq!(sessions[0]["vouched"], "claimed");
    assert_eq!(
        bed.client.get("/v1/sessions/7").await.unwrap()["luns"][0]["lun"],
        "ds1"
    );
    bed.client.delete("/v1/sessions/7").await.unwrap();
    let (_, why, _) = refused(bed.client.delete("/v1/sessions/7").await);
    assert_eq!(why, "there is no session 7");
}
