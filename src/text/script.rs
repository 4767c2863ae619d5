//! Traditional characters to simplified ones, character by character, and the few words in which one character has two
//! simplified forms.

use std::collections::HashMap;
use std::sync::LazyLock;

/// `OpenCC`'s table of characters (Apache-2.0); lines with `#` are comments.
const TABLE: &str = include_str!("simplified.txt");

/// Characters whose form depends on the word: the character, its usual form, and the neighbours (after it, before it)
/// beside which it stays or takes another form.
const BY_WORD: [(char, char, &str, &str, char); 5] = [
    ('著', '着', "名作述称者", "显名专原编论卓昭遗巨", '著'),
    ('乾', '干', "隆坤", "", '乾'),
    ('瞭', '了', "望", "", '瞭'),
    ('覆', '覆', "", "回答反批", '复'),
    ('藉', '借', "", "慰狼蕴枕", '藉'),
];

static SIMPLIFIED: LazyLock<HashMap<char, char>> = LazyLock::new(|| {
    TABLE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(str::split_whitespace)
        .filter_map(|pair| {
            let mut letters = pair.chars();
            Some((letters.next()?, letters.next()?))
        })
        .collect()
});

/// The simplified form of a character outside any word.
#[must_use]
pub fn simplified_letter(letter: char) -> char {
    if letter < '\u{3400}' {
        return letter;
    }
    SIMPLIFIED.get(&letter).copied().unwrap_or(letter)
}

/// Makes `letters` simplified in place; their number stays the same.
pub fn simplify(letters: &mut [char]) {
    for at in 0..letters.len() {
        let letter = letters[at];
        if letter < '\u{3400}' {
            continue;
        }
        letters[at] = match BY_WORD.iter().find(|(known, ..)| *known == letter) {
            Some((_, usual, after, before, otherwise)) => {
                let next = letters
                    .get(at + 1)
                    .is_some_and(|next| after.contains(*next));
                let last = at > 0 && before.contains(letters[at - 1]);
                if next || last { *otherwise } else { *usual }
            }
            // 甚麼 is 什么; 甚至 keeps its 甚.
            None if letter == '甚' && matches!(letters.get(at + 1), Some('麼' | '么' | '麽')) => {
                '什'
            }
            None => simplified_letter(letter),
        };
    }
}

/// `text` in simplified characters.
#[must_use]
pub fn simplified(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    simplify(&mut letters);
    letters.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traditional_text_becomes_simplified_and_simplified_text_stays() {
        for (traditional, wanted) in [
            (
                "請問您貴姓？以後這裡關於電話",
                "请问您贵姓？以后这里关于电话",
            ),
            (
                "煙臺芝罘區麵包店關閉預付卡餘額",
                "烟台芝罘区面包店关闭预付卡余额",
            ),
            ("甚麼時候辦的？甚至", "什么时候办的？甚至"),
            ("看著瞭解，已經回覆", "看着了解，已经回复"),
            ("著名的鐘錶店，乾淨", "著名的钟表店，干净"),
            ("覆盖、乾隆、瞭望", "覆盖、乾隆、瞭望"),
            ("妳們裏面頭髮發現", "你们里面头发发现"),
        ] {
            assert_eq!(simplified(traditional), wanted);
            assert_eq!(simplified(wanted), wanted);
        }
    }

    #[test]
    fn the_table_is_whole_and_changes_each_character_once() {
        assert!(SIMPLIFIED.len() > 2_900);
        for (from, to) in SIMPLIFIED.iter() {
            assert_eq!(simplified_letter(*to), *to, "{from}");
        }
    }
}
