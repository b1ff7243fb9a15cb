//! Debian packages fetched with an apt of their own: the machine's configuration, lists and packages stay as they
//! are. Lists and downloads live in the folder that the caller names.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::repository::{output_of, run};

const HOST: &str = "http://deb.debian.org";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A suite of Debian's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    archive: &'static str,
    name: &'static str,
}

impl Suite {
    /// A suite of the main archive, such as `bookworm`.
    pub(crate) const fn main(name: &'static str) -> Self {
        Self {
            archive: "debian",
            name,
        }
    }

    /// A suite of the security archive, such as `bookworm-security`.
    pub(crate) const fn security(name: &'static str) -> Self {
        Self {
            archive: "debian-security",
            name,
        }
    }

    /// `SRPTGT_DEBIAN_MIRROR` names another place for the main archive, `SRPTGT_DEBIAN_SECURITY_MIRROR` for the
    /// security archive.
    fn source(self) -> String {
        let variable = match self.archive {
            "debian" => "SRPTGT_DEBIAN_MIRROR",
            _ => "SRPTGT_DEBIAN_SECURITY_MIRROR",
        };
        let mirror = env::var(variable).unwrap_or_else(|_| format!("{HOST}/{}", self.archive));
        format!("deb [signed-by={KEYRING}] {mirror} {} main\n", self.name)
    }
}
