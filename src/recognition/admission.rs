//! How much recognition the machine has time for: what passes cost, what finals need, and what is left for partials.
//!
//! Finals and end-points are always taken. Partials get the share of the workers that those leave free: each leg earns
//! a part of a pass with every one that it asks for, so that under load every leg's partials become rarer alike, and
//! none is begun for which a final would have to wait. The measures are of offered work, not of done work, so the
//! partials give way before the workers are full, and what has piled up always melts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::speech::segmenter::RATE;
use crate::speech::{CallId, Leg, Utterance};

/// The encoder hears this much beyond the clip.
const WINDOW_MARGIN: f64 = 3.0;
/// Seconds of work for a second of window, before any was measured: a small model on one core.
const FIRST_COST: f64 = 0.06;
/// How much a new measurement counts.
const COST_WEIGHT: f64 = 0.1;
/// How long offered work is remembered.
const MEMORY: Duration = Duration::from_secs(6);
/// The share of the workers that may be promised.
const PROMISED: f64 = 0.85;
/// A leg that has asked for nothing for so long is forgotten.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// Work offered a second, in workers.
#[derive(Clone, Copy, Debug)]
struct Rate {
    value: f64,
    at: Instant,
}

impl Rate {
    const fn new(now: Instant) -> Self {
        Self {
            value: 0.0,
            at: now,
        }
    }

    fn now(&self, now: Instant) -> f64 {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.value * (-age / MEMORY.as_secs_f64()).exp()
    }

    fn add(&mut self, now: Instant, work: Duration) {
        self.value = self.now(now) + work.as_secs_f64() / MEMORY.as_secs_f64();
        self.at = now;
    }
}

struct Credit {
    earned: f64,
    asked: Instant,
}

/// Decides which partials are worth their work.
pub struct Admission {
    workers: f64,
    cost: f64,
    urgent: Rate,
    partial: Rate,
    legs: HashMap<(CallId, Leg), Credit>,
}

impl Admission {
    /// For so many workers.
    pub fn new(workers: usize, now: Instant) -> Self {
        Self {
            workers: workers as f64,
            cost: FIRST_COST,
            urgent: Rate::new(now),
            partial: Rate::new(now),
            legs: HashMap::new(),
        }
    }

    /// What a pass will take.
    pub fn expected(&self, utterance: &Utterance) -> Duration {
        Duration::from_secs_f64(self.cost * window(utterance))
    }

    /// Notes what a pass took.
    pub fn learn(&mut self, utterance: &Utterance, took: Duration) {
        let cost = took.as_secs_f64() / window(utterance);
        self.cost += COST_WEIGHT * (cost - self.cost);
    }

    /// Notes a final or an end-point that has come in.
    pub fn urgent(&mut self, now: Instant, utterance: &Utterance) {
        let work = self.expected(utterance);
        self.urgent.add(now, work);
    }

    /// How many partials are asked for each that can be made; infinite when there is no time for any.
    pub fn stretch(&self, now: Instant) -> f64 {
        let room = PROMISED * self.workers - self.urgent.now(now);
        if room <= 0.0 {
            return f64::INFINITY;
        }
        (self.partial.now(now) / room).max(1.0)
    }

    /// The share of the workers that finals and end-points ask for; above 1 they cannot keep up.
    pub fn urgency(&self, now: Instant) -> f64 {
        self.urgent.now(now) / self.workers
    }

    /// Whether a partial may be made.
    pub fn admits(&mut self, now: Instant, utterance: &Utterance) -> bool {
        let work = self.expected(utterance);
        self.partial.add(now, work);
        let stretch = self.stretch(now);
        self.legs
            .retain(|_, credit| now.saturating_duration_since(credit.asked) < FORGOTTEN);
        let leg = (utterance.key.call.clone(), utterance.key.leg);
        // The first partial of somebody who begins to speak comes at once, if there is time for any.
        let credit = self.legs.entry(leg).or_insert(Credit {
            earned: 1.0 - 1.0 / stretch,
            asked: now,
        });
        credit.asked = now;
        credit.earned = (credit.earned + 1.0 / stretch).min(1.0);
        // A hair below one, for what three thirds are not.
        let admitted = stretch.is_finite() && credit.earned > 0.999;
        if admitted {
            credit.earned -= 1.0;
        }
        admitted
    }
}

fn window(utterance: &Utterance) -> f64 {
    RATE.duration_of(utterance.samples.len() as u64)
        .as_secs_f64()
        + WINDOW_MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::{Pass, Prompt, UtteranceKey};

    fn utterance(call: &str, seconds: usize) -> Utterance {
        Utterance {
            key: UtteranceKey {
                call: CallId::new(call),
                leg: Leg::Caller,
                id: 0,
                revision: 1,
            },
            pass: Pass::Partial,
            samples: vec![0.0; seconds * 16_000].into(),
            start: MediaTime::ZERO,
            voice: MediaTime::ZERO,
            end: MediaTime::ZERO,
            prompt: Prompt::default(),
        }
    }

    /// A minute of `calls` legs that speak without end: each asks for a partial each 900 ms and brings a final of 5 s
    /// each 5 s. Each pass costs 50 ms a second of window. Gives the partials made a leg, and the work promised in all
    /// as a share of the workers.
    fn minute(calls: usize, workers: usize) -> (Vec<usize>, f64) {
        let start = Instant::now();
        let mut admission = Admission::new(workers, start);
        let mut made = vec![0; calls];
        let mut work = 0.0;
        for tick in 0..600_u32 {
            let now = start + Duration::from_millis(100) * tick;
            for (call, made) in made.iter_mut().enumerate() {
                let phase = tick as usize + call * 7;
                let utterance = utterance(&call.to_string(), 5);
                if phase.is_multiple_of(50) {
                    admission.urgent(now, &utterance);
                    work += 0.4;
                }
                if phase.is_multiple_of(9) && admission.admits(now, &utterance) {
                    admission.learn(&utterance, Duration::from_millis(400));
                    *made += 1;
                    work += 0.4;
                }
            }
        }
        (made, work / 60.0 / workers as f64)
    }

    #[test]
    fn with_time_to_spare_every_partial_is_made() {
        let (made, _) = minute(2, 2);
        assert!(made.iter().all(|made| *made >= 65), "{made:?}");
    }

    #[test]
    fn under_load_the_partials_of_all_legs_become_rarer_alike_and_the_workers_are_not_overfilled() {
        let (made, busy) = minute(8, 2);
        let (least, most) = (made.iter().min(), made.iter().max());
        let (least, most) = (*least.expect("legs"), *most.expect("legs"));
        assert!(least > 10 && most < 50 && most <= least + 4, "{made:?}");
        assert!(busy < 0.95, "{busy}");
    }

    #[test]
    fn when_finals_fill_the_workers_no_partial_is_made_and_they_come_back_with_the_time() {
        let start = Instant::now();
        let mut admission = Admission::new(1, start);
        for second in 0..20 {
            let now = start + Duration::from_secs(second);
            admission.urgent(now, &utterance("a", 15));
            admission.urgent(now, &utterance("b", 15));
        }
        let busy = start + Duration::from_secs(20);
        assert!(admission.urgency(busy) > 1.0);
        assert!(!admission.admits(busy, &utterance("c", 2)));
        assert!(admission.stretch(busy).is_infinite());
        let later = busy + Duration::from_secs(20);
        assert!(admission.admits(later, &utterance("c", 2)));
    }

    #[test]
    fn a_slower_machine_is_noticed() {
        let mut admission = Admission::new(1, Instant::now());
        let clip = utterance("a", 5);
        for _ in 0..60 {
            admission.learn(&clip, Duration::from_secs(2));
        }
        let expected = admission.expected(&clip).as_secs_f64();
        assert!((1.9..2.1).contains(&expected), "{expected}");
    }
}
