//! rtpengine in the audio's path, as Kamailio puts it there.

use std::net::UdpSocket;
use std::process::Command;
use std::time::Duration;

use super::baresip::{self, Baresip, PCMA, converse, was_held_and_taken_back};
use super::kamailio::{self, Kamailio};
use super::sipp::free_port;
use super::tone::{CALLER, OPERATOR};
use super::{Gateway, Program, installed, until};

const RTPENGINE: &str = "/usr/bin/rtpengine";

/// Starts it in user space, and waits until it answers its control port.
fn started(folder: &std::path::Path) -> (Program, u16) {
    let port = free_port();
    let mut command = Command::new(RTPENGINE);
    command.args([
        "--foreground",
        "--config-file=none",
        "--table=-1",
        "--interface=127.0.0.1",
        &format!("--listen-ng=127.0.0.1:{port}"),
        "--port-min=38000",
        "--port-max=38999",
        // A call that is over is accounted for at once.
        "--delete-delay=0",
        "--log-level=6",
        "--log-stderr",
    ]);
    let program = Program::start(&mut command, folder, "rtpengine");
    let control = UdpSocket::bind("127.0.0.1:0").expect("a port");
    control
        .set_read_timeout(Some(Duration::from_millis(100)))
        .expect("a timeout");
    until("rtpengine", || {
        control
            .send_to(b"1 d7:command4:pinge", ("127.0.0.1", port))
            .expect("sent");
        control.recv(&mut [0; 64]).ok()
    });
    (program, port)
}

/// The packets of every stream that ended, from lines such as `Port 127.0.0.1:38014 <> …, SSRC 1, 512 p, 88064 b, 0 e, 0 ts`.
fn relayed(said: &str) -> Vec<u64> {
    said.lines()
        .filter(|line| line.contains(" Port ") && !line.contains("(RTCP)"))
        .filter_map(|line| {
            let count = line.split(", ").find_map(|part| part.strip_suffix(" p"))?;
            count.trim().parse().ok()
        })
        .collect()
}

#[test]
fn audio_that_rtpengine_relays_is_heard_on_both_sides() {
    let programs = [
        (RTPENGINE, "rtpengine-daemon"),
        baresip::NEEDED,
        kamailio::NEEDED[0],
    ];
    if !installed(&programs) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (rtpengine, control) = started(folder.path());
    let account = "<sip:agent@127.0.0.1>;regint=0;answermode=auto";
    let mut operator = Baresip::start(folder.path(), account, PCMA, OPERATOR);
    let agent = format!("sip:agent@127.0.0.1:{}", operator.sip);
    let kamailio = Kamailio::start(folder.path(), &agent, Some(control));
    let gateway = Gateway::start(&kamailio::trunk(&kamailio, "tcp"));
    kamailio.registered(1);
    let account = "<sip:caller@127.0.0.1>;regint=0";
    let mut caller = Baresip::start(folder.path(), account, PCMA, CALLER);
    let called = format!("sip:12345@127.0.0.1:{}", kamailio.port);
    converse(&mut caller, &mut operator, &called);
    was_held_and_taken_back(&gateway.recordings(1)[0]);
    // Two streams for each of the two dialogs, a second and more of 20 ms packets each.
    let counts = until("rtpengine's account of both dialogs", || {
        let counts = relayed(&rtpengine.said());
        (counts.len() >= 4).then_some(counts)
    });
    assert!(counts.iter().all(|count| *count > 50), "{counts:?}");
}
