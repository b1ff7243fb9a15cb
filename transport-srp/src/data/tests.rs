use proptest::prelude::*;
use target_core::lun::Lun;

use super::*;
use crate::wire::cmd::TaskAttributeCode;
use crate::wire::desc::{direct_to_bytes, immediate_to_bytes};

fn segment(address: u64, length: u32) -> RemoteSegment {
    RemoteSegment {
        address,
        key: 7,
        length,
    }
}

const NONE: BufferFormat = BufferFormat::NONE;
const DIRECT: BufferFormat = BufferFormat::DIRECT;
const INDIRECT: BufferFormat = BufferFormat::INDIRECT;
const IMMEDIATE: BufferFormat = BufferFormat::IMMEDIATE;

/// Formats and counts, DATA-OUT first.
fn cmd<'a>(formats: (BufferFormat, BufferFormat), counts: (u8, u8), data: &'a [u8]) -> Cmd<'a> {
    Cmd {
        sol_not: 0,
        data_out_format: formats.0,
        data_in_format: formats.1,
        data_out_count: counts.0,
        data_in_count: counts.1,
        tag: 1,
        lun: Lun::default(),
        task_attribute: TaskAttributeCode::SIMPLE,
        cdb: &[0; 16],
        data,
    }
}

fn parse(cmd: &Cmd<'_>) -> Result<(DataBuffers, Vec<RemoteSegment>), DataError> {
    let mut segments = Vec::new();
    let buffers = DataBuffers::parse(cmd, Some(68), &mut segments)?;
    Ok((buffers, segments))
}

fn list(segments: &[RemoteSegment]) -> Vec<u8> {
    segments.iter().copied().flat_map(direct_to_bytes).collect()
}

const TABLE_ADDRESS: u64 = 0x9000;

/// An indirect descriptor for `entries`, of which the first `inline` are in the message.
fn indirect(entries: &[RemoteSegment], inline: usize) -> Vec<u8> {
    let total = entries.iter().map(|s| s.length).sum();
    let table_len = u32::try_from(entries.len() * 16).expect("short");
    let descriptor = IndirectDesc {
        table: segment(TABLE_ADDRESS, table_len),
        total_len: total,
        partial_list: &list(&entries[..inline]),
    };
    let mut out = vec![0; 20 + inline * 16];
    descriptor.emit(&mut out).expect("room");
    out
}

#[test]
fn a_command_without_data_has_none() {
    let (buffers, segments) = parse(&cmd((NONE, NONE), (0, 0), &[])).expect("good");
    assert_eq!((buffers.data_in_len, buffers.data_out_len), (0, 0));
    assert!(segments.is_empty());
}

#[test]
fn a_direct_descriptor_is_one_segment_of_its_direction() {
    let data = direct_to_bytes(segment(0x1000, 512));
    let (buffers, segments) = parse(&cmd((NONE, DIRECT), (0, 0), &data)).expect("good");
    assert_eq!((buffers.data_in_len, buffers.data_out_segments), (512, 0));
    assert_eq!(segments, [segment(0x1000, 512)]);
    let (buffers, _) = parse(&cmd((DIRECT, NONE), (0, 0), &data)).expect("good");
    assert_eq!((buffers.data_out_len, buffers.data_out_segments), (512, 1));
    for len in 0..data.len() {
        let error = parse(&cmd((NONE, DIRECT), (0, 0), &data[..len])).expect_err("cut");
        assert!(matches!(error, DataError::Truncated(_)));
    }
}

#[test]
fn a_descriptor_of_no_bytes_is_no_segment() {
    let data = direct_to_bytes(segment(u64::MAX, 0));
    let (buffers, segments) = parse(&cmd((DIRECT, NONE), (0, 0), &data)).expect("good");
    assert_eq!((buffers.data_out_len, segments.len()), (0, 0));
}

#[test]
fn an_inline_table_is_read_whichever_count_says_how_long_it_is() {
    let entries = [segment(0x1000, 100), segment(0, 0), segment(0x2000, 28)];
    let data = indirect(&entries, 3);
    for counts in [(0, 3), (3, 0), (1, 2), (255, 255)] {
        let (buffers, segments) = parse(&cmd((NONE, INDIRECT), counts, &data)).expect("good");
        assert_eq!((buffers.data_in_len, buffers.table), (128, None));
        assert_eq!(segments, [entries[0], entries[2]]);
    }
    for len in 0..data.len() {
        assert!(parse(&cmd((NONE, INDIRECT), (0, 3), &data[..len])).is_err());
    }
}

#[test]
fn the_missing_part_of_a_table_is_fetched() {
    let entries = [
        segment(0x1000, 100),
        segment(0x2000, 28),
        segment(0x3000, 1),
    ];
    for inline in 0..3 {
        let data = indirect(&entries, inline);
        let counts = (u8::try_from(inline).expect("short"), 0);
        let (buffers, mut segments) = parse(&cmd((INDIRECT, NONE), counts, &data)).expect("good");
        assert_eq!(buffers.data_out_len, 129);
        let table = buffers.table.expect("incomplete");
        let skipped = inline * 16;
        assert_eq!(table.missing.address, TABLE_ADDRESS + skipped as u64);
        assert_eq!(table.missing.length as usize, 48 - skipped);
        let fetched = list(&entries[inline..]);
        assert_eq!(table.complete(&fetched, &mut segments), Ok(()));
        assert_eq!(segments, entries);
        let short = table.complete(&fetched[1..], &mut Vec::new());
        assert!(matches!(short, Err(DataError::TableShort { .. })));
    }
}

#[test]
fn a_fetched_table_must_describe_the_buffer() {
    let entries = [segment(0x1000, 100), segment(0x2000, 28)];
    let data = indirect(&entries, 1);
    let (buffers, mut segments) = parse(&cmd((NONE, INDIRECT), (0, 1), &data)).expect("good");
    let table = buffers.table.expect("incomplete");
    let wrong = list(&[segment(0x2000, 29)]);
    let error = table.complete(&wrong, &mut segments);
    let (sum, total) = (129, 128);
    assert_eq!(error, Err(DataError::TotalLength { sum, total }));
}

#[test]
fn tables_that_describe_nothing_are_refused() {
    let entries = [segment(0x1000, 100), segment(0x2000, 28)];
    let mut data = indirect(&entries, 2);
    data[15] = 33;
    let refused = |data: &[u8]| parse(&cmd((NONE, INDIRECT), (0, 2), data)).expect_err("refused");
    assert_eq!(refused(&data), DataError::TableLength(33));
    data[12..16].copy_from_slice(&(16 * 4097u32).to_be_bytes());
    assert_eq!(refused(&data), DataError::TableTooLong(4097));
    data[12..16].copy_from_slice(&32u32.to_be_bytes());
    data[19] = 127;
    let (sum, total) = (128, 127);
    assert_eq!(refused(&data), DataError::TotalLength { sum, total });
}

#[test]
fn lengths_that_overflow_are_refused() {
    let data = direct_to_bytes(segment(u64::MAX - 10, 12));
    let error = parse(&cmd((NONE, DIRECT), (0, 0), &data)).expect_err("wraps");
    assert!(matches!(error, DataError::AddressWraps { .. }));
    let mut data = indirect(&[segment(0, 1), segment(0, 2)], 2);
    data[32..36].fill(0xff);
    data[48..52].fill(0xff);
    let error = parse(&cmd((NONE, INDIRECT), (0, 2), &data)).expect_err("8 GiB");
    let sum = 2 * u64::from(u32::MAX);
    assert_eq!(error, DataError::TotalLength { sum, total: 3 });
}

#[test]
fn a_table_at_the_end_of_the_address_space_is_not_fetched() {
    let mut data = indirect(&[segment(0, 1), segment(0, 2)], 0);
    data[..8].fill(0xff);
    let error = parse(&cmd((NONE, INDIRECT), (0, 0), &data)).expect_err("wraps");
    assert!(matches!(error, DataError::AddressWraps { .. }));
}

#[test]
fn unknown_formats_are_named_with_their_direction() {
    let format = BufferFormat(9);
    let error = parse(&cmd((format, NONE), (0, 0), &[])).expect_err("unknown");
    let direction = Direction::DataOut;
    assert_eq!(error, DataError::Format { direction, format });
    let error = parse(&cmd((NONE, IMMEDIATE), (0, 0), &[])).expect_err("DATA-OUT only");
    let (direction, format) = (Direction::DataIn, IMMEDIATE);
    assert_eq!(error, DataError::Format { direction, format });
}

#[test]
fn a_bidirectional_command_has_both_buffers() {
    let out = [segment(0x1000, 100), segment(0x2000, 28)];
    let mut data = indirect(&out, 2);
    data.extend(direct_to_bytes(segment(0x3000, 512)));
    let (buffers, segments) = parse(&cmd((INDIRECT, DIRECT), (2, 0), &data)).expect("good");
    assert_eq!((buffers.data_out_len, buffers.data_in_len), (128, 512));
    assert_eq!(buffers.data_out_segments, 2);
    assert_eq!(segments, [out[0], out[1], segment(0x3000, 512)]);
    for count in [1, 3] {
        let error = parse(&cmd((INDIRECT, DIRECT), (count, 0), &data)).expect_err("count");
        assert!(matches!(error, DataError::BidirectionalTable { .. }));
    }
}

#[test]
fn immediate_data_lies_at_the_offset_of_the_login() {
    // The descriptor is at byte 48 of the message, the data at byte 68.
    let mut data = immediate_to_bytes(32).to_vec();
    data.resize(20 + 32, 0x5a);
    let (buffers, segments) = parse(&cmd((IMMEDIATE, NONE), (0, 0), &data)).expect("good");
    assert_eq!(
        (buffers.data_out_len, buffers.immediate),
        (32, Some(68..100))
    );
    assert!(segments.is_empty());
    let error = parse(&cmd((IMMEDIATE, NONE), (0, 0), &data[..51])).expect_err("cut");
    assert!(matches!(error, DataError::Truncated(_)));
    let error = parse(&cmd((IMMEDIATE, NONE), (0, 0), &data[..3])).expect_err("cut");
    assert!(matches!(error, DataError::Truncated(_)));
}

#[test]
fn immediate_data_needs_an_offset_behind_its_descriptor() {
    let data = immediate_to_bytes(0);
    let cmd = Cmd {
        cdb: &[0; 36],
        ..cmd((IMMEDIATE, NONE), (0, 0), &data)
    };
    let error = parse(&cmd).expect_err("overlap");
    let (data, descriptor_end) = (68, 72);
    assert_eq!(
        error,
        DataError::ImmediateOverlap {
            data,
            descriptor_end
        }
    );
    let error = DataBuffers::parse(&cmd, None, &mut Vec::new()).expect_err("not agreed");
    assert!(matches!(error, DataError::Format { .. }));
}

/// Every byte of the segments, by its address.
fn bytes_of(segments: &[RemoteSegment]) -> Vec<u64> {
    let bytes = |s: &RemoteSegment| s.address..s.address + u64::from(s.length);
    segments.iter().flat_map(bytes).collect()
}

fn segment_lists() -> impl Strategy<Value = Vec<RemoteSegment>> {
    let one = (0u64..1 << 40, 1u32..40).prop_map(|(address, length)| segment(address, length));
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn segments_are_cut_exactly(list in segment_lists(), from in 0usize..500, len in 0usize..500) {
        let all = bytes_of(&list);
        let from = from.min(all.len());
        let len = len.min(all.len() - from);
        let mut parts = Vec::new();
        cut(&list, u32::try_from(from).expect("short"), len, &mut parts);
        prop_assert_eq!(bytes_of(&parts), &all[from..from + len]);
        prop_assert!(parts.iter().all(|s| s.length > 0));
    }

    #[test]
    fn no_segment_too_many_covers_the_data(list in segment_lists(), len in 0usize..500) {
        let len = len.min(bytes_of(&list).len());
        let count = covering(&list, len);
        prop_assert!(bytes_of(&list[..count]).len() >= len);
        prop_assert!(count == 0 || bytes_of(&list[..count - 1]).len() < len);
    }

    #[test]
    fn any_table_is_read_whole(entries in segment_lists(), inline in 0usize..12) {
        let inline = inline.min(entries.len());
        let data = indirect(&entries, inline);
        let count = u8::try_from(inline).expect("short");
        let (buffers, mut segments) = parse(&cmd((NONE, INDIRECT), (0, count), &data)).expect("good");
        if let Some(table) = buffers.table {
            table.complete(&list(&entries[inline..]), &mut segments).expect("good");
        }
        prop_assert_eq!(&segments, &entries);
        prop_assert_eq!(buffers.data_in_len as usize, bytes_of(&segments).len());
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        data in any::<Vec<u8>>(),
        formats in (0u8..5, 0u8..5),
        counts in any::<(u8, u8)>(),
    ) {
        let formats = (BufferFormat(formats.0), BufferFormat(formats.1));
        let cmd = cmd(formats, counts, &data);
        if let Ok((buffers, segments)) = parse(&cmd) {
            let (out, in_) = segments.split_at(buffers.data_out_segments);
            let sum = |list: &[RemoteSegment]| list.iter().map(|s| u64::from(s.length)).sum::<u64>();
            if buffers.table.is_none() {
                prop_assert_eq!(sum(in_), u64::from(buffers.data_in_len));
                let immediate = buffers.immediate.map_or(0, |range| range.len() as u64);
                prop_assert_eq!(sum(out) + immediate, u64::from(buffers.data_out_len));
            }
        }
    }
}
