//! When it happened: spoken dates, resolved against the moment of the call (+08:00).

use std::ops::Range;
use std::sync::LazyLock;
use std::time::SystemTime;

use jiff::civil::{Date, Weekday};
use jiff::{Span, Timestamp, tz};

use super::dialogue::{self, PreparedUtterance};
use super::lexicon::{Words, list};
use super::numbers;
use super::{Evidence, Field, FieldValue};
use crate::private::Private;

/// The civil date of a moment in China.
fn date_of(moment: SystemTime) -> Option<Date> {
    let stamp = Timestamp::try_from(moment).ok()?;
    Some(stamp.to_zoned(tz::offset(8).to_time_zone()).date())
}

struct Found {
    text: String,
    range: Range<usize>,
    /// A date to the day says more than a month.
    exact: bool,
}

fn back(today: Date, days: i64) -> Option<Date> {
    today.checked_sub(Span::new().try_days(days).ok()?).ok()
}

fn weekday(letter: char) -> Option<Weekday> {
    Some(match letter {
        '一' | '1' => Weekday::Monday,
        '二' | '2' => Weekday::Tuesday,
        '三' | '3' => Weekday::Wednesday,
        '四' | '4' => Weekday::Thursday,
        '五' | '5' => Weekday::Friday,
        '六' | '6' => Weekday::Saturday,
        '日' | '天' | '7' => Weekday::Sunday,
        _ => return None,
    })
}

/// 昨天, 前天, 三天前, 上周三, 这个礼拜五.
fn relative(said: &PreparedUtterance, today: Date) -> Vec<Found> {
    const DAYS: [(&str, i64); 16] = [
        ("大前天", 3),
        ("前天", 2),
        ("前晚", 2),
        ("昨天", 1),
        ("昨晚", 1),
        ("昨日", 1),
        ("昨儿", 1),
        ("今天", 0),
        ("今早", 0),
        ("今晚", 0),
        ("今日", 0),
        ("今儿", 0),
        ("刚才", 0),
        ("刚刚", 0),
        ("现在正", 0),
        ("这会儿", 0),
    ];
    let mut found = Vec::new();
    for (word, days) in DAYS {
        for (range, _) in said.find_all(&[word]) {
            if word == "前天" && said.before(range.start, 1) == "大" {
                continue;
            }
            if let Some(date) = back(today, days) {
                found.push(Found {
                    text: date.to_string(),
                    range,
                    exact: true,
                });
            }
        }
    }
    for number in numbers::all(&said.chars) {
        let Some(word) = [
            "天前",
            "天以前",
            "天之前",
            "周前",
            "个星期前",
            "个礼拜前",
            "个月前",
            "个月以前",
            "年前",
        ]
        .into_iter()
        .find(|word| said.starts_at(number.range.end, word)) else {
            continue;
        };
        let count = number.value as i64;
        let range = number.range.start..number.range.end + word.chars().count();
        let span = match word {
            _ if word.contains('天') => Span::new().try_days(count),
            _ if word.contains('月') => Span::new().try_months(count),
            _ if word.contains('年') => Span::new().try_years(count),
            _ => Span::new().try_weeks(count),
        };
        let date = span.ok().and_then(|span| today.checked_sub(span).ok());
        let Some(date) = date.filter(|date| date.year() > 1900) else {
            continue;
        };
        let text = match word {
            _ if word.contains('月') => format!("{:04}-{:02}", date.year(), date.month()),
            _ if word.contains('年') => format!("{:04}", date.year()),
            _ => date.to_string(),
        };
        found.push(Found {
            text,
            range,
            exact: word.contains('天') && !number.vague,
        });
    }
    for (range, word) in said.find_all(&[
        "上上周",
        "上上个周",
        "上周",
        "上个周",
        "上星期",
        "上个星期",
        "上礼拜",
        "上个礼拜",
        "这周",
        "本周",
        "这个周",
        "这星期",
        "这个星期",
        "这个礼拜",
        "这礼拜",
        "周",
        "星期",
        "礼拜",
    ]) {
        let Some(monday) = back(today, i64::from(today.weekday().to_monday_zero_offset())) else {
            continue;
        };
        let weeks = if word.starts_with("上上") {
            2
        } else {
            i64::from(word.starts_with('上'))
        };
        let bare = matches!(word, "周" | "星期" | "礼拜");
        if bare
            && (said
                .before(range.start, 1)
                .chars()
                .any(|before| "上这本个每下一两二三四五六七八九十几多半".contains(before)))
        {
            continue;
        }
        let day = said
            .chars
            .get(range.end)
            .copied()
            .and_then(weekday)
            .filter(|_| {
                // 一个礼拜三次 counts weeks; 上周一共 is no Monday.
                !said.starts_at(range.end, "一共")
                    && !said.starts_at(range.end, "一直")
                    && !said.starts_at(range.end, "天天")
            });
        match day {
            Some(day) => {
                let Some(start) = back(monday, weeks * 7) else {
                    continue;
                };
                let Some(date) = back(start, -i64::from(day.to_monday_zero_offset())) else {
                    continue;
                };
                // 周五 said on a Tuesday is last Friday.
                let Some(date) = (if bare && date > today {
                    back(date, 7)
                } else {
                    Some(date)
                }) else {
                    continue;
                };
                found.push(Found {
                    text: date.to_string(),
                    range: range.start..range.end + 1,
                    exact: true,
                });
            }
            None if weeks > 0 => {
                let (Some(start), Some(end)) =
                    (back(monday, weeks * 7), back(monday, weeks * 7 - 6))
                else {
                    continue;
                };
                found.push(Found {
                    text: format!("{start}/{end}"),
                    range,
                    exact: false,
                });
            }
            None => {}
        }
    }
    found
}

/// 三月五号, 去年十月, 2026年3月5日, 上个月十二号, 十二号.
fn calendar(said: &PreparedUtterance, today: Date) -> Vec<Found> {
    let mut found = Vec::new();
    let numbers = numbers::all(&said.chars);
    let year_word = |at: usize| -> Option<(i16, usize)> {
        [("大前年", 3), ("前年", 2), ("去年", 1), ("今年", 0)]
            .into_iter()
            .find(|(word, _)| said.before(at, word.chars().count()) == *word)
            .map(|(word, years)| (today.year() - years, at - word.chars().count()))
    };
    let day_of = |year: i16, month: i8, day: f64| Date::new(year, month, day as i8).ok();
    for (index, number) in numbers.iter().enumerate() {
        let end = number.range.end;
        let following = numbers.get(index + 1);
        let day_after = |at: usize| {
            following
                .filter(|day| day.range.start == at && (1.0..=31.0).contains(&day.value))
                .and_then(|day| {
                    let marked = ['号', '日']
                        .iter()
                        .any(|mark| said.chars.get(day.range.end) == Some(mark));
                    (marked && !said.starts_at(day.range.end + 1, "楼"))
                        .then_some((day.value, day.range.end + 1))
                })
        };
        let is_month = (1.0..=12.0).contains(&number.value)
            && said.chars.get(end) == Some(&'月')
            && (said.chars.get(end.wrapping_sub(1)) != Some(&'个'));
        if is_month {
            let month = number.value as i8;
            let (year, start) = match year_word(number.range.start) {
                Some(known) => (Some(known.0), known.1),
                None => index
                    .checked_sub(1)
                    .map(|before| &numbers[before])
                    .filter(|year| {
                        said.chars.get(year.range.end) == Some(&'年')
                            && year.range.end + 1 == number.range.start
                    })
                    .map_or((None, number.range.start), |year| {
                        let value = if year.value < 100.0 {
                            year.value + 2000.0
                        } else {
                            year.value
                        };
                        (Some(value as i16), year.range.start)
                    }),
            };
            let after = end + 1 + usize::from(said.chars.get(end + 1) == Some(&'份'));
            if let Some((day, stop)) = day_after(after) {
                let this = year.unwrap_or(today.year());
                let Some(mut date) = day_of(this, month, day) else {
                    continue;
                };
                if year.is_none() && date > today {
                    let Some(last) = day_of(this - 1, month, day) else {
                        continue;
                    };
                    date = last;
                }
                found.push(Found {
                    text: date.to_string(),
                    range: start..stop,
                    exact: true,
                });
            } else {
                let this = year.unwrap_or(today.year() - i16::from(month > today.month()));
                found.push(Found {
                    text: format!("{this:04}-{month:02}"),
                    range: start..after,
                    exact: false,
                });
            }
        } else if (1.0..=31.0).contains(&number.value)
            && matches!(said.chars.get(end), Some('号' | '日'))
            && !said
                .chars
                .get(end + 1)
                .is_some_and(|next| "楼院门线店铺桌车房".contains(*next))
            && !said
                .before(number.range.start, 1)
                .chars()
                .any(|before| "路街巷道苑园区厦".contains(before))
        {
            // 上个月十二号, 十二号; 上个月 holds for the days that follow it.
            let (months, start) = match said.before(number.range.start, 3).as_str() {
                word if word.ends_with("上个月") => (1, number.range.start - 3),
                word if word.ends_with("上月") => (1, number.range.start - 2),
                word if word.ends_with('月') && !word.ends_with("这个月") => continue,
                _ => (
                    i32::from(said.slice(0..number.range.start).contains("上个月")),
                    number.range.start,
                ),
            };
            let first = Date::new(today.year(), today.month(), 1)
                .ok()
                .and_then(|first| first.checked_sub(Span::new().months(months)).ok());
            let Some(first) = first else { continue };
            let date = day_of(first.year(), first.month(), number.value)
                .filter(|date| *date <= today)
                .or_else(|| {
                    let last = first.checked_sub(Span::new().months(1)).ok()?;
                    day_of(last.year(), last.month(), number.value)
                });
            // A bare number with 号 may be a house or a line: only sure where 上个月 stands before it.
            if let Some(date) = date {
                found.push(Found {
                    text: date.to_string(),
                    range: start..end + 1,
                    exact: months > 0
                        || said
                            .before(start, 1)
                            .chars()
                            .all(|before| "在从是，".contains(before)),
                });
            }
        }
    }
    for (word, months) in [("上个月", 1), ("上月", 1), ("这个月", 0)] {
        if let Some(range) = said.find(word)
            && !found.iter().any(|known| known.range.start == range.start)
            && let Ok(date) = today.checked_sub(Span::new().months(months))
        {
            found.push(Found {
                text: format!("{:04}-{:02}", date.year(), date.month()),
                range,
                exact: false,
            });
        }
    }
    for (word, years) in [("去年", 1), ("前年", 2)] {
        if let Some(range) = said.find(word)
            && !found.iter().any(|known| known.range.start == range.start)
        {
            found.push(Found {
                text: format!("{:04}", today.year() - years),
                range,
                exact: false,
            });
        }
    }
    found
}

/// The event's time, if one is said.
pub(super) fn find(talk: &[PreparedUtterance], started_at: SystemTime) -> Option<Field> {
    static EVENT: Words = LazyLock::new(|| list("when.event"));
    static PLAN: Words = LazyLock::new(|| list("when.plan"));
    let today = date_of(started_at)?;
    let mut best: Option<(i32, Found, Evidence)> = None;
    for (index, said) in talk.iter().enumerate().filter(|(_, said)| said.by_caller()) {
        let asked = dialogue::question(talk, index).is_some_and(|asked| {
            asked.has(&[
                "什么时候",
                "哪天",
                "几号",
                "何时",
                "时间",
                "哪一天",
                "什么时间",
                "多久",
            ])
        });
        for found in relative(said, today)
            .into_iter()
            .chain(calendar(said, today))
        {
            let clause = said.clause(found.range.start);
            let near = said.slice(clause);
            let mut score = i32::from(found.exact) * 2 + i32::from(asked) * 3;
            score += 2 * i32::from(EVENT.iter().any(|word| near.contains(word)));
            score -= 3 * i32::from(
                said.starts_at(found.range.start, "今")
                    && ["打电话", "打这个", "咨询", "反映", "问", "投诉"]
                        .iter()
                        .any(|word| near.contains(word)),
            );
            if PLAN.iter().any(|word| near.contains(word)) {
                continue;
            }
            score -= 4 * i32::from(said.slice(0..found.range.start).ends_with("不是"));
            if best.as_ref().is_none_or(|best| score > best.0) {
                let evidence = said.evidence(&found.range);
                best = Some((score, found, evidence));
            }
        }
    }
    best.filter(|best| best.0 >= 0)
        .map(|(score, found, evidence)| Field {
            value: FieldValue::Text(Private::new(found.text)),
            confidence: (0.45 + 0.07 * score as f32).min(0.9),
            evidence: vec![evidence],
        })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{moment, talk, text};
    use super::find;

    /// What `words` mean when said on Tuesday, 24 November 2026.
    fn on(words: &str) -> Option<String> {
        text(find(&talk(words), moment("2026-11-24T00:30:00+08:00")))
    }

    #[test]
    fn relative_days_count_from_the_call_in_chinese_time() {
        for (words, date) in [
            ("昨天晚上漏水的", "2026-11-23"),
            ("大前天买的", "2026-11-21"),
            ("三天前停水了", "2026-11-21"),
            ("上周三签收的", "2026-11-18"),
            ("上个礼拜天摔的", "2026-11-22"),
            ("周五买的", "2026-11-20"),
            ("两个月前办的", "2026-09"),
            ("上个礼拜就关门了", "2026-11-16/2026-11-22"),
        ] {
            assert_eq!(on(words).as_deref(), Some(date), "{words}");
        }
    }

    #[test]
    fn a_date_without_a_year_is_the_last_one() {
        for (words, date) in [
            ("三月五号买的", "2026-03-05"),
            ("十二月一号签的合同", "2025-12-01"),
            ("去年十月份办的", "2025-10"),
            ("二零二五年六月十八日入职", "2025-06-18"),
            ("上个月十二号丢的", "2026-10-12"),
            ("11月20号买的", "2026-11-20"),
        ] {
            assert_eq!(on(words).as_deref(), Some(date), "{words}");
        }
    }

    #[test]
    fn a_span_of_time_a_house_number_and_an_impossible_date_are_no_event() {
        for words in [
            "等了三个月",
            "一个礼拜三次",
            "在南街十二号楼",
            "二月三十一号",
            "九千九百九十九年前",
        ] {
            assert_eq!(on(words), None, "{words}");
        }
    }
}
