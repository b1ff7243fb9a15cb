//! From each table of the file to what it stands for: the rules within one table. Pure but for the random identities of
//! what has none yet.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::check::{Conflict, conflict};
use super::document::{ChapTable, HostTable, LunTable, SoftTable, TargetTable};
use super::{Config, Host, IscsiSettings, Lun, Naa, Name, SoftSettings, Store, TargetIdentity};
use crate::identity::{ChapAccount, ChapSecrets};

pub(super) fn no_random(table: &str, error: getrandom::Error) -> Conflict {
    conflict(
        [table.into()],
        format!("no identity could be made, since the kernel gives no random bytes: {error}"),
    )
}

/// A configuration with nothing but the target.
pub(super) fn target(table: TargetTable) -> Config {
    let mut config = Config::new(TargetIdentity {
        id_ext: table.id_ext,
        ioc_guid: table.ioc_guid,
    });
    let made = config.iscsi.target_name;
    config.iscsi = IscsiSettings {
        target_name: table.iqn.unwrap_or(made),
        target_alias: table.alias,
        portal_group_tag: table.portal_group_tag,
    };
    config
}

pub(super) fn soft(table: SoftTable) -> Result<SoftSettings, Conflict> {
    let mut addresses = BTreeSet::new();
    for (index, address) in table.addresses.into_iter().enumerate() {
        if !addresses.insert(address) {
            return Err(conflict(
                ["soft".into(), "addresses".into(), index.into()],
                format!("address {address} is listed twice under soft; remove one"),
            ));
        }
    }
    Ok(SoftSettings {
        addresses,
        guid: table.guid,
    })
}

pub(super) fn lun(name: &Name, table: LunTable) -> Result<Lun, Conflict> {
    let at = |key: &str| ["lun".into(), name.into(), key.into()];
    let (store, size) = store(name, &table)?;
    if let Some(path) = store.path().filter(|path| !path.is_absolute()) {
        return Err(conflict(
            at(store.kind()),
            format!(
                "LUN {name}: expected an absolute path, came {}",
                path.display()
            ),
        ));
    }
    if let Some(size) = size
        && (size.0 == 0 || size.0 % u64::from(table.block_size.bytes()) != 0)
    {
        let key = if store.path().is_some() {
            "size"
        } else {
            store.kind()
        };
        return Err(conflict(
            at(key),
            format!(
                "LUN {name}: expected a size of one or more blocks of {} bytes, came {} bytes",
                table.block_size.bytes(),
                size.0
            ),
        ));
    }
    let naa = match table.naa {
        Some(naa) => naa,
        None => Naa::random().map_err(|error| no_random("lun", error))?,
    };
    Ok(Lun {
        store,
        size,
        block_size: table.block_size,
        read_only: table.read_only,
        thin: table.thin,
        write_cache: table.write_cache,
        naa,
        serial: table.serial.unwrap_or_else(|| naa.serial()),
    })
}

type Sized = (Store, Option<super::ByteSize>);

fn store(name: &Name, table: &LunTable) -> Result<Sized, Conflict> {
    let path = |make: fn(PathBuf) -> Store, path: &Option<PathBuf>| {
        path.clone().map(|path| (make(path), table.size))
    };
    let candidates: [Option<Sized>; 4] = [
        path(Store::File, &table.file),
        path(Store::Block, &table.block),
        table.ram.map(|size| (Store::Ram, Some(size))),
        table.null.map(|size| (Store::Null, Some(size))),
    ];
    let mut given: Vec<Sized> = candidates.into_iter().flatten().collect();
    let at = ["lun".into(), name.into()];
    match (given.pop(), given.is_empty()) {
        (Some((store, _)), true) if store.path().is_none() && table.size.is_some() => {
            Err(conflict(
                at,
                format!(
                    "LUN {name}: expected the size as {0} = \"SIZE\", came size beside {0}",
                    store.kind()
                ),
            ))
        }
        (Some(only), true) => Ok(only),
        (None, _) => Err(conflict(
            at,
            format!("LUN {name}: expected one of file, block, ram, null, came none of them"),
        )),
        (Some((last, _)), false) => {
            given.push((last, None));
            let came: Vec<_> = given.iter().map(|(store, _)| store.kind()).collect();
            Err(conflict(
                at,
                format!(
                    "LUN {name}: expected one of file, block, ram, null, came {}",
                    came.join(" and ")
                ),
            ))
        }
    }
}

pub(super) fn host(name: &Name, table: HostTable) -> Result<Host, Conflict> {
    let mut guids = BTreeSet::new();
    for (index, guid) in table.guids.into_iter().enumerate() {
        if !guids.insert(guid) {
            return Err(conflict(
                ["host".into(), name.into(), "guids".into(), index.into()],
                format!("port GUID {guid} is listed twice under host {name}; remove one"),
            ));
        }
    }
    let mut iqns = BTreeSet::new();
    for (index, iqn) in table.iqns.into_iter().enumerate() {
        if !iqns.insert(iqn.clone()) {
            return Err(conflict(
                ["host".into(), name.into(), "iqns".into(), index.into()],
                format!("iSCSI name {iqn} is listed twice under host {name}; remove one"),
            ));
        }
    }
    Ok(Host {
        guids,
        iqns,
        chap: chap(name, table.chap, table.mutual_chap)?,
        require: table.require,
        addresses: table.addresses,
        pkeys: table.pkeys,
        ports: table.ports,
    })
}

fn chap(
    name: &Name,
    one_way: Option<ChapTable>,
    mutual: Option<ChapTable>,
) -> Result<Option<ChapSecrets>, Conflict> {
    let mutual = mutual
        .map(|table| account(name, "mutual_chap", table))
        .transpose()?;
    match (one_way, mutual) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(conflict(
            ["host".into(), name.into(), "mutual_chap".into()],
            format!(
                "host {name} has mutual_chap and no chap; the target proves itself only to initiators that do so first"
            ),
        )),
        (Some(table), target) => Ok(Some(ChapSecrets {
            initiator: account(name, "chap", table)?,
            target,
        })),
    }
}

fn account(name: &Name, key: &str, table: ChapTable) -> Result<ChapAccount, Conflict> {
    let at = |last: &str| ["host".into(), name.into(), key.into(), last.into()];
    let secret = table.secret.ok_or_else(|| {
        conflict(
            at("user"),
            format!(
                "host {name}: {key} has a user and no secret, as exports have without --secrets; add secret = \"…\", or \
                 take the table away to admit the host without CHAP"
            ),
        )
    })?;
    ChapAccount::new(&table.user, secret)
        .map_err(|error| conflict(at("user"), format!("host {name}: {error}")))
}
