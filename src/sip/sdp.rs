//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for audio.
//!
//! A call needs little of SDP: where the peer wants its RTP, in which codec, which way, under which key. What is not
//! understood is ignored, every stream that is not taken is answered with port 0, and the size of everything is
//! bounded. A call takes one stream; a recording session may take several ([`answer_all`]).

mod read;
mod sdes;

use std::fmt::{self, Write as _};
use std::net::SocketAddr;

pub use read::{Description, Section};
pub use sdes::Crypto;

use crate::audio::Frequency;
use crate::audio::codec::Codec;
use crate::rtp::{Content, Format};

/// The payload type that our own offers give to telephone-event at 8 kHz.
const TELEPHONE_EVENT: u8 = 101;
/// The payload type that our own offers give to telephone-event at 48 kHz, beside Opus (RFC 7587 §4.2).
const TELEPHONE_EVENT_48: u8 = 110;
/// The payload type that RFC 3551 gives to comfort noise.
pub const COMFORT_NOISE: u8 = 13;
/// The packet times that we send, in milliseconds.
const PACKET_TIMES: std::ops::RangeInclusive<u8> = 10..=60;
/// The packet time where nobody says one.
pub const USUAL_PACKET_TIME: u8 = 20;

/// Why a description cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SdpError {
    /// The text is no session description.
    Malformed {
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It has no audio stream over RTP with a port.
    NoAudio,
    /// It has audio only under keys, or under none that we know, and we take none.
    OnlySecured,
    /// It has no audio under a key, and we take nothing else.
    NotSecured,
    /// The audio stream has none of our codecs.
    NoCommonCodec,
    /// The stream's address is a name or of another network type.
    NoAddress,
}

impl SdpError {
    /// The SIP status that tells the peer: 400 for a broken description, 488 for one that we cannot serve.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Malformed { .. } => 400,
            Self::NoAudio
            | Self::OnlySecured
            | Self::NotSecured
            | Self::NoCommonCodec
            | Self::NoAddress => 488,
        }
    }
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { line, what } => write!(
                f,
                "line {line} of the session description {what}; the peer must send RFC 8866"
            ),
            Self::NoAudio => f.write_str(
                "the session description has no audio stream over RTP; set the peer to RTP audio",
            ),
            Self::OnlySecured => f.write_str(
                "the session description has only encrypted audio that is not taken; let the peer signal over TLS with media.srtp on, or set it to plain RTP",
            ),
            Self::NotSecured => f.write_str(
                "the session description has no audio under an SDES key over TLS; set the peer to SRTP, or media.srtp to optional",
            ),
            Self::NoCommonCodec => f.write_str(
                "the session description has none of our codecs; allow PCMA or PCMU at the peer",
            ),
            Self::NoAddress => f.write_str(
                "the audio stream's connection line has no IP address; set the peer to send one instead of a name",
            ),
        }
    }
}

impl std::error::Error for SdpError {}

/// Which way media flows, as the side that says it sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways.
    #[default]
    SendRecv,
    /// Only from the side that says it.
    SendOnly,
    /// Only to the side that says it.
    RecvOnly,
    /// Neither way.
    Inactive,
}

impl Direction {
    /// The direction of a side that sends, receives, both or neither.
    #[must_use]
    pub const fn from_ways(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the side that says it sends.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the side that says it receives.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same flow seen from the other side.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self::from_ways(self.receives(), self.sends())
    }

    /// The attribute's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    fn from_attribute(name: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.as_str() == name)
    }
}

/// Whether a leg's media is encrypted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// Never; keys are passed over.
    #[default]
    Off,
    /// Where the peer can.
    Optional,
    /// Always; a peer that cannot is refused.
    Required,
    /// Always, but keys cannot be exchanged with this peer: it is refused, whatever it can.
    Impossible,
}

/// What both sides agree on for an audio stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// Which `m=` line of the peer's description, from 0.
    pub stream: usize,
    /// Where the peer wants RTP; unspecified (0.0.0.0) when it is on hold in the old way.
    pub remote: SocketAddr,
    /// Where the peer wants RTCP.
    pub remote_rtcp: SocketAddr,
    /// Whether the peer takes RTCP on the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// The codec to send.
    pub codec: Codec,
    /// The payload type that the peer wants it under.
    pub payload_type: u8,
    /// Key presses (RFC 4733), at the codec's clock where the peer has that, as the peer wants them.
    pub telephone_event: Option<Format>,
    /// The payload type of comfort noise (RFC 3389), if the peer has it.
    pub comfort_noise: Option<u8>,
    /// What may come in: under the peer's numbers, and under those of our own offers where they differ (RFC 3264 §5.1).
    pub receives: Vec<Format>,
    /// What we may do: `RecvOnly` or `Inactive` when the peer holds us.
    pub direction: Direction,
    /// Milliseconds of sound in a packet: the peer's wish, or the usual 20.
    pub ptime: u8,
    /// Whether the peer said so.
    pub ptime_is_wish: bool,
    /// The most milliseconds of sound that the peer takes in a packet.
    pub max_ptime: Option<u8>,
    /// Under what the peer encrypts; `None` for plain RTP.
    pub crypto: Option<Crypto>,
    /// Whether the peer's description is of the secured profile: a peer may take no other from us then.
    pub is_secured: bool,
    /// The stream's label (RFC 4574).
    pub label: Option<String>,
}

/// Finds the first of `preferred` that the peer's description offers, in plain RTP.
///
/// For the answer to our own offer give the answer's [`Description::codecs`] that we offered: there the peer chooses.
///
/// # Errors
/// [`SdpError`], whose status is 488.
pub fn negotiate(theirs: &Description, preferred: &[Codec]) -> Result<Negotiated, SdpError> {
    negotiate_protected(theirs, preferred, Protection::Off)
}

/// The same with keys: of several audio streams the first that may be taken, a protected one first.
///
/// # Errors
/// [`SdpError`], whose status is 488.
pub fn negotiate_protected(
    theirs: &Description,
    preferred: &[Codec],
    protection: Protection,
) -> Result<Negotiated, SdpError> {
    let mut best: Result<Negotiated, SdpError> = Err(SdpError::NoAudio);
    for index in 0..theirs.sections().len() {
        let found = negotiate_section(theirs, index, preferred, protection);
        let better = match (&best, &found) {
            (Ok(best), Ok(found)) => best.crypto.is_none() && found.crypto.is_some(),
            (Ok(_), Err(_)) => false,
            (Err(_), Ok(_)) => true,
            (Err(best), Err(_)) => *best == SdpError::NoAudio,
        };
        if better {
            best = found;
        }
    }
    best
}

/// The same for one stream, as a recorder takes each of several.
///
/// # Errors
/// [`SdpError`], whose status is 488.
pub fn negotiate_section(
    theirs: &Description,
    index: usize,
    preferred: &[Codec],
    protection: Protection,
) -> Result<Negotiated, SdpError> {
    let audio = theirs
        .sections()
        .get(index)
        .filter(|section| section.is_audio())
        .ok_or(SdpError::NoAudio)?;
    let crypto = match protection {
        Protection::Off | Protection::Impossible => None,
        Protection::Optional | Protection::Required => audio.cryptos.first().cloned(),
    };
    if crypto.is_none() {
        if matches!(protection, Protection::Required | Protection::Impossible) {
            return Err(SdpError::NotSecured);
        }
        if audio.is_secured() {
            return Err(SdpError::OnlySecured);
        }
    }
    let (codec, payload_type) = preferred
        .iter()
        .find_map(|wanted| audio.sounds().find(|(codec, _)| codec == wanted))
        .ok_or(SdpError::NoCommonCodec)?;
    let address = audio.address.ok_or(SdpError::NoAddress)?;
    let (rtcp_port, rtcp_address) = audio
        .rtcp
        .unwrap_or((audio.port.saturating_add(u16::from(!audio.rtcp_mux)), None));
    let formats: Vec<Format> = audio.formats().collect();
    let of_kind = |content: Content, clock: Frequency| {
        formats
            .iter()
            .find(|format| format.content == content && format.clock == clock)
            .copied()
    };
    let event = of_kind(Content::Event, codec.clock())
        .or_else(|| of_kind(Content::Event, Frequency::HZ_8000));
    Ok(Negotiated {
        stream: index,
        remote: SocketAddr::new(address, audio.port),
        remote_rtcp: SocketAddr::new(
            rtcp_address.unwrap_or(address),
            if audio.rtcp_mux {
                audio.port
            } else {
                rtcp_port
            },
        ),
        rtcp_mux: audio.rtcp_mux,
        codec,
        payload_type,
        telephone_event: event,
        comfort_noise: of_kind(Content::ComfortNoise, codec.clock())
            .map(|format| format.payload_type),
        receives: receivable(&formats, preferred),
        direction: audio.direction().reversed(),
        ptime: audio.ptime.unwrap_or(USUAL_PACKET_TIME),
        ptime_is_wish: audio.ptime.is_some(),
        max_ptime: audio.max_ptime,
        crypto,
        is_secured: audio.is_secured(),
        label: audio.label.clone(),
    })
}

/// The peer's formats, and the same under our own numbers where the peer means nothing else by those.
fn receivable(theirs: &[Format], ours: &[Codec]) -> Vec<Format> {
    let mut formats: Vec<Format> = theirs
        .iter()
        .filter(|format| match format.content {
            Content::Sound(codec) => ours.contains(&codec),
            Content::Event | Content::ComfortNoise => true,
        })
        .copied()
        .collect();
    for index in 0..formats.len() {
        let own = Format {
            payload_type: own_payload_type(formats[index]),
            ..formats[index]
        };
        if formats
            .iter()
            .all(|format| format.payload_type != own.payload_type)
        {
            formats.push(own);
        }
    }
    formats
}

/// The number that our own offers give.
fn own_payload_type(format: Format) -> u8 {
    match format.content {
        Content::Sound(codec) => codec.offered_payload_type(),
        Content::Event if format.clock == Frequency::HZ_48000 => TELEPHONE_EVENT_48,
        Content::Event => TELEPHONE_EVENT,
        Content::ComfortNoise => COMFORT_NOISE,
    }
}

/// Who describes the session, and where it wants its media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Local {
    /// The session's number, the same in all descriptions of a dialog; random.
    pub session: u64,
    /// Counts the changed descriptions of this session.
    pub version: u64,
    /// Where we want RTP; RTCP goes to the port after it, or to the same with rtcp-mux.
    pub rtp: SocketAddr,
    /// What we want to do.
    pub direction: Direction,
}

/// What an offer of ours says beyond where its media goes.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// In order of preference.
    pub codecs: &'a [Codec],
    /// Milliseconds of sound in a packet.
    pub ptime: u8,
    /// Whether silence may be described instead of sent.
    pub comfort_noise: bool,
    /// Our keys, in order of preference; none for plain RTP.
    pub cryptos: &'a [Crypto],
    /// With keys: whether plain RTP is no alternative.
    pub only_secured: bool,
}

impl<'a> Terms<'a> {
    /// `codecs` in plain RTP, 20 ms a packet.
    #[must_use]
    pub const fn plain(codecs: &'a [Codec]) -> Self {
        Self {
            codecs,
            ptime: USUAL_PACKET_TIME,
            comfort_noise: false,
            cryptos: &[],
            only_secured: false,
        }
    }
}

/// Writes an offer of one audio stream with `codecs` in order of preference, and telephone-event.
#[must_use]
pub fn offer(local: &Local, codecs: &[Codec]) -> String {
    offer_with(local, &Terms::plain(codecs))
}

/// Writes an offer of one audio stream.
#[must_use]
pub fn offer_with(local: &Local, terms: &Terms<'_>) -> String {
    let mut formats: Vec<Format> = terms
        .codecs
        .iter()
        .map(|codec| Format::sound(codec.offered_payload_type(), *codec))
        .collect();
    if terms.comfort_noise {
        formats.push(Format {
            payload_type: COMFORT_NOISE,
            content: Content::ComfortNoise,
            clock: Frequency::HZ_8000,
        });
    }
    formats.push(Format {
        payload_type: TELEPHONE_EVENT,
        content: Content::Event,
        clock: Frequency::HZ_8000,
    });
    if terms.codecs.contains(&Codec::Opus) {
        formats.push(Format {
            payload_type: TELEPHONE_EVENT_48,
            content: Content::Event,
            clock: Frequency::HZ_48000,
        });
    }
    let mut text = head(local);
    let secured = terms.only_secured && !terms.cryptos.is_empty();
    let media = Media {
        protocol: if secured { "RTP/SAVP" } else { "RTP/AVP" },
        formats: &formats,
        ptime: terms.ptime,
        rtcp_mux: false,
        cryptos: terms.cryptos,
    };
    media.write(&mut text, local);
    text
}

/// A stream of the peer's that is taken.
#[derive(Clone, Copy, Debug)]
pub struct Accepted<'a> {
    /// What is agreed on for it.
    pub agreed: &'a Negotiated,
    /// Where we want it.
    pub local: &'a Local,
    /// Our key, under the tag of the peer's line; needed where the agreement has one.
    pub crypto: Option<&'a Crypto>,
}

/// Writes the answer to `theirs`: the negotiated stream in plain RTP, and port 0 for every other one.
///
/// The direction is the narrower of what the peer allows and what we want.
#[must_use]
pub fn answer(theirs: &Description, agreed: &Negotiated, local: &Local) -> String {
    let accepted = Accepted {
        agreed,
        local,
        crypto: None,
    };
    answer_all(theirs, local, &[accepted])
}

/// Writes the answer to `theirs`: the accepted streams, and port 0 for every other one.
#[must_use]
pub fn answer_all(theirs: &Description, local: &Local, accepted: &[Accepted<'_>]) -> String {
    let mut text = head(local);
    for (index, section) in theirs.sections().iter().enumerate() {
        let Some(accepted) = accepted.iter().find(|one| one.agreed.stream == index) else {
            // RFC 3264 §6: same media and transport, port 0, at least one of its formats.
            let _ = write!(
                text,
                "m={} 0 {} {}\r\n",
                section.kind,
                section.protocol,
                section.first_format()
            );
            continue;
        };
        let Accepted {
            agreed,
            local,
            crypto,
        } = accepted;
        let direction = Direction::from_ways(
            agreed.direction.sends() && local.direction.sends(),
            agreed.direction.receives() && local.direction.receives(),
        );
        let mut formats = vec![Format::sound(agreed.payload_type, agreed.codec)];
        formats.extend(agreed.comfort_noise.map(|payload_type| Format {
            payload_type,
            content: Content::ComfortNoise,
            clock: agreed.codec.clock(),
        }));
        formats.extend(agreed.telephone_event);
        let media = Media {
            protocol: &section.protocol,
            formats: &formats,
            ptime: agreed.ptime,
            rtcp_mux: agreed.rtcp_mux,
            cryptos: crypto.map_or(&[], std::slice::from_ref),
        };
        media.write(
            &mut text,
            &Local {
                direction,
                ..**local
            },
        );
    }
    text
}

fn head(local: &Local) -> String {
    let address = local.rtp.ip();
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    format!(
        "v=0\r\no=- {} {} IN {family} {address}\r\ns=-\r\nc=IN {family} {address}\r\nt=0 0\r\n",
        local.session, local.version
    )
}

/// One `m=` section that we write.
struct Media<'a> {
    protocol: &'a str,
    formats: &'a [Format],
    ptime: u8,
    rtcp_mux: bool,
    cryptos: &'a [Crypto],
}

impl Media<'_> {
    fn write(&self, text: &mut String, local: &Local) {
        let _ = write!(text, "m=audio {} {}", local.rtp.port(), self.protocol);
        for format in self.formats {
            let _ = write!(text, " {}", format.payload_type);
        }
        text.push_str("\r\n");
        for format in self.formats {
            let (number, clock) = (format.payload_type, format.clock.hertz());
            let _ = match format.content {
                Content::Sound(Codec::Opus) => write!(
                    text,
                    "a=rtpmap:{number} opus/{clock}/2\r\na=fmtp:{number} useinbandfec=1;maxplaybackrate=16000\r\n"
                ),
                Content::Sound(codec) => {
                    write!(text, "a=rtpmap:{number} {}/{clock}\r\n", codec.name())
                }
                Content::Event => write!(
                    text,
                    "a=rtpmap:{number} telephone-event/{clock}\r\na=fmtp:{number} 0-15\r\n"
                ),
                Content::ComfortNoise => write!(text, "a=rtpmap:{number} CN/{clock}\r\n"),
            };
        }
        for crypto in self.cryptos {
            let _ = write!(text, "a=crypto:{crypto}\r\n");
        }
        let _ = write!(
            text,
            "a=ptime:{}\r\na={}\r\n",
            self.ptime,
            local.direction.as_str()
        );
        if self.rtcp_mux {
            text.push_str("a=rtcp-mux\r\n");
        }
    }
}

#[cfg(test)]
mod tests;
