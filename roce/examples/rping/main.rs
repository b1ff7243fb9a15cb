//! The protocol of rdmacm-utils' `rping` over a UDP socket: the proof that this crate and a kernel understand each
//! other, in both roles.
//!
//! ```text
//! rping server ADDRESS[:PORT] [MTU]                against  rping -c -a ADDRESS -p PORT -C 10 -V -S 60000
//! rping client LOCAL REMOTE:PORT COUNT SIZE [MTU]  against  rping -s -a REMOTE -p PORT
//! ```
//!
//! One round: the client announces a source buffer by SEND, the server fetches it by RDMA READ and answers by SEND;
//! the client announces a sink, the server fills it by RDMA WRITE and answers; the client compares.

mod driver;

use std::error::Error;
use std::net::{IpAddr, SocketAddr};

use driver::{DATA, Driver, RECV, SEND, SINK};
use roce::cm::{Accept, Connect, Event, tcp_service_id};
use roce::packet::UDP_PORT;
use roce::qp::{Path, PathMtu};
use roce::{Completion, CompletionKind, Key, Operation, QueuePairNumber, Remote, Status};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Bytes of an announcement: address, key, length.
const ANNOUNCEMENT: u32 = 16;

/// Port of rping.
const DEFAULT_PORT: u16 = 7174;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["server", address] => serve(address, "4096"),
        ["server", address, mtu] => serve(address, mtu),
        ["client", local, remote, count, size] => connect(local, remote, count, size, "4096"),
        ["client", local, remote, count, size, mtu] => connect(local, remote, count, size, mtu),
        _ => Err("usage: rping server ADDRESS[:PORT] [MTU] | \
                  rping client LOCAL REMOTE:PORT COUNT SIZE [MTU]"
            .into()),
    }
}

fn path_mtu(text: &str) -> Outcome<PathMtu> {
    let bytes: u32 = text.parse()?;
    Ok(PathMtu::for_interface(bytes + 80))
}

fn serve(address: &str, mtu: &str) -> Outcome<()> {
    let address: SocketAddr = match address.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, DEFAULT_PORT),
        Err(_) => address.parse()?,
    };
    let mut driver = Driver::bind(address.ip(), path_mtu(mtu)?)?;
    driver.node.listen(tcp_service_id(address.port()));
    println!("listening on {address}");
    loop {
        match driver.wait_event()? {
            Event::ConnectRequest(request) => {
                println!("request from {:?}", request.rdma_cm);
                let qp = driver.queue_pair()?;
                driver.post_recv(qp)?;
                let accept = Accept {
                    responder_resources: 16,
                    initiator_depth: 16,
                    private_data: b"",
                };
                let now_us = driver.now_us();
                driver
                    .node
                    .accept(request.connection, qp, &accept, now_us)?;
            }
            Event::Connected { qp, .. } => {
                println!("connected");
                let rounds = serve_rounds(&mut driver, qp)?;
                println!("disconnected after {rounds} rounds");
                driver.linger(300_000)?;
                println!("{:?}", driver.node.statistics());
                return Ok(());
            }
            other => println!("{other:?}"),
        }
    }
}

/// Serves until the client goes.
fn serve_rounds(driver: &mut Driver, qp: QueuePairNumber) -> Outcome<u32> {
    let mut messages = 0;
    loop {
        let message = driver.wait_completion()?;
        match (message.kind, message.status) {
            (_, Status::Flushed) => return Ok(messages / 2),
            // The acknowledge of an answer may come after the next question.
            (CompletionKind::Send, Status::Success) => continue,
            _ => expect(&message, CompletionKind::Recv)?,
        }
        let (remote, length) = announcement(driver);
        driver.post_recv(qp)?;
        let (kind, operation) = match messages % 2 {
            0 => (CompletionKind::Read, Operation::Read(remote)),
            _ => (CompletionKind::Write, Operation::Write(remote)),
        };
        driver.post_send(qp, operation, DATA, length)?;
        wait_for(driver, kind)?;
        driver.post_send(qp, Operation::Send, SEND, ANNOUNCEMENT)?;
        messages += 1;
    }
}

fn expect(completion: &Completion, kind: CompletionKind) -> Outcome<()> {
    if (completion.kind, completion.status) == (kind, Status::Success) {
        return Ok(());
    }
    Err(format!("expected a successful {kind:?}, got {completion:?}").into())
}

/// Waits for a success of this kind; successes of other kinds may come before.
fn wait_for(driver: &mut Driver, kind: CompletionKind) -> Outcome<()> {
    loop {
        let completion = driver.wait_completion()?;
        if completion.status != Status::Success || completion.kind == kind {
            return expect(&completion, kind);
        }
    }
}

fn announcement(driver: &Driver) -> (Remote, u32) {
    let bytes = &driver.memory[0][RECV..RECV + ANNOUNCEMENT as usize];
    let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    let address = u64::from(word(0)) << 32 | u64::from(word(4));
    let remote = Remote {
        address,
        key: Key(word(8)),
    };
    (remote, word(12))
}

fn connect(local: &str, remote: &str, count: &str, size: &str, mtu: &str) -> Outcome<()> {
    let (count, size): (u32, u32) = (count.parse()?, size.parse()?);
    let remote: SocketAddr = remote.parse()?;
    let mut driver = Driver::bind(local.parse()?, path_mtu(mtu)?)?;
    let qp = driver.queue_pair()?;
    driver.post_recv(qp)?;
    let connect = Connect {
        path: Path {
            local: driver.local,
            remote: SocketAddr::new(remote.ip(), UDP_PORT),
        },
        service_id: tcp_service_id(remote.port()),
        rdma_cm_port: Some(40_000),
        path_mtu: path_mtu(mtu)?,
        responder_resources: 16,
        initiator_depth: 16,
        private_data: b"",
    };
    let now_us = driver.now_us();
    let connection = driver.node.connect(qp, &connect, now_us)?;
    match driver.wait_event()? {
        Event::Connected { .. } => println!("connected"),
        other => return Err(format!("not connected: {other:?}").into()),
    }
    for round in 0..count {
        exchange(&mut driver, qp, round, size)?;
    }
    println!("{count} rounds of {size} bytes verified");
    let now_us = driver.now_us();
    driver.node.disconnect(connection, now_us)?;
    println!("{:?}", driver.wait_event()?);
    driver.linger(300_000)?;
    println!("{:?}", driver.node.statistics());
    Ok(())
}

/// One round of the client.
fn exchange(driver: &mut Driver, qp: QueuePairNumber, round: u32, size: u32) -> Outcome<()> {
    // The server writes back what it takes for a string: no zeros but the last.
    let text = |i: u32| u8::try_from(1 + (i.wrapping_mul(31) + round) % 255).unwrap_or(1);
    let data: Vec<u8> = (1..size).map(text).chain([0]).collect();
    driver.memory[0][DATA..DATA + data.len()].copy_from_slice(&data);
    driver.memory[0][SINK..SINK + data.len()].fill(0);
    for at in [DATA, SINK] {
        announce(driver, qp, at, size)?;
    }
    let back = &driver.memory[0][SINK..SINK + data.len()];
    match data.iter().zip(back).position(|(sent, came)| sent != came) {
        Some(at) => Err(format!("round {round}: byte {at} came back changed").into()),
        None => Ok(()),
    }
}

fn announce(driver: &mut Driver, qp: QueuePairNumber, at: usize, size: u32) -> Outcome<()> {
    let mut bytes = driver.address(at).to_be_bytes().to_vec();
    bytes.extend(driver.key.0.to_be_bytes());
    bytes.extend(size.to_be_bytes());
    driver.memory[0][SEND..SEND + bytes.len()].copy_from_slice(&bytes);
    driver.post_send(qp, Operation::Send, SEND, ANNOUNCEMENT)?;
    for _ in 0..2 {
        let completion = driver.wait_completion()?;
        let kind = completion.kind;
        if completion.status != Status::Success {
            return Err(format!("{completion:?}").into());
        }
        if kind == CompletionKind::Recv {
            driver.post_recv(qp)?;
        }
    }
    Ok(())
}
