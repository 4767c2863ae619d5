//! Kinds of calls through the whole drafter: numbers that nobody is to note, demands that nobody made, offers, several
//! matters in one call, things and utilities as subject, the narrow parts of an address.

use super::super::advice::Advised;
use super::super::{
    Dialogue, Drafter, FieldName, FieldValue, Taxonomy, TicketDraft, handover, jsonl,
};
use crate::ticket::desk::{DraftKey, Submission};
use crate::transcript::Line;

const OWN: &str = "13900001111";

/// The draft of a call, and the lines that leave with it.
fn drawn(lines: &str) -> (TicketDraft, Vec<Line>) {
    let utterances: Vec<_> = (lines.lines())
        .map(|line| match line.strip_prefix("o:") {
            Some(text) => serde_json::json!({"speaker": "operator", "text": text}),
            None => serde_json::json!({"speaker": "caller", "text": line}),
        })
        .collect();
    let call = serde_json::json!({
        "id": "x", "caller_number": OWN, "started_at": "2026-03-14T09:01:00+08:00",
        "utterances": utterances,
    });
    let dialogue = jsonl::read(1, &call.to_string()).expect("a dialogue");
    let drafter = Drafter::new(Taxonomy::embedded());
    let drawn = drafter.follow(
        &mut Dialogue::default(),
        &dialogue.transcript,
        &dialogue.facts,
        &Advised::default(),
    );
    let lines = drawn.lines(&dialogue.transcript);
    (Advised::default().judge(&drawn), lines)
}

fn draft(lines: &str) -> TicketDraft {
    drawn(lines).0
}

fn text(draft: &TicketDraft, name: FieldName) -> Option<&str> {
    draft.fields.get(&name)?.value.text()
}

fn departments(draft: &TicketDraft) -> Vec<String> {
    let field = draft.fields.get(&FieldName::Departments);
    field.map_or_else(Vec::new, |field| field.value.list().to_vec())
}

#[test]
fn a_number_that_nobody_is_to_note_leaves_in_no_field_and_no_line() {
    for (lines, forbidden, noted) in [
        (
            "o:您电话留一下？\n13780957264，这个号码别记，记我另一个，15053576624。",
            "13780957264",
            Some("15053576624"),
        ),
        (
            "o:电话？\n一八六五三五零七七二一，哎这个是我爱人的，你给删了吧，用我打的这个。",
            "一八六五三五零七七二一",
            Some(OWN),
        ),
        (
            "o:您的电话？\n15266668888。\no:15266668888，记下了。\n哎，把电话去掉吧，我不想让人知道。",
            "15266668888",
            None,
        ),
        (
            "我给你个号，你心里有数，千万别登记，是13356789012。",
            "13356789012",
            Some(OWN),
        ),
        (
            "我给你个号，你别往单子上写。\no:好，您说。\n13356789012。",
            "13356789012",
            Some(OWN),
        ),
        (
            "o:您的电话？\n一八六。\no:嗯。\n五三五零。\no:嗯。\n七七二一。\no:一八六五三五零七七二一。\n这个号别存，回头我再打。",
            "五三五零",
            None,
        ),
        (
            "o:您的电话？\n可以打15266668888，但18653507721千万不要记。",
            "18653507721",
            Some("15266668888"),
        ),
        ("我的手机是13900001111，不过别登记我的号。", OWN, None),
    ] {
        let lines = format!("莱山区迎春大街的福满多超市卖过期奶。\n{lines}");
        let (draft, lines_out) = drawn(&lines);
        assert_eq!(text(&draft, FieldName::ContactPhone), noted, "{lines}");
        let submission = Submission {
            key: DraftKey {
                call: crate::speech::CallId::new("x"),
                revision: 1,
            },
            draft,
            lines: lines_out,
        };
        let leaves = handover::json(&submission).to_string();
        assert!(!leaves.contains(forbidden), "{lines} → {leaves}");
        let digits: String = (forbidden.chars())
            .filter_map(super::numbers::digit)
            .map(|digit| char::from(b'0' + digit))
            .collect();
        assert!(!leaves.contains(&digits), "{lines} → {leaves}");
    }
}

#[test]
fn what_is_no_ban_covers_nothing() {
    for (lines, noted) in [
        (
            "o:您的电话？\n18653507721，他把我的评价删了。",
            "18653507721",
        ),
        (
            "o:您的电话？\n18653507721，请保密，不要告诉商家。",
            "18653507721",
        ),
        ("o:您的电话？\n18653507721，你可别记错了。", "18653507721"),
        ("单号是773138001380001，不要留我地址。", OWN),
    ] {
        let (draft, out) = drawn(lines);
        assert_eq!(
            text(&draft, FieldName::ContactPhone),
            Some(noted),
            "{lines}"
        );
        assert!(
            out.iter().all(|line| !line.text.reveal().contains('*')),
            "{lines}"
        );
    }
}

#[test]
fn covered_lines_keep_their_length_so_that_evidence_points_where_it_did() {
    let lines = "莱山区迎春大街的福满多超市卖过期奶，老板电话13780957264，这个号码别记。";
    let (draft, out) = drawn(lines);
    assert_eq!(out[0].text.reveal().chars().count(), lines.chars().count());
    let place = draft.fields[&FieldName::Address].evidence[0];
    let pointed: String = (out[0].text.reveal().chars())
        .skip(place.start as usize)
        .take((place.end - place.start) as usize)
        .collect();
    assert_eq!(pointed, "莱山区");
}

#[test]
fn who_only_tells_asks_for_nothing() {
    for lines in [
        "我反映个线索，福山区门楼镇有人倒卖假烟。",
        "我表扬一下17路公交车司机，捡了我的包里面有三千块钱，原封不动还给我。",
        "我建议在芝罘区南大街公交站加个雨棚。",
        "咨询一下医保卡丢了怎么补办？",
        "我家楼上装修从早到晚电钻，影响孩子学习，在莱山区黄海花园。",
        "机场路跟红旗路交叉口的红绿灯坏了两天了。",
        "举报芝罘区西大街一家无证诊所给人打针，一次收三百块。",
        "问一下公租房申请，收入线是不是每月四千五百块？",
    ] {
        let draft = draft(lines);
        let demand = text(&draft, FieldName::Demand).unwrap_or_default();
        assert!(!demand.contains(['退', '赔']), "{lines} → {demand}");
        assert_ne!(demand, "整治", "{lines}");
    }
    // Nothing was said of the matter: nothing is asked for.
    for lines in ["15266668888。", "福山区河滨路阳光花园六号楼。"] {
        assert_eq!(text(&draft(lines), FieldName::Demand), None, "{lines}");
    }
}

#[test]
fn what_the_other_side_offers_is_not_at_stake() {
    for (lines, stake) in [
        (
            "买了个沙发五千三百块，塌了，商家说补偿我五百，我不答应，要全退。",
            5_300.0,
        ),
        ("培训班交了9800元，对方提出退2500，我不同意。", 9_800.0),
        ("修手机花了八百六十块，店里只肯退一百块。", 860.0),
        ("我让人骗了五点三万块，对方说最多还两万。", 53_000.0),
        // Promised and never paid is owed; what the caller wants is the caller's.
        ("他们答应退我一千二百块，到现在没退。", 1_200.0),
        ("我希望他们退我一千二百块。", 1_200.0),
    ] {
        let draft = draft(lines);
        let amount = draft.fields.get(&FieldName::AmountYuan);
        assert_eq!(
            amount.map(|field| &field.value),
            Some(&FieldValue::Number(stake)),
            "{lines}"
        );
    }
}

#[test]
fn the_second_matter_of_a_call_and_who_is_called_for_a_danger_join() {
    for (lines, lead, joins) in [
        (
            "我反映两个事，一个是小区电梯老坏，莱山区锦绣家园；还有一个是门口的下水道堵了，污水直冒。",
            "市场监督管理局",
            "城市管理局",
        ),
        (
            "家里停水两天了没人管，另外楼下路灯也不亮，在福山区福海路云顶小区。",
            "水利局",
            "城市管理局",
        ),
        (
            "闻到很大的煤气味，燃气管道漏了，在芝罘区幸福南路华信家园3号楼2单元。",
            "住房和城乡建设局",
            "消防救援支队",
        ),
        (
            "化工厂排出来的废气很刺鼻，好像还着火了，在开发区大季家街道。",
            "生态环境局",
            "消防救援支队",
        ),
    ] {
        let names = departments(&draft(lines));
        assert_eq!(
            names.first().map(String::as_str),
            Some(lead),
            "{lines} → {names:?}"
        );
        assert!(
            names.iter().any(|name| name == joins),
            "{lines} → {names:?}"
        );
    }
    // One matter with more said of it is one.
    let names = departments(&draft("家里停水两天了，另外问了物业也不管，什么时候来水？"));
    assert!(!names.contains(&"城市管理局".to_owned()), "{names:?}");
}

#[test]
fn things_and_utilities_are_subjects_and_pieces_of_sentences_are_not() {
    for (lines, subject) in [
        ("莱山区枫林路与双河路交口的井盖没了，太危险。", Some("井盖")),
        ("路口的斑马线都磨没了，芝罘区环山路。", Some("斑马线")),
        ("有个黑作坊在牟平区武宁街道做豆腐，脏得很。", Some("黑作坊")),
        (
            "小广场的健身器材断了，孩子差点摔着。福山区崇义小区。",
            Some("健身器材"),
        ),
        ("供电公司换了电表以后我家电费翻倍。", Some("供电公司")),
        (
            "燃气公司说没办法，推给了物业，物业又推燃气公司。",
            Some("燃气公司"),
        ),
        (
            "举报凌晨三点还放音乐，芝罘区海港路的金麦KTV。",
            Some("金麦KTV"),
        ),
    ] {
        assert_eq!(text(&draft(lines), FieldName::Subject), subject, "{lines}");
    }
    for lines in [
        "物业推供电局，供电局推物业，没人管。",
        "物业说找供热公司，供热公司推物业公司，没人管。",
        "打给街道，街道推社区，社区推物业公司。",
    ] {
        let draft = draft(lines);
        let subject = text(&draft, FieldName::Subject).unwrap_or_default();
        assert!(!subject.contains('推'), "{lines} → {subject}");
        assert!(
            departments(&draft).iter().all(|name| !name.contains('推')),
            "{lines}"
        );
    }
}

#[test]
fn the_narrowest_words_of_an_address_stay() {
    for (said, right) in [
        (
            "牟平区大窑镇孙家庄村三组十七号",
            "牟平区大窑镇孙家庄村3组17号",
        ),
        (
            "莱州市城港路街道朱家村二队村委会对面",
            "莱州市城港路街道朱家村2队村委会对面",
        ),
        (
            "芝罘区毓璜顶东路20号医院对面",
            "芝罘区毓璜顶东路20号医院对面",
        ),
        (
            "福山区河滨路阳光花园六号楼东单元四零三室",
            "福山区河滨路阳光花园6号楼东单元403室",
        ),
        (
            "开发区天山路海信天悦22栋1单元1801",
            "开发区天山路海信天悦22栋1单元1801",
        ),
        ("芝罘区二马路五十六号院内3号楼", "芝罘区二马路56号院3号楼"),
        (
            "栖霞市臧家庄镇政府南边二百米",
            "栖霞市臧家庄镇政府南边200米",
        ),
        (
            "莱山区观海路跟港城东大街交叉口东北角",
            "莱山区观海路与港城东大街交叉口东北角",
        ),
    ] {
        let lines = format!("路灯不亮。\no:具体地址在哪里？\n在{said}。");
        assert_eq!(
            text(&draft(&lines), FieldName::Address),
            Some(right),
            "{said}"
        );
    }
}
