//! Changes through the API, over a real socket, to a control plane with a fake worker: LUNs, maps, the file.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use serde_json::json;
use srptgt::worker_link::LunChange;
use support::{Bed, PORT, add_host, add_ram, map, refused, served};

#[tokio::test]
async fn a_lun_is_added_persisted_and_mapped() {
    let bed = served().await;
    assert!(bed.told().luns.contains_key("ds1"));
    let host = bed.told().access.hosts()[0].clone();
    assert_eq!(&*host.luns[&0].lun, "ds1");
    for text in ["[lun.ds1]", "[host.esx01]", "[[map]]", "0x0002c903000e0b73"] {
        assert!(
            bed.config_text().contains(text),
            "{text} in {}",
            bed.config_text()
        );
    }
    let lun = bed.client.get("/v1/luns/ds1").await.unwrap();
    assert_eq!(lun["state"], "online");
    assert_eq!(lun["size_bytes"], 1 << 20);
    assert_eq!(lun["hosts"][0]["host"], "esx01");
    assert_eq!(
        bed.told()
            .access
            .admit(&support::login(PORT))
            .unwrap()
            .host
            .name,
        "esx01".into()
    );
}

#[tokio::test]
async fn the_configuration_survives_a_restart() {
    let first = served().await;
    let text = first.config_text();
    let second = Bed::with(&text).await;
    assert_eq!(second.config_text(), text, "reading it changes nothing");
    assert_eq!(
        second.client.get("/v1/config").await.unwrap(),
        first.client.get("/v1/config").await.unwrap()
    );
    assert_eq!(second.told().access, first.told().access);
}

#[tokio::test]
async fn an_empty_start_writes_the_targets_identity_once() {
    let bed = Bed::new().await;
    let text = bed.config_text();
    assert!(text.contains("[target]"), "{text}");
    assert_eq!(
        Bed::with(&text).await.control.target(),
        bed.control.target()
    );
}

#[tokio::test]
async fn a_change_that_cannot_be_written_is_taken_back() {
    let bed = served().await;
    let (access, text) = (bed.told().access.clone(), bed.config_text());
    bed.break_disk();
    let (_, why, _) = refused(add_ram(&bed, "ds2").await);
    assert!(why.contains("writing the new file"), "{why}");
    refused(add_host(&bed, "esx02", PORT + 0x100).await);
    refused(bed.client.delete("/v1/luns/ds1?force=true").await);
    refused(
        bed.client
            .patch("/v1/luns/ds1", json!({ "read_only": true }))
            .await,
    );
    refused(
        bed.client
            .post(
                "/v1/portals",
                json!({ "protocol": "srp", "listen": "10.99.0.1:5555" }),
            )
            .await,
    );
    {
        let told = bed.told();
        assert_eq!(told.luns.keys().collect::<Vec<_>>(), ["ds1"]);
        assert_eq!(*told.access, *access);
        assert!(!told.luns["ds1"].0.read_only());
        assert!(told.portals.is_empty());
    }
    assert_eq!(bed.config_text(), text);
    assert_eq!(
        bed.client
            .get("/v1/luns")
            .await
            .unwrap()
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_worker_that_refuses_leaves_everything_as_it_was() {
    let bed = served().await;
    let text = bed.config_text();
    bed.told().failing = Some("add lun");
    let (wrong_usage, why, fix) = refused(add_ram(&bed, "ds2").await);
    assert_eq!(
        (wrong_usage, why.as_str(), fix.as_str()),
        (false, "the worker was told to fail", "tell it otherwise")
    );
    bed.told().failing = Some("add portal");
    refused(
        bed.client
            .post(
                "/v1/portals",
                json!({ "protocol": "srp", "listen": "10.99.0.1:5555" }),
            )
            .await,
    );
    bed.told().failing = Some("lun changed");
    refused(
        bed.client
            .patch("/v1/luns/ds1", json!({ "write_cache": true }))
            .await,
    );
    assert!(!bed.told().luns["ds1"].0.write_cache());
    assert_eq!(bed.config_text(), text);
}

#[tokio::test]
async fn switches_and_growth_reach_the_worker_with_their_attention() {
    let bed = Bed::new().await;
    let path = bed.folder.path().join("ds.img");
    bed.client
        .post("/v1/luns/ds", json!({ "file": path, "size": "1M" }))
        .await
        .unwrap();
    bed.client
        .patch(
            "/v1/luns/ds",
            json!({ "read_only": true, "write_cache": true }),
        )
        .await
        .unwrap();
    let grown = bed
        .client
        .post("/v1/luns/ds/resize", json!({ "size": "4M" }))
        .await
        .unwrap();
    assert_eq!(grown["size_bytes"], 4 << 20);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 << 20);
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    bed.client
        .post("/v1/luns/ds/resize", json!({}))
        .await
        .unwrap();
    let told = bed.told();
    let lu = &told.luns["ds"].0;
    assert_eq!(
        (lu.blocks(), lu.read_only(), lu.write_cache()),
        (8 << 11, true, true)
    );
    let changes: Vec<_> = told.changes.iter().map(|(_, change)| *change).collect();
    assert_eq!(
        changes,
        [
            LunChange::ModeParameters,
            LunChange::Capacity,
            LunChange::Capacity
        ]
    );
    assert!(
        bed.config_text().contains("size = \"8M\""),
        "{}",
        bed.config_text()
    );
}

#[tokio::test]
async fn nothing_shrinks() {
    let bed = Bed::new().await;
    let path = bed.folder.path().join("ds.img");
    bed.client
        .post("/v1/luns/ds", json!({ "file": path, "size": "4M" }))
        .await
        .unwrap();
    let (_, why, _) = refused(
        bed.client
            .post("/v1/luns/ds/resize", json!({ "size": "1M" }))
            .await,
    );
    assert!(why.contains("would lose data"), "{why}");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 4 << 20);
}

#[tokio::test]
async fn a_file_that_lost_its_end_or_is_gone_is_not_served_and_nothing_is_made() {
    let first = Bed::new().await;
    let path = first.folder.path().join("ds.img");
    first
        .client
        .post("/v1/luns/ds", json!({ "file": path, "size": "4M" }))
        .await
        .unwrap();
    add_host(&first, "esx01", PORT).await.unwrap();
    map(&first, "ds", "esx01").await.unwrap();
    let text = first.config_text();
    // Each bed has a worker that keeps the medium open, so the file is copied.
    let copy = path.with_extension("copy");
    let text = text.replace("ds.img", "ds.copy");
    for make in [None, Some(1u64 << 20)] {
        let _ = std::fs::remove_file(&copy);
        if let Some(len) = make {
            std::fs::File::create(&copy).unwrap().set_len(len).unwrap();
        }
        let bed = Bed::with(&text).await;
        let lun = bed.client.get("/v1/luns/ds").await.unwrap();
        assert_eq!(lun["state"], "offline");
        assert_eq!(lun["size_bytes"], 4 << 20);
        assert!(bed.told().luns.is_empty());
        assert!(
            bed.told().access.hosts()[0].luns.is_empty(),
            "a map waits for its LUN"
        );
        assert_eq!(copy.metadata().map(|file| file.len()).ok(), make);
        let status = bed.client.get("/v1/status").await.unwrap();
        assert!(
            status["problems"][0]["text"]
                .as_str()
                .unwrap()
                .contains("LUN ds is offline"),
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_down_comes_up_by_itself() {
    let first = Bed::new().await;
    let path = first.folder.path().join("ds.img");
    let text = format!(
        "[lun.ds]\nfile = \"{}\"\n[host.a]\n[[map]]\nhost = \"a\"\nlun = \"ds\"\nnumber = 3\n",
        path.display()
    );
    let bed = Bed::with(&text).await;
    assert!(bed.told().luns.is_empty());
    std::fs::File::create(&path)
        .unwrap()
        .set_len(1 << 20)
        .unwrap();
    let sees = || {
        let told = bed.told();
        told.access.hosts()[0]
            .luns
            .get(&3)
            .is_some_and(|mapped| &*mapped.lun == "ds")
    };
    for _ in 0..1000 {
        if sees() {
            return;
        }
        // The worker's thread needs real time, the timer only the test's.
        std::thread::sleep(std::time::Duration::from_millis(5));
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    panic!("the LUN did not come up");
}

#[tokio::test]
async fn the_same_file_by_another_path_is_refused() {
    let bed = Bed::new().await;
    let path = bed.folder.path().join("ds.img");
    bed.client
        .post("/v1/luns/a", json!({ "file": path, "size": "1M" }))
        .await
        .unwrap();
    let (_, why, _) = refused(bed.client.post("/v1/luns/b", json!({ "file": path })).await);
    assert!(why.contains("LUN a's already"), "{why}");
    let link = bed.folder.path().join("hard.img");
    std::fs::hard_link(&path, &link).unwrap();
    refused(bed.client.post("/v1/luns/b", json!({ "file": link })).await);
    assert_eq!(bed.told().luns.len(), 1);
}

#[tokio::test]
async fn removing_what_is_used_needs_force() {
    let bed = served().await;
    let (_, why, fix) = refused(bed.client.delete("/v1/luns/ds1").await);
    assert_eq!(why, "LUN ds1 is mapped to esx01");
    assert!(fix.contains("srptgt unmap ds1 --host HOST"), "{fix}");
    refused(bed.client.delete("/v1/hosts/esx01").await);
    bed.client.delete("/v1/luns/ds1?force=true").await.unwrap();
    assert!(bed.told().luns.is_empty());
    // The worker is told that nobody sees it before it is told to let it go.
    assert!(
        bed.told().log.ends_with(&["set access", "remove lun"]),
        "{:?}",
        bed.told().log
    );
    bed.client.delete("/v1/hosts/esx01").await.unwrap();
    assert!(bed.told().access.hosts().is_empty());
}

#[tokio::test]
async fn an_offline_lun_can_be_removed() {
    let bed = Bed::with("[lun.gone]\nfile = \"/nonexistent/gone.img\"\n").await;
    let answer = bed.client.delete("/v1/luns/gone").await.unwrap();
    assert!(
        answer["notes"][0]
            .as_str()
            .unwrap()
            .contains("was not touched"),
        "{answer}"
    );
    assert!(!bed.config_text().contains("gone"));
}

#[tokio::test]
async fn numbers_are_chosen_lowest_first_and_never_doubled() {
    let bed = served().await;
    for name in ["ds2", "ds3", "ds4"] {
        add_ram(&bed, name).await.unwrap();
    }
    let numbered = json!({ "lun": "ds2", "host": "esx01", "number": 2, "read_only": true });
    bed.client.post("/v1/maps", numbered).await.unwrap();
    assert_eq!(map(&bed, "ds3", "esx01").await.unwrap()["number"], 1);
    let taken = json!({ "lun": "ds4", "host": "esx01", "number": 2 });
    let (_, why, fix) = refused(bed.client.post("/v1/maps", taken).await);
    assert!(
        why.contains("is ds2 already") && fix.contains("3 is free"),
        "{why}; {fix}"
    );
    let (_, why, _) = refused(map(&bed, "ds3", "esx01").await);
    assert!(why.contains("sees LUN ds3 already, as number 1"), "{why}");
    bed.client.delete("/v1/maps/esx01/ds1").await.unwrap();
    assert_eq!(map(&bed, "ds4", "esx01").await.unwrap()["number"], 0);
}

#[tokio::test]
async fn changes_at_the_same_time_all_hold() {
    let bed = Bed::new().await;
    add_host(&bed, "esx01", PORT).await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..24 {
        let client = bed.client.clone();
        asked.spawn(async move {
            let name = format!("ds{number}");
            client
                .post(&format!("/v1/luns/{name}"), json!({ "ram": "1M" }))
                .await
                .unwrap();
            client
                .post("/v1/maps", json!({ "lun": name, "host": "esx01" }))
                .await
                .unwrap()
        });
    }
    let made = asked.join_all().await;
    let mut numbers: Vec<_> = made
        .iter()
        .map(|map| map["number"].as_u64().unwrap())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..24).collect::<Vec<_>>());
    assert_eq!(bed.told().access.hosts()[0].luns.len(), 24);
    let again = Bed::with(&bed.config_text()).await;
    assert_eq!(again.told().access, bed.told().access);
}

#[tokio::test]
async fn the_file_is_read_again_whole_or_not_at_all() {
    let bed = served().await;
    let good = bed.config_text();
    let with_host = format!("{good}\n# by hand\n[host.esx02]\nguids = [\"0x0002c903000e0c73\"]\n");
    std::fs::write(bed.config_path(), &with_host).unwrap();
    bed.control.reload().await.unwrap();
    assert_eq!(bed.told().access.hosts().len(), 2);
    assert_eq!(
        bed.config_text(),
        with_host,
        "a complete file is left as it was written"
    );

    let access = bed.told().access.clone();
    for broken in [
        format!("{good}\n[host.esx03]\nguid = []\n"),
        format!("{good}\n[lun.new]\nfile = \"/nonexistent/new.img\"\nsize = \"1M\"\n"),
        good.replace("ram = \"1M\"", "null = \"1M\""),
        good.replacen("0x02", "0x06", 1),
    ] {
        std::fs::write(bed.config_path(), broken).unwrap();
        bed.control.reload().await.unwrap_err();
        assert_eq!(bed.told().access, access);
        assert_eq!(bed.told().luns.len(), 1);
    }
}

#[tokio::test]
async fn wrong_requests_are_told_apart_from_refused_ones() {
    let bed = Bed::new().await;
    for (path, body) in [
        ("/v1/luns/ds1", json!({ "ram": "1M", "colour": "red" })),
        ("/v1/luns/ds1", json!({ "ram": "lots" })),
        ("/v1/luns/-", json!({ "ram": "1M" })),
        ("/v1/hosts/esx01", json!({ "guids": ["0x12"] })),
        (
            "/v1/hosts/esx01",
            json!({ "guids": ["Node GUID: 0x0002c903000e0b72"] }),
        ),
        (
            "/v1/maps",
            json!({ "lun": "a", "host": "b", "number": 256 }),
        ),
    ] {
        let (wrong_usage, why, _) = refused(bed.client.post(path, &body).await);
        assert!(wrong_usage, "{path} {body}: {why}");
    }
    let (wrong_usage, why, _) = refused(bed.client.get("/v1/nothing").await);
    assert!(
        !wrong_usage && why == "there is no GET /v1/nothing",
        "{why}"
    );
    refused(bed.client.delete("/v1/status").await);
    refused(bed.client.delete("/v1/luns/x?force=maybe").await);
    assert!(bed.told().luns.is_empty() && bed.told().access.hosts().is_empty());
}

#[tokio::test]
async fn a_stalled_lun_is_for_the_worker() {
    let bed = served().await;
    bed.client
        .post("/v1/luns/ds1/stall", json!({ "on": true }))
        .await
        .unwrap();
    assert!(bed.told().stalled.contains("ds1"));
    bed.client
        .post("/v1/luns/ds1/stall", json!({ "on": false }))
        .await
        .unwrap();
    assert!(bed.told().stalled.is_empty());
    refused(
        bed.client
            .post("/v1/luns/ds2/stall", json!({ "on": true }))
            .await,
    );
}
