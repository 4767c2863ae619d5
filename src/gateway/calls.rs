//! The call table: one task a call, which owns it and its sockets; admission; ending and draining.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | new calls | `calls.max` running ones | 503 with Retry-After |
//! | SIP events and commands of a call | the adapter's channels | the adapter ends the call |
//! | hypotheses of a call | its passes under way, which the recognition queue bounds | cannot be |
//! | media | the sockets' receive buffers | the kernel drops, as any network does |

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::keeper::Keeper;
use super::ports::{MediaSockets, PortPool};
use super::sip::NewCall;
use crate::call::{Call, DraftOutput, Input, Output, Setup, Summary, Transmit};
use crate::events::{Bus, Payload};
use crate::recognition::{Job, RecognitionPool};
use crate::sip::SipCommand;
use crate::speech::finish::Finish;
use crate::speech::segmenter::Settings;
use crate::speech::{CallId, Leg, Outcome, UtteranceKey};
use crate::ticket::Drafter;
use crate::ticket::desk::{DraftKey, Submission};

/// A datagram longer than this is no telephony: 60 ms of L16 take 1,920 bytes.
const LONGEST_DATAGRAM: usize = 2_048;

/// What every call shares.
pub struct Calls {
    /// Ports for media.
    pub ports: PortPool,
    /// The address that session descriptions name.
    pub media_address: std::net::IpAddr,
    /// The operator's URI.
    pub operator: String,
    /// How long it may ring.
    pub ring: Duration,
    /// How long the last words may take.
    pub flush: Duration,
    /// How many calls at once.
    pub most: usize,
    /// The recognition workers.
    pub pool: Arc<RecognitionPool>,
    /// Where events go.
    pub bus: Bus,
    /// Brings drafts to disk.
    pub keeper: Arc<Keeper>,
    /// Fills drafts.
    pub drafter: Arc<Drafter>,
    /// Writes what was recognised.
    pub finish: Arc<dyn Finish>,
    /// When an utterance begins, is passed on and ends.
    pub listening: Settings,
    /// Ends every call when cancelled.
    pub end: CancellationToken,
    /// The calls' tasks, as many as calls run.
    pub tasks: TaskTracker,
}

/// Hypotheses on their way to a call; as many as it has passes under way.
#[derive(Default)]
struct Inbox {
    heard: Mutex<VecDeque<(UtteranceKey, Outcome)>>,
    arrived: Notify,
}

impl Inbox {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(UtteranceKey, Outcome)>> {
        // Nothing panics under the lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, key: UtteranceKey, outcome: Outcome) {
        self.lock().push_back((key, outcome));
        self.arrived.notify_one();
    }

    fn take(&self) -> Option<(UtteranceKey, Outcome)> {
        self.lock().pop_front()
    }

    async fn next(&self) -> (UtteranceKey, Outcome) {
        loop {
            if let Some(heard) = self.take() {
                // What else waits is taken without another notification.
                self.arrived.notify_one();
                return heard;
            }
            self.arrived.notified().await;
        }
    }
}

impl Calls {
    /// Takes new calls until `accept` ends.
    pub async fn run(self: Arc<Self>, mut accept: mpsc::Receiver<NewCall>) {
        while let Some(new) = accept.recv().await {
            if self.tasks.len() >= self.most {
                reject(&new, 503, "every line is busy");
                continue;
            }
            let sockets = self
                .ports
                .bind()
                .and_then(|caller| Ok((caller, self.ports.bind()?)));
            let (caller, operator) = match sockets {
                Ok(sockets) => sockets,
                Err(error) => {
                    warn!("a call is refused: {error}");
                    reject(&new, 503, "no media port is free");
                    continue;
                }
            };
            let calls = self.clone();
            self.tasks
                .spawn(async move { Task::new(&calls, new, caller, operator).run().await });
        }
    }
}

fn reject(new: &NewCall, status: u16, reason: &str) {
    // When the adapter does not take it, the call has ended by itself.
    let _ = new.commands.try_send(SipCommand::RejectCaller {
        status,
        reason: reason.to_owned(),
    });
}

/// One call's task.
struct Task<'a> {
    calls: &'a Calls,
    call: Call,
    id: CallId,
    new: NewCall,
    media: [MediaSockets; 2],
    inbox: Arc<Inbox>,
    wake: Option<Instant>,
    /// The adapter has no more events.
    silent: bool,
}

/// What a task waits for.
enum Woken {
    Sip(Option<crate::sip::SipEvent>),
    Media {
        leg: Leg,
        rtcp: bool,
        source: SocketAddr,
        length: usize,
    },
    Heard(UtteranceKey, Outcome),
    End,
    Deadline,
}

impl<'a> Task<'a> {
    fn new(calls: &'a Calls, new: NewCall, caller: MediaSockets, operator: MediaSockets) -> Self {
        let id = CallId::new(&format!("{:032x}", rand::random::<u128>()));
        let named =
            |sockets: &MediaSockets| SocketAddr::new(calls.media_address, sockets.local.port());
        let setup = Setup {
            id: id.clone(),
            incoming: new.incoming.clone(),
            operator: calls.operator.clone(),
            caller_media: named(&caller),
            operator_media: named(&operator),
            wall: SystemTime::now(),
            seed: rand::random(),
            ring: calls.ring,
            flush: calls.flush,
            drafter: calls.drafter.clone(),
            finish: calls.finish.clone(),
            listening: calls.listening.clone(),
        };
        info!(call = %id, sip = %new.incoming.sip_call_id, "call from {}", new.source);
        Self {
            calls,
            call: Call::new(Instant::now(), setup),
            id,
            new,
            media: [caller, operator],
            inbox: Arc::default(),
            wake: None,
            silent: false,
        }
    }

    async fn run(mut self) {
        let mut buffer = [0; LONGEST_DATAGRAM];
        let mut ending = false;
        while !self.drain() {
            let woken = self.wait(&mut buffer, ending).await;
            let now = Instant::now();
            match woken {
                Woken::Media {
                    leg,
                    rtcp,
                    source,
                    length,
                } => {
                    let datagram = &buffer[..length];
                    let input = if rtcp {
                        Input::Rtcp {
                            leg,
                            source,
                            datagram,
                        }
                    } else {
                        Input::Rtp {
                            leg,
                            source,
                            datagram,
                        }
                    };
                    self.call.handle(now, input);
                    while let Some(transmit) = self.call.transmit() {
                        self.send(&transmit);
                    }
                    // Every other call forwards what it has before this one listens.
                    tokio::task::yield_now().await;
                }
                Woken::Sip(Some(event)) => self.call.handle(now, Input::Sip(event)),
                // The adapter has let go of the call without saying why.
                Woken::Sip(None) => {
                    self.silent = true;
                    self.call.handle(now, Input::End("the signalling was lost"));
                }
                Woken::Heard(key, outcome) => self.call.handle(now, Input::Heard(key, outcome)),
                Woken::End => {
                    ending = true;
                    self.call
                        .handle(now, Input::End("the gateway is shutting down"));
                }
                Woken::Deadline => {}
            }
        }
        for sockets in self.media {
            self.calls.ports.retire(sockets);
        }
    }

    async fn wait(&mut self, buffer: &mut [u8], ending: bool) -> Woken {
        let [caller, operator] = &self.media;
        let deadline = self.wake.map(tokio::time::Instant::from_std);
        // One buffer for four sockets: readiness first, then a read that does not wait.
        loop {
            let ready = tokio::select! {
                _ = caller.rtp.readable() => (Leg::Caller, false),
                _ = operator.rtp.readable() => (Leg::Operator, false),
                event = self.new.events.recv(), if !self.silent => return Woken::Sip(event),
                heard = self.inbox.next() => return Woken::Heard(heard.0, heard.1),
                _ = caller.rtcp.readable() => (Leg::Caller, true),
                _ = operator.rtcp.readable() => (Leg::Operator, true),
                () = self.calls.end.cancelled(), if !ending => return Woken::End,
                () = sleep_until(deadline) => return Woken::Deadline,
            };
            let (leg, rtcp) = ready;
            let sockets = if leg == Leg::Caller { caller } else { operator };
            let socket = if rtcp { &sockets.rtcp } else { &sockets.rtp };
            // An error is a false alarm or the peer's port unreachable: the call's own timers judge that.
            if let Ok((length, source)) = socket.try_recv_from(buffer) {
                return Woken::Media {
                    leg,
                    rtcp,
                    source,
                    length,
                };
            }
        }
    }

    fn send(&self, transmit: &Transmit) {
        let sockets = &self.media[usize::from(transmit.leg == Leg::Operator)];
        let socket = if transmit.rtcp {
            &sockets.rtcp
        } else {
            &sockets.rtp
        };
        // A full send buffer loses the packet, as the network might; waiting would delay those behind it.
        let _ = socket.try_send_to(&transmit.datagram, transmit.to);
    }

    /// Does what the call wants; whether it has ended.
    fn drain(&mut self) -> bool {
        loop {
            match self.call.poll(Instant::now()) {
                Output::Transmit(transmit) => self.send(&transmit),
                // The adapter takes a call's few commands at once, or has ended the call and says so by its events.
                Output::Sip(command) => drop(self.new.commands.try_send(command)),
                Output::Recognize(utterance, due) => {
                    let inbox = self.inbox.clone();
                    let reply = Box::new(move |key, outcome| inbox.put(key, outcome));
                    self.calls.pool.submit(Job {
                        utterance,
                        due,
                        reply,
                    });
                }
                Output::Transcript(event) => {
                    self.calls.bus.publish(&self.id, Payload::Transcript(event));
                }
                Output::Draft(draft) => self.hand_over(draft),
                Output::Ended(summary) => {
                    self.log(&summary);
                    return true;
                }
                Output::Deadline(at, _) => {
                    self.wake = Some(at);
                    return false;
                }
                Output::Idle => {
                    self.wake = None;
                    return false;
                }
            }
        }
    }

    /// Publishes the draft and has it brought to disk.
    fn hand_over(&self, output: DraftOutput) {
        let DraftOutput {
            revision,
            draft,
            lines,
            closes,
        } = output;
        self.calls.bus.publish(
            &self.id,
            Payload::Draft {
                revision,
                draft: draft.clone(),
            },
        );
        let key = DraftKey {
            call: self.id.clone(),
            revision,
        };
        let submission = Submission {
            key,
            draft: Arc::unwrap_or_clone(draft),
            lines,
        };
        self.calls.keeper.hold(submission, closes);
    }

    fn log(&self, summary: &Summary) {
        info!(call = %self.id, duration = %summary.duration, "call over: {}", summary.reason);
        for (index, leg) in [Leg::Caller, Leg::Operator].into_iter().enumerate() {
            if let Some(stats) = &summary.streams[index] {
                info!(call = %self.id, %leg, "{stats}");
            }
            if let Some(reported) = &summary.reported[index] {
                info!(call = %self.id, %leg, "reports of ours: {reported}");
            }
        }
    }
}

async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
