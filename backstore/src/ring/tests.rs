use super::*;

fn arena() -> Arc<Arena> {
    Arena::new(2 << 20).expect("map")
}

fn ring(entries: u32) -> Ring {
    Ring::new(entries, 4).expect("ring")
}

fn nop(user_data: u64) -> Entry {
    opcode::Nop::new().build().user_data(user_data)
}

fn push(ring: &mut Ring, entry: Entry) {
    // SAFETY: the tests' entries name no memory.
    unsafe { ring.push(entry) };
}

fn completed(ring: &mut Ring) -> Vec<u64> {
    std::iter::from_fn(|| ring.next_completion())
        .map(|completion| completion.user_data)
        .collect()
}

#[test]
fn the_kernel_grants_what_linux_6_1_has() {
    let features = ring(8).features();
    assert!(features.single_issuer && features.defer_taskrun && features.submit_all);
    assert!(features.registered_ring);
    assert_eq!(features.fixed_buffers, 0);
}

#[test]
fn every_fallback_makes_a_ring_that_works() {
    for features in ATTEMPTS {
        // The newest flag is newer than the oldest kernel.
        let Ok(uring) = build(8, features) else {
            assert!(features.no_sqarray, "{features:?}");
            continue;
        };
        let mut ring = Ring {
            fd: RingFd::new(&uring),
            uring,
            backlog: VecDeque::new(),
            outstanding: 0,
            arenas: Vec::new(),
            features,
            counters: RingCounters::default(),
        };
        push(&mut ring, nop(7));
        ring.enter(Wait::For(None)).expect("enter");
        assert_eq!(completed(&mut ring), [7]);
    }
}

#[test]
fn a_full_queue_loses_nothing_and_keeps_the_order() {
    let mut ring = ring(4);
    for user_data in 0..100 {
        push(&mut ring, nop(user_data));
    }
    let mut found = Vec::new();
    while found.len() < 100 {
        ring.enter(Wait::For(None)).expect("enter");
        found.extend(completed(&mut ring));
    }
    assert_eq!(found, (0..100).collect::<Vec<_>>());
    assert_eq!(ring.counters.submitted, 100);
    assert_eq!(ring.counters.completed, 100);
    assert_eq!(ring.counters.enters, 25);
}

#[test]
fn completions_that_overflow_their_queue_are_kept() {
    let mut ring = ring(4);
    for user_data in 0..64 {
        push(&mut ring, nop(user_data));
    }
    for _ in 0..16 {
        ring.enter(Wait::No).expect("enter");
    }
    let mut found = completed(&mut ring);
    while found.len() < 64 {
        ring.enter(Wait::No).expect("enter");
        found.extend(completed(&mut ring));
    }
    assert_eq!(found.len(), 64);
}

#[test]
fn what_is_not_submitted_yet_can_be_taken_back() {
    let mut ring = ring(4);
    for user_data in 0..6 {
        push(&mut ring, nop(user_data));
    }
    assert!(ring.retract(5));
    assert!(!ring.retract(5));
    assert!(!ring.retract(0));
    ring.drain(drop).expect("drain");
    assert_eq!(ring.outstanding, 0);
}

#[test]
fn nothing_to_do_is_no_system_call() {
    let mut ring = ring(4);
    ring.enter(Wait::No).expect("enter");
    assert_eq!(ring.counters.enters, 0);
    push(&mut ring, nop(1));
    ring.enter(Wait::No).expect("enter");
    ring.enter(Wait::For(None))
        .expect("does not sleep on what is complete");
    assert_eq!(ring.counters.enters, 1);
    assert_eq!(completed(&mut ring), [1]);
}

#[test]
fn a_sleep_ends_in_time() {
    let mut ring = ring(4);
    let begin = std::time::Instant::now();
    let wait = Duration::from_millis(20);
    ring.enter(Wait::For(Some(wait))).expect("enter");
    assert!(begin.elapsed() >= wait);
}

#[test]
fn memory_is_found_in_the_registered_piece_that_has_all_of_it() {
    // Not registered, which a limit may forbid; the arithmetic is the same.
    let mut ring = ring(4);
    let arenas = [arena(), arena()];
    for (first, arena) in [3, 7].into_iter().zip(&arenas) {
        assert_eq!(ring.fixed_index(arena.base().as_ptr() as u64, 4096), None);
        ring.arenas.push(FixedArena {
            arena: Arc::clone(arena),
            first,
        });
    }
    for (first, arena) in [3, 7].into_iter().zip(&arenas) {
        let base = arena.base().as_ptr() as u64;
        let end = base + arena.len() as u64;
        assert_eq!(ring.fixed_index(base, 4096), Some(first));
        assert_eq!(ring.fixed_index(end - 4096, 4096), Some(first));
        assert_eq!(ring.fixed_index(end - 4095, 8192), None);
    }
    assert_eq!(ring.fixed_index(0, 4096), None);
    assert_eq!(ring.fixed_index(u64::MAX, 4096), None);
}

#[test]
fn the_table_of_registered_memory_has_an_end() {
    let mut ring = ring(4);
    let arena = arena();
    ring.features.fixed_buffers = MOST_FIXED_BUFFERS as usize;
    assert!(ring.add_arena(&arena).is_err());
}

#[test]
fn memory_beyond_a_gibibyte_is_in_the_next_piece() {
    let (seam, len) = (1 << 30, (1 << 30) + 4096);
    assert_eq!(piece_of(seam - 4096, 4096, len), Some(0));
    assert_eq!(piece_of(seam - 512, 1024, len), None);
    assert_eq!(piece_of(seam, 4096, len), Some(1));
    assert_eq!(piece_of(seam, 4097, len), None);
}
