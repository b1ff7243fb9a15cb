//! What is counted: kinds of commands, 4 KiB each, over each transport.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result};

/// Bytes of data of one command.
pub(crate) const DATA_BYTES: u32 = 4096;

const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
const BLOCKS: u8 = 8;
const LBA: u8 = 64;

/// What carries the commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// SRP.
    Srp,
    /// iSCSI over RDMA.
    Iser,
    /// iSCSI over TCP.
    Tcp,
}

/// One kind of command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// READ(16).
    Read,
    /// WRITE(16) whose data come with the command.
    WriteImmediate,
    /// WRITE(16) whose data are fetched, or asked for.
    WritePulled,
}

/// The same command again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// Over what.
    pub transport: Transport,
    /// Which one.
    pub kind: Kind,
}

impl Transport {
    /// Every transport, and what the command line calls it.
    pub const ALL: [(&'static str, Self); 3] =
        [("srp", Self::Srp), ("iser", Self::Iser), ("tcp", Self::Tcp)];
}

impl Kind {
    /// Every kind, and what the command line calls it.
    pub const ALL: [(&'static str, Self); 3] = [
        ("read", Self::Read),
        ("write-immediate", Self::WriteImmediate),
        ("write-pulled", Self::WritePulled),
    ];

    pub(crate) fn cdb(self) -> [u8; 16] {
        let opcode = match self {
            Self::Read => READ_16,
            Self::WriteImmediate | Self::WritePulled => WRITE_16,
        };
        [opcode, 0, 0, 0, 0, 0, 0, 0, 0, LBA, 0, 0, 0, BLOCKS, 0, 0]
    }
}

impl Job {
    /// Every job.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |transport| Kind::ALL.map(|(_, kind)| Self { transport, kind });
        Transport::ALL
            .into_iter()
            .flat_map(move |(_, transport)| of(transport))
    }
}

/// What the command line calls it, such as `tcp-read`.
impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = Transport::ALL
            .iter()
            .find(|(_, one)| *one == self.transport);
        let kind = Kind::ALL.iter().find(|(_, one)| *one == self.kind);
        let (Some((transport, _)), Some((kind, _))) = (transport, kind) else {
            return Err(fmt::Error);
        };
        write!(f, "{transport}-{kind}")
    }
}

impl FromStr for Job {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::all().find(|job| job.to_string() == text);
        found.with_context(|| {
            let names: Vec<String> = Self::all().map(|job| job.to_string()).collect();
            format!("'{text}' is no job; accepted: {}", names.join(", "))
        })
    }
}
