//! Calls with real sockets: who may send to an open port, and what comes out of it.

use std::net::{SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Weak;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::audio::Frequency;
use crate::events::{Filter, Next, Payload, Subscription};
use crate::gateway::media::frames::{self, FrameSender};
use crate::gateway::sip::RouteSecurityLookup;
use crate::rtp::srtp::{Protector, Unprotector};
use crate::rtp::{Packet, WireSequence};
use crate::sip::sdp::{Crypto, Description};
use crate::sip::{DialogEnd, IncomingCall, Party, SipCommand, SipEvent};
use crate::speech::Leg;
use crate::speech::finish::AsHeard;
use crate::ticket::{Drafter, Taxonomy};
use crate::transcript::{EndReason, TranscriptEvent};

const KEY: &str = "1 AEAD_AES_128_GCM inline:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGw==";
/// How long a packet takes over the loopback at most, on a busy machine.
const SOON: Duration = Duration::from_millis(1_500);
/// How long is waited for what must not come.
const NEVER: Duration = Duration::from_millis(150);

/// A call that is up: its phones' sockets, and where the gateway wants their media.
struct Bridged {
    phones: [UdpSocket; 2],
    ports: [SocketAddr; 2],
    answer: Description,
    events: mpsc::Sender<SipEvent>,
    commands: mpsc::Receiver<SipCommand>,
    /// The table goes when no more calls can come.
    accept: mpsc::Sender<sip::NewCall>,
    table: JoinHandle<()>,
    shared: Weak<CallContext>,
}

/// What the calls of a test share; their media go through those ports.
fn context(ports: Range<u16>, media: config::Media) -> CallContext {
    let local = [127, 0, 0, 1].into();
    CallContext {
        own_numbers: Arc::default(),
        ports: PortPool::new(local, ports.start, ports.end - 1, NEVER),
        media_address: local,
        operator: "sip:op@127.0.0.1:5080".to_owned(),
        media,
        ring: Duration::from_mins(1),
        flush: Duration::ZERO,
        rules: crate::call::Rules::default(),
        pool: None,
        reviewed: false,
        bus: Bus::new(1),
        draft_writer: Arc::default(),
        advisor: Advisor::default(),
        recorder: None,
        announcement: None,
        control: CallControl::default(),
        drafts: DraftingDesk::start(Arc::new(Drafter::new(Taxonomy::embedded())), 1)
            .expect("a thread"),
        finish: Arc::new(AsHeard),
        listening: Settings::default(),
    }
}

impl Bridged {
    async fn new(first_port: u16, media: config::Media, key: Option<&str>) -> Self {
        let context = context(first_port..first_port + 8, media);
        let threads = MediaThreads::start(1).expect("a thread");
        let calls = Arc::new(CallTable::new(context, threads, 1));
        let shared = Arc::downgrade(&calls.context);
        let phones = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let (accept, incoming) = mpsc::channel(1);
        let table = tokio::spawn(calls.run(incoming));
        let (event, events) = mpsc::channel(8);
        let (commands, mut command) = mpsc::channel(8);
        let new = sip::NewCall {
            incoming: IncomingCall {
                called: "12345".to_owned(),
                offer: Some(describe(&phones[0], key)),
                ..IncomingCall::default()
            },
            source: phones[0].local_addr().expect("bound"),
            transport: Transport::Udp,
            route: Vec::new(),
            route_security: RouteSecurityLookup::default(),
            events,
            commands,
        };
        accept.send(new).await.expect("taken");
        let (mut invited, mut answered) = (None, None);
        while answered.is_none() {
            match command.recv().await.expect("the call goes on") {
                SipCommand::Invite { offer, .. } => {
                    invited = Some(Description::parse(&offer).expect("a description"));
                    let answer = describe(&phones[1], None);
                    let answered = SipEvent::Answered {
                        party: Party::OPERATOR,
                        answer,
                    };
                    event.send(answered).await.expect("taken");
                }
                SipCommand::Answer {
                    answer: Some(answer),
                    ..
                } => {
                    answered = Some(Description::parse(&answer).expect("a description"));
                }
                other => panic!("{other:?}"),
            }
        }
        let (invited, answer) = (invited.expect("invited"), answered.expect("answered"));
        let port = |description: &Description| {
            SocketAddr::from(([127, 0, 0, 1], description.sections()[0].port))
        };
        Self {
            ports: [port(&answer), port(&invited)],
            phones,
            answer,
            events: event,
            commands: command,
            accept,
            table,
            shared,
        }
    }

    /// What arrives at a phone, if anything does.
    fn heard(&self, phone: usize, patience: Duration) -> Option<Vec<u8>> {
        heard(&self.phones[phone], patience)
    }
}

fn heard(socket: &UdpSocket, patience: Duration) -> Option<Vec<u8>> {
    let mut buffer = [0; 2_048];
    socket.set_read_timeout(Some(patience)).expect("settable");
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(buffer[..length].to_vec())
}

fn describe(phone: &UdpSocket, key: Option<&str>) -> String {
    let port = phone.local_addr().expect("bound").port();
    let key = key.map_or_else(String::new, |key| format!("a=crypto:{key}\r\n"));
    format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n{key}"
    )
}

fn voice(sequence: u16, said: u8) -> Vec<u8> {
    Packet {
        payload_type: 8,
        marker: false,
        sequence: WireSequence(sequence),
        timestamp: u32::from(sequence) * 160,
        ssrc: u32::from(said),
        payload: &[said; 160],
    }
    .to_datagram()
}

fn said(datagram: &[u8]) -> u8 {
    Packet::parse(datagram).expect("a packet").payload[0]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rtp_bleed_fails_over_real_sockets_before_and_after_the_leg_is_heard() {
    let call = Bridged::new(47_400, config::Media::default(), None).await;
    let attackers = ["127.0.0.66:0", "127.0.0.1:0"].map(|at| UdpSocket::bind(at).expect("a port"));
    let attack = |count: u16| {
        for sequence in 0..count {
            for attacker in &attackers {
                let sent = attacker.send_to(&voice(sequence, 0xee), call.ports[0]);
                sent.expect("sent");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    };
    // Before: the caller's phone has not sent anything yet.
    attack(20);
    assert_eq!(call.heard(1, NEVER), None, "injected");
    let speak = |phone: usize, sequence, said| {
        let sent = call.phones[phone].send_to(&voice(sequence, said), call.ports[phone]);
        sent.expect("sent");
    };
    speak(1, 1, 0x22);
    assert_eq!(call.heard(0, SOON).as_deref().map(said), Some(0x22));
    speak(0, 1, 0x11);
    assert_eq!(call.heard(1, SOON).as_deref().map(said), Some(0x11));
    // After.
    attack(120);
    assert_eq!(call.heard(1, NEVER), None, "injected");
    for sequence in 2..10 {
        speak(1, sequence, 0x22);
        assert_eq!(call.heard(0, SOON).as_deref().map(said), Some(0x22));
    }
    for attacker in &attackers {
        assert_eq!(heard(attacker, NEVER), None, "the operator's voice leaked");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_packets_of_a_secured_leg_are_not_relayed_over_real_sockets() {
    let media = config::Media {
        keys_without_tls: true,
        ..config::Media::default()
    };
    let call = Bridged::new(47_420, media, Some(KEY)).await;
    let ours = call.answer.sections()[0].cryptos[0].key.clone();
    let theirs = Crypto::parse(KEY).expect("a key").key;
    let mut protector = Protector::new(&theirs);
    for sequence in 0..20 {
        let mut sound = voice(sequence, 0x11);
        protector.protect(&mut sound);
        let mut forged = sound.clone();
        *forged.last_mut().expect("not empty") ^= 1;
        for datagram in [&voice(sequence, 0xee), &forged, &sound, &sound] {
            let sent = call.phones[0].send_to(datagram, call.ports[0]);
            sent.expect("sent");
        }
        assert_eq!(call.heard(1, SOON).as_deref().map(said), Some(0x11));
    }
    assert_eq!(call.heard(1, NEVER), None);
    let sent = call.phones[1].send_to(&voice(1, 0x22), call.ports[1]);
    sent.expect("sent");
    let secret = call.heard(0, SOON).expect("forwarded");
    // One byte of a cipher may well be the plain one; all of them are not.
    assert!(
        !secret.windows(8).any(|bytes| bytes == [0x22; 8]),
        "in the clear"
    );
    let mut clear = Vec::new();
    assert!(Unprotector::new(ours, Vec::new()).unprotect(&secret, &mut clear));
    assert_eq!(said(&clear), 0x22);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_in_signalling_that_everybody_can_read_are_passed_over() {
    let call = Bridged::new(47_440, config::Media::default(), Some(KEY)).await;
    assert!(call.answer.sections()[0].cryptos.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_calls_port_takes_stale_media_in_silence() {
    let call = Bridged::new(47_460, config::Media::default(), None).await;
    let sent = call.phones[0].send_to(&voice(1, 0x11), call.ports[0]);
    sent.expect("sent");
    assert!(call.heard(1, SOON).is_some());
    let ended = SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    };
    call.events.send(ended).await.expect("taken");
    // The last report of the call is RTCP, on ports of its own.
    std::thread::sleep(Duration::from_millis(50));
    for sequence in 2..20 {
        let sent = call.phones[0].send_to(&voice(sequence, 0x11), call.ports[0]);
        // Bound and quiet: nobody else can have it, and nothing comes back.
        sent.expect("sent");
    }
    assert_eq!(call.heard(1, NEVER), None);
    assert_eq!(call.heard(0, Duration::from_millis(20)), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_table_waits_for_its_threads_and_nothing_that_its_calls_shared_is_left() {
    let mut call = Bridged::new(47_480, config::Media::default(), None).await;
    assert!(call.shared.upgrade().is_some(), "a call runs");
    drop(call.accept);
    call.table.await.expect("no panic");
    assert!(call.shared.upgrade().is_none(), "something holds it");
    // The call went with its thread, and the adapter sees it.
    while call.commands.recv().await.is_some() {}
    assert!(call.events.is_closed());
}

/// A tapped call, its edge's ends, and where it is told that the call is over.
fn tapped() -> (
    TappedCall,
    [FrameSender; 2],
    oneshot::Receiver<&'static str>,
) {
    let (caller, from_caller) = frames::channel();
    let (operator, from_operator) = frames::channel();
    let (refusal, gateway) = oneshot::channel();
    let tapped = TappedCall {
        name: "17639012".to_owned(),
        source: ([127, 0, 0, 1], 9).into(),
        caller_number: Some("13912345678".into()),
        operator_number: None,
        called: "12345".to_owned(),
        trunk: "audiosocket".to_owned(),
        legs: [from_caller, from_operator],
        refusal,
    };
    (tapped, [caller, operator], gateway)
}

/// The next event that `wanted` finds something in.
async fn told<T>(events: &mut Subscription, wanted: impl Fn(&TranscriptEvent) -> Option<T>) -> T {
    loop {
        let Next::Event(event) = events.next().await else {
            panic!("the bus is gone");
        };
        if let Payload::Transcript(event) = &event.payload
            && let Some(found) = wanted(event)
        {
            return found;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tapped_call_needs_no_port_and_ends_with_its_connection_or_by_the_gateway() {
    // Not one pair is free.
    let context = context(47_501..47_502, config::Media::default());
    let mut events = context.bus.watch(Filter::default(), None);
    let threads = MediaThreads::start(1).expect("a thread");
    let table = Arc::new(CallTable::new(context, threads, 1));
    let (accept, incoming) = mpsc::channel(4);
    tokio::spawn(table.clone().run::<TappedCall>(incoming));
    for ends_by_itself in [true, false] {
        let (call, [mut caller, operator], gateway) = tapped();
        accept.send(call).await.expect("taken");
        let is_up = |event: &TranscriptEvent| {
            matches!(event, TranscriptEvent::Answered { .. }).then_some(())
        };
        told(&mut events, is_up).await;
        let (surplus, _legs, refused) = tapped();
        accept.send(surplus).await.expect("taken");
        assert_eq!(refused.await, Ok("every line is busy"));

        let step = Duration::from_millis(20);
        for number in 0..10 {
            assert!(caller.send(step * number, Frequency::HZ_16000, vec![9; 320]));
        }
        if ends_by_itself {
            caller.end(None).await;
            // The other leg goes without a word, which is not why the call ended.
            drop(operator);
        } else {
            table.end_all();
        }
        let received = told(&mut events, |event| match event {
            TranscriptEvent::Media(media) if media.leg == Leg::Caller => Some(media.received),
            _ => None,
        });
        assert_eq!(received.await, 10);
        let reason = told(&mut events, |event| match event {
            TranscriptEvent::CallFinal { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        let why = if ends_by_itself {
            EndReason::HungUp { party: Leg::Caller }
        } else {
            EndReason::ShuttingDown
        };
        assert_eq!(reason.await, why);
        assert!(gateway.await.is_err(), "it was let go, not refused");
        table.idle().await;
    }
}

/// An offer of a stream from each of those sockets.
fn streams(phones: &[UdpSocket]) -> String {
    let mut offer =
        "v=0\r\no=src 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n".to_owned();
    for (number, phone) in phones.iter().enumerate() {
        let port = phone.local_addr().expect("bound").port();
        let stream = format!("m=audio {port} RTP/AVP 8\r\na=sendonly\r\na=label:{number}\r\n");
        offer.push_str(&stream);
    }
    offer
}

/// Where an answer wants each stream.
fn ports(answer: &str) -> Vec<SocketAddr> {
    let answer = Description::parse(answer).expect("a description");
    let ports = answer.sections().iter().map(|section| section.port);
    ports.map(|port| ([127, 0, 0, 1], port).into()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_a_recording_client_offers_and_adds_are_recorded_over_real_sockets() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut context = context(47_510..47_522, config::Media::default());
    let (notices, noticed) = std::sync::mpsc::channel();
    let recorder = Recorder::start(folder.path(), None, 0, move |notice| {
        let _ = notices.send(notice);
    });
    let recorder = Arc::new(recorder.expect("a thread"));
    context.recorder = Some(recorder.clone());
    let threads = MediaThreads::start(1).expect("a thread");
    let table = Arc::new(CallTable::new(context, threads, 1));
    let (accept, incoming) = mpsc::channel(1);
    tokio::spawn(table.clone().run::<sip::NewCall>(incoming));
    let phones = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let (event, events) = mpsc::channel(8);
    let (commands, mut command) = mpsc::channel(8);
    let new = sip::NewCall {
        incoming: IncomingCall {
            offer: Some(streams(&phones[..3])),
            requires: vec!["siprec".to_owned()],
            ..IncomingCall::default()
        },
        source: phones[0].local_addr().expect("bound"),
        transport: Transport::Udp,
        route: Vec::new(),
        route_security: RouteSecurityLookup::default(),
        events,
        commands,
    };
    accept.send(new).await.expect("taken");
    let three = match command.recv().await {
        Some(SipCommand::Answer {
            answer: Some(answer),
            ..
        }) => ports(&answer),
        other => panic!("{other:?}"),
    };
    let offered = SipEvent::Offered {
        party: Party::CALLER,
        offer: Some(streams(&phones)),
    };
    event.send(offered).await.expect("taken");
    let four = match command.recv().await {
        Some(SipCommand::AnswerOffer {
            answer: Ok(answer), ..
        }) => ports(&answer),
        other => panic!("{other:?}"),
    };
    assert_eq!(four[..3], three, "who is there stays where he is");
    let distinct: std::collections::BTreeSet<_> = four.iter().map(SocketAddr::port).collect();
    assert!(distinct.len() == 4 && !distinct.contains(&0), "{four:?}");
    // The loudest there is, one stream after the other.
    for (phone, port) in phones.iter().zip(&four) {
        for sequence in 0..25 {
            phone.send_to(&voice(sequence, 0x2a), port).expect("sent");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let ended = SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    };
    event.send(ended).await.expect("taken");
    table.idle().await;
    recorder.close();
    let last = noticed.try_iter().last().expect("recorded");
    let mut reader = hound::WavReader::open(folder.path().join(last.file)).expect("a WAV file");
    let samples: Vec<i16> = reader
        .samples()
        .map(|sample| sample.expect("whole"))
        .collect();
    let loud = |channel: usize| {
        let samples = samples.iter().skip(channel).step_by(2);
        samples
            .filter(|sample| sample.unsigned_abs() > 20_000)
            .count()
            / 8
    };
    // One speaks on the caller's side, and the others are taken for colleagues; a busy machine may lose a little.
    let (caller, others) = (loud(0), loud(1));
    assert!((300..=600).contains(&caller), "{caller} ms");
    assert!((1_000..=1_700).contains(&others), "{others} ms");
}

#[test]
fn a_way_is_secret_only_where_its_uri_says_so() {
    for (uri, is_secret) in [
        ("sip:op@192.0.2.1", false),
        ("sip:op@192.0.2.1;transport=tcp", false),
        ("sip:op@192.0.2.1;transport=TLS", true),
        ("sips:op@192.0.2.1", true),
        ("op", false),
    ] {
        let route_security = RouteSecurityLookup::default().towards(uri);
        assert_eq!(route_security.is_secret, is_secret, "{uri}");
    }
}
