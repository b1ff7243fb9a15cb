//! Requests in and answers out: JSON bodies, and one form of error for everything that goes wrong.

use std::str::FromStr;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use zeroize::Zeroize;

use crate::control::{Fault, FaultKind};

/// Longest body; whole `ibstat` outputs of many hosts fit.
pub const MAX_BODY_BYTES: usize = 1 << 20;

/// How long a body may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = match self.kind {
            FaultKind::Invalid => StatusCode::BAD_REQUEST,
            FaultKind::NotFound => StatusCode::NOT_FOUND,
            FaultKind::Conflict => StatusCode::CONFLICT,
            FaultKind::Failed => StatusCode::UNPROCESSABLE_ENTITY,
            FaultKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        (status, Json(json!({ "error": self }))).into_response()
    }
}

/// An answer of the API.
pub type Answer<T> = Result<Json<T>, Fault>;

/// An answer with nothing to tell.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Done {}

/// Done, or why not.
pub fn done(result: Result<(), Fault>) -> Answer<Done> {
    result.map(|()| Json(Done {}))
}

/// Reads a body, whatever its Content-Type says; none at all is an empty object.
pub async fn body<T: DeserializeOwned>(body: Body) -> Result<T, Fault> {
    let read = tokio::time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES));
    let bytes = read
        .await
        .map_err(|_| {
            Fault::invalid(format!(
                "expected the whole body within {} s",
                BODY_TIMEOUT.as_secs()
            ))
        })?
        .map_err(|error| {
            Fault::invalid(format!(
                "expected a body of at most {MAX_BODY_BYTES} bytes: {error}"
            ))
        })?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let parsed = serde_json::from_slice(text);
    // Secrets come this way.
    if let Ok(mut bytes) = bytes.try_into_mut() {
        bytes.as_mut().zeroize();
    }
    parsed.map_err(|error| Fault::invalid(format!("the body: {error}")))
}

/// Reads a part of the path or query.
pub fn parameter<T: FromStr>(text: &str) -> Result<T, Fault>
where
    T::Err: ToString,
{
    text.parse().map_err(|error: T::Err| Fault::invalid(error))
}

/// What a path that is no route gets.
pub async fn no_route(method: Method, uri: Uri) -> Fault {
    let path: String = uri.path().chars().take(200).collect();
    Fault::not_found(format!("there is no {method} {path}"))
        .fix("docs/api.md lists the routes; they begin with /v1/")
}
