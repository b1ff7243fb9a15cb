//! Secrets for the command line: from a file, from standard input, or typed without being shown. None is ever an
//! argument, since every user of a machine sees the arguments of every process.

use std::io::{BufRead, Read, stderr, stdin};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::identity::Secret;

use super::Failure;

/// No secret is longer, in bytes; what is left is said to be too long.
const LIMIT: usize = 4096;

/// Reads the secret of `user` from a file, or one line of standard input for `-`.
///
/// # Errors
/// The file cannot be read, or holds no secret; neither tells it.
pub(super) fn read(path: &Path, user: &str) -> Result<Secret, Failure> {
    let text = match path.to_str() {
        Some("-") => line(user),
        _ => file(path),
    };
    let text = text.map_err(|error| {
        Failure::Failed(
            format!("{}: {error}", path.display()),
            "give a file that holds the secret in one line, or - for standard input".to_owned(),
        )
    })?;
    Secret::new(&text).map_err(|error| {
        Failure::Usage(
            error.to_string(),
            "openssl rand -hex 16 > FILE makes a good one".to_owned(),
        )
    })
}

fn file(path: &Path) -> std::io::Result<Zeroizing<String>> {
    let mut text = room();
    std::fs::File::open(path)?
        .take(LIMIT as u64)
        .read_to_string(&mut text)?;
    Ok(text)
}

fn line(user: &str) -> std::io::Result<Zeroizing<String>> {
    let _quiet = Quiet::begin(user);
    let mut text = room();
    stdin().lock().take(LIMIT as u64).read_line(&mut text)?;
    Ok(text)
}

/// For all that is taken: a text that grew would leave its beginnings behind.
fn room() -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(LIMIT))
}

/// A terminal that does not show what is typed, until this is dropped.
struct Quiet(Termios);

impl Quiet {
    /// Asks and makes the terminal quiet; does nothing when standard input is none.
    fn begin(user: &str) -> Option<Self> {
        if !isatty(stdin()) {
            return None;
        }
        let before = tcgetattr(stdin()).ok()?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(stdin(), OptionalActions::Flush, &quiet).ok()?;
        if isatty(stderr()) {
            eprint!("secret of {user} (it is not shown): ");
        }
        Some(Self(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that went away shows nothing anyhow.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
        eprintln!();
    }
}
