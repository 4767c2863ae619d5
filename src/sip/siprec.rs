//! Who is heard in which stream of a recording session (RFC 7865 metadata, RFC 7866 protocol).
//!
//! A session recording client (an SBC or PBX) forks a call to us: one INVITE with a session description of several
//! labelled streams and an XML document that says which participant sends which stream. The way from a stream to its
//! speaker is label → stream → association → participant; the order of elements says nothing. Two layouts are read: the
//! RFC's, with `participantstreamassoc`, and that of the drafts (02–09), which many devices still send, with `send` and
//! `recv` inside of `participant` and plain `id` and `session` attributes. Namespaces and unknown elements are passed
//! over.

mod document;

use std::fmt;

use self::document::Element;
pub use self::document::MAX_BYTES;
use super::address::{Address, Uri, unescaped};
use crate::private::Private;
use crate::speech::Leg;

/// The option tag that a recording client requires (RFC 7866 §11.1).
pub const OPTION_TAG: &str = "siprec";

/// Whether a part of this media type is recording metadata; drafts had no `+xml`.
#[must_use]
pub fn is_metadata(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/rs-metadata+xml" | "application/rs-metadata"
    )
}

/// Why metadata cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataError {
    /// It is longer, deeper or more than a recording client has reason to send.
    TooLarge(&'static str),
    /// It is not well-formed XML, or declares a document type.
    Malformed(&'static str),
    /// Its root is not `recording`.
    NoRecording,
}

impl MetadataError {
    /// The SIP status that tells the peer.
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => 413,
            Self::Malformed(_) | Self::NoRecording => 400,
        }
    }
}

impl fmt::Display for MetadataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge(what) => write!(
                f,
                "the recording metadata has too much {what}; the peer must send what RFC 7865 describes"
            ),
            Self::Malformed(what) => write!(
                f,
                "the recording metadata {what}; the peer must send well-formed XML without a document type"
            ),
            Self::NoRecording => f.write_str(
                "the recording metadata has no recording element at its root; the peer must send RFC 7865",
            ),
        }
    }
}

impl std::error::Error for MetadataError {}

/// A participant of the recorded call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Participant {
    id: String,
    /// Address of record, e.g. `sip:1001@pbx`.
    aor: Option<Private<String>>,
    name: Option<Private<String>>,
    /// The streams that it sends, by identifier.
    sends: Vec<String>,
    /// Whether the device marks it as the one who placed the call.
    calling: Option<bool>,
    gone: bool,
}

/// A stream of the recording session.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stream {
    id: String,
    /// The `a=label` of its media description (RFC 4574).
    label: String,
}

/// What is known of a recorded call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    participants: Vec<Participant>,
    streams: Vec<Stream>,
    /// The identifiers that the device gives the call: `sipSessionID`, a UCID.
    references: Vec<String>,
}

/// Who speaks in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speaker {
    /// The stream's `a=label`.
    pub label: String,
    /// Citizen or operator; [`Leg::Mono`] where several speak in one stream.
    pub leg: Leg,
    /// Whether anything but the lack of alternatives says so.
    pub certain: bool,
    /// User part of the address of record.
    pub number: Option<Private<String>>,
    /// Display name.
    pub name: Option<Private<String>>,
}

/// What else tells the operator from the citizen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clues<'a> {
    /// Numbers and names of the hotline itself; `*` at the end matches the rest.
    pub own: &'a [String],
    /// The user part of From or P-Asserted-Identity, where devices put the calling party.
    pub calling: Option<&'a str>,
}

impl Recording {
    /// Takes a document: a complete one replaces what was known, a partial one changes it (RFC 7865 §6.1).
    ///
    /// # Errors
    /// [`MetadataError`]; what was known stays.
    pub fn update(&mut self, xml: &[u8]) -> Result<(), MetadataError> {
        let root = Element::read(xml)?;
        if root.name != "recording" {
            return Err(MetadataError::NoRecording);
        }
        let mode = root.children.iter().find(|child| child.name == "datamode");
        let partial = mode.is_some_and(|mode| mode.text.trim().eq_ignore_ascii_case("partial"));
        let mut known = if partial {
            self.clone()
        } else {
            Self::default()
        };
        // Streams and participants first: an association may stand before what it names.
        for child in &root.children {
            match child.name.as_str() {
                "session" => known.take_session(child),
                "participant" => known.take_participant(child),
                "stream" => known.take_stream(child),
                _ => {}
            }
        }
        for child in &root.children {
            match child.name.as_str() {
                "participantstreamassoc" => known.associate(child),
                "participantsessionassoc" if child.child("disassociate-time").is_some() => {
                    if let Some(participant) = known.participant_of(child) {
                        participant.gone = true;
                    }
                }
                "participantsessionassoc" => {
                    if let Some(participant) = known.participant_of(child) {
                        participant.gone = false;
                    }
                }
                _ => {}
            }
        }
        *self = known;
        Ok(())
    }

    /// Identifiers that the device gives the call, for correlating with its own records.
    #[must_use]
    pub fn references(&self) -> &[String] {
        &self.references
    }

    fn take_session(&mut self, session: &Element) {
        let named = session
            .descendants()
            .filter(|element| {
                matches!(element.name.as_str(), "sipsessionid" | "ucid" | "avayaucid")
            })
            .map(|element| element.text.trim().to_owned());
        let own = session.attribute(&["session_id", "id"]).map(str::to_owned);
        for reference in own.into_iter().chain(named) {
            if !reference.is_empty() && !self.references.contains(&reference) {
                self.references.push(reference);
            }
        }
    }

    fn take_participant(&mut self, element: &Element) {
        let Some(id) = element.attribute(&["participant_id", "id"]) else {
            return;
        };
        let name_id = element.child("nameid");
        let aor = name_id
            .and_then(|name| name.attribute(&["aor"]))
            .or_else(|| element.child("aor").map(|aor| aor.text.trim()))
            .filter(|aor| !aor.is_empty());
        let name = name_id
            .and_then(|name| name.child("name"))
            .map(|name| name.text.trim())
            .filter(|name| !name.is_empty());
        let calling = element
            .descendants()
            .find(|inner| inner.name == "callingparty")
            .map(|calling| calling.text.trim().eq_ignore_ascii_case("true"));
        let new = Participant {
            id: id.to_owned(),
            aor: aor.map(Private::from),
            name: name.map(Private::from),
            sends: element.texts("send"),
            calling,
            gone: element.child("disassociate-time").is_some(),
        };
        match self.participants.iter_mut().find(|known| known.id == id) {
            Some(known) => {
                // The RFC's layout says in another element what is sent.
                let sends = if new.sends.is_empty() {
                    std::mem::take(&mut known.sends)
                } else {
                    new.sends.clone()
                };
                *known = Participant { sends, ..new };
            }
            None => self.participants.push(new),
        }
    }

    fn take_stream(&mut self, element: &Element) {
        let Some(id) = element.attribute(&["stream_id", "id"]) else {
            return;
        };
        let label = element
            .child("label")
            .map(|label| label.text.trim())
            .or_else(|| element.attribute(&["label"]))
            .unwrap_or(id);
        self.streams.retain(|known| known.id != id);
        self.streams.push(Stream {
            id: id.to_owned(),
            label: label.to_owned(),
        });
    }

    fn participant_of(&mut self, association: &Element) -> Option<&mut Participant> {
        let id = association.attribute(&["participant_id", "participant"])?;
        self.participants.iter_mut().find(|known| known.id == id)
    }

    fn associate(&mut self, association: &Element) {
        let sends = association.texts("send");
        let ends = association.child("disassociate-time").is_some();
        if let Some(participant) = self.participant_of(association) {
            if ends {
                participant
                    .sends
                    .retain(|stream| !sends.is_empty() && !sends.contains(stream));
            } else if !sends.is_empty() {
                participant.sends = sends;
            }
        }
    }

    /// Who speaks in each stream that has a sender, by label.
    ///
    /// An operator is who bears one of the hotline's own numbers, then who does not bear the calling party's number,
    /// then who was called. Where nothing tells two apart, the first by identifier is taken for the citizen and both are
    /// marked as uncertain, so that the page can say so.
    #[must_use]
    pub fn speakers(&self, clues: Clues<'_>) -> Vec<Speaker> {
        let present = self.present();
        let legs = legs(&present, clues);
        self.streams
            .iter()
            .filter_map(|stream| {
                let mut senders = present
                    .iter()
                    .zip(&legs)
                    .filter(|(participant, _)| participant.sends.contains(&stream.id));
                let (participant, (leg, certain)) = senders.next()?;
                let shared = senders.next().is_some();
                Some(Speaker {
                    label: stream.label.clone(),
                    leg: if shared { Leg::Mono } else { *leg },
                    certain: *certain && !shared,
                    number: (!shared)
                        .then(|| participant.user().map(Private::new))
                        .flatten(),
                    name: participant.name.clone().filter(|_| !shared),
                })
            })
            .collect()
    }

    /// The number of who is on a leg, whether a stream is known to be his or not.
    #[must_use]
    pub fn number(&self, leg: Leg, clues: Clues<'_>) -> Option<Private<String>> {
        let present = self.present();
        let legs = legs(&present, clues);
        let sends = |participant: &Participant| {
            let mut streams = self.streams.iter();
            streams.any(|stream| participant.sends.contains(&stream.id))
        };
        present
            .iter()
            .zip(&legs)
            .filter(|(participant, (its, _))| *its == leg && participant.aor.is_some())
            .min_by_key(|(participant, _)| !sends(participant))?
            .0
            .user()
            .map(Private::new)
    }

    /// The number that was called: the operator's, unless it is the operator who calls.
    #[must_use]
    pub fn called(&self, clues: Clues<'_>) -> Option<Private<String>> {
        let present = self.present();
        let legs = legs(&present, clues);
        let calls = |participant: &Participant| {
            participant.calling == Some(true) || clues.is_calling(participant)
        };
        let placed = present
            .iter()
            .zip(&legs)
            .any(|(participant, (leg, _))| *leg == Leg::Operator && calls(participant));
        let leg = if placed { Leg::Caller } else { Leg::Operator };
        self.number(leg, clues)
    }

    fn present(&self) -> Vec<&Participant> {
        let participants = self.participants.iter();
        participants
            .filter(|participant| !participant.gone)
            .collect()
    }
}

impl Clues<'_> {
    fn is_own(&self, participant: &Participant) -> bool {
        participant
            .user()
            .is_some_and(|user| self.own.iter().any(|pattern| matches(pattern, &user)))
    }

    fn is_calling(&self, participant: &Participant) -> bool {
        self.calling
            .zip(participant.user())
            .is_some_and(|(calling, user)| same_number(calling, &user))
    }
}

impl Participant {
    /// User part of the address of record; devices also put a bare number there, or a name and brackets around it.
    fn user(&self) -> Option<String> {
        let aor = self.aor.as_ref()?.reveal().as_str();
        let uri = Address::parse(aor).map_or(aor, |address| address.uri);
        if let Some(uri) = Uri::parse(uri) {
            return uri.user();
        }
        let user = uri.split(['@', ';']).next()?;
        (!user.is_empty()).then(|| unescaped(user))
    }
}

/// Each participant's leg, and whether a clue says so.
fn legs(present: &[&Participant], clues: Clues<'_>) -> Vec<(Leg, bool)> {
    let is_own = |participant: &Participant| clues.is_own(participant);
    let is_calling = |participant: &Participant| clues.is_calling(participant);
    let by = |operator: &dyn Fn(&Participant) -> bool| -> Vec<(Leg, bool)> {
        present
            .iter()
            .map(|participant| {
                let leg = if operator(participant) {
                    Leg::Operator
                } else {
                    Leg::Caller
                };
                (leg, true)
            })
            .collect()
    };
    // A clue that does not divide the participants is none.
    let divides = |clue: &dyn Fn(&Participant) -> bool| {
        present.iter().any(|participant| clue(participant))
            && !present.iter().all(|participant| clue(participant))
    };
    if divides(&is_own) {
        return by(&is_own);
    }
    if divides(&is_calling) {
        return by(&|participant| !is_calling(participant));
    }
    if divides(&|participant| participant.calling == Some(true)) {
        return by(&|participant| participant.calling != Some(true));
    }
    if let [only] = present {
        let leg = if is_own(only) {
            Leg::Operator
        } else {
            Leg::Caller
        };
        return vec![(leg, true)];
    }
    let first = present
        .iter()
        .map(|participant| participant.id.as_str())
        .min();
    present
        .iter()
        .map(|participant| {
            let leg = if Some(participant.id.as_str()) == first {
                Leg::Caller
            } else {
                Leg::Operator
            };
            (leg, false)
        })
        .collect()
}

/// Whether a number of the hotline's list, perhaps with `*` at its end, is this one.
fn matches(pattern: &str, user: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => user.starts_with(start),
        None => pattern == user,
    }
}

/// Whether two spellings mean one number: `+8613…` and `013…` and `13…` do.
fn same_number(one: &str, other: &str) -> bool {
    /// Shorter numbers are extensions and must be the same to the letter.
    const LONG: usize = 7;
    fn digits(text: &str) -> Option<&str> {
        let plain = text.trim_start_matches('+').trim_start_matches('0');
        (plain.len() >= LONG && plain.bytes().all(|byte| byte.is_ascii_digit())).then_some(plain)
    }
    one == other
        || digits(one)
            .zip(digits(other))
            .is_some_and(|(one, other)| one.ends_with(other) || other.ends_with(one))
}

#[cfg(test)]
mod tests;
