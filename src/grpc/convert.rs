//! Domain types to generated types, and back where the gateway reads.

use super::proto::ticket::v1 as ticket;
use super::proto::transcript::v1 as transcript;
use crate::events::{Event, Payload};
use crate::private::Private;
use crate::speech::finish::{Change, ChangeKind, Mark};
use crate::speech::words::Word;
use crate::speech::{CallId, Leg};
use crate::store::{CallRecord, unix_ms};
use crate::ticket::desk::{DraftKey, Submission};
use crate::ticket::model::{Limits, Span};
use crate::ticket::resemble::{Likeness, Resemblance};
use crate::ticket::{Basis, Evidence, Field, FieldName, FieldValue, Likely, Reason, TicketDraft};
use crate::transcript::{
    Actor, ActorKind, AlarmKind, EndReason, GapReason, LegMedia, Line, LossCause, RecordingMark,
    TranscriptEvent,
};

/// An event as the stream carries it.
#[must_use]
pub fn event(event: &Event) -> transcript::Event {
    let call_id = event.call.as_str().to_owned();
    let body = match &event.payload {
        Payload::Transcript(said) => transcript_body(&call_id, said),
        Payload::Draft { revision, draft } => {
            transcript::event::Body::Draft(transcript::DraftUpdated {
                revision: *revision,
                draft: Some(self::draft(draft, &[])),
            })
        }
    };
    transcript::Event {
        position: event.position,
        call_id,
        operator: event.operator.to_string(),
        body: Some(body),
    }
}

fn transcript_body(call_id: &str, event: &TranscriptEvent) -> transcript::event::Body {
    use transcript::event::Body;
    match event {
        TranscriptEvent::Started(info) => Body::Started(transcript::CallStarted {
            caller_number: revealed(info.caller_number.as_ref()),
            called: info.called.clone(),
            started_unix_ms: unix_ms(info.started_at),
            trunk: info.origin.trunk.clone().unwrap_or_default(),
            diverted_from: revealed(info.origin.diverted_from.as_ref()),
            user_to_user: revealed(info.origin.user_to_user.as_ref()),
        }),
        TranscriptEvent::Answered { at } => Body::Answered(transcript::CallAnswered {
            answered_unix_ms: unix_ms(*at),
        }),
        TranscriptEvent::Line(line) => Body::Utterance(utterance(call_id, line)),
        TranscriptEvent::Gap {
            id,
            leg: speaker,
            start,
            end,
            reason,
        } => Body::Gap(transcript::Gap {
            id: *id,
            leg: leg(*speaker).into(),
            start_ms: start.as_millis(),
            end_ms: end.as_millis(),
            reason: reason.sentence().to_owned(),
            code: gap_code(reason).into(),
        }),
        TranscriptEvent::Alarm { leg: on, alarm } => {
            let kind = match alarm {
                AlarmKind::SpeechWithoutText => transcript::AlarmKind::SpeechWithoutText,
                AlarmKind::NoMedia => transcript::AlarmKind::NoMedia,
                AlarmKind::RecognitionOff => transcript::AlarmKind::RecognitionOff,
                AlarmKind::RecordingGap => transcript::AlarmKind::RecordingGap,
                AlarmKind::RecordingFailed => transcript::AlarmKind::RecordingFailed,
                AlarmKind::UncertainLegs => transcript::AlarmKind::UncertainLegs,
                AlarmKind::TransferFailed => transcript::AlarmKind::TransferFailed,
            };
            Body::Alarm(transcript::Alarm {
                leg: leg(*on).into(),
                kind: kind.into(),
            })
        }
        TranscriptEvent::Recording { at, mark } => {
            let kind = match mark {
                RecordingMark::Announced => transcript::RecordingKind::Announced,
                RecordingMark::Paused => transcript::RecordingKind::Paused,
                RecordingMark::Resumed => transcript::RecordingKind::Resumed,
                RecordingMark::NumberBegins => transcript::RecordingKind::NumberBegins,
                RecordingMark::NumberOver => transcript::RecordingKind::NumberOver,
            };
            Body::Recording(transcript::Recording {
                at_ms: at.as_millis(),
                kind: kind.into(),
            })
        }
        TranscriptEvent::Note(note) => Body::Note(transcript::Note {
            at_ms: note.at.as_millis(),
            by: Some(actor(&note.by)),
            text: note.text.reveal().clone(),
        }),
        TranscriptEvent::Media(media) => Body::Media(leg_media(media)),
        TranscriptEvent::CallFinal { duration, reason } => Body::CallFinal(transcript::CallFinal {
            duration_ms: duration.as_millis(),
            reason: reason.to_string(),
            end: Some(end_reason(reason)),
        }),
    }
}

fn actor(actor: &Actor) -> transcript::Actor {
    transcript::Actor {
        kind: actor_kind(actor.kind()).into(),
        name: actor.name().to_owned(),
        station: actor.station().unwrap_or_default().to_owned(),
    }
}

const fn actor_kind(kind: ActorKind) -> transcript::ActorKind {
    match kind {
        ActorKind::User => transcript::ActorKind::User,
        ActorKind::Trunk => transcript::ActorKind::Trunk,
        ActorKind::Service => transcript::ActorKind::Service,
        ActorKind::System => transcript::ActorKind::System,
    }
}

const fn gap_code(reason: &GapReason) -> transcript::GapReason {
    match reason {
        GapReason::Overload => transcript::GapReason::Overload,
        GapReason::EngineFailed => transcript::GapReason::EngineFailed,
        GapReason::CallOver => transcript::GapReason::CallOver,
        GapReason::Other { .. } => transcript::GapReason::Unspecified,
    }
}

/// Why a gap is one, of what was sent.
#[must_use]
pub fn gap_reason_back(gap: &transcript::Gap) -> GapReason {
    match gap.code() {
        transcript::GapReason::Overload => GapReason::Overload,
        transcript::GapReason::EngineFailed => GapReason::EngineFailed,
        transcript::GapReason::CallOver => GapReason::CallOver,
        transcript::GapReason::Unspecified => GapReason::of_sentence(&gap.reason),
    }
}

fn end_reason(reason: &EndReason) -> transcript::EndReason {
    use transcript::EndCode;
    let of = |code: EndCode| transcript::EndReason {
        code: code.into(),
        ..transcript::EndReason::default()
    };
    let by = |code, party: Leg| transcript::EndReason {
        party: leg(party).into(),
        ..of(code)
    };
    let lost = |code, party: Leg, cause: &LossCause| {
        let mut reason = by(code, party);
        let cause = match cause {
            LossCause::NoAck => transcript::LossCause::NoAck,
            LossCause::NoPrack => transcript::LossCause::NoPrack,
            LossCause::SessionExpired => transcript::LossCause::SessionExpired,
            LossCause::Refused { status } => {
                reason.status = (*status).into();
                transcript::LossCause::Refused
            }
            LossCause::Other { detail } => {
                reason.detail.clone_from(detail);
                transcript::LossCause::Other
            }
        };
        reason.cause = cause.into();
        reason
    };
    match reason {
        EndReason::HungUp { party } => by(EndCode::HungUp, *party),
        EndReason::Cancelled => by(EndCode::Cancelled, Leg::Caller),
        EndReason::Lost { party, cause } => lost(EndCode::Lost, *party, cause),
        EndReason::LostBeforeAnswer { party, cause } => {
            lost(EndCode::LostBeforeAnswer, *party, cause)
        }
        EndReason::NoAnswer => by(EndCode::NoAnswer, Leg::Operator),
        EndReason::Rejected { status, detail } => transcript::EndReason {
            status: (*status).into(),
            detail: detail.clone(),
            ..by(EndCode::Rejected, Leg::Operator)
        },
        EndReason::UnusableOffer { detail } => transcript::EndReason {
            detail: detail.clone(),
            ..by(EndCode::UnusableOffer, Leg::Caller)
        },
        EndReason::UnusableAnswer { party, detail } => transcript::EndReason {
            detail: detail.clone(),
            ..by(EndCode::UnusableAnswer, *party)
        },
        EndReason::TransferFailed { status } => transcript::EndReason {
            status: (*status).into(),
            ..of(EndCode::TransferFailed)
        },
        EndReason::TooLong { seconds } => transcript::EndReason {
            seconds: *seconds,
            ..of(EndCode::TooLong)
        },
        EndReason::NoMedia { party, seconds } => transcript::EndReason {
            seconds: *seconds,
            ..party.map_or_else(|| of(EndCode::NoMedia), |party| by(EndCode::NoMedia, party))
        },
        EndReason::EndedBy { actor } => transcript::EndReason {
            actor: actor_kind(*actor).into(),
            ..of(EndCode::EndedBy)
        },
        EndReason::SignallingLost => of(EndCode::SignallingLost),
        EndReason::ShuttingDown => of(EndCode::ShuttingDown),
        EndReason::Other { detail } => transcript::EndReason {
            detail: detail.clone(),
            ..of(EndCode::Other)
        },
    }
}

fn leg_media(media: &LegMedia) -> transcript::LegMedia {
    transcript::LegMedia {
        leg: leg(media.leg).into(),
        received: media.received,
        lost: media.lost,
        late: media.late,
        jitter_us: media.jitter_us,
        mos: media.mos,
        sent: media.sent,
        reported_lost: media.reported_lost,
        reported_jitter_us: media.reported_jitter_us,
        round_trip_us: media.round_trip_us,
        strays: media.strays,
        forged: media.forged,
    }
}

/// A line of the transcript.
#[must_use]
pub fn utterance(call_id: &str, line: &Line) -> transcript::Utterance {
    transcript::Utterance {
        call_id: call_id.to_owned(),
        leg: leg(line.leg).into(),
        id: line.id,
        revision: line.revision,
        text: line.text.reveal().clone(),
        r#final: line.is_final,
        start_ms: line.start.as_millis(),
        end_ms: line.end.as_millis(),
        confidence: line.confidence,
        committed_chars: line.committed,
        words: line.words.iter().map(word).collect(),
        changes: line.changes.iter().map(change).collect(),
        marks: line.marks.iter().map(mark).collect(),
    }
}

fn word(word: &Word) -> transcript::Word {
    transcript::Word {
        start_char: word.from,
        end_char: word.to,
        start_ms: word.start.as_millis(),
        end_ms: word.end.as_millis(),
        confidence: word.confidence,
    }
}

fn change(change: &Change) -> transcript::Change {
    let kind = match change.kind {
        ChangeKind::Number => transcript::ChangeKind::Number,
        ChangeKind::Hotword => transcript::ChangeKind::Hotword,
    };
    transcript::Change {
        start_char: change.from,
        end_char: change.to,
        said: change.said.reveal().clone(),
        kind: kind.into(),
        list: change.list.clone(),
        undone: change.undone.as_ref().map(|was| was.reveal().clone()),
    }
}

fn mark(mark: &Mark) -> transcript::Mark {
    transcript::Mark {
        start_char: mark.from,
        end_char: mark.to,
        category: mark.category.clone(),
    }
}

const fn leg(leg: Leg) -> transcript::Leg {
    match leg {
        Leg::Caller => transcript::Leg::Caller,
        Leg::Operator => transcript::Leg::Operator,
        Leg::Mono => transcript::Leg::Mono,
    }
}

/// A call as the list shows it. `alive`: whether the gateway is still in it.
#[must_use]
pub fn call(record: &CallRecord, alive: bool) -> transcript::Call {
    let state = match (&record.ended, record.answered_at) {
        (Some(_), _) => transcript::CallState::Ended,
        (None, _) if !alive => transcript::CallState::Interrupted,
        (None, Some(_)) => transcript::CallState::Answered,
        (None, None) => transcript::CallState::Ringing,
    };
    transcript::Call {
        call_id: record.info.call.as_str().to_owned(),
        operator: record.info.operator.clone(),
        caller_number: revealed(record.info.caller_number.as_ref()),
        called: record.info.called.clone(),
        started_unix_ms: unix_ms(record.info.started_at),
        answered_unix_ms: record.answered_at.map(unix_ms),
        state: state.into(),
        duration_ms: record
            .ended
            .as_ref()
            .map(|(duration, _)| duration.as_millis()),
        end_reason: record
            .ended
            .as_ref()
            .map(|(_, reason)| reason.to_string())
            .unwrap_or_default(),
        end: record.ended.as_ref().map(|(_, reason)| end_reason(reason)),
        trunk: record.info.origin.trunk.clone().unwrap_or_default(),
        diverted_from: revealed(record.info.origin.diverted_from.as_ref()),
        user_to_user: revealed(record.info.origin.user_to_user.as_ref()),
    }
}

fn revealed(number: Option<&Private<String>>) -> String {
    number
        .map(|number| number.reveal().clone())
        .unwrap_or_default()
}

/// A submission's key.
#[must_use]
pub fn key(key: &DraftKey) -> ticket::DraftKey {
    ticket::DraftKey {
        call_id: key.call.as_str().to_owned(),
        revision: key.revision,
    }
}

/// A submission's content: its draft with the time of each piece of evidence, and the lines.
#[must_use]
pub fn submission(submission: &Submission) -> ticket::Draft {
    let mut draft = draft(&submission.draft, &submission.lines);
    draft.transcript = submission.lines.iter().map(transcript_line).collect();
    draft
}

/// A draft; `lines` give the evidence its times where they hold the utterance.
#[must_use]
pub fn draft(draft: &TicketDraft, lines: &[Line]) -> ticket::Draft {
    ticket::Draft {
        fields: draft
            .fields
            .iter()
            .map(|(name, value)| {
                let edited = draft.edited.get(name);
                let against = edited.and_then(Option::as_ref);
                ticket::Field {
                    edited: edited.is_some(),
                    mended: draft.mended.contains(name),
                    contradicted_by: against.map(|said| Box::new(field(*name, said, lines))),
                    ..field(*name, value, lines)
                }
            })
            .collect(),
        missing: draft
            .missing
            .iter()
            .map(|name| name.spec().number)
            .collect(),
        transcript: Vec::new(),
        resembles: draft.resembles.iter().map(resemblance).collect(),
        likely_departments: draft
            .likely
            .iter()
            .map(|likely| ticket::LikelyDepartment {
                department: likely.department.clone(),
                confidence: likely.confidence,
                because: likely
                    .because
                    .iter()
                    .map(|why| because(*why, lines))
                    .collect(),
            })
            .collect(),
        limits: draft.limits.map(|limits| ticket::TimeLimits {
            accept: Some(time_limit(limits.accept)),
            reply: Some(time_limit(limits.reply)),
            finish: Some(time_limit(limits.finish)),
        }),
    }
}

fn time_limit(span: Span) -> ticket::TimeLimit {
    use ticket::time_limit::Span as Wire;
    ticket::TimeLimit {
        span: Some(match span {
            Span::Hours(hours) => Wire::Hours(hours.into()),
            Span::WorkingDays(days) => Wire::WorkingDays(days.into()),
        }),
    }
}

fn time_limit_back(limit: Option<&ticket::TimeLimit>) -> Option<Span> {
    use ticket::time_limit::Span as Wire;
    let number = |number: u32| u16::try_from(number).ok();
    match limit?.span.as_ref()? {
        Wire::Hours(hours) => number(*hours).map(Span::Hours),
        Wire::WorkingDays(days) => number(*days).map(Span::WorkingDays),
    }
}

fn resemblance(found: &Resemblance) -> ticket::Resemblance {
    let because = found.because.iter().map(|why| match why {
        Likeness::SameCaller => ticket::Likeness::SameCaller.into(),
        Likeness::SameCategory => ticket::Likeness::SameCategory.into(),
        Likeness::SameSubject => ticket::Likeness::SameSubject.into(),
        Likeness::SameAddress => ticket::Likeness::SameAddress.into(),
        Likeness::SimilarText => ticket::Likeness::SimilarText.into(),
    });
    ticket::Resemblance {
        call_id: found.call.as_str().to_owned(),
        ticket_id: found.ticket.clone().unwrap_or_default(),
        score: found.score,
        because: because.collect(),
        started_unix_ms: found.started_unix_ms,
    }
}

fn field(name: FieldName, field: &Field, lines: &[Line]) -> ticket::Field {
    use ticket::field::Value;
    let value = match &field.value {
        FieldValue::Flag(flag) => Value::Flag(*flag),
        FieldValue::Number(number) => Value::Number(*number),
        FieldValue::Text(text) => Value::Text(text.reveal().clone()),
        FieldValue::List(values) => Value::List(ticket::TextList {
            values: values.clone(),
        }),
    };
    ticket::Field {
        name: name.spec().number,
        value: Some(value),
        confidence: field.confidence,
        evidence: field
            .evidence
            .iter()
            .map(|evidence| self::evidence(*evidence, lines))
            .collect(),
        edited: false,
        contradicted_by: None,
        mended: false,
    }
}

fn because(because: Reason, lines: &[Line]) -> ticket::Because {
    let basis = match because.basis {
        Basis::Phrase => ticket::Basis::Phrase,
        Basis::Classifier => ticket::Basis::Classifier,
        Basis::Operator => ticket::Basis::Operator,
    };
    ticket::Because {
        basis: basis.into(),
        evidence: Some(evidence(because.evidence, lines)),
    }
}

fn evidence(evidence: Evidence, lines: &[Line]) -> ticket::Evidence {
    let line = lines.iter().find(|line| line.id == evidence.utterance);
    let span = line.map(|line| line.time_of(evidence.start, evidence.end));
    ticket::Evidence {
        utterance: evidence.utterance,
        start_char: evidence.start,
        end_char: evidence.end,
        start_ms: span.map(|(start, _)| start.as_millis()),
        end_ms: span.map(|(_, end)| end.as_millis()),
    }
}

fn transcript_line(line: &Line) -> ticket::TranscriptLine {
    let speaker = match line.leg {
        Leg::Caller => ticket::Speaker::Caller,
        Leg::Operator => ticket::Speaker::Operator,
        Leg::Mono => ticket::Speaker::Mono,
    };
    ticket::TranscriptLine {
        utterance: line.id,
        speaker: speaker.into(),
        start_ms: line.start.as_millis(),
        end_ms: line.end.as_millis(),
        text: line.text.reveal().clone(),
        confidence: line.confidence,
    }
}

/// A draft that came over the wire; fields with an unknown name or without a value are left out.
#[must_use]
pub fn draft_back(draft: &ticket::Draft) -> TicketDraft {
    let fields = draft
        .fields
        .iter()
        .filter_map(|field| Some((FieldName::of_number(field.name)?, field_back(field)?)));
    let edited = draft.fields.iter().filter(|field| field.edited);
    let edited = edited.filter_map(|field| {
        let against = field.contradicted_by.as_deref().and_then(field_back);
        Some((FieldName::of_number(field.name)?, against))
    });
    let mended = draft.fields.iter().filter(|field| field.mended);
    TicketDraft {
        fields: fields.collect(),
        mended: mended
            .filter_map(|field| FieldName::of_number(field.name))
            .collect(),
        missing: draft
            .missing
            .iter()
            .filter_map(|name| FieldName::of_number(*name))
            .collect(),
        resembles: draft.resembles.iter().map(resemblance_back).collect(),
        likely: draft
            .likely_departments
            .iter()
            .map(|likely| Likely {
                department: likely.department.clone(),
                confidence: likely.confidence,
                because: likely.because.iter().filter_map(because_back).collect(),
            })
            .collect(),
        edited: edited.collect(),
        limits: draft.limits.as_ref().and_then(|limits| {
            Some(Limits {
                accept: time_limit_back(limits.accept.as_ref())?,
                reply: time_limit_back(limits.reply.as_ref())?,
                finish: time_limit_back(limits.finish.as_ref())?,
            })
        }),
    }
}

/// A field's value; `None` when it carries none.
#[must_use]
pub fn value_back(field: &ticket::Field) -> Option<FieldValue> {
    use ticket::field::Value;
    Some(match field.value.as_ref()? {
        Value::Flag(flag) => FieldValue::Flag(*flag),
        Value::Number(number) => FieldValue::Number(*number),
        Value::Text(text) => FieldValue::Text(Private::new(text.clone())),
        Value::List(list) => FieldValue::List(list.values.clone()),
    })
}

fn evidence_back(evidence: &ticket::Evidence) -> Evidence {
    Evidence {
        utterance: evidence.utterance,
        start: evidence.start_char,
        end: evidence.end_char,
    }
}

fn because_back(because: &ticket::Because) -> Option<Reason> {
    let basis = match because.basis() {
        ticket::Basis::Phrase => Basis::Phrase,
        ticket::Basis::Classifier => Basis::Classifier,
        ticket::Basis::Operator => Basis::Operator,
        ticket::Basis::Unspecified => return None,
    };
    Some(Reason {
        basis,
        evidence: evidence_back(because.evidence.as_ref()?),
    })
}

fn field_back(field: &ticket::Field) -> Option<Field> {
    Some(Field {
        value: value_back(field)?,
        confidence: field.confidence,
        evidence: field.evidence.iter().map(evidence_back).collect(),
    })
}

fn resemblance_back(found: &ticket::Resemblance) -> Resemblance {
    let because = found.because().filter_map(|why| match why {
        ticket::Likeness::Unspecified => None,
        ticket::Likeness::SameCaller => Some(Likeness::SameCaller),
        ticket::Likeness::SameCategory => Some(Likeness::SameCategory),
        ticket::Likeness::SameSubject => Some(Likeness::SameSubject),
        ticket::Likeness::SameAddress => Some(Likeness::SameAddress),
        ticket::Likeness::SimilarText => Some(Likeness::SimilarText),
    });
    Resemblance {
        call: CallId::new(&found.call_id),
        ticket: Some(found.ticket_id.clone()).filter(|ticket| !ticket.is_empty()),
        score: found.score,
        because: because.collect(),
        started_unix_ms: found.started_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::ticket::FieldName as WireName;
    use crate::ticket::model::FIELDS;

    #[test]
    fn the_protocol_has_a_name_for_each_field_and_for_no_other() {
        for spec in &FIELDS {
            let name = WireName::try_from(spec.number).map(|name| name.as_str_name());
            assert_eq!(
                name,
                Ok(&*format!("FIELD_NAME_{}", spec.wire.to_uppercase()))
            );
        }
        let known = (i32::from(i16::MIN)..=i32::from(i16::MAX))
            .filter(|number| WireName::try_from(*number).is_ok());
        assert_eq!(known.count(), FIELDS.len() + 1, "and the unspecified one");
    }
}
