//! Numerals as they are spoken: digits one by one (一三八), cardinals (三千六, 一百零八), and what only gives an idea (二三百).

use std::ops::Range;

/// The digit that a character stands for.
#[must_use]
pub const fn digit(letter: char) -> Option<u8> {
    Some(match letter {
        '0'..='9' => letter as u8 - b'0',
        '零' | '〇' => 0,
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

/// The unit that a character stands for.
#[must_use]
pub const fn unit(letter: char) -> Option<u64> {
    Some(match letter {
        '十' => 10,
        '百' => 100,
        '千' => 1_000,
        '万' => 10_000,
        '亿' => 100_000_000,
        _ => return None,
    })
}

/// Whether a numeral may hold this character.
#[must_use]
pub const fn is_numeral(letter: char) -> bool {
    digit(letter).is_some() || unit(letter).is_some()
}

/// What a run of numeral characters says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Two or more digits said one by one, or any that were written as digits.
    Digits(String),
    /// One digit from 0 to 9.
    One(u8),
    /// A number with units, 10 or more.
    Cardinal(u64),
    /// An idea of a number (二三百, 十二三), or no number at all (百, 万一).
    Vague,
}

/// The run of numeral characters that begins at `from` and ends before `end`.
#[must_use]
pub fn run(letters: &[char], from: usize, end: usize) -> Range<usize> {
    let long = letters[from..end]
        .iter()
        .take_while(|letter| is_numeral(**letter))
        .count();
    from..from + long
}

/// Reads a run of numeral characters.
#[must_use]
pub fn read(run: &[char]) -> Reading {
    if run.iter().any(|letter| unit(*letter).is_some()) {
        return cardinal(run).map_or(Reading::Vague, Reading::Cardinal);
    }
    match run {
        [] => Reading::Vague,
        [only] if !only.is_ascii() => digit(*only).map_or(Reading::Vague, Reading::One),
        // 两 counts, it is never a digit of a longer number.
        _ if run.contains(&'两') => Reading::Vague,
        _ => Reading::Digits(
            run.iter()
                .filter_map(|letter| digit(*letter))
                .map(|digit| char::from(b'0' + digit))
                .collect(),
        ),
    }
}

/// The value of a run with units: 一百二十八, 3万, 三千六 (3600), 两万五 (25000). `None` for what gives only an idea.
fn cardinal(run: &[char]) -> Option<u64> {
    // What stands before the last 万 or 亿, what stands after it, and the number that waits for its unit.
    let (mut whole, mut section, mut waiting) = (0_u64, 0_u64, None::<u64>);
    let (mut last_small, mut last_big, mut last) = (10_000_u64, u64::MAX, 0_u64);
    let mut zero = false;
    let mut at = 0;
    while let Some(letter) = run.get(at).copied() {
        if let Some(size) = unit(letter) {
            if size < 10_000 {
                if size >= last_small {
                    return None;
                }
                let count = match waiting.take() {
                    Some(count) => count,
                    // 十二, 一百十五; but neither 百货 nor 千万.
                    None if size == 10 && (at == 0 || section > 0) => 1,
                    None => return None,
                };
                section = section.checked_add(count.checked_mul(size)?)?;
                last_small = size;
            } else {
                let count = section.checked_add(waiting.take().unwrap_or(0))?;
                if size == 100_000_000 && last_big == 10_000 && count == 0 {
                    // 三万亿
                    whole = whole.checked_mul(size)?;
                } else if count == 0 || size >= last_big {
                    return None;
                } else {
                    whole = whole.checked_add(count.checked_mul(size)?)?;
                }
                (section, last_small, last_big) = (0, 10_000, size);
            }
            (last, zero) = (size, false);
            at += 1;
            continue;
        }
        if waiting.is_some() {
            return None;
        }
        let value = digit(letter)?;
        if letter.is_ascii() {
            let long = run[at..]
                .iter()
                .take_while(|next| next.is_ascii_digit())
                .count();
            let written: String = run[at..at + long].iter().collect();
            waiting = Some(written.parse().ok()?);
            at += long;
        } else {
            if value == 0 {
                // 一百零 is not finished, and nothing begins with 零.
                if at == 0 || zero || at + 1 == run.len() {
                    return None;
                }
                zero = true;
            } else {
                waiting = Some(u64::from(value));
            }
            at += 1;
        }
    }
    if let Some(rest) = waiting {
        section += match rest {
            // 三千六 is 3600, 三千零六 is 3006.
            0..=9 if last >= 100 && !zero => rest * (last / 10),
            _ => rest,
        };
    }
    whole.checked_add(section)
}

/// How an operator writes a whole number: in digits, round large ones with 万 and 亿.
#[must_use]
pub fn written(value: u64) -> String {
    const WAN: u64 = 10_000;
    const YI: u64 = 100_000_000;
    let in_units = |unit: u64, name: char| {
        let (whole, tenth) = (value / unit, value % unit / (unit / 10));
        match tenth {
            0 => format!("{whole}{name}"),
            _ => format!("{whole}.{tenth}{name}"),
        }
    };
    if value >= YI && value.is_multiple_of(YI / 10) {
        in_units(YI, '亿')
    } else if value >= WAN && value.is_multiple_of(WAN) {
        in_units(WAN, '万')
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(text: &str) -> Reading {
        read(&text.chars().collect::<Vec<_>>())
    }

    #[test]
    fn cardinals_are_read_in_full_and_in_their_colloquial_short_form() {
        for (text, value) in [
            ("八百六十", 860),
            ("八百六", 860),
            ("三千六", 3_600),
            ("三千六百八", 3_680),
            ("三千零六", 3_006),
            ("三千零六十", 3_060),
            ("两万五", 25_000),
            ("一万二千八", 12_800),
            ("十八万六", 186_000),
            ("十五", 15),
            ("十", 10),
            ("一百零八", 108),
            ("一百一十", 110),
            ("一百十五", 115),
            ("二百五", 250),
            ("一亿三千万", 130_000_000),
            ("三万亿", 3_000_000_000_000),
            ("3千6", 3_600),
            ("12万", 120_000),
            ("一万零三百零二", 10_302),
        ] {
            assert_eq!(reading(text), Reading::Cardinal(value), "{text}");
        }
    }

    #[test]
    fn what_only_gives_an_idea_is_no_number() {
        for text in [
            "二三百",
            "十二三",
            "三十七八",
            "一百五六",
            "百",
            "万一",
            "千万",
            "百八十",
            "一百零",
            "两三",
            "三百千",
            "零十",
            "百百",
            "二十一二",
        ] {
            assert_eq!(reading(text), Reading::Vague, "{text}");
        }
    }

    #[test]
    fn digits_said_one_by_one_keep_their_zeros() {
        assert_eq!(reading("零六零二"), Reading::Digits("0602".to_owned()));
        assert_eq!(reading("幺三8"), Reading::Digits("138".to_owned()));
        assert_eq!(reading("两"), Reading::One(2));
        assert_eq!(reading("7"), Reading::Digits("7".to_owned()));
    }

    #[test]
    fn endless_numerals_are_vague_or_read_and_never_overflow() {
        for text in ["九", "9", "万", "亿", "十百千万亿", "九亿", "9亿"] {
            let _ = reading(&text.repeat(200));
        }
    }

    #[test]
    fn large_round_numbers_are_written_with_their_unit() {
        for (value, wanted) in [
            (860, "860"),
            (25_000, "25000"),
            (120_000, "12万"),
            (35_000_000, "3500万"),
            (130_000_000, "1.3亿"),
            (123_456_789, "123456789"),
        ] {
            assert_eq!(written(value), wanted);
        }
    }
}
