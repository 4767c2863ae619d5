//! The districts that an utterance names: from the gazetteer, by their sound, or by the way that districts are named.

use std::ops::Range;

use super::parts::{Kind, Near, Part, grammar, name_end_at, named};
use crate::text::pinyin;
use crate::ticket::dialogue::PreparedUtterance;
use crate::ticket::numbers::digit;
use crate::ticket::phonetics::{alike, sounds_at};
use crate::ticket::taxonomy::{PlaceWord, Taxonomy};

/// How far apart the characters of a name may sound together, when one of them is right.
const APART: f32 = 0.75;

/// Every district of the gazetteer in `said`, with its index. Where a place was `asked` for, or more of an address
/// follows, it is also known by its sound: 来上去永春大街.
pub(super) fn all(
    said: &PreparedUtterance,
    taxonomy: &Taxonomy,
    asked: bool,
) -> Vec<(Range<usize>, usize)> {
    let words = taxonomy.place_words.longest(&said.text);
    let words = words.map(|(bytes, word)| {
        let range = said.char_at(bytes.start)..said.char_at(bytes.end);
        (range, *word)
    });
    let (named, inside): (Vec<_>, Vec<_>) = words.partition(|(_, word)| word.is_district);
    let plain = |(range, word): (Range<usize>, PlaceWord)| (range, word.district);
    let mut found: Vec<(Range<usize>, usize)> = named.into_iter().map(plain).collect();
    let names: Vec<Range<usize>> = (found.iter())
        .filter_map(|(range, _)| Some(bears_its_name(said, range)?.0))
        .collect();
    // 黄县长 is a person.
    let head = |range: &Range<usize>| {
        "区市县".contains(said.chars[range.end - 1])
            && said.starts_at(range.end, "长")
            && !(said.chars.get(range.end + 1))
                .is_some_and(|next| "江安城春沙岛街治".contains(*next))
    };
    found.retain(|(range, _)| {
        !head(range) && !(names.iter()).any(|name| range.start < name.end && name.start < range.end)
    });
    let inside: Vec<(Range<usize>, usize)> = inside.into_iter().map(plain).collect();
    if !asked && !said.chars.iter().any(|letter| "路街道".contains(*letter)) {
        return found;
    }
    for at in 0..said.chars.len() {
        let opens = at == 0 || grammar(said.chars[at - 1]);
        let free = |stop: usize, found: &[(Range<usize>, usize)]| {
            !found
                .iter()
                .any(|(range, _)| range.start < stop && at < range.end)
        };
        let clause = said.clause(at);
        let places = |stop: usize| {
            let rest = said.slice(stop.min(clause.end)..clause.end.min(stop + 8));
            asked || rest.contains(['路', '街', '道'])
        };
        if !opens || !free(at + 1, &found) {
            continue;
        }
        let heard = by_sound(said, at, taxonomy, &inside, &clause).filter(|(range, _)| {
            places(range.end)
                && free(range.end, &found)
                && range.clone().any(|at| said.doubtful(at))
        });
        found.extend(heard);
    }
    found
}

/// The road or building that bears a district's name, where `range` is only its beginning: 莱山路, 牟平大厦, 福山北路.
pub(super) fn bears_its_name(
    said: &PreparedUtterance,
    range: &Range<usize>,
) -> Option<(Range<usize>, Kind)> {
    if "区市县".contains(said.chars[range.end - 1]) {
        return None;
    }
    let side = usize::from(
        said.chars
            .get(range.end)
            .is_some_and(|letter| "东西南北中新老一二三四五六七八九".contains(*letter)),
    );
    name_end_at(said, range.end + side)
        .or_else(|| name_end_at(said, range.end))
        .map(|(end, kind)| (range.start..end, kind))
}

/// The district that sounds most like what begins at `at`.
fn by_sound(
    said: &PreparedUtterance,
    at: usize,
    taxonomy: &Taxonomy,
    inside: &[(Range<usize>, usize)],
    clause: &Range<usize>,
) -> Option<(Range<usize>, usize)> {
    let names = || taxonomy.districts.iter().enumerate();
    let full =
        names().find(|(_, name)| name.chars().count() > 2 && sounds_at(&said.chars, at, name));
    if let Some((index, name)) = full {
        return Some((at..at + name.chars().count(), index));
    }
    // 开蛤趋, 湖山区: one character is right, the others are near.
    let near = |name: &str| {
        let heard = said.chars.get(at..at + 3)?;
        let letters: Vec<char> = name.chars().collect();
        if letters.len() != 3 || at + 3 > clause.end || !alike(heard[2], letters[2]) {
            return None;
        }
        let apart: f32 = heard
            .iter()
            .zip(&letters)
            .map(|(one, other)| pinyin::distance(*one, *other).unwrap_or(1.0))
            .sum();
        (heard[..2]
            .iter()
            .zip(&letters)
            .any(|(one, other)| one == other)
            && apart < APART)
            .then_some(apart)
    };
    let nearest = names()
        .filter_map(|(index, name)| Some((near(name)?, index)))
        .min_by(|a, b| a.0.total_cmp(&b.0));
    if let Some((_, index)) = nearest {
        return Some((at..at + 3, index));
    }
    // 腑区幸福路: a character was lost; what lies in the district tells which was meant.
    let pair = said.chars.get(at..at + 2)?;
    let lost = names().find(|(index, name)| {
        let letters: Vec<char> = name.chars().collect();
        letters.len() == 3
            && alike(pair[1], letters[2])
            && letters[..2].iter().any(|letter| alike(*letter, pair[0]))
            && inside.iter().any(|(_, district)| district == index)
    });
    if let Some((index, _)) = lost {
        return Some((at..at + 2, index));
    }
    // 来衫迎春大街: without its last character, right before a place that lies in it.
    let stop = at + 2;
    let (_, index) = inside.iter().find(|(range, _)| range.start == stop)?;
    let short: String = taxonomy.districts[*index].chars().take(2).collect();
    sounds_at(&said.chars, at, &short).then_some((at..stop, *index))
}

/// A district that the gazetteer does not know: 历下区, 浦东新区; before more of an address, or alone in its clause.
pub(super) fn foreign(said: &PreparedUtterance, at: usize, clause: &Range<usize>) -> Option<Part> {
    /// What ends in 区 or 县 and is no district.
    const NONE: &str = "小社园校城市景片厂地辖住宅业活务病街库林郊特战院学哪本该全各整外灾牧老片";
    let end = (at + 2..clause.end.min(at + 4)).find(|last| "区县".contains(said.chars[*last]))? + 1;
    // 再历下区: 在, misheard.
    let at =
        at + usize::from(end - at > 3 && said.chars[at] != '在' && alike(said.chars[at], '在'));
    let name = &said.chars[at..end - 1];
    let before = name[name.len() - 1];
    let bad = NONE.contains(before)
        || before == '新' && name.len() < 3
        || ["大山", "困山"].contains(&name.iter().collect::<String>().as_str())
        || name
            .iter()
            .any(|letter| grammar(*letter) && *letter != '店' || digit(*letter).is_some());
    let next = end + usize::from(said.starts_at(end, "的"));
    let goes_on = next >= clause.end
        || named(said, next, clause.end, Near::default())
            .is_some_and(|part| part.range.start == next)
        || ["那", "这"].iter().any(|word| said.starts_at(next, word));
    (!bad && goes_on).then(|| Part {
        kind: Kind::District,
        text: said.slice(at..end),
        range: at..end,
    })
}

/// Where the city's name that begins at `at` ends; 烟台山 and 烟台站 are no city.
pub(super) fn city_end(
    said: &PreparedUtterance,
    at: usize,
    city: &str,
    districts: &[(Range<usize>, usize)],
) -> Option<usize> {
    let end = at + city.chars().count();
    if !said.starts_at(at, city) {
        return None;
    }
    if said.starts_at(end, "市") {
        return Some(end + 1);
    }
    let bare = said.chars.get(end).is_none_or(|letter| grammar(*letter))
        || districts.iter().any(|(range, _)| range.start == end);
    bare.then_some(end)
}
