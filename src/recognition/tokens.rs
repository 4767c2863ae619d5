//! From a decoder's tokens to characters with times: tokens are pieces of bytes, a character may need three of them.

use std::time::Duration;

use crate::audio::MediaTime;
use crate::speech::words::Letter;

/// A text token as the decoder gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its probability.
    pub probability: f32,
    /// When it had been said; `None` when the engine does not know.
    pub end: Option<MediaTime>,
}

/// The characters of `tokens`, spoken between `start` and `end`; torn ones come out as U+FFFD.
///
/// A token begins where the one before it ended. Where the engine gave no times, they are spread evenly.
pub fn letters(tokens: &[Token], start: MediaTime, end: MediaTime) -> Vec<Letter> {
    let times = times(tokens, start, end);
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|token| token.bytes.iter().copied())
        .collect();
    // For each byte its token and its place in it.
    let owners: Vec<(usize, usize)> = tokens
        .iter()
        .enumerate()
        .flat_map(|(at, token)| (0..token.bytes.len()).map(move |byte| (at, byte)))
        .collect();
    let time_at = |byte: usize, behind: usize| {
        let (token, place) = owners[byte];
        let (start, end) = times[token];
        let share = (place + behind) as f64 / tokens[token].bytes.len() as f64;
        start + end.since(start).mul_f64(share)
    };
    let letter = |letter: char, from: usize, length: usize| {
        let last = from + length - 1;
        let sure = owners[from].0..=owners[last].0;
        Letter {
            letter,
            start: time_at(from, 0),
            end: time_at(last, 1),
            confidence: tokens[sure]
                .iter()
                .map(|token| token.probability)
                .fold(1.0, f32::min),
        }
    };
    let mut letters = Vec::new();
    let mut at = 0;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            letters.push(letter(character, at, character.len_utf8()));
            at += character.len_utf8();
        }
        if !chunk.invalid().is_empty() {
            letters.push(letter('\u{fffd}', at, chunk.invalid().len()));
            at += chunk.invalid().len();
        }
    }
    letters
}

/// When each token began and ended, rising and between `start` and `end`.
fn times(tokens: &[Token], start: MediaTime, end: MediaTime) -> Vec<(MediaTime, MediaTime)> {
    let total: usize = tokens.iter().map(|token| token.bytes.len()).sum();
    let span = end.since(start);
    let (mut until, mut written) = (start, 0);
    let mut times: Vec<_> = tokens
        .iter()
        .map(|token| {
            written += token.bytes.len();
            let even = || start + even_share(span, written, total);
            let ends = token.end.unwrap_or_else(even).clamp(until, end.max(until));
            let times = (until, ends);
            until = ends;
            times
        })
        .collect();
    share_moments(&mut times);
    times
}

/// No token is said in no time: those that seem to end together share the time of the first of them evenly.
fn share_moments(times: &mut [(MediaTime, MediaTime)]) {
    let mut at = 0;
    while at < times.len() {
        let together = times[at + 1..]
            .iter()
            .take_while(|(start, end)| start == end);
        let count = together.count() as u32 + 1;
        let (start, end) = times[at];
        let share = |part: u32| start + end.since(start) * part / count;
        for (part, time) in (0..count).zip(&mut times[at..]) {
            *time = (share(part), share(part + 1));
        }
        at += count as usize;
    }
}

fn even_share(span: Duration, part: usize, whole: usize) -> Duration {
    span.mul_f64(part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], probability: f32, end: Option<u64>) -> Token {
        Token {
            bytes: bytes.to_vec(),
            probability,
            end: end.map(MediaTime::from_millis),
        }
    }

    fn heard(tokens: &[Token]) -> Vec<(char, u64, u64, f32)> {
        letters(
            tokens,
            MediaTime::from_millis(1_000),
            MediaTime::from_millis(2_000),
        )
        .iter()
        .map(|letter| {
            (
                letter.letter,
                letter.start.as_millis(),
                letter.end.as_millis(),
                letter.confidence,
            )
        })
        .collect()
    }

    #[test]
    fn a_character_of_three_tokens_spans_them_and_is_as_sure_as_the_least() {
        let zhi = "芝".as_bytes();
        assert_eq!(
            heard(&[
                token("住".as_bytes(), 0.9, Some(1_200)),
                token(&zhi[..1], 0.8, Some(1_300)),
                token(&zhi[1..2], 0.3, Some(1_350)),
                token(&zhi[2..], 0.9, Some(1_400)),
            ]),
            [('住', 1_000, 1_200, 0.9), ('芝', 1_200, 1_400, 0.3)]
        );
    }

    #[test]
    fn a_token_of_two_characters_is_shared_evenly() {
        assert_eq!(
            heard(&[token("投诉".as_bytes(), 0.5, Some(1_400))]),
            [('投', 1_000, 1_200, 0.5), ('诉', 1_200, 1_400, 0.5)]
        );
    }

    #[test]
    fn without_times_the_speech_is_shared_evenly_and_wrong_times_are_put_in_order_and_shared() {
        let even = heard(&[
            token("好".as_bytes(), 1.0, None),
            token("的".as_bytes(), 1.0, None),
        ]);
        assert_eq!(even, [('好', 1_000, 1_500, 1.0), ('的', 1_500, 2_000, 1.0)]);
        let mended = heard(&[
            token("好".as_bytes(), 1.0, Some(1_700)),
            token("的".as_bytes(), 1.0, Some(900)),
            token("吧".as_bytes(), 1.0, Some(9_000)),
        ]);
        assert_eq!(
            mended,
            [
                ('好', 1_000, 1_350, 1.0),
                ('的', 1_350, 1_700, 1.0),
                ('吧', 1_700, 2_000, 1.0)
            ]
        );
    }

    #[test]
    fn torn_bytes_are_one_torn_character() {
        let torn = heard(&[
            token(&[0xe8, 0x8a], 0.2, Some(1_100)),
            token(b"a", 1.0, Some(1_200)),
        ]);
        assert_eq!(
            torn,
            [('\u{fffd}', 1_000, 1_100, 0.2), ('a', 1_100, 1_200, 1.0)]
        );
    }
}
