//! What is written is what is read, in every length and from every place.

use initiator::{Data, Lun, Nexus, Scsi, SlotCommand, SlotData, cdb};

use super::{Failed, Subject};
use crate::exercise::{Fill, Pattern, Place, ReadBack, run};

/// So much of the logical unit is written over.
pub(super) const REGION_BYTES: u64 = 16 << 20;

/// Lengths of commands in blocks: one, odd ones that leave the next unaligned, and long ones. The region is written
/// in one order and read in another, so that no boundary of a WRITE is one of a READ.
const WRITES: [u64; 8] = [1, 7, 16, 3, 64, 129, 2, 256];
const READS: [u64; 6] = [5, 1, 33, 250, 8, 97];

/// Commands outstanding.
const DEPTH: usize = 8;

/// DEVICE-SPECIFIC PARAMETER of MODE SENSE (SBC-3 6.4.1): DPO and FUA are known.
const DPOFUA: u8 = 0x10;

/// READ and WRITE (16), FUA.
const FUA: u8 = 0x08;

fn place(subject: &Subject) -> Place {
    Place {
        lun: subject.target.lun,
        capacity: subject.capacity,
    }
}

fn lengths(subject: &Subject, blocks: &[u64]) -> Vec<u64> {
    let block_bytes = u64::from(subject.capacity.block_bytes);
    let mut lengths: Vec<u64> = blocks.iter().map(|blocks| blocks * block_bytes).collect();
    lengths.push(1 << 20);
    lengths
}

/// The region twice over, with other bytes each time, so that stale ones are seen.
pub(super) fn write_and_read(subject: &mut Subject) -> Result<String, Failed> {
    let place = place(subject);
    let (writes, reads) = (lengths(subject, &WRITES), lengths(subject, &READS));
    let nexus = subject.nexus()?;
    let depth = DEPTH.min(nexus.most_outstanding());
    for seed in [1, 2] {
        let pattern = Pattern { seed };
        let mut fill = Fill::new(pattern, REGION_BYTES, |_| {}).with_lengths(&writes);
        run(nexus, place, depth, &mut fill)?;
        let mut read_back = ReadBack::new(pattern, REGION_BYTES, |_| {}).with_lengths(&reads);
        run(nexus, place, depth, &mut read_back)?;
    }
    Ok("16 MiB twice, in commands of one block to 1 MiB, unaligned".to_owned())
}

/// WRITE and READ with FUA, if the logical unit says that it knows it.
pub(super) fn force_unit_access(subject: &mut Subject) -> Result<String, Failed> {
    let (lun, block_bytes) = (subject.target.lun, subject.capacity.block_bytes);
    let nexus = subject.nexus()?;
    let mut mode = [0; 64];
    let cdb = cdb::MODE_SENSE_CACHING;
    nexus.execute_good(lun, &cdb, Data::In(&mut mode))?;
    if mode[2] & DPOFUA == 0 {
        return Err(Failed::Impossible("its mode parameters have DPOFUA at 0"));
    }
    let pattern = Pattern { seed: 3 };
    let mut data = vec![0; 8 * block_bytes as usize];
    for lba in [0, 11, 4097] {
        pattern.fill(lba * u64::from(block_bytes), &mut data);
        nexus_good(nexus, lun, &with_fua(cdb::write(lba, 8)), Data::Out(&data))?;
        data.fill(0);
        nexus_good(
            nexus,
            lun,
            &with_fua(cdb::read(lba, 8)),
            Data::In(&mut data),
        )?;
        check(pattern, lba, block_bytes, &data)?;
    }
    Ok("written and read back".to_owned())
}

fn with_fua(mut cdb: [u8; 16]) -> [u8; 16] {
    cdb[1] |= FUA;
    cdb
}

fn nexus_good(nexus: &mut dyn Nexus, lun: Lun, cdb: &[u8], data: Data<'_>) -> Result<(), Failed> {
    nexus.execute_good(lun, cdb, data)?;
    Ok(())
}

fn check(pattern: Pattern, lba: u64, block_bytes: u32, data: &[u8]) -> Result<(), Failed> {
    let offset_bytes = lba * u64::from(block_bytes);
    pattern
        .check(offset_bytes, data)
        .map_err(|mismatch| crate::exercise::ExerciseError::from(mismatch).into())
}

/// SYNCHRONIZE CACHE of everything, and of a range.
pub(super) fn synchronize_cache(subject: &mut Subject) -> Result<String, Failed> {
    let lun = subject.target.lun;
    let nexus = subject.nexus()?;
    let mut range = cdb::SYNCHRONIZE_CACHE;
    range[5] = 8;
    range[8] = 16;
    for cdb in [cdb::SYNCHRONIZE_CACHE, range] {
        nexus_good(nexus, lun, &cdb, Data::None)?;
    }
    Ok("of the whole medium, and of 16 blocks".to_owned())
}

/// As many commands at a time as are granted, up to 128.
pub(super) fn queue(subject: &mut Subject) -> Result<String, Failed> {
    let place = place(subject);
    let length = [4096.max(u64::from(subject.capacity.block_bytes))];
    let nexus = subject.nexus()?;
    let depth = nexus.most_outstanding().min(128);
    let (pattern, end) = (Pattern { seed: 4 }, 1 << 20);
    let mut fill = Fill::new(pattern, end, |_| {}).with_lengths(&length);
    run(nexus, place, depth, &mut fill)?;
    let mut read_back = ReadBack::new(pattern, end, |_| {}).with_lengths(&length);
    run(nexus, place, depth, &mut read_back)?;
    Ok(format!("{depth} commands at a time"))
}

/// Sends a WRITE of `(lba, blocks)` from slot 0, and does not wait for its end.
pub(super) fn write_blocks(
    nexus: &mut dyn Nexus,
    lun: Lun,
    block_bytes: u32,
    (lba, blocks): (u64, u32),
    pattern: Pattern,
) -> Result<(), Failed> {
    let len = blocks as usize * block_bytes as usize;
    let mut data = vec![0; len];
    pattern.fill(lba * u64::from(block_bytes), &mut data);
    let is_written = nexus.write_slot(0, &data);
    debug_assert!(is_written, "the slot was made for this length");
    let command = SlotCommand {
        lun,
        cdb: &cdb::write(lba, blocks),
        data: SlotData::Out(len),
    };
    Ok(nexus.send(0, &command)?)
}

/// Reads `(lba, blocks)` and compares.
pub(super) fn check_blocks(
    nexus: &mut dyn Nexus,
    lun: Lun,
    block_bytes: u32,
    (lba, blocks): (u64, u32),
    pattern: Pattern,
) -> Result<(), Failed> {
    let mut data = vec![0; blocks as usize * block_bytes as usize];
    nexus_good(nexus, lun, &cdb::read(lba, blocks), Data::In(&mut data))?;
    check(pattern, lba, block_bytes, &data)
}
