//! `idle_sessions ADDRESS TARGET INITIATOR COUNT`: iSCSI sessions over TCP that do nothing, until standard input ends.
//!
//! The benchmark puts them beside a busy one. They answer no pings, so they last as long as a target waits for that.
#![forbid(unsafe_code)]

use std::env;
use std::io::{self, Read as _};

use initiator::iscsi::machine::LoginOptions;
use initiator::iscsi::{ConnectOptions, Session};
use transport_iser::login::Datamover;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [address, target, name, count] = &arguments[..] else {
        return Err("usage: idle_sessions ADDRESS TARGET INITIATOR COUNT".into());
    };
    let login = LoginOptions::new(Datamover::Tcp, name, Some(target));
    let mut options = ConnectOptions::new(address.parse()?, login);
    let mut sessions = Vec::new();
    for number in 0..count.parse::<u16>()? {
        // The qualifier of the identifier makes each session another I_T nexus (RFC 7143 11.12.5).
        let [high, low] = number.to_be_bytes();
        options.login.identity.isid = [0x80, 0, 0, 1, high, low];
        sessions.push(Session::connect_tcp(&options)?);
    }
    println!("{}", sessions.len());
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
