//! Writing behind the producer: it hands over and goes on, one task brings batches to disk and tries until the disk
//! takes them.
//!
//! Items leave memory when they are written and not before, so a batch that fails loses nothing. A failure is logged
//! when it begins and when it ends, counted in between, and shown by [`WriteBehind::health`].
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | [`Newest`] | one item a key | the newer item of a key replaces the older |
//! | [`InOrder`] | its capacity | the newcomer is refused and handed back |
//! | the event bus | the logs of the calls in memory | see [`crate::events`] |

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::StoreError;

/// Items a transaction: one disk flush for many when many calls speak at once.
const BATCH: usize = 512;
/// Between attempts while the disk refuses.
const PAUSE: Duration = Duration::from_secs(1);
/// For what is left after the stop, so that a broken disk cannot hold up the exit.
const DRAIN: Duration = Duration::from_secs(10);

const FAILURES: &str = "xinqiao_store_write_failures_total";
const UNWRITTEN: &str = "xinqiao_store_unwritten";

/// What waits to be written; one task takes from it, any thread adds to it.
pub trait Queue: Send + Sync {
    /// What is written; clones are cheap.
    type Item: Clone + Send + Sync;

    /// The oldest items, at most `limit`; they stay until they are written.
    fn oldest(&self, limit: usize) -> Vec<Self::Item>;

    /// Takes out a batch that [`Queue::oldest`] gave and that is on disk now.
    fn written(&self, batch: &[Self::Item]);

    /// How many wait.
    fn waiting(&self) -> usize;

    /// Waits until there may be something to write.
    fn arrival(&self) -> impl Future<Output = ()> + Send;
}

/// The newest item of each key.
#[derive(Debug)]
pub struct Newest<K, V> {
    slots: Mutex<Slots<K, V>>,
    arrived: Notify,
}

#[derive(Debug)]
struct Slots<K, V> {
    newest: HashMap<K, Arc<V>>,
    /// Each key once, in the order of their coming.
    order: VecDeque<K>,
}

impl<K, V> Default for Newest<K, V> {
    fn default() -> Self {
        Self {
            slots: Mutex::new(Slots {
                newest: HashMap::new(),
                order: VecDeque::new(),
            }),
            arrived: Notify::new(),
        }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync, V: Send + Sync> Queue for Newest<K, V> {
    type Item = (K, Arc<V>);

    fn oldest(&self, limit: usize) -> Vec<Self::Item> {
        let slots = lock(&self.slots);
        let keys = slots.order.iter().take(limit);
        keys.filter_map(|key| Some((key.clone(), slots.newest.get(key)?.clone())))
            .collect()
    }

    fn written(&self, batch: &[Self::Item]) {
        let mut slots = lock(&self.slots);
        for (key, value) in batch {
            slots.order.pop_front();
            let newest = slots.newest.get(key);
            if newest.is_some_and(|newest| Arc::ptr_eq(newest, value)) {
                slots.newest.remove(key);
            } else {
                // A newer one came while this one was written.
                slots.order.push_back(key.clone());
            }
        }
    }

    fn waiting(&self) -> usize {
        lock(&self.slots).order.len()
    }

    fn arrival(&self) -> impl Future<Output = ()> + Send {
        self.arrived.notified()
    }
}

/// Items in the order of their coming.
#[derive(Debug)]
pub struct InOrder<T> {
    items: Mutex<VecDeque<T>>,
    capacity: usize,
    arrived: Notify,
}

impl<T> InOrder<T> {
    /// Room for `capacity` items.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            items: Mutex::default(),
            capacity,
            arrived: Notify::new(),
        }
    }
}

impl<T: Clone + Send + Sync> Queue for InOrder<T> {
    type Item = T;

    fn oldest(&self, limit: usize) -> Vec<T> {
        lock(&self.items).iter().take(limit).cloned().collect()
    }

    fn written(&self, batch: &[T]) {
        lock(&self.items).drain(..batch.len());
    }

    fn waiting(&self) -> usize {
        lock(&self.items).len()
    }

    fn arrival(&self) -> impl Future<Output = ()> + Send {
        self.arrived.notified()
    }
}

/// There was no room for this item: what is written behind waits for the disk.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// How the writing goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is written, e.g. `drafts`.
    pub what: &'static str,
    /// How many wait.
    pub waiting: usize,
    /// Why they do not come to disk, if they do not.
    pub failure: Option<Failure>,
}

impl Health {
    /// What does not come to disk, for how long and why; nothing while all goes well.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let Failure { since, reason } = self.failure.as_ref()?;
        let seconds = since.elapsed().unwrap_or_default().as_secs();
        let Self { what, waiting, .. } = self;
        Some(format!(
            "{what} have not come to disk for {seconds} s, {waiting} wait in memory: {reason}"
        ))
    }
}

/// Why and since when nothing comes to disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// When the first attempt failed.
    pub since: SystemTime,
    /// What the store said of the last one; never a stored value.
    pub reason: String,
}

/// A queue and the task that brings it to disk.
#[derive(Debug)]
pub struct WriteBehind<Q> {
    what: &'static str,
    queue: Q,
    failure: Mutex<Option<(Failure, Instant)>>,
    pause: Duration,
    drain: Duration,
}

impl<Q: Queue> WriteBehind<Q> {
    /// Writes `what`, in the plural, from `queue`.
    #[must_use]
    pub fn new(what: &'static str, queue: Q) -> Self {
        describe_counter!(
            FAILURES,
            "batches that the disk did not take, by what is in them"
        );
        describe_gauge!(
            UNWRITTEN,
            "items in memory because the disk does not take them"
        );
        Self {
            what,
            queue,
            failure: Mutex::default(),
            pause: PAUSE,
            drain: DRAIN,
        }
    }

    /// Hands batches to `write`, which keeps all of one or nothing, until `stop`; then the rest, for a limited time.
    /// Returns how many are lost. Not to be run twice at a time.
    pub async fn run<W, F>(&self, write: W, stop: &CancellationToken) -> usize
    where
        W: Fn(Vec<Q::Item>) -> F + Send + Sync,
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        let deadline = async {
            stop.cancelled().await;
            tokio::time::sleep(self.drain).await;
        };
        tokio::select! {
            () = self.write_all(write, stop) => {}
            () = deadline => {}
        }
        let lost = self.queue.waiting();
        if lost > 0 {
            let reason = self.health().failure.map(|failure| failure.reason);
            let reason = reason.as_deref().unwrap_or("the disk was too slow");
            error!("{lost} {} are lost at the stop: {reason}", self.what);
        }
        lost
    }

    async fn write_all<W, F>(&self, write: W, stop: &CancellationToken)
    where
        W: Fn(Vec<Q::Item>) -> F + Send + Sync,
        F: Future<Output = Result<(), StoreError>> + Send,
    {
        loop {
            let batch = self.queue.oldest(BATCH);
            if batch.is_empty() {
                if stop.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.queue.arrival() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            match write(batch.clone()).await {
                Ok(()) => {
                    self.queue.written(&batch);
                    self.succeeded();
                }
                Err(error) => {
                    self.failed(&error);
                    tokio::time::sleep(self.pause).await;
                }
            }
        }
    }

    fn failed(&self, error: &StoreError) {
        let waiting = self.queue.waiting();
        counter!(FAILURES, "what" => self.what).increment(1);
        gauge!(UNWRITTEN, "what" => self.what).set(waiting as f64);
        let reason = error.to_string();
        let mut failure = lock(&self.failure);
        if let Some((failure, _)) = &mut *failure {
            failure.reason = reason;
        } else {
            error!(
                "{waiting} {} wait in memory until the disk takes them: {reason}",
                self.what
            );
            let since = SystemTime::now();
            *failure = Some((Failure { since, reason }, Instant::now()));
        }
    }

    fn succeeded(&self) {
        if let Some((_, since)) = lock(&self.failure).take() {
            gauge!(UNWRITTEN, "what" => self.what).set(0.0);
            let seconds = since.elapsed().as_secs();
            info!("{} come to disk again after {seconds} s", self.what);
        }
    }

    /// How it goes now.
    #[must_use]
    pub fn health(&self) -> Health {
        Health {
            what: self.what,
            waiting: self.queue.waiting(),
            failure: lock(&self.failure)
                .as_ref()
                .map(|(failure, _)| failure.clone()),
        }
    }
}

impl<K: Clone + Eq + Hash + Send + Sync, V: Send + Sync> WriteBehind<Newest<K, V>> {
    /// Takes the item of `key` instead of the one that waits; never waits itself.
    pub fn put(&self, key: K, value: V) {
        self.update(key, |_| value);
    }

    /// Takes what `newer` makes of the item of `key` that waits; never waits itself.
    pub fn update(&self, key: K, newer: impl FnOnce(Option<&V>) -> V) {
        let mut slots = lock(&self.queue.slots);
        let value = newer(slots.newest.get(&key).map(Arc::as_ref));
        if slots.newest.insert(key.clone(), Arc::new(value)).is_none() {
            slots.order.push_back(key);
        }
        drop(slots);
        self.queue.arrived.notify_one();
    }
}

impl<T: Clone + Send + Sync> WriteBehind<InOrder<T>> {
    /// Takes an item behind those that wait; never waits itself.
    ///
    /// # Errors
    /// [`Full`] with the item, when the disk has been refusing for so long that there is no room.
    pub fn push(&self, item: T) -> Result<(), Full<T>> {
        let mut items = lock(&self.queue.items);
        if items.len() >= self.queue.capacity {
            return Err(Full(item));
        }
        items.push_back(item);
        drop(items);
        self.queue.arrived.notify_one();
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is under these locks is whole after every statement.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A disk that can refuse, and be slow.
    #[derive(Default)]
    struct Disk<T> {
        held: Mutex<Vec<T>>,
        attempts: Mutex<Vec<usize>>,
        refuses: AtomicBool,
        takes: Duration,
    }

    impl<T> Disk<T> {
        async fn write(&self, batch: Vec<T>) -> Result<(), StoreError> {
            lock(&self.attempts).push(batch.len());
            tokio::time::sleep(self.takes).await;
            if self.refuses.load(Ordering::Relaxed) {
                return Err(StoreError::Unreadable {
                    what: "disk",
                    key: "full".to_owned(),
                });
            }
            lock(&self.held).extend(batch);
            Ok(())
        }

        fn refuse(&self, refuses: bool) {
            self.refuses.store(refuses, Ordering::Relaxed);
        }
    }

    fn writer<Q: Queue>(queue: Q) -> WriteBehind<Q> {
        WriteBehind {
            pause: Duration::from_millis(5),
            drain: Duration::from_millis(100),
            ..WriteBehind::new("letters", queue)
        }
    }

    async fn until(fact: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if fact() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("it did not come to pass within ten seconds");
    }

    fn newest(held: &[(u8, Arc<char>)], key: u8) -> Option<char> {
        let of_key = held.iter().filter(|(held, _)| *held == key);
        of_key.map(|(_, value)| **value).next_back()
    }

    #[tokio::test]
    async fn while_the_disk_refuses_the_newest_of_each_key_waits_and_is_written_when_it_recovers() {
        let (letters, disk) = (writer(Newest::default()), Disk::default());
        let stop = CancellationToken::new();
        disk.refuse(true);
        let run = letters.run(|batch| disk.write(batch), &stop);
        let scene = async {
            letters.put(1, 'a');
            until(|| letters.health().failure.is_some()).await;
            let first = letters.health().failure.expect("it fails");
            for letter in 'b'..='z' {
                letters.put(1, letter);
                letters.put(2, letter);
            }
            let tried = lock(&disk.attempts).len();
            until(|| lock(&disk.attempts).len() > tried + 2).await;
            let health = letters.health();
            assert_eq!((health.what, health.waiting), ("letters", 2));
            let failure = health.failure.expect("it still fails");
            assert_eq!(failure.since, first.since);
            assert_eq!(failure.reason, "the stored disk full cannot be read");
            let fault = letters.health().fault().expect("it still fails");
            let told = "s, 2 wait in memory: the stored disk full cannot be read";
            assert!(
                fault.starts_with("letters have not") && fault.ends_with(told),
                "{fault}"
            );
            disk.refuse(false);
            until(|| letters.health().waiting == 0).await;
            until(|| letters.health().failure.is_none()).await;
            assert_eq!(letters.health().fault(), None);
            stop.cancel();
        };
        assert_eq!(tokio::join!(run, scene).0, 0);
        let held = lock(&disk.held);
        assert_eq!(held.len(), 2, "{held:?}");
        assert_eq!([newest(&held, 1), newest(&held, 2)], [Some('z'); 2]);
    }

    #[tokio::test]
    async fn what_comes_while_its_older_one_is_written_is_written_too() {
        let letters = writer(Newest::default());
        let disk = Disk {
            takes: Duration::from_millis(20),
            ..Disk::default()
        };
        let stop = CancellationToken::new();
        letters.put(1, 'a');
        letters.put(2, 'a');
        let run = letters.run(|batch| disk.write(batch), &stop);
        let scene = async {
            until(|| !lock(&disk.attempts).is_empty()).await;
            letters.put(1, 'b');
            letters.put(3, 'a');
            stop.cancel();
        };
        assert_eq!(tokio::join!(run, scene).0, 0);
        let held = lock(&disk.held);
        let newest: Vec<_> = (1..=3).map(|key| newest(&held, key)).collect();
        assert_eq!(newest, [Some('b'), Some('a'), Some('a')]);
        assert_eq!(held.len(), 4, "{held:?}");
    }

    #[tokio::test]
    async fn an_update_sees_what_waits() {
        let (letters, disk) = (writer(Newest::default()), Disk::default());
        let stop = CancellationToken::new();
        stop.cancel();
        letters.put(1, 'z');
        letters.update(1, |held| held.copied().max(Some('b')).expect("one of them"));
        letters.update(2, |held| held.copied().unwrap_or('b'));
        letters.run(|batch| disk.write(batch), &stop).await;
        let held = lock(&disk.held);
        assert_eq!([newest(&held, 1), newest(&held, 2)], [Some('z'), Some('b')]);
    }

    #[tokio::test]
    async fn items_in_order_keep_it_over_failures_and_what_has_no_room_is_handed_back() {
        let (letters, disk) = (writer(InOrder::new(3)), Disk::default());
        let stop = CancellationToken::new();
        disk.refuse(true);
        let run = letters.run(|batch| disk.write(batch), &stop);
        let scene = async {
            for letter in ['a', 'b', 'c'] {
                letters.push(letter).expect("room");
            }
            assert_eq!(letters.push('d'), Err(Full('d')));
            until(|| letters.health().failure.is_some()).await;
            disk.refuse(false);
            until(|| letters.health().waiting == 0).await;
            letters.push('e').expect("room again");
            stop.cancel();
        };
        assert_eq!(tokio::join!(run, scene).0, 0);
        assert_eq!(*lock(&disk.held), ['a', 'b', 'c', 'e']);
    }

    #[tokio::test]
    async fn many_items_go_in_few_batches() {
        let (numbers, disk) = (writer(InOrder::new(2_000)), Disk::default());
        let stop = CancellationToken::new();
        stop.cancel();
        for number in 0..1_100 {
            numbers.push(number).expect("room");
        }
        assert_eq!(numbers.run(|batch| disk.write(batch), &stop).await, 0);
        assert_eq!(*lock(&disk.attempts), [BATCH, BATCH, 1_100 - 2 * BATCH]);
        assert!(lock(&disk.held).iter().copied().eq(0..1_100));
    }

    #[tokio::test]
    async fn a_disk_that_refuses_or_hangs_cannot_hold_up_the_stop_and_the_lost_are_counted() {
        let refusing = Disk::default();
        refusing.refuse(true);
        let hanging = Disk {
            takes: Duration::MAX,
            ..Disk::default()
        };
        for (disk, attempts) in [(refusing, 2..=usize::MAX), (hanging, 1..=1)] {
            let letters = writer(Newest::default());
            let stop = CancellationToken::new();
            stop.cancel();
            letters.put(1, 'a');
            letters.put(2, 'b');
            let began = Instant::now();
            assert_eq!(letters.run(|batch| disk.write(batch), &stop).await, 2);
            assert!(began.elapsed() < Duration::from_secs(5));
            assert!(attempts.contains(&lock(&disk.attempts).len()));
        }
    }
}
