//! The configuration on disk: read whole, written so that a crash leaves the old or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{Config, Document, Secrets, TargetIdentity, parse};

/// Larger files are not ours.
const MAX_BYTES: u64 = 16 << 20;

/// What a file with secrets must not allow: that others than its owner and its group read or write it.
const OTHERS: u32 = 0o006;

const HEADER: &str = "\
# The configuration of srptgt. The daemon writes this file at every change: comments are not kept.
# Edit it, then send the daemon SIGHUP; a file with a mistake is refused whole and changes nothing.

";

/// Why a configuration could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The text is no configuration.
    #[error("{path}, line {line}: {text}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What was expected and what came.
        text: String,
    },
    /// The kernel said no.
    #[error("{path}: {doing} failed: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What came.
        source: io::Error,
    },
    /// The file is far larger than any configuration.
    #[error("{path}: expected a configuration of at most {MAX_BYTES} bytes, came a larger file")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Everybody may read the secrets in the file.
    #[error(
        "{path} has CHAP secrets and its mode {mode:04o} lets every user of this machine read or change them; \
         chmod 600 {path}, and give the hosts new secrets if somebody may have read them"
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The configuration has no text.
    #[error("the configuration cannot be written as TOML: {0}")]
    Text(#[from] toml::ser::Error),
    /// No random bytes for a new identity.
    #[error("no identity for the target could be made: {0}")]
    Random(#[from] getrandom::Error),
}

/// The place of a configuration.
#[derive(Clone, Debug)]
pub struct ConfigFile {
    path: PathBuf,
}

impl ConfigFile {
    /// A file at `path`, there or not. A symbolic link is followed once, here, so that writing replaces what it
    /// points to and not the link.
    pub fn new(path: &Path) -> Self {
        Self {
            path: fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()),
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it. A file that is not there is a configuration that serves nothing, with a new identity. The second
    /// value is false when identities were made, so that the file should be written.
    ///
    /// # Errors
    /// [`ConfigFileError`].
    pub fn load(&self) -> Result<(Config, bool), ConfigFileError> {
        let Some((text, mode)) = self.read()? else {
            return Ok((Config::new(TargetIdentity::random()?), false));
        };
        let loaded = parse::parse(&text).map_err(|refusal| ConfigFileError::Refused {
            path: self.path.clone(),
            line: refusal.line,
            text: refusal.text,
        })?;
        // Who put secrets where everybody reads them has to hear of it, not only the log: they are spent.
        if loaded.0.has_secrets() && mode & OTHERS != 0 {
            return Err(ConfigFileError::Exposed {
                path: self.path.clone(),
                mode: mode & 0o777,
            });
        }
        Ok(loaded)
    }

    fn read(&self) -> Result<Option<(Zeroizing<String>, u32)>, ConfigFileError> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io("opening it", error)),
        };
        let metadata = file.metadata();
        let metadata = metadata.map_err(|error| self.io("reading its mode", error))?;
        // It may have secrets, and a text that grew would leave its beginnings behind.
        let room = metadata.len().min(MAX_BYTES).saturating_add(1);
        let mut text = Zeroizing::new(String::with_capacity(usize::try_from(room).unwrap_or(0)));
        let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
        read.map_err(|error| self.io("reading it", error))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(ConfigFileError::TooLarge {
                path: self.path.clone(),
            });
        }
        Ok(Some((text, metadata.permissions().mode())))
    }

    /// Writes it: a new file beside it, synced, takes its place, and the folder is synced. What an interrupted
    /// writing leaves behind is never read and is overwritten by the next.
    ///
    /// # Errors
    /// [`ConfigFileError`]; the old file is there then, unless syncing the folder failed.
    pub fn save(&self, config: &Config) -> Result<(), ConfigFileError> {
        let folder = match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder).map_err(|error| self.io("making its folder", error))?;
        let new = self.new_path();
        let text = Zeroizing::new(to_toml(config, Secrets::Included)?);
        self.write_new(&new, &text)
            .map_err(|error| self.io("writing the new file beside it", error))?;
        fs::rename(&new, &self.path)
            .map_err(|error| self.io("putting the new file in its place", error))?;
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|error| self.io("syncing its folder", error))
    }

    fn write_new(&self, new: &Path, text: &str) -> io::Result<()> {
        // A leftover may have another owner's mode: begin afresh.
        match fs::remove_file(new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }

    fn new_path(&self) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        self.path.with_file_name(name)
    }

    fn io(&self, doing: &'static str, source: io::Error) -> ConfigFileError {
        ConfigFileError::Io {
            path: self.path.clone(),
            doing,
            source,
        }
    }
}

/// The file's text for a configuration.
///
/// # Errors
/// A path that is not UTF-8, which no configuration from a file or from the API has.
pub fn to_toml(config: &Config, secrets: Secrets) -> Result<String, toml::ser::Error> {
    let body = Zeroizing::new(toml::to_string(&Document::of(config, secrets))?);
    Ok(format!("{HEADER}{}", *body))
}
