//! What kind of matter it is: category, request type, departments, urgency, confidentiality.

use std::sync::LazyLock;

use super::said::{self, Said, Words, is_stop, words};
use super::taxonomy::{Category, REQUESTS, Taxonomy};
use super::{Basis, Because, Evidence, Field, FieldValue, Likely};
use crate::private::Private;

/// A choice with the words that it rests on.
pub(super) struct Choice {
    /// Index in the taxonomy's list.
    pub index: usize,
    pub confidence: f32,
    pub evidence: Vec<Evidence>,
}

/// How much was said of each category.
pub(super) struct Weights {
    scores: Vec<f32>,
    places: Vec<Vec<(i32, Because)>>,
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
                    let because = Because {
                        basis: Basis::Classifier,
                        evidence: *place,
                    };
                    (2, because)
                }));
            }
        }
    }
}

/// How many reasons are given for a department.
const MOST_REASONS: usize = 4;

/// The departments likeliest to lead, each with what speaks for it; `lead` is the one that the draft names.
pub(super) fn likely(
    talk: &[Said],
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
                    Because {
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
        let mut reasons: Vec<(i32, Because)> = announced.chain(read).collect();
        reasons.sort_by_key(|(weight, _)| -i64::from(*weight));
        let mut known: Vec<Because> = Vec::new();
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
pub(super) fn weigh(talk: &[Said], taxonomy: &Taxonomy) -> Weights {
    let mut scores = vec![0.0_f32; taxonomy.categories.len()];
    let mut places: Vec<Vec<(i32, Because)>> = vec![Vec::new(); scores.len()];
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
            if no_power_cut(said, &range)
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
            // Said again, a word says little more.
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
                let because = Because {
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
fn names_topic(said: &Said, range: &std::ops::Range<usize>) -> bool {
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
    })
}

/// What is said of those who should have mended it and did not.
const LEFT_UNDONE: [&str; 10] = [
    "没下文",
    "没了下文",
    "没有下文",
    "没影了",
    "没了音信",
    "打过两次",
    "打过好几次",
    "打过几次",
    "报修了三次",
    "报修好几次",
];

/// 咨询 求助 投诉 举报 建议 表扬: the caller's own word first, else what such a matter usually is.
pub(super) fn request(
    talk: &[Said],
    taxonomy: &Taxonomy,
    category: Option<usize>,
    danger: bool,
) -> Choice {
    let mut scores = [0.0_f32; REQUESTS.len()];
    let mut places: Vec<Vec<Evidence>> = vec![Vec::new(); REQUESTS.len()];
    let mut callers = 0;
    for said in talk.iter().filter(|said| said.by_caller()) {
        callers += 1;
        // Thanks and small questions at the end are courtesy.
        let share = match callers {
            1 | 2 => 1.5,
            3 => 1.0,
            _ => 0.5,
        };
        for (bytes, (index, weight)) in taxonomy.requests.longest(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            let denied = *weight > 3 && said::negated(said, range.start)
                || said.before(range.start, 2) == "不是";
            // What was done before (投诉过, 举报过) or what others did is not what this call is.
            let past = said.starts_at(range.end, "过")
                || said.starts_at(range.end, "了好")
                || said.before(range.start, 4).contains("去年");
            if denied || past {
                continue;
            }
            scores[*index] += share * *weight as f32;
            places[*index].push(said.evidence(&range));
        }
    }
    let usual = category.and_then(|index| {
        REQUESTS
            .iter()
            .position(|kind| *kind == taxonomy.categories[index].usual.get_ref())
    });
    // Who came and left it undone, or was rung up again and again, is complained of: 看完就没下文了.
    let usual = usual.map(|usual| {
        let help = REQUESTS[usual] == "求助"
            && category.is_some_and(|index| taxonomy.categories[index].place_is_subject);
        let left = help
            && !danger
            && talk
                .iter()
                .any(|said| said.by_caller() && said.has(&LEFT_UNDONE));
        if left { 2 } else { usual }
    });
    // Whoever is in danger asks for help, whatever words they use; whoever praises tells how it ended.
    let praises = scores[5] > scores[1..5].iter().fold(0.0, |most, score| score.max(most));
    scores[1] += if danger && !praises { 4.0 } else { 0.0 };
    match usual {
        // 我想问问 also opens a complaint.
        Some(usual) if usual != 0 => {
            let trouble = scores[1] + scores[2] + scores[3] > 0.1;
            scores[0] *= if trouble { 0.5 } else { 1.0 };
            scores[usual] += 4.0;
        }
        // What is usually asked about may also have gone wrong: without any question it is a complaint.
        Some(_) if scores[0] < 0.1 && !only_asks(talk) => scores[2] += 3.0,
        Some(usual) => scores[usual] += 4.0,
        // What nobody asked about is a complaint, of whatever kind.
        None if scores[0] < 0.1 => scores[2] += 0.5,
        None => scores[0] += 1.0,
    }
    let index = (0..scores.len())
        .max_by(|a, b| scores[*a].total_cmp(&scores[*b]).then(b.cmp(a)))
        .unwrap_or(0);
    let total: f32 = scores.iter().sum();
    Choice {
        index,
        confidence: (scores[index] / total.max(1.0)).clamp(0.3, 0.95),
        evidence: places[index].iter().take(3).copied().collect(),
    }
}

/// Whether a caller opens with a question and asks on: 结婚登记现在是不是不用户口本了？ … 照片要自己带吗？
fn only_asks(talk: &[Said]) -> bool {
    let asks = |said: &Said| {
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
    talk: &[Said],
    taxonomy: &Taxonomy,
    category: Option<&Choice>,
    subject: Option<&str>,
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

/// Whether a word of danger is only feared, denied, or over.
fn feared(said: &Said, at: usize, end: usize) -> bool {
    static FEARED: Words = LazyLock::new(|| {
        words(
            "怕 担心 万一 容易 可能 会不会 以免 避免 防止 如果 要是 没有 不会 不是 别 差点 险些 幸亏 \
         去年 前年 以前 一旦",
        )
    });
    let clause = said.clause(at);
    let before = said.slice(at.saturating_sub(7).max(clause.start)..at);
    // 没人被困, but not 没电困在里面.
    let near = said.slice(at.saturating_sub(3).max(clause.start)..at);
    let lacking = near.contains('没')
        && !["没电", "没水", "没气"]
            .iter()
            .any(|word| near.contains(word));
    // 上次我被困在里面, 煤气漏过一回: a story, unless it goes on (从上次停水到现在) or has begun again.
    let whole = said.slice(clause.start..at);
    // 前天隔壁冒烟: that fire is out. Who was beaten then, or smells gas since, is in danger still.
    let fire = said.slice(at..end).contains(['火', '烟']);
    let burnt = fire
        && [
            "前天",
            "前几天",
            "上周",
            "上礼拜",
            "上个礼拜",
            "上星期",
            "上个月",
            "前阵子",
        ]
        .iter()
        .any(|word| whole.contains(word));
    let once = [
        "上次",
        "上回",
        "那次",
        "那回",
        "有一次",
        "有一回",
        "曾经",
        "当年",
        "之前",
        "头几年",
    ]
    .iter()
    .any(|word| whole.contains(word))
        || burnt
        || said.starts_at(end, "过");
    let lasts = ["从", "又", "还", "一直", "现在", "这次", "这回"]
        .iter()
        .any(|word| whole.contains(word))
        || said.slice(end..clause.end).contains("到现在");
    // 被困的人已经救出来了: it was so, and is over.
    let after = said.slice(end..said.chars.len());
    let over = ["已经", "都", "刚才", "后来", "现在"]
        .iter()
        .any(|when| after.contains(when))
        && [
            "救出来",
            "放出来",
            "自己出来",
            "扑灭",
            "灭了",
            "没事了",
            "醒过来",
            "找到了",
            "来电了",
            "来水了",
            "修好了",
        ]
        .iter()
        .any(|end| after.contains(end))
        && !after.contains('没');
    over || lacking
        || once && !lasts
        || FEARED.iter().any(|word| before.contains(word))
        || said.starts_at(end, "怎么办")
        || said.starts_at(end, "隐患")
        || said.starts_at(end, "的隐患")
        || said.starts_at(end, "风险")
}

/// Whether the word at `range` only sounds like a power cut: 没有电梯, 没电话, 我手机没电了.
fn no_power_cut(said: &Said, range: &std::ops::Range<usize>) -> bool {
    let thing = said
        .chars
        .get(range.end)
        .is_some_and(|next| "梯话脑视瓶池".contains(*next));
    let battery = said.before(range.start, 3).ends_with("手机");
    said.before(range.end, 1) == "电" && (thing || battery)
}

/// Where an operator sends an ambulance or the fire brigade at once. To pass a complaint on to the fire department
/// (已经通知消防部门核实) is not that.
fn dispatched(said: &Said) -> Option<std::ops::Range<usize>> {
    said.clauses().into_iter().find(|clause| {
        let words = said.slice(clause.clone());
        let has = |any: &[&str]| any.iter().any(|word| words.contains(word));
        let help = [
            "接110",
            "动110",
            "120",
            "119",
            "一二零",
            "幺二零",
            "一一九",
            "幺幺九",
            "救护车",
            "急救",
            "消防",
        ];
        has(&help)
            && has(&["联系", "通知", "叫", "派", "接110", "联动"])
            && has(&["马上", "立即", "立刻", "已经", "这就", "现在"])
            && !has(&["部门", "支队", "核实", "处理", "反映"])
    })
}

/// How urgent the words of danger (and, failing them, of the category) say it is: 0 to 2, and where.
pub(super) fn danger(
    talk: &[Said],
    taxonomy: &Taxonomy,
    category: Option<usize>,
) -> (u8, Vec<Evidence>) {
    let mut level = 0;
    let mut evidence = Vec::new();
    for (index, said) in talk.iter().enumerate() {
        let confirmed = !said.by_caller()
            && said::reply(talk, index)
                .is_some_and(|answer| answer.affirms() && answer.text.chars().count() < 12);
        // 我马上联系120: who sends for help at once has understood how urgent it is.
        if !said.by_caller()
            && level < 2
            && let Some(range) = dispatched(said)
        {
            level = 2;
            evidence = vec![said.evidence(&range)];
        }
        if !said.by_caller() && !confirmed {
            continue;
        }
        for (bytes, rank) in taxonomy.alarms.longest(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            // 老是停电 is a nuisance, 停电了 is a need; whoever is always beaten is in danger.
            let often = *rank == 1
                && [
                    "老是",
                    "总是",
                    "经常",
                    "动不动",
                    "三天两头",
                    "频繁",
                    "隔三差五",
                ]
                .iter()
                .any(|word| said.before(range.start, 5).contains(word));
            if often
                || no_power_cut(said, &range)
                || feared(said, range.start, range.end)
                || *rank < level
            {
                continue;
            }
            if *rank > level {
                level = *rank;
                evidence.clear();
            }
            evidence.push(said.evidence(&range));
        }
    }
    if level == 0
        && let Some(category) = category.map(|index| &taxonomy.categories[index])
    {
        let words: Vec<&str> = category.urgent_when.iter().map(String::as_str).collect();
        for said in talk.iter().filter(|said| said.by_caller()) {
            if let Some(range) = said.first(&words) {
                level = 1;
                evidence.push(said.evidence(&range));
            }
        }
    }
    (level, evidence)
}

/// 一般 紧急 特急, from what [`danger`] found.
pub(super) fn urgency((mut level, mut evidence): (u8, Vec<Evidence>), request: usize) -> Field {
    // Praise, a suggestion or a question tells of danger that is over or not yet there.
    let calm =
        matches!(REQUESTS[request], "表扬" | "建议") || REQUESTS[request] == "咨询" && level < 2;
    if calm {
        level = 0;
        evidence.clear();
    }
    evidence.truncate(4);
    Field {
        value: FieldValue::Text(Private::from(["一般", "紧急", "特急"][usize::from(level)])),
        confidence: if level == 0 { 0.75 } else { 0.85 },
        evidence,
    }
}

/// Whether the caller wants to stay unnamed towards the other side.
pub(super) fn confidential(talk: &[Said]) -> Field {
    static WISH: Words = LazyLock::new(|| {
        words(
            "保密 匿名 不要透露 别透露 不想透露 不能透露 别告诉 不要告诉 别说是我 不要说是我 \
         别让他们知道 不想让他们知道 不要让他们知道 别让他知道 不想让他知道 不要让他知道 别泄露 \
         不要泄露 不希望他们知道 不公开 不要公开 别公开 别把我 不要把我 怕报复 怕打击报复",
        )
    });
    let mut found: Option<(bool, f32, Vec<Evidence>)> = None;
    for (index, said) in talk.iter().enumerate().filter(|(_, said)| said.by_caller()) {
        let asked = said::question(talk, index)
            .filter(|_| index > 0 && !talk[index - 1].by_caller())
            .is_some_and(|asked| asked.has(&["保密", "匿名", "公开您"]));
        let may_tell = index > 0
            && !talk[index - 1].by_caller()
            && said::question(talk, index).is_some_and(|asked| asked.has(&["可以透露", "能透露"]));
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
                && said::negated(said, range.start)
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
pub(super) fn opening(talk: &[Said]) -> Option<(&Said, std::ops::Range<usize>)> {
    static GREETINGS: Words = LazyLock::new(|| {
        words("你好 您好 喂 哎 那个 同志 是12345吗 请问 我想问一下 是这样的 是这样 麻烦 嗯 好")
    });
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
    use super::super::taxonomy::{REQUESTS, Taxonomy};
    use super::super::tests::{flag, list, talk, text};
    use super::{category, confidential, danger, departments, request, urgency, weigh};

    fn level(lines: &str) -> Option<String> {
        text(Some(urgency(
            danger(&talk(lines), &Taxonomy::embedded(), None),
            2,
        )))
    }

    #[test]
    fn danger_counts_when_it_is_there_and_not_when_it_is_feared_or_denied() {
        assert_eq!(
            level("家里闻着有燃气味，头都晕了。").as_deref(),
            Some("特急")
        );
        assert_eq!(level("电线都露着，我怕哪天着火。").as_deref(), Some("一般"));
        for calm in [
            "没有人受伤，就是车刮了。",
            "电梯停了，里面没有人被困。",
            "没人困在里面，就是门打不开。",
            "不会爆炸吧，我就是担心。",
            "刚才被困的人已经救出来了。",
            "上次我被困在电梯里半个钟头，这次又坏了。",
            "上回我家煤气漏过，我想问怎么检修。",
            "我们家之前着过火，我想咨询保险的事。",
        ] {
            assert_eq!(level(calm).as_deref(), Some("一般"), "{calm}");
        }
        for grave in [
            "有人被困在里面。",
            "我男朋友掐脖子，往死里打我。",
            "他说想不开，站在楼顶上。",
            "屋里都是煤气味，没人管。",
            "被困的人还没救出来。",
            "电梯没电困在里面了。",
            "上次着火刚修好，现在又着火了。",
            "屋里有股煤气的味，呛得慌。",
            "我真是活不下去了。",
            "他站在桥上要往下跳。",
            "电梯里有人，门打不开。",
            "我老公又拿刀了，快来人。",
        ] {
            assert_eq!(level(grave).as_deref(), Some("特急"), "{grave}");
        }
        assert_eq!(
            level("井盖没了，一个老太太摔伤了。").as_deref(),
            Some("紧急")
        );
    }

    #[test]
    fn help_that_is_sent_at_once_and_what_happens_often_tell_the_urgency() {
        for (lines, expected) in [
            (
                "老太太在里头哼哼。\no:我马上联系120和民警过去，您别挂。",
                "特急",
            ),
            ("o:已经通知消防了，请您下楼。", "特急"),
            ("o:请您以后留意消防的通知。", "一般"),
            ("我们村老是停电。", "一般"),
            ("我们村停电了。", "紧急"),
            ("老楼没有电梯，我下不去。", "一般"),
            ("o:我们已经通知消防部门核实。", "一般"),
            ("前天隔壁楼厨房冒烟，消防车进不来。", "一般"),
            ("上个月搬来的，现在屋里有煤气味。", "特急"),
            ("前天起就有煤气味。", "特急"),
            ("上个礼拜他打我了。", "特急"),
            ("他经常拿刀。", "特急"),
            ("吊顶都泡塌了。", "一般"),
        ] {
            assert_eq!(level(lines).as_deref(), Some(expected), "{lines}");
        }
    }

    #[test]
    fn who_came_and_left_it_undone_is_complained_of() {
        let taxonomy = Taxonomy::embedded();
        let kind = |lines: &str| {
            let talk = talk(lines);
            let category = category(&weigh(&talk, &taxonomy)).map(|choice| choice.index);
            REQUESTS[request(&talk, &taxonomy, category, false).index]
        };
        assert_eq!(kind("家里电压太低，空调都带不动。"), "求助");
        assert_eq!(
            kind("家里电压太低，空调都带不动。\n供电所来人看了看就没下文了。"),
            "投诉"
        );
        // The wages of those who were promised them are still asked for.
        assert_eq!(kind("欠我们工资。\n劳动局去过一次，再没下文了。"), "求助");
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
        let kind = |lines: &str| REQUESTS[request(&talk(lines), &taxonomy, None, false).index];
        assert_eq!(kind("我不是要投诉，我就想咨询一下。"), "咨询");
        assert_eq!(kind("我要表扬一个公交司机。"), "表扬");
        assert_eq!(kind("我投诉过好几回了，今天我要举报他们。"), "举报");
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
        let choice = category(&weigh(&lines, &taxonomy));
        let found = list(departments(&lines, &taxonomy, choice.as_ref(), None));
        assert_eq!(found.first().map(String::as_str), Some("公安局"));
        assert!(found.contains(&"生态环境局".to_owned()));
    }
}
