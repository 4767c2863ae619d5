//! What bridging costs: 400 tapped and recorded calls through `xinqiao serve`, beside the same load through rtpengine.
//!
//! The gateway and rtpengine are processes of their own; this one plays both phones of every call and sends and takes
//! all packets, on the same cores. Recognition is off. Settings by the environment: `CALLS` (400), `SECONDS` (20),
//! `SOAK` calls (20000; 0 leaves it out) at `SOAK_RATE` a second (250).

mod gateway;
mod load;
mod phones;
mod process;
#[path = "../report/quantile.rs"]
mod quantile;
#[path = "../report/mod.rs"]
mod report;
mod rtpengine;

use std::collections::VecDeque;
use std::error::Error;
use std::net::UdpSocket;
use std::time::{Duration, Instant};

use gateway::Gateway;
use load::{Carried, Load};
use phones::Phones;
use quantile::quantile;
use rtpengine::Rtpengine;

/// Calls a second while the load is set up.
const RATE: u32 = 50;
/// Not measured: sockets and caches settle.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long a call of the soak lasts, and the packets that each of its legs sends meanwhile.
const SHORT: Duration = Duration::from_millis(400);
const FEW: u32 = 10;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// What a process used while it carried the load.
struct Measured {
    carried: Carried,
    /// Share of one core.
    core: f64,
    /// Share of the whole machine, with this process and everything else.
    machine: f64,
}

fn measure(pid: u32, load: Load, seconds: u32) -> Measured {
    std::thread::sleep(WARM_UP);
    load.measure(true);
    let (used, began, machine) = (process::processor(pid), Instant::now(), process::machine());
    std::thread::sleep(Duration::from_secs(u64::from(seconds)));
    let (used, elapsed) = (
        process::processor(pid).saturating_sub(used),
        began.elapsed(),
    );
    let (busy, all) = process::machine();
    load.measure(false);
    Measured {
        carried: load.stop(),
        core: used.as_secs_f64() / elapsed.as_secs_f64(),
        machine: (busy - machine.0) / (all - machine.1),
    }
}

fn main() -> Outcome<()> {
    let (calls, seconds) = (setting("CALLS", 400), setting("SECONDS", 20));
    let (soak, soak_rate) = (setting("SOAK", 20_000), setting("SOAK_RATE", 250));
    std::fs::create_dir_all("target/bench")?;
    let data = tempfile::tempdir_in("target/bench")?;
    raise_open_files();

    let load = Load::start()?;
    let operator = UdpSocket::bind("127.0.0.1:0")?;
    let recorded = [
        "recording.enabled=true".to_owned(),
        format!("recording.folder={}/recordings", data.path().display()),
    ];
    let gateway = Gateway::start(
        "media",
        data.path(),
        operator.local_addr()?,
        calls,
        &recorded,
    )?;
    let mut phones = Phones::new(operator, load.legs)?;
    phones.towards(gateway.sip);
    // One call by itself: the gateway is up, and what it loads at first use is loaded.
    std::thread::sleep(Duration::from_secs(1));
    let mut first = Vec::new();
    phones.place(1, 1, |_, call| first.push(call))?;
    let idle = process::resident_kb(gateway.pid());

    let mut bridged = Vec::new();
    let mut set_up = Vec::new();
    phones.place(calls, RATE, |_, call| {
        set_up.push(call.took.as_secs_f64() * 1_000.0);
        load.add(call.places);
        bridged.push(call);
    })?;
    set_up.sort_by(f64::total_cmp);
    let ours = measure(gateway.pid(), load, seconds);
    let full = process::resident_kb(gateway.pid());
    for call in bridged.iter().chain(&first) {
        phones.bye(call);
        std::thread::sleep(Duration::from_millis(2));
    }
    let growth = if soak > 0 {
        soak_growth(&mut phones, gateway.pid(), soak, soak_rate)?
    } else {
        f64::NAN
    };
    let (repeated, refused) = (phones.repeated, phones.refused);
    drop(gateway);

    let theirs = beside(calls, seconds)?;
    let per_call = |core: f64| 100.0 * core / f64::from(calls);
    let lost = |carried: &Carried| carried.sent as f64 - carried.received as f64;
    let theirs_core = theirs.as_ref().map_or(f64::NAN, |theirs| theirs.core);
    let theirs_delays = theirs
        .as_ref()
        .map_or(&[][..], |theirs| &theirs.carried.delays);
    report::print(
        "media",
        &[
            ("calls", f64::from(calls)),
            (
                "packets_per_second",
                ours.carried.sent as f64 / f64::from(seconds),
            ),
            ("core_percent_per_call", per_call(ours.core)),
            ("lost_packets", lost(&ours.carried)),
            ("added_delay_p50_ms", quantile(&ours.carried.delays, 0.5)),
            ("added_delay_p99_ms", quantile(&ours.carried.delays, 0.99)),
            ("added_delay_p999_ms", quantile(&ours.carried.delays, 0.999)),
            ("machine_percent", 100.0 * ours.machine),
            ("setup_p50_ms", quantile(&set_up, 0.5)),
            ("setup_p99_ms", quantile(&set_up, 0.99)),
            ("memory_per_call_kb", (full - idle) / f64::from(calls)),
            ("soak_calls", f64::from(soak)),
            ("soak_growth_kb", growth),
            ("invites_repeated", f64::from(repeated)),
            ("calls_refused", f64::from(refused)),
            ("rtpengine_core_percent_per_call", per_call(theirs_core)),
            (
                "rtpengine_lost_packets",
                theirs
                    .as_ref()
                    .map_or(f64::NAN, |theirs| lost(&theirs.carried)),
            ),
            (
                "rtpengine_added_delay_p99_ms",
                quantile(theirs_delays, 0.99),
            ),
            (
                "rtpengine_machine_percent",
                theirs
                    .as_ref()
                    .map_or(f64::NAN, |theirs| 100.0 * theirs.machine),
            ),
            ("rtpengine_ratio", ours.core / theirs_core),
        ],
    )
}

/// Every call of the load and of the resting ports needs sockets here as well as there.
fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    );
}

/// The same load through rtpengine, which relays and neither taps nor records.
fn beside(calls: u32, seconds: u32) -> Outcome<Option<Measured>> {
    let Some(mut engine) = Rtpengine::start()? else {
        println!(
            "media: rtpengine is not installed (Debian's rtpengine-daemon); nothing to compare with"
        );
        return Ok(None);
    };
    let load = Load::start()?;
    for call in 0..calls {
        load.add(engine.relay(call, load.legs)?);
    }
    Ok(Some(measure(engine.pid(), load, seconds)))
}

/// Many short calls, one after the other: how much more memory is taken at the end than half-way, in kilobytes.
fn soak_growth(phones: &mut Phones, pid: u32, count: u32, rate: u32) -> Outcome<f64> {
    let socket = UdpSocket::bind(("127.0.0.1", 0))?;
    let mut packet = vec![0_u8; 172];
    (packet[0], packet[1]) = (2 << 6, 8);
    let mut running = VecDeque::new();
    let mut memory = Vec::new();
    let mut done = 0;
    phones.place(count, rate, |phones, call| {
        for number in 0..FEW as u16 {
            packet[2..4].copy_from_slice(&number.to_be_bytes());
            for place in &call.places {
                let _ = socket.send_to(&packet, place);
            }
        }
        running.push_back((Instant::now(), call));
        while running
            .front()
            .is_some_and(|(began, _)| began.elapsed() > SHORT)
        {
            if let Some((_, call)) = running.pop_front() {
                phones.bye(&call);
            }
        }
        done += 1;
        if done % (count / 100).max(1) == 0 {
            memory.push(process::resident_kb(pid));
        }
    })?;
    for (_, call) in running {
        phones.bye(&call);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let tenth = (memory.len() / 10).max(1);
    let half = memory.len() / 2;
    println!(
        "media: memory during the soak, in MB: {}",
        memory
            .iter()
            .step_by(10)
            .map(|kb| format!("{:.0}", kb / 1_024.0))
            .collect::<Vec<_>>()
            .join(" ")
    );
    Ok(mean(&memory[memory.len() - tenth..]) - mean(&memory[half..half + tenth]))
}
