//! The ticket's own words: what the caller wants, the title, the summary.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance};
use super::lexicon::{Words, list};
use super::matter;
use super::taxonomy::{Category, Taxonomy};
use super::{Evidence, Field, FieldName, FieldValue, RequestType};
use crate::private::Private;

/// How an operator asks what is wanted.
pub(super) static ASKED: Words = LazyLock::new(|| list("wording.asked"));

/// How a caller says that something is wanted.
static WISH: Words = LazyLock::new(|| list("wording.wish"));

fn text(value: String, confidence: f32, evidence: Vec<Evidence>) -> Field {
    Field {
        value: FieldValue::Text(Private::new(value)),
        confidence,
        evidence,
    }
}

/// What the caller wants, in an operator's short words. `clear` is whether the category was said in so many words: what it
/// usually calls for is only then taken for a wish.
pub(super) fn demand(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    category: Option<&Category>,
    kind: RequestType,
    danger: bool,
    clear: bool,
) -> Option<Field> {
    if kind == RequestType::Inquiry
        && let Some(field) = question(talk, category)
    {
        return Some(field);
    }
    if kind == RequestType::Praise {
        static PEOPLE: Words = LazyLock::new(|| list("wording.people"));
        let person = talk
            .iter()
            .filter(|said| said.by_caller())
            .find_map(|said| {
                let range = said.first(&PEOPLE)?;
                Some((said.slice(range.clone()), said.evidence(&range)))
            });
        return Some(match person {
            Some((person, place)) => text(format!("表扬{person}"), 0.9, vec![place]),
            None => text("表扬".to_owned(), 0.6, Vec::new()),
        });
    }
    // (strength, order, what, where, whether another choice is offered instead)
    let mut wishes: Vec<(i32, &str, Evidence, bool)> = Vec::new();
    for (index, said) in talk.iter().enumerate() {
        let agreed = !said.by_caller()
            && dialogue::reply(talk, index).is_some_and(PreparedUtterance::affirms)
            && said.has(&["诉求", "希望", "要求", "想", "是吧", "对吗", "对吧", "是吗"]);
        if !said.by_caller() && !agreed {
            continue;
        }
        let asked = said.by_caller()
            && dialogue::question(talk, index).is_some_and(|asked| asked.has(&ASKED))
            && index > 0
            && !talk[index - 1].by_caller();
        // 要么给换块新的，要么……算了，把钱退给我: what was let go is not wanted.
        let let_go = said.find("算了").map_or(0, |range| range.end);
        let let_go = if let_go + 4 < said.chars.len() {
            let_go
        } else {
            0
        };
        for (bytes, what) in taxonomy.demands.longest(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            // 延一延就太感谢了: thanks are no wish.
            if range.start < let_go || what == "表扬" {
                continue;
            }
            let clause = said.clause(range.start);
            let words = said.slice(clause.clone());
            let wanted = WISH.iter().any(|wish| words.contains(wish));
            let before = said.slice(range.start.saturating_sub(3).max(clause.start)..range.start);
            // 不给退, 说不能退, 他说最多赔: what the other side says or refuses is not what is wanted.
            let others = (["不给", "不能", "不肯", "不同意", "拒绝", "没", "不"]
                .iter()
                .any(|not| before.contains(not))
                && !["能不能", "要不要"].iter().any(|asks| words.contains(asks)))
                || [
                    "他说",
                    "他们说",
                    "商家说",
                    "老板说",
                    "说只能",
                    "最多",
                    "只肯",
                    "只同意",
                    "答应",
                    "说好",
                    "只退",
                    "只赔",
                ]
                .iter()
                .any(|word| words.contains(word));
            if others || !said.by_caller() && said.has(&["我马上", "我们会", "我会"]) {
                continue;
            }
            let strength = if asked || agreed {
                3
            } else {
                1 + i32::from(wanted)
            };
            let alternative = said.slice(0..range.start);
            let alternative = alternative.contains("要么")
                && wishes.iter().any(|wish| wish.0 == strength)
                || ["或者", "还是", "实在不行", "不行的话", "要不"]
                    .iter()
                    .any(|word| alternative.contains(word));
            wishes.push((strength, what, said.evidence(&range), alternative));
        }
        // 退剩余的学费, 把团费退一半: 退 and money in one clause, however it is put.
        for (range, _) in said.find_all(&["退"]) {
            let clause = said.clause(range.start);
            let words = said.slice(clause.clone());
            let known = wishes
                .iter()
                .any(|wish| wish.2.utterance == said.id && wish.1.contains('退'));
            let money = ["钱", "费", "款", "余额", "剩"]
                .iter()
                .any(|word| words.contains(word))
                || words.ends_with('退');
            let wanted = asked
                || agreed
                || ["希望", "要求", "尽快", "赶紧", "把"]
                    .iter()
                    .any(|wish| words.contains(wish));
            let refused = [
                "不退",
                "没退",
                "不给退",
                "不能退",
                "不肯退",
                "只退",
                "退休",
                "退租",
                "退货",
                "退房",
            ]
            .iter()
            .any(|not| words.contains(not));
            if !known && money && wanted && !refused {
                wishes.push((
                    if asked || agreed { 3 } else { 2 },
                    "退款",
                    said.evidence(&range),
                    false,
                ));
            }
        }
    }
    let strongest = wishes.iter().map(|wish| wish.0).max().unwrap_or(0);
    wishes.retain(|wish| wish.0 == strongest);
    let mut parts: Vec<&str> = Vec::new();
    let mut evidence = Vec::new();
    for (_, what, place, alternative) in &wishes {
        if *alternative && !parts.is_empty() {
            continue;
        }
        if parts.contains(what) || parts.iter().any(|known| known.contains(what)) {
            evidence.push(*place);
        } else if parts.len() < 4 {
            parts.push(what);
            evidence.push(*place);
        }
    }
    // 整治 is what 联合整治 says more exactly, 退款 what 退还押金 does.
    let vaguer = |part: &str, other: &str| {
        other != part && (other.contains(part) || part == "退款" && other.starts_with('退'))
    };
    let narrowed: Vec<&str> = parts
        .iter()
        .copied()
        .filter(|part| !parts.iter().any(|other| vaguer(part, other)))
        .take(2)
        .collect();
    if !narrowed.is_empty() {
        evidence.truncate(4);
        return Some(text(
            narrowed.join("并"),
            0.5 + 0.12 * strongest as f32,
            evidence,
        ));
    }
    // As the operator sums it up, and the caller agrees: 就是希望延长开放时间。对。
    let summed_up = talk.iter().enumerate().find_map(|(index, said)| {
        let agreed = !said.by_caller()
            && dialogue::reply(talk, index).is_some_and(PreparedUtterance::affirms);
        let (opening, _) = said
            .find_all(&[
                "就是希望",
                "就是想",
                "建议就是",
                "诉求就是",
                "您是希望",
                "您是建议",
                "您是想",
            ])
            .next()
            .filter(|_| agreed && !said.has(&["怎么", "什么", "哪", "多少", "还是"]))?;
        let clause = opening.end..said.clause(opening.start).end;
        (4..=16).contains(&clause.len()).then(|| {
            (
                plain_wish(&said.slice(clause.clone())),
                said.evidence(&clause),
            )
        })
    });
    if let Some((what, place)) = summed_up {
        return Some(text(what, 0.6, vec![place]));
    }
    // In the caller's own words, when asked; else what such a matter calls for.
    let own = talk.iter().enumerate().find_map(|(index, said)| {
        let asked = said.by_caller()
            && index > 0
            && !talk[index - 1].by_caller()
            && talk[index - 1].has(&ASKED);
        let clauses = said.clauses();
        let clause = clauses
            .into_iter()
            .filter(|_| asked)
            .find(|clause| clause.len() > 3)?;
        let clause = clause.start..clause.end.min(clause.start + 24);
        Some((
            plain_wish(&said.slice(clause.clone())),
            said.evidence(&clause),
        ))
    });
    let suggested = || {
        static SUGGESTS: Words = LazyLock::new(|| list("wording.suggests"));
        let mut callers = talk.iter().filter(|said| said.by_caller());
        callers.find_map(|said| {
            let opening = said.first(&SUGGESTS)?;
            let clause = opening.end..said.clause(opening.start).end.min(opening.end + 24);
            let words = plain_wish(&said.slice(clause.clone()));
            (clause.len() > 3 && !words.is_empty()).then(|| (words, said.evidence(&clause)))
        })
    };
    let own = own.or_else(|| (kind == RequestType::Suggestion).then(suggested).flatten());
    match own {
        Some((own, place)) if !own.is_empty() => Some(text(own, 0.5, vec![place])),
        _ if danger && category.is_none_or(|category| category.usual != RequestType::Help) => {
            Some(text("紧急处置".to_owned(), 0.6, Vec::new()))
        }
        _ => category
            .and_then(|category| category.demand.clone())
            .filter(|usual| clear && is_usual(usual, kind, category, talk))
            .map(|usual| text(usual, 0.4, Vec::new())),
    }
}

/// Whether what such a matter usually calls for may be taken for what this caller wants: not the money of somebody who
/// only reports what others do.
fn is_usual(
    usual: &str,
    kind: RequestType,
    category: Option<&Category>,
    talk: &[PreparedUtterance],
) -> bool {
    let of_money = ["退", "赔", "补", "支付"]
        .iter()
        .any(|word| usual.contains(word));
    let is_kind = category.is_some_and(|category| category.usual == kind);
    let paid = || {
        let words = ["钱", "款", "费", "块", "元", "退", "赔", "卡", "买", "工资"];
        talk.iter()
            .filter(|said| said.by_caller())
            .any(|said| said.has(&words))
    };
    match kind {
        // What is suggested stands in the caller's own words or not at all.
        RequestType::Inquiry | RequestType::Suggestion => false,
        RequestType::TipOff => !of_money,
        _ => !of_money || is_kind && paid(),
    }
}

/// A wish without the words around it.
fn plain_wish(words: &str) -> String {
    let mut rest = words;
    for opening in [
        "我就是",
        "我就",
        "我",
        "就是",
        "就",
        "希望",
        "想让",
        "想",
        "要求",
        "能不能",
        "让他们",
        "请你们",
        "请",
    ] {
        rest = rest.strip_prefix(opening).unwrap_or(rest);
    }
    rest.trim_end_matches(['吧', '啊', '呀', '吗', '呢', '了'])
        .to_owned()
}

/// What a question is about: a topic of the category, else the question itself.
fn question(talk: &[PreparedUtterance], category: Option<&Category>) -> Option<Field> {
    let callers = || talk.iter().filter(|said| said.by_caller());
    if let Some(category) = category {
        for topic in &category.topics {
            let words: Vec<&str> = topic.when.iter().map(String::as_str).collect();
            if let Some((said, range)) =
                callers().find_map(|said| Some((said, said.first(&words)?)))
            {
                return Some(text(
                    format!("咨询{}", topic.text),
                    0.85,
                    vec![said.evidence(&range)],
                ));
            }
        }
    }
    callers().find_map(|said| {
        let range = said.first(&[
            "怎么",
            "什么",
            "多少",
            "能不能",
            "可不可以",
            "哪里",
            "哪儿",
            "多久",
            "几点",
            "需要",
            "是不是",
            "有没有",
            "吗",
        ])?;
        let clause = said.clause(range.start);
        let clause = clause.start..clause.end.min(clause.start + 20);
        (clause.len() > 3).then(|| {
            text(
                format!("咨询{}", said.slice(clause.clone())),
                0.6,
                vec![said.evidence(&clause)],
            )
        })
    })
}

/// The caller's words with the caller as a third person: without the words that only open the talk, and with
/// 我 left out where a clause begins with it, as Chinese does.
fn third_person(sentence: &str) -> String {
    static OPENINGS: Words = LazyLock::new(|| list("wording.openings"));
    static OWN: Words = LazyLock::new(|| list("wording.own"));
    let mut clauses: Vec<String> = Vec::new();
    for clause in sentence
        .split(['，', '。', '？'])
        .filter(|clause| !clause.is_empty())
    {
        let first = clauses.is_empty();
        let empty = [
            "对",
            "嗯",
            "好",
            "是",
            "是的",
            "没错",
            "你好",
            "您好",
            "对对",
            "是这样",
            "喂",
        ];
        let only_opens = [
            "说个事",
            "提个建议",
            "有个建议",
            "提建议",
            "反映一下",
            "投诉",
            "个情况",
            "问个事",
            "咨询一下",
        ]
        .iter()
        .any(|end| clause.ends_with(end));
        if first && (empty.contains(&clause) || only_opens && clause.chars().count() < 9) {
            continue;
        }
        let mut rest = clause;
        let plain = !clause.starts_with("我们") && !OWN.iter().any(|own| clause.starts_with(own));
        if plain {
            // 我想投诉一家…: the kind of request is said already.
            for opening in OPENINGS
                .iter()
                .copied()
                .filter(|opening| first || *opening == "我")
            {
                let shorter = rest.strip_prefix(opening).unwrap_or(rest);
                let joined = ["要么", "要是", "要求"]
                    .iter()
                    .any(|word| rest.starts_with(word));
                if joined || shorter.chars().count() < 4 && opening != "我" {
                    break;
                }
                rest = shorter;
            }
        }
        clauses.push(
            rest.replace("我们", "其")
                .replace("咱们", "其")
                .replace("在你们", "在")
                .replace("你们", "热线")
                .replace(['我', '咱'], "其"),
        );
    }
    clauses.join("，")
}

/// A field's text, if it is one.
fn value(fields: &BTreeMap<FieldName, Field>, name: FieldName) -> Option<&str> {
    match &fields.get(&name)?.value {
        FieldValue::Text(text) => Some(text.reveal()),
        _ => None,
    }
}

/// A sum as it is written on a ticket.
fn yuan(sum: f64) -> String {
    if sum.fract() == 0.0 {
        format!("{sum:.0}元")
    } else {
        format!("{sum:.2}元")
    }
}

/// One line that says what it is about.
pub(super) fn title(
    fields: &BTreeMap<FieldName, Field>,
    category: Option<&Category>,
    talk: &[PreparedUtterance],
) -> Option<Field> {
    let kind = RequestType::of_word(value(fields, FieldName::RequestType)?)?;
    let district = value(fields, FieldName::District).unwrap_or_default();
    let subject = value(fields, FieldName::Subject);
    let demand = value(fields, FieldName::Demand);
    let evidence: Vec<Evidence> = [FieldName::Subject, FieldName::Category, FieldName::Demand]
        .iter()
        .filter_map(|name| fields.get(name))
        .filter_map(|field| field.evidence.first().copied())
        .collect();
    let line = match (kind, category) {
        (RequestType::Inquiry, _) => demand?.to_owned(),
        (RequestType::Praise, _) => format!(
            "表扬{}{}",
            subject.unwrap_or_default(),
            demand.unwrap_or("表扬").trim_start_matches("表扬")
        ),
        (RequestType::Suggestion, Some(category)) => format!(
            "建议{}{}",
            subject.unwrap_or(&category.name.get_ref()[1]),
            demand.unwrap_or_default()
        ),
        (_, Some(category)) => {
            let about = match subject {
                // The community is already in the place.
                Some(subject) if category.issue.starts_with(subject) => district.to_owned(),
                Some(subject) => format!(
                    "{}{subject}",
                    if subject.contains(district) {
                        ""
                    } else {
                        district
                    }
                ),
                None => district.to_owned(),
            };
            // 反映夜市占道经营, not 反映夜市夜市占道.
            let wish = demand
                .filter(|wish| !category.issue.contains(wish))
                .map(|wish| format!("，要求{wish}"))
                .unwrap_or_default();
            format!(
                "{}{about}{}{wish}",
                match kind {
                    RequestType::Help => "反映",
                    kind => kind.word(),
                },
                category.issue
            )
        }
        (_, None) => {
            let (said, range) = matter::opening(talk)?;
            let range = range.start..said.clause(range.start).end;
            format!("{}：{}", kind.word(), third_person(&said.slice(range)))
        }
    };
    Some(text(line, 0.7, evidence))
}

/// Two or three sentences in the third person.
pub(super) fn summary(
    fields: &BTreeMap<FieldName, Field>,
    category: Option<&Category>,
    talk: &[PreparedUtterance],
) -> Option<Field> {
    let kind = RequestType::of_word(value(fields, FieldName::RequestType)?)?;
    let (said, range) = matter::opening(talk)?;
    let mut evidence = vec![said.evidence(&range)];
    let who = value(fields, FieldName::CallerName).unwrap_or("市民");
    let verb = match kind {
        RequestType::Complaint => "反映",
        kind => kind.word(),
    };
    let mut lines = format!("{who}来电{verb}：{}。", third_person(&said.slice(range)));
    // Answers that only give the place or the name are in the fields already.
    let answers: Vec<u32> = [
        FieldName::Address,
        FieldName::Subject,
        FieldName::CallerName,
        FieldName::ContactPhone,
    ]
    .iter()
    .filter_map(|name| fields.get(name))
    .flat_map(|field| field.evidence.iter().map(|place| place.utterance))
    .collect();
    // The caller's sentence with most of the matter's words says how it went on.
    let words: Vec<&str> = category.into_iter().flat_map(Category::signs).collect();
    let more = talk
        .iter()
        .filter(|other| {
            other.by_caller()
                && other.id > said.id
                && other.chars.len() >= 10
                && !answers.contains(&other.id)
        })
        .map(|other| (other.find_all(&words).count(), other))
        .filter(|(count, _)| *count > 0)
        .max_by_key(|(count, other)| (*count, usize::MAX - other.id as usize));
    if let Some((_, more)) = more
        && let Some(place) = more.whole()
    {
        let words = more.text.trim_end_matches(['。', '，', '？']);
        lines.push_str(&third_person(words));
        lines.push('。');
        evidence.push(place);
    }
    let mut facts = Vec::new();
    if let Some(subject) = value(fields, FieldName::Subject) {
        facts.push(format!("涉及{subject}"));
    }
    if let Some(address) = value(fields, FieldName::Address) {
        facts.push(format!("地址为{address}"));
    }
    if let Some(FieldValue::Number(sum)) =
        fields.get(&FieldName::AmountYuan).map(|field| &field.value)
    {
        facts.push(format!("涉及金额{}", yuan(*sum)));
    }
    if let Some(demand) = value(fields, FieldName::Demand)
        .filter(|_| !matches!(kind, RequestType::Inquiry | RequestType::Praise))
    {
        facts.push(format!("诉求：{demand}"));
    }
    if !facts.is_empty() {
        lines.push_str(&facts.join("，"));
        lines.push('。');
    }
    Some(text(lines, 0.65, evidence))
}
