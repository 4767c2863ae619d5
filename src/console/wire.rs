//! What the page is told, as JSON. Names are a contract; times are milliseconds (`…_ms`), on the call's own clock
//! unless they say when on the wall clock (`started_ms`, `answered_ms`, `now_ms`: since 1970).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::control::Refusal;
use crate::events::{Event, Payload};
use crate::private::Private;
use crate::speech::Leg;
use crate::speech::finish::{Change, Mark};
use crate::speech::words::Word;
use crate::store::{Listed, unix_ms};
use crate::telemetry;
use crate::ticket::model::{FIELDS, Limits};
use crate::ticket::resemble::Resemblance;
use crate::ticket::{Evidence, FieldName, FieldValue, Likely, Taxonomy, TicketDraft};
use crate::transcript::{
    Actor, AlarmKind, EndReason, GapReason, LegMedia, RecordingMark, TranscriptEvent,
};

/// A message on the WebSocket.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Message<'a> {
    /// An event of a call.
    Event {
        /// Where to go on after a reconnect.
        position: u64,
        /// The call.
        call: &'a str,
        /// Its operator.
        operator: &'a str,
        /// What happened, with its `kind`.
        #[serde(flatten)]
        body: Body<'a>,
    },
    /// What has no position.
    Notice(Notice),
}

/// What is said about the connection, not about a call.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Notice {
    /// Nothing has happened for a while, and the connection is fine.
    Alive,
    /// What the gateway cannot do for now; nothing, when that is over. Told when it changes.
    Faults {
        /// What, each once.
        faults: Vec<telemetry::Fault>,
    },
    /// This stream ends here.
    Error(Fault),
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body<'a> {
    /// The call has come in.
    Started {
        /// As the network gave it.
        caller_number: Option<&'a str>,
        /// What was called.
        called: &'a str,
        /// Wall time.
        started_ms: i64,
    },
    /// The operator has answered; the call's clock stands at zero.
    Answered {
        /// Wall time.
        answered_ms: i64,
    },
    /// A line has a new version.
    Line {
        /// The utterance's number within the call.
        id: u32,
        /// Who spoke.
        leg: Leg,
        /// A higher one replaces a lower one of the same `id`.
        revision: u32,
        /// The words.
        text: &'a str,
        /// Whether this version will stand.
        r#final: bool,
        /// When the first word was heard.
        start_ms: u64,
        /// When the last word was heard.
        end_ms: u64,
        /// 0.0 to 1.0.
        confidence: f32,
        /// How many characters will not change any more.
        committed: u32,
        /// Each word: first character, behind its last, start and end in milliseconds, confidence.
        words: Vec<(u32, u32, u64, u64, f32)>,
        /// Where the text differs from what was heard.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        changes: &'a [Change],
        /// Where sensitive words stand.
        marks: &'a [Mark],
    },
    /// Speech that was not recognised.
    Gap {
        /// The utterance's number within the call.
        id: u32,
        /// Who spoke.
        leg: Leg,
        /// From when.
        start_ms: u64,
        /// Until when.
        end_ms: u64,
        /// Why.
        reason: &'a GapReason,
    },
    /// Listening is in trouble on a leg.
    Alarm {
        /// Which leg.
        leg: Leg,
        /// What is wrong.
        alarm: AlarmKind,
    },
    /// Something about the recording.
    Recording {
        /// When.
        at_ms: u64,
        /// What.
        mark: RecordingMark,
    },
    /// The draft as it now stands. A stored one has the position of the event before it.
    Draft {
        /// A higher one replaces a lower one.
        revision: u64,
        /// What is known.
        fields: BTreeMap<FieldName, Field<'a>>,
        /// What is still to be asked, in that order.
        missing: &'a [FieldName],
        /// Earlier tickets that may be about the same matter.
        resembles: &'a [Resemblance],
        /// The departments likeliest to lead.
        likely: &'a [Likely],
        /// How long it may take.
        limits: Option<Limits>,
    },
    /// Somebody has noted something.
    Note {
        /// When.
        at_ms: u64,
        /// Who.
        by: &'a Actor,
        /// What.
        text: &'a str,
    },
    /// How a leg's sound travelled.
    Media(LegMedia),
    /// The call is over; nothing follows.
    CallFinal {
        /// After the answer.
        duration_ms: u64,
        /// Why it ended.
        reason: &'a EndReason,
    },
}

/// A field of the draft.
#[derive(Debug, Serialize)]
pub struct Field<'a> {
    /// Its value.
    pub value: Value<'a>,
    /// 0.0 to 1.0.
    pub confidence: f32,
    /// `utterance`, and `start` to `end` in characters (Unicode scalar values) of that line's text.
    pub evidence: &'a [Evidence],
    /// Whether it rests on words that were put in place of others which were probably misheard.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mended: bool,
    /// Whether the operator wrote it.
    pub edited: bool,
    /// What was said later and contradicts what the operator wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub against: Option<Box<Field<'a>>>,
}

impl<'a> Field<'a> {
    fn new(field: &'a crate::ticket::Field) -> Self {
        Self {
            value: match &field.value {
                FieldValue::Flag(flag) => Value::Flag(*flag),
                FieldValue::Number(number) => Value::Number(*number),
                FieldValue::Text(text) => Value::Text(text.reveal()),
                FieldValue::List(values) => Value::List(values),
            },
            confidence: field.confidence,
            evidence: &field.evidence,
            mended: false,
            edited: false,
            against: None,
        }
    }
}

/// A field's value as plain JSON.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// Yes or no.
    Flag(bool),
    /// A sum in yuan.
    Number(f64),
    /// Text.
    Text(&'a str),
    /// Several, the most important first.
    List(&'a [String]),
}

impl<'a> Message<'a> {
    /// An event as the page gets it.
    #[must_use]
    pub fn event(event: &'a Event) -> Self {
        Self::Event {
            position: event.position,
            call: event.call.as_str(),
            operator: &event.operator,
            body: match &event.payload {
                Payload::Transcript(said) => Body::said(said),
                Payload::Draft { revision, draft } => Body::draft(*revision, draft),
            },
        }
    }

    /// The message's JSON.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("string keys and plain values always have a JSON form")
    }
}

impl<'a> Body<'a> {
    /// A whole draft.
    #[must_use]
    pub fn draft(revision: u64, draft: &'a TicketDraft) -> Self {
        let fields = draft.fields.iter().map(|(name, field)| {
            let edited = draft.edited.get(name);
            let against = edited.and_then(Option::as_ref);
            let field = Field {
                mended: draft.mended.contains(name),
                edited: edited.is_some(),
                against: against.map(|said| Box::new(Field::new(said))),
                ..Field::new(field)
            };
            (*name, field)
        });
        Self::Draft {
            revision,
            fields: fields.collect(),
            missing: &draft.missing,
            resembles: &draft.resembles,
            likely: &draft.likely,
            limits: draft.limits,
        }
    }

    fn said(event: &'a TranscriptEvent) -> Self {
        match event {
            TranscriptEvent::Started(info) => Self::Started {
                caller_number: revealed(info.caller_number.as_ref()),
                called: &info.called,
                started_ms: unix_ms(info.started_at),
            },
            TranscriptEvent::Answered { at } => Self::Answered {
                answered_ms: unix_ms(*at),
            },
            TranscriptEvent::Line(line) => Self::Line {
                id: line.id,
                leg: line.leg,
                revision: line.revision,
                text: line.text.reveal(),
                r#final: line.is_final,
                start_ms: line.start.as_millis(),
                end_ms: line.end.as_millis(),
                confidence: line.confidence,
                committed: line.committed,
                words: line.words.iter().map(word).collect(),
                changes: &line.changes,
                marks: &line.marks,
            },
            TranscriptEvent::Gap {
                id,
                leg,
                start,
                end,
                reason,
            } => Self::Gap {
                id: *id,
                leg: *leg,
                start_ms: start.as_millis(),
                end_ms: end.as_millis(),
                reason,
            },
            TranscriptEvent::Alarm { leg, alarm } => Self::Alarm {
                leg: *leg,
                alarm: *alarm,
            },
            TranscriptEvent::Recording { at, mark } => Self::Recording {
                at_ms: at.as_millis(),
                mark: *mark,
            },
            TranscriptEvent::Note(note) => Self::Note {
                at_ms: note.at.as_millis(),
                by: &note.by,
                text: note.text.reveal(),
            },
            TranscriptEvent::Media(media) => Self::Media(*media),
            TranscriptEvent::CallFinal { duration, reason } => Self::CallFinal {
                duration_ms: duration.as_millis(),
                reason,
            },
        }
    }
}

/// `/api/calls`: one page of calls, the most recent first.
#[derive(Debug, Serialize)]
pub struct Calls<'a> {
    /// The server's wall clock, for the page's running timers.
    pub now_ms: i64,
    /// The calls.
    pub calls: Vec<Call<'a>>,
    /// Ask with `before=` this for the next page; `null` when there is none.
    pub next: Option<String>,
}

/// A call in the list.
#[derive(Debug, Serialize)]
pub struct Call<'a> {
    #[serde(rename = "call")]
    id: &'a str,
    operator: &'a str,
    caller_number: Option<&'a str>,
    called: &'a str,
    state: CallState,
    started_ms: i64,
    answered_ms: Option<i64>,
    duration_ms: Option<u64>,
    reason: Option<&'a EndReason>,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// The operator's phone rings.
    Ringing,
    /// They speak.
    Answered,
    /// Over.
    Ended,
    /// The gateway itself stopped in the middle of it.
    Interrupted,
}

impl<'a> Call<'a> {
    /// A call as the list shows it.
    #[must_use]
    pub fn new(listed: &'a Listed) -> Self {
        let record = &listed.record;
        let ended = record.ended.as_ref();
        Self {
            id: record.info.call.as_str(),
            operator: &record.info.operator,
            caller_number: revealed(record.info.caller_number.as_ref()),
            called: &record.info.called,
            state: match (ended, record.answered_at) {
                (Some(_), _) => CallState::Ended,
                (None, _) if !listed.alive => CallState::Interrupted,
                (None, Some(_)) => CallState::Answered,
                (None, None) => CallState::Ringing,
            },
            started_ms: unix_ms(record.info.started_at),
            answered_ms: record.answered_at.map(unix_ms),
            duration_ms: ended.map(|(duration, _)| duration.as_millis()),
            reason: ended.map(|(_, reason)| reason),
        }
    }
}

fn word(word: &Word) -> (u32, u32, u64, u64, f32) {
    let (start, end) = (word.start.as_millis(), word.end.as_millis());
    let confidence = (word.confidence * 100.0).round() / 100.0;
    (word.from, word.to, start, end, confidence)
}

fn revealed(number: Option<&Private<String>>) -> Option<&str> {
    // The operator may see whom they speak with.
    number.map(|number| number.reveal().as_str())
}

/// `/api/choices`: by field, what an operator may choose from that is this hotline's own; standard words stand in the
/// field's kind.
#[derive(Debug, Default, Serialize)]
pub struct Choices(BTreeMap<FieldName, Vec<Choice>>);

/// One thing to choose.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Choice {
    /// A text.
    Text(String),
    /// A category.
    Levels([String; 2]),
}

impl Choices {
    /// What a taxonomy knows.
    #[must_use]
    pub fn of(taxonomy: &Taxonomy) -> Self {
        let categories = taxonomy.category_names().cloned().map(Choice::Levels);
        let departments = taxonomy.departments().map(|(name, _)| name.to_owned());
        let districts = taxonomy.districts().iter().cloned();
        Self(BTreeMap::from([
            (FieldName::Category, categories.collect()),
            (
                FieldName::Departments,
                departments.map(Choice::Text).collect(),
            ),
            (FieldName::District, districts.map(Choice::Text).collect()),
        ]))
    }
}

/// `/contract.js`: the ticket's fields, as a module of the page.
#[must_use]
pub fn contract() -> String {
    let fields = serde_json::to_string(&FIELDS[..]).expect("texts and numbers");
    format!("// The ticket's fields, as the gateway knows them.\nexport const FIELDS = {fields};\n")
}

/// The body of a refused request.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Refused {
    /// Why.
    pub error: Fault,
}

/// What went wrong: a stable code for programs, a sentence for the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Stable.
    pub code: &'static str,
    /// What is wrong and what to do.
    pub message: &'static str,
}

impl Fault {
    /// Neither memory nor disk knows the call.
    pub const UNKNOWN_CALL: Self = Self {
        code: "unknown_call",
        message: "没有找到这通电话，请从列表中重新选择。",
    };
    /// Asked for by a name that is not ours.
    pub const FOREIGN_HOST: Self = Self {
        code: "foreign_host",
        message: "请求所用的主机名不是本系统的，已拒绝；请用本系统的地址打开，或在 console.hosts 中登记该主机名。",
    };
    /// A script of another site asks.
    pub const FOREIGN_ORIGIN: Self = Self {
        code: "foreign_origin",
        message: "请求来自其他网站，已拒绝；请直接打开本系统的页面。",
    };
    /// Nobody is signed in, or not any more.
    pub const SIGN_IN: Self = Self {
        code: "sign_in",
        message: "尚未登录，或登录已失效，请重新登录。",
    };
    /// The password must be replaced or an authenticator enrolled before anything else.
    pub const MUST_FIRST: Self = Self {
        code: "must_first",
        message: "请先更换初始密码或绑定动态口令，然后继续。",
    };
    /// None of the roles allows it.
    pub const MAY_NOT: Self = Self {
        code: "may_not",
        message: "您的角色没有这项权限；如工作需要，请联系管理员。",
    };
    /// Neither or both of the alternatives were given.
    pub const UNCLEAR_WISH: Self = Self {
        code: "unclear_request",
        message: "请用 call 指定一通电话，或用 operator 指定话务员，二者选一。",
    };
    /// `before` is none that was given out.
    pub const BAD_TOKEN: Self = Self {
        code: "bad_page",
        message: "翻页标记无效，请从第一页重新开始。",
    };
    /// No viewer has room any more.
    pub const FULL: Self = Self {
        code: "too_many_viewers",
        message: "同时打开的页面过多，请关闭不用的页面，稍后会自动重试。",
    };
    /// Nothing was recorded of the call, or not any more.
    pub const NO_RECORDING: Self = Self {
        code: "no_recording",
        message: "这通电话没有录音，或录音已超过保存期限。",
    };
    /// The call still runs, or its last second is not on disk yet.
    pub const STILL_RECORDED: Self = Self {
        code: "still_recorded",
        message: "录音尚未结束，请稍后再听。",
    };
    /// The recording was cut or changed, or its key is another.
    pub const DAMAGED: Self = Self {
        code: "damaged_recording",
        message: "录音文件无法打开，请联系管理员查看日志。",
    };
    /// The store cannot be read now.
    pub const UNREADABLE: Self = Self {
        code: "unreadable",
        message: "暂时无法读取通话记录，稍后会自动重试。",
    };
    /// The gateway is going down.
    pub const GOING_DOWN: Self = Self {
        code: "going_down",
        message: "系统正在重新启动，恢复后会自动续上。",
    };

    /// A call has refused what it was asked.
    #[must_use]
    pub const fn by_call(refusal: Refusal) -> Self {
        Self {
            code: refusal.verdict().code,
            message: match refusal {
                Refusal::NotRunning => "通话已结束，草稿已交出，请在工单系统中修改。",
                Refusal::Unfit(_) => "这个内容不符合该字段的要求，请检查后重新填写。",
                Refusal::NoSuchChange => "没有找到这处改正，请刷新页面后重试。",
                Refusal::HeardAnew => "这句话刚刚重新识别过，请按新的内容再操作。",
                Refusal::UnfitNote => "备注不能为空，也不能超过1000字。",
                Refusal::NotAnswered => "话务员尚未接听，请接通后再操作。",
                Refusal::TakesPlaceElsewhere => "这通电话由其他系统承载，请在那里操作。",
                Refusal::NoDestination => "无法识别转接目标，请填写号码或 sip: 地址。",
                Refusal::TransferUnderWay => "正在转接，请等待结果。",
                Refusal::TooManyTransfers => "这通电话的转接次数已达上限。",
                Refusal::Busy => "对这通电话的操作过多，请稍后重试。",
                Refusal::NoAnswer => "操作未能及时完成，没有生效，请重试。",
            },
        }
    }
}
