//! What requests make of a host's CHAP accounts. Pure; no sentence here tells a secret.

use crate::config::Name;
use crate::control::request::{ChapEdit, HostEdit};
use crate::identity::{ChapAccount, ChapSecrets};

use super::{Fault, Notes};

/// Changes the accounts of a host.
pub(super) fn edit(
    chap: &mut Option<ChapSecrets>,
    host: &Name,
    edit: &HostEdit,
) -> Result<Notes, Fault> {
    let gives = edit.chap.is_some() || edit.mutual_chap.is_some();
    if edit.no_chap && gives || edit.no_mutual_chap && edit.mutual_chap.is_some() {
        return Err(Fault::invalid(
            "a CHAP account is given and taken away in one request; do one of the two",
        ));
    }
    if edit.no_chap {
        *chap = None;
    }
    let mut notes = Notes::new();
    if let Some(one_way) = &edit.chap {
        let known = chap.as_ref().map(|known| &known.initiator);
        let initiator = account(known, one_way, host, "chap", &mut notes)?;
        let target = chap.take().and_then(|known| known.target);
        *chap = Some(ChapSecrets { initiator, target });
    }
    match (chap, &edit.mutual_chap) {
        (Some(chap), Some(mutual)) => {
            let known = chap.target.as_ref();
            chap.target = Some(account(known, mutual, host, "mutual-chap", &mut notes)?);
        }
        (None, Some(_)) => return Err(needs_one_way(host)),
        (Some(chap), None) if edit.no_mutual_chap => chap.target = None,
        (_, None) => {}
    }
    Ok(notes)
}

/// The account with what the edit gives, over what there is.
fn account(
    known: Option<&ChapAccount>,
    edit: &ChapEdit,
    host: &Name,
    flag: &str,
    notes: &mut Notes,
) -> Result<ChapAccount, Fault> {
    let user = edit.user.as_deref().or(known.map(|known| &*known.user));
    let user = user.ok_or_else(|| {
        Fault::invalid(format!(
            "host {host} has no CHAP user yet, and none is given"
        ))
        .fix(format!(
            "srptgt host set {host} --{flag}-user USER --{flag}-secret-file FILE"
        ))
    })?;
    let known = known.map(|known| &known.secret);
    let secret = edit.secret.as_ref().or(known).ok_or_else(|| {
        Fault::invalid(format!(
            "host {host} has no CHAP secret for user {user} yet, and none is given"
        ))
        .fix(format!(
            "srptgt host set {host} --{flag}-user USER --{flag}-secret-file FILE, or - to type it"
        ))
    })?;
    notes.extend(edit.secret.as_ref().and_then(|secret| secret.note()));
    ChapAccount::new(user, secret.clone()).map_err(Fault::invalid)
}

fn needs_one_way(host: &Name) -> Fault {
    Fault::invalid(format!(
        "host {host} has no CHAP account of its own; the target proves itself only to initiators that do so first"
    ))
    .fix(format!(
        "srptgt host set {host} --chap-user USER --chap-secret-file FILE beside it"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::Secret;

    fn give(user: Option<&str>, secret: Option<&str>) -> Option<ChapEdit> {
        Some(ChapEdit {
            user: user.map(str::to_owned),
            secret: secret.map(|text| Secret::new(text).unwrap()),
        })
    }

    fn run(chap: &mut Option<ChapSecrets>, change: HostEdit) -> Result<Notes, Fault> {
        edit(chap, &"esx01".parse().unwrap(), &change)
    }

    fn one_way(user: Option<&str>, secret: Option<&str>) -> HostEdit {
        HostEdit {
            chap: give(user, secret),
            ..HostEdit::default()
        }
    }

    fn mutual(user: Option<&str>, secret: Option<&str>) -> HostEdit {
        HostEdit {
            mutual_chap: give(user, secret),
            ..HostEdit::default()
        }
    }

    #[test]
    fn user_and_secret_change_apart() {
        let mut chap = None;
        assert!(run(&mut chap, one_way(Some("u"), None)).is_err());
        assert!(run(&mut chap, one_way(None, Some("first secret"))).is_err());
        run(&mut chap, one_way(Some("u"), Some("first secret"))).unwrap();
        run(&mut chap, one_way(Some("v"), None)).unwrap();
        run(&mut chap, one_way(None, Some("other secret"))).unwrap();
        let initiator = &chap.as_ref().unwrap().initiator;
        assert_eq!(
            (&*initiator.user, initiator.secret.expose()),
            ("v", "other secret")
        );
    }

    #[test]
    fn mutual_needs_one_way_and_goes_with_it() {
        let mut chap = None;
        assert!(run(&mut chap, mutual(Some("t"), Some("target secret"))).is_err());
        run(&mut chap, one_way(Some("u"), Some("first secret"))).unwrap();
        run(&mut chap, mutual(Some("t"), Some("target secret"))).unwrap();
        run(&mut chap, one_way(Some("v"), None)).unwrap();
        assert!(chap.as_ref().unwrap().target.is_some(), "it stays");
        let none = HostEdit {
            no_mutual_chap: true,
            ..HostEdit::default()
        };
        run(&mut chap, none).unwrap();
        assert!(chap.as_ref().unwrap().target.is_none());
        let none = HostEdit {
            no_chap: true,
            ..HostEdit::default()
        };
        run(&mut chap, none).unwrap();
        assert_eq!(chap, None);
    }

    #[test]
    fn giving_and_taking_at_once_is_refused() {
        let mut chap = None;
        let both = HostEdit {
            no_chap: true,
            ..one_way(Some("u"), Some("first secret"))
        };
        assert!(run(&mut chap, both).is_err());
    }
}
