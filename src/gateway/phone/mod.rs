//! A test phone: it calls or answers, says a WAV file, and writes down what it hears.
//!
//! The demo, the tests and the subcommands `call` and `answer` use it. It speaks through the same SIP edge as the
//! gateway; its RTP leaves every 20 ms from a thread of its own.

mod media;
mod speech;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use self::media::{Listener, Sender};
use self::speech::{Speech, numbered};
use super::sip::{
    BindError, NewCall, SipConfig, SipEdge, local_address_for, local_address_towards,
};
use super::wav::{Wav, WavError};
use crate::audio::codec::Codec;
use crate::private::Private;
use crate::sip::sdp::{self, Description, Direction, Local, Negotiated};
use crate::sip::{Party, SipCommand, SipEvent, Target};

/// How long the end of a call may take.
const GOODBYE: Duration = Duration::from_secs(2);
/// The channel of a stereo file that a caller says.
const LEFT: usize = 0;
/// The channel of a stereo file that an answering phone says.
const RIGHT: usize = 1;
/// What an answering phone takes, in its order of preference.
const ANSWERED_CODECS: [Codec; 4] = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];

/// A call to place.
#[derive(Clone, Debug)]
pub struct CallPlan {
    /// Whom to call: `sip:12345@127.0.0.1:5060`, with `;transport=tcp` if wanted.
    pub to: String,
    /// The caller's number.
    pub from: Private<String>,
    /// What to say; the left channel of a stereo file.
    pub wav: PathBuf,
    /// In which codec.
    pub codec: Codec,
    /// How long to listen after the last word.
    pub tail: Duration,
    /// Where to write what is heard.
    pub record: Option<PathBuf>,
    /// Our address; `None` takes the one from which `to` is reached.
    pub local: Option<IpAddr>,
}

impl CallPlan {
    /// Calls `to`, says `wav` in PCMA, and hangs up a second after the last word.
    #[must_use]
    pub fn new(to: &str, wav: impl Into<PathBuf>) -> Self {
        Self {
            to: to.to_owned(),
            from: "13800138000".into(),
            wav: wav.into(),
            codec: Codec::Pcma,
            tail: Duration::from_secs(1),
            record: None,
            local: None,
        }
    }
}

/// Calls to answer.
#[derive(Clone, Debug)]
pub struct AnswerPlan {
    /// Where to listen, UDP and TCP; port 0 takes a free one.
    pub listen: SocketAddr,
    /// What to say in each call; the right channel of a stereo file.
    pub wav: PathBuf,
    /// How long it rings.
    pub ring: Duration,
    /// What it takes, in order of preference.
    pub codecs: Vec<Codec>,
    /// Where to write what is heard; the second call's file has `-2` in its name, and so on.
    pub record: Option<PathBuf>,
}

impl AnswerPlan {
    /// Answers at `listen` after half a second and says `wav`.
    #[must_use]
    pub fn new(listen: SocketAddr, wav: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            wav: wav.into(),
            ring: Duration::from_millis(500),
            codecs: ANSWERED_CODECS.to_vec(),
            record: None,
        }
    }
}

/// How a call went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallReport {
    /// Whether it was answered.
    pub answered: bool,
    /// The final status of the INVITE; 0 when the call was given up before it.
    pub status: u16,
    /// Why it ended: the refusal's phrase, `hung up`, or the peer's `BYE`.
    pub cause: String,
    /// From the answer to the end.
    pub duration: Duration,
    /// RTP packets sent.
    pub sent: u64,
    /// RTP packets received.
    pub received: u64,
    /// RTP packets that should have come between the first and the last, and did not.
    pub lost: u64,
    /// From the answer to the first packet received.
    pub first_heard: Option<Duration>,
    /// From the answer to the last packet received.
    pub last_heard: Option<Duration>,
}

/// What an answering phone did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnswerReport {
    /// Calls that came.
    pub calls: u64,
    /// Calls that were answered.
    pub answered: u64,
    /// The call that ended last.
    pub last: Option<CallReport>,
}

/// Why the phone cannot be used.
#[derive(Debug)]
pub enum PhoneError {
    /// The file to be said.
    Wav(WavError),
    /// The file to be written.
    Record {
        /// Which.
        path: PathBuf,
        /// What the system says.
        what: String,
    },
    /// The address to call.
    Target {
        /// As it was given.
        to: String,
        /// What is wrong with it.
        what: String,
    },
    /// The SIP address to listen on.
    Bind(BindError),
    /// The RTP socket.
    Media(io::Error),
    /// The SIP edge is gone.
    Gone,
}

impl fmt::Display for PhoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wav(source) => source.fmt(f),
            Self::Record { path, what } => write!(
                f,
                "cannot write the recording {}: {what}; name a file in a folder that exists",
                path.display()
            ),
            Self::Target { to, what } => write!(
                f,
                "cannot call {to}: {what}; give an address such as sip:12345@127.0.0.1:5060"
            ),
            Self::Bind(source) => source.fmt(f),
            Self::Media(source) => write!(f, "the phone's rtp socket does not work: {source}"),
            Self::Gone => f.write_str("the phone's sip edge was closed under its call"),
        }
    }
}

impl std::error::Error for PhoneError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Wav(source) => Some(source),
            Self::Bind(source) => Some(source),
            Self::Media(source) => Some(source),
            _ => None,
        }
    }
}

/// Places one call, and hangs up when all is said and the tail is over, or when `stop` says so.
///
/// A refusal is a report, not an error.
///
/// # Errors
/// [`PhoneError`] when the call cannot be tried.
pub async fn call(plan: CallPlan, stop: &CancellationToken) -> Result<CallReport, PhoneError> {
    let wav = Wav::read(&plan.wav).map_err(PhoneError::Wav)?;
    let local = match plan.local {
        Some(local) => local,
        None => local_address_towards(&plan.to)
            .await
            .map_err(|what| PhoneError::Target {
                to: plan.to.clone(),
                what,
            })?,
    };
    let (edge, _incoming) = SipEdge::bind(SipConfig::new(SocketAddr::new(local, 0)))
        .await
        .map_err(PhoneError::Bind)?;
    let mut line = PhoneMedia::new(local, plan.record).await?;
    let mut placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&plan.to),
        caller_number: Some(plan.from),
        offer: sdp::offer(&line.local(Direction::SendRecv), &[plan.codec]),
    };
    tell(&placed.commands, invite).await?;
    let mut report = CallReport::default();
    let answer = loop {
        let event = tokio::select! {
            event = placed.events.recv() => event,
            () = stop.cancelled() => {
                "given up".clone_into(&mut report.cause);
                break None;
            }
        };
        match event.ok_or(PhoneError::Gone)? {
            SipEvent::Answered { answer, .. }
            | SipEvent::Accepted {
                description: answer,
                ..
            } => break Some(answer),
            SipEvent::Rejected { status, reason, .. } => {
                (report.status, report.cause) = (status, reason);
                break None;
            }
            _ => {}
        }
    };
    if let Some(answer) = answer {
        (report.answered, report.status) = (true, 200);
        match agree(&answer, &[plan.codec]) {
            Ok((_, agreed)) => {
                let speech = Arc::new(Speech::new(&wav, LEFT, plan.codec));
                let tail = Some(plan.tail);
                let ends = (Party::OPERATOR, &mut placed.events, &placed.commands);
                line.talk(&agreed, speech, tail, ends, stop, &mut report)
                    .await?;
            }
            Err(error) => report.cause = error.to_string(),
        }
        let _ = tell(
            &placed.commands,
            SipCommand::HangUp {
                party: Party::OPERATOR,
            },
        )
        .await;
    }
    drop(placed);
    edge.close().await;
    Ok(report)
}

/// A phone that listens already, so that its address is known.
pub struct Answering {
    edge: SipEdge,
    calls: mpsc::Receiver<NewCall>,
    plan: AnswerPlan,
    speech: Vec<Arc<Speech>>,
}

impl Answering {
    /// Reads the file and takes the address.
    ///
    /// # Errors
    /// [`PhoneError`] when either does not work.
    pub async fn bind(plan: AnswerPlan) -> Result<Self, PhoneError> {
        let wav = Wav::read(&plan.wav).map_err(PhoneError::Wav)?;
        let speech: Vec<_> = plan
            .codecs
            .iter()
            .map(|codec| Arc::new(Speech::new(&wav, RIGHT, *codec)))
            .collect();
        let (edge, calls) = SipEdge::bind(SipConfig::new(plan.listen))
            .await
            .map_err(PhoneError::Bind)?;
        Ok(Self {
            edge,
            calls,
            plan,
            speech,
        })
    }

    /// Where it listens, with the real port.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.edge.local_addr()
    }

    /// Answers every call until `stop`, many at a time.
    ///
    /// # Errors
    /// [`PhoneError`] when the SIP edge fails; a call that fails is only counted.
    pub async fn run(mut self, stop: CancellationToken) -> Result<AnswerReport, PhoneError> {
        let mut report = AnswerReport::default();
        let mut talks = JoinSet::new();
        let mut count = |ended: Result<Result<CallReport, PhoneError>, _>| {
            if let Ok(Ok(ended)) = ended {
                report.answered += u64::from(ended.answered);
                report.last = Some(ended);
            }
        };
        let mut calls = 0;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = talks.join_next() => count(ended),
                new = self.calls.recv() => {
                    let new = new.ok_or(PhoneError::Gone)?;
                    calls += 1;
                    let record = self.plan.record.as_ref().map(|path| numbered(path, calls));
                    let local = match self.local_addr().ip() {
                        any if any.is_unspecified() => local_address_for(new.source.ip()),
                        local => local,
                    };
                    talks.spawn(answer_one(
                        new,
                        local,
                        self.plan.ring,
                        record,
                        self.speech.clone(),
                        stop.clone(),
                    ));
                }
            }
        }
        while let Some(ended) = talks.join_next().await {
            count(ended);
        }
        self.edge.close().await;
        report.calls = calls;
        Ok(report)
    }
}

async fn answer_one(
    mut new: NewCall,
    local: IpAddr,
    ring: Duration,
    record: Option<PathBuf>,
    speech: Vec<Arc<Speech>>,
    stop: CancellationToken,
) -> Result<CallReport, PhoneError> {
    let mut report = CallReport::default();
    let codecs: Vec<Codec> = speech.iter().map(|speech| speech.codec).collect();
    let offer = new.incoming.offer.take().unwrap_or_default();
    let (theirs, agreed) = match agree(&offer, &codecs) {
        Ok(agreed) => agreed,
        Err(error) => {
            (report.status, report.cause) = (error.status(), error.to_string());
            let reject = SipCommand::Reject {
                party: Party::CALLER,
                status: error.status(),
                reason: String::new(),
            };
            tell(&new.commands, reject).await?;
            // Dropping the call at once would refuse it in the edge's own words.
            let _ = timeout(GOODBYE, new.events.recv()).await;
            return Ok(report);
        }
    };
    let ringing = SipCommand::Ring {
        party: Party::CALLER,
        status: 180,
        answer: None,
    };
    tell(&new.commands, ringing).await?;
    tokio::select! {
        () = tokio::time::sleep(ring) => {}
        () = stop.cancelled() => return Ok(report),
        _ = new.events.recv() => {
            "cancelled".clone_into(&mut report.cause);
            return Ok(report);
        }
    }
    let mut line = PhoneMedia::new(local, record).await?;
    let answer = sdp::answer(&theirs, &agreed, &line.local(Direction::SendRecv));
    tell(
        &new.commands,
        SipCommand::Answer {
            party: Party::CALLER,
            answer: Some(answer),
        },
    )
    .await?;
    (report.answered, report.status) = (true, 200);
    let chosen = speech
        .into_iter()
        .find(|speech| speech.codec == agreed.codec);
    let speech = chosen.expect("the codec was agreed from these");
    let ends = (Party::CALLER, &mut new.events, &new.commands);
    line.talk(&agreed, speech, None, ends, &stop, &mut report)
        .await?;
    let _ = tell(
        &new.commands,
        SipCommand::HangUp {
            party: Party::CALLER,
        },
    )
    .await;
    Ok(report)
}

fn agree(text: &str, codecs: &[Codec]) -> Result<(Description, Negotiated), sdp::SdpError> {
    let theirs = Description::parse(text)?;
    let agreed = sdp::negotiate(&theirs, codecs)?;
    Ok((theirs, agreed))
}

async fn tell(commands: &mpsc::Sender<SipCommand>, command: SipCommand) -> Result<(), PhoneError> {
    commands.send(command).await.map_err(|_| PhoneError::Gone)
}

/// The media of one call.
struct PhoneMedia {
    socket: UdpSocket,
    address: SocketAddr,
    record: Option<PathBuf>,
    session: u64,
    version: u64,
}

/// The far end of a call: which party it is, what it does, and how it is told.
type Ends<'a> = (
    Party,
    &'a mut mpsc::Receiver<SipEvent>,
    &'a mpsc::Sender<SipCommand>,
);

impl PhoneMedia {
    async fn new(local: IpAddr, record: Option<PathBuf>) -> Result<Self, PhoneError> {
        let socket = UdpSocket::bind((local, 0))
            .await
            .map_err(PhoneError::Media)?;
        let address = socket.local_addr().map_err(PhoneError::Media)?;
        Ok(Self {
            socket,
            address,
            record,
            session: rand::random::<u32>().into(),
            version: 0,
        })
    }

    /// How the next description describes us.
    fn local(&mut self, direction: Direction) -> Local {
        self.version += 1;
        Local {
            session: self.session,
            version: self.version,
            rtp: self.address,
            direction,
        }
    }

    /// Talks until the peer hangs up, `stop`, or, with a `tail`, until all is said and heard.
    async fn talk(
        &mut self,
        agreed: &Negotiated,
        speech: Arc<Speech>,
        tail: Option<Duration>,
        (party, events, commands): Ends<'_>,
        stop: &CancellationToken,
        report: &mut CallReport,
    ) -> Result<(), PhoneError> {
        let began = Instant::now();
        let codec = speech.codec;
        let mut listener = Listener::new(agreed, self.record.as_deref())?;
        let sender = Sender::start(&self.socket, speech, agreed).map_err(PhoneError::Media)?;
        let all_said = async {
            match tail {
                Some(tail) => {
                    sender.said().await;
                    tokio::time::sleep(tail).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::pin!(all_said);
        report.cause = loop {
            let event = tokio::select! {
                () = listener.run(&self.socket) => continue,
                () = &mut all_said => break "hung up".to_owned(),
                () = stop.cancelled() => break "hung up".to_owned(),
                event = events.recv() => event,
            };
            match event {
                Some(SipEvent::Offered { offer, .. }) => {
                    let answer = match agree(&offer.unwrap_or_default(), &[codec]) {
                        Ok((theirs, agreed)) => {
                            sender.hold(!agreed.direction.sends());
                            Ok(sdp::answer(
                                &theirs,
                                &agreed,
                                &self.local(Direction::SendRecv),
                            ))
                        }
                        Err(error) => Err(error.status()),
                    };
                    tell(commands, SipCommand::AnswerOffer { party, answer }).await?;
                }
                Some(SipEvent::HungUp { cause, .. }) => break cause.to_string(),
                Some(_) => {}
                None => break "the call is gone".to_owned(),
            }
        };
        report.duration = began.elapsed();
        report.sent = sender.sent();
        report.received = listener.received;
        report.lost = listener.lost();
        report.first_heard = listener.first_heard;
        report.last_heard = listener.last_heard;
        Ok(())
    }
}
