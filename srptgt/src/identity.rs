//! What identifies an initiator: port GUIDs in all their spellings, ids as they travel, address ranges.
//!
//! Pure: text and bytes in, values out.

pub mod address_range;
pub mod guid;
pub mod ibstat;
pub mod id128;

pub use address_range::AddressRange;
pub use guid::{Guid, GuidError, ParsedGuid};
pub use id128::Id128;
