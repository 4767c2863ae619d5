//! What is found out beside a call and added to the rules' draft: earlier tickets that it resembles, what a language
//! model read, and what the operator wrote. The rules' draft never waits for it, and what they are sure of stands; what
//! the operator wrote stands above all, and is marked when something said later contradicts it.

use std::collections::BTreeMap;

use super::resemble::Resemblance;
use super::{Field, FieldName, FieldValue, TicketDraft};

/// From here on, the rules' value stands against a model's.
const SURE: f32 = 0.5;

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Advice {
    /// Earlier tickets that may be about the same matter; replaces what was found before.
    Resembles(Vec<Resemblance>),
    /// Fields that a language model read, checked against what was said; replaces what it read before.
    Read(BTreeMap<FieldName, Field>),
    /// What the operator wrote into a field; `None` gives the field back to the rules.
    Edited(FieldName, Option<FieldValue>),
}

/// What the operator wrote, and what the draft said at that time.
#[derive(Clone, Debug, PartialEq)]
struct Edit {
    /// Counts the call's edits.
    number: u64,
    value: FieldValue,
    before: Before,
}

/// What the draft said when the operator wrote.
#[derive(Clone, Debug, PartialEq)]
enum Before {
    /// Not known until the draft is drawn up next.
    Unread,
    /// Known; nothing, or this.
    Was(Option<FieldValue>),
}

/// What has been found out so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advised {
    resembles: Vec<Resemblance>,
    read: BTreeMap<FieldName, Field>,
    edits: BTreeMap<FieldName, Edit>,
    /// How often the operator has written.
    written: u64,
}

impl Advised {
    /// Takes what was found out.
    pub fn take(&mut self, advice: Advice) {
        match advice {
            Advice::Resembles(found) => self.resembles = found,
            Advice::Read(fields) => self.read = fields,
            Advice::Edited(name, Some(value)) => {
                self.written += 1;
                let edit = Edit {
                    number: self.written,
                    value,
                    before: Before::Unread,
                };
                self.edits.insert(name, edit);
            }
            Advice::Edited(name, None) => {
                self.edits.remove(&name);
            }
        }
    }

    /// Takes over from a copy, to which a draft was amended, what that draft said when the operator wrote.
    pub fn recall(&mut self, amended: &Self) {
        for (name, edit) in &mut self.edits {
            if edit.before == Before::Unread
                && let Some(known) = amended
                    .edits
                    .get(name)
                    .filter(|known| known.number == edit.number)
            {
                edit.before.clone_from(&known.before);
            }
        }
    }

    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resembles.is_empty() && self.read.is_empty() && self.edits.is_empty()
    }

    /// Adds it to a draft of the rules: fields that they lack or are not sure of, the resemblances, and the edits. What is
    /// missing afterwards is for the drafter to say.
    pub fn amend(&mut self, draft: &mut TicketDraft) {
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
        for (name, edit) in &mut self.edits {
            let said = draft.fields.remove(name);
            if edit.before == Before::Unread {
                edit.before = Before::Was(said.as_ref().map(|said| said.value.clone()));
            }
            // A title and a summary are put together anew with every line: that contradicts nothing.
            let composed = matches!(name, FieldName::Title | FieldName::Summary);
            let contradicts = said.filter(|said| {
                !composed
                    && said.value != edit.value
                    && edit.before != Before::Was(Some(said.value.clone()))
                    && said.confidence >= SURE
                    && !said.evidence.is_empty()
            });
            draft.edited.insert(*name, contradicts);
            let written = Field {
                value: edit.value.clone(),
                confidence: 1.0,
                evidence: Vec::new(),
            };
            draft.fields.insert(*name, written);
        }
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
        let amended = |advised: &mut Advised, text: &str| {
            let mut draft = said(text);
            advised.amend(&mut draft);
            let value = draft.fields[&FieldName::Address].value.clone();
            (value, draft.edited.get(&FieldName::Address).cloned())
        };
        let value = |text: &str| FieldValue::Text(text.into());
        advised.take(Advice::Edited(FieldName::Address, Some(value("南大街1号"))));
        // What the operator had before their eyes is no contradiction, nor is what they wrote.
        assert_eq!(
            amended(&mut advised, "南大街"),
            (value("南大街1号"), Some(None))
        );
        assert_eq!(
            amended(&mut advised, "南大街1号"),
            (value("南大街1号"), Some(None))
        );
        let (stands, marked) = amended(&mut advised, "北大街9号");
        assert_eq!(stands, value("南大街1号"));
        let contradicts = marked.flatten().expect("marked");
        assert_eq!(
            (contradicts.value, contradicts.evidence.len()),
            (value("北大街9号"), 1)
        );
        advised.take(Advice::Edited(FieldName::Address, None));
        assert_eq!(
            amended(&mut advised, "北大街9号"),
            (value("北大街9号"), None)
        );
    }

    #[test]
    fn what_was_kept_while_a_draft_was_under_way_is_kept_against_all_that_it_shows() {
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
        let write = || {
            Advice::Edited(
                FieldName::Address,
                Some(FieldValue::Text("南大街1号".into())),
            )
        };
        let mut advised = Advised::default();
        advised.take(write());
        let mut copy = advised.clone();
        copy.amend(&mut TicketDraft::default());
        advised.recall(&copy);
        let mut copy = advised.clone();
        let mut shown = draft();
        copy.amend(&mut shown);
        assert_eq!(shown.edited[&FieldName::Address], Some(said.clone()));
        // The operator keeps theirs before the copy comes back.
        advised.take(write());
        advised.recall(&copy);
        let mut shown = draft();
        advised.amend(&mut shown);
        assert_eq!(shown.edited[&FieldName::Address], None);
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
        assert!(advised.is_empty());
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
