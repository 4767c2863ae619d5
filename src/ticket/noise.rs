//! Recognition errors made on purpose and by a seed: characters that sound alike, and characters that are lost.
//!
//! The evaluation spoils dialogues with it, and the classifier learns from texts that it has spoiled.

use std::sync::LazyLock;

use crate::text::pinyin::{Syllable, readings, written};

/// Numbers that look drawn by lot and are the same for the same seed.
#[derive(Clone, Debug)]
pub struct Dice(u64);

impl Dice {
    /// Dice that start from `seed`.
    pub fn new(seed: u64) -> Self {
        // Any seed will do, also 0, from which a xorshift would never come away.
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// A number below `count`, which is not 0.
    pub fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    /// Whether something comes true that does so in `share` of the cases.
    pub fn hits(&mut self, share: f64) -> bool {
        (self.next() as f64) < share * (1_u64 << 53) as f64
    }
}

/// Kinds of syllables that whole regions take for each other.
static NEAR: LazyLock<Vec<Vec<usize>>> = LazyLock::new(|| {
    let spoken: Vec<usize> = (0..Syllable::KINDS)
        .filter(|kind| !written(*kind).is_empty())
        .collect();
    (0..Syllable::KINDS)
        .map(|kind| {
            spoken
                .iter()
                .copied()
                .filter(|other| *other != kind && Syllable::kind_distance(kind, *other) < 0.26)
                .collect()
        })
        .collect()
});

/// What `letter` may be misheard as; `None` when it is lost.
fn misheard(letter: char, dice: &mut Dice) -> Option<char> {
    if dice.hits(0.25) {
        return None;
    }
    let kind = readings(letter).first()?.kind();
    let near = &NEAR[kind];
    let kind = if !near.is_empty() && dice.hits(0.2) {
        near[dice.below(near.len())]
    } else {
        kind
    };
    let others: Vec<char> = written(kind)
        .iter()
        .copied()
        .filter(|other| *other != letter)
        .collect();
    (!others.is_empty()).then(|| others[dice.below(others.len())])
}

/// `text` with `share` (0.0 to 1.0) of its letters wrong: three of four misheard, one lost. Punctuation stays.
pub fn spoiled(text: &str, share: f64, dice: &mut Dice) -> String {
    text.chars()
        .filter_map(|letter| {
            if letter.is_alphanumeric() && dice.hits(share) {
                misheard(letter, dice)
            } else {
                Some(letter)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Dice, spoiled};
    use crate::text::pinyin;

    #[test]
    fn as_many_letters_are_wrong_as_were_asked_for_and_most_sound_alike() {
        let text = "我反映一下小区的电梯坏了很久没有人来修理，".repeat(200);
        let noisy = spoiled(&text, 0.15, &mut Dice::new(7));
        let letters = |text: &str| text.chars().filter(|letter| *letter != '，').count();
        let lost = letters(&text) - letters(&noisy);
        let share = lost as f64 / letters(&text) as f64;
        assert!((0.03..0.06).contains(&share), "{share} lost");
        assert_eq!(noisy, spoiled(&text, 0.15, &mut Dice::new(7)));
        assert_ne!(noisy, spoiled(&text, 0.15, &mut Dice::new(8)));
        assert_eq!(spoiled(&text, 0.0, &mut Dice::new(7)), text);
        let other = spoiled("电", 1.0, &mut Dice::new(3));
        let other = other.chars().next().expect("not lost with this seed");
        assert!(
            pinyin::distance('电', other).expect("both sound") < 0.7,
            "{other}"
        );
    }
}
