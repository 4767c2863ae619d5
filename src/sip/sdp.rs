//! Session descriptions (RFC 8866) and offer/answer (RFC 3264) for one audio stream.
//!
//! A call needs little of SDP: where the peer wants its RTP, in which codec, which way. What is not understood is
//! ignored, every other stream is answered with port 0, and the size of everything is bounded.

use std::fmt::{self, Write as _};
use std::net::{IpAddr, SocketAddr};

use crate::audio::codec::Codec;

/// The longest description taken, in bytes; a description of many video codecs has about 8 KiB.
const MAX_BYTES: usize = 32 * 1024;
/// The most streams taken, RFC 3264 sets no bound.
const MAX_STREAMS: usize = 16;
/// The most payload types taken of one stream; there are 128 numbers.
const MAX_FORMATS: usize = 128;
/// The payload type that our own offers give to telephone-event.
const TELEPHONE_EVENT: u8 = 101;
/// The payload type that our own offers give to L16.
const L16: u8 = 96;

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
    /// It has no audio stream over RTP/AVP with a port.
    NoAudio,
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
            Self::NoAudio | Self::NoCommonCodec | Self::NoAddress => 488,
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
                "the session description has no audio stream over RTP/AVP; set the peer to plain RTP audio",
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
    const fn from_ways(sends: bool, receives: bool) -> Self {
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

/// What an `a=rtpmap` line, or RFC 3551 for a static number, says of a payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    payload_type: u8,
    encoding: String,
    clock: u32,
    channels: u8,
}

/// One `m=` section.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stream {
    kind: String,
    port: u16,
    protocol: String,
    formats: Vec<String>,
    mappings: Vec<Mapping>,
    /// The address of the connection line, perhaps a name.
    connection: Option<String>,
    direction: Option<Direction>,
    ptime: Option<u8>,
    rtcp: Option<(u16, Option<IpAddr>)>,
    rtcp_mux: bool,
}

impl Stream {
    fn is_usable_audio(&self) -> bool {
        self.kind == "audio"
            && self.port != 0
            && matches!(self.protocol.as_str(), "RTP/AVP" | "RTP/AVPF")
    }

    /// What payload type `number` means here.
    fn mapping(&self, number: u8) -> Option<Mapping> {
        let fixed = |encoding: &str| Mapping {
            payload_type: number,
            encoding: encoding.to_owned(),
            clock: 8_000,
            channels: 1,
        };
        let told = self
            .mappings
            .iter()
            .find(|mapping| mapping.payload_type == number);
        told.cloned().or(match number {
            0 => Some(fixed("PCMU")),
            8 => Some(fixed("PCMA")),
            9 => Some(fixed("G722")),
            _ => None,
        })
    }

    /// The stream's payload types with their meaning, in its order of preference.
    fn mapped(&self) -> impl Iterator<Item = Mapping> + '_ {
        self.formats
            .iter()
            .filter_map(|format| self.mapping(format.parse().ok()?))
    }

    fn codecs(&self) -> impl Iterator<Item = (Codec, u8)> + '_ {
        self.mapped()
            .filter_map(|mapping| Some((codec_of(&mapping)?, mapping.payload_type)))
    }
}

/// A parsed session description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    connection: Option<String>,
    direction: Option<Direction>,
    streams: Vec<Stream>,
}

impl Description {
    /// Reads a description; lines may end in CRLF or LF.
    ///
    /// # Errors
    /// [`SdpError::Malformed`] with the line.
    pub fn parse(text: &str) -> Result<Self, SdpError> {
        let malformed = |line: usize, what| SdpError::Malformed { line, what };
        if text.len() > MAX_BYTES {
            return Err(malformed(1, "begins more than 32 KiB"));
        }
        let mut description = Self::default();
        let mut lines = text.lines().enumerate();
        if lines.next().is_none_or(|(_, line)| line.trim() != "v=0") {
            return Err(malformed(1, "is not v=0"));
        }
        for (at, line) in lines {
            let line = line.trim_end();
            let broken = |what| malformed(at + 1, what);
            if line.is_empty() {
                continue;
            }
            let (kind, value) = line
                .split_once('=')
                .ok_or_else(|| broken("lacks its = sign"))?;
            match kind {
                "m" => {
                    if description.streams.len() == MAX_STREAMS {
                        return Err(broken("is the seventeenth stream"));
                    }
                    description
                        .streams
                        .push(stream(value).ok_or_else(|| broken("is no media line"))?);
                }
                "c" => {
                    let address = connection(value)
                        .ok_or_else(|| broken("is no connection line"))?
                        .to_owned();
                    match description.streams.last_mut() {
                        Some(stream) => stream.connection = Some(address),
                        None => description.connection = Some(address),
                    }
                }
                "a" => description
                    .attribute(value)
                    .ok_or_else(|| broken("is a broken attribute"))?,
                _ => {}
            }
        }
        Ok(description)
    }

    /// Takes one attribute; `None` when it is one that we need and is broken.
    fn attribute(&mut self, value: &str) -> Option<()> {
        let (name, value) = value.split_once(':').unwrap_or((value, ""));
        if let Some(direction) = Direction::from_attribute(name) {
            match self.streams.last_mut() {
                Some(stream) => stream.direction = Some(direction),
                None => self.direction = Some(direction),
            }
            return Some(());
        }
        let Some(stream) = self.streams.last_mut() else {
            return Some(());
        };
        match name {
            "rtpmap" if stream.mappings.len() < MAX_FORMATS => {
                let (number, format) = value.split_once(' ')?;
                let mut parts = format.trim().split('/');
                stream.mappings.push(Mapping {
                    payload_type: number.parse().ok()?,
                    encoding: parts.next()?.to_owned(),
                    clock: parts.next()?.trim().parse().ok()?,
                    channels: parts
                        .next()
                        .map_or(Some(1), |count| count.trim().parse().ok())?,
                });
            }
            // Some phones write 20.0 here: a broken time is no reason to lose the call.
            "ptime" => stream.ptime = value.split('.').next()?.trim().parse().ok(),
            "rtcp" => {
                let mut parts = value.splitn(2, ' ');
                let port = parts.next()?.parse().ok()?;
                let address = parts.next().and_then(connection);
                stream.rtcp = Some((port, address.and_then(|address| address.parse().ok())));
            }
            "rtcp-mux" => stream.rtcp_mux = true,
            _ => {}
        }
        Some(())
    }

    /// The codecs of the audio stream that [`negotiate`] would take, in the peer's order of preference.
    #[must_use]
    pub fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for (codec, _) in self
            .audio()
            .into_iter()
            .flat_map(|(_, audio)| audio.codecs())
        {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    fn audio(&self) -> Option<(usize, &Stream)> {
        self.streams
            .iter()
            .enumerate()
            .find(|(_, stream)| stream.is_usable_audio())
    }
}

/// `m=audio 49170/2 RTP/AVP 8 0 101`
fn stream(value: &str) -> Option<Stream> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?.to_owned();
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let formats: Vec<String> = words.take(MAX_FORMATS).map(str::to_owned).collect();
    (!formats.is_empty()).then(|| Stream {
        kind,
        port,
        protocol,
        formats,
        ..Stream::default()
    })
}

/// The address in `IN IP4 192.0.2.1/127`.
fn connection(value: &str) -> Option<&str> {
    value.split_ascii_whitespace().nth(2)?.split('/').next()
}

fn codec_of(mapping: &Mapping) -> Option<Codec> {
    if mapping.channels != 1 {
        return None;
    }
    Codec::from_name(&mapping.encoding).filter(|codec| codec.clock().hertz() == mapping.clock)
}

fn own_payload_type(codec: Codec) -> u8 {
    codec.static_payload_type().unwrap_or(L16)
}

/// What both sides agree on for the audio stream.
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
    /// Its payload type, both ways.
    pub payload_type: u8,
    /// The payload type of telephone-event at 8000 Hz (RFC 4733), if the peer has it.
    pub telephone_event: Option<u8>,
    /// What we may do: `RecvOnly` or `Inactive` when the peer holds us.
    pub direction: Direction,
    /// Milliseconds of sound that the peer wants in a packet.
    pub ptime: u8,
}

/// Finds the first of `preferred` that the peer's description offers.
///
/// For the answer to our own offer give the answer's [`Description::codecs`] that we offered: there the peer chooses.
///
/// # Errors
/// [`SdpError::NoAudio`], [`SdpError::NoCommonCodec`] or [`SdpError::NoAddress`], whose status is 488.
pub fn negotiate(theirs: &Description, preferred: &[Codec]) -> Result<Negotiated, SdpError> {
    let (index, audio) = theirs.audio().ok_or(SdpError::NoAudio)?;
    let (codec, payload_type) = preferred
        .iter()
        .find_map(|wanted| audio.codecs().find(|(codec, _)| codec == wanted))
        .ok_or(SdpError::NoCommonCodec)?;
    let address: IpAddr = audio
        .connection
        .as_ref()
        .or(theirs.connection.as_ref())
        .and_then(|address| address.parse().ok())
        .ok_or(SdpError::NoAddress)?;
    let said = audio.direction.or(theirs.direction).unwrap_or_default();
    // c=0.0.0.0 is the old way (RFC 2543) to say "send me nothing" (RFC 3264 §8.4).
    let said = Direction::from_ways(said.sends(), said.receives() && !address.is_unspecified());
    let rtcp_mux = audio.rtcp_mux;
    let (rtcp_port, rtcp_address) = audio
        .rtcp
        .unwrap_or((audio.port.saturating_add(u16::from(!rtcp_mux)), None));
    Ok(Negotiated {
        stream: index,
        remote: SocketAddr::new(address, audio.port),
        remote_rtcp: SocketAddr::new(
            rtcp_address.unwrap_or(address),
            if rtcp_mux { audio.port } else { rtcp_port },
        ),
        rtcp_mux,
        codec,
        payload_type,
        telephone_event: audio
            .mapped()
            .find(|mapping| {
                mapping.encoding.eq_ignore_ascii_case("telephone-event") && mapping.clock == 8_000
            })
            .map(|mapping| mapping.payload_type),
        direction: said.reversed(),
        ptime: audio
            .ptime
            .filter(|ms| (10..=60).contains(ms))
            .unwrap_or(20),
    })
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

/// Writes an offer of one audio stream with `codecs` in order of preference, and telephone-event.
#[must_use]
pub fn offer(local: &Local, codecs: &[Codec]) -> String {
    let formats: Vec<_> = codecs
        .iter()
        .map(|codec| (own_payload_type(*codec), *codec))
        .collect();
    let mut text = head(local);
    audio(&mut text, local, &formats, Some(TELEPHONE_EVENT), 20, false);
    text
}

/// Writes the answer to `theirs`: the negotiated stream, and port 0 for every other one.
///
/// The direction is the narrower of what the peer allows and what we want.
#[must_use]
pub fn answer(theirs: &Description, agreed: &Negotiated, local: &Local) -> String {
    let direction = Direction::from_ways(
        agreed.direction.sends() && local.direction.sends(),
        agreed.direction.receives() && local.direction.receives(),
    );
    let local = Local {
        direction,
        ..*local
    };
    let mut text = head(&local);
    for (index, stream) in theirs.streams.iter().enumerate() {
        if index == agreed.stream {
            audio(
                &mut text,
                &local,
                &[(agreed.payload_type, agreed.codec)],
                agreed.telephone_event,
                agreed.ptime,
                agreed.rtcp_mux,
            );
        } else {
            // RFC 3264 §6: same media and transport, port 0, at least one of its formats.
            let _ = write!(
                text,
                "m={} 0 {} {}\r\n",
                stream.kind,
                stream.protocol,
                stream.formats.first().map_or("0", String::as_str)
            );
        }
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

fn audio(
    text: &mut String,
    local: &Local,
    formats: &[(u8, Codec)],
    telephone_event: Option<u8>,
    ptime: u8,
    rtcp_mux: bool,
) {
    let _ = write!(text, "m=audio {} RTP/AVP", local.rtp.port());
    for number in formats
        .iter()
        .map(|(number, _)| *number)
        .chain(telephone_event)
    {
        let _ = write!(text, " {number}");
    }
    text.push_str("\r\n");
    for (number, codec) in formats {
        let (name, clock) = (codec.name(), codec.clock().hertz());
        let _ = write!(text, "a=rtpmap:{number} {name}/{clock}\r\n");
    }
    if let Some(number) = telephone_event {
        let _ = write!(
            text,
            "a=rtpmap:{number} telephone-event/8000\r\na=fmtp:{number} 0-15\r\n"
        );
    }
    let _ = write!(
        text,
        "a=ptime:{ptime}\r\na={}\r\n",
        local.direction.as_str()
    );
    if rtcp_mux {
        text.push_str("a=rtcp-mux\r\n");
    }
}

#[cfg(test)]
mod tests;
