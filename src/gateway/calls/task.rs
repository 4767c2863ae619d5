//! One call at the edge: it owns the call's state machine, its transports and its channels, and does what the call wants.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{info, warn};

use super::super::advice::Considered;
use super::super::media::MediaTransport;
use super::super::media::frames::Arrival;
use super::super::media::ports::RtpSockets;
use super::CallContext;
use super::new::{Opening, PendingCall, Signals};
use crate::call::{Call, DraftOutput, Drafted, Input, Output, Refused, Setup, Summary, Transmit};
use crate::control::Orders;
use crate::events::Payload;
use crate::recognition::Job;
use crate::recording::{Tape, Trouble};
use crate::sip::SipEvent;
use crate::speech::{CallId, Leg, Outcome, UtteranceKey};
use crate::ticket::TicketDraft;
use crate::ticket::advice::Advice;
use crate::ticket::desk::{DraftKey, Submission};
use crate::transcript::{AlarmKind, EndReason, TranscriptEvent};

/// What comes back to a call from elsewhere.
// A call holds a few at most.
#[allow(clippy::large_enum_variant)]
enum Reply {
    Heard(UtteranceKey, Outcome),
    Drafted(Drafted),
    Advice(Advice),
}

/// Replies on their way to a call: as many hypotheses as it has passes under way, a draft, and what its two advisors found.
struct Inbox {
    replies: Mutex<VecDeque<Reply>>,
    waker: Waker,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Reply>> {
        // Nothing panics under the lock.
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, reply: Reply) {
        self.lock().push_back(reply);
        self.waker.wake_by_ref();
    }

    fn take(&self) -> Option<Reply> {
        self.lock().pop_front()
    }
}

/// One of a call's sockets: that of the caller's RTP, of the operator's, or of a further stream of a recording session, or
/// the one for RTCP beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// Which transport.
    end: usize,
    rtcp: bool,
}

impl Port {
    /// A call has fewer.
    pub(crate) const MOST: usize = 2 * Self::MOST_ENDS;
    /// The most streams that a session description may have.
    const MOST_ENDS: usize = 16;

    /// Those of so many transports.
    fn all(ends: usize) -> impl Iterator<Item = Self> {
        (0..2 * ends.min(Self::MOST_ENDS)).map(Self::numbered)
    }

    pub(crate) const fn numbered(number: usize) -> Self {
        Self {
            end: number / 2,
            rtcp: number % 2 == 1,
        }
    }

    pub(crate) const fn number(self) -> usize {
        2 * self.end + self.rtcp as usize
    }

    /// The leg, or the further stream.
    const fn leg(self) -> Result<Leg, usize> {
        match self.end {
            0 => Ok(Leg::Caller),
            1 => Ok(Leg::Operator),
            further => Err(further - 2),
        }
    }
}

/// One call.
pub(super) struct Task {
    context: Arc<CallContext>,
    call: Call,
    id: CallId,
    signals: Signals,
    /// How the caller's, the operator's, and those of further streams travel.
    media: Vec<MediaTransport>,
    /// The sockets of so many of them are waited for.
    watched: usize,
    inbox: Arc<Inbox>,
    /// What is asked of it from outside.
    orders: Orders,
    /// Where the advisors look; they end with it.
    considered: watch::Sender<Considered>,
    /// Rings when the gateway ends its calls; gone once it has.
    end: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// When the call wants to be drained even if nothing happens.
    pub wake: Option<Instant>,
    /// The adapter has no more events.
    silent: bool,
    /// The call's recording.
    tape: Option<Tape>,
    _running: TaskTrackerToken,
}

impl Task {
    /// A call that `waker` wakes: [`Task::signal`] is due then.
    pub(crate) fn new(pending: PendingCall, waker: Waker) -> Self {
        let PendingCall {
            context,
            opening,
            running,
            end,
        } = pending;
        let Opening {
            name,
            source,
            incoming,
            signals,
            media,
        } = opening;
        let id = CallId::new(&format!("{:032x}", rand::random::<u128>()));
        let setup = Setup {
            id: id.clone(),
            incoming,
            dialing: context.drafts.drafter().dialing().clone(),
            own_numbers: context.own_numbers.clone(),
            wall: SystemTime::now(),
            seed: rand::random(),
            codecs: context.codecs(),
            ring: context.ring,
            flush: context.flush,
            recognised: context.pool.is_some(),
            reviewed: context.reviewed,
            rules: context.rules,
            recorded: context.recorder.is_some(),
            announcement: context.announcement.clone(),
            finish: context.finish.clone(),
            listening: context.listening.clone(),
        };
        match &signals {
            Signals::Sip { .. } => info!(call = %id, sip = %name, "call from {source}"),
            Signals::Tapped(_) => info!(call = %id, tap = %name, "tapped call from {source}"),
        }
        let inbox = Arc::new(Inbox {
            replies: Mutex::default(),
            waker,
        });
        let orders = context.control.open(id.clone());
        let tape = context
            .recorder
            .as_ref()
            .map(|recorder| recorder.begin(id.clone()));
        let known = context
            .drafts
            .drafter()
            .draft_of_number(setup.incoming.caller_number.as_ref());
        let first = Considered {
            draft: Arc::new(known),
            lines: Vec::new(),
        };
        let advised = inbox.clone();
        let considered = context.advisor.attend(id.clone(), first, move |advice| {
            advised.put(Reply::Advice(advice));
        });
        Self {
            call: Call::new(Instant::now(), setup),
            id,
            signals,
            media,
            watched: 0,
            inbox,
            orders,
            tape,
            considered,
            end: Some(Box::pin(end.cancelled_owned())),
            wake: None,
            silent: false,
            context,
            _running: running,
        }
    }

    /// The gateway's identifier of the call.
    pub(crate) const fn id(&self) -> &CallId {
        &self.id
    }

    /// The socket of a port, if its media travel by sockets.
    pub(crate) fn socket(&self, port: Port) -> Option<&UdpSocket> {
        self.media.get(port.end)?.socket(port.rtcp)
    }

    /// The ports that have sockets.
    pub(crate) fn ports(&self) -> impl Iterator<Item = (Port, &UdpSocket)> {
        Port::all(self.media.len()).filter_map(|port| Some((port, self.socket(port)?)))
    }

    /// Those of them that have not been asked for yet.
    pub(crate) fn fresh_ports(&mut self) -> impl Iterator<Item = (Port, &UdpSocket)> {
        let known = std::mem::replace(&mut self.watched, self.media.len());
        self.ports().filter(move |(port, _)| port.end >= known)
    }

    /// Reads a datagram that has come at a port.
    pub(crate) fn receive(&self, port: Port, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self.media.get(port.end) {
            Some(transport) => transport.receive(port.rtcp, room),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Takes a datagram and forwards what it gives.
    pub(crate) fn carry(&mut self, now: Instant, port: Port, source: SocketAddr, datagram: &[u8]) {
        let rtcp = port.rtcp;
        let input = match port.leg() {
            Ok(leg) if rtcp => Input::Rtcp {
                leg,
                source,
                datagram,
            },
            Ok(leg) => Input::Rtp {
                leg,
                source,
                datagram,
            },
            Err(number) => Input::Further {
                number,
                rtcp,
                source,
                datagram,
            },
        };
        self.call.handle(now, input);
        while let Some(transmit) = self.call.transmit() {
            self.send(&transmit);
            self.call.recycle(transmit.datagram);
        }
    }

    fn send(&self, transmit: &Transmit) {
        let end = usize::from(transmit.leg == Leg::Operator);
        self.media[end].send(transmit.rtcp, &transmit.datagram, transmit.to);
    }

    /// Takes what signalling, transports without sockets, recognition, whoever asks from outside, and shutdown have for the
    /// call.
    pub(crate) fn signal(&mut self, now: Instant) {
        let inbox = self.inbox.clone();
        let mut context = Context::from_waker(&inbox.waker);
        self.take_events(now, &mut context);
        self.take_arrivals(now, &mut context);
        while let Some(reply) = inbox.take() {
            let input = match reply {
                Reply::Heard(key, outcome) => Input::Heard(key, outcome),
                Reply::Drafted(drafted) => Input::Drafted(drafted),
                Reply::Advice(advice) => Input::Advice(advice),
            };
            self.call.handle(now, input);
        }
        let call = &mut self.call;
        self.orders.carry_out(&mut context, |actor, command| {
            call.command(now, actor, command)
        });
        if let Some(end) = &mut self.end
            && end.as_mut().poll(&mut context).is_ready()
        {
            self.end = None;
            self.call.handle(now, Input::End(EndReason::ShuttingDown));
        }
    }

    fn take_events(&mut self, now: Instant, context: &mut Context<'_>) {
        let Signals::Sip { events, .. } = &mut self.signals else {
            return;
        };
        while !self.silent {
            match events.poll_recv(context) {
                Poll::Ready(Some(event)) => {
                    make_room(now, &event, &mut self.call, &mut self.media, &self.context);
                    self.call.handle(now, Input::Sip(event));
                }
                Poll::Ready(None) => {
                    self.silent = true;
                    // The adapter has let go of the call without saying why.
                    self.call.handle(now, Input::End(EndReason::SignallingLost));
                }
                Poll::Pending => break,
            }
        }
    }

    fn take_arrivals(&mut self, now: Instant, context: &mut Context<'_>) {
        let mut lost = None;
        for (transport, leg) in self.media.iter_mut().zip([Leg::Caller, Leg::Operator]) {
            while let Poll::Ready(arrival) = transport.poll(context) {
                match arrival {
                    Some(Arrival::Frame(frame)) => {
                        self.call.handle(now, Input::Decoded { leg, frame });
                    }
                    Some(Arrival::Key(key)) => self.call.handle(now, Input::Key { leg, key }),
                    Some(Arrival::End(broke)) => {
                        self.call.handle(now, Input::Gone { leg, broke });
                    }
                    None => lost = Some(leg),
                }
            }
        }
        // Who ends one leg properly may let the other one go without a word.
        if let Some(leg) = lost {
            let broke = Some("its connection was lost".to_owned());
            self.call.handle(now, Input::Gone { leg, broke });
        }
    }

    /// Does what the call wants; whether it has ended.
    pub(crate) fn drain(&mut self) -> bool {
        if let Some(trouble) = self.tape.as_mut().and_then(Tape::trouble) {
            let alarm = match trouble {
                Trouble::Gap => AlarmKind::RecordingGap,
                Trouble::Failed => AlarmKind::RecordingFailed,
            };
            let leg = Leg::Mono;
            let alarm = TranscriptEvent::Alarm { leg, alarm };
            self.context
                .bus
                .publish(&self.id, Payload::Transcript(alarm));
        }
        loop {
            match self.call.poll(Instant::now()) {
                Output::Transmit(transmit) => self.send(&transmit),
                // The adapter takes a call's few commands at once, or has ended the call and says so by its events.
                Output::Sip(command) => {
                    if let Signals::Sip { commands, .. } = &self.signals {
                        let _ = commands.try_send(command);
                    }
                }
                Output::EndTap => self.signals.end_tap(),
                Output::Recognize(utterance, due) => {
                    let inbox = self.inbox.clone();
                    let reply = Box::new(move |key, outcome| inbox.put(Reply::Heard(key, outcome)));
                    // Without workers a call has no ears, and asks for nothing.
                    if let Some(pool) = &self.context.pool {
                        pool.submit(Job {
                            utterance,
                            due,
                            reply,
                        });
                    }
                }
                Output::Record(leg, frame) => {
                    if let Some(tape) = &mut self.tape {
                        tape.take(leg, &frame);
                    }
                }
                Output::Erase(from, until) => {
                    if let Some(tape) = &mut self.tape {
                        tape.erase(from, until);
                    }
                }
                Output::Transcript(event) => {
                    self.context
                        .bus
                        .publish(&self.id, Payload::Transcript(event));
                }
                Output::Redraft(redraft) => {
                    let inbox = self.inbox.clone();
                    let reply = Box::new(move |drafted| inbox.put(Reply::Drafted(drafted)));
                    self.context.drafts.ask(redraft, reply);
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
        self.context.bus.publish(
            &self.id,
            Payload::Draft {
                revision,
                draft: draft.clone(),
            },
        );
        self.considered.send_replace(Considered {
            draft: draft.clone(),
            lines: lines.clone(),
        });
        let key = DraftKey {
            call: self.id.clone(),
            revision,
        };
        let submission = Submission {
            key,
            draft: TicketDraft::clone(&draft),
            lines,
        };
        self.context.draft_writer.hold(submission, closes);
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
            let refused = summary.refused[index];
            if refused != Refused::default() {
                warn!(
                    call = %self.id, %leg,
                    "packets refused: {} from elsewhere, {} with a wrong tag", refused.strays, refused.forged
                );
            }
        }
    }

    /// What is left of a call that has ended: its sockets, and how long they rest.
    pub(crate) fn into_sockets(self) -> (impl Iterator<Item = RtpSockets>, std::time::Duration) {
        let quiet = self.context.ports.quiet();
        let media = self.media.into_iter();
        (media.filter_map(MediaTransport::into_sockets), quiet)
    }
}

/// Opens ports for the streams that a recording client adds. One that gets none is refused, and the client may offer it
/// again.
fn make_room(
    now: Instant,
    event: &SipEvent,
    call: &mut Call,
    media: &mut Vec<MediaTransport>,
    context: &CallContext,
) {
    let SipEvent::Offered {
        offer: Some(offer), ..
    } = event
    else {
        return;
    };
    for _ in 0..call.lacks_places(offer) {
        match context.ports.bind() {
            Ok(sockets) => {
                call.give_place(now, context.told(&sockets));
                media.push(MediaTransport::Rtp(sockets));
            }
            Err(error) => return warn!("a stream of a recording session is refused: {error}"),
        }
    }
}
