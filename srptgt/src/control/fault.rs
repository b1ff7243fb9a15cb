//! Why a request to the control plane was refused or failed: the one error of the API. Pure.

use std::fmt;

use serde::Serialize;

use crate::config::Conflict;
use crate::config::file::ConfigFileError;
use crate::config::scalar::ScalarError;
use crate::worker_link::{WorkerError, WorkerGone};

/// Whose turn it is after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request itself is wrong.
    Invalid,
    /// It names what does not exist.
    NotFound,
    /// It contradicts what exists.
    Conflict,
    /// It was tried and did not work; nothing has changed.
    Failed,
    /// The daemon cannot do anything at all.
    Unavailable,
}

/// A fault: what was expected and what came, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Whose turn it is.
    pub kind: FaultKind,
    /// One sentence without a full stop.
    pub text: String,
    /// What to type or check next; empty when the text says it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fix: String,
}

impl Fault {
    /// The request itself is wrong.
    pub fn invalid(text: impl ToString) -> Self {
        Self::new(FaultKind::Invalid, text)
    }

    /// It names what does not exist.
    pub fn not_found(text: impl ToString) -> Self {
        Self::new(FaultKind::NotFound, text)
    }

    /// It contradicts what exists.
    pub fn conflict(text: impl ToString) -> Self {
        Self::new(FaultKind::Conflict, text)
    }

    /// It was tried and did not work.
    pub fn failed(text: impl ToString) -> Self {
        Self::new(FaultKind::Failed, text)
    }

    /// With what to do next.
    pub fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    fn new(kind: FaultKind, text: impl ToString) -> Self {
        Self {
            kind,
            text: text.to_string(),
            fix: String::new(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.fix.is_empty() {
            write!(f, "; {}", self.fix)?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}

impl From<Conflict> for Fault {
    fn from(conflict: Conflict) -> Self {
        Self::conflict(conflict.text)
    }
}

impl From<ScalarError> for Fault {
    fn from(error: ScalarError) -> Self {
        Self::invalid(error)
    }
}

impl From<ConfigFileError> for Fault {
    fn from(error: ConfigFileError) -> Self {
        Self::failed(error)
    }
}

impl From<WorkerError> for Fault {
    fn from(error: WorkerError) -> Self {
        Self::failed(error.text).fix(error.fix)
    }
}

impl From<WorkerGone> for Fault {
    fn from(gone: WorkerGone) -> Self {
        Self::new(FaultKind::Unavailable, gone)
    }
}

/// A task of the control plane ended without a result.
pub(crate) fn task_died(error: tokio::task::JoinError) -> Fault {
    Fault::new(
        FaultKind::Unavailable,
        format!("a task of the daemon ended without result: {error}"),
    )
    .fix("see the daemon's log")
}
