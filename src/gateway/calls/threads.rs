//! The threads that carry media: each owns many calls, waits for all their sockets at once, and forwards first.
//!
//! A turn: wait for packets → forward every one that is there → take messages (signalling, hypotheses, decoded sound) →
//! listen, call by call, for a fraction of a millisecond → look for packets again. So no call's listening delays another call's
//! packet by more than the listening to one call takes, and a call still has one owner.
//!
//! When packets come thick, a thread pauses between turns for a fraction of what anybody could hear: it then finds
//! several at once, and is not put to sleep and woken for every single one.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{EventfdFlags, Timespec, epoll, eventfd};
use tracing::error;

use super::super::NICE;
use super::super::media::ports::Resting;
use super::new::PendingCall;
use super::task::{Port, Task};

/// A datagram longer than this is no telephony: 60 ms of L16 take 1,920 bytes.
const LONGEST_DATAGRAM: usize = 2_048;

/// Sockets that are looked at in one turn; the others come in the next.
const EVENTS: usize = 256;

/// How long a thread listens before it looks for packets again.
const LISTEN: Duration = Duration::from_micros(200);

/// How long a busy thread lets packets gather; with the system's own slack it becomes about 0.2 ms.
const GATHER: Duration = Duration::from_micros(150);

/// A thread is busy that carried more than this within [`WINDOW`]: 100 calls of 20 ms packets.
const BUSY: u32 = 1_000;
const WINDOW: Duration = Duration::from_millis(100);

/// The mailbox' own mark among the sockets'.
const MAILBOX: u64 = u64::MAX;

/// What other threads tell a media thread.
enum Message {
    Adopt(Box<PendingCall>),
    /// A call's signalling or recognition has something for it.
    Signal(Key),
    Quit,
}

/// Where a call stands in its thread's table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    slot: u32,
    /// Tells the calls apart that stand in the slot one after the other.
    generation: u32,
}

impl Key {
    const GENERATIONS: u32 = 1 << (32 - Self::PORT);
    /// Bits for the number of a port.
    const PORT: u32 = Port::MOST.ilog2();

    /// As epoll keeps it: generation, slot, and which of the call's sockets.
    fn marked(self, port: Port) -> epoll::EventData {
        let (generation, slot) = (u64::from(self.generation), u64::from(self.slot));
        let key = generation << 32 | slot;
        epoll::EventData::new_u64(key << Self::PORT | port.number() as u64)
    }

    const fn unmarked(mark: u64) -> (Self, Port) {
        let key = Self {
            slot: (mark >> Self::PORT) as u32,
            generation: (mark >> Self::PORT >> 32) as u32,
        };
        (key, Port::numbered(mark as usize % Port::MOST))
    }
}

/// A thread's messages, and what wakes it.
struct Mailbox {
    messages: Mutex<Vec<Message>>,
    /// An eventfd, which the thread waits for beside its sockets.
    event: OwnedFd,
    signalled: AtomicBool,
    /// Calls that the thread has or will have.
    calls: AtomicUsize,
}

impl Mailbox {
    fn lock(&self) -> MutexGuard<'_, Vec<Message>> {
        // Nothing panics under the lock.
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn post(&self, message: Message) {
        self.lock().push(message);
        if !self.signalled.swap(true, Ordering::AcqRel) {
            // It can only fail when the counter is full, and then the thread wakes already.
            let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
        }
    }

    /// Takes the messages; whatever is posted from now on wakes the thread again.
    fn empty(&self, into: &mut Vec<Message>) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
        self.signalled.swap(false, Ordering::AcqRel);
        into.append(&mut self.lock());
    }
}

/// A call's waker: at most one message of its kind is under way.
struct CallWaker {
    mailbox: Arc<Mailbox>,
    key: Key,
    /// The message is under way.
    posted: AtomicBool,
}

impl Wake for CallWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.posted.swap(true, Ordering::AcqRel) {
            self.mailbox.post(Message::Signal(self.key));
        }
    }
}

/// The threads; dropping it ends them and waits until they have.
pub struct MediaThreads {
    threads: Vec<MediaThread>,
}

struct MediaThread {
    mailbox: Arc<Mailbox>,
    handle: JoinHandle<()>,
}

impl MediaThreads {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// When the system refuses a thread or what it waits with.
    pub fn start(count: usize) -> io::Result<Self> {
        let mut threads = Self {
            threads: Vec::new(),
        };
        for number in 0..count.max(1) {
            let mailbox = Arc::new(Mailbox {
                messages: Mutex::default(),
                event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
                signalled: AtomicBool::new(false),
                calls: AtomicUsize::new(0),
            });
            let mut worker = MediaWorker::new(mailbox.clone())?;
            let handle = std::thread::Builder::new()
                .name(format!("media-{number}"))
                .spawn(move || {
                    // Without the right to it, the thread is as urgent as any other.
                    let _ =
                        rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE);
                    let mut events = Vec::with_capacity(EVENTS);
                    while worker.turn(&mut events) {}
                })?;
            threads.threads.push(MediaThread { mailbox, handle });
        }
        Ok(threads)
    }

    /// Gives a call to the thread that has the fewest.
    pub(super) fn adopt(&self, pending: PendingCall) {
        let fewest = self
            .threads
            .iter()
            .map(|thread| &thread.mailbox)
            .min_by_key(|mailbox| mailbox.calls.load(Ordering::Relaxed))
            .expect("there is at least one thread");
        fewest.calls.fetch_add(1, Ordering::Relaxed);
        fewest.post(Message::Adopt(Box::new(pending)));
    }
}

impl Drop for MediaThreads {
    fn drop(&mut self) {
        for thread in &self.threads {
            thread.mailbox.post(Message::Quit);
        }
        // No call holds the threads that carry it, so none of them waits here for itself.
        for thread in self.threads.drain(..) {
            if thread.handle.join().is_err() {
                error!("a media thread was lost by a fault of this program");
            }
        }
    }
}

/// A call in its thread's table.
struct Entry {
    task: Task,
    waker: Arc<CallWaker>,
    /// It waits for its turn to listen.
    queued: bool,
    /// The earliest alarm that is set for it.
    alarm: Option<Instant>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    entry: Option<Box<Entry>>,
}

/// One thread's calls.
struct MediaWorker {
    epoll: OwnedFd,
    mailbox: Arc<Mailbox>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Calls that have something to listen to or to do, in order of arrival.
    listening: VecDeque<Key>,
    /// A call has at least one alarm at or before the time it wants; those that come too early are set anew.
    alarms: BinaryHeap<Reverse<(Instant, Key)>>,
    resting: Resting,
    datagram: Vec<u8>,
    messages: Vec<Message>,
    window: (Instant, u32),
    busy: bool,
}

impl MediaWorker {
    fn new(mailbox: Arc<Mailbox>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mark = epoll::EventData::new_u64(MAILBOX);
        epoll::add(&epoll, &mailbox.event, mark, epoll::EventFlags::IN)?;
        Ok(Self {
            epoll,
            mailbox,
            slots: Vec::new(),
            free: Vec::new(),
            listening: VecDeque::new(),
            alarms: BinaryHeap::new(),
            resting: Resting::default(),
            datagram: vec![0; LONGEST_DATAGRAM],
            messages: Vec::new(),
            window: (Instant::now(), 0),
            busy: false,
        })
    }

    /// Waits for something to do and does it; false when asked to quit.
    fn turn(&mut self, events: &mut Vec<epoll::Event>) -> bool {
        let timeout = self.timeout();
        if self.busy && timeout.is_none_or(|timeout| !timeout.is_zero()) {
            std::thread::sleep(GATHER);
        }
        events.clear();
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        });
        // The only error is an interruption by a signal.
        let _ = epoll::wait(&self.epoll, spare_capacity(events), timeout.as_ref());
        let mut has_messages = false;
        for event in events.iter() {
            match event.data.u64() {
                MAILBOX => has_messages = true,
                mark => self.carry(mark),
            }
        }
        self.count(events.len() as u32);
        if has_messages && !self.read_messages() {
            return false;
        }
        self.ring_alarms(Instant::now());
        self.listen();
        true
    }

    /// How long nothing may be done if nothing comes; in whole milliseconds, so that alarms ring together.
    fn timeout(&mut self) -> Option<Duration> {
        if !self.listening.is_empty() {
            return Some(Duration::ZERO);
        }
        let alarm = self.alarms.peek().map(|Reverse((at, _))| *at);
        let now = Instant::now();
        let next = [alarm, self.resting.release(now)]
            .into_iter()
            .flatten()
            .min()?;
        let left = next
            .saturating_duration_since(now)
            .as_micros()
            .div_ceil(1_000);
        Some(Duration::from_millis(left as u64))
    }

    fn count(&mut self, packets: u32) {
        self.window.1 += packets;
        if self.window.0.elapsed() >= WINDOW {
            self.busy = self.window.1 > BUSY;
            self.window = (Instant::now(), 0);
        }
    }

    fn entry(&mut self, key: Key) -> Option<&mut Entry> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        (slot.generation == key.generation).then_some(())?;
        slot.entry.as_deref_mut()
    }

    /// Reads one datagram and forwards it; another one in the same socket shows in the next turn.
    fn carry(&mut self, mark: u64) {
        let (key, port) = Key::unmarked(mark);
        let mut datagram = std::mem::take(&mut self.datagram);
        let received = self
            .entry(key)
            .map(|entry| entry.task.receive(port, &mut datagram));
        if let Some(Ok((length, source))) = received {
            self.with(key, |task| {
                task.carry(Instant::now(), port, source, &datagram[..length]);
            });
        }
        self.datagram = datagram;
    }

    /// Lets a call work, and has it listen afterwards; one that panics ends alone.
    fn with(&mut self, key: Key, work: impl FnOnce(&mut Task)) {
        let Some(entry) = self.entry(key) else {
            return;
        };
        if catch_unwind(AssertUnwindSafe(|| work(&mut entry.task))).is_err() {
            self.give_up(key);
        } else if !entry.queued {
            entry.queued = true;
            self.listening.push_back(key);
        }
    }

    fn read_messages(&mut self) -> bool {
        let mut messages = std::mem::take(&mut self.messages);
        self.mailbox.clone().empty(&mut messages);
        let mut goes_on = true;
        for message in messages.drain(..) {
            match message {
                Message::Adopt(pending) => self.adopt(*pending),
                Message::Signal(key) => {
                    if let Some(entry) = self.entry(key) {
                        entry.waker.posted.store(false, Ordering::Release);
                    }
                    self.signal(key);
                }
                Message::Quit => goes_on = false,
            }
        }
        self.messages = messages;
        goes_on
    }

    fn adopt(&mut self, pending: PendingCall) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.slots.len() as u32 - 1
        });
        let key = Key {
            slot,
            generation: self.slots[slot as usize].generation,
        };
        let own = Arc::new(CallWaker {
            mailbox: self.mailbox.clone(),
            key,
            posted: AtomicBool::new(false),
        });
        let waker = Waker::from(own.clone());
        let begun = catch_unwind(AssertUnwindSafe(|| Task::new(pending, waker)));
        let Ok(task) = begun else {
            error!("a call was lost by a fault of this program before it began");
            self.vacate(slot);
            return;
        };
        self.slots[slot as usize].entry = Some(Box::new(Entry {
            task,
            waker: own,
            queued: false,
            alarm: None,
        }));
        // The first look also registers the waker.
        self.signal(key);
    }

    /// Lets a call take what has come for it, and waits for the sockets that it has opened.
    fn signal(&mut self, key: Key) {
        self.with(key, |task| task.signal(Instant::now()));
        let slot = self.slots.get_mut(key.slot as usize);
        let slot = slot.filter(|slot| slot.generation == key.generation);
        let Some(entry) = slot.and_then(|slot| slot.entry.as_deref_mut()) else {
            return;
        };
        let mut watched = Ok(());
        for (port, socket) in entry.task.fresh_ports() {
            let mark = key.marked(port);
            let added = epoll::add(&self.epoll, socket, mark, epoll::EventFlags::IN);
            watched = watched.and(added);
        }
        // Should the system refuse, the call hears nothing of that socket, and says so by its own alarm.
        if let Err(refused) = watched {
            error!(call = %entry.task.id(), "a media port cannot be watched: {refused}");
        }
    }

    fn ring_alarms(&mut self, now: Instant) {
        while let Some(&Reverse((at, key))) = self.alarms.peek() {
            if at > now {
                return;
            }
            self.alarms.pop();
            let Some(entry) = self.entry(key) else {
                continue;
            };
            if entry.alarm != Some(at) {
                continue;
            }
            entry.alarm = None;
            match entry.task.wake {
                Some(wake) if wake > now => {
                    entry.alarm = Some(wake);
                    self.alarms.push(Reverse((wake, key)));
                }
                Some(_) => self.with(key, |_| {}),
                None => {}
            }
        }
    }

    /// Lets calls listen, one after the other, until packets should be looked for again.
    fn listen(&mut self) {
        let began = Instant::now();
        while let Some(key) = self.listening.pop_front() {
            let Some(entry) = self.entry(key) else {
                continue;
            };
            entry.queued = false;
            match catch_unwind(AssertUnwindSafe(|| entry.task.drain())) {
                Ok(false) => {
                    if let Some(wake) = entry.task.wake
                        && entry.alarm.is_none_or(|alarm| wake < alarm)
                    {
                        entry.alarm = Some(wake);
                        self.alarms.push(Reverse((wake, key)));
                    }
                }
                Ok(true) => self.retire(key),
                Err(_) => self.give_up(key),
            }
            if began.elapsed() > LISTEN {
                return;
            }
        }
    }

    /// A call has ended: its ports rest, if it has any.
    fn retire(&mut self, key: Key) {
        let Some(entry) = self.slots[key.slot as usize].entry.take() else {
            return;
        };
        for (_, socket) in entry.task.ports() {
            let _ = epoll::delete(&self.epoll, socket);
        }
        let (sockets, quiet) = entry.task.into_sockets();
        let until = Instant::now() + quiet;
        for sockets in sockets {
            self.resting.rest(until, sockets);
        }
        self.vacate(key.slot);
    }

    fn vacate(&mut self, slot: u32) {
        let generation = &mut self.slots[slot as usize].generation;
        *generation = (*generation + 1) % Key::GENERATIONS;
        self.free.push(slot);
        self.mailbox.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// A call is ended by a fault of ours; the adapter ends its legs when its channels close.
    fn give_up(&mut self, key: Key) {
        if let Some(entry) = self.entry(key) {
            error!(call = %entry.task.id(), "the call is ended by a fault of this program");
        }
        self.retire(key);
    }
}
