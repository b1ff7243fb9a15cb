//! The soft fabric and the kernel: `srptgt` without RDMA at one end of a wire, `rdma_rxe` with an unmodified `ib_srp`
//! at the other; and our initiator without RDMA at one end, `rdma_rxe` with the kernel's target at the other.

use std::net::{Ipv6Addr, SocketAddr};

use initiator::{ConnectOptions, Lun, Scsi, Session, TargetPortId};
use rdma::{Fabric, SoftConfig};
use tests::command::run;
use tests::deadline::until_true;
use tests::disk::{Disk, FileSystem};
use tests::fio::Fio;
use tests::ib_srp::set_parameter;
use tests::lio;
use tests::rxe::Wire;
use tests::srptgt::{Home, PORT, Srptgt};
use tests::sweep::Sweep;
use tests::tree::Tree;
use tests::vm::{Options, scenario};

const LUN: Lun = Lun([0; 8]);
const FILES: u32 = 800;

/// Blocks of 4 KiB to 1 MiB, mixed, written, then read back and checked.
fn verify(disk: &Disk, mib: u32, depth: u32) {
    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bsrange", "4k-1m")
        .with("blockalign", "4k");
    let report = job
        .with("iodepth", depth)
        .with("size", format!("{mib}m"))
        .run();
    let expected = u64::from(mib) << 20;
    assert_eq!(
        (report.write.io_bytes, report.read.io_bytes),
        (expected, expected)
    );
}

#[test]
fn ib_srp_over_the_kernels_soft_roce_reaches_a_target_without_rdma() {
    let name = "ib_srp_over_the_kernels_soft_roce_reaches_a_target_without_rdma";
    scenario(name, Options::default(), || {
        let wire = Wire::with_bare_target(0);
        let luns = ["--ram --size 24M", "--file /run/ds.img --size 24M"];
        let target = Srptgt::serving_on("soft", &wire.initiator, &luns);
        println!("{}", target.run("portal list"));
        for immediate_data in ["N", "Y"] {
            set_parameter("use_imm_data", immediate_data);
            let session = target.login(&wire.initiator, wire.target.address).succeed();
            let inquiry = run(&format!("sg_inq {}", session.disk(0).path()));
            assert!(inquiry.contains("SRPTGT"), "{inquiry}");
            for lun in 0..2 {
                verify(&session.disk(lun), 24, 32);
            }
            session.logout();
        }
        target.wait_until_idle();
        let counters = target.counters();
        println!("{counters:?}");
        assert!(counters.packets_received > 10_000);
        assert_eq!(
            counters.packets_refused, 0,
            "an ICRC was wrong on a good wire"
        );
    });
}

#[test]
fn a_wire_that_loses_delays_and_reorders_changes_no_byte() {
    let name = "a_wire_that_loses_delays_and_reorders_changes_no_byte";
    // When rxe repeats a request it carries a memory registration before it out a second time, and fails the queue pair
    // over it: `ib_srp` then logs in anew at each loss. Without registration it only repeats.
    let options = Options {
        time_limit_s: 300,
        kernel_arguments: vec!["ib_srp.never_register=1"],
        ..Options::default()
    };
    scenario(name, options, || {
        let wire = Wire::with_bare_target(0);
        let target = Srptgt::serving_on("soft", &wire.initiator, &["--ram --size 8M"]);
        let login = target.login(&wire.initiator, wire.target.address);
        let all = "delay 5ms loss 1% reorder 5% 50%";
        for faults in ["delay 5ms", "loss 1%", "delay 1ms reorder 5% 50%", all] {
            wire.impair(faults);
            let session = login.succeed();
            verify(&session.disk(0), 8, 8);
            println!("{faults}: {:?}", target.counters());
            session.logout();
        }
        target.wait_until_idle();
        assert!(target.counters().packet_retries > 0);
        let logins = target.counters().logins_accepted;
        assert_eq!(logins, 2 * 4, "a session was lost and made anew");
    });
}

/// ext4 on the LUN: a tree goes onto it, the session ends, and the next one finds every byte.
#[test]
fn an_ext4_tree_survives_a_relogin_over_the_soft_fabric() {
    let name = "an_ext4_tree_survives_a_relogin_over_the_soft_fabric";
    scenario(name, Options::default(), || {
        let wire = Wire::with_bare_target(0);
        let target =
            Srptgt::serving_on("soft", &wire.initiator, &["--file /run/ds.img --size 96M"]);
        let login = target.login(&wire.initiator, wire.target.address);
        let session = login.succeed();
        let mounted = session.disk(0).make_file_system(FileSystem::Ext4);
        Tree::new(&mounted.path, FILES).write();
        mounted.unmount();
        session.logout();

        let session = login.succeed();
        let disk = session.disk(0);
        disk.check_file_system(FileSystem::Ext4);
        let mounted = disk.mount(FileSystem::Ext4);
        Tree::new(&mounted.path, FILES).verify();
        mounted.unmount();
        session.logout();
        target.wait_until_idle();
        assert_eq!(target.counters().packets_refused, 0);
    });
}

/// The other way round: the kernel's target on its soft RoCE, and our initiator without RDMA.
#[test]
fn our_initiator_over_the_soft_fabric_reaches_the_kernels_target() {
    const DEPTH: usize = 32;
    let name = "our_initiator_over_the_soft_fabric_reaches_the_kernels_target";
    scenario(name, Options::default(), || {
        let wire = Wire::with_bare_initiator(0);
        lio::export("/dev/ram0", &wire.target);
        let guid = wire.target.port_guid();
        let guid = u64::from_str_radix(guid.trim_start_matches("0x"), 16).expect("a GUID");
        let port = TargetPortId {
            id_ext: guid,
            ioc_guid: guid,
        };
        let address = SocketAddr::new(wire.target.address.into(), lio::PORT);
        let usual = Sweep::options(DEPTH, ConnectOptions::new(address, port));
        let direct = ConnectOptions {
            immediate_data: false,
            ..usual.clone()
        };
        let indirect = ConnectOptions {
            pieces: 12,
            ..direct.clone()
        };
        let two_channels = ConnectOptions {
            channels: 2,
            ..usual.clone()
        };
        wire.initiator.within(|| {
            for (seed, options) in (1..).zip([usual, direct, indirect, two_channels]) {
                let mut session =
                    Session::connect_on(&Fabric::soft(SoftConfig::default()), &options)
                        .unwrap_or_else(|error| panic!("no session: {error}"));
                session.await_ready(LUN).expect("ready");
                println!("granted: {:?}", session.granted(0));
                let sweep = Sweep {
                    lun: LUN,
                    bytes: 12 << 20,
                    depth: DEPTH,
                    seed,
                };
                sweep.verify(&mut session);
                session.logout();
            }
        });
    });
}

/// A wire gets its addresses of IPv6 while the daemon runs: they are listened on within seconds, and carry SRP.
#[test]
fn ib_srp_over_an_address_of_ipv6_that_came_after_the_daemon() {
    let name = "ib_srp_over_an_address_of_ipv6_that_came_after_the_daemon";
    scenario(name, Options::default(), || {
        let wire = Wire::with_bare_target(0);
        let home = Home {
            listen: SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), PORT),
            ..Home::in_guest("soft")
        };
        let target = Srptgt::start_at(home);
        target.add_host("initiator", &wire.initiator);
        target.add_luns(&["--ram --size 24M"]);
        let session = target.login(&wire.initiator, wire.target.address).succeed();
        verify(&session.disk(0), 8, 8);
        session.logout();

        let address = wire.target.add_ipv6();
        wire.initiator.add_ipv6();
        let dial = format!("dest=[{address}]:{PORT}");
        until_true("the new address to be listened on", 60, || {
            target.run("portal list").contains(&dial)
        });
        let session = target.login(&wire.initiator, address).succeed();
        verify(&session.disk(0), 24, 32);
        println!("{}", target.run("session list"));
        session.logout();
        target.wait_until_idle();
        assert_eq!(target.counters().packets_refused, 0);
    });
}
