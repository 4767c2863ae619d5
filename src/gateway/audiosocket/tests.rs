//! Connections over real TCP, with the call table's part played by the test.

use std::future::poll_fn;
use std::io::Read as _;
use std::time::Instant;

use socket2::SockRef;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::*;
use crate::audio::Frequency;
use crate::call::DecodedFrame;
use crate::gateway::media::frames::Arrival;
use crate::private::Private;

const CALLER: &str = "17639012-0042-8f12-8345-f13912345678";
const OPERATOR: &str = "17639012-0042-8f12-8345-ffffffff1007";
/// Long enough for a busy machine to read what a lone connection says.
const PATIENCE: Duration = Duration::from_secs(2);

/// An inlet, and where its calls come out.
struct Inlet {
    ports: [SocketAddr; 2],
    calls: mpsc::Receiver<TappedCall>,
    accepting: CancellationToken,
}

impl Inlet {
    async fn open(networks: &[&str], most: usize) -> Self {
        let (sender, calls) = mpsc::channel(4);
        let accepting = CancellationToken::new();
        let settings = Settings {
            networks: networks
                .iter()
                .map(|network| network.parse().expect("a network"))
                .collect(),
            patience: PATIENCE,
            calls: most,
        };
        let shared = Shared::new(settings, sender, accepting.clone());
        let mut ports = Vec::new();
        for leg in [Leg::Caller, Leg::Operator] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
            ports.push(listener.local_addr().expect("bound"));
            tokio::spawn(shared.clone().serve(listener, leg));
        }
        Self {
            ports: [ports[0], ports[1]],
            calls,
            accepting,
        }
    }

    async fn connect(&self, leg: Leg) -> TcpStream {
        let port = self.ports[usize::from(leg == Leg::Operator)];
        TcpStream::connect(port).await.expect("listened to")
    }

    async fn says(&self, leg: Leg, uuid: &str) -> TcpStream {
        let mut stream = self.connect(leg).await;
        let digits: String = uuid.chars().filter(|digit| *digit != '-').collect();
        let id = u128::from_str_radix(&digits, 16).expect("hexadecimal");
        send(&mut stream, 1, &id.to_be_bytes()).await;
        stream
    }

    /// Both sides of a call, and the call as the table would have taken it.
    async fn tapped(&mut self) -> ([TcpStream; 2], TappedCall) {
        let operator = self.says(Leg::Operator, OPERATOR).await;
        let caller = self.says(Leg::Caller, CALLER).await;
        let new = self.calls.recv().await.expect("a call");
        ([caller, operator], new)
    }
}

impl TappedCall {
    /// The next that comes of a leg.
    async fn next(&mut self, leg: Leg) -> Option<Arrival> {
        let leg = &mut self.legs[usize::from(leg == Leg::Operator)];
        let next = poll_fn(|context| leg.poll(context));
        timeout(Duration::from_secs(5), next).await.ok().flatten()
    }

    async fn heard(&mut self, leg: Leg) -> DecodedFrame {
        match self.next(leg).await {
            Some(Arrival::Frame(frame)) => frame,
            other => panic!("{other:?}"),
        }
    }

    /// What broke on a leg, if its party did not hang up; what it said before is passed over.
    async fn ended(&mut self, leg: Leg) -> Option<String> {
        loop {
            match self.next(leg).await {
                Some(Arrival::End(broke)) => return broke,
                Some(_) => {}
                None => panic!("it went without a word"),
            }
        }
    }
}

async fn send(stream: &mut TcpStream, kind: u8, payload: &[u8]) {
    let mut frame = vec![kind];
    frame.extend((payload.len() as u16).to_be_bytes());
    frame.extend(payload);
    stream.write_all(&frame).await.expect("sent");
}

async fn speak(stream: &mut TcpStream, kind: u8, level: i16, samples: usize) {
    let sound: Vec<u8> = std::iter::repeat_n(level.to_le_bytes(), samples)
        .flatten()
        .collect();
    send(stream, kind, &sound).await;
}

/// What the inlet says before it closes a connection, but for the silence before; nothing when it just closes it.
async fn last_words(stream: TcpStream) -> Vec<u8> {
    let stream = stream.into_std().expect("ours");
    stream.set_nonblocking(false).expect("settable");
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("settable");
    let read = tokio::task::spawn_blocking(move || {
        let mut words = Vec::new();
        (&stream).read_to_end(&mut words).map(|_| words)
    });
    let words = read.await.expect("no panic").expect("closed in time");
    let mut words = words.as_slice();
    while let Some(rest) = words.strip_prefix(&SILENCE) {
        words = rest;
    }
    words.to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_connections_are_one_call_with_its_numbers_and_each_side_is_heard_on_its_own_leg() {
    let mut inlet = Inlet::open(&["127.0.0.0/8"], 4).await;
    let ([mut caller, mut operator], mut call) = inlet.tapped().await;
    let number = |number: &Option<Private<String>>| {
        number
            .as_ref()
            .map(|number| number.reveal().clone())
            .unwrap_or_default()
    };
    assert_eq!(number(&call.caller_number), "13912345678");
    assert_eq!(number(&call.operator_number), "1007");
    assert_eq!(call.called, "12345");
    assert_eq!(call.trunk, "audiosocket");
    assert!(!format!("{call:?}").contains("13912345678"), "personal");

    for _ in 0..10 {
        speak(&mut caller, 0x10, 4_000, 160).await;
        speak(&mut operator, 0x12, -7_000, 320).await;
    }
    for (leg, level) in [(Leg::Caller, 4_000_i16), (Leg::Operator, -7_000)] {
        let (mut samples, mut begin) = (Vec::new(), Vec::new());
        for number in 0..8 {
            let frame = call.heard(leg).await;
            assert_eq!((frame.number, frame.rate), (number, Frequency::HZ_16000));
            samples.extend(frame.samples);
            begin.push(frame.at);
        }
        assert_eq!(samples.len(), 8 * 320, "20 ms at 16 kHz each");
        let step = Duration::from_millis(20);
        assert!(begin.windows(2).all(|pair| pair[0] + step == pair[1]));
        let settled = &samples[640..];
        let close = settled.iter().all(|sample| sample.abs_diff(level) < 100);
        assert!(close, "{leg}: {:?}", &settled[..20]);
    }
    send(&mut caller, 3, b"7").await;
    speak(&mut caller, 0x10, 4_000, 160).await;
    let key = loop {
        match call.next(Leg::Caller).await {
            Some(Arrival::Key(key)) => break key,
            Some(Arrival::Frame(_)) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(key.as_char(), '7');

    // Either side ends both.
    send(&mut operator, 0, &[]).await;
    assert_eq!(call.ended(Leg::Operator).await, None);
    assert_eq!(last_words(caller).await, GOODBYE);
    assert_eq!(last_words(operator).await, GOODBYE);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_ends_or_refuses_a_call_and_both_connections_are_told() {
    let mut inlet = Inlet::open(&["127.0.0.0/8"], 4).await;
    let ([caller, operator], call) = inlet.tapped().await;
    // It lets go as soon as the call is over, though the call is still busy with what was said last.
    drop(call.refusal);
    assert_eq!(last_words(caller).await, GOODBYE);
    assert_eq!(last_words(operator).await, GOODBYE);

    let caller = inlet.says(Leg::Caller, CALLER).await;
    let operator = inlet.says(Leg::Operator, OPERATOR).await;
    let new = inlet.calls.recv().await.expect("a call");
    new.refusal.send("every line is busy").expect("taken");
    assert_eq!(last_words(caller).await, GOODBYE);
    assert_eq!(last_words(operator).await, GOODBYE);

    inlet.accepting.cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(
        TcpStream::connect(inlet.ports[0]).await.is_err(),
        "it drains"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_side_gets_silence_each_second_and_who_speaks_gets_nothing() {
    let mut inlet = Inlet::open(&["127.0.0.0/8"], 4).await;
    let ([mut caller, mut operator], mut call) = inlet.tapped().await;
    let began = Instant::now();
    let speaks = tokio::spawn(async move {
        while began.elapsed() < Duration::from_millis(3_500) {
            speak(&mut caller, 0x10, 4_000, 160).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        caller
    });
    let mut frame = [0; SILENCE.len()];
    for number in 1..=3 {
        let heard = timeout(Duration::from_secs(20), operator.read_exact(&mut frame));
        heard.await.expect("in time").expect("whole");
        assert_eq!(frame, SILENCE);
        assert!(began.elapsed() >= QUIET * number, "{:?}", began.elapsed());
    }
    let mut caller = speaks.await.expect("no panic");
    let told = caller.try_read(&mut frame).map_err(|error| error.kind());
    assert_eq!(
        told,
        Err(std::io::ErrorKind::WouldBlock),
        "nothing is said to who speaks"
    );
    // An ordinary end: nobody is said to be lost.
    send(&mut caller, 0, &[]).await;
    assert_eq!(call.ended(Leg::Caller).await, None);
    assert_eq!(last_words(caller).await, GOODBYE);
    assert_eq!(last_words(operator).await, GOODBYE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_connection_waits_for_a_while_and_no_longer() {
    let mut inlet = Inlet::open(&["127.0.0.0/8"], 4).await;
    let began = Instant::now();
    let mut lone = inlet.says(Leg::Caller, CALLER).await;
    // What it says meanwhile is read, more than sockets hold: an exchange must never find the socket full.
    let held = SockRef::from(&lone).set_send_buffer_size(16 * 1_024);
    held.expect("settable");
    for _ in 0..200 {
        speak(&mut lone, 0x18, 1_000, 3_840).await;
    }
    // Nor is another caller its partner, nor the operator of another call.
    let second = inlet.says(Leg::Caller, CALLER).await;
    assert_eq!(last_words(second).await, GOODBYE);
    let other = inlet
        .says(Leg::Operator, "17639012-0043-8f12-8345-ffffffff1007")
        .await;
    assert_eq!(last_words(lone).await, GOODBYE);
    let waited = began.elapsed();
    assert!(waited >= PATIENCE, "{waited:?}");
    assert_eq!(last_words(other).await, GOODBYE);
    assert!(inlet.calls.try_recv().is_err(), "there was no call");
    // The place is free again.
    let (_connections, _call) = inlet.tapped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_the_surplus_and_those_who_speak_nonsense_are_closed() {
    let inlet = Inlet::open(&["192.0.2.0/24"], 4).await;
    assert!(
        last_words(inlet.connect(Leg::Caller).await)
            .await
            .is_empty(),
        "a stranger"
    );

    let mut inlet = Inlet::open(&["127.0.0.0/8"], 0).await;
    let mut held = Vec::new();
    for _ in 0..SPARE {
        held.push(inlet.connect(Leg::Caller).await);
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        last_words(inlet.connect(Leg::Operator).await)
            .await
            .is_empty(),
        "the surplus"
    );
    held.clear();
    tokio::time::sleep(Duration::from_millis(100)).await;

    let mut rude = inlet.connect(Leg::Caller).await;
    speak(&mut rude, 0x10, 1, 160).await;
    assert!(last_words(rude).await.is_empty(), "no UUID");

    let ([mut caller, operator], mut call) = inlet.tapped().await;
    send(&mut caller, 0x10, &vec![1; 20_000]).await;
    let broke = call.ended(Leg::Caller).await;
    assert!(broke.is_some_and(|broke| broke.contains("half a second")));
    assert_eq!(last_words(operator).await, GOODBYE);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_sends_faster_than_time_is_read_as_fast_as_time() {
    let mut inlet = Inlet::open(&["127.0.0.0/8"], 4).await;
    let ([mut caller, _operator], mut call) = inlet.tapped().await;
    let began = Instant::now();
    let sends = tokio::spawn(async move {
        for _ in 0..75 {
            speak(&mut caller, 0x10, 5_000, 160).await;
        }
        caller
    });
    for _ in 0..70 {
        call.heard(Leg::Caller).await;
    }
    let took = began.elapsed();
    // 1.4 s of sound, 0.3 s of which may be ahead.
    assert!(took > Duration::from_secs(1), "{took:?}");
    drop(sends.await);
}
