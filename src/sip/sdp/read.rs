//! Reads session descriptions: each `m=` section with what a call needs of it.

use std::net::IpAddr;

use super::{Crypto, Direction, PACKET_TIMES, SdpError};
use crate::audio::Frequency;
use crate::audio::codec::Codec;
use crate::rtp::{Content, Format};

/// The longest description taken, in bytes; a description of many video codecs has about 8 KiB.
const MAX_BYTES: usize = 32 * 1024;
/// The most streams taken, RFC 3264 sets no bound.
const MAX_STREAMS: usize = 16;
/// The most payload types taken of one stream; there are 128 numbers.
const MAX_FORMATS: usize = 128;
/// The most keys taken of one stream.
const MAX_CRYPTOS: usize = 16;

/// What an `a=rtpmap` line, or RFC 3551 for a static number, says of a payload type.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Mapping {
    payload_type: u8,
    encoding: String,
    clock: u32,
    channels: u8,
}

impl Mapping {
    /// What it means to us, if anything.
    fn format(&self) -> Option<Format> {
        let clock = Frequency::new(self.clock)?;
        let is = |name: &str| self.encoding.eq_ignore_ascii_case(name);
        let content = if is("telephone-event") {
            Content::Event
        } else if is("CN") {
            Content::ComfortNoise
        } else {
            let codec = Codec::from_name(&self.encoding)?;
            // Opus always says two, whatever it then sends (RFC 7587 §7).
            let fits = self.channels == 1 || (codec == Codec::Opus && self.channels == 2);
            if !fits || codec.clock() != clock {
                return None;
            }
            Content::Sound(codec)
        };
        Some(Format {
            payload_type: self.payload_type,
            content,
            clock,
        })
    }
}

/// One `m=` section, with what the session level says for it where it is silent itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// `audio`, `video` and so on.
    pub kind: String,
    /// Where RTP is wanted; 0 refuses the stream.
    pub port: u16,
    /// `RTP/AVP`, `RTP/SAVP` and so on.
    pub protocol: String,
    /// Where RTP is wanted; `None` for a name or no connection line.
    pub address: Option<IpAddr>,
    /// The label (RFC 4574), by which SIPREC metadata names the stream.
    pub label: Option<String>,
    /// Milliseconds of sound wanted in a packet, from 10 to 60.
    pub ptime: Option<u8>,
    /// The most milliseconds taken in a packet.
    pub max_ptime: Option<u8>,
    /// The source that will be sent (RFC 5576), the first one named.
    pub ssrc: Option<u32>,
    /// The keys of `a=crypto` that we can use, in the peer's order of preference.
    pub cryptos: Vec<Crypto>,
    /// Whether RTCP may share the RTP port (RFC 5761).
    pub rtcp_mux: bool,
    /// Where RTCP is wanted, if that is said (RFC 3605).
    pub rtcp: Option<(u16, Option<IpAddr>)>,
    said: Option<Direction>,
    names_address: bool,
    numbers: Vec<String>,
    mappings: Vec<Mapping>,
}

impl Section {
    /// Whether this is audio over RTP that is not refused.
    #[must_use]
    pub fn is_audio(&self) -> bool {
        self.kind == "audio"
            && self.port != 0
            && matches!(
                self.protocol.as_str(),
                "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF"
            )
    }

    /// Whether the protocol allows no plain RTP.
    #[must_use]
    pub fn is_secured(&self) -> bool {
        self.protocol.starts_with("RTP/SAVP")
    }

    /// Which way media flows, as the side that says it sees it.
    #[must_use]
    pub fn direction(&self) -> Direction {
        let said = self.said.unwrap_or_default();
        // c=0.0.0.0 is the old way (RFC 2543) to say "send me nothing" (RFC 3264 §8.4).
        let reachable = self.address.is_none_or(|address| !address.is_unspecified());
        Direction::from_ways(said.sends(), said.receives() && reachable)
    }

    /// The payload types that we know, in the side's order of preference.
    pub fn formats(&self) -> impl Iterator<Item = Format> + '_ {
        self.numbers
            .iter()
            .filter_map(|number| self.mapping(number.parse().ok()?)?.format())
    }

    /// The codecs among them.
    pub fn sounds(&self) -> impl Iterator<Item = (Codec, u8)> + '_ {
        self.formats().filter_map(|format| match format.content {
            Content::Sound(codec) => Some((codec, format.payload_type)),
            Content::Event | Content::ComfortNoise => None,
        })
    }

    /// Whether silence may be described instead of sent (RFC 3389).
    #[must_use]
    pub fn has_comfort_noise(&self) -> bool {
        self.formats()
            .any(|format| format.content == Content::ComfortNoise)
    }

    pub(super) fn first_format(&self) -> &str {
        self.numbers.first().map_or("0", String::as_str)
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
            13 => Some(fixed("CN")),
            _ => None,
        })
    }
}

/// A parsed session description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    sections: Vec<Section>,
}

/// What stands before the first `m=` line and holds for every section that says nothing else.
#[derive(Default)]
struct Session {
    address: Option<IpAddr>,
    direction: Option<Direction>,
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
        let mut sections: Vec<Section> = Vec::new();
        let mut session = Session::default();
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
                    if sections.len() == MAX_STREAMS {
                        return Err(broken("is the seventeenth stream"));
                    }
                    sections.push(media(value).ok_or_else(|| broken("is no media line"))?);
                }
                "c" => {
                    let address = connection(value)
                        .ok_or_else(|| broken("is no connection line"))?
                        .parse()
                        .ok();
                    match sections.last_mut() {
                        Some(section) => {
                            (section.address, section.names_address) = (address, true);
                        }
                        None => session.address = address,
                    }
                }
                "a" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    let said = Direction::from_attribute(name);
                    if let Some(section) = sections.last_mut() {
                        // What is broken is as good as not said: perhaps it is about what we have no use for.
                        let _ = section.attribute(name, value, said);
                    } else {
                        session.direction = said.or(session.direction);
                    }
                }
                _ => {}
            }
        }
        for section in &mut sections {
            section.said = section.said.or(session.direction);
            if !section.names_address {
                section.address = session.address;
            }
        }
        Ok(Self { sections })
    }

    /// Every `m=` section, in order.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// The codecs of the first audio stream, in the peer's order of preference.
    #[must_use]
    pub fn codecs(&self) -> Vec<Codec> {
        let mut codecs = Vec::new();
        for (codec, _) in self.audio().into_iter().flat_map(Section::sounds) {
            if !codecs.contains(&codec) {
                codecs.push(codec);
            }
        }
        codecs
    }

    /// The first audio stream that is not refused.
    #[must_use]
    pub fn audio(&self) -> Option<&Section> {
        self.sections.iter().find(|section| section.is_audio())
    }
}

impl Section {
    /// Takes one attribute; `None` when it is broken.
    fn attribute(&mut self, name: &str, value: &str, said: Option<Direction>) -> Option<()> {
        if said.is_some() {
            self.said = said;
        }
        match name {
            "rtpmap" if self.mappings.len() < MAX_FORMATS => {
                let (number, format) = value.split_once(' ')?;
                let mut parts = format.trim().split('/');
                self.mappings.push(Mapping {
                    payload_type: number.trim().parse().ok()?,
                    encoding: parts.next()?.to_owned(),
                    clock: parts.next()?.trim().parse().ok()?,
                    channels: parts
                        .next()
                        .map_or(Some(1), |count| count.trim().parse().ok())?,
                });
            }
            "ptime" => self.ptime = packet_time(value).filter(|ms| PACKET_TIMES.contains(ms)),
            "maxptime" => self.max_ptime = packet_time(value).filter(|ms| *ms >= 10),
            "rtcp" => {
                let mut parts = value.splitn(2, ' ');
                let port = parts.next()?.parse().ok()?;
                let address = parts.next().and_then(connection);
                self.rtcp = Some((port, address.and_then(|address| address.parse().ok())));
            }
            "rtcp-mux" => self.rtcp_mux = true,
            "label" => self.label = Some(value.trim().to_owned()),
            "ssrc" if self.ssrc.is_none() => {
                self.ssrc = value
                    .split_ascii_whitespace()
                    .next()
                    .and_then(|ssrc| ssrc.parse().ok());
            }
            "crypto" if self.cryptos.len() < MAX_CRYPTOS => {
                self.cryptos.extend(Crypto::parse(value));
            }
            _ => {}
        }
        Some(())
    }
}

/// Some phones write 20.0 here: a broken time is no reason to lose the call.
fn packet_time(value: &str) -> Option<u8> {
    value.split('.').next()?.trim().parse().ok()
}

/// `m=audio 49170/2 RTP/AVP 8 0 101`
fn media(value: &str) -> Option<Section> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?.to_owned();
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_owned();
    let numbers: Vec<String> = words.take(MAX_FORMATS).map(str::to_owned).collect();
    (!numbers.is_empty()).then(|| Section {
        kind,
        port,
        protocol,
        numbers,
        ..Section::default()
    })
}

/// The address in `IN IP4 192.0.2.1/127`.
fn connection(value: &str) -> Option<&str> {
    value.split_ascii_whitespace().nth(2)?.split('/').next()
}
