//! `srptgt host`.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::Value;

use crate::api::answer::MAX_BODY_BYTES;
use crate::config::{Name, Pkey, Require};
use crate::control::request::{ChapEdit, HostEdit};
use crate::identity::AddressRange;
use crate::portal::HcaPort;

use super::cell::{list, text};
use super::{Context, Failure, Outcome, secret, table};

#[derive(Debug, Subcommand)]
pub(crate) enum Host {
    /// Add a host: the port GUIDs and iSCSI names of one machine
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
        /// Take an iSCSI name away (repeatable)
        #[arg(long, value_name = "IQN")]
        remove_iqn: Vec<String>,
        /// Admit it without CHAP
        #[arg(long)]
        no_chap: bool,
        /// Prove nothing to it
        #[arg(long)]
        no_mutual_chap: bool,
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
    /// Add an iSCSI name, for iSER and TCP: iqn.…, eui.… or naa.… (repeatable)
    #[arg(long, value_name = "IQN")]
    iqn: Vec<String>,
    #[command(flatten)]
    chap: Chap,
    /// Who must vouch for it: any, or fabric (InfiniBand only)
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

#[derive(Debug, Args)]
pub(crate) struct Chap {
    /// Admit its iSCSI logins by CHAP only: the user that the initiator logs in as
    #[arg(long, value_name = "USER")]
    chap_user: Option<String>,
    /// File with the user's secret of 12 to 64 bytes, or - for standard input (typed at a terminal it is not shown)
    #[arg(long, value_name = "FILE")]
    chap_secret_file: Option<PathBuf>,
    /// Mutual CHAP: the user that the target answers as
    #[arg(long, value_name = "USER")]
    mutual_chap_user: Option<String>,
    /// File with that user's secret, another than the first, or - for standard input
    #[arg(long, value_name = "FILE")]
    mutual_chap_secret_file: Option<PathBuf>,
}

/// A CHAP account as it was given, or `None` when nothing of it was.
fn chap(user: Option<String>, file: Option<PathBuf>) -> Result<Option<ChapEdit>, Failure> {
    let shown = user.as_deref().unwrap_or("the CHAP user");
    let secret = file.map(|file| secret::read(&file, shown)).transpose()?;
    let given = user.is_some() || secret.is_some();
    Ok(given.then_some(ChapEdit { user, secret }))
}

/// What `set` takes away.
#[derive(Debug, Default)]
struct Taken {
    guids: Vec<String>,
    iqns: Vec<String>,
    chap: bool,
    mutual_chap: bool,
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
    fn into_request(self, taken: Taken) -> Result<HostEdit, Failure> {
        let ibstat = self
            .ibstat
            .iter()
            .map(|path| read(path))
            .collect::<Result<_, _>>()?;
        Ok(HostEdit {
            guids: self.guid,
            ibstat,
            remove_guids: taken.guids,
            iqns: self.iqn,
            remove_iqns: taken.iqns,
            chap: chap(self.chap.chap_user, self.chap.chap_secret_file)?,
            mutual_chap: chap(
                self.chap.mutual_chap_user,
                self.chap.mutual_chap_secret_file,
            )?,
            no_chap: taken.chap,
            no_mutual_chap: taken.mutual_chap,
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
                    .post(&path(&name), edit.into_request(Taken::default())?)
                    .await?;
                context.print_done(&answer, |host| {
                    format!("host {name} added: {}", identities(host))
                })
            }
            Self::List => context.print(&client.get("/v1/hosts").await?, hosts),
            Self::Show { name } => context.print(&client.get(&path(&name)).await?, host),
            Self::Set {
                name,
                edit,
                remove_guid,
                remove_iqn,
                no_chap,
                no_mutual_chap,
            } => {
                let taken = Taken {
                    guids: remove_guid,
                    iqns: remove_iqn,
                    chap: no_chap,
                    mutual_chap: no_mutual_chap,
                };
                let answer = client
                    .patch(&path(&name), edit.into_request(taken)?)
                    .await?;
                context.print_done(&answer, |host| format!("host {name}: {}", identities(host)))
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

/// All identities of a host, in one line.
pub(crate) fn identities(host: &Value) -> String {
    match listed(host) {
        none if none.is_empty() => "no port GUID, no iSCSI name".to_owned(),
        listed => listed.join(", "),
    }
}

fn listed(host: &Value) -> Vec<&str> {
    let both = ["/guids", "/iqns"].map(|pointer| list(host, pointer));
    let both = both.into_iter().flatten();
    both.filter_map(Value::as_str).collect()
}

fn hosts(answer: &Value) -> String {
    table::list(
        list(answer, ""),
        &[
            ("NAME", &|host| text(host, "/name")),
            ("IDENTITIES", &|host| match listed(host) {
                none if none.is_empty() => "-".to_owned(),
                listed => listed.join("\n"),
            }),
            ("VOUCHED BY", &|host| text(host, "/require")),
            ("CHAP", &chap_of),
            ("LUNS", &seen),
        ],
        "no host yet: srptgt host add NAME --guid GUID, or --iqn IQN",
    )
}

fn chap_of(host: &Value) -> String {
    let has = |pointer: &str| host.pointer(pointer).is_some_and(Value::is_object);
    match (has("/chap"), has("/mutual_chap")) {
        (_, true) => "mutual".to_owned(),
        (true, _) => "set".to_owned(),
        _ => "-".to_owned(),
    }
}

fn account(host: &Value, pointer: &str) -> String {
    match host.pointer(pointer).filter(|account| account.is_object()) {
        Some(account) => format!(
            "user {}, secret {}",
            text(account, "/user"),
            text(account, "/secret")
        ),
        None => "-".to_owned(),
    }
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
        ("iSCSI names", text(host, "/iqns")),
        ("CHAP", account(host, "/chap")),
        ("mutual CHAP", account(host, "/mutual_chap")),
        ("vouched by", text(host, "/require")),
        ("addresses", text(host, "/addresses")),
        ("partitions", text(host, "/pkeys")),
        ("our ports", text(host, "/ports")),
        ("LUNs", seen(host)),
    ])
}
