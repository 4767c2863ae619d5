//! What the gateway tells its keepers: metrics for Prometheus, and whether it is alive and ready for calls.
//!
//! Rooms count through the `metrics` crate; the one recorder of the process is here. No label holds personal data. What
//! others can make us log is logged through [`Sparse`].

mod drops;

use std::fmt;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use serde::Serialize;
use tracing::warn;

use self::drops::Drops;

/// Bounds of the histograms of times: from a packet to a hopeless backlog.
const SECONDS: [f64; 16] = [
    0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0,
];

/// Starts counting, once a process; later calls do nothing.
pub fn start() {
    handle();
}

/// All metrics in Prometheus' text format.
#[must_use]
pub fn metrics() -> String {
    static DROPS: Mutex<Option<Drops>> = Mutex::new(None);
    handle().map_or_else(String::new, |handle| {
        let mut drops = DROPS.lock().unwrap_or_else(PoisonError::into_inner);
        drops.get_or_insert_default().look();
        // Moves what was counted since the last look into the histograms, so that memory stays bounded.
        handle.run_upkeep();
        handle.render()
    })
}

fn handle() -> Option<&'static PrometheusHandle> {
    static HANDLE: OnceLock<Option<PrometheusHandle>> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new()
                .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)
                .map(PrometheusBuilder::build_recorder)
                .inspect_err(|error| warn!("no metrics: {error}"))
                .ok()?;
            let handle = recorder.handle();
            // Fails only when somebody who embeds this library counts already; then they have the metrics.
            metrics::set_global_recorder(recorder)
                .inspect_err(|error| warn!("metrics go elsewhere: {error}"))
                .ok()?;
            Some(handle)
        })
        .as_ref()
}

/// Lets one line of a kind through in a while, and counts the others.
#[derive(Debug)]
pub struct Sparse {
    every: Duration,
    last: Mutex<(Option<Instant>, u64)>,
}

impl Sparse {
    /// At most one line in each `every`.
    #[must_use]
    pub const fn new(every: Duration) -> Self {
        Self {
            every,
            last: Mutex::new((None, 0)),
        }
    }

    /// Whether to say it now, and how many were not said since the last one that was.
    pub fn take(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (said, unsaid) = &mut *last;
        if said.is_some_and(|said| now.saturating_duration_since(said) < self.every) {
            *unsaid += 1;
            return None;
        }
        *said = Some(now);
        Some(std::mem::take(unsaid))
    }
}

/// Whether calls may be sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything is open yet.
    Starting,
    /// Calls are taken.
    Ready,
    /// Running calls go on; new ones are refused.
    Draining,
}

/// What a part of the gateway cannot do for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Records do not come to disk, or to the database's server.
    RecordsUnwritten,
    /// Calls are not recorded, for want of room.
    RecordingStopped,
}

/// Says why a part cannot do something for now, if it cannot.
type Check = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// The state of a gateway, told to whoever asks.
pub struct Readiness {
    state: AtomicU8,
    checks: Mutex<Vec<(Fault, Check)>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self {
            state: AtomicU8::new(State::Starting as u8),
            checks: Mutex::default(),
        }
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Readiness").field(&self.get()).finish()
    }
}

impl Readiness {
    /// Moves on.
    pub fn set(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }

    /// Where it stands.
    pub fn get(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            0 => State::Starting,
            1 => State::Ready,
            _ => State::Draining,
        }
    }

    /// Asks `check` from now on too whether there is this fault; it must answer at once, and name nobody.
    pub fn watch(&self, fault: Fault, check: impl Fn() -> Option<String> + Send + Sync + 'static) {
        self.checks().push((fault, Box::new(check)));
    }

    /// What cannot be done for now, each with a sentence that says why.
    pub fn faults(&self) -> Vec<(Fault, String)> {
        let checks = self.checks();
        let faults = checks
            .iter()
            .filter_map(|(fault, check)| Some((*fault, check()?)));
        faults.collect()
    }

    fn checks(&self) -> MutexGuard<'_, Vec<(Fault, Check)>> {
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_stands_in_the_text() {
        start();
        start();
        metrics::counter!("telemetry_test_total", "kind" => "a").increment(3);
        metrics::histogram!("telemetry_test_seconds").record(0.4);
        let text = metrics();
        assert!(
            text.contains("telemetry_test_total{kind=\"a\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("telemetry_test_seconds_bucket{le=\"0.5\"} 1"),
            "{text}"
        );
    }

    #[test]
    fn a_flood_of_lines_is_one_a_second_with_their_number() {
        let (sparse, now) = (Sparse::new(Duration::from_secs(1)), Instant::now());
        let said: Vec<_> = (0..2_500_u64)
            .filter_map(|line| sparse.take(now + Duration::from_millis(line)))
            .collect();
        assert_eq!(said, [0, 999, 999]);
    }

    #[test]
    fn a_gateway_starts_is_ready_and_drains() {
        let readiness = Readiness::default();
        assert_eq!(readiness.get(), State::Starting);
        for state in [State::Ready, State::Draining] {
            readiness.set(state);
            assert_eq!(readiness.get(), state);
        }
    }

    #[test]
    fn what_a_part_cannot_do_is_told_while_it_lasts() {
        let readiness = Readiness::default();
        let is_full = std::sync::Arc::new(AtomicU8::new(0));
        let disk = is_full.clone();
        let full = "the disk is full".to_owned();
        let told = vec![(Fault::RecordsUnwritten, full.clone())];
        readiness.watch(Fault::RecordingStopped, || None);
        readiness.watch(Fault::RecordsUnwritten, move || {
            (disk.load(Ordering::Relaxed) > 0).then(|| full.clone())
        });
        assert_eq!(readiness.faults(), []);
        is_full.store(1, Ordering::Relaxed);
        assert_eq!(readiness.faults(), told);
        is_full.store(0, Ordering::Relaxed);
        assert_eq!(readiness.faults(), []);
    }
}
