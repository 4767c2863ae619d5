//! Where: an address put together from its parts, and the district it lies in.

use std::ops::Range;
use std::sync::LazyLock;

use super::hearing::{self, alike, sounds_at};
use super::numbers::{self, digit};
use super::said::{self, Said, Words, is_stop, words};
use super::taxonomy::Taxonomy;
use super::{Evidence, Field, FieldValue};
use crate::private::Private;
use crate::text::pinyin::same_sound;

/// The parts of an address, from the broad to the narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    District,
    Town,
    Road,
    Number,
    Site,
    Building,
    Unit,
    Room,
}

#[derive(Clone, Debug)]
struct Part {
    kind: Kind,
    text: String,
    range: Range<usize>,
}

#[derive(Clone, Debug)]
struct Address {
    parts: Vec<(Kind, String, Evidence)>,
    score: i32,
    /// The utterance that it was last taken from.
    utterance: u32,
    /// A district said by the way is no address.
    by_the_way: bool,
}

/// Endings of places that are put right when they are misheard.
pub(super) static PLACE_ENDINGS: Words = LazyLock::new(|| {
    ENDINGS
        .iter()
        .map(|(ending, _)| *ending)
        .filter(|ending| ending.chars().count() > 1)
        .collect()
});

/// What names end in.
static ENDINGS: LazyLock<Vec<(&str, Kind)>> = LazyLock::new(|| {
    let of = |kind: Kind, text| words(text).into_iter().map(move |word| (word, kind));
    let towns = of(Kind::Town, "街道办 街道 镇 乡");
    let roads = of(
        Kind::Road,
        "交叉口 交汇处 交界处 路口 大街 大道 胡同 路 街 巷",
    );
    let sites = of(
        Kind::Site,
        "居民小区 小区 家属院 花园 家园 新村 花苑 公寓 广场 商城 商场 商厦 大厦 购物中心 中心 \
         市场 工业园 产业园 园区 新城 名城 国际城 豪庭 华庭 雅居 佳苑 名苑 嘉苑 公馆 别墅 \
         社区 丽景 水岸 山庄 名邸 公园 万达 幼儿园 小学 中学 学校 学院 大学 医院 车站 车行 城 苑 府 园 湾 庭 村 郡 里 居 墅",
    );
    towns.chain(roads).chain(sites).collect()
});

/// Characters that cannot stand inside a place's name, because they are grammar.
const GRAMMAR: &str =
    "的在是我你您他她它们那这哪有个了就叫跟和与到从离住对把被给还没不说请问吗呢吧啊呀边侧旁因为店";

/// Endings of what may also be somebody complained of: a place only right behind a district or a road.
const WEAK: [&str; 8] = [
    "幼儿园",
    "小学",
    "中学",
    "学校",
    "学院",
    "大学",
    "医院",
    "车站",
];

/// What no place ends in, whatever stands before it.
static NO_END: Words = LazyLock::new(|| {
    words(
        "卡里 家里 手里 屋里 心里 车里 夜里 店里 包里 群里 哪里 这里 那里 班里 院里 楼里 村里 城里 市里 \
     区里 厂里 公里 嘴里 路里 账户里 政府 邻居 定居 我们小区 你们小区 他们小区 个小区 这小区 手车市场 车行",
    )
});

/// Words that end like a place but are none.
static NO_PLACE: Words = LazyLock::new(|| {
    words(
        "马路 公路 道路 修路 走路 一路 电路 线路 网路 大马路 在路 整条街 这条路 那条路 条路 逛街 半路 \
     过马路 我们小区 小区 物业中心 客服中心 服务中心 检测中心 市中心 公园 农村 我们村 进城 大城 \
     政府 市政府 区政府 家里 城里 村里 邻居 定居 手里 卡里 这里 那里 哪里 夜里 心里 屋里 里 车里 \
     年里 商城",
    )
});

fn grammar(letter: char) -> bool {
    is_stop(letter) || GRAMMAR.contains(letter)
}

/// The last character of `from..at` that a name cannot go on across. 和 joins two roads; elsewhere it is part of a
/// name (和平路, 康和新城).
fn last_grammar(said: &Said, from: usize, at: usize) -> Option<usize> {
    (from..at).rev().find(|index| {
        let joins = said.before(*index, 1).ends_with(['路', '街', '道', '巷']);
        grammar(said.chars[*index]) && (said.chars[*index] != '和' || joins)
    })
}

/// House, building, unit and room numbers that begin at `at`.
fn numbered(said: &Said, at: usize, after_site: bool) -> Option<Part> {
    let number = numbers::at(&said.chars, at)?;
    let end = number.range.end;
    let written = numbers::arabic(&number, &said.chars);
    let marks = [
        ("号楼", Kind::Building, "号楼"),
        ("栋", Kind::Building, "栋"),
        ("幢", Kind::Building, "幢"),
        ("单元", Kind::Unit, "单元"),
        ("号院", Kind::Number, "号院"),
        ("号", Kind::Number, "号"),
        ("室", Kind::Room, "室"),
        ("户", Kind::Room, "户"),
    ];
    for (mark, kind, text) in marks {
        if said.starts_at(end, mark) && number.value < 100_000.0 && !said.starts_at(end, "号线") {
            let stop = end + mark.chars().count();
            let kind = if kind == Kind::Number && after_site {
                Kind::Building
            } else {
                kind
            };
            return Some(Part {
                kind,
                text: format!("{written}{text}"),
                range: at..stop,
            });
        }
    }
    // Floors stay as they are spoken.
    if said.starts_at(end, "楼") || said.starts_at(end, "层") {
        return Some(Part {
            kind: Kind::Room,
            text: said.slice(at..end + 1),
            range: at..end + 1,
        });
    }
    // A room without its mark: three or four digits read one by one after a unit or building.
    let digits = said.chars[number.range.clone()]
        .iter()
        .all(|letter| digit(*letter).is_some());
    let bounded = said
        .chars
        .get(end)
        .is_none_or(|letter| is_stop(*letter) || *letter == '的');
    (after_site && digits && (3..=4).contains(&written.len()) && bounded).then_some(Part {
        kind: Kind::Room,
        text: written,
        range: at..end,
    })
}

/// The place whose name ends inside `from..end`, as early as possible.
fn named(said: &Said, from: usize, end: usize, joined: bool) -> Option<Part> {
    // Names have up to eight characters, endings up to four.
    let end = end.min(from + 14);
    let mut best: Option<Part> = None;
    for (ending, kind) in ENDINGS.iter().copied() {
        let length = ending.chars().count();
        for at in from + 1..=end.saturating_sub(length) {
            if !said.starts_at(at, ending) {
                continue;
            }
            // 县府街 ends in 街, not in 府; 花园 in 园: the later, longer ending speaks.
            let stop = at + length;
            let start = last_grammar(said, from, at).map_or(from, |found| found + 1);
            let start = start.max(at.saturating_sub(8));
            let name = said.slice(start..at);
            let whole = said.slice(start..stop);
            let count = name.chars().count();
            let weak = WEAK.contains(&ending);
            let bad = count == 0
                || NO_PLACE.contains(&whole.as_str())
                || NO_END.iter().any(|word| whole.ends_with(word))
                || weak && !(joined && start == from)
                || length == 1 && (kind == Kind::Site || ending == "路") && count < 2
                || whole.ends_with("小区") && count < 2
                || name
                    .chars()
                    .all(|letter| digit(letter).is_some() || "十百".contains(letter))
                || said.starts_at(stop, "车") && ending == "路";
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
                    text: whole,
                    range: start..stop,
                });
            }
            break;
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
    said: &Said,
    at: usize,
    clause: &Range<usize>,
    last: Option<(Kind, usize)>,
    joined: bool,
) -> Option<Part> {
    static NO_NAME: Words = LazyLock::new(|| {
        words(
            "吧 那 这 不 没 没有 应该 大概 不知道 不清楚 具体 对 嗯 好 就 然后 附近 旁边 门口 里面 \
         本地 一 孩子 我 他 她 爸 妈 父母 老公 老婆 媳妇 结果 但是 所以 因为 现在 后来 已经",
        )
    });
    let behind = joined && last.is_some_and(|(kind, _)| kind <= Kind::Road);
    let mut end = (at..clause.end)
        .find(|index| {
            grammar(said.chars[*index])
                || said.starts_at(*index, "门口")
                || said.starts_at(*index, "附近")
                || said.starts_at(*index, "对面")
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
                .any(|letter| "我他了不没".contains(*letter)));
    let bad = NO_NAME.iter().any(|word| text.starts_with(word))
        || text.chars().all(|letter| digit(letter).is_some())
        || text.contains([
            '区', '收', '交', '买', '办', '做', '卖', '找', '打', '去', '过', '报',
        ]);
    (free && !bad && (2..=10).contains(&text.chars().count())).then_some(Part {
        kind: Kind::Site,
        text,
        range: at..end,
    })
}

/// The parts of an address in `said`, left to right; each run of connected parts is one address.
fn addresses(said: &Said, taxonomy: &Taxonomy, asked: bool, landmarks: bool) -> Vec<Vec<Part>> {
    let mut districts: Vec<(Range<usize>, usize)> = taxonomy
        .place_words
        .longest(&said.text)
        .filter(|(_, word)| word.is_district)
        .map(|(bytes, word)| {
            (
                said.char_at(bytes.start)..said.char_at(bytes.end),
                word.district,
            )
        })
        .collect();
    // 来上去永春大街: where a place was asked for, or more of an address follows, a district is known by its sound.
    for (index, name) in taxonomy.districts.iter().enumerate() {
        let long = name.chars().count();
        for at in 0..=said.chars.len().saturating_sub(long) {
            let stop = at + long;
            let opens = at == 0 || grammar(said.chars[at - 1]);
            let clause = said.clause(at);
            let road = stop <= clause.end
                && said
                    .slice(stop..clause.end.min(stop + 8))
                    .contains(['路', '街', '道']);
            let free = !districts
                .iter()
                .any(|(range, _)| range.start < stop && at < range.end);
            if long > 2 && opens && free && (asked || road) && sounds_at(&said.chars, at, name) {
                districts.push((at..stop, index));
            }
        }
    }
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
                    .all(|letter| is_stop(*letter) || "的在那是边儿".contains(*letter))
            });
            let narrow = last.is_some_and(|(kind, _)| kind >= Kind::Site);
            let opens = at == clause.start || grammar(said.chars[at - 1]);
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
                Some(Part {
                    kind: Kind::District,
                    text: taxonomy.districts[*district].clone(),
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
                match named(said, at, limit, joined && landmarks) {
                    Some(part) if part.range.start == at => Some(part),
                    _ if behind && let Some(part) = misheard_end(said, at, &clause) => Some(part),
                    // What the operator asked for needs no ending: 高新区的蓝湾国际.
                    _ if asked && let Some(part) = unmarked(said, at, &clause, last, joined) => {
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
                    kind < part.kind || (kind == part.kind && kind == Kind::Site)
                });
            let crossing = crossing(said, last, &part);
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

/// A district that the gazetteer does not know: 历下区, 浦东新区; before more of an address, or alone in its clause.
fn foreign(said: &Said, at: usize, clause: &Range<usize>) -> Option<Part> {
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
        || named(said, next, clause.end, false).is_some_and(|part| part.range.start == next)
        || ["那", "这"].iter().any(|word| said.starts_at(next, word));
    (!bad && goes_on).then(|| Part {
        kind: Kind::District,
        text: said.slice(at..end),
        range: at..end,
    })
}

/// A road or village whose last character was misheard, right behind a district: 文化录那个, 枣林戮一百号.
fn misheard_end(said: &Said, at: usize, clause: &Range<usize>) -> Option<Part> {
    let ends = [('路', Kind::Road), ('街', Kind::Road), ('镇', Kind::Town)];
    (at + 2..clause.end.min(at + 4)).find_map(|last| {
        let letter = said.chars[last];
        let bounded = said.chars.get(last + 1).is_none_or(|next| {
            is_stop(*next) || "的那和跟与".contains(*next) || digit(*next).is_some()
        });
        let (ending, kind) = ends
            .into_iter()
            .find(|(ending, _)| *ending != letter && same_sound(*ending, letter))?;
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

/// Where the city's name that begins at `at` ends; 烟台山 and 烟台站 are no city.
fn city_end(
    said: &Said,
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

/// The word that joins two roads to a crossing.
fn crossing(said: &Said, last: Option<(Kind, usize)>, part: &Part) -> Option<&'static str> {
    let (kind, end) = last?;
    if kind != Kind::Road || part.kind != Kind::Road {
        return None;
    }
    match said.slice(end..part.range.start).as_str() {
        "和" => Some("和"),
        "跟" | "与" | "、" | "同" => Some("与"),
        _ => None,
    }
}

/// What the operator asks when a place is wanted.
pub(super) static ASKED: Words = LazyLock::new(|| {
    words(
        "地址 位置 在哪 哪里 哪儿 哪个小区 哪个区 什么地方 住在 几号楼 路段 哪条路 地点 具体 门牌 \
     哪个位置 楼盘 哪个村 哪个社区 哪一片 哪个街道 几单元 几楼 哪栋 房间 路口",
    )
});

fn score(parts: &[Part], asked: bool) -> i32 {
    let kinds = parts.iter().map(|part| match part.kind {
        Kind::District | Kind::Road | Kind::Site => 2,
        _ => 1,
    });
    kinds.sum::<i32>() + if asked { 3 } else { 0 }
}

/// The address; its parts may come from several utterances.
fn find_address(talk: &[Said], taxonomy: &Taxonomy, landmarks: bool) -> Option<Address> {
    let mut best: Option<Address> = None;
    for (index, said) in talk.iter().enumerate() {
        let confirmed = !said.by_caller()
            && said.has(&["吗", "吧", "是不是", "？", "对不对"])
            && said::reply(talk, index).is_some_and(Said::affirms);
        if !said.by_caller() && !confirmed {
            continue;
        }
        let question = said::question(talk, index);
        let asked = said.by_caller() && question.is_some_and(|asked| hearing::has(asked, &ASKED));
        for parts in addresses(said, taxonomy, asked, landmarks) {
            let negated = said::negated(said, parts[0].range.start)
                && said.before(parts[0].range.start, 2).contains("不是");
            // 从火车站到迎春大街 is a way, not an address.
            let clause = said.clause(parts[0].range.start);
            let before = said.slice(clause.start..parts[0].range.start);
            let after = said.slice(parts[parts.len() - 1].range.end..said.chars.len());
            let way = before.ends_with(['到', '至'])
                || !asked && after.starts_with('到')
                || before.contains('从') && after.contains('到');
            if negated || way || !said.by_caller() && best.is_some() {
                continue;
            }
            // 大悦城旁边的海景公寓: what is beside is not where, when there is more to come.
            let beside = ["旁边", "对面", "附近", "隔壁", "后面", "前面", "斜对"]
                .iter()
                .any(|word| after.starts_with(word));
            let mut parts = parts;
            if beside
                && parts.len() > 1
                && parts[parts.len() - 1].kind == Kind::Site
                && let Some(next) = named(
                    said,
                    parts[parts.len() - 1].range.end + 3,
                    said.chars.len(),
                    false,
                )
                .filter(|next| next.kind == Kind::Site)
            {
                parts.pop();
                parts.push(next);
            }
            let widest = parts[0].kind;
            // A floor or a bare number alone is no address, but may complete one.
            let completes = best.as_ref().is_some_and(|known| {
                let narrowest = known
                    .parts
                    .iter()
                    .map(|part| part.0)
                    .max()
                    .unwrap_or(Kind::District);
                let only_district = parts.len() == 1
                    && widest == Kind::District
                    && !known.parts.iter().any(|part| part.0 == Kind::District);
                only_district
                    || said.id != known.utterance
                        && (asked || widest >= Kind::Building)
                        && widest > narrowest
            });
            let only_district = parts.len() == 1 && widest == Kind::District;
            // 莱山区。 is an answer, whatever the question was taken for.
            let said_alone = said.by_caller()
                && said
                    .chars
                    .iter()
                    .filter(|letter| !is_stop(**letter))
                    .count()
                    <= parts[0].range.len() + 2;
            let asked = asked || only_district && said_alone;
            let score = score(&parts, asked);
            let places: Vec<_> = parts
                .into_iter()
                .map(|part| (part.kind, part.text, said.evidence(&part.range)))
                .collect();
            match &mut best {
                Some(known) if completes => {
                    known.parts.extend(places);
                    known.parts.sort_by_key(|part| part.0);
                    known.score += 1;
                    known.utterance = said.id;
                    known.by_the_way &= only_district && !asked;
                }
                Some(known) if known.score >= score && !said.denies() => {}
                known => {
                    // A narrower answer keeps the district that was said before.
                    let district = known.as_ref().and_then(|known| {
                        known
                            .parts
                            .iter()
                            .find(|part| part.0 == Kind::District)
                            .cloned()
                    });
                    let mut parts = places;
                    if widest > Kind::District
                        && let Some(district) = district
                    {
                        parts.insert(0, district);
                    }
                    if parts
                        .iter()
                        .all(|part| part.0 >= Kind::Building || part.0 == Kind::Number)
                    {
                        continue;
                    }
                    *known = Some(Address {
                        parts,
                        score,
                        utterance: said.id,
                        by_the_way: only_district && !asked,
                    });
                }
            }
        }
    }
    best
}

/// Address, district, and the community or building of the address (which may be the subject).
pub(super) struct Where {
    pub address: Option<Field>,
    pub district: Option<Field>,
    pub site: Option<(String, Evidence)>,
}

/// Finds the place of the matter.
pub(super) fn find(talk: &[Said], taxonomy: &Taxonomy, landmarks: bool) -> Where {
    let text = |value: String, confidence: f32, evidence: Vec<Evidence>| Field {
        value: FieldValue::Text(Private::new(value)),
        confidence,
        evidence,
    };
    let found = find_address(talk, taxonomy, landmarks);
    let mut district = found.as_ref().and_then(|found| {
        let (_, name, place) = found.parts.iter().find(|part| part.0 == Kind::District)?;
        Some(text(name.clone(), 0.95, vec![*place]))
    });
    if district.is_none() {
        // Said elsewhere, else inferred from a place that lies in one district.
        let mut best: Option<(i32, usize, Evidence)> = None;
        for (index, said) in talk.iter().enumerate() {
            let confirmed =
                !said.by_caller() && said::reply(talk, index).is_some_and(Said::affirms);
            if !said.by_caller() && !confirmed {
                continue;
            }
            for (bytes, word) in taxonomy.place_words.longest(&said.text) {
                let range = said.char_at(bytes.start)..said.char_at(bytes.end);
                let named = if word.is_district { 4 } else { 2 };
                let score = named + i32::from(said.by_caller());
                if said.before(range.start, 2) != "不是"
                    && best.as_ref().is_none_or(|best| score > best.0)
                {
                    best = Some((score, word.district, said.evidence(&range)));
                }
            }
        }
        district = best.map(|(score, index, place)| {
            text(
                taxonomy.districts[index].clone(),
                if score >= 4 { 0.85 } else { 0.7 },
                vec![place],
            )
        });
    }
    let site = found.as_ref().and_then(|found| {
        found
            .parts
            .iter()
            .rfind(|part| part.0 == Kind::Site)
            .map(|part| (part.1.clone(), part.2))
    });
    let address = found.filter(|found| !found.by_the_way).map(|found| {
        let value: String = found.parts.iter().map(|part| part.1.as_str()).collect();
        let places = found.parts.iter().map(|part| part.2).collect();
        let sure = (0.45 + 0.07 * found.score as f32).min(0.93);
        text(value, sure, places)
    });
    Where {
        address,
        district,
        site,
    }
}

#[cfg(test)]
mod tests {
    use super::super::taxonomy::Taxonomy;
    use super::super::tests::{talk, text};
    use super::find;

    fn address(lines: &str) -> Option<String> {
        text(find(&talk(lines), &Taxonomy::embedded(), true).address)
    }

    fn district(lines: &str) -> Option<String> {
        text(find(&talk(lines), &Taxonomy::embedded(), true).district)
    }

    #[test]
    fn an_address_is_read_from_the_district_to_the_room() {
        assert_eq!(
            address("o:请问地址？\n芝罘区只楚路金色家园小区十二号楼三单元五零一。").as_deref(),
            Some("芝罘区只楚路金色家园小区12号楼3单元501")
        );
        assert_eq!(
            address("在莱山区观海路的东泰大厦五楼，不远。").as_deref(),
            Some("莱山区观海路东泰大厦五楼")
        );
        assert_eq!(
            address("我在福山区松霞路一百零六号。").as_deref(),
            Some("福山区松霞路106号")
        );
    }

    #[test]
    fn a_crossing_has_two_roads() {
        assert_eq!(
            address("开发区黄河路跟泰山路交叉口那儿。").as_deref(),
            Some("开发区黄河路与泰山路交叉口")
        );
        assert_eq!(
            address("就在青年路和胜利路的路口。").as_deref(),
            Some("青年路和胜利路路口")
        );
    }

    #[test]
    fn an_address_may_come_in_pieces() {
        assert_eq!(address("o:您在哪个区？\n牟平区。\no:具体地址呢？\n通海路，海韵花园。\no:几号楼？\n八号楼二单元。").as_deref(), Some("牟平区通海路海韵花园8号楼2单元"));
    }

    #[test]
    fn the_district_may_follow_from_a_place_in_it() {
        assert_eq!(district("我在只楚那边住。").as_deref(), Some("芝罘区"));
        assert_eq!(district("我在招远毕郭镇。").as_deref(), Some("招远市"));
        assert_eq!(district("我想问个事。"), None);
    }

    #[test]
    fn a_district_that_no_list_knows_is_read_by_its_ending() {
        assert_eq!(
            address("在历下区经十路的恒大城二楼。").as_deref(),
            Some("历下区经十路恒大城二楼")
        );
        assert_eq!(
            district("o:哪个区？\n沙河口区。").as_deref(),
            Some("沙河口区")
        );
        for lines in [
            "我们这片区停水了。",
            "我在服务区。",
            "我住在老城区，",
            "外县来的。",
        ] {
            assert_eq!(district(lines), None, "{lines}");
        }
    }

    #[test]
    fn a_district_is_known_by_its_sound_where_a_place_is_told() {
        assert_eq!(
            address("o:您是住在？\n来上去迎春大街观海花园。").as_deref(),
            Some("莱山区迎春大街观海花园")
        );
        assert_eq!(district("我来上去看看。"), None);
    }

    #[test]
    fn the_ending_of_a_road_may_be_misheard_and_a_district_may_be_the_whole_answer() {
        assert_eq!(
            address("o:在哪里？\n芝罘区文化录一百号。").as_deref(),
            Some("芝罘区文化路100号")
        );
        assert_eq!(
            address("o:请问落到那葛驱？\n莱山区。").as_deref(),
            Some("莱山区")
        );
    }

    #[test]
    fn ways_of_speaking_that_end_like_a_place_are_none() {
        for lines in [
            "我在马路上走。",
            "我们小区停水了。",
            "卡里还有钱。",
            "我一路走到市中心。",
            "这条路不好走。",
        ] {
            assert_eq!(address(lines), None, "{lines}");
        }
    }
}
