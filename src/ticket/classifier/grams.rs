//! The classifier's view of a text: its letters, and the runs of one to three of them.

use std::ops::Range;

/// A text's letters, each with its place in the text as it was given.
pub(super) struct Letters {
    letters: Vec<char>,
    places: Vec<u32>,
}

/// How much of a text is read: more than any complaint has, and a bound on the work.
const MOST: usize = 6_000;
/// Longest run of letters that counts as one sign.
const LONGEST: usize = 3;

/// A run of one to three letters, packed into one number.
pub(super) type Gram = u64;

/// Stands for what all texts have in common; no run of letters is packed into 0.
pub(super) const BASE: Gram = 0;

impl Letters {
    /// Half width, lower case, numbers as one mark, nothing between the letters.
    pub fn of(text: &str) -> Self {
        let mut found = Self {
            letters: Vec::new(),
            places: Vec::new(),
        };
        for (place, letter) in (0_u32..).zip(text.chars().take(MOST)) {
            let letter = match letter {
                '！'..='～' => char::from_u32(u32::from(letter) - 0xFEE0).unwrap_or(letter),
                _ => letter,
            };
            let letter = match letter.to_ascii_lowercase() {
                '0'..='9' => '0',
                other => other,
            };
            let again = letter == '0' && found.letters.last() == Some(&'0');
            if letter.is_alphanumeric() && !again {
                found.letters.push(letter);
                found.places.push(place);
            }
        }
        found
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// The first `count` of them.
    pub fn first(mut self, count: usize) -> Self {
        self.letters.truncate(count);
        self.places.truncate(count);
        self
    }

    /// Every gram with the index of its first letter.
    pub fn grams(&self) -> impl Iterator<Item = (Gram, usize)> {
        (0..self.letters.len()).flat_map(move |start| {
            let most = LONGEST.min(self.letters.len() - start);
            let mut gram = 0;
            (0..most).map(move |length| {
                gram = (gram << 21) | Gram::from(u32::from(self.letters[start + length]));
                (gram, start)
            })
        })
    }

    /// The characters of the text that the gram which begins at `start` covers.
    pub fn place(&self, gram: Gram, start: usize) -> Range<usize> {
        let end = (start + length(gram)).min(self.places.len());
        self.places[start] as usize..self.places[end - 1] as usize + 1
    }
}

/// How many letters a gram has.
pub(super) fn length(gram: Gram) -> usize {
    match gram {
        0..=0x1F_FFFF => 1,
        0x20_0000..=0x3FF_FFFF_FFFF => 2,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::Letters;

    #[test]
    fn letters_keep_their_places_and_numbers_are_one_mark() {
        let letters = Letters::of("Ａ区，１２８号 楼");
        assert_eq!(letters.letters, ['a', '区', '0', '号', '楼']);
        assert_eq!(letters.places, [0, 1, 3, 6, 8]);
        let (gram, start) = letters.grams().last().expect("some");
        assert_eq!(letters.place(gram, start), 8..9);
        assert_eq!(letters.grams().count(), 3 + 3 + 3 + 2 + 1);
        let (gram, _) = letters
            .grams()
            .nth(8)
            .expect("the third of the third letter");
        assert_eq!(letters.place(gram, 2), 3..9);
    }

    #[test]
    fn an_empty_text_has_no_grams() {
        assert_eq!(Letters::of("，。 ").grams().count(), 0);
    }
}
