//! What is found out beside a call and added to the rules' draft: earlier tickets that it resembles, what a language
//! model read, and what the operator wrote. The rules' draft never waits for it, and what they are sure of stands; what
//! the operator wrote stands above all, and is marked when something said later contradicts it.

use std::collections::BTreeMap;

use super::resemble::Resemblance;
use super::{Evidence, Field, FieldName, FieldValue, TicketDraft};
use crate::private::Private;
use crate::transcript::{Line, Transcript};

/// From here on, the rules' value stands against a model's.
const SURE: f32 = 0.5;
/// What stands for a character that is withheld.
const COVER: char = '*';

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Advice {
    /// Earlier tickets that may be about the same matter; replaces what was found before.
    Resembles(Vec<Resemblance>),
    /// Fields that a language model read, checked against what was said; replaces what it read before.
    Read(BTreeMap<FieldName, Field>),
}

/// What the operator wrote, and what the draft said at that time.
#[derive(Clone, Debug, PartialEq)]
struct Edit {
    /// Counts the call's edits from 1.
    number: u64,
    value: FieldValue,
    before: Before,
}

/// What was said of a field when the operator wrote it.
#[derive(Clone, Debug, PartialEq)]
enum Before {
    /// No draft that was begun afterwards has told yet.
    Unknown,
    Said(Option<FieldValue>),
}

/// What has been found out so far. The call owns it; a drafter reads a copy, and what it brings back is a [`Drawn`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advised {
    resembles: Vec<Resemblance>,
    read: BTreeMap<FieldName, Field>,
    edits: BTreeMap<FieldName, Edit>,
    /// How often the operator has written.
    written: u64,
}

/// A draft as it was drawn up: with what the operator had written by then, and what is said instead of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drawn {
    pub(super) draft: TicketDraft,
    pub(super) instead: Instead,
    /// Where a number was said that the caller does not want noted.
    pub(super) withheld: Vec<Evidence>,
}

impl Drawn {
    /// The final lines as they may leave with the draft: what the caller does not want noted is covered, letter by letter,
    /// so that evidence still points at what it did.
    pub fn lines(&self, transcript: &Transcript) -> Vec<Line> {
        let lines = transcript.final_lines().cloned();
        lines.map(|line| covered(line, &self.withheld)).collect()
    }
}

/// `line` with the places of it covered.
fn covered(mut line: Line, places: &[Evidence]) -> Line {
    let of_line = |place: &&Evidence| place.utterance == line.id;
    let places: Vec<Evidence> = places.iter().filter(of_line).copied().collect();
    if places.is_empty() {
        return line;
    }
    let within = |at: u32| {
        places
            .iter()
            .any(|place| (place.start..place.end).contains(&at))
    };
    let letters = (0_u32..).zip(line.text.reveal().chars());
    let text: String = letters
        .map(|(at, letter)| if within(at) { COVER } else { letter })
        .collect();
    line.text = Private::new(text);
    // What was heard there tells the number as well.
    line.changes
        .retain(|change| !(change.from..change.to.max(change.from + 1)).any(within));
    line
}

/// What is said instead of what the operator wrote.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Instead {
    said: BTreeMap<FieldName, Field>,
    /// The newest edit that the drafter knew.
    written: u64,
}

impl Advised {
    /// Takes what was found out.
    pub fn take(&mut self, advice: Advice) {
        match advice {
            Advice::Resembles(found) => self.resembles = found,
            Advice::Read(fields) => self.read = fields,
        }
    }

    /// Takes what the operator wrote into a field; `None` gives the field back to what is said.
    pub fn write(&mut self, name: FieldName, value: Option<FieldValue>) {
        let Some(value) = value else {
            self.edits.remove(&name);
            return;
        };
        self.written += 1;
        let edit = Edit {
            number: self.written,
            value,
            before: Before::Unknown,
        };
        self.edits.insert(name, edit);
    }

    /// Adds it to a draft of the rules: fields that they lack or are not sure of, the resemblances, and the edits. What is
    /// missing afterwards is for the drafter to say.
    pub(super) fn amend(&self, draft: &mut TicketDraft) -> Instead {
        draft.resembles.clone_from(&self.resembles);
        for (name, field) in &self.read {
            let stands = draft
                .fields
                .get(name)
                .is_some_and(|own| own.confidence >= SURE);
            if !stands {
                draft.fields.insert(*name, field.clone());
            }
        }
        let mut instead = Instead {
            said: BTreeMap::new(),
            written: self.written,
        };
        for (name, edit) in &self.edits {
            if let Some(said) = draft.fields.insert(*name, written(&edit.value)) {
                instead.said.insert(*name, said);
            }
            draft.edited.insert(*name, None);
        }
        instead
    }

    /// The draft with what the operator has written by now, each field marked where something said later contradicts it.
    pub fn judge(&mut self, drawn: &Drawn) -> TicketDraft {
        let Drawn { draft, instead, .. } = drawn;
        let mut judged = draft.clone();
        for name in draft.edited.keys() {
            // What has been given back since is as it is said.
            judged.edited.remove(name);
            match instead.said.get(name) {
                Some(said) => judged.fields.insert(*name, said.clone()),
                None => judged.fields.remove(name),
            };
        }
        for (name, edit) in &mut self.edits {
            let said = judged.fields.insert(*name, written(&edit.value));
            if edit.before == Before::Unknown && edit.number <= instead.written {
                edit.before = Before::Said(said.as_ref().map(|said| said.value.clone()));
            }
            let contradicts = said.filter(|said| edit.is_contradicted(*name, said));
            judged.edited.insert(*name, contradicts);
        }
        judged
    }
}

impl Edit {
    fn is_contradicted(&self, name: FieldName, said: &Field) -> bool {
        // A title and a summary are put together anew with every line: that contradicts nothing.
        let composed = matches!(name, FieldName::Title | FieldName::Summary);
        let had_before_their_eyes = match &self.before {
            Before::Unknown => true,
            Before::Said(before) => before.as_ref() == Some(&said.value),
        };
        !composed
            && said.value != self.value
            && !had_before_their_eyes
            && said.confidence >= SURE
            && !said.evidence.is_empty()
    }
}

fn written(value: &FieldValue) -> Field {
    Field {
        value: value.clone(),
        confidence: 1.0,
        evidence: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::Evidence;

    fn field(text: &str, confidence: f32) -> Field {
        Field {
            value: FieldValue::Text(text.into()),
            confidence,
            evidence: Vec::new(),
        }
    }

    fn drawn(advised: &Advised, mut draft: TicketDraft) -> Drawn {
        let instead = advised.amend(&mut draft);
        Drawn {
            draft,
            instead,
            withheld: Vec::new(),
        }
    }

    #[test]
    fn what_the_operator_wrote_stands_and_is_marked_when_a_later_statement_contradicts_it() {
        let said = |text: &str| TicketDraft {
            fields: [(
                FieldName::Address,
                Field {
                    evidence: vec![Evidence {
                        utterance: 1,
                        start: 0,
                        end: 2,
                    }],
                    ..field(text, 0.9)
                },
            )]
            .into(),
            ..TicketDraft::default()
        };
        let mut advised = Advised::default();
        let judged = |advised: &mut Advised, text: &str| {
            let draft = drawn(advised, said(text));
            let draft = advised.judge(&draft);
            let value = draft.fields[&FieldName::Address].value.clone();
            (value, draft.edited.get(&FieldName::Address).cloned())
        };
        let value = |text: &str| FieldValue::Text(text.into());
        advised.write(FieldName::Address, Some(value("南大街1号")));
        // What the operator had before their eyes is no contradiction, nor is what they wrote.
        assert_eq!(
            judged(&mut advised, "南大街"),
            (value("南大街1号"), Some(None))
        );
        assert_eq!(
            judged(&mut advised, "南大街1号"),
            (value("南大街1号"), Some(None))
        );
        let (stands, marked) = judged(&mut advised, "北大街9号");
        assert_eq!(stands, value("南大街1号"));
        let contradicts = marked.flatten().expect("marked");
        assert_eq!(
            (contradicts.value, contradicts.evidence.len()),
            (value("北大街9号"), 1)
        );
        advised.write(FieldName::Address, None);
        assert_eq!(
            judged(&mut advised, "北大街9号"),
            (value("北大街9号"), None)
        );
    }

    #[test]
    fn what_was_written_while_a_draft_was_under_way_stands_in_it_and_is_kept_against_all_that_it_shows()
     {
        let value = |text: &str| FieldValue::Text(text.into());
        let said = Field {
            evidence: vec![Evidence {
                utterance: 1,
                start: 0,
                end: 2,
            }],
            ..field("北大街9号", 0.9)
        };
        let draft = || TicketDraft {
            fields: [(FieldName::Address, said.clone())].into(),
            ..TicketDraft::default()
        };
        let mut advised = Advised::default();
        advised.write(FieldName::Address, Some(value("南大街1号")));
        let first = drawn(&advised, TicketDraft::default());
        advised.judge(&first);
        let under_way = drawn(&advised, draft());
        assert_eq!(
            advised.judge(&under_way).edited[&FieldName::Address],
            Some(said.clone())
        );
        // The operator writes before it is back.
        advised.write(FieldName::Address, Some(value("南大街2号")));
        let shown = advised.judge(&under_way);
        assert_eq!(shown.fields[&FieldName::Address].value, value("南大街2号"));
        assert_eq!(shown.edited[&FieldName::Address], None);
        let next = drawn(&advised, draft());
        assert_eq!(advised.judge(&next).edited[&FieldName::Address], None);
        // And what is given back meanwhile is as it is said.
        advised.write(FieldName::Address, None);
        let shown = advised.judge(&next);
        assert_eq!(shown.fields[&FieldName::Address], said);
        assert!(shown.edited.is_empty());
    }

    #[test]
    fn a_models_field_fills_a_hole_or_replaces_a_doubt_and_never_what_the_rules_are_sure_of() {
        let mut draft = TicketDraft {
            fields: [
                (FieldName::Subject, field("力健健身房", 0.9)),
                (FieldName::Address, field("路口", 0.3)),
            ]
            .into(),
            ..TicketDraft::default()
        };
        let mut advised = Advised::default();
        let read = [
            (FieldName::Subject, field("别家", 0.6)),
            (FieldName::Address, field("南大街12号", 0.6)),
            (FieldName::CallerName, field("王先生", 0.6)),
        ];
        advised.take(Advice::Read(read.into()));
        advised.amend(&mut draft);
        let value = |name| match &draft.fields[&name].value {
            FieldValue::Text(text) => text.reveal().as_str(),
            _ => "",
        };
        assert_eq!(value(FieldName::Subject), "力健健身房");
        assert_eq!(value(FieldName::Address), "南大街12号");
        assert_eq!(value(FieldName::CallerName), "王先生");
    }
}
