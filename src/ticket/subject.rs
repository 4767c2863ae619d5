//! The merchant, company or person complained of, as the caller names it.

use std::ops::Range;
use std::sync::LazyLock;

use super::dialogue::{self, MENDED, PreparedUtterance};
use super::lexicon::{Words, list};
use super::numbers::digit;
use super::phonetics::{self, alike, sounds_at};
use super::taxonomy::Category;
use super::{Evidence, Field, FieldValue};
use crate::private::Private;
use crate::text::spelling;

/// How an operator asks for the other side's name.
pub(super) static ASKED: Words = LazyLock::new(|| list("subject.asked"));

/// What asks how the other side sees it, and for no name: 机构那边怎么说？
static HOW: Words = LazyLock::new(|| list("subject.how"));

/// What stands before a name that is written on a door, a sign or a car.
static WRITTEN: Words = LazyLock::new(|| list("subject.written"));

/// Of these, the ones after which the first thing said is the name.
static NAME_ASKED: Words = LazyLock::new(|| list("subject.name_asked"));

/// What an organisation's name ends in.
pub(super) static ENDINGS: Words = LazyLock::new(|| list("subject.endings"));

/// Names that say only what kind of thing it is.
static PLAIN: Words = LazyLock::new(|| list("subject.plain"));

/// Brands of companies that are usually named without their kind.
pub(super) static BRANDS: Words = LazyLock::new(|| list("subject.brands"));

/// Grammar in which a name cannot go on, read backwards from its ending.
const BEFORE: &str = "的在是我你您他她们那这有个了就叫跟到从去来对把被给说让找请问和里上下边旁";

/// Companies of gas, power, water and heat, which need no other name.
static UTILITIES: Words = LazyLock::new(|| list("subject.utilities"));

/// What is rather a place than somebody complained of, where there is something else to complain of.
static WHERE: Words = LazyLock::new(|| list("subject.where"));

/// Of these, the ones that names contain too.
const SOFT: &str = "和上下来对里";

struct Found {
    text: String,
    place: Evidence,
    score: i32,
}

fn plain(name: &str) -> bool {
    let is_code = |letter: char| letter.is_ascii_alphanumeric() || digit(letter).is_some();
    let codes = name.chars().all(is_code) && name.chars().any(|letter| digit(letter).is_some());
    name.is_empty() || PLAIN.contains(&name) || codes
}

/// A name that ends in one of [`ENDINGS`]: (range, ending's length).
fn organisations(said: &PreparedUtterance) -> &[Range<usize>] {
    said.found
        .organisations
        .get_or_init(|| look_for_organisations(said))
}

fn look_for_organisations(said: &PreparedUtterance) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for ending in ENDINGS.iter().copied() {
        for (range, _) in said.find_all(&[ending]) {
            let clause = said.clause(range.start);
            // 嘉和物业: 和 and the like end a name only where enough of a name is left behind them.
            let start = (clause.start..range.start)
                .rev()
                .find(|at| {
                    let letter = said.chars[*at];
                    // 安居客来房产中介: 房产 is no name that 来 could end before.
                    let kind = ENDINGS.contains(&said.slice(at + 1..range.start).as_str());
                    // 北大街得三和电器: 的, misheard.
                    let of = "得德".contains(letter)
                        && *at > clause.start
                        && "路街道区市县镇里边".contains(said.chars[at - 1]);
                    of || pushes(said, *at)
                        || BEFORE.contains(letter)
                            && (!SOFT.contains(letter) || at + 2 < range.start && !kind)
                })
                .map_or(clause.start, |stop| stop + 1)
                .max(range.start.saturating_sub(8));
            // 投诉鼎盛装饰公司: the name begins behind the verb.
            let start = VERBS
                .iter()
                .filter_map(|verb| {
                    said.slice(start..range.start)
                        .rfind(verb)
                        .map(|at| (at, verb))
                })
                .map(|(at, verb)| {
                    start
                        + said.slice(start..range.start)[..at].chars().count()
                        + verb.chars().count()
                })
                .max()
                .unwrap_or(start);
            let name = said.slice(start..range.start);
            // 打燃气公司老占线: who is rung up.
            let rung_up = name.starts_with('打')
                && ["占线", "没人接", "不通", "电话", "不接"]
                    .iter()
                    .any(|word| said.slice(range.end..clause.end).contains(word));
            let landmark = [
                "那家，",
                "门口",
                "对面",
                "旁边",
                "附近",
                "东边",
                "西边",
                "南边",
                "北边",
                "后面",
                "前面",
                "那边",
                "楼上",
                "楼下",
                "斜对",
                "隔壁",
                "边上",
                "里面",
            ]
            .iter()
            .any(|word| said.starts_at(range.end, word));
            if landmark || rung_up {
                continue;
            }
            // 南山路望海公园: the road is where, not who.
            let start = (start..range.start.saturating_sub(1))
                .rev()
                .find(|at| "路街".contains(said.chars[*at]) && at + 2 < range.start && *at > start)
                .map_or(start, |road| road + 1);
            let name = said.slice(start..range.start);
            // 健身 is an ending and the beginning of 健身房, and 置业 of 置业有限公司.
            let longer = found
                .iter()
                .any(|known| known.start <= start && known.end >= range.end);
            // 装修公司 says what kind of company, not which.
            let kind_only = ENDINGS.contains(&said.slice(start..range.end).as_str());
            let kind = ["专卖", "分", "门", "商", "连锁", "小", "饭", "酒", "总"]
                .iter()
                .any(|kind| name.ends_with(kind));
            if longer
                || kind_only
                || plain(&name)
                || name.chars().count() < 2
                || matches!(ending, "店" | "厂") && (kind || name.chars().count() < 3)
                // 一辆出租车
                || ending == "租车" && name.ends_with('出')
            {
                continue;
            }
            found.retain(|known| known.start < start || known.end > range.end);
            found.push(start..range.end);
        }
    }
    found
}

/// Whether one is sent on to another here: 物业推供电局. 推拿 and the like are no such thing.
pub(super) fn pushes(said: &PreparedUtterance, at: usize) -> bool {
    static WORDS: Words = LazyLock::new(|| list("subject.words_with_push"));
    said.chars[at] == '推' && !WORDS.iter().any(|word| said.starts_at(at, word))
}

/// Verbs and adverbs: a name does not go on across them.
static VERBS: Words = LazyLock::new(|| list("subject.verbs"));

/// A verb inside says that it is a sentence and not a name.
fn verb_in(name: &str) -> bool {
    VERBS.iter().any(|verb| name.contains(verb))
}

/// What stands before a name in speech.
static OPENINGS: Words = LazyLock::new(|| list("subject.openings"));

/// What follows a name in speech.
static CLOSINGS: Words = LazyLock::new(|| list("subject.closings"));

/// What the other side is, before its name: 劳务公司叫鲁建劳务.
static KINDS: Words = LazyLock::new(|| list("subject.kinds"));

/// Cuts what precedes and follows a name in speech: 劳务公司叫鲁建劳务, 圆通的, 新天地项目, 张记那个店.
fn trimmed(said: &PreparedUtterance, mut range: Range<usize>) -> Range<usize> {
    // 科创中心的项穆: whatever stands behind 的, it is no part of a name.
    if let Some(of) = (range.start + 3..range.end)
        .find(|at| said.chars[*at] == '的' || said.chars[*at] == '得')
        .filter(|of| of + 4 > range.end)
    {
        range.end = of;
    }
    // 叫 and 是 may have been misheard or lost between the kind and the name.
    if let Some(kind) = KINDS.iter().find(|kind| said.starts_at(range.start, kind)) {
        let mut start = range.start + kind.chars().count();
        let link = |letter: &char| "叫是".chars().any(|link| alike(link, *letter));
        start += usize::from(said.chars.get(start).is_some_and(link));
        if start + 3 < range.end {
            range.start = start;
        }
    }
    // 教麦香园, 较麦香园: no name begins so.
    let misheard = said
        .chars
        .get(range.start)
        .is_some_and(|letter| "教较轿觉搅浇侥饺绞缴剿窖".contains(*letter));
    if misheard && range.start + 3 < range.end {
        range.start += 1;
    }
    while let Some(word) = OPENINGS.iter().find(|word| {
        said.starts_at(range.start, word) && range.start + word.chars().count() + 1 < range.end
    }) {
        range.start += word.chars().count();
    }
    // 物业推燃气公司，燃气公司推物业: whom one sends the caller to.
    let sent = (said.chars.get(range.start)).is_some_and(|letter| "推催赖怪".contains(*letter));
    if sent
        && range.len() > 4
        && spelling::is_word(&said.chars[range.start + 1..range.start + 3])
        && !spelling::is_word(&said.chars[range.start..range.start + 2])
    {
        range.start += 1;
    }
    // 那各滨海广场: 那个, misheard.
    let pointer = said
        .chars
        .get(range.start)
        .is_some_and(|letter| "那这".contains(*letter))
        && said
            .chars
            .get(range.start + 1)
            .is_some_and(|letter| alike(*letter, '个'));
    if pointer && range.start + 5 < range.end {
        range.start += 2;
    }
    while let Some(word) = CLOSINGS.iter().find(|word| {
        let length = word.chars().count();
        let bar = **word == "吧"
            && range.end > range.start + 2
            && "酒网水书茶".contains(said.chars[range.end - 2]);
        !bar && range.end >= range.start + length + 2
            && (said.starts_at(range.end - length, word)
                || length > 2 && sounds_at(&said.chars, range.end - length, word))
    }) {
        range.end -= word.chars().count();
    }
    range
}

/// Where a name that begins at `at` ends: at punctuation or at grammar.
fn name_end(said: &PreparedUtterance, at: usize, clause_end: usize) -> usize {
    static STOPS: Words = LazyLock::new(|| list("subject.stops"));
    (at + 2..clause_end)
        .find(|index| STOPS.iter().any(|stop| said.starts_at(*index, stop)))
        .unwrap_or(clause_end)
}

/// What the draft knows already of a matter.
#[derive(Clone, Copy, Default)]
pub(super) struct Known<'a> {
    pub category: Option<&'a Category>,
    /// What may be complained of in the matters that were spoken of.
    pub spoken_of: &'a [&'a str],
    /// The address's community or building.
    pub site: Option<&'a (String, Evidence)>,
    /// Where the address was said.
    pub address: &'a [Evidence],
    pub is_question: bool,
    pub is_suggestion: bool,
    /// The caller's name.
    pub caller: Option<&'a str>,
}

/// The subject, if one is named or follows from the kind of matter.
pub(super) fn find(
    talk: &[PreparedUtterance],
    Known {
        category,
        spoken_of,
        site,
        address,
        is_question,
        is_suggestion,
        caller,
    }: Known,
) -> Option<Field> {
    let mut best: Option<Found> = None;
    let in_address = |said: &PreparedUtterance, range: &Range<usize>| {
        let place = said.evidence(range);
        address.iter().any(|part| {
            part.utterance == place.utterance && part.start < place.end && place.start < part.end
        })
    };
    // 中国一动: a long one is known by its sound.
    let long_brands: Vec<&str> = (BRANDS.iter().copied())
        .filter(|brand| brand.chars().count() > 3)
        .collect();
    let mut offer = |said: &PreparedUtterance, range: Range<usize>, score: i32| {
        if range.end <= range.start || range.clone().any(|at| pushes(said, at)) {
            return;
        }
        let brand = long_brands.iter().find(|brand| {
            let letters: Vec<char> = brand.chars().collect();
            letters.len() == range.len()
                && sounds_at(&said.chars, range.start, brand)
                && said.may_be(range.clone(), &letters)
        });
        let text = brand.map_or_else(|| said.name(range.clone()), |brand| (*brand).to_owned());
        let count = text.chars().count();
        if plain(&text) || !(2..=18).contains(&count) || caller == Some(text.as_str()) {
            return;
        }
        if best.as_ref().is_none_or(|best| score > best.score) {
            best = Some(Found {
                text: if said.is_typed() {
                    text
                } else {
                    spoken_line(&text)
                },
                place: said.evidence(&range),
                score,
            });
        }
    };
    for (index, said) in talk.iter().enumerate() {
        if !said.by_caller() {
            continue;
        }
        let question = dialogue::question(talk, index);
        let about_caller = question.is_some_and(|asked| {
            asked.has(&["您贵姓", "怎么称呼", "您的姓名", "称呼您", "您叫", "贵姓"])
        });
        let which = question.and_then(asks_which);
        let asked = !about_caller
            && question
                .is_some_and(|asked| (asked.has(&ASKED) || which.is_some()) && !asked.has(&HOW))
            && talk
                .get(index.wrapping_sub(1))
                .is_some_and(|before| !before.by_caller());
        let correction = if said.denies() { 4 } else { 0 };
        let asks_shop = question.is_some_and(|asked| asked.has(&["店铺", "店名", "哪家店"]));
        // …叫X
        for (range, _) in said.find_all(&["叫做", "叫"]) {
            let before = said.before(range.start, 2);
            // 以前叫好声音: what it is no longer called.
            let former = ["以前", "原来", "之前", "原先", "过去"].contains(&before.as_str());
            // 我爸叫展玉田; 姓文，叫文静
            let relative = ["爸", "妈", "老人", "儿子", "女儿", "孩子", "老伴", "大名"]
                .iter()
                .any(|who| before.ends_with(who))
                || said.chars.get(range.end).is_some_and(|first| {
                    said.slice(0..range.start).contains(&format!("姓{first}"))
                });
            if about_caller
                || former
                || relative
                || said.starts_at(range.end, "做")
                || before.ends_with('我')
                || before.ends_with("大")
                || before.ends_with('不')
                || before.ends_with('没')
                || said.starts_at(range.end, "什么")
                || said.starts_at(range.end, "我")
                || said.starts_at(range.end, "不")
                || ["他", "她", "它", "俺", "你", "咱"]
                    .iter()
                    .any(|who| said.starts_at(range.end, who))
                || [
                    "价",
                    "孩子",
                    "家里人",
                    "大家",
                    "大伙",
                    "别人",
                    "人家",
                    "邻居",
                ]
                .iter()
                .any(|word| said.starts_at(range.end, word))
                || ["人", "了", "来", "过", "车", "外卖", "救护车"]
                    .iter()
                    .any(|word| said.starts_at(range.end, word))
                || before.ends_with(['快', '去', '能'])
            {
                continue;
            }
            let clause = said.clause(range.start);
            let end = name_end(said, range.end, clause.end);
            let name = trimmed(said, range.end..end);
            // 有个叫小刘的: somebody's nickname.
            let nickname = name.len() == 2 && "小老阿".contains(said.chars[name.start]);
            if !nickname && !verb_in(&said.slice(name.clone())) {
                let person = [
                    "护士",
                    "小伙",
                    "姑娘",
                    "民警",
                    "师傅",
                    "网格员",
                    "保安",
                    "员工",
                    "店员",
                    "服务员",
                    "包工头",
                    "带班",
                    "工长",
                    "队长",
                    "老板",
                    "经理",
                    "教练",
                    "司机",
                    "老师",
                    "负责人",
                    "店主",
                    "医生",
                ]
                .iter()
                .any(|person| said.slice(clause.start..range.start).contains(person));
                // 小区叫锦绣华庭，物业是鑫和物业: the first is where it is.
                let placed = before == "小区" || before.ends_with('村');
                let weaker = if person || placed { 6 } else { 0 };
                offer(said, name, if asked { 12 } else { 8 } + correction - weaker);
            }
        }
        // 车门上喷的是通达出租: what is written on it.
        for (range, _) in said.find_all(&WRITTEN) {
            let clause = said.clause(range.start);
            let on = said.slice(clause.start..range.start);
            let name = trimmed(said, range.end..clause.end);
            if on.contains(['门', '牌', '车', '盒', '袋', '衣'])
                && (3..=10).contains(&name.len())
                && !verb_in(&said.slice(name.clone()))
                && !said
                    .slice(name.clone())
                    .contains(['不', '钱', '要', '禁', '内'])
            {
                offer(said, name, 7);
            }
        }
        // 一楼开饭店那家，老渔港。
        let clauses = said.clauses();
        for pair in clauses.windows(2) {
            if points(said, &pair[0]) && (2..=8).contains(&pair[1].len()) {
                let name = trimmed(said, pair[1].clone());
                if !in_address(said, &name) && !verb_in(&said.slice(name.clone())) {
                    offer(said, name, 7);
                }
            }
        }
        // 让派出所去说说: who is to help is not who is complained of.
        let wishes = question
            .is_some_and(|asked| asked.has(&["诉求", "希望", "要求", "怎么解决", "怎么处理"]));
        for range in organisations(said).iter().cloned() {
            if wishes && !said.has(&["投诉", "举报"]) {
                continue;
            }
            let name = trimmed(said, range);
            // 哪个古船博物馆？登州古船博物馆: where it is, and what was asked for.
            let wanted = which.is_some_and(|kind| said.slice(name.clone()).ends_with(kind));
            let placed = if in_address(said, &name) && !wanted {
                6
            } else {
                0
            };
            offer(said, name, if asked { 10 } else { 6 } + correction - placed);
        }
        for (range, _) in said.find_all(&BRANDS) {
            offer(said, range, if asked { 9 } else { 5 });
        }
        if let Some(range) = phonetics::heard(said, &long_brands) {
            offer(said, range, if asked { 9 } else { 5 });
        }
        // 去了速安汽修。o:速安汽修在什么位置？: what the operator asks the place of is who it is about.
        if !about_caller && let Some(range) = located(said, talk.get(index + 1)) {
            offer(said, range, 7);
        }
        // 上面印的是海通出租。o:海通出租，好的: what the operator takes down is a name.
        if !about_caller
            && let Some(range) = echoed(said, talk.get(index + 1))
            && !in_address(said, &range)
            && !verb_in(&said.slice(range.clone()))
        {
            offer(said, range, 5);
        }
        // 十七路公交车
        let about_bus = question.is_some_and(|asked| asked.has(&["几路", "哪路", "公交"]));
        if let Some(range) = bus_line(said, about_bus) {
            offer(said, range, 6);
        }
        if asked {
            // The first clause of the answer that is a name, not a yes or a place.
            let named = question.is_some_and(|asked| asked.has(&NAME_ASKED));
            let both = named
                && question.is_some_and(|asked| asked.has(&["位置", "地址", "在哪"]))
                && !said.has(&["叫", "是"]);
            for (place, clause) in said
                .clauses()
                .into_iter()
                .filter(|clause| !points(said, clause))
                .take(2)
                .enumerate()
            {
                let mut clause = clause;
                // 小区叫X，物业是Y: asked for both, callers say first where it is.
                if ["小区叫", "小区是", "村叫", "楼盘叫"]
                    .iter()
                    .any(|at| said.starts_at(clause.start, at))
                {
                    continue;
                }
                // 饭店名称和位置？莱山区银海路的醉海楼: where it is, and then the name, whatever that ends in.
                let of = (clause.start..clause.end)
                    .rev()
                    .find(|at| said.chars[*at] == '的')
                    .filter(|of| {
                        both && of + 2 < clause.end && in_address(said, &(clause.start..*of))
                    });
                if let Some(of) = of {
                    clause.start = of + 1;
                }
                // 工地是X: the name stands behind 是.
                if let Some(at) = (clause.start..clause.end).rev().find(|at| {
                    said.chars[*at] == '是' && at + 2 < clause.end && !said.starts_at(*at, "是不是")
                }) {
                    clause.start = at + 1;
                }
                let pointer = said.chars[clause.clone()]
                    .windows(2)
                    .position(|pair| pair[1] == '个' && "那这一".contains(pair[0]));
                if let Some(of) = pointer.filter(|of| clause.start + of + 4 <= clause.end) {
                    clause.start += of + 2;
                }
                let name = trimmed(said, clause.clone());
                let text = said.slice(name.clone());
                let placed = of.is_none()
                    && ["路", "街", "区", "市", "号", "楼", "上", "上的", "里"]
                        .iter()
                        .any(|end| text.ends_with(end) && !text.ends_with("景区"))
                    || of.is_none() && in_address(said, &name);
                // 拼多多，店叫…: where the shop was asked for, the platform is not the answer.
                let platform = asks_shop && BRANDS.contains(&text.as_str());
                let empty = platform
                    || [
                        "初一",
                        "初二",
                        "初三",
                        "高一",
                        "高二",
                        "高三",
                        "先说",
                        "先别",
                        "不知道",
                        "不清楚",
                        "没有",
                        "记不",
                        "忘了",
                        "对",
                        "好",
                        "嗯",
                        "有",
                        "没",
                    ]
                    .iter()
                    .any(|word| text.starts_with(word))
                    || ["不知道", "不清楚", "没注意", "上写"]
                        .iter()
                        .any(|word| text.contains(word));
                if !placed
                    && !empty
                    && !verb_in(&text)
                    && text.chars().count() <= 12
                    && !text.contains('了')
                    && !text.contains(['我', '姓'])
                    && (!text.contains('有') || text.contains("有限"))
                    && !text.contains("家的")
                {
                    // 小蜗牛美术，在新华书店楼上: what is said first is the answer.
                    let first = named && place == 0 && !said.starts_at(clause.start, "在");
                    // The company answers for what goes wrong at the building site.
                    let company = question.is_some_and(|asked| asked.has(&["公司"]));
                    let more = correction + i32::from(company);
                    offer(said, name, if first { 11 } else { 7 } + more);
                    break;
                }
            }
        }
    }
    let thing = category.and_then(|category| {
        let words: Vec<&str> = category.things.iter().map(String::as_str).collect();
        talk.iter()
            .filter(|said| said.by_caller())
            .find_map(|said| {
                // 加个红绿灯: what is still to come is not complained of.
                let wished = |range: &Range<usize>| {
                    said.before(range.start, 3)
                        .contains(['加', '装', '设', '安', '增', '没', '缺'])
                };
                let mut named = said.find_all(&words).map(|(range, _)| range).peekable();
                if named.peek().is_some() {
                    let range = named.find(|range| !wished(range))?;
                    return Some((said.slice(range.clone()), said.evidence(&range)));
                }
                // 业市: written otherwise, but it sounds so.
                let range = phonetics::heard(said, &words)?;
                let word = words
                    .iter()
                    .find(|word| phonetics::sounds_at(&said.chars, range.start, word))
                    .filter(|word| {
                        let letters: Vec<char> = word.chars().collect();
                        // Two characters sound like too much else, unless the recogniser doubted them.
                        said.may_be(range.clone(), &letters)
                            && (letters.len() > 2 || said.is_unsure(&said.evidence(&range)))
                    })?;
                Some(((*word).to_owned(), said.evidence(&range)))
            })
    });
    // 小广场的健身器材断了, in a matter of the community's managers: the thing that was spoken of, of whatever kind.
    let said_first = |words: &[&str]| {
        let mut callers = talk.iter().filter(|said| said.by_caller());
        callers.find_map(|said| {
            let range = said.first(words)?;
            Some((said.slice(range.clone()), said.evidence(&range)))
        })
    };
    let by_place = category.is_some_and(|category| category.place_is_subject);
    let thing = thing.or_else(|| by_place.then(|| said_first(spoken_of)).flatten());
    // 燃气公司说没办法: in a matter of gas, power, water or heat its company needs no other name.
    let utility = category.is_some_and(|category| category.utility);
    let thing = thing.or_else(|| utility.then(|| said_first(&UTILITIES)).flatten());
    // 东华小学门口的摊贩: the school is where, the stalls are what is complained of.
    let only_where = thing.is_some()
        && best.as_ref().is_some_and(|found| {
            found.score < 10 && WHERE.iter().any(|end| found.text.ends_with(end))
        });
    if let Some(found) = best.filter(|_| !only_where) {
        // A question of law is about nobody: only a clear name stays.
        if is_question && found.score < 9 {
            return None;
        }
        let bus = found.text.ends_with('路')
            && found
                .text
                .starts_with(|letter: char| letter.is_ascii_digit())
            && talk.iter().any(|said| said.has(&["公交"]));
        // Names are no words: only the recogniser can say which of them it may have misheard.
        let unsure = talk
            .iter()
            .any(|said| said.id == found.place.utterance && said.is_unsure(&found.place));
        let letters: Vec<char> = found.text.chars().collect();
        let better = spelling::likeliest(&letters).filter(|_| unsure && !bus);
        let most = if better.is_some() { MENDED } else { 0.93 };
        let text = match better {
            _ if bus => format!("{}公交车", found.text),
            Some(better) => better.into_iter().collect(),
            None => found.text,
        };
        return Some(Field {
            value: FieldValue::Text(Private::new(text)),
            confidence: (0.35 + 0.05 * found.score as f32).min(most),
            evidence: vec![found.place],
        });
    }
    if is_question {
        return None;
    }
    let category = category?;
    let (text, place, confidence) = match (thing, site) {
        (Some((text, place)), _) => (text, place, 0.5),
        (None, Some((text, place))) if category.place_is_subject && !is_suggestion => {
            (text.clone(), *place, 0.45)
        }
        _ => return None,
    };
    Some(Field {
        value: FieldValue::Text(Private::new(text)),
        confidence,
        evidence: vec![place],
    })
}

/// What the operator's `answer` repeats of a caller's words before going on: no number and no time.
fn echoed(said: &PreparedUtterance, answer: Option<&PreparedUtterance>) -> Option<Range<usize>> {
    let answer = answer.filter(|answer| !answer.by_caller())?;
    let echo = answer.clauses().into_iter().next()?;
    let taken = ["好", "记", "行", "明白", "收到", "知道"]
        .iter()
        .any(|word| answer.starts_at(echo.end + 1, word));
    let words = answer.slice(echo.clone());
    let counts = |letter: char| {
        letter.is_ascii_digit() || digit(letter).is_some() || "年月天点号钱前".contains(letter)
    };
    let range = said.find(&words)?;
    let closes = said
        .chars
        .get(range.end)
        .is_none_or(|next| dialogue::is_stop(*next));
    let named = said.before(range.start, 1).ends_with(['是', '叫']);
    (taken && named && closes && (3..=10).contains(&echo.len()) && !words.contains(counts))
        .then_some(range)
}

/// Whether a clause only shows which one is meant: 一楼开饭店那家, 门口俩大石狮子那家.
fn points(said: &PreparedUtterance, clause: &Range<usize>) -> bool {
    clause.end - clause.start > 4 && said.before(clause.end, 2) == "那家"
}

/// The kind of place of which an operator asks which one it is: 是哪个古船博物馆？
fn asks_which(asked: &PreparedUtterance) -> Option<&'static str> {
    let mut which = asked.find_all(&["哪个", "哪家", "哪所", "哪座", "哪一家"]);
    let (range, _) = which.next()?;
    let words = asked.slice(range.end..asked.clause(range.start).end);
    let mut kinds = ENDINGS.iter().copied();
    kinds.find(|kind| kind.chars().count() > 1 && words.ends_with(kind))
}

/// The name of a caller's words whose place the operator asks next.
fn located(said: &PreparedUtterance, next: Option<&PreparedUtterance>) -> Option<Range<usize>> {
    let next = next.filter(|next| !next.by_caller())?;
    next.clauses().into_iter().find_map(|clause| {
        let words = next.slice(clause);
        let at = [
            "在什么位置",
            "在哪",
            "的地址",
            "的位置",
            "位于",
            "在什么地方",
        ]
        .iter()
        .filter_map(|word| words.find(word))
        .min()?;
        let name = words[..at].trim_start_matches(['那', '这', '家', '个']);
        let fits = (3..=10).contains(&name.chars().count());
        let plain = [
            "您", "你", "他", "小区", "店", "家里", "商家", "公司", "地点", "单位",
        ];
        let kind = ENDINGS.contains(&name) || plain.iter().any(|word| name.starts_with(word));
        said.find(name).filter(|_| fits && !kind)
    })
}

/// A bus line: N路公交车, N路车, N路公交.
fn bus_line(said: &PreparedUtterance, asked: bool) -> Option<Range<usize>> {
    super::numbers::all(&said.chars)
        .into_iter()
        .find_map(|number| {
            let word = ["路公交车", "路公交", "路车", "路", "公交车", "公交"]
                .into_iter()
                .find(|word| {
                    said.starts_at(number.range.end, word)
                        || word.chars().count() > 2
                            && sounds_at(&said.chars, number.range.end, word)
                })?;
            let about_bus =
                asked || word.chars().count() > 1 || said.has(&["公交", "末班车", "坐车"]);
            (about_bus
                && number.value < 1000.0
                && !said.before(number.range.start, 1).contains('这'))
            .then(|| number.range.start..number.range.end + word.chars().count())
        })
}

/// Writes a bus line's number in digits; every other name stays as it was said.
fn spoken_line(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let Some(number) = super::numbers::at(&chars, 0) else {
        return text.to_owned();
    };
    let rest: String = chars[number.range.end..].iter().collect();
    // 十七麓公交车, 十七公交车: 路, misheard or lost; 807公交 is written so.
    let spoken = !chars[0].is_ascii_digit();
    let bus = rest.strip_prefix('路').or_else(|| {
        if !spoken {
            return None;
        }
        let bus = &rest[rest.find("公交")?..];
        (rest.chars().count() < 5).then_some(bus)
    });
    match bus {
        Some(bus) => format!("{}路{bus}", super::numbers::arabic(&number, &chars)),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
