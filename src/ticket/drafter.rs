//! Puts the draft together: every field from its own rules, then what is still missing.

use std::sync::Arc;

use super::advice::{Advised, Drawn};
use super::classifier::Classifier;
use super::dialing::Dialing;
use super::dialogue::{Dialogue, MENDED, PreparedUtterance};
use super::learned::{ForeignClassifier, Learned};
use super::phone::Forbidden;
use super::phonetics::alike;
use super::taxonomy::Taxonomy;
use super::{CallFacts, Evidence, Field, FieldName, FieldValue, RequestType, TicketDraft, Urgency};
use super::{backing, matter, money, person, phone, place, subject, urgency, when, wording};
use crate::private::Private;
use crate::text::pinyin::readings;
use crate::transcript::Transcript;

/// Below this a value is shown, but still asked for.
const UNSURE: f32 = 0.4;
/// How sure the departments of a category are that the operator wrote.
const FOLLOWS: f32 = 0.9;

/// Turns what was said into a draft ticket, by rules: the same words always give the same draft.
pub struct Drafter {
    taxonomy: Taxonomy,
    /// What advises on the category beside the phrases: what the taxonomy's examples taught, and the site's own classifier.
    learned: Vec<Learned>,
    /// It reads what people typed, in which nothing was misheard.
    written: bool,
}

impl Drafter {
    /// A drafter for the hotline that `taxonomy` describes.
    pub fn new(taxonomy: Taxonomy) -> Self {
        let taught = taxonomy.taught().cloned().map(|classifier| {
            Learned::new(classifier, &taxonomy).expect("every label was found when it was learned")
        });
        Self {
            learned: taught.into_iter().collect(),
            taxonomy,
            written: false,
        }
    }

    /// Takes every word as it stands from now on: the texts were typed.
    #[must_use]
    pub const fn of_written(mut self) -> Self {
        self.written = true;
        self
    }

    /// Has `classifier` advise on the category too.
    ///
    /// # Errors
    /// [`ForeignClassifier`] when none of its labels stands for a category of the taxonomy.
    pub fn advised_by(mut self, classifier: Classifier) -> Result<Self, ForeignClassifier> {
        let learned = Learned::new(Arc::new(classifier), &self.taxonomy)?;
        self.learned.push(learned);
        Ok(self)
    }

    /// What the hotline's tickets are made of.
    pub const fn taxonomy(&self) -> &Taxonomy {
        &self.taxonomy
    }

    /// How numbers are dialled in the hotline's city.
    pub const fn dialing(&self) -> &Dialing {
        &self.taxonomy.dialing
    }

    /// What the network alone says of a call, before a word is spoken.
    pub fn draft_of_number(&self, caller_number: Option<&Private<String>>) -> TicketDraft {
        let number = caller_number.map(|number| number.reveal().as_str());
        let phone = phone::find(&[], number, &self.taxonomy.dialing);
        TicketDraft {
            fields: phone
                .map(|phone| (FieldName::ContactPhone, phone))
                .into_iter()
                .collect(),
            ..TicketDraft::default()
        }
    }

    /// The ticket as far as the final lines fill it.
    pub fn draft(&self, transcript: &Transcript, facts: &CallFacts) -> TicketDraft {
        let advised = Advised::default();
        self.follow(&mut Dialogue::default(), transcript, facts, &advised)
            .draft
    }

    /// The same of a call that goes on: `talk` keeps what has been read of it, `advised` is what was found out beside it and
    /// what its operator wrote, for [`Advised::judge`] to compare with what is said. Cheap enough to be done for every line.
    pub fn follow(
        &self,
        talk: &mut Dialogue,
        transcript: &Transcript,
        facts: &CallFacts,
        advised: &Advised,
    ) -> Drawn {
        let correction = (!self.written).then_some(&self.taxonomy.correction);
        let talk = talk.follow(transcript, correction);
        let (mut draft, weights) = self.filled(talk, transcript, facts);
        let lead = draft
            .fields
            .get(&FieldName::Departments)
            .and_then(|field| match &field.value {
                FieldValue::List(names) => Some((names.first()?.as_str(), field)),
                _ => None,
            });
        if let Some(weights) = weights {
            draft.likely = matter::likely(talk, &weights, &self.taxonomy, lead);
        }
        let instead = advised.amend(&mut draft);
        let TicketDraft { mended, edited, .. } = &mut draft;
        mended.retain(|name| !edited.contains_key(name));
        let number = facts.caller_number.as_ref();
        let forbidden = phone::forbidden(talk, number.map(|number| number.reveal().as_str()));
        self.settle(&mut draft, talk, &forbidden);
        let withheld = (talk.iter())
            .flat_map(|said| forbidden.places(said))
            .collect();
        Drawn {
            draft,
            instead,
            withheld,
        }
    }

    /// The fields that stand by themselves, and how much speaks for each category once the caller has said anything.
    fn filled(
        &self,
        talk: &[PreparedUtterance],
        transcript: &Transcript,
        facts: &CallFacts,
    ) -> (TicketDraft, Option<matter::Weights>) {
        let taxonomy = &self.taxonomy;
        let mut draft = TicketDraft::default();
        let mut put = |name, field: Option<Field>| {
            if let Some(field) = field {
                draft.fields.insert(name, field);
            }
        };
        let anything = talk.iter().any(PreparedUtterance::by_caller);

        let caller_number = facts
            .caller_number
            .as_ref()
            .map(|number| number.reveal().as_str());
        put(
            FieldName::ContactPhone,
            phone::find(talk, caller_number, &taxonomy.dialing),
        );
        if !anything {
            return (draft, None);
        }
        let caller = person::find(talk, &taxonomy.usual_address);
        let text = |field: &Field| field.value.text().map(str::to_owned);
        let caller_text = caller.as_ref().and_then(text);
        put(FieldName::CallerName, caller);

        let mut weights = matter::weigh(talk, taxonomy);
        for learned in &self.learned {
            learned.hint(transcript, &mut weights);
        }
        let choice = matter::category(&weights);
        let index = choice.as_ref().map(|choice| choice.index);
        let category = index.map(|index| &taxonomy.categories[index]);
        let danger = urgency::danger(talk, taxonomy, index);
        let is_danger = danger.0 == Urgency::Critical;
        let request = matter::request(talk, taxonomy, index, is_danger);
        let is_question = request.kind == RequestType::Inquiry;
        put(
            FieldName::Category,
            choice
                .as_ref()
                .zip(category)
                .map(|(choice, category)| Field {
                    value: FieldValue::List(category.name.get_ref().to_vec()),
                    confidence: choice.confidence,
                    evidence: choice.evidence.clone(),
                }),
        );
        put(
            FieldName::RequestType,
            Some(Field {
                value: FieldValue::Text(Private::from(request.kind.word())),
                confidence: request.confidence,
                evidence: request.evidence.clone(),
            }),
        );

        let place = place::find(
            talk,
            taxonomy,
            category.is_some_and(|category| !category.things.is_empty()),
        );
        // A question has no scene; where it is asked about is where the caller wants it.
        let mut place = place;
        if is_question && place.address.is_none() {
            place.address.clone_from(&place.district);
        }
        let address = place.address.as_ref();
        let known = subject::Known {
            category,
            spoken_of: &matter::things_spoken_of(&weights, taxonomy),
            site: place.site.as_ref(),
            address: address.map_or(&[], |address| &address.evidence),
            is_question,
            is_suggestion: request.kind == RequestType::Suggestion,
            caller: caller_text.as_deref(),
        };
        let named = subject::find(talk, known);
        let named_text = named.as_ref().and_then(text);
        put(
            FieldName::Departments,
            matter::departments(
                talk,
                taxonomy,
                choice.as_ref(),
                named_text.as_deref(),
                &weights,
                &danger,
            ),
        );
        put(FieldName::Subject, named);
        put(FieldName::Address, place.address);
        put(FieldName::District, place.district);
        let clear = choice.as_ref().is_some_and(|choice| choice.clear);
        let demand = wording::demand(talk, taxonomy, category, request.kind, is_danger, clear);
        let wants_money = demand
            .as_ref()
            .and_then(|field| field.value.text())
            .is_some_and(|text| text.contains(['退', '赔', '补']));
        let about_money = (category.is_some_and(|category| category.money) || wants_money)
            && !request.kind.tells_of_no_event();
        // What somebody praised did not take, or what it costs, is at nobody's stake.
        let praised = request.kind == RequestType::Praise;
        put(
            FieldName::AmountYuan,
            money::find(talk, about_money).filter(|_| !praised),
        );
        put(FieldName::Demand, demand);
        put(FieldName::EvidenceHeld, backing::held(talk));
        put(FieldName::RaisedBefore, backing::raised(talk));
        put(FieldName::EventTime, when::find(talk, facts.started_at));
        put(
            FieldName::Urgency,
            Some(urgency::urgency(danger, request.kind)),
        );
        put(FieldName::Confidential, Some(matter::confidential(talk)));
        doubt_mended(&mut draft, talk);
        (draft, Some(weights))
    }

    /// What follows from the fields as they now stand, also from those that the operator wrote: who handles a category
    /// that was written, the district of an address that was, title and summary, what is still missing, how long it may take.
    fn settle(&self, draft: &mut TicketDraft, talk: &[PreparedUtterance], forbidden: &Forbidden) {
        let value = |name| draft.fields.get(&name).map(|field| &field.value);
        let text = |name| value(name).and_then(FieldValue::text).unwrap_or_default();
        let levels = value(FieldName::Category).map_or(&[][..], FieldValue::list);
        let category = self.taxonomy.category(levels);
        // Whoever asks, suggests or praises owes no proof of an event.
        let kind = RequestType::of_word(text(FieldName::RequestType));
        let lasting = kind.is_some_and(RequestType::tells_of_no_event);
        let urgency = Urgency::of_word(text(FieldName::Urgency));
        draft.limits = urgency.and_then(|urgency| self.taxonomy.limits(levels, urgency));
        if draft.edited.contains_key(&FieldName::Address)
            && !draft.edited.contains_key(&FieldName::District)
            && let Some(name) = self.taxonomy.district_in(text(FieldName::Address))
        {
            let district = Field {
                value: FieldValue::Text(Private::from(name)),
                confidence: FOLLOWS,
                evidence: Vec::new(),
            };
            draft.fields.insert(FieldName::District, district);
        }
        if let Some(category) = category
            && draft.edited.contains_key(&FieldName::Category)
            && !draft.edited.contains_key(&FieldName::Departments)
        {
            let names = category
                .departments
                .iter()
                .map(|name| name.get_ref().clone());
            let departments = Field {
                value: FieldValue::List(names.collect()),
                confidence: FOLLOWS,
                evidence: Vec::new(),
            };
            draft.fields.insert(FieldName::Departments, departments);
        }
        let composed = [
            (
                FieldName::Title,
                wording::title(&draft.fields, category, talk),
            ),
            (
                FieldName::Summary,
                wording::summary(&draft.fields, category, talk),
            ),
        ];
        for (name, field) in composed {
            if let Some(field) = field.filter(|_| !draft.edited.contains_key(&name)) {
                draft.fields.insert(name, field);
            }
        }
        let edited = &draft.edited;
        draft.fields.retain(|name, field| {
            if let FieldValue::Text(text) = &mut field.value
                && !edited.contains_key(name)
                && let Some(rest) = forbidden.taken_out_of(text.reveal())
            {
                let says = rest.chars().any(char::is_alphanumeric);
                *text = Private::new(rest);
                return says;
            }
            true
        });
        let needs = category.map_or(&FIRST[..], |category| &category.needs);
        let known = |name: &FieldName| {
            let field = draft.fields.get(name);
            field.is_some_and(|field| field.confidence > UNSURE)
        };
        let owed = |name: &FieldName| {
            !lasting
                || matches!(
                    name,
                    FieldName::Demand | FieldName::CallerName | FieldName::ContactPhone
                )
        };
        draft.missing = needs
            .iter()
            .copied()
            .filter(|name| owed(name) && !known(name))
            .collect();
    }
}

/// Says of what is quoted that it rests on words which were put in place of misheard ones, and lowers its confidence.
fn doubt_mended(draft: &mut TicketDraft, talk: &[PreparedUtterance]) {
    for name in [
        FieldName::CallerName,
        FieldName::Address,
        FieldName::District,
        FieldName::Subject,
    ] {
        let Some(field) = draft.fields.get_mut(&name) else {
            continue;
        };
        let said = |evidence: &Evidence| talk.iter().find(|said| said.id == evidence.utterance);
        let mended = (field.evidence.iter())
            .any(|evidence| said(evidence).is_some_and(|said| said.is_mended(evidence)));
        // A name that the subject's own rules put right.
        let respelled = name == FieldName::Subject
            && field.confidence <= MENDED
            && matches!(&field.value, FieldValue::Text(text) if (text.reveal().chars())
                .any(|letter| !readings(letter).is_empty() && !talk.iter().any(|said| said.chars.contains(&letter))));
        // 支浮区 → 芝罘区: a place of the gazetteer was found by its sound.
        let by_sound = matches!(name, FieldName::Address | FieldName::District)
            && matches!(&field.value, FieldValue::Text(text) if {
                let pointed = field.evidence.iter().filter_map(|evidence| Some(said(evidence)?.pointed(evidence)));
                let heard: Vec<char> = pointed.flatten().collect();
                text.reveal().chars().any(|letter| {
                    !heard.contains(&letter) && heard.iter().any(|heard| alike(*heard, letter))
                })
            });
        if mended || respelled || by_sound {
            field.confidence = field.confidence.min(MENDED);
            draft.mended.insert(name);
        }
    }
}

/// What every ticket needs, before the kind of matter is known.
const FIRST: [FieldName; 6] = [
    FieldName::Category,
    FieldName::Subject,
    FieldName::Address,
    FieldName::Demand,
    FieldName::CallerName,
    FieldName::ContactPhone,
];
