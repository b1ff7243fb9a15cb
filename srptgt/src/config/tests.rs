use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;

use super::file::{ConfigFile, to_toml};
use super::parse::Refusal;
use super::*;

const GOOD: &str = r#"
[target]
id_ext = "0x0252000000000001"
ioc_guid = "0x0252000000000002"
iqn = "iqn.2001-04.com.example:tank"
alias = "the tank"
portal_group_tag = 7

[soft]
addresses = ["10.99.0.1", "fd00::1"]
guid = "0x02505600000000aa"

[[portal]]
protocol = "srp"
listen = "10.99.0.1:5555"

[[portal]]
protocol = "tcp"
listen = "0.0.0.0:3260"

[lun.ds1]
file = "/tank/ds1.img"
size = "2T"
naa = "naa.6025352000000000000000000000001a"
serial = "S1"

[lun.scratch]
ram = "64M"
naa = "naa.6025352000000000000000000000002b"
serial = "S2"
block_size = 4096
write_cache = true

[host.esx01]
guids = ["0002:c903:000e:0b73", "0x0002c903000e0b74"]
iqns = ["iqn.1998-01.com.VMware:esx01", "naa.52004567ba64678d"]
require = "fabric"
pkeys = ["0x8001"]
ports = ["mlx4_0:1"]
addresses = ["10.99.0.0/24"]
chap = { user = "esx01", secret = "the first secret" }
mutual_chap = { user = "tank", secret = "the second secret" }

[[map]]
host = "esx01"
lun = "ds1"
number = 0

[[map]]
host = "esx01"
lun = "scratch"
number = 7
read_only = true
"#;

fn parse(text: &str) -> Result<Config, Refusal> {
    super::parse::parse(text).map(|(config, _)| config)
}

fn good() -> Config {
    parse(GOOD).unwrap_or_else(|refusal| panic!("{refusal:?}"))
}

/// The refusal of `GOOD` with one text replaced by another.
fn refused(from: &str, to: &str) -> Refusal {
    assert!(GOOD.contains(from));
    parse(&GOOD.replacen(from, to, 1)).expect_err(to)
}

fn line_with(text: &str) -> usize {
    1 + GOOD.lines().position(|line| line.contains(text)).unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

#[test]
fn reads_everything() {
    let config = good();
    assert_eq!(config.luns[&name("ds1")].size, Some(ByteSize(2 << 40)));
    assert_eq!(config.luns[&name("scratch")].block_size, BlockSize::B4096);
    assert_eq!(config.hosts[&name("esx01")].guids.len(), 2);
    let host = &config.hosts[&name("esx01")];
    assert!(host.iqns.contains("iqn.1998-01.com.vmware:esx01"));
    let chap = host.chap.as_ref().unwrap();
    assert_eq!(chap.initiator.secret.expose(), "the first secret");
    assert_eq!(chap.target.as_ref().unwrap().user, "tank");
    assert_eq!(config.iscsi.portal_group_tag, 7);
    assert_eq!(config.soft.addresses.len(), 2);
    assert_eq!(
        config.soft.guid,
        Some("0x02505600000000aa".parse().unwrap())
    );
    let maps: Vec<_> = config.maps_of(&name("esx01")).collect();
    assert_eq!(maps.len(), 2);
    assert_eq!((maps[1].0, maps[1].1.read_only), (7, true));
    assert_eq!(config.free_number(&name("esx01")), Some(1));
    assert_eq!(config.free_number(&name("other")), Some(0));
}

#[test]
fn an_empty_file_serves_nothing() {
    let config = parse("").unwrap();
    assert!(config.luns.is_empty() && config.hosts.is_empty() && config.portals.is_empty());
}

#[test]
fn what_is_written_is_read() {
    let config = good();
    let text = to_toml(&config, Secrets::Included).unwrap();
    assert_eq!(parse(&text), Ok(config));
}

#[test]
fn unknown_keys_are_refused_with_line_and_known_ones() {
    let refusal = refused("require =", "requires =");
    assert_eq!(refusal.line, line_with("require ="));
    assert!(
        refusal.text.contains("requires") && refusal.text.contains("`require`"),
        "{}",
        refusal.text
    );
    let refusal = refused("[lun.scratch]", "[luns.scratch]");
    assert_eq!(refusal.line, line_with("[lun.scratch]"));
}

#[test]
fn wrong_values_are_refused_with_line_and_accepted_ones() {
    for (from, to, accepted) in [
        ("block_size = 4096", "block_size = 1024", "512, 4096"),
        ("\"fabric\"", "\"always\"", "any, fabric"),
        ("\"2T\"", "\"2 terabytes\"", "512M, 1.5T"),
        ("0002:c903:000e:0b73", "0002:c903", "0x0002c903000e0b73"),
        ("\"srp\"", "\"nvme\"", "srp"),
        ("10.99.0.1:5555", "10.99.0.1", "ADDRESS:PORT"),
        ("number = 7", "number = 256", "0 to 255"),
        ("0x8001", "8001", "0x8001"),
        ("10.99.0.0/24", "10.99.0.0/99", "10.0.0.0/24"),
        ("naa.6025", "naa.5025", "the first of them 6"),
        ("iqn.2001-04", "iqn.2001", "YYYY-MM"),
        ("naa.52004567ba64678d", "esx01", "iqn.YYYY-MM"),
        ("\"the tank\"", "\"\"", "1 to 255 bytes"),
        ("fd00::1", "0.0.0.0", "not a wildcard"),
        ("fd00::1", "fe80::1", "link-local"),
        ("fd00::1", "10.99.0.1:4791", "an IP address"),
        ("0x02505600000000aa", "0xaa", "0x0002c903000e0b73"),
        ("the first secret", "short", "at least 96 bits"),
        ("\"the first secret\"", "123456789012", "text in quotes"),
    ] {
        let refusal = refused(from, to);
        assert_eq!(refusal.line, line_with(from), "{to}: {}", refusal.text);
        assert!(refusal.text.contains(accepted), "{}", refusal.text);
    }
}

#[test]
fn broken_toml_is_refused_with_its_line() {
    assert_eq!(
        refused("number = 7", "number = ").line,
        line_with("number = 7")
    );
}

#[test]
fn a_lun_has_exactly_one_store() {
    let refusal = refused("file = \"/tank/ds1.img\"", "");
    assert!(
        refusal.text.contains("came none of them"),
        "{}",
        refusal.text
    );
    let refusal = refused("size = \"2T\"", "ram = \"1M\"");
    assert_eq!(refusal.line, line_with("[lun.ds1]"));
    assert!(refusal.text.contains("file and ram"), "{}", refusal.text);
    let refusal = refused("ram = \"64M\"", "ram = \"64M\"\nsize = \"64M\"");
    assert!(refusal.text.contains("ram = \"SIZE\""), "{}", refusal.text);
}

#[test]
fn sizes_are_whole_blocks_and_paths_absolute() {
    let refusal = refused("\"64M\"", "\"512\"");
    assert_eq!(refusal.line, line_with("\"64M\""));
    let refusal = refused("/tank/ds1.img", "ds1.img");
    assert_eq!(refusal.line, line_with("/tank/ds1.img"));
}

#[test]
fn names_that_do_not_exist_are_refused_at_their_map() {
    let refusal = refused("lun = \"scratch\"", "lun = \"scratsh\"");
    assert_eq!(GOOD.lines().nth(refusal.line - 1), Some("[[map]]"));
    assert!(
        refusal.text.contains("LUNs: ds1, scratch"),
        "{}",
        refusal.text
    );
    let refusal = refused("host = \"esx01\"", "host = \"esx02\"");
    assert!(refusal.text.contains("hosts: esx01"), "{}", refusal.text);
}

#[test]
fn what_must_be_unique_is() {
    let refusal = refused("number = 7", "number = 0");
    assert_eq!(refusal.line, line_with("number = 7"));
    let refusal = refused("lun = \"scratch\"", "lun = \"ds1\"");
    assert!(refusal.text.contains("mapped twice"), "{}", refusal.text);
    let refusal = refused("fd00::1", "10.99.0.1");
    assert_eq!(refusal.line, line_with("fd00::1"));
    assert!(refusal.text.contains("listed twice"), "{}", refusal.text);
    let refusal = refused("0x0002c903000e0b74", "0x0002c903000e0b73");
    assert!(refusal.text.contains("listed twice"), "{}", refusal.text);

    let second = |lines: &str| parse(&format!("{GOOD}\n{lines}")).unwrap_err();
    let refusal = second("[host.esx02]\nguids = [\"eui.0002C903000E0B73\"]");
    assert!(
        refusal
            .text
            .contains("under host esx01 and under host esx02"),
        "{}",
        refusal.text
    );
    let refusal = second("[lun.z]\nnull = \"1M\"\nnaa = \"naa.6025352000000000000000000000001a\"");
    assert_eq!(refusal.line, GOOD.lines().count() + 4);
    let refusal = second("[lun.z]\nnull = \"1M\"\nserial = \"S1\"");
    assert!(refusal.text.contains("serial S1"), "{}", refusal.text);
    let refusal = second("[lun.z]\nfile = \"/tank/ds1.img\"");
    assert!(refusal.text.contains("/tank/ds1.img"), "{}", refusal.text);
    let refusal = second("[[portal]]\nprotocol = \"srp\"\nlisten = \"10.99.0.1:5555\"");
    assert!(refusal.text.contains("listed twice"), "{}", refusal.text);
}

#[test]
fn names_and_secrets_are_each_in_one_place() {
    let refusal = refused("naa.52004567ba64678d", "iqn.1998-01.com.vmware:esx01");
    assert_eq!(refusal.line, line_with("iqns ="));
    assert!(refusal.text.contains("listed twice"), "{}", refusal.text);
    let refusal = refused("naa.52004567ba64678d", "iqn.2001-04.com.example:tank");
    assert!(refusal.text.contains("own name"), "{}", refusal.text);
    let refusal = refused("the second secret", "the first secret");
    assert!(refusal.text.contains("two different"), "{}", refusal.text);
    assert!(!refusal.text.contains("the first"), "{}", refusal.text);
    let refusal = refused(
        "chap = { user = \"esx01\", secret = \"the first secret\" }\n",
        "",
    );
    assert!(refusal.text.contains("no chap"), "{}", refusal.text);
    let refusal = refused(", secret = \"the first secret\"", "");
    assert_eq!(refusal.line, line_with("the first secret"));
    assert!(refusal.text.contains("--secrets"), "{}", refusal.text);
    let second = format!("{GOOD}\n[host.esx02]\niqns = [\"naa.52004567BA64678D\"]");
    let refusal = parse(&second).unwrap_err();
    assert_eq!(refusal.line, GOOD.lines().count() + 3);
    assert!(
        refusal.text.contains("under host esx01"),
        "{}",
        refusal.text
    );
}

#[test]
fn what_is_shown_has_no_secret() {
    let text = to_toml(&good(), Secrets::LeftOut).unwrap();
    assert!(text.contains("user = \"esx01\"") && !text.contains("secret ="));
    let json = serde_json::to_string(&Document::of(&good(), Secrets::LeftOut)).unwrap();
    assert!(!json.contains("first secret"), "{json}");
    assert!(!format!("{:?}", good()).contains("first secret"));
}

#[test]
fn a_file_with_secrets_is_for_its_owner() {
    let folder = tempfile::tempdir().unwrap();
    let file = ConfigFile::new(&folder.path().join("srptgt.toml"));
    file.save(&good()).unwrap();
    let mode = |mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(file.path(), permissions).unwrap();
        file.load().map(drop).map_err(|error| error.to_string())
    };
    for bad in [0o644, 0o604, 0o666, 0o602] {
        let error = mode(bad).unwrap_err();
        assert!(error.contains("chmod 600"), "{error}");
    }
    for good in [0o600, 0o640, 0o660] {
        assert_eq!(mode(good), Ok(()));
    }
    std::fs::write(file.path(), "[host.a]\n").unwrap();
    assert_eq!(mode(0o644), Ok(()), "without secrets anybody may read it");
}

#[test]
fn what_the_soft_fabric_was_started_with_goes_first() {
    let soft = good().soft;
    assert_eq!(SoftSettings::default().or(&soft), soft);
    let flags = SoftSettings {
        addresses: ["10.98.0.1".parse().unwrap()].into(),
        guid: None,
    };
    let fabric = flags.clone().or(&soft).for_fabric();
    assert_eq!(fabric.addresses, ["10.98.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(fabric.port_guid, Some(0x0250_5600_0000_00aa));
}

#[test]
fn a_target_without_a_name_gets_one_of_its_guid() {
    let config = parse(&GOOD.replace("iqn = \"iqn.2001-04.com.example:tank\"\n", "")).unwrap();
    assert_eq!(
        config.iscsi.target_name.as_str(),
        "iqn.2026-11.io.srptgt:0252000000000002"
    );
}

#[test]
fn identities_are_made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("srptgt.toml");
    std::fs::write(&path, "[lun.a]\nram = \"1M\"\n").unwrap();
    let file = ConfigFile::new(&path);
    let (first, complete) = file.load().unwrap();
    assert!(!complete, "the file lacks identities");
    file.save(&first).unwrap();
    assert_eq!(file.load().unwrap().0, first);
    assert!(file.load().unwrap().1);
}

#[test]
fn a_file_that_is_not_there_is_an_empty_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = ConfigFile::new(&folder.path().join("deep/srptgt.toml"));
    let (config, complete) = file.load().unwrap();
    assert!(config.luns.is_empty() && !complete);
    file.save(&config).unwrap();
    assert_eq!(file.load().unwrap(), (config, true));
}

#[test]
fn only_its_owner_reads_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = ConfigFile::new(&folder.path().join("srptgt.toml"));
    file.save(&good()).unwrap();
    let mode = std::fs::metadata(file.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn what_an_interrupted_writing_left_is_ignored_and_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("srptgt.toml");
    let file = ConfigFile::new(&path);
    file.save(&good()).unwrap();
    let leftover = folder.path().join("srptgt.toml.new");
    std::fs::write(&leftover, "[lun.half").unwrap();
    assert_eq!(file.load().unwrap().0, good());
    let mut next = good();
    next.portals.clear();
    file.save(&next).unwrap();
    assert_eq!(file.load().unwrap().0, next);
    assert!(!leftover.exists());
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("srptgt.toml");
    let file = ConfigFile::new(&path);
    file.save(&good()).unwrap();
    // A folder where the new file would be: it cannot be written.
    std::fs::create_dir(folder.path().join("srptgt.toml.new")).unwrap();
    let mut next = good();
    next.portals.clear();
    assert!(file.save(&next).is_err());
    assert_eq!(file.load().unwrap().0, good());
}

#[test]
fn a_symbolic_link_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("real.toml");
    let link = folder.path().join("srptgt.toml");
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    ConfigFile::new(&link).save(&good()).unwrap();
    assert!(link.symlink_metadata().unwrap().is_symlink());
    assert_eq!(ConfigFile::new(&target).load().unwrap().0, good());
}

#[test]
fn the_error_names_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("srptgt.toml");
    std::fs::write(&path, "\n\n[lun.a]\nsize = true\n").unwrap();
    let error = ConfigFile::new(&path).load().unwrap_err().to_string();
    assert!(error.contains("srptgt.toml, line 4: "), "{error}");
}

proptest::proptest! {
    /// Whatever stands in the file, it is taken or refused with a line that it has.
    #[test]
    fn no_text_panics(at in 0..GOOD.len(), len in 0..40usize, with in "[\\PC\n]{0,20}") {
        let (from, to) = (at, (at + len).min(GOOD.len()));
        let text = format!("{}{with}{}", &GOOD[..from], &GOOD[to..]);
        if let Err(refusal) = parse(&text) {
            proptest::prop_assert!(refusal.line <= text.lines().count() + 1, "{refusal:?}");
        }
    }
}
