//! In steady state an operation costs no heap allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use backstore::{Engine, EngineSettings, Medium, MediumConfig, StoreConfig, Wait};
use iobuf::{Arena, Pool};
use target_core::backend::{Backend, BlockOperation, BlockRequest, MediumId, TaskId};

thread_local! {
    /// Allocations of this thread.
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DEPTH: u32 = 64;
const MIB: usize = 1 << 20;

/// One round of reads, writes and flushes at depth, some of them misaligned.
fn round(engine: &mut Engine, pool: &Pool, medium: MediumId) {
    for index in 0..DEPTH {
        let mut buf = pool.take(8192).expect("room");
        assert!(buf.set_window(usize::from(index % 8 == 7), 4096));
        let offset = u64::from(index) * 4096;
        let operation = match index % 4 {
            0 => BlockOperation::Read { offset, buf },
            3 if index % 8 == 3 => BlockOperation::Flush,
            _ => BlockOperation::Write {
                offset,
                buf,
                durable: index % 4 == 1,
            },
        };
        engine.submit(BlockRequest {
            task: TaskId {
                index,
                generation: 0,
            },
            medium,
            operation,
        });
    }
    let mut done = 0;
    while done < DEPTH {
        engine.turn(Wait::For(None)).expect("turn");
        while let Some(completion) = engine.poll() {
            completion.result.expect("done");
            done += 1;
        }
    }
}

fn check(store: StoreConfig) {
    let arena = Arena::new(4 * MIB).expect("map");
    let pool = Pool::buddy(&arena, 0..2 * MIB, MIB);
    let bounce = Pool::buddy(&arena, 2 * MIB..4 * MIB, MIB);
    let settings = EngineSettings {
        // Fewer than the depth, so that the backlog is used too.
        entries: 16,
        // A user may not be allowed to pin memory.
        fixed_buffers: false,
        ..EngineSettings::default()
    };
    let mut engine = Engine::new(settings, &arena, bounce).expect("engine");
    let block_size = 512;
    let medium = Medium::open(&MediumConfig { store, block_size }).expect("medium");
    let medium = engine.attach(Arc::clone(&medium)).expect("attach");
    for _ in 0..4 {
        round(&mut engine, &pool, medium);
    }
    let before = COUNT.get();
    for _ in 0..16 {
        round(&mut engine, &pool, medium);
    }
    assert_eq!(COUNT.get() - before, 0);
}

fn file_in(folder: &Path) -> StoreConfig {
    StoreConfig::File {
        path: folder.join("x.img"),
        create_size: Some(MIB as u64),
        read_only: false,
    }
}

#[test]
fn a_direct_file() {
    let folder = tempfile::tempdir().expect("folder");
    check(file_in(folder.path()));
}

#[test]
fn a_file_in_memory() {
    let folder = tempfile::tempdir_in("/dev/shm").expect("folder");
    check(file_in(folder.path()));
}

#[test]
fn ram() {
    check(StoreConfig::Ram {
        size_bytes: MIB as u64,
    });
}
