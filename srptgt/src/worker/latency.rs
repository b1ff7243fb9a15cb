//! How long commands took, for each logical unit of a session.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::worker_link::LatencyMicros;

/// Longest time in microseconds that is told apart; anything longer counts as this.
const LONGEST_US: u64 = 60_000_000;

/// Latency distribution with two significant digits, 1 µs to one minute: about 9 KiB, made once.
#[derive(Debug)]
pub(super) struct Latency {
    micros: Option<Histogram<u32>>,
}

impl Latency {
    /// An empty distribution.
    pub(super) fn new() -> Self {
        Self {
            micros: Histogram::new_with_bounds(1, LONGEST_US, 2).ok(),
        }
    }

    /// Counts one command.
    pub(super) fn record(&mut self, taken: Duration) {
        let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        if let Some(histogram) = &mut self.micros {
            histogram.saturating_record(micros.max(1));
        }
    }

    /// Percentiles of all commands so far.
    pub(super) fn percentiles(&self) -> LatencyMicros {
        self.micros
            .as_ref()
            .map_or_else(LatencyMicros::default, |histogram| LatencyMicros {
                p50_us: histogram.value_at_quantile(0.5),
                p99_us: histogram.value_at_quantile(0.99),
                p999_us: histogram.value_at_quantile(0.999),
                max_us: histogram.max(),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latency = Latency::new();
        for micros in 1..=1000 {
            latency.record(Duration::from_micros(micros));
        }
        latency.record(Duration::from_secs(3600));
        let percentiles = latency.percentiles();
        assert!((495..=510).contains(&percentiles.p50_us), "{percentiles:?}");
        assert!(
            (985..=1000).contains(&percentiles.p99_us),
            "{percentiles:?}"
        );
        assert!(
            percentiles.max_us >= LONGEST_US - LONGEST_US / 100,
            "{percentiles:?}"
        );
    }
}
