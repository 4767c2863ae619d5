//! `xinqiao eval-ticket`: how well drafts agree with the tickets that good operators wrote, from written dialogues or
//! from recordings that are played through a whole gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::serve::Settings;
use super::staged::{self, Outcome};
use super::{Failure, log};
use crate::app::{Gateway, taxonomy};
use crate::config::telephony::Route;
use crate::config::{self, Config};
use crate::gateway::phone::{AnswerPlan, Answering};
use crate::grpc::convert;
use crate::ticket::eval::{self, Gold, Report};
use crate::ticket::noise::Dice;
use crate::ticket::{Drafter, jsonl::WrittenDialogue};

#[derive(clap::Args)]
pub struct Arguments {
    /// One dialogue a line, as JSON, each with the ticket that is right for it as `gold`
    file: PathBuf,
    /// First make so many percent of the letters wrong, as a recogniser would
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    noise: u8,
    /// Which letters become wrong
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Show every field that differs; the output then quotes the dialogues
    #[arg(long)]
    misses: bool,
    /// The folder of a hotline's own categories, departments, places and phrases
    #[arg(long, value_name = "FOLDER")]
    taxonomy: Option<PathBuf>,
    /// Play the recordings of this folder (ID.wav, left channel the caller, right the operator) as calls through a
    /// whole gateway, one after the other, and score the tickets that arrive at the backend
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["noise", "seed"])]
    audio: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Prints the score of each field.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| {
        Failure::must_be_mended(format!(
            "{file} cannot be read ({error}); name a file of dialogues that is there"
        ))
    })?;
    let wrong = |error| Failure::must_be_mended(format!("{file}: {error}"));
    let report = if let Some(folder) = &arguments.audio {
        let dialogues = eval::judged(&text).collect::<Result<Vec<_>, _>>();
        heard(arguments, folder, dialogues.map_err(wrong)?)?
    } else {
        let drafter =
            Drafter::new(taxonomy(arguments.taxonomy.as_deref()).map_err(Failure::must_be_mended)?);
        let share = f64::from(arguments.noise) / 100.0;
        let mut dice = Dice::new(arguments.seed);
        eval::evaluate(&drafter, &text, |dialogue| {
            if arguments.noise > 0 {
                eval::spoil(dialogue, share, &mut dice);
            }
            true
        })
        .map_err(wrong)?
    };
    if arguments.misses {
        for miss in &report.misses {
            println!(
                "{:<24} {:<16} {} ← {}",
                miss.id, miss.field, miss.expected, miss.drafted
            );
        }
    }
    println!("{report}");
    Ok(())
}

/// A dialogue, what is right for it, and its recording.
type Case = (WrittenDialogue, Gold, PathBuf);

/// Plays the dialogues that have a recording as calls, and judges what arrives at the backend.
fn heard(
    arguments: &Arguments,
    folder: &Path,
    dialogues: Vec<(WrittenDialogue, Gold)>,
) -> Result<Report, Failure> {
    log::start();
    let cases: Vec<Case> = dialogues
        .into_iter()
        .map(|(dialogue, gold)| {
            let wav = folder.join(format!("{}.wav", dialogue.facts.call));
            (dialogue, gold, wav)
        })
        .filter(|(_, _, wav)| wav.exists())
        .collect();
    if cases.is_empty() {
        return Err(Failure::must_be_mended(format!(
            "{} has no recording of a dialogue; name each file after its dialogue's id, e.g. ID.wav",
            folder.display()
        )));
    }
    let records = std::env::temp_dir().join(format!("xinqiao-eval-{}", std::process::id()));
    std::fs::create_dir_all(&records).map_err(|error| {
        Failure::must_be_mended(format!("{} cannot be made: {error}", records.display()))
    })?;
    let config = arguments
        .settings
        .load()
        .map(|config| staged_settings(config, arguments, &records));
    let report = config.and_then(|config| super::runtime()?.block_on(calls(config, cases)));
    let _ = std::fs::remove_dir_all(&records);
    report
}

/// The settings with every address on this machine, on free ports, and records that do not outlive the evaluation.
fn staged_settings(mut config: Config, arguments: &Arguments, records: &Path) -> Config {
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    config.sip.listen = free;
    config.console.listen = free;
    config.grpc.listen = free;
    config.store = config::Store {
        database: Some(records.join("xinqiao.db")),
        ..config::Store::default()
    };
    config.ticketing.url = config::Ticketing::default().url;
    config.ticketing.database = Some(records.join("ticketing.db"));
    config.ticketing.password_file = None;
    config.ticketing.endpoint = None;
    if arguments.taxonomy.is_some() {
        config.ticketing.taxonomy.clone_from(&arguments.taxonomy);
    }
    config
}

async fn calls(mut config: Config, cases: Vec<Case>) -> Result<Report, Failure> {
    // Each recording's operator has a phone and a number of their own.
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut staged = Vec::new();
    config.route.clear();
    for (index, case) in cases.into_iter().enumerate() {
        let operator = Answering::bind(AnswerPlan::new(free, case.2.clone()))
            .await
            .map_err(Failure::must_be_mended)?;
        let number = format!("12345{index:03}");
        config.route.push(Route {
            called: Some(number.clone()),
            prefix: None,
            pattern: None,
            trunk: None,
            to: vec![format!("sip:op@{}", operator.local_addr())],
        });
        staged.push((case, operator, number));
    }
    let gateway = Gateway::start(&config)
        .await
        .map_err(Failure::must_be_mended)?;
    let mut report = Report::default();
    let mut outcome = Ok(());
    for ((dialogue, gold, wav), operator, number) in staged {
        let id = dialogue.facts.call.as_str().to_owned();
        eprintln!("calling with {}", wav.display());
        let from = dialogue.facts.caller_number;
        let from = from.as_ref().map(|from| from.reveal().as_str());
        match staged::play(&gateway, operator, &number, from, wav, |_| ()).await {
            Ok(Outcome { record, .. }) => {
                let draft = convert::draft_back(&record.draft.unwrap_or_default());
                report.judge(&id, &draft, &gold.of_another_day());
            }
            Err(error) => {
                outcome = Err(error);
                break;
            }
        }
    }
    gateway.stop(CancellationToken::new()).await;
    outcome.map(|()| report)
}
