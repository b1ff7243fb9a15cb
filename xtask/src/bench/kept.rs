//! Results that are kept in the repository, as JSON.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::figures;
use crate::repository;

/// Results of which the last ones are kept.
pub(super) trait Kept: Serialize + DeserializeOwned {
    /// Where, below the repository.
    const FILE: &'static str;

    /// The results that are kept, if there are any.
    fn kept() -> Result<Option<Self>> {
        read(&repository::root().join(Self::FILE))
    }

    /// Keeps these results.
    fn keep(&self) -> Result<()> {
        write(self, &repository::root().join(Self::FILE))
    }
}

/// The results in `file`, if there are any.
pub(super) fn read<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    let Some(text) = figures::text(file)? else {
        return Ok(None);
    };
    let read = serde_json::from_str(&text);
    read.with_context(|| format!("reading {}", file.display()))
}

/// Keeps the results as `file`.
pub(super) fn write<T: Serialize>(results: &T, file: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(results)?;
    fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))
}
