//! A finished call's recording for the page's player: whole or a range of it, read and opened only as fast as it is taken.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::{Console, Ends, Refusal, Signed};
use crate::access::Deed;
use crate::people::Action;
use crate::recording::{self, Key, RecordingError, Sound};
use crate::speech::CallId;

/// Octets that are read at a time.
const PIECE: usize = 64 * 1024;

/// Where the recordings are, and what opens them.
#[derive(Clone, Debug)]
pub struct Recordings {
    /// The folder of `recording.folder`.
    pub folder: PathBuf,
    /// Where they are sealed.
    pub key: Option<Key>,
}

pub(super) async fn recording(
    State(console): State<Console>,
    Path(call): Path<String>,
    ends: Ends,
    signed: Signed,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let id = CallId::new(&call);
    console.demand(&signed, Action::HearCall, &id).await?;
    let recordings = console.recordings.as_ref().ok_or(Refusal::NoRecording)?;
    let place = console.listeners.admit(ends.peer).ok_or(Refusal::Full)?;
    let noted = console.store.recording(&id).await;
    let noted = noted.map_err(|error| Refusal::unreadable(&error))?;
    let noted = noted.ok_or(Refusal::NoRecording)?;
    if noted.state == recording::State::Running {
        return Err(Refusal::StillRecorded);
    }
    let (path, key) = (recordings.folder.join(&noted.file), recordings.key.clone());
    // A player asks for piece after piece; that it was played is one deed.
    if headers
        .get(header::RANGE)
        .is_none_or(|range| range.as_bytes().starts_with(b"bytes=0-"))
    {
        console.note(&signed, &id, Deed::HearCall);
    }
    let sound = blocking(move || Sound::open(&path, key.as_ref())).await?;
    let length = sound.length();
    let tag = format!("\"{call}-{length}\"");
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let same = text(header::IF_RANGE).is_none_or(|held| held == tag);
    let wanted = text(header::RANGE).filter(|_| same);
    let about = [
        (header::CONTENT_TYPE, "audio/wav".to_owned()),
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        // What was said stays on this machine's disk, and other sites may not play it.
        (header::CACHE_CONTROL, "no-store".to_owned()),
        (header::ETAG, tag),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    let elsewhere = [("cross-origin-resource-policy", "same-origin")];
    let range = match wanted.map_or(Range::Whole, |text| range(text, length)) {
        Range::None => {
            let size = [(header::CONTENT_RANGE, format!("bytes */{length}"))];
            return Ok((StatusCode::RANGE_NOT_SATISFIABLE, about, size).into_response());
        }
        Range::Part(from, to) => Some((from, to)),
        Range::Whole => None,
    };
    let (from, to) = range.unwrap_or((0, length));
    let size = [(header::CONTENT_LENGTH, (to - from).to_string())];
    let reading = (Arc::new(sound), place, from);
    let pieces = stream::try_unfold(reading, move |(sound, place, at)| async move {
        if at >= to {
            return Ok::<_, RecordingError>(None);
        }
        let most = usize::try_from(to - at).unwrap_or(PIECE).min(PIECE);
        let reader = sound.clone();
        let piece = tokio::task::spawn_blocking(move || reader.read(at, most)).await;
        // A reader that broke off ends the answer short, which the player notices.
        let piece = piece
            .unwrap_or_else(|_| Ok(Vec::new()))
            .inspect_err(|error| {
                tracing::error!(%error, "a recording cannot be played to its end");
            })?;
        let next = at + piece.len() as u64;
        Ok((!piece.is_empty()).then_some((piece, (sound, place, next))))
    });
    let body = Body::from_stream(pieces);
    Ok(match range {
        Some(_) => {
            let part = [(
                header::CONTENT_RANGE,
                format!("bytes {from}-{}/{length}", to - 1),
            )];
            (
                StatusCode::PARTIAL_CONTENT,
                about,
                elsewhere,
                size,
                part,
                body,
            )
                .into_response()
        }
        None => (about, elsewhere, size, body).into_response(),
    })
}

/// Does what waits for the disk beside the server's own work.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecordingError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.is_absent() => Err(Refusal::NoRecording),
        Ok(Err(error)) => {
            tracing::error!(%error, "a recording cannot be played");
            Err(Refusal::Damaged)
        }
        Err(_) => Err(Refusal::Damaged),
    }
}

/// What a `Range` asks for.
#[derive(Debug, PartialEq, Eq)]
enum Range {
    /// All of it: there is no range, or one that may be passed over (another unit, several).
    Whole,
    /// From the first octet to before the second.
    Part(u64, u64),
    /// What is not there.
    None,
}

fn range(text: &str, length: u64) -> Range {
    let Some((first, last)) = text
        .strip_prefix("bytes=")
        .filter(|ranges| !ranges.contains(','))
        .and_then(|range| range.trim().split_once('-'))
    else {
        return Range::Whole;
    };
    let number = |text: &str| text.parse::<u64>().ok();
    let (from, to) = match (number(first), number(last)) {
        (None, Some(suffix)) if first.is_empty() => (length.saturating_sub(suffix), length),
        (Some(from), None) if last.is_empty() => (from, length),
        (Some(from), Some(last)) if from <= last => (from, last.saturating_add(1).min(length)),
        _ => return Range::Whole,
    };
    if from < to && from < length {
        Range::Part(from, to)
    } else {
        Range::None
    }
}

#[cfg(test)]
mod tests {
    use super::{Range, range};

    #[test]
    fn a_range_is_taken_where_it_can_be_and_passed_over_where_it_may_be() {
        for (text, wanted) in [
            ("bytes=0-", Range::Part(0, 100)),
            ("bytes=10-19", Range::Part(10, 20)),
            ("bytes=90-200", Range::Part(90, 100)),
            ("bytes=0-18446744073709551615", Range::Part(0, 100)),
            ("bytes=-30", Range::Part(70, 100)),
            ("bytes=-300", Range::Part(0, 100)),
            ("bytes=100-", Range::None),
            ("bytes=-0", Range::None),
            ("bytes=5-4", Range::Whole),
            ("bytes=1-2,4-5", Range::Whole),
            ("bytes=x-", Range::Whole),
            ("bytes=-", Range::Whole),
            ("lines=1-2", Range::Whole),
        ] {
            assert_eq!(range(text, 100), wanted, "{text}");
        }
        assert_eq!(range("bytes=0-", 0), Range::None);
    }
}
