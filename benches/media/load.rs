//! The load: both legs of every call speak, 20 ms a packet, and everything that comes out is counted and timed.
//!
//! One thread sends and receives; the calls' packets are spread evenly over the 20 ms. A payload carries its call, its
//! number and when it was sent; the kernel says when it came back, so the delay is not blurred by this program's turn.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use xinqiao::audio::codec::{Codec, Encoder};

const PTIME: Duration = Duration::from_millis(20);
/// The calls' packets leave in so many bursts within the 20 ms, a millisecond apart.
const BURSTS: usize = 20;
const HEADER: usize = 12;
const PAYLOAD: usize = 160;
/// Call, number, time sent: in front of the tone.
const MARK: usize = 4 + 4 + 8;
const RECEIVE_BUFFER: usize = 4 << 20;

/// Where one call wants its caller's and its operator's packets.
pub type Places = [SocketAddr; 2];

/// What came of the load while it was measured.
#[derive(Clone, Debug, Default)]
pub struct Carried {
    pub sent: u64,
    pub received: u64,
    /// One way through the gateway, in milliseconds, sorted.
    pub delays: Vec<f64>,
}

struct State {
    calls: Mutex<Vec<Places>>,
    measure: AtomicBool,
    stop: AtomicBool,
}

/// The running load.
pub struct Load {
    state: Arc<State>,
    thread: JoinHandle<Carried>,
    /// Where the callers' and the operators' media is.
    pub legs: Places,
}

impl Load {
    /// Begins without a call.
    pub fn start() -> std::io::Result<Self> {
        let sockets = [
            UdpSocket::bind("127.0.0.1:0")?,
            UdpSocket::bind("127.0.0.1:0")?,
        ];
        for socket in &sockets {
            socket.set_nonblocking(true)?;
            setsockopt(socket, sockopt::RcvBuf, &RECEIVE_BUFFER)?;
            setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
        }
        let legs = [sockets[0].local_addr()?, sockets[1].local_addr()?];
        let state = Arc::new(State {
            calls: Mutex::default(),
            measure: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let shared = state.clone();
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || run(&shared, &sockets))?;
        Ok(Self {
            state,
            thread,
            legs,
        })
    }

    /// Both legs of another call speak from now on.
    pub fn add(&self, call: Places) {
        self.state.calls.lock().expect("nobody panics").push(call);
    }

    /// Packets that leave from now on are counted.
    pub fn measure(&self, yes: bool) {
        self.state.measure.store(yes, Ordering::Relaxed);
    }

    /// Stops; what was under way still arrives.
    pub fn stop(self) -> Carried {
        self.state.stop.store(true, Ordering::Relaxed);
        let mut carried = self.thread.join().expect("the load does not panic");
        carried.delays.sort_by(f64::total_cmp);
        carried
    }
}

fn nanos() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("there is a clock");
    since_1970(now)
}

const fn since_1970(at: TimeSpec) -> u64 {
    at.tv_sec() as u64 * 1_000_000_000 + at.tv_nsec() as u64
}

fn run(state: &State, sockets: &[UdpSocket; 2]) -> Carried {
    // The load's own waiting must not count as the gateway's delay.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), -15);
    let tone: Vec<i16> = (0..PAYLOAD)
        .map(|i| (8_000.0 * (i as f32 * 500.0 * std::f32::consts::TAU / 8_000.0).sin()) as i16)
        .collect();
    let mut packet = vec![0; HEADER];
    packet.extend(Encoder::new(Codec::Pcma).encode(&tone));
    let mut carried = Carried::default();
    let began = Instant::now();
    for burst in 0_u32.. {
        let due = began + PTIME * burst / BURSTS as u32;
        loop {
            for socket in sockets {
                receive(socket, &mut carried);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left);
        }
        if state.stop.load(Ordering::Relaxed) {
            break;
        }
        let measured = state.measure.load(Ordering::Relaxed);
        let calls = state.calls.lock().expect("nobody panics");
        let round = burst / BURSTS as u32;
        for (number, places) in calls
            .iter()
            .enumerate()
            .skip(burst as usize % BURSTS)
            .step_by(BURSTS)
        {
            for (leg, (socket, place)) in sockets.iter().zip(places).enumerate() {
                write(&mut packet, number, leg, round, measured);
                carried.sent += u64::from(measured && socket.send_to(&packet, place).is_ok());
                if !measured {
                    let _ = socket.send_to(&packet, place);
                }
            }
        }
    }
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        for socket in sockets {
            receive(socket, &mut carried);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    carried
}

fn write(packet: &mut [u8], call: usize, leg: usize, round: u32, measured: bool) {
    let ssrc = (2 * call + leg) as u32;
    packet[0] = 2 << 6;
    packet[1] = 8;
    packet[2..4].copy_from_slice(&(round as u16).to_be_bytes());
    packet[4..8].copy_from_slice(&(round.wrapping_mul(PAYLOAD as u32)).to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
    let mark = &mut packet[HEADER..HEADER + MARK];
    mark[..4].copy_from_slice(&ssrc.to_be_bytes());
    mark[4..8].copy_from_slice(&round.to_be_bytes());
    let sent = if measured { nanos() } else { 0 };
    mark[8..].copy_from_slice(&sent.to_be_bytes());
}

/// Takes everything that is there.
fn receive(socket: &UdpSocket, carried: &mut Carried) {
    let mut space = nix::cmsg_space!(TimeSpec);
    let mut datagram = [0; 512];
    loop {
        let mut slices = [IoSliceMut::new(&mut datagram)];
        let Ok(received) = recvmsg::<()>(
            socket.as_raw_fd(),
            &mut slices,
            Some(&mut space),
            MsgFlags::MSG_DONTWAIT,
        ) else {
            return;
        };
        let length = received.bytes;
        let at = received.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmTimestampns(at) => Some(since_1970(at)),
                _ => None,
            })
        });
        let mark = datagram.get(HEADER + 8..HEADER + MARK);
        let sent = mark
            .filter(|_| length == HEADER + PAYLOAD)
            .and_then(|mark| Some(u64::from_be_bytes(mark.try_into().ok()?)));
        if let (Some(at), Some(sent @ 1..)) = (at, sent) {
            carried.received += 1;
            carried.delays.push(at.saturating_sub(sent) as f64 / 1e6);
        }
    }
}
