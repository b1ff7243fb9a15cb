//! What a seed chooses before anything runs: who there is, how large things are, and what goes wrong how often.

use roce::qp::PathMtu;
use transport_iser::login::{Datamover, LoginLimits};

use super::random::Random;
use super::seeds::FIRST_MIXED_SEED;

/// How bad the network is, in thousandths of the packets and in microseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) corruption: u64,
    /// Packets are late by up to this much, and so out of order.
    pub(crate) jitter_us: u64,
    /// Byte streams stand still, for up to this long.
    pub(crate) stalls: u64,
    pub(crate) stall_us: u64,
    /// What is written to a byte stream comes in crumbs: its first bytes one at a time.
    pub(crate) crumbs: u64,
}

/// How initiators read from byte streams.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reading {
    /// So many bytes at a time, with a pause behind them; 0: all there is, without one.
    pub(crate) bytes: usize,
    pub(crate) pause_us: u64,
    /// Nothing is read for up to this long, now and then.
    pub(crate) deaf_us: u64,
}

/// How the disk behaves, in thousandths of the operations and in microseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DiskHabits {
    pub(crate) latency_us: u64,
    pub(crate) errors: u64,
    pub(crate) stalls: u64,
    pub(crate) stall_us: u64,
}

/// What initiators and the operator do besides reading and writing, in thousandths of their steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trouble {
    pub(crate) abort: u64,
    pub(crate) manage: u64,
    /// The initiator's machine is gone at once, and comes back with another memory.
    pub(crate) death: u64,
    /// A connection is cut.
    pub(crate) cut: u64,
    pub(crate) logout: u64,
    /// The target says goodbye to a channel.
    pub(crate) kick: u64,
    /// Nothing is read from a stream for a while, and pings are written.
    pub(crate) deaf: u64,
}

/// How an initiator talks to the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Srp,
    Iser,
    Tcp,
}

/// What both ends of iSCSI offer, but for the datamover, and how patient the target is.
#[derive(Clone, Debug)]
pub(crate) struct IscsiChoices {
    initial_r2t: [bool; 2],
    immediate_data: [bool; 2],
    digests: [bool; 2],
    first_burst_length: u32,
    max_burst_length: u32,
    max_outstanding_r2t: u16,
    max_recv_data_segment_length: [u32; 2],
    unexpected_pdus: u32,
    pub(crate) invalidate: [bool; 2],
    pub(crate) immediate_requests: u16,
    pub(crate) nop_ms: u64,
    pub(crate) messages: usize,
    pub(crate) unsolicited_bytes: usize,
    /// Over a stream: pings under way, and bytes of the longest.
    pings: (usize, u64),
}

impl IscsiChoices {
    /// What the target (0) or the initiators (1) offer.
    pub(crate) fn limits(&self, end: usize, datamover: Datamover) -> LoginLimits {
        let is_tcp = datamover == Datamover::Tcp;
        let usual = LoginLimits::new(datamover);
        LoginLimits {
            initial_r2t: self.initial_r2t[end],
            immediate_data: self.immediate_data[end],
            header_digest: is_tcp && self.digests[0],
            data_digest: is_tcp && self.digests[1],
            first_burst_length: self.first_burst_length.min(self.max_burst_length),
            max_burst_length: self.max_burst_length,
            max_outstanding_r2t: self.max_outstanding_r2t,
            max_recv_data_segment_length: match is_tcp {
                true => self.max_recv_data_segment_length[end],
                false => usual.max_recv_data_segment_length,
            },
            max_outstanding_unexpected_pdus: if end == 0 { self.unexpected_pdus } else { 0 },
            ..usual
        }
    }

    /// Pings that an initiator may have under way, and bytes of the longest. A target has no means to hold messages back.
    pub(crate) fn pings(&self, protocol: Protocol) -> (usize, u64) {
        match protocol {
            Protocol::Srp => (0, 0),
            Protocol::Iser => (4, 600),
            Protocol::Tcp => self.pings,
        }
    }
}

/// Everything that a seed chooses.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) seed: u64,
    pub(crate) initiators: usize,
    /// Of each initiator.
    pub(crate) protocols: Vec<Protocol>,
    pub(crate) iscsi: IscsiChoices,
    pub(crate) channels: u16,
    pub(crate) path_mtu: PathMtu,
    pub(crate) request_limit: u32,
    /// Whether the target takes immediate data, and whether initiators ask for it.
    pub(crate) immediate: [bool; 2],
    pub(crate) block_size: u32,
    /// Blocks of each logical unit.
    pub(crate) luns: Vec<u64>,
    pub(crate) weather: Weather,
    pub(crate) reading: Reading,
    pub(crate) disk: DiskHabits,
    pub(crate) trouble: Trouble,
    /// Commands that the target takes at a time.
    pub(crate) tasks: u32,
    pub(crate) data_bytes: usize,
    pub(crate) messages: usize,
    pub(crate) receives: usize,
    /// Steps of each initiator before calm comes.
    pub(crate) steps: u64,
    /// Time between two steps of an initiator.
    pub(crate) pause_us: u64,
    /// At least so long between two steps of an initiator that has taken all of its own.
    pub(crate) rest_us: u64,
    pub(crate) command_timeout_ms: u64,
}

impl Scenario {
    /// The longest transfer in bytes.
    pub(crate) const MAX_TRANSFER: usize = 32 << 10;

    pub(crate) fn of(seed: u64) -> Self {
        let mut scenario = Self::of_srp(seed);
        // What mixed worlds add is drawn apart from the rest.
        if scenario.is_mixed() {
            scenario.mix(&mut Random::new(seed ^ 0x15c51));
        }
        scenario
    }

    /// Whether there may be other protocols than SRP.
    pub(crate) fn is_mixed(&self) -> bool {
        self.seed >= FIRST_MIXED_SEED
    }

    /// Other protocols come in.
    fn mix(&mut self, r: &mut Random) {
        let only = r.pick(&[None, None, None, Some(Protocol::Iser), Some(Protocol::Tcp)]);
        let any = [Protocol::Srp, Protocol::Iser, Protocol::Tcp];
        for protocol in &mut self.protocols {
            *protocol = only.unwrap_or_else(|| r.pick(&any));
        }
        self.weather.stalls = r.pick(&[0, 0, 10]);
        self.weather.stall_us = r.pick(&[100_000, 4_000_000]);
        self.weather.crumbs = r.pick(&[0, 50, 300]);
        self.reading = Reading {
            bytes: r.pick(&[0, 0, 0, 700]),
            pause_us: r.pick(&[100, 5_000]),
            deaf_us: r.pick(&[50_000, 4_000_000]),
        };
        self.trouble.deaf = r.pick(&[0, 20, 100]);
        self.rest_us = 20_000;
    }

    fn of_srp(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        let block_size = r.pick(&[512, 512, 512, 4096]);
        let initiators = r.within(1, 4) as usize;
        Self {
            seed,
            initiators,
            protocols: vec![Protocol::Srp; initiators],
            iscsi: iscsi(&mut Random::new(seed ^ 0x15c5)),
            channels: r.within(1, 2) as u16,
            path_mtu: r.pick(&[PathMtu::Mtu256, PathMtu::Mtu1024, PathMtu::Mtu4096]),
            request_limit: r.pick(&[1, 2, 4, 8, 16]),
            immediate: [r.chance(700), r.chance(700)],
            block_size,
            luns: (0..r.within(1, 3)).map(|_| r.pick(&[8, 24, 64])).collect(),
            weather: weather(r),
            reading: Reading::default(),
            disk: DiskHabits {
                latency_us: r.pick(&[20, 200, 5_000]),
                errors: r.pick(&[0, 0, 30]),
                stalls: r.pick(&[0, 0, 150]),
                stall_us: r.pick(&[1_000_000, 8_000_000]),
            },
            trouble: trouble(r),
            tasks: r.pick(&[4, 16, 64]),
            data_bytes: r.pick(&[Self::MAX_TRANSFER, 4 * Self::MAX_TRANSFER, 512 << 10]),
            messages: r.pick(&[2, 8, 64]),
            receives: r.pick(&[4, 16, 64]),
            steps: r.within(10, 40),
            pause_us: r.pick(&[50, 1_000, 50_000]),
            rest_us: 0,
            command_timeout_ms: r.pick(&[500, 3_000]),
        }
    }

    /// Nothing in it holds a command up for long. Any jitter does: packets overtake each other, the second gap at
    /// one packet is mended by the acknowledge timeout only, and meanwhile a command may hold the only data buffer.
    pub(crate) fn is_smooth(&self) -> bool {
        let weather = &self.weather;
        let is_fair = weather.loss == 0 && weather.corruption == 0 && weather.jitter_us == 0;
        // Over TCP a command may wait for seconds for a buffer, and what is behind it in the stream too.
        let is_fair = is_fair && !self.protocols.contains(&Protocol::Tcp);
        is_fair && self.disk.stalls == 0 && self.trouble.death == 0
    }
}

fn weather(r: &mut Random) -> Weather {
    if r.chance(250) {
        return Weather::default();
    }
    Weather {
        loss: r.pick(&[0, 5, 30]),
        duplication: r.pick(&[0, 10, 50]),
        corruption: r.pick(&[0, 2]),
        jitter_us: r.pick(&[0, 50, 50, 3_000, 3_000, 100_000]),
        stalls: 0,
        stall_us: 0,
        crumbs: 0,
    }
}

fn iscsi(r: &mut Random) -> IscsiChoices {
    IscsiChoices {
        initial_r2t: [r.chance(300), r.chance(300)],
        immediate_data: [r.chance(800), r.chance(800)],
        digests: [r.chance(500), r.chance(500)],
        first_burst_length: r.pick(&[512, 4096, 65_536]),
        max_burst_length: r.pick(&[1024, 8192, 262_144]),
        max_outstanding_r2t: r.pick(&[1, 2, 8]),
        max_recv_data_segment_length: [(); 2].map(|()| r.pick(&[8192, 12_288, 262_144])),
        unexpected_pdus: r.pick(&[0, 0, 2, 8]),
        invalidate: [r.chance(700), r.chance(700)],
        immediate_requests: r.pick(&[2, 16]),
        nop_ms: r.pick(&[1_000, 15_000]),
        messages: r.pick(&[16 << 10, 256 << 10]),
        pings: r.pick(&[(4, 600), (4, 600), (256, 8192)]),
        unsolicited_bytes: r.pick(&[1, 1, 8]) * Scenario::MAX_TRANSFER,
    }
}

fn trouble(r: &mut Random) -> Trouble {
    let scale = r.pick(&[0, 1, 2, 4]);
    Trouble {
        abort: scale * 50,
        manage: scale * 15,
        death: scale * r.pick(&[0, 10]),
        cut: scale * r.pick(&[0, 20]),
        logout: scale * r.pick(&[0, 8]),
        kick: scale * r.pick(&[0, 5]),
        deaf: 0,
    }
}
