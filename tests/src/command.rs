//! Running a program in the guest: every command is printed with its answer, so `guest.log` reads like a transcript.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::thread;

/// A command that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The command as it was given.
    pub line: String,
    /// Its exit status; none when a signal ended it.
    pub status: Option<i32>,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Finished {
    /// Whether the command ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.status == Some(0)
    }

    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    ///
    /// It did not; the message holds the command and all it said.
    #[track_caller]
    pub fn output(self) -> String {
        assert!(self.succeeded(), "{}", self.describe());
        self.stdout
    }

    /// Standard error, if the command failed with this status: a refusal is checked like an answer.
    ///
    /// # Panics
    ///
    /// It ended otherwise.
    #[track_caller]
    pub fn refusal(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}", self.describe());
        self.stderr
    }

    fn describe(&self) -> String {
        let status = self
            .status
            .map_or("a signal".into(), |status| format!("status {status}"));
        format!(
            "`{}` ended with {status}\n{}{}",
            self.line, self.stdout, self.stderr
        )
    }
}

/// Runs a command, its words split at spaces, and gives its standard output without the last line's end.
///
/// # Panics
///
/// It could not be started, or did not end with status 0.
#[track_caller]
pub fn run(line: &str) -> String {
    attempt(line).output().trim_end().to_string()
}

/// As [`run`], but failing is an answer too.
///
/// # Panics
///
/// It could not be started.
#[track_caller]
pub fn attempt(line: &str) -> Finished {
    attempt_with_input(line, "")
}

/// As [`attempt`], with a text to read on standard input.
///
/// # Panics
///
/// It could not be started.
#[track_caller]
pub fn attempt_with_input(line: &str, input: &str) -> Finished {
    start(line).finish(input)
}

/// Starts a command; the scenario does something else meanwhile.
///
/// # Panics
///
/// It could not be started.
#[track_caller]
pub fn start(line: &str) -> Started {
    Started::new(command(line), line)
}

/// The command of a line.
pub(crate) fn command(line: &str) -> Command {
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

/// A command under way; its output is read when it has ended.
#[derive(Debug)]
pub struct Started {
    line: String,
    child: Child,
}

impl Started {
    /// Starts a command that was put together by the caller; `line` is what the transcript calls it.
    #[track_caller]
    pub(crate) fn new(mut command: Command, line: &str) -> Self {
        println!("$ {line}");
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn();
        let child = child.unwrap_or_else(|error| panic!("`{line}` could not be started: {error}"));
        Self {
            line: line.to_string(),
            child,
        }
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives it something to read and waits for its end.
    ///
    /// # Panics
    ///
    /// It cannot be waited for.
    #[track_caller]
    pub fn finish(mut self, input: &str) -> Finished {
        let stdin = self.child.stdin.take();
        let output = thread::scope(|scope| {
            // A program may end without reading its input; that is its choice.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
            self.child.wait_with_output()
        });
        let output = output.unwrap_or_else(|error| panic!("waiting for `{}`: {error}", self.line));
        let finished = Finished {
            line: self.line,
            status: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        };
        print!("{}{}", finished.stdout, finished.stderr);
        finished
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_and_failure_are_told_apart() {
        assert_eq!(run("echo one two"), "one two");
        let refused = attempt("cat /no/such/file");
        assert!(!refused.succeeded());
        assert!(refused.refusal(1).contains("/no/such/file"));
    }

    #[test]
    #[should_panic(expected = "`false` ended with status 1")]
    fn a_failing_command_fails_the_scenario_with_its_name() {
        run("false");
    }

    #[test]
    fn input_is_read_whole_however_long() {
        let text = "x".repeat(1 << 20);
        assert_eq!(attempt_with_input("cat", &text).output(), text);
    }
}
