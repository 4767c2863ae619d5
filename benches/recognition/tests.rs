//! Tests of how characters are counted: a benchmark target runs none itself.

mod characters;

use characters::{edits, normalised};

fn line(text: &str) -> String {
    normalised(text).into_iter().collect()
}

#[test]
fn both_ways_of_writing_a_number_are_the_same() {
    for (a, b) in [
        ("南大街一百二十八号", "南大街128號。"),
        ("充了两千，还剩八百六十块", "充了2000,還剩860塊"),
        ("一三八六三五一二二零七", "138 6351 2207"),
        ("幺三八", "１３８"),
        ("下降超50%", "下降超百分之五十"),
        ("十二万三千", "123000"),
        ("三千二", "3200"),
        ("三千零二", "3002"),
        ("3万", "三万"),
        ("二〇二六年十月", "2026年10月"),
    ] {
        assert_eq!(line(a), line(b), "{a}");
    }
}

#[test]
fn what_is_no_number_stays_as_it_is() {
    assert_eq!(line("百货大楼"), "百货大楼");
    assert_eq!(line("千万别去"), "千万别去");
    assert_eq!(line("OK，好的！"), "好的");
    assert_eq!(
        line("九九九九九九九九九九九九九九九九九九九九九亿").len(),
        24
    );
}

#[test]
fn edits_are_the_fewest_that_lead_from_one_to_the_other() {
    let count = |a: &str, b: &str| edits(&normalised(a), &normalised(b));
    assert_eq!(count("我要投诉", "我要投诉。"), 0);
    assert_eq!(count("我要投诉", "我投速了"), 3);
    assert_eq!(count("", "你好"), 2);
    assert_eq!(count("你好", ""), 2);
}

#[test]
fn traditional_and_simplified_characters_are_the_same() {
    assert_eq!(
        line("請問您貴姓？以後這裡關於電話"),
        "请问您贵姓以后这里关于电话"
    );
}
