//! The UDP ports of calls: an even one for RTP and the next for RTCP, bound for as long as stale media may come.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use crate::listener::explain;

/// Room for the packets of some hundred milliseconds, should the process be held up.
const RECEIVE_BUFFER: usize = 256 * 1024;

/// One leg's sockets.
#[derive(Debug)]
pub struct RtpSockets {
    /// The even port.
    pub rtp: UdpSocket,
    /// The port above it.
    pub rtcp: UdpSocket,
    /// Where the leg sends its RTP.
    pub local: SocketAddr,
}

/// The ports that calls may use.
#[derive(Clone, Debug)]
pub struct PortPool {
    address: IpAddr,
    first: u16,
    pairs: u32,
    /// Counts up and wraps, so that a port rests as long as possible before it is used again.
    next: Arc<AtomicU32>,
    quiet: Duration,
}

impl PortPool {
    /// Ports `first` to `last` of the local `address`; a pair is to rest for `quiet` after its call.
    #[must_use]
    pub fn new(address: IpAddr, first: u16, last: u16, quiet: Duration) -> Self {
        let first = first.next_multiple_of(2);
        let pairs = (u32::from(last) + 1).saturating_sub(u32::from(first)) / 2;
        Self {
            address,
            first,
            pairs,
            next: Arc::default(),
            quiet,
        }
    }

    /// Takes a free pair.
    ///
    /// # Errors
    /// [`PortsError`] when every pair is taken.
    pub fn bind(&self) -> Result<RtpSockets, PortsError> {
        let mut last = None;
        for _ in 0..self.pairs {
            let pair = self.next.fetch_add(1, Ordering::Relaxed) % self.pairs;
            let port = self.first + 2 * pair as u16;
            match (self.socket(port), self.socket(port + 1)) {
                (Ok(rtp), Ok(rtcp)) => {
                    return Ok(RtpSockets {
                        rtp,
                        rtcp,
                        local: SocketAddr::new(self.address, port),
                    });
                }
                // Another port would not help.
                (Err(error), _) | (_, Err(error)) if lacks_descriptors(&error) => {
                    last = Some(error);
                    break;
                }
                (Err(error), _) | (_, Err(error)) => last = Some(error),
            }
        }
        Err(PortsError {
            first: self.first,
            pairs: self.pairs,
            source: last,
        })
    }

    fn socket(&self, port: u16) -> io::Result<UdpSocket> {
        let address = SocketAddr::new(self.address, port);
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            None,
        )?;
        socket.set_nonblocking(true)?;
        // The kernel may grant less; media then only survives shorter stalls.
        let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.bind(&address.into())?;
        Ok(socket.into())
    }

    /// How long a pair is to rest, so that stale media cannot enter a new call.
    #[must_use]
    pub const fn quiet(&self) -> Duration {
        self.quiet
    }
}

/// Ports whose calls have ended, bound as long as they rest.
#[derive(Debug, Default)]
pub struct Resting(VecDeque<(Instant, RtpSockets)>);

impl Resting {
    /// Keeps a leg's ports bound `until` then.
    pub fn rest(&mut self, until: Instant, ports: RtpSockets) {
        self.0.push_back((until, ports));
    }

    /// Gives back the ports that have rested, and says when the next ones will have.
    pub fn release(&mut self, now: Instant) -> Option<Instant> {
        while let Some((until, _)) = self.0.front() {
            if *until > now {
                return Some(*until);
            }
            self.0.pop_front();
        }
        None
    }
}

fn lacks_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE)
    )
}

/// No port is free.
#[derive(Debug)]
pub struct PortsError {
    first: u16,
    pairs: u32,
    source: Option<io::Error>,
}

impl fmt::Display for PortsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(source) = self
            .source
            .as_ref()
            .filter(|source| lacks_descriptors(source))
        {
            return write!(f, "no media port can be opened: {}", explain(source));
        }
        let last = u32::from(self.first) + 2 * self.pairs - 1;
        write!(
            f,
            "none of the media ports {}–{last} is free; widen media.first_port and media.last_port",
            self.first
        )
    }
}

impl std::error::Error for PortsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_even_and_those_of_an_ended_call_rest_for_the_quiet_period() {
        let quiet = Duration::from_secs(5);
        let pool = PortPool::new(IpAddr::from([127, 0, 0, 1]), 47_311, 47_315, quiet);
        let (one, two) = (pool.bind().expect("free"), pool.bind().expect("free"));
        assert_eq!(one.local.port() % 2, 0);
        assert_eq!(
            one.rtcp.local_addr().expect("bound").port(),
            one.local.port() + 1
        );
        assert_ne!(one.local, two.local);
        let said = pool.bind().expect_err("both pairs are taken").to_string();
        assert!(
            said.contains("47312–47315") && said.contains("media.first_port"),
            "{said}"
        );
        let full = PortsError {
            first: pool.first,
            pairs: pool.pairs,
            source: Some(io::Error::from_raw_os_error(
                rustix::io::Errno::MFILE.raw_os_error(),
            )),
        };
        let said = full.to_string();
        assert!(
            said.contains("LimitNOFILE") && !said.contains("first_port"),
            "{said}"
        );
        let (now, port) = (Instant::now(), one.local.port());
        let mut resting = Resting::default();
        resting.rest(now + pool.quiet(), one);
        resting.rest(now + pool.quiet(), two);
        assert_eq!(
            resting.release(now + Duration::from_millis(4_999)),
            Some(now + quiet)
        );
        assert!(pool.bind().is_err(), "the retired pairs must rest");
        assert_eq!(resting.release(now + quiet), None);
        assert_eq!(pool.bind().expect("free again").local.port(), port);
    }
}
