//! The demonstration, run in a guest by `cargo xtask demo`: one LUN, one host, one stranger, every byte verified.
//!
//! The report goes to standard error; standard output is the transcript of every command behind it.

use std::time::Instant;

use tests::command::run;
use tests::disk::{Disk, FileSystem};
use tests::fio::{Direction, Fio};
use tests::ib_srp::Session;
use tests::rxe::{Rxe, Wire};
use tests::srptgt::Srptgt;
use tests::tree::Tree;

const FILES: u32 = 200;

fn main() {
    let start = Instant::now();
    let (wire, stranger) = (Wire::new(0), Rxe::on_dummy(1));
    say(
        "fabric",
        &format!(
            "Linux {}, soft RoCE on both ends of a virtual wire",
            run("uname -r")
        ),
    );
    let target = Srptgt::start();
    serve(&target, &wire.initiator);
    refuse(&target, &stranger);
    let session = log_in(&target, &wire);
    let disk = session.disk(0);
    keep_files(&disk);
    verify(&disk);
    measure(&disk);
    session.logout();
    target.wait_until_idle();
    eprintln!(
        "\nEvery byte verified, everyone logged out, in {} s.",
        start.elapsed().as_secs()
    );
}

fn say(what: &str, text: &str) {
    eprintln!("  {what:<10} {text}");
}

fn serve(target: &Srptgt, initiator: &Rxe) {
    target.run("lun add ds1 --file /run/ds1.img --size 96M");
    target.add_host("esx01", initiator);
    target.run("map ds1 --host esx01");
    say(
        "serving",
        &format!(
            "LUN ds1, a file of 96 MiB, to host esx01, known by its ibstat: {}",
            initiator.port_guid()
        ),
    );
}

fn refuse(target: &Srptgt, stranger: &Rxe) {
    let refused = target.login(stranger, stranger.address).attempt();
    assert!(refused.is_err(), "a stranger got in");
    let pending = target.pending(&stranger.port_guid(), |_| true);
    let fix = pending["fix"].as_str().expect("a row has a fix");
    say(
        "stranger",
        &format!(
            "{} was refused; `srptgt pending` says how to admit it:",
            stranger.port_guid()
        ),
    );
    say("", fix);
}

fn log_in(target: &Srptgt, wire: &Wire) -> Session {
    let start = Instant::now();
    let session = target.login(&wire.initiator, wire.target.address).succeed();
    let (disk, milliseconds) = (session.disk(0), start.elapsed().as_millis());
    let channels = session.attribute("ch_count");
    say(
        "login",
        &format!(
            "esx01 is in over {channels} channels after {milliseconds} ms and has {}",
            disk.path()
        ),
    );
    session
}

fn keep_files(disk: &Disk) {
    let mounted = disk.make_file_system(FileSystem::Ext4);
    Tree::new(&mounted.path, FILES).write();
    mounted.unmount();
    disk.check_file_system(FileSystem::Ext4);
    let mounted = disk.mount(FileSystem::Ext4);
    Tree::new(&mounted.path, FILES).verify();
    mounted.unmount();
    say(
        "ext4",
        &format!(
            "made, {FILES} files written, unmounted, checked clean, mounted, every byte as it was"
        ),
    );
}

fn verify(disk: &Disk) {
    let job = Fio::random_write(&disk.path())
        .verified()
        .with("bsrange", "4k-1m")
        .with("blockalign", "4k");
    job.with("iodepth", 32).with("size", "48m").run();
    say(
        "fio",
        "48 MiB in blocks of 4 KiB to 1 MiB at depth 32, written and read back, checksums right",
    );
}

fn measure(disk: &Disk) {
    eprintln!(
        "\n  {:<22} {:>8} {:>8} {:>10} {:>10}",
        "", "IOPS", "MB/s", "median", "99 %"
    );
    let read = |bs: &str, depth: u32, requests: u32| {
        sized(Fio::random_read(&disk.path()), bs, depth, requests)
            .run()
            .read
    };
    let write = |bs: &str, depth: u32, requests: u32| {
        sized(Fio::random_write(&disk.path()), bs, depth, requests)
            .run()
            .write
    };
    row("4 KiB read, depth 1", &read("4k", 1, 2000));
    row("4 KiB read, depth 32", &read("4k", 32, 4000));
    row("4 KiB write, depth 32", &write("4k", 32, 4000));
    row("1 MiB read, depth 8", &read("1m", 8, 64));
    eprintln!(
        "  (an emulated kernel, where a system call costs 10 µs: a demonstration, not a measurement)"
    );
}

fn sized(job: Fio, bs: &str, depth: u32, requests: u32) -> Fio {
    job.with("bs", bs)
        .with("iodepth", depth)
        .with("number_ios", requests)
}

fn row(what: &str, measured: &Direction) {
    let time = |percentage| match measured.clat_ns.percentile_us(percentage) {
        Some(microseconds) => format!("{microseconds} µs"),
        None => "-".into(),
    };
    let megabytes = measured.bw_bytes / 1_000_000;
    eprintln!(
        "  {what:<22} {:>8.0} {megabytes:>8} {:>10} {:>10}",
        measured.iops,
        time(50),
        time(99)
    );
}
