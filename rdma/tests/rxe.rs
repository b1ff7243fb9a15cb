//! The verbs provider against a real device, such as the kernel's `rdma_rxe`: both ends of each connection
//! in one process.
//!
//! Without a device each test prints why it does nothing. The device needs an IPv4 address.

#[path = "objects/bed.rs"]
mod bed;
#[path = "objects/scenarios.rs"]
mod scenarios;

use std::fs;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use bed::Bed;
use iobuf::Arena;
use rdma::*;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// Tests count what a device holds, so they run one after the other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The bed, or `None` after saying why there is none.
fn verbs(test: &str) -> Option<Bed> {
    let present = fs::read_dir("/sys/class/infiniband").is_ok_and(|mut d| d.next().is_some());
    if !present {
        // Written past the test harness, which would hide it.
        writeln!(
            io::stderr(),
            "SKIPPED: {test}: no RDMA device in /sys/class/infiniband"
        )
        .expect("standard error");
        return None;
    }
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (name, ip) = device_with_address();
    Some(Bed::new(Fabric::verbs(), &name, ip, Some(alone)))
}

/// A device with an IPv4 address: RoCE keeps it in the GID table as `::ffff:a.b.c.d`.
fn device_with_address() -> (String, IpAddr) {
    let devices = devices().expect("devices");
    let found = devices.iter().find_map(|device| {
        let gids = device.ports.iter().flat_map(|port| &port.gids);
        let mut ips = gids.filter_map(|entry| Ipv6Addr::from(entry.gid.0).to_ipv4_mapped());
        Some((device.name.clone(), ips.next()?.into()))
    });
    found.unwrap_or_else(|| panic!("no RDMA device with an IPv4 address: {devices:?}"))
}

macro_rules! bed_or_skip {
    ($test:literal) => {
        match verbs($test) {
            Some(bed) => bed,
            None => return,
        }
    };
}

scenarios::on_each_scenario!(verbs);

#[test]
fn a_device_says_what_it_is() {
    let bed = bed_or_skip!("a_device_says_what_it_is");
    let info = bed.device.info();
    let port = info.port(1).expect("port 1");
    let file = format!("/sys/class/infiniband/{}/ports/1/gids/0", info.name);
    let text = fs::read_to_string(file).expect("gid").replace(':', "");
    let gid = u128::from_str_radix(text.trim(), 16).expect("hex");
    assert_eq!(port.port_guid, gid as u64);
    assert_eq!(port.state, PortState::Active);
    assert_eq!(bed.device.port_state(1).expect("port 1"), port.state);
    assert!(bed.device.port_state(99).is_err());
    assert_eq!(port.link_layer, LinkLayer::Ethernet);
    assert!(port.active_mtu_bytes >= 1024);
    assert!(info.limits.completions > 1000 && info.limits.initiator_depth > 0);
    assert!(info.node_guid != 0);
    assert!(devices().expect("devices").contains(info));
    let error = Device::open(&bed.fabric, "no_such0")
        .expect_err("absent")
        .to_string();
    assert!(error.contains(&info.name), "{error}");
}

#[test]
fn an_address_in_use_is_refused() {
    let bed = bed_or_skip!("an_address_in_use_is_refused");
    let again = Listener::bind(&bed.channel, &ListenAddress::Ip(bed.address), 8);
    let error = again.expect_err("in use").to_string();
    assert!(error.contains("another program listens there"), "{error}");
    let elsewhere = ListenAddress::Ip("192.0.2.1:5555".parse().expect("address"));
    let error = Listener::bind(&bed.channel, &elsewhere, 8)
        .expect_err("no such address")
        .to_string();
    assert!(error.contains("no RDMA device has this address"), "{error}");
}

#[test]
fn completions_are_reported_through_a_ring() {
    let mut bed = bed_or_skip!("completions_are_reported_through_a_ring");
    let (mut initiator, mut target) = bed.connected();
    let mut ring = io_uring::IoUring::new(4).expect("ring");
    for round in 1..=3 {
        bed.cq.arm().expect("arm");
        assert_eq!(bed.reap(&mut [&mut initiator, &mut target]), 0);
        let mut event = [0_u8; 8];
        let fd = io_uring::types::Fd(bed.cq_channel.fd().expect("descriptor").as_raw_fd());
        let read = io_uring::opcode::Read::new(fd, event.as_mut_ptr(), 8).build();
        // SAFETY: descriptor and memory live until the completion, which is awaited below.
        unsafe { ring.submission().push(&read) }.expect("room");
        ring.submit().expect("submit");
        let ping = bed.buf(b"ping");
        initiator
            .qp
            .queue_respond(None, &[], ping, None)
            .expect("queue");
        initiator.qp.flush().expect("flush");
        ring.submit_and_wait(1).expect("wait");
        let read = ring.completion().next().expect("completion").result();
        assert_eq!(read, 8);
        let id = bed.cq_channel.event_from_raw(u64::from_ne_bytes(event));
        assert_eq!(id, Some(bed.cq.id()));
        bed.run(&mut [&mut initiator, &mut target], |bed, ends| {
            bed.received.len() == round && ends[0].completed.len() == round
        });
    }
}

#[test]
fn a_limit_of_locked_memory_is_named() {
    let bed = bed_or_skip!("a_limit_of_locked_memory_is_named");
    let name = bed.device.info().name.clone();
    let mut limit = getrlimit(Resource::Memlock);
    limit.current = Some(1 << 20);
    setrlimit(Resource::Memlock, limit).expect("limit");
    // Rights belong to a thread, so only this one loses those that lift the limit.
    let unprivileged = thread::spawn(move || {
        let none = CapabilitySets {
            effective: CapabilitySet::empty(),
            permitted: CapabilitySet::empty(),
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, none).expect("capabilities");
        let domain = ProtectionDomain::new(&Device::open(&Fabric::verbs(), &name)?)?;
        let arena = Arena::new(16 << 20).expect("arena");
        MemoryRegion::register(&domain, &arena).map(drop)
    });
    let error = unprivileged.join().expect("thread").expect_err("limited");
    let text = error.to_string();
    assert!(matches!(error, Error::LockedMemory { .. }), "{text}");
    assert!(text.contains("RLIMIT_MEMLOCK is 1048576 bytes"), "{text}");
}

/// What the kernel holds, such as `pd 1 cq 1 qp 3 cm_id 2 mr 1`, of all devices.
fn kernel_resources() -> String {
    let output = Command::new("rdma").args(["resource", "show"]).output();
    let output = output.expect("the rdma program of iproute2");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn two_hundred_connections_leave_nothing_behind() {
    let mut bed = bed_or_skip!("two_hundred_connections_leave_nothing_behind");
    let (initiator, target) = bed.connected();
    bed.disconnect(initiator, target);
    let open_files = || fs::read_dir("/proc/self/fd").expect("proc").count();
    let before = (kernel_resources(), open_files());
    for _ in 0..200 {
        let (initiator, target) = bed.connected();
        bed.disconnect(initiator, target);
    }
    assert_eq!((kernel_resources(), open_files()), before);
}
