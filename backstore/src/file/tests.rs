use super::*;
use crate::descriptor::Direct;
use crate::loop_device::{Mount, children_settled};
use crate::medium::{Medium, MediumConfig, StoreConfig};
use std::os::unix::fs::symlink;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn config(path: &Path, create_size: Option<u64>, read_only: bool) -> MediumConfig {
    MediumConfig {
        store: StoreConfig::File {
            path: path.to_owned(),
            create_size,
            read_only,
        },
        block_size: 512,
    }
}

fn open(path: &Path, create_size: Option<u64>) -> Result<Arc<Medium>, OpenError> {
    children_settled();
    Medium::open(&config(path, create_size, false))
}

fn open_read_only(path: &Path) -> Result<Arc<Medium>, OpenError> {
    children_settled();
    Medium::open(&config(path, None, true))
}

fn refusal(path: &Path, create_size: Option<u64>) -> String {
    open(path, create_size)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_new_file_is_sparse_private_and_of_the_wanted_size() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("new.img");
    let medium = open(&path, Some(64 * MIB)).expect("made");
    assert_eq!(medium.size_bytes(), 64 * MIB);
    let found = fs::metadata(&path).expect("there");
    assert_eq!(found.blocks(), 0);
    assert_eq!(found.mode() & 0o777, 0o600);
}

#[test]
fn an_existing_file_is_used_as_it_is() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("old.img");
    fs::write(&path, [7; 4096]).expect("write");
    assert_eq!(open(&path, None).expect("opened").size_bytes(), 4096);
    assert_eq!(open(&path, Some(4096)).expect("opened").size_bytes(), 4096);
    assert_eq!(fs::read(&path).expect("read"), [7; 4096]);
}

#[test]
fn a_size_never_changes_an_existing_file() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("old.img");
    fs::write(&path, [7; 4096]).expect("write");
    for wanted in [512, 8192] {
        let message = refusal(&path, Some(wanted));
        assert!(
            message.contains("4096 bytes") && message.contains("lun resize"),
            "{message}"
        );
        assert_eq!(fs::read(&path).expect("read"), [7; 4096]);
    }
}

#[test]
fn sizes_that_are_not_whole_blocks_are_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("new.img");
    assert!(refusal(&path, Some(1000)).contains("512 and 1024"));
    assert!(refusal(&path, Some(0)).contains("--size"));
    assert!(!path.exists());
    fs::write(&path, [7; 1000]).expect("write");
    assert!(refusal(&path, None).contains("512 and 1024"));
    fs::write(&path, []).expect("write");
    assert!(refusal(&path, None).contains("no bytes"));
}

#[test]
fn a_size_that_the_file_system_refuses_leaves_nothing_behind() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("new.img");
    let message = refusal(&path, Some(1 << 63));
    assert!(message.contains("setting its size"), "{message}");
    assert!(!path.exists());
}

#[test]
fn what_is_no_regular_file_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    fs::write(&file, [0; 512]).expect("write");
    let link = folder.path().join("link");
    symlink(&file, &link).expect("link");
    let message = refusal(&link, None);
    assert!(
        message.contains("symbolic link to") && message.contains("/file"),
        "{message}"
    );
    assert!(refusal(folder.path(), None).contains("is a directory, where a regular file"));
    assert!(refusal(Path::new("/dev/null"), None).contains("a character device"));
    let fifo = folder.path().join("fifo");
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, 0o600.into(), 0).expect("fifo");
    assert!(refusal(&fifo, Some(512)).contains("a FIFO"));
}

#[test]
fn what_is_not_there_is_named() {
    let folder = tempfile::tempdir().expect("folder");
    let missing = folder.path().join("missing");
    assert!(refusal(&missing, None).contains("--size"));
    let message = refusal(&missing.join("new.img"), Some(512));
    assert!(
        message.contains("mkdir -p") && message.contains("missing does not exist"),
        "{message}"
    );
    let below_a_file = folder.path().join("file");
    fs::write(&below_a_file, [0; 512]).expect("write");
    assert!(refusal(&below_a_file.join("x"), Some(512)).contains("Not a directory"));
}

#[test]
fn a_refused_permission_says_what_for() {
    let message = |read_only| {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        OpenError::at_open(Path::new("/x"), read_only, IN_USE, error).to_string()
    };
    assert!(message(true).contains("for reading:"));
    assert!(message(false).contains("for reading and writing:"));
}

#[test]
fn a_writer_has_its_file_alone() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.img");
    let writer = open(&path, Some(4096)).expect("made");
    assert!(refusal(&path, None).contains("in use"));
    let reader = open_read_only(&path);
    assert!(matches!(reader, Err(OpenError::InUse { .. })));
    drop(writer);
    let reader = open_read_only(&path).expect("opened");
    let second = open_read_only(&path).expect("opened");
    assert_eq!(reader.identity(), second.identity());
    assert!(refusal(&path, None).contains("in use"));
}

#[test]
fn files_are_told_apart_and_hard_links_are_not() {
    let folder = tempfile::tempdir().expect("folder");
    let [first, second, link] = ["a", "b", "c"].map(|name| folder.path().join(name));
    let identity = |path: &Path| open(path, Some(4096)).expect("opened").identity();
    let found = identity(&first);
    assert_ne!(found, identity(&second));
    fs::hard_link(&first, &link).expect("link");
    assert_eq!(found, identity(&link));
}

#[test]
fn a_read_only_medium_of_nothing_is_not_made() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("new.img");
    let error = Medium::open(&config(&path, Some(4096), true)).expect_err("must be refused");
    assert!(matches!(error, OpenError::Missing { .. }));
    assert!(!path.exists());
}

#[test]
fn a_read_only_file_system_takes_read_only_media() {
    let Some(mount) = Mount::new("tmpfs", "size=1m") else {
        return;
    };
    let path = mount.path().join("x.img");
    fs::write(&path, [7; 4096]).expect("write");
    mount.remount("ro");
    let message = refusal(&path, None);
    assert!(
        message.contains("read-only") && message.contains("--read-only"),
        "{message}"
    );
    let medium = open_read_only(&path).expect("opened");
    assert!(medium.read_only());
    assert_eq!(medium.geometry().unmap, None);
}

#[test]
fn a_file_system_without_direct_io_is_used_through_the_page_cache() {
    let Some(mount) = Mount::new("ramfs", "mode=0700") else {
        return;
    };
    let medium = open(&mount.path().join("x.img"), Some(MIB)).expect("made");
    let Direct::No { reason } = medium.direct() else {
        panic!("ramfs does direct I/O now: find another file system");
    };
    assert!(reason.contains("O_DIRECT"), "{reason}");
}

#[test]
fn a_file_grows_and_never_shrinks() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.img");
    let medium = open(&path, Some(4096)).expect("made");
    medium.resize(8192).expect("grown");
    assert_eq!(medium.size_bytes(), 8192);
    assert_eq!(fs::metadata(&path).expect("there").len(), 8192);
    let shrink = medium.resize(4096).expect_err("must be refused");
    assert!(shrink.to_string().contains("would lose data"), "{shrink}");
    let odd = medium.resize(8193).expect_err("must be refused");
    assert!(odd.to_string().contains("8192 and 8704"), "{odd}");
    assert_eq!(fs::metadata(&path).expect("there").len(), 8192);
}

#[test]
fn a_file_that_was_changed_from_outside_is_read_again() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.img");
    let medium = open(&path, Some(4096)).expect("made");
    let outside = OpenOptions::new().write(true).open(&path).expect("open");
    outside.set_len(8192).expect("grow");
    assert_eq!(medium.size_bytes(), 4096);
    let shrink = medium
        .resize(4608)
        .expect_err("the file is larger than that");
    assert!(shrink.to_string().contains("would lose data"), "{shrink}");
    assert_eq!(medium.refresh_size().expect("read"), 8192);
    outside.set_len(512).expect("shrink");
    assert!(medium.refresh_size().is_err());
    assert_eq!(medium.size_bytes(), 8192);
}

#[test]
fn a_physical_block_is_what_read_capacity_can_say() {
    assert_eq!(physical_block_size(4096, 512), 4096);
    assert_eq!(physical_block_size(65536, 512), 4096);
    assert_eq!(physical_block_size(512, 4096), 4096);
    assert_eq!(physical_block_size(3000, 512), 512);
}
