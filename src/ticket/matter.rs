//! What kind of matter it is: category, request type, departments, confidentiality.

use std::ops::{Index, IndexMut};
use std::sync::LazyLock;

use toml::Spanned;

use super::dialogue::{self, PreparedUtterance, is_stop};
use super::lexicon::{Words, list};
use super::taxonomy::{Category, Taxonomy};
use super::urgency;
use super::{Basis, Evidence, Field, FieldValue, Likely, Reason, RequestType, Urgency};

/// A choice with the words that it rests on.
pub(super) struct Choice {
    /// Index in the taxonomy's list.
    pub index: usize,
    pub confidence: f32,
    pub evidence: Vec<Evidence>,
    /// A phrase that settles it was said, or several that point to it.
    pub clear: bool,
}

/// A kind of request with the words that it rests on.
pub(super) struct Request {
    pub kind: RequestType,
    pub confidence: f32,
    pub evidence: Vec<Evidence>,
}

/// How much was said of each category.
pub(super) struct Weights {
    scores: Vec<f32>,
    places: Vec<Vec<(i32, Reason)>>,
    /// Which categories give way to one of which a strong phrase was said: (which, to which).
    yield_to: Vec<(usize, usize)>,
}

/// The least that must be said before a category is chosen.
const ENOUGH: f32 = 1.5;
/// The weight of a phrase that settles the category.
const STRONG: i32 = 3;
/// What a classifier that is quite sure adds to a category: more than a phrase or two, less than a whole story of them.
const HINT: f32 = 8.0;

impl Weights {
    /// Adds what a classifier makes of the matter to the categories that have been spoken of, or are the only meaning.
    pub fn hint(&mut self, meaning: &[usize], likely: f32, because: &[Evidence]) {
        // A label of several categories says less of each.
        let sure = if meaning.len() == 1 { HINT } else { HINT / 2.0 };
        for index in meaning {
            if self.scores[*index] > 0.0 || meaning.len() == 1 {
                self.scores[*index] += sure * likely;
                self.places[*index].extend(because.iter().map(|place| {
                    let because = Reason {
                        basis: Basis::Classifier,
                        evidence: *place,
                    };
                    (2, because)
                }));
            }
        }
    }
}

impl Weights {
    /// The caller's phrases for a category, with their weights.
    fn phrases(&self, index: usize) -> impl Iterator<Item = (i32, Evidence)> {
        (self.places[index].iter())
            .filter(|(_, because)| because.basis == Basis::Phrase)
            .map(|(weight, because)| (*weight, because.evidence))
    }

    /// Where phrases were said that settle a category.
    fn settled(&self, index: usize) -> impl Iterator<Item = Evidence> {
        (self.phrases(index))
            .filter(|(weight, _)| *weight >= STRONG)
            .map(|(_, place)| place)
    }
}

/// What may be complained of where nobody is named, of every category that a caller spoke of in so many words.
pub(super) fn things_spoken_of<'t>(weights: &Weights, taxonomy: &'t Taxonomy) -> Vec<&'t str> {
    (taxonomy.categories.iter().enumerate())
        .filter(|(index, category)| {
            !category.place_is_subject && weights.settled(*index).next().is_some()
        })
        .flat_map(|(_, category)| category.things.iter().map(String::as_str))
        .collect()
}

/// The department of a second matter that the caller announces as such: 还有一个事, 另外.
fn second_matter(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    weights: &Weights,
    first: usize,
) -> Option<(String, Evidence)> {
    static ANNOUNCES: Words = LazyLock::new(|| list("matter.announces_another"));
    let announced = (talk.iter().filter(|said| said.by_caller())).find_map(|said| {
        let range = said.first(&ANNOUNCES)?;
        Some(said.evidence(&range))
    })?;
    let behind =
        |place: &Evidence| (place.utterance, place.start) >= (announced.utterance, announced.end);
    let lead = |index: usize| taxonomy.categories[index].departments.first();
    let known = |index: usize| {
        let joins = taxonomy.categories[first].departments.iter();
        joins
            .map(Spanned::get_ref)
            .any(|name| Some(name) == lead(index).map(Spanned::get_ref))
    };
    // What gives way to the first matter is no second one.
    let same = |index: usize| {
        let over = |a: usize, b: usize| {
            let gives = &taxonomy.categories[b].name.get_ref()[1];
            taxonomy.categories[a]
                .over
                .iter()
                .any(|over| over.get_ref() == gives)
        };
        index == first || over(first, index) || over(index, first)
    };
    // Of the first matter something was said before the second one began.
    let begun = weights.phrases(first).any(|(_, place)| !behind(&place));
    let candidates =
        (0..weights.scores.len()).filter(|index| begun && !same(*index) && !known(*index));
    let (index, place) = candidates
        .filter_map(|index| Some((index, weights.settled(index).find(behind)?)))
        .max_by(|(a, _), (b, _)| weights.scores[*a].total_cmp(&weights.scores[*b]))?;
    Some((lead(index)?.get_ref().clone(), place))
}

/// How many reasons are given for a department.
const MOST_REASONS: usize = 4;

/// The departments likeliest to lead, each with what speaks for it; `lead` is the one that the draft names.
pub(super) fn likely(
    talk: &[PreparedUtterance],
    weights: &Weights,
    taxonomy: &Taxonomy,
    lead: Option<(&str, &Field)>,
) -> Vec<Likely> {
    let mut shares: Vec<(&str, f32)> = Vec::new();
    let mut add = |name, share: f32| match shares.iter_mut().find(|known| known.0 == name) {
        Some(known) => known.1 += share,
        None => shares.push((name, share)),
    };
    let by_operator = |place: &Evidence| {
        talk.iter()
            .any(|said| said.id == place.utterance && !said.by_caller())
    };
    let because = |name: &str| {
        let announced = lead
            .filter(|(lead, _)| *lead == name)
            .into_iter()
            .flat_map(|(_, field)| &field.evidence)
            .filter(|place| by_operator(place))
            .map(|place| {
                (
                    i32::MAX,
                    Reason {
                        basis: Basis::Operator,
                        evidence: *place,
                    },
                )
            });
        let handles = |category: &Category| {
            let joint = category.joint.iter().map(|joint| &joint.department);
            let mut names = category.departments.iter().chain(joint);
            names.any(|known| known.get_ref() == name)
        };
        let read = (taxonomy.categories.iter().zip(&weights.places))
            .filter(|(category, _)| handles(category))
            .flat_map(|(_, places)| places.iter().copied());
        let mut reasons: Vec<(i32, Reason)> = announced.chain(read).collect();
        reasons.sort_by_key(|(weight, _)| -i64::from(*weight));
        let mut known: Vec<Reason> = Vec::new();
        for (_, reason) in reasons {
            // One of each judgement at least, so that the classifier's part is seen.
            let room = known.len() < MOST_REASONS - 1
                || known.len() < MOST_REASONS
                    && !known.iter().any(|known| known.basis == reason.basis);
            if room && !known.contains(&reason) {
                known.push(reason);
            }
        }
        known
    };
    for (category, score) in taxonomy.categories.iter().zip(&weights.scores) {
        if *score <= 0.0 {
            continue;
        }
        let names = category.departments.iter();
        let joint = category.joint.iter().map(|joint| &joint.department);
        for (place, name) in names.chain(joint).enumerate() {
            // What is said most counts more than in proportion; who joins may lead.
            let part = if place == 0 { 1.0 } else { 0.15 };
            add(name.get_ref().as_str(), score * score * part);
        }
    }
    if shares.is_empty() && lead.is_none() {
        return Vec::new();
    }
    let (first, sure) = lead.map_or(("", 0.0), |(name, field)| (name, field.confidence));
    shares.retain(|(name, _)| *name != first);
    let rest: f32 = shares.iter().map(|(_, share)| share).sum();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(b.0)));
    let others = shares.into_iter().map(|(name, share)| Likely {
        department: name.to_owned(),
        confidence: (1.0 - sure) * share / rest,
        because: because(name),
    });
    lead.map(|(name, field)| Likely {
        department: name.to_owned(),
        confidence: field.confidence,
        because: because(name),
    })
    .into_iter()
    .chain(others)
    .take(3)
    .collect()
}

/// How much is said of each category, with the places.
pub(super) fn weigh(talk: &[PreparedUtterance], taxonomy: &Taxonomy) -> Weights {
    let mut scores = vec![0.0_f32; taxonomy.categories.len()];
    let mut places: Vec<Vec<(i32, Reason)>> = vec![Vec::new(); scores.len()];
    let mut seen: Vec<(usize, String)> = Vec::new();
    let mut callers = 0;
    for said in talk {
        // The matter is usually said at the start; the operator's words are a hint only.
        let share = if said.by_caller() {
            callers += 1;
            if callers <= 2 { 1.5 } else { 0.8 }
        } else {
            0.25
        };
        let mut last = vec![(0, 0); scores.len()];
        for (bytes, (index, weight)) in taxonomy.signs.overlapping(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            let before = said.before(range.start, 3);
            if urgency::no_power_cut(said, &range)
                || ["不是", "差点", "险些"]
                    .iter()
                    .any(|word| before.contains(word))
            {
                continue;
            }
            let whole = *weight;
            // 公交 inside 公交站 is one sign, not two.
            let inner = std::mem::replace(&mut last[*index], (range.end, *weight));
            let weight = if range.start < inner.0 {
                (*weight - inner.1).max(0)
            } else {
                *weight
            };
            last[*index].1 = last[*index].1.max(weight);
            // PreparedUtterance again, a word says little more.
            let word = (*index, said.text[bytes].to_owned());
            let again = if seen.contains(&word) { 0.2 } else { 1.0 };
            seen.push(word);
            // 咨询一下公积金的事: what the call is about, in so many words.
            let topic = if said.by_caller() && names_topic(said, &range) {
                2.0
            } else {
                1.0
            };
            scores[*index] += share * weight as f32 * again * topic;
            if said.by_caller() {
                let because = Reason {
                    basis: Basis::Phrase,
                    evidence: said.evidence(&range),
                };
                places[*index].push((whole, because));
            }
        }
    }
    let yield_to = (taxonomy.categories.iter().enumerate())
        .filter(|(index, _)| places[*index].iter().any(|(weight, _)| *weight >= STRONG))
        .flat_map(|(index, category)| {
            category
                .over
                .iter()
                .map(move |over| (over.get_ref(), index))
        })
        .filter_map(|(over, index)| {
            let gives = |category: &Category| category.name.get_ref()[1] == *over;
            Some((taxonomy.categories.iter().position(gives)?, index))
        })
        .collect();
    Weights {
        scores,
        places,
        yield_to,
    }
}

/// Whether a caller says in so many words that the call is about what stands at `range`.
fn names_topic(said: &PreparedUtterance, range: &std::ops::Range<usize>) -> bool {
    let before = said.slice(said.clause(range.start).start..range.start);
    let opens = [
        "咨询", "反映", "投诉", "举报", "问", "打听", "了解", "说说", "关于",
    ]
    .iter()
    .any(|word| before.contains(word));
    let closes = ["的事", "的问题", "这个事", "这事", "的情况", "问题"]
        .iter()
        .any(|word| said.starts_at(range.end, word));
    opens && closes
}

/// The category of which most is said, and its evidence.
pub(super) fn category(weights: &Weights) -> Option<Choice> {
    let Weights {
        scores,
        places,
        yield_to,
    } = weights;
    let most = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)))?;
    let top = scores[most];
    if top < ENOUGH {
        return None;
    }
    let index = (yield_to.iter().find(|(gives, _)| *gives == most)).map_or(most, |(_, to)| *to);
    let second = scores
        .iter()
        .enumerate()
        .filter(|(other, _)| *other != index && *other != most)
        .map(|(_, score)| *score)
        .fold(0.0, f32::max);
    let mut evidence = places[index].clone();
    evidence.sort_by_key(|(weight, _)| -*weight);
    let mut shown: Vec<Evidence> = Vec::new();
    for (_, because) in evidence {
        // What phrase and classifier both point at is shown once.
        if shown.len() < 4 && !shown.contains(&because.evidence) {
            shown.push(because.evidence);
        }
    }
    Some(Choice {
        index,
        confidence: (0.4 + 0.55 * (top - second) / top).clamp(0.3, 0.95),
        evidence: shown,
        clear: weights
            .phrases(index)
            .map(|(weight, _)| weight)
            .sum::<i32>()
            > 1,
    })
}

/// What is said of those who should have mended it and did not.
static LEFT_UNDONE: Words = LazyLock::new(|| list("matter.left_undone"));

/// Something for each kind of request.
#[derive(Default)]
struct ByKind<T>([T; RequestType::ALL.len()]);

impl<T> Index<RequestType> for ByKind<T> {
    type Output = T;

    fn index(&self, kind: RequestType) -> &T {
        &self.0[kind as usize]
    }
}

impl<T> IndexMut<RequestType> for ByKind<T> {
    fn index_mut(&mut self, kind: RequestType) -> &mut T {
        &mut self.0[kind as usize]
    }
}

/// The kind of request: the caller's own word first, else what such a matter usually is.
pub(super) fn request(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    category: Option<usize>,
    danger: bool,
) -> Request {
    use RequestType::{Complaint, Help, Inquiry, Praise, Suggestion, TipOff};

    let mut scores = ByKind::<f32>::default();
    let mut places = ByKind::<Vec<Evidence>>::default();
    let mut callers = 0;
    for said in talk.iter().filter(|said| said.by_caller()) {
        callers += 1;
        // Thanks and small questions at the end are courtesy.
        let share = match callers {
            1 | 2 => 1.5,
            3 => 1.0,
            _ => 0.5,
        };
        for (bytes, (kind, weight)) in taxonomy.requests.longest(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            let denied = *weight > 3 && dialogue::negated(said, range.start)
                || said.before(range.start, 2) == "不是";
            // What was done before (投诉过, 举报过) or what others did is not what this call is.
            let past = said.starts_at(range.end, "过")
                || said.starts_at(range.end, "了好")
                || said.before(range.start, 4).contains("去年");
            if denied || past {
                continue;
            }
            scores[*kind] += share * *weight as f32;
            places[*kind].push(said.evidence(&range));
        }
    }
    let category = category.map(|index| &taxonomy.categories[index]);
    // Who came and left it undone, or was rung up again and again, is complained of: 看完就没下文了.
    let usual = category.map(|category| {
        let left = category.usual == Help
            && category.place_is_subject
            && !danger
            && talk
                .iter()
                .any(|said| said.by_caller() && said.has(&LEFT_UNDONE));
        if left { Complaint } else { category.usual }
    });
    // Whoever is in danger asks for help, whatever words they use; whoever praises tells how it ended.
    let others = [Help, Complaint, TipOff, Suggestion].map(|kind| scores[kind]);
    let praises = scores[Praise] > others.into_iter().fold(0.0, f32::max);
    scores[Help] += if danger && !praises { 4.0 } else { 0.0 };
    match usual {
        // 我想问问 also opens a complaint.
        Some(usual) if usual != Inquiry => {
            let trouble = scores[Help] + scores[Complaint] + scores[TipOff] > 0.1;
            scores[Inquiry] *= if trouble { 0.5 } else { 1.0 };
            scores[usual] += 4.0;
        }
        // What is usually asked about may also have gone wrong: without any question it is a complaint.
        Some(_) if scores[Inquiry] < 0.1 && !only_asks(talk) => scores[Complaint] += 3.0,
        Some(usual) => scores[usual] += 4.0,
        // What nobody asked about is a complaint, of whatever kind.
        None if scores[Inquiry] < 0.1 => scores[Complaint] += 0.5,
        None => scores[Inquiry] += 1.0,
    }
    let kind = RequestType::ALL
        .into_iter()
        .max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)))
        .unwrap_or(Inquiry);
    let total: f32 = scores.0.iter().sum();
    Request {
        kind,
        confidence: (scores[kind] / total.max(1.0)).clamp(0.3, 0.95),
        evidence: places[kind].iter().take(3).copied().collect(),
    }
}

/// Whether a caller opens with a question and asks on: 结婚登记现在是不是不用户口本了？ … 照片要自己带吗？
fn only_asks(talk: &[PreparedUtterance]) -> bool {
    let asks = |said: &PreparedUtterance| {
        let words = said.text.trim_end_matches(is_stop);
        words.ends_with(['吗', '呢']) || said.text.ends_with('？')
    };
    let mut callers = talk
        .iter()
        .filter(|said| said.by_caller() && said.chars.len() > 4);
    callers.next().is_some_and(asks) && callers.any(asks)
}

/// The departments, the lead first: as the operator announced it, else as the taxonomy says.
pub(super) fn departments(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    category: Option<&Choice>,
    subject: Option<&str>,
    weights: &Weights,
    danger: &(Urgency, Vec<Evidence>),
) -> Option<Field> {
    let mut names: Vec<String> = Vec::new();
    let mut evidence = Vec::new();
    let mut confidence = 0.3_f32;
    if let Some(choice) = category {
        let category = &taxonomy.categories[choice.index];
        names.extend(
            category
                .departments
                .iter()
                .map(|name| name.get_ref().clone()),
        );
        for joint in &category.joint {
            let said = talk
                .iter()
                .filter(|said| said.by_caller())
                .find_map(|said| {
                    let words: Vec<&str> = joint.when.iter().map(String::as_str).collect();
                    Some((said, said.first(&words)?))
                });
            if let Some((said, range)) = said
                && !names.contains(joint.department.get_ref())
            {
                names.push(joint.department.get_ref().clone());
                evidence.push(said.evidence(&range));
            }
        }
        if category.utility
            && let Some(company) = subject.filter(|name| {
                name.contains("供热")
                    || name.contains("热力")
                    || name.contains("公司")
                    || name.contains("燃气")
            })
        {
            names.push(company.to_owned());
        }
        // 好像着火了: whoever is called for a danger joins, whatever else the matter is.
        let in_danger = |place: &Evidence| {
            danger.0 == Urgency::Critical
                && danger.1.iter().any(|alarm| {
                    alarm.utterance == place.utterance
                        && alarm.start < place.end
                        && place.start < alarm.end
                })
        };
        let called = (taxonomy.categories.iter().enumerate()).filter_map(|(index, category)| {
            let place = weights.settled(index).find(in_danger)?;
            Some((category.departments.first()?.get_ref().clone(), place))
        });
        let second = second_matter(talk, taxonomy, weights, choice.index);
        for (name, place) in called.chain(second) {
            if !names.contains(&name) {
                names.push(name);
                evidence.push(place);
            }
        }
        confidence = choice.confidence;
        evidence.splice(0..0, choice.evidence.iter().take(2).copied());
    }
    // 会转给市场监管部门处理: the operator decides where it goes.
    for said in talk.iter().filter(|said| !said.by_caller()) {
        let Some(word) = said.first(&[
            "转给",
            "转到",
            "转交",
            "转至",
            "转派",
            "转办",
            "会转",
            "们转",
            "转由",
            "交办",
            "派单",
            "派给",
            "反馈给",
            "交给",
            "联系",
            "通知",
        ]) else {
            continue;
        };
        let announced: Vec<_> = taxonomy
            .named_departments(&said.text)
            .map(|(bytes, name)| (said.char_at(bytes.start)..said.char_at(bytes.end), name))
            .filter(|(range, _)| range.start > word.start)
            .collect();
        for (place, (range, name)) in announced.into_iter().enumerate() {
            let known = names.iter().position(|known| known == name);
            // 公安 of the 交警支队: the narrower one that is already there stays.
            if known.is_none() && names.iter().any(|known| known.starts_with(name)) {
                continue;
            }
            let text = if let Some(at) = known {
                names.remove(at)
            } else {
                name.to_owned()
            };
            names.insert(place.min(names.len()), text);
            evidence.insert(0, said.evidence(&range));
            confidence = 0.93;
        }
    }
    (!names.is_empty()).then_some(Field {
        value: FieldValue::List(names),
        confidence,
        evidence,
    })
}

/// Whether the caller wants to stay unnamed towards the other side.
pub(super) fn confidential(talk: &[PreparedUtterance]) -> Field {
    static WISH: Words = LazyLock::new(|| list("matter.wish"));
    let mut found: Option<(bool, f32, Vec<Evidence>)> = None;
    for (index, said) in talk.iter().enumerate().filter(|(_, said)| said.by_caller()) {
        let asked = dialogue::question(talk, index)
            .filter(|_| index > 0 && !talk[index - 1].by_caller())
            .is_some_and(|asked| asked.has(&["保密", "匿名", "公开您"]));
        let may_tell = index > 0
            && !talk[index - 1].by_caller()
            && dialogue::question(talk, index)
                .is_some_and(|asked| asked.has(&["可以透露", "能透露"]));
        // 别让人家知道, 不要让老板知道是我.
        let hidden = said.clauses().into_iter().find(|clause| {
            let words = said.slice(clause.clone());
            let told = words
                .split_once("知道")
                .or_else(|| words.split_once("透露"));
            told.is_some_and(|(before, _)| {
                [
                    "别跟",
                    "不要跟",
                    "别向",
                    "不要向",
                    "别和",
                    "别让",
                    "不要让",
                    "不想让",
                    "不能让",
                    "不希望",
                    "别叫",
                    "不要叫",
                ]
                .iter()
                .any(|wish| before.contains(wish))
            })
        });
        // 别跟他说是谁反映的
        let untold = || {
            let clause = said.clauses().into_iter().find(|clause| {
                let words = said.slice(clause.clone());
                let told = words.find('说').map(|at| &words[at..]);
                ["别跟", "不要跟", "别和", "不要和", "别给", "别对"]
                    .iter()
                    .any(|wish| words.contains(wish))
                    && told.is_some_and(|told| told.contains('谁') || told.contains('我'))
            });
            // 别让他说到我头上，行吧？o:可以，给您保密。
            let promised = talk.get(index + 1).filter(|next| !next.by_caller());
            let promised = promised.is_some_and(|next| {
                next.has(&["给您保密", "为您保密", "会保密", "替您保密"])
                    && !next.has(&["吗", "？"])
            });
            let asks = || said.first(&["别", "不要", "不想", "不能", "千万"]);
            clause.or_else(|| promised.then(asks).flatten())
        };
        if let Some(range) = said.first(&WISH).or(hidden).or_else(untold) {
            let word = said.slice(range.clone());
            let refused = matches!(word.as_str(), "保密" | "匿名")
                && dialogue::negated(said, range.start)
                || said.starts_at(range.end, "干什么")
                || said.starts_at(range.end, "什么");
            found = Some((!refused, 0.95, vec![said.evidence(&range)]));
        } else if asked
            && (said.affirms()
                || said.denies()
                || said
                    .chars
                    .first()
                    .is_some_and(|first| "保用".contains(*first))
                || said.has(&["无所谓", "都行", "可以公开", "没关系", "没事"]))
        {
            let open = said.denies() || said.has(&["无所谓", "公开", "没关系", "没事", "都行"]);
            found = Some((!open, 0.9, said.whole().into_iter().collect()));
        } else if may_tell && (said.denies() || said.has(&["不行", "不能"])) {
            // 姓名可以透露给对方吗？那可不行。
            found = Some((true, 0.9, said.whole().into_iter().collect()));
        } else if let Some(range) = said.first(&["可以公开", "不怕他们知道", "实名"]) {
            found = Some((false, 0.9, vec![said.evidence(&range)]));
        }
    }
    let (wish, confidence, evidence) = found.unwrap_or((false, 0.7, Vec::new()));
    Field {
        value: FieldValue::Flag(wish),
        confidence,
        evidence,
    }
}

/// The first clause of the caller that says what it is about, without greetings.
pub(super) fn opening(
    talk: &[PreparedUtterance],
) -> Option<(&PreparedUtterance, std::ops::Range<usize>)> {
    static GREETINGS: Words = LazyLock::new(|| list("matter.greetings"));
    talk.iter()
        .filter(|said| said.by_caller())
        .take(3)
        .find_map(|said| {
            let start = said
                .clauses()
                .into_iter()
                .map(|clause| clause.start)
                .find(|start| {
                    let clause = said.clause(*start);
                    !GREETINGS.contains(&said.slice(clause.clone()).as_str()) && clause.len() > 4
                })?;
            let end = said.chars.iter().rposition(|letter| !is_stop(*letter))? + 1;
            (end - start >= 6).then_some((said, start..end))
        })
}

#[cfg(test)]
mod tests {
    use super::super::RequestType::{Complaint, Help, Inquiry, Praise, TipOff};
    use super::super::taxonomy::Taxonomy;
    use super::super::tests::{flag, list, talk};
    use super::{Urgency, category, confidential, departments, request, weigh};

    #[test]
    fn who_came_and_left_it_undone_is_complained_of() {
        let taxonomy = Taxonomy::embedded();
        let kind = |lines: &str| {
            let talk = talk(lines);
            let category = category(&weigh(&talk, &taxonomy)).map(|choice| choice.index);
            request(&talk, &taxonomy, category, false).kind
        };
        assert_eq!(kind("家里电压太低，空调都带不动。"), Help);
        assert_eq!(
            kind("家里电压太低，空调都带不动。\n供电所来人看了看就没下文了。"),
            Complaint
        );
        // The wages of those who were promised them are still asked for.
        assert_eq!(kind("欠我们工资。\n劳动局去过一次，再没下文了。"), Help);
    }

    #[test]
    fn a_battery_that_is_empty_is_no_power_cut() {
        let taxonomy = Taxonomy::embedded();
        let of = |lines: &str| {
            let chosen = category(&weigh(&talk(lines), &taxonomy));
            chosen.map(|choice| taxonomy.categories[choice.index].name.get_ref()[1].clone())
        };
        assert_ne!(of("用座机打的，我手机没电了。").as_deref(), Some("供电"));
        assert_eq!(of("家里没电了。").as_deref(), Some("供电"));
    }

    #[test]
    fn a_kind_of_request_that_is_denied_is_not_taken() {
        let taxonomy = Taxonomy::embedded();
        let kind = |lines: &str| request(&talk(lines), &taxonomy, None, false).kind;
        assert_eq!(kind("我不是要投诉，我就想咨询一下。"), Inquiry);
        assert_eq!(kind("我要表扬一个公交司机。"), Praise);
        assert_eq!(kind("我投诉过好几回了，今天我要举报他们。"), TipOff);
    }

    #[test]
    fn the_wish_to_stay_unnamed_and_its_refusal_are_told_apart() {
        for (lines, wish) in [
            ("别让他们知道是我说的。", true),
            ("我不说名字，别让人家知道就行。", true),
            ("打这个电话的事，别跟他说是谁反映的，行吧？", true),
            ("别扯到我头上，行吧？\no:可以，给您保密。", true),
            ("你别跟我说这些。", false),
            ("o:您的姓名可以透露给对方吗？\n那可不行。", true),
            ("o:您的姓名可以透露给对方吗？\n可以。", false),
            ("不知道叫什么。", false),
            ("o:需要保密吗？\n不用。", false),
            ("o:需要保密吗？\n需要。", true),
            ("不用保密，我不怕。", false),
            ("我想问问。", false),
        ] {
            assert_eq!(flag(&confidential(&talk(lines))), Some(wish), "{lines}");
        }
    }

    #[test]
    fn the_operators_word_decides_who_handles_it() {
        let taxonomy = Taxonomy::embedded();
        let lines = talk("邻居家半夜放音响，吵得睡不着。\no:好的，我们转公安部门处理。");
        let weights = weigh(&lines, &taxonomy);
        let (choice, calm) = (category(&weights), (Urgency::Normal, Vec::new()));
        let choice = choice.as_ref();
        let found = list(departments(
            &lines, &taxonomy, choice, None, &weights, &calm,
        ));
        assert_eq!(found.first().map(String::as_str), Some("公安局"));
        assert!(found.contains(&"生态环境局".to_owned()));
    }
}
