//! One guard for every TCP listener: how many come in, from where, and how long they may say or take nothing.
//!
//! | what | bound | past it |
//! |---|---|---|
//! | connections of a listener, and those from one address | [`Limits`] | the oldest that has not brought its opening is closed, else the newest |
//! | what a connection must bring before anything is done for it | `opening` bytes within `first` | it is closed |
//! | a connection on which nothing moves | `idle` | it is closed |
//! | a peer that does not read | `write` | it is closed |
//!
//! The limits of all listeners together leave the descriptors that calls need ([`spare_descriptors`]), so that whoever
//! opens connections takes nothing from those who speak.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use metrics::{counter, describe_counter, describe_gauge, gauge};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tracing::{Dispatch, dispatcher};

use crate::telemetry::Sparse;

/// Connections that are open, by listener.
const OPEN: &str = "xinqiao_connections";
/// Connections that were closed by us, by listener and why: `full`, `address`, `silent` (to make room) or `time`.
const CLOSED: &str = "xinqiao_connections_closed_total";
/// How often the log tells of one kind of trouble.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Pause after the system has refused a connection.
const PAUSE: Duration = Duration::from_millis(100);
/// Descriptors for files, and for sockets of our own, beside those of calls and connections.
const OWN_DESCRIPTORS: u64 = 256;
/// Descriptors for a call: four sockets, as many again while ports rest, and those of an exchange that taps it.
const CALL_DESCRIPTORS: u64 = 12;
/// Connections that even the narrowest machine allows.
const LEAST_SPARE: usize = 64;

/// What one listener allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time.
    pub total: usize,
    /// Those from one address.
    pub per_address: usize,
    /// How soon the `opening` must have come.
    pub first: Duration,
    /// How many bytes show that a connection is meant; with none, the reader looks after that itself.
    pub opening: usize,
    /// How long nothing may move in either direction.
    pub idle: Duration,
    /// How long a peer may take nothing that is written.
    pub write: Duration,
}

impl Limits {
    /// At most `most` connections, of which one address has at most half.
    #[must_use]
    pub fn within(self, most: usize) -> Self {
        Self {
            total: self.total.min(most),
            per_address: self.per_address.min(most.div_ceil(2)),
            ..self
        }
    }
}

/// Asks the system for the descriptors that `calls` at once and the listeners need; how many it leaves for connections
/// when every call is taken.
#[must_use]
pub fn spare_descriptors(calls: usize, connections: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let set_aside = CALL_DESCRIPTORS * calls as u64 + OWN_DESCRIPTORS;
    let wanted = set_aside + connections as u64;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let mut allowed = current.unwrap_or(wanted);
    if allowed < wanted {
        let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
        let limit = Rlimit {
            current: Some(raised),
            maximum,
        };
        if setrlimit(Resource::Nofile, limit).is_ok() {
            allowed = raised;
        }
    }
    let spare = usize::try_from(allowed.saturating_sub(set_aside)).unwrap_or(connections);
    if spare < connections {
        tracing::warn!(
            "the system allows {allowed} open files; with {set_aside} set aside for calls.max = {calls}, {spare} are left for connections; raise LimitNOFILE to {wanted}"
        );
    }
    spare.clamp(LEAST_SPARE, connections.max(LEAST_SPARE))
}

/// What the system's refusal means, in words that name the remedy where there is one.
#[must_use]
pub fn explain(error: &io::Error) -> String {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "this process has no open file left; raise LimitNOFILE (ulimit -n)".to_owned()
        }
        Some(Errno::NFILE) => "the machine has no open file left; raise fs.file-max".to_owned(),
        _ => error.to_string(),
    }
}

/// Keeps one listener's connections within its limits.
#[derive(Debug)]
pub struct ConnectionGuard {
    name: &'static str,
    limits: Limits,
    held: Mutex<Held>,
    refusals: Sparse,
    failures: Sparse,
    /// The program's log, which not every thread has.
    log: Dispatch,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
    /// Those that have not brought their opening, the oldest first: they give way to others.
    unproven: BTreeMap<u64, (IpAddr, CancellationToken)>,
    next: u64,
}

impl Held {
    fn take(&mut self, peer: IpAddr) {
        self.total += 1;
        *self.by_address.entry(peer).or_insert(0) += 1;
    }

    fn give_back(&mut self, peer: IpAddr) {
        self.total -= 1;
        if let Some(of_peer) = self.by_address.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                self.by_address.remove(&peer);
            }
        }
    }

    /// Closes the oldest that has brought nothing, of those that `fits` knows.
    fn evict(&mut self, fits: impl Fn(IpAddr) -> bool) -> bool {
        let mut unproven = self.unproven.iter();
        let Some((number, _)) = unproven.find(|(_, (peer, _))| fits(*peer)) else {
            return false;
        };
        let number = *number;
        if let Some((peer, close)) = self.unproven.remove(&number) {
            close.cancel();
            self.give_back(peer);
        }
        true
    }
}

impl ConnectionGuard {
    /// For the listener of this name; logs to where the caller does.
    #[must_use]
    pub fn new(name: &'static str, limits: Limits) -> Arc<Self> {
        describe_gauge!(OPEN, "connections that are open, by listener");
        describe_counter!(
            CLOSED,
            "connections that were closed by us, by listener and why"
        );
        Arc::new(Self {
            name,
            limits,
            held: Mutex::default(),
            refusals: Sparse::new(LOG_EVERY),
            failures: Sparse::new(LOG_EVERY),
            log: dispatcher::get_default(Clone::clone),
        })
    }

    /// A place for one more connection from there; `None`, which is counted and said, where there is none.
    #[must_use]
    pub fn admit(self: &Arc<Self>, peer: IpAddr) -> Option<Place> {
        let peer = peer.to_canonical();
        let mut held = self.held();
        let of_peer = held.by_address.get(&peer).copied().unwrap_or(0);
        let Limits {
            total: most,
            per_address,
            ..
        } = self.limits;
        let counted = |gave_way: bool| {
            counter!(CLOSED, "listener" => self.name, "why" => "silent").increment(gave_way.into());
            gave_way
        };
        let why = if of_peer >= per_address && !counted(held.evict(|other| other == peer)) {
            "address"
        } else if held.total >= most && !counted(held.evict(|_| true)) {
            "full"
        } else {
            held.take(peer);
            held.next += 1;
            gauge!(OPEN, "listener" => self.name).set(held.total as f64);
            return Some(Place {
                guard: self.clone(),
                peer,
                number: held.next,
                closes: None,
            });
        };
        let total = held.total;
        drop(held);
        counter!(CLOSED, "listener" => self.name, "why" => why).increment(1);
        if let Some(unsaid) = self.refusals.take(std::time::Instant::now()) {
            self.say(|| {
                tracing::warn!(
                    listener = self.name,
                    %peer,
                    of_peer,
                    total,
                    unsaid,
                    "a connection is refused: too many are open"
                );
            });
        }
        None
    }

    /// The next connection that there is a place for.
    pub async fn accept(self: &Arc<Self>, listener: &TcpListener) -> (Guarded, SocketAddr) {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    if let Some(place) = self.admit(peer.ip()) {
                        // Without it a line waits for the acknowledgement of the one before; a failure costs only that.
                        let _ = stream.set_nodelay(true);
                        return (Guarded::new(stream, place), peer);
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Says that the system gives no connection, and why.
    pub fn failed(&self, error: &io::Error) {
        if let Some(unsaid) = self.failures.take(std::time::Instant::now()) {
            let why = explain(error);
            self.say(|| {
                tracing::error!(
                    listener = self.name,
                    unsaid,
                    "no connection can be taken: {why}"
                );
            });
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.held().total
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // Nothing panics under the lock.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, line: impl FnOnce()) {
        dispatcher::with_default(&self.log, line);
    }
}

/// A connection's place among those that are allowed.
#[derive(Debug)]
pub struct Place {
    guard: Arc<ConnectionGuard>,
    peer: IpAddr,
    number: u64,
    /// Closes it to make room for another; without, it gives way to nobody.
    closes: Option<CancellationToken>,
}

impl Place {
    /// Lets it give way to others until it is proven; what becomes of it then.
    fn gives_way(&mut self) -> WaitForCancellationFutureOwned {
        let close = CancellationToken::new();
        let entry = (self.peer, close.clone());
        self.guard.held().unproven.insert(self.number, entry);
        self.closes = Some(close.clone());
        close.cancelled_owned()
    }

    /// It has brought its opening.
    fn proven(&mut self) {
        if self.guard.held().unproven.remove(&self.number).is_some() {
            self.closes = None;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.guard.held();
        held.unproven.remove(&self.number);
        // One that was closed for another has given its place already.
        if self
            .closes
            .as_ref()
            .is_none_or(|close| !close.is_cancelled())
        {
            held.give_back(self.peer);
        }
        gauge!(OPEN, "listener" => self.guard.name).set(held.total as f64);
    }
}

/// A connection in its place; it fails with [`io::ErrorKind::TimedOut`] when it says or takes nothing for too long.
#[derive(Debug)]
pub struct Guarded {
    stream: TcpStream,
    place: Place,
    /// What is still missing of the opening.
    missing: usize,
    /// When the opening must have come, or when something last moved.
    since: Instant,
    wakes: Pin<Box<Sleep>>,
    /// It has to make room for another.
    evicted: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn new(stream: TcpStream, mut place: Place) -> Self {
        let may_be_evicted = place.guard.limits.opening > 0;
        let evicted = may_be_evicted.then(|| Box::pin(place.gives_way()));
        let (now, limits) = (Instant::now(), place.guard.limits);
        Self {
            stream,
            missing: limits.opening,
            since: now,
            wakes: Box::pin(sleep_until(now + limits.first.min(limits.idle))),
            evicted,
            stalled: None,
            place,
        }
    }

    /// The other end's address is known; this is ours.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    fn is_late(&mut self, context: &mut Context<'_>) -> bool {
        let limits = self.place.guard.limits;
        let patience = if self.missing > 0 {
            limits.first
        } else {
            limits.idle
        };
        while self.wakes.as_mut().poll(context).is_ready() {
            let due = self.since + patience;
            if due <= Instant::now() {
                return true;
            }
            self.wakes.as_mut().reset(due);
        }
        false
    }

    fn late(&self) -> io::Error {
        counter!(CLOSED, "listener" => self.place.guard.name, "why" => "time").increment(1);
        io::ErrorKind::TimedOut.into()
    }

    /// What a write comes to: it may wait for so long.
    fn wrote<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            if self.missing == 0 {
                self.since = Instant::now();
            }
            return poll;
        }
        let write = self.place.guard.limits.write;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + write)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(self.late()))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            let read = buffer.filled().len() - before;
            self.missing = self.missing.saturating_sub(read);
            if self.missing == 0 {
                self.since = Instant::now();
                if self.evicted.take().is_some() {
                    self.place.proven();
                }
            }
            return Poll::Ready(done);
        }
        let evicted = self.evicted.as_mut();
        if evicted.is_some_and(|evicted| evicted.as_mut().poll(context).is_ready()) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if self.is_late(context) {
            return Poll::Ready(Err(self.late()));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.wrote(context, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.wrote(context, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl Connected for Guarded {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    fn limits() -> Limits {
        Limits {
            total: 8,
            per_address: 3,
            first: Duration::from_millis(200),
            opening: 4,
            idle: Duration::from_millis(600),
            write: Duration::from_millis(300),
        }
    }

    async fn door(limits: Limits) -> (Arc<ConnectionGuard>, TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let at = listener.local_addr().expect("bound");
        (ConnectionGuard::new("test", limits), listener, at)
    }

    /// A connection from that address of this machine.
    async fn from(address: &str, to: SocketAddr) -> TcpStream {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket
            .bind(SocketAddr::new(address.parse().expect("an address"), 0))
            .expect("bound");
        socket.connect(to).await.expect("connected")
    }

    /// A connection that has brought its opening, if there is a place for it.
    async fn opened(
        guard: &Arc<ConnectionGuard>,
        listener: &TcpListener,
        address: &str,
    ) -> Option<(TcpStream, Guarded)> {
        let at = listener.local_addr().expect("bound");
        let mut client = from(address, at).await;
        let patience = Duration::from_millis(50);
        let accepted = tokio::time::timeout(patience, guard.accept(listener)).await;
        let (mut stream, peer) = accepted.ok()?;
        assert_eq!(peer.ip().to_string(), address);
        client.write_all(b"GET ").await.expect("written");
        stream.read_exact(&mut [0; 4]).await.expect("read");
        Some((client, stream))
    }

    #[tokio::test]
    async fn one_address_has_its_part_and_all_have_the_whole_and_places_come_back() {
        let (guard, listener, _) = door(limits()).await;
        let mut held = Vec::new();
        for (address, taken) in [("127.0.0.2", 3), ("127.0.0.3", 3), ("127.0.0.4", 2)] {
            let before = guard.open();
            for _ in 0..5 {
                held.extend(opened(&guard, &listener, address).await);
            }
            assert_eq!(guard.open() - before, taken, "{address}");
        }
        held.pop();
        assert_eq!(guard.open(), 7);
        held.extend(opened(&guard, &listener, "127.0.0.5").await);
        assert_eq!((guard.open(), held.len()), (8, 8));
        held.clear();
        assert_eq!(guard.open(), 0);
    }

    #[tokio::test]
    async fn who_has_brought_nothing_gives_way_to_whoever_comes() {
        let (guard, listener, at) = door(limits()).await;
        let mut silent = Vec::new();
        for address in [
            "127.0.0.2",
            "127.0.0.2",
            "127.0.0.2",
            "127.0.0.3",
            "127.0.0.3",
            "127.0.0.3",
            "127.0.0.4",
            "127.0.0.4",
        ] {
            let client = from(address, at).await;
            silent.push((client, guard.accept(&listener).await.0));
        }
        // From an address that has its part: the oldest of its own; with all places taken: the oldest of all.
        let mine = opened(&guard, &listener, "127.0.0.3")
            .await
            .expect("a place");
        let other = opened(&guard, &listener, "127.0.0.9")
            .await
            .expect("a place");
        assert_eq!(guard.open(), 8);
        for (index, (_, stream)) in silent.iter_mut().enumerate() {
            let mut buffer = [0; 4];
            let closed = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut buffer));
            let kind = closed
                .await
                .ok()
                .and_then(Result::err)
                .map(|error| error.kind());
            let wanted = [0, 3]
                .contains(&index)
                .then_some(io::ErrorKind::ConnectionAborted);
            assert_eq!(kind, wanted, "{index}");
        }
        drop((silent, mine, other));
        assert_eq!(guard.open(), 0);
    }

    /// How long a connection lasts whose peer does `what`; the peer's end is held meanwhile.
    async fn lasts<F: Future<Output = ()>>(what: impl FnOnce(TcpStream) -> F) -> Duration {
        let (guard, listener, at) = door(limits()).await;
        let client = from("127.0.0.2", at).await;
        let (mut stream, _) = guard.accept(&listener).await;
        let began = Instant::now();
        let served = async {
            let mut buffer = [0; 16];
            while let Ok(1..) = stream.read(&mut buffer).await {}
            began.elapsed()
        };
        tokio::select! {
            lasted = served => lasted,
            () = what(client) => panic!("the peer gave up first"),
        }
    }

    async fn rests(client: TcpStream) {
        tokio::time::sleep(Duration::from_secs(30)).await;
        drop(client);
    }

    #[tokio::test]
    async fn who_brings_nothing_or_a_byte_now_and_then_is_cut_off() {
        let near = |lasted: Duration, wanted: u64| {
            let wanted = Duration::from_millis(wanted);
            assert!(
                lasted >= wanted && lasted < wanted * 3,
                "{lasted:?}, {wanted:?}"
            );
        };
        near(lasts(rests).await, 200);
        let drips = |mut client: TcpStream| async move {
            for _ in 0..3 {
                client.write_all(b"G").await.expect("written");
                tokio::time::sleep(Duration::from_millis(90)).await;
            }
            rests(client).await;
        };
        near(lasts(drips).await, 200);
        let opens = |mut client: TcpStream| async move {
            client.write_all(b"GET ").await.expect("written");
            rests(client).await;
        };
        near(lasts(opens).await, 600);
    }

    #[tokio::test]
    async fn who_does_not_read_is_cut_off_and_one_that_moves_is_not() {
        let (guard, listener, at) = door(limits()).await;
        let mut client = from("127.0.0.2", at).await;
        let (mut stream, _) = guard.accept(&listener).await;
        client.write_all(b"GET ").await.expect("written");
        let mut buffer = [0; 4];
        stream.read_exact(&mut buffer).await.expect("read");
        // For longer than it may be idle, but never for so long without a byte.
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            client.write_all(b"more").await.expect("written");
            stream.read_exact(&mut buffer).await.expect("read");
        }
        let much = vec![0; 32 * 1024 * 1024];
        let error = stream.write_all(&much).await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_process_without_open_files_says_so() {
        let error = io::Error::from_raw_os_error(rustix::io::Errno::MFILE.raw_os_error());
        assert!(
            explain(&error).contains("LimitNOFILE"),
            "{}",
            explain(&error)
        );
    }
}
