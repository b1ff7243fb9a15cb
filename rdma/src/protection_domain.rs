//! A protection domain.

use crate::device::Device;
use crate::error::Error;
use crate::provided::Provided;
use crate::{soft, verbs};

/// What may be used together: memory regions, receive queues and queue pairs. Clones are the same domain.
#[derive(Clone, Debug)]
pub struct ProtectionDomain {
    pub(crate) inner: Provided<verbs::ProtectionDomain, soft::ProtectionDomain>,
    device: Device,
}

impl ProtectionDomain {
    /// A new domain on the device.
    ///
    /// # Errors
    /// The device is used up or gone.
    pub fn new(device: &Device) -> Result<Self, Error> {
        let inner = match &device.0 {
            Provided::Verbs(device) => Provided::Verbs(verbs::ProtectionDomain::new(device)?),
            Provided::Soft(device) => Provided::Soft(soft::ProtectionDomain::new(device)),
        };
        Ok(Self {
            inner,
            device: device.clone(),
        })
    }

    /// The device that this domain is of.
    pub fn device(&self) -> &Device {
        &self.device
    }
}
