//! What identifies an initiator: port GUIDs and iSCSI names in all their spellings, CHAP accounts, ids as they travel,
//! address ranges.
//!
//! Pure: text and bytes in, values out.

pub mod address_range;
pub mod chap;
pub mod guid;
pub mod ibstat;
pub mod id128;
pub mod iqn;

pub use address_range::AddressRange;
pub use chap::{ChapAccount, ChapError, ChapSecrets, Secret};
pub use guid::{Guid, GuidError, ParsedGuid};
pub use id128::Id128;
pub use iqn::{Iqn, IqnError, ParsedIqn};
