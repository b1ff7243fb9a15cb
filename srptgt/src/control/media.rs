//! From a configured LUN to an opened medium and the logical unit that the core serves. Blocks: for the blocking
//! threads of the runtime only.

use std::sync::Arc;

use backstore::{Direct, Medium, MediumConfig, OpenError, StoreConfig};
use target_core::logical_unit::{Geometry, Identity, LogicalUnit};

use super::fault::Fault;
use crate::config::{ByteSize, Lun, Name, Store};
use crate::worker_link::MAX_TRANSFER_BYTES;

/// T10 VENDOR IDENTIFICATION.
const VENDOR: [u8; 8] = *b"SRPTGT  ";
/// PRODUCT IDENTIFICATION, one for all kinds of medium.
const PRODUCT: [u8; 16] = *b"VIRTUAL-DISK    ";
/// PRODUCT REVISION LEVEL.
const REVISION: [u8; 4] = *b"0001";

/// Whether a file that is not there is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// An operator is adding it now.
    Allowed,
    /// It was there before: an empty file in its place would be taken for the lost data.
    Never,
}

/// A logical unit that the worker serves.
#[derive(Clone, Debug)]
pub(crate) struct Served {
    pub(crate) lu: Arc<LogicalUnit>,
    pub(crate) medium: Arc<Medium>,
}

impl Served {
    /// Opens the medium and makes the logical unit.
    pub(crate) fn open(name: &Name, lun: &Lun, creation: Creation) -> Result<Self, Fault> {
        let medium = open_medium(lun, creation)
            .map_err(|error| Fault::failed(format!("LUN {name}: {error}")))?;
        check_not_shrunk(name, lun, &medium)?;
        let blocks = medium.size_bytes() / u64::from(medium.block_size());
        let lu = LogicalUnit::new(identity(name, lun), geometry(lun, &medium), blocks);
        lu.set_read_only(lun.read_only);
        lu.set_write_cache(lun.write_cache);
        Ok(Self {
            lu: Arc::new(lu),
            medium,
        })
    }

    /// Reads the size of the medium again.
    pub(crate) fn refresh(&self) -> Result<ByteSize, Fault> {
        self.medium
            .refresh_size()
            .map(ByteSize)
            .map_err(Fault::failed)
    }

    /// Capacity that initiators see.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.lu
            .blocks()
            .saturating_mul(u64::from(self.lu.geometry.block_size))
    }

    /// Why data goes through the page cache, or `None` when it does not.
    pub(crate) fn why_buffered(&self) -> Option<String> {
        match self.medium.direct() {
            Direct::Yes => None,
            Direct::No { reason } => Some(reason),
        }
    }

    /// Grows the medium to `size`, unless it has that size already.
    pub(crate) fn grow(&self, size: ByteSize) -> Result<(), Fault> {
        if self.medium.size_bytes() == size.0 {
            return Ok(());
        }
        self.medium.resize(size.0).map_err(Fault::failed)
    }
}

/// A write-protected LUN is opened for writing too where that is possible, so that the protection can be lifted.
fn open_medium(lun: &Lun, creation: Creation) -> Result<Arc<Medium>, OpenError> {
    match Medium::open(&medium_config(lun, creation, false)) {
        Err(_) if lun.read_only => Medium::open(&medium_config(lun, creation, true)),
        other => other,
    }
}

fn medium_config(lun: &Lun, creation: Creation, read_only: bool) -> MediumConfig {
    let size_bytes = lun.size.map_or(0, |size| size.0);
    let create_size = lun
        .size
        .map(|size| size.0)
        .filter(|_| creation == Creation::Allowed);
    let store = match &lun.store {
        Store::File(path) => StoreConfig::File {
            path: path.clone(),
            create_size,
            read_only,
        },
        Store::Block(path) => StoreConfig::Block {
            path: path.clone(),
            read_only,
        },
        Store::Ram => StoreConfig::Ram { size_bytes },
        Store::Null => StoreConfig::Null { size_bytes },
    };
    MediumConfig {
        store,
        block_size: lun.block_size.bytes(),
    }
}

fn check_not_shrunk(name: &Name, lun: &Lun, medium: &Medium) -> Result<(), Fault> {
    match lun.size {
        Some(size) if medium.size_bytes() < size.0 => Err(Fault::failed(format!(
            "LUN {name}: {} has {} bytes and had {}: its end is lost",
            medium.name(),
            medium.size_bytes(),
            size.0
        ))
        .fix(format!(
            "restore it; or, when the end is really not needed, srptgt lun remove {name} and add it again with the same \
             --naa and --serial"
        ))),
        _ => Ok(()),
    }
}

fn identity(name: &Name, lun: &Lun) -> Identity {
    Identity {
        name: name.to_string(),
        serial: lun.serial.to_string(),
        naa: lun.naa.bytes(),
        vendor: VENDOR,
        product: PRODUCT,
        revision: REVISION,
    }
}

fn geometry(lun: &Lun, medium: &Medium) -> Geometry {
    let found = medium.geometry();
    let blocks_in_physical = found.physical_block_size / medium.block_size();
    Geometry {
        block_size: medium.block_size(),
        physical_block_exponent: u8::try_from(blocks_in_physical.checked_ilog2().unwrap_or(0))
            .unwrap_or(0),
        max_transfer_bytes: MAX_TRANSFER_BYTES,
        unmap_granularity_bytes: found.unmap.map_or(0, |unmap| unmap.granularity_bytes),
        rotational: found.rotational,
        thin: lun.thin,
    }
}
