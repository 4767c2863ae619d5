//! What exchanges and phones really do, with the real call between two `SIPp`s.

use super::*;
use crate::call::{Call, Incoming, Input, MediaPolicy, Output, RtpEnd, Rules, Setup};
use crate::sip::session::Terms;
use crate::speech::CallId;
use crate::speech::finish::AsHeard;
use crate::transcript::EndReason;

/// A gateway that runs real calls, without media.
pub(super) struct Bridge {
    pub edge: SipEdge,
    pub reasons: Arc<StdMutex<Vec<String>>>,
}

impl Bridge {
    pub async fn start(config: SipConfig, operator: String) -> Self {
        let (edge, mut calls) = SipEdge::bind(config).await.expect("bound");
        let reasons = Arc::new(StdMutex::new(Vec::new()));
        let ended = reasons.clone();
        tokio::spawn(async move {
            while let Some(new) = calls.recv().await {
                tokio::spawn(run_call(new, operator.clone(), ended.clone()));
            }
        });
        Self { edge, reasons }
    }

    pub fn port(&self) -> u16 {
        self.edge.local_addr().port()
    }
}

async fn run_call(mut new: NewCall, operator: String, ended: Arc<StdMutex<Vec<String>>>) {
    let end = |port| RtpEnd {
        address: SocketAddr::new(MEDIA.ip(), port),
        policy: MediaPolicy::default(),
    };
    let ends = [end(MEDIA.port()), end(MEDIA.port() + 2)];
    let setup = Setup {
        own_numbers: Arc::default(),
        id: CallId::new(&new.incoming.sip_call_id),
        incoming: Incoming::by_sip(new.incoming.clone(), operator, ends),
        dialing: crate::ticket::dialing::Dialing::new("0535".to_owned()),
        wall: std::time::SystemTime::now(),
        seed: [7; 32],
        codecs: vec![
            crate::audio::codec::Codec::Pcma,
            crate::audio::codec::Codec::Pcmu,
        ],
        ring: Duration::from_secs(10),
        flush: Duration::ZERO,
        recognised: false,
        reviewed: false,
        rules: Rules::default(),
        recorded: false,
        announcement: None,
        finish: Arc::new(AsHeard),
        listening: crate::speech::segmenter::Settings::default(),
    };
    let mut call = Call::new(Instant::now(), setup);
    loop {
        let wake = loop {
            match call.poll(Instant::now()) {
                Output::Sip(command) => {
                    let _ = new.commands.send(command).await;
                }
                Output::Redraft(redraft) => {
                    call.handle(Instant::now(), Input::Drafted(redraft.refuse()));
                }
                Output::Ended(summary) => return locked(&ended).push(summary.reason.to_string()),
                Output::Deadline(at, _) => break at,
                Output::Idle => break Instant::now() + PATIENCE,
                _ => {}
            }
        };
        tokio::select! {
            event = new.events.recv() => match event {
                Some(event) => call.handle(Instant::now(), Input::Sip(event)),
                None => call.handle(Instant::now(), Input::End(EndReason::SignallingLost)),
            },
            () = tokio::time::sleep_until(wake.into()) => {}
        }
    }
}

/// One call between the two scenarios; why it ended.
async fn talk(caller: &str, operator: &str, lasts: &str) -> String {
    talk_with(config(), caller, operator, lasts).await
}

async fn talk_with(config: SipConfig, caller: &str, operator: &str, lasts: &str) -> String {
    let (phone, port) = Sipp::operator(operator, "", 1, &[]);
    let bridge = Bridge::start(config, format!("sip:op@127.0.0.1:{port}")).await;
    let caller = Sipp::caller(caller, "", bridge.port(), 1, &["-d", lasts]);
    caller.succeeds().await;
    phone.succeeds().await;
    leaves_nothing(&bridge.edge).await;
    locked(&bridge.reasons).pop().unwrap_or_default()
}

pub(super) async fn leaves_nothing(edge: &SipEdge) {
    let end = Instant::now() + PATIENCE;
    loop {
        let counts = edge.counts();
        if (counts.calls, counts.dialogs, counts.transactions) == (0, 0, 0)
            && edge.shared.dialogs.is_empty()
        {
            return;
        }
        assert!(Instant::now() < end, "left over: {counts:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn timed(expires: u32, min: u32) -> SipConfig {
    SipConfig {
        session: Terms { expires, min },
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_is_acknowledged_by_prack_on_either_side() {
    needs_sipp!();
    assert_eq!(
        talk("caller-pracks", "operator-hangs-up", "100").await,
        "operator hung up"
    );
    assert_eq!(
        talk("caller-hangs-up", "operator-wants-prack", "100").await,
        "caller hung up"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_timer_is_negotiated_refreshed_and_ends_a_call_that_nobody_refreshes() {
    needs_sipp!();
    let refreshed = tokio::join!(
        talk_with(
            timed(1_800, 2),
            "caller-is-refreshed",
            "operator-answers",
            "100"
        ),
        talk_with(
            timed(1_800, 2),
            "caller-is-refreshed-by-invite",
            "operator-answers",
            "100"
        ),
        talk_with(
            timed(1_800, 2),
            "caller-forgets-to-refresh",
            "operator-answers",
            "100"
        ),
    );
    assert_eq!(refreshed.0, "caller hung up");
    assert_eq!(refreshed.1, "caller hung up");
    assert_eq!(refreshed.2, "caller lost (session expired)");
    let bridge = Bridge::start(timed(1_800, 2), "sip:op@127.0.0.1:9".to_owned()).await;
    Sipp::caller("caller-asks-too-short", "", bridge.port(), 1, &[])
        .succeeds()
        .await;
    leaves_nothing(&bridge.edge).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_client_is_answered_as_by_a_recording_server_and_nobody_is_called() {
    needs_sipp!();
    let bridge = Bridge::start(config(), "sip:op@127.0.0.1:9".to_owned()).await;
    Sipp::caller("recording-client", "", bridge.port(), 1, &[])
        .succeeds()
        .await;
    leaves_nothing(&bridge.edge).await;
    let reasons = locked(&bridge.reasons).clone();
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_is_passed_on_from_either_side_and_tried_again_after_a_glare() {
    needs_sipp!();
    let held = tokio::join!(
        talk("caller-holds", "operator-is-held", "100"),
        talk("caller-is-held", "operator-holds", "100"),
        talk("caller-holds-for-long", "operator-defers", "100"),
    );
    assert_eq!(held.0, "caller hung up");
    assert_eq!(held.1, "operator hung up");
    assert_eq!(held.2, "caller hung up");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_offer_an_info_and_a_fork_are_taken_as_they_come() {
    needs_sipp!();
    let taken = tokio::join!(
        talk("caller-offers-late", "operator-answers", "100"),
        talk("caller-presses", "operator-hears-a-key", "100"),
        talk("caller-hangs-up", "operator-forks", "500"),
    );
    for reason in [taken.0, taken.1, taken.2] {
        assert_eq!(reason, "caller hung up");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_blind_or_attended_is_reported_and_keeps_the_caller() {
    needs_sipp!();
    for (successor, replaces) in [
        ("operator-answers", ""),
        (
            "operator-takes-over",
            "?Replaces=consult%40host%3Bto-tag%3D7a%3Bfrom-tag%3D8b",
        ),
    ] {
        let (second, port) = Sipp::operator(successor, "", 1, &[]);
        let target = format!("127.0.0.1:{port}{replaces}");
        let (first, port) = Sipp::operator("operator-refers", &target, 1, &[]);
        let bridge = Bridge::start(config(), format!("sip:op@127.0.0.1:{port}")).await;
        let caller = Sipp::caller("caller-hangs-up", "", bridge.port(), 1, &["-d", "1500"]);
        caller.succeeds().await;
        first.succeeds().await;
        second.succeeds().await;
        leaves_nothing(&bridge.edge).await;
        assert_eq!(
            locked(&bridge.reasons).pop().as_deref(),
            Some("caller hung up")
        );
    }
}

/// A message's header, without its name.
pub(super) fn value<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .expect("the header")
}

fn response(request: &str, tag: &str, port: u16) -> String {
    let to = value(request, "To");
    let to = if to.contains("tag=") {
        to.to_owned()
    } else {
        format!("{to};tag={tag}")
    };
    let body = if request.starts_with("INVITE") {
        format!(
            "Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{PHONE_SDP}",
            PHONE_SDP.len()
        )
    } else {
        "Content-Length: 0\r\n\r\n".to_owned()
    };
    format!(
        "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <sip:op@127.0.0.1:{port}>\r\n{body}",
        value(request, "Via"),
        value(request, "From"),
        value(request, "Call-ID"),
        value(request, "CSeq"),
    )
}

pub(super) const PHONE_SDP: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 4100 RTP/AVP 8\r\n";

/// A bare phone.
pub(super) struct Phone(pub UdpSocket);

impl Phone {
    pub fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self(socket)
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().expect("bound").port()
    }

    /// The next message that begins with `start`; what comes between is passed over.
    pub fn receive(&self, start: &str) -> (String, SocketAddr) {
        let mut buffer = [0; 8_192];
        loop {
            let (length, source) = self.0.recv_from(&mut buffer).expect(start);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) {
                return (text, source);
            }
        }
    }

    fn answer(&self, start: &str) -> String {
        let (request, source) = self.receive(start);
        let response = response(&request, "phone", self.port());
        self.0.send_to(response.as_bytes(), source).expect("sent");
        request
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_with_replaces_takes_the_phones_place_in_a_running_call() {
    needs_sipp!();
    let phone = Phone::new();
    let bridge = Bridge::start(config(), format!("sip:op@127.0.0.1:{}", phone.port())).await;
    let gateway = bridge.port();
    let caller = Sipp::caller("caller-is-hung-up-on", "", gateway, 1, &[]);
    let taken = tokio::task::spawn_blocking(move || {
        let invite = phone.answer("INVITE");
        phone.receive("ACK");
        let ours = value(&invite, "From")
            .rsplit_once("tag=")
            .expect("a tag")
            .1
            .to_owned();
        let newcomer = Phone::new();
        let send = |method: &str, number: u32, to: &str, extra: &str, body: &str| {
            let text = format!(
                "{method} sip:gateway@127.0.0.1:{gateway} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{};rport;branch=z9hG4bKn{method}{number}\r\n\
                 From: <sip:1002@127.0.0.1>;tag=new\r\nTo: {to}\r\nCall-ID: newcomer\r\nCSeq: {number} {method}\r\n\
                 Contact: <sip:1002@127.0.0.1:{}>\r\nMax-Forwards: 70\r\n{extra}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
                newcomer.port(),
                newcomer.port(),
                body.len()
            );
            newcomer
                .0
                .send_to(text.as_bytes(), ("127.0.0.1", gateway))
                .expect("sent");
        };
        // Who names the dialog wrongly gets nothing of it.
        let call_id = value(&invite, "Call-ID").to_owned();
        let wrong =
            format!("Require: replaces\r\nReplaces: {call_id};to-tag={ours};from-tag=guessed\r\n");
        send("INVITE", 1, "<sip:gateway@127.0.0.1>", &wrong, PHONE_SDP);
        newcomer.receive("SIP/2.0 481");
        let right =
            format!("Require: replaces\r\nReplaces: {call_id};to-tag={ours};from-tag=phone\r\n");
        send("INVITE", 2, "<sip:gateway@127.0.0.1>", &right, PHONE_SDP);
        let (accepted, _) = newcomer.receive("SIP/2.0 200");
        let to = value(&accepted, "To").to_owned();
        send("ACK", 2, &to, "", "");
        // Whose place was taken is hung up on.
        phone.answer("BYE");
        send("BYE", 3, &to, "", "");
        newcomer.receive("SIP/2.0 200");
    });
    taken.await.expect("as it should");
    caller.succeeds().await;
    leaves_nothing(&bridge.edge).await;
    assert_eq!(
        locked(&bridge.reasons).pop().as_deref(),
        Some("operator hung up")
    );
}

/// The stack keeps tasks of its own for what is left of a dialog; none may outlive it.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_leaves_no_task_behind() {
    needs_sipp!();
    let alive = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let (phone, port) = Sipp::operator("operator-answers", "", 6, &[]);
    let bridge = Bridge::start(config(), format!("sip:op@127.0.0.1:{port}")).await;
    let mut left = Vec::new();
    for _ in 0..2 {
        let caller = Sipp::caller("caller-hangs-up", "", bridge.port(), 3, &["-d", "100"]);
        caller.succeeds().await;
        leaves_nothing(&bridge.edge).await;
        left.push(alive());
    }
    phone.succeeds().await;
    assert_eq!(left[0], left[1]);
}
