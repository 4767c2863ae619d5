//! `xinqiao demo`: a whole gateway, one real SIP call through it, and what came of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;

use super::serve::{Settings, asked_to_stop, tell_once};
use super::staged::{self, Outcome};
use super::{Failure, log};
use crate::access::{People, Refusal};
use crate::app::Gateway;
use crate::config::Config;
use crate::gateway::phone::{AnswerPlan, Answering};
use crate::gateway::wav::Wav;
use crate::grpc::convert;
use crate::grpc::proto::transcript::v1::event::Body;
use crate::grpc::proto::transcript::v1::{Event, Leg};
use crate::people::{Profile, Role};
use crate::store::Location;
use crate::ticket::{FieldValue, TicketDraft};
use crate::transcript::Actor;

#[derive(clap::Args)]
pub struct Arguments {
    /// The recording to play: left channel as the caller, right channel as the operator; without one, the sample
    /// recordings that `xinqiao models pull --samples` brought
    #[arg(long, value_name = "FILE")]
    wav: Option<PathBuf>,
    /// Stay up after the call until Ctrl-C, so that the page can be looked at
    #[arg(long)]
    stay: bool,
    #[command(flatten)]
    settings: Settings,
}

/// Starts the gateway and the phones, plays the call, prints transcript and ticket.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::start();
    let config = arguments.settings.load()?;
    let file = match &arguments.wav {
        Some(file) => file.clone(),
        None => samples_as_call(&config)?,
    };
    let wav = Wav::read(&file).map_err(Failure::must_be_mended)?;
    let seconds = wav.channels[0].len() as u64 / u64::from(wav.rate.hertz());
    super::runtime()?.block_on(async {
        let gateway = Gateway::start(&config)
            .await
            .map_err(Failure::must_be_mended)?;
        println!("心桥 is up: page {}", gateway.page());
        tell_once(gateway.first_administrator.as_ref());
        if let Some(people) = &gateway.people {
            watcher(people).await?;
        }
        let outcome = play(&gateway, &config, &file, seconds).await;
        if outcome.is_ok() && arguments.stay {
            println!("\nThe page stays at {} until Ctrl-C.", gateway.page());
            asked_to_stop().await;
        }
        gateway.stop(CancellationToken::new()).await;
        outcome
    })
}

/// An account that sees the call, where it is not there from an earlier demo.
async fn watcher(people: &People) -> Result<(), Failure> {
    const NAME: &str = "demo";
    let added = people.add(
        &Actor::System,
        NAME,
        Profile::default(),
        vec![Role::TeamLead],
    );
    match added.await {
        Ok(added) => println!(
            "to see the call, sign in there as {NAME} with {}, which has to be replaced then",
            added.one_time.reveal()
        ),
        Err(Refusal::NameTaken) => println!(
            "to see the call, sign in there as {NAME}; `xinqiao users reset {NAME}` gives it a new password"
        ),
        Err(refusal) => return Err(Failure::failed(refusal)),
    }
    Ok(())
}

async fn play(gateway: &Gateway, config: &Config, wav: &Path, seconds: u64) -> Result<(), Failure> {
    let listen = phone_address(&config.operators.default)?;
    let operator = Answering::bind(AnswerPlan::new(listen, wav.to_owned()))
        .await
        .map_err(Failure::must_be_mended)?;
    println!(
        "calling sip:12345@{} with {} ({seconds} s)\n",
        gateway.sip,
        wav.display()
    );
    let bar = ProgressBar::new(seconds).with_style(
        ProgressStyle::with_template("{spinner} {elapsed_precise} {bar:30} {msg}")
            .expect("the template is constant"),
    );
    let (began, mut known) = (Instant::now(), HashSet::new());
    let outcome = staged::play(
        gateway,
        operator,
        "12345",
        None,
        wav.to_owned(),
        |event| match event {
            Some(event) => show(&bar, event, &mut known),
            None => bar.set_position(began.elapsed().as_secs().min(seconds)),
        },
    )
    .await;
    bar.finish_and_clear();
    let Outcome { record, after } = outcome?;
    println!(
        "\n工单 {} arrived at the backend {} ms after the call:",
        record.ticket_id,
        after.as_millis()
    );
    print_ticket(&convert::draft_back(&record.draft.unwrap_or_default()));
    Ok(())
}

/// Makes a call of the sample recordings: the operator speaks between the caller's two utterances.
fn samples_as_call(config: &Config) -> Result<PathBuf, Failure> {
    const PAUSE: usize = 16_000;
    let folder = config.recognition.models_dir.join("samples/zh");
    let read = |name: &str| {
        let wav = Wav::read(&folder.join(name)).map_err(|error| {
            Failure::must_be_mended(format!(
                "{error}; `xinqiao models pull --samples` brings the sample recordings"
            ))
        })?;
        // The samples have one rate, 16 kHz, and one channel.
        Ok::<_, Failure>(wav.channels.into_iter().next().unwrap_or_default())
    };
    let parts = [
        (0, read("nihao_shijie.wav")?),
        (1, read("pangrama.wav")?),
        (0, read("jishu.wav")?),
    ];
    let file = match config.store.location() {
        Ok(Location::Sqlite(records)) => records.with_file_name("demo.wav"),
        _ => "data/demo.wav".into(),
    };
    let failed = |error: &dyn std::fmt::Display| {
        Failure::must_be_mended(format!("{} cannot be written: {error}", file.display()))
    };
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new(".")))
        .map_err(|error| failed(&error))?;
    let spec = hound::WavSpec {
        channels: 2,
        sample_rate: 16_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut writer = hound::WavWriter::create(&file, spec).map_err(|error| failed(&error))?;
    for (channel, samples) in parts {
        for sample in samples.into_iter().chain(std::iter::repeat_n(0, PAUSE)) {
            let pair = if channel == 0 {
                [sample, 0]
            } else {
                [0, sample]
            };
            pair.into_iter()
                .try_for_each(|sample| writer.write_sample(sample))
                .map_err(|error| failed(&error))?;
        }
    }
    writer.finalize().map_err(|error| failed(&error))?;
    Ok(file)
}

/// The address in `sip:USER@ADDRESS:PORT`, on which the operator's test phone listens.
fn phone_address(uri: &str) -> Result<SocketAddr, Failure> {
    uri.rsplit('@')
        .next()
        .and_then(|address| address.parse().ok())
        .ok_or_else(|| {
            Failure::must_be_mended(format!(
                "operators.default = {uri} names no local address for the demo's operator; \
             leave it at sip:op@127.0.0.1:5080 or set another port"
            ))
        })
}

fn show(bar: &ProgressBar, event: &Event, known: &mut HashSet<u32>) {
    let line = match &event.body {
        Some(Body::Utterance(said)) if said.r#final && !said.text.is_empty() => {
            let who = if said.leg() == Leg::Operator {
                "话务员"
            } else {
                "市民　"
            };
            let second = said.start_ms / 1_000;
            // A line that was heard better later.
            let again = if known.insert(said.id) { "" } else { "↻ " };
            format!(
                "{:02}:{:02} {who} {again}{}",
                second / 60,
                second % 60,
                said.text
            )
        }
        Some(Body::Utterance(said)) => {
            bar.set_message(said.text.clone());
            return;
        }
        Some(Body::Gap(gap)) => format!("  … {}", convert::gap_reason_back(gap)),
        Some(Body::Alarm(alarm)) => format!("  ! {}", alarm.kind().as_str_name()),
        Some(Body::CallFinal(last)) => format!(
            "call over after {} s: {}",
            last.duration_ms / 1_000,
            last.reason
        ),
        _ => return,
    };
    if bar.is_hidden() {
        println!("{line}");
    } else {
        bar.println(line);
    }
}

fn print_ticket(draft: &TicketDraft) {
    for (name, field) in &draft.fields {
        let value = match &field.value {
            FieldValue::Flag(flag) => if *flag { "是" } else { "否" }.to_owned(),
            FieldValue::Number(number) => format!("{number} 元"),
            FieldValue::Text(text) => text.reveal().clone(),
            FieldValue::List(values) => values.join(" / "),
        };
        println!("  {}：{value}", name.label());
    }
    if !draft.missing.is_empty() {
        let missing: Vec<_> = draft.missing.iter().map(|name| name.label()).collect();
        println!("  待询问：{}", missing.join("、"));
    }
}
