//! The results as a Markdown table, which a terminal shows well too.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use super::iscsi::{Beside, Compared, Figures, Iscsi};
use super::native::{Native, NativeJob};
use super::pure_path::PurePath;
use super::results::{JobResult, Results};

const HEADER: [&str; 7] = [
    "Job",
    "LIO, µs per I/O",
    "A/A spread",
    "srptgt, µs per I/O",
    "srptgt : LIO",
    "aim",
    "syscalls per I/O (by strace)",
];

const PURE_HEADER: [&str; 4] = ["Command", "depth", "user instructions", "aim"];

const NATIVE_HEADER: [&str; 8] = [
    "Job",
    "IOPS",
    "MB/s",
    "median, µs",
    "99 %, µs",
    "aim",
    "CPU, µs per I/O",
    "syscalls per I/O",
];

const ISCSI_HEADER: [&str; 10] = [
    "Job",
    "srptgt",
    "tgt",
    "srptgt : tgt",
    "aim",
    "CPU, µs per I/O",
    "tgt's",
    "srptgt : tgt",
    "syscalls per I/O (by strace)",
    "tgt's",
];

/// The tables, and below each what the figures are and the reason for each one that is missing.
pub(super) fn markdown(
    results: &Results,
    pure: Option<&PurePath>,
    native: Option<&Native>,
    iscsi: Option<&Iscsi>,
) -> String {
    let table = aligned(HEADER, results.jobs.iter().map(cells));
    format!(
        "{table}\n\n\
         LIO is `ib_srpt` for SRP and `ib_isert` for iSER. A microsecond is a thousand instructions of initiator, soft \
         RDMA and target together; latency is divided by the depth. A/A spread: the kernel's target measured before and after srptgt. System calls are the daemon's, \
         by its own counters and, where all were traced, by strace. Kernel: {}; srptgt: {}; {}.\n{}{}{}{}",
        results.kernel,
        results.commit,
        results.date,
        failures(results),
        pure.map(pure_path).unwrap_or_default(),
        native.map(soft_fabric).unwrap_or_default(),
        iscsi.map(beside_tgt).unwrap_or_default()
    )
}

/// What is a number stands at the right of its column.
fn aligned<const N: usize>(header: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.add_rows(rows);
    table
}

fn pure_path(pure: &PurePath) -> String {
    let rows = pure.commands.iter().map(|command| {
        let aim = command.aim.map_or("–".to_owned(), |aim| aim.to_string());
        let instructions = format!("{:.0}", command.instructions);
        [
            command.title.clone(),
            command.depth.to_string(),
            instructions,
            aim,
        ]
    });
    format!(
        "\n{}\n\n\
         The pure path: the transport's and SCSI code over a back end that does nothing, without system calls, counted by \
         callgrind. No command allocates (a test). srptgt: {}; {}.\n",
        aligned(PURE_HEADER, rows),
        pure.commit,
        pure.date
    )
}

fn soft_fabric(native: &Native) -> String {
    format!(
        "\n{}\n\n\
         SRP over the soft fabric on loopback, no RDMA in the kernel: `srptgt bench`, target and initiator in a process \
         each, a LUN in memory, random places. This is time, and other work on the machine gets into it: the best of \
         {} rounds in which the jobs take turns. CPU time and system calls are the target's alone, by its own \
         counters. {} cores, Linux {}; srptgt: {}; {}.\n",
        aligned(NATIVE_HEADER, native.jobs.iter().map(native_cells)),
        native.rounds,
        native.machine.cores,
        native.machine.kernel,
        native.commit,
        native.date
    )
}

fn native_cells(job: &NativeJob) -> [String; 8] {
    let optional = |figure: Option<f64>, digits: usize| {
        figure.map_or("–".to_owned(), |figure| format!("{figure:.digits$}"))
    };
    [
        job.name.clone(),
        format!("{:.0}", job.iops),
        format!("{:.0}", job.bytes_per_second / 1e6),
        format!("{:.0}", job.p50_us),
        format!("{:.0}", job.p99_us),
        job.aim().unwrap_or("–".to_owned()),
        optional(job.target_cpu_us, 1),
        optional(job.target_system_calls, 2),
    ]
}

fn beside_tgt(iscsi: &Iscsi) -> String {
    format!(
        "\n{}\n\n{}\n\
         iSCSI over TCP on loopback, beside another target in user space: {}. srptgt's LUN is its own memory, tgt's is a \
         file in tmpfs; of two figures of tgt, the first is with its backing store {}. Client of all: {}. They take turns \
         in each of {} rounds, a ratio is one of the same round, and each figure is the median; the machine was at work \
         for others at the same time, so only ratios say much. CPU time is that of the whole process. System calls: \
         srptgt's by its own counters, and of all threads by strace in a pass of their own. {} cores, Linux {}; srptgt: \
         {}; {}.\n",
        aligned(ISCSI_HEADER, iscsi.jobs.iter().map(iscsi_cells)),
        idle_costs(iscsi),
        iscsi.tgt,
        iscsi.backends.join(", the second with "),
        iscsi.client,
        iscsi.rounds,
        iscsi.machine.cores,
        iscsi.machine.kernel,
        iscsi.commit,
        iscsi.date
    )
}

fn iscsi_cells(job: &Compared) -> [String; 10] {
    let srptgt = &job.srptgt;
    let calls = match srptgt.own_system_calls {
        Some(own) => format!("{own:.2} ({:.2})", srptgt.system_calls),
        None => format!("({:.2})", srptgt.system_calls),
    };
    [
        job.title.clone(),
        speed(job, srptgt),
        of_tgt(job, |tgt| speed(job, &tgt.figures)),
        of_tgt(job, |tgt| format!("{:.2}", tgt.speed)),
        job.speed_aim
            .map_or("–".to_owned(), |aim| format!("{aim:.1}")),
        format!("{:.1}", srptgt.cpu_us),
        of_tgt(job, |tgt| format!("{:.1}", tgt.figures.cpu_us)),
        of_tgt(job, |tgt| format!("{:.2}", tgt.cpu)),
        calls,
        of_tgt(job, |tgt| format!("({:.1})", tgt.figures.system_calls)),
    ]
}

/// A figure of tgt, with each of its backing stores.
fn of_tgt(job: &Compared, figure: impl Fn(&Beside) -> String) -> String {
    let figures: Vec<String> = job.tgt.iter().map(figure).collect();
    figures.join(" / ")
}

/// Small blocks are counted, large ones weighed.
fn speed(job: &Compared, figures: &Figures) -> String {
    match job.block_bytes {
        ..65536 => format!("{:.1} K IOPS", figures.iops / 1e3),
        bytes => format!("{:.0} MB/s", figures.iops * f64::from(bytes) / 1e6),
    }
}

/// What idle sessions add to the cost of a busy one.
fn idle_costs(iscsi: &Iscsi) -> String {
    let costs = iscsi.jobs.iter().filter_map(|job| {
        let srptgt = job.srptgt.idle_cost?;
        let tgt = of_tgt(job, |tgt| {
            let cost = tgt.figures.idle_cost;
            cost.map_or("–".to_owned(), |cost| format!("{cost:.2}"))
        });
        Some(format!(
            "{}: an I/O costs srptgt {srptgt:.2} times the CPU time that it costs without them, and tgt {tgt} times.\n",
            job.title
        ))
    });
    costs.collect()
}

fn cells(job: &JobResult) -> [String; 7] {
    [
        job.title.clone(),
        us(job.lio_us()),
        percent(job.spread_percent()),
        job.srptgt_us().map_or("–".to_owned(), us),
        ratio(job.ratio()),
        ratio(job.aim_percent.map(|percent| f64::from(percent) / 100.0)),
        syscalls(job),
    ]
}

fn us(figure: Result<f64, &str>) -> String {
    figure.map_or("failed".to_owned(), |us| format!("{us:.1}"))
}

fn percent(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |percent| format!("{percent:.2} %"))
}

fn ratio(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn syscalls(job: &JobResult) -> String {
    match (job.syscalls, job.traced_syscalls) {
        (Some(own), Some(traced)) => format!("{own:.2} ({traced:.2})"),
        (Some(own), None) => format!("{own:.2}"),
        (None, Some(traced)) => format!("({traced:.2})"),
        (None, None) => "–".to_owned(),
    }
}

fn failures(results: &Results) -> String {
    let failed = results.jobs.iter().flat_map(|job| {
        let of = |peer, figure: Result<f64, &str>| {
            let reason = figure.err()?.to_owned();
            Some(format!("\n- {}, {peer}: {reason}\n", job.title))
        };
        let srptgt = job.srptgt_us();
        [
            of("LIO", job.lio_us()),
            srptgt.and_then(|figure| of("srptgt", figure)),
        ]
    });
    failed.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::tests::sample;
    use crate::bench::{iscsi, native, pure_path};

    #[test]
    fn a_row_has_both_figures_their_ratio_and_the_aim() {
        let text = markdown(&sample(), None, None, None);
        let row = text.lines().find(|line| line.contains("depth 1 ")).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(
            cells,
            [
                "SRP, 4 KiB random read, depth 1",
                "100.0",
                "2.00 %",
                "115.0",
                "1.15",
                "1.20",
                "4.00"
            ]
        );
    }

    #[test]
    fn the_pure_path_has_a_table_of_its_own() {
        let text = markdown(&sample(), Some(&pure_path::tests::sample()), None, None);
        let row = text.lines().find(|line| line.contains("READ")).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells, ["SRP, 4 KiB READ", "32", "812", "900"]);
    }

    #[test]
    fn the_soft_fabric_has_a_table_when_it_was_measured() {
        let text = markdown(&sample(), None, Some(&native::tests::sample()), None);
        let row = text.lines().find(|line| line.contains("20000")).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let expected = [
            "4 KiB read, depth 1",
            "20000",
            "82",
            "250",
            "1000",
            "–",
            "4.0",
            "–",
        ];
        assert_eq!(cells, expected);
        assert!(text.contains(" 100 K IOPS |"), "{text}");
        assert!(!markdown(&sample(), None, None, None).contains("soft fabric"));
    }

    #[test]
    fn another_target_stands_beside_srptgt() {
        let text = markdown(&sample(), None, None, Some(&iscsi::tests::kept()));
        let row = text.lines().find(|line| line.contains("30.0 K")).unwrap();
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let expected = [
            "4 KiB read, depth 32",
            "30.0 K IOPS",
            "10.0 K IOPS / 15.0 K IOPS",
            "3.00 / 2.00",
            "2.5",
            "10.0",
            "40.0 / 20.0",
            "0.25 / 0.50",
            "0.30 (0.40)",
            "(16.7) / (12.9)",
        ];
        assert_eq!(cells, expected);
        assert!(text.contains("srptgt 1.01 times"), "{text}");
    }

    #[test]
    fn a_job_that_failed_says_so_and_why() {
        let text = markdown(&sample(), None, None, None);
        let row = text.lines().find(|line| line.contains("1 MiB")).unwrap();
        assert!(row.contains("failed"), "{row}");
        assert!(
            text.contains("\n- SRP, 1 MiB read, depth 8, srptgt: ib_srp: failed FAST REG"),
            "{text}"
        );
    }
}
