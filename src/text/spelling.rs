//! Names put right by the words that they are made of: 企航英语 is 启航英语.
//!
//! A recogniser that mishears one character of a name writes another that sounds the same. What it writes then is no
//! word together with its neighbours; where exactly one homophone makes it one, that was said. A name whose characters
//! are words already stays as it is, and so does one that no word is near.

use std::collections::HashSet;
use std::sync::LazyLock;

use super::correct::DICTIONARY;
use super::pinyin;

/// The characters that names of people, places and shops are made of: where one of them stands, it may well be meant,
/// whether it makes a word or not.
static OF_NAMES: LazyLock<HashSet<char>> =
    LazyLock::new(|| include_str!("names.txt").chars().collect());

/// How often a word must stand in the dictionary's texts to be worth putting in place of what was recognised.
const USUAL: usize = 20;
/// The longest name that is looked at.
const LONGEST: usize = 16;

/// Whether these characters are a word that people use.
#[must_use]
pub fn is_word(letters: &[char]) -> bool {
    DICTIONARY.has_word(&letters.iter().collect::<String>())
}

/// The words of a text: how many characters each has.
#[must_use]
pub fn segmented(text: &str) -> Vec<usize> {
    let words = DICTIONARY.cut(text, false);
    words
        .into_iter()
        .map(|word| word.word.chars().count())
        .collect()
}

/// The name as it was most likely said, if one character of each of some of its words was misheard.
#[must_use]
pub fn likeliest(name: &[char]) -> Option<Vec<char>> {
    if !(2..=LONGEST).contains(&name.len()) {
        return None;
    }
    // What is a part of a word with its neighbours is right.
    let mut sound = vec![false; name.len()];
    for long in 2..=4.min(name.len()) {
        for at in 0..=name.len() - long {
            if is_word(&name[at..at + long]) {
                sound[at..at + long].fill(true);
            }
        }
    }
    let mut better: Vec<(usize, usize, char)> = Vec::new();
    for at in 0..name.len() - 1 {
        for wrong in [at, at + 1] {
            let right = 2 * at + 1 - wrong;
            if sound[wrong] || OF_NAMES.contains(&name[wrong]) {
                continue;
            }
            for &letter in pinyin::homophones(name[wrong]) {
                let mut pair = [name[at], name[at + 1]];
                pair[wrong - at] = letter;
                let pair: String = pair.iter().collect();
                if letter != name[wrong] && DICTIONARY.has_word(&pair) {
                    let often = DICTIONARY.suggest_freq(&pair);
                    // A neighbour that belongs to another word makes this one less likely.
                    let often = if sound[right] { often / 10 } else { often };
                    better.push((often, wrong, letter));
                }
            }
        }
    }
    better.sort_by(|a, b| b.cmp(a));
    let mut said = name.to_vec();
    for (often, at, letter) in better {
        if often >= USUAL && !sound[at] {
            said[at] = letter;
            let from = at.saturating_sub(1);
            let until = (at + 2).min(said.len());
            for pair in from..until - 1 {
                if is_word(&said[pair..pair + 2]) {
                    sound[pair..pair + 2].fill(true);
                }
            }
        }
    }
    (said != name).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::likeliest;

    fn said(name: &str) -> String {
        let letters: Vec<char> = name.chars().collect();
        likeliest(&letters).map_or_else(|| name.to_owned(), |said| said.into_iter().collect())
    }

    #[test]
    fn a_misheard_character_is_put_right_by_the_word_that_it_stands_in() {
        assert_eq!(said("祈航英语"), "启航英语");
        assert_eq!(said("渔家灯惑"), "渔家灯火");
        assert_eq!(said("胶东国击旅行社"), "胶东国际旅行社");
        assert_eq!(said("东倡供热"), "东昌供热");
    }

    #[test]
    fn a_name_that_is_well_formed_or_near_no_word_stays() {
        for name in [
            "恒信物业",
            "金海湾小区",
            "尚美丝语",
            "鲁海人家",
            "三和电器",
            "中通",
            "小美严选",
            "衣",
            "",
            "ABC",
        ] {
            assert_eq!(said(name), name);
        }
    }
}
