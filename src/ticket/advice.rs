//! What is found out beside a call and added to the rules' draft: earlier tickets that it resembles, and what a language
//! model read. The rules' draft never waits for it, and what they are sure of stands.

use std::collections::BTreeMap;

use super::resemble::Resemblance;
use super::{Field, FieldName, TicketDraft};

/// From here on, the rules' value stands against a model's.
const SURE: f32 = 0.5;

/// One thing that was found out.
#[derive(Clone, Debug, PartialEq)]
pub enum Advice {
    /// Earlier tickets that may be about the same matter; replaces what was found before.
    Resembles(Vec<Resemblance>),
    /// Fields that a language model read, checked against what was said; replaces what it read before.
    Read(BTreeMap<FieldName, Field>),
}

/// What has been found out so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Advised {
    resembles: Vec<Resemblance>,
    read: BTreeMap<FieldName, Field>,
}

impl Advised {
    /// Takes what was found out.
    pub fn take(&mut self, advice: Advice) {
        match advice {
            Advice::Resembles(found) => self.resembles = found,
            Advice::Read(fields) => self.read = fields,
        }
    }

    /// Whether there is nothing to add.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.resembles.is_empty() && self.read.is_empty()
    }

    /// Adds it to a draft of the rules: fields that they lack or are not sure of, and the resemblances.
    pub fn amend(&self, draft: &mut TicketDraft) {
        draft.resembles.clone_from(&self.resembles);
        for (name, field) in &self.read {
            let stands = draft
                .fields
                .get(name)
                .is_some_and(|own| own.confidence >= SURE);
            if !stands {
                draft.fields.insert(*name, field.clone());
                draft.missing.retain(|missing| missing != name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::FieldValue;

    fn field(text: &str, confidence: f32) -> Field {
        Field {
            value: FieldValue::Text(text.into()),
            confidence,
            evidence: Vec::new(),
        }
    }

    #[test]
    fn a_models_field_fills_a_hole_or_replaces_a_doubt_and_never_what_the_rules_are_sure_of() {
        let mut draft = TicketDraft {
            fields: [
                (FieldName::Subject, field("力健健身房", 0.9)),
                (FieldName::Address, field("路口", 0.3)),
            ]
            .into(),
            missing: vec![FieldName::Address, FieldName::CallerName, FieldName::Demand],
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
        assert_eq!(draft.missing, [FieldName::Demand]);
    }
}
