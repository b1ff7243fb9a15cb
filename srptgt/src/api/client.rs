//! The command line's end of the API: one request, one connection.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon at the socket.
    #[error("no daemon answers at {path}: {source}")]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What came.
        source: io::Error,
    },
    /// The daemon went away in the middle.
    #[error("the daemon ended the connection without an answer: {0}")]
    Broken(String),
    /// The daemon refused, in its own words.
    #[error("{text}")]
    Refused {
        /// Whether the request itself was wrong.
        wrong_usage: bool,
        /// Why.
        text: String,
        /// What to do next.
        fix: String,
    },
}

impl From<hyper::Error> for ClientError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A daemon's API.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The API at a socket; nothing is opened yet.
    pub fn new(socket: &Path) -> Self {
        Self {
            socket: socket.to_owned(),
        }
    }

    /// `GET`, as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::GET, path, None).await
    }

    /// `GET`, as text.
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let bytes = self.exchange(Method::GET, path, None).await?;
        String::from_utf8(bytes.into()).map_err(|error| ClientError::Broken(error.to_string()))
    }

    /// `POST` with a body.
    pub async fn post(
        &self,
        path: &str,
        body: impl serde::Serialize,
    ) -> Result<Value, ClientError> {
        self.json(Method::POST, path, Some(to_value(body)?)).await
    }

    /// `PATCH` with a body.
    pub async fn patch(
        &self,
        path: &str,
        body: impl serde::Serialize,
    ) -> Result<Value, ClientError> {
        self.json(Method::PATCH, path, Some(to_value(body)?)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.json(Method::DELETE, path, None).await
    }

    async fn json(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value, ClientError> {
        let bytes = self.exchange(method, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| ClientError::Broken(error.to_string()))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Bytes, ClientError> {
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Unreachable {
                    path: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let body = body.map_or_else(String::new, |body| body.to_string());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "srptgt")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| ClientError::Broken(error.to_string()))?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status();
            Ok::<_, hyper::Error>((status, answer.into_body().collect().await?.to_bytes()))
        };
        let (answer, _) = tokio::join!(exchange, connection);
        let (status, bytes) = answer?;
        if status.is_success() {
            Ok(bytes)
        } else {
            Err(refusal(status, &bytes))
        }
    }
}

fn to_value(body: impl serde::Serialize) -> Result<Value, ClientError> {
    serde_json::to_value(body).map_err(|error| ClientError::Broken(error.to_string()))
}

fn refusal(status: StatusCode, bytes: &[u8]) -> ClientError {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let member = |name: &str| {
        body.pointer(&format!("/error/{name}"))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    match member("text") {
        "" => ClientError::Broken(format!("it answered {status}")),
        text => ClientError::Refused {
            wrong_usage: status == StatusCode::BAD_REQUEST,
            text: text.to_owned(),
            fix: member("fix").to_owned(),
        },
    }
}
