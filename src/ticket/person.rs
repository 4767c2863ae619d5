//! The caller's name and form of address.

use std::ops::Range;
use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance, is_stop};
use super::lexicon::{Words, list};
use super::phonetics::{self, alike};
use super::{Evidence, Field, FieldValue};
use crate::private::Private;
use crate::text::pinyin::{self, same_sound};

/// Surnames of one character, the commonest first.
static SURNAMES: LazyLock<String> = LazyLock::new(|| list("surnames.single").concat());
static COMPOUND: Words = LazyLock::new(|| list("surnames.compound"));

/// How a surname is explained without naming a word that it stands in.
const SPELLED: [(&str, char); 20] = [
    ("弓长", '张'),
    ("立早", '章'),
    ("双木", '林'),
    ("耳东", '陈'),
    ("木子", '李'),
    ("言午", '许'),
    ("古月", '胡'),
    ("口天", '吴'),
    ("走肖", '赵'),
    ("三横", '王'),
    ("文刀", '刘'),
    ("人可", '何'),
    ("木土", '杜'),
    ("干勾", '于'),
    ("草头黄", '黄'),
    ("双口", '吕'),
    ("口口", '吕'),
    ("草肃", '萧'),
    ("禾火", '秋'),
    ("女古", '姑'),
];

pub(super) static NAME_ASKED: Words = LazyLock::new(|| list("person.name_asked"));

/// Whether the words from `at` to the end of the clause are parts of a name with a dot between them.
fn is_dotted(said: &PreparedUtterance, at: usize) -> bool {
    let clause = said.clause(at).end;
    let parts = said.chars[at.min(clause)..clause].split(|letter| *letter == '·');
    let mut lengths = parts.map(<[char]>::len).peekable();
    let first = lengths.next().is_some_and(|length| length >= 2);
    first && lengths.peek().is_some() && lengths.all(|length| length >= 2)
}

/// Whether an operator asks for the caller's name, however it was heard: 您贵姓, 您跪兴; 您贵，…, 吝姓？, where a
/// character was lost.
fn asks_name(asked: &PreparedUtterance) -> bool {
    phonetics::has(asked, &NAME_ASKED)
        || asked.clauses().into_iter().any(|clause| {
            let words = &asked.chars[clause.clone()];
            let short = (1..=4).contains(&words.len());
            let heard = |letter: char| words.last().is_some_and(|last| alike(*last, letter));
            short && (heard('贵') && words.first() == Some(&'您') || heard('姓') && words.len() > 1)
        })
}

/// The surname that a character was most likely meant to be: what sounds nearest, and of equals what more people bear.
fn meant(letter: char) -> Option<char> {
    /// How much rarer a name may be that sounds a syllable nearer, as a power of e.
    const NEARER: f32 = 5.0;
    const FARTHEST: f32 = 0.35;
    let cost = |(rank, name): (usize, char)| {
        let apart = pinyin::distance(letter, name).filter(|apart| *apart < FARTHEST)?;
        Some(((rank as f32 + 1.0).ln() + NEARER * apart, name))
    };
    let names = SURNAMES.chars().enumerate().filter_map(cost);
    names
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// A rare surname that nobody explained was rather a common one that sounds the same: 阳 is 杨.
fn commoner(heard: char) -> Option<char> {
    /// From here on, names are rare; up to there, common.
    const RARE: usize = 150;
    const COMMON: usize = 30;
    let rank = rank(&heard.to_string());
    let common = || SURNAMES.chars().take(COMMON);
    (rank > RARE)
        .then(|| common().find(|name| pinyin::distance(heard, *name).is_some_and(|far| far < 0.05)))
        .flatten()
}

/// Words about the other side: who they call by name is not the caller.
static OTHERS: Words = LazyLock::new(|| list("person.others"));

/// Whether an answer opens with what 姓 is often taken for over the telephone: 向留, 我先王.
fn opens_for_name(said: &PreparedUtterance, at: usize) -> bool {
    let opens = at == 0 || is_stop(said.chars[at - 1]) || at == 1 && said.chars[0] == '我';
    opens
        && ['信', '向', '先']
            .iter()
            .any(|like| same_sound(said.chars[at], *like))
}

struct Found {
    surname: String,
    full: Option<String>,
    evidence: Vec<Evidence>,
    sure: f32,
}

fn surname_at(said: &PreparedUtterance, at: usize) -> Option<usize> {
    if COMPOUND.iter().any(|name| said.starts_at(at, name)) {
        return Some(2);
    }
    said.chars
        .get(at)
        .filter(|letter| SURNAMES.contains(**letter))
        .map(|_| 1)
}

/// How common a surname is: the lower the commoner.
fn rank(surname: &str) -> usize {
    let first = surname.chars().next();
    SURNAMES
        .chars()
        .position(|known| Some(known) == first)
        .unwrap_or(usize::MAX)
}

/// The full name that begins at `at`: a surname and one or two more characters up to a boundary.
fn full_at(said: &PreparedUtterance, at: usize) -> Option<Range<usize>> {
    const ENDS: &str = "的是呀啊吧吗女男先在我就这他她说，。？、哈哦呢了";
    let surname = surname_at(said, at)?;
    let given = said.chars[at + surname..]
        .iter()
        .take(3)
        .take_while(|letter| !is_stop(**letter) && !ENDS.contains(**letter) && !letter.is_ascii())
        .count();
    (1..=2).contains(&given).then(|| at..at + surname + given)
}

/// Whether the surname is explained (曹操的曹, 弓长张) and, if so, as which character; `heard` is the surname itself, and
/// a word for it that says it again needs no list (首都的都).
fn explained(said: &PreparedUtterance, from: usize, heard: Option<char>) -> Option<char> {
    let rest = said.slice(from..said.chars.len());
    // 古曰胡: with the name behind it, a spelling is known by its sound.
    let sounds = |spelling: &str, name: char| {
        let whole = format!("{spelling}{name}");
        (from..said.chars.len()).any(|at| phonetics::sounds_at(&said.chars, at, &whole))
    };
    if let Some((_, name)) =
        (SPELLED.iter()).find(|(spelling, name)| rest.contains(spelling) || sounds(spelling, *name))
    {
        return Some(*name);
    }
    // X…的Y, where Y stands in the words before.
    let plain = said.chars[from..]
        .windows(2)
        .enumerate()
        .find_map(|(index, pair)| {
            let (of, name) = (pair[0], pair[1]);
            let clause = said.clause(from + index);
            let known = said.chars[clause.start..from + index].contains(&name);
            let surname = SURNAMES.contains(name) || heard == Some(name);
            (of == '的' && known && surname).then_some(name)
        });
    // 曲折曲, 孟子得孟: 的 was lost or misheard.
    plain.or_else(|| {
        said.clauses()
            .into_iter()
            .filter(|clause| clause.end > from)
            .find_map(|clause| {
                let words = &said.chars[clause.start.max(from)..clause.end];
                let (name, before) = words.split_last()?;
                let again = before.len() > 1 && before[0] == *name;
                // 谁朝得隋: the word before 的 was misheard, the name was not.
                let closes = (3..=4).contains(&before.len())
                    && before[before.len() - 1] != '的'
                    && alike(before[before.len() - 1], '的')
                    || before.len() == 3 && before[2] == '的';
                let known = again || closes && heard.is_none_or(|heard| alike(heard, *name));
                (known && SURNAMES.contains(*name)).then_some(*name)
            })
    })
}

fn name_in(said: &PreparedUtterance, asked: bool, elsewhere: bool) -> Option<Found> {
    let about_others = |at: usize| {
        let clause = said.clause(at);
        let before = said.slice(clause.start..at);
        !before.ends_with('我') && OTHERS.iter().any(|word| before.contains(word))
    };
    let mut found: Option<Found> = None;
    // (我|免贵|) 姓X; where the name was asked for, also what 姓 is misheard as.
    let misheard = asked && !said.text.contains('姓');
    let marks: Vec<Range<usize>> = (0..said.chars.len())
        .filter(|at| {
            let letter = said.chars[*at];
            letter == '姓' || misheard && (same_sound(letter, '姓') || opens_for_name(said, *at))
        })
        .map(|at| at..at + 1)
        .collect();
    for range in marks {
        let own = said.before(range.start, 2);
        let Some(&letter) = said.chars.get(range.end) else {
            continue;
        };
        // 姓曲，: nothing else begins so, whatever the question was taken for.
        let bare = range.start == 0
            && !elsewhere
            && surname_at(said, range.end)
                .and_then(|long| said.chars.get(range.end + long))
                .is_none_or(|next| is_stop(*next));
        if !(own.ends_with('我') || own.ends_with("免贵") || asked || bare)
            || about_others(range.start)
        {
            continue;
        }
        if letter.is_ascii() || "名什啥氏不".contains(letter) {
            continue;
        }
        // 姓，谁朝得隋: the name was lost, its explanation was not.
        if is_stop(letter) {
            if let Some(name) = explained(said, range.end, None).filter(|_| asked) {
                found = Some(Found {
                    surname: name.to_string(),
                    full: None,
                    evidence: said.whole().into_iter().collect(),
                    sure: 0.6,
                });
            }
            continue;
        }
        // 行，没问题: what only sounds like 姓 stands right before a name. 向江本机, 向区区折的区: before the other answer, or
        // the word that explains it.
        let ends = said
            .chars
            .get(range.end + 1)
            .is_none_or(|next| is_stop(*next) || "叫本".contains(*next) || *next == letter);
        if misheard && !ends {
            continue;
        }
        let length = surname_at(said, range.end).unwrap_or(1);
        let place = range.end..range.end + length;
        let heard = said.slice(place.clone());
        let (surname, sure) = match explained(said, place.end, Some(letter)) {
            // 姓江，江成，成功的成: that is how the given name is written.
            Some(name) if length == 1 && (alike(name, letter) || !SURNAMES.contains(letter)) => {
                (name.to_string(), 0.95)
            }
            _ if length > 1 => (heard, 0.93),
            _ if surname_at(said, range.end).is_some() => match commoner(letter) {
                Some(name) => (name.to_string(), 0.6),
                None => (heard, 0.93),
            },
            // 姓热，叫热依汗: whatever the surname, it is said twice.
            _ if said.text.contains(&format!("叫{heard}")) => (heard, 0.5),
            _ => match meant(letter) {
                Some(name) => (name.to_string(), 0.55),
                None => (heard, 0.5),
            },
        };
        found = Some(Found {
            surname,
            full: None,
            evidence: vec![said.evidence(&place)],
            sure,
        });
    }
    // (我|名字|) 叫XYZ, 我是XYZ
    for (range, word) in said.find_all(&["叫", "我是", "名字是"]) {
        let before = said.before(range.start, 3);
        let own = word == "我是"
            || before.ends_with('我')
            || before.ends_with("名字")
            || asked
            || found.is_some();
        let unknown = ["什么", "啥", "不", "人", "你", "他", "她"]
            .iter()
            .any(|word| said.starts_at(range.end, word));
        if !own || unknown || about_others(range.start) {
            continue;
        }
        // 姓热，叫热依汗: whatever the surname, the name that begins with it is the name.
        let begins = found.as_ref().filter(|found| {
            word == "叫" && found.full.is_none() && said.starts_at(range.end, &found.surname)
        });
        if let Some(known) = begins {
            let start = range.end;
            let end = (start..said.chars.len())
                .find(|at| is_stop(said.chars[*at]))
                .unwrap_or(said.chars.len());
            let given = end - start - known.surname.chars().count();
            if (1..=4).contains(&given) {
                found = Some(Found {
                    surname: known.surname.clone(),
                    full: Some(said.slice(start..end)),
                    evidence: vec![said.evidence(&(start..end))],
                    sure: 0.93,
                });
                continue;
            }
        }
        if let Some(place) = full_at(said, range.end) {
            let full = said.slice(place.clone());
            let surname =
                said.slice(place.start..place.start + surname_at(said, place.start).unwrap_or(1));
            // 我是 alone is followed by many things that are no name.
            if word == "我是" && !asked && !said.starts_at(place.end, "，") {
                continue;
            }
            if found
                .as_ref()
                .is_none_or(|found| found.surname == surname || found.sure < 0.9)
            {
                found = Some(Found {
                    surname,
                    full: Some(full),
                    evidence: vec![said.evidence(&place)],
                    sure: 0.93,
                });
            }
        } else if found.is_none() && (asked && word == "叫" || is_dotted(said, range.end)) {
            // A name of another people: 我叫阿依古丽。 买买提江·吐尔逊 has the father's behind a dot, and is long.
            let place = range.end..said.clause(range.start).end;
            let longest = if is_dotted(said, range.end) { 20 } else { 6 };
            let free = (2..=longest).contains(&place.len())
                && said.chars[place.clone()]
                    .iter()
                    .all(|letter| !"我你的是了吧就不老小".contains(*letter));
            if free {
                let name = said.slice(place.clone());
                found = Some(Found {
                    surname: name.clone(),
                    full: Some(name),
                    evidence: vec![said.evidence(&place)],
                    sure: 0.75,
                });
            }
        } else if let Some(found) = found.as_mut().filter(|_| word != "我是") {
            // 姓石，叫海涛
            let given: String = said.chars[range.end..]
                .iter()
                .take(3)
                .take_while(|letter| !is_stop(**letter))
                .collect();
            let length = given.chars().count();
            if length == 2 || length == 1 {
                found.full = Some(format!("{}{given}", found.surname));
                found
                    .evidence
                    .push(said.evidence(&(range.end..range.end + length)));
            }
        }
    }
    // Where 向 was taken for 姓, it is not a name itself.
    let taken = misheard && found.is_some();
    // 曹操的曹, without the 姓 before it.
    if found.is_none()
        && asked
        && let Some(name) = explained(said, 0, None)
        && let Some(range) = said.find(&name.to_string())
    {
        found = Some(Found {
            surname: name.to_string(),
            full: None,
            evidence: vec![said.evidence(&range)],
            sure: 0.7,
        });
    }
    // 叫我小王, 王先生 of oneself, or a bare answer: 王。 / 张建国。
    for clause in said.clauses().into_iter().filter(|_| asked && !taken) {
        if found.as_ref().is_some_and(|found| found.full.is_some()) {
            break;
        }
        let known = found.as_ref().filter(|found| found.sure > 0.8);
        let mut start = clause.start;
        if said.starts_at(start, "免贵") {
            start += 2;
        }
        while said
            .chars
            .get(start)
            .is_some_and(|letter| "你您我是就叫喊小老".contains(*letter))
        {
            start += 1;
        }
        let Some(length) = surname_at(said, start) else {
            continue;
        };
        // 姓温，温丽娟: the surname that was said, and the name.
        let full = full_at(said, start).filter(|place| place.end == clause.end);
        if let Some(known) = known {
            if let Some(place) = full.filter(|_| said.starts_at(start, &known.surname)) {
                found = Some(Found {
                    surname: known.surname.clone(),
                    full: Some(said.slice(place.clone())),
                    evidence: vec![said.evidence(&place)],
                    sure: known.sure,
                });
            }
            continue;
        }
        let rest = said.slice(start + length..clause.end.max(start + length));
        if rest.is_empty()
            || ["先生", "女士", "小姐", "师傅", "就行", "吧"]
                .iter()
                .any(|form| rest.starts_with(form))
        {
            let place = start..start + length;
            found = Some(Found {
                surname: said.slice(place.clone()),
                full: None,
                evidence: vec![said.evidence(&place)],
                sure: 0.8,
            });
        } else if let Some(place) = full {
            found = Some(Found {
                surname: said.slice(start..start + length),
                full: Some(said.slice(place.clone())),
                evidence: vec![said.evidence(&place)],
                sure: 0.8,
            });
        }
    }
    found
}

/// Where the operator addresses the caller, however it was heard: 女士, 女是; 王先，您…, where a character was lost.
fn addressed_in(said: &PreparedUtterance) -> Option<Range<usize>> {
    static FORMS: Words = LazyLock::new(|| list("person.forms"));
    said.first(&FORMS)
        .or_else(|| phonetics::heard(said, &["先生", "女士"]))
        .or_else(|| {
            said.clauses().into_iter().find_map(|clause| {
                let last = clause.end - 1;
                let lost = "女先".contains(said.chars[last]) && (2..=4).contains(&clause.len());
                (lost && surname_at(said, last - 1).is_some()).then_some(last..clause.end)
            })
        })
}

/// The surname before a form of address: 钮女士, 好的留先生.
fn echoed(said: &PreparedUtterance, at: usize) -> Option<String> {
    let letter = said.chars[at];
    if SURNAMES.contains(letter) {
        return Some(letter.to_string());
    }
    let opens = at == 0 || is_stop(said.chars[at - 1]) || "的好，".contains(said.chars[at - 1]);
    let free = !is_stop(letter) && !"您位这那的了".contains(letter);
    (opens && free)
        .then(|| meant(letter))
        .flatten()
        .map(String::from)
}

/// 女的, 我是男的, as a clause of its own that was misheard: whether a woman, and where.
fn sex_by_sound(said: &PreparedUtterance) -> Option<(bool, Range<usize>)> {
    said.clauses().into_iter().find_map(|clause| {
        let start = clause.start
            + ["我是", "是", "我"]
                .iter()
                .find(|opening| said.starts_at(clause.start, opening))
                .map_or(0, |opening| opening.chars().count());
        let of =
            |form: &str| clause.end == start + 2 && phonetics::sounds_at(&said.chars, start, form);
        if of("女的") {
            Some((true, clause.clone()))
        } else {
            of("男的").then(|| (false, clause.clone()))
        }
    })
}

/// 先生 or 女士: what the citizen says of themselves beats how the operator addresses them.
fn form(talk: &[PreparedUtterance]) -> Option<(&'static str, Vec<Evidence>, f32)> {
    static SELF_WOMAN: Words = LazyLock::new(|| list("person.self_woman"));
    static SELF_MAN: Words = LazyLock::new(|| list("person.self_man"));
    let mut addressed = None;
    for (index, said) in talk.iter().enumerate() {
        if said.by_caller() {
            let asked = dialogue::question(talk, index).is_some_and(|asked| {
                asks_name(asked) || asked.has(&["先生"]) && asked.has(&["女士"])
            });
            let own = asked
                || said.has(&[
                    "我姓", "我是", "免贵", "我老", "我媳", "我丈", "我妻", "我怀", "我婆",
                ]);
            let ends = |range: &Range<usize>| {
                said.chars
                    .get(range.end)
                    .is_none_or(|letter| is_stop(*letter) || "的士性，".contains(*letter))
                    || said.slice(range.clone()).starts_with(['我', '孩', '坐'])
            };
            if !own && !said.has(&["孩子妈", "孩子爸", "孩子他", "孩子她"]) {
                continue;
            }
            // 我是孩子他妈 is the mother; 是孩子他妈的名字 says her husband.
            if let Some(range) = said.first(&["孩子他妈", "孩子她妈", "孩子他爸", "孩子她爸"])
            {
                let mother = said.slice(range.clone()).ends_with('妈');
                let oneself = said.before(range.start, 2) == "我是";
                let form = if mother == oneself {
                    "女士"
                } else {
                    "先生"
                };
                return Some((form, vec![said.evidence(&range)], 0.95));
            }
            if let Some(range) = said.first(&SELF_WOMAN).filter(ends) {
                return Some(("女士", vec![said.evidence(&range)], 0.95));
            }
            if let Some(range) = said.first(&SELF_MAN).filter(ends) {
                return Some(("先生", vec![said.evidence(&range)], 0.95));
            }
            if asked && let Some(range) = said.first(&["女士", "小姐", "先生"]) {
                let form = if said.starts_at(range.start, "先生") {
                    "先生"
                } else {
                    "女士"
                };
                return Some((form, vec![said.evidence(&range)], 0.95));
            }
            if asked && let Some((woman, clause)) = sex_by_sound(said) {
                let form = if woman { "女士" } else { "先生" };
                return Some((form, vec![said.evidence(&clause)], 0.8));
            }
        } else if let Some(range) = addressed_in(said) {
            let woman = phonetics::has(said, &["女士", "小姐", "大姐", "阿姨", "大妈", "大娘"])
                || said.starts_at(range.start, "女");
            if said.has(&["先生"]) && woman {
                continue;
            }
            let objected = dialogue::reply(talk, index)
                .is_some_and(|answer| answer.has(&["不是先生", "我是女", "我是男", "不是女士"]));
            if !objected {
                addressed = Some((
                    if woman { "女士" } else { "先生" },
                    vec![said.evidence(&range)],
                    0.85,
                ));
            }
        }
    }
    addressed
}

/// The caller's name. `usual` is the form of address to assume where none is heard; empty for none.
pub(super) fn find(talk: &[PreparedUtterance], usual: &str) -> Option<Field> {
    let mut name: Option<Found> = None;
    for (index, said) in talk.iter().enumerate() {
        if said.by_caller() {
            let asked = dialogue::question(talk, index).is_some_and(|asked| {
                asks_name(asked)
                    && !asked.has(&[
                        "商家", "店名", "公司", "小区", "对方", "他叫", "机构", "饭店", "民警",
                        "医生", "司机", "老师",
                    ])
            });
            // 姓？ is too short for a question that lasts, but what follows it at once answers it.
            let asked = asked
                || index > 0 && !talk[index - 1].by_caller() && talk[index - 1].text == "姓？";
            // Who is asked about here bears a name too: the officer, the shopkeeper.
            let elsewhere = dialogue::question(talk, index).is_some_and(|asked| asked.has(&OTHERS));
            if let Some(found) = name_in(said, asked, elsewhere) {
                // 姓石 first and 叫石海涛 later, or the other way round: the fuller name stays.
                let fuller = name.as_ref().is_some_and(|known| {
                    known.full.is_some() && found.full.is_none() && known.surname == found.surname
                });
                let weaker = name
                    .as_ref()
                    .is_some_and(|known| known.sure > found.sure + 0.05 && !said.denies());
                if !fuller && !weaker {
                    name = Some(found);
                }
            }
        } else if let Some(range) = addressed_in(said)
            && range.start > 0
            && !dialogue::reply(talk, index)
                .is_some_and(|answer| answer.denies() && answer.text.contains('姓'))
            && let place = (range.start - 1..range.start)
            && let Some(echo) = echoed(said, place.start)
        {
            // Of two spellings of one sound the commoner name was meant, unless it was explained (弓长张).
            let commoner = name.as_ref().is_some_and(|name| {
                let sounds = phonetics::sounds_at(&said.chars, place.start, &name.surname);
                name.full.is_none()
                    && sounds
                    && name.sure < 0.95
                    && rank(&echo) < rank(&name.surname)
            });
            if commoner || name.as_ref().is_none_or(|name| name.sure < 0.65) {
                name = Some(Found {
                    surname: echo,
                    full: None,
                    evidence: vec![said.evidence(&place)],
                    sure: 0.6,
                });
            }
        }
    }
    let found = name?;
    let text = |value: String, confidence, evidence| {
        Some(Field {
            value: FieldValue::Text(Private::new(value)),
            confidence,
            evidence,
        })
    };
    if let Some(full) = found.full {
        return text(full, found.sure, found.evidence);
    }
    match form(talk) {
        Some((form, places, sure)) => {
            let evidence = found.evidence.into_iter().chain(places).collect();
            text(
                format!("{}{form}", found.surname),
                found.sure.min(sure),
                evidence,
            )
        }
        None => text(
            format!("{}{usual}", found.surname),
            if usual.is_empty() { found.sure } else { 0.5 },
            found.evidence,
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{talk, text};
    use super::find;

    fn name(lines: &str) -> Option<String> {
        text(find(&talk(lines), "先生"))
    }

    #[test]
    fn a_name_is_heard_through_mistakes() {
        // The question, 姓, and the form of address, each misheard.
        assert_eq!(name("o:您跪兴？\n我性刘。").as_deref(), Some("刘先生"));
        assert_eq!(
            name("o:您贵姓？\n我姓唐。\no:好的唐女是，您的电话？").as_deref(),
            Some("唐女士")
        );
        assert_eq!(
            name("o:您贵姓？\n我姓唐。\no:唐女，您的电话？").as_deref(),
            Some("唐女士")
        );
        assert_eq!(
            name("o:您贵姓？\n免贵姓曲，曲折得曲，驴的。").as_deref(),
            Some("曲女士")
        );
        assert_eq!(name("o:您怎么称呼？\n我向留。").as_deref(), Some("刘先生"));
        assert_eq!(
            name("o:您贵姓？电话是本机吗？\n先江本地。").as_deref(),
            Some("江先生")
        );
        assert_eq!(
            name("o:您贵姓？\n向区区折歌区，本地就行。").as_deref(),
            Some("曲先生")
        );
        assert_eq!(name("o:您贵姓？\n先别问这个，你们快点。"), None);
        assert_eq!(name("o:您贵姓？\n想问一下，先办事行不行？"), None);
        // The operator says it again: of one sound the commoner name.
        assert_eq!(
            name("o:您贵姓？\n我姓章。\no:张先生，请讲。").as_deref(),
            Some("张先生")
        );
        assert_eq!(
            name("o:您贵姓？\n我姓章，立早章。\no:张先生，请讲。").as_deref(),
            Some("章先生")
        );
    }

    #[test]
    fn a_name_is_found_where_a_character_of_it_or_of_the_question_was_lost() {
        assert_eq!(
            name("o:您贵，电话是本机吗？\n姓隋，虽朝的隋，本机。").as_deref(),
            Some("隋先生")
        );
        assert_eq!(
            name("o:您贵姓？\n姓，谁朝得隋，本机。").as_deref(),
            Some("隋先生")
        );
        assert_eq!(name("o:吝姓？\n绵姓王。").as_deref(), Some("王先生"));
        assert_eq!(
            name("o:您的电话是本机吗？\n姓曲，曲则得趋，本机。").as_deref(),
            Some("曲先生")
        );
        assert_eq!(name("o:您知道民警的姓名吗？\n姓邹，不知道叫什么。"), None);
        assert_eq!(name("o:您贵姓？\n我姓阳。").as_deref(), Some("杨先生"));
        assert_eq!(
            name("o:您贵姓？\n我姓阳，太阳的阳。").as_deref(),
            Some("阳先生")
        );
        assert_eq!(
            name("o:您贵姓？\n姓都，首都的都，女的。").as_deref(),
            Some("都女士")
        );
    }

    #[test]
    fn a_name_with_a_dot_is_kept_whole_and_a_shop_s_is_nobodys() {
        assert_eq!(
            name("o:您贵姓？\n买买提江，我是新疆人，叫买买提江·吐尔逊。").as_deref(),
            Some("买买提江·吐尔逊")
        );
        assert_eq!(
            name("我叫阿卜杜热依木·艾合买提，反映一下停水。").as_deref(),
            Some("阿卜杜热依木·艾合买提")
        );
        assert_eq!(name("店名叫巴郎·烤肉，不给退钱。"), None);
    }

    #[test]
    fn who_gives_no_name_has_none() {
        assert_eq!(name("o:您贵姓？\n我不想说我叫什么。"), None);
        assert_eq!(
            name("o:您怎么称呼？\n我姓热，叫热依汗。").as_deref(),
            Some("热依汗")
        );
        assert_eq!(
            name("o:王先生还是王女士？\n女士。\no:您贵姓？\n我姓王。").as_deref(),
            Some("王女士")
        );
    }

    #[test]
    fn the_form_of_address_follows_what_is_said() {
        assert_eq!(
            name("o:女士您贵姓？\n免贵姓丛。").as_deref(),
            Some("丛女士")
        );
        assert_eq!(
            name("o:先生您贵姓？\n我姓牟，我是女的。").as_deref(),
            Some("牟女士")
        );
        assert_eq!(
            name("o:怎么称呼您？\n姓章，我老公让我打的。\no:好的。").as_deref(),
            Some("章女士")
        );
        assert_eq!(name("o:您贵姓？\n姓曹。").as_deref(), Some("曹先生"));
    }

    #[test]
    fn an_explanation_corrects_a_misheard_surname() {
        assert_eq!(
            name("o:先生贵姓？\n姓章，弓长张。").as_deref(),
            Some("张先生")
        );
        assert_eq!(
            name("o:女士贵姓？\n我姓余，年年有鱼的鱼，不对，是于是的于。").as_deref(),
            Some("于女士")
        );
    }

    #[test]
    fn a_name_is_taken_however_it_is_given() {
        for (answer, wanted) in [
            ("您就叫我小姜吧。", "姜"),
            ("喊我老丁就行。", "丁"),
            ("我姓呼延。", "呼延"),
            ("我姓南宫。", "南宫"),
            ("姓孟，孟超，超过的超。", "孟"),
        ] {
            let name = name(&format!("o:请问您贵姓？\n{answer}")).unwrap_or_default();
            assert!(name.starts_with(wanted), "{answer}: {name}");
        }
    }

    #[test]
    fn a_full_name_is_kept_whole() {
        assert_eq!(
            name("o:您怎么称呼？\n我叫丁秀梅。").as_deref(),
            Some("丁秀梅")
        );
        assert_eq!(
            name("o:您怎么称呼？\n欧阳志强。").as_deref(),
            Some("欧阳志强")
        );
        assert_eq!(
            name("o:您贵姓？\n姓石，叫海涛。").as_deref(),
            Some("石海涛")
        );
    }

    #[test]
    fn somebody_elses_name_is_not_the_callers() {
        assert_eq!(name("那个老板姓黄，叫黄大伟。"), None);
        assert_eq!(name("o:商家叫什么名字？\n叫张记包子铺。"), None);
    }

    #[test]
    fn whose_mother_or_father_the_child_has_tells_who_speaks() {
        for (lines, expected) in [
            ("居住证是孩子他妈的名字。\no:您贵姓？\n姓逄。", "逄先生"),
            ("孩子他爸在外地。\no:您贵姓？\n姓逄。", "逄女士"),
            ("o:您贵姓？\n姓柴，我是孩子他爸。", "柴先生"),
            ("o:您贵姓？\n姓柴，我是孩子他妈。", "柴女士"),
        ] {
            assert_eq!(name(lines).as_deref(), Some(expected), "{lines}");
        }
    }
}
