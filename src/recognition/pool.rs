//! The recognition workers and the queue before them: one thread a core, the most urgent utterance first.
//!
//! | waiting | bound | when full |
//! |---|---|---|
//! | partials | one a leg of a call, as many as `capacity` | the newer replaces the older of its leg; beyond the bound it is shed |
//! | end-points and finals | `capacity` | end-points give way; then the newcomer is [`Outcome::Shed`], which becomes a visible gap |
//!
//! Whatever hurts recognition stays here: submitting never blocks and every job gets exactly one outcome.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use crate::speech::{Outcome, Pass, Recognizer, RecognizerError, Utterance, UtteranceKey};

/// How far behind the other threads the workers stand: a waiting packet runs at once, recognition gets the rest.
const NICE: i32 = 5;

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
        (self.reply)(self.utterance.key, outcome);
    }

    /// Later passes over the same utterance, and later partials of the same leg, make this one needless.
    fn yields_to(&self, newer: &Utterance) -> bool {
        let (held, newer_key) = (&self.utterance.key, &newer.key);
        let same_leg = held.call == newer_key.call && held.leg == newer_key.leg;
        same_leg
            && match self.utterance.pass {
                Pass::Partial => true,
                Pass::Endpoint => held.id == newer_key.id,
                Pass::Final => false,
            }
    }
}

/// How busy the workers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Threads that recognise.
    pub workers: usize,
    /// Jobs under way.
    pub running: usize,
    /// Partials that wait.
    pub partials: usize,
    /// End-points and finals that wait.
    pub finals: usize,
}

struct Running {
    utterance: Utterance,
    abort: Option<Arc<AtomicBool>>,
}

struct Queue {
    waiting: VecDeque<Job>,
    running: Vec<Option<Running>>,
    closed: bool,
}

impl Queue {
    fn count(&self, urgent: bool) -> usize {
        self.waiting
            .iter()
            .filter(|job| is_urgent(job.utterance.pass) == urgent)
            .count()
    }

    /// Takes out the most urgent job.
    fn next(&mut self) -> Option<Job> {
        let (at, _) = self
            .waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, job)| (!is_urgent(job.utterance.pass), job.due))?;
        self.waiting.remove(at)
    }

    /// Gives up the partials that stand in the way of `newer`: one of its own leg, or any when no worker is free.
    fn make_way(&self, newer: &Utterance) {
        let idle = self.running.iter().any(Option::is_none);
        let partial = |running: &&Running| running.utterance.pass == Pass::Partial;
        let own = self
            .running
            .iter()
            .flatten()
            .filter(partial)
            .find(|running| {
                let key = &running.utterance.key;
                key.call == newer.key.call && key.leg == newer.key.leg
            });
        let victim = match own {
            Some(own) => Some(own),
            None if idle => None,
            None => self
                .running
                .iter()
                .flatten()
                .filter(partial)
                .max_by_key(|running| running.utterance.end),
        };
        if let Some(abort) = victim.and_then(|running| running.abort.as_ref()) {
            abort.store(true, Ordering::Relaxed);
        }
    }
}

const fn is_urgent(pass: Pass) -> bool {
    matches!(pass, Pass::Endpoint | Pass::Final)
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

    /// Takes a job, or answers it at once when there is no room.
    pub fn submit(&self, job: Job) {
        let urgent = is_urgent(job.utterance.pass);
        let mut dropped = Vec::new();
        let refused = {
            let mut queue = self.shared.lock();
            let mut at = 0;
            while at < queue.waiting.len() {
                if queue.waiting[at].yields_to(&job.utterance) {
                    dropped.extend(queue.waiting.remove(at));
                } else {
                    at += 1;
                }
            }
            if urgent && queue.count(true) >= self.shared.capacity {
                let endpoint = queue
                    .waiting
                    .iter()
                    .rposition(|job| job.utterance.pass == Pass::Endpoint);
                dropped.extend(endpoint.and_then(|at| queue.waiting.remove(at)));
            }
            if queue.closed || queue.count(urgent) >= self.shared.capacity {
                Some(job)
            } else {
                if urgent {
                    queue.make_way(&job.utterance);
                }
                queue.waiting.push_back(job);
                None
            }
        };
        match refused {
            Some(job) => job.finish(Outcome::Shed),
            None => self.shared.changed.notify_one(),
        }
        for job in dropped {
            job.finish(Outcome::Superseded);
        }
    }

    /// How busy the workers are now.
    #[must_use]
    pub fn load(&self) -> Load {
        let queue = self.shared.lock();
        Load {
            workers: queue.running.len(),
            running: queue.running.iter().flatten().count(),
            partials: queue.count(false),
            finals: queue.count(true),
        }
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
        for job in left {
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
        let job = {
            let mut queue = shared.lock();
            loop {
                if queue.closed {
                    return;
                }
                if let Some(job) = queue.next() {
                    queue.running[worker] = Some(Running {
                        utterance: job.utterance.clone(),
                        abort: abort.clone(),
                    });
                    break job;
                }
                queue = shared
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        };
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
            let mut queue = shared.lock();
            queue.running[worker] = None;
            // Asked for too late to matter: the next job must not suffer for it.
            if let Some(abort) = &abort {
                abort.store(false, Ordering::Relaxed);
            }
        }
        job.finish(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::audio::MediaTime;
    use crate::private::Private;
    use crate::speech::{CallId, Hypothesis, Leg, Prompt};

    /// Says the utterance's number once the test opens the gate; panics and aborts when told so.
    struct Gated {
        gate: Arc<Mutex<mpsc::Receiver<Order>>>,
        abort: Arc<AtomicBool>,
        began: mpsc::SyncSender<u32>,
    }

    enum Order {
        Speak,
        Panic,
        UntilAborted,
    }

    impl Recognizer for Gated {
        fn transcribe(&mut self, utterance: &Utterance) -> Result<Hypothesis, RecognizerError> {
            self.began.send(utterance.key.id).expect("the test listens");
            let order = self
                .gate
                .lock()
                .expect("one at a time")
                .recv()
                .expect("the test orders");
            match order {
                Order::Speak => {}
                Order::Panic => panic!("as ordered"),
                Order::UntilAborted => {
                    let patience = Instant::now() + Duration::from_secs(10);
                    while !self.abort.swap(false, Ordering::Relaxed) {
                        assert!(Instant::now() < patience, "nobody aborted it");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    return Err(RecognizerError::Aborted);
                }
            }
            Ok(Hypothesis {
                text: Private::new(utterance.key.id.to_string()),
                words: Vec::new(),
                confidence: 1.0,
                took: Duration::ZERO,
            })
        }

        fn abort_flag(&self) -> Option<Arc<AtomicBool>> {
            Some(self.abort.clone())
        }
    }

    struct Bench {
        pool: RecognitionPool,
        orders: mpsc::SyncSender<Order>,
        began: mpsc::Receiver<u32>,
        outcomes: mpsc::Receiver<(u32, &'static str)>,
        sender: mpsc::SyncSender<(u32, &'static str)>,
        epoch: Instant,
    }

    impl Bench {
        fn new(capacity: usize) -> Self {
            let (orders, gate) = mpsc::sync_channel(64);
            let (began_in, began) = mpsc::sync_channel(64);
            let (sender, outcomes) = mpsc::sync_channel(64);
            let gate = Arc::new(Mutex::new(gate));
            let pool = RecognitionPool::start(1, capacity, move || {
                Ok(Gated {
                    gate: gate.clone(),
                    abort: Arc::default(),
                    began: began_in.clone(),
                })
            })
            .expect("threads");
            Self {
                pool,
                orders,
                began,
                outcomes,
                sender,
                epoch: Instant::now(),
            }
        }

        fn submit(&self, call: &str, id: u32, revision: u32, pass: Pass, due_ms: u64) {
            let sender = self.sender.clone();
            self.pool.submit(Job {
                utterance: Utterance {
                    key: UtteranceKey {
                        call: CallId::new(call),
                        leg: Leg::Caller,
                        id,
                        revision,
                    },
                    pass,
                    samples: Arc::new([]),
                    start: MediaTime::ZERO,
                    voice: MediaTime::ZERO,
                    end: MediaTime::ZERO,
                    prompt: Prompt::default(),
                },
                due: self.epoch + Duration::from_millis(due_ms),
                reply: Box::new(move |key, outcome| {
                    let outcome = match outcome {
                        Outcome::Recognized(_) => "recognized",
                        Outcome::Superseded => "superseded",
                        Outcome::Shed => "shed",
                        Outcome::Failed(_) => "failed",
                    };
                    sender.send((key.id, outcome)).expect("room");
                }),
            });
        }

        fn order(&self, order: Order) {
            self.orders.send(order).expect("a worker");
        }

        fn begun(&self) -> u32 {
            self.began
                .recv_timeout(Duration::from_secs(10))
                .expect("a job begins")
        }

        fn outcome(&self) -> (u32, &'static str) {
            self.outcomes
                .recv_timeout(Duration::from_secs(10))
                .expect("an outcome")
        }
    }

    #[test]
    fn finals_go_before_partials_and_among_themselves_by_deadline() {
        let bench = Bench::new(8);
        bench.submit("busy", 0, 1, Pass::Final, 0);
        assert_eq!(bench.begun(), 0);
        bench.submit("a", 1, 1, Pass::Partial, 1);
        bench.submit("b", 2, 1, Pass::Final, 30);
        bench.submit("c", 3, 1, Pass::Endpoint, 20);
        for _ in 0..4 {
            bench.order(Order::Speak);
        }
        assert_eq!([bench.begun(), bench.begun(), bench.begun()], [3, 2, 1]);
    }

    #[test]
    fn a_waiting_partial_gives_way_to_a_newer_pass_of_its_leg() {
        let bench = Bench::new(8);
        bench.submit("busy", 0, 1, Pass::Final, 0);
        bench.begun();
        bench.submit("a", 1, 1, Pass::Partial, 1);
        bench.submit("a", 1, 2, Pass::Partial, 2);
        assert_eq!(bench.outcome(), (1, "superseded"));
        bench.submit("a", 1, 3, Pass::Final, 3);
        assert_eq!(bench.outcome(), (1, "superseded"));
        bench.submit("b", 7, 1, Pass::Partial, 3);
        assert_eq!(
            bench.pool.load(),
            Load {
                workers: 1,
                running: 1,
                partials: 1,
                finals: 1
            }
        );
        for _ in 0..3 {
            bench.order(Order::Speak);
        }
        assert_eq!(bench.outcome(), (0, "recognized"));
        assert_eq!(bench.outcome(), (1, "recognized"));
        assert_eq!(bench.outcome(), (7, "recognized"));
    }

    #[test]
    fn a_final_takes_the_worker_of_a_running_partial() {
        let bench = Bench::new(8);
        bench.order(Order::UntilAborted);
        bench.submit("a", 1, 1, Pass::Partial, 1);
        bench.begun();
        bench.order(Order::Speak);
        bench.submit("b", 2, 1, Pass::Final, 9);
        assert_eq!(bench.outcome(), (1, "superseded"));
        assert_eq!(bench.outcome(), (2, "recognized"));
    }

    #[test]
    fn finals_beyond_the_capacity_are_shed_after_the_end_points_were() {
        let bench = Bench::new(2);
        bench.submit("busy", 0, 1, Pass::Final, 0);
        bench.begun();
        bench.submit("a", 1, 1, Pass::Endpoint, 1);
        bench.submit("b", 2, 1, Pass::Final, 2);
        bench.submit("c", 3, 1, Pass::Final, 3);
        assert_eq!(bench.outcome(), (1, "superseded"));
        bench.submit("d", 4, 1, Pass::Final, 4);
        assert_eq!(bench.outcome(), (4, "shed"));
        for _ in 0..3 {
            bench.order(Order::Speak);
        }
        assert_eq!(
            [bench.outcome().0, bench.outcome().0, bench.outcome().0],
            [0, 2, 3]
        );
    }

    #[test]
    fn a_panic_of_the_engine_is_one_failed_job_and_the_worker_goes_on() {
        let bench = Bench::new(8);
        bench.order(Order::Panic);
        bench.order(Order::Speak);
        bench.submit("a", 1, 1, Pass::Final, 1);
        bench.submit("a", 2, 1, Pass::Final, 2);
        assert_eq!(bench.outcome(), (1, "failed"));
        assert_eq!(bench.outcome(), (2, "recognized"));
    }

    #[test]
    fn dropping_the_pool_answers_every_job() {
        let bench = Bench::new(8);
        bench.order(Order::UntilAborted);
        bench.submit("a", 1, 1, Pass::Final, 1);
        bench.begun();
        bench.submit("a", 2, 1, Pass::Final, 2);
        let Bench { pool, outcomes, .. } = bench;
        drop(pool);
        let mut all = [outcomes.recv().expect("one"), outcomes.recv().expect("two")];
        all.sort_unstable();
        assert_eq!(all, [(1, "superseded"), (2, "shed")]);
    }
}
