//! Keeps invented words out: whisper fills silence with loops and with phrases from its training subtitles.

/// What whisper says over silence, music and noise because its training videos ended so. Matched without punctuation,
/// and only when it is the whole of an utterance or an unmistakable part.
const STOCK_PHRASES: [&str; 10] = [
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
];

/// Longest unit that a decoder loop repeats, in characters.
const LONGEST_UNIT: usize = 12;

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

/// Where a decoder loop begins to repeat itself: the character after which the first unit's repetitions may go.
///
/// A caller does say 对对对 or 零零零零, so short units need more repetitions than long ones.
pub fn loop_start(text: &str) -> Option<usize> {
    let letters: Vec<char> = text.chars().collect();
    (0..letters.len()).find_map(|start| {
        (1..=LONGEST_UNIT).find_map(|unit| {
            let needed = if unit == 1 { 8 } else { 4 };
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
    fn loops_are_found_and_spoken_repetitions_are_not() {
        assert_eq!(
            loop_start("我要退款，我要退款，我要退款，我要退款，我要退款，"),
            Some(5)
        );
        assert_eq!(loop_start("好好好好好好好好好好"), Some(1));
        for spoken in [
            "对对对。",
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
}
