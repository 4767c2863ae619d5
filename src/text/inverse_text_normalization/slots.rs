//! The slots: what stands around a number decides how it is written.

use super::super::numerals::{self, Reading, digit};
use super::super::spans::{self, is_telephone};
use super::{Edit, Number, Page, Step, plain};

/// Units behind which any number is written in figures, 一 too.
const STRICT: [&str; 43] = [
    "号",
    "栋",
    "幢",
    "单元",
    "楼",
    "小时",
    "分钟",
    "秒钟",
    "秒",
    "公里",
    "千米",
    "公斤",
    "千克",
    "毫克",
    "毫升",
    "毫米",
    "厘米",
    "平方米",
    "平方",
    "平米",
    "立方米",
    "立方",
    "亩",
    "吨",
    "元",
    "米",
    "岁",
    "周岁",
    "度电",
    "年级",
    "英寸",
    "毫安",
    "千瓦",
    "兆",
    "摄氏度",
    "公顷",
    "海里",
    "折",
    "个百分点",
    "月份",
    "块钱",
    "毛钱",
    "号线",
];

/// Units behind which 两 to 九 and 十 are written in figures; 一 before them is rather an article.
const LOOSE: [&str; 17] = [
    "个月",
    "个小时",
    "个钟头",
    "个星期",
    "个工作日",
    "个自然日",
    "天",
    "年",
    "周",
    "层",
    "斤",
    "倍",
    "届",
    "度",
    "工作日",
    "周年",
    "页",
];

/// What 十 counts besides.
const COUNTED: [&str; 32] = [
    "个", "块", "人", "次", "户", "家", "台", "件", "张", "名", "份", "条", "箱", "多", "来", "点",
    "月", "日", "瓶", "辆", "间", "套", "包", "盒", "位", "只", "期", "遍", "所", "趟", "项", "余",
];

/// What the number of a bus line stands before.
const BUS: [&str; 3] = ["路公交", "路车", "路汽车"];

/// Days and parts of them: what stands before a time.
const DAY_PARTS: [&str; 32] = [
    "早上", "早晨", "清早", "上午", "中午", "下午", "傍晚", "晚上", "夜里", "半夜", "凌晨", "夜间",
    "夜晚", "今天", "明天", "昨天", "前天", "后天", "今早", "今晚", "昨晚", "明早", "每天", "天天",
    "当晚", "当天", "午后", "午夜", "早", "晚", "日", "号",
];

/// What else may stand before a time.
const TIME_BEFORE: [&str; 22] = [
    "到",
    "至",
    "从",
    "大概",
    "大约",
    "快",
    "才",
    "都",
    "约",
    "在",
    "过了",
    "不到",
    "将近",
    "差不多",
    "周一",
    "周二",
    "周三",
    "周四",
    "周五",
    "周六",
    "点",
    "等",
];

/// What may stand behind one.
const TIME_AFTER: [&str; 31] = [
    "左右",
    "以前",
    "之前",
    "以后",
    "之后",
    "前",
    "后",
    "多",
    "到",
    "至",
    "开始",
    "开门",
    "关门",
    "上班",
    "下班",
    "来",
    "去",
    "就",
    "才",
    "还",
    "的时候",
    "钟",
    "起",
    "出门",
    "打",
    "的样子",
    "开工",
    "施工",
    "停",
    "送",
    "的",
];

/// What 三点 introduces when it is no time.
const POINTS: [&str; 14] = [
    "建议", "要求", "意见", "原因", "问题", "希望", "说明", "诉求", "疑问", "理由", "内容", "想法",
    "水", "不",
];

/// Units that take a decimal: 三点五万, 一点五倍.
const DECIMAL_UNITS: [&str; 30] = [
    "万", "亿", "元", "块", "米", "公里", "千米", "平", "斤", "公斤", "度", "倍", "折", "升", "吨",
    "兆", "个", "小时", "厘米", "毫米", "亩", "毫克", "克", "里", "千瓦", "伏", "安", "寸", "英寸",
    "G",
];

/// What makes two digits a number.
const NUMBERED: [&str; 9] = [
    "号",
    "室",
    "栋",
    "幢",
    "单元",
    "路公交",
    "路车",
    "中学",
    "医院",
];

/// What announces one.
const ANNOUNCED: [&str; 9] = [
    "尾号",
    "末尾",
    "分机",
    "编号",
    "工号",
    "房间",
    "门牌",
    "门牌号",
    "转",
];

/// What makes 二百五 a sum.
const PAID: [&str; 14] = [
    "花", "花了", "交", "交了", "付", "付了", "收", "收了", "退", "卖", "要", "一共", "才", "总共",
];

/// What a unit is only the beginning of.
const OTHER_WORDS: [&str; 9] = [
    "号召", "号称", "楼道", "楼长", "米线", "折腾", "元化", "秒杀", "年轻",
];

impl Page<'_> {
    /// 百分之十五, 千分之三, 百分之百; `at` is where it begins, `from` where the number does.
    pub(super) fn share(&self, at: usize, from: usize) -> Option<Step> {
        let sign = match self.get(at)? {
            '百' => "%",
            '千' => "‰",
            _ => "‱",
        };
        let all = self.get(from) == Some('百') && !self.is_numeral(from + 1);
        let (end, text) = if all {
            (from + 1, "100".to_owned())
        } else {
            let whole = self.number(from)?;
            match self.decimal_part(&whole) {
                Some((end, tail)) => (end, format!("{}.{tail}", whole.figures()?)),
                None => (whole.range.end, whole.value()?.to_string()),
            }
        };
        Some(Step::Write(vec![Edit {
            range: at..end,
            text: format!("{text}{sign}"),
        }]))
    }

    /// 三分之一.
    pub(super) fn fraction(&self, number: &Number) -> Option<Step> {
        let end = number.range.end;
        self.starts(end, &["分之"])?;
        let above = self.number(end + 2)?;
        let (below, value) = (number.value()?, above.value()?);
        Some(Step::Write(vec![Edit {
            range: number.range.start..above.range.end,
            text: format!("{value}/{below}"),
        }]))
    }

    /// Digits that pauses divide but that make one telephone number: 一三八，六三五一，二二零七.
    pub(super) fn telephone(&self, number: &Number) -> Option<Step> {
        let mut digits = String::new();
        let mut edits = Vec::new();
        let mut group = Some(number.clone());
        while let Some(Number { range, reading }) = group.take() {
            let text = match reading {
                Reading::Digits(digits) => digits,
                Reading::One(value) if self.get(range.start) != Some('两') => value.to_string(),
                _ => return None,
            };
            let end = range.end;
            digits.push_str(&text);
            edits.push(Edit { range, text });
            if is_telephone(&digits) && !self.is_numeral(end) {
                return Some(Step::Write(edits));
            }
            if digits.len() > 12 {
                return None;
            }
            let gap = self.letters[end..]
                .iter()
                .take_while(|letter| "，,、 -.。".contains(**letter))
                .count();
            // What counts something is no group of digits: 一三五零六四五八八二，一号楼.
            let next = self.number(end + gap).filter(|next| {
                !matches!(next.reading, Reading::One(_))
                    || spans::quantity(self.letters, next.range.end).is_none()
            });
            if (1..=2).contains(&gap) {
                edits.push(Edit {
                    range: end..end + gap,
                    text: String::new(),
                });
                group = next;
            }
        }
        None
    }

    /// 两点半, 八点二十, 八点零五分, 下午三点; 三点五万, 零点五, 三点一四.
    pub(super) fn clock_or_decimal(&self, number: &Number) -> Option<Step> {
        let (start, end) = (number.range.start, number.range.end);
        if self.get(end)? != '点' || self.closed[end] {
            return None;
        }
        let write = |end: usize, text: String| {
            Some(Step::Write(vec![Edit {
                range: start..end,
                text,
            }]))
        };
        let value = number.value()?;
        let behind = end + 1;
        let day_part = self.ends(start, &DAY_PARTS);
        let hour = value <= 24;
        if hour {
            let half = self.get(behind) == Some('半');
            if half && self.starts(behind + 1, &["点", "天"]).is_none() {
                return write(behind + 1, format!("{value}:30"));
            }
            if self.starts(behind, &["一刻"]).is_some() {
                return write(behind + 2, format!("{value}:15"));
            }
            if self.starts(behind, &["三刻"]).is_some() {
                return write(behind + 2, format!("{value}:45"));
            }
            if let Some((end, minute)) = self.minute(behind, day_part) {
                return write(end, format!("{value}:{minute:02}"));
            }
        }
        if let Some((end, tail)) = self.decimal_part(number) {
            let sure = tail.len() > 1
                || value == 0
                || self.starts(end, &DECIMAL_UNITS).is_some()
                || (self.is_end(end) && !day_part);
            if sure {
                return write(end, format!("{}.{tail}", number.figures()?));
            }
        }
        if !hour {
            return None;
        }
        let framed = day_part
            || self.starts(behind, &["钟", "整"]).is_some()
            || (value > 2 || number.range.len() > 1)
                && (self.ends(start, &TIME_BEFORE)
                    || self.starts(behind, &TIME_AFTER).is_some()
                    || self.is_end(behind))
                && self.starts(behind, &POINTS).is_none();
        if framed {
            write(end, value.to_string())
        } else {
            None
        }
    }

    /// The minutes that begin at `at`: 二十, 零五, 五分. A lone pair of digits is a minute only in a time of day.
    fn minute(&self, at: usize, day_part: bool) -> Option<(usize, u64)> {
        let number = self.number(at)?;
        let end = number.range.end;
        let first = self.letters[at];
        let minutes = self.get(end) == Some('分') && self.get(end + 1) != Some('钟');
        let as_minute = match &number.reading {
            Reading::Cardinal(_) => true,
            Reading::Digits(digits) => {
                digits.len() == 2
                    && (minutes
                        || self.starts(end, &DECIMAL_UNITS).is_none()
                            && (digits.starts_with('0') || day_part || first.is_ascii()))
            }
            Reading::One(_) => minutes,
            Reading::Vague => false,
        };
        let value = number.value()?;
        (as_minute && value < 60).then_some((end + usize::from(minutes), value))
    }

    /// The digits behind the point that follows `number`, and where they end.
    fn decimal_part(&self, number: &Number) -> Option<(usize, String)> {
        let at = number.range.end;
        if self.get(at)? != '点' || self.closed[at] {
            return None;
        }
        let part = self.number(at + 1)?;
        // 差一点500块: figures go on with figures.
        if self.letters[at + 1].is_ascii() != self.letters[at - 1].is_ascii() {
            return None;
        }
        let letters = &self.letters[part.range.clone()];
        let digits: String = letters
            .iter()
            .map_while(|letter| digit(*letter))
            .map(|digit| char::from(b'0' + digit))
            .collect();
        // 三点五万: the unit belongs to the whole, not to the part.
        let long = digits.len();
        let unit_behind = long + 1 == letters.len() && matches!(letters.last(), Some('万' | '亿'));
        (long > 0 && (long == letters.len() || unit_behind)).then_some((at + 1 + long, digits))
    }

    /// 二五年三月; a year of four digits is written as any digits are.
    pub(super) fn year(&self, number: &Number) -> Option<Step> {
        let Reading::Digits(digits) = &number.reading else {
            return None;
        };
        let end = number.range.end;
        if digits.len() != 2 || self.get(end)? != '年' {
            return None;
        }
        let month = self
            .number(end + 1)
            .is_some_and(|month| self.get(month.range.end) == Some('月'));
        let seasons = [
            "初",
            "底",
            "开始",
            "以前",
            "以后",
            "的时候",
            "春",
            "夏",
            "秋",
            "冬",
        ];
        if month || self.starts(end + 1, &seasons).is_some() || !self.is_idea(number) {
            return plain(number);
        }
        None
    }

    /// 三块五, 十二块八毛, 三块零五分.
    pub(super) fn money(&self, number: &Number) -> Option<Step> {
        let end = number.range.end;
        if !matches!(self.get(end)?, '块' | '元') {
            return None;
        }
        let yuan = number.value()?;
        let zero = matches!(self.get(end + 1), Some('零' | '〇'));
        let at = end + 1 + usize::from(zero);
        let tenth = self.number(at).filter(|tenth| tenth.range.len() == 1)?;
        let dime = tenth.value().filter(|dime| *dime < 10)?;
        let mut after = tenth.range.end;
        let ends = |next: Option<char>| {
            next.is_none_or(|next| !next.is_alphanumeric() || "钱一每的多了吧啊".contains(next))
        };
        let cents = match self.get(after) {
            Some('毛' | '角') => {
                after += 1;
                let cent = self
                    .number(after)
                    .filter(|cent| cent.range.len() == 1 && self.get(cent.range.end) == Some('分'));
                let cent = cent.and_then(|cent| {
                    after = cent.range.end + 1;
                    cent.value()
                });
                dime * 10 + cent.unwrap_or(0)
            }
            Some('分') if zero => {
                after += 1;
                dime
            }
            next if !zero && ends(next) => dime * 10,
            _ => return None,
        };
        if self.get(after) == Some('钱') {
            after += 1;
        }
        let text = match cents % 10 {
            0 => format!("{yuan}.{}元", cents / 10),
            _ => format!("{yuan}.{cents:02}元"),
        };
        Some(Step::Write(vec![Edit {
            range: number.range.start..after,
            text,
        }]))
    }

    /// Numbers before a unit, digits one by one, and cardinals anywhere.
    pub(super) fn counted(&self, number: &Number) -> Option<Step> {
        let (start, end) = (number.range.start, number.range.end);
        let has_unit =
            |lists: &[&[&str]]| lists.iter().any(|units| self.starts(end, units).is_some());
        let sure = match &number.reading {
            Reading::Vague => false,
            Reading::Digits(digits) => {
                let latin = |letter: Option<char>| {
                    letter.is_some_and(|letter| letter.is_ascii_alphanumeric())
                };
                let letters = &self.letters[number.range.clone()];
                digits.len() > 2
                    || letters.iter().any(char::is_ascii_digit)
                    || latin(self.before(start))
                    || latin(self.get(end))
                    || has_unit(&[&NUMBERED])
                    || self.is_announced(start)
            }
            // 十 is an adverb (十足) and 十一 a holiday as often as a number.
            Reading::Cardinal(10 | 11) if self.letters[start] == '十' => {
                let counts = spans::quantity(self.letters, end).is_some()
                    && !matches!(self.get(end), Some('分' | '成' | '里' | '样'));
                counts
                    || has_unit(&[&STRICT, &LOOSE, &COUNTED, &BUS])
                    || matches!(self.before(start), Some('第' | '月'))
            }
            Reading::Cardinal(250) if number.range.len() == 3 => {
                has_unit(&[&["块", "元", "多", "斤", "米", "平", "度", "个"]])
                    || self.ends(start, &PAID)
            }
            Reading::Cardinal(_) => true,
            Reading::One(value) => self.counts_one(number, *value),
        };
        if sure { plain(number) } else { None }
    }

    /// Whether a lone digit is a number to be written as a figure.
    fn counts_one(&self, number: &Number, value: u8) -> bool {
        let (start, end) = (number.range.start, number.range.end);
        let latin =
            |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphabetic());
        let before = self.before(start);
        if latin(before) || latin(self.get(end)) {
            return true;
        }
        if value == 0 {
            return self.starts(end, &["度", "元"]).is_some();
        }
        if before == Some('第') {
            let parts = ["条", "款", "页", "届", "章", "批", "单元", "号", "栋"];
            return self.starts(end, &parts).is_some();
        }
        if before == Some('零') || self.starts(end, &OTHER_WORDS).is_some() {
            return before == Some('零') && self.ends(start, &["零下"]);
        }
        match self.get(end) {
            // 一月 to 九月, but neither 月子 nor 月饼.
            Some('月') if self.starts(end, &["月份"]).is_none() => {
                return self
                    .starts(end + 1, &["子", "饼", "球", "亮", "嫂"])
                    .is_none();
            }
            Some('日') => return before == Some('月'),
            Some('班') => return before == Some('级'),
            _ => {}
        }
        if self.starts(end, &BUS).is_some() || self.starts(end, &STRICT).is_some() {
            return true;
        }
        if value == 1 {
            return false;
        }
        // 这两天, 前两年: not two.
        let recent = self.letters[start] == '两'
            && before.is_some_and(|before| "这那前过头近".contains(before));
        let yuan = self.get(end) == Some('块')
            && (self.is_end(end + 1) || self.get(end + 1) == Some('多'));
        !recent && (yuan || self.starts(end, &LOOSE).is_some())
    }

    /// Whether what stands before `at` says that a number follows: 尾号八八, 尾号是八八.
    fn is_announced(&self, at: usize) -> bool {
        let verb = usize::from(matches!(self.before(at), Some('是' | '为')));
        self.ends(at - verb, &ANNOUNCED)
    }

    fn is_numeral(&self, at: usize) -> bool {
        self.get(at).is_some_and(numerals::is_numeral)
    }
}
