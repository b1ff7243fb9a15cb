//! Unit attention conditions of one I_T nexus and logical unit (SAM-5).

use crate::sense::{AdditionalSense, Sense};

/// A condition, in order of precedence (SAM-5): a reset is reported before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UnitAttention {
    PowerOnOrReset,
    BusDeviceReset,
    CommandsCleared,
    CapacityChanged,
    ModeParametersChanged,
    InquiryChanged,
    ReportedLunsChanged,
}

const IN_ORDER: [(UnitAttention, AdditionalSense); 7] = [
    (
        UnitAttention::PowerOnOrReset,
        AdditionalSense::POWER_ON_RESET_OR_BUS_DEVICE_RESET_OCCURRED,
    ),
    (
        UnitAttention::BusDeviceReset,
        AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED,
    ),
    (
        UnitAttention::CommandsCleared,
        AdditionalSense::COMMANDS_CLEARED_BY_ANOTHER_INITIATOR,
    ),
    (
        UnitAttention::CapacityChanged,
        AdditionalSense::CAPACITY_DATA_HAS_CHANGED,
    ),
    (
        UnitAttention::ModeParametersChanged,
        AdditionalSense::MODE_PARAMETERS_CHANGED,
    ),
    (
        UnitAttention::InquiryChanged,
        AdditionalSense::INQUIRY_DATA_HAS_CHANGED,
    ),
    (
        UnitAttention::ReportedLunsChanged,
        AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED,
    ),
];

/// The conditions that wait to be reported, each at most once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attentions(u8);

impl Attentions {
    pub(crate) fn establish(&mut self, attention: UnitAttention) {
        self.0 |= bit(attention);
    }

    pub(crate) fn clear(&mut self, attention: UnitAttention) {
        self.0 &= !bit(attention);
    }

    /// The condition to report now, which is then no more.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<Sense> {
        match self.0 {
            0 => None,
            _ => self.take_first(),
        }
    }

    #[cold]
    fn take_first(&mut self) -> Option<Sense> {
        let (attention, code) = IN_ORDER.into_iter().find(|&(a, _)| self.0 & bit(a) != 0)?;
        self.clear(attention);
        if attention == UnitAttention::PowerOnOrReset {
            // It says everything that BUS DEVICE RESET FUNCTION OCCURRED would say.
            self.clear(UnitAttention::BusDeviceReset);
        }
        Some(Sense::unit_attention(code))
    }
}

fn bit(attention: UnitAttention) -> u8 {
    1 << attention as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(mut attentions: Attentions) -> Vec<u16> {
        std::iter::from_fn(|| attentions.take().map(|s| s.code.0)).collect()
    }

    #[test]
    fn resets_come_first_and_nothing_comes_twice() {
        let mut attentions = Attentions::default();
        attentions.establish(UnitAttention::ReportedLunsChanged);
        attentions.establish(UnitAttention::CapacityChanged);
        attentions.establish(UnitAttention::CapacityChanged);
        attentions.establish(UnitAttention::BusDeviceReset);
        assert_eq!(codes(attentions), [0x2903, 0x2a09, 0x3f0e]);
    }

    #[test]
    fn power_on_includes_a_reset() {
        let mut attentions = Attentions::default();
        attentions.establish(UnitAttention::BusDeviceReset);
        attentions.establish(UnitAttention::PowerOnOrReset);
        assert_eq!(codes(attentions), [0x2900]);
    }
}
