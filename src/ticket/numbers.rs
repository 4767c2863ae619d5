//! Numbers as they are spoken: Chinese and Arabic digits, cardinals with 十 百 千 万 亿, and colloquial endings (一千二).

use std::ops::Range;

use super::phonetics::alike;
use crate::text::pinyin::same_sound;

/// The digit that a character stands for when digits are read out one by one.
pub(super) fn digit(letter: char) -> Option<u8> {
    Some(match letter {
        '0'..='9' => letter as u8 - b'0',
        '零' | '〇' | '洞' | '○' => 0,
        '一' | '幺' | '壹' => 1,
        '二' | '两' | '贰' => 2,
        '三' | '叁' => 3,
        '四' | '肆' => 4,
        '五' | '伍' => 5,
        '六' | '陆' => 6,
        '七' | '柒' => 7,
        '八' | '捌' => 8,
        '九' | '玖' => 9,
        _ => return None,
    })
}

/// The digit that a misheard character sounds like; only of use beside real digits.
pub(super) fn homophone(letter: char) -> Option<u8> {
    const SPOKEN: [(char, u8); 11] = [
        ('零', 0),
        ('一', 1),
        ('幺', 1),
        ('二', 2),
        ('三', 3),
        ('四', 4),
        ('五', 5),
        ('六', 6),
        ('七', 7),
        ('八', 8),
        ('九', 9),
    ];
    // 路, 是 and the like stand beside numbers more often for themselves.
    if "路以意是时事我吧".contains(letter) {
        return None;
    }
    SPOKEN
        .iter()
        .find(|(spoken, _)| same_sound(*spoken, letter))
        .or_else(|| SPOKEN.iter().find(|(spoken, _)| alike(*spoken, letter)))
        .map(|(_, digit)| *digit)
}

fn unit(letter: char) -> Option<f64> {
    Some(match letter {
        '十' | '拾' => 10.0,
        '百' | '佰' => 100.0,
        '千' | '仟' => 1_000.0,
        '万' => 10_000.0,
        '亿' => 100_000_000.0,
        _ => return None,
    })
}

/// A number found in text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    /// Its value.
    pub value: f64,
    /// Where it stands, in characters.
    pub range: Range<usize>,
    /// The largest unit named (1 when digits only).
    pub magnitude: f64,
    /// Whether it only gives an idea (两三千, 二三十).
    pub vague: bool,
}

/// The number that begins at `start`, read as long as it goes on: 八百六十, 一千二, 两万五, 3.5万, 860, 一二八.
pub(super) fn at(chars: &[char], start: usize) -> Option<Number> {
    let mut end = start;
    let (mut total, mut section) = (0.0, 0.0);
    let mut pending: Option<f64> = None;
    let (mut last_unit, mut magnitude) = (1.0_f64, 1.0_f64);
    let (mut zero, mut vague) = (false, false);
    while let Some(&letter) = chars.get(end) {
        if let Some(size) = unit(letter) {
            let count = match pending.take() {
                Some(count) => count,
                None if size < 11.0 && (end == start || last_unit > size) => 1.0,
                None if size > 9_999.0 && section > 0.0 => 0.0,
                None => break,
            };
            if size > 9_999.0 {
                total = (total + section + count) * size;
                section = 0.0;
            } else {
                section += count * size;
            }
            last_unit = size;
            magnitude = magnitude.max(size);
            zero = false;
            end += 1;
            continue;
        }
        if let Some(whole) = pending {
            // 五点三万: the decimals belong to the number where a unit follows them.
            let part: Vec<u8> = (chars[end + 1..].iter())
                .map_while(|next| digit(*next))
                .take(4)
                .collect();
            let behind = chars.get(end + 1 + part.len());
            let decimal = letter == '点'
                && last_unit < 2.0
                && !part.is_empty()
                && behind.is_some_and(|unit| "千万亿元块倍".contains(*unit));
            if !decimal {
                break;
            }
            let tail = (part.iter().rev()).fold(0.0, |sum, next| (sum + f64::from(*next)) / 10.0);
            pending = Some(((whole + tail) * 10_000.0).round() / 10_000.0);
            end += 1 + part.len();
            continue;
        }
        let readable = |letter: &&char| digit(**letter).is_some() || **letter == '.';
        if letter.is_ascii_digit() {
            let run = chars[end..]
                .iter()
                .take_while(|next| next.is_ascii() && readable(next));
            let run: String = run.take(16).collect();
            let run = run.trim_end_matches('.');
            let Ok(value) = run.parse() else { break };
            pending = Some(value);
            end += run.len();
        } else if let Some(value) = digit(letter) {
            let run = chars[end..]
                .iter()
                .take_while(|next| !next.is_ascii() && readable(next));
            let run: Vec<u8> = run.take(16).filter_map(|next| digit(*next)).collect();
            if last_unit < 2.0 && run.len() > 1 {
                // Digits read out one by one; two neighbours before a unit only give an idea.
                let value = run
                    .iter()
                    .fold(0.0, |sum, next| sum * 10.0 + f64::from(*next));
                end += run.len();
                vague = run.len() == 2
                    && run[1] == run[0] + 1
                    && chars.get(end).copied().and_then(unit).is_some();
                pending = Some(value);
            } else {
                end += 1;
                if value == 0 {
                    zero = true;
                } else {
                    pending = Some(f64::from(value));
                }
            }
        } else {
            break;
        }
    }
    if let Some(rest) = pending {
        // 一千二, 两万五: a lone last digit counts in the next smaller unit.
        let colloquial = last_unit >= 100.0 && !zero && rest < 10.0;
        section += if colloquial {
            rest * last_unit / 10.0
        } else {
            rest
        };
    }
    (end > start).then_some(Number {
        value: total + section,
        range: start..end,
        magnitude,
        vague,
    })
}

/// Every number in `chars`, left to right.
pub(super) fn all(chars: &[char]) -> Vec<Number> {
    let mut found = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        let starts = digit(chars[index]).is_some() || matches!(chars[index], '十' | '拾');
        match starts.then(|| at(chars, index)).flatten() {
            Some(number) => {
                index = number.range.end;
                found.push(number);
            }
            None => index += 1,
        }
    }
    found
}

/// Writes a whole number that was spoken in Arabic digits.
pub(super) fn arabic(number: &Number, chars: &[char]) -> String {
    let spoken = &chars[number.range.clone()];
    // 零六零二 keeps its zeros when read digit by digit.
    if spoken.iter().all(|letter| digit(*letter).is_some()) {
        return spoken
            .iter()
            .filter_map(|letter| digit(*letter))
            .map(|value| char::from(b'0' + value))
            .collect();
    }
    format!("{}", number.value)
}

#[cfg(test)]
mod tests {
    use super::{all, arabic};

    fn values(text: &str) -> Vec<f64> {
        let chars: Vec<char> = text.chars().collect();
        all(&chars).into_iter().map(|number| number.value).collect()
    }

    #[test]
    fn cardinals_are_read_in_full_and_in_their_colloquial_short_form() {
        for (text, value) in [
            ("八百六十", 860.0),
            ("八百六", 860.0),
            ("一千二", 1200.0),
            ("一千零二", 1002.0),
            ("两万五", 25_000.0),
            ("一万二千八", 12_800.0),
            ("十八万六", 186_000.0),
            ("三十七万", 370_000.0),
            ("十五", 15.0),
            ("一百零八", 108.0),
            ("一百一十", 110.0),
            ("3.5万", 35_000.0),
            ("1万2", 12_000.0),
            ("2300", 2300.0),
            ("一亿", 100_000_000.0),
            ("二零二六", 2026.0),
        ] {
            assert_eq!(values(text), [value], "{text}");
        }
    }

    #[test]
    fn a_sentence_end_is_no_decimal_point_and_a_guess_is_marked() {
        assert_eq!(values("花了860.我"), [860.0]);
        let chars: Vec<char> = "两三千块".chars().collect();
        assert!(all(&chars)[0].vague);
    }

    #[test]
    fn room_numbers_keep_their_zeros() {
        let chars: Vec<char> = "零六零二和一百二十八".chars().collect();
        let found = all(&chars);
        assert_eq!(arabic(&found[0], &chars), "0602");
        assert_eq!(arabic(&found[1], &chars), "128");
    }

    #[test]
    fn endless_digits_do_not_break_the_reading() {
        assert!(!values(&"九".repeat(500)).is_empty());
        assert!(!values(&"9".repeat(500)).is_empty());
        assert!(!values(&"万亿十百".repeat(50)).is_empty());
    }
}
