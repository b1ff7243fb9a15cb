//! What a terminal shows while something takes its time: on standard error, and only when that is one.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::Failure;

/// Says what goes on, until it is finished or dropped.
pub(crate) fn spinner(what: &str) -> Result<ProgressBar, Failure> {
    let style = ProgressStyle::with_template("  {msg} {spinner}").map_err(anyhow::Error::from)?;
    let spinner = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(what.to_owned());
    spinner.enable_steady_tick(Duration::from_millis(100));
    Ok(spinner)
}
