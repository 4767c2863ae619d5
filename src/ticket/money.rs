//! The money at stake: every sum that is said, weighed by the words around it.

use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance};
use super::lexicon::{Weighted, Words, list, weighted};
use super::numbers;
use super::phonetics::sounds_at;
use super::{Evidence, Field, FieldValue};

/// Words for what is still owed or lost, with what they add to a sum said beside them.
static STAKE: Weighted = LazyLock::new(|| weighted("money.stake"));

/// Words for what was paid, and for the sum of several sums.
static PAID: Weighted = LazyLock::new(|| weighted("money.paid"));

/// Words that make a sum beside the point: a rate, an offer of the other side, a fee by the way.
static ASIDE: Weighted = LazyLock::new(|| weighted("money.aside"));

/// What may follow a number that counts something else than money.
const COUNTED: &str = "个号楼层栋幢室路人名天日月年周点分秒米平度斤次节家户户口只台辆部件趟岁元块钱毛班届期条份种样样倍股位张吨瓦伏双套间遍站公里小级本排线";

/// Whether a number ends in a digit behind 百, 千 or 万, as sums of money do: 四百七, 一万二.
fn ends_short(said: &PreparedUtterance, range: &std::ops::Range<usize>) -> bool {
    let last = range.end.saturating_sub(1);
    last > range.start
        && numbers::digit(said.chars[last]).is_some()
        && "百千万".contains(said.chars[last - 1])
}

struct Sum {
    value: f64,
    score: i32,
    evidence: Evidence,
}

fn weight(text: &str, words: &[(&str, i32)]) -> i32 {
    let letters: Vec<char> = text.chars().collect();
    // 还胜, 化了: two characters or more are known by their sound too.
    let sounds = |word: &str| {
        word.chars().nth(1).is_some() && (0..letters.len()).any(|at| sounds_at(&letters, at, word))
    };
    words
        .iter()
        .filter(|(word, _)| text.contains(word) || sounds(word))
        .map(|(_, weight)| *weight)
        .max_by_key(|weight| weight.abs())
        .unwrap_or(0)
}

/// Whether a clause tells what is left now, of more that was paid before: 现在还有, or 还上八百六, where 剩 was misheard.
fn tells_rest(before: &str) -> bool {
    // 还交了, 还给了: something else was done besides.
    let still = before.rsplit_once('还').is_some_and(|(_, between)| {
        between.chars().count() < 3
            && !between.contains([
                '交', '付', '花', '买', '充', '要', '罚', '赔', '收', '给', '退', '钱', '款', '了',
                '差', '欠',
            ])
    });
    still || before.chars().any(|letter| "剩余".contains(letter))
}

/// Words before the sum of those that were said before.
static SUMS_UP: Words = LazyLock::new(|| list("money.sums_up"));

/// What is said of a sum that is not asked for, or of an offer that is refused.
static DISMISSED: Words = LazyLock::new(|| list("money.dismissed"));

/// Whether the other side offers the sum at `range`: 商家说补偿我五百, 对方提出退两千. What was promised and never came is no
/// offer but owed.
fn offered(said: &PreparedUtterance, from: usize, range: &std::ops::Range<usize>) -> bool {
    static WILLING: Words = LazyLock::new(|| list("money.willing"));
    static GIVES: Words = LazyLock::new(|| list("money.gives"));
    static OTHERS: Words = LazyLock::new(|| list("money.others"));
    static WISHES: Words = LazyLock::new(|| list("money.wishes"));
    static OWED: Words = LazyLock::new(|| list("money.owed"));
    let has = |text: &str, words: &Words| words.iter().any(|word| text.contains(word));
    let before = said.slice(from..range.start);
    let Some((at, willing)) = WILLING
        .iter()
        .filter_map(|word| Some((before.find(word)?, *word)))
        .min()
    else {
        return false;
    };
    let (who, gives) = (&before[..at], &before[at + willing.len()..]);
    // 我愿意退, 我要求他们退: the caller's own words.
    let own = has(who, &WISHES) || who.ends_with('我') || who.ends_with("我们");
    let others = has(who, &OTHERS) || who.is_empty();
    let after = said.slice(range.end..sentence_end(said, range.end));
    others && !own && has(gives, &GIVES) && !has(&after, &OWED)
}

/// Where the sentence ends that the character at `at` stands in, or the next sum begins.
fn sentence_end(said: &PreparedUtterance, at: usize) -> usize {
    let stop = said.chars[at..]
        .iter()
        .position(|letter| "。！？".contains(*letter));
    let end = stop.map_or(said.chars.len(), |stop| at + stop);
    numbers::all(&said.chars)
        .into_iter()
        .filter(|number| number.value >= 10.0)
        .map(|number| number.range.start)
        .find(|next| (at..end).contains(next))
        .unwrap_or(end)
}

/// Words before a sum that was paid in.
static PAID_IN: Words = LazyLock::new(|| list("money.paid_in"));

/// The sums in one utterance: value, place, and whether money is named.
fn sums(
    said: &PreparedUtterance,
    money_asked: bool,
    dictated: bool,
) -> Vec<(f64, std::ops::Range<usize>, bool)> {
    let mut found = Vec::new();
    // 电话一三一七六三五，零九二五: read out one by one, in pieces, digits are no sum.
    let read_out = |range: &std::ops::Range<usize>| {
        said.chars[range.clone()]
            .iter()
            .all(|letter| numbers::digit(*letter).is_some() && !letter.is_ascii())
    };
    for number in numbers::all(&said.chars) {
        if dictated && number.range.len() > 2 && read_out(&number.range) {
            continue;
        }
        let mut range = number.range.clone();
        let before = said.before(range.start, 3);
        if number.vague
            || number.value < 0.1
            || before.ends_with("百分之")
            || before.ends_with('第')
            || before.ends_with('几')
        {
            continue;
        }
        // 两千三百多块: the 多 belongs to the number.
        let mut next = range.end;
        while said
            .chars
            .get(next)
            .is_some_and(|letter| "多来余几".contains(*letter))
        {
            next += 1;
        }
        let mut value = number.value;
        let named = ["元", "块", "万元", "万块", "人民币", "钱"]
            .into_iter()
            .find(|word| said.starts_at(next, word));
        if named.is_some() {
            let mut end = next + named.map_or(0, |word| word.chars().count());
            // 八块五, 三块二毛五
            if said.chars.get(end - 1) == Some(&'块')
                && let Some(part) = numbers::at(&said.chars, end)
                    .filter(|part| part.value < 10.0 && part.magnitude < 2.0)
            {
                let stop = said.chars.get(part.range.end).copied().unwrap_or('。');
                if matches!(stop, '毛' | '角') || dialogue::is_stop(stop) || stop == '钱' {
                    value += part.value / 10.0;
                    end = part.range.end + usize::from(matches!(stop, '毛' | '角'));
                }
            }
            let money = said.starts_at(end, "钱");
            end += usize::from(money);
            // 三千块的东西 is money, 三块地 and 一块儿 are not.
            let piece = said
                .chars
                .get(end)
                .is_some_and(|letter| "儿起地板砖石牌玻".contains(*letter));
            // 加一块28000, 跟我一块的: together; one yuan is 一块钱.
            let together = value < 1.1 && said.chars[number.range.clone()] == ['一'];
            if (piece || together && !money) && said.chars.get(end - 1) == Some(&'块') {
                continue;
            }
            range.end = end;
            found.push((value, range, true));
            continue;
        }
        let follower = said.chars.get(next).copied().unwrap_or('。');
        let counted = COUNTED.contains(follower) || (follower.is_ascii_alphabetic());
        // 2300多买的: what is said roughly is no model and no year.
        let rough = next > number.range.end;
        let bare = money_asked && value >= 10.0 && (rough || dialogue::is_stop(follower));
        // 赔偿金31200: what it is stands before it.
        let priced = value >= 100.0
            && dialogue::is_stop(follower)
            && (before.ends_with(['金', '费', '款', '额', '欠', '差', '赔'])
                || before.ends_with("骗了"));
        // 张口就跟我要六十: what was asked, taken or paid.
        let priced = priced
            || value >= 10.0
                && dialogue::is_stop(follower)
                && [
                    "我要", "要了", "要我", "收了", "收我", "付了", "花了", "我花",
                ]
                .iter()
                .any(|word| before.ends_with(word));
        // 一共120; 这120全退给我; 一节一百六，合三千五百二
        let whole = (SUMS_UP.iter().any(|word| before.ends_with(word)) || before.ends_with("合"))
            && dialogue::is_stop(follower)
            || before.ends_with('这') && "全都".contains(follower) && said.has(&["退", "赔", "还"]);
        if !counted
            && (number.magnitude >= 100.0 || bare || priced || whole)
            && (10.0..1e10).contains(&value)
        {
            found.push((value, range, false));
        }
    }
    found
}

/// The sum at stake, if one is said. `expects_money` is whether this kind of matter is usually about money.
pub(super) fn find(talk: &[PreparedUtterance], expects_money: bool) -> Option<Field> {
    let mut best: Option<Sum> = None;
    for (index, said) in talk.iter().enumerate() {
        let asked = dialogue::question(talk, index).filter(|_| said.by_caller());
        let money_asked = asked.is_some_and(|asked| {
            asked.has(&[
                "多少钱",
                "多少",
                "金额",
                "费用",
                "价值",
                "价格",
                "学费",
                "余额",
                "几块",
            ])
        });
        let about_number = |said: &PreparedUtterance| said.has(&["电话", "号码", "手机号"]);
        let dictated = about_number(said) || asked.is_some_and(about_number);
        let confirmed = !said.by_caller()
            && dialogue::reply(talk, index).is_some_and(PreparedUtterance::affirms);
        if !said.by_caller() && !confirmed {
            continue;
        }
        // 再交多少: what the other side wants on top is not what was lost.
        let asked_more = asked.is_some_and(|asked| asked.has(&["再交", "再收", "补多少", "补交"]));
        let asked_rest = asked.is_some_and(|asked| weight(&asked.text, &STAKE) > 4);
        let mut paid = 0.0_f64;
        let mut parts = 0.0_f64;
        let mut behind = 0;
        for (value, range, named) in sums(said, money_asked, dictated) {
            let clause = said.clause(range.start);
            // 平时八十块钱的路要了我一百六: what is said before one sum is not said of the next.
            let own = clause.start.max(behind);
            behind = range.end;
            let before = said.slice(clause.start..range.start);
            let pays = PAID_IN.iter().any(|word| before.contains(word));
            let near = said.slice(clause.start..(range.end + 4).min(clause.end));
            let mut score = if named { 2 } else { 1 };
            // 四万九千八 counts nothing else than money.
            score +=
                2 * i32::from(!named && value >= 1_000.0 && value % 100.0 == 0.0 && expects_money);
            // A clause that is nothing but a large number is a price: 一千三百六。
            score += if !named && range.start == clause.start && range.end == clause.end {
                3
            } else {
                0
            };
            score += weight(&near, &STAKE)
                + weight(&near, &PAID)
                + weight(&said.slice(own..(range.end + 4).min(clause.end)), &ASIDE);
            if let Some(asked) = asked {
                // Asked for what is left, callers first tell what they paid.
                let answers = !(asked_rest && pays);
                score += i32::from(answers) * (weight(&asked.text, &STAKE) / 2)
                    + i32::from(money_asked) * 2
                    + i32::from(named && asked.has(&["多少钱"]));
            }
            score -= 4 * i32::from(asked_more);
            // 您要求支付赔偿金31200，对吗？对: what the operator sums up.
            let summed = !said.by_caller() && said.has(&["要求", "诉求", "希望", "一共", "总共"]);
            score += 4 * i32::from(summed);
            // What is left of what was paid is what the matter is about.
            if value < paid && tells_rest(&before) {
                score += (7 - weight(&near, &STAKE)).max(0);
            }
            if pays {
                paid = paid.max(value);
            }
            // 先给五百，又付四千四百八，合起来四千九百八: the whole, although its parts were 剩下的 and the like.
            if (value - parts).abs() < 0.01 && SUMS_UP.iter().any(|word| before.contains(word)) {
                score += 10;
            }
            parts += value;
            // 四百七: only money goes without its last unit.
            let elided = !named && (100.0..1_000.0).contains(&value) && ends_short(said, &range);
            score += 2 * i32::from(elided && expects_money);
            if offered(said, clause.start, &range) {
                score -= 8;
            }
            // 不是八百，是八百六: the second is meant.
            if before.contains("不是") || before.ends_with("不到") && !named {
                score -= 8;
            }
            let earlier = said.slice(0..clause.start);
            let retold = [
                "不是", "不对", "错了", "等等", "重新", "算漏", "漏算", "更正",
            ]
            .iter()
            .any(|word| earlier.contains(word));
            if retold && before.contains('是') {
                score += 8;
            }
            // 合三千五百二: the whole of what was counted up before.
            score += 4 * i32::from(said.before(range.start, 1) == "合");
            // 把两万定金退给我了: what has come back already.
            let rest = said.slice(range.end..sentence_end(said, range.end));
            let returned = ["退给我了", "退我了", "已经退", "还给我了", "退回来了"];
            if returned.iter().any(|word| rest.contains(word)) {
                score -= 8;
            }
            // 上回自己掏八百买料，那个就算了; 说可以退八十七，我不同意: of no more account, or refused.
            let dismissed = DISMISSED.iter().filter_map(|word| rest.find(word)).min();
            // 还搭进去电费，那个就不提了: something else than the sum.
            if dismissed.is_some_and(|at| {
                !rest[..at].contains("，俺还")
                    && !rest[..at].contains("，还")
                    && !rest[..at].contains("，我还")
            }) {
                score -= 8;
            }
            if !named && !money_asked && score < 3 || !said.by_caller() && score < 4 {
                continue;
            }
            // Later words win a tie only when they correct.
            if best.as_ref().is_none_or(|best| score > best.score) {
                best = Some(Sum {
                    value,
                    score,
                    evidence: said.evidence(&range),
                });
            }
        }
    }
    let floor = if expects_money { 2 } else { 5 };
    best.filter(|sum| sum.score >= floor).map(|sum| Field {
        value: FieldValue::Number(sum.value),
        confidence: (0.5 + 0.06 * sum.score as f32).min(0.95),
        evidence: vec![sum.evidence],
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{amount, talk};
    use super::find;

    fn at_stake(lines: &str) -> Option<f64> {
        amount(find(&talk(lines), true))
    }

    #[test]
    fn a_price_that_was_asked_for_needs_no_unit() {
        let asked = "o:里面是什么东西，价值多少？\n";
        for heard in [
            "一部手机2300多买的，5月3号买的。",
            "一部手机2300多买歌5月3号就显示签收了",
        ] {
            assert_eq!(
                at_stake(&format!("{asked}{heard}")),
                Some(2300.0),
                "{heard}"
            );
        }
    }

    #[test]
    fn an_offer_of_the_other_side_is_not_the_amount_and_a_decimal_is_whole() {
        assert_eq!(
            at_stake("我花了一千八百块，他们只愿意退三百块。"),
            Some(1_800.0)
        );
        assert_eq!(
            at_stake("手术费两万元，医院只愿意给五千块钱。"),
            Some(20_000.0)
        );
        assert_eq!(
            at_stake("他们说最多给我六百块，我买的时候花了两千四百块。"),
            Some(2_400.0)
        );
        assert_eq!(at_stake("一共被骗了五点三万。"), Some(53_000.0));
        assert_eq!(at_stake("交了七点五万块钱。"), Some(75_000.0));
    }

    #[test]
    fn what_is_left_counts_and_not_what_was_paid_in() {
        assert_eq!(at_stake("我充了三千块，还剩一千二。"), Some(1200.0));
        assert_eq!(
            at_stake("一共交了两万五，用了一半，剩余一万二千五。"),
            Some(12_500.0)
        );
    }

    #[test]
    fn the_rest_of_what_was_paid_is_at_stake_even_when_its_word_was_misheard() {
        // As heard in a call: 还剩 became 还上, 卡里还剩 became 咖里还胜.
        assert_eq!(
            at_stake("当时充了两千，现在还上八百六十块钱。"),
            Some(860.0)
        );
        assert_eq!(at_stake("当时充了2000，现在还上860块钱。"), Some(860.0));
        assert_eq!(
            at_stake("o:咖里还胜多少钱？\n当时充了两千，现在八百六十块钱。"),
            Some(860.0)
        );
        // What was paid stays when nothing is said to be left, or when the rest is owed to the other side.
        assert_eq!(at_stake("充了两千，去了三回。"), Some(2000.0));
        assert_eq!(at_stake("充了两千，还交了五百块钱。"), Some(2000.0));
        assert_eq!(at_stake("他欠我两千，还了五百。"), Some(2000.0));
        assert_eq!(
            at_stake("一共是四万六，他先给了一万，还欠三万六。"),
            Some(36_000.0)
        );
    }

    #[test]
    fn an_offer_a_rate_and_a_share_are_not_the_sum_at_stake() {
        assert_eq!(
            at_stake("花了九百八买的，他说最多赔五十块钱。"),
            Some(980.0)
        );
        assert_eq!(at_stake("每个月三百块，一共欠了一千八百块。"), Some(1800.0));
        assert_eq!(at_stake("说只能退百分之三十。"), None);
    }

    #[test]
    fn a_correction_wins() {
        assert_eq!(at_stake("押金是八百块，不对，是一千八百块。"), Some(1800.0));
        assert_eq!(at_stake("欠我的不是三千，是三千六。"), Some(3600.0));
    }

    #[test]
    fn the_sum_of_the_parts_counts_and_not_one_of_them() {
        for lines in [
            "先给了五百订金，又把剩下的四千四百八付清了，合起来四千九百八。",
            "o:一共转了多少？\n头一回转了500，隔天又转了4480，加一块4980。",
        ] {
            assert_eq!(at_stake(lines), Some(4980.0), "{lines}");
        }
        assert_eq!(
            at_stake("每个月多扣15块。\n8个月，一共120。\n这120全退给我。"),
            Some(120.0)
        );
    }

    #[test]
    fn a_bare_number_is_money_only_where_money_was_asked_for() {
        assert_eq!(at_stake("o:花了多少钱？\n三百八。"), Some(380.0));
        assert_eq!(at_stake("o:多少钱？\n八块五。"), Some(8.5));
        assert_eq!(at_stake("门牌是三百八十号，离那儿三百米。"), None);
    }

    #[test]
    fn a_sum_that_was_told_anew_dismissed_or_refused_gives_way() {
        for (lines, expected) in [
            (
                "o:总共欠多少钱？\n九万三千五，等等，小李那份算漏了，重新加了一遍，一共是九万五千五。",
                95_500.0,
            ),
            (
                "o:损失有没有估算过？\n重做得六千五。上回我自己掏八百买料刷了一遍，那个就算了。",
                6_500.0,
            ),
            (
                "扣了八个月，一共二百三十二。\n他说可以退三个月的八十七块，我不同意。",
                232.0,
            ),
            ("一亩地一年一千一，这两年没见着钱，合起来九千九。", 9_900.0),
            ("司机不打表，张口就跟我要六十。", 60.0),
        ] {
            assert_eq!(at_stake(lines), Some(expected), "{lines}");
        }
        // Another sentence's refusal, and what is not a sum.
        assert_eq!(
            at_stake("押金八百块。他说让我再等等，我不同意。"),
            Some(800.0)
        );
        assert_eq!(at_stake("他让我要六十二号。"), None);
    }

    #[test]
    fn an_answer_in_yuan_counts_whatever_the_matter() {
        let lines = "o:您家种了几亩地，应该发多少钱？\n六亩来地，按说该发八百四十块。";
        assert_eq!(amount(find(&talk(lines), false)), Some(840.0));
        assert_eq!(amount(find(&talk("门口八百四十块砖都碎了。"), false)), None);
    }

    #[test]
    fn what_has_come_back_and_a_number_that_was_asked_for_are_no_sum_at_stake() {
        assert_eq!(
            at_stake("房主把两万定金退给我了，可中介费八千五，中介一毛不拔。"),
            Some(8_500.0)
        );
        assert_eq!(
            at_stake(
                "o:扣了多少钱？\n一个月五十八，三个月一百七十四。\no:要销的号码是多少？\n一三零，五三五零，八八六二。"
            ),
            Some(174.0)
        );
    }
}
