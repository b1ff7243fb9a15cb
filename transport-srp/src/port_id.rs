//! The 16-byte port identifiers of SRP on InfiniBand (SRP r16a annex B.2), in both orders of their
//! halves.

use std::fmt;

use zerocopy::big_endian::U64;
use zerocopy::transmute;

/// Which half of a port identifier comes first on the wire. An initiator takes it from the I/O
/// class that the target's I/O controller profile shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortIdOrder {
    /// I/O class 0xff00, drafts up to revision 10: GUID, then extension.
    Rev10,
    /// I/O class 0x0100, the published order: extension, then GUID.
    Rev16a,
}

/// What a target is called in a login: `id_ext` and `ioc_guid` of an initiator's `add_target`
/// string.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TargetPortId {
    /// Identifier extension.
    pub id_ext: u64,
    /// I/O controller GUID.
    pub ioc_guid: u64,
}

impl TargetPortId {
    /// The identifier on the wire.
    pub fn to_bytes(self, order: PortIdOrder) -> [u8; 16] {
        match order {
            PortIdOrder::Rev16a => join(self.id_ext, self.ioc_guid),
            PortIdOrder::Rev10 => join(self.ioc_guid, self.id_ext),
        }
    }

    /// In which order a login must be meant that names this target by `bytes`, or `None` when it
    /// names another.
    ///
    /// When both halves are alike both orders fit. Then the login is taken for the published order,
    /// unless its initiator port identifier begins with the GUID that the fabric itself gave for
    /// the initiator.
    pub fn order_of(
        self,
        bytes: &[u8; 16],
        initiator: &[u8; 16],
        fabric_guid: Option<u64>,
    ) -> Option<PortIdOrder> {
        let published = *bytes == self.to_bytes(PortIdOrder::Rev16a);
        let swapped = *bytes == self.to_bytes(PortIdOrder::Rev10);
        let (upper, lower) = halves(initiator);
        let guid_first = fabric_guid.is_some_and(|guid| guid == upper && guid != lower);
        match (published, swapped) {
            (true, true) if guid_first => Some(PortIdOrder::Rev10),
            (true, _) => Some(PortIdOrder::Rev16a),
            (false, true) => Some(PortIdOrder::Rev10),
            (false, false) => None,
        }
    }
}

impl fmt::Debug for TargetPortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "id_ext={:016x},ioc_guid={:016x}",
            self.id_ext, self.ioc_guid
        )
    }
}

/// What an initiator port calls itself in a login.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InitiatorPortId {
    /// As it came.
    pub bytes: [u8; 16],
    /// Which half is which.
    pub order: PortIdOrder,
}

impl InitiatorPortId {
    /// The GUID half: of the port with ESXi and Linux, of the adapter with some boot firmware.
    pub fn guid(&self) -> u64 {
        let (upper, lower) = halves(&self.bytes);
        match self.order {
            PortIdOrder::Rev16a => lower,
            PortIdOrder::Rev10 => upper,
        }
    }

    /// The other half, which the initiator fills as it likes; ESXi makes it up anew for each
    /// target.
    pub fn extension(&self) -> u64 {
        let (upper, lower) = halves(&self.bytes);
        match self.order {
            PortIdOrder::Rev16a => upper,
            PortIdOrder::Rev10 => lower,
        }
    }
}

impl fmt::Debug for InitiatorPortId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "guid {:016x} extension {:016x}",
            self.guid(),
            self.extension()
        )
    }
}

fn join(upper: u64, lower: u64) -> [u8; 16] {
    transmute!([U64::new(upper), U64::new(lower)])
}

fn halves(bytes: &[u8; 16]) -> (u64, u64) {
    let [upper, lower]: [U64; 2] = transmute!(*bytes);
    (upper.get(), lower.get())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: TargetPortId = TargetPortId {
        id_ext: 0x0002_c903_0050_5174,
        ioc_guid: 0x0002_c903_0050_5175,
    };
    const GUID: u64 = 0x0023_7dff_ff95_169d;
    const EXTENSION: u64 = 0xd949_560e_4ff0_0301;

    #[test]
    fn an_initiator_of_each_order_is_recognised_by_the_target_it_names() {
        for order in [PortIdOrder::Rev16a, PortIdOrder::Rev10] {
            let named = TARGET.to_bytes(order);
            assert_eq!(TARGET.order_of(&named, &[0; 16], None), Some(order));
        }
    }

    #[test]
    fn another_target_is_no_target() {
        let other = TargetPortId {
            id_ext: TARGET.id_ext,
            ioc_guid: TARGET.id_ext,
        };
        let named = other.to_bytes(PortIdOrder::Rev16a);
        assert_eq!(TARGET.order_of(&named, &[0; 16], None), None);
    }

    #[test]
    fn equal_halves_are_the_published_order_unless_the_fabric_says_otherwise() {
        let target = TargetPortId {
            id_ext: TARGET.id_ext,
            ioc_guid: TARGET.id_ext,
        };
        let named = target.to_bytes(PortIdOrder::Rev16a);
        let guid_last = join(EXTENSION, GUID);
        let guid_first = join(GUID, EXTENSION);
        let order_of = |initiator, fabric| target.order_of(&named, initiator, fabric);
        assert_eq!(order_of(&guid_first, None), Some(PortIdOrder::Rev16a));
        assert_eq!(order_of(&guid_last, Some(GUID)), Some(PortIdOrder::Rev16a));
        assert_eq!(order_of(&guid_first, Some(GUID)), Some(PortIdOrder::Rev10));
        assert_eq!(
            order_of(&join(GUID, GUID), Some(GUID)),
            Some(PortIdOrder::Rev16a)
        );
    }

    #[test]
    fn the_order_of_a_login_that_names_the_target_plainly_is_not_overruled() {
        let named = TARGET.to_bytes(PortIdOrder::Rev16a);
        let guid_first = join(GUID, EXTENSION);
        assert_eq!(
            TARGET.order_of(&named, &guid_first, Some(GUID)),
            Some(PortIdOrder::Rev16a)
        );
    }

    /// The identifier of an ESXi 5 host as it was once logged.
    #[test]
    fn an_esxi_identifier_splits_into_its_halves() {
        let id = InitiatorPortId {
            bytes: join(EXTENSION, GUID),
            order: PortIdOrder::Rev16a,
        };
        assert_eq!((id.guid(), id.extension()), (GUID, EXTENSION));
        let swapped = InitiatorPortId {
            order: PortIdOrder::Rev10,
            ..id
        };
        assert_eq!((swapped.guid(), swapped.extension()), (EXTENSION, GUID));
    }
}
