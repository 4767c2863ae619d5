//! The peer: rtpengine from Debian, forwarding in user space, steered over its own control protocol.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::load::Places;

/// The running peer; it ends with this.
pub struct Rtpengine {
    child: Child,
    control: UdpSocket,
    cookie: u32,
}

impl Drop for Rtpengine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(out: &mut String, text: &str) {
    out.push_str(&text.len().to_string());
    out.push(':');
    out.push_str(text);
}

impl Rtpengine {
    /// Starts it; `None` when it is not installed.
    pub fn start() -> Result<Option<Self>, Box<dyn Error>> {
        let free = UdpSocket::bind("127.0.0.1:0")?;
        let address = free.local_addr()?;
        drop(free);
        let child = Command::new("rtpengine")
            .args([
                "--foreground",
                "--config-file=none",
                "--table=-1",
                "--interface=127.0.0.1",
                &format!("--listen-ng={address}"),
                "--port-min=42000",
                "--port-max=46999",
                "--log-level=3",
                "--log-stderr",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let control = UdpSocket::bind("127.0.0.1:0")?;
        control.connect(address)?;
        control.set_read_timeout(Some(Duration::from_millis(500)))?;
        let mut engine = Self {
            child,
            control,
            cookie: 0,
        };
        for _ in 0..20 {
            if engine.ask(&[("command", "ping")]).is_ok() {
                return Ok(Some(engine));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        Err("rtpengine was started and does not answer".into())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has a call relayed between the legs' media; where each leg is to send.
    pub fn relay(&mut self, call: u32, legs: Places) -> Result<Places, Box<dyn Error>> {
        let id = format!("bench-{call}");
        let description = |leg: SocketAddr| {
            format!(
                "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio {} RTP/AVP 8\r\n",
                leg.port()
            )
        };
        let offered = self.ask(&[
            ("call-id", &id),
            ("command", "offer"),
            ("from-tag", "a"),
            ("sdp", &description(legs[0])),
        ])?;
        let answered = self.ask(&[
            ("call-id", &id),
            ("command", "answer"),
            ("from-tag", "a"),
            ("sdp", &description(legs[1])),
            ("to-tag", "b"),
        ])?;
        Ok([port(&answered)?, port(&offered)?])
    }

    fn ask(&mut self, pairs: &[(&str, &str)]) -> Result<String, Box<dyn Error>> {
        self.cookie += 1;
        let cookie = format!("{} ", self.cookie);
        let mut message = format!("{cookie}d");
        for (key, value) in pairs.iter().copied().collect::<BTreeMap<_, _>>() {
            text(&mut message, key);
            text(&mut message, value);
        }
        message.push('e');
        self.control.send(message.as_bytes())?;
        let mut buffer = [0; 8_192];
        loop {
            let length = self.control.recv(&mut buffer)?;
            let reply = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if let Some(reply) = reply.strip_prefix(&cookie) {
                return if reply.contains("6:result2:ok") || reply.contains("4:pong") {
                    Ok(reply.to_owned())
                } else {
                    Err(format!("rtpengine says {reply}").into())
                };
            }
        }
    }
}

fn port(reply: &str) -> Result<SocketAddr, Box<dyn Error>> {
    let port = reply
        .split("m=audio ")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    Ok(SocketAddr::from((
        [127, 0, 0, 1],
        port.ok_or("rtpengine named no port")?.parse()?,
    )))
}
