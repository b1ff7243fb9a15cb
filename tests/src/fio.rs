//! fio: load with verified contents, and what it measured.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::command::{Started, command};

/// A run of fio against one block device or file.
#[derive(Clone, Debug)]
pub struct Fio {
    arguments: Vec<String>,
}

impl Fio {
    /// Random writes to `path`, direct and asynchronous; the rest of the job is to be added.
    pub fn random_write(path: &str) -> Self {
        Self::new(path, "randwrite")
    }

    /// Random reads from `path`.
    pub fn random_read(path: &str) -> Self {
        Self::new(path, "randread")
    }

    fn new(path: &str, rw: &str) -> Self {
        let fio = Self {
            arguments: vec!["--name=job".into()],
        };
        // fio's own seed and clock would make every run another one; the clock of the guest is no stopwatch.
        let fio = fio
            .with("filename", path)
            .with("rw", rw)
            .with("randseed", 42);
        fio.with("direct", 1)
            .with("ioengine", "libaio")
            .with("thread", 1)
            .with("clocksource", "clock_gettime")
    }

    /// Adds an option of fio by its own name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arguments.push(format!("--{name}={value}"));
        self
    }

    /// Every block carries a checksum of its contents and its place, and is read back and checked at the end.
    #[must_use]
    pub fn verified(self) -> Self {
        self.with("verify", "crc32c")
            .with("verify_fatal", 1)
            .with("do_verify", 1)
    }

    /// Runs it to its end.
    ///
    /// # Panics
    ///
    /// fio failed or found a wrong block; the message holds its words.
    #[track_caller]
    pub fn run(&self) -> Report {
        self.start().finish()
    }

    /// Starts it; the scenario does something else meanwhile.
    ///
    /// # Panics
    ///
    /// fio could not be started.
    #[track_caller]
    pub fn start(&self) -> Load {
        let mut fio = command("fio --output-format=json");
        fio.args(&self.arguments);
        Load(Started::new(fio, &self.line()))
    }

    fn line(&self) -> String {
        format!("fio {}", self.arguments.join(" "))
    }
}

/// A run of fio under way.
#[derive(Debug)]
pub struct Load(Started);

impl Load {
    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.is_running()
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// fio failed or found a wrong block; the message holds its words.
    #[track_caller]
    pub fn finish(self) -> Report {
        let output = self.0.finish("").output();
        let report = Report::parse(&output);
        let report = report.unwrap_or_else(|error| panic!("fio's report: {error}\n{output}"));
        assert_eq!(report.error, 0, "fio saw an error");
        report
    }
}

/// What one run of fio did.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The first error number that the job saw, 0 for none.
    pub error: i32,
    /// Reads, those of the verification included.
    pub read: Direction,
    /// Writes.
    pub write: Direction,
}

/// One direction of a [`Report`].
#[derive(Clone, Debug, Deserialize)]
pub struct Direction {
    /// Bytes moved.
    pub io_bytes: u64,
    /// Requests completed.
    pub total_ios: u64,
    /// Requests per second.
    pub iops: f64,
    /// Bytes per second.
    pub bw_bytes: u64,
    /// Time from submission to completion.
    pub clat_ns: Latency,
}

/// Completion times.
#[derive(Clone, Debug, Deserialize)]
pub struct Latency {
    /// The longest.
    pub max: u64,
    #[serde(default)]
    percentile: BTreeMap<String, u64>,
}

impl Latency {
    /// The time in microseconds within which this percentage of the requests was completed, 50 or 99 for example;
    /// none when no request was made.
    pub fn percentile_us(&self, percentage: u32) -> Option<u64> {
        Some(self.percentile.get(&format!("{percentage}.000000"))? / 1000)
    }
}

impl Report {
    /// Reads fio's JSON; lines before it are fio's notes.
    ///
    /// # Errors
    ///
    /// There is no report of one job in it.
    pub fn parse(output: &str) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Output {
            jobs: [Report; 1],
        }
        let json = output.find("{\n").map_or(output, |start| &output[start..]);
        let Output { jobs: [report] } = serde_json::from_str(json)?;
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_past_fios_notes() {
        let direction = r#"{"io_bytes":4096,"total_ios":1,"iops":2.5,"bw_bytes":10240,"clat_ns":{"max":3,"percentile":{"99.000000":2500}}}"#;
        let json = format!(
            "fio: a note\n{{\n\"jobs\":[{{\"error\":5,\"read\":{direction},\"write\":{direction}}}]}}"
        );
        let report = Report::parse(&json).unwrap();
        assert_eq!(report.read.clat_ns.percentile_us(99), Some(2));
        assert_eq!(report.read.clat_ns.percentile_us(50), None);
        assert_eq!(
            (
                report.error,
                report.read.total_ios,
                report.write.clat_ns.max
            ),
            (5, 1, 3)
        );
        assert!(Report::parse("no report").is_err());
    }

    #[test]
    fn a_verified_job_checks_what_it_wrote() {
        let line = Fio::random_write("/dev/x")
            .verified()
            .with("bs", "4k")
            .line();
        assert!(
            line.contains("--verify=crc32c") && line.contains("--bs=4k"),
            "{line}"
        );
    }
}
