//! What recognition tells the metrics; `/metrics` of the console shows it, under the names below.

use std::time::Instant;

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use super::pool::Load;
use crate::speech::segmenter::RATE;
use crate::speech::{Outcome, Pass, RecognizerError, Utterance};

const PASSES: &str = "xinqiao_recognition_passes_total";
const LATE: &str = "xinqiao_recognition_late_seconds";
const WAIT: &str = "xinqiao_recognition_wait_seconds";
const WORK: &str = "xinqiao_recognition_work_seconds";
const HEARD: &str = "xinqiao_recognition_audio_seconds";
const WAITING: &str = "xinqiao_recognition_waiting";
const BACKLOG: &str = "xinqiao_recognition_backlog_seconds";
const RUNNING: &str = "xinqiao_recognition_running";
const WORKERS: &str = "xinqiao_recognition_workers";
const URGENCY: &str = "xinqiao_recognition_urgent_share";
const STRETCH: &str = "xinqiao_recognition_partial_stretch";
/// What a gauge shows for "no partial at all".
const NEVER: f64 = 1_000.0;

/// Says what each means.
pub fn describe() {
    describe_counter!(PASSES, "passes by kind and by what became of them");
    describe_histogram!(
        LATE,
        "how long after it was due a pass was done; 0 for in time"
    );
    describe_histogram!(WAIT, "how long a pass waited for a worker");
    describe_histogram!(WORK, "how long a worker was at a pass");
    describe_histogram!(HEARD, "how much sound a pass heard");
    describe_gauge!(WAITING, "passes that wait for a worker");
    describe_gauge!(BACKLOG, "how long a final that came now would wait");
    describe_gauge!(RUNNING, "workers at work");
    describe_gauge!(WORKERS, "workers");
    describe_gauge!(
        URGENCY,
        "share of the workers that finals ask for; above 1 they cannot keep up"
    );
    describe_gauge!(
        STRETCH,
        "tentative lines asked for each that is made; 1000 when none is"
    );
}

const fn name(pass: Pass) -> &'static str {
    match pass {
        Pass::Partial => "partial",
        Pass::Endpoint => "endpoint",
        Pass::Final => "final",
        Pass::Review => "review",
    }
}

/// A pass has its outcome.
pub fn outcome(pass: Pass, outcome: &Outcome) {
    let became = match outcome {
        Outcome::Recognized(_) => "recognized",
        Outcome::Superseded | Outcome::Failed(RecognizerError::Aborted) => "superseded",
        Outcome::Shed => "shed",
        Outcome::Failed(RecognizerError::Engine(_)) => "failed",
    };
    counter!(PASSES, "pass" => name(pass), "outcome" => became).increment(1);
}

/// A worker has done a pass that came, began and ended at these times.
pub fn pass(utterance: &Utterance, due: Instant, came: Instant, began: Instant, ended: Instant) {
    let pass = name(utterance.pass);
    let heard = RATE.duration_of(utterance.samples.len() as u64);
    let wait = began.saturating_duration_since(came);
    let work = ended.saturating_duration_since(began);
    let late = ended.saturating_duration_since(due);
    let key = &utterance.key;
    tracing::trace!(pass, call = %key.call, leg = %key.leg, id = key.id, ?heard, ?wait, ?work, ?late, "recognition pass");
    histogram!(WAIT, "pass" => pass).record(wait);
    histogram!(WORK, "pass" => pass).record(work);
    histogram!(LATE, "pass" => pass).record(late);
    histogram!(HEARD, "pass" => pass).record(heard);
}

/// The queue has changed.
pub fn load(load: &Load, urgency: f64) {
    gauge!(WAITING, "pass" => "partial").set(load.partials as f64);
    gauge!(WAITING, "pass" => "urgent").set(load.finals as f64);
    gauge!(BACKLOG).set(load.wait);
    gauge!(RUNNING).set(load.running as f64);
    gauge!(WORKERS).set(load.workers as f64);
    gauge!(URGENCY).set(urgency);
    gauge!(STRETCH).set(load.stretch.min(NEVER));
}
