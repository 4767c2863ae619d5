//! The gateway as a process of its own, without recognition.

use std::error::Error;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The gateway; killed when dropped, should the bench fail.
pub struct Gateway {
    child: Child,
    pub sip: SocketAddr,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> Result<SocketAddr, Box<dyn Error>> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Gateway {
    /// Starts it with its records in `data`, its log in `target/bench/BENCH.log`, and `more` settings.
    pub fn start(
        bench: &str,
        data: &Path,
        operator: SocketAddr,
        calls: u32,
        more: &[String],
    ) -> Result<Self, Box<dyn Error>> {
        let sip = free_port()?;
        let data = data.display();
        let sets = [
            format!("sip.listen={sip}"),
            format!("console.listen={}", free_port()?),
            format!("grpc.listen={}", free_port()?),
            format!("operators.default=sip:op@{operator}"),
            format!("calls.max={}", calls + 400),
            "recognition.enabled=false".to_owned(),
            "media.first_port=10000".to_owned(),
            "media.last_port=39999".to_owned(),
            "media.quiet_s=1".to_owned(),
            format!("store.url=sqlite:{data}/xinqiao.db"),
            format!("ticketing.url=sqlite:{data}/ticketing.db"),
        ];
        let log = format!("target/bench/{bench}.log");
        let child = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .arg("serve")
            .args(sets.iter().chain(more).flat_map(|set| ["--set", set]))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(log)?)
            .spawn()?;
        Ok(Self { child, sip })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}
