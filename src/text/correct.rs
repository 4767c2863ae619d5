//! Misheard words of the hotline's lists, put right by their sound.
//!
//! A line is read as a noisy message: each way of dividing it into known words has a cost, the improbability of the
//! words (their frequencies in jieba's dictionary), and where a word of the lists takes the place of what was
//! recognised, the improbability of mishearing it so. The cheapest way wins. What was recognised stands unless a list's
//! word is clearly likelier, so a well-formed sentence stays as it is.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use jieba_rs::Jieba;

use super::numerals::is_numeral;
use super::pinyin;
use super::spans;
use super::vocabulary::{LONGEST, Likeness, Vocabulary};

/// The frequencies of some 350,000 words (jieba's dictionary, MIT).
pub(super) static DICTIONARY: LazyLock<Jieba> = LazyLock::new(Jieba::new);

/// Words of all texts that the dictionary's frequencies were counted in.
const ALL_WORDS: f32 = 60_101_967.0;
/// What a list's word counts as, where the dictionary knows it as rarer: it is said on this hotline.
const LISTED: f32 = 400.0;
/// Costs in nats. A correction at all, so that a draw goes to what was recognised.
const CORRECTED: f32 = 2.0;
/// Each character that changes.
const CHANGED: f32 = 2.0;
/// How far apart it sounds; see [`pinyin`].
const APART: f32 = 6.0;
/// What was recognised there is a word itself.
const WELL_FORMED: f32 = 3.0;
/// The mean distance above which nothing sounds alike.
const MEAN_APART: f32 = 0.5;
/// The mean distance that a word of two, three, or more characters may have when not one of them was recognised.
const NONE_RIGHT: [f32; 3] = [0.12, 0.3, 0.35];

/// Loads the dictionary, which takes a fraction of a second, before the first line needs it.
pub fn warm_up() {
    LazyLock::force(&DICTIONARY);
    let _ = pinyin::readings('一');
}

/// A stretch of the line that was misheard.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    /// Which characters.
    pub range: Range<usize>,
    /// What was said; as many characters.
    pub letters: Vec<char>,
    /// The list that it comes from.
    pub list: Arc<str>,
}

/// What the lists' words put right in `letters` (simplified), in order, without overlaps.
#[must_use]
pub fn replacements(letters: &[char], vocabulary: &Vocabulary) -> Vec<Replacement> {
    let mut found = Vec::new();
    let firm = spans::firm(letters);
    let mut at = 0;
    while at < letters.len() {
        let long = letters[at..]
            .iter()
            .take_while(|letter| is_chinese(**letter))
            .count();
        if long > 0 && !vocabulary.terms().is_empty() {
            clause(letters, at..at + long, &firm, vocabulary, &mut found);
        }
        at += long.max(1);
    }
    surnames(letters, &firm, vocabulary, &mut found);
    digits(letters, &mut found);
    found.sort_by_key(|replacement| replacement.range.start);
    found
}

fn is_chinese(letter: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&letter)
}

/// The best way to a place in the clause.
#[derive(Clone)]
struct Way {
    cost: f32,
    from: usize,
    term: Option<(Vec<char>, Arc<str>)>,
}

fn clause(
    line: &[char],
    place: Range<usize>,
    firm: &[bool],
    vocabulary: &Vocabulary,
    found: &mut Vec<Replacement>,
) {
    let (letters, offset) = (&line[place.clone()], place.start);
    let text: String = letters.iter().collect();
    let bytes: Vec<usize> = text
        .char_indices()
        .map(|(byte, _)| byte)
        .chain([text.len()])
        .collect();
    let unknown = Way {
        cost: f32::INFINITY,
        from: 0,
        term: None,
    };
    let mut ways = vec![unknown; letters.len() + 1];
    ways[0].cost = 0.0;
    let mut word_ends = Vec::with_capacity(LONGEST);
    for at in 0..letters.len() {
        let so_far = ways[at].cost;
        word_ends.clear();
        for end in at + 1..=letters.len().min(at + LONGEST) {
            let word = &text[bytes[at]..bytes[end]];
            let listed = vocabulary.get(&letters[at..end]).map(|term| term.weight);
            if end > at + 1 && listed.is_none() && !DICTIONARY.has_word(word) {
                continue;
            }
            word_ends.push(end);
            let cost = so_far + improbability(word, listed);
            if cost < ways[end].cost {
                ways[end] = Way {
                    cost,
                    from: at,
                    term: None,
                };
            }
        }
        vocabulary.sounding_like(&letters[at..], |term, likeness| {
            let end = at + likeness.long;
            let place = offset + at..offset + end;
            if likeness.changed == 0
                || !sounds_alike(likeness)
                || touches_a_number(line, place, firm, &term.letters)
            {
                return;
            }
            let well_formed = likeness.long > 1 && word_ends.contains(&end);
            let said: String = term.letters.iter().collect();
            let cost = so_far
                + improbability(&said, Some(term.weight))
                + CORRECTED
                + CHANGED * likeness.changed as f32
                + APART * likeness.distance
                + if well_formed { WELL_FORMED } else { 0.0 };
            if cost < ways[end].cost {
                ways[end] = Way {
                    cost,
                    from: at,
                    term: Some((term.letters.to_vec(), term.list.clone())),
                };
            }
        });
    }
    let mut end = letters.len();
    while end > 0 {
        let way = ways[end].clone();
        if let Some((said, list)) = way.term {
            found.push(Replacement {
                range: offset + way.from..offset + end,
                letters: said,
                list,
            });
        }
        end = way.from;
    }
}

/// Whether writing `said` in that place would change a number: one of its numerals or what it counts, or a syllable
/// beside it that would become a numeral.
fn touches_a_number(line: &[char], place: Range<usize>, firm: &[bool], said: &[char]) -> bool {
    let numeral = |at: Option<usize>| {
        at.and_then(|at| line.get(at))
            .is_some_and(|letter| is_numeral(*letter))
    };
    let joins = said.first().copied().is_some_and(is_numeral)
        && numeral(place.start.checked_sub(1))
        || said.last().copied().is_some_and(is_numeral) && numeral(Some(place.end));
    joins
        || place.zip(said).any(|(at, said)| {
            line[at] != *said && (firm[at] || is_numeral(*said) && spans::stands_between(line[at]))
        })
}

fn improbability(word: &str, weight: Option<u8>) -> f32 {
    let known = if DICTIONARY.has_word(word) {
        DICTIONARY.suggest_freq(word) as f32
    } else {
        1.0
    };
    let count = weight.map_or(known, |weight| known.max(LISTED * f32::from(weight)));
    (ALL_WORDS / count.max(1.0)).ln()
}

fn sounds_alike(likeness: &Likeness) -> bool {
    let mean = likeness.distance / likeness.long as f32;
    let most = if likeness.changed == likeness.long {
        NONE_RIGHT[likeness.long.clamp(2, 4) - 2]
    } else {
        MEAN_APART
    };
    let right = likeness.long - likeness.changed;
    mean <= most && (likeness.far == 0 || (right >= 2 && likeness.changed == 1))
}

/// 免贵信亡 is 免贵姓王: where a surname must stand, the sound decides, and the more frequent name.
fn surnames(
    letters: &[char],
    firm: &[bool],
    vocabulary: &Vocabulary,
    found: &mut Vec<Replacement>,
) {
    const ADDRESS: [&str; 4] = ["先生", "女士", "小姐", "同志"];
    if vocabulary.surnames().is_empty() {
        return;
    }
    let list: Arc<str> = "姓氏".into();
    let mut put = |at: usize, letter: char| {
        if firm[at] {
            return;
        }
        // What another list changed there gives way: this slot knows more.
        found.retain(|other| !other.range.contains(&at));
        if letters[at] != letter {
            found.push(Replacement {
                range: at..at + 1,
                letters: vec![letter],
                list: list.clone(),
            });
        }
    };
    for at in 0..letters.len() {
        let rest = &letters[at..];
        let starts = |from: usize, word: &str| {
            word.chars()
                .enumerate()
                .all(|(index, letter)| rest.get(from + index) == Some(&letter))
        };
        let like = |index: usize, wanted: char| {
            rest.get(index).is_some_and(|heard| {
                pinyin::distance(*heard, wanted).is_some_and(|far| far <= 0.25)
            })
        };
        // 免贵姓X, whatever was made of 姓.
        if starts(0, "免贵") && like(2, '姓') && rest.len() > 3 && ends_clause(&rest[4..]) {
            put(at + 2, '姓');
            if let Some(name) = surname_like(&rest[3..], vocabulary) {
                put(at + 3, name);
            }
        }
        let named = rest[0] == '姓'
            && (at == 0 || !is_chinese(letters[at - 1]) || "我他她您".contains(letters[at - 1]))
            && rest.len() > 1
            && ends_clause(&rest[2..]);
        if named && let Some(name) = surname_like(&rest[1..], vocabulary) {
            put(at + 1, name);
        }
        // X先生, X女士 at the beginning of a clause.
        let opens = at == 0 || !is_chinese(letters[at - 1]) || "的是叫好".contains(letters[at - 1]);
        if opens
            && ADDRESS.iter().any(|address| starts(1, address))
            && is_chinese(rest[0])
            && !"这那位个老各男女哪多几等请问和跟给向对叫是，您你我他她".contains(rest[0])
            && let Some(name) = surname_like(rest, vocabulary)
        {
            put(at, name);
        }
    }
}

/// Whether what follows cannot belong to a name or a word that begins before it.
fn ends_clause(rest: &[char]) -> bool {
    rest.first()
        .is_none_or(|letter| !is_chinese(*letter) || "的啊吧呀呢是电我叫，先女".contains(*letter))
}

/// The surname that `letters` begin with in sound but not in writing.
fn surname_like(letters: &[char], vocabulary: &Vocabulary) -> Option<char> {
    let heard = *letters.first()?;
    // 姓什么, 姓名, 姓啥 ask; and a surname stays as it was recognised.
    if "什名啥甚氏".contains(heard) || vocabulary.surname_at(letters).is_some() {
        return None;
    }
    vocabulary
        .surnames()
        .iter()
        .filter_map(|name| {
            let mut name = name.chars();
            name.next().filter(|_| name.next().is_none())
        })
        .find(|name| pinyin::same_sound(*name, heard))
}

/// Digits that were taken for other words within a run of digits: 一三八六三无一.
fn digits(letters: &[char], found: &mut Vec<Replacement>) {
    const DIGITS: [char; 12] = [
        '零', '一', '二', '三', '四', '五', '六', '七', '八', '九', '幺', '两',
    ];
    let is_digit = |at: usize| {
        letters.get(at).is_some_and(|letter| {
            letter.is_ascii_digit() || DIGITS.contains(letter) || *letter == '〇'
        })
    };
    for at in 2..letters.len() {
        if is_numeral(letters[at]) || !is_chinese(letters[at]) || spans::stands_between(letters[at])
        {
            continue;
        }
        let before = (0..at).rev().take_while(|at| is_digit(*at)).count();
        let after = (at + 1..letters.len())
            .take_while(|at| is_digit(*at))
            .count();
        if before < 2 || after < 2 || before + after < 5 {
            continue;
        }
        let said = DIGITS[..11]
            .iter()
            .find(|digit| pinyin::distance(**digit, letters[at]).is_some_and(|far| far <= 0.2));
        if let Some(said) = said
            && !found.iter().any(|other| other.range.contains(&at))
        {
            found.push(Replacement {
                range: at..at + 1,
                letters: vec![*said],
                list: "数字".into(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vocabulary() -> Vocabulary {
        Vocabulary::parse([
            (
                "places",
                include_str!("../../deploy/examples/yantai/hotwords/places.txt"),
            ),
            (
                "departments",
                include_str!("../../deploy/examples/yantai/hotwords/departments.txt"),
            ),
            (
                "matters",
                include_str!("../../deploy/examples/yantai/hotwords/matters.txt"),
            ),
            (
                "phrases",
                include_str!("../../deploy/examples/yantai/hotwords/phrases.txt"),
            ),
            (
                "surnames",
                include_str!("../../deploy/examples/yantai/hotwords/surnames.txt"),
            ),
        ])
        .expect("the example's lists are sound")
    }

    fn corrected(vocabulary: &Vocabulary, text: &str) -> String {
        let mut letters: Vec<char> = text.chars().collect();
        for replacement in replacements(&letters.clone(), vocabulary) {
            letters[replacement.range].copy_from_slice(&replacement.letters);
        }
        letters.into_iter().collect()
    }

    #[test]
    fn what_was_misheard_becomes_what_was_said() {
        let vocabulary = vocabulary();
        for (heard, said) in [
            ("我在支湖区南大街", "我在芝罘区南大街"),
            ("免贵信亡。", "免贵姓王。"),
            ("免贵性张", "免贵姓张"),
            ("我姓留", "我姓刘"),
            ("好的，留女士", "好的，刘女士"),
            ("在来山区迎春大街", "在莱山区迎春大街"),
            ("木平区宁海街道", "牟平区宁海街道"),
            ("要求退宽", "要求退款"),
            ("健申卡不给退", "健身卡不给退"),
            ("我的预负卡", "我的预付卡"),
            ("联系电化", "联系电话"),
            ("电话一三八六三无一二二零七", "电话一三八六三五一二二零七"),
        ] {
            assert_eq!(corrected(&vocabulary, heard), said);
        }
    }

    #[test]
    fn well_formed_sentences_stay() {
        let vocabulary = vocabulary();
        for text in [
            "我要投诉楼下的烧烤店晚上太吵了",
            "他们家音响的声音特别大，影响我们休息",
            "派人来看过一次，后来就没人来了",
            "我用微信付的钱，卫生也不好",
            "姓什么？姓名是什么？",
            "姓姜，生姜的姜",
            "这位先生您别着急",
            "请问女士您住在哪里",
            "昨天上午九点多在北大街被一辆公交车蹭了",
            "孩子在学校门口被电动车撞了，学校不管",
            "暖气从上周开始就不热，室内温度只有十四度",
            "我是通过短视频平台买的衣服",
        ] {
            assert_eq!(corrected(&vocabulary, text), text);
        }
    }

    #[test]
    fn without_lists_nothing_changes() {
        let none = Vocabulary::default();
        assert_eq!(
            corrected(&none, "我在支湖区，免贵信亡"),
            "我在支湖区，免贵信亡"
        );
    }

    #[test]
    fn any_text_is_survived_and_replacements_never_overlap() {
        use rand::{RngExt, SeedableRng, rngs::StdRng};
        let vocabulary = vocabulary();
        let letters: Vec<char> = "支湖区来三免贵信亡先生女士姓留一三八无五，电话退宽的我是A1 "
            .chars()
            .collect();
        let mut random = StdRng::seed_from_u64(3);
        for _ in 0..2_000 {
            let long = random.random_range(0..24);
            let text: Vec<char> = (0..long)
                .map(|_| letters[random.random_range(0..letters.len())])
                .collect();
            let mut end = 0;
            for replacement in replacements(&text, &vocabulary) {
                assert!(replacement.range.start >= end, "{text:?}");
                end = replacement.range.end;
                assert_eq!(replacement.letters.len(), replacement.range.len());
            }
        }
    }
}
