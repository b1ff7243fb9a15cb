//! Who an iSCSI session is, to whom, and what both prove.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use initiator::iscsi::machine::LoginOptions;
use initiator::iscsi::{ConnectOptions, DiscoveredTarget};
use transport_iser::chap;
use transport_iser::login::Datamover;

use crate::exercise::{Dial, DiscoveryError, RdmaPort};
use crate::identity::Iqn;
use crate::portal::Protocol;

use super::super::{Failure, secret};
use super::not_in;

/// What our initiators are called when nothing else is said.
pub(super) const OWN_NAME: &str = "iqn.2026-11.io.srptgt:initiator";

#[derive(Debug, Args)]
pub(super) struct Iscsi {
    /// iSER and TCP: name of the initiator [default: iqn.2026-11.io.srptgt:initiator]
    #[arg(long, value_name = "IQN", requires = "target")]
    iqn: Option<Iqn>,
    /// iSER and TCP: name of the target [default: the only one that a discovery finds]
    #[arg(long, value_name = "IQN", requires = "target")]
    target_name: Option<Iqn>,
    /// iSER and TCP: log in with CHAP, as this user
    #[arg(
        long,
        value_name = "USER",
        requires = "target",
        requires = "chap_secret_file"
    )]
    chap_user: Option<String>,
    /// File with the user's secret of 12 to 255 bytes, or - for standard input (typed at a terminal it is not shown)
    #[arg(long, value_name = "FILE", requires = "chap_user")]
    chap_secret_file: Option<PathBuf>,
    /// Mutual CHAP: the user that the target has to answer as
    #[arg(
        long,
        value_name = "USER",
        requires = "chap_user",
        requires = "mutual_chap_secret_file"
    )]
    mutual_chap_user: Option<String>,
    /// File with that user's secret, another than the first, or - for standard input
    #[arg(long, value_name = "FILE", requires = "mutual_chap_user")]
    mutual_chap_secret_file: Option<PathBuf>,
}

impl Iscsi {
    /// An option that means nothing over SRP; those of CHAP need each other.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            ("--iqn", self.iqn.is_some()),
            ("--target-name", self.target_name.is_some()),
            ("--chap-user", self.chap_user.is_some()),
        ];
        let given = given.into_iter().find(|(_, is_given)| *is_given);
        given.map(|(option, _)| option)
    }

    /// How the target that was named is reached, or the only one that there is.
    pub(super) async fn dial(
        &self,
        transport: Protocol,
        from: RdmaPort,
        address: SocketAddr,
        source: Option<SocketAddr>,
    ) -> Result<Dial, Failure> {
        let name = self.iqn.as_ref().map_or(OWN_NAME, Iqn::as_str);
        let mut login = login(transport, name, None);
        login.identity.isid = isid()?;
        login.chap = self.chap()?;
        // Other targets than ours do send them.
        login.long_sequences = true;
        let dial = dial(transport, from, ConnectOptions::new(address, login));
        let target = match &self.target_name {
            Some(target) => target.to_string(),
            None => the_only_one(dial.clone().coming_from(source)).await?,
        };
        Ok(dial.to_target(&target))
    }

    fn chap(&self) -> Result<Option<chap::Initiator>, Failure> {
        let own = credentials(self.chap_user.as_ref(), self.chap_secret_file.as_ref())?;
        let Some(own) = own else { return Ok(None) };
        let target = credentials(
            self.mutual_chap_user.as_ref(),
            self.mutual_chap_secret_file.as_ref(),
        )?;
        let mut challenge = [0; chap::CHALLENGE_BYTES];
        let mut identifier = [0];
        for random in [&mut challenge[..], &mut identifier[..]] {
            getrandom::fill(random).map_err(anyhow::Error::from)?;
        }
        let [identifier] = identifier;
        let chap = chap::Initiator::new(own, target, identifier, challenge);
        let chap = chap.map_err(|error| {
            Failure::Usage(
                error.to_string(),
                "each side proves itself by a secret of its own".to_owned(),
            )
        })?;
        Ok(Some(chap))
    }
}

/// A session to a target, or a discovery session.
pub(super) fn login(transport: Protocol, name: &str, target: Option<&str>) -> LoginOptions {
    let datamover = match transport {
        Protocol::Tcp => Datamover::Tcp,
        Protocol::Iser | Protocol::Srp => Datamover::Iser,
    };
    LoginOptions::new(datamover, name, target)
}

pub(super) fn dial(transport: Protocol, from: RdmaPort, options: ConnectOptions) -> Dial {
    let options = Box::new(options);
    match transport {
        Protocol::Tcp => Dial::Tcp { options },
        Protocol::Iser | Protocol::Srp => Dial::Iser { from, options },
    }
}

/// An identifier of the random kind, so that others who go by the same name keep their sessions; the last two bytes
/// number the sessions.
fn isid() -> Result<[u8; 6], Failure> {
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(anyhow::Error::from)?;
    let [a, b, c] = random;
    Ok([0x80, a, b, c, 0, 0])
}

fn credentials(
    user: Option<&String>,
    file: Option<&PathBuf>,
) -> Result<Option<chap::Credentials>, Failure> {
    let (Some(user), Some(file)) = (user, file) else {
        return Ok(None);
    };
    let secret = secret::read(file, user)?;
    Ok(Some(chap::Credentials {
        user: user.clone(),
        secret: secret.for_login(),
    }))
}

/// Asks which targets there are, and takes the only one.
async fn the_only_one(dial: Dial) -> Result<String, Failure> {
    let initiator = dial.initiator();
    let asked = tokio::task::spawn_blocking(move || dial.line(0).discover());
    let found = asked.await.map_err(anyhow::Error::from)?;
    let found = found.map_err(|error| match error {
        DiscoveryError::Connect(error) => not_in(&error),
        DiscoveryError::Execute(error) => error.into(),
    })?;
    only(&found, &initiator)
}

fn only(found: &[DiscoveredTarget], initiator: &str) -> Result<String, Failure> {
    match found {
        [only] => Ok(only.name.clone()),
        [] => Err(Failure::Failed(
            format!("there is no target here for {initiator}"),
            "list that name on the target, choose another by --iqn, or name the target by --target-name"
                .to_owned(),
        )),
        several => {
            let names: Vec<_> = several.iter().map(|target| target.name.as_str()).collect();
            Err(Failure::Usage(
                format!("there are {} targets here: {}", names.len(), names.join(", ")),
                "choose one by --target-name".to_owned(),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Vec<DiscoveredTarget> {
        let target = |name: &&str| DiscoveredTarget {
            name: (*name).to_owned(),
            addresses: Vec::new(),
        };
        names.iter().map(target).collect()
    }

    #[test]
    fn one_target_needs_no_name() {
        let name = only(&found(&["iqn.2001-04.com.example:a"]), "x");
        assert!(matches!(name.as_deref(), Ok("iqn.2001-04.com.example:a")));
    }

    #[test]
    fn none_and_several_are_told_apart() {
        assert!(matches!(only(&[], "x"), Err(Failure::Failed(..))));
        match only(&found(&["a", "b"]), "x") {
            Err(Failure::Usage(text, fix)) => {
                assert!(text.contains("a, b"), "{text}");
                assert!(fix.contains("--target-name"), "{fix}");
            }
            other => panic!("{other:?}"),
        }
    }
}
