//! Where configuration, state and API socket are when nobody says so.
//!
//! For root the folders of the system; for others the XDG base folders.

use std::env;
use std::path::PathBuf;

/// The environment variable that names the API socket for the command line.
pub const API_VARIABLE: &str = "SRPTGT_API";

/// The three places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The configuration file.
    pub config: PathBuf,
    /// The state folder.
    pub state: PathBuf,
    /// The API socket.
    pub api: PathBuf,
}

impl Paths {
    /// The places for the user of this process.
    pub fn of_this_user() -> Self {
        if rustix::process::geteuid().is_root() {
            Self::of_the_system()
        } else {
            Self::of_a_user(|name| env::var_os(name).map(PathBuf::from))
        }
    }

    fn of_the_system() -> Self {
        Self {
            config: "/etc/srptgt/srptgt.toml".into(),
            state: "/var/lib/srptgt".into(),
            api: "/run/srptgt/api.sock".into(),
        }
    }

    fn of_a_user(variable: impl Fn(&str) -> Option<PathBuf>) -> Self {
        // The XDG specification: a folder that is not absolute counts as not set.
        let folder = |name: &str| variable(name).filter(|path| path.is_absolute());
        let home = folder("HOME").unwrap_or_else(|| "/".into());
        let config = folder("XDG_CONFIG_HOME").unwrap_or_else(|| home.join(".config"));
        let state = folder("XDG_STATE_HOME").unwrap_or_else(|| home.join(".local/state"));
        // Never a folder that others can make first.
        let runtime = folder("XDG_RUNTIME_DIR").unwrap_or_else(|| state.clone());
        Self {
            config: config.join("srptgt/srptgt.toml"),
            state: state.join("srptgt"),
            api: runtime.join("srptgt/api.sock"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn xdg_folders_and_what_stands_in_for_them() {
        let paths = Paths::of_a_user(|name| match name {
            "HOME" => Some("/home/ann".into()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1000".into()),
            "XDG_STATE_HOME" => Some("relative".into()),
            _ => None,
        });
        assert_eq!(
            paths.config,
            PathBuf::from("/home/ann/.config/srptgt/srptgt.toml")
        );
        assert_eq!(paths.state, PathBuf::from("/home/ann/.local/state/srptgt"));
        assert_eq!(paths.api, PathBuf::from("/run/user/1000/srptgt/api.sock"));
        assert_eq!(
            Paths::of_a_user(|_| None).api,
            PathBuf::from("/.local/state/srptgt/api.sock")
        );
    }
}
