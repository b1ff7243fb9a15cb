//! Trials that every initiator has to stand, whatever carries its session: one body for all of them.

use std::thread;
use std::time::Duration;

use crate::command::{attempt, run, start};
use crate::deadline::until_true;
use crate::disk::Disk;
use crate::fio::{Fio, Load};
use crate::kernel_log::Mark;
use crate::srptgt::Srptgt;

/// So long the load goes on between one reset and the next.
const BETWEEN_RESETS: Duration = Duration::from_millis(200);

/// A session, as far as all initiators have the same.
pub trait Session {
    /// The disk with this LUN.
    fn disk(&self, lun: u64) -> Disk;

    /// Looks for LUNs that came since the login.
    fn rescan(&self);

    /// Waits until the initiator has noticed that the target is gone.
    fn wait_until_lost(&self);

    /// Waits until commands can go again.
    fn wait_until_back(&self);
}

/// A verified load, and a moment in the middle of it: a part is written, the rest is not.
///
/// # Panics
///
/// The load failed, or does not get that far.
#[track_caller]
pub fn begin_load(target: &Srptgt, job: &Fio, written_bytes: u64) -> Load {
    let before = target.counters().written_bytes;
    let load = job.start();
    until_true("a part of the load to be written", 30, || {
        target.counters().written_bytes > before + written_bytes
    });
    load
}

/// The daemon is killed in the middle of a verified load of so many bytes and started again; the initiator comes back
/// by itself, and finds every byte that it was promised.
///
/// # Panics
///
/// It does not.
#[track_caller]
pub fn kill_9_under_load(target: &mut Srptgt, session: &impl Session, job: &Fio, bytes: u64) {
    let mut load = begin_load(target, job, 8 << 20);
    target.kill();
    assert!(
        load.is_running(),
        "the load was over before the daemon was killed"
    );
    session.wait_until_lost();
    target.start_again();
    session.wait_until_back();

    // Every block that was acknowledged before, during and after is read back and compared.
    let report = load.finish();
    assert_eq!(report.read.io_bytes, bytes);
    run(&format!("sg_turs {}", session.disk(0).path()));
}

/// The device and the target are reset in the middle of a verified load of the disk, which loses nothing.
///
/// # Panics
///
/// It does, or the load was too short.
#[track_caller]
pub fn resets_under_load(disk: &Disk, job: &Fio) {
    let mut load = job.start();
    for reset in ["--device", "--target", "--device"] {
        run(&format!("sg_reset {reset} {}", disk.path()));
        thread::sleep(BETWEEN_RESETS);
    }
    assert!(
        load.is_running(),
        "the load was over before the resets were"
    );
    load.finish();
}

/// LUN 0 gets stuck for longer than the initiator waits: its command is aborted and repeated, and LUN 1 goes on.
///
/// # Panics
///
/// Something hangs, or is lost.
#[track_caller]
pub fn stuck_command(target: &Srptgt, session: &impl Session) {
    let (stuck, other) = (session.disk(0), session.disk(1));
    stuck.set_timeout(2);
    let before = target.counters();
    target.run("lun stall lun0 on");
    let mut write = start(&format!(
        "dd if=/dev/zero of={} bs=4k count=1 oflag=direct",
        stuck.path()
    ));
    until_true("the kernel to abort the command", 30, || {
        target.counters().commands_aborted > before.commands_aborted
    });
    assert!(target.counters().task_management > before.task_management);
    run(&format!(
        "dd if=/dev/zero of={} bs=4k count=16 oflag=direct",
        other.path()
    ));
    assert!(
        write.is_running(),
        "the write ended while its store was stalled"
    );
    target.run("lun stall lun0 off");
    until_true("the stuck write to end", 60, || !write.is_running());
    assert!(
        write.finish("").succeeded(),
        "the kernel did not repeat the write"
    );
    target.wait_until_idle();
}

/// While LUN 0 is under load, the host `initiator` is shown another one, as LUN 1, which then grows to 24 MiB.
///
/// # Panics
///
/// The initiator is not told.
#[track_caller]
pub fn lun_comes_and_grows(target: &Srptgt, session: &impl Session) -> Disk {
    let mark = Mark::set();
    target.run("lun add extra --file /run/extra.img --size 16M");
    target.run("map extra --host initiator --lun 1");
    until_true("the kernel to log that LUNs have changed", 30, || {
        mark.since().contains("LUN assignments on this target")
    });
    session.rescan();
    let disk = session.disk(1);
    assert_eq!(disk.bytes(), 16 << 20);

    let mark = Mark::set();
    target.run("lun resize extra 24M");
    // The next command is answered with the attention; the administrator's rescan reads the new size.
    attempt(&format!(
        "dd if={} of=/dev/null bs=4k count=1 iflag=direct",
        disk.path()
    ));
    until_true("the kernel to log the attention", 30, || {
        mark.since().contains("apacity data has changed")
    });
    disk.rescan();
    assert_eq!(disk.bytes(), 24 << 20);
    disk
}

/// The LUN goes again.
///
/// # Panics
///
/// It still answers.
#[track_caller]
pub fn lun_goes(target: &Srptgt, session: &impl Session, disk: Disk) {
    target.run("unmap extra --host initiator");
    target.run("lun remove extra");
    run("rm /run/extra.img");
    let ready = attempt(&format!("sg_turs {}", disk.path()));
    assert!(!ready.succeeded(), "a removed LUN still answers");
    let first = session.disk(0);
    assert!(!run(&format!("sg_luns {}", first.path())).contains("0001000000000000"));
    disk.delete();
}
