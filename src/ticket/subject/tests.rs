//! Who is complained of, line by line.

use super::super::dialogue::PreparedUtterance;
use super::super::taxonomy::{Category, Taxonomy};
use super::super::tests::{talk, text};
use super::{Known, find};

fn subject(lines: &str) -> Option<String> {
    text(find(&talk(lines), Known::default()))
}

#[test]
fn the_answer_to_the_question_for_the_name_is_the_name() {
    assert_eq!(
        subject("o:请问是哪家店？\n叫阳光里烘焙坊，在南大街。").as_deref(),
        Some("阳光里烘焙坊")
    );
    assert_eq!(
        subject("o:哪家快递？\n韵达的，单号我有。").as_deref(),
        Some("韵达")
    );
    assert_eq!(
        subject("o:机构叫什么名字？\n小海豚游泳馆，在莱山。").as_deref(),
        Some("小海豚游泳馆")
    );
}

#[test]
fn what_the_operator_takes_down_is_a_name_and_what_it_was_called_before_is_none() {
    assert_eq!(
        subject("车牌没记，小票上面印的是海通出租。\no:海通出租，好的，您贵姓？").as_deref(),
        Some("海通出租")
    );
    assert_eq!(subject("楼上漏水。\no:楼上漏水，好的。"), None);
    assert_eq!(
        subject("o:KTV叫什么名字？\n星光汇KTV，以前叫好声音。").as_deref(),
        Some("星光汇KTV")
    );
    assert_eq!(
        subject("o:是哪个小区，物业公司叫什么？\n小区叫锦绣华庭，物业是鑫和物业。").as_deref(),
        Some("鑫和物业")
    );
}

#[test]
fn a_relatives_or_a_nurses_name_is_no_subject_and_a_childs_school_is() {
    assert_eq!(subject("我爸叫展玉田，八十六了。"), None);
    assert_eq!(subject("骨科的护士，姓文，叫文静。"), None);
    for lines in [
        "给孩子报的班叫小海豚游泳馆。",
        "老板姓王，店叫小海豚游泳馆。",
    ] {
        assert_eq!(subject(lines).as_deref(), Some("小海豚游泳馆"), "{lines}");
    }
}

#[test]
fn an_organisation_is_known_by_its_ending() {
    assert_eq!(
        subject("我要投诉鼎盛装饰公司，活儿干得太差。").as_deref(),
        Some("鼎盛装饰公司")
    );
    assert_eq!(
        subject("一个叫小美严选的直播间卖的是假货。").as_deref(),
        Some("小美严选")
    );
}

#[test]
fn a_name_stands_behind_its_kind_and_a_kind_alone_is_no_name() {
    assert_eq!(
        subject("o:哪个公司？\n劳务公司教鲁建劳务。").as_deref(),
        Some("鲁建劳务")
    );
    assert_eq!(subject("我找了个装修公司，钱交了人不来。"), None);
    assert_eq!(subject("你们快叫人来。"), None);
    assert_eq!(subject("司机还帮着叫了家里人。"), None);
    assert_eq!(
        subject("o:是几路公交车？\n九百一十路。").as_deref(),
        Some("910路公交车")
    );
}

#[test]
fn a_name_is_freed_from_what_was_misheard_around_it() {
    for (lines, expected) in [
        ("o:工地叫什么？\n工地是东边那各滨海广场的项穆。", "滨海广场"),
        ("o:哪个直播间？\n一个搅玉石阁珠饱得直播间。", "玉石阁珠饱"),
        ("十七公交车太挤。", "17路公交车"),
        ("十七麓公交车太挤。", "17路公交车"),
        (
            "o:是哪家中介？\n安居客来房产中介，在泰山路。",
            "安居客来房产中介",
        ),
        ("o:叫什么名字？\n小蜗牛美术，在新华书店楼上。", "小蜗牛美术"),
    ] {
        assert_eq!(subject(lines).as_deref(), Some(expected), "{lines}");
    }
}

#[test]
fn a_bus_line_is_written_in_digits_and_a_word_for_a_kind_is_no_name() {
    assert_eq!(
        subject("六十一路公交车老是不来。").as_deref(),
        Some("61路公交车")
    );
    assert_eq!(subject("他们公司不管。"), None);
    assert_eq!(subject("o:是哪家快递？\nY18820156390。").as_deref(), None);
}

#[test]
fn who_is_rung_up_and_what_is_wished_for_is_not_complained_of() {
    assert_eq!(subject("楼道里全是煤气味，打恒源燃气公司老占线！"), None);
    assert_eq!(subject("门口牌子上写着半小时之内不要钱。"), None);
    let taxonomy = Taxonomy::embedded();
    let of = |lines: &str| {
        let is_roads = |category: &&Category| category.name.get_ref()[1] == "交通管理";
        let category = taxonomy.categories.iter().find(is_roads);
        let known = Known {
            category,
            is_suggestion: true,
            ..Known::default()
        };
        text(find(&talk(lines), known))
    };
    assert_eq!(
        of("创业路口那个红绿灯没有左转箭头。").as_deref(),
        Some("红绿灯")
    );
    assert_eq!(of("学校门口没有红绿灯，能不能装个红绿灯？"), None);
}

#[test]
fn the_operators_next_question_and_the_kind_asked_for_tell_the_name() {
    for (lines, expected) in [
        (
            "朋友推荐去了速安车养护，问题就出在这。\no:速安车养护在什么位置？\n在化工路。",
            "速安车养护",
        ),
        (
            "我带亲戚去看古船博物馆，不让进。\no:是哪个古船博物馆？\n海滨路的登州古船博物馆。",
            "登州古船博物馆",
        ),
        (
            "o:是哪个公司的车？\n车门上印着飞鸿出租公司，车号我拍照了。",
            "飞鸿出租公司",
        ),
        ("o:请问是哪个景区？\n望海崖景区，在海滨路。", "望海崖景区"),
        (
            "o:舞蹈班是什么名字？\n星悦舞蹈。\no:机构那边怎么说？\n说合同里写了，开课以后一律不退。",
            "星悦舞蹈",
        ),
        ("o:是什么工地？\n路对面惠民家园的项目。", "惠民家园"),
        ("车门上喷的是通达出租，师傅姓牛。", "通达出租"),
        ("o:哪个公园？\n南山路望海公园，靠喷泉那片草坪。", "望海公园"),
        (
            "o:地点在哪儿？\n二十二号，一楼开饭店那家，老渔港。",
            "老渔港",
        ),
    ] {
        assert_eq!(subject(lines).as_deref(), Some(expected), "{lines}");
    }
}

#[test]
fn a_misheard_character_of_a_name_is_put_right_where_the_recogniser_doubted_it() {
    let lines = "o:哪个直播间？\n一个搅玉石阁珠饱得直播间。";
    let found = |talk: &[PreparedUtterance]| find(talk, Known::default()).expect("a name");
    let heard = found(&talk(lines));
    assert_eq!(text(Some(heard.clone())).as_deref(), Some("玉石阁珠饱"));
    let doubted: Vec<PreparedUtterance> = talk(lines)
        .into_iter()
        .map(PreparedUtterance::doubted)
        .collect();
    let mended = found(&doubted);
    assert_eq!(text(Some(mended.clone())).as_deref(), Some("玉石阁珠宝"));
    assert!(mended.confidence < heard.confidence.min(0.61));
}
