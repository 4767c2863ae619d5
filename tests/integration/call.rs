//! Real calls through the real binary with the real model: SIP, RTP, recognition, gRPC, the page, the ticket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex;
use xinqiao::grpc::convert;
use xinqiao::grpc::proto::ticket::v1::ticket_book_client::TicketBookClient;
use xinqiao::grpc::proto::ticket::v1::{Basis, DraftRecord, FieldName, GetDraftRequest, field};
use xinqiao::grpc::proto::transcript::v1::event::Body;
use xinqiao::grpc::proto::transcript::v1::transcript_service_client::TranscriptServiceClient;
use xinqiao::grpc::proto::transcript::v1::{
    EndCode, Event, GetRequest, Leg, Utterance, WatchRequest,
};

use xinqiao::ticket::eval;

use crate::product::{Hotline, character_error_rate, models, said, shared, xinqiao};

/// One call at a time: recognition should not have to compete with that of other tests.
pub static ALONE: Mutex<()> = Mutex::const_new(());

/// The sample recordings as a call: the caller counts to ten, the operator says hello to the world after it.
pub fn samples_as_call(folder: &Path) -> PathBuf {
    let samples = |name: &str| {
        let mut reader =
            hound::WavReader::open(models().join("samples/zh").join(name)).expect("a sample");
        assert_eq!(reader.spec().sample_rate, 16_000);
        reader
            .samples::<f32>()
            .map(|sample| sample.expect("a sample") * 32_000.0)
            .collect::<Vec<_>>()
    };
    let (caller, operator) = (samples("jishu.wav"), samples("nihao_shijie.wav"));
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let path = folder.join("call.wav");
    let mut writer = hound::WavWriter::create(&path, spec).expect("writable");
    let mut write = |samples: &[f32], operator: bool| {
        for sample in samples.iter().chain(&vec![0.0; 16_000]) {
            let sample = *sample as i16;
            let (left, right) = if operator { (0, sample) } else { (sample, 0) };
            writer.write_sample(left).expect("writable");
            writer.write_sample(right).expect("writable");
        }
    };
    write(&[], false);
    write(&caller, false);
    write(&operator, true);
    writer.finalize().expect("writable");
    path
}

/// Everything that the stream says of the next call, from `after` to its end.
pub async fn watch(hotline: &Hotline, after: Option<u64>, call_id: &str) -> Vec<Event> {
    let request = WatchRequest {
        call_id: call_id.to_owned(),
        after_position: after,
        ..WatchRequest::default()
    };
    let mut client = TranscriptServiceClient::new(hotline.channel().await);
    let mut stream = client.watch(request).await.expect("served").into_inner();
    let mut events = Vec::new();
    loop {
        let next = tokio::time::timeout(Duration::from_secs(150), stream.message())
            .await
            .expect("in time");
        let event = next
            .expect("the stream goes on")
            .and_then(|response| response.event)
            .expect("an event");
        let last = matches!(event.body, Some(Body::CallFinal(_)));
        events.push(event);
        if last {
            return events;
        }
    }
}

/// Plays `wav` through a call and watches it.
async fn played(hotline: &Hotline, wav: &Path) -> Vec<Event> {
    let calling = hotline.call(wav);
    let (events, output) = tokio::join!(watch(hotline, None, ""), calling);
    assert!(output.status.success(), "{}", said(&output));
    events
}

fn utterances(events: &[Event]) -> impl Iterator<Item = &Utterance> {
    events.iter().filter_map(|event| match &event.body {
        Some(Body::Utterance(utterance)) => Some(utterance),
        _ => None,
    })
}

fn text(events: &[Event], leg: Leg) -> String {
    let finals = utterances(events).filter(|said| said.r#final && said.leg() == leg);
    // A line that was heard better later has a newer version.
    let newest: BTreeMap<u32, &str> = finals.map(|said| (said.id, said.text.as_str())).collect();
    newest.into_values().collect()
}

/// What was heard of the samples' caller and operator, after checking that it is what they say.
pub fn heard_samples(events: &[Event]) -> [String; 2] {
    let counted = text(events, Leg::Caller);
    let rate = character_error_rate("一二三四五六七八九十", &counted)
        .min(character_error_rate("12345678910", &counted));
    assert!(
        rate <= 0.3,
        "the caller counted to ten, heard was {counted}"
    );
    let greeted = text(events, Leg::Operator);
    assert!(
        character_error_rate("你好世界", &greeted) <= 0.5,
        "heard was {greeted}"
    );
    [counted, greeted]
}

/// The ticket of a call that is over, as it arrived at the reference backend.
pub async fn closed_ticket(hotline: &Hotline, call_id: &str) -> DraftRecord {
    let mut book = TicketBookClient::new(hotline.channel().await);
    for _ in 0..500 {
        let request = GetDraftRequest {
            call_id: call_id.to_owned(),
        };
        if let Some(record) = book
            .get_draft(request)
            .await
            .ok()
            .and_then(|answer| answer.into_inner().record)
            && record.closed
        {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the ticket of {call_id} did not arrive at the backend within 10 s");
}

fn ticket_text(record: &DraftRecord, name: FieldName) -> Option<String> {
    let draft = record.draft.as_ref()?;
    let field = draft.fields.iter().find(|field| field.name() == name)?;
    match field.value.as_ref()? {
        field::Value::Text(text) => Some(text.clone()),
        field::Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_bridged_transcribed_live_and_filed() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let wav = samples_as_call(folder.path());
    let hotline = Hotline::open(&wav, &[]);
    let events = played(&hotline, &wav).await;
    let call_id = events[0].call_id.clone();

    assert!(
        matches!(&events[0].body, Some(Body::Started(started)) if started.caller_number == "13912345678")
    );
    assert!(matches!(events[1].body, Some(Body::Answered(_))));
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].position < pair[1].position)
    );
    let [counted, greeted] = heard_samples(&events);
    assert!(
        utterances(&events).any(|said| !said.r#final),
        "text comes while somebody speaks"
    );

    // Whoever comes back with a position misses nothing and gets nothing twice.
    let middle = events[events.len() / 2].position;
    let rest = watch(&hotline, Some(middle), &call_id).await;
    let durable = |events: &[Event]| -> Vec<u64> {
        let stands = |event: &&Event| match &event.body {
            Some(Body::Utterance(said)) => said.r#final,
            Some(Body::Draft(_)) => false,
            _ => true,
        };
        events
            .iter()
            .filter(stands)
            .map(|event| event.position)
            .filter(|position| *position > middle)
            .collect()
    };
    assert_eq!(durable(&rest), durable(&events));
    let record = TranscriptServiceClient::new(hotline.channel().await)
        .get(GetRequest {
            call_id: call_id.clone(),
        })
        .await
        .expect("known")
        .into_inner();
    let end = record.call.expect("the call").end.expect("it is over");
    assert!(end.code() == EndCode::HungUp && end.party() == Leg::Caller);

    let ticket = closed_ticket(&hotline, &call_id).await;
    assert_eq!(
        ticket_text(&ticket, FieldName::ContactPhone).as_deref(),
        Some("13912345678")
    );
    let log = hotline.gateway.terminate();
    assert!(log.contains(&call_id), "{log}");
    for personal in ["13912345678", &counted, &greeted] {
        assert!(!log.contains(personal), "{personal} is in the log: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complaint_about_a_prepaid_card_becomes_a_ticket() {
    let (Some(wav), Some(json)) = (
        shared("audio/d01-prepaid-bakery.wav"),
        shared("audio/d01-prepaid-bakery.json"),
    ) else {
        return;
    };
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let classifier = format!("ticketing.classifier={}", trained(folder.path()).display());
    let hotline = Hotline::open(&wav, &[&classifier]);
    let events = played(&hotline, &wav).await;
    let spoken: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(json).expect("readable")).expect("JSON");
    for (leg, name) in [(Leg::Caller, "caller"), (Leg::Operator, "operator")] {
        let meant: String = spoken["utterances"]
            .as_array()
            .expect("utterances")
            .iter()
            .filter(|said| said["speaker"] == name)
            .filter_map(|said| said["text"].as_str())
            .collect();
        let heard = text(&events, leg);
        let rate = character_error_rate(&meant, &heard);
        eprintln!("{name}: character error rate {rate:.3}");
        // Syllables that were joined by a machine, through a telephone codec: what the base model makes of them.
        assert!(rate < 0.5, "{heard}");
    }
    let ticket = closed_ticket(&hotline, &events[0].call_id).await;
    // What the words alone decide is tested on text; here the words are what the recogniser made of them.
    assert_eq!(
        ticket_text(&ticket, FieldName::ContactPhone).as_deref(),
        Some("13912345678")
    );
    assert!(
        ticket_text(&ticket, FieldName::Demand).is_some_and(|demand| demand.contains('退')),
        "{:?}",
        ticket_text(&ticket, FieldName::Demand)
    );
    let draft = ticket.draft.as_ref().expect("a draft");
    if let Some(calls) = shared("calls/calls.jsonl") {
        let calls = std::fs::read_to_string(calls).expect("readable");
        let line = calls
            .lines()
            .find(|line| line.contains("d01-prepaid-bakery"))
            .expect("the dialogue of the recording");
        let mut call: serde_json::Value = serde_json::from_str(line).expect("JSON");
        call["gold"]["contact_phone"] = "13912345678".into();
        let (_, gold) = eval::judged(&call.to_string())
            .next()
            .expect("a gold")
            .expect("of the right shape");
        let mut report = eval::Report::default();
        report.judge("d01", &convert::draft_back(draft), &gold.of_another_day());
        eprintln!("{report}");
        for miss in &report.misses {
            eprintln!("{} {} ← {}", miss.field, miss.expected, miss.drafted);
        }
        assert!(report.total() >= 0.75, "{report}");
    }
    // The classifier read along, and says so.
    let likely = &draft.likely_departments;
    assert!((1..=3).contains(&likely.len()), "{} likely", likely.len());
    let mut reasons = likely.iter().flat_map(|likely| &likely.because);
    assert!(reasons.any(|because| because.basis() == Basis::Classifier));
}

/// A classifier, trained by the command from a few labelled texts about what this hotline is called for.
fn trained(folder: &Path) -> PathBuf {
    let texts = [
        ("预付式消费", "店关门了，我办的卡里还有钱没有用完，要求退款"),
        ("预付式消费", "充了卡，老板跑了，电话打不通，卡里的余额不退"),
        ("电梯故障", "小区的电梯坏了，物业不来维修"),
        ("电梯故障", "电梯把人关在里面，按钮没有反应"),
        ("噪声污染", "工地半夜施工，吵得睡不着"),
        ("噪声污染", "楼下音响声音太大，影响休息"),
    ];
    let rows = (0..60).map(|at| {
        let (label, text) = texts[at % texts.len()];
        format!("{label},{text}\n")
    });
    let csv = folder.join("texts.csv");
    let model = folder.join("texts.model");
    std::fs::write(&csv, format!("label,text\n{}", rows.collect::<String>())).expect("writable");
    let path = |path: &Path| path.to_str().expect("a plain path").to_owned();
    let output = xinqiao(&["taxonomy", "train", &path(&csv), "--out", &path(&model)]);
    assert!(output.status.success(), "{}", said(&output));
    model
}

#[tokio::test(flavor = "multi_thread")]
async fn drafts_wait_on_disk_while_the_backend_is_down_and_arrive_when_it_is_up() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let wav = samples_as_call(folder.path());
    let backend = std::net::TcpListener::bind("127.0.0.1:0")
        .expect("a free port")
        .local_addr()
        .expect("bound");
    let endpoint = format!("ticketing.endpoint=http://{backend}");
    let hotline = Hotline::open(&wav, &[&endpoint]);
    let events = played(&hotline, &wav).await;
    let call_id = events[0].call_id.clone();
    let Hotline { gateway, data, .. } = hotline;
    gateway.terminate();

    // The same records, now with a backend: the reference one in the gateway's own process.
    let hotline = Hotline::reopen(data, &wav, &[]);
    let ticket = closed_ticket(&hotline, &call_id).await;
    assert_eq!(
        ticket_text(&ticket, FieldName::ContactPhone).as_deref(),
        Some("13912345678")
    );
}
