//! The engine against real stores. Each test file is one question; this one has the rig they share.

use super::*;
use crate::loop_device::{LoopDevice, Mount, children_settled, skipped};
use crate::medium::{MediumConfig, StoreConfig};
use std::path::Path;
use std::time::{Duration, Instant};

mod cancelling;
mod failing;
mod model;
mod moving;
mod streaming;
mod watching;

const MIB: usize = 1 << 20;

/// Longer than anything here takes on a loaded machine: a test that reaches it has hung.
const DEADLINE: Duration = Duration::from_secs(60);

/// An engine, a pool for requests, and numbers for tasks.
struct Rig {
    engine: Engine,
    pool: Pool,
    tasks: u32,
}

impl Rig {
    fn new() -> Self {
        Self::with(EngineSettings::default(), |arena| {
            Pool::buddy(arena, 8 * MIB..10 * MIB, MIB)
        })
    }

    fn with(settings: EngineSettings, bounce: impl FnOnce(&Arc<Arena>) -> Pool) -> Self {
        let arena = Arena::new(10 * MIB).expect("map");
        let pool = Pool::buddy(&arena, 0..8 * MIB, MIB);
        let engine = make_engine(settings, &arena, bounce(&arena));
        Self {
            engine,
            pool,
            tasks: 0,
        }
    }

    fn attach(&mut self, store: StoreConfig) -> (MediumId, Arc<Medium>) {
        let block_size = 512;
        let medium = Medium::open(&MediumConfig { store, block_size }).expect("medium");
        let id = self.engine.attach(Arc::clone(&medium)).expect("attach");
        (id, medium)
    }

    fn attach_ram(&mut self, size: usize) -> (MediumId, Arc<Medium>) {
        self.attach(StoreConfig::Ram {
            size_bytes: size as u64,
        })
    }

    fn attach_file(&mut self, folder: &Path, size: usize) -> (MediumId, Arc<Medium>) {
        self.attach(file_in(folder, size))
    }

    fn submit(&mut self, medium: MediumId, operation: BlockOperation) -> TaskId {
        let task = TaskId {
            index: self.tasks,
            generation: 0,
        };
        self.tasks += 1;
        self.engine.submit(BlockRequest {
            task,
            medium,
            operation,
        });
        task
    }

    /// The next completion.
    fn wait(&mut self) -> BlockCompletion {
        let begin = Instant::now();
        loop {
            if let Some(completion) = self.engine.poll() {
                return completion;
            }
            assert!(begin.elapsed() < DEADLINE, "no completion came");
            self.engine.turn(Wait::For(Some(DEADLINE))).expect("turn");
        }
    }

    fn run(
        &mut self,
        medium: MediumId,
        operation: BlockOperation,
    ) -> Result<Option<Buf>, BlockError> {
        let task = self.submit(medium, operation);
        let completion = self.wait();
        assert_eq!(completion.task, task);
        completion.result.map(|()| completion.buf)
    }

    fn buf(&self, data: &[u8]) -> Buf {
        let mut buf = self.pool.take(data.len()).expect("room");
        buf.copy_from_slice(data);
        buf
    }

    fn write(&mut self, medium: MediumId, offset: usize, data: &[u8]) -> Result<(), BlockError> {
        let operation = BlockOperation::Write {
            offset: offset as u64,
            buf: self.buf(data),
            durable: false,
        };
        self.run(medium, operation).map(drop)
    }

    fn read(&mut self, medium: MediumId, offset: usize, len: usize) -> Result<Vec<u8>, BlockError> {
        let mut buf = self.pool.take(len).expect("room");
        // A read that leaves the buffer alone must not pass for one that found zeroes.
        buf.fill(0xEE);
        let operation = BlockOperation::Read {
            offset: offset as u64,
            buf,
        };
        let buf = self.run(medium, operation)?.expect("the buffer comes back");
        Ok(buf.to_vec())
    }
}

/// Without fixed buffers, and telling so, where the machine does not let this user pin them.
fn make_engine(settings: EngineSettings, arena: &Arc<Arena>, bounce: Pool) -> Engine {
    match Engine::new(settings, arena, bounce.clone()) {
        Err(error @ RingError::MemoryLock { .. }) => {
            skipped("fixed buffers", &error);
            let settings = EngineSettings {
                fixed_buffers: false,
                ..settings
            };
            Engine::new(settings, arena, bounce).expect("engine")
        }
        result => result.expect("engine"),
    }
}

fn file_in(folder: &Path, size: usize) -> StoreConfig {
    StoreConfig::File {
        path: folder.join("medium.img"),
        create_size: Some(size as u64),
        read_only: false,
    }
}

fn block(device: &LoopDevice) -> StoreConfig {
    StoreConfig::Block {
        path: device.path().to_owned(),
        read_only: false,
    }
}

#[test]
fn a_medium_is_detached_when_it_is_idle() {
    let mut rig = Rig::new();
    let (id, medium) = rig.attach_ram(MIB);
    medium.stall(true);
    rig.submit(id, BlockOperation::Flush);
    assert_eq!(rig.engine.detach(id), Err(StillBusy { in_flight: 1 }));
    medium.stall(false);
    rig.wait().result.expect("flushed");
    rig.engine.detach(id).expect("idle");
    rig.engine.detach(id).expect("gone already");
    assert_eq!(Arc::strong_count(&medium), 1);
}

#[test]
fn an_id_of_a_detached_medium_reaches_no_later_one() {
    let mut rig = Rig::new();
    let (old, _) = rig.attach_ram(MIB);
    rig.engine.detach(old).expect("idle");
    let (new, _) = rig.attach_ram(MIB);
    assert_ne!(old, new);
    let error = rig.write(old, 0, &[1; 512]).expect_err("must fail");
    assert_eq!(error.kind, BlockErrorKind::Gone);
    assert_eq!(rig.read(new, 0, 512).expect("read"), [0; 512]);
}

#[test]
fn a_detached_file_is_free_for_its_next_user() {
    let folder = tempfile::tempdir().expect("folder");
    let mut rig = Rig::new();
    for round in 0..3 {
        children_settled();
        let (id, _) = rig.attach_file(folder.path(), MIB);
        let found = rig.read(id, 0, 512).expect("read");
        assert_eq!(found, [round; 512]);
        rig.write(id, 0, &[round + 1; 512]).expect("written");
        // The next round could not lock the file if this one still had it.
        rig.engine.detach(id).expect("idle");
    }
}

#[test]
fn all_places_taken_is_an_error_and_a_freed_place_is_used_again() {
    let settings = EngineSettings {
        media: 2,
        ..EngineSettings::default()
    };
    let mut rig = Rig::with(settings, |arena| Pool::slots(arena, 8 * MIB..9 * MIB, 4096));
    let (first, medium) = rig.attach_ram(MIB);
    rig.attach_ram(MIB);
    let refused = rig.engine.attach(Arc::clone(&medium));
    assert!(matches!(refused, Err(RingError::TableFull { limit: 2 })));
    rig.engine.detach(first).expect("idle");
    rig.engine.attach(medium).expect("a free place");
}

#[test]
fn a_useless_bounce_pool_is_refused() {
    let arena = Arena::new(2 * MIB).expect("map");
    let bounce = Pool::slots(&arena, 0..4096, 512);
    let refused = Engine::new(EngineSettings::default(), &arena, bounce);
    assert!(matches!(refused, Err(RingError::BouncePool { .. })));
}

#[test]
fn one_turn_is_one_system_call_and_an_idle_one_none() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("folder");
    let mut rig = Rig::new();
    let (id, _) = rig.attach_file(folder.path(), MIB);
    rig.write(id, 0, &[1; 8192]).expect("written");
    rig.engine.turn(Wait::No).expect("turn");
    let before = rig.engine.counters().enters;
    rig.engine.turn(Wait::No).expect("turn");
    assert_eq!(rig.engine.counters().enters, before);
    for n in 0..16 {
        let buf = rig.pool.take(512).expect("room");
        rig.submit(
            id,
            BlockOperation::Read {
                offset: n * 512,
                buf,
            },
        );
    }
    // What is in memory is complete in the turn that submits it.
    rig.engine.turn(Wait::No).expect("turn");
    assert_eq!(rig.engine.counters().enters, before + 1);
    let done = std::iter::from_fn(|| rig.engine.poll()).count();
    assert_eq!(done, 16);
}

#[test]
fn memory_completes_without_the_ring() {
    let mut rig = Rig::new();
    let (id, _) = rig.attach_ram(MIB);
    let before = rig.engine.counters();
    rig.write(id, 512, &[3; 1024]).expect("written");
    assert_eq!(rig.read(id, 0, 1024).expect("read")[512..], [3; 512]);
    assert_eq!(rig.engine.counters(), before);
}
