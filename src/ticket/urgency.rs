//! How urgent it is: words of danger and need, and whether they mean what they say.

use std::ops::Range;
use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance};
use super::lexicon::{Words, list};
use super::taxonomy::Taxonomy;
use super::{Evidence, Field, FieldValue, RequestType, Urgency};
use crate::private::Private;

/// Whether a word of danger is only feared, denied, or over.
fn feared(said: &PreparedUtterance, at: usize, end: usize) -> bool {
    static FEARED: Words = LazyLock::new(|| list("urgency.feared"));
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
pub(super) fn no_power_cut(said: &PreparedUtterance, range: &Range<usize>) -> bool {
    let thing = said
        .chars
        .get(range.end)
        .is_some_and(|next| "梯话脑视瓶池".contains(*next));
    let battery = said.before(range.start, 3).ends_with("手机");
    said.before(range.end, 1) == "电" && (thing || battery)
}

/// Where an operator sends an ambulance or the fire brigade at once. To pass a complaint on to the fire department
/// (已经通知消防部门核实) is not that.
fn dispatched(said: &PreparedUtterance) -> Option<Range<usize>> {
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

/// How urgent the words of danger (and, failing them, of the category) say it is, and where.
pub(super) fn danger(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    category: Option<usize>,
) -> (Urgency, Vec<Evidence>) {
    let mut level = Urgency::Normal;
    let mut evidence = Vec::new();
    for (index, said) in talk.iter().enumerate() {
        let confirmed = !said.by_caller()
            && dialogue::reply(talk, index)
                .is_some_and(|answer| answer.affirms() && answer.text.chars().count() < 12);
        // 我马上联系120: who sends for help at once has understood how urgent it is.
        if !said.by_caller()
            && level < Urgency::Critical
            && let Some(range) = dispatched(said)
        {
            level = Urgency::Critical;
            evidence = vec![said.evidence(&range)];
        }
        if !said.by_caller() && !confirmed {
            continue;
        }
        for (bytes, says) in taxonomy.alarms.longest(&said.text) {
            let range = said.char_at(bytes.start)..said.char_at(bytes.end);
            // 老是停电 is a nuisance, 停电了 is a need; whoever is always beaten is in danger.
            let often = *says == Urgency::Urgent
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
                || *says < level
            {
                continue;
            }
            if *says > level {
                level = *says;
                evidence.clear();
            }
            evidence.push(said.evidence(&range));
        }
    }
    if level == Urgency::Normal
        && let Some(category) = category.map(|index| &taxonomy.categories[index])
    {
        let words: Vec<&str> = category.urgent_when.iter().map(String::as_str).collect();
        for said in talk.iter().filter(|said| said.by_caller()) {
            if let Some(range) = said.first(&words) {
                level = Urgency::Urgent;
                evidence.push(said.evidence(&range));
            }
        }
    }
    (level, evidence)
}

/// The field, from what [`danger`] found.
pub(super) fn urgency(
    (mut level, mut evidence): (Urgency, Vec<Evidence>),
    request: RequestType,
) -> Field {
    // Praise, a suggestion or a question tells of danger that is over or not yet there.
    let calm = match request {
        RequestType::Praise | RequestType::Suggestion => true,
        RequestType::Inquiry => level < Urgency::Critical,
        RequestType::Help | RequestType::Complaint | RequestType::TipOff => false,
    };
    if calm {
        level = Urgency::Normal;
        evidence.clear();
    }
    evidence.truncate(4);
    Field {
        value: FieldValue::Text(Private::from(level.word())),
        confidence: if level == Urgency::Normal { 0.75 } else { 0.85 },
        evidence,
    }
}

#[cfg(test)]
mod tests {
    use super::super::taxonomy::Taxonomy;
    use super::super::tests::{talk, text};
    use super::{RequestType, danger, urgency};

    fn level(lines: &str) -> Option<String> {
        text(Some(urgency(
            danger(&talk(lines), &Taxonomy::embedded(), None),
            RequestType::Complaint,
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
}
