//! The gateway's side: one recogniser elsewhere, how busy it is, and whether it is there.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tracing::{info, warn};

use super::wire;
use crate::grpc;
use crate::grpc::proto::recognition::v1 as proto;
use crate::grpc::proto::recognition::v1::recognition_service_client::RecognitionServiceClient;
use crate::grpc::tls::{self, Connector};
use crate::speech::segmenter::RATE;
use crate::speech::{Hypothesis, Pass, Utterance};

/// How long establishing a connection may take.
const CONNECT: Duration = Duration::from_secs(2);
/// A silent connection is probed this often, and given up when the probe stays unanswered for so long.
const KEEPALIVE: Duration = Duration::from_secs(5);
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(3);
/// How often a recogniser is asked how busy it is, or whether it is there again.
const PROBE: Duration = Duration::from_secs(1);
/// How long a partial's text is of use; a final's, after it was due.
const PARTIAL_USE: Duration = Duration::from_secs(3);
const FINAL_USE: Duration = Duration::from_secs(15);
/// Utterances that one recogniser may owe us.
const MOST_OWED: usize = 256;
/// Seconds of work for a second of window before any was measured, and the encoder's window beyond the clip.
const FIRST_COST: f64 = 0.06;
const WINDOW_MARGIN: f64 = 3.0;

/// An address that is none.
#[derive(Debug)]
pub struct RemoteError {
    address: String,
    why: &'static str,
}

impl fmt::Display for RemoteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' in recognition.remotes is no recogniser's address: {}",
            self.address, self.why
        )
    }
}

impl std::error::Error for RemoteError {}

/// Why a recogniser gave no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A newer pass took its place.
    Superseded,
    /// It has no time.
    Full,
    /// It cannot be reached, or failed.
    Away,
}

struct State {
    /// Whether it is there; not known before the first probe.
    alive: Option<bool>,
    workers: f64,
    /// Seconds of work for a second of window.
    cost: f64,
    /// Seconds of work, and utterances, that it owes us.
    owed: f64,
    count: usize,
    /// What it last said of its queue, and when.
    wait: Duration,
    said: Instant,
    served: u64,
}

/// One recogniser elsewhere.
pub struct Remote {
    address: String,
    client: RecognitionServiceClient<Channel>,
    state: Mutex<State>,
}

impl Remote {
    /// The recogniser at `address`: `https://HOST:PORT` with `tls`, `http://HOST:PORT` without.
    ///
    /// # Errors
    /// [`RemoteError`] when the address is none. Whether anybody is there shows later.
    pub fn new(address: &str, tls: Option<Connector>) -> Result<Self, RemoteError> {
        let wrong = |why| RemoteError {
            address: address.to_owned(),
            why,
        };
        let endpoint = Endpoint::from_shared(address.to_owned())
            .map_err(|_| wrong("write it like https://192.0.2.40:50061"))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        if endpoint.uri().scheme_str() != Some(scheme) || endpoint.uri().host().is_none() {
            return Err(wrong(if tls.is_some() {
                "write it like https://192.0.2.40:50061"
            } else {
                "write it like http://127.0.0.1:50061, or set recognition.tls for https"
            }));
        }
        let endpoint = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        Ok(Self {
            address: address.to_owned(),
            client: RecognitionServiceClient::new(tls::channel(&endpoint, tls)),
            state: Mutex::new(State {
                alive: None,
                workers: 1.0,
                cost: FIRST_COST,
                owed: 0.0,
                count: 0,
                wait: Duration::ZERO,
                said: Instant::now(),
                served: 0,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When it would be done with `utterance`; `None` while it is away or owes too much.
    pub fn finish(&self, utterance: &Utterance) -> Option<Duration> {
        let state = self.lock();
        if state.alive != Some(true) || state.count >= MOST_OWED {
            return None;
        }
        let others = state
            .wait
            .saturating_sub(state.said.elapsed())
            .as_secs_f64();
        let ours = state.owed / state.workers;
        let work = state.cost * window(utterance);
        Some(Duration::from_secs_f64(others.max(ours) + work))
    }

    /// Whether it is there, and how many utterances it has recognised.
    pub fn served(&self) -> (bool, u64) {
        let state = self.lock();
        (state.alive == Some(true), state.served)
    }

    /// Has it recognise `utterance`, whose text is wanted at `due`.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Away`] it counts as away until it answers a probe.
    pub async fn recognize(
        &self,
        utterance: &Utterance,
        due: Instant,
    ) -> Result<Hypothesis, Refusal> {
        let due = due.saturating_duration_since(Instant::now());
        let owed = Owed::new(self, utterance);
        let mut request = Request::new(wire::request(utterance, due));
        request.set_timeout(match utterance.pass {
            Pass::Partial => PARTIAL_USE,
            Pass::Endpoint | Pass::Final | Pass::Review => due + FINAL_USE,
        });
        let answer = self.client.clone().recognize(request).await;
        drop(owed);
        let outcome = match &answer {
            Ok(_) => "recognized",
            Err(status) => match status.code() {
                Code::Aborted => "superseded",
                Code::ResourceExhausted => "full",
                // Its text would have come too late to be seen; finals have the time that a dead peer takes.
                Code::DeadlineExceeded | Code::Cancelled if utterance.pass == Pass::Partial => {
                    "late"
                }
                _ => "away",
            },
        };
        counter!("xinqiao_recognizer_requests_total", "recognizer" => self.address.clone(), "outcome" => outcome)
            .increment(1);
        match (answer, outcome) {
            (Ok(response), _) => {
                let mut response = response.into_inner();
                let load = response.load.take();
                let heard = wire::hypothesis(response);
                let mut state = self.lock();
                state.served += 1;
                let cost = heard.took.as_secs_f64() / window(utterance);
                state.cost += 0.1 * (cost - state.cost);
                state.hear(load);
                Ok(heard)
            }
            (Err(_), "superseded") => Err(Refusal::Superseded),
            (Err(_), "full" | "late") => Err(Refusal::Full),
            (Err(status), _) => {
                self.away(&status);
                Err(Refusal::Away)
            }
        }
    }

    fn set_alive(&self, alive: bool) -> bool {
        let changed = self.lock().alive.replace(alive) != Some(alive);
        gauge!("xinqiao_recognizer_alive", "recognizer" => self.address.clone())
            .set(f64::from(u8::from(alive)));
        changed
    }

    fn there(&self) {
        if self.set_alive(true) {
            info!(recognizer = %self.address, "a recogniser is there");
        }
    }

    fn away(&self, status: &Status) {
        if self.set_alive(false) {
            let why = grpc::no_answer(status).unwrap_or_else(|| status.message().to_owned());
            warn!(recognizer = %self.address, "a recogniser is away: {why}");
        }
    }

    /// Asks again and again how busy it is, for as long as somebody holds it.
    pub async fn watch(remote: std::sync::Weak<Self>) {
        while let Some(remote) = remote.upgrade() {
            let mut request = Request::new(proto::GetLoadRequest {});
            request.set_timeout(CONNECT);
            match remote.client.clone().get_load(request).await {
                Ok(response) => {
                    remote.lock().hear(response.into_inner().load);
                    remote.there();
                }
                Err(status) => remote.away(&status),
            }
            drop(remote);
            tokio::time::sleep(PROBE).await;
        }
    }
}

impl State {
    fn hear(&mut self, load: Option<proto::Load>) {
        let load = load.unwrap_or_default();
        self.workers = f64::from(load.workers.max(1));
        self.wait = Duration::from_micros(load.wait_us);
        self.said = Instant::now();
    }
}

/// Work that a recogniser owes us, until it is dropped.
struct Owed<'a> {
    remote: &'a Remote,
    work: f64,
}

impl<'a> Owed<'a> {
    fn new(remote: &'a Remote, utterance: &Utterance) -> Self {
        let mut state = remote.lock();
        let work = state.cost * window(utterance);
        state.owed += work;
        state.count += 1;
        drop(state);
        Self { remote, work }
    }
}

impl Drop for Owed<'_> {
    fn drop(&mut self) {
        let mut state = self.remote.lock();
        state.owed = (state.owed - self.work).max(0.0);
        state.count -= 1;
    }
}

fn window(utterance: &Utterance) -> f64 {
    RATE.duration_of(utterance.samples.len() as u64)
        .as_secs_f64()
        + WINDOW_MARGIN
}

/// Watches each of `remotes` until nobody holds it any more.
pub fn watch_all(remotes: &[Arc<Remote>]) {
    for remote in remotes {
        tokio::spawn(Remote::watch(Arc::downgrade(remote)));
    }
}
