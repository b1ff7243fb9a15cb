//! `srptgt rxe`.

use clap::Subcommand;

use crate::rxe::{Machine, RxeError};

use super::{Failure, Outcome, say};

#[derive(Debug, Subcommand)]
pub(crate) enum Rxe {
    /// Make a soft-RoCE device on a network interface (needs root)
    Up {
        /// The network interface
        netdev: String,
    },
    /// Remove the soft-RoCE device of a network interface (needs root)
    Down {
        /// The network interface
        netdev: String,
    },
}

impl From<RxeError> for Failure {
    fn from(error: RxeError) -> Self {
        Self::Failed(error.to_string(), String::new())
    }
}

impl Rxe {
    pub(crate) fn run(self) -> Outcome {
        let machine = Machine::this();
        match self {
            Self::Up { netdev } => {
                let made = machine.up(&netdev)?;
                let guid = made
                    .guid
                    .map_or_else(String::new, |guid| format!(", port GUID {guid}"));
                let text = format!(
                    "{} is up{guid}; to listen on it: srptgt portal add srp ADDRESS:5555, with an address of {netdev}\n",
                    made.device
                );
                say(&made
                    .warnings
                    .iter()
                    .fold(text, |text, warning| format!("{text}warning: {warning}\n")))
            }
            Self::Down { netdev } => say(&format!("{} is removed\n", machine.down(&netdev)?)),
        }
    }
}
