//! Where the numbers of a line stand: what no word list may change, and whether a fixed word that holds numerals is that
//! word or a piece of a longer number.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::LazyLock;

use super::numerals::{Reading, digit, is_numeral, read, unit};

/// Words that stand behind or between numbers.
struct Counters {
    quantity: HashSet<&'static str>,
    identifier: HashSet<&'static str>,
    between: HashSet<&'static str>,
}

static COUNTERS: LazyLock<Counters> = LazyLock::new(|| {
    let section = |name: &str| {
        let mut within = false;
        include_str!("counters.txt")
            .lines()
            .filter(move |line| {
                if let Some(directive) = line.strip_prefix("% ") {
                    within = directive == name;
                }
                within && !line.starts_with(['#', '%'])
            })
            .flat_map(str::split_whitespace)
            .collect()
    };
    Counters {
        quantity: section("quantity"),
        identifier: section("identifier"),
        between: section("between"),
    }
});

/// The longest word behind a number.
const LONGEST: usize = 3;
/// What announces a number: 第三, 周三, 附二, 转三.
const MARKERS: &str = "第周期初附之转按负杠";

/// How long the word of `words` is that begins at `at`, the longest of several.
fn longest(words: &HashSet<&'static str>, letters: &[char], at: usize) -> Option<usize> {
    let rest = letters.get(at..)?;
    (1..=LONGEST.min(rest.len()))
        .rev()
        .find(|long| words.contains(rest[..*long].iter().collect::<String>().as_str()))
}

/// Whether something that is counted or measured begins at `at`, and how long that word is.
pub(super) fn quantity(letters: &[char], at: usize) -> Option<usize> {
    longest(&COUNTERS.quantity, letters, at)
}

/// The same of what a number names: 号, 楼, 单元.
fn identifier(letters: &[char], at: usize) -> Option<usize> {
    longest(&COUNTERS.identifier, letters, at)
}

/// Whether this character may stand between two numbers without being a part of either: 二期三零一, 尾号八八是一三八.
pub(super) fn stands_between(letter: char) -> bool {
    COUNTERS
        .between
        .contains(letter.encode_utf8(&mut [0; 4]) as &str)
}

fn numeral_at(letters: &[char], at: usize) -> bool {
    letters.get(at).copied().is_some_and(is_numeral)
}

/// The run of numerals around `at`, which is one.
fn run_around(letters: &[char], at: usize) -> Range<usize> {
    let start = letters[..at]
        .iter()
        .rposition(|letter| !is_numeral(*letter))
        .map_or(0, |before| before + 1);
    let end = (at..letters.len())
        .find(|at| !is_numeral(letters[*at]))
        .unwrap_or(letters.len());
    start..end
}

/// Which characters were certainly said as numbers: runs of numerals, lone ones with what they count, announce or
/// number, and that word with them. A lone numeral that stands beside no such word may be a misheard syllable
/// (来三区 is 莱山区).
pub(super) fn firm(letters: &[char]) -> Vec<bool> {
    let mut firm = vec![false; letters.len()];
    let mut at = 0;
    while at < letters.len() {
        if !is_numeral(letters[at]) {
            at += 1;
            continue;
        }
        let run = run_around(letters, at);
        let counted = quantity(letters, run.end).max(identifier(letters, run.end));
        let announced = run.start.checked_sub(1).is_some_and(|before| {
            let letter = letters[before];
            firm[before] || letter.is_ascii_alphanumeric() || MARKERS.contains(letter)
        });
        if run.len() > 1 || counted.is_some() || announced {
            firm[run.start..run.end + counted.unwrap_or(0)].fill(true);
        }
        at = run.end;
    }
    firm
}

/// What a fixed word with numerals in it is, where more numerals may stand beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Itself: 一起, and the numerals beside it are a number of their own (打一二三四五一直占线).
    Word,
    /// Its numerals belong to a number: 三十一度, 二十四周.
    Number,
    /// It may be either, so that all of it from there on stays as it was said: 二十一直.
    Either(usize),
}

/// What the fixed word in `word` is. `is_day`: it names a day (周三, 初五), behind which a time may stand.
pub(super) fn standing(letters: &[char], word: Range<usize>, is_day: bool) -> Standing {
    let (first, last) = (word.start, word.end - 1);
    let left = numeral_at(letters, first) && first > 0 && numeral_at(letters, first - 1);
    let right = numeral_at(letters, last) && numeral_at(letters, last + 1);
    if !left && !right {
        return Standing::Word;
    }
    let run = run_around(letters, if left { first } else { last });
    let whole = read(&letters[run.clone()]);
    let is_known = |reading: &Reading| is_known(reading, names_other(letters, run.start));
    let whole_known = is_known(&whole);
    if matches!(whole, Reading::Vague | Reading::One(_)) {
        let after_ten = left && letters[first - 1] == '十' && digit(letters[first]).is_some();
        return if after_ten {
            Standing::Either(run.start)
        } else {
            Standing::Word
        };
    }
    let of = |part: Range<usize>| read(&letters[part]);
    if run.end >= word.end {
        // Numerals follow: 周三十点, 高三三班, 老三一三八…, 五一三天.
        let rest = of(word.end..run.end);
        return match whole {
            _ if left => Standing::Number,
            Reading::Digits(_) if run.start == first => {
                let counts = matches!(rest, Reading::One(_)) && {
                    quantity(letters, run.end).is_some() && identifier(letters, run.end).is_none()
                };
                if counts {
                    Standing::Word
                } else {
                    Standing::Number
                }
            }
            Reading::Digits(digits)
                if is_day || digits.len() == 2 || is_known(&rest) && !whole_known =>
            {
                Standing::Word
            }
            _ if is_day && names_a_day(letters, first, run.end) => Standing::Word,
            _ => Standing::Number,
        };
    }
    // Numerals stand before: 三十一度, 花了三百一直没退, 打一二三四五一直占线.
    let head = run.start..first;
    let counts = quantity(letters, run.end).is_some() || identifier(letters, run.end).is_some();
    if unit(letters[first]).is_some()
        || letters[first - 1] == '零' && !matches!(whole, Reading::Digits(_))
    {
        return Standing::Number;
    }
    match whole {
        Reading::Digits(_) => {
            let known_head = is_known(&of(head));
            if !known_head && (whole_known || identifier(letters, run.end).is_some()) {
                Standing::Number
            } else {
                Standing::Word
            }
        }
        _ if letters[first - 1] != '十' => Standing::Word,
        _ if counts => Standing::Number,
        _ => Standing::Either(run.start),
    }
}

/// Whether digits are as many as a number has that everybody knows the length of: a telephone's, an identity card's.
fn is_known(reading: &Reading, is_other: bool) -> bool {
    let Reading::Digits(digits) = reading else {
        return false;
    };
    !is_other && (is_telephone(digits) || is_identity(digits))
}

/// Whether what stands before `at` names a number whose length nobody knows: 单号, 卡号, 编号是; but not 手机号, 证件号.
fn names_other(letters: &[char], at: usize) -> bool {
    let verb = usize::from(at > 0 && matches!(letters[at - 1], '是' | '为'));
    match letters[..at - verb] {
        [.., kind, '号'] => !"机话电证件的个原新".contains(kind),
        _ => false,
    }
}

/// Whether the digits are an identity card's (GB 11643): six of the place, a date of birth, four more.
fn is_identity(digits: &str) -> bool {
    let within = |range: Range<usize>, allowed: std::ops::RangeInclusive<u32>| {
        digits[range]
            .parse()
            .is_ok_and(|part| allowed.contains(&part))
    };
    digits.len() == 18
        && within(6..10, 1_900..=2_099)
        && within(10..12, 1..=12)
        && within(12..14, 1..=31)
}

/// Whether 周三 before more numerals is a day: a time follows (周三十点), or nothing before it makes 周 a unit (一周三十块).
fn names_a_day(letters: &[char], at: usize, end: usize) -> bool {
    let a_unit = at.checked_sub(1).is_some_and(|before| {
        is_numeral(letters[before]) || "每个半几整满年月".contains(letters[before])
    });
    matches!(letters.get(end), Some('点' | '时')) || !a_unit
}

/// Whether the digits are a whole telephone number that is said in groups: mobile, with an area code, 400 or 800.
pub(super) fn is_telephone(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    match bytes {
        [b'1', b'3'..=b'9', ..] => bytes.len() == 11,
        [b'0', b'3'..=b'9', ..] => bytes.len() == 11 || bytes.len() == 12,
        _ => bytes.len() == 10 && (digits.starts_with("400") || digits.starts_with("800")),
    }
}
