//! Whether two tickets are about the same matter: the same caller again, or the same subject in the same category, told
//! in similar words.
//!
//! A [`TicketFingerprint`] is what is compared, small enough to be kept for every ticket: who, what kind, whom it concerns, where, and
//! the pairs of characters in what the drafter has made of it. Words of courtesy do not count, because the drafter has
//! left them out.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{FieldName, FieldValue, TicketDraft, dialing};
use crate::speech::CallId;

/// Pairs of characters kept of a text at most; of a longer one an even sample.
const MOST_PAIRS: usize = 256;
/// Below this, texts are not similar: what two tickets of one category have in common by their kind alone.
const SIMILAR: f32 = 0.4;
/// From here on, two names are taken for one that was heard differently.
const SAME_NAME: f32 = 0.6;
/// What a resemblance must reach to be shown.
const SHOWN: f32 = 0.5;
/// How many are shown.
const MOST_SHOWN: usize = 3;

/// Why two tickets resemble each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likeness {
    /// The same contact phone.
    SameCaller,
    /// The same two-level category.
    SameCategory,
    /// The same merchant, company or person is complained of.
    SameSubject,
    /// The same address.
    SameAddress,
    /// Told in similar words.
    SimilarText,
}

/// An earlier ticket that may be about the same matter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resemblance {
    /// The call that it came from.
    pub call: CallId,
    /// The backend's number for it, once it has one.
    pub ticket: Option<String>,
    /// How alike, 0.0 to 1.0.
    pub score: f32,
    /// Why.
    pub because: Vec<Likeness>,
    /// When that call came in, in milliseconds since 1970.
    pub started_unix_ms: i64,
}

/// What is compared of a ticket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TicketFingerprint {
    /// The contact phone's digits.
    pub phone: Option<String>,
    /// Both levels of the category.
    pub category: Option<String>,
    /// Whom it concerns, without punctuation.
    pub subject: Option<String>,
    /// Where, without punctuation.
    pub address: Option<String>,
    /// The pairs of characters, each as a number, rising.
    pub pairs: Vec<u32>,
}

impl TicketFingerprint {
    /// What can be compared of a draft.
    #[must_use]
    pub fn of(draft: &TicketDraft) -> Self {
        let text = |name| match draft.fields.get(&name).map(|field| &field.value) {
            Some(FieldValue::Text(text)) => Some(plain(text.reveal())),
            Some(FieldValue::List(values)) => Some(values.join("/")),
            _ => None,
        };
        let filled = |name| text(name).filter(|text| !text.is_empty());
        let told = [
            FieldName::Summary,
            FieldName::Title,
            FieldName::Demand,
            FieldName::Subject,
            FieldName::Address,
        ];
        let mut pairs = BTreeSet::new();
        for name in told {
            pairs.extend(pairs_of(&filled(name).unwrap_or_default()));
        }
        // The smallest numbers are an even sample: they are hashes.
        let pairs = pairs.into_iter().take(MOST_PAIRS).collect();
        Self {
            // However it is spelled: an operator may have written +86 or 0535-6612345.
            phone: filled(FieldName::ContactPhone)
                .and_then(|number| dialing::national(&number))
                .filter(|digits| digits.len() >= 7),
            category: filled(FieldName::Category),
            subject: filled(FieldName::Subject),
            address: filled(FieldName::Address),
            pairs,
        }
    }

    /// Whether there is anything by which another could resemble it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.phone.is_none() && self.category.is_none() && self.subject.is_none()
    }

    /// How alike two are, and why; `None` when not enough to be shown.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Option<(f32, Vec<Likeness>)> {
        let same = |a: &Option<String>, b: &Option<String>| a.is_some() && a == b;
        let caller = same(&self.phone, &other.phone);
        let category = same(&self.category, &other.category);
        let subject = alike(self.subject.as_deref(), other.subject.as_deref());
        let address = alike(self.address.as_deref(), other.address.as_deref());
        let text = overlap(&self.pairs, &other.pairs);
        let of = |holds: bool, part: f32| if holds { part } else { 0.0 };
        let score = if caller {
            // The caller alone is worth a look; the more agrees, the likelier it is the same matter.
            0.5 + of(category, 0.15) + of(subject, 0.15) + of(address, 0.1) + 0.1 * text
        } else if category && (subject || address) && text >= SIMILAR {
            0.3 + of(subject, 0.2) + of(address, 0.2) + 0.3 * text
        } else {
            0.0
        };
        let because = [
            (caller, Likeness::SameCaller),
            (category, Likeness::SameCategory),
            (subject, Likeness::SameSubject),
            (address, Likeness::SameAddress),
            (text >= SIMILAR, Likeness::SimilarText),
        ];
        let because = because.into_iter().filter(|(holds, _)| *holds);
        (score >= SHOWN).then(|| (score.min(1.0), because.map(|(_, why)| why).collect()))
    }
}

/// The likest of those found, at most three; of equally like ones the latest.
#[must_use]
pub fn likest(mut found: Vec<Resemblance>) -> Vec<Resemblance> {
    found.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(b.started_unix_ms.cmp(&a.started_unix_ms))
    });
    found.truncate(MOST_SHOWN);
    found
}

fn plain(text: &str) -> String {
    text.chars()
        .filter(|letter| letter.is_alphanumeric())
        .collect()
}

/// Each pair of neighbours as a number that looks random (`SplitMix64`'s finaliser), so that the smallest are a sample.
fn pairs_of(text: &str) -> BTreeSet<u32> {
    let letters: Vec<char> = text.chars().collect();
    letters
        .windows(2)
        .map(|pair| {
            let mut mixed = (u64::from(u32::from(pair[0])) << 32) | u64::from(u32::from(pair[1]));
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            (mixed >> 32) as u32
        })
        .collect()
}

/// The cosine of two sets: what they share, by the geometric mean of their sizes.
fn overlap(a: &[u32], b: &[u32]) -> f32 {
    let (mut shared, mut i, mut j) = (0_u32, 0, 0);
    while i < a.len() && j < b.len() {
        match a[i].cmp(&b[j]) {
            std::cmp::Ordering::Less => i += 1,
            std::cmp::Ordering::Greater => j += 1,
            std::cmp::Ordering::Equal => {
                shared += 1;
                i += 1;
                j += 1;
            }
        }
    }
    if shared == 0 {
        return 0.0;
    }
    shared as f32 / ((a.len() * b.len()) as f32).sqrt()
}

/// Whether two names are one: equal, one within the other, or much the same characters.
fn alike(a: Option<&str>, b: Option<&str>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    let long = |name: &str| name.chars().count() >= 3;
    if a == b {
        return true;
    }
    if !long(a) || !long(b) {
        return false;
    }
    let sets = [a, b].map(|name| pairs_of(name).into_iter().collect::<Vec<_>>());
    a.contains(b) || b.contains(a) || overlap(&sets[0], &sets[1]) >= SAME_NAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::{Drafter, Taxonomy, jsonl};

    /// A draft of what a caller says in a few sentences.
    fn gist(caller: &str, lines: &[&str]) -> TicketFingerprint {
        let lines: Vec<_> = lines
            .iter()
            .map(|text| serde_json::json!({"speaker": "caller", "text": text}))
            .collect();
        let call = serde_json::json!({
            "id": "x", "caller_number": caller, "started_at": "2026-11-24T09:00:00+08:00", "utterances": lines,
        });
        let dialogue = jsonl::read(1, &call.to_string()).expect("a dialogue");
        TicketFingerprint::of(
            &Drafter::new(Taxonomy::embedded()).draft(&dialogue.transcript, &dialogue.facts),
        )
    }

    const GYM: [&str; 3] = [
        "你好，我要投诉芝罘区的力健健身房。",
        "我在他们家办了三千块钱的年卡，上个月突然关门了，老板联系不上。",
        "我想让他们把卡里剩下的钱退给我。",
    ];

    #[test]
    fn the_same_caller_again_is_shown_and_more_so_on_the_same_matter() {
        let first = gist("13800000001", &GYM);
        let again = gist(
            "13800000001",
            &["我上次反映过力健健身房的事，办的年卡不给退钱，到现在没有人联系我。"],
        );
        let other = gist(
            "13800000001",
            &["我们小区从昨天开始停水，到现在也没有来水。"],
        );
        let (same_matter, why) = again.compare(&first).expect("shown");
        assert!(why.contains(&Likeness::SameCaller), "{why:?}");
        let (another, why) = other.compare(&first).expect("shown");
        assert_eq!(why, [Likeness::SameCaller]);
        assert!(same_matter > another, "{same_matter} {another}");
    }

    #[test]
    fn another_caller_on_the_same_matter_is_shown_and_one_of_the_same_kind_only_is_not() {
        let first = gist("13800000001", &GYM);
        let neighbour = gist(
            "13900000002",
            &[
                "喂，我投诉芝罘区的力健健身房。",
                "我也是在他们家办的年卡，两千块钱，现在关门了，老板联系不上。",
                "要求把剩下的钱退给我。",
            ],
        );
        let (_, why) = neighbour.compare(&first).expect("shown");
        assert!(
            why.contains(&Likeness::SameSubject) && !why.contains(&Likeness::SameCaller),
            "{why:?}"
        );
        let elsewhere = gist(
            "13900000003",
            &[
                "你好，我要投诉莱山区的美丽人生美容院。",
                "我充了五千块钱的会员卡，他们换了老板不认账了。",
            ],
        );
        assert_eq!(elsewhere.compare(&first), None);
    }

    #[test]
    fn misheard_characters_do_not_hide_a_resemblance_and_nothing_resembles_nothing() {
        let first = gist("", &GYM);
        let mut heard = gist("", &GYM);
        heard.subject = Some("利健健身房".to_owned());
        assert!(first.subject.is_some());
        assert!(heard.compare(&first).is_some());
        assert_eq!(
            TicketFingerprint::default().compare(&TicketFingerprint::default()),
            None
        );
        assert!(TicketFingerprint::default().is_empty());
    }

    #[test]
    fn the_likest_come_first_and_are_few() {
        let found = |score, started_unix_ms| Resemblance {
            call: CallId::new(&format!("{score}-{started_unix_ms}")),
            ticket: None,
            score,
            because: Vec::new(),
            started_unix_ms,
        };
        let shown = likest(vec![
            found(0.5, 1),
            found(0.9, 1),
            found(0.5, 9),
            found(0.6, 2),
        ]);
        let calls: Vec<&str> = shown.iter().map(|shown| shown.call.as_str()).collect();
        assert_eq!(calls, ["0.9-1", "0.6-2", "0.5-9"]);
    }
}
