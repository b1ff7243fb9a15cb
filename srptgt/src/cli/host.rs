//! `srptgt host`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::answer::MAX_BODY_BYTES;
use crate::config::{Name, Pkey, Require};
use crate::control::request::HostEdit;
use crate::identity::AddressRange;
use crate::portal::HcaPort;

use super::cell::{list, text};
use super::{Context, Failure, Outcome, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Add a host: the port GUIDs of one machine
    Add {
        /// Its name
        name: Name,
        #[command(flatten)]
        edit: Edit,
    },
    /// List hosts
    List,
    /// Show one host
    Show {
        /// Its name
        name: Name,
    },
    /// Change a host; sessions that it does not admit any more end
    Set {
        /// Its name
        name: Name,
        #[command(flatten)]
        edit: Edit,
        /// Take a port GUID away, in any form (repeatable)
        #[arg(long, value_name = "GUID")]
        remove_guid: Vec<String>,
    },
    /// Remove a host; its sessions end
    Remove {
        /// Its name
        name: Name,
        /// Unmap what it sees
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Add a port GUID: as ibstat prints it, or as sysfs, ESXi, targetcli or COMSTAR write it (repeatable)
    #[arg(long, value_name = "GUID")]
    guid: Vec<String>,
    /// Add the port GUIDs of `ibstat` output, from a file or - for standard input (repeatable)
    #[arg(long, value_name = "FILE")]
    ibstat: Vec<PathBuf>,
    /// Who must vouch for a GUID: any, or fabric (InfiniBand only)
    #[arg(long, value_name = "any|fabric")]
    require: Option<Require>,
    /// Admit it from these addresses only: 10.0.0.7 or 10.0.0.0/24 (repeatable; none lifts the limit)
    #[arg(long, value_name = "ADDRESS|none")]
    address: Vec<Limit<AddressRange>>,
    /// Admit it in these partitions only: 0x8001 (repeatable; none lifts the limit)
    #[arg(long, value_name = "P_KEY|none")]
    pkey: Vec<Limit<Pkey>>,
    /// Admit it by these ports of ours only: mlx4_0:1 (repeatable; none lifts the limit)
    #[arg(long, value_name = "DEVICE:PORT|none")]
    port: Vec<Limit<HcaPort>>,
}

/// One of a list of limits, or the word that empties the list.
#[derive(Clone, Debug)]
enum Limit<T> {
    None,
    To(T),
}

impl<T: std::str::FromStr> std::str::FromStr for Limit<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::To),
        }
    }
}

/// The new list, or `None` when it stays as it is.
fn limits<T>(given: Vec<Limit<T>>) -> Option<Vec<T>> {
    if given.is_empty() {
        return None;
    }
    let only = |limit| match limit {
        Limit::None => None,
        Limit::To(value) => Some(value),
    };
    Some(given.into_iter().filter_map(only).collect())
}

impl Edit {
    fn into_request(self, remove_guids: Vec<String>) -> Result<HostEdit, Failure> {
        let ibstat = self
            .ibstat
            .iter()
            .map(|path| read(path))
            .collect::<Result<_, _>>()?;
        Ok(HostEdit {
            guids: self.guid,
            ibstat,
            remove_guids,
            require: self.require,
            addresses: limits(self.address),
            pkeys: limits(self.pkey),
            ports: limits(self.port),
        })
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let failed = |error: std::io::Error| {
        Failure::Failed(
            format!("{}: {error}", path.display()),
            "give a file with the output of `ibstat`, or - for standard input".to_owned(),
        )
    };
    let mut text = String::new();
    let limit = MAX_BODY_BYTES as u64;
    let read = match path.to_str() {
        Some("-") => std::io::stdin()
            .lock()
            .take(limit)
            .read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    read.map(|_| text).map_err(failed)
}

impl Host {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let client = &context.client;
        match self {
            Self::Add { name, edit } => {
                let answer = client
                    .post(&path(&name), edit.into_request(Vec::new())?)
                    .await?;
                context.print_done(&answer, |host| {
                    format!("host {name} added: {}", guids(host))
                })
            }
            Self::List => context.print(&client.get("/v1/hosts").await?, hosts),
            Self::Show { name } => context.print(&client.get(&path(&name)).await?, host),
            Self::Set {
                name,
                edit,
                remove_guid,
            } => {
                let answer = client
                    .patch(&path(&name), edit.into_request(remove_guid)?)
                    .await?;
                context.print_done(&answer, |host| format!("host {name}: {}", guids(host)))
            }
            Self::Remove { name, force } => {
                let answer = client
                    .delete(&format!("{}?force={force}", path(&name)))
                    .await?;
                context.print_done(&answer, |_| format!("host {name} is removed"))
            }
        }
    }
}

fn path(name: &Name) -> String {
    format!("/v1/hosts/{name}")
}

pub(crate) fn guids(host: &Value) -> String {
    let guids: Vec<_> = list(host, "/guids")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if guids.is_empty() {
        "no port GUID".to_owned()
    } else {
        guids.join(", ")
    }
}

fn hosts(answer: &Value) -> String {
    table::list(
        list(answer, ""),
        &[
            ("NAME", &|host| text(host, "/name")),
            ("PORT GUIDS", &|host| text(host, "/guids")),
            ("VOUCHED BY", &|host| text(host, "/require")),
            ("LUNS", &seen),
        ],
        "no host yet: srptgt host add NAME --guid GUID",
    )
}

fn seen(host: &Value) -> String {
    let luns = list(host, "/luns").iter().map(|map| {
        let read_only = map
            .get("read_only")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let mode = if read_only { " read-only" } else { "" };
        format!("{} {}{mode}", text(map, "/number"), text(map, "/lun"))
    });
    let luns: Vec<_> = luns.collect();
    if luns.is_empty() {
        "-".to_owned()
    } else {
        luns.join("\n")
    }
}

fn host(host: &Value) -> String {
    table::pairs([
        ("name", text(host, "/name")),
        ("port GUIDs", text(host, "/guids")),
        ("vouched by", text(host, "/require")),
        ("addresses", text(host, "/addresses")),
        ("partitions", text(host, "/pkeys")),
        ("our ports", text(host, "/ports")),
        ("LUNs", seen(host)),
    ])
}
