//! The phones: callers who invite, and an operator's phone that accepts at once, both in plain SIP over UDP.
//!
//! Only what the bench says and hears; the gateway's own SIP is not used, so that nothing of it is measured twice.

use std::collections::HashMap;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use super::load::Places;

/// How long an INVITE may take before it is sent again, and how often that is done.
const RETRY: Duration = Duration::from_millis(500);
const TRIES: u32 = 8;

/// A call on its way to being answered.
struct Asked {
    at: Instant,
    tries: u32,
    /// Where the operator's packets go, from the gateway's INVITE.
    operator: Option<SocketAddr>,
}

/// A call that both phones have.
#[derive(Clone, Debug)]
pub struct Answered {
    number: u32,
    /// The gateway's tag and where its dialog is.
    to: String,
    contact: String,
    /// Where each leg's packets go.
    pub places: Places,
    /// From INVITE to 200.
    pub took: Duration,
}

/// Both phones.
pub struct Phones {
    caller: UdpSocket,
    operator: UdpSocket,
    gateway: SocketAddr,
    legs: Places,
    asked: HashMap<u32, Asked>,
    answered: Vec<Answered>,
    next: u32,
    /// Calls whose BYE was confirmed, calls that ended without, and INVITEs sent again.
    pub ended: u32,
    pub refused: u32,
    pub repeated: u32,
}

fn header<'a>(message: &'a str, name: &str) -> &'a str {
    message
        .lines()
        .find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
        .unwrap_or_default()
}

fn media(message: &str) -> Option<SocketAddr> {
    let port = message.split("m=audio ").nth(1)?.split(' ').next()?;
    Some(SocketAddr::from(([127, 0, 0, 1], port.parse().ok()?)))
}

impl Phones {
    /// Phones whose media is at `legs`; `operator` is the operator's phone.
    pub fn new(operator: UdpSocket, legs: Places) -> std::io::Result<Self> {
        let caller = UdpSocket::bind("127.0.0.1:0")?;
        for socket in [&caller, &operator] {
            socket.set_nonblocking(true)?;
        }
        Ok(Self {
            gateway: caller.local_addr()?,
            caller,
            operator,
            legs,
            asked: HashMap::new(),
            answered: Vec::new(),
            next: 0,
            ended: 0,
            refused: 0,
            repeated: 0,
        })
    }

    /// Where to call.
    pub fn towards(&mut self, gateway: SocketAddr) {
        self.gateway = gateway;
    }

    fn description(&self, leg: usize) -> String {
        let port = self.legs[leg].port();
        format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {port} RTP/AVP 8\r\n"
        )
    }

    /// Sends another INVITE.
    pub fn invite(&mut self) {
        let number = self.next;
        self.next += 1;
        self.send_invite(number);
        self.asked.insert(
            number,
            Asked {
                at: Instant::now(),
                tries: 1,
                operator: None,
            },
        );
    }

    fn send_invite(&self, number: u32) {
        let body = self.description(0);
        self.request(
            "INVITE",
            number,
            "sip:12345@127.0.0.1",
            "<sip:12345@127.0.0.1>",
            1,
            &body,
        );
    }

    /// Ends a call.
    pub fn bye(&self, call: &Answered) {
        self.request("BYE", call.number, &call.contact, &call.to, 2, "");
    }

    fn request(&self, method: &str, number: u32, uri: &str, to: &str, sequence: u32, body: &str) {
        let port = self.caller.local_addr().map_or(0, |local| local.port());
        let contact = format!("<sip:{number}@127.0.0.1:{port}>");
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let message = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bK{method}{number};rport\r\n\
             From: <sip:{number}@127.0.0.1:{port}>;tag=t{number}\r\nTo: {to}\r\nCall-ID: {number}@{port}\r\n\
             CSeq: {sequence} {method}\r\nContact: {contact}\r\nMax-Forwards: 70\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = self.caller.send_to(message.as_bytes(), self.gateway);
    }

    /// Takes what has come; the calls that have been answered since.
    pub fn turn(&mut self) -> Vec<Answered> {
        let mut buffer = [0; 8_192];
        loop {
            if let Ok((length, source)) = self.operator.recv_from(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.serve(&message, source);
            } else if let Ok((length, _)) = self.caller.recv_from(&mut buffer) {
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                self.hear(&message);
            } else {
                break;
            }
        }
        let late: Vec<u32> = self
            .asked
            .iter()
            .filter(|(_, asked)| asked.at.elapsed() > RETRY * asked.tries)
            .map(|(number, _)| *number)
            .collect();
        for number in late {
            self.send_invite(number);
            self.repeated += 1;
            if let Some(asked) = self.asked.get_mut(&number) {
                asked.tries += 1;
                if asked.tries > TRIES {
                    self.asked.remove(&number);
                    self.refused += 1;
                }
            }
        }
        std::mem::take(&mut self.answered)
    }

    /// The operator's phone accepts at once and confirms a BYE.
    fn serve(&mut self, message: &str, source: SocketAddr) {
        let method = message.split(' ').next().unwrap_or_default();
        if method == "ACK" || method == "SIP/2.0" {
            return;
        }
        let from = header(message, "From");
        let number: Option<u32> = from
            .split("sip:")
            .nth(1)
            .and_then(|rest| rest.split('@').next()?.parse().ok());
        if let (Some(number), "INVITE") = (number, method)
            && let Some(asked) = self.asked.get_mut(&number)
        {
            asked.operator = media(message);
        }
        let body = if method == "INVITE" {
            self.description(1)
        } else {
            String::new()
        };
        let port = self.operator.local_addr().map_or(0, |local| local.port());
        let to = header(message, "To");
        let to = if to.contains(";tag=") {
            to.to_owned()
        } else {
            format!("{to};tag=o")
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let reply = format!(
            "SIP/2.0 200 OK\r\nVia: {}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:op@127.0.0.1:{port}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            header(message, "Via"),
            header(message, "Call-ID"),
            header(message, "CSeq"),
            body.len()
        );
        let _ = self.operator.send_to(reply.as_bytes(), source);
    }

    fn hear(&mut self, message: &str) {
        let status: u16 = message
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let number: Option<u32> = header(message, "Call-ID")
            .split('@')
            .next()
            .and_then(|number| number.parse().ok());
        let Some(number) = number else {
            return;
        };
        let sequence = header(message, "CSeq");
        if sequence.ends_with("BYE") {
            self.ended += u32::from(status == 200);
            return;
        }
        if status < 200 || !sequence.ends_with("INVITE") {
            return;
        }
        let to = header(message, "To").to_owned();
        if status >= 300 {
            self.request("ACK", number, "sip:12345@127.0.0.1", &to, 1, "");
            self.refused += u32::from(self.asked.remove(&number).is_some());
            return;
        }
        let contact = header(message, "Contact")
            .split(['<', '>'])
            .nth(1)
            .unwrap_or_default()
            .to_owned();
        self.request("ACK", number, &contact, &to, 1, "");
        if let Some(asked) = self.asked.remove(&number)
            && let (Some(caller), Some(operator)) = (media(message), asked.operator)
        {
            self.answered.push(Answered {
                number,
                to,
                contact,
                places: [caller, operator],
                took: asked.at.elapsed(),
            });
        }
    }

    /// Places `count` calls, `rate` a second, and hands over each one that is answered.
    pub fn place(
        &mut self,
        count: u32,
        rate: u32,
        mut answered: impl FnMut(&Self, Answered),
    ) -> Result<(), Box<dyn Error>> {
        let began = Instant::now();
        let (mut placed, mut done) = (0, 0);
        let given_up = self.refused;
        while done + (self.refused - given_up) < count {
            while placed < count && began.elapsed() >= Duration::from_secs(1) * placed / rate {
                self.invite();
                placed += 1;
            }
            for call in self.turn() {
                done += 1;
                answered(self, call);
            }
            if began.elapsed() > Duration::from_secs(u64::from(count / rate) + 30) {
                return Err(format!("only {done} of {count} calls were answered").into());
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        Ok(())
    }
}
