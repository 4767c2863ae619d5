//! Keeps invented words out: whisper fills silence with loops and with phrases from its training subtitles.

use std::time::Duration;

use crate::speech::words::Word;

/// What whisper says over silence, music and noise because its training videos ended so. Matched without punctuation,
/// and only when it is the whole of an utterance or an unmistakable part.
const STOCK_PHRASES: [&str; 22] = [
    "字幕由",
    "字幕志愿者",
    "字幕組",
    "字幕组",
    "請不吝點贊",
    "请不吝点赞",
    "明镜与点点栏目",
    "amaraorg",
    "感谢观看",
    "谢谢观看",
    "謝謝觀看",
    "感謝觀看",
    "感谢收看",
    "谢谢收看",
    "谢谢大家观看",
    "明鏡與點點欄目",
    "請訂閱",
    "请订阅",
    "订阅我的频道",
    "thanksforwatching",
    "thankyouforwatching",
    "subscribetomychannel",
];

/// Longest unit that a decoder loop repeats, in characters: a sentence.
const LONGEST_UNIT: usize = 30;

/// Whether `text` is nothing but what whisper invents.
pub fn is_stock_phrase(text: &str) -> bool {
    let bare: String = text
        .chars()
        .filter(|letter| letter.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect();
    STOCK_PHRASES.iter().any(|phrase| bare.contains(phrase))
}

/// Whether `text` is nothing but words of the prompt: over noise the decoder repeats what it was shown.
pub fn is_echo(text: &str, prompt: &str) -> bool {
    let letters = |text: &str| {
        text.chars()
            .filter(|letter| letter.is_alphanumeric())
            .collect::<String>()
    };
    let said = letters(text);
    !said.is_empty() && letters(prompt).contains(&said)
}

/// Characters a second that nobody says; fast Mandarin is some seven.
const FASTEST: f64 = 10.0;

/// Whether `text` is more than can be said in the time: a decoder that repeats what it was told goes on and on.
pub fn outruns(text: &str, lasts: Duration) -> bool {
    // Latin letters are several to a syllable.
    let syllables = text
        .chars()
        .filter(|letter| letter.is_alphanumeric() && !letter.is_ascii_alphabetic());
    syllables.count() as f64 > FASTEST * lasts.as_secs_f64()
}

/// Words of which the decoder is less sure than this are guesses when they stand at the end.
const WEAK_WORD: f32 = 0.3;
/// So many weak words at the end are a tail that was made up over noise behind the speech.
const WEAK_WORDS: usize = 3;
/// Their mean confidence at most.
const WEAK_MEAN: f32 = 0.2;

/// Where a tail of guesses begins: the character behind the last word that the decoder was sure of.
pub fn weak_tail(words: &[Word]) -> Option<usize> {
    let sure = words
        .iter()
        .rposition(|word| word.confidence >= WEAK_WORD)
        .map_or(0, |at| at + 1);
    let tail = &words[sure..];
    let mean = tail.iter().map(|word| word.confidence).sum::<f32>() / tail.len().max(1) as f32;
    (sure > 0 && tail.len() >= WEAK_WORDS && mean < WEAK_MEAN).then(|| words[sure - 1].to as usize)
}

/// Where a decoder loop begins to repeat itself: the character after which the first unit's repetitions may go.
///
/// A caller does say 对对对 or 零零零零, so short units need more repetitions than long ones.
pub fn loop_start(text: &str) -> Option<usize> {
    let letters: Vec<char> = text.chars().collect();
    (0..letters.len()).find_map(|start| {
        (1..=LONGEST_UNIT).find_map(|unit| {
            let needed = match unit {
                1 => 8,
                2..=8 => 4,
                _ => 3,
            };
            let repeats = letters[start..]
                .chunks_exact(unit)
                .take_while(|chunk| **chunk == letters[start..start + unit])
                .count();
            (repeats >= needed).then_some(start + unit)
        })
    })
}

/// Mends what byte-wise decoding leaves: torn characters go, and punctuation is the Chinese one.
///
/// Whisper spells rarer characters in bytes. A wrong last byte of `，` (EF BC 8C) makes a full-width letter or digit
/// of it, which no Chinese sentence holds, and other torn characters come out as U+FFFD.
pub fn mend(text: &str) -> String {
    let letters: Vec<char> = text
        .trim()
        .chars()
        .filter(|letter| *letter != '\u{fffd}')
        .collect();
    let is_latin = |at: Option<&char>| at.is_some_and(char::is_ascii_alphanumeric);
    let mended = letters.iter().enumerate().map(|(at, letter)| {
        let between_latin =
            at > 0 && is_latin(letters.get(at - 1)) && is_latin(letters.get(at + 1));
        match letter {
            '０'..='９' | 'Ａ'..='Ｚ' | 'ａ'..='ｚ' => '，',
            ',' if !between_latin => '，',
            '?' => '？',
            '!' => '！',
            ':' if !between_latin => '：',
            ';' => '；',
            other => *other,
        }
    });
    mended.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subtitles_credits_are_stock_phrases_and_a_caller_s_thanks_are_not() {
        assert!(is_stock_phrase("字幕由 Amara.org 社区提供"));
        assert!(is_stock_phrase("请不吝点赞 订阅 转发"));
        assert!(!is_stock_phrase("谢谢，再见。"));
    }

    #[test]
    fn words_of_the_prompt_alone_are_an_echo() {
        let prompt = "热线通话。您好,请说。";
        assert!(is_echo("好，请说。", prompt));
        assert!(!is_echo("您好，我要投诉。", prompt) && !is_echo("。", prompt));
    }

    #[test]
    fn more_than_can_be_said_is_noticed() {
        let (echo, second) = ("您好，请问您贵姓？具体地址在哪里？", Duration::from_secs(1));
        assert!(outruns(&echo.repeat(3), 4 * second));
        assert!(!outruns(echo, 2 * second));
        assert!(!outruns("13800005555", 2 * second));
        assert!(!outruns("Good morning, everybody", second));
    }

    #[test]
    fn loops_are_found_and_spoken_repetitions_are_not() {
        assert_eq!(
            loop_start("我要退款，我要退款，我要退款，我要退款，我要退款，"),
            Some(5)
        );
        assert_eq!(loop_start("好好好好好好好好好好"), Some(1));
        let sentence = "大学生利用漏洞免费吃快餐。";
        assert_eq!(loop_start(&sentence.repeat(3)), Some(13));
        for spoken in [
            "对对对。",
            "我要投诉这家公司。我要投诉这家公司。",
            "一三八零零零零五五五五",
            "不是不是，我说的是芝罘区。",
            "",
        ] {
            assert_eq!(loop_start(spoken), None, "{spoken}");
        }
    }

    #[test]
    fn torn_characters_and_foreign_punctuation_are_mended() {
        assert_eq!(
            mend(" 您好４我住西平电\u{fffd}在南大街,对吗?"),
            "您好，我住西平电在南大街，对吗？"
        );
        assert_eq!(mend("花了1,200块, 3:30到"), "花了1,200块， 3:30到");
    }

    #[test]
    fn a_tail_of_guesses_is_found_and_single_weak_words_are_not() {
        let words = |confidences: &[f32]| -> Vec<Word> {
            (0..)
                .zip(confidences)
                .map(|(at, confidence)| Word {
                    from: at,
                    to: at + 1,
                    start: crate::audio::MediaTime::ZERO,
                    end: crate::audio::MediaTime::ZERO,
                    confidence: *confidence,
                })
                .collect()
        };
        assert_eq!(weak_tail(&words(&[0.9, 0.8, 0.1, 0.2, 0.1])), Some(2));
        assert_eq!(weak_tail(&words(&[0.9, 0.1, 0.1, 0.8])), None);
        assert_eq!(weak_tail(&words(&[0.9, 0.1, 0.2])), None);
        assert_eq!(weak_tail(&words(&[0.1, 0.1, 0.1])), None);
        assert_eq!(weak_tail(&[]), None);
    }
}
