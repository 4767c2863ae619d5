//! SIGTERM: the call that runs goes on for a while, a new one is sent elsewhere, and the process ends by itself.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::product::{Hotline, models};

#[test]
fn a_running_call_outlives_the_first_sigterm_and_a_new_one_is_told_when_to_come_back() {
    let sample = models().join("samples/zh/nihao_shijie.wav");
    let hotline = Hotline::open(&sample, &["calls.drain_s=2"]);
    let phone = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    phone
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a socket");
    let own = phone.local_addr().expect("bound");
    let sip = hotline.sip;
    let offer = format!(
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n",
        own.port()
    );
    let send = |method: &str, call: &str, number: u32, to: &str, body: &str| {
        let text = format!(
            "{method} sip:12345@{sip} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bK{call}{method}{number}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:1@{own}>;tag={call}\r\nTo: {to}\r\nCall-ID: {call}@test\r\n\
             CSeq: {number} {method}\r\nContact: <sip:1@{own}>\r\nContent-Type: application/sdp\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        phone.send_to(text.as_bytes(), sip).expect("sent");
    };
    // The next message of a call that begins so; its sound, which comes to the same port, is passed over.
    let receive = |start: &str, call: &str| {
        let mut buffer = vec![0; 65_536];
        loop {
            let (length, source) = phone.recv_from(&mut buffer).expect(start);
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if text.starts_with(start) && text.contains(&format!("{call}@test")) {
                return (text, source);
            }
        }
    };
    let header = |message: &str, name: &str| {
        let mut lines = message.lines();
        let line = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.map(str::to_owned)
    };
    let anybody = format!("<sip:12345@{sip}>");
    send("INVITE", "runs", 1, &anybody, &offer);
    let (answer, _) = receive("SIP/2.0 200", "runs");
    let to = header(&answer, "To").expect("it has one");
    send("ACK", "runs", 1, &to, "");

    hotline.gateway.signal(Signal::TERM);
    let told = Instant::now();
    hotline.gateway.line();
    send("INVITE", "late", 1, &anybody, &offer);
    let (refused, _) = receive("SIP/2.0 503", "late");
    assert!(header(&refused, "Retry-After").is_some(), "{refused}");
    // The call still takes what is asked within it, until its time is over.
    send("INFO", "runs", 2, &to, "");
    receive("SIP/2.0 ", "runs");
    let (bye, source) = receive("BYE", "runs");
    let lasted = told.elapsed();
    assert!(lasted > Duration::from_millis(1_500), "{lasted:?}");
    let repeated: String = ["Via", "From", "To", "Call-ID", "CSeq"]
        .into_iter()
        .filter_map(|name| Some(format!("{name}: {}\r\n", header(&bye, name)?)))
        .collect();
    let done = format!("SIP/2.0 200 OK\r\n{repeated}Content-Length: 0\r\n\r\n");
    phone.send_to(done.as_bytes(), source).expect("sent");
    hotline.gateway.ends();
}
