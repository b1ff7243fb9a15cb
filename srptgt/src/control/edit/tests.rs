use super::*;
use crate::config::TargetIdentity;
use crate::control::fault::FaultKind;
use crate::control::plan::Plan;
use crate::control::request::HostEdit;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn ram() -> LunTable {
    toml::from_str("ram = \"1M\"").unwrap()
}

fn empty() -> Config {
    Config::new(TargetIdentity::random().unwrap())
}

fn with_map() -> Config {
    let mut config = empty();
    config.add_lun(&name("ds1"), ram()).unwrap();
    config
        .add_host(&name("esx01"), &HostEdit::default())
        .unwrap();
    config.map_lun(&map(None)).unwrap();
    config
}

fn map(number: Option<u8>) -> MapAdd {
    MapAdd {
        lun: name("ds1"),
        host: name("esx01"),
        number,
        read_only: false,
    }
}

#[test]
fn a_host_without_guid_is_said_to_be_empty() {
    let notes = empty()
        .add_host(&name("esx01"), &HostEdit::default())
        .unwrap();
    assert!(
        notes[0].contains("srptgt host set esx01 --guid GUID"),
        "{notes:?}"
    );
}

#[test]
fn the_form_of_a_guid_is_remarked_on() {
    let edit = HostEdit {
        guids: vec!["0xd949560e4ff0030100237dffff95169d".to_owned()],
        ..HostEdit::default()
    };
    let mut config = empty();
    let notes = config.add_host(&name("esx01"), &edit).unwrap();
    assert!(
        notes[0].contains("0x00237dffff95169d is compared"),
        "{notes:?}"
    );
    let notes = config.set_host(&name("esx01"), &edit).unwrap();
    assert!(
        notes.iter().any(|note| note.contains("was listed already")),
        "{notes:?}"
    );
}

#[test]
fn a_guid_that_is_not_listed_cannot_be_removed() {
    let mut config = with_map();
    let edit = HostEdit {
        remove_guids: vec!["0x0002c903000e0b73".to_owned()],
        ..HostEdit::default()
    };
    assert_eq!(
        config.set_host(&name("esx01"), &edit).unwrap_err().kind,
        FaultKind::NotFound
    );
}

#[test]
fn all_numbers_in_use_is_said() {
    let mut config = with_map();
    for number in 1..=u8::MAX {
        let lun = name(&format!("n{number}"));
        config.add_lun(&lun, ram()).unwrap();
        config.map_lun(&MapAdd { lun, ..map(None) }).unwrap();
    }
    let last = name("last");
    config.add_lun(&last, ram()).unwrap();
    let fault = config
        .map_lun(&MapAdd {
            lun: last,
            ..map(None)
        })
        .unwrap_err();
    assert!(fault.text.contains("0 to 255"), "{fault}");
}

#[test]
fn names_that_do_not_exist_are_said_with_the_next_step() {
    let mut config = empty();
    let fault = config.map_lun(&map(None)).unwrap_err();
    assert_eq!(
        (fault.kind, fault.fix.as_str()),
        (FaultKind::NotFound, "srptgt lun list shows what there is")
    );
    config.add_lun(&name("ds1"), ram()).unwrap();
    let fault = config.map_lun(&map(None)).unwrap_err();
    assert!(fault.fix.contains("srptgt host add esx01"), "{fault}");
    assert!(config.unmap_lun(&name("ds1"), &name("esx01")).is_err());
}

#[test]
fn a_plan_between_equal_configurations_is_empty() {
    let config = with_map();
    assert_eq!(Plan::between(&config, &config), Ok(Plan::default()));
}

#[test]
fn a_plan_names_what_changes() {
    let now = with_map();
    let mut next = now.clone();
    next.remove_lun(&name("ds1"), true).unwrap();
    next.add_lun(&name("ds2"), ram()).unwrap();
    let plan = Plan::between(&now, &next).unwrap();
    assert_eq!(
        (plan.added, plan.removed),
        (vec![name("ds2")], vec![name("ds1")])
    );
}

#[test]
fn what_initiators_remember_cannot_change() {
    let now = with_map();
    let lun = now.luns[&name("ds1")].clone();
    let changes: [fn(&mut Lun); 5] = [
        |lun| lun.store = crate::config::Store::Null,
        |lun| lun.block_size = crate::config::BlockSize::B4096,
        |lun| lun.naa = crate::config::Naa::random().unwrap(),
        |lun| lun.serial = "other".parse().unwrap(),
        |lun| lun.thin = true,
    ];
    for change in changes {
        let mut changed = lun.clone();
        change(&mut changed);
        let mut next = now.clone();
        next.luns.insert(name("ds1"), changed);
        assert_eq!(
            Plan::between(&now, &next).unwrap_err().kind,
            FaultKind::Conflict
        );
    }
    let mut next = now.clone();
    next.target = TargetIdentity::random().unwrap();
    assert!(Plan::between(&now, &next).is_err());
}
