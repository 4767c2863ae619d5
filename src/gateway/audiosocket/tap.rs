//! One tapped call: a recording client in this process, with the two connections as its streams.

use std::fmt::Write as _;
use std::io;
use std::net::SocketAddr;

use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::super::sip::{NewCall, Outlook};
use super::frame::{Frame, FrameError, Frames};
use super::voice::{AUDIO, EVENT, Voice};
use super::{Line, Shared};
use crate::sip::sdp::Description;
use crate::sip::{DialogEnd, IncomingCall, Party, SipCommand, SipEvent, Tapped, Transport};

/// Events and commands of one call at a time: few, since nothing changes while it runs.
const QUEUE: usize = 8;

/// The name of the way in, where the call's record names the trunk.
const NAME: &str = "audiosocket";

/// Brings a call to the call table and its sound to its ports, until either side or the gateway ends it.
pub(super) async fn carry(shared: &Shared, lines: [Line; 2]) {
    let call = lines[0].id.call.clone();
    let [caller, operator] = lines;
    let ended = run(shared, &call, [caller, operator]).await;
    let (lines, outcome) = ended;
    match outcome {
        Ok(reason) => info!(%call, "the AudioSocket call is over: {reason}"),
        Err(reason) => warn!(%call, "the AudioSocket call is refused: {reason}"),
    }
    for line in lines {
        line.end().await;
    }
}

/// The lines, and how the call ended or why there was none.
async fn run(
    shared: &Shared,
    call: &str,
    mut lines: [Line; 2],
) -> ([Line; 2], Result<String, String>) {
    let media = SocketAddr::new(shared.settings.media, 0);
    let sockets = async {
        Ok::<_, io::Error>([UdpSocket::bind(media).await?, UdpSocket::bind(media).await?])
    };
    let sockets = match sockets.await {
        Ok(sockets) => sockets,
        Err(error) => {
            return (
                lines,
                Err(format!("no port on {} is free ({error})", media.ip())),
            );
        }
    };
    let offer = match offer(&sockets) {
        Ok(offer) => offer,
        Err(error) => return (lines, Err(error.to_string())),
    };
    let (events, event_receiver) = mpsc::channel(QUEUE);
    let (command_sender, mut commands) = mpsc::channel(QUEUE);
    let new = NewCall {
        incoming: describe(call, &lines, offer),
        source: lines[0].source,
        transport: Transport::Tcp,
        route: Vec::new(),
        outlook: Outlook::default(),
        events: event_receiver,
        commands: command_sender,
    };
    if shared.accepting.is_cancelled() || shared.calls.try_send(new).is_err() {
        return (lines, Err("the gateway takes no calls now".to_owned()));
    }
    let ports = match commands.recv().await {
        Some(SipCommand::Answer {
            answer: Some(answer),
            ..
        }) => ports(&answer),
        Some(SipCommand::Reject { reason, .. }) => return (lines, Err(reason)),
        _ => None,
    };
    let Some(ports) = ports else {
        return (lines, Err("the call was lost before it began".to_owned()));
    };
    let to = ports.map(|port| SocketAddr::new(shared.settings.media, port));
    let reason = {
        let [caller, operator] = &mut lines;
        tokio::select! {
            ended = pump(&mut caller.frames, &sockets[0], to[0]) => told("caller", ended),
            ended = pump(&mut operator.frames, &sockets[1], to[1]) => told("operator", ended),
            () = until_hung_up(&mut commands) => "the gateway ended it".to_owned(),
        }
    };
    // A call that has ended by itself takes no more events.
    let _ = events.try_send(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Broken(reason.clone()),
    });
    (lines, Ok(reason))
}

/// How a connection's end reads in the record.
fn told(who: &str, ended: Result<(), FrameError>) -> String {
    match ended {
        Ok(()) => format!("the {who}'s connection ended"),
        Err(error) => format!("the {who}'s connection: {error}"),
    }
}

/// What the call table is told of the call.
fn describe(call: &str, lines: &[Line; 2], offer: String) -> IncomingCall {
    let [caller, operator] = lines;
    let called = [caller, operator]
        .iter()
        .find_map(|line| line.id.called.clone());
    IncomingCall {
        sip_call_id: call.to_owned(),
        caller_number: caller.id.speaker.clone(),
        called: called.unwrap_or_default(),
        offer: Some(offer),
        trunk: Some(NAME.to_owned()),
        tapped: Some(Tapped {
            operator: operator.id.speaker.clone(),
        }),
        ..IncomingCall::default()
    }
}

/// The description of the two streams.
fn offer(sockets: &[UdpSocket; 2]) -> io::Result<String> {
    let mut offer = String::new();
    for (socket, label) in sockets.iter().zip(Tapped::LABELS) {
        let local = socket.local_addr()?;
        let family = if local.is_ipv4() { "IP4" } else { "IP6" };
        if offer.is_empty() {
            let ip = local.ip();
            let _ = write!(
                offer,
                "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n"
            );
        }
        let _ = write!(
            offer,
            "m=audio {} RTP/AVP {AUDIO} {EVENT}\r\na=rtpmap:{AUDIO} L16/16000\r\na=rtpmap:{EVENT} telephone-event/16000\r\n\
             a=rtcp-mux\r\na=label:{label}\r\na=sendonly\r\n",
            local.port()
        );
    }
    Ok(offer)
}

/// Where the streams of our own offer go.
fn ports(answer: &str) -> Option<[u16; 2]> {
    let answer = Description::parse(answer).ok()?;
    match answer.sections() {
        [caller, operator] => Some([caller.port, operator.port]),
        _ => None,
    }
}

/// Brings a connection's sound to its port, until it ends.
async fn pump<R: tokio::io::AsyncRead + Unpin>(
    frames: &mut Frames<R>,
    socket: &UdpSocket,
    to: SocketAddr,
) -> Result<(), FrameError> {
    let mut voice = Voice::new(Instant::now(), rand::random());
    loop {
        let (datagrams, until) = match frames.next().await? {
            Frame::HangUp => return Ok(()),
            Frame::Audio(rate, samples) => voice.take(Instant::now(), rate, &samples),
            Frame::Key(key) => (voice.press(key), Instant::now()),
            Frame::Error(code) => {
                warn!("an AudioSocket connection tells of its error {code:#04x}");
                continue;
            }
            // Another UUID within the call would be another call.
            Frame::Id(_) | Frame::Unknown => continue,
        };
        for datagram in datagrams {
            // What the port does not take, the call counts as lost.
            let _ = socket.send_to(&datagram, to).await;
        }
        sleep_until(until).await;
    }
}

/// Waits until the call is over on the gateway's side.
async fn until_hung_up(commands: &mut mpsc::Receiver<SipCommand>) {
    loop {
        match commands.recv().await {
            None | Some(SipCommand::HangUp { .. }) => return,
            Some(_) => {}
        }
    }
}
