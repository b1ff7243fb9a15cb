//! What a failed medium tells the initiator: the one place where [`BlockErrorKind`] becomes sense data.
//!
//! The choice follows what initiators do with it. `Gone` is NOT READY, MANUAL INTERVENTION REQUIRED and not a
//! hardware failure, because ESXi takes 04/3E/01 as permanent device loss and gives its virtual machines up,
//! while the operator may still bring the medium back. `Shrunk` is RECORD NOT FOUND: the block was reported to
//! be there and is not, so the request was not illegal, and Linux does not repeat it. `TimedOut`, `Cancelled`
//! and `Other` are ABORTED COMMAND, which hosts repeat; not all of them repeat a HARDWARE ERROR.

use crate::backend::{BlockError, BlockErrorKind};
use crate::request::{Refusal, Work};
use crate::sbc::block_size::Bytes;
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::status::Status;

/// Status and sense data for work that failed.
pub(crate) fn refusal(error: BlockError, work: Work) -> Refusal {
    let (key, code) = match (error.kind, work) {
        (BlockErrorKind::Busy, _) => return Refusal::Status(Status::BUSY),
        (BlockErrorKind::NoSpace, _) => (
            SenseKey::DataProtect,
            AdditionalSense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT,
        ),
        (BlockErrorKind::ReadOnly, _) => (SenseKey::DataProtect, AdditionalSense::WRITE_PROTECTED),
        (BlockErrorKind::Medium, Work::Read(_)) => (
            SenseKey::MediumError,
            AdditionalSense::UNRECOVERED_READ_ERROR,
        ),
        (BlockErrorKind::Medium, _) => (SenseKey::MediumError, AdditionalSense::WRITE_ERROR),
        (BlockErrorKind::Shrunk, _) => (SenseKey::MediumError, AdditionalSense::RECORD_NOT_FOUND),
        (BlockErrorKind::Gone, _) => (
            SenseKey::NotReady,
            AdditionalSense::LOGICAL_UNIT_NOT_READY_MANUAL_INTERVENTION,
        ),
        (BlockErrorKind::Unsupported, _) => (
            SenseKey::IllegalRequest,
            AdditionalSense::INVALID_COMMAND_OPERATION_CODE,
        ),
        (BlockErrorKind::Cancelled, _) => (
            SenseKey::AbortedCommand,
            AdditionalSense::COMMANDS_CLEARED_BY_DEVICE_SERVER,
        ),
        (BlockErrorKind::TimedOut, _) => (
            SenseKey::AbortedCommand,
            AdditionalSense::LOGICAL_UNIT_COMMUNICATION_TIME_OUT,
        ),
        (BlockErrorKind::Other, _) => (
            SenseKey::AbortedCommand,
            AdditionalSense::INTERNAL_TARGET_FAILURE,
        ),
    };
    let sense = Sense::new(key, code);
    // Work without a range, which is a flush, names no block.
    Refusal::Sense(match work.extent() {
        Some(extent) if key == SenseKey::MediumError => {
            sense.with_information(extent.block_size.lba(Bytes(error.offset)).0)
        }
        _ => sense,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::extent;

    const FLUSH: Work = Work::Flush { immediate: false };

    fn read() -> Work {
        Work::Read(extent(0, 8192))
    }

    fn write() -> Work {
        Work::Write {
            extent: extent(0, 8192),
            durable: true,
        }
    }

    fn told(kind: BlockErrorKind, work: Work) -> Refusal {
        let error = BlockError {
            kind,
            offset: 512 * 9 + 100,
            errno: 5,
        };
        refusal(error, work)
    }

    fn sense(kind: BlockErrorKind, work: Work) -> (u8, u16, Option<u64>) {
        match told(kind, work) {
            Refusal::Sense(sense) => (sense.key as u8, sense.code.0, sense.information),
            Refusal::Status(status) => panic!("{status:?}"),
        }
    }

    #[test]
    fn every_kind_has_its_own_answer() {
        let of_read = |kind| sense(kind, read());
        assert_eq!(of_read(BlockErrorKind::Medium), (3, 0x1100, Some(9)));
        assert_eq!(of_read(BlockErrorKind::Shrunk), (3, 0x1401, Some(9)));
        assert_eq!(of_read(BlockErrorKind::Gone), (2, 0x0403, None));
        assert_eq!(of_read(BlockErrorKind::Unsupported), (5, 0x2000, None));
        assert_eq!(of_read(BlockErrorKind::Cancelled), (0xb, 0x2f02, None));
        assert_eq!(of_read(BlockErrorKind::TimedOut), (0xb, 0x0801, None));
        assert_eq!(of_read(BlockErrorKind::Other), (0xb, 0x4400, None));
        let of_write = |kind| sense(kind, write());
        assert_eq!(of_write(BlockErrorKind::Medium), (3, 0x0c00, Some(9)));
        assert_eq!(of_write(BlockErrorKind::NoSpace), (7, 0x2707, None));
        assert_eq!(of_write(BlockErrorKind::ReadOnly), (7, 0x2700, None));
        let busy = told(BlockErrorKind::Busy, write());
        assert_eq!(busy, Refusal::Status(Status::BUSY));
    }

    #[test]
    fn a_failed_flush_names_no_block() {
        assert_eq!(sense(BlockErrorKind::Medium, FLUSH), (3, 0x0c00, None));
        assert_eq!(sense(BlockErrorKind::Shrunk, FLUSH), (3, 0x1401, None));
    }
}
