//! Chinese punctuation: one form of each mark, a comma where the speaker paused, and the mark that ends a line.

use std::time::Duration;

use crate::speech::words::Word;

/// A pause between two words that is written as a comma: longer than the closure of any consonant.
const PAUSE: Duration = Duration::from_millis(500);

/// Characters and where each stood in the text that they come from.
pub(super) struct Tidy {
    /// The characters.
    pub letters: Vec<char>,
    /// Each one's place; a mark that was put in has that of the character behind it.
    pub origin: Vec<usize>,
}

/// Whether a character divides clauses.
#[must_use]
pub const fn is_stop(letter: char) -> bool {
    matches!(letter, '，' | '。' | '？' | '！' | '、' | '；' | '：')
}

fn is_chinese(letter: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&letter)
}

/// One form of each mark, no spaces within Chinese, no mark twice or first, commas at the pauses between `words`.
pub(super) fn tidied(text: &[char], words: &[Word]) -> Tidy {
    let mut tidy = Tidy {
        letters: Vec::with_capacity(text.len() + 4),
        origin: Vec::with_capacity(text.len() + 4),
    };
    let mut paused = words
        .windows(2)
        .filter(|pair| pair[1].start.since(pair[0].end) >= PAUSE && pair[0].to == pair[1].from)
        .map(|pair| pair[1].from as usize)
        .peekable();
    for (at, letter) in text.iter().copied().enumerate() {
        let before = at.checked_sub(1).map(|at| text[at]);
        let after = text.get(at + 1).copied();
        let latin =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
        let within_latin = latin(before) && latin(after);
        let form = match letter {
            ',' if !within_latin => '，',
            ';' => '；',
            '?' => '？',
            '!' => '！',
            ':' if !within_latin => '：',
            '.' if !within_latin => '。',
            '…' | '—' => '，',
            '\u{ff01}'..='\u{ff5e}' if !is_stop(letter) => {
                char::from_u32(letter as u32 - 0xfee0).unwrap_or(letter)
            }
            letter if letter.is_whitespace() => match (before, after) {
                (Some(before), Some(after)) if is_chinese(before) && is_chinese(after) => '，',
                (Some(before), Some(after)) if before.is_ascii() && after.is_ascii() => ' ',
                _ => continue,
            },
            other => other,
        };
        if paused.next_if(|pause| *pause <= at).is_some()
            && tidy.letters.last().is_some_and(|last| is_chinese(*last))
            && is_chinese(form)
        {
            tidy.letters.push('，');
            tidy.origin.push(at);
        }
        if is_stop(form) {
            match tidy.letters.last() {
                None => continue,
                Some(last) if is_stop(*last) => {
                    // Of two marks the one that says more stays.
                    if *last == '，' && form != '、' {
                        *tidy.letters.last_mut().expect("there is one") = form;
                    }
                    continue;
                }
                Some(_) => {}
            }
        }
        tidy.letters.push(form);
        tidy.origin.push(at);
    }
    tidy
}

/// Ends a finished line with its mark.
pub(super) fn end(letters: &mut Vec<char>) {
    let Some(last) = letters.last().copied() else {
        return;
    };
    let open = !is_stop(last) || matches!(last, '，' | '、' | '；' | '：');
    if is_stop(last) && (open || last == '。') {
        letters.pop();
    }
    if !open && last != '。' || !letters.iter().any(|letter| letter.is_alphanumeric()) {
        if last == '。' {
            letters.push(last);
        }
        return;
    }
    letters.push(if asks(letters) { '？' } else { '。' });
}

/// Whether the last clause is a question.
fn asks(letters: &[char]) -> bool {
    const ASKING: [&str; 23] = [
        "什么",
        "怎么",
        "哪里",
        "哪儿",
        "哪个",
        "哪家",
        "哪一",
        "谁",
        "几点",
        "几号",
        "多少",
        "多长",
        "多久",
        "是不是",
        "能不能",
        "有没有",
        "可不可以",
        "要不要",
        "行不行",
        "对不对",
        "为何",
        "如何",
        "何时",
    ];
    const TELLING: [&str; 12] = [
        "不知道",
        "没什么",
        "没有什么",
        "什么都",
        "怎么都",
        "怎么也",
        "谁都",
        "谁也",
        "哪都",
        "没怎么",
        "告诉",
        "反正",
    ];
    let from = letters
        .iter()
        .rposition(|letter| is_stop(*letter))
        .map_or(0, |at| at + 1);
    let clause: String = letters[from..].iter().collect();
    clause.ends_with('吗')
        || clause.ends_with("您贵姓")
        || clause == "贵姓"
        || ASKING.iter().any(|word| clause.contains(word))
            && !TELLING.iter().any(|word| clause.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::MediaTime;

    fn written(text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        let mut tidy = tidied(&letters, &[]);
        end(&mut tidy.letters);
        tidy.letters.into_iter().collect()
    }

    #[test]
    fn marks_have_one_form_and_lines_an_end() {
        for (heard, wanted) in [
            ("您好,请讲", "您好，请讲。"),
            ("请问有什么可以帮您", "请问有什么可以帮您？"),
            ("您的诉求是退款,对吗.", "您的诉求是退款，对吗？"),
            ("先生您贵姓", "先生您贵姓？"),
            ("我不知道怎么回事", "我不知道怎么回事。"),
            ("你好 我要投诉", "你好，我要投诉。"),
            ("，，对。。", "对。"),
            ("YT 88 号,", "YT 88号。"),
            ("花了1,200块!", "花了1,200块！"),
            ("３号楼", "3号楼。"),
            ("对，", "对。"),
            ("", ""),
            ("。", ""),
        ] {
            assert_eq!(written(heard), wanted, "{heard}");
        }
    }

    #[test]
    fn a_pause_between_words_becomes_a_comma() {
        let letters: Vec<char> = "门锁了电话打不通".chars().collect();
        let words: Vec<Word> = (0..letters.len() as u32)
            .map(|at| {
                let start = u64::from(at) * 200 + if at >= 3 { 600 } else { 0 };
                Word {
                    from: at,
                    to: at + 1,
                    start: MediaTime::from_millis(start),
                    end: MediaTime::from_millis(start + 180),
                    confidence: 1.0,
                }
            })
            .collect();
        let tidy = tidied(&letters, &words);
        assert_eq!(
            tidy.letters.iter().collect::<String>(),
            "门锁了，电话打不通"
        );
        assert_eq!(tidy.origin, [0, 1, 2, 3, 3, 4, 5, 6, 7]);
    }
}
