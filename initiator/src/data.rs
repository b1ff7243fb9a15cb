//! What a command that is waited for transfers.

/// The data of a blocking command.
#[derive(Debug)]
pub enum Data<'a> {
    /// None.
    None,
    /// To be filled.
    In(&'a mut [u8]),
    /// To be sent.
    Out(&'a [u8]),
}
