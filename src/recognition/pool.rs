//! The recognition workers and the queue before them: one thread a core, the most urgent utterance first.
//!
//! | waiting | bound | when full |
//! |---|---|---|
//! | partials | one a leg of a call, as many as `capacity` | the newer replaces the older of its leg; beyond the bound it is shed |
//! | end-points and finals | `capacity` | end-points give way; then the newcomer is [`Outcome::Shed`], which becomes a visible gap |
//!
//! Partials are taken as far as finals leave time for them (`admission`); an end-point pass, which may turn out to be
//! in vain, only while finals hardly wait; a review only by a worker that has nothing to do, and it gives way to
//! anything else. Where finals come to ask for much of the workers' time, they are recognised quickly rather than
//! carefully. Whatever hurts recognition stays here: submitting never blocks and every
//! job gets exactly one outcome.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::admission::Admission;
use super::measures;
use crate::speech::{Outcome, Pass, Recognizer, RecognizerError, Utterance, UtteranceKey};

/// How far behind the other threads the workers stand: a waiting packet runs at once, recognition gets the rest.
const NICE: i32 = 5;

/// When finals wait longer than this, passes that may be in vain are not begun.
const PATIENCE: Duration = Duration::from_millis(500);

/// The share of the workers that finals may ask for while their passes are careful: such a pass takes half as long again.
const CAREFUL: f64 = 0.5;

/// Takes the outcome, on a worker's or the submitter's thread: it must neither block nor submit.
pub type Reply = Box<dyn FnOnce(UtteranceKey, Outcome) + Send>;

/// An utterance, by when its text is wanted, and who wants it.
pub struct Job {
    /// What to recognise.
    pub utterance: Utterance,
    /// The sooner, the earlier its turn among jobs of its kind.
    pub due: Instant,
    /// Called exactly once.
    pub reply: Reply,
}

impl Job {
    fn finish(self, outcome: Outcome) {
        measures::outcome(self.utterance.pass, &outcome);
        (self.reply)(self.utterance.key, outcome);
    }

    /// Later passes over the same utterance, and later partials of the same leg, make this one needless.
    fn yields_to(&self, newer: &Utterance) -> bool {
        let (held, newer_key) = (&self.utterance.key, &newer.key);
        let same_leg = held.call == newer_key.call && held.leg == newer_key.leg;
        let is_review = newer.pass == Pass::Review;
        same_leg
            && match self.utterance.pass {
                Pass::Partial => !is_review,
                Pass::Endpoint => held.id == newer_key.id && !is_review,
                Pass::Final => false,
                Pass::Review => is_review,
            }
    }
}

/// How busy the workers are.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// Threads that recognise.
    pub workers: usize,
    /// Jobs under way.
    pub running: usize,
    /// Partials that wait.
    pub partials: usize,
    /// End-points and finals that wait.
    pub finals: usize,
    /// How long a final that comes now will wait.
    pub wait: Duration,
    /// Partials asked for each that is made; infinite when there is no time for any.
    pub stretch: f64,
}

struct Running {
    utterance: Utterance,
    abort: Option<Arc<AtomicBool>>,
    since: Instant,
}

impl Running {
    /// Whether it has been told to give its worker up, which takes it a moment.
    fn gives_way(&self) -> bool {
        let abort = self.abort.as_ref();
        abort.is_some_and(|abort| abort.load(Ordering::Relaxed))
    }
}

struct Queue {
    waiting: VecDeque<(Job, Instant)>,
    running: Vec<Option<Running>>,
    admission: Admission,
    unhurried: bool,
    closed: bool,
}

impl Queue {
    fn count(&self, urgent: bool) -> usize {
        self.waiting
            .iter()
            .filter(|(job, _)| is_urgent(job.utterance.pass) == urgent)
            .count()
    }

    /// Takes out the most urgent job, with when it came.
    fn next(&mut self) -> Option<(Job, Instant)> {
        let (at, _) = self
            .waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, (job, _))| (turn(job.utterance.pass), job.due))?;
        self.waiting.remove(at)
    }

    /// How long a final that comes now waits for its turn.
    fn wait(&self, now: Instant) -> Duration {
        let urgent = |utterance: &&Utterance| is_urgent(utterance.pass);
        let waiting: Duration = self
            .waiting
            .iter()
            .map(|(job, _)| &job.utterance)
            .filter(urgent)
            .map(|utterance| self.admission.expected(utterance))
            .sum();
        let busy = self.running.iter().flatten();
        let urgent: Vec<_> = busy
            .filter(|running| is_urgent(running.utterance.pass))
            .collect();
        // A partial under way gives its worker up.
        if waiting.is_zero() && urgent.len() < self.running.len() {
            return Duration::ZERO;
        }
        let running: Duration = urgent
            .iter()
            .map(|running| {
                let spent = now.saturating_duration_since(running.since);
                self.admission
                    .expected(&running.utterance)
                    .saturating_sub(spent)
            })
            .sum();
        (waiting + running) / self.running.len().max(1) as u32
    }

    fn load(&self, now: Instant) -> Load {
        Load {
            workers: self.running.len(),
            running: self.running.iter().flatten().count(),
            partials: self.count(false),
            finals: self.count(true),
            wait: self.wait(now),
            stretch: self.admission.stretch(now),
        }
    }

    /// Whether there is time for the job; finals always have it.
    fn has_time_for(&mut self, now: Instant, utterance: &Utterance) -> bool {
        match utterance.pass {
            Pass::Partial => self.admission.admits(now, utterance),
            Pass::Endpoint if self.wait(now) > PATIENCE => false,
            Pass::Endpoint | Pass::Final => {
                self.admission.urgent(now, utterance);
                true
            }
            Pass::Review => self.waiting.is_empty() && self.running.iter().any(Option::is_none),
        }
    }

    /// Whether the passes begun now are to be quick, for the sake of finals that wait or will come.
    fn is_short_of_time(&self, now: Instant) -> bool {
        !self.unhurried && (self.count(true) > 0 || self.admission.urgency(now) > CAREFUL)
    }

    /// Gives up what stands in the way of `newer`: of a final or an end-point the partial of its own leg, and when no
    /// worker is free a review or any partial; of a partial a review.
    fn make_way(&self, newer: &Utterance) {
        let idle = self.running.iter().any(Option::is_none);
        let under_way = |pass: Pass| {
            let running = self.running.iter().flatten();
            running.filter(move |running| running.utterance.pass == pass && !running.gives_way())
        };
        let review = under_way(Pass::Review).next().filter(|_| !idle);
        if !is_urgent(newer.pass) {
            let abort = review.filter(|_| newer.pass == Pass::Partial);
            if let Some(abort) = abort.and_then(|running| running.abort.as_ref()) {
                abort.store(true, Ordering::Relaxed);
            }
            return;
        }
        let own = under_way(Pass::Partial).find(|running| {
            let key = &running.utterance.key;
            key.call == newer.key.call && key.leg == newer.key.leg
        });
        let any = || under_way(Pass::Partial).max_by_key(|running| running.utterance.end);
        let victim = own.or(review).or_else(|| any().filter(|_| !idle));
        if let Some(abort) = victim.and_then(|running| running.abort.as_ref()) {
            abort.store(true, Ordering::Relaxed);
        }
    }
}

const fn is_urgent(pass: Pass) -> bool {
    matches!(pass, Pass::Endpoint | Pass::Final)
}

/// What goes first.
const fn turn(pass: Pass) -> u8 {
    match pass {
        Pass::Endpoint | Pass::Final => 0,
        Pass::Partial => 1,
        Pass::Review => 2,
    }
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics under the lock; if it did, the queue would still be whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The workers; dropping it gives up what waits and ends them.
pub struct RecognitionPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl RecognitionPool {
    /// Starts `workers` threads, each with a recogniser from `make`.
    ///
    /// # Errors
    /// The first recogniser that cannot be made, or a thread that the system refuses.
    pub fn start<R: Recognizer + 'static>(
        workers: usize,
        capacity: usize,
        make: impl Fn() -> Result<R, RecognizerError> + Send + Sync + 'static,
    ) -> Result<Self, RecognizerError> {
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue {
                waiting: VecDeque::new(),
                running: (0..workers).map(|_| None).collect(),
                admission: Admission::new(workers, Instant::now()),
                unhurried: false,
                closed: false,
            }),
            changed: Condvar::new(),
            capacity,
        });
        let make = Arc::new(make);
        let mut pool = Self {
            shared,
            threads: Vec::new(),
        };
        for worker in 0..workers {
            let recognizer = make()?;
            let (shared, make) = (pool.shared.clone(), make.clone());
            let thread = std::thread::Builder::new()
                .name(format!("recognise-{worker}"))
                .spawn(move || work(&shared, worker, recognizer, &*make))
                .map_err(|error| RecognizerError::Engine(format!("no thread for it: {error}")))?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// Recognises carefully, however much waits: for recordings, for which nobody does.
    #[must_use]
    pub fn unhurried(self) -> Self {
        self.shared.lock().unhurried = true;
        self
    }

    /// Takes a job, or answers it at once when there is no room.
    pub fn submit(&self, job: Job) {
        let urgent = is_urgent(job.utterance.pass);
        let now = Instant::now();
        let mut dropped = Vec::new();
        let refused = {
            let mut queue = self.shared.lock();
            let mut at = 0;
            while at < queue.waiting.len() {
                if queue.waiting[at].0.yields_to(&job.utterance) {
                    dropped.extend(queue.waiting.remove(at));
                } else {
                    at += 1;
                }
            }
            if urgent && queue.count(true) >= self.shared.capacity {
                let endpoint = queue
                    .waiting
                    .iter()
                    .rposition(|(job, _)| job.utterance.pass == Pass::Endpoint);
                dropped.extend(endpoint.and_then(|at| queue.waiting.remove(at)));
            }
            let refused = if queue.closed || queue.count(urgent) >= self.shared.capacity {
                Some((job, Outcome::Shed))
            } else if !queue.has_time_for(now, &job.utterance) {
                let outcome = match job.utterance.pass {
                    // Its words come with the final.
                    Pass::Endpoint => Outcome::Superseded,
                    Pass::Partial | Pass::Final | Pass::Review => Outcome::Shed,
                };
                Some((job, outcome))
            } else {
                queue.make_way(&job.utterance);
                queue.waiting.push_back((job, now));
                None
            };
            measures::load(&queue.load(now), queue.admission.urgency(now));
            refused
        };
        match refused {
            Some((job, outcome)) => job.finish(outcome),
            None => self.shared.changed.notify_one(),
        }
        for (job, _) in dropped {
            job.finish(Outcome::Superseded);
        }
    }

    /// How busy the workers are now.
    #[must_use]
    pub fn load(&self) -> Load {
        self.shared.lock().load(Instant::now())
    }
}

impl Drop for RecognitionPool {
    fn drop(&mut self) {
        let left = {
            let mut queue = self.shared.lock();
            queue.closed = true;
            for abort in queue
                .running
                .iter()
                .flatten()
                .filter_map(|running| running.abort.as_ref())
            {
                abort.store(true, Ordering::Relaxed);
            }
            std::mem::take(&mut queue.waiting)
        };
        self.shared.changed.notify_all();
        for (job, _) in left {
            job.finish(Outcome::Shed);
        }
        for thread in self.threads.drain(..) {
            // A worker catches the panics of its recogniser; there is nothing else to hear from it.
            let _ = thread.join();
        }
    }
}

fn work<R: Recognizer>(
    shared: &Shared,
    worker: usize,
    mut recognizer: R,
    make: &dyn Fn() -> Result<R, RecognizerError>,
) {
    // Media and signalling go first when the machine is full; where it is not allowed, the order is only less strict.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
    loop {
        let abort = recognizer.abort_flag();
        let (job, came, began, hurried) = {
            let mut queue = shared.lock();
            loop {
                if queue.closed {
                    return;
                }
                if let Some((job, came)) = queue.next() {
                    let since = Instant::now();
                    queue.running[worker] = Some(Running {
                        utterance: job.utterance.clone(),
                        abort: abort.clone(),
                        since,
                    });
                    break (job, came, since, queue.is_short_of_time(since));
                }
                queue = shared
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
        recognizer.hurry(hurried);
        let outcome = match catch_unwind(AssertUnwindSafe(|| recognizer.transcribe(&job.utterance)))
        {
            Ok(Ok(hypothesis)) => Outcome::Recognized(hypothesis),
            Ok(Err(RecognizerError::Aborted)) => Outcome::Superseded,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => {
                // Its state may be anything now; the model is shared and read-only.
                if let Ok(renewed) = make() {
                    recognizer = renewed;
                }
                Outcome::Failed(RecognizerError::Engine("it panicked".to_owned()))
            }
        };
        {
            let (now, mut queue) = (Instant::now(), shared.lock());
            queue.running[worker] = None;
            if let Outcome::Recognized(hypothesis) = &outcome {
                queue.admission.learn(&job.utterance, hypothesis.took);
            }
            measures::pass(&job.utterance, job.due, came, began, now);
            measures::load(&queue.load(now), queue.admission.urgency(now));
            // Asked for too late to matter: the next job must not suffer for it.
            if let Some(abort) = &abort {
                abort.store(false, Ordering::Relaxed);
            }
        }
        job.finish(outcome);
    }
}

#[cfg(test)]
mod tests;
