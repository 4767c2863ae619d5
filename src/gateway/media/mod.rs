//! How the media of a call's legs travel to the thread that carries it, and from it.
//!
//! A leg has one [`MediaTransport`], which its call's thread owns. What comes on a socket is waited for by the thread
//! itself and read by [`MediaTransport::receive`]; what other threads bring wakes the call and is taken by
//! [`MediaTransport::poll`]. A call knows nothing of either: it is fed packets or decoded frames, and gives packets.
//!
//! | transport | comes in | goes out |
//! |---|---|---|
//! | [`Rtp`](MediaTransport::Rtp) | packets on two UDP ports of our own | packets from there |
//! | [`Frames`](MediaTransport::Frames) | decoded sound from a connection's task | nothing |
//!
//! A transport whose packets do not come on a socket of the thread's, as with ICE and DTLS, hands them over by `poll`
//! too, RTCP among them (RFC 5761). SRTP ends within it, and it knows its peer whatever address that has at the moment:
//! such a leg's [`MediaPolicy`](crate::call::MediaPolicy) is [`Latching::Transport`](crate::call::Latching::Transport).

pub mod frames;
pub mod ports;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::task::{Context, Poll};

use self::frames::{Arrival, FrameReceiver};
use self::ports::RtpSockets;

/// How one leg's media travel.
#[derive(Debug)]
pub enum MediaTransport {
    /// RTP and RTCP over sockets of our own (RFC 3550).
    Rtp(RtpSockets),
    /// Decoded frames, in only.
    Frames(FrameReceiver),
}

impl MediaTransport {
    /// The socket on which RTP comes, or RTCP, if they come on sockets.
    pub const fn socket(&self, rtcp: bool) -> Option<&UdpSocket> {
        match self {
            Self::Rtp(sockets) if rtcp => Some(&sockets.rtcp),
            Self::Rtp(sockets) => Some(&sockets.rtp),
            Self::Frames(_) => None,
        }
    }

    /// Reads a datagram that has come on a socket.
    ///
    /// # Errors
    /// When none has come after all, or the peer's port was unreachable; the call's own timers judge that.
    pub fn receive(&self, rtcp: bool, room: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        match self.socket(rtcp) {
            Some(socket) => socket.recv_from(room),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    /// Sends a datagram. A full send buffer loses it, as the network might; waiting would delay those behind it.
    pub fn send(&self, rtcp: bool, datagram: &[u8], to: SocketAddr) {
        if let Some(socket) = self.socket(rtcp) {
            let _ = socket.send_to(datagram, to);
        }
    }

    /// What has come otherwise than on a socket; `None` once, when nothing more can come.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Arrival>> {
        match self {
            Self::Rtp(_) => Poll::Pending,
            Self::Frames(frames) => frames.poll(context),
        }
    }

    /// The sockets, which rest after the call.
    pub fn into_sockets(self) -> Option<RtpSockets> {
        match self {
            Self::Rtp(sockets) => Some(sockets),
            Self::Frames(_) => None,
        }
    }
}
