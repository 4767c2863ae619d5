//! How long the bridge holds a packet: 50 calls over real sockets, with every recognition worker busy.
//!
//! Each call's two legs send real speech, 20 ms a packet; one thread sends for all callers and one for all operators,
//! at even distances, and two more receive. A packet is known again by its source's sequence number.

#[path = "report/quantile.rs"]
mod quantile;
mod report;

use std::collections::HashMap;
use std::error::Error;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use xinqiao::audio::codec::{Codec, Encoder};
use xinqiao::audio::resample::Resampler;
use xinqiao::config::Recognition;
use xinqiao::control::CallControl;
use xinqiao::events::Bus;
use xinqiao::gateway::advice::Advisor;
use xinqiao::gateway::calls::{CallContext, CallTable, DraftingDesk, MediaThreads};
use xinqiao::gateway::draft_writer::DraftWriter;
use xinqiao::gateway::media::ports::PortPool;
use xinqiao::gateway::sip::{NewCall, RouteSecurityLookup, Transport};
use xinqiao::gateway::wav::Wav;
use xinqiao::recognition;
use xinqiao::rtp::{Packet, WireSequence};
use xinqiao::sip::{IncomingCall, SipCommand, SipEvent};
use xinqiao::speech::finish::AsHeard;
use xinqiao::speech::segmenter::Settings;
use xinqiao::ticket::{Drafter, Taxonomy};

const CALLS: usize = 50;
const PTIME: Duration = Duration::from_millis(20);
const LASTS: Duration = Duration::from_secs(20);
/// Not counted: sockets, caches and the first recognitions settle.
const WARM_UP: Duration = Duration::from_secs(3);

/// When each packet left, by call and sequence number.
type Sent = Arc<Mutex<HashMap<(usize, u16), Instant>>>;

fn main() -> Result<(), Box<dyn Error>> {
    let settings = Recognition {
        queue: 64,
        ..Recognition::default()
    };
    recognition::check(&settings)?;
    let sample = Path::new("data/models/samples/zh/pangrama.wav");
    let speech = Wav::read(sample)?;
    let mut samples = Vec::new();
    Resampler::new(speech.rate, Codec::Pcma.rate()).push(&speech.channels[0], |piece| {
        samples.extend_from_slice(piece);
    });
    let mut encoder = Encoder::new(Codec::Pcma);
    let payloads: Vec<Vec<u8>> = samples
        .chunks_exact(160)
        .map(|frame| encoder.encode(frame))
        .collect();

    let runtime = xinqiao::gateway::runtime()?;
    let pool = recognition::load(&settings)?.map(Arc::new);
    let pool = pool.ok_or("recognition is switched off")?;
    let context = CallContext {
        own_numbers: Arc::default(),
        ports: PortPool::new(IpAddr::from([127, 0, 0, 1]), 30_000, 31_999, Duration::ZERO),
        media_address: IpAddr::from([127, 0, 0, 1]),
        operator: "sip:op@127.0.0.1:5080".to_owned(),
        media: xinqiao::config::Media::default(),
        ring: Duration::from_mins(1),
        flush: Duration::ZERO,
        rules: xinqiao::call::Rules::default(),
        recorder: None,
        announcement: None,
        control: CallControl::default(),
        pool: Some(pool.clone()),
        reviewed: false,
        bus: Bus::new(1),
        draft_writer: Arc::new(DraftWriter::default()),
        drafts: DraftingDesk::start(Arc::new(Drafter::new(Taxonomy::embedded())), CALLS)?,
        finish: Arc::new(AsHeard),
        listening: Settings::default(),
        advisor: Advisor::default(),
    };
    let calls = Arc::new(CallTable::new(context, MediaThreads::start(1)?, CALLS));
    let legs = [
        UdpSocket::bind("127.0.0.1:0")?,
        UdpSocket::bind("127.0.0.1:0")?,
    ];
    let places = runtime.block_on(answered(&calls, &legs))?;

    let stop = Arc::new(AtomicBool::new(false));
    let delays = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let sent: [Sent; 2] = [Sent::default(), Sent::default()];
    let mut threads = Vec::new();
    for leg in 0..2 {
        let socket = legs[leg].try_clone()?;
        let ports: Vec<SocketAddr> = places.iter().map(|place| place[leg]).collect();
        let callers: HashMap<SocketAddr, usize> = ports.iter().copied().zip(0..).collect();
        let (payloads, own, stopped) = (payloads.clone(), sent[leg].clone(), stop.clone());
        threads.push(std::thread::spawn(move || {
            send(&socket, &ports, &payloads, &own, &stopped);
        }));
        let socket = legs[leg].try_clone()?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        let (other, delays, stopped) = (sent[1 - leg].clone(), delays.clone(), stop.clone());
        threads.push(std::thread::spawn(move || {
            receive(&socket, &callers, &other, &delays, &stopped, began);
        }));
    }
    let mut busy = Vec::new();
    while began.elapsed() < LASTS {
        std::thread::sleep(Duration::from_millis(100));
        busy.push(pool.load().running as f64 / settings.workers() as f64);
    }
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        thread
            .join()
            .map_err(|_| "a thread of the bench panicked")?;
    }
    calls.end_all();
    let mut delays = std::mem::take(&mut *delays.lock().map_err(|_| "poisoned")?);
    delays.sort_by(f64::total_cmp);
    let counted: usize = sent
        .iter()
        .map(|sent| sent.lock().map_or(0, |sent| sent.len()))
        .sum();
    report::print(
        "bridge",
        &[
            ("calls", CALLS as f64),
            ("packets", delays.len() as f64),
            ("packets_lost", counted as f64),
            (
                "recognition_workers_busy",
                busy.iter().sum::<f64>() / busy.len() as f64,
            ),
            ("delay_p50_ms", quantile::quantile(&delays, 0.5)),
            ("delay_p99_ms", quantile::quantile(&delays, 0.99)),
            ("delay_p999_ms", quantile::quantile(&delays, 0.999)),
        ],
    )
}

/// Sets up every call and says where each wants its caller's and its operator's packets.
async fn answered(
    calls: &Arc<CallTable>,
    legs: &[UdpSocket; 2],
) -> Result<Vec<[SocketAddr; 2]>, Box<dyn Error>> {
    let (accept, accepted) = mpsc::channel(CALLS);
    tokio::spawn(calls.clone().run(accepted));
    let describe = |leg: &UdpSocket| -> Result<String, Box<dyn Error>> {
        let port = leg.local_addr()?.port();
        Ok(format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
        ))
    };
    let mut places = Vec::new();
    for call in 0..CALLS {
        let (event, events) = mpsc::channel(32);
        let (commands, mut command) = mpsc::channel(32);
        let incoming = IncomingCall {
            sip_call_id: format!("{call}@bench"),
            caller_number: None,
            caller_display: None,
            called: "12345".to_owned(),
            offer: Some(describe(&legs[0])?),
            ..IncomingCall::default()
        };
        let source = legs[0].local_addr()?;
        accept
            .send(NewCall {
                incoming,
                source,
                transport: Transport::Udp,
                route: Vec::new(),
                route_security: RouteSecurityLookup::default(),
                events,
                commands,
            })
            .await?;
        let mut place = [None, None];
        while place.contains(&None) {
            match command.recv().await.ok_or("the call ended")? {
                SipCommand::Invite { offer, .. } => {
                    place[1] = named(&offer);
                    event
                        .send(SipEvent::Answered {
                            party: xinqiao::sip::Party::OPERATOR,
                            answer: describe(&legs[1])?,
                        })
                        .await?;
                }
                SipCommand::Answer {
                    answer: Some(answer),
                    ..
                } => place[0] = named(&answer),
                other => return Err(format!("the call wants {other:?}").into()),
            }
        }
        places.push(place.map(|place| place.expect("both are known")));
        // The dialog stays open as long as the bench runs.
        std::mem::forget((event, command));
    }
    std::mem::forget(accept);
    Ok(places)
}

fn named(description: &str) -> Option<SocketAddr> {
    let port = description
        .split("m=audio ")
        .nth(1)?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port)))
}

/// The bench's own threads must not wait for the recognition either: that would count as the bridge's delay.
fn be_urgent() {
    if rustix::process::setpriority_process(Some(rustix::thread::gettid()), -15).is_err() {
        println!(
            "bridge: no right to a higher priority; the delays contain the bench's own waiting"
        );
    }
}

/// Sends each call's next packet in turn, at even distances.
fn send(
    socket: &UdpSocket,
    ports: &[SocketAddr],
    payloads: &[Vec<u8>],
    sent: &Sent,
    stop: &AtomicBool,
) {
    be_urgent();
    let began = Instant::now();
    for round in 0_u32.. {
        for (call, port) in ports.iter().enumerate() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let due = began + PTIME * round + PTIME * call as u32 / CALLS as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // Each call is at another place of the speech.
            let payload = &payloads[(round as usize + call * 7) % payloads.len()];
            let packet = Packet {
                payload_type: 8,
                marker: false,
                sequence: WireSequence(round as u16),
                timestamp: round * 160,
                ssrc: call as u32,
                payload,
            };
            let datagram = packet.to_datagram();
            sent.lock()
                .expect("nobody panics")
                .insert((call, round as u16), Instant::now());
            let _ = socket.send_to(&datagram, port);
        }
    }
}

/// Takes what the bridge forwards and notes how long it was under way.
fn receive(
    socket: &UdpSocket,
    ports: &HashMap<SocketAddr, usize>,
    sent: &Sent,
    delays: &Mutex<Vec<f64>>,
    stop: &AtomicBool,
    began: Instant,
) {
    be_urgent();
    let mut buffer = [0; 2_048];
    // The bridge counts from a random number of its own; its first packet is our first.
    let mut first: HashMap<usize, u16> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok((length, source)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let now = Instant::now();
        let (Some(&call), Some(packet)) = (ports.get(&source), Packet::parse(&buffer[..length]))
        else {
            continue;
        };
        let number = packet
            .sequence
            .0
            .wrapping_sub(*first.entry(call).or_insert(packet.sequence.0));
        let Some(left) = sent.lock().expect("nobody panics").remove(&(call, number)) else {
            continue;
        };
        if began.elapsed() > WARM_UP {
            delays
                .lock()
                .expect("nobody panics")
                .push((now - left).as_secs_f64() * 1_000.0);
        }
    }
}
