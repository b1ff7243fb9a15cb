//! What goes wrong below is told as what it is.

use super::*;
use std::fs::OpenOptions;

fn kind<T: std::fmt::Debug>(result: Result<T, BlockError>) -> BlockErrorKind {
    result.expect_err("must fail").kind
}

#[test]
fn a_full_file_system_is_no_broken_medium() {
    let Some(mount) = Mount::new("tmpfs", "size=256k") else {
        return;
    };
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach_file(mount.path(), MIB);
    let error = rig.write(id, 0, &vec![1; MIB]).expect_err("must fail");
    assert_eq!(error.kind, BlockErrorKind::NoSpace);
    assert_eq!(error.errno, libc::ENOSPC);
    // What did fit was counted as done, and is there.
    assert!(error.offset > 0 && error.offset < MIB as u64);
    let found = rig.read(id, 0, error.offset as usize).expect("read");
    assert!(found.iter().all(|&byte| byte == 1));
    assert!(rig.engine.counters().short_transfers > 0);
    rig.run(
        id,
        BlockOperation::Unmap {
            offset: 0,
            len: MIB as u64,
        },
    )
    .expect("unmapped");
    rig.write(id, 0, &[2; 512]).expect("there is space again");
}

#[test]
fn a_file_that_was_cut_short_has_shrunk() {
    let folder = tempfile::tempdir().expect("folder");
    for place in [folder.path(), Path::new("/dev/shm")] {
        let folder = tempfile::tempdir_in(place).expect("folder");
        let mut rig = Rig::new();
        let (id, medium) = rig.attach_file(folder.path(), MIB);
        let file = OpenOptions::new().write(true).open(medium.name());
        file.expect("open").set_len(4096).expect("cut");
        let error = rig.read(id, 0, 16384).expect_err("must fail");
        assert_eq!(error.kind, BlockErrorKind::Shrunk);
        assert_eq!(error.offset, 4096);
        assert_eq!(rig.read(id, 0, 4096).expect("still there"), [0; 4096]);
    }
}

#[test]
fn a_device_that_fails_is_a_broken_medium() {
    let Some(device) = LoopDevice::new(MIB as u64) else {
        return;
    };
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(block(&device));
    // The device keeps its size, and has nothing behind most of it.
    device.backing().set_len(4096).expect("cut");
    let error = rig.read(id, 8192, 4096).expect_err("must fail");
    assert_eq!(error.kind, BlockErrorKind::Medium);
    assert_eq!((error.offset, error.errno), (8192, libc::EIO));
    rig.read(id, 0, 4096).expect("the rest works");
}

#[test]
fn a_device_that_shrank_and_one_that_vanished() {
    let Some(device) = LoopDevice::new(MIB as u64) else {
        return;
    };
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(block(&device));
    let resize = |size| {
        device.backing().set_len(size).expect("cut");
        device.take_size();
    };
    resize(65536);
    assert_eq!(kind(rig.read(id, 65536, 4096)), BlockErrorKind::Shrunk);
    assert_eq!(
        kind(rig.write(id, 65536, &[1; 4096])),
        BlockErrorKind::Shrunk
    );
    rig.write(id, 0, &[1; 4096]).expect("the rest works");
    resize(0);
    assert_eq!(kind(rig.read(id, 0, 4096)), BlockErrorKind::Gone);
    assert_eq!(kind(rig.write(id, 0, &[1; 4096])), BlockErrorKind::Gone);
}

#[test]
fn nothing_is_written_to_a_read_only_medium() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("x.img");
    std::fs::write(&path, [7; 4096]).expect("write");
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(StoreConfig::File {
        path: path.clone(),
        create_size: None,
        read_only: true,
    });
    let (offset, len, durable, unmap) = (0, 512, true, true);
    assert_eq!(kind(rig.write(id, 0, &[1; 512])), BlockErrorKind::ReadOnly);
    let unmap_it = BlockOperation::Unmap { offset, len };
    assert_eq!(kind(rig.run(id, unmap_it)), BlockErrorKind::ReadOnly);
    let zero = BlockOperation::WriteZeroes {
        offset,
        len,
        durable,
        unmap,
    };
    assert_eq!(kind(rig.run(id, zero)), BlockErrorKind::ReadOnly);
    rig.run(id, BlockOperation::Flush)
        .expect("a flush writes nothing");
    assert_eq!(rig.read(id, 0, 4096).expect("read"), [7; 4096]);
}

#[test]
fn what_is_outside_the_medium_is_not_touched() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    for id in [
        rig.attach_file(folder.path(), 4096).0,
        rig.attach_ram(4096).0,
    ] {
        assert_eq!(kind(rig.write(id, 4096, &[1; 512])), BlockErrorKind::Shrunk);
        assert_eq!(
            kind(rig.write(id, 3584, &[1; 1024])),
            BlockErrorKind::Shrunk
        );
        assert_eq!(
            kind(rig.read(id, usize::MAX - 511, 512)),
            BlockErrorKind::Shrunk
        );
        assert_eq!(kind(rig.write(id, 1, &[1; 512])), BlockErrorKind::Other);
    }
    let file = folder.path().join("medium.img");
    assert_eq!(std::fs::metadata(file).expect("there").len(), 4096);
}

#[test]
fn a_rehearsed_failure_comes_once_and_gives_the_buffer_back() {
    let mut rig = Rig::new();
    let (id, medium) = rig.attach_ram(4096);
    medium.fail_next(libc::EIO as u16);
    let buf = rig.buf(&[1; 512]);
    rig.submit(
        id,
        BlockOperation::Write {
            offset: 512,
            buf,
            durable: false,
        },
    );
    let completion = rig.wait();
    let expected = BlockError {
        kind: BlockErrorKind::Medium,
        offset: 512,
        errno: libc::EIO,
    };
    assert_eq!(completion.result, Err(expected));
    assert_eq!(&*completion.buf.expect("the buffer comes back"), [1; 512]);
    assert_eq!(rig.read(id, 512, 512).expect("read"), [0; 512]);
}
