//! The command line: parse, call one subcommand, print, exit 0 (done), 1 (refused or failed) or 2 (wrong usage).

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use initiator::ExecuteError;
use serde_json::Value;

use crate::api::client::{Client, ClientError};
use crate::daemon::StartWorker;
use crate::exercise::{ExerciseError, InitiatorGone};
use crate::paths::{API_VARIABLE, Paths};

mod access;
mod bench;
mod cell;
mod demo;
mod doctor;
mod export;
mod generate;
mod host;
mod lun;
mod map;
mod peer;
mod portal;
mod progress;
mod rxe;
mod secret;
mod selftest;
mod serve;
mod session;
mod status;
mod table;
mod target;

const AFTER_HELP: &str = "\
Exit status: 0 done, 1 refused or failed, 2 wrong usage.
The API is HTTP and JSON: curl --unix-socket /run/srptgt/api.sock http://srptgt/v1/status";

/// Where the help lists the options of every command.
const GLOBAL: &str = "Options of every command";

/// SCSI target in user space: files and block devices as LUNs over SRP, iSER and iSCSI/TCP
#[derive(Debug, Parser)]
#[command(name = "srptgt", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Cli {
    /// API socket of the daemon [default: $SRPTGT_API, or /run/srptgt/api.sock; without root
    /// $XDG_RUNTIME_DIR/srptgt/api.sock]
    #[arg(long, global = true, value_name = "SOCKET", help_heading = GLOBAL)]
    api: Option<PathBuf>,
    /// How to print: table for people, json as the API has it
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value = "table",
        value_name = "table|json",
        hide_possible_values = true, help_heading = GLOBAL)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// The API's JSON.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon: SIGTERM ends it when commands in flight have ended, SIGHUP reads the configuration again
    Serve(serve::Serve),
    /// Show target and initiators on loopback: access control, verified I/O, figures
    Demo(demo::Demo),
    /// Measure a target: one of its own on loopback, or the one that --target names
    Bench(bench::Bench),
    /// Test a target: one of its own on loopback, or the one that --target names; exit status 1 when a check fails
    Selftest(selftest::Selftest),
    /// LUNs and where their bytes are
    #[command(subcommand)]
    Lun(lun::Lun),
    /// Hosts: their port GUIDs, iSCSI names and CHAP accounts
    #[command(subcommand)]
    Host(Box<host::Host>),
    /// Show a LUN to a host
    Map(map::Map),
    /// Hide a LUN from a host
    Unmap(map::Unmap),
    /// Where the target listens
    #[command(subcommand)]
    Portal(portal::Portal),
    /// Who is logged in
    #[command(subcommand)]
    Session(session::Session),
    /// Who was refused, why, and the command that admits them
    Pending,
    /// Admit a port GUID or an iSCSI name
    Allow(access::Allow),
    /// What initiators call the target
    #[command(subcommand)]
    Target(target::Target),
    /// A summary
    Status,
    /// Print the configuration, without its secrets
    Export(export::Export),
    /// Soft-RoCE devices for testing
    #[command(subcommand)]
    Rxe(rxe::Rxe),
    /// Check what this machine can do, with a fix for each finding; exit status 1 when serve lacks something
    Doctor(doctor::Doctor),
    /// Print completions for a shell
    Completions(generate::Completions),
    /// Print the manual page
    Man(generate::Man),
}

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was told wrongly.
    Usage(String, String),
    /// It was refused, or it failed: why, and what to do next.
    Failed(String, String),
    /// It has said everything already.
    Said,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Unreachable { .. } => Self::Failed(
                text,
                format!(
                    "start it with srptgt serve, or name its socket by --api SOCKET or {API_VARIABLE}"
                ),
            ),
            ClientError::Broken(_) => Self::Failed(text, "see the daemon's log".to_owned()),
            ClientError::Refused {
                wrong_usage: true,
                fix,
                ..
            } => Self::Usage(text, fix),
            ClientError::Refused { fix, .. } => Self::Failed(text, fix),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(format!("{error:#}"), String::new())
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string(), String::new())
    }
}

/// Errors that say by themselves what to do.
macro_rules! said_by_itself {
    ($($error:ty),*) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(error.to_string(), String::new())
            }
        }
    )*};
}

said_by_itself!(ExecuteError, ExerciseError, InitiatorGone);

/// What a command ends with.
pub(crate) type Outcome = Result<(), Failure>;

/// What every command is given.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    client: Client,
    output: Output,
}

impl Context {
    /// Prints the API's JSON, or what `table` makes of it.
    fn print(&self, answer: &Value, table: impl FnOnce(&Value) -> String) -> Outcome {
        let text = match self.output {
            Output::Json => format!("{answer:#}\n"),
            Output::Table => table(answer),
        };
        say(&text)
    }

    /// Prints what was done and the notes of the answer.
    fn print_done(&self, answer: &Value, done: impl FnOnce(&Value) -> String) -> Outcome {
        self.print(answer, |answer| {
            let notes = answer
                .get("notes")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            notes
                .filter_map(Value::as_str)
                .fold(format!("{}\n", done(answer)), |text, note| {
                    format!("{text}note: {note}\n")
                })
        })
    }
}

/// Prints to standard output. A reader that has gone away is no failure.
pub(crate) fn say(text: &str) -> Outcome {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Parses the arguments of this process and runs what they say.
pub fn main(start_worker: StartWorker) -> ExitCode {
    run(Cli::parse(), start_worker)
}

fn run(cli: Cli, start_worker: StartWorker) -> ExitCode {
    let (code, text, fix) = match dispatch(cli, start_worker) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Said) => return ExitCode::FAILURE,
        Err(Failure::Failed(text, fix)) => (ExitCode::FAILURE, text, fix),
        Err(Failure::Usage(text, fix)) => (ExitCode::from(2), text, fix),
    };
    eprintln!("error: {text}");
    if !fix.is_empty() {
        eprintln!("  next: {fix}");
    }
    code
}

fn dispatch(cli: Cli, start_worker: StartWorker) -> Outcome {
    let paths = paths(cli.api);
    let context = Context {
        client: Client::new(&paths.api),
        output: cli.output,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Serve(serve) => serve.run(paths, start_worker).await,
            Command::Demo(demo) => demo.run(context.output).await,
            Command::Bench(bench) => bench.run(context.output).await,
            Command::Selftest(selftest) => selftest.run(context.output).await,
            Command::Lun(lun) => lun.run(&context).await,
            Command::Host(host) => host.run(&context).await,
            Command::Map(map) => map.run(&context).await,
            Command::Unmap(unmap) => unmap.run(&context).await,
            Command::Portal(portal) => portal.run(&context).await,
            Command::Session(session) => session.run(&context).await,
            Command::Pending => access::pending(&context).await,
            Command::Allow(allow) => allow.run(&context).await,
            Command::Status => status::run(&context).await,
            Command::Target(target) => target.run(&context).await,
            Command::Export(export) => export.run(&context).await,
            Command::Rxe(rxe) => rxe.run(),
            Command::Doctor(doctor) => doctor.run(&context, &paths).await,
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
        }
    })
}

/// The API socket is what the command line says, then what the environment says, then where it is by default.
fn paths(api: Option<PathBuf>) -> Paths {
    let default = Paths::of_this_user();
    let named = std::env::var_os(API_VARIABLE)
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    Paths {
        api: api.or(named).unwrap_or(default.api),
        ..default
    }
}
