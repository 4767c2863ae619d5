//! What a call needs of SIP, as typed events and commands, and SDP offer/answer (RFC 3264).
//!
//! The stack itself, its sockets and its transactions live behind the adapter in `gateway/sip/`.

#![cfg_attr(not(test), warn(unreachable_pub))]

pub mod address;
pub mod digest;
pub mod lasting;
pub mod limits;
pub mod locate;
pub mod multipart;
mod refer;
pub mod registrar;
pub mod reliable;
pub mod route;
pub mod sdp;
pub mod session;
pub mod siprec;
pub mod trunk;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::multipart::{Body, MultipartError};
pub use self::refer::{Replaces, Target};
use crate::private::Private;

/// What carries a peer's SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
    /// Neither a trunk nor an extension brought it: nobody vouches for what it says.
    pub by_stranger: bool,
}

/// One party of a call: the caller, and whoever was invited to talk to him or took over from another.
///
/// A transfer is one more party: it is invited, answers, and the one before it is let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Party(u8);

impl Party {
    /// Who called.
    pub const CALLER: Self = Self(0);
    /// Who is invited first.
    pub const OPERATOR: Self = Self(1);

    /// Who is invited next; `None` when a call has had as many parties as can be counted.
    #[must_use]
    pub const fn next(self) -> Option<Self> {
        // The upper half is for those who come by themselves.
        if self.0 < 127 {
            Some(Self(self.0 + 1))
        } else {
            None
        }
    }

    /// The party that took over as the `count`-th, from 0; counted apart from the invited, for the adapter names these.
    #[must_use]
    pub const fn taking_over(count: u8) -> Option<Self> {
        if count < 128 {
            Some(Self(255 - count))
        } else {
            None
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("caller"),
            1 => f.write_str("operator"),
            number => write!(f, "party {number}"),
        }
    }
}

/// How a party's dialog came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DialogEnd {
    /// The party said so (BYE).
    Bye,
    /// It never acknowledged our answer to its INVITE (RFC 3261 §13.3.1.4).
    NoAck,
    /// It never acknowledged a reliable provisional response (RFC 3262 §3).
    NoPrack,
    /// The session was not refreshed in time (RFC 4028 §10).
    SessionExpired,
    /// A request of ours within the dialog was answered with this status, which ends it (RFC 3261 §12.2.1.2).
    Refused(u16),
    /// Something else broke.
    Broken(String),
}

impl fmt::Display for DialogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bye => f.write_str("BYE"),
            Self::NoAck => f.write_str("no ACK"),
            Self::NoPrack => f.write_str("no PRACK"),
            Self::SessionExpired => f.write_str("session expired"),
            Self::Refused(status) => write!(f, "{status} within the dialog"),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

/// What the SIP adapter tells a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipEvent {
    /// A party that called gave up before the answer (CANCEL).
    Cancelled {
        /// Who.
        party: Party,
    },
    /// An invited phone answered provisionally (180, 183 …), perhaps with a session description.
    Ringing {
        /// Whose phone.
        party: Party,
        /// 101–199.
        status: u16,
        /// Early media's description, if any.
        answer: Option<String>,
    },
    /// An invited phone accepted with this session description.
    Answered {
        /// Who.
        party: Party,
        /// The answer to our offer.
        answer: String,
    },
    /// An invited phone accepted, and what was agreed on with it while it rang stands.
    Accepted {
        /// Who.
        party: Party,
        /// What the phone has described for itself last.
        description: String,
    },
    /// An invited phone, or the path to it, refused: 300–699, or 408 when nothing answered.
    Rejected {
        /// Who.
        party: Party,
        /// The status to map back to the caller.
        status: u16,
        /// Reason phrase as received.
        reason: String,
    },
    /// A party that called has acknowledged our answer, without a description of its own (ACK).
    Acknowledged {
        /// Who.
        party: Party,
    },
    /// A party hung up (BYE), or its dialog failed (no ACK, session expired, transport lost).
    HungUp {
        /// Who.
        party: Party,
        /// How.
        cause: DialogEnd,
    },
    /// A party offers a changed session (re-INVITE, UPDATE or PRACK); answer with [`SipCommand::AnswerOffer`].
    Offered {
        /// Who.
        party: Party,
        /// The new offer; `None` asks us to make one.
        offer: Option<String>,
    },
    /// A recording client describes the call anew (RFC 7866 §9); an offer may follow.
    Described {
        /// Who.
        party: Party,
        /// What came, with its metadata.
        body: Body,
    },
    /// A party answered an offer of ours: one that our 2xx carried because its INVITE had none, or
    /// [`SipCommand::Offer`].
    OfferAnswered {
        /// Who.
        party: Party,
        /// The answer to our offer.
        answer: String,
    },
    /// A party refused [`SipCommand::Offer`]; the session stays as it was.
    OfferRefused {
        /// Who.
        party: Party,
        /// 300–699.
        status: u16,
    },
    /// A party asks to be replaced (REFER); answer with [`SipCommand::AnswerRefer`].
    Referred {
        /// Who.
        party: Party,
        /// By whom.
        target: Target,
    },
    /// Somebody takes the place of a party (INVITE with Replaces); answer with [`SipCommand::Answer`].
    TakenOver {
        /// Who comes.
        party: Party,
        /// Whose place it is.
        replaced: Party,
        /// The offer, if the INVITE carried one.
        offer: Option<String>,
    },
    /// A party pressed a key and said so by INFO.
    Keyed {
        /// Who.
        party: Party,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        key: char,
        /// For how long.
        millis: u16,
    },
}

/// What a call asks of the SIP adapter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SipCommand {
    /// Tell a party that called that it rings.
    Ring {
        /// Who.
        party: Party,
        /// 101–199, as the operator's phone said; with a description it is 183 and without 180.
        status: u16,
        /// Session description, if early media flows.
        answer: Option<String>,
    },
    /// Accept a party's INVITE.
    Answer {
        /// Whose.
        party: Party,
        /// Our session description; `None` where early media has settled the session already.
        answer: Option<String>,
    },
    /// Refuse a party's INVITE.
    Reject {
        /// Whose.
        party: Party,
        /// 300–699.
        status: u16,
        /// Reason phrase.
        reason: String,
    },
    /// Invite a phone.
    Invite {
        /// As whom.
        party: Party,
        /// Its URI, and whose place it takes there.
        target: Target,
        /// The caller's number, shown as From.
        caller_number: Option<Private<String>>,
        /// Our offer.
        offer: String,
    },
    /// End a party's dialog, whatever its state: BYE, CANCEL for a phone that rings (ACK + BYE if a 200 crosses it),
    /// 503 for a caller who still waits.
    HangUp {
        /// Whose.
        party: Party,
    },
    /// Offer a changed session; a newer one replaces what has not been sent yet.
    Offer {
        /// To whom.
        party: Party,
        /// Our offer.
        offer: String,
    },
    /// Answer [`SipEvent::Offered`].
    AnswerOffer {
        /// Whose.
        party: Party,
        /// The answer, or the status with which the offer is refused (488).
        answer: Result<String, u16>,
    },
    /// Answer [`SipEvent::Referred`]: 202, or the status with which it is refused.
    AnswerRefer {
        /// Whose.
        party: Party,
        /// 202 or 300–699.
        status: u16,
    },
    /// Tell the party that referred how far its successor is (NOTIFY, RFC 3515).
    ReportTransfer {
        /// Whom.
        party: Party,
        /// What the invited phone said; 200–699 is the last that is told.
        status: u16,
    },
    /// Tell a party by INFO that the other one pressed a key.
    Key {
        /// Whom.
        party: Party,
        /// `0`–`9`, `*`, `#`, `A`–`D`.
        key: char,
        /// For how long.
        millis: u16,
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
