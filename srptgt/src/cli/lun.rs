//! `srptgt lun`.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::config::document::LunTable;
use crate::config::{BlockSize, ByteSize, Naa, Name, Serial};
use crate::control::request::{LunResize, LunSet, Stall};

use super::cell::{bytes, list, text};
use super::{Context, Failure, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Lun {
    /// Add a LUN; nobody sees it before it is mapped
    Add(Box<Add>),
    /// List LUNs
    List,
    /// Show one LUN
    Show {
        /// Its name
        name: Name,
    },
    /// Change a LUN while it is used
    Set(Set),
    /// Grow a LUN while it is used
    Resize {
        /// Its name
        name: Name,
        /// The new size (2T, 512G); without it, the size of the grown device or file is read again
        size: Option<ByteSize>,
    },
    /// Stop serving a LUN; its file or device is not touched
    Remove {
        /// Its name
        name: Name,
        /// Take it away from the hosts that see it
        #[arg(long)]
        force: bool,
    },
    /// Let a LUN's medium complete nothing, to rehearse a failure
    #[command(hide = true)]
    Stall {
        /// Its name
        name: Name,
        /// Begin or end
        switch: Switch,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch == Switch::On
    }
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("store").required(true).args(["file", "block", "ram", "null"]))]
pub(crate) struct Add {
    /// Its name
    name: Name,
    /// Serve a regular file; with --size it is made, sparse, when it is not there
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Serve a block device
    #[arg(long, value_name = "DEVICE")]
    block: Option<PathBuf>,
    /// Serve memory of --size, gone with the daemon
    #[arg(long, requires = "size")]
    ram: bool,
    /// Read zeroes and drop writes, for measuring
    #[arg(long, requires = "size")]
    null: bool,
    /// Size: bytes, or with K M G T P E (powers of 1024)
    #[arg(long)]
    size: Option<ByteSize>,
    /// Logical block size: 512 or 4096
    #[arg(long, value_name = "BYTES", default_value = "512")]
    block_size: BlockSize,
    /// Write-protect it for everybody
    #[arg(long)]
    read_only: bool,
    /// Report it as thin-provisioned
    #[arg(long)]
    thin: bool,
    /// Let acknowledged writes wait for SYNCHRONIZE CACHE
    #[arg(
        long,
        value_enum,
        default_value = "off",
        value_name = "on|off",
        hide_possible_values = true
    )]
    write_cache: Switch,
    /// Serial number, to keep the one of another target [default: from --naa]
    #[arg(long)]
    serial: Option<Serial>,
    /// NAA designator, to keep the one of another target [default: made]
    #[arg(long)]
    naa: Option<Naa>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true).args(["read_only", "write_cache"]))]
pub(crate) struct Set {
    /// Its name
    name: Name,
    /// Write-protect it for everybody
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true)]
    read_only: Option<Switch>,
    /// Let acknowledged writes wait for SYNCHRONIZE CACHE
    #[arg(long, value_enum, value_name = "on|off", hide_possible_values = true)]
    write_cache: Option<Switch>,
}

impl Lun {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::Add(add) => add.run(context).await,
            Self::List => context.print(&client.get("/v1/luns").await?, luns),
            Self::Show { name } => context.print(&client.get(&path(&name)).await?, lun),
            Self::Set(set) => set.run(context).await,
            Self::Resize { name, size } => {
                let answer = client
                    .post(&format!("{}/resize", path(&name)), LunResize { size })
                    .await?;
                context.print_done(&answer, |lun| {
                    format!("LUN {name} has {} now", bytes(lun, "/size_bytes"))
                })
            }
            Self::Remove { name, force } => {
                let answer = client
                    .delete(&format!("{}?force={force}", path(&name)))
                    .await?;
                context.print_done(&answer, |_| format!("LUN {name} is not served any more"))
            }
            Self::Stall { name, switch } => {
                let stall = Stall { on: switch.into() };
                let answer = client
                    .post(&format!("{}/stall", path(&name)), stall)
                    .await?;
                let state = if stall.on {
                    "completes nothing until: srptgt lun stall NAME off"
                } else {
                    "goes on"
                };
                context.print_done(&answer, |_| format!("LUN {name} {state}"))
            }
        }
    }
}

fn path(name: &Name) -> String {
    format!("/v1/luns/{name}")
}

impl Add {
    async fn run(self, context: &Context) -> Outcome {
        let name = self.name.clone();
        let answer = context
            .client
            .post(&path(&name), self.into_table()?)
            .await?;
        context.print_done(&answer, |lun| {
            format!(
                "LUN {name} added: {}, {}; to show it: srptgt map {name} --host HOST",
                bytes(lun, "/size_bytes"),
                text(lun, "/naa")
            )
        })
    }

    /// The daemon has another working folder, so it is told absolute paths.
    fn into_table(self) -> Result<LunTable, Failure> {
        let absolute = |path: Option<PathBuf>| path.map(std::path::absolute).transpose();
        let memory = self.ram || self.null;
        Ok(LunTable {
            file: absolute(self.file)?,
            block: absolute(self.block)?,
            ram: self.size.filter(|_| self.ram),
            null: self.size.filter(|_| self.null),
            size: self.size.filter(|_| !memory),
            block_size: self.block_size,
            read_only: self.read_only,
            thin: self.thin,
            write_cache: self.write_cache.into(),
            naa: self.naa,
            serial: self.serial,
        })
    }
}

impl Set {
    async fn run(self, context: &Context) -> Outcome {
        let set = LunSet {
            read_only: self.read_only.map(Switch::into),
            write_cache: self.write_cache.map(Switch::into),
        };
        let answer = context.client.patch(&path(&self.name), set).await?;
        context.print_done(&answer, |lun| {
            format!(
                "LUN {}: read-only {}, write cache {}",
                self.name,
                on_off(lun, "/read_only"),
                on_off(lun, "/write_cache")
            )
        })
    }
}

fn on_off(value: &Value, pointer: &str) -> &'static str {
    match value.pointer(pointer) {
        Some(Value::Bool(true)) => "on",
        _ => "off",
    }
}

fn luns(answer: &Value) -> String {
    table::list(
        list(answer, ""),
        &[
            ("NAME", &|lun| text(lun, "/name")),
            ("STATE", &|lun| text(lun, "/state")),
            ("SIZE", &|lun| bytes(lun, "/size_bytes")),
            ("STORE", &store),
            ("MODE", &mode),
            ("HOSTS", &seen_by),
        ],
        "no LUN yet: srptgt lun add NAME --file PATH --size SIZE",
    )
}

fn store(lun: &Value) -> String {
    match lun.get("path").and_then(Value::as_str) {
        Some(path) => format!("{} {path}", text(lun, "/store")),
        None => text(lun, "/store"),
    }
}

fn mode(lun: &Value) -> String {
    let flags = [
        ("/read_only", "read-only"),
        ("/write_cache", "write cache"),
        ("/thin", "thin"),
    ];
    let on = flags
        .iter()
        .filter(|(flag, _)| on_off(lun, flag) == "on")
        .map(|(_, name)| *name);
    let on: Vec<_> = on.collect();
    if on.is_empty() {
        "-".to_owned()
    } else {
        on.join(", ")
    }
}

fn seen_by(lun: &Value) -> String {
    let hosts = list(lun, "/hosts").iter().map(|map| {
        let read_only = if on_off(map, "/read_only") == "on" {
            " read-only"
        } else {
            ""
        };
        format!(
            "{} as {}{read_only}",
            text(map, "/host"),
            text(map, "/number")
        )
    });
    let hosts: Vec<_> = hosts.collect();
    if hosts.is_empty() {
        "-".to_owned()
    } else {
        hosts.join("\n")
    }
}

fn lun(lun: &Value) -> String {
    let mut rows = vec![
        ("name", text(lun, "/name")),
        ("state", text(lun, "/state")),
        ("store", store(lun)),
        (
            "size",
            format!(
                "{} ({} bytes)",
                bytes(lun, "/size_bytes"),
                text(lun, "/size_bytes")
            ),
        ),
        ("block size", text(lun, "/block_size")),
        ("read-only", on_off(lun, "/read_only").to_owned()),
        ("write cache", on_off(lun, "/write_cache").to_owned()),
        ("thin", on_off(lun, "/thin").to_owned()),
        ("naa", text(lun, "/naa")),
        ("serial", text(lun, "/serial")),
        ("direct I/O", direct(lun)),
        ("hosts", seen_by(lun)),
    ];
    if lun.get("text").is_some() {
        rows.insert(2, ("because", text(lun, "/text")));
        rows.insert(3, ("next", text(lun, "/fix")));
    }
    table::pairs(rows)
}

fn direct(lun: &Value) -> String {
    match lun.get("buffered_because") {
        Some(_) => format!("no: {}", text(lun, "/buffered_because")),
        None => text(lun, "/direct_io"),
    }
}
