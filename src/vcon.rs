//! A finished call as a vCon, the IETF's container for conversations (draft-ietf-vcon-vcon-core-04, syntax "0.4.0"): who
//! spoke, what was said and when, the recording, the transcript, the draft ticket with its evidence, the ticket's number,
//! and what was noted.
//!
//! The caller is party 0, the operator party 1, each with a `tel:` or `sip:` URI where one is known, and the name of whom
//! neither is. Where there is a recording it is the first dialog; then each line is a
//! dialog of its own. A call that nobody answered is one `incomplete` dialog.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use crate::audio::MediaTime;
use crate::sip::address::{Scheme, Uri};
use crate::speech::Leg;
use crate::store::{CallRecord, HeldDraft};
use crate::ticket::dialing::Dialing;
use crate::ticket::{FieldName, handover};
use crate::transcript::{EndReason, Line, Note, Transcript};

/// The syntax that is written.
const SYNTAX: &str = "0.4.0";
const VENDOR: &str = "Xinqiao";
const PRODUCT: &str = concat!("xinqiao ", env!("CARGO_PKG_VERSION"));

/// What is exported of a call.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Who was in it, when, and how it ended.
    pub record: &'a CallRecord,
    /// What was said.
    pub transcript: &'a Transcript,
    /// What was noted beside it.
    pub notes: &'a [Note],
    /// The ticket that came of it.
    pub draft: Option<&'a HeldDraft>,
    /// The recording, if it is to go along.
    pub recording: Option<Recording<'a>>,
    /// Where its numbers are dialled.
    pub dialing: &'a Dialing,
}

/// A recording of both sides.
#[derive(Clone, Copy, Debug)]
pub struct Recording<'a> {
    /// The file's name.
    pub name: &'a str,
    /// The file, WAV.
    pub wav: &'a [u8],
    /// Where it can be fetched, when the vCon names it there instead of holding it.
    pub url: Option<&'a str>,
}

/// A SHA-512 of something that is kept elsewhere, in the form that a vCon names it.
#[must_use]
pub fn content_hash(content: &[u8]) -> String {
    format!("sha512-{}", BASE64URL.encode(Sha512::digest(content)))
}

/// The vCon; `now` is when it is made.
#[must_use]
pub fn export(call: &Call<'_>, now: SystemTime) -> Value {
    let record = call.record;
    let mut vcon = json!({
        "vcon": SYNTAX,
        "uuid": uuid(record.info.call.as_str()),
        "created_at": time(now),
        "subject": subject(call),
        "parties": parties(record, call.dialing),
        "dialog": [],
        "analysis": [],
        "attachments": [],
    });
    let dialogs = dialogs(call);
    let spoken: Vec<usize> = (0..dialogs.len()).collect();
    vcon["dialog"] = dialogs.into();
    let lines: Vec<&Line> = call.transcript.final_lines().collect();
    let (mut analysis, mut attachments) = (Vec::new(), Vec::new());
    if !lines.is_empty() {
        analysis.push(analysed("transcript", &spoken, &transcript(&lines)));
    }
    if let Some(held) = call.draft {
        let mut report = handover::json(&held.submission);
        if let Some(report) = report.as_object_mut() {
            // It stands in the analysis before.
            report.remove("transcript");
        }
        analysis.push(analysed("report", &spoken, &report));
        attachments.push(attached(
            "ticket",
            record.info.started_at,
            &json!({
                "ticket_id": held.ticket,
                "revision": held.submission.key.revision,
                "closed": held.closed,
            }),
        ));
    }
    let zero = record.answered_at.unwrap_or(record.info.started_at);
    attachments.extend(call.notes.iter().map(|note| {
        let at = zero + std::time::Duration::from_micros(note.at.as_micros());
        attached(
            "note",
            at,
            &json!({"by": note.by, "text": note.text.reveal()}),
        )
    }));
    vcon["attachments"] = attachments.into();
    vcon["analysis"] = analysis.into();
    vcon
}

fn time(at: SystemTime) -> String {
    Timestamp::try_from(at).unwrap_or_default().to_string()
}

/// The ticket's title, or what was called.
fn subject(call: &Call<'_>) -> Value {
    let draft = call.draft.map(|held| handover::json(&held.submission));
    let title = draft.map(|draft| draft["fields"][FieldName::Title.wire()]["value"].clone());
    title
        .filter(Value::is_string)
        .unwrap_or_else(|| match call.record.info.called.as_str() {
            "" => "Call".into(),
            called => format!("Call to {called}").into(),
        })
}

fn parties(record: &CallRecord, dialing: &Dialing) -> Value {
    let caller = record.info.caller_number.as_ref();
    let caller = caller.map(|number| number.reveal().as_str());
    json!([
        party("caller", caller.unwrap_or("anonymous"), dialing),
        party("agent", &record.info.operator, dialing),
    ])
}

/// Somebody with the address that is known of him: a SIP URI, a number, or else the name of an account.
fn party(role: &str, address: &str, dialing: &Dialing) -> Value {
    let scheme = Uri::parse(address).map(|uri| uri.scheme);
    let mut party = json!({"role": role});
    match (scheme, dialing.tel_uri(address)) {
        (Some(Scheme::Sip | Scheme::Sips), _) => party["sip"] = address.into(),
        (_, Some(tel)) => party["tel"] = tel.into(),
        _ if address.is_empty() => {}
        _ => party["name"] = address.into(),
    }
    party
}

/// Which party speaks on a leg; both where the two are not told apart.
fn speakers(leg: Leg) -> Value {
    match leg {
        Leg::Caller => json!([0]),
        Leg::Operator => json!([1]),
        Leg::Mono => json!([0, 1]),
    }
}

fn dialogs(call: &Call<'_>) -> Vec<Value> {
    let record = call.record;
    let Some(answered) = record.answered_at else {
        let reason = record.ended.as_ref().map(|(_, reason)| reason);
        return vec![json!({
            "type": "incomplete",
            "start": time(record.info.started_at),
            "parties": [0, 1],
            "disposition": disposition(reason),
        })];
    };
    let seconds = |time: MediaTime| time.as_millis() as f64 / 1_000.0;
    let mut dialogs = Vec::new();
    if let Some(recording) = call.recording {
        let mut dialog = json!({
            "type": "recording",
            "start": time(answered),
            "parties": [0, 1],
            "originator": 0,
            "mediatype": "audio/x-wav",
            "filename": recording.name,
            // Whoever fetches it, or takes it out, can tell that it is this one.
            "content_hash": content_hash(recording.wav),
        });
        if let Some(url) = recording.url {
            dialog["url"] = url.into();
        } else {
            dialog["encoding"] = "base64url".into();
            dialog["body"] = BASE64URL.encode(recording.wav).into();
        }
        if let Some((duration, _)) = &record.ended {
            dialog["duration"] = seconds(*duration).into();
        }
        dialogs.push(dialog);
    }
    dialogs.extend(
        call.transcript
            .final_lines()
            .filter(|line| !line.text.reveal().is_empty())
            .map(|line| {
                let began = std::time::Duration::from_micros(line.start.as_micros());
                json!({
                    "type": "text",
                    "start": time(answered + began),
                    "duration": seconds(line.end) - seconds(line.start),
                    "parties": speakers(line.leg),
                    "mediatype": "text/plain",
                    "encoding": "none",
                    "body": line.text.reveal(),
                })
            }),
    );
    if dialogs.is_empty() {
        // Answered, and nothing was said that could be written down.
        dialogs.push(json!({
            "type": "incomplete",
            "start": time(answered),
            "parties": [0, 1],
            "disposition": "hung-up",
        }));
    }
    dialogs
}

/// Why a call was not answered, in the container's words.
const fn disposition(reason: Option<&EndReason>) -> &'static str {
    match reason {
        Some(EndReason::NoAnswer) => "no-answer",
        Some(EndReason::Rejected {
            status: 486 | 600, ..
        }) => "busy",
        Some(EndReason::Rejected { status: 503, .. }) => "congestion",
        Some(
            EndReason::Cancelled
            | EndReason::HungUp { party: Leg::Caller }
            | EndReason::LostBeforeAnswer {
                party: Leg::Caller, ..
            },
        ) => "hung-up",
        _ => "failed",
    }
}

fn analysed(kind: &str, dialogs: &[usize], body: &Value) -> Value {
    json!({
        "type": kind,
        "dialog": dialogs,
        "vendor": VENDOR,
        "product": PRODUCT,
        "mediatype": "application/json",
        "encoding": "json",
        "body": body,
    })
}

/// Something that the operator's side has added.
fn attached(purpose: &str, start: SystemTime, body: &Value) -> Value {
    json!({
        "purpose": purpose,
        "start": time(start),
        "party": 1,
        "dialog": 0,
        "mediatype": "application/json",
        "encoding": "json",
        "body": body,
    })
}

fn transcript(lines: &[&Line]) -> Value {
    let lines: Vec<Value> = lines.iter().map(|line| handover::line(line)).collect();
    json!({"language": "zh-CN", "lines": lines})
}

/// A UUID of version 8 (RFC 9562) from the call's own 128 random bits, or from a hash of an identifier of another form;
/// the same call has the same one for ever.
fn uuid(call: &str) -> String {
    let random = (call.len() == 32).then(|| u128::from_str_radix(call, 16).ok());
    let mut bits = random.flatten().unwrap_or_else(|| {
        let digest = Sha512::digest(call);
        u128::from_be_bytes(*digest.first_chunk().expect("a digest has 64 bytes"))
    });
    bits = (bits & !(0xf << 76)) | (8 << 76);
    bits = (bits & !(0x3 << 62)) | (2 << 62);
    let hex = format!("{bits:032x}");
    [
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::speech::CallId;
    use crate::ticket::desk::{DraftKey, Submission};
    use crate::ticket::{Drafter, Taxonomy, jsonl};
    use crate::transcript::CallInfo;

    const CALL: &str = "0123456789abcdef0123456789abcdef";

    fn record(answered: bool, reason: EndReason) -> CallRecord {
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000);
        CallRecord {
            info: CallInfo {
                call: CallId::new(CALL),
                caller_number: Some("13800000001".into()),
                called: "12345".into(),
                operator: "sip:op@127.0.0.1:5080".into(),
                started_at,
                origin: crate::transcript::Origin::default(),
            },
            answered_at: answered.then(|| started_at + Duration::from_secs(4)),
            ended: Some((MediaTime::from_millis(61_500), reason)),
            elsewhere: false,
        }
    }

    fn yantai() -> Dialing {
        Dialing::new("0535".to_owned())
    }

    /// A whole call: transcript, draft, recording.
    fn whole() -> Value {
        with_recording_at(None)
    }

    fn with_recording_at(url: Option<&str>) -> Value {
        let dialogue = jsonl::read(
            1,
            r#"{"id":"a","caller_number":"13800000001","started_at":"2026-11-24T09:00:00+08:00","utterances":[
               {"speaker":"operator","text":"您好，请讲。"},
               {"speaker":"caller","text":"我要投诉芝罘区的力健健身房，办的年卡不给退钱。"}]}"#
                .replace('\n', "")
                .as_str(),
        )
        .unwrap();
        let draft = Drafter::new(Taxonomy::embedded()).draft(&dialogue.transcript, &dialogue.facts);
        let held = HeldDraft {
            submission: Submission {
                key: DraftKey {
                    call: CallId::new(CALL),
                    revision: 3,
                },
                draft,
                lines: dialogue.transcript.lines().to_vec(),
            },
            closed: true,
            ticket: Some("T00000001".into()),
        };
        let record = record(true, EndReason::HungUp { party: Leg::Caller });
        let note = Note {
            at: MediaTime::from_millis(2_500),
            by: crate::transcript::Actor::Service {
                service: "crm".into(),
            },
            text: "回访".into(),
        };
        let call = Call {
            record: &record,
            transcript: &dialogue.transcript,
            notes: &[note],
            draft: Some(&held),
            recording: Some(Recording {
                name: "call.wav",
                wav: b"RIFF....WAVE",
                url,
            }),
            dialing: &yantai(),
        };
        export(
            &call,
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_101),
        )
    }

    /// The rules of the draft's section 4, as far as this program's output touches them.
    fn check(vcon: &Value) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let moment = |value: &Value| text(value).parse::<Timestamp>().unwrap();
        assert_eq!(vcon["vcon"], "0.4.0");
        let uuid = text(&vcon["uuid"]);
        assert_eq!((uuid.len(), &uuid[14..15]), (36, "8"), "{uuid}");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
        moment(&vcon["created_at"]);
        let parties = vcon["parties"].as_array().unwrap();
        let dialogs = vcon["dialog"].as_array().unwrap();
        assert!(parties.iter().all(Value::is_object) && !dialogs.is_empty());
        for dialog in dialogs {
            moment(&dialog["start"]);
            for party in dialog["parties"].as_array().unwrap() {
                assert!((party.as_u64().unwrap() as usize) < parties.len());
            }
            match dialog["type"].as_str().unwrap() {
                "recording" if dialog["url"].is_string() => {
                    assert!(dialog["content_hash"].is_string() && dialog["mediatype"].is_string());
                    assert!(dialog.get("body").is_none() && dialog.get("encoding").is_none());
                }
                "recording" | "text" => {
                    assert!(dialog["mediatype"].is_string() && dialog["body"].is_string());
                    assert!(["base64url", "none"].contains(&dialog["encoding"].as_str().unwrap()));
                    assert!(dialog["duration"].as_f64().unwrap() > 0.0);
                }
                "incomplete" => assert!(
                    ["no-answer", "congestion", "failed", "busy", "hung-up"]
                        .contains(&dialog["disposition"].as_str().unwrap())
                        && dialog.get("body").is_none()
                ),
                other => panic!("{other}"),
            }
        }
        for part in vcon["analysis"].as_array().unwrap() {
            assert!(part["type"].is_string() && part["vendor"].is_string());
            assert_eq!(
                (&part["encoding"], part["body"].is_object()),
                (&"json".into(), true)
            );
            for dialog in part["dialog"].as_array().unwrap() {
                assert!((dialog.as_u64().unwrap() as usize) < dialogs.len());
            }
        }
        for attachment in vcon["attachments"].as_array().unwrap() {
            assert!(attachment["purpose"].is_string() && attachment["body"].is_object());
            moment(&attachment["start"]);
        }
    }

    #[test]
    fn a_whole_call_keeps_its_words_its_ticket_and_its_recording() {
        let vcon = whole();
        check(&vcon);
        let dialogs = vcon["dialog"].as_array().unwrap();
        assert_eq!(dialogs.len(), 3);
        assert_eq!(
            BASE64URL
                .decode(dialogs[0]["body"].as_str().unwrap())
                .unwrap(),
            b"RIFF....WAVE"
        );
        assert_eq!(
            (&dialogs[2]["parties"], &dialogs[2]["start"]),
            (&json!([0]), &"2026-09-21T14:13:25Z".into())
        );
        assert_eq!(
            vcon["parties"],
            json!([
                {"role": "caller", "tel": "tel:+8613800000001"},
                {"role": "agent", "sip": "sip:op@127.0.0.1:5080"},
            ])
        );
        assert_eq!(vcon["attachments"][0]["body"]["ticket_id"], "T00000001");
        let note = &vcon["attachments"][1];
        assert_eq!(
            (&note["purpose"], &note["start"]),
            (&"note".into(), &"2026-09-21T14:13:26.5Z".into())
        );
        assert_eq!(
            note["body"],
            json!({"by": {"kind": "service", "service": "crm"}, "text": "回访"})
        );
        let report = &vcon["analysis"][1]["body"];
        assert_eq!(report["fields"]["subject"]["value"], "力健健身房");
        assert!(report["fields"]["subject"]["evidence"][0]["start_ms"].is_u64());
        assert_eq!(vcon, whole(), "the same call is the same vCon");
    }

    #[test]
    fn a_party_has_the_uri_that_is_known_of_it() {
        for (address, wanted) in [
            (
                "6612345",
                json!({"role": "agent", "tel": "tel:+865356612345"}),
            ),
            (
                "+8613800000001",
                json!({"role": "agent", "tel": "tel:+8613800000001"}),
            ),
            (
                "tel:+8613800000001",
                json!({"role": "agent", "tel": "tel:+8613800000001"}),
            ),
            (
                "1007",
                json!({"role": "agent", "tel": "tel:1007;phone-context=+86535"}),
            ),
            (
                "sip:1007@pbx.example",
                json!({"role": "agent", "sip": "sip:1007@pbx.example"}),
            ),
            (
                "sips:op@pbx.example",
                json!({"role": "agent", "sip": "sips:op@pbx.example"}),
            ),
            ("anonymous", json!({"role": "agent", "name": "anonymous"})),
            ("", json!({"role": "agent"})),
        ] {
            assert_eq!(party("agent", address, &yantai()), wanted, "{address}");
        }
    }

    #[test]
    fn a_recording_that_is_kept_elsewhere_is_named_with_its_hash() {
        let url = "https://hotline.example/api/calls/1/recording";
        let vcon = with_recording_at(Some(url));
        check(&vcon);
        let inside = whole();
        assert_eq!(vcon["dialog"][0]["url"], url);
        assert_eq!(
            vcon["dialog"][0]["content_hash"],
            inside["dialog"][0]["content_hash"]
        );
        assert_eq!(
            vcon["dialog"][0]["content_hash"],
            content_hash(b"RIFF....WAVE")
        );
    }

    #[test]
    fn a_call_that_nobody_answered_says_why() {
        let rejected = |status| EndReason::Rejected {
            status,
            detail: String::new(),
        };
        for (reason, disposition) in [
            (EndReason::NoAnswer, "no-answer"),
            (rejected(486), "busy"),
            (rejected(503), "congestion"),
            (rejected(603), "failed"),
            (EndReason::Cancelled, "hung-up"),
            (EndReason::SignallingLost, "failed"),
        ] {
            let record = record(false, reason);
            let call = Call {
                record: &record,
                transcript: &Transcript::default(),
                notes: &[],
                draft: None,
                recording: None,
                dialing: &yantai(),
            };
            let vcon = export(&call, SystemTime::UNIX_EPOCH);
            check(&vcon);
            assert_eq!(vcon["dialog"][0]["disposition"], disposition);
            assert_eq!(vcon["subject"], "Call to 12345");
        }
    }

    /// With another implementation, where it is there: `PyPI`'s `vcon`, in the Python that `PEERS_PYTHON` names.
    #[test]
    fn the_vcon_library_finds_nothing_wrong_with_it() {
        let Ok(python) = std::env::var("PEERS_PYTHON") else {
            println!("skipped: PEERS_PYTHON names no Python with PyPI's vcon");
            return;
        };
        let run = |script: &str, file: &std::path::Path| {
            let arguments = ["-W", "ignore", "-c", script];
            let mut command = Command::new(&python);
            command.args(arguments).arg(file).output().unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        if !run("import vcon", folder.path()).status.success() {
            println!("skipped: {python} has no vcon, which wants Python 3.12 or newer");
            return;
        }
        let file = folder.path().join("call.vcon.json");
        for vcon in [
            whole(),
            with_recording_at(Some("https://hotline.example/1")),
        ] {
            std::fs::write(&file, vcon.to_string()).unwrap();
            let script =
                "import sys; from vcon import Vcon; print(Vcon.validate_file(sys.argv[1]))";
            let output = run(script, &file);
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let faults = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said.lines().last(), Some("(True, [])"), "{faults}");
        }
    }
}
