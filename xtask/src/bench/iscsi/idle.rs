//! Sessions that do nothing.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::jobs::IDLE_SESSIONS;
use super::peers::{INITIATOR, Peer};

/// The program that holds them, until [`IdleSessions::end`].
pub(super) struct IdleSessions {
    child: Child,
}

impl IdleSessions {
    /// Logs all of them in.
    pub(super) fn log_in(program: &Path, peer: &dyn Peer) -> Result<Self> {
        let lun = peer.url();
        let mut child = Command::new(program)
            .args([&lun.portal, &lun.target, INITIATOR])
            .arg(IDLE_SESSIONS.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let mut told = String::new();
        let output = child.stdout.take().context("its output")?;
        BufReader::new(output).read_line(&mut told)?;
        let idle = Self { child };
        ensure!(
            told.trim() == IDLE_SESSIONS.to_string(),
            "{IDLE_SESSIONS} idle sessions were to log in; it said: {told}"
        );
        Ok(idle)
    }

    /// Ends them.
    pub(super) fn end(mut self) -> Result<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        ensure!(status.success(), "the idle sessions ended with {status}");
        Ok(())
    }
}

impl Drop for IdleSessions {
    fn drop(&mut self) {
        // It has ended, unless something failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
