//! Tests of the queue with a recogniser that waits for the test.

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
    hurried: Arc<AtomicBool>,
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

    fn hurry(&mut self, hurried: bool) {
        self.hurried.store(hurried, Ordering::Relaxed);
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
    hurried: Arc<AtomicBool>,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let (orders, gate) = mpsc::sync_channel(64);
        let (began_in, began) = mpsc::sync_channel(64);
        let (sender, outcomes) = mpsc::sync_channel(64);
        let gate = Arc::new(Mutex::new(gate));
        let hurried = Arc::new(AtomicBool::new(false));
        let told = hurried.clone();
        let pool = RecognitionPool::start(1, capacity, move || {
            Ok(Gated {
                gate: gate.clone(),
                abort: Arc::default(),
                began: began_in.clone(),
                hurried: told.clone(),
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
            hurried,
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
                samples: Vec::new().into(),
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
    let load = bench.pool.load();
    assert_eq!((load.workers, load.running), (1, 1));
    assert_eq!((load.partials, load.finals), (1, 1));
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
fn when_finals_wait_partials_are_shed_and_end_points_left_to_their_finals() {
    let bench = Bench::new(64);
    for id in 0..40 {
        bench.submit(&id.to_string(), id, 1, Pass::Final, 1);
    }
    bench.begun();
    assert!(bench.pool.load().wait > PATIENCE);
    bench.submit("a", 50, 1, Pass::Endpoint, 1);
    assert_eq!(bench.outcome(), (50, "superseded"));
    bench.submit("b", 51, 1, Pass::Partial, 1);
    assert_eq!(bench.outcome(), (51, "shed"));
    for _ in 0..40 {
        bench.order(Order::Speak);
    }
    for _ in 0..40 {
        assert_eq!(bench.outcome().1, "recognized", "every final has its text");
    }
    assert!(bench.pool.load().wait.is_zero());
}

#[test]
fn finals_are_careful_until_others_wait_or_they_take_much_of_the_time() {
    let bench = Bench::new(64);
    let begins = |id: u32| {
        assert_eq!(bench.begun(), id);
        bench.hurried.load(Ordering::Relaxed)
    };
    bench.submit("a", 1, 1, Pass::Final, 1);
    assert!(!begins(1), "nothing else is to be done");
    bench.submit("b", 2, 1, Pass::Final, 2);
    bench.submit("c", 3, 1, Pass::Final, 3);
    bench.order(Order::Speak);
    assert!(begins(2), "another final waits");
    bench.order(Order::Speak);
    assert!(!begins(3));
    for id in 4..40 {
        bench.submit(&id.to_string(), id, 1, Pass::Final, 4);
    }
    for id in 4..40 {
        bench.order(Order::Speak);
        assert!(begins(id), "{id}: so many take all of the time");
    }
    let bench = Bench {
        pool: bench.pool.unhurried(),
        ..bench
    };
    bench.submit("d", 40, 1, Pass::Final, 4);
    bench.order(Order::Speak);
    assert_eq!(bench.begun(), 40);
    assert!(
        !bench.hurried.load(Ordering::Relaxed),
        "nobody waits for it"
    );
    bench.order(Order::Speak);
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

#[test]
fn a_review_gets_only_a_worker_that_has_nothing_to_do_and_gives_it_up() {
    let bench = Bench::new(8);
    bench.submit("a", 1, 1, Pass::Review, 0);
    assert_eq!(bench.begun(), 1);
    // While it runs, no other is taken, and whatever else comes goes before it.
    bench.submit("b", 2, 1, Pass::Review, 0);
    assert_eq!(bench.outcome(), (2, "shed"));
    bench.order(Order::UntilAborted);
    bench.submit("b", 3, 1, Pass::Partial, 900);
    assert_eq!(bench.outcome(), (1, "superseded"));
    assert_eq!(bench.begun(), 3);
    bench.order(Order::Speak);
    assert_eq!(bench.outcome(), (3, "recognized"));
}
