//! Every operation on every kind of store does what it does to an array.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

const SIZE: usize = 256 << 10;
const BLOCK: usize = 512;

#[derive(Clone, Debug)]
enum Act {
    Read,
    /// Data, durable, bytes between the start of the buffer's block and the window.
    Write(u8, bool, usize),
    Flush,
    Unmap,
    /// Durable, unmap.
    WriteZeroes(bool, bool),
}

#[derive(Clone, Debug)]
struct Move {
    act: Act,
    offset: usize,
    len: usize,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let act = prop_oneof![
        3 => Just(Act::Read),
        4 => (1u8.., any::<bool>(), prop_oneof![Just(0), Just(512), Just(3)])
            .prop_map(|(fill, durable, skip)| Act::Write(fill, durable, skip)),
        1 => Just(Act::Flush),
        1 => Just(Act::Unmap),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(d, u)| Act::WriteZeroes(d, u)),
    ];
    let one = (act, 0..SIZE / BLOCK, 0usize..80).prop_map(|(act, block, blocks)| {
        let len = blocks.min(SIZE / BLOCK - block);
        Move {
            act,
            offset: block * BLOCK,
            len: len * BLOCK,
        }
    });
    prop::collection::vec(one, 1..40)
}

/// What unmapping and writing do to the array that stands for the store.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Keeps what is written; unmapped ranges read as zeroes.
    Keeps,
    /// As above, and unmapped ranges may stay as they are.
    MayKeepUnmapped,
    /// Reads as zeroes always.
    Null,
}

fn check(rig: &mut Rig, id: MediumId, kind: Kind, moves: Vec<Move>) {
    let mut model = vec![0u8; SIZE];
    start_over(rig, id);
    for Move { act, offset, len } in moves {
        let range = offset..offset + len;
        let at = offset as u64;
        let operation = match act {
            Act::Read => {
                assert_eq!(rig.read(id, offset, len).expect("read"), model[range]);
                continue;
            }
            Act::Write(fill, durable, skip) => {
                let buf = patterned(rig, fill, skip, len);
                if kind != Kind::Null {
                    model[range].copy_from_slice(&buf);
                }
                let offset = at;
                BlockOperation::Write {
                    offset,
                    buf,
                    durable,
                }
            }
            Act::Flush => BlockOperation::Flush,
            Act::Unmap => BlockOperation::Unmap {
                offset: at,
                len: len as u64,
            },
            Act::WriteZeroes(durable, unmap) => {
                model[range.clone()].fill(0);
                let (offset, len) = (at, len as u64);
                BlockOperation::WriteZeroes {
                    offset,
                    len,
                    durable,
                    unmap,
                }
            }
        };
        let unmaps = matches!(operation, BlockOperation::Unmap { .. });
        rig.run(id, operation).expect("done");
        if unmaps {
            let found = rig.read(id, offset, len).expect("read");
            let expected = &mut model[offset..offset + len];
            let kept = kind == Kind::MayKeepUnmapped && found == expected;
            assert!(kept || found.iter().all(|&byte| byte == 0));
            expected.copy_from_slice(&found);
        }
    }
    assert_eq!(read_all(rig, id), model);
}

fn start_over(rig: &mut Rig, id: MediumId) {
    let zeroes = BlockOperation::WriteZeroes {
        offset: 0,
        len: SIZE as u64,
        durable: false,
        unmap: false,
    };
    rig.run(id, zeroes).expect("zeroed");
}

fn patterned(rig: &Rig, fill: u8, skip: usize, len: usize) -> Buf {
    let mut buf = rig.pool.take(len + skip).expect("room");
    assert!(buf.set_window(skip, len));
    for (at, byte) in buf.iter_mut().enumerate() {
        *byte = fill ^ (at / BLOCK) as u8 ^ at as u8;
    }
    buf
}

fn read_all(rig: &mut Rig, id: MediumId) -> Vec<u8> {
    rig.read(id, 0, SIZE).expect("read")
}

fn run(cases: u32, kind: Kind, store: StoreConfig) {
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(store);
    let rig = std::cell::RefCell::new(rig);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    TestRunner::new(config)
        .run(&moves(), |moves| {
            check(&mut rig.borrow_mut(), id, kind, moves);
            Ok(())
        })
        .expect("the store is the model");
    let counters = rig.borrow().engine.counters();
    assert_eq!(counters.in_flight, 0);
    assert_eq!(rig.borrow().pool.level().in_use_bytes, 0);
}

#[test]
fn ram_is_the_model() {
    let size_bytes = SIZE as u64;
    run(64, Kind::Keeps, StoreConfig::Ram { size_bytes });
}

#[test]
fn null_is_zeroes() {
    let size_bytes = SIZE as u64;
    run(32, Kind::Null, StoreConfig::Null { size_bytes });
}

#[test]
fn a_direct_file_is_the_model() {
    let folder = tempfile::tempdir().expect("folder");
    run(16, Kind::Keeps, file_in(folder.path(), SIZE));
}

#[test]
fn a_file_in_memory_is_the_model() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("folder");
    run(32, Kind::Keeps, file_in(folder.path(), SIZE));
}

#[test]
fn a_buffered_file_that_knows_no_holes_is_the_model() {
    if let Some(mount) = Mount::new("ramfs", "mode=0700") {
        run(32, Kind::MayKeepUnmapped, file_in(mount.path(), SIZE));
    }
}

#[test]
fn a_block_device_is_the_model() {
    if let Some(device) = LoopDevice::new(SIZE as u64) {
        run(16, Kind::Keeps, block(&device));
    }
}

#[test]
fn a_block_device_with_larger_blocks_is_the_model() {
    if let Some(device) = LoopDevice::with(SIZE as u64, &["--sector-size", "4096"]) {
        run(8, Kind::MayKeepUnmapped, block(&device));
    }
}

#[test]
fn without_fixed_buffers_a_file_is_the_model_too() {
    let folder = tempfile::tempdir().expect("folder");
    let settings = EngineSettings {
        fixed_buffers: false,
        ..EngineSettings::default()
    };
    let mut rig = Rig::with(settings, |arena| Pool::slots(arena, 8 * MIB..9 * MIB, 4096));
    assert_eq!(rig.engine.features().fixed_buffers, 0);
    let (id, _medium) = rig.attach_file(folder.path(), SIZE);
    let data: Vec<u8> = (0..SIZE).map(|at| (at / 7) as u8).collect();
    rig.write(id, 0, &data).expect("written");
    assert_eq!(read_all(&mut rig, id), data);
}
