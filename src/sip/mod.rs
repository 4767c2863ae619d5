//! What a call needs of SIP, as typed events and commands, and SDP offer/answer (RFC 3264).
//!
//! The stack itself, its sockets and its transactions live behind the adapter in `gateway/sip/`.

pub mod digest;
pub mod limits;
pub mod multipart;
pub mod registrar;
pub mod route;
pub mod sdp;
pub mod siprec;
pub mod trunk;

pub use self::multipart::Body;
use crate::private::Private;
use crate::speech::Leg;

/// What carries a peer's SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A stream.
    Tcp,
    /// An encrypted stream.
    Tls,
}

impl Transport {
    /// Its name in Via and in URIs' parameters.
    #[must_use]
    pub const fn token(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The port where it is expected (RFC 3261 §19.1.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5_060,
            Self::Tls => 5_061,
        }
    }
}

/// An incoming call, as the adapter understood its INVITE.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IncomingCall {
    /// The SIP Call-ID, for correlating with the peer's own logs.
    pub sip_call_id: String,
    /// User part of From (or P-Asserted-Identity where present): the caller's number.
    pub caller_number: Option<Private<String>>,
    /// Display name of From, decoded to UTF-8.
    pub caller_display: Option<Private<String>>,
    /// User part of the Request-URI: the number that was called.
    pub called: String,
    /// The session description offered, if the INVITE carried one, be it in a part of its body.
    pub offer: Option<String>,
    /// The body as it came, for what stands beside the description (SIPREC metadata).
    pub body: Option<Body>,
    /// The option tags of Require, in small letters; `siprec` makes it a recording session (RFC 7866).
    pub requires: Vec<String>,
    /// The option tags of Supported, in small letters.
    pub supports: Vec<String>,
    /// The name of the trunk that it came over, where trunks are set up.
    pub trunk: Option<String>,
    /// Who was called before the call was diverted here: the user part of Diversion or History-Info (RFC 5806, 7044).
    pub diverted_from: Option<Private<String>>,
    /// User-to-User, as it came (RFC 7433).
    pub user_to_user: Option<Private<String>>,
}

/// What the SIP adapter tells a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipEvent {
    /// The caller gave up before the answer (CANCEL).
    CallerCancelled,
    /// The operator's phone answered provisionally (180, 183 …), perhaps with a session description.
    OperatorRinging {
        /// 101–199.
        status: u16,
        /// Early media's description, if any.
        answer: Option<String>,
    },
    /// The operator's phone accepted with this session description.
    OperatorAnswered {
        /// The answer to our offer.
        answer: String,
    },
    /// The operator's phone, or the path to it, refused: 300–699, or 408 when nothing answered.
    OperatorRejected {
        /// The status to map back to the caller.
        status: u16,
        /// Reason phrase as received.
        reason: String,
    },
    /// A leg hung up (BYE), or its dialog failed (no ACK, transport lost).
    HungUp {
        /// Which leg.
        leg: Leg,
        /// `BYE`, or what broke.
        cause: String,
    },
    /// A leg offers a changed session (re-INVITE or UPDATE); answer with [`SipCommand::AnswerOffer`].
    Offered {
        /// Which leg.
        leg: Leg,
        /// The new offer; `None` asks us to make one.
        offer: Option<String>,
    },
    /// A leg's ACK answered the offer that we made because its INVITE had none.
    OfferAnswered {
        /// Which leg.
        leg: Leg,
        /// The answer to our offer.
        answer: String,
    },
}

/// What a call asks of the SIP adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipCommand {
    /// Tell the caller that it rings.
    Ring {
        /// 101–199, as the operator's phone said; the caller gets 183 with a description and 180 without.
        status: u16,
        /// Session description, if early media flows.
        answer: Option<String>,
    },
    /// Accept the caller's INVITE with this session description.
    AnswerCaller {
        /// The answer to the caller's offer.
        answer: String,
    },
    /// Refuse the caller's INVITE.
    RejectCaller {
        /// 300–699.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// Invite the operator's phone.
    InviteOperator {
        /// The operator's URI.
        to: String,
        /// The caller's number, shown to the operator as From.
        caller_number: Option<Private<String>>,
        /// Our offer.
        offer: String,
    },
    /// Stop inviting the operator (CANCEL, or ACK + BYE if a 200 crosses it).
    CancelOperator,
    /// End a leg's dialog: BYE, CANCEL for an operator's phone that rings, 503 for a caller who still waits.
    HangUp {
        /// Which leg.
        leg: Leg,
    },
    /// Answer [`SipEvent::Offered`].
    AnswerOffer {
        /// Which leg.
        leg: Leg,
        /// The answer, or the status with which the offer is refused (488).
        answer: Result<String, u16>,
    },
}

/// What the caller is told when the operator's phone refused with `status`.
///
/// What concerns the operator's leg alone becomes what it means to the caller: a redirection that is not followed, a
/// challenge, or silence is 480; 503 would say that this gateway is overloaded, so it becomes 500 (RFC 3261 §16.7).
/// Busy, declined and the like pass through.
#[must_use]
pub const fn status_for_caller(status: u16) -> u16 {
    match status {
        300..=399 | 401 | 407 | 408 | 416 | 481 | 487 => 480,
        503 => 500,
        400..=699 => status,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::status_for_caller;

    #[test]
    fn the_caller_is_told_what_concerns_him() {
        for (operator, caller) in [
            (486, 486),
            (480, 480),
            (404, 404),
            (408, 480),
            (302, 480),
            (407, 480),
            (503, 500),
            (600, 600),
            (603, 603),
            (0, 500),
            (999, 500),
        ] {
            assert_eq!(status_for_caller(operator), caller, "{operator}");
        }
    }
}
