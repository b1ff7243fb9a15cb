//! Changes through the API to what concerns iSCSI: names, CHAP, portals, the target's name.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};
use srptgt::access::{RefusalReason, Refused, Vouched};
use srptgt::portal::Protocol;
use support::{Bed, PORT, add_host, iscsi_login, login, refused, served};

const NAME: &str = "iqn.1998-01.com.vmware:esx01-4f2c9a10";
const SECRET: &str = "the first secret";

async fn set_host(bed: &Bed, edit: Value) -> Result<Value, srptgt::api::client::ClientError> {
    bed.client.patch("/v1/hosts/esx01", edit).await
}

async fn target_name(bed: &Bed) -> String {
    let target = bed.client.get("/v1/target").await.unwrap();
    target["iqn"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_host_comes_in_by_every_transport_and_sees_the_same() {
    let bed = served().await;
    let host = set_host(&bed, json!({ "iqns": [NAME.to_ascii_uppercase()] })).await;
    let host = host.unwrap();
    assert_eq!(host["iqns"], json!([NAME]));
    let note = host["notes"][0].as_str().unwrap();
    assert!(note.contains("upper case was folded"), "{note}");
    let target = target_name(&bed).await;
    let access = bed.told().access.clone();
    let logins = [
        login(PORT),
        iscsi_login(Protocol::Iser, NAME, Some(&target)),
        iscsi_login(Protocol::Tcp, &NAME.to_ascii_uppercase(), Some(&target)),
    ];
    let admitted = logins.map(|login| access.admit(&login).unwrap().host);
    assert!(admitted.iter().all(|host| host.luns == admitted[0].luns));
    assert_eq!(&*admitted[0].luns[&0].lun, "ds1");
}

#[tokio::test]
async fn names_survive_a_restart_and_are_taken_away() {
    let bed = served().await;
    set_host(&bed, json!({ "iqns": [NAME] })).await.unwrap();
    let again = Bed::with(&bed.config_text()).await;
    assert_eq!(again.told().access, bed.told().access);
    assert_eq!(target_name(&again).await, target_name(&bed).await);
    let host = set_host(&bed, json!({ "remove_iqns": [NAME] })).await;
    assert_eq!(host.unwrap()["iqns"], json!([]));
    let (_, why, _) = refused(set_host(&bed, json!({ "remove_iqns": [NAME] })).await);
    assert!(why.contains("does not list"), "{why}");
}

#[tokio::test]
async fn a_name_is_of_one_host_and_not_the_targets_own() {
    let bed = served().await;
    set_host(&bed, json!({ "iqns": [NAME] })).await.unwrap();
    let second = json!({ "iqns": [NAME] });
    let (_, why, fix) = refused(bed.client.post("/v1/hosts/esx02", second).await);
    assert!(why.contains("listed under host esx01"), "{why}");
    assert!(fix.contains(&format!("--remove-iqn {NAME}")), "{fix}");
    let own = target_name(&bed).await;
    let (_, why, fix) = refused(set_host(&bed, json!({ "iqns": [own] })).await);
    assert!(why.contains("this target's own name"), "{why}");
    assert!(fix.contains("/etc/iscsi/initiatorname.iscsi"), "{fix}");
    let (_, why, _) = refused(bed.client.patch("/v1/target", json!({ "iqn": NAME })).await);
    assert!(why.contains("under host esx01"), "{why}");
}

#[tokio::test]
async fn chap_reaches_the_worker_and_the_file_and_nobody_else() {
    let bed = served().await;
    let chap = json!({
        "iqns": [NAME],
        "chap": { "user": "esx01", "secret": SECRET },
        "mutual_chap": { "user": "target", "secret": "the second secret" },
    });
    let host = set_host(&bed, chap).await.unwrap();
    assert_eq!(host["chap"], json!({ "user": "esx01", "secret": "set" }));
    assert_eq!(host["mutual_chap"]["secret"], "set");
    let login = iscsi_login(Protocol::Tcp, NAME, None);
    let admitted = bed.told().access.admit(&login).unwrap();
    let chap = admitted.chap.unwrap();
    assert_eq!(admitted.vouched, Vouched::Chap);
    assert_eq!(chap.initiator.secret.expose(), SECRET);
    assert_eq!(chap.target.as_ref().unwrap().user, "target");
    assert!(bed.config_text().contains(SECRET));
    let mode = std::fs::metadata(bed.config_path()).unwrap().permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);
    assert_eq!(
        bed.told().access.admit(&support::login(PORT)).unwrap().chap,
        None,
        "SRP has no CHAP"
    );
    let host = set_host(&bed, json!({ "no_chap": true })).await.unwrap();
    assert_eq!(
        (&host["chap"], &host["mutual_chap"]),
        (&Value::Null, &Value::Null)
    );
    assert!(!bed.config_text().contains("secret"));
}

#[tokio::test]
async fn adding_a_lun_loses_no_secret() {
    let bed = served().await;
    let chap = json!({ "chap": { "user": "esx01", "secret": SECRET } });
    set_host(&bed, chap).await.unwrap();
    support::add_ram(&bed, "ds2").await.unwrap();
    assert!(bed.config_text().contains(SECRET));
}

#[tokio::test]
async fn bad_secrets_are_refused_with_the_reason() {
    let bed = served().await;
    let (wrong_usage, why, _) =
        refused(set_host(&bed, json!({ "chap": { "user": "u", "secret": "short" } })).await);
    assert!(wrong_usage && why.contains("at least 96 bits"), "{why}");
    let same = json!({
        "chap": { "user": "u", "secret": SECRET },
        "mutual_chap": { "user": "t", "secret": SECRET },
    });
    let (_, why, _) = refused(set_host(&bed, same).await);
    assert!(why.contains("two different ones"), "{why}");
    let (_, why, _) = refused(set_host(&bed, json!({ "chap": { "user": "u" } })).await);
    assert!(why.contains("no CHAP secret"), "{why}");
    assert!(!bed.config_text().contains("chap"));
}

#[tokio::test]
async fn a_file_with_secrets_that_everybody_reads_is_refused() {
    let bed = served().await;
    let chap = json!({ "chap": { "user": "esx01", "secret": SECRET } });
    set_host(&bed, chap).await.unwrap();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(bed.config_path(), open).unwrap();
    let fault = bed.control.reload().await.unwrap_err();
    assert!(
        fault.text.contains("0644") && fault.text.contains("chmod 600"),
        "{fault}"
    );
    assert!(!fault.text.contains(SECRET));
    let group = std::fs::Permissions::from_mode(0o640);
    std::fs::set_permissions(bed.config_path(), group).unwrap();
    bed.control.reload().await.unwrap();
}

#[tokio::test]
async fn an_export_says_that_its_secrets_are_missing() {
    let bed = served().await;
    let chap = json!({ "chap": { "user": "esx01", "secret": SECRET } });
    set_host(&bed, chap).await.unwrap();
    let with = bed
        .client
        .text("/v1/config.toml?secrets=true")
        .await
        .unwrap();
    assert_eq!(with, bed.config_text());
    let without = bed.client.text("/v1/config.toml").await.unwrap();
    std::fs::write(bed.config_path(), without).unwrap();
    let fault = bed.control.reload().await.unwrap_err();
    assert!(fault.text.contains("--secrets"), "{fault}");
}

#[tokio::test]
async fn the_worker_knows_the_name_before_the_first_portal() {
    let bed = Bed::new().await;
    let tcp = json!({ "protocol": "tcp", "listen": "0.0.0.0:3260" });
    let made = bed.client.post("/v1/portals", &tcp).await.unwrap();
    let name = target_name(&bed).await;
    assert_eq!(
        bed.told().iscsi.as_ref().unwrap().target_name.as_str(),
        name
    );
    let log = bed.told().log.clone();
    let place = |what| log.iter().position(|name| *name == what).unwrap();
    assert!(place("set iscsi") < place("add portal"), "{log:?}");
    assert_eq!(made["endpoints"].as_array().unwrap().len(), 2);
    assert_eq!(
        made["endpoints"][0]["dial"],
        format!("{name}@10.99.0.1:3260")
    );
    assert_eq!(
        made["endpoints"][1]["iscsiadm"]["login"],
        format!("iscsiadm -m node -T {name} -p 10.98.0.1:3260 --login")
    );
    let shown = bed
        .client
        .get("/v1/portals/tcp/0.0.0.0:3260")
        .await
        .unwrap();
    assert_eq!(shown, made);
    bed.client
        .delete("/v1/portals/tcp/0.0.0.0:3260")
        .await
        .unwrap();
    assert!(bed.told().portals.is_empty());
}

#[tokio::test]
async fn portals_that_cannot_be_are_refused() {
    let bed = Bed::new().await;
    for (portal, expected) in [
        (json!({ "protocol": "iser", "listen": "mlx4_0:1" }), "IPoIB"),
        (
            json!({ "protocol": "tcp", "listen": "10.0.0.1:3260", "fabric": "soft" }),
            "leave the fabric out",
        ),
    ] {
        let (_, why, _) = refused(bed.client.post("/v1/portals", portal).await);
        assert!(why.contains(expected), "{why}");
    }
    assert!(bed.told().portals.is_empty());
}

#[tokio::test]
async fn another_name_is_told_kept_and_taken_back() {
    let bed = served().await;
    let old = target_name(&bed).await;
    let set = json!({ "iqn": "iqn.2001-04.com.example:tank", "alias": "the tank" });
    let target = bed.client.patch("/v1/target", set).await.unwrap();
    assert_eq!(target["iqn"], "iqn.2001-04.com.example:tank");
    assert!(target["notes"][0].as_str().unwrap().contains(&old));
    let told = bed.told().iscsi.clone().unwrap();
    assert_eq!(told.target_alias.as_ref().unwrap().as_str(), "the tank");
    assert!(bed.config_text().contains("iqn.2001-04.com.example:tank"));
    bed.break_disk();
    refused(bed.client.patch("/v1/target", json!({ "iqn": old })).await);
    assert_eq!(bed.told().iscsi.clone(), Some(told), "it is taken back");
}

#[tokio::test]
async fn a_refused_name_is_admitted_by_the_command_that_is_shown() {
    let bed = served().await;
    bed.refuse_iscsi(NAME).await;
    let pending = bed.client.get("/v1/pending").await.unwrap();
    assert_eq!(pending[0]["identity"], NAME);
    assert_eq!(pending[0]["reason"], "iqn-not-listed");
    assert_eq!(pending[0]["fix"], format!("srptgt allow {NAME} --as NAME"));
    assert_eq!(pending[0]["login"]["isid"], "00023d000001");
    let allow = json!({ "identity": NAME, "host": "esx01" });
    let host = bed.client.post("/v1/allow", allow).await.unwrap();
    assert_eq!(host["iqns"], json!([NAME]));
    assert_eq!(bed.client.get("/v1/pending").await.unwrap(), json!([]));
}

#[tokio::test]
async fn an_eui_is_a_name_when_that_knocked_and_a_port_otherwise() {
    let bed = Bed::new().await;
    let allow = json!({ "identity": "eui.0002C903000E0B73", "host": "a" });
    let host = bed.client.post("/v1/allow", &allow).await.unwrap();
    assert_eq!(host["guids"], json!(["0x0002c903000e0b73"]));
    bed.refuse_iscsi("eui.0002c903000e0b99").await;
    let allow = json!({ "identity": "eui.0002C903000E0B99", "host": "b" });
    let host = bed.client.post("/v1/allow", &allow).await.unwrap();
    assert_eq!(host["iqns"], json!(["eui.0002c903000e0b99"]));
}

#[tokio::test]
async fn allowing_a_mistyped_name_names_the_one_that_knocked() {
    let bed = Bed::new().await;
    bed.refuse_iscsi(NAME).await;
    let allow = json!({ "identity": &NAME[..NAME.len() - 1], "host": "esx01" });
    let host = bed.client.post("/v1/allow", allow).await.unwrap();
    let note = host["notes"][0].as_str().unwrap();
    assert!(
        note.contains(&format!("srptgt allow {NAME} --as esx01")),
        "{note}"
    );
    let pending = bed.client.get("/v1/pending").await.unwrap();
    assert_eq!(pending[0]["reason"], "similar-iqn");
}

#[tokio::test]
async fn a_wrong_secret_is_pending_with_what_to_compare() {
    let bed = Bed::new().await;
    add_host(&bed, "esx01", PORT).await.unwrap();
    let chap = json!({ "iqns": [NAME], "chap": { "user": "esx01", "secret": SECRET } });
    set_host(&bed, chap).await.unwrap();
    let login = iscsi_login(Protocol::Tcp, NAME, None);
    let why = Refused::chap_failed("esx01", "esx01", "the response does not match its secret");
    bed.refuse_with(login, why).await;
    let pending = bed.client.get("/v1/pending").await.unwrap();
    assert_eq!(pending[0]["reason"], "chap-failed");
    let fix = pending[0]["fix"].as_str().unwrap();
    assert!(fix.contains("--chap-secret-file"), "{fix}");
    assert_eq!(
        serde_json::to_value(RefusalReason::ChapFailed).unwrap(),
        "chap-failed"
    );
    set_host(&bed, json!({ "no_chap": true })).await.unwrap();
    assert_eq!(bed.client.get("/v1/pending").await.unwrap(), json!([]));
}

#[tokio::test]
async fn a_wrong_secret_is_forgotten_when_the_initiator_comes_in() {
    let bed = Bed::new().await;
    add_host(&bed, "esx01", PORT).await.unwrap();
    let chap = json!({ "iqns": [NAME], "chap": { "user": "esx01", "secret": SECRET } });
    set_host(&bed, chap).await.unwrap();
    let login = iscsi_login(Protocol::Tcp, NAME, None);
    let why = Refused::chap_failed("esx01", "esx01", "the response does not match its secret");
    bed.refuse_with(login, why).await;
    bed.refuse_iscsi("iqn.2001-04.com.example:stranger").await;
    let shown = async |bed: &Bed| {
        let pending = bed.client.get("/v1/pending").await.unwrap();
        pending.as_array().unwrap().len()
    };
    assert_eq!(shown(&bed).await, 2);
    bed.told().sessions = vec![support::iscsi_session(7, Protocol::Tcp, NAME)];
    assert_eq!(shown(&bed).await, 1, "the stranger stays");
    assert_eq!(bed.client.get("/v1/status").await.unwrap()["pending"], 1);
}
