//! The number to call back: dictated digits (split, corrected, read back), or the caller's own number.

use std::ops::Range;
use std::sync::LazyLock;

use super::dialing::{Dialing, is_mobile};
use super::dialogue::{self, PreparedUtterance, is_stop};
use super::lexicon::{Words, list};
use super::numbers::{digit, homophone};
use super::phonetics;
use super::{Evidence, Field, FieldValue};
use crate::private::Private;
use crate::speech::Leg;

/// Words of the operator that ask for, or of the citizen that name, a number to call back.
pub(super) static CONTACT: Words = LazyLock::new(|| list("phone.contact"));

/// Words before digits that make them something else than a number to call back.
static OTHER: Words = LazyLock::new(|| list("phone.other"));

/// How the citizen says: call me at the number that I am calling from.
pub(super) static OWN: Words = LazyLock::new(|| list("phone.own"));

/// Whether it is a public service's short number (12345, 96110), such as operators greet with; it asks for none.
fn is_service(digits: &str) -> bool {
    digits.len() == 5 && (digits.starts_with("12") || digits.starts_with("96"))
}

/// Digits in a row, with punctuation and fillers skipped.
#[derive(Clone, Debug)]
struct Run {
    digits: String,
    range: Range<usize>,
    guessed: bool,
}

/// A digit on its way into a number, with the place it was heard at.
type Heard = (char, Evidence);

fn runs(said: &PreparedUtterance, tolerant: bool) -> Vec<Run> {
    static BRIDGES: Words = LazyLock::new(|| list("phone.bridges"));
    let chars = &said.chars;
    let mut found: Vec<Run> = Vec::new();
    let mut index = 0;
    while index < chars.len() {
        // 妖三八: a first digit that was misheard, at the beginning of a clause.
        let opens = index == 0 || is_stop(chars[index - 1]) || chars[index - 1] == '是';
        let is_digit = |at: usize| chars.get(at).copied().and_then(digit).is_some();
        let guess = homophone(chars[index])
            .filter(|_| tolerant && opens && is_digit(index + 1) && is_digit(index + 2));
        let Some(first) = digit(chars[index]).or(guess) else {
            index += 1;
            continue;
        };
        let mut run = Run {
            digits: first.to_string(),
            range: index..index + 1,
            guessed: digit(chars[index]).is_none(),
        };
        let mut at = index + 1;
        loop {
            let mut next = at;
            while chars
                .get(next)
                .is_some_and(|letter| is_stop(*letter) || *letter == '-')
            {
                next += 1;
            }
            if let Some(bridge) = BRIDGES.iter().find(|bridge| said.starts_at(next, bridge)) {
                next += bridge.chars().count();
                while chars.get(next).is_some_and(|letter| is_stop(*letter)) {
                    next += 1;
                }
            }
            let Some(&letter) = chars.get(next) else {
                break;
            };
            // 三个八
            if let (Some(times), Some('个'), Some(what)) = (
                digit(letter),
                chars.get(next + 1),
                chars.get(next + 2).copied().and_then(digit),
            ) && (2..=8).contains(&times)
            {
                run.digits
                    .extend(std::iter::repeat_n(char::from(b'0' + what), times.into()));
                at = next + 3;
            } else if let Some(value) = digit(letter).or(match letter {
                // 幺拐八: as dispatchers read digits.
                '拐' => Some(7),
                '勾' => Some(9),
                _ => None,
            }) {
                run.digits.push(char::from(b'0' + value));
                at = next + 1;
            } else if let Some(value) =
                homophone(letter).filter(|_| tolerant && next == at && goes_on(chars, &run, next))
            {
                run.digits.push(char::from(b'0' + value));
                run.guessed = true;
                at = next + 1;
            } else {
                break;
            }
            run.range.end = at;
            if run.digits.len() > 40 {
                break;
            }
        }
        // 留幺三二…: a verb that sounds like a digit, or 一、 in a list, before a whole number.
        let listed = chars
            .get(run.range.start + 1)
            .is_some_and(|next| is_stop(*next));
        if (guess.is_some() || listed) && is_mobile(&run.digits[1..]) {
            run.digits.remove(0);
            run.range.start += 1;
        }
        // 加八六，一三五…: with the country's code.
        let bare = run.digits.trim_start_matches('0').strip_prefix("86");
        if let Some(mobile) = bare.filter(|rest| is_mobile(rest)) {
            run.digits.drain(..run.digits.len() - mobile.len());
        }
        index = run.range.end;
        // 二十, 八百, 三号楼: a count, not digits that were read out.
        let follower = chars.get(index).copied().unwrap_or('。');
        let counted =
            "十百千万亿号楼栋单元年月日天点块个人次室层路分岁户平米%多".contains(follower);
        let unit_before = run
            .range
            .start
            .checked_sub(1)
            .map(|at| chars[at])
            .is_some_and(|letter| "十百千万第".contains(letter));
        // 查一下: one digit inside words is no digit that was read out.
        let alone = run.digits.len() == 1
            && !(dialogue::is_stop(follower)
                && (run.range.start == 0
                    || said
                        .before(run.range.start, 1)
                        .ends_with(['，', '是', '、'])));
        if run.digits.len() >= 7 || !(counted || unit_before || alone) {
            found.push(run);
        }
    }
    found
}

/// Whether a character that sounds like a digit is one: among digits, or the last of several in its clause.
fn goes_on(chars: &[char], run: &Run, at: usize) -> bool {
    let is_digit = |at: usize| chars.get(at).copied().and_then(digit).is_some();
    let sounds = |at: usize| chars.get(at).copied().and_then(homophone).is_some();
    let ends = chars.get(at + 1).is_none_or(|letter| is_stop(*letter));
    is_digit(at + 1)
        || run.digits.len() > 1 && sounds(at + 1) && is_digit(at + 2)
        || run.digits.len() > 2 && ends
}

fn is_number(digits: &str, dialing: &Dialing) -> bool {
    is_mobile(digits)
        || dialing.is_local(digits)
        || digits.starts_with('0') && matches!(digits.len(), 11 | 12)
}

/// The boss's telephone is not the caller's, unless it is the answer to how to reach the caller.
static THIRD: Words = LazyLock::new(|| list("phone.third"));

/// Whether the digits at `at` are named as something else (an order, a card, the shop's telephone).
fn is_other(said: &PreparedUtterance, at: usize, asked: Option<&PreparedUtterance>) -> bool {
    // YT18820156390 is a parcel's, however the question for it was heard.
    if at > 0 && said.chars[at - 1].is_ascii_alphabetic() {
        return true;
    }
    let before = said.before(at, 12);
    if [
        "我的电话",
        "我电话",
        "我手机",
        "联系我",
        "打我",
        "联系电话",
        "我的手机",
        "我的号",
    ]
    .iter()
    .any(|own| before.contains(own))
    {
        return false;
    }
    let names = |text: &str| OTHER.iter().any(|other| text.contains(other));
    let answers = asked.is_some_and(|asked| {
        asked.has(&[
            "您的电话",
            "联系电话",
            "联系方式",
            "您电话",
            "联系您",
            "怎么联系",
            "留个电话",
            "电话是",
            "手机号",
        ])
    });
    let third = !answers && THIRD.iter().any(|word| said.slice(0..at).contains(word));
    names(&before)
        || third
        || asked.is_some_and(|asked| {
            names(&asked.text) && !asked.has(&["您的电话", "联系电话", "您电话", "联系方式"])
        }) && !CONTACT.iter().any(|word| before.contains(word))
}

/// Whether a number is somebody's whom nobody is to call: 我妈那个是1378…，她耳朵背，别打她的.
fn unwanted(said: &PreparedUtterance, run: &Run) -> bool {
    static WHOSE: Words = LazyLock::new(|| list("phone.whose"));
    let before = said.before(run.range.start, 8);
    let after = said.slice(run.range.end..said.chars.len());
    WHOSE.iter().any(|who| before.contains(who))
        && ["别打", "不要打", "别联系", "不要联系"]
            .iter()
            .any(|not| after.contains(not))
}

/// What a caller does not want noted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Forbidden {
    /// The number that they call from.
    own: bool,
    /// Numbers that were said.
    numbers: Vec<String>,
    /// The utterances in which one of them was said in pieces.
    pieces: Vec<u32>,
}

impl Forbidden {
    fn holds(&self, digits: &str) -> bool {
        self.numbers.iter().any(|number| number.contains(digits))
    }

    /// Where these numbers stand in `said`.
    pub fn places(&self, said: &PreparedUtterance) -> Vec<Evidence> {
        if self.numbers.is_empty() {
            return Vec::new();
        }
        let least = if self.pieces.contains(&said.id) { 2 } else { 5 };
        (runs(said, false).iter())
            .filter(|run| run.digits.len() >= least)
            .filter(|run| {
                self.holds(&run.digits) || self.numbers.iter().any(|own| run.digits.contains(own))
            })
            .map(|run| said.evidence(&run.range))
            .collect()
    }

    /// `text` without these numbers, where it holds one.
    pub fn taken_out_of(&self, text: &str) -> Option<String> {
        let places = self.places(&PreparedUtterance::of(u32::MAX, Leg::Caller, text));
        if places.is_empty() {
            return None;
        }
        let letters = (0_u32..).zip(text.chars());
        let kept = letters.filter(|(at, _)| {
            !places
                .iter()
                .any(|place| (place.start..place.end).contains(at))
        });
        Some(kept.map(|(_, letter)| letter).collect())
    }
}

/// Where a caller says that a number is not to be noted: 这个号别记, 电话就不留了.
fn ban(said: &PreparedUtterance, asked: bool) -> Option<Range<usize>> {
    static NOT: Words = LazyLock::new(|| list("phone.not"));
    static NOTE: Words = LazyLock::new(|| list("phone.note"));
    static OTHERWISE: Words = LazyLock::new(|| list("phone.note_otherwise"));
    static ELSE: Words = LazyLock::new(|| list("phone.note_of_else"));
    static NUMBER: Words = LazyLock::new(|| list("phone.number"));
    static SHORT: Words = LazyLock::new(|| list("phone.not_noted"));
    static SHORT_OTHERWISE: Words = LazyLock::new(|| list("phone.not_noted_otherwise"));
    let mentioned = |clause: &Range<usize>| {
        let near = said.slice(clause.start.saturating_sub(16)..clause.end);
        asked
            || NUMBER.iter().any(|word| near.contains(word))
            || runs(said, false).iter().any(|run| run.digits.len() >= 7)
    };
    let found = said.find_all(&NOT).filter_map(|(not, _)| {
        let clause = said.clause(not.start);
        let rest = said.slice(not.end..clause.end.min(not.end + 8));
        let noted = NOTE.iter().any(|note| rest.contains(note));
        let other = OTHERWISE.iter().any(|word| rest.contains(word))
            || ELSE.iter().any(|word| rest.contains(word))
                && !NUMBER.iter().any(|word| rest.contains(word));
        (noted && !other && mentioned(&clause)).then_some(not)
    });
    // 电话不留了, 不记号码.
    let short = said.find_all(&SHORT).filter_map(|(not, _)| {
        let rest = said.slice(not.start..said.clause(not.start).end);
        let other = SHORT_OTHERWISE.iter().any(|word| rest.starts_with(word));
        (!other && mentioned(&said.clause(not.start))).then_some(not)
    });
    let removed = removed(said).filter(|range| mentioned(&said.clause(range.start)));
    found
        .chain(short)
        .chain(removed)
        .min_by_key(|not| not.start)
}

/// Where a caller asks to take out again what was noted, and nothing else: 你给删了吧, 把电话去掉.
fn removed(said: &PreparedUtterance) -> Option<Range<usize>> {
    static REMOVE: Words = LazyLock::new(|| list("phone.remove"));
    static AROUND: Words = LazyLock::new(|| list("phone.around_remove"));
    let mut found = said.find_all(&REMOVE).map(|(range, _)| range);
    found.find(|range| {
        let clause = said.clause(range.start);
        let only_asks = |mut at: usize, end: usize| {
            while at < end {
                let word = AROUND.iter().find(|word| said.starts_at(at, word));
                let long = word.map(|word| word.chars().count());
                let digits = digit(said.chars[at]).map(|_| 1);
                let Some(long) = long.or(digits) else {
                    return false;
                };
                at += long;
            }
            true
        };
        only_asks(clause.start, range.start) && only_asks(range.end, clause.end)
    })
}

/// The digits of the number that the caller gave in pieces last before utterance `index`, with the utterances.
fn in_pieces(talk: &[PreparedUtterance], index: usize) -> Option<(String, Vec<u32>)> {
    let mut pieces: Vec<(u32, String)> = Vec::new();
    for said in talk[..index].iter().rev().filter(|said| said.by_caller()) {
        let digits: String = (runs(said, false).into_iter())
            .map(|run| run.digits)
            .collect();
        match digits.len() {
            2..7 => pieces.push((said.id, digits)),
            0 if pieces.is_empty() => {}
            _ => break,
        }
    }
    pieces.reverse();
    let whole: String = pieces.iter().map(|(_, digits)| digits.as_str()).collect();
    let ids = pieces.into_iter().map(|(id, _)| id).collect();
    (7..=12).contains(&whole.len()).then_some((whole, ids))
}

/// What the caller forbids to note; `caller_number` is what the network gave.
pub(super) fn forbidden(talk: &[PreparedUtterance], caller_number: Option<&str>) -> Forbidden {
    static MINE: Words = LazyLock::new(|| list("phone.mine"));
    static EARLIER: Words = LazyLock::new(|| list("phone.earlier_one"));
    static ALLOWED: Words = LazyLock::new(|| list("phone.allowed"));
    static TELLS: Words = LazyLock::new(|| list("phone.tells"));
    let mut forbidden = Forbidden::default();
    let long = |said: &PreparedUtterance| -> Vec<Run> {
        let mut runs = runs(said, false);
        runs.retain(|run| run.digits.len() >= 7);
        runs
    };
    for (index, said) in talk.iter().enumerate().filter(|(_, said)| said.by_caller()) {
        let asked = dialogue::question(talk, index).is_some_and(|asked| asked.has(&CONTACT));
        let Some(ban) = ban(said, asked) else {
            continue;
        };
        let here = long(said);
        let clause = said.clause(ban.start);
        let own = OWN.iter().chain(MINE.iter());
        let own = own
            .into_iter()
            .any(|own| said.slice(0..clause.end).contains(own));
        // 15266668888可以打: the number that is given instead.
        let allowed = |said: &PreparedUtterance, run: &Run| {
            let clause = said.clause(run.range.start);
            let before = said.slice(clause.start..run.range.start);
            ALLOWED.iter().any(|word| before.contains(word))
        };
        // 13780957264，这个别记; 别记13780957264.
        let told = || {
            let tells = said.has(&TELLS);
            let behind = here.iter().find(|run| run.range.start >= clause.end);
            let behind = behind.filter(|run| tells && !allowed(said, run)).cloned();
            // 我给你个号，你别记。好的。13780957264。
            let next = talk[index + 1..]
                .iter()
                .filter(|next| next.by_caller())
                .take(2);
            behind.or_else(|| {
                let mut next =
                    next.flat_map(|next| long(next).into_iter().map(move |run| (next, run)));
                let (_, run) = next
                    .next()
                    .filter(|(next, run)| tells && !allowed(next, run))?;
                Some(run)
            })
        };
        let meant = (here.iter().rfind(|run| run.range.end <= ban.start))
            .or_else(|| here.iter().find(|run| run.range.start < clause.end))
            .cloned();
        // An order's or a card's number is no number to ring.
        let rung = |(at, said): (usize, &PreparedUtterance)| -> Vec<String> {
            let asked = dialogue::question(talk, at);
            let rung =
                |run: &Run| run.digits.len() <= 13 && !is_other(said, run.range.start, asked);
            long(said)
                .into_iter()
                .filter(rung)
                .map(|run| run.digits)
                .collect()
        };
        let earlier: Vec<String> = talk[..index].iter().enumerate().flat_map(rung).collect();
        let pieces = in_pieces(talk, index)
            .filter(|(whole, _)| earlier.is_empty() || earlier.contains(whole));
        if let Some(run) = meant {
            forbidden.numbers.push(run.digits);
        } else if let Some(run) = (earlier.is_empty() && pieces.is_none())
            .then(told)
            .flatten()
        {
            forbidden.numbers.push(run.digits);
        } else {
            forbidden.own |= own || !said.has(&EARLIER);
            forbidden.numbers.extend(earlier);
            if let Some((whole, ids)) = pieces {
                forbidden.numbers.push(whole);
                forbidden.pieces.extend(ids);
            }
        }
    }
    if let Some(number) = caller_number.filter(|_| forbidden.own) {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let whole = digits.strip_prefix("86").unwrap_or(&digits);
        if whole.len() >= 7 {
            forbidden.numbers.push(whole.to_owned());
        }
    }
    forbidden
}

/// Whether the operator asks for a yes to the caller's own number, and whether that is heard clearly: 联系电话就是您住鸵
/// 鸾号码吗 is a question to agree to, whatever stands between.
fn asks_own(asked: &PreparedUtterance) -> Option<bool> {
    let own = ["本机", "这个号", "来电", "这个电话", "现在这个", "打过来"];
    let yes_or_no = asked.has(&["吗", "是不是", "对吧", "吧", "？"]);
    let misheard = asked.has(&["电话就是", "号码就是", "电话是您", "号码是您"])
        && asked.has(&["吗", "吧"])
        && !asked.has(&["多少", "哪", "什么"])
        && runs(asked, true).iter().all(|run| run.digits.len() < 3);
    if asked.has(&own) && yes_or_no {
        return Some(true);
    }
    misheard.then_some(false)
}

/// A correction that is said again with more around it, 零九，六六零九, is its longer form.
fn restated(said: &PreparedUtterance, run: &Run) -> String {
    let pieces: Vec<String> = said.chars[run.range.clone()]
        .split(|letter| is_stop(*letter))
        .map(|piece| {
            let digits = piece.iter().filter_map(|letter| digit(*letter));
            digits.map(|value| char::from(b'0' + value)).collect()
        })
        .collect();
    match pieces.as_slice() {
        [first, again] if first.len() > 1 && again.ends_with(first.as_str()) => again.clone(),
        _ => run.digits.clone(),
    }
}

/// Replaces part of `held` by a correction: at the place that the citizen names, else where it fits best.
fn correct(held: &mut Vec<Heard>, new: &[Heard], said: &PreparedUtterance, at: usize) {
    let before = said.before(at, 10);
    if new.len() >= held.len() {
        *held = new.to_vec();
        return;
    }
    let from = if ["前面", "前三", "前四", "开头"]
        .iter()
        .any(|word| before.contains(word))
    {
        0
    } else if ["后面", "最后", "后四", "后三", "后两", "尾号", "末尾"]
        .iter()
        .any(|word| before.contains(word))
    {
        held.len() - new.len()
    } else {
        let fit = |from: usize| {
            new.iter()
                .zip(&held[from..])
                .filter(|(new, old)| new.0 == old.0)
                .count()
        };
        (0..=held.len() - new.len())
            .max_by_key(|from| (fit(*from), *from))
            .unwrap_or(0)
    };
    held.splice(from..from + new.len(), new.iter().copied());
}

/// How many digits two numbers share, in order (the longest common subsequence).
fn shared(left: &str, right: &str) -> usize {
    let mut row = vec![0; right.len() + 1];
    for a in left.bytes() {
        let mut diagonal = 0;
        for (index, b) in right.bytes().enumerate() {
            let above = row[index + 1];
            row[index + 1] = if a == b {
                diagonal + 1
            } else {
                above.max(row[index])
            };
            diagonal = above;
        }
    }
    row[right.len()]
}

/// The shortest number that both were heard of, each with digits lost.
fn fused(left: &str, right: &str) -> String {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    // How many digits it takes from here to the ends.
    let width = right.len() + 1;
    let mut rest = vec![0; (left.len() + 1) * width];
    for i in (0..=left.len()).rev() {
        for j in (0..=right.len()).rev() {
            rest[i * width + j] = match (left.get(i), right.get(j)) {
                (None, _) => right.len() - j,
                (_, None) => left.len() - i,
                (Some(a), Some(b)) if a == b => 1 + rest[(i + 1) * width + j + 1],
                _ => 1 + rest[(i + 1) * width + j].min(rest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut whole) = (0, 0, String::new());
    while i < left.len() || j < right.len() {
        let (both, first) = match (left.get(i), right.get(j)) {
            (Some(a), Some(b)) if a == b => (true, true),
            (Some(_), Some(_)) => {
                let first = rest[(i + 1) * width + j] <= rest[i * width + j + 1];
                (false, first)
            }
            (one, _) => (false, one.is_some()),
        };
        whole.push(char::from(if first { left[i] } else { right[j] }));
        i += usize::from(both || first);
        j += usize::from(both || !first);
    }
    whole
}

/// Whether `heard` is `number` with one digit or two lost.
fn is_part(heard: &str, number: &str) -> bool {
    heard.len() + 2 >= number.len()
        && heard.len() < number.len()
        && heard.len() > 7
        && shared(heard, number) == heard.len()
}

fn joined(held: &[Heard]) -> String {
    held.iter().map(|(digit, _)| *digit).collect()
}

/// One piece of evidence an utterance, from its first digit to its last.
fn evidence(held: &[Heard]) -> Vec<Evidence> {
    let mut merged: Vec<Evidence> = Vec::new();
    for (_, place) in held {
        match merged.iter_mut().find(|known| {
            known.utterance == place.utterance
                && place.start >= known.start
                && place.start <= known.end + 6
        }) {
            Some(known) => known.end = known.end.max(place.end),
            None => merged.push(*place),
        }
    }
    merged
}

/// The number to call back. `caller_number` is what the network gave; `dialing` completes a land line.
pub(super) fn find(
    talk: &[PreparedUtterance],
    caller_number: Option<&str>,
    dialing: &Dialing,
) -> Option<Field> {
    let mut held: Vec<Heard> = Vec::new();
    let mut done: Option<(String, Vec<Evidence>, f32)> = None;
    let mut own: Option<(Vec<Evidence>, f32)> = None;
    let mut refused_own = false;
    let mut guessed = false;
    let forbidden = forbidden(talk, caller_number);
    for (index, said) in talk.iter().enumerate() {
        if !said.by_caller() {
            // A read-back confirms what was dictated, or completes it where a digit was lost in between.
            let Some(run) = runs(said, true)
                .into_iter()
                .max_by_key(|run| run.digits.len())
                .filter(|run| run.digits.len() >= 7 && !forbidden.holds(&run.digits))
            else {
                continue;
            };
            let heard = if held.is_empty() {
                done.as_ref().map(|done| done.0.clone()).unwrap_or_default()
            } else {
                joined(&held)
            };
            let answer = dialogue::reply(talk, index);
            let objected =
                answer.is_some_and(|answer| answer.denies() || answer.has(&["不对", "错了"]));
            let agreed = answer.is_some_and(PreparedUtterance::affirms);
            let alike = shared(&heard, &run.digits) * 10 >= run.digits.len() * 7;
            let close = alike || agreed && is_mobile(&run.digits);
            // Neither is a number, but each has what the other lost.
            let whole = Some(fused(&heard, &run.digits)).filter(|whole| {
                let broken = !is_number(&heard, dialing) && !is_number(&run.digits, dialing);
                alike && broken && !objected && is_mobile(whole)
            });
            if let Some(whole) = whole {
                let mut places = evidence(&held);
                places.push(said.evidence(&run.range));
                done = Some((whole, places, 0.5));
                held.clear();
                continue;
            }
            if is_number(&run.digits, dialing) && !heard.is_empty() && close && !objected {
                let same = heard == run.digits;
                let mut places = if held.is_empty() {
                    done.take().map(|done| done.1).unwrap_or_default()
                } else {
                    evidence(&held)
                };
                if !same {
                    places = vec![said.evidence(&run.range)];
                }
                // Two good numbers that differ: one of them was misheard.
                let differ = !same && is_number(&heard, dialing);
                let sure = match (same, agreed) {
                    (true, true) => 0.98,
                    (true, false) => 0.9,
                    (false, true) if differ => 0.6,
                    (false, true) => 0.8,
                    (false, false) => 0.5,
                };
                done = Some((run.digits, places, sure));
                held.clear();
            } else if heard.is_empty() && agreed && is_mobile(&run.digits) {
                // The operator reads the displayed number (or one from the records) and the citizen agrees.
                done = Some((run.digits.clone(), vec![said.evidence(&run.range)], 0.9));
            }
            continue;
        }
        let asked = dialogue::question(talk, index);
        let asks_contact = asked.is_some_and(|asked| {
            phonetics::has(asked, &CONTACT)
                || runs(asked, false)
                    .iter()
                    .any(|run| run.digits.len() >= 3 && !is_service(&run.digits))
        });
        // 就这个毫马: known by its sound, in a short answer to the question for the number.
        let heard_own = || {
            let long: Vec<&str> = OWN
                .iter()
                .copied()
                .filter(|word| word.chars().count() > 2)
                .collect();
            let short = asks_contact && said.chars.len() < 14;
            phonetics::heard(said, &long).filter(|_| short)
        };
        let said_own = said.first(&OWN);
        if let Some(range) = said_own.clone().or_else(heard_own)
            && (asks_contact || said.has(&["电话", "号码", "本机", "联系"]))
        {
            let denied = dialogue::negated(said, range.start)
                || said.starts_at(range.end, "不")
                || said.has(&["打不通", "不是我的", "不用这个"]);
            if denied {
                refused_own = true;
            } else if runs(said, true).iter().all(|run| {
                run.digits.len() < 7 || unwanted(said, run) || forbidden.holds(&run.digits)
            }) {
                let sure = if said_own.is_some() { 0.97 } else { 0.78 };
                own = Some((vec![said.evidence(&range)], sure));
                done = None;
                held.clear();
            }
        } else if asks_contact
            && let Some(clear) = asked.and_then(asks_own)
            && runs(said, true).iter().all(|run| run.digits.len() < 7)
        {
            let agrees = said.affirms();
            // 本地就行: the answer was misheard, but is no refusal.
            if agrees || !said.denies() && said.has(&["就行", "就可以", "没问题"]) {
                let sure = if clear && agrees { 0.97 } else { 0.78 };
                own = said.whole().map(|whole| (vec![whole], sure));
                done = None;
                held.clear();
            } else if said.denies() {
                refused_own = true;
            }
        }
        let tolerant = asks_contact || said.has(&CONTACT);
        let runs = runs(said, tolerant);
        let landline = said.has(&["座机", "区号", "固定电话", "固话"]);
        // 六六二二一一零，转八零二: the extension is no part of the number.
        let extends = |run: &Run| {
            ["转", "分机", "分机号", "分机是"]
                .iter()
                .any(|word| said.before(run.range.start, 3).ends_with(word))
                && run.digits.len() < 6
        };
        let in_all: usize = (runs.iter().filter(|run| !extends(run)))
            .map(|run| run.digits.len())
            .sum();
        for run in runs {
            if extends(&run) && (done.is_some() || !held.is_empty()) {
                continue;
            }
            // 13506458821，或者13906450000也行: the first is the one to call.
            let before = said.before(run.range.start, 5);
            let other = ["或者", "或是", "要不", "另外", "备用", "打不通", "再不行"];
            if other.iter().any(|word| before.contains(word))
                && done
                    .as_ref()
                    .is_some_and(|done| is_number(&done.0, dialing))
                && !said.denies()
            {
                continue;
            }
            if is_other(said, run.range.start, asked)
                || unwanted(said, &run)
                || run.digits.len() >= 7 && forbidden.holds(&run.digits)
            {
                continue;
            }
            let named = said.has(&[
                "记我",
                "打另",
                "打我另",
                "我的是",
                "我的电话",
                "联系我",
                "打我",
                "我手机",
                "我电话",
                "电话是",
                "手机号",
                "号码是",
                "我的号",
                "手机是",
            ]);
            let starts = run.digits.len() >= 3
                && run.digits.starts_with('1')
                && run.digits.as_bytes()[1] > b'2';
            let going_on = !held.is_empty() || done.is_some();
            let named =
                named || starts && run.digits.len() >= 6 || said.has(&["号码", "电话", "手机"]);
            if !(asks_contact || named || is_mobile(&run.digits) || going_on)
                || run.digits.len() < 2 && !going_on
            {
                continue;
            }
            let before = said.before(run.range.start, 8);
            let correcting = going_on
                && (said.denies()
                    || [
                        "不对",
                        "错了",
                        "不是",
                        "应该是",
                        "改成",
                        "后四位",
                        "后三位",
                        "后两位",
                        "前三位",
                        "前四位",
                        "最后",
                        "尾号",
                        "中间",
                    ]
                    .iter()
                    .any(|word| said.slice(0..run.range.start).contains(word)));
            // 不是八八，是八九: the first is what to replace, not to take.
            if correcting
                && (before.ends_with("不是") || before.ends_with("不是我说的"))
                && said.slice(run.range.end..said.chars.len()).contains('是')
            {
                continue;
            }
            guessed |= run.guessed;
            let places = PreparedUtterance::evidence;
            let digits = if correcting {
                restated(said, &run)
            } else {
                run.digits.clone()
            };
            let new: Vec<Heard> = digits
                .chars()
                .map(|digit| (digit, places(said, &run.range)))
                .collect();
            if let Some((digits, at, _)) = done.take_if(|_| correcting || run.digits.len() >= 7) {
                held = digits.chars().zip(at.iter().cycle().copied()).collect();
                correct(&mut held, &new, said, run.range.start);
            } else if done.is_some() {
                continue;
            } else if correcting && new.len() >= 7 || is_mobile(&run.digits) {
                held = new;
            } else if correcting {
                correct(&mut held, &new, said, run.range.start);
            } else if held.len() + new.len() <= 13
                && (!held.is_empty()
                    || starts
                    || run.digits.starts_with('0')
                    || run.digits.len() >= 7
                    || asks_contact && run.digits.len() >= 3)
            {
                // A repeated beginning starts again.
                let restart = starts && new.len() >= 3 && joined(&held).starts_with(&run.digits);
                if restart {
                    held.clear();
                }
                held.extend(new);
            }
            if is_number(&joined(&held), dialing)
                && (is_mobile(&joined(&held)) || !run.digits.starts_with('1'))
            {
                let digits = joined(&held);
                // A land line's digits may be the first part of a mobile number that begins with 1; among more digits
                // they are what is left of a mobile number that was misheard.
                let local = dialing.local_digits();
                if is_mobile(&digits)
                    || digits.len() >= 10
                    || (digits.len() == local
                        && !digits.starts_with('1')
                        && (in_all == local || landline))
                {
                    // Nobody has read it back yet: one digit misheard makes another good number.
                    let sure = if guessed {
                        0.6
                    } else if is_mobile(&digits) {
                        0.75
                    } else {
                        0.7
                    };
                    done = Some((digits, evidence(&held), sure));
                    held.clear();
                }
            }
        }
    }
    let text = |value: String, confidence: f32, evidence: Vec<Evidence>| {
        Some(Field {
            value: FieldValue::Text(Private::new(value)),
            confidence,
            evidence,
        })
    };
    if let Some((digits, places, sure)) = done {
        let whole = dialing.of_network(&digits).unwrap_or(digits);
        return text(whole, sure, places);
    }
    let own_number = caller_number
        .and_then(|given| dialing.of_network(given))
        .filter(|number| !forbidden.own && !forbidden.holds(number));
    match (own, own_number) {
        (Some((places, sure)), Some(number)) if held.is_empty() => text(number, sure, places),
        // The caller read out their own number, and a digit or two were lost.
        (_, Some(number)) if is_part(&joined(&held), &number) => {
            let places = evidence(&held);
            text(number, 0.75, places)
        }
        // Something was dictated that is no number: the caller's own can be reached, but is not what was meant.
        (_, Some(number)) if !held.is_empty() => text(number, 0.3, Vec::new()),
        (_, Some(number)) if refused_own => text(number, 0.2, Vec::new()),
        (_, Some(number)) => text(number, 0.7, Vec::new()),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{talk, text};
    use super::{Dialing, find};

    const OWN: &str = "13900001111";

    fn phone(lines: &str) -> Option<String> {
        text(find(&talk(lines), Some(OWN), &yantai()))
    }

    fn yantai() -> Dialing {
        Dialing::new("0535".to_owned())
    }

    fn sure(lines: &str) -> f32 {
        find(&talk(lines), Some(OWN), &yantai()).map_or(0.0, |field| field.confidence)
    }

    #[test]
    fn a_name_that_somebody_calls_under_is_no_number_to_call_back() {
        for (network, number) in [
            ("13900001111", Some("13900001111")),
            ("+86-139 0000 1111", Some("13900001111")),
            ("(0535) 6212345", Some("05356212345")),
            ("1001", Some("1001")),
            ("SBC-Recorder", None),
            ("alice", None),
            ("user1001", None),
            ("anonymous", None),
            ("+", None),
            ("12", None),
            ("", None),
        ] {
            let found = text(find(&[], Some(network), &yantai()));
            assert_eq!(found.as_deref(), number, "{network}");
        }
    }

    #[test]
    fn a_number_that_nobody_is_to_call_is_not_the_one_to_call() {
        assert_eq!(
            phone(
                "o:联系您还是联系老人？\n联系我，就我打的这个号。我妈那个是13780957264，别打她的。"
            )
            .as_deref(),
            Some(OWN)
        );
        assert_eq!(
            phone("o:您的电话？\n13780957264，白天打，晚上别打。").as_deref(),
            Some("13780957264")
        );
    }

    #[test]
    fn a_number_that_is_not_to_be_noted_is_not() {
        for (lines, wanted) in [
            (
                "o:联系电话就是这个号码吗？\n不是，这个号别记，我不想留电话。",
                None,
            ),
            ("o:留个电话方便回访。\n电话就不留了。", None),
            ("o:您的电话？\n不用留。", None),
            (
                "o:您的电话？\n我打的这个号不要登记，记我媳妇的，13780957264。",
                Some("13780957264"),
            ),
            (
                "o:您的电话？\n13780957264，不过这个是单位的，千万别写上，写15053576624。",
                Some("15053576624"),
            ),
            ("o:您的电话？\n就这个，别记错了。", Some(OWN)),
            ("我没留意是哪家。", Some(OWN)),
        ] {
            assert_eq!(phone(lines).as_deref(), wanted, "{lines}");
        }
        let banned = super::forbidden(
            &talk("他打给我用的一三七八零九五七二六四，这个号码你别记。"),
            None,
        );
        assert_eq!(
            banned
                .taken_out_of("商家用一三七八零九五七二六四打来电话，要求退款")
                .as_deref(),
            Some("商家用打来电话，要求退款")
        );
        assert_eq!(banned.taken_out_of("商家用15053576624打来电话"), None);
    }

    #[test]
    fn the_callers_own_number_is_known_by_sound_or_with_a_digit_lost_but_never_surely() {
        // OWN is 13900001111.
        let heard = "o:联系电话就是您这个来电号码吗？\n堆，旧这个毫马。";
        assert_eq!(phone(heard).as_deref(), Some(OWN));
        assert!((0.71..0.8).contains(&sure(heard)), "{}", sure(heard));
        let agreed = "o:联系电话就是您住鸵鸾号码吗？\n对，就个喝泡拿。";
        assert_eq!(phone(agreed).as_deref(), Some(OWN));
        assert!((0.71..0.8).contains(&sure(agreed)), "{}", sure(agreed));
        let lost = "o:您的电话？\n一三九零零零零一一一。";
        assert_eq!(phone(lost).as_deref(), Some(OWN));
        assert!((0.71..0.8).contains(&sure(lost)), "{}", sure(lost));
        // Nine digits of another number are nobody's.
        assert!(sure("o:您的电话？\n一三八六六二二一一。") < 0.5);
    }

    #[test]
    fn a_dictated_number_beats_the_callers_own() {
        assert_eq!(
            phone("o:您的联系电话？\n幺三七零五三五八八九九。").as_deref(),
            Some("13705358899")
        );
        assert_eq!(
            phone("o:您的联系电话？\n137 0535 8899").as_deref(),
            Some("13705358899")
        );
        assert_eq!(
            phone("打我手机吧，一五零，五三五，三个六，二四。").as_deref(),
            Some("15053566624")
        );
        assert_eq!(
            phone("o:留个电话。\n座机，零五三五，六六一二三四五。").as_deref(),
            Some("05356612345")
        );
        assert_eq!(
            phone("o:留个电话。\n六六一二三四五。").as_deref(),
            Some("05356612345")
        );
    }

    #[test]
    fn a_land_line_is_as_long_as_the_city_has_them() {
        let jinan = Dialing::new("0531".to_owned());
        for (lines, wanted) in [
            ("o:留个电话。\n八八九六一二三四。", "053188961234"),
            ("o:联系电话？\n座机，六六零一，二二三三。", "053166012233"),
            ("o:联系电话？\n零五三一，八八九六一二三四。", "053188961234"),
            ("o:联系电话？\n13705318899。", "13705318899"),
        ] {
            let found = text(find(&talk(lines), Some(OWN), &jinan));
            assert_eq!(found.as_deref(), Some(wanted), "{lines}");
        }
    }

    #[test]
    fn numbers_are_taken_however_they_are_announced() {
        for (answer, wanted) in [
            ("一、一五二六三五一七八零四。", "15263517804"),
            ("加八六，一八六五三五零七七二一。", "18653507721"),
            ("零零八六一八六五三五零七七二一。", "18653507721"),
            ("六六八二四一九，转六零三。", "05356682419"),
            ("幺八拐，五三五，勾四四零二。", "18753594402"),
            ("18653507721，要不13705358899也行。", "18653507721"),
        ] {
            let lines = format!("o:联系电话留哪个号码？\n{answer}");
            assert_eq!(phone(&lines).as_deref(), Some(wanted), "{answer}");
        }
    }

    #[test]
    fn the_networks_number_is_written_as_it_is_dialled_and_a_word_is_none() {
        let agreed = talk("o:电话就是这个来电号码吗？\n对。");
        for (given, wanted) in [
            ("+8613900001111", Some(OWN)),
            ("+865356612345", Some("05356612345")),
            ("6612345", Some("05356612345")),
            ("unavailable", None),
        ] {
            let found = text(find(&agreed, Some(given), &yantai()));
            assert_eq!(found.as_deref(), wanted, "{given}");
        }
    }

    #[test]
    fn a_number_may_come_in_pieces_and_be_read_back() {
        let pieces = "o:电话是多少？\n一八六。\no:嗯。\n后面是五三五零。\no:好。\n七七二一。\no:一八六五三五零七七二一？\n对。";
        assert_eq!(phone(pieces).as_deref(), Some("18653507721"));
        assert!(sure(pieces) > 0.9);
    }

    #[test]
    fn a_correction_goes_where_it_belongs() {
        let read = "o:电话？\n一三八六四五一二二三三。\no:一三八六四五一二二三三。\n";
        assert_eq!(
            phone(&format!("{read}不对，最后是二二四四。")).as_deref(),
            Some("13864512244")
        );
        assert_eq!(
            phone(&format!("{read}错了，是一三八六四六一二二三三。")).as_deref(),
            Some("13864612233")
        );
        assert_eq!(
            phone(&format!("{read}前三位不对，前三位是一三九。")).as_deref(),
            Some("13964512233")
        );
    }

    #[test]
    fn a_digit_lost_in_one_hearing_is_made_good_by_the_read_back() {
        assert_eq!(
            phone("o:联系电话？\n一三八六四五一二二三。\no:一三八六四五一二二三三对吗？\n对。")
                .as_deref(),
            Some("13864512233")
        );
    }

    #[test]
    fn two_hearings_that_each_lost_a_digit_make_one_number() {
        let lines = "o:联系电话？\n一三八六四五二二三三。\no:一三八六四五一二二三。\n对。";
        assert_eq!(phone(lines).as_deref(), Some("13864512233"));
        assert!(sure(lines) < 0.8);
        // Read back with a digit misheard twice: the sound tells.
        let lines = "o:联系电话？\n幺三八流四五一二二三伞。\no:一三八六四五一二二三三。\n对。";
        assert_eq!(phone(lines).as_deref(), Some("13864512233"));
    }

    #[test]
    fn what_is_left_of_a_misheard_number_is_no_land_line() {
        assert_eq!(
            phone("o:留个电话。\n一八六，盘五三五八零零七。").as_deref(),
            Some(OWN)
        );
    }

    #[test]
    fn the_callers_own_number_stands_when_it_is_agreed_on() {
        assert_eq!(
            phone("o:电话就是这个来电号码吗？\n对。").as_deref(),
            Some(OWN)
        );
        assert!(sure("就打这个电话。") > 0.9);
        assert!(sure("我想投诉。") < 0.8);
    }

    #[test]
    fn other_numbers_are_not_taken() {
        for lines in [
            "o:单号是多少？\n七七三一三八零零一三八零零零。",
            "o:身份证号？\n三七零六零二一九八零零一零一一二三四。",
            "商家电话是一三八零零一三八零零零，打不通。",
            "老板姓黄，手机一三八零零一三八零零零。",
            "o:是哪家快地，3号油吗？\n元通的，是Y18820156390。",
            "我住三号楼二单元，交了一千三百八十五块。",
        ] {
            assert_eq!(phone(lines).as_deref(), Some(OWN), "{lines}");
        }
    }

    #[test]
    fn what_is_no_number_is_never_given_out_with_confidence() {
        assert!(sure("o:联系电话？\n一三五零六四五八八。") < 0.4);
        assert!(sure("o:是本机吗？\n不是，我再想想。") < 0.4);
    }

    #[test]
    fn a_correction_that_is_said_again_in_full_replaces_no_more_than_its_digits() {
        let lines = "o:联系电话？\n一三零，五三五八，六六零九。\no:一三零五三五八六六零八？\n\
                     最后是零九，六六零九。\no:好，六六零九。";
        assert_eq!(phone(lines).as_deref(), Some("13053586609"));
    }

    #[test]
    fn the_number_that_is_given_instead_of_the_one_that_calls_is_taken() {
        for (lines, expected) in [
            (
                "o:请留个姓名电话。\n我叫慕云飞，别留这个座机，留幺三二五六九幺零零四七。",
                "13256910047",
            ),
            (
                "o:您好，12345热线。\n我今年八十一，说个事。\no:大爷您贵姓，电话号码是多少？\n姓原。你打家里电话，零五三五，六八八，二四幺九，手机俺听不清。\n\
                 o:零五三五六八八二四幺九，我们转给民政部门跟进。",
                "05356882419",
            ),
        ] {
            assert_eq!(phone(lines).as_deref(), Some(expected), "{lines}");
        }
    }
}
