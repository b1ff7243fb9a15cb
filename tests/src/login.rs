//! Logins of the project's own iSCSI initiator, as every other maker's target is asked for one.

use initiator::iscsi::{ConnectOptions, Session};
use initiator::{ConnectError, Lun, Scsi};
use rdma::Fabric;
use transport_iser::chap::{self, Credentials, Secret};
use transport_iser::login::Datamover;

/// The port of a portal for each datamover, where a target has both at one address.
pub fn port(datamover: Datamover) -> u16 {
    match datamover {
        Datamover::Tcp => 3260,
        Datamover::Iser => 3261,
    }
}

/// Logs in by the datamover that the options ask for.
///
/// # Errors
///
/// As the session's.
pub fn connect(fabric: &Fabric, options: &ConnectOptions) -> Result<Session, ConnectError> {
    match options.login.limits.datamover {
        Datamover::Tcp => Session::connect_tcp(options),
        Datamover::Iser => Session::connect_iser(fabric, options),
    }
}

/// The session, once the logical unit takes commands.
///
/// # Panics
///
/// There is none, or it does not.
#[track_caller]
pub fn ready(session: Result<Session, ConnectError>, lun: Lun) -> Session {
    let mut session = session.unwrap_or_else(|error| panic!("no session: {error}"));
    println!("agreed: {:?}", session.agreed());
    session.await_ready(lun).expect("ready");
    session
}

/// A user and the secret.
pub fn credentials(user: &str, secret: &str) -> Credentials {
    Credentials {
        user: user.to_owned(),
        secret: Secret::new(secret.as_bytes().to_vec()),
    }
}

/// CHAP by MD5 alone: some targets take the number of SHA-256 for another algorithm's.
///
/// # Panics
///
/// Both ends have one secret.
pub fn chap_by_md5(own: Credentials, target: Option<Credentials>) -> Option<chap::Initiator> {
    let chap = chap::Initiator::new(own, target, 7, [0x31; chap::CHALLENGE_BYTES]);
    Some(
        chap.expect("two secrets")
            .with_algorithms(&[chap::Algorithm::Md5]),
    )
}
