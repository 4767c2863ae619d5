//! The character error rate: what was heard against what was said, by the characters that carry the words.
//!
//! Chinese characters and digits count; punctuation, spaces and Latin letters do not. Traditional characters become
//! simplified, and numbers one form (一百二十八 and 128, 幺三八 and 138, 百分之五十 and 50%), since both ways of writing
//! them are right. Both recognisers' texts and the reference go through the same function.

/// The traditional characters of everyday speech that a multilingual model writes now and then, each before its
/// simplified form.
const SIMPLIFIED: &str = "後后於于\
    們们個个這这來来時时會会發发對对說说請请問问電电話话門门開开關关買买賣卖錢钱嗎吗麼么為为過过還还進进連连運运遠远\
    邊边達达遲迟選选裡里裏里應应該该讓让認认識识證证調调談谈講讲謝谢護护譯译讀读變变車车軟软輕轻輛辆轉转較较輸输員员\
    貨货費费貴贵資资賠赔購购贈赠質质負负責责財财賬账賺赚題题顧顾頭头領领願愿類类預预顯显風风飛飞飯饭館馆馬马驗验點点\
    黨党齊齐聽听聲声職职聯联聞闻處处號号蘭兰藥药葉叶蓋盖蘋苹萬万與与興兴舊旧華华單单嚴严園园圍围國国圖图團团場场壞坏\
    報报塊块塵尘夠够奪夺奮奋媽妈嬰婴學学實实審审寫写寬宽寶宝將将專专導导屆届層层岡冈島岛幣币師师帶带幫帮幹干廠厂廣广\
    庫库廢废張张強强彈弹彎弯復复從从態态慮虑慣惯憂忧戰战戲戏戶户拋抛掃扫掛挂採采換换揚扬損损據据擊击擋挡擔担擴扩擾扰\
    攝摄敗败數数斷断曬晒書书東东條条業业極极構构樓楼樣样樹树橋桥機机檢检檔档櫃柜權权歲岁歷历歸归殺杀氣气決决沒没況况\
    淚泪淨净測测湯汤準准溝沟滅灭滿满漲涨漢汉潔洁濕湿濟济灣湾無无煙烟熱热燈灯燒烧營营爛烂爭争爾尔牆墙狀状獎奖獲获環环\
    現现產产畢毕畫画異异當当瘋疯療疗監监盤盘盡尽眾众確确碼码禮礼禍祸離离種种積积穩稳窮穷窩窝競竞筆笔節节範范築筑簡简\
    簽签糧粮糾纠紀纪約约紅红紋纹納纳純纯紙纸級级細细終终組组結结絕绝給给統统經经維维網网緊紧線线緣缘編编練练縣县總总\
    繳缴績绩織织繼继續续罰罚罷罢習习聖圣腦脑腳脚臉脸臨临舉举藝艺蘇苏虧亏蟲虫術术衛卫衝冲裝装製制複复覺觉觀观規规視视\
    親亲計计訂订訊讯記记訓训訪访設设許许訴诉診诊詢询試试詩诗詳详誤误誰谁課课諒谅論论諾诺貼贴賓宾賞赏跡迹蹤踪躍跃軍军\
    輔辅農农鄉乡鄰邻醫医釋释針针鈴铃銀银銷销鋪铺錄录錯错鎖锁鎮镇鏡镜鐘钟鐵铁長长閉闭間间閒闲陣阵陰阴陳陈陸陆陽阳隊队\
    階阶際际隨随險险隱隐雖虽雙双雜杂難难雲云霧雾靈灵靜静響响頁页項项順顺頓顿須须頻频額额飲饮飽饱騎骑騙骗騰腾驚惊體体\
    髒脏鬆松鬧闹魚鱼鮮鲜鳥鸟麗丽麵面黃黄齡龄龍龙";

/// The characters of `text` that count, in one form.
pub fn normalised(text: &str) -> Vec<char> {
    let table: Vec<char> = SIMPLIFIED
        .chars()
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let simplified = |letter: char| {
        let pair = table.chunks_exact(2).find(|pair| pair[0] == letter);
        pair.map_or(letter, |pair| pair[1])
    };
    let words: String = text
        .chars()
        .map(|letter| match letter {
            // Full-width digits.
            '０'..='９' => char::from_u32(letter as u32 - '０' as u32 + '0' as u32),
            '〇' => Some('零'),
            other => Some(simplified(other)),
        })
        .map(|letter| letter.expect("the full-width digits map onto the ASCII ones"))
        .filter(|letter| letter.is_ascii_digit() || ('\u{3400}'..='\u{9fff}').contains(letter))
        .collect();
    let words: Vec<char> = words.replace("百分之", "").chars().collect();
    words
        .chunk_by(|a, b| is_numeral(*a) == is_numeral(*b))
        .flat_map(|run| match number(run) {
            Some(value) => value.to_string().chars().collect(),
            None => run
                .iter()
                .map(|letter| digit(*letter).map_or(*letter, |value| (b'0' + value) as char))
                .collect::<Vec<_>>(),
        })
        .collect()
}

/// The least number of insertions, deletions and replacements that make `said` into `heard`.
pub fn edits(said: &[char], heard: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=heard.len()).collect();
    for (i, a) in said.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in heard.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[heard.len()]
}

fn is_numeral(letter: char) -> bool {
    digit(letter).is_some() || unit(letter).is_some()
}

fn digit(letter: char) -> Option<u8> {
    Some(match letter {
        '0'..='9' => letter as u8 - b'0',
        '零' => 0,
        '一' | '幺' => 1,
        '二' | '两' => 2,
        '三' => 3,
        '四' => 4,
        '五' => 5,
        '六' => 6,
        '七' => 7,
        '八' => 8,
        '九' => 9,
        _ => return None,
    })
}

fn unit(letter: char) -> Option<u64> {
    Some(match letter {
        '十' => 10,
        '百' => 100,
        '千' => 1_000,
        '万' => 10_000,
        '亿' => 100_000_000,
        _ => return None,
    })
}

/// What a run of numerals with units comes to: 一百二十八, 3万, 三千二 (3200). `None` when it is digits said one by one,
/// or no number at all (百 in 百货).
fn number(run: &[char]) -> Option<u64> {
    if !run.iter().any(|letter| unit(*letter).is_some()) {
        return None;
    }
    // The whole, the part below 万 or 亿, and the digits not yet multiplied by a unit.
    let (mut whole, mut part, mut open) = (0_u64, 0_u64, None::<u64>);
    let (mut last_unit, mut zero) = (None::<u64>, false);
    for (at, letter) in run.iter().enumerate() {
        if let Some(value) = digit(*letter) {
            if *letter == '零' {
                zero = true;
                continue;
            }
            // Only Arabic digits follow one another within a number.
            let before = match open {
                Some(before) if letter.is_ascii_digit() && run[at - 1].is_ascii_digit() => before,
                Some(_) => return None,
                None => 0,
            };
            open = Some(before.checked_mul(10)?.checked_add(u64::from(value))?);
        } else {
            let unit = unit(*letter)?;
            if unit >= 10_000 {
                part = part.checked_add(open.take().unwrap_or(0))?;
                if part == 0 {
                    return None;
                }
                whole = whole.checked_add(part.checked_mul(unit)?)?;
                part = 0;
            } else {
                let count = match open.take() {
                    Some(count) => count,
                    // 十二, but neither 百货 nor 千万.
                    None if unit == 10 => 1,
                    None => return None,
                };
                part = part.checked_add(count.checked_mul(unit)?)?;
            }
            (last_unit, zero) = (Some(unit), false);
        }
    }
    let rest = match (open, last_unit) {
        // 三千二 is 3200, 三千零二 is 3002.
        (Some(rest), Some(unit)) if rest < 10 && unit > 10 && !zero => rest * (unit / 10),
        (rest, _) => rest.unwrap_or(0),
    };
    whole.checked_add(part)?.checked_add(rest)
}
