//! What backs the matter up: the proofs that the caller holds, and whether it was raised before.

use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance};
use super::lexicon::{Words, list};
use super::{Field, FieldValue};

/// What callers hold.
static PROOFS: Words = LazyLock::new(|| list("backing.proofs"));

/// How a caller says that this is not the first time.
static BEFORE: Words = LazyLock::new(|| list("backing.before"));

/// The proofs that the caller says to hold, or says yes to when the operator names them.
pub(super) fn held(talk: &[PreparedUtterance]) -> Option<Field> {
    let mut names: Vec<String> = Vec::new();
    let mut evidence = Vec::new();
    for (index, said) in talk.iter().enumerate() {
        let agreed = !said.by_caller()
            && said.has(&["有没有", "有", "保留", "留着"])
            && dialogue::reply(talk, index).is_some_and(|answer| {
                answer.text.starts_with('有') || answer.affirms() && !answer.has(&["没有", "没签"])
            });
        if !said.by_caller() && !agreed {
            continue;
        }
        for (range, word) in said.find_all(&PROOFS) {
            let known = names.iter().any(|name| name.contains(word));
            let lacking = dialogue::negated(said, range.start)
                || ["没签", "不签", "不开", "不给开", "要"]
                    .iter()
                    .any(|word| said.before(range.start, 3).contains(word));
            if known || lacking {
                continue;
            }
            names.retain(|name| !word.contains(name.as_str()));
            names.push(word.to_owned());
            evidence.push(said.evidence(&range));
        }
    }
    (!names.is_empty()).then_some(Field {
        value: FieldValue::List(names),
        confidence: 0.75,
        evidence,
    })
}

/// Whether it was raised before; nothing when nobody speaks of it.
pub(super) fn raised(talk: &[PreparedUtterance]) -> Option<Field> {
    let mut found = None;
    for (index, said) in talk.iter().enumerate() {
        if said.by_caller() {
            if let Some(range) = said.first(&BEFORE) {
                let yes = !dialogue::negated(said, range.start);
                found = Some((yes, said.evidence(&range), 0.85));
            }
            continue;
        }
        let asked = said.has(&["反映过", "投诉过", "报修过", "联系过", "沟通过", "打过电话"]);
        if let Some(answer) = dialogue::reply(talk, index).filter(|_| asked)
            && let Some(whole) = answer.whole()
        {
            let told = [
                "有",
                "联系了",
                "报了",
                "打了",
                "找了",
                "沟通了",
                "反映了",
                "反映过",
            ];
            let yes = answer.affirms() || told.iter().any(|word| answer.text.starts_with(word));
            let no = answer.denies() || answer.text.starts_with('没');
            if yes || no {
                found = Some((yes && !no, whole, 0.9));
            }
        }
    }
    found.map(|(yes, place, confidence)| Field {
        value: FieldValue::Flag(yes),
        confidence,
        evidence: vec![place],
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{flag, list, talk};
    use super::{held, raised};

    #[test]
    fn proofs_count_when_the_caller_has_them() {
        assert_eq!(
            list(held(&talk("没签，就有考勤表和微信聊天记录。"))),
            ["聊天记录", "考勤表"]
        );
        assert_eq!(
            list(held(&talk("o:有合同和收据吗？\n有，都有。"))),
            ["合同", "收据"]
        );
        assert!(
            list(held(&talk(
                "o:有没有签劳动合同？\n没有。\n他们不给开发票。"
            )))
            .is_empty()
        );
    }

    #[test]
    fn a_matter_was_raised_before_when_somebody_says_so() {
        let raised = |lines: &str| raised(&talk(lines)).as_ref().and_then(flag);
        assert_eq!(raised("物业我投诉过好几次了。"), Some(true));
        assert_eq!(raised("o:之前反映过吗？\n没有，第一次。"), Some(false));
        assert_eq!(raised("o:联系过商家吗？\n联系了，不管。"), Some(true));
        assert_eq!(raised("我家停水了。"), None);
    }
}
