//! Where: an address put together from its parts, and the district it lies in.

mod district;
mod parts;

use std::sync::LazyLock;

use super::dialogue::{self, PreparedUtterance, TAKES_BACK, is_stop};
use super::lexicon::{Words, list};
use super::phonetics;
use super::taxonomy::Taxonomy;
use super::{Evidence, Field, FieldValue};
use crate::private::Private;
use district::bears_its_name;
pub(super) use parts::PLACE_ENDINGS;
use parts::{Kind, Near, Part, addresses, named};

#[derive(Clone, Debug)]
struct Address {
    parts: Vec<(Kind, String, Evidence)>,
    score: i32,
    /// The utterance that it was last taken from.
    utterance: u32,
    /// A district said by the way is no address.
    by_the_way: bool,
}

/// What the operator asks when a place is wanted.
pub(super) static ASKED: Words = LazyLock::new(|| list("place.asked"));

fn score(parts: &[Part], asked: bool) -> i32 {
    let kinds = parts.iter().map(|part| match part.kind {
        Kind::District | Kind::Road | Kind::Site => 2,
        Kind::Spot => 0,
        _ => 1,
    });
    kinds.sum::<i32>() + if asked { 3 } else { 0 }
}

/// The district that the operator goes on with, where the caller's short answer to the question for it was misheard.
fn echoed(
    talk: &[PreparedUtterance],
    index: usize,
    taxonomy: &Taxonomy,
) -> Option<(Kind, String, Evidence)> {
    let said = &talk[index];
    let asked = dialogue::question(talk, index).filter(|_| said.by_caller())?;
    let letters = said.chars.iter().filter(|letter| !is_stop(**letter));
    let ends = asked.clauses().into_iter().any(|clause| {
        let words = asked.slice(clause);
        words.ends_with('区') || words.ends_with('县')
    });
    if !(1..=4).contains(&letters.count()) || !ends || said.affirms() || said.denies() {
        return None;
    }
    let next = talk.get(index + 1).filter(|next| !next.by_caller())?;
    let (bytes, word) = taxonomy
        .place_words
        .longest(&next.text)
        .find(|(_, word)| word.is_district)?;
    let range = next.char_at(bytes.start)..next.char_at(bytes.end);
    Some((
        Kind::District,
        taxonomy.districts[word.district].clone(),
        next.evidence(&range),
    ))
}

/// The address; its parts may come from several utterances.
fn find_address(
    talk: &[PreparedUtterance],
    taxonomy: &Taxonomy,
    landmarks: bool,
) -> Option<Address> {
    let mut best: Option<Address> = None;
    for (index, said) in talk.iter().enumerate() {
        let confirmed = !said.by_caller()
            && said.has(&["吗", "吧", "是不是", "？", "对不对"])
            && dialogue::reply(talk, index).is_some_and(PreparedUtterance::affirms);
        if !said.by_caller() && !confirmed {
            continue;
        }
        let question = dialogue::question(talk, index);
        let asked = said.by_caller() && question.is_some_and(|asked| phonetics::has(asked, &ASKED));
        let found = addresses(said, taxonomy, asked, landmarks);
        if found.is_empty()
            && best.is_none()
            && let Some(part) = echoed(talk, index, taxonomy)
        {
            best = Some(Address {
                parts: vec![part],
                score: 3,
                utterance: said.id,
                by_the_way: false,
            });
        }
        let first_end = found
            .first()
            .and_then(|parts| Some(parts.last()?.range.end));
        for parts in found {
            let negated = dialogue::negated(said, parts[0].range.start)
                && said.before(parts[0].range.start, 2).contains("不是");
            // 从火车站到迎春大街 is a way, not an address.
            let clause = said.clause(parts[0].range.start);
            let before = said.slice(clause.start..parts[0].range.start);
            let after = said.slice(parts[parts.len() - 1].range.end..said.chars.len());
            let way = before.ends_with(['到', '至'])
                || !asked && after.starts_with('到')
                || before.contains('从') && (after.contains('到') || after.contains("一段"))
                || question.is_some_and(|asked| asked.has(&["区间", "从哪"]));
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
                    Near::default(),
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
                // 龙口市的，在花木兰街上: unless that street lies elsewhere.
                let follows = said.id == known.utterance
                    && narrowest == Kind::District
                    && widest > Kind::District
                    && parts.iter().all(|part| {
                        taxonomy
                            .district_in(&part.text)
                            .is_none_or(|district| district == known.parts[0].1)
                    });
                // 云龙花苑小区。o:在哪条路上？牟平区通海路: what was asked for lies around what was answered before.
                let around = asked
                    && said.id != known.utterance
                    && known.score >= 5
                    && known.parts.iter().all(|part| part.0 >= Kind::Site)
                    && parts.iter().all(|part| part.kind < Kind::Site);
                only_district
                    || around
                    || follows
                    || said.id != known.utterance
                        && (asked || widest >= Kind::Building)
                        && widest > narrowest
            });
            // 新建路，不是，通海路: the road that was meant, with the district and the community that stay.
            let corrects = first_end.is_some_and(|end| {
                end < parts[0].range.start
                    && said.clauses().into_iter().any(|clause| {
                        (end..parts[0].range.start).contains(&clause.start)
                            && TAKES_BACK
                                .iter()
                                .any(|word| said.starts_at(clause.start, word))
                    })
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
                Some(known) if corrects && known.utterance == said.id => {
                    let wrong = |kind: Kind| {
                        places.iter().any(|place| place.0 == kind)
                            || widest == Kind::Road && kind == Kind::Number
                    };
                    known.parts.retain(|part| !wrong(part.0));
                    known.parts.extend(places);
                    known.parts.sort_by_key(|part| part.0);
                }
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
pub(super) fn find(talk: &[PreparedUtterance], taxonomy: &Taxonomy, landmarks: bool) -> Where {
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
        // PreparedUtterance elsewhere, else inferred from a place that lies in one district.
        let mut best: Option<(i32, usize, Evidence)> = None;
        for (index, said) in talk.iter().enumerate() {
            let confirmed = !said.by_caller()
                && dialogue::reply(talk, index).is_some_and(PreparedUtterance::affirms);
            if !said.by_caller() && !confirmed {
                continue;
            }
            for (bytes, word) in taxonomy.place_words.longest(&said.text) {
                let range = said.char_at(bytes.start)..said.char_at(bytes.end);
                // 莱山路 may lie anywhere, 莱山医院 hardly.
                let named = bears_its_name(said, &range).filter(|_| word.is_district);
                if named.is_some_and(|(_, kind)| kind == Kind::Road) {
                    continue;
                }
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
            Some("莱山区观海路东泰大厦5楼")
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
    fn a_road_or_building_may_bear_a_districts_name() {
        for (said, right, lies_in) in [
            ("芝罘区莱阳路六号", "芝罘区莱阳路6号", "芝罘区"),
            ("莱山区福山北路二十一号", "莱山区福山北路21号", "莱山区"),
            (
                "开发区长江路蓬莱大厦九楼",
                "开发区长江路蓬莱大厦9楼",
                "开发区",
            ),
            ("莱山迎春大街八十号", "莱山区迎春大街80号", "莱山区"),
            ("龙口市招远路三十二号", "龙口市招远路32号", "龙口市"),
            ("芝罘区广东路五号", "芝罘区广东路5号", "芝罘区"),
            ("牟平区天津街十四号", "牟平区天津街14号", "牟平区"),
        ] {
            let lines = format!("o:具体地址在哪里？\n在{said}。");
            assert_eq!(address(&lines).as_deref(), Some(right), "{said}");
            assert_eq!(district(&lines).as_deref(), Some(lies_in), "{said}");
        }
    }

    #[test]
    fn the_narrow_parts_of_an_address_are_kept() {
        for (said, right) in [
            ("福山区永安街三十二号附五号", "福山区永安街32号附5号"),
            ("芝罘区北河街六号乙", "芝罘区北河街6号乙"),
            ("莱山区观海路九十杠三号", "莱山区观海路90-3号"),
            ("芝罘区大海阳路五十之二号", "芝罘区大海阳路50之2号"),
            (
                "莱山区清泉路百合花园C区四号楼二单元七零二",
                "莱山区清泉路百合花园C区4号楼2单元702",
            ),
            ("开发区黄河路六十号D座一五零三", "开发区黄河路60号D座1503"),
            ("福山区金桥小区二期十一号楼", "福山区金桥小区二期11号楼"),
            ("莱阳市团旺镇西马家泊村六组", "莱阳市团旺镇西马家泊村6组"),
            ("芝罘区四马路三十巷九号", "芝罘区四马路30巷9号"),
            (
                "牟平区新牟花园三号楼一单元一千一百零二",
                "牟平区新牟花园3号楼1单元1102",
            ),
            ("招远市温泉路二十二号底商", "招远市温泉路22号底商"),
            (
                "芝罘区建设路七十号三单元五楼东户",
                "芝罘区建设路70号3单元5楼东户",
            ),
            ("芝罘区五号小区九号楼", "芝罘区五号小区9号楼"),
            (
                "龙口市徐福街道龙口经济开发区海岱路九号",
                "龙口市徐福街道龙口经济开发区海岱路9号",
            ),
            (
                "福山区福海路福山医院住院楼六楼",
                "福山区福海路福山医院住院楼6楼",
            ),
            ("莱山区观海路东方广场南门", "莱山区观海路东方广场南门"),
            ("芝罘区南大街大悦城对面", "芝罘区南大街大悦城对面"),
            ("芝罘区胜利路和南大街交叉口", "芝罘区胜利路和南大街交叉口"),
        ] {
            let lines = format!("o:具体地址在哪里？\n在{said}。");
            assert_eq!(address(&lines).as_deref(), Some(right), "{said}");
        }
    }

    #[test]
    fn an_address_may_come_in_pieces() {
        assert_eq!(address("o:您在哪个区？\n牟平区。\no:具体地址呢？\n通海路，海韵花园。\no:几号楼？\n八号楼二单元。").as_deref(), Some("牟平区通海路海韵花园8号楼2单元"));
    }

    #[test]
    fn a_road_that_was_named_by_mistake_gives_way_and_the_community_stays() {
        assert_eq!(
            address("o:是哪个小区？\n云龙花苑小区。\no:在哪条路上？\n牟平区，新建路，不是，那是我闺女家。我这是通海路，通海路二百一十号。").as_deref(),
            Some("牟平区通海路210号云龙花苑小区")
        );
        assert_eq!(
            address("o:请问地址？\n莱山区观海路279号，不对，是297号。").as_deref(),
            Some("莱山区观海路297号")
        );
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
            Some("历下区经十路恒大城2楼")
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
    fn an_address_is_pieced_together_although_characters_were_lost_or_misheard() {
        for (lines, expected) in [
            ("o:地址？\n高新区德海澜苑。", "高新区海澜苑"),
            ("o:地址？\n开蛤趋长江路。", "开发区长江路"),
            (
                "o:地址？\n腑区幸福南路金海湾小区。",
                "芝罘区幸福南路金海湾小区",
            ),
            ("o:地址？\n来衫迎春大街观海花园。", "莱山区迎春大街观海花园"),
            (
                "o:地址？\n芝罘区幸福南路金海湾小区六号楼二单软三零一。",
                "芝罘区幸福南路金海湾小区6号楼2单元301",
            ),
            (
                "o:地址？\n芝罘区幸福努金海湾小区六楼二单元。",
                "芝罘区幸福路金海湾小区6号楼2单元",
            ),
            (
                "o:在哪里？\n福山区河滨路河永达街的路口。",
                "福山区河滨路和永达街路口",
            ),
            (
                "o:在哪里？\n福山区河滨路永达街的路口。",
                "福山区河滨路与永达街路口",
            ),
            ("在蓬莱区海市的和悦府。", "蓬莱区海市和悦府"),
            (
                "o:在哪里？\n莱山区桐林路，就是那个超市的底商，一百一十六号。",
                "莱山区桐林路116号",
            ),
            ("我在龙口市住，在花木兰街上。", "龙口市花木兰街"),
            ("o:是哪个区？\n缮区。\no:您到莱山区大厅办。", "莱山区"),
        ] {
            assert_eq!(address(lines).as_deref(), Some(expected), "{lines}");
        }
    }

    #[test]
    fn ways_of_speaking_that_end_like_a_place_are_none() {
        for lines in [
            "我在马路上走。",
            "我们小区停水了。",
            "卡里还有钱。",
            "我一路走到市中心。",
            "这条路不好走。",
            "司机绕路。",
            "他在直播里说的。",
            "四十七路公交车太挤。",
        ] {
            assert_eq!(address(lines), None, "{lines}");
        }
    }
}
