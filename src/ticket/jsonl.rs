//! Written dialogues in, drafts out: one JSON object a line.
//!
//! In: `{"id", "caller_number", "started_at", "utterances": [{"speaker": "caller"|"operator", "text"}]}`.
//! Out: `{"id", "fields": {NAME: {"value", "confidence", "evidence": [{"utterance", "start", "end"}]}}, "missing": [NAME…]}`.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{CallFacts, TicketDraft};
use crate::audio::MediaTime;
use crate::private::Private;
use crate::speech::{CallId, Leg};
use crate::transcript::{Line, Transcript};

/// A line that is no dialogue: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonlError {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: &'static str,
}

impl fmt::Display for JsonlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.what, self.remedy)
    }
}

impl std::error::Error for JsonlError {}

#[derive(Deserialize)]
struct WrittenCall {
    id: String,
    #[serde(default)]
    caller_number: Option<String>,
    started_at: String,
    utterances: Vec<WrittenUtterance>,
}

#[derive(Deserialize)]
struct WrittenUtterance {
    speaker: String,
    text: String,
}

/// A written dialogue as a call.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenDialogue {
    /// Id, number and time.
    pub facts: CallFacts,
    /// What was said; utterance n has the id n.
    pub transcript: Transcript,
}

/// Reads one line; `number` counts lines from 1 and is for the error.
///
/// # Errors
/// [`JsonlError`] when the line is no JSON object of this shape, has no id, a time that is not RFC 3339, or a
/// speaker other than `caller`, `operator` and `mono`.
pub fn read(number: usize, line: &str) -> Result<WrittenDialogue, JsonlError> {
    let fault = |what: String, remedy| JsonlError {
        line: number,
        what,
        remedy,
    };
    let call: WrittenCall = serde_json::from_str(line).map_err(|error| {
        fault(
            format!("no dialogue ({})", unquoted(&error)),
            "write an object with id, started_at and utterances of speaker and text",
        )
    })?;
    if call.id.trim().is_empty() {
        return Err(fault(
            "id is empty".to_owned(),
            "give each dialogue an id of its own",
        ));
    }
    let started: Timestamp = call.started_at.parse().map_err(|_| {
        fault(
            format!("started_at of {} is no moment", call.id),
            "write it like 2026-03-14T09:01:00+08:00",
        )
    })?;
    let mut transcript = Transcript::default();
    for (id, utterance) in (0_u32..).zip(call.utterances) {
        let leg = match utterance.speaker.as_str() {
            "caller" => Leg::Caller,
            "operator" => Leg::Operator,
            "mono" => Leg::Mono,
            _ => {
                return Err(fault(
                    format!("utterance {id} of {} has an unknown speaker", call.id),
                    "use caller, operator or mono",
                ));
            }
        };
        let start = MediaTime::ZERO + Duration::from_secs(id.into());
        let end = start + Duration::from_secs(1);
        transcript.apply(Line::plain(id, leg, &utterance.text, start, end));
    }
    let facts = CallFacts {
        call: CallId::new(&call.id),
        caller_number: call
            .caller_number
            .filter(|number| !number.is_empty())
            .map(Private::new),
        started_at: started.into(),
    };
    Ok(WrittenDialogue { facts, transcript })
}

/// The fault without the words of the line, which may be personal.
fn unquoted(error: &serde_json::Error) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Syntax => "not JSON",
        serde_json::error::Category::Eof => "the JSON breaks off",
        _ => "a key is missing or of the wrong type",
    };
    format!("{kind} at column {}", error.column())
}

/// Reads a whole file, without its empty lines.
pub fn read_all(text: &str) -> impl Iterator<Item = Result<WrittenDialogue, JsonlError>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| read(index + 1, line))
}

/// A draft as one line of JSON, without the line's end.
pub fn write(call: &CallId, draft: &TicketDraft) -> String {
    #[derive(Serialize)]
    struct Written<'a> {
        id: &'a CallId,
        #[serde(flatten)]
        draft: &'a TicketDraft,
    }
    serde_json::to_string(&Written { id: call, draft })
        .expect("a draft has text keys and finite numbers")
}

#[cfg(test)]
mod tests {
    use super::{read, read_all, write};
    use crate::ticket::{Drafter, Taxonomy};

    const GOOD: &str = r#"{"id":"a1","caller_number":"13900000001","started_at":"2026-11-24T09:00:00+08:00","utterances":[{"speaker":"operator","text":"您好。"},{"speaker":"caller","text":"我要投诉，小区停水了。"}],"gold":{"x":1}}"#;

    #[test]
    fn a_dialogue_is_read_and_its_draft_written_under_its_id() {
        let dialogue = read(1, GOOD).expect("good");
        assert_eq!(dialogue.transcript.lines().len(), 2);
        let draft = Drafter::new(Taxonomy::embedded()).draft(&dialogue.transcript, &dialogue.facts);
        let line = write(&dialogue.facts.call, &draft);
        let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(value["id"], "a1");
        assert_eq!(value["fields"]["contact_phone"]["value"], "13900000001");
        assert_eq!(value["fields"]["category"]["value"][1], "供水");
        assert!(
            value["missing"]
                .as_array()
                .expect("a list")
                .contains(&"address".into())
        );
        assert!(!line.contains('\n'));
    }

    #[test]
    fn a_bad_line_is_named_with_its_number_and_its_words_are_kept_out_of_the_error() {
        let text = format!("{GOOD}\n\n{{\"id\":\"秘密\", oops\n");
        let results: Vec<_> = read_all(&text).collect();
        assert_eq!(results.len(), 2);
        let error = results[1].as_ref().expect_err("bad").clone();
        assert_eq!(error.line, 3);
        assert!(
            error
                .to_string()
                .starts_with("line 3: no dialogue (not JSON at column")
        );
        assert!(!error.to_string().contains("秘密"));
    }

    #[test]
    fn a_wrong_speaker_a_wrong_time_and_an_empty_id_are_each_named() {
        for (from, to, named) in [
            ("operator", "robot", "unknown speaker"),
            ("2026-11-24T", "2026-13-24T", "started_at"),
            ("\"a1\"", "\"\"", "id is empty"),
        ] {
            let error = read(7, &GOOD.replacen(from, to, 1)).expect_err("bad");
            assert!(
                error.to_string().starts_with("line 7: ") && error.to_string().contains(named),
                "{error}"
            );
        }
    }
}
