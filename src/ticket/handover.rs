//! A submission as plain JSON, for receivers that do not speak gRPC: the draft with the moment of each piece of
//! evidence, and the lines that the evidence points into.

use serde_json::{Value, json};

use super::desk::Submission;
use crate::speech::Leg;
use crate::transcript::Line;

/// `{"call_id", "revision", "fields": {NAME: {"value", "confidence", "evidence": [{"utterance", "start", "end",
/// "start_ms", "end_ms"}]}}, "missing": [NAME…], "transcript": [{"utterance", "speaker", "start_ms", "end_ms", "text",
/// "confidence"}]}`; `start` and `end` count characters, times are on the call's own clock.
///
/// # Panics
/// Never: a draft has text keys and plain values.
#[must_use]
pub fn json(submission: &Submission) -> Value {
    let mut draft = serde_json::to_value(&submission.draft).expect("text keys and plain values");
    let fields = draft.get_mut("fields").and_then(Value::as_object_mut);
    for field in fields.into_iter().flat_map(|fields| fields.values_mut()) {
        let evidence = field.get_mut("evidence").and_then(Value::as_array_mut);
        for piece in evidence.into_iter().flatten() {
            let line = submission
                .lines
                .iter()
                .find(|line| piece["utterance"] == line.id);
            if let Some(line) = line {
                let at = |end: &str| piece[end].as_u64().unwrap_or_default() as u32;
                let (start, end) = line.time_of(at("start"), at("end"));
                piece["start_ms"] = start.as_millis().into();
                piece["end_ms"] = end.as_millis().into();
            }
        }
    }
    draft["call_id"] = submission.key.call.as_str().into();
    draft["revision"] = submission.key.revision.into();
    draft["transcript"] = submission.lines.iter().map(line).collect();
    draft
}

pub(crate) fn line(line: &Line) -> Value {
    json!({
        "utterance": line.id,
        "speaker": speaker(line.leg),
        "start_ms": line.start.as_millis(),
        "end_ms": line.end.as_millis(),
        "text": line.text.reveal(),
        "confidence": line.confidence,
    })
}

/// `caller`, `operator` or `mono`.
pub(crate) const fn speaker(leg: Leg) -> &'static str {
    match leg {
        Leg::Caller => "caller",
        Leg::Operator => "operator",
        Leg::Mono => "mono",
    }
}
