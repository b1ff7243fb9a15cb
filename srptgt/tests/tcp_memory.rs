//! A worker that may keep next to nothing of what comes over TCP for want of buffers: who brings more is cut, and nobody else
//! notices.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use initiator::iscsi::machine::{CloseReason, LoginOptions};
use initiator::iscsi::{ConnectOptions, Session};
use initiator::{Lun, Nexus, Scsi, SlotCommand, SlotData, cdb};
use srptgt::config::{ByteSize, Name};
use srptgt::control::request::{HostEdit, MapAdd};
use srptgt::exercise::{Fill, Pattern, Place, ReadBack, run};
use srptgt::loopback::Target;
use srptgt::portal::Protocol;
use srptgt::worker::MemorySettings;
use transport_iser::login::Datamover;

const INITIATOR: &str = "iqn.2026-11.example:writer";
const LUN: Lun = Lun([0; 8]);
const MEDIUM_BYTES: u64 = 32 << 20;
const DEPTH: usize = 128;

/// Of one command; all of it comes with the command.
const WRITE_BYTES: usize = 64 << 10;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A target with little memory, and where it listens.
async fn served() -> (Target, SocketAddr) {
    let memory = MemorySettings {
        data_bytes: 8 << 20,
        max_transfer_bytes: 1 << 20,
        most_held_bytes: 0,
        ..MemorySettings::default()
    };
    let target = Target::start_with(memory).await.unwrap();
    let size = ByteSize(MEDIUM_BYTES);
    target.add_file_lun(&name("ds1"), size).await.unwrap();
    let address = "127.62.0.1".parse().unwrap();
    let address = target.listen(Protocol::Tcp, address).await.unwrap();
    let edit = HostEdit {
        iqns: vec![INITIATOR.to_owned()],
        ..HostEdit::default()
    };
    let control = target.control();
    control.add_host(name("writer"), edit).await.unwrap();
    let map = MapAdd {
        lun: name("ds1"),
        host: name("writer"),
        number: Some(0),
        read_only: false,
    };
    control.map(map).await.unwrap();
    (target, address)
}

/// A session of the port with this number.
fn log_in(address: SocketAddr, target: &str, port: u8) -> Session {
    let mut login = LoginOptions::new(Datamover::Tcp, INITIATOR, Some(target));
    login.outstanding = DEPTH as u32;
    login.identity.isid[5] = port;
    let mut options = ConnectOptions::new(address, login);
    options.data_bytes = (DEPTH + 1) * (2 << 20);
    options.command_timeout_ms = 120_000;
    let mut session = Session::connect_tcp(&options).unwrap();
    session.await_ready(LUN).unwrap();
    session
}

fn place(session: &mut Session) -> Place {
    Place {
        lun: LUN,
        capacity: session.read_capacity(LUN).unwrap(),
    }
}

/// Sends more at once than there are buffers for. Whether the target has cut the session for it.
fn floods(session: &mut Session) -> bool {
    let cdb = cdb::write(0, (WRITE_BYTES / 512) as u32);
    let write = SlotCommand {
        lun: LUN,
        cdb: &cdb,
        data: SlotData::Out(WRITE_BYTES),
    };
    session.set_slots(DEPTH, WRITE_BYTES).unwrap();
    for slot in 0..DEPTH {
        session.send(slot, &write).unwrap();
    }
    // What waits for a buffer is told BUSY after two seconds; the rest is with the medium, which does nothing.
    while let Ok(ended) = session.next_ended(Duration::from_secs(3)) {
        if ended.is_none() {
            return false;
        }
    }
    assert_eq!(session.closed(), Some(&CloseReason::Disconnected));
    true
}

#[tokio::test]
async fn who_brings_more_than_may_be_kept_is_cut_and_others_go_on() {
    let (target, address) = served().await;
    let (iqn, control) = (target.name(), target.control().clone());
    let handle = tokio::runtime::Handle::current();
    let stall = move |on| {
        let lun = name("ds1");
        handle.block_on(control.stall_lun(&lun, on)).unwrap();
    };
    let initiators = tokio::task::spawn_blocking(move || {
        let mut bystander = log_in(address, &iqn, 1);
        stall(true);
        bystander.ping(b"before").unwrap();
        // What came in one go with what has no buffer is on its way: nearly all of it, nearly always.
        let begun = Instant::now();
        while !floods(&mut log_in(address, &iqn, 2)) {
            assert!(begun.elapsed() < PATIENCE, "nobody was cut");
        }
        bystander.ping(b"after").unwrap();
        stall(false);
        let place = place(&mut bystander);
        let pattern = Pattern { seed: 8 };
        let mut fill = Fill::new(pattern, MEDIUM_BYTES, |_| {});
        run(&mut bystander, place, 2, &mut fill).unwrap();
        let mut read_back = ReadBack::new(pattern, MEDIUM_BYTES, |_| {});
        run(&mut bystander, place, 2, &mut read_back).unwrap();
        bystander.logout();
    });
    initiators.await.unwrap();
    target.stop().await.unwrap();
}
