//! The parts of an address as they are said: towns, roads, houses, communities, rooms.

use std::ops::Range;
use std::sync::LazyLock;

use super::district::{self, city_end, foreign};
use crate::text::pinyin::same_sound;
use crate::ticket::dialogue::{PreparedUtterance, TAKES_BACK, is_stop};
use crate::ticket::lexicon::{Words, list};
use crate::ticket::numbers::{self, digit};
use crate::ticket::phonetics::alike;
use crate::ticket::subject;
use crate::ticket::taxonomy::Taxonomy;

/// The parts of an address, from the broad to the narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    District,
    Town,
    Road,
    Number,
    Site,
    Building,
    Unit,
    Room,
    /// A gate, a shop on the ground floor, what is beside.
    Spot,
}

#[derive(Clone, Debug)]
pub(super) struct Part {
    pub kind: Kind,
    pub text: String,
    pub range: Range<usize>,
}

/// What stands before a place.
#[derive(Clone, Copy, Default)]
pub(super) struct Near {
    /// Another part of the address, right before it.
    pub joined: bool,
    /// That part is a district.
    pub district: bool,
    /// A school, a hospital may be the place.
    pub landmarks: bool,
}

/// Endings of places that are put right when they are misheard.
pub(in crate::ticket) static PLACE_ENDINGS: Words = LazyLock::new(|| {
    ENDINGS
        .iter()
        .map(|(ending, _)| *ending)
        .filter(|ending| ending.chars().count() > 1)
        .collect()
});

/// What names end in.
static ENDINGS: LazyLock<Vec<(&str, Kind)>> = LazyLock::new(|| {
    let of = |kind: Kind, name| list(name).into_iter().map(move |word| (word, kind));
    let towns = of(Kind::Town, "place.towns");
    let roads = of(Kind::Road, "place.roads");
    let sites = of(Kind::Site, "place.sites");
    let buildings = of(Kind::Building, "place.buildings");
    towns.chain(roads).chain(sites).chain(buildings).collect()
});

/// Characters that cannot stand inside a place's name, because they are grammar.
const GRAMMAR: &str =
    "的在是我你您他她它们那这哪有个了就叫跟和与到从离住对把被给还没不说请问吗呢吧啊呀边侧旁因为店";

/// Endings of what may also be somebody complained of: a place only right behind a district or a road.
static WEAK: Words = LazyLock::new(|| list("place.weak"));

/// What one does on or to a road: 绕路, 修路.
const ON_ROADS: &str = "绕修走过堵带问迷让赶铺探占拦停扫";

/// What no place ends in, whatever stands before it.
static NO_END: Words = LazyLock::new(|| list("place.no_end"));

/// Words that end like a place but are none.
static NO_PLACE: Words = LazyLock::new(|| list("place.no_place"));

/// Where the ending stops that begins at `at` and makes a name of any word before it (路, 大街, 大厦, but not 里), and
/// what it is.
pub(super) fn name_end_at(said: &PreparedUtterance, at: usize) -> Option<(usize, Kind)> {
    let clear = |(ending, kind): &&(&str, Kind)| *kind == Kind::Road || ending.chars().count() > 1;
    (ENDINGS.iter().filter(clear))
        .filter(|(ending, _)| said.starts_at(at, ending))
        .map(|(ending, kind)| (at + ending.chars().count(), *kind))
        .max()
}

pub(super) fn grammar(letter: char) -> bool {
    is_stop(letter) || GRAMMAR.contains(letter)
}

/// The last character of `from..at` that a name cannot go on across. 和 joins two roads; elsewhere it is part of a
/// name (和平路, 康和新城).
fn last_grammar(said: &PreparedUtterance, from: usize, at: usize) -> Option<usize> {
    (from..at).rev().find(|index| {
        let joins = said.before(*index, 1).ends_with(['路', '街', '道', '巷']);
        // 前店村, 店子镇: a village that is named after its inn.
        let inn = said.chars[*index] == '店'
            && said
                .chars
                .get(index + 1)
                .is_some_and(|next| "村子镇街集".contains(*next));
        subject::pushes(said, *index)
            || grammar(said.chars[*index]) && !inn && (said.chars[*index] != '和' || joins)
    })
}

/// What is said behind a house or landmark to say which part of it is meant.
static SPOTS: Words = LazyLock::new(|| list("place.spots"));

/// House, building, unit and room numbers that begin at `at`, with what a number has behind it: 16号附2号, 9号甲, 124巷7号.
fn numbered(said: &PreparedUtterance, at: usize, after_site: bool) -> Option<Part> {
    let mut part = counted(said, at, after_site)?;
    if !matches!(part.kind, Kind::Number | Kind::Building) {
        return Some(part);
    }
    if part.text.ends_with(['巷', '弄']) {
        if let Some(house) = numbered(said, part.range.end, false) {
            part.text.push_str(&house.text);
            part.range.end = house.range.end;
        }
        return Some(part);
    }
    let end = part.range.end;
    match said.chars.get(end) {
        Some(&joint @ ('附' | '之')) if part.text.ends_with('号') => {
            let number = numbers::at(&said.chars, end + 1)?;
            part.text.push(joint);
            part.text.push_str(&numbers::arabic(&number, &said.chars));
            part.range.end = number.range.end;
            if said.starts_at(part.range.end, "号") {
                part.text.push('号');
                part.range.end += 1;
            }
        }
        Some(&letter @ ('甲' | '乙' | '丙' | '丁')) => {
            let next = said.chars.get(end + 1).copied().unwrap_or('。');
            if is_stop(next) || digit(next).is_some() || "的号楼院".contains(next) {
                part.text.push(letter);
                part.range.end += 1;
            }
        }
        _ => {}
    }
    Some(part)
}

/// The number at `at` with a second one that a joint binds to it: 128之3, 58-1 (杠 is said for the hyphen).
fn joined_numbers(said: &PreparedUtterance, at: usize) -> Option<(numbers::Number, String)> {
    let mut number = numbers::at(&said.chars, at)?;
    let mut written = numbers::arabic(&number, &said.chars);
    while let Some(&joint) = said.chars.get(number.range.end) {
        let joint = match joint {
            '之' => '之',
            '杠' | '-' => '-',
            _ => break,
        };
        let Some(next) = numbers::at(&said.chars, number.range.end + 1) else {
            break;
        };
        written.push(joint);
        written.push_str(&numbers::arabic(&next, &said.chars));
        number.range.end = next.range.end;
    }
    Some((number, written))
}

fn counted(said: &PreparedUtterance, at: usize, after_site: bool) -> Option<Part> {
    let (number, written) = joined_numbers(said, at)?;
    let end = number.range.end;
    // 七号小区: a community that bears a number.
    if said.starts_at(end, "号小区") || said.starts_at(end, "号大院") {
        return Some(Part {
            kind: Kind::Site,
            text: said.slice(at..end + 3),
            range: at..end + 3,
        });
    }
    let marks = [
        ("号楼", Kind::Building, false),
        ("栋", Kind::Building, false),
        ("幢", Kind::Building, false),
        ("座", Kind::Building, true),
        ("单元", Kind::Unit, false),
        ("号院", Kind::Number, false),
        ("号线", Kind::Number, false),
        ("号", Kind::Number, false),
        ("巷", Kind::Number, false),
        ("弄", Kind::Number, false),
        ("室", Kind::Room, false),
        ("户", Kind::Room, false),
        ("村民小组", Kind::Site, true),
        ("小组", Kind::Site, true),
        ("组", Kind::Site, true),
        ("大队", Kind::Site, true),
        ("队", Kind::Site, true),
        ("社", Kind::Site, true),
        ("排", Kind::Building, true),
    ];
    let marked = marks.into_iter().find(|(mark, _, inside)| {
        said.starts_at(end, mark) && number.value < 100_000.0 && (after_site || !inside)
    });
    if let Some((mark, kind, _)) = marked.filter(|(mark, ..)| *mark != "号线") {
        let kind = if kind == Kind::Number && after_site {
            Kind::Building
        } else {
            kind
        };
        return Some(Part {
            kind,
            text: format!("{written}{mark}"),
            range: at..end + mark.chars().count(),
        });
    }
    // 万科城一期, 花园三区: a part of the community, named as it is said.
    let part = ["期", "区"].iter().any(|mark| said.starts_at(end, mark));
    if after_site && part && number.value < 100.0 {
        return Some(Part {
            kind: Kind::Site,
            text: said.slice(at..end + 1),
            range: at..end + 1,
        });
    }
    // 六号楼二单软: behind a building's number nothing else begins with 单.
    let behind_building = said.before(at, 1).ends_with(['楼', '栋', '幢']);
    let misheard = said.chars.get(end + 1).filter(|next| !is_stop(**next));
    if behind_building && said.starts_at(end, "单") && misheard.is_some() {
        return Some(Part {
            kind: Kind::Unit,
            text: format!("{written}单元"),
            range: at..end + 2,
        });
    }
    // 六楼二单元: 号 was not heard.
    let unit = said.starts_at(end, "楼")
        && numbers::at(&said.chars, end + 1)
            .is_some_and(|number| said.starts_at(number.range.end, "单元"));
    if unit {
        return Some(Part {
            kind: Kind::Building,
            text: format!("{written}号楼"),
            range: at..end + 1,
        });
    }
    if said.starts_at(end, "楼") || said.starts_at(end, "层") {
        return Some(Part {
            kind: Kind::Room,
            text: format!("{written}{}", said.chars[end]),
            range: at..end + 1,
        });
    }
    // A room without its mark after a unit or building: three or four digits read one by one, or 一千二百零一.
    let digits = said.chars[number.range.clone()]
        .iter()
        .all(|letter| digit(*letter).is_some());
    // 八千 is money, 一千二百零一 a room: the last two digits count the doors of a floor.
    let door = (1.0..=60.0).contains(&(number.value % 100.0));
    let counted = number.magnitude >= 100.0 && !number.vague && door;
    let hyphenated = written.contains('-');
    let bounded = said
        .chars
        .get(end)
        .is_none_or(|letter| is_stop(*letter) || *letter == '的');
    let room = (digits || counted) && (3..=4).contains(&written.len()) || hyphenated;
    (after_site && room && bounded).then_some(Part {
        kind: Kind::Room,
        text: written,
        range: at..end,
    })
}

/// A part of a community or a building that bears a letter: A区, B座, C栋.
fn lettered(said: &PreparedUtterance, at: usize) -> Option<Part> {
    let is_letter = |at: usize| said.chars.get(at).is_some_and(char::is_ascii_alphanumeric);
    let kind = match said.chars.get(at + 1)? {
        '区' => Kind::Site,
        '座' | '栋' | '幢' | '楼' => Kind::Building,
        _ => return None,
    };
    let alone = said.chars[at].is_ascii_alphabetic() && (at == 0 || !is_letter(at - 1));
    alone.then(|| Part {
        kind,
        text: said.name(at..at + 2),
        range: at..at + 2,
    })
}

/// Which part of what was named is meant, or where it lies from there: 底商, 南门, A出口, 对面, 村委会东边第三家.
fn spot(said: &PreparedUtterance, at: usize, last: &Part) -> Option<Part> {
    let is_letter = said.chars.get(at).is_some_and(char::is_ascii_alphabetic);
    let exit = ["出口", "口"]
        .iter()
        .find(|mark| is_letter && said.starts_at(at + 1, mark))
        .map(|mark| 1 + mark.chars().count());
    let place = (SPOTS.iter().filter(|word| said.starts_at(at, word)))
        .map(|word| word.chars().count())
        .max();
    let mut end = at + exit.or(place).unwrap_or(0);
    let mut text = said.name(at..end);
    // 20号医院对面, 镇政府南边: a landmark counts where a side of it is named.
    if end == at
        && let Some(stop) = landmark_end(said, at)
    {
        end = stop;
        text = said.name(at..end);
    }
    if end == at && last.kind < Kind::Road {
        return None;
    }
    if let Some(side) = SIDES.iter().find(|side| said.starts_at(end, side)) {
        let stop = end + side.chars().count();
        // 大悦城旁边的海景公寓: what is beside is not where, when there is more to come; nor is it the road beside which.
        let more = named(said, stop, said.chars.len(), Near::default())
            .is_some_and(|part| part.kind == Kind::Site);
        let goes_on = *side == "旁"
            && (said.chars.get(stop)).is_some_and(|next| !is_stop(*next) && *next != '的');
        let landmark = end > at || last.kind != Kind::Road && last.range.len() > 2;
        if landmark && !more && !goes_on {
            text.push_str(side);
            end = stop;
            if said.starts_at(end, "第")
                && let Some(number) = numbers::at(&said.chars, end + 1)
                && (said.chars.get(number.range.end)).is_some_and(|next| "家户间".contains(*next))
            {
                let written = numbers::arabic(&number, &said.chars);
                text = format!("{text}第{written}{}", said.chars[number.range.end]);
                end = number.range.end + 1;
            } else if let Some(number) = numbers::at(&said.chars, end)
                && let Some(unit) = DISTANCES
                    .iter()
                    .find(|unit| said.starts_at(number.range.end, unit))
            {
                // 南边二百米.
                text.push_str(&numbers::arabic(&number, &said.chars));
                text.push_str(unit);
                end = number.range.end + unit.chars().count();
            }
        }
    }
    (end > at).then_some(Part {
        kind: Kind::Spot,
        text,
        range: at..end,
    })
}

/// On which side of something.
static SIDES: Words = LazyLock::new(|| list("place.sides"));
/// In what distances are told.
static DISTANCES: Words = LazyLock::new(|| list("place.distances"));

/// Where a landmark ends that begins at `at`, where one of its sides is named right behind it.
fn landmark_end(said: &PreparedUtterance, at: usize) -> Option<usize> {
    static LANDMARKS: Words = LazyLock::new(|| list("place.landmarks"));
    // 朱家村二队村委会对面: what is a place by itself, or counted, comes first.
    let plain = |name: Range<usize>| {
        name.len() < 5
            && !said.chars[name.clone()]
                .iter()
                .any(|letter| digit(*letter).is_some())
            && named(said, name.start, name.end, Near::default()).is_none()
    };
    (at + 2..said.chars.len().min(at + 10))
        .take_while(|end| !grammar(said.chars[end - 1]))
        .find(|end| {
            let side = SIDES.iter().any(|side| said.starts_at(*end, side));
            side && LANDMARKS.iter().any(|word| {
                let long = word.chars().count();
                at + long <= *end && said.starts_at(end - long, word) && plain(at..end - long)
            })
        })
}

/// A unit that is named by its side: 东单元.
fn unit_by_side(said: &PreparedUtterance, at: usize) -> Option<Part> {
    static UNITS: Words = LazyLock::new(|| list("place.units"));
    let word = UNITS.iter().find(|word| said.starts_at(at, word))?;
    Some(Part {
        kind: Kind::Unit,
        text: (*word).to_owned(),
        range: at..at + word.chars().count(),
    })
}

/// Where the endings of places stand: (which, where), ending by ending.
fn place_ends(said: &PreparedUtterance) -> Vec<(usize, usize)> {
    let endings = ENDINGS.iter().enumerate();
    endings
        .flat_map(|(which, (ending, _))| {
            let places = said.text.match_indices(ending);
            places.map(move |(byte, _)| (which, said.char_at(byte)))
        })
        .collect()
}

/// The place whose name ends inside `from..end`, as early as possible.
pub(super) fn named(said: &PreparedUtterance, from: usize, end: usize, near: Near) -> Option<Part> {
    // Names have up to eight characters, endings up to four.
    let end = end.min(from + 14);
    let mut best: Option<Part> = None;
    let ends = said.found.place_ends.get_or_init(|| place_ends(said));
    let mut done = usize::MAX;
    for (which, at) in ends.iter().copied() {
        let (ending, kind) = ENDINGS[which];
        let length = ending.chars().count();
        // 门诊楼 is a name by itself, right behind that of the hospital.
        let whole_name = kind == Kind::Building && at == from && near.joined;
        if (at > from || whole_name) && at + length <= end && which != done {
            // 县府街 ends in 街, not in 府; 花园 in 园: the later, longer ending speaks.
            let stop = at + length;
            let start = last_grammar(said, from, at).map_or(from, |found| found + 1);
            let start = start.max(at.saturating_sub(8));
            let name = said.slice(start..at);
            let whole = said.slice(start..stop);
            let count = name.chars().count();
            let weak = WEAK.contains(&ending);
            let bad = count == 0 && !whole_name
                || NO_PLACE.contains(&whole.as_str())
                || NO_END.iter().any(|word| whole.ends_with(word))
                || weak && !(near.joined && near.landmarks && start == from)
                || kind == Kind::Building && !(near.joined && start == from)
                // 在直播里说: 里 ends a place's name only behind another place.
                || ending == "里" && !(near.joined && start == from)
                || ending == "路" && ON_ROADS.contains(name.chars().last().unwrap_or('路'))
                || length == 1
                    && (kind == Kind::Site || ending == "路" && !(near.district && start == from))
                    && count < 2
                || whole.ends_with("小区") && count < 2
                || count > 0
                    && name
                        .chars()
                        .all(|letter| digit(letter).is_some() || "十百".contains(letter))
                || ending == "路" && ["车", "公交", "公车"].iter().any(|bus| said.starts_at(stop, bus));
            if bad {
                continue;
            }
            if best.as_ref().is_none_or(|best| {
                start < best.range.start
                    || (start == best.range.start && stop < best.range.end && kind <= best.kind)
                    || (start <= best.range.start
                        && at < best.range.end
                        && stop > best.range.end
                        && kind == best.kind
                        && kind == Kind::Site)
            }) {
                best = Some(Part {
                    kind,
                    text: said.name(start..stop),
                    range: start..stop,
                });
            }
            done = which;
        }
    }
    // 金色家园小区: one name may have two endings.
    if let Some(part) = best.as_mut().filter(|part| part.kind == Kind::Site)
        && let Some((more, _)) = ENDINGS.iter().find(|(more, kind)| {
            *kind == Kind::Site && more.chars().count() > 1 && said.starts_at(part.range.end, more)
        })
    {
        part.range.end += more.chars().count();
        part.text.push_str(more);
    }
    best
}

/// A place without any ending, right behind a district or road, or alone in its clause: the rest of the clause.
fn unmarked(
    said: &PreparedUtterance,
    at: usize,
    clause: &Range<usize>,
    last: Option<(Kind, usize)>,
    joined: bool,
) -> Option<Part> {
    static NO_NAME: Words = LazyLock::new(|| list("place.no_name"));
    let behind = joined && last.is_some_and(|(kind, _)| kind <= Kind::Road);
    let mut end = (at..clause.end)
        .find(|index| {
            grammar(said.chars[*index])
                || said.starts_at(*index, "门口")
                || said.starts_at(*index, "附近")
                || said.starts_at(*index, "对面")
                || said.starts_at(*index, "斜对")
        })
        .unwrap_or(clause.end);
    if let Some(number) = (at + 2..end).find(|index| numbered(said, *index, true).is_some()) {
        end = number;
    }
    let text = said.slice(at..end);
    let free = behind
        && (end == clause.end
            || !said.chars[end..clause.end]
                .iter()
                .any(|letter| "我他了不没给把被".contains(*letter)));
    // 金岭镇的永兴印染厂: who, rather than where.
    let shop = ["网点", "店", "厂", "公司", "车行", "物业", "汽修"]
        .iter()
        .any(|end| text.ends_with(end))
        || subject::BRANDS.iter().any(|brand| text.starts_with(brand));
    let bad = shop
        || NO_NAME.iter().any(|word| text.starts_with(word))
        || text.chars().all(|letter| digit(letter).is_some())
        || text.contains([
            '也', '提', '区', '保', '收', '交', '买', '办', '做', '卖', '找', '打', '去', '过',
            '报',
        ]);
    (free && !bad && (2..=10).contains(&text.chars().count())).then_some(Part {
        kind: Kind::Site,
        text: said.name(at..end),
        range: at..end,
    })
}

/// Whether a building's number stands at `at`: 海信天悦22栋 is a community, whatever it was asked for.
fn is_house(said: &PreparedUtterance, at: usize) -> bool {
    numbered(said, at, true).is_some_and(|part| part.kind == Kind::Building)
}

/// Whether the clause before the one that begins at `at` takes back what was said.
fn corrected(said: &PreparedUtterance, at: usize) -> bool {
    let before = said.before(at, 5);
    let before = before.trim_end_matches(is_stop);
    TAKES_BACK.iter().any(|word| before.ends_with(word))
}

/// The parts of an address in `said`, left to right; each run of connected parts is one address.
pub(super) fn addresses(
    said: &PreparedUtterance,
    taxonomy: &Taxonomy,
    asked: bool,
    landmarks: bool,
) -> Vec<Vec<Part>> {
    let districts = district::all(said, taxonomy, asked);
    let towns: Vec<Range<usize>> = taxonomy
        .place_words
        .longest(&said.text)
        .filter(|(bytes, word)| {
            !word.is_district
                && !said.text[bytes.clone()].ends_with(['路', '街', '道', '站', '学', '院'])
        })
        .map(|(bytes, _)| said.char_at(bytes.start)..said.char_at(bytes.end))
        .collect();
    let mut found: Vec<Vec<Part>> = Vec::new();
    let mut current: Vec<Part> = Vec::new();
    for clause in said.clauses() {
        let mut at = clause.start;
        while at < clause.end {
            let last = current.last().map(|part| (part.kind, part.range.end));
            let joined = last.is_some_and(|(_, end)| {
                said.chars[end..at]
                    .iter()
                    .all(|letter| is_stop(*letter) || "的得德在那个是边儿内".contains(*letter))
            });
            let narrow = last.is_some_and(|(kind, _)| kind >= Kind::Site);
            let opens = at == clause.start || grammar(said.chars[at - 1]);
            // 高新区德海澜苑: 的, misheard.
            let of = joined
                && last.is_some_and(|(kind, end)| kind <= Kind::Road && end == at)
                && "得德".contains(said.chars[at])
                && at + 3 < clause.end;
            // 十一号楼单元六零二: the unit's number was lost.
            let unit = joined
                && last.is_some_and(|(kind, _)| kind == Kind::Building)
                && said.starts_at(at, "单元");
            if of || unit {
                at += if of { 1 } else { 2 };
                if let Some(last) = current.last_mut().filter(|_| unit) {
                    last.range.end = at;
                }
                continue;
            }
            // 279号，不对，是297号: the number that was meant.
            if at == clause.start
                && corrected(said, at)
                && let from = at + usize::from(said.starts_at(at, "是"))
                && let Some(last) = current.last_mut()
                && let Some(part) = numbered(said, from, last.kind >= Kind::Building)
                    .filter(|part| part.kind == last.kind)
            {
                at = part.range.end;
                *last = part;
                continue;
            }
            // 桐林路，就在学校对面，一百一十六号: the house comes last.
            if at == clause.start
                && let Some(part) = numbered(said, at, false)
                    .filter(|part| part.kind == Kind::Number && part.range.end == clause.end)
                && !joined
                && let Some(run) = std::iter::once(&mut current)
                    .chain(found.iter_mut().rev())
                    .find(|run| run.last().is_some_and(|last| last.kind == Kind::Road))
            {
                at = clause.end;
                run.push(part);
                continue;
            }
            let part = if let Some((range, district)) =
                districts.iter().find(|(range, _)| range.start == at)
            {
                // 莱山迎春大街 has the district without its 区.
                let mut stop = range.end;
                if said.starts_at(stop, "区") {
                    stop += 1;
                }
                if last.is_some_and(|(kind, end)| kind == Kind::District && end == at) {
                    at = stop;
                    if let Some(last) = current.last_mut() {
                        last.range.end = stop;
                    }
                    continue;
                }
                let official = &taxonomy.districts[*district];
                // 莱山 is 莱山区; another name than that nobody wrote.
                let whole = official.chars().count() <= stop - range.start + 1
                    && official.starts_with(&said.slice(range.clone()));
                Some(Part {
                    kind: Kind::District,
                    text: if whole || !said.is_typed() {
                        official.clone()
                    } else {
                        said.slice(range.start..stop)
                    },
                    range: range.start..stop,
                })
            } else if opens
                && let Some(part) = foreign(said, at, &clause)
                && !districts
                    .iter()
                    .any(|(range, _)| range.start < part.range.end && at < range.end)
            {
                Some(part)
            } else if joined && let Some(part) = numbered(said, at, narrow) {
                Some(part)
            } else if last.is_some_and(|(kind, end)| kind >= Kind::Number && end == at)
                && let Some(part) = lettered(said, at)
            {
                Some(part)
            } else if last.is_some_and(|(kind, _)| kind == Kind::Building)
                && joined
                && let Some(part) = unit_by_side(said, at)
            {
                Some(part)
            } else if let Some(before) = current.last().filter(|part| part.range.end == at)
                && before.kind >= Kind::Town
                && let Some(part) = spot(said, at, before)
            {
                Some(part)
            } else if asked
                && current.is_empty()
                && let Some(part) =
                    numbered(said, at, true).filter(|part| part.kind >= Kind::Building)
            {
                Some(part)
            } else if let Some(behind) = city_end(said, at, &taxonomy.city, &districts) {
                at = behind;
                continue;
            } else {
                let next_district = districts
                    .iter()
                    .map(|(range, _)| range.start)
                    .find(|start| *start > at);
                let limit = next_district.unwrap_or(clause.end).min(clause.end);
                let behind = joined && last.is_some_and(|(kind, _)| kind == Kind::District);
                let near = Near {
                    joined,
                    district: behind,
                    landmarks,
                };
                match named(said, at, limit, near) {
                    _ if behind
                        && asked
                        && let Some(part) = road_in_name(said, at, &clause) =>
                    {
                        Some(part)
                    }
                    Some(part) if part.range.start == at => Some(part),
                    _ if behind && let Some(part) = lost_end(said, at, &clause) => Some(part),
                    _ if behind && let Some(part) = misheard_end(said, at, &clause) => Some(part),
                    // What the operator asked for needs no ending: 高新区的蓝湾国际.
                    _ if let Some(part) = unmarked(said, at, &clause, last, joined)
                        && (asked || is_house(said, part.range.end)) =>
                    {
                        Some(part)
                    }
                    // A town that the gazetteer knows, said after its district.
                    _ => towns
                        .iter()
                        .find(|range| {
                            range.start == at
                                && last.is_some_and(|(kind, _)| kind == Kind::District)
                                && joined
                        })
                        .map(|range| Part {
                            kind: Kind::Town,
                            text: said.slice(range.clone()),
                            range: range.clone(),
                        }),
                }
            };
            let Some(part) = part else {
                at += 1;
                continue;
            };
            at = part.range.end;
            let follows = joined
                && last.is_some_and(|(kind, _)| {
                    kind < part.kind
                        || kind == part.kind && matches!(kind, Kind::Town | Kind::Site | Kind::Spot)
                });
            let mut part = part;
            let crossing = crossing(said, last, &mut part);
            if !(follows || crossing.is_some() || current.is_empty()) {
                found.push(std::mem::take(&mut current));
            }
            if let (Some(word), Some(last)) = (crossing, current.last_mut()) {
                last.text.push_str(word);
                last.text.push_str(&part.text);
                last.range.end = part.range.end;
            } else {
                current.push(part);
            }
            // 路口, 交叉口 close a crossing.
            let mut mouth = at + usize::from(said.starts_at(at, "的"));
            for word in ["交叉口", "交汇处", "交界处", "路口", "交口"] {
                if said.starts_at(mouth, word)
                    && let Some(last) = current.last_mut().filter(|last| last.kind == Kind::Road)
                {
                    last.text.push_str(word);
                    mouth += word.chars().count();
                    last.range.end = mouth;
                    at = mouth;
                    break;
                }
            }
        }
    }
    if !current.is_empty() {
        found.push(current);
    }
    found
}

/// A road or village whose last character was misheard, right behind a district: 文化录那个, 枣林戮一百号.
fn misheard_end(said: &PreparedUtterance, at: usize, clause: &Range<usize>) -> Option<Part> {
    let ends = [('路', Kind::Road), ('街', Kind::Road), ('镇', Kind::Town)];
    (at + 2..clause.end.min(at + 4)).find_map(|last| {
        let letter = said.chars[last];
        let bounded = said.chars.get(last + 1).is_none_or(|next| {
            is_stop(*next) || "的那和跟与".contains(*next) || digit(*next).is_some()
        });
        let (ending, kind) = ends
            .into_iter()
            .find(|(ending, _)| *ending != letter && same_sound(*ending, letter))
            .filter(|_| said.doubtful(last))?;
        let plain = said.chars[at..last]
            .iter()
            .all(|letter| !grammar(*letter) && digit(*letter).is_none());
        (bounded && plain).then(|| Part {
            kind,
            text: format!("{}{ending}", said.slice(at..last)),
            range: at..last + 1,
        })
    })
}

/// A road whose end was lost, right behind a district: 海市的和悦府.
fn lost_end(said: &PreparedUtterance, at: usize, clause: &Range<usize>) -> Option<Part> {
    let of = (at + 2..clause.end.min(at + 4)).find(|of| said.chars[*of] == '的')?;
    let plain = said.chars[at..of]
        .iter()
        .all(|letter| !grammar(*letter) && digit(*letter).is_none());
    let site = named(said, of + 1, clause.end, Near::default())
        .is_some_and(|site| site.kind == Kind::Site && site.range.start == of + 1);
    (plain && site).then(|| Part {
        kind: Kind::Road,
        text: said.slice(at..of),
        range: at..of,
    })
}

/// A road with its end misheard and a community behind it, which together look like one name: 幸福努金海湾小区.
fn road_in_name(said: &PreparedUtterance, at: usize, clause: &Range<usize>) -> Option<Part> {
    (at + 2..clause.end.min(at + 4)).find_map(|last| {
        let letter = said.chars[last];
        let ending = ['路', '街']
            .into_iter()
            .find(|ending| *ending != letter && alike(*ending, letter))
            .filter(|_| said.doubtful(last))?;
        let plain = said.chars[at..=last]
            .iter()
            .all(|letter| !grammar(*letter) && digit(*letter).is_none());
        let site = named(said, last + 1, clause.end, Near::default())?;
        let whole = site.kind == Kind::Site
            && site.range.start == last + 1
            && site.text.chars().count() > 3;
        (plain && whole).then(|| Part {
            kind: Kind::Road,
            text: format!("{}{ending}", said.slice(at..last)),
            range: at..last + 1,
        })
    })
}

/// The word that joins two roads to a crossing; where it was misheard (永兴路根衡山路), it is taken out of the second's name.
fn crossing(
    said: &PreparedUtterance,
    last: Option<(Kind, usize)>,
    part: &mut Part,
) -> Option<&'static str> {
    let (kind, end) = last?;
    if kind != Kind::Road || part.kind != Kind::Road {
        return None;
    }
    match said.slice(end..part.range.start).as_str() {
        "和" => Some("和"),
        "跟" | "与" | "、" | "同" => Some("与"),
        "" => {
            let first = said.chars[end];
            let mouth = part.range.end + usize::from(said.starts_at(part.range.end, "的"));
            let corner = ["交叉口", "交汇处", "交界处", "路口", "交口"]
                .iter()
                .any(|word| said.starts_at(mouth, word));
            let joins = (alike(first, '和') || alike(first, '跟')) && said.doubtful(end);
            if joins && part.range.len() > 3 {
                part.text.remove(0);
                Some(if alike(first, '和') { "和" } else { "与" })
            } else {
                corner.then_some("与")
            }
        }
        _ => None,
    }
}
