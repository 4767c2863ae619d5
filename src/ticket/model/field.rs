//! The contract for a ticket's fields, once for everybody: what a field is called here, on the wire and on the page, what
//! it holds, and who writes it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{RequestType, Urgency};
use crate::private::Private;

/// What there is to know of a field.
#[derive(Debug, Serialize)]
pub struct FieldSpec {
    /// Which.
    pub name: FieldName,
    /// Its name in JSON, TOML, addresses and reports.
    #[serde(skip)]
    pub wire: &'static str,
    /// Its number in the protocol; never used for another.
    pub number: i32,
    /// What people call it.
    pub label: &'static str,
    /// What it is, for whoever connects a system.
    pub about: &'static str,
    /// How it is to be filled in, for a language model; empty where the label says all.
    pub guide: &'static str,
    /// What it holds.
    #[serde(flatten)]
    pub kind: Kind,
    /// Who may write it.
    pub writers: &'static [Writer],
}

/// Who writes into a draft.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// What follows from the words by rules.
    Rules,
    /// A language model that can quote the words.
    LanguageModel,
    /// The operator, by hand.
    Operator,
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// One piece of text, at most [`Kind::LONGEST_TEXT`] characters.
    Text {
        /// What it is like.
        form: Form,
    },
    /// One of some standard words.
    OneOf {
        /// Which.
        words: &'static [&'static str],
    },
    /// Two levels, the broader first.
    Levels,
    /// Several texts, the most important first: at most [`Kind::MOST_ITEMS`] of [`Kind::LONGEST_ITEM`] characters.
    List,
    /// A sum in yuan, from 0 to less than [`Kind::MOST_YUAN`].
    Yuan,
    /// Yes or no.
    Flag,
}

/// What a piece of text is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Composed from what was said.
    Prose,
    /// A name, a place or a time in the words that were said.
    Words,
    /// The same, long enough for more than a line: an address.
    LongWords,
    /// A telephone number's digits.
    Phone,
}

use Writer::{LanguageModel, Operator, Rules};

/// Whom a field is open to that follows from what is said.
const READ: &[Writer] = &[Rules, LanguageModel, Operator];
/// Whom a field is open to that is the hotline's rule, not a matter of reading.
const RULED: &[Writer] = &[Rules, Operator];

const fn text(form: Form) -> Kind {
    Kind::Text { form }
}

const fn one_of(words: &'static [&'static str]) -> Kind {
    Kind::OneOf { words }
}

macro_rules! contract {
    ($(
        #[doc = $about:literal]
        $name:ident = $number:literal, $wire:literal, $label:literal, $guide:literal, $kind:expr, $writers:expr;
    )*) => {
        /// The ticket's fields, in the order in which an operator would ask for them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(into = "&'static str", try_from = "String")]
        pub enum FieldName {
            $(#[doc = $about] $name,)*
        }

        /// The fields in their order.
        pub static FIELDS: [FieldSpec; [$($number),*].len()] = [$(FieldSpec {
            name: FieldName::$name,
            wire: $wire,
            number: $number,
            label: $label,
            about: $about.trim_ascii(),
            guide: $guide,
            kind: $kind,
            writers: $writers,
        },)*];
    };
}

contract! {
    /// One line that says what it is about.
    Title = 1, "title", "标题", "一句话标题，不超过二十五个字", text(Form::Prose), READ;
    /// Two or three sentences for whoever handles it.
    Summary = 2, "summary", "概要", "两三句话的内容概要，供承办单位了解情况", text(Form::Prose), READ;
    /// What kind of request it is.
    RequestType = 3, "request_type", "诉求类型", "", one_of(&RequestType::WORDS), READ;
    /// What matter it is: two levels, the broader first.
    Category = 4, "category", "事项分类", "", Kind::Levels, READ;
    /// Who handles it, the lead department first, then the joint ones.
    Departments = 5, "departments", "承办部门", "", Kind::List, RULED;
    /// Name and form of address, e.g. 王先生.
    CallerName = 6, "caller_name", "来电人", "市民的姓名或称呼，如王先生", text(Form::Words), READ;
    /// Digits only, eleven for a mobile number.
    ContactPhone = 7, "contact_phone", "联系电话", "联系电话，只写数字", text(Form::Phone), READ;
    /// Where it is, as it would be written on an envelope.
    Address = 8, "address", "地址", "事发地址", text(Form::LongWords), READ;
    /// The district within the city.
    District = 9, "district", "所属区县", "", text(Form::Words), READ;
    /// The merchant, company or person complained of.
    Subject = 10, "subject", "被诉对象", "被反映的商家、单位或个人", text(Form::Words), READ;
    /// Money at stake, in yuan.
    AmountYuan = 11, "amount_yuan", "涉及金额", "涉及金额，单位元", Kind::Yuan, READ;
    /// What the caller wants done.
    Demand = 12, "demand", "诉求内容", "市民希望怎么解决", text(Form::Prose), READ;
    /// When it happened.
    EventTime = 13, "event_time", "发生时间", "事情发生的时间，照原话写", text(Form::Words), READ;
    /// How urgent it is.
    Urgency = 14, "urgency", "紧急程度", "", one_of(&Urgency::WORDS), RULED;
    /// Whether the caller wants to stay unnamed towards the subject.
    Confidential = 15, "confidential", "要求保密", "", Kind::Flag, RULED;
    /// What the caller holds that proves it: contract, receipt, photographs.
    EvidenceHeld = 16, "evidence_held", "证据材料", "", Kind::List, RULED;
    /// Whether it was raised before, here or with whoever is complained of.
    RaisedBefore = 17, "raised_before", "曾经反映", "", Kind::Flag, RULED;
}

// A field's place in the table is its place in the enum.
const _: () = {
    let mut at = 0;
    while at < FIELDS.len() {
        assert!(FIELDS[at].name as usize == at);
        at += 1;
    }
};

impl FieldName {
    /// What there is to know of it.
    #[must_use]
    pub fn spec(self) -> &'static FieldSpec {
        &FIELDS[self as usize]
    }

    /// Its name in JSON, TOML, addresses and reports.
    #[must_use]
    pub fn wire(self) -> &'static str {
        self.spec().wire
    }

    /// What people call it.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.spec().label
    }

    /// The field with this wire name.
    #[must_use]
    pub fn of_wire(name: &str) -> Option<Self> {
        let spec = FIELDS.iter().find(|spec| spec.wire == name)?;
        Some(spec.name)
    }

    /// The field with this number in the protocol.
    #[must_use]
    pub fn of_number(number: i32) -> Option<Self> {
        let spec = FIELDS.iter().find(|spec| spec.number == number)?;
        Some(spec.name)
    }

    /// `value` as an operator may write it here.
    ///
    /// # Errors
    /// A sentence that says what the field takes.
    pub fn holds(self, value: FieldValue) -> Result<FieldValue, &'static str> {
        let spec = self.spec();
        if spec.writers.contains(&Writer::Operator) {
            spec.kind.holds(value)
        } else {
            Err("nobody writes the field by hand")
        }
    }
}

impl From<FieldName> for &'static str {
    fn from(name: FieldName) -> Self {
        name.wire()
    }
}

impl TryFrom<String> for FieldName {
    type Error = UnknownField;

    fn try_from(name: String) -> Result<Self, UnknownField> {
        Self::of_wire(&name).ok_or(UnknownField(name))
    }
}

/// A name that is no field's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField(String);

impl fmt::Display for UnknownField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = FIELDS.iter().map(|spec| spec.wire).collect();
        write!(
            f,
            "no ticket has a field {}; use one of {}",
            self.0,
            names.join(" ")
        )
    }
}

impl std::error::Error for UnknownField {}

/// A field's value in the shape that its kind calls for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FieldValue {
    /// Yes or no.
    Flag(bool),
    /// A sum in yuan.
    Number(f64),
    /// One piece of text.
    Text(Private<String>),
    /// Several, the most important first.
    List(Vec<String>),
}

impl FieldValue {
    /// The text, where it is one.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.reveal()),
            _ => None,
        }
    }

    /// The texts of a list; none where it is no list.
    #[must_use]
    pub fn list(&self) -> &[String] {
        match self {
            Self::List(values) => values,
            _ => &[],
        }
    }
}

impl Kind {
    /// Characters in a text.
    pub const LONGEST_TEXT: usize = 2_000;
    /// Texts in a list.
    pub const MOST_ITEMS: usize = 20;
    /// Characters in a list's text.
    pub const LONGEST_ITEM: usize = 100;
    /// Levels of a category.
    pub const LEVELS: usize = 2;
    /// Less than this.
    pub const MOST_YUAN: f64 = 1e12;

    /// How a value of this kind is sent: `text`, `list`, `number` or `flag`.
    #[must_use]
    pub const fn wire(self) -> &'static str {
        match self {
            Self::Text { .. } | Self::OneOf { .. } => "text",
            Self::Levels | Self::List => "list",
            Self::Yuan => "number",
            Self::Flag => "flag",
        }
    }

    /// Whether a value is of the shape that this kind has, whatever it says.
    #[must_use]
    pub const fn has_shape_of(self, value: &FieldValue) -> bool {
        match value {
            FieldValue::Text(_) => matches!(self, Self::Text { .. } | Self::OneOf { .. }),
            FieldValue::List(_) => matches!(self, Self::Levels | Self::List),
            FieldValue::Number(number) => matches!(self, Self::Yuan) && number.is_finite(),
            FieldValue::Flag(_) => matches!(self, Self::Flag),
        }
    }

    /// `value` as a field of this kind may hold it.
    ///
    /// # Errors
    /// A sentence that says what the field takes.
    pub fn holds(self, value: FieldValue) -> Result<FieldValue, &'static str> {
        if !self.has_shape_of(&value) {
            return Err(match self {
                Self::Text { .. } | Self::OneOf { .. } => "the field is a text",
                Self::Levels | Self::List => "the field is a list of texts",
                Self::Yuan => "the field is a number of yuan",
                Self::Flag => "the field is true or false",
            });
        }
        match (self, value) {
            (Self::Levels, FieldValue::List(levels)) if levels.len() != Self::LEVELS => {
                Err("a category has two levels")
            }
            (Self::List, FieldValue::List(names))
                if names.len() > Self::MOST_ITEMS
                    || names.iter().any(|name| {
                        name.trim().is_empty() || name.chars().count() > Self::LONGEST_ITEM
                    }) =>
            {
                Err("the list takes up to 20 names of up to 100 characters")
            }
            (Self::Yuan, FieldValue::Number(sum)) if !(0.0..Self::MOST_YUAN).contains(&sum) => {
                Err("the field is a number of yuan")
            }
            (_, FieldValue::Text(text)) => {
                let text = text.reveal().trim();
                match self {
                    Self::OneOf { words } if !words.contains(&text) => {
                        Err("the field takes one of its standard words")
                    }
                    _ if text.chars().count() > Self::LONGEST_TEXT => {
                        Err("the text is longer than 2000 characters")
                    }
                    _ => Ok(FieldValue::Text(Private::from(text))),
                }
            }
            (_, value) => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn said(text: &str) -> FieldValue {
        FieldValue::Text(text.into())
    }

    fn list(items: &[&str]) -> FieldValue {
        FieldValue::List(items.iter().map(|item| (*item).to_owned()).collect())
    }

    #[test]
    fn names_numbers_and_labels_are_each_one_fields_own() {
        let of = |value: fn(&FieldSpec) -> String| {
            FIELDS.iter().map(value).collect::<HashSet<_>>().len()
        };
        assert_eq!(of(|spec| spec.wire.to_owned()), FIELDS.len());
        assert_eq!(of(|spec| spec.number.to_string()), FIELDS.len());
        assert_eq!(of(|spec| spec.label.to_owned()), FIELDS.len());
        for spec in &FIELDS {
            let json = serde_json::to_string(&spec.name).expect("JSON");
            assert_eq!(json, format!("\"{}\"", spec.wire));
            assert_eq!(
                serde_json::from_str::<FieldName>(&json).ok(),
                Some(spec.name)
            );
            assert_eq!(FieldName::of_number(spec.number), Some(spec.name));
        }
        let error = serde_json::from_str::<FieldName>("\"shoe_size\"").expect_err("refused");
        assert!(
            error
                .to_string()
                .starts_with("no ticket has a field shoe_size; use one of title ")
        );
    }

    #[test]
    fn a_field_holds_what_its_kind_says_and_nothing_beyond_its_bounds() {
        let long = "字".repeat(Kind::LONGEST_TEXT);
        let items = vec!["名".repeat(Kind::LONGEST_ITEM); Kind::MOST_ITEMS];
        for (name, value) in [
            (FieldName::Title, said(&long)),
            (FieldName::Urgency, said("紧急")),
            (FieldName::Category, list(&["住房与物业", "供水"])),
            (FieldName::Departments, FieldValue::List(items.clone())),
            (FieldName::AmountYuan, FieldValue::Number(0.0)),
            (FieldName::Confidential, FieldValue::Flag(true)),
        ] {
            assert_eq!(name.holds(value.clone()), Ok(value), "{name:?}");
        }
        assert_eq!(FieldName::Title.holds(said(" 停水 ")), Ok(said("停水")));
        for (name, value) in [
            (FieldName::Title, said(&format!("{long}字"))),
            (FieldName::Title, FieldValue::Flag(true)),
            (FieldName::Urgency, said("马上")),
            (FieldName::RequestType, said("抱怨")),
            (FieldName::Category, list(&["供水"])),
            (FieldName::Category, said("供水")),
            (
                FieldName::Departments,
                FieldValue::List([items, vec!["一".into()]].concat()),
            ),
            (FieldName::Departments, list(&[" "])),
            (
                FieldName::EvidenceHeld,
                list(&[&"证".repeat(Kind::LONGEST_ITEM + 1)]),
            ),
            (FieldName::AmountYuan, FieldValue::Number(-0.01)),
            (FieldName::AmountYuan, FieldValue::Number(Kind::MOST_YUAN)),
            (FieldName::AmountYuan, FieldValue::Number(f64::NAN)),
            (FieldName::AmountYuan, said("860")),
            (FieldName::RaisedBefore, said("是")),
        ] {
            assert!(name.holds(value).is_err(), "{name:?}");
        }
    }

    #[test]
    fn the_protocol_and_the_documentation_say_the_same_of_each_field() {
        const PROTO: &str = include_str!("../../../proto/xinqiao/ticket/v1/ticket.proto");
        const DOCS: &str = include_str!("../../../docs/ticketing.md");
        for spec in &FIELDS {
            let (label, about, number) = (spec.label, spec.about, spec.number);
            let shape = match spec.kind {
                Kind::OneOf { words } => format!("text, one of {}", words.join(" ")),
                kind => kind.wire().to_owned(),
            };
            let name = format!("FIELD_NAME_{}", spec.wire.to_uppercase());
            let proto = format!("\n  // {shape}: {label}. {about}\n  {name} = {number};\n");
            assert!(PROTO.contains(&proto), "{proto}");
            let row = format!("\n| `{name}` | {shape} | {label} | {about} |\n");
            assert!(DOCS.contains(&row), "{row}");
        }
        // And of no other; the protocol has the unspecified one.
        assert_eq!(PROTO.matches("\n  FIELD_NAME_").count(), FIELDS.len() + 1);
        assert_eq!(DOCS.matches("\n| `FIELD_NAME_").count(), FIELDS.len());
        let bounds = format!(
            "a text at most {} characters, a list at most {} entries of {} characters",
            Kind::LONGEST_TEXT,
            Kind::MOST_ITEMS,
            Kind::LONGEST_ITEM
        );
        assert!(DOCS.contains(&bounds), "{bounds}");
    }
}
