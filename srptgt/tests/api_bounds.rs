//! What a hostile client can send to the API is bounded, and the API goes on.
#![allow(clippy::unwrap_used)] // What a test relies on may panic.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use srptgt::api::server::{BindError, Socket};
use support::Bed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

/// Sends the text and reads until the daemon ends the connection.
async fn exchange(bed: &Bed, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(bed.folder.path().join("api.sock"))
        .await
        .unwrap();
    // The daemon may end the connection before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

async fn still_answers(bed: &Bed) {
    bed.client.get("/v1/luns").await.unwrap();
}

#[tokio::test]
async fn a_huge_body_is_refused() {
    let bed = Bed::new().await;
    let head = "POST /v1/luns/a HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n";
    let request = [head.as_bytes(), &vec![b'x'; 4 << 20]].concat();
    let answer = exchange(&bed, &request).await;
    assert!(
        answer.starts_with("HTTP/1.1 400") || answer.is_empty(),
        "{answer}"
    );
    still_answers(&bed).await;
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let bed = Bed::new().await;
    let request = format!(
        "GET /v1/status HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let answer = exchange(&bed, request.as_bytes()).await;
    assert!(
        answer.starts_with("HTTP/1.1 431") || answer.is_empty(),
        "{answer}"
    );
    let many: String = (0..10_000)
        .map(|number| format!("X-{number}: y\r\n"))
        .collect();
    let answer = exchange(&bed, format!("GET / HTTP/1.1\r\n{many}\r\n").as_bytes()).await;
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    still_answers(&bed).await;
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let bed = Bed::new().await;
    for noise in [
        &b"\0\0\0\0\0\0\0\0\r\n\r\n"[..],
        b"hello\r\n\r\n",
        &[0xff; 70_000],
    ] {
        let answer = exchange(&bed, noise).await;
        assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    still_answers(&bed).await;
}

#[tokio::test(start_paused = true)]
async fn idle_clients_do_not_keep_others_out() {
    let bed = Bed::new().await;
    let path = bed.folder.path().join("api.sock");
    let mut idle = Vec::new();
    for _ in 0..80 {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream
            .write_all(b"POST /v1/luns/a HTTP/1.1\r\nHost: x\r\n")
            .await
            .unwrap();
        idle.push(stream);
    }
    // The clock of the test runs ahead by itself while everybody waits.
    tokio::time::timeout(Duration::from_secs(60), still_answers(&bed))
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_given_up() {
    let bed = Bed::new().await;
    let mut stream = UnixStream::connect(bed.folder.path().join("api.sock"))
        .await
        .unwrap();
    stream
        .write_all(b"POST /v1/luns/a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("within 10 s"), "{answer}");
}

#[tokio::test]
async fn deeply_nested_json_is_refused() {
    let bed = Bed::new().await;
    let body = "[".repeat(500_000);
    let request = format!(
        "POST /v1/luns/a HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(&bed, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    still_answers(&bed).await;
}

#[tokio::test]
async fn the_socket_is_for_owner_and_group_and_one_daemon() {
    let bed = Bed::new().await;
    let path = bed.folder.path().join("api.sock");
    assert_eq!(
        std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o660
    );
    assert!(matches!(Socket::bind(&path), Err(BindError::InUse(_))));
    still_answers(&bed).await;

    let file = bed.folder.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(Socket::bind(&file), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");

    let stale = bed.folder.path().join("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    let socket = Socket::bind(&stale).unwrap();
    drop(socket);
    assert!(!stale.exists(), "a socket goes with its daemon");
}
