//! How Chinese characters sound: their readings, and how easily a listener takes one syllable for another.
//!
//! Speakers of many regions merge z with zh, n with l, in with ing, and a telephone line hides what is left of the
//! difference, so a distance is a graded thing: 0 for the same syllable, a little for another tone, about 0.2 for a
//! pair that whole regions merge, 1 and more for syllables that nobody confuses.

use std::sync::LazyLock;

use encoding_rs::GB18030;
use pinyin::{ToPinyin, ToPinyinMulti};

/// One reading of a character: initial, final and tone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Syllable {
    initial: u8,
    rhyme: u8,
    tone: u8,
}

/// Initials; the empty one begins 安 and also what is written with y and w.
const INITIALS: [&str; 22] = [
    "", "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh",
    "r", "z", "c", "s",
];

/// Finals in full: `ui` is `uei`, `un` is `uen`, `iu` is `iou`, ü is `v`, and the vowel of zhi and zi is `-i`.
const RHYMES: [&str; 39] = [
    "a", "o", "e", "ai", "ei", "ao", "ou", "an", "en", "ang", "eng", "ong", "er", "i", "ia", "ie",
    "iao", "iou", "ian", "in", "iang", "ing", "iong", "u", "ua", "uo", "uai", "uei", "uan", "uen",
    "uang", "ueng", "v", "ve", "van", "vn", "-i", "io", "iai",
];

/// Initials that are confused, with how far apart they are; every other pair is 1.
const CONFUSED_INITIALS: [(&str, &str, f32); 38] = [
    ("z", "zh", 0.15),
    ("c", "ch", 0.15),
    ("s", "sh", 0.15),
    ("n", "l", 0.2),
    ("f", "h", 0.25),
    ("r", "l", 0.3),
    ("r", "", 0.45),
    ("r", "n", 0.5),
    ("b", "p", 0.4),
    ("d", "t", 0.4),
    ("g", "k", 0.4),
    ("j", "q", 0.4),
    ("zh", "ch", 0.4),
    ("z", "c", 0.4),
    ("j", "zh", 0.4),
    ("q", "ch", 0.4),
    ("x", "sh", 0.4),
    ("x", "s", 0.4),
    ("j", "z", 0.45),
    ("q", "c", 0.45),
    ("q", "x", 0.5),
    ("ch", "sh", 0.5),
    ("c", "s", 0.5),
    ("zh", "sh", 0.6),
    ("z", "s", 0.6),
    ("j", "x", 0.6),
    ("z", "ch", 0.5),
    ("c", "zh", 0.5),
    ("m", "n", 0.5),
    ("m", "b", 0.5),
    ("k", "h", 0.5),
    ("g", "h", 0.6),
    ("g", "j", 0.6),
    ("d", "l", 0.6),
    ("h", "", 0.5),
    ("f", "", 0.6),
    ("d", "n", 0.6),
    ("d", "g", 0.6),
];

/// Finals that are confused, with how far apart they are; every other pair is 1.
const CONFUSED_RHYMES: [(&str, &str, f32); 56] = [
    ("in", "ing", 0.15),
    ("en", "eng", 0.15),
    ("an", "ang", 0.15),
    ("ian", "iang", 0.2),
    ("uan", "uang", 0.2),
    ("uen", "ueng", 0.2),
    ("o", "uo", 0.1),
    ("e", "o", 0.3),
    ("e", "uo", 0.35),
    ("i", "-i", 0.1),
    ("i", "v", 0.3),
    ("ie", "ve", 0.3),
    ("in", "vn", 0.3),
    ("ian", "van", 0.3),
    ("in", "en", 0.4),
    ("ing", "eng", 0.4),
    ("ong", "eng", 0.35),
    ("ong", "ueng", 0.3),
    ("ong", "iong", 0.35),
    ("uen", "en", 0.35),
    ("uen", "ong", 0.4),
    ("uen", "vn", 0.4),
    ("uan", "van", 0.35),
    ("uan", "an", 0.35),
    ("uang", "ang", 0.35),
    ("iang", "ang", 0.4),
    ("ian", "an", 0.45),
    ("uei", "ei", 0.35),
    ("uai", "ai", 0.35),
    ("uei", "uai", 0.45),
    ("ua", "a", 0.35),
    ("ia", "a", 0.35),
    ("ao", "ou", 0.4),
    ("iao", "ao", 0.4),
    ("iou", "ou", 0.35),
    ("iao", "iou", 0.45),
    ("ai", "ei", 0.4),
    ("ai", "a", 0.5),
    ("e", "ei", 0.5),
    ("e", "en", 0.5),
    ("e", "a", 0.5),
    ("i", "ei", 0.5),
    ("i", "ie", 0.5),
    ("i", "in", 0.5),
    ("i", "ing", 0.5),
    ("u", "ou", 0.45),
    ("u", "v", 0.4),
    ("u", "uo", 0.45),
    ("ie", "ia", 0.5),
    ("ian", "in", 0.5),
    ("uo", "ou", 0.5),
    ("ao", "uo", 0.5),
    ("an", "en", 0.5),
    ("ang", "eng", 0.5),
    ("er", "e", 0.4),
    ("-i", "e", 0.5),
];

/// What another tone adds: a recogniser's homophones differ in little else.
const OTHER_TONE: f32 = 0.06;
/// What an unusual reading of a character adds.
const RARE_READING: f32 = 0.3;
/// Readings kept of a character.
const MOST_READINGS: usize = 4;
const FIRST: u32 = 0x4e00;
const LAST: u32 = 0x9fff;

type Square<const SIZE: usize> = [[f32; SIZE]; SIZE];

static INITIAL_DISTANCE: LazyLock<Square<22>> =
    LazyLock::new(|| square(&INITIALS, &CONFUSED_INITIALS));
static RHYME_DISTANCE: LazyLock<Square<39>> = LazyLock::new(|| square(&RHYMES, &CONFUSED_RHYMES));

static READINGS: LazyLock<Vec<Box<[Syllable]>>> =
    LazyLock::new(|| (FIRST..=LAST).map(look_up).collect());

fn square<const SIZE: usize>(names: &[&str; SIZE], pairs: &[(&str, &str, f32)]) -> Square<SIZE> {
    let mut table = [[1.0; SIZE]; SIZE];
    for (at, row) in table.iter_mut().enumerate() {
        row[at] = 0.0;
    }
    let index = |name: &str| names.iter().position(|known| *known == name);
    for (one, other, distance) in pairs {
        if let (Some(one), Some(other)) = (index(one), index(other)) {
            table[one][other] = *distance;
            table[other][one] = *distance;
        }
    }
    table
}

fn look_up(code: u32) -> Box<[Syllable]> {
    let Some(letter) = char::from_u32(code) else {
        return Box::default();
    };
    let mut found: Vec<Syllable> = Vec::new();
    let usual = letter.to_pinyin().into_iter();
    let others = letter.to_pinyin_multi().into_iter().flatten();
    for reading in usual.chain(others) {
        if let Some(syllable) = Syllable::parse(reading.with_tone_num_end())
            && !found.contains(&syllable)
            && found.len() < MOST_READINGS
        {
            found.push(syllable);
        }
    }
    found.into_boxed_slice()
}

impl Syllable {
    /// Reads `zhi1`, `lv4`, `ér2` without its mark as `er2`; `None` for what is no syllable.
    #[must_use]
    pub fn parse(written: &str) -> Option<Self> {
        let (letters, tone) = match written.char_indices().next_back()? {
            (at, tone @ '0'..='5') => (&written[..at], tone as u8 - b'0'),
            _ => (written, 0),
        };
        let letters = letters.replace('ü', "v");
        let (initial, rhyme) = split(&letters)?;
        Some(Self {
            initial: INITIALS.iter().position(|known| *known == initial)? as u8,
            rhyme: RHYMES.iter().position(|known| *known == rhyme)? as u8,
            tone,
        })
    }

    /// A number below [`Syllable::KINDS`] that syllables share which differ in tone only.
    #[must_use]
    pub const fn kind(self) -> usize {
        self.initial as usize * RHYMES.len() + self.rhyme as usize
    }

    /// How many kinds there can be.
    pub const KINDS: usize = INITIALS.len() * RHYMES.len();

    /// How far apart two syllables are to the ear; see the module's opening.
    #[must_use]
    pub fn distance(self, other: Self) -> f32 {
        let tone = if self.tone == other.tone {
            0.0
        } else {
            OTHER_TONE
        };
        INITIAL_DISTANCE[self.initial as usize][other.initial as usize]
            + RHYME_DISTANCE[self.rhyme as usize][other.rhyme as usize]
            + tone
    }

    /// The same between kinds, so without tones.
    #[must_use]
    pub fn kind_distance(one: usize, other: usize) -> f32 {
        let rhymes = RHYMES.len();
        INITIAL_DISTANCE[one / rhymes][other / rhymes]
            + RHYME_DISTANCE[one % rhymes][other % rhymes]
    }
}

/// Splits toneless pinyin into initial and full final.
fn split(letters: &str) -> Option<(&str, String)> {
    if let Some(rest) = letters.strip_prefix('y') {
        let rhyme = match rest {
            "u" => "v".to_owned(),
            "ue" => "ve".to_owned(),
            "uan" => "van".to_owned(),
            "un" => "vn".to_owned(),
            "ou" => "iou".to_owned(),
            _ if rest.starts_with('i') => rest.to_owned(),
            _ => format!("i{rest}"),
        };
        return Some(("", rhyme));
    }
    if let Some(rest) = letters.strip_prefix('w') {
        let rhyme = match rest {
            "u" => "u".to_owned(),
            "ei" => "uei".to_owned(),
            "en" => "uen".to_owned(),
            _ => format!("u{rest}"),
        };
        return Some(("", rhyme));
    }
    let initial = INITIALS
        .into_iter()
        .filter(|initial| letters.starts_with(initial))
        .max_by_key(|initial| initial.len())?;
    let rest = &letters[initial.len()..];
    let rhyme = match (initial, rest) {
        ("zh" | "ch" | "sh" | "r" | "z" | "c" | "s", "i") => "-i",
        ("j" | "q" | "x", "u") => "v",
        ("j" | "q" | "x" | "n" | "l", "ue") => "ve",
        ("j" | "q" | "x", "uan") => "van",
        ("j" | "q" | "x", "un") => "vn",
        (_, "ui") => "uei",
        (_, "un") => "uen",
        (_, "iu") => "iou",
        _ => rest,
    };
    Some((initial, rhyme.to_owned()))
}

/// The readings of a character, the usual one first; empty for what is no Chinese character.
#[must_use]
pub fn readings(letter: char) -> &'static [Syllable] {
    match u32::from(letter) {
        code @ FIRST..=LAST => &READINGS[(code - FIRST) as usize],
        _ => &[],
    }
}

/// How far apart two characters are to the ear, by the readings that are nearest; `None` when one has no reading.
#[must_use]
pub fn distance(one: char, other: char) -> Option<f32> {
    if one == other {
        return Some(0.0);
    }
    let rare = |at: usize| if at > 0 { RARE_READING } else { 0.0 };
    readings(one)
        .iter()
        .enumerate()
        .flat_map(|(i, a)| {
            readings(other)
                .iter()
                .enumerate()
                .map(move |(j, b)| a.distance(*b) + rare(i).max(rare(j)))
        })
        .min_by(f32::total_cmp)
}

/// Whether two characters can be read as the same syllable, whatever their tones.
#[must_use]
pub fn same_sound(one: char, other: char) -> bool {
    readings(one)
        .iter()
        .any(|a| readings(other).iter().any(|b| a.kind() == b.kind()))
}

/// The 3,755 characters of the national standard's first level.
fn common() -> impl Iterator<Item = char> {
    (0xB0..=0xD7_u8).flat_map(|row| {
        (0xA1..=0xFE_u8).filter_map(move |cell| {
            GB18030
                .decode_without_bom_handling_and_without_replacement(&[row, cell])
                .and_then(|text| text.chars().next())
                .filter(|letter| !('\u{E000}'..='\u{F8FF}').contains(letter))
        })
    })
}

/// The common characters of each kind of syllable: what a recogniser writes when it mishears.
static WRITTEN: LazyLock<Vec<Vec<char>>> = LazyLock::new(|| {
    let mut written = vec![Vec::new(); Syllable::KINDS];
    for letter in common() {
        if let Some(reading) = readings(letter).first() {
            written[reading.kind()].push(letter);
        }
    }
    written
});

/// The common characters that are usually read as this kind of syllable.
#[must_use]
pub fn written(kind: usize) -> &'static [char] {
    &WRITTEN[kind]
}

/// The common characters that sound like `letter`, whatever their tones; empty for what is no Chinese character.
#[must_use]
pub fn homophones(letter: char) -> &'static [char] {
    let usual = readings(letter).first();
    usual.map_or(&[], |reading| written(reading.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(one: char, other: char) -> f32 {
        distance(one, other).expect("both have readings")
    }

    #[test]
    fn every_common_character_has_a_reading_that_the_tables_know() {
        let lacking: Vec<char> = (FIRST..=LAST)
            .filter_map(char::from_u32)
            .filter(|letter| letter.to_pinyin().is_some() && readings(*letter).is_empty())
            .collect();
        // 呒 (m), 哼 (hng) and the like have no vowel.
        assert!(lacking.len() < 30, "{lacking:?}");
        for pair in CONFUSED_INITIALS {
            assert!(INITIALS.contains(&pair.0) && INITIALS.contains(&pair.1));
        }
        for pair in CONFUSED_RHYMES {
            assert!(
                RHYMES.contains(&pair.0) && RHYMES.contains(&pair.1),
                "{pair:?}"
            );
        }
    }

    #[test]
    fn homophones_are_nearer_than_regional_pairs_and_those_nearer_than_strangers() {
        for (homophone, near, far) in [
            (('支', '芝'), ('芝', '姿'), ('芝', '八')),
            (('亡', '王'), ('王', '万'), ('王', '皮')),
            (('罘', '福'), ('罘', '湖'), ('罘', '金')),
            (('兰', '蓝'), ('兰', '南'), ('兰', '走')),
            (('因', '音'), ('因', '英'), ('因', '高')),
        ] {
            let [homophone, near, far] =
                [homophone, near, far].map(|(one, other)| between(one, other));
            assert!(
                homophone < near && near < 0.5 && far >= 1.0,
                "{homophone} {near} {far}"
            );
        }
    }

    #[test]
    fn all_readings_of_a_character_count_and_the_unusual_ones_a_little_less() {
        // 行 is xíng and háng.
        assert!(between('行', '型') < between('行', '航') && between('行', '航') < 0.5);
        assert!(same_sound('行', '航') && !same_sound('行', '走'));
    }

    #[test]
    fn what_is_no_chinese_character_has_no_sound() {
        assert_eq!(distance('A', '芝'), None);
        assert!(readings('1').is_empty() && readings('，').is_empty());
        assert_eq!(Syllable::parse("xyz1"), None);
        assert_eq!(Syllable::parse(""), None);
    }

    #[test]
    fn a_distance_is_the_same_both_ways() {
        for one in '一'..='二' {
            for other in "芝罘区蓬莱".chars() {
                assert_eq!(distance(one, other), distance(other, one));
            }
        }
    }

    #[test]
    fn the_common_characters_are_those_of_the_standard() {
        let letters: Vec<char> = common().collect();
        assert_eq!(letters.len(), 3755);
        assert!(letters.contains(&'啊') && letters.contains(&'座') && !letters.contains(&'罘'));
    }
}
