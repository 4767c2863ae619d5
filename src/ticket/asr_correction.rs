//! Puts right what a recogniser misheard, where a word that the hotline knows sounds the same.
//!
//! Only words of the taxonomy and of the rules are put in place, one character for one, so that evidence keeps
//! pointing at the words as they were recognised. A word that is well formed by itself stays.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, BuildError};

use super::dialogue::{PreparedUtterance, is_stop};
use super::lexicon::{Words, list};
use super::numbers;
use super::phonetics::{alike, sound, sounds_at};
use crate::text::pinyin::{readings, same_sound};
use crate::text::spelling;

/// Words of everyday speech that the rules look for, or that are often taken for others.
static SPOKEN: Words = LazyLock::new(|| list("asr_correction.spoken"));

/// What is well formed, although a listed word sounds the same.
static SOUND_AS_THEY_ARE: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    include_str!("asr_correction.txt")
        .split_whitespace()
        .collect()
});

/// Characters that stand anywhere: that one of them is right says nothing.
const FUNCTION: &str =
    "的了是在不一有我你您他她它这那哪到就上下个要能会也都很得地着过吗呢吧啊没为来去";

/// What is never taken for a mistake: numbers, what places end in, and pairs that only writing tells apart.
const FIRM: &str = "零〇一幺二两三四五六七八九十百千万亿那哪她它做作不没省市县区镇乡村路街";

/// What names of organisations end in.
const FIRMS_END: &str = "厂店社司馆";

/// What names of places end in.
const PLACES_END: &str = "省市县区镇乡村路街";

/// The words that may be put in place, found by their letters and by their sounds.
pub(super) struct AsrCorrection {
    words: Vec<Vec<char>>,
    exact: AhoCorasick,
    sounds: AhoCorasick,
}

impl AsrCorrection {
    /// Knows `listed` and the words of everyday speech.
    pub fn new<'w>(listed: impl Iterator<Item = &'w str>) -> Result<Self, BuildError> {
        let mut known: Vec<&str> = listed
            .chain(SPOKEN.iter().copied())
            .filter(|word| {
                (2..=10).contains(&word.chars().count())
                    && word.chars().all(|letter| !readings(letter).is_empty())
            })
            .collect();
        known.sort_unstable();
        known.dedup();
        let words: Vec<Vec<char>> = known.iter().map(|word| word.chars().collect()).collect();
        let sounds = words
            .iter()
            .map(|word| word.iter().copied().map(sound).collect::<String>());
        let stays = SOUND_AS_THEY_ARE.iter().copied();
        Ok(Self {
            exact: AhoCorasick::new(known.iter().copied().chain(stays))?,
            sounds: AhoCorasick::new(sounds)?,
            words,
        })
    }

    /// `said` with misheard words put right.
    pub fn mend(&self, said: PreparedUtterance) -> PreparedUtterance {
        let mut fixed: HashMap<usize, char> = HashMap::new();
        let mut firm = vec![0; said.chars.len()];
        for found in self.exact.find_overlapping_iter(&said.text) {
            let range = said.char_at(found.start())..said.char_at(found.end());
            for at in range.clone() {
                firm[at] = firm[at].max(range.len());
            }
        }
        self.by_sound(&said, &firm, &mut fixed);
        // Twice: what one digit was misheard as is plain once its neighbour is put right.
        for _ in 0..2 {
            numerals(&said, &firm, &mut fixed);
        }
        if fixed.is_empty() {
            return said;
        }
        said.with(&fixed)
    }

    /// Words that sound like what is written: the longest first, then those with most characters right.
    fn by_sound(&self, said: &PreparedUtterance, firm: &[usize], fixed: &mut HashMap<usize, char>) {
        let heard: Vec<char> = said.chars.iter().copied().map(sound).collect();
        let text: String = heard.iter().collect();
        // Character indices of the byte offsets in `text`, whose characters are longer.
        let mut starts = vec![0; text.len() + 1];
        for (at, (byte, _)) in text.char_indices().enumerate() {
            starts[byte] = at;
        }
        starts[text.len()] = heard.len();
        let mut found: Vec<(usize, usize, Range<usize>, usize)> = Vec::new();
        for hit in self.sounds.find_overlapping_iter(&text) {
            let range = starts[hit.start()]..starts[hit.end()];
            let word = &self.words[hit.pattern().as_usize()];
            let right = |at: &usize| said.chars[*at] == word[at - range.start];
            let rightly = range.clone().filter(right).count();
            let length = range.len();
            let wrong = length - rightly;
            // 2 characters: one must be right; more: half of them. 的 and the like are right by chance.
            let near = wrong > 0
                && rightly * 2 >= length.min(4) - length.min(4) % 2
                && range
                    .clone()
                    // 佳 of 居美佳装饰公司 is not 加: 装 belongs to a longer word that is right.
                    .any(|at| {
                        right(&at) && !FUNCTION.contains(said.chars[at]) && firm[at] <= length
                    });
            let free = range.clone().filter(|at| !right(at)).all(|at| {
                let (is, would_be) = (said.chars[at], word[at - range.start]);
                (firm[at] == 0 || firm[at] < length && length > 2)
                    && !FIRM.contains(is)
                    // 百分之百是: 是 is a word by itself.
                    && !(length == 2 && FUNCTION.contains(is))
                    && (length > 3 || !FUNCTION.contains(would_be) && would_be != '几')
            });
            // 飞仙镇, 望仙路: names are no words, so that a pair in one says too little.
            let of_a_name = length == 2
                && (range.start..(range.end + 1).min(said.chars.len()))
                    .any(|at| PLACES_END.contains(said.chars[at]))
                && !said.is_unsure(&said.evidence(&range));
            // 室温饲料厂: nor does it in the name of an organisation.
            let behind = said.chars.iter().skip(range.end).take(4);
            let of_a_firm = length == 2
                && !said.is_unsure(&said.evidence(&range))
                && (behind.take_while(|letter| !is_stop(**letter)))
                    .any(|letter| FIRMS_END.contains(*letter));
            let of_a_name = of_a_name || of_a_firm;
            // 高陵 is a town, though 高龄 is on the list.
            let well_formed = length == 2 && spelling::is_word(&said.chars[range.clone()]);
            // 一家报的 is not 家暴, 顺达车行 not 大车: what is a word with its neighbours was heard rightly.
            let elsewhere = length == 2 && range.clone().any(|at| !said.doubtful(at));
            if near
                && free
                && !well_formed
                && !elsewhere
                && !of_a_name
                && said.may_be(range.clone(), word)
            {
                found.push((length, rightly, range, hit.pattern().as_usize()));
            }
        }
        found.sort_by(|a, b| (b.0, b.1, a.2.start, a.3).cmp(&(a.0, a.1, b.2.start, b.3)));
        let mut taken = vec![false; heard.len()];
        for (_, _, range, word) in found {
            if taken[range.clone()].contains(&true) {
                continue;
            }
            taken[range.clone()].fill(true);
            for (at, letter) in range.zip(&self.words[word]) {
                if said.chars[at] != *letter {
                    fixed.insert(at, *letter);
                }
            }
        }
    }
}

/// Digits and units misheard inside a number: 八白六, 三千溜, 巴百元, 舞号楼.
fn numerals(said: &PreparedUtterance, firm: &[usize], fixed: &mut HashMap<usize, char>) {
    const DIGITS: [char; 11] = [
        '一', '二', '三', '四', '五', '六', '七', '八', '九', '零', '两',
    ];
    const UNITS: [char; 4] = ['百', '千', '万', '十'];
    // 两万吧, 我把十个, 三百二十路: what is said between and behind numbers is no number.
    const PARTICLES: &str = "吧把罢了就起其而儿路";
    // 三百钱, 五是: these follow a number without being a part of it.
    const FOLLOWERS: &str = "钱前是时事后晚完";
    let is_digit = |letter: char| numbers::digit(letter).is_some();
    let is_unit = |letter: char| UNITS.contains(&letter);
    let counts_house = |at: usize| {
        ["号楼", "单元"]
            .iter()
            .any(|mark| sounds_at(&said.chars, at, mark))
            || matches!(said.chars.get(at), Some('栋' | '幢'))
    };
    // 氏八万六, 市七路公交车: the ten before a digit.
    let is_great = |letter: char| letter == '万';
    let counts_line = |at: usize| said.starts_at(at, "路公") || said.starts_at(at, "路车");
    for (at, &letter) in said.chars.iter().enumerate() {
        let is_known = is_digit(letter) || is_unit(letter) || fixed.contains_key(&at);
        if firm[at] > 0 || is_known || is_stop(letter) || letter == '几' {
            continue;
        }
        let heard = |at: usize| match said.chars.get(at) {
            Some(letter) => *fixed.get(&at).unwrap_or(letter),
            None => '。',
        };
        let before = |back: usize| at.checked_sub(back).map_or('。', heard);
        let (before, earlier) = (before(1), before(2));
        let after = heard(at + 1);
        // 一共舞百六十: no number begins with 百, so that 共舞 is not what was said; nor has 五号楼山单元 a 楼山.
        let headless = !is_digit(before)
            && (matches!(after, '百' | '千' | '万') && is_digit(heard(at + 2))
                || matches!(before, '楼' | '栋' | '幢') && said.starts_at(at + 1, "单元"));
        if said.is_typed() || !(headless || said.doubtful(at)) {
            continue;
        }
        let one_of = |letter: char, known: &[char]| {
            known
                .iter()
                .copied()
                .find(|known| same_sound(letter, *known))
        };
        let as_one_of = |known: &[char]| one_of(letter, known);
        let like = |known: &[char]| as_one_of(known).filter(|_| !PARTICLES.contains(letter));
        let ends = "块元多号".contains(after) || is_stop(after);
        // 一百二死八号: between two digits behind a unit stands the next smaller one.
        let digit_next =
            is_digit(after) || heard(at + 2) == '号' && one_of(after, &DIGITS).is_some();
        let tens = is_digit(before) && is_unit(earlier) && digit_next && alike(letter, '十');
        // 七百而。 and 二十吧号 end in a digit: what joins sentences or ends them has no place there.
        let closes = matches!((letter, after), ('而', '，' | '。') | ('吧', '号'));
        let number = if tens {
            Some('十')
        } else if is_unit(before) && (is_unit(after) || ends) {
            like(&DIGITS).or_else(|| as_one_of(&DIGITS).filter(|_| closes))
        } else if alike(letter, '十')
            && is_digit(after)
            && !FUNCTION.contains(letter)
            && (counts_line(at + 2) || is_great(heard(at + 2)))
        {
            Some('十')
        } else if is_digit(before)
            && (is_digit(after) && before.is_ascii() == after.is_ascii()
                || "块元多".contains(after))
        {
            like(&UNITS)
        } else if is_digit(before) && is_unit(earlier) && is_stop(after) {
            like(&UNITS).filter(|_| !FOLLOWERS.contains(letter))
        } else if is_unit(after)
            && !is_digit(before)
            && !FUNCTION.contains(letter)
            && (is_digit(heard(at + 2))
                || "块元多".contains(heard(at + 2))
                || is_stop(heard(at + 2)) && same_sound(letter, '两'))
        {
            like(&DIGITS)
        } else if counts_house(at + 1) && !is_digit(before) && !FUNCTION.contains(letter) {
            as_one_of(&DIGITS).or_else(|| DIGITS.into_iter().find(|digit| alike(letter, *digit)))
        } else {
            None
        };
        // 一百二十八好: behind so long a number only the mark of a house can stand.
        let long = is_digit(before) && (is_unit(earlier) || is_digit(earlier));
        let house = long && is_stop(after) && letter != '号' && same_sound(letter, '号');
        if let Some(number) = number.or(house.then_some('号')) {
            fixed.insert(at, number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AsrCorrection;
    use crate::speech::Leg;
    use crate::ticket::dialogue::PreparedUtterance;

    fn mended(text: &str) -> String {
        let words = [
            "芝罘区",
            "预付卡",
            "市场监管",
            "退款",
            "燃气泄漏",
            "幸福南路",
        ];
        AsrCorrection::new(words.into_iter())
            .expect("few words")
            .mend(PreparedUtterance::of(0, Leg::Caller, text))
            .text
    }

    #[test]
    fn a_known_word_that_sounds_the_same_takes_its_place() {
        assert_eq!(
            mended("我在支浮区，预付咖没用完，我要退宽。"),
            "我在芝罘区，预付卡没用完，我要退款。"
        );
        assert_eq!(mended("是场监管来的"), "市场监管来的");
    }

    #[test]
    fn what_is_well_formed_or_only_half_alike_stays() {
        for text in [
            "他推宽了路",
            "福南",
            "他们没有推款式",
            "今天的天气",
            "我在幸福路",
        ] {
            assert_eq!(mended(text), text);
        }
    }

    #[test]
    fn digits_and_units_are_put_right_inside_numbers_only() {
        assert_eq!(mended("还剩八白六十块钱"), "还剩八百六十块钱");
        assert_eq!(mended("八百流十元"), "八百六十元");
        assert_eq!(mended("一共舞百六十块"), "一共五百六十块");
        assert_eq!(mended("一百块吧，两万吧。"), "一百块吧，两万吧。");
        assert_eq!(mended("我白跑了一趟"), "我白跑了一趟");
        assert_eq!(mended("两千三白。"), "两千三百。");
        assert_eq!(mended("舞号楼山单元"), "五号楼三单元");
        assert_eq!(mended("南大街一百二十八好，"), "南大街一百二十八号，");
        assert_eq!(mended("一百二死八号，"), "一百二十八号，");
        assert_eq!(mended("一百二师吧号，"), "一百二十八号，");
        assert_eq!(mended("加起来氏八万六。"), "加起来十八万六。");
        assert_eq!(mended("剩坝百流十快钱"), "剩八百六十块钱");
        assert_eq!(mended("交了五千而，"), "交了五千二，");
        assert_eq!(mended("充了亮千，"), "充了两千，");
        assert_eq!(mended("市七路公交车"), "十七路公交车");
        assert_eq!(mended("是八万六，五千，而且"), "是八万六，五千，而且");
        for text in [
            "九百一十路。",
            "延吉路",
            "三百五前，",
            "我是三号楼。",
            "几号楼？",
        ] {
            assert_eq!(mended(text), text);
        }
    }

    #[test]
    fn evidence_still_points_at_the_words_as_recognised() {
        let words = ["燃气泄漏"];
        let correction = AsrCorrection::new(words.into_iter()).expect("few words");
        let said = correction.mend(PreparedUtterance::of(0, Leg::Caller, "嗯，有燃气卸漏了"));
        let range = said.find("燃气泄漏").expect("put right");
        let evidence = said.evidence(&range);
        assert_eq!((evidence.start, evidence.end), (3, 7));
    }

    #[test]
    fn what_is_a_word_with_its_neighbours_was_heard_rightly() {
        let words = ["家暴", "大车", "补发"];
        let correction = AsrCorrection::new(words.into_iter()).expect("few words");
        for text in ["我们一家报的团", "叫顺达车行", "补贴一直不发"] {
            assert_eq!(
                correction
                    .mend(PreparedUtterance::of(0, Leg::Caller, text))
                    .text,
                text
            );
        }
    }
}
