//! The socket and its connections. What a client sends is bounded in size, number and time.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::control::Control;

use super::routes;

/// Connections at a time; the next one waits.
const MAX_CONNECTIONS: usize = 64;
/// Longest request head.
const MAX_HEAD_BYTES: usize = 16 << 10;
/// How long a request head may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The owner and the group of the socket may use it.
const SOCKET_MODE: u32 = 0o660;
/// How long a failing accept is left alone (it fails when descriptors run out).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// A daemon answers there.
    #[error("another srptgt daemon answers at {0}; stop it, or give this one another --api SOCKET")]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{0} exists and is no socket; remove it, or give another --api SOCKET")]
    NotASocket(PathBuf),
    /// The kernel said no.
    #[error("the API socket {path} cannot be made: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What came.
        source: io::Error,
    },
}

/// A socket that is removed when it goes out of use.
#[derive(Debug)]
pub struct Socket {
    listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Listens at `path`. A socket that a dead daemon left behind is replaced.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let io = |source| BindError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(io)?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(io)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self, control: Arc<Control>) {
        let router = routes::router(control);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let connection = connection(stream, router.clone());
                    tokio::spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!("the API socket takes no connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// One request and its answer.
async fn connection(stream: UnixStream, router: axum::Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::debug!("an API connection ended early: {error}");
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let io = |source| BindError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match BlockingStream::connect(path) {
        Ok(_) => Err(BindError::InUse(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}
