//! Tests of the formatter: what was heard in, what the operator reads out.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::audio::MediaTime;
use crate::speech::Leg;
use crate::speech::words::{Word, is_said};

mod numbers;

fn formatter() -> TranscriptFormatter {
    TranscriptFormatter::new(
        Vocabulary::parse([(
            "words",
            "% list 行政区划\n芝罘区 二十里店镇\n% list 用语\n一二三四五 号楼\n% list 姓氏\n% slot surname\n王 张",
        )])
        .expect("a list"),
        true,
    )
}

/// A word of a tenth of a second for each character.
fn letter_by_letter(text: &str) -> Vec<Word> {
    (0..text.chars().count() as u32)
        .map(|at| Word {
            from: at,
            to: at + 1,
            start: MediaTime::from_millis(u64::from(at) * 100),
            end: MediaTime::from_millis(u64::from(at) * 100 + 100),
            confidence: 0.9,
        })
        .collect()
}

fn written(
    formatter: &TranscriptFormatter,
    text: &str,
    is_final: bool,
) -> (String, Vec<(String, String)>) {
    let said: Private<String> = text.into();
    let words = letter_by_letter(text);
    let written = formatter.finish(Spoken {
        leg: Leg::Caller,
        text: &said,
        words: &words,
        is_final,
    });
    let letters: Vec<char> = written.text.reveal().chars().collect();
    let changes = written.changes.iter().map(|change| {
        let now = letters[change.from as usize..change.to as usize].iter();
        (change.said.reveal().clone(), now.collect())
    });
    let changes = changes.collect();
    (written.text.into_inner(), changes)
}

#[test]
fn a_line_is_written_and_every_change_says_what_was_heard() {
    let (text, changes) = written(
        &formatter(),
        "我住支湖區二十三號樓一單元二零零一,電話一三八六三五一二二零七",
        true,
    );
    assert_eq!(text, "我住芝罘区23号楼1单元2001，电话13863512207。");
    let change = |said: &str, now: &str| (said.to_owned(), now.to_owned());
    assert_eq!(
        changes,
        [
            change("支湖区", "芝罘区"),
            change("二十三", "23"),
            change("一", "1"),
            change("二零零一", "2001"),
            change("一三八六三五一二二零七", "13863512207"),
        ]
    );
}

#[test]
fn names_with_numerals_keep_them_and_misheard_numbers_are_both_restored_and_written() {
    assert_eq!(
        written(&formatter(), "二十里店镇三号", true).0,
        "二十里店镇3号。"
    );
    let (text, changes) = written(&formatter(), "拨打一二三刺五", true);
    assert_eq!(text, "拨打12345。");
    assert_eq!(changes, [("一二三刺五".to_owned(), "12345".to_owned())]);
    assert_eq!(written(&formatter(), "免贵信亡", true).0, "免贵姓王。");
}

#[test]
fn a_growing_line_gets_no_end_and_keeps_its_open_number() {
    assert_eq!(written(&formatter(), "还剩三千六", false).0, "还剩三千六");
    assert_eq!(written(&formatter(), "还剩三千六", true).0, "还剩3600。");
}

#[test]
fn lists_are_renewed_for_all_who_share_them() {
    let formatter = formatter();
    let shared = formatter.clone();
    formatter.renew(Vocabulary::default());
    assert_eq!(written(&shared, "支湖区", true).0, "支湖区。");
}

#[test]
fn words_keep_the_times_of_what_was_said() {
    let said: Private<String> = "充了两千块".into();
    let words = letter_by_letter("充了两千块");
    let written = formatter().finish(Spoken {
        leg: Leg::Caller,
        text: &said,
        words: &words,
        is_final: true,
    });
    assert_eq!(written.text.reveal(), "充了2000块。");
    let number = written
        .words
        .iter()
        .find(|word| word.from == 2)
        .expect("2000");
    assert_eq!(
        (number.to, number.start.as_millis(), number.end.as_millis()),
        (6, 200, 400)
    );
}

/// The time a character takes to be said, and the silence behind it.
const LETTER: u64 = 180;
const EACH: u64 = 200;

const SPOKEN: [&str; 10] = ["零", "一", "二", "三", "四", "五", "六", "七", "八", "九"];

/// 1 to 9,999 as it is counted: 3605 is 三千六百零五.
fn counted(number: u32) -> String {
    let (mut text, mut skipped) = (String::new(), false);
    for (unit, name) in [(1_000, "千"), (100, "百"), (10, "十"), (1, "")] {
        let digit = number / unit % 10;
        if digit == 0 {
            skipped = !text.is_empty();
            continue;
        }
        if skipped {
            text.push('零');
            skipped = false;
        }
        // 十二, not 一十二, at the beginning.
        if !(digit == 1 && unit == 10 && text.is_empty()) {
            text.push_str(SPOKEN[digit as usize]);
        }
        text.push_str(name);
    }
    text
}

/// A number as it is said and as it is to be written, with what stands around it.
fn spoken_number(random: &mut StdRng) -> (String, String) {
    let one_by_one = |digits: &str| -> String {
        let digit = |digit: char| SPOKEN[digit.to_digit(10).expect("a digit") as usize];
        digits.chars().map(digit).collect()
    };
    match random.random_range(0..7) {
        0 => {
            let tail: String = (0..9).map(|_| random.random_range('0'..='9')).collect();
            let phone = format!("13{tail}");
            (
                format!("电话{}", one_by_one(&phone)),
                format!("电话{phone}"),
            )
        }
        1 => {
            let yuan = random.random_range(101..9_999);
            (
                format!("花了{}块钱", counted(yuan)),
                format!("花了{yuan}块钱"),
            )
        }
        2 => {
            let (month, day) = (random.random_range(1..=12), random.random_range(1..=28));
            (
                format!("{}月{}号", counted(month), counted(day)),
                format!("{month}月{day}号"),
            )
        }
        3 => {
            let (house, door) = (
                random.random_range(1..=60),
                random.random_range(101..=2_904),
            );
            (
                format!("{}号楼{}", counted(house), one_by_one(&format!("{door}"))),
                format!("{house}号楼{door}"),
            )
        }
        4 => {
            let share = random.random_range(1..=99);
            (format!("百分之{}", counted(share)), format!("{share}%"))
        }
        5 => {
            let hour = random.random_range(3..=11);
            (
                format!("上午{}点半", counted(hour)),
                format!("上午{hour}:30"),
            )
        }
        _ => {
            let year = random.random_range(2_010..=2_029);
            (
                format!("{}年", one_by_one(&year.to_string())),
                format!("{year}年"),
            )
        }
    }
}

/// What is said, piece by piece, each with how it is to be written.
fn dialogue(random: &mut StdRng) -> Vec<(String, String)> {
    const STAYS: [&str; 14] = [
        "我們一起去的",
        "四舍五入算下来",
        "一会儿就好",
        "万一出事怎么办",
        "三番五次地说",
        "他一直不管",
        "七上八下的",
        "我住在二十里店镇",
        "乱七八糟",
        "您好",
        "麻烦您記一下",
        "不三不四的人",
        "嗯",
        "十分着急",
    ];
    const MISHEARD: [(&str, &str); 2] = [("支湖区", "芝罘区"), ("在支湖區", "在芝罘区")];
    let count = random.random_range(1..7);
    let pieces = (0..count).map(|_| match random.random_range(0..5) {
        0 | 1 => spoken_number(random),
        2 => {
            let (said, meant) = MISHEARD[random.random_range(0..MISHEARD.len())];
            (said.to_owned(), meant.to_owned())
        }
        _ => {
            let said = STAYS[random.random_range(0..STAYS.len())];
            (said.to_owned(), script::simplified(said))
        }
    });
    pieces.collect()
}

#[test]
fn every_written_character_leads_back_to_what_was_said_and_when() {
    let (formatter, mut random) = (formatter(), StdRng::seed_from_u64(8));
    let mut numbers = 0;
    for round in 0..600 {
        let pieces = dialogue(&mut random);
        let marks = ["，", ",", "。", " "];
        let mut heard: Vec<char> = Vec::new();
        for (said, _) in &pieces {
            if !heard.is_empty() {
                heard.extend(marks[random.random_range(0..marks.len())].chars());
            }
            heard.extend(said.chars());
        }
        let time = |at: usize| MediaTime::from_millis(1_000 + at as u64 * EACH);
        let words: Vec<Word> = (0..heard.len())
            .filter(|at| is_said(heard[*at]))
            .map(|at| Word {
                from: at as u32,
                to: at as u32 + 1,
                start: time(at),
                end: time(at) + Duration::from_millis(LETTER),
                confidence: 0.9,
            })
            .collect();
        let text = Private::new(heard.iter().collect::<String>());
        let is_final = round % 3 > 0;
        let written = formatter.finish(Spoken {
            leg: Leg::Caller,
            text: &text,
            words: &words,
            is_final,
        });
        let letters: Vec<char> = written.text.reveal().chars().collect();
        let about = format!("{} → {}", text.reveal(), written.text.reveal());
        // What was said in a stretch of time, as it is written where nothing is changed.
        let said_in = |start: MediaTime, end: MediaTime| -> String {
            let within = words
                .iter()
                .filter(|word| start <= word.start && word.end <= end);
            let said = within.map(|word| heard[word.from as usize]);
            script::simplified(&said.collect::<String>())
        };
        let (mut place, mut moment) = (0, MediaTime::ZERO);
        for word in &written.words {
            let between = &letters[place as usize..word.from as usize];
            assert!(
                !between.iter().any(|letter| is_said(*letter)),
                "{between:?} has no time: {about}"
            );
            assert!(
                moment <= word.start && word.start < word.end,
                "{word:?}: {about}"
            );
            (place, moment) = (word.to, word.end);
            let changed = |change: &&Change| change.from < word.to && word.from < change.to;
            if !written.changes.iter().any(|change| changed(&change)) {
                let now: String = letters[word.from as usize..word.to as usize]
                    .iter()
                    .collect();
                assert_eq!(said_in(word.start, word.end), now, "{about}");
            }
        }
        assert!(
            !letters[place as usize..]
                .iter()
                .any(|letter| is_said(*letter)),
            "{about}"
        );
        assert!(
            words.last().is_none_or(|last| moment <= last.end),
            "{about}"
        );
        let mut end = 0;
        for change in &written.changes {
            assert!(
                end <= change.from && change.from < change.to,
                "{change:?}: {about}"
            );
            end = change.to;
            let within: Vec<&Word> = written
                .words
                .iter()
                .filter(|word| change.from <= word.from && word.to <= change.to)
                .collect();
            let (first, last) = (
                within.first().expect("a word"),
                within.last().expect("a word"),
            );
            let said: String = change
                .said
                .reveal()
                .chars()
                .filter(|letter| is_said(*letter))
                .collect();
            assert_eq!(said_in(first.start, last.end), said, "{change:?}: {about}");
            numbers += usize::from(change.kind == ChangeKind::Number);
        }
        if is_final {
            let mut rest = written.text.reveal().as_str();
            for (_, meant) in &pieces {
                let at = rest
                    .find(meant.as_str())
                    .unwrap_or_else(|| panic!("no {meant}: {about}"));
                rest = &rest[at + meant.len()..];
            }
        }
    }
    assert!(numbers > 500, "{numbers}");
}
