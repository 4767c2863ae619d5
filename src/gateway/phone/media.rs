//! The test phone's RTP: sent by a thread of its own every 20 ms, received and recorded by a task.

use std::fs::File;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hound::{SampleFormat, WavSpec, WavWriter};
use tokio::net::UdpSocket;
use tokio::sync::Notify;

use super::PhoneError;
use super::speech::Speech;
use crate::audio::codec::{Codec, Decoder};
use crate::rtp::{ExtendedSequence, Packet, WireSequence};
use crate::sip::sdp::Negotiated;

/// What a packet holds.
const PACKET: Duration = Duration::from_millis(20);
/// The longest hole that a recording shows as silence; a longer one is a new start of the peer's clock.
const MAX_HOLE_SECONDS: u32 = 60;

/// The sending side of a call; it stops when dropped.
pub(super) struct Sender {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    held: AtomicBool,
    sent: AtomicU64,
    said: Notify,
}

impl Sender {
    /// Begins to send `speech`, and silence after it, where and how the peer wants it.
    pub(crate) fn start(
        socket: &UdpSocket,
        speech: Arc<Speech>,
        agreed: &Negotiated,
    ) -> io::Result<Self> {
        let socket = clone_of(socket)?;
        let state = Arc::new(State::default());
        let (shared, to, payload_type) = (state.clone(), agreed.remote, agreed.payload_type);
        thread::Builder::new()
            .name("phone-rtp".to_owned())
            .spawn(move || send(&shared, &socket, &speech, to, payload_type))?;
        let sender = Self { state };
        sender.hold(!agreed.direction.sends());
        Ok(sender)
    }

    /// Sends nothing while the peer holds the call; the speech goes on behind it, as a speaker does.
    pub(crate) fn hold(&self, held: bool) {
        self.state.held.store(held, Ordering::Relaxed);
    }

    /// Waits until all is said.
    pub(crate) async fn said(&self) {
        self.state.said.notified().await;
    }

    pub(crate) fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
    }
}

fn clone_of(socket: &UdpSocket) -> io::Result<std::net::UdpSocket> {
    use std::os::fd::AsFd;
    Ok(socket.as_fd().try_clone_to_owned()?.into())
}

/// Each packet's moment is counted from the first one's, so a late wake-up delays no later packet.
fn send(
    state: &State,
    socket: &std::net::UdpSocket,
    speech: &Speech,
    to: SocketAddr,
    payload_type: u8,
) {
    let began = Instant::now();
    let ticks = speech.codec.clock().samples_in(PACKET) as u32;
    let ssrc = rand::random();
    let first: u16 = rand::random();
    let origin: u32 = rand::random();
    for number in 0_u32.. {
        thread::sleep((began + PACKET * number).saturating_duration_since(Instant::now()));
        if state.stop.load(Ordering::Relaxed) {
            return;
        }
        let payload = speech.payloads.get(number as usize);
        if number as usize == speech.payloads.len() {
            state.said.notify_one();
        }
        if state.held.load(Ordering::Relaxed) {
            continue;
        }
        let packet = Packet {
            payload_type,
            marker: number == 0,
            sequence: WireSequence(first.wrapping_add(number as u16)),
            timestamp: origin.wrapping_add(number.wrapping_mul(ticks)),
            ssrc,
            payload: payload.unwrap_or(&speech.silence),
        };
        if socket.send_to(&packet.to_datagram(), to).is_ok() {
            state.sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What was heard, and the recording of it.
pub(super) struct Listener {
    codec: Codec,
    payload_type: u8,
    decoder: Decoder,
    samples: Vec<i16>,
    recording: Option<WavWriter<BufWriter<File>>>,
    /// Samples recorded so far.
    recorded: u32,
    /// The timestamp of the first sample.
    origin: Option<u32>,
    began: Instant,
    span: Option<(ExtendedSequence, ExtendedSequence)>,
    pub received: u64,
    pub first_heard: Option<Duration>,
    pub last_heard: Option<Duration>,
}

impl Listener {
    /// Listens from now on; records to `path` if there is one.
    pub(crate) fn new(agreed: &Negotiated, path: Option<&Path>) -> Result<Self, PhoneError> {
        let spec = WavSpec {
            channels: 1,
            sample_rate: agreed.codec.rate().hertz(),
            bits_per_sample: 16,
            sample_format: SampleFormat::Int,
        };
        let recording = path
            .map(|path| {
                WavWriter::create(path, spec).map_err(|error| PhoneError::Record {
                    path: path.to_owned(),
                    what: error.to_string(),
                })
            })
            .transpose()?;
        Ok(Self {
            codec: agreed.codec,
            payload_type: agreed.payload_type,
            decoder: Decoder::new(agreed.codec),
            samples: Vec::new(),
            recording,
            recorded: 0,
            origin: None,
            began: Instant::now(),
            span: None,
            received: 0,
            first_heard: None,
            last_heard: None,
        })
    }

    /// Hears for ever.
    pub(crate) async fn run(&mut self, socket: &UdpSocket) {
        let mut datagram = vec![0; 2_048];
        loop {
            match socket.recv(&mut datagram).await {
                Ok(length) => self.hear(&datagram[..length]),
                // The peer's port is closed already; its BYE is on the way.
                Err(_) => tokio::time::sleep(PACKET).await,
            }
        }
    }

    fn hear(&mut self, datagram: &[u8]) {
        let Some(packet) = Packet::parse(datagram) else {
            return;
        };
        if packet.payload_type != self.payload_type {
            return;
        }
        let heard = self.began.elapsed();
        self.first_heard.get_or_insert(heard);
        self.last_heard = Some(heard);
        self.received += 1;
        self.span = Some(match self.span {
            None => {
                let first = ExtendedSequence::first(packet.sequence);
                (first, first)
            }
            Some((first, highest)) => {
                let ahead = highest.distance_to(packet.sequence).max(0);
                (first, highest.advanced(ahead))
            }
        });
        self.record(&packet);
    }

    /// Puts the packet where its timestamp says: holes become silence, what comes too late is left out.
    fn record(&mut self, packet: &Packet<'_>) {
        let Some(recording) = &mut self.recording else {
            return;
        };
        let origin = *self.origin.get_or_insert(packet.timestamp);
        let (rate, clock) = (
            u64::from(self.codec.rate().hertz()),
            u64::from(self.codec.clock().hertz()),
        );
        let at = (u64::from(packet.timestamp.wrapping_sub(origin)) * rate / clock) as u32;
        let hole = at.wrapping_sub(self.recorded);
        if hole as i32 >= 0 {
            let filled = hole.min(MAX_HOLE_SECONDS * self.codec.rate().hertz());
            if filled < hole {
                let recorded = u64::from(self.recorded) * clock / rate;
                self.origin = Some(packet.timestamp.wrapping_sub(recorded as u32));
            } else {
                for _ in 0..filled {
                    let _ = recording.write_sample(0_i16);
                }
                self.recorded = at;
            }
            self.samples.clear();
            self.decoder.decode(packet.payload, &mut self.samples);
            for sample in &self.samples {
                let _ = recording.write_sample(*sample);
            }
            self.recorded = self.recorded.wrapping_add(self.samples.len() as u32);
        }
    }

    /// Packets that should have come between the first and the last, and did not.
    pub(crate) fn lost(&self) -> u64 {
        self.span.map_or(0, |(first, highest)| {
            (highest.0 - first.0 + 1).saturating_sub(self.received)
        })
    }
}
