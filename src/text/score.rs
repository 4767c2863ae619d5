//! The character error rate: what was heard against what was said, by the characters that carry the words.
//!
//! Chinese characters and digits count; punctuation, spaces and Latin letters do not. Traditional characters become
//! simplified, and numbers one form (一百二十八 and 128, 幺三八 and 138, 百分之五十 and 50%), since both ways of writing
//! them are right. What was recognised and the reference go through the same function.

use super::{inverse_text_normalization, script};

/// The characters of `text` that count, in one form.
#[must_use]
pub fn normalised(text: &str) -> Vec<char> {
    let mut letters: Vec<char> = text
        .chars()
        .map(|letter| match letter {
            '０'..='９' => char::from_u32(letter as u32 - 0xfee0).unwrap_or(letter),
            '〇' => '零',
            other => other,
        })
        .collect();
    script::simplify(&mut letters);
    let mut written: Vec<char> = Vec::with_capacity(letters.len());
    let mut at = 0;
    for edit in inverse_text_normalization::edits(&letters, &[], true) {
        written.extend(&letters[at..edit.range.start]);
        written.extend(edit.text.chars());
        at = edit.range.end;
    }
    written.extend(&letters[at..]);
    let words: Vec<char> = written
        .into_iter()
        .filter(|letter| letter.is_ascii_digit() || ('\u{3400}'..='\u{9fff}').contains(letter))
        .collect();
    words
        .chunk_by(|a, b| is_numeral(*a) == is_numeral(*b))
        .flat_map(|run| match number(run) {
            Some(value) => value.to_string().chars().collect(),
            None => run
                .iter()
                .map(|letter| digit(*letter).map_or(*letter, |value| (b'0' + value) as char))
                .collect::<Vec<_>>(),
        })
        .collect()
}

/// The least number of insertions, deletions and replacements that make `said` into `heard`.
#[must_use]
pub fn edits(said: &[char], heard: &[char]) -> usize {
    errors(said, heard).sum()
}

/// What went wrong, in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors {
    /// Characters that another was recognised for.
    pub substitutions: usize,
    /// Characters that were not recognised.
    pub deletions: usize,
    /// Characters that nobody said.
    pub insertions: usize,
}

impl Errors {
    /// All of them.
    #[must_use]
    pub const fn sum(self) -> usize {
        self.substitutions + self.deletions + self.insertions
    }
}

impl std::ops::AddAssign for Errors {
    fn add_assign(&mut self, other: Self) {
        self.substitutions += other.substitutions;
        self.deletions += other.deletions;
        self.insertions += other.insertions;
    }
}

/// The fewest errors that make `said` into `heard`.
#[must_use]
pub fn errors(said: &[char], heard: &[char]) -> Errors {
    let mut row: Vec<Errors> = (0..=heard.len())
        .map(|insertions| Errors {
            insertions,
            ..Errors::default()
        })
        .collect();
    for a in said {
        let mut diagonal = row[0];
        row[0].deletions += 1;
        for (j, b) in heard.iter().enumerate() {
            let mut replaced = diagonal;
            replaced.substitutions += usize::from(a != b);
            let (mut deleted, mut inserted) = (row[j + 1], row[j]);
            deleted.deletions += 1;
            inserted.insertions += 1;
            diagonal = row[j + 1];
            row[j + 1] = [replaced, deleted, inserted]
                .into_iter()
                .min_by_key(|errors| errors.sum())
                .unwrap_or(replaced);
        }
    }
    row[heard.len()]
}

fn is_numeral(letter: char) -> bool {
    digit(letter).is_some() || unit(letter).is_some()
}

fn digit(letter: char) -> Option<u8> {
    Some(match letter {
        '0'..='9' => letter as u8 - b'0',
        '零' => 0,
        '一' | '幺' => 1,
        '二' | '两' => 2,
        '三' => 3,
        '四' => 4,
        '五' => 5,
        '六' => 6,
        '七' => 7,
        '八' => 8,
        '九' => 9,
        _ => return None,
    })
}

fn unit(letter: char) -> Option<u64> {
    Some(match letter {
        '十' => 10,
        '百' => 100,
        '千' => 1_000,
        '万' => 10_000,
        '亿' => 100_000_000,
        _ => return None,
    })
}

/// What a run of numerals with units comes to: 一百二十八, 3万, 三千二 (3200). `None` when it is digits said one by one,
/// or no number at all (百 in 百货).
fn number(run: &[char]) -> Option<u64> {
    if !run.iter().any(|letter| unit(*letter).is_some()) {
        return None;
    }
    // The whole, the part below 万 or 亿, and the digits not yet multiplied by a unit.
    let (mut whole, mut part, mut open) = (0_u64, 0_u64, None::<u64>);
    let (mut last_unit, mut zero) = (None::<u64>, false);
    for (at, letter) in run.iter().enumerate() {
        if let Some(value) = digit(*letter) {
            if *letter == '零' {
                zero = true;
                continue;
            }
            // Only Arabic digits follow one another within a number.
            let before = match open {
                Some(before) if letter.is_ascii_digit() && run[at - 1].is_ascii_digit() => before,
                Some(_) => return None,
                None => 0,
            };
            open = Some(before.checked_mul(10)?.checked_add(u64::from(value))?);
        } else {
            let unit = unit(*letter)?;
            if unit >= 10_000 {
                part = part.checked_add(open.take().unwrap_or(0))?;
                if part == 0 {
                    return None;
                }
                whole = whole.checked_add(part.checked_mul(unit)?)?;
                part = 0;
            } else {
                let count = match open.take() {
                    Some(count) => count,
                    // 十二, but neither 百货 nor 千万.
                    None if unit == 10 => 1,
                    None => return None,
                };
                part = part.checked_add(count.checked_mul(unit)?)?;
            }
            (last_unit, zero) = (Some(unit), false);
        }
    }
    let rest = match (open, last_unit) {
        // 三千二 is 3200, 三千零二 is 3002.
        (Some(rest), Some(unit)) if rest < 10 && unit > 10 && !zero => rest * (unit / 10),
        (rest, _) => rest.unwrap_or(0),
    };
    whole.checked_add(part)?.checked_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        normalised(text).into_iter().collect()
    }

    #[test]
    fn both_ways_of_writing_a_number_are_the_same() {
        for (a, b) in [
            ("南大街一百二十八号", "南大街128號。"),
            ("充了两千，还剩八百六十块", "充了2000,還剩860塊"),
            ("一三八六三五一二二零七", "138 6351 2207"),
            ("幺三八", "１３８"),
            ("下降超50%", "下降超百分之五十"),
            ("十二万三千", "123000"),
            ("三千二", "3200"),
            ("三千零二", "3002"),
            ("3万", "三万"),
            ("二〇二六年十月", "2026年10月"),
        ] {
            assert_eq!(line(a), line(b), "{a}");
        }
    }

    #[test]
    fn what_is_no_number_stays_as_it_is() {
        assert_eq!(line("百货大楼"), "百货大楼");
        assert_eq!(line("千万别去"), "千万别去");
        assert_eq!(line("OK，好的！"), "好的");
        assert_eq!(
            line("九九九九九九九九九九九九九九九九九九九九九亿").len(),
            24
        );
    }

    #[test]
    fn edits_are_the_fewest_that_lead_from_one_to_the_other() {
        let count = |a: &str, b: &str| edits(&normalised(a), &normalised(b));
        assert_eq!(count("我要投诉", "我要投诉。"), 0);
        assert_eq!(count("我要投诉", "我投速了"), 3);
        assert_eq!(count("", "你好"), 2);
        assert_eq!(count("你好", ""), 2);
        let kinds = errors(&normalised("我要投诉他"), &normalised("我投速他们"));
        assert_eq!(
            (kinds.substitutions, kinds.deletions, kinds.insertions),
            (1, 1, 1)
        );
    }

    #[test]
    fn traditional_and_simplified_characters_are_the_same() {
        assert_eq!(
            line("請問您貴姓？以後這裡關於電話"),
            "请问您贵姓以后这里关于电话"
        );
    }

    #[test]
    fn times_and_sums_are_the_same_however_they_are_written() {
        for (a, b) in [
            ("下午两点半", "下午2:30"),
            ("三块五", "3.5元"),
            ("三分之一", "1/3"),
        ] {
            assert_eq!(line(a), line(b), "{a}");
        }
    }
}
