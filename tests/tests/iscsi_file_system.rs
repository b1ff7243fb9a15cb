//! A file system on a LUN: one session fills it, the next one, over the other transport, finds every byte.

use tests::disk::FileSystem;
use tests::open_iscsi::{OpenIscsi, Transport};
use tests::rxe::Wire;
use tests::srptgt::{Home, Srptgt};
use tests::tree::Tree;
use tests::vm::{Options, scenario};

const FILES: u32 = 600;

#[test]
fn an_ext4_tree_goes_from_tcp_to_iser_on_verbs() {
    let name = "an_ext4_tree_goes_from_tcp_to_iser_on_verbs";
    scenario(name, Options::default(), || {
        let wire = Wire::turned(0);
        tree_survives(&wire, "verbs", [Transport::Tcp, Transport::Iser]);
    });
}

#[test]
fn an_ext4_tree_goes_from_iser_to_tcp_without_rdma() {
    let name = "an_ext4_tree_goes_from_iser_to_tcp_without_rdma";
    scenario(name, Options::default(), || {
        let wire = Wire::turned_with_bare_target(0);
        tree_survives(&wire, "soft", [Transport::Iser, Transport::Tcp]);
    });
}

fn tree_survives(wire: &Wire, fabric: &'static str, [first, second]: [Transport; 2]) {
    let home = Home::in_guest(fabric).beside(&wire.target);
    let target = Srptgt::serving_iscsi(home, &["--file /run/ds.img --size 96M"]);
    let mut initiator = OpenIscsi::start();
    let session = initiator.discover(first, wire.target.address).log_in();
    let mounted = session.disk(0).make_file_system(FileSystem::Ext4);
    Tree::new(&mounted.path, FILES).write();
    mounted.unmount();
    session.log_out();

    let session = initiator.discover(second, wire.target.address).log_in();
    let disk = session.disk(0);
    disk.check_file_system(FileSystem::Ext4);
    let mounted = disk.mount(FileSystem::Ext4);
    Tree::new(&mounted.path, FILES).verify();
    mounted.unmount();
    session.log_out();
    target.wait_until_idle();
}
