//! The network: datagrams on their way, and the weather that they meet.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::random::Random;
use super::scenario::Weather;

/// How long a packet takes at least.
const DELAY_US: u64 = 10;

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: SocketAddr,
    pub(crate) at: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Network {
    pub(crate) weather: Weather,
    random: Random,
    /// By arrival, then in the order of sending.
    flying: BTreeMap<(u64, u64), Packet>,
    sent: u64,
}

impl Network {
    pub(crate) fn new(weather: Weather, random: Random) -> Self {
        Self {
            weather,
            random,
            flying: BTreeMap::new(),
            sent: 0,
        }
    }

    pub(crate) fn send(&mut self, mut packet: Packet, now_us: u64) {
        if self.random.chance(self.weather.loss) {
            return;
        }
        if self.random.chance(self.weather.corruption) {
            let bit = self.random.below(packet.bytes.len() as u64 * 8) as usize;
            packet.bytes[bit / 8] ^= 1 << (bit % 8);
        }
        let copies = 1 + u64::from(self.random.chance(self.weather.duplication));
        for _ in 0..copies {
            self.sent += 1;
            let late = self.random.below(self.weather.jitter_us);
            let key = (now_us + DELAY_US + late, self.sent);
            self.flying.insert(key, packet.clone());
        }
    }

    /// The next packet that has arrived.
    pub(crate) fn arrival(&mut self, now_us: u64) -> Option<Packet> {
        let next = self.flying.first_entry()?;
        (next.key().0 <= now_us).then(|| next.remove())
    }

    pub(crate) fn next_arrival(&self) -> Option<u64> {
        self.flying.first_key_value().map(|((at, _), _)| *at)
    }

    pub(crate) fn packets(&self) -> u64 {
        self.sent
    }

    pub(crate) fn flying(&self) -> usize {
        self.flying.len()
    }
}
