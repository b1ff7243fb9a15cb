//! Byte streams, as TCP gives them to both ends: in order and whole, but cut anywhere, late, and stalled.
//!
//! Both ends hold the same [`Streams`], as they would a kernel, and name a stream by the number of its link.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use super::random::Random;
use super::scenario::Weather;

/// How long bytes take at least.
const DELAY_US: u64 = 10;

/// Bytes of one direction that are on their way or unread; the writer waits beyond them.
const WINDOW: usize = 48 << 10;

/// How long it takes until bytes that were lost come again.
const AGAIN_US: (u64, u64) = (200_000, 1_500_000);

/// Bytes that are cut off at most at a time.
const LONGEST_PIECE: u64 = 8 << 10;

/// Bytes that come one at a time: the headers of a PDU, their digest, and some data.
const CRUMBS: u64 = 80;

/// Which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Initiator,
    Target,
}

impl Side {
    fn place(self) -> usize {
        match self {
            Self::Initiator => 0,
            Self::Target => 1,
        }
    }

    fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Target,
            Self::Target => Self::Initiator,
        }
    }
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes(Vec<u8>),
    Nothing,
    /// The stream has ended, and everything was read.
    End,
}

/// What one end has written.
#[derive(Debug, Default)]
struct Direction {
    /// With the time of arrival; nothing is the end of the stream.
    pieces: VecDeque<(u64, Option<Vec<u8>>)>,
    bytes: usize,
    /// Nothing arrives before what was written earlier.
    latest_us: u64,
}

impl Direction {
    fn end(&mut self, at_us: u64) {
        self.latest_us = self.latest_us.max(at_us);
        self.pieces.push_back((self.latest_us, None));
    }
}

#[derive(Debug, Default)]
struct Stream {
    /// By the side that writes.
    directions: [Direction; 2],
    /// By side: it takes and gives nothing any more.
    closed: [bool; 2],
}

#[derive(Debug)]
struct Everything {
    weather: Weather,
    random: Random,
    streams: BTreeMap<u32, Stream>,
    /// That wait to be accepted.
    asking: BTreeSet<(u64, u32)>,
    /// When a writer finds room again.
    wakes: BTreeSet<u64>,
    /// Streams whose last bytes were lost with their end.
    cuts: u64,
    /// Reads of the target that found one byte.
    crumbs: u64,
    /// Writes of the target that found the stream full.
    full: u64,
}

/// All streams.
#[derive(Clone, Debug)]
pub(crate) struct Streams(Rc<RefCell<Everything>>);

impl Streams {
    pub(crate) fn new(weather: Weather, random: Random) -> Self {
        Self(Rc::new(RefCell::new(Everything {
            weather,
            random,
            streams: BTreeMap::new(),
            asking: BTreeSet::new(),
            wakes: BTreeSet::new(),
            cuts: 0,
            crumbs: 0,
            full: 0,
        })))
    }

    /// Nothing is late any more.
    pub(crate) fn calm(&self) {
        self.0.borrow_mut().weather = Weather::default();
    }

    /// The initiator asks for a stream, and may write at once.
    pub(crate) fn connect(&self, link: u32, now_us: u64) {
        let mut all = self.0.borrow_mut();
        let at_us = now_us + all.delay();
        all.streams.insert(link, Stream::default());
        all.asking.insert((at_us, link));
    }

    /// The next stream that the target is asked for.
    pub(crate) fn accept(&self, now_us: u64) -> Option<u32> {
        let mut all = self.0.borrow_mut();
        let next = all.asking.first().filter(|(at_us, _)| *at_us <= now_us);
        let next = next.copied()?;
        all.asking.remove(&next);
        Some(next.1)
    }

    /// How many bytes can be written now.
    pub(crate) fn room(&self, link: u32, side: Side) -> usize {
        let all = self.0.borrow();
        let stream = all.streams.get(&link);
        stream.map_or(WINDOW, |stream| {
            WINDOW - stream.directions[side.place()].bytes.min(WINDOW)
        })
    }

    /// Writes as much as there is room for; what nobody reads any more is thrown away, and the writer finds the end.
    pub(crate) fn write(&self, link: u32, side: Side, bytes: &[u8], now_us: u64) -> usize {
        let taken = bytes.len().min(self.room(link, side));
        let mut all = self.0.borrow_mut();
        all.full += u64::from(taken < bytes.len() && side == Side::Target);
        let mut crumbs = all.crumbs();
        let mut rest = &bytes[..taken];
        while !rest.is_empty() {
            let len = match crumbs.next() {
                Some(_) => 1,
                None => 1 + all.random.below(LONGEST_PIECE) as usize,
            };
            let (now, later) = rest.split_at(len.min(rest.len()));
            rest = later;
            let at_us = now_us + all.delay();
            all.put(link, side, now, at_us);
        }
        taken
    }

    pub(crate) fn read(&self, link: u32, side: Side, most: usize, now_us: u64) -> Found {
        let mut all = self.0.borrow_mut();
        let Some(stream) = all.streams.get_mut(&link) else {
            return Found::End;
        };
        let direction = &mut stream.directions[side.peer().place()];
        match direction.pieces.front_mut() {
            Some((at_us, piece)) if *at_us <= now_us => {
                let Some(bytes) = piece else {
                    return Found::End;
                };
                let rest = bytes.split_off(most.min(bytes.len()));
                let read = std::mem::replace(bytes, rest);
                if bytes.is_empty() {
                    direction.pieces.pop_front();
                }
                direction.bytes -= read.len();
                all.wakes.insert(now_us + DELAY_US);
                all.crumbs += u64::from(read.len() == 1 && side == Side::Target);
                Found::Bytes(read)
            }
            _ => Found::Nothing,
        }
    }

    /// One end has enough. The other reads what was written before, or, when it comes to the worst, not even that.
    pub(crate) fn close(&self, link: u32, side: Side, now_us: u64) {
        let mut all = self.0.borrow_mut();
        let at_us = now_us + all.delay();
        let is_cut = all.random.chance(500);
        let Some(stream) = all.streams.get_mut(&link) else {
            return;
        };
        stream.closed[side.place()] = true;
        let direction = &mut stream.directions[side.place()];
        if is_cut {
            direction.pieces.clear();
            direction.latest_us = 0;
        }
        direction.end(at_us);
        all.cuts += u64::from(is_cut);
        all.forget_if_over(link);
    }

    /// The initiator is gone, and the target is not told.
    pub(crate) fn die(&self, link: u32) {
        let mut all = self.0.borrow_mut();
        if let Some(stream) = all.streams.get_mut(&link) {
            stream.closed[Side::Initiator.place()] = true;
        }
        all.forget_if_over(link);
    }

    /// When something arrives, or there is room again, after `now_us`.
    pub(crate) fn next_time(&self, now_us: u64) -> Option<u64> {
        let mut all = self.0.borrow_mut();
        all.wakes = all.wakes.split_off(&(now_us + 1));
        let wake = all.wakes.first().copied();
        let asking = all.asking.iter().map(|(at_us, _)| *at_us);
        let directions = all.streams.values().flat_map(|stream| {
            let to_whom = stream.directions.iter().zip(stream.closed.iter().rev());
            to_whom.filter(|(_, is_closed)| !**is_closed)
        });
        // What has arrived and lies there, its reader does not want.
        let pieces = directions.filter_map(|(direction, _)| {
            let mut times = direction.pieces.iter().map(|(at_us, _)| *at_us);
            times.find(|at_us| *at_us > now_us)
        });
        asking.chain(pieces).chain(wake).min()
    }

    /// Streams that at least one end holds.
    pub(crate) fn len(&self) -> usize {
        self.0.borrow().streams.len()
    }

    /// How often things happened that a seed may or may not bring about.
    pub(crate) fn corners(&self) -> [(&'static str, u64); 3] {
        let all = self.0.borrow();
        [
            ("streams that lost their last bytes", all.cuts),
            ("streams: single bytes for the target", all.crumbs),
            ("streams: their reader holds the target back", all.full),
        ]
    }
}

impl Everything {
    /// How many bytes of a write come one at a time.
    fn crumbs(&mut self) -> std::ops::Range<u64> {
        match self.random.chance(self.weather.crumbs) {
            true => 0..self.random.within(1, CRUMBS),
            false => 0..0,
        }
    }

    fn delay(&mut self) -> u64 {
        let Weather {
            loss,
            corruption,
            jitter_us,
            stalls,
            stall_us,
            ..
        } = self.weather;
        let random = &mut self.random;
        let mut delay_us = DELAY_US + random.below(jitter_us);
        if random.chance(loss + corruption) {
            delay_us += random.within(AGAIN_US.0, AGAIN_US.1);
        }
        if random.chance(stalls) {
            delay_us += random.below(stall_us);
        }
        delay_us
    }

    fn put(&mut self, link: u32, side: Side, bytes: &[u8], at_us: u64) {
        let Some(stream) = self.streams.get_mut(&link) else {
            return;
        };
        if stream.closed[side.peer().place()] {
            // Nobody takes it, and the writer is told once.
            let back = &mut stream.directions[side.peer().place()];
            if back.pieces.back().is_none_or(|(_, piece)| piece.is_some()) {
                back.end(at_us);
            }
            return;
        }
        let direction = &mut stream.directions[side.place()];
        direction.latest_us = direction.latest_us.max(at_us);
        direction.bytes += bytes.len();
        direction
            .pieces
            .push_back((direction.latest_us, Some(bytes.to_vec())));
    }

    fn forget_if_over(&mut self, link: u32) {
        let is_over = |stream: &Stream| stream.closed == [true; 2];
        if self.streams.get(&link).is_some_and(is_over) {
            self.streams.remove(&link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams() -> Streams {
        let streams = Streams::new(Weather::default(), Random::new(7));
        streams.connect(1, 0);
        assert_eq!(streams.accept(0), None);
        assert_eq!(streams.accept(1000), Some(1));
        streams
    }

    fn all(streams: &Streams, most: usize, now_us: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while let Found::Bytes(more) = streams.read(1, Side::Target, most, now_us) {
            assert!(more.len() <= most);
            bytes.extend(more);
        }
        bytes
    }

    #[test]
    fn bytes_come_in_order_and_the_window_holds_the_writer_back() {
        let streams = streams();
        let bytes: Vec<u8> = (0..2 * WINDOW).map(|place| place as u8).collect();
        let taken = streams.write(1, Side::Initiator, &bytes, 1000);
        assert_eq!(taken, WINDOW);
        assert_eq!(streams.write(1, Side::Initiator, &bytes, 1000), 0);
        assert_eq!(streams.read(1, Side::Target, 9, 1000), Found::Nothing);
        assert_eq!(streams.next_time(1000), Some(1000 + DELAY_US));
        assert!(all(&streams, 1000, 2000) == bytes[..WINDOW]);
        assert_eq!(streams.room(1, Side::Initiator), WINDOW);
    }

    #[test]
    fn a_writer_learns_that_its_peer_has_died() {
        let streams = streams();
        streams.die(1);
        assert_eq!(streams.read(1, Side::Target, 9, 5000), Found::Nothing);
        streams.write(1, Side::Target, &[1, 2], 5000);
        assert_eq!(streams.read(1, Side::Target, 9, 9000), Found::End);
        streams.close(1, Side::Target, 9000);
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn a_reader_finds_the_end() {
        let streams = streams();
        streams.close(1, Side::Initiator, 1000);
        assert_eq!(streams.read(1, Side::Target, 9, 2000), Found::End);
    }
}
