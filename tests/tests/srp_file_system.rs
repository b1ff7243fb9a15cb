//! File systems on a LUN, across a restart of the daemon.

use tests::disk::FileSystem;
use tests::rxe::Rxe;
use tests::srptgt::Srptgt;
use tests::tree::Tree;
use tests::vm::{Options, scenario};

const FILES: u32 = 2000;

#[test]
fn an_ext4_tree_survives_a_restart() {
    scenario(
        "an_ext4_tree_survives_a_restart",
        Options::default(),
        || tree_survives(FileSystem::Ext4),
    );
}

#[test]
fn an_xfs_tree_survives_a_restart() {
    scenario("an_xfs_tree_survives_a_restart", Options::default(), || {
        tree_survives(FileSystem::Xfs)
    });
}

fn tree_survives(kind: FileSystem) {
    let rxe = Rxe::on_dummy(0);
    let mut target = Srptgt::serving(&rxe, &["--file /run/ds.img --size 320M"]);
    let session = target.login(&rxe, rxe.address).succeed();
    let mounted = session.disk(0).make_file_system(kind);
    Tree::new(&mounted.path, FILES).write();
    mounted.unmount();
    session.logout();
    target.terminate();
    target.start_again();

    let session = target.login(&rxe, rxe.address).succeed();
    let disk = session.disk(0);
    disk.check_file_system(kind);
    let mounted = disk.mount(kind);
    Tree::new(&mounted.path, FILES).verify();
    mounted.unmount();
    session.logout();
}
