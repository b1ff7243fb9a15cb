//! Many operations at once, bounce buffers, durability.

use super::*;

const SIZE: usize = 4 * MIB;
const BLOCK: usize = 4096;
const BLOCKS: usize = SIZE / BLOCK;
const DEPTH: usize = 64;

/// A small deterministic generator (xorshift): the same operations in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// What a block holds: its number and how often it was written.
fn stamp(block: usize, version: u64) -> [u8; BLOCK] {
    let mut bytes = [0; BLOCK];
    if version > 0 {
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&(version << 32 | block as u64).to_ne_bytes());
        }
    }
    bytes
}

/// Keeps `DEPTH` operations running on blocks that no other running operation touches, and checks every read.
fn storm(store: StoreConfig, settings: EngineSettings, operations: usize) -> EngineCounters {
    let mut rig = Rig::with(settings, |arena| Pool::buddy(arena, 8 * MIB..10 * MIB, MIB));
    let (id, _medium) = rig.attach(store);
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    let mut versions = vec![0u64; BLOCKS];
    // Block of each running task, and whether it reads.
    let mut running: Vec<Option<(usize, bool)>> = Vec::new();
    let mut busy = vec![false; BLOCKS];
    let (mut started, mut finished) = (0, 0);
    while finished < operations {
        while started < operations && started - finished < DEPTH {
            let block = dice.roll(BLOCKS);
            if std::mem::replace(&mut busy[block], true) {
                continue;
            }
            let (offset, reads) = ((block * BLOCK) as u64, dice.roll(2) == 0);
            let operation = if reads {
                let buf = rig.pool.take(BLOCK).expect("room");
                BlockOperation::Read { offset, buf }
            } else {
                versions[block] += 1;
                let buf = rig.buf(&stamp(block, versions[block]));
                let durable = dice.roll(16) == 0;
                BlockOperation::Write {
                    offset,
                    buf,
                    durable,
                }
            };
            rig.submit(id, operation);
            running.push(Some((block, reads)));
            started += 1;
        }
        let completion = rig.wait();
        completion.result.expect("done");
        let index = completion.task.index as usize;
        let (block, reads) = running[index].take().expect("completes once");
        busy[block] = false;
        if reads {
            let buf = completion.buf.expect("the buffer comes back");
            assert_eq!(&*buf, stamp(block, versions[block]));
        }
        finished += 1;
    }
    for (block, &version) in versions.iter().enumerate() {
        let found = rig.read(id, block * BLOCK, BLOCK).expect("read");
        assert_eq!(found, stamp(block, version));
    }
    assert_eq!(rig.engine.counters().in_flight, 0);
    rig.engine.counters()
}

#[test]
fn ten_thousand_operations_on_a_file() {
    let folder = tempfile::tempdir().expect("folder");
    storm(
        file_in(folder.path(), SIZE),
        EngineSettings::default(),
        10_000,
    );
}

#[test]
fn ten_thousand_operations_on_ram() {
    let size_bytes = SIZE as u64;
    let store = StoreConfig::Ram { size_bytes };
    storm(store, EngineSettings::default(), 10_000);
}

#[test]
fn a_queue_that_is_much_too_small_loses_nothing() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("folder");
    let settings = EngineSettings {
        entries: 4,
        ..EngineSettings::default()
    };
    let counters = storm(file_in(folder.path(), SIZE), settings, 2000);
    // The operations, the final reads, and the two entries of the watch on the engine's own bell.
    assert_eq!(counters.submitted, 2000 + BLOCKS as u64 + 2);
}

/// A direct file and a buffer at an address that it does not take.
fn misaligned(rig: &Rig, len: usize, fill: u8) -> Buf {
    let mut buf = rig.pool.take(len + 1).expect("room");
    assert!(buf.set_window(1, len));
    buf.fill(fill);
    buf
}

#[test]
fn more_misaligned_operations_than_bounce_buffers_wait_their_turn() {
    let folder = tempfile::tempdir().expect("folder");
    // One slot holds the zeroes, one the bell's read; one is left to bounce through.
    let mut rig = Rig::with(EngineSettings::default(), |arena| {
        Pool::slots(arena, 8 * MIB..8 * MIB + 3 * 4096, 4096)
    });
    let (id, medium) = rig.attach_file(folder.path(), MIB);
    assert_eq!(medium.direct(), crate::Direct::Yes);
    for n in 0..8u8 {
        let buf = misaligned(&rig, 8192, n + 1);
        let (offset, durable) = (u64::from(n) * 8192, false);
        rig.submit(
            id,
            BlockOperation::Write {
                offset,
                buf,
                durable,
            },
        );
    }
    for _ in 0..8 {
        rig.wait().result.expect("done");
    }
    assert_eq!(rig.engine.counters().bounced, 8);
    for n in 0..8 {
        let found = rig.read(id, n * 8192, 8192).expect("read");
        assert_eq!(found, [n as u8 + 1; 8192]);
    }
}

#[test]
fn a_bounce_pool_that_others_have_emptied_is_busy() {
    let folder = tempfile::tempdir().expect("folder");
    let mut emptied = None;
    let mut rig = Rig::with(EngineSettings::default(), |arena| {
        let bounce = Pool::slots(arena, 8 * MIB..8 * MIB + 3 * 4096, 4096);
        emptied = Some(bounce.clone());
        bounce
    });
    let (id, _medium) = rig.attach_file(folder.path(), MIB);
    let held = emptied.and_then(|pool| pool.take(4096)).expect("the last");
    let buf = misaligned(&rig, 512, 1);
    let error = rig.run(id, BlockOperation::Read { offset: 0, buf });
    assert_eq!(error.expect_err("must fail").kind, BlockErrorKind::Busy);
    drop(held);
    let buf = misaligned(&rig, 512, 1);
    let buf = rig.run(id, BlockOperation::Read { offset: 0, buf });
    assert_eq!(&*buf.expect("done").expect("buffer"), [0; 512]);
}

/// Number of flushes that a block device has seen, in its `stat` file.
const FLUSHES: usize = 15;

#[test]
fn durable_writes_and_flushes_reach_the_device_as_flushes() {
    let Some(device) = LoopDevice::new(MIB as u64) else {
        return;
    };
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(block(&device));
    let mut flushes_of = |operation| {
        let before = device.statistic(FLUSHES);
        rig.run(id, operation).expect("done");
        device.statistic(FLUSHES) - before
    };
    let arena = Arena::new(1).expect("map");
    let pool = Pool::slots(&arena, 0..16384, 4096);
    let write = |durable| {
        let mut buf = pool.take(4096).expect("room");
        buf.fill(1);
        BlockOperation::Write {
            offset: 0,
            buf,
            durable,
        }
    };
    let zeroes = |durable| BlockOperation::WriteZeroes {
        offset: 0,
        len: 4096,
        durable,
        unmap: true,
    };
    assert_eq!(flushes_of(write(false)), 0);
    assert!(flushes_of(write(true)) > 0);
    assert!(flushes_of(BlockOperation::Flush) > 0);
    assert_eq!(flushes_of(zeroes(false)), 0);
    assert!(flushes_of(zeroes(true)) > 0);
}

#[test]
fn unmapping_gives_space_back() {
    use std::os::unix::fs::MetadataExt;
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    let (id, medium) = rig.attach_file(folder.path(), MIB);
    let blocks = || std::fs::metadata(medium.name()).expect("there").blocks();
    rig.write(id, 0, &vec![1; MIB]).expect("written");
    rig.run(id, BlockOperation::Flush).expect("flushed");
    let full = blocks();
    let (offset, len) = (0, MIB as u64 / 2);
    rig.run(id, BlockOperation::Unmap { offset, len })
        .expect("unmapped");
    assert!(blocks() <= full - 1024, "{full} blocks became {}", blocks());
}

#[test]
fn a_grown_file_is_reached_behind_its_old_end() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    let (id, medium) = rig.attach_file(folder.path(), 4096);
    let error = rig.write(id, 4096, &[1; 512]).expect_err("behind the end");
    assert_eq!(error.kind, BlockErrorKind::Shrunk);
    medium.resize(8192).expect("grown");
    rig.write(id, 4096, &[1; 512]).expect("written");
    assert_eq!(rig.read(id, 4096, 512).expect("read"), [1; 512]);
}

/// Number of discards that a block device has seen, in its `stat` file.
const DISCARDS: usize = 11;

#[test]
fn a_device_that_punches_no_holes_is_sent_discards() {
    let Some(device) = LoopDevice::new(MIB as u64) else {
        return;
    };
    let mut rig = Rig::new();
    let (id, _medium) = rig.attach(block(&device));
    let key = medium_key(id);
    let attachment = rig.engine.attachments.get_mut(key).expect("attached");
    attachment.abilities.punch_hole = false;
    rig.write(id, 0, &[1; 65536]).expect("written");
    let before = device.statistic(DISCARDS);
    let (offset, len) = (0, 65536);
    rig.run(id, BlockOperation::Unmap { offset, len })
        .expect("unmapped");
    let attachment = rig.engine.attachments.get_mut(key).expect("attached");
    if attachment.abilities.discard {
        assert_eq!(device.statistic(DISCARDS), before + 1);
    } else {
        // The command came with Linux 6.12; without it nothing happens.
        assert_eq!(device.statistic(DISCARDS), before);
        assert_eq!(rig.read(id, 0, 512).expect("read"), [1; 512]);
    }
}
