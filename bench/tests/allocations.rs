//! In steady state no command allocates.

use bench::{Job, PurePath};

#[test]
fn no_command_allocates() {
    for job in Job::all() {
        for depth in [1, 32] {
            let mut path = PurePath::new(job).expect("a path");
            path.run(4 * depth, depth).expect("steady state");
            let before = path.moved_bytes();
            let counted = allocation_counter::measure(|| {
                path.run(1000, depth).expect("commands");
            });
            assert_eq!(path.moved_bytes() - before, 1000 * 4096, "{job}");
            assert_eq!(counted.count_total, 0, "{job} at depth {depth}");
        }
    }
}

#[test]
fn the_counter_counts() {
    let counted = allocation_counter::measure(|| drop(Box::new(1)));
    assert_eq!(counted.count_total, 1);
}
