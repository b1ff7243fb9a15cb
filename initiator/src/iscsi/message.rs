//! PDUs as messages over RDMA, each behind its iSER header (RFC 7145 clause 9.2). Pure.

use iobuf::RemoteSegment;
use transport_iser::iser::{Header, MessageType, Stag};
use transport_iser::pdu::{BHS_BYTES, Bhs, Lengths, Opcode, ScsiCommand};

use super::machine::ProtocolError;

/// The PDU in a message: header and data segment.
///
/// # Errors
/// The message holds no PDU, or a shorter one than its header says.
pub fn split(message: &[u8]) -> Result<(&Bhs, &[u8]), ProtocolError> {
    let wrong = ProtocolError::Iser(message.len());
    let (header, rest) = Header::parse(message)?;
    if header.kind != MessageType::Control {
        return Err(wrong);
    }
    let Some((bhs, rest)) = rest.split_first_chunk::<BHS_BYTES>() else {
        return Err(wrong);
    };
    let lengths = Lengths::of(bhs);
    let begin = lengths.ahs as usize;
    match rest.get(begin..begin + lengths.data as usize) {
        Some(data) => Ok((bhs, data)),
        None => Err(wrong),
    }
}

/// The iSER header in front of a PDU: that of a command names the memory that the target needs. The first `unasked`
/// bytes of its Data-Out Buffer travel without being asked for.
pub fn header(pdu: &Bhs, unasked: u32, memory: Option<RemoteSegment>) -> Header {
    let mut header = Header::CONTROL;
    if Opcode::of(pdu) != Opcode::SCSI_COMMAND {
        return header;
    }
    let (Ok(command), Some(segment)) = (ScsiCommand::parse(pdu), memory) else {
        return header;
    };
    let stag = |skipped: u32| Stag {
        key: segment.key,
        address: segment.address + u64::from(skipped),
    };
    // What travels without being asked for is not fetched, and the handle begins behind it, as with all peers.
    if command.write && unasked < command.expected_data_transfer_length {
        header.write = Some(stag(unasked));
    }
    if command.read {
        header.read = Some(stag(0));
    }
    header
}
