//! Numbers in whole sentences, with the example's word lists on: what was said is what is written.

use super::*;
use crate::text::numerals;

/// How many sentences are tried; more with `XINQIAO_NUMBERS`.
const SENTENCES: u32 = 4_000;

fn example() -> TranscriptFormatter {
    macro_rules! list {
        ($name:literal) => {
            (
                $name,
                include_str!(concat!(
                    "../../../../deploy/examples/yantai/hotwords/",
                    $name
                )),
            )
        };
    }
    let lists = [
        list!("places.txt"),
        list!("departments.txt"),
        list!("matters.txt"),
        list!("phrases.txt"),
        list!("surnames.txt"),
        list!("sensitive.txt"),
        list!("prompts.txt"),
    ];
    TranscriptFormatter::new(Vocabulary::parse(lists).expect("the example's lists"), true)
}

fn one_by_one(digits: &str, random: &mut StdRng) -> String {
    let one = ["一", "幺"][random.random_range(0..2)];
    let zero = ["零", "〇"][usize::from(random.random_range(0..8) == 0)];
    let said = digits.chars().map(|digit| match digit {
        '0' => zero.to_owned(),
        '1' => one.to_owned(),
        '2'..='9' => SPOKEN[digit.to_digit(10).expect("a digit") as usize].to_owned(),
        other => other.to_string(),
    });
    said.collect()
}

fn digits(count: usize, random: &mut StdRng) -> String {
    (0..count).map(|_| random.random_range('0'..='9')).collect()
}

/// A number below 100 million as it is counted, with 两 where it may stand.
fn amount(number: u32, random: &mut StdRng) -> String {
    let (high, low) = (number / 10_000, number % 10_000);
    let mut said = String::new();
    if high > 0 {
        said.push_str(&counted(high));
        said.push('万');
        if low > 0 && low < 1_000 {
            said.push('零');
        }
    }
    if low > 0 {
        let low_said = counted(low);
        // 一万零一十二, not 一万零十二.
        if high > 0 && (10..20).contains(&low) {
            said.push('一');
        }
        said.push_str(&low_said);
    }
    if random.random() {
        for unit in ["百", "千", "万"] {
            let alone = format!("二{unit}");
            if said.starts_with(&alone) {
                said = said.replacen('二', "两", 1);
            }
        }
    }
    said
}

fn pick<'a>(of: &[&'a str], random: &mut StdRng) -> &'a str {
    of[random.random_range(0..of.len())]
}

/// A sentence with a number as it is said, and as it is to be written.
fn sentence(random: &mut StdRng) -> (String, String) {
    let (before, said, wanted, after) = match random.random_range(0..10) {
        0 | 1 => {
            let phone = match random.random_range(0..4) {
                0 => format!("0535{}{}", random.random_range(2..=8), digits(6, random)),
                _ => format!("1{}{}", random.random_range(3..=9), digits(9, random)),
            };
            let before = pick(
                &[
                    "",
                    "我的电话是",
                    "电话",
                    "我手机",
                    "手机号码是",
                    "请拨打",
                    "您打",
                    "回电话打",
                    "联系电话",
                    "您记一下，",
                    "他留的是",
                    "万一打不通就打",
                    "我是老三，",
                    "我姓王，",
                    "周三打过来的是",
                    "一直用的是",
                    "号码写",
                    "本机号码",
                    "来电",
                ],
                random,
            );
            let after = pick(
                &[
                    "",
                    "，谢谢",
                    "，您记一下",
                    "这个号码",
                    "打不通",
                    "一直打不通",
                    "一直没人接",
                    "没人接",
                    "吧",
                    "啊，别打错了",
                    "，一天打了好多次",
                    "，姓张",
                    "，一定要给我回电话",
                    "是我爱人的",
                    "一般都开机",
                    "，就这个",
                    "能打通",
                ],
                random,
            );
            (before, one_by_one(&phone, random), phone, after)
        }
        2 => {
            let tail = pick(&["X", "1", "2", "7", "0"], random);
            let (year, month, day) = (
                random.random_range(1_930..2_020),
                random.random_range(1..=12),
                random.random_range(1..=31),
            );
            let card = format!(
                "37{}{year}{month:02}{day:02}{}{tail}",
                digits(4, random),
                digits(3, random)
            );
            let before = pick(
                &[
                    "身份证",
                    "身份证号",
                    "身份证号码是",
                    "我的证件号是",
                    "您核对一下，",
                    "证号",
                ],
                random,
            );
            let after = pick(
                &["", "，没错", "，麻烦您查一下", "没有登记", "，户口在芝罘区"],
                random,
            );
            (before, one_by_one(&card, random), card, after)
        }
        3 => {
            let long = random.random_range(6..20);
            let order = format!("{}{}", random.random_range(1..=9), digits(long, random));
            let before = pick(
                &[
                    "单号",
                    "订单号是",
                    "工单号是",
                    "快递单号",
                    "户号",
                    "缴费户号是",
                    "卡号",
                    "合同编号",
                    "车架号是",
                ],
                random,
            );
            let after = pick(
                &[
                    "",
                    "，查不到",
                    "，麻烦您记录一下",
                    "一直没更新",
                    "的那一单",
                    "，前天下的单",
                ],
                random,
            );
            (before, one_by_one(&order, random), order, after)
        }
        4 | 5 => {
            let yuan = match random.random_range(0..3) {
                0 => random.random_range(11..1_000),
                1 => random.random_range(1_000..10_000),
                _ => random.random_range(10_000..9_000_000),
            };
            let before = pick(
                &[
                    "花了",
                    "交了",
                    "一共花了",
                    "他们收了我",
                    "押金",
                    "要求退",
                    "充了",
                    "欠我",
                    "工资",
                    "罚款",
                    "一次就要",
                    "每个月",
                    "定金是",
                    "还剩",
                ],
                random,
            );
            let after = pick(
                &[
                    "块钱",
                    "块",
                    "元",
                    "元，一直不退",
                    "块钱，没人管",
                    "元左右",
                    "块钱一个月",
                    "元一次",
                    "块钱的押金",
                ],
                random,
            );
            (
                before,
                amount(yuan, random),
                numerals::written(u64::from(yuan)),
                after,
            )
        }
        6 => {
            let (hour, minute) = (random.random_range(3..=12), random.random_range(1..60));
            let spoken = counted(hour);
            let (said, wanted) = match random.random_range(0..4) {
                0 => (format!("{spoken}点"), format!("{hour}点")),
                1 => (format!("{spoken}点半"), format!("{hour}:30")),
                2 => (format!("{spoken}点一刻"), format!("{hour}:15")),
                _ => {
                    let zero = if minute < 10 { "零" } else { "" };
                    let minutes = counted(minute);
                    (
                        format!("{spoken}点{zero}{minutes}分"),
                        format!("{hour}:{minute:02}"),
                    )
                }
            };
            let before = pick(
                &[
                    "早上",
                    "今天上午",
                    "昨天晚上",
                    "每天晚上",
                    "凌晨",
                    "周三下午",
                    "周五晚上",
                    "中午",
                ],
                random,
            );
            let after = pick(
                &[
                    "开始吵",
                    "就停电了",
                    "左右来的",
                    "还在施工",
                    "，楼下放音乐",
                    "才来人",
                    "",
                ],
                random,
            );
            (before, said, wanted, after)
        }
        7 => {
            let (month, day) = (random.random_range(1..=12), random.random_range(1..=31));
            let year = random.random_range(2_001..2_030).to_string();
            let name = pick(&["号", "日"], random);
            let (year_said, year) = match random.random_range(0..3) {
                0 => (
                    format!("{}年", one_by_one(&year, random)),
                    format!("{year}年"),
                ),
                _ => (String::new(), String::new()),
            };
            let said = format!("{year_said}{}月{}{name}", counted(month), counted(day));
            let wanted = format!("{year}{month}月{day}{name}");
            let before = pick(&["", "我是", "在", "从", "去物业问过，", "合同是"], random);
            let after = pick(
                &[
                    "办的卡",
                    "买的",
                    "交的房",
                    "就报修了",
                    "停的水",
                    "一早",
                    "，一直到现在",
                    "",
                ],
                random,
            );
            (before, said, wanted, after)
        }
        8 => {
            let (house, unit) = (random.random_range(1..=260), random.random_range(1..=9));
            let room = random.random_range(101..=3_204).to_string();
            let tower = pick(&["号楼", "栋", "幢"], random);
            let (said, wanted) = match random.random_range(0..3) {
                0 => (format!("{}号", counted(house)), format!("{house}号")),
                1 => (
                    format!(
                        "{}{tower}{}单元{}",
                        counted(house),
                        counted(unit),
                        one_by_one(&room, random)
                    ),
                    format!("{house}{tower}{unit}单元{room}"),
                ),
                _ => (
                    format!("{}{tower}{}室", counted(house), one_by_one(&room, random)),
                    format!("{house}{tower}{room}室"),
                ),
            };
            let before = pick(
                &[
                    "我住",
                    "在南大街",
                    "我家是",
                    "幸福小区",
                    "地址是迎春大街",
                    "长江路",
                    "我们这儿是",
                    "楼上",
                ],
                random,
            );
            let after = pick(
                &[
                    "",
                    "，漏水",
                    "门口",
                    "一直停水",
                    "的邻居",
                    "，您记一下",
                    "没有暖气",
                ],
                random,
            );
            (before, said, wanted, after)
        }
        _ => {
            let number = random.random_range(11..=99);
            let counts = pick(
                &[
                    "岁",
                    "度",
                    "路公交车",
                    "起",
                    "个人",
                    "户",
                    "天",
                    "小时",
                    "平方米",
                    "周",
                    "包水泥",
                    "次",
                    "楼",
                ],
                random,
            );
            let before = pick(
                &[
                    "",
                    "老人",
                    "室内才",
                    "坐",
                    "一共",
                    "已经",
                    "每次都是",
                    "这里有",
                ],
                random,
            );
            let after = pick(&["", "，没人管", "了"], random);
            let said = format!("{}{counts}", counted(number));
            (before, said, format!("{number}{counts}"), after)
        }
    };
    let opening = pick(
        &[
            "",
            "",
            "您好，",
            "嗯，",
            "我跟您说一下，",
            "喂，你好，",
            "我要投诉，",
        ],
        random,
    );
    (
        format!("{opening}{before}{said}{after}"),
        format!("{opening}{before}{wanted}{after}。"),
    )
}

#[test]
fn every_number_is_written_as_it_was_said_whatever_stands_in_the_lists() {
    let (formatter, mut random) = (example(), StdRng::seed_from_u64(15));
    let sentences = std::env::var("XINQIAO_NUMBERS").map_or(SENTENCES, |count| {
        count.parse().expect("a number of sentences")
    });
    let mut differ = Vec::new();
    for _ in 0..sentences {
        let (said, wanted) = sentence(&mut random);
        let (now, _) = written(&formatter, &said, true);
        if now != wanted {
            differ.push(format!("{said} → {now} instead of {wanted}"));
        }
    }
    assert!(
        differ.is_empty(),
        "{} of {sentences} differ: {:#?}",
        differ.len(),
        &differ[..differ.len().min(40)]
    );
}
