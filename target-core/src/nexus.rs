//! An I_T nexus: who the initiator is, and what it sees behind which number (SAM-5).

use std::sync::Arc;

use iobuf::Pool;

use crate::counters::LunCounters;
use crate::sense::Sense;
use crate::slab::Handle;
use crate::unit_attention::{Attentions, UnitAttention};

/// A logical unit of a [`crate::target::Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LuId(pub(crate) Handle);

/// An I_T nexus of a [`crate::target::Target`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NexusId(pub(crate) Handle);

/// The initiator port's name in its transport (SPC-4 7.6.4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TransportId {
    /// SRP: the initiator port identifier as it was at login.
    Srp {
        /// Sixteen bytes, extension and GUID in the order of the I/O class.
        initiator_port_id: [u8; 16],
    },
    /// iSCSI over TCP or iSER: the initiator port is the node's name with the session's identifier.
    Iscsi {
        /// InitiatorName of RFC 7143.
        initiator_name: Arc<str>,
        /// ISID of RFC 7143.
        isid: [u8; 6],
    },
}

/// One row of a host's LUN map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// Logical unit number.
    pub number: u8,
    /// What is behind it.
    pub lu: LuId,
    /// Writes by this map are refused.
    pub read_only: bool,
}

/// A logical unit as it is mapped, with what there is only once per nexus and logical unit.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) entry: MapEntry,
    pub(crate) attentions: Attentions,
    pub(crate) counters: LunCounters,
}

/// An I_T nexus.
#[derive(Debug)]
pub(crate) struct Nexus {
    pub(crate) id: TransportId,
    /// Its share of the memory for data.
    pub(crate) data: Pool,
    /// By number. Few, and mostly without gaps from zero.
    mappings: Vec<Mapping>,
    /// The first map is no change of anything.
    map_is_set: bool,
}

impl Nexus {
    pub(crate) fn new(id: TransportId, data: Pool) -> Self {
        Self {
            id,
            data,
            mappings: Vec::new(),
            map_is_set: false,
        }
    }

    pub(crate) fn mappings(&self) -> &[Mapping] {
        &self.mappings
    }

    pub(crate) fn maps(&self, lu: LuId) -> bool {
        self.mappings.iter().any(|mapping| mapping.entry.lu == lu)
    }

    /// Every logical unit that it has; one may come twice.
    pub(crate) fn units(&self) -> impl Iterator<Item = LuId> {
        self.mappings.iter().map(|mapping| mapping.entry.lu)
    }

    #[inline]
    pub(crate) fn mapping(&self, number: u8) -> Option<&Mapping> {
        self.mappings.get(self.position(number)?)
    }

    #[inline]
    pub(crate) fn mapping_mut(&mut self, number: u8) -> Option<&mut Mapping> {
        let position = self.position(number)?;
        self.mappings.get_mut(position)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u8> {
        self.mappings.iter().map(|mapping| mapping.entry.number)
    }

    #[inline]
    pub(crate) fn take_attention(&mut self, number: u8) -> Option<Sense> {
        self.mapping_mut(number)?.attentions.take()
    }

    pub(crate) fn clear_attention(&mut self, attention: UnitAttention) {
        for mapping in &mut self.mappings {
            mapping.attentions.clear(attention);
        }
    }

    pub(crate) fn establish_everywhere(&mut self, attention: UnitAttention) {
        for mapping in &mut self.mappings {
            mapping.attentions.establish(attention);
        }
    }

    /// Establishes a unit attention for one logical unit, wherever it is mapped.
    pub(crate) fn establish(&mut self, lu: LuId, attention: UnitAttention) {
        for mapping in self.mappings.iter_mut().filter(|m| m.entry.lu == lu) {
            mapping.attentions.establish(attention);
        }
    }

    /// Takes the logical unit away. REPORTED LUNS DATA HAS CHANGED when it was there.
    pub(crate) fn unmap(&mut self, lu: LuId) {
        let before = self.mappings.len();
        self.mappings.retain(|mapping| mapping.entry.lu != lu);
        if self.mappings.len() != before {
            self.establish_everywhere(UnitAttention::ReportedLunsChanged);
        }
    }

    /// Makes `map` what the nexus sees; of entries with the same number the first counts. Attentions and counters
    /// of what stays are kept.
    pub(crate) fn set_map(&mut self, map: impl Iterator<Item = MapEntry>) {
        let mut old = std::mem::take(&mut self.mappings);
        let before: Vec<_> = old.iter().map(|m| (m.entry.number, m.entry.lu)).collect();
        for entry in map {
            let kept = old.iter().position(|m| m.entry.number == entry.number);
            let kept = kept.map(|position| old.swap_remove(position));
            self.mappings.push(Mapping::next(kept, entry));
        }
        self.mappings.sort_by_key(|mapping| mapping.entry.number);
        self.mappings.dedup_by_key(|mapping| mapping.entry.number);
        let now = self.mappings.iter().map(|m| (m.entry.number, m.entry.lu));
        if self.map_is_set && !now.eq(before) {
            self.establish_everywhere(UnitAttention::ReportedLunsChanged);
        }
        self.map_is_set = true;
    }

    #[inline]
    fn position(&self, number: u8) -> Option<usize> {
        let guess = usize::from(number);
        match self.mappings.get(guess) {
            Some(mapping) if mapping.entry.number == number => Some(guess),
            _ => self
                .mappings
                .binary_search_by_key(&number, |mapping| mapping.entry.number)
                .ok(),
        }
    }
}

impl Mapping {
    /// What `entry` becomes, given what had its number before.
    fn next(before: Option<Mapping>, entry: MapEntry) -> Self {
        let mut mapping = match before {
            Some(before) if before.entry.lu == entry.lu => before,
            other => Self::fresh(entry, other.is_some()),
        };
        if mapping.entry.read_only != entry.read_only {
            mapping
                .attentions
                .establish(UnitAttention::ModeParametersChanged);
        }
        mapping.entry = entry;
        mapping
    }

    /// A logical unit that the nexus did not have behind this number.
    fn fresh(entry: MapEntry, replaces: bool) -> Self {
        let mut attentions = Attentions::default();
        attentions.establish(UnitAttention::PowerOnOrReset);
        if replaces {
            attentions.establish(UnitAttention::InquiryChanged);
        }
        Self {
            entry,
            attentions,
            counters: LunCounters::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::tests::{INITIATOR, pool};

    fn lu(index: u32) -> LuId {
        LuId(Handle {
            index,
            generation: 0,
        })
    }

    fn entry(number: u8, index: u32) -> MapEntry {
        MapEntry {
            number,
            lu: lu(index),
            read_only: false,
        }
    }

    fn nexus(map: &[MapEntry]) -> Nexus {
        let mut nexus = Nexus::new(INITIATOR, pool());
        nexus.set_map(map.iter().copied());
        nexus
    }

    fn attentions(nexus: &mut Nexus, number: u8) -> Vec<u16> {
        std::iter::from_fn(|| nexus.take_attention(number).map(|s| s.code.0)).collect()
    }

    #[test]
    fn numbers_with_and_without_gaps_are_found() {
        let nexus = nexus(&[entry(200, 3), entry(0, 0), entry(1, 1), entry(5, 2)]);
        assert_eq!(nexus.numbers().collect::<Vec<_>>(), [0, 1, 5, 200]);
        for number in 0..=255 {
            let found = nexus.mapping(number).map(|m| m.entry.number);
            assert_eq!(found, [0, 1, 5, 200].contains(&number).then_some(number));
        }
    }

    #[test]
    fn of_two_entries_with_one_number_the_first_counts() {
        let nexus = nexus(&[entry(1, 5), entry(1, 6)]);
        assert_eq!(nexus.mapping(1).map(|m| m.entry.lu), Some(lu(5)));
        assert_eq!(nexus.mappings().len(), 1);
    }

    #[test]
    fn the_first_map_is_a_power_on() {
        let mut nexus = nexus(&[entry(0, 0), entry(1, 1)]);
        assert_eq!(attentions(&mut nexus, 0), [0x2900]);
        assert_eq!(attentions(&mut nexus, 1), [0x2900]);
    }

    #[test]
    fn later_maps_tell_what_changed() {
        let mut nexus = nexus(&[entry(0, 0), entry(1, 1)]);
        nexus.clear_attention(UnitAttention::PowerOnOrReset);
        nexus.set_map([entry(1, 1), entry(0, 0)].into_iter());
        assert_eq!(attentions(&mut nexus, 0), [], "nothing changed");

        nexus.set_map([entry(0, 0), entry(1, 7), entry(2, 2)].into_iter());
        assert_eq!(attentions(&mut nexus, 0), [0x3f0e]);
        assert_eq!(attentions(&mut nexus, 1), [0x2900, 0x3f03, 0x3f0e]);
        assert_eq!(attentions(&mut nexus, 2), [0x2900, 0x3f0e]);

        let protected = MapEntry {
            read_only: true,
            ..entry(0, 0)
        };
        nexus.set_map([protected, entry(1, 7), entry(2, 2)].into_iter());
        assert_eq!(attentions(&mut nexus, 0), [0x2a01]);
        assert_eq!(attentions(&mut nexus, 1), []);

        nexus.unmap(lu(2));
        nexus.unmap(lu(2));
        assert_eq!(attentions(&mut nexus, 0), [0x3f0e]);
        assert!(nexus.mapping(2).is_none());
    }
}
