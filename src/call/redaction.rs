//! When a recording is to hold silence, because a card's, an identity or a secret number is being read.
//!
//! It is decided by what is said. Somebody asks for such a number, says that here it comes, or just begins to read one;
//! it is over when the number is complete and something else is spoken of, when nobody gives it after all, or after a
//! while. Recognition comes about a second late: what was recorded since the first word is erased afterwards. The
//! transcript goes on meanwhile, for the end is heard in it.

use std::time::{Duration, Instant};

use super::{Call, Output, State};
use crate::audio::MediaTime;
use crate::speech::Leg;
use crate::transcript::{Line, RecordingMark};

/// What is asked for, and how many digits it has at least.
const NUMBERS: [(&str, usize); 15] = [
    ("身份证号", 15),
    ("身份证", 15),
    ("证件号", 8),
    ("护照号", 8),
    ("银行卡号", 15),
    ("信用卡号", 15),
    ("银行账号", 12),
    ("银行帐号", 12),
    ("卡号", 8),
    ("验证码", 4),
    ("校验码", 4),
    ("动态码", 4),
    ("安全码", 3),
    ("密码", 4),
    ("有效期", 4),
];

/// What makes a question or a request of it.
const ASKS: [&str; 17] = [
    "多少",
    "提供",
    "报一下",
    "报下",
    "报一报",
    "报给",
    "念一下",
    "念给",
    "说一下",
    "告诉",
    "是什么",
    "是几",
    "核对",
    "核实",
    "给我",
    "输入",
    "发我",
];

/// What makes an announcement of it, in the mouth of who has the number.
const GIVES: [&str; 8] = [
    "报给",
    "给你报",
    "给您报",
    "念给",
    "给你念",
    "给您念",
    "告诉你",
    "告诉您",
];

/// What makes a warning or a story of it.
const WARNS: [&str; 14] = [
    "不要",
    "不用",
    "不需要",
    "无需",
    "不必",
    "切勿",
    "别告诉",
    "别给",
    "不会",
    "不能",
    "没有",
    "泄露",
    "骗",
    "忘",
];

/// So many digits in a row are no telephone number: an identity or a card number that nobody asked for.
const UNASKED: usize = 15;

/// So many digits that follow the number's name are the number.
const NAMED: usize = 4;

/// Fewer digits in a line are no part of a number.
const PART: usize = 3;

/// A line that is no longer than this says yes or go on, and is about nothing else.
const NODS: usize = 4;

/// So many lines about something else, and nobody gives the number any more.
const OTHERS: u32 = 3;

/// How long nobody may go on with the number.
const QUIET: Duration = Duration::from_secs(20);

/// Words are recognised to within this.
const MARGIN: Duration = Duration::from_millis(300);

/// What a line makes of the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// Silence from then on, which has passed.
    Begin(MediaTime),
    /// The call again.
    End,
}

/// A number under way.
struct Reading {
    since: MediaTime,
    /// When somebody last said something of it.
    last: MediaTime,
    wanted: usize,
    digits: usize,
    /// Lines about something else since.
    others: u32,
}

/// Follows one call.
pub(super) struct NumberRedaction {
    longest: Duration,
    reading: Option<Reading>,
    /// Until where no number begins any more: what was hidden once does not begin anew with a line's next version.
    done: MediaTime,
}

impl NumberRedaction {
    pub(crate) const fn new(longest: Duration) -> Self {
        Self {
            longest,
            reading: None,
            done: MediaTime::ZERO,
        }
    }

    /// Takes a line as it stands.
    fn read(&mut self, line: &Line) -> Option<Change> {
        let text = line.text.reveal();
        let digits = runs(text).into_iter().map(|run| run.length).sum();
        let Some(reading) = &mut self.reading else {
            let (at, wanted) = begins(text, line.leg)?;
            let since = line.time_of(at, at + 1).0;
            // A request is no secret: what follows it is.
            let since = if at as usize >= text.chars().count() {
                line.end
            } else {
                since
            };
            let since = (since - MARGIN).max(self.done);
            if line.end <= self.done {
                return None;
            }
            self.reading = Some(Reading {
                since,
                last: line.end,
                wanted,
                digits: if line.is_final { digits } else { 0 },
                others: 0,
            });
            return Some(Change::Begin(since));
        };
        // A line that began the reading, or one from before it, says nothing of its end.
        if !line.is_final || line.end <= reading.since {
            return None;
        }
        let names = NUMBERS.iter().any(|(name, _)| text.contains(name));
        if digits >= PART || names {
            reading.digits += if digits >= PART { digits } else { 0 };
            reading.last = reading.last.max(line.end);
            reading.others = 0;
            return None;
        }
        let letters = text
            .chars()
            .filter(|letter| letter.is_alphanumeric())
            .count();
        if letters > NODS {
            reading.others += 1;
            if reading.digits >= reading.wanted || reading.others >= OTHERS {
                return Some(Change::End);
            }
        }
        None
    }

    /// When the number counts as read even if nothing is said any more.
    fn deadline(&self) -> Option<MediaTime> {
        let reading = self.reading.as_ref()?;
        Some((reading.last + QUIET).min(reading.since + self.longest))
    }

    const fn is_redacting(&self) -> bool {
        self.reading.is_some()
    }

    fn end(&mut self, at: MediaTime) {
        self.reading = None;
        self.done = at;
    }
}

/// Digits that follow one another.
struct Run {
    /// The first one's place, in characters.
    from: u32,
    length: usize,
}

/// The runs of two digits and more, as figures or spelt out; gaps and pauses between them do not part them.
fn runs(text: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    let mut current: Option<Run> = None;
    for (place, letter) in text.chars().enumerate() {
        let is_digit = letter.is_ascii_digit() || "零〇一二三四五六七八九幺两".contains(letter);
        let ends_identity = matches!(letter, 'X' | 'x') && current.is_some();
        if is_digit || ends_identity {
            let from = place as u32;
            current.get_or_insert(Run { from, length: 0 }).length += 1;
        } else if !" -，、,".contains(letter) {
            runs.extend(current.take());
        }
    }
    runs.extend(current);
    runs.retain(|run| run.length >= 2);
    runs
}

/// From which character on a line is to be hidden, its end for what follows it, and how many digits are to come.
fn begins(text: &str, leg: Leg) -> Option<(u32, usize)> {
    let runs = runs(text);
    if let Some(run) = runs.iter().find(|run| run.length >= UNASKED) {
        return Some((run.from, UNASKED));
    }
    let (at, name, wanted) = NUMBERS
        .iter()
        .filter_map(|(name, wanted)| Some((text.rfind(name)?, *name, *wanted)))
        .min_by_key(|(at, name, _)| (*at, usize::MAX - name.len()))?;
    let place = text[..at].chars().count() as u32;
    let after = place + name.chars().count() as u32;
    if let Some(run) = runs
        .iter()
        .find(|run| run.from >= after && run.length >= NAMED.min(wanted))
    {
        return Some((run.from, wanted));
    }
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&WARNS) {
        return None;
    }
    let begins = match leg {
        Leg::Operator => says(&ASKS),
        Leg::Caller | Leg::Mono => says(&GIVES),
    };
    begins.then(|| (text.chars().count() as u32, wanted))
}

impl Call {
    /// Hides what a line says is to be hidden, or lets the recording hear again.
    pub(super) fn hide_numbers(&mut self, now: Instant, line: &Line) {
        let Some(redaction) = &mut self.redaction else {
            return;
        };
        match redaction.read(line) {
            Some(Change::Begin(since)) => {
                self.media_legs
                    .iter_mut()
                    .for_each(|media_leg| media_leg.hide(true));
                let until = self.clock(now);
                self.outputs.push_back(Output::Erase(since, until));
                self.mark_at(since, RecordingMark::NumberBegins);
            }
            Some(Change::End) => self.show_again(now),
            None => {}
        }
    }

    /// Lets the recording hear again when the time of a number is over.
    pub(super) fn look_after_redaction(&mut self, now: Instant) {
        let clock = self.clock(now);
        let due = self.redaction.as_ref().and_then(NumberRedaction::deadline);
        if due.is_some_and(|due| due <= clock) {
            self.show_again(now);
        }
    }

    /// When that is.
    pub(super) fn redaction_deadline(&self) -> Option<Instant> {
        let due = self
            .redaction
            .as_ref()
            .and_then(NumberRedaction::deadline)?;
        Some(self.answered? + due.since(MediaTime::ZERO))
    }

    pub(super) fn show_again(&mut self, now: Instant) {
        let clock = match &self.ended {
            Some((ended, _)) => self.clock(*ended),
            None => self.clock(now),
        };
        let Some(redaction) = self
            .redaction
            .as_mut()
            .filter(|redaction| redaction.is_redacting())
        else {
            return;
        };
        redaction.end(clock);
        if !matches!(self.state, State::Over) {
            self.media_legs
                .iter_mut()
                .for_each(|media_leg| media_leg.hide(false));
            self.mark_at(clock, RecordingMark::NumberOver);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a recording in which these lines are said, each two seconds long; `!` marks the operator's.
    fn told(lines: &[&str]) -> Vec<(usize, Change)> {
        let mut redaction = NumberRedaction::new(Duration::from_mins(1));
        let mut changes = Vec::new();
        for (number, text) in lines.iter().enumerate() {
            let leg = if text.starts_with('!') {
                Leg::Operator
            } else {
                Leg::Caller
            };
            let start = MediaTime::from_millis(3_000 * number as u64);
            let end = start + Duration::from_secs(2);
            let line = Line::plain(number as u32, leg, text.trim_start_matches('!'), start, end);
            if let Some(change) = redaction.read(&line) {
                if change == Change::End {
                    redaction.end(end);
                }
                changes.push((number, change));
            }
        }
        changes
    }

    fn begun(lines: &[&str]) -> Vec<usize> {
        let changes = told(lines);
        let begun = changes.iter().filter(|(_, change)| *change != Change::End);
        begun.map(|(number, _)| *number).collect()
    }

    #[test]
    fn a_number_that_is_asked_for_is_hidden_until_something_else_is_spoken_of() {
        let changes = told(&[
            "!您好请讲",
            "我要查一下我的社保",
            "!请您报一下身份证号",
            "三七零六零二一九八五",
            "!嗯",
            "零三零四一二三四",
            "!三七零六零二一九八五零三零四一二三四对吗",
            "对的",
            "!好的，请问您要办理什么业务",
            "我想转移养老保险",
        ]);
        let from = MediaTime::from_millis(8_000) - MARGIN;
        assert_eq!(changes, [(2, Change::Begin(from)), (8, Change::End)]);
    }

    #[test]
    fn who_asks_how_does_not_matter() {
        for asks in [
            "!麻烦提供一下您的银行卡号",
            "!您的身份证号码是多少",
            "!把验证码告诉我一下",
            "!您卡号是多少呢",
            "!请输入您的密码",
            "!我跟您核对一下证件号",
        ] {
            assert_eq!(begun(&[asks]), [0], "{asks}");
        }
        for says in [
            "那我把身份证号报给你",
            "我的银行卡号是六二二二零二",
            "身份证号370602198503041234",
            "六二二二零二一六零六零零三四二一七八",
            "370602 19850304 123X，你记一下",
        ] {
            assert_eq!(begun(&[says]), [0], "{says}");
        }
    }

    #[test]
    fn talk_about_numbers_and_telephone_numbers_are_not_hidden() {
        for says in [
            "!请不要把验证码告诉任何人",
            "!我们不会问您的密码",
            "有人骗我说出了银行卡密码",
            "我的身份证丢了",
            "!您的身份证还在有效期内吗",
            "我的电话是一三九一二三四五六七八",
            "13912345678，座机05356601234",
            "二零二六年十一月二十四号下午三点",
            "!请您提供一下联系电话",
            "我忘了密码是多少",
        ] {
            assert_eq!(begun(&[says]), [0_usize; 0], "{says}");
        }
    }

    #[test]
    fn a_number_that_nobody_gives_is_not_waited_for() {
        let changes = told(&[
            "!请提供一下银行卡号",
            "我现在不方便说这个",
            "!那您方便的时候再打过来",
            "我是想问另外一件事情",
            "!您请讲",
        ]);
        assert!(
            matches!(changes[..], [(0, _), (3, Change::End)]),
            "{changes:?}"
        );
        let mut redaction = NumberRedaction::new(Duration::from_secs(30));
        let end = MediaTime::from_millis(10_000);
        let line = Line::plain(
            0,
            Leg::Operator,
            "卡号是多少",
            MediaTime::from_millis(8_000),
            end,
        );
        assert!(redaction.read(&line).is_some());
        assert_eq!(redaction.deadline(), Some(end + QUIET));
    }

    #[test]
    fn a_partial_line_hides_at_once_and_its_later_versions_do_not_again() {
        let mut redaction = NumberRedaction::new(Duration::from_mins(1));
        let at = MediaTime::from_millis;
        let mut line = Line::plain(0, Leg::Operator, "请报一下身份证号", at(1_000), at(3_000));
        line.is_final = false;
        assert_eq!(redaction.read(&line), Some(Change::Begin(at(2_700))));
        line.is_final = true;
        line.end = at(3_200);
        assert_eq!(redaction.read(&line), None);
        redaction.end(at(9_000));
        assert_eq!(redaction.read(&line), None, "it was over before");
    }

    #[test]
    fn only_the_number_is_erased_where_words_have_times() {
        let mut redaction = NumberRedaction::new(Duration::from_mins(1));
        let at = MediaTime::from_millis;
        let text = "我住在解放路身份证号是三七零六零二一九八五零三零四一二三四";
        let mut line = Line::plain(0, Leg::Caller, text, at(0), at(20_000));
        let word = |from: u32, to: u32, start, end| crate::speech::words::Word {
            from,
            to,
            start: at(start),
            end: at(end),
            confidence: 1.0,
        };
        line.words = vec![word(0, 11, 0, 8_000), word(11, 29, 8_000, 20_000)];
        assert_eq!(redaction.read(&line), Some(Change::Begin(at(7_700))));
    }
}
