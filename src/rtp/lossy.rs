//! A bad network as a function: seeded loss and jitter, for tests and for `transcribe`.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Loses and delays packets; the same seed does the same.
pub struct LossyNetwork {
    random: StdRng,
    loss: f64,
    jitter: Duration,
}

impl LossyNetwork {
    /// Loses a `loss` of 0.0 to 1.0 of the packets and delays each of the rest by up to `jitter`, which reorders them.
    #[must_use]
    pub fn new(seed: u64, loss: f64, jitter: Duration) -> Self {
        Self {
            random: StdRng::seed_from_u64(seed),
            loss: loss.clamp(0.0, 1.0),
            jitter,
        }
    }

    /// When a packet sent at `sent` arrives, if it does.
    pub fn carry(&mut self, sent: Instant) -> Option<Instant> {
        let (lost, delay) = (
            self.random.random_bool(self.loss),
            self.random.random_range(0.0..=1.0),
        );
        (!lost).then(|| sent + self.jitter.mul_f64(delay))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_decides_which_packets_are_lost_and_how_late_the_others_are() {
        let start = Instant::now();
        let carried = |seed| {
            let mut network = LossyNetwork::new(seed, 0.1, Duration::from_millis(40));
            (0..10_000)
                .map(|_| network.carry(start))
                .collect::<Vec<_>>()
        };
        let one = carried(1);
        assert_eq!(one, carried(1));
        assert_ne!(one, carried(2));
        let lost = one.iter().filter(|arrival| arrival.is_none()).count();
        assert!((800..1_200).contains(&lost), "{lost} of 10000");
        let latest = one.iter().flatten().max().expect("some arrive");
        assert!(
            *latest - start > Duration::from_millis(38)
                && *latest - start <= Duration::from_millis(40)
        );
    }
}
