//! `xinqiao eval-speech`: recognition measured on a folder of recordings, so that a site can judge a model and its word
//! lists on its own calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::Failure;
use super::recording::{self, Options};
use crate::gateway::wav::Wav;
use crate::speech::Leg;
use crate::text::score::{Errors, errors, normalised};
use crate::transcript::Line;

#[derive(clap::Args)]
pub struct Arguments {
    /// WAV files, each with NAME.json ({"utterances":[{"speaker","text"},…]}, two channels: caller and operator) or with
    /// a line `FILE<TAB>TEXT` in a *.tsv beside it; folders in it are read too
    folder: PathBuf,
    /// Write the numbers there as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print what was said and what was written of each recording
    #[arg(long)]
    texts: bool,
    #[command(flatten)]
    options: Options,
}

#[derive(Deserialize)]
struct Call {
    utterances: Vec<Said>,
}

#[derive(Deserialize)]
struct Said {
    speaker: Leg,
    text: String,
}

/// A recording and what is said in it, by leg.
struct Case {
    wav: PathBuf,
    said: BTreeMap<Leg, String>,
}

/// What came out of one recording.
struct Row {
    name: String,
    seconds: f64,
    wall: f64,
    characters: usize,
    errors: Errors,
    took: Vec<Duration>,
}

/// Recognises every recording of the folder and prints the table.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let cases = cases(&arguments.folder)?;
    let formatter = arguments.options.formatter()?;
    let pool = arguments.options.workers()?;
    let mut rows = Vec::new();
    println!(
        "{:32} {:>7} {:>6} {:>7} {:>5} {:>5} {:>5} {:>6} {:>8} {:>8}",
        "recording", "s", "chars", "CER %", "sub", "del", "ins", "RTF", "p50 ms", "p95 ms"
    );
    for case in &cases {
        let wav = Wav::read(&case.wav).map_err(Failure::must_be_mended)?;
        let began = Instant::now();
        let heard = recording::recognise(
            &arguments.options,
            &wav,
            &pool,
            Arc::new(formatter.clone()),
            |_| {},
        )?;
        let mut row = Row {
            name: name(&arguments.folder, &case.wav),
            seconds: wav
                .rate
                .duration_of(wav.channels[0].len() as u64)
                .as_secs_f64(),
            wall: began.elapsed().as_secs_f64(),
            characters: 0,
            errors: Errors::default(),
            took: heard.took,
        };
        for (leg, said) in &case.said {
            let written = written(&heard.lines, *leg, case.said.len());
            let reference = normalised(said);
            row.characters += reference.len();
            row.errors += errors(&reference, &normalised(&written));
            if arguments.texts {
                println!("  {leg:8} said    {said}\n  {leg:8} written {written}");
            }
        }
        print(&row);
        rows.push(row);
    }
    let all = sum(&rows);
    print(&all);
    if let Some(file) = &arguments.json {
        let report = json!({
            "recordings": rows.iter().map(as_json).collect::<Vec<_>>(),
            "all": as_json(&all),
        });
        let text = serde_json::to_string_pretty(&report).map_err(Failure::failed)?;
        fs::write(file, text).map_err(|error| {
            Failure::must_be_mended(format!("{} cannot be written: {error}", file.display()))
        })?;
    }
    Ok(())
}

/// Everything that was written on a leg; a recording whose text has no legs counts whole.
fn written(lines: &[Line], leg: Leg, legs: usize) -> String {
    lines
        .iter()
        .filter(|line| legs == 1 && leg == Leg::Mono || line.leg == leg)
        .map(|line| line.text.reveal().as_str())
        .collect()
}

fn name(folder: &Path, wav: &Path) -> String {
    wav.strip_prefix(folder)
        .unwrap_or(wav)
        .with_extension("")
        .display()
        .to_string()
}

fn sum(rows: &[Row]) -> Row {
    let mut all = Row {
        name: "all".to_owned(),
        seconds: 0.0,
        wall: 0.0,
        characters: 0,
        errors: Errors::default(),
        took: Vec::new(),
    };
    for row in rows {
        all.seconds += row.seconds;
        all.wall += row.wall;
        all.characters += row.characters;
        all.errors += row.errors;
        all.took.extend(&row.took);
    }
    all
}

impl Row {
    fn error_rate(&self) -> f64 {
        self.errors.sum() as f64 / self.characters.max(1) as f64
    }

    fn real_time_factor(&self) -> f64 {
        self.wall / self.seconds.max(f64::EPSILON)
    }

    /// The time that `part` of the recognitions took at most, in milliseconds.
    fn took_ms(&self, part: f64) -> f64 {
        let mut took = self.took.clone();
        took.sort();
        let at = (part * took.len() as f64).ceil() as usize;
        let longest = took.get(at.clamp(1, took.len().max(1)) - 1);
        longest.map_or(0.0, |took| took.as_secs_f64() * 1_000.0)
    }
}

fn print(row: &Row) {
    println!(
        "{:32} {:7.1} {:6} {:7.2} {:5} {:5} {:5} {:6.3} {:8.0} {:8.0}",
        row.name,
        row.seconds,
        row.characters,
        100.0 * row.error_rate(),
        row.errors.substitutions,
        row.errors.deletions,
        row.errors.insertions,
        row.real_time_factor(),
        row.took_ms(0.5),
        row.took_ms(0.95),
    );
}

fn as_json(row: &Row) -> serde_json::Value {
    json!({
        "recording": row.name,
        "seconds": row.seconds,
        "characters": row.characters,
        "cer": row.error_rate(),
        "substitutions": row.errors.substitutions,
        "deletions": row.errors.deletions,
        "insertions": row.errors.insertions,
        "real_time_factor": row.real_time_factor(),
        "latency_p50_ms": row.took_ms(0.5),
        "latency_p95_ms": row.took_ms(0.95),
        "latency_p99_ms": row.took_ms(0.99),
    })
}

/// The folder's recordings that have a text, in the order of their names.
fn cases(folder: &Path) -> Result<Vec<Case>, Failure> {
    let mut cases = Vec::new();
    collect(folder, &mut cases)?;
    cases.sort_by(|a, b| a.wav.cmp(&b.wav));
    if cases.is_empty() {
        return Err(Failure::must_be_mended(format!(
            "{} holds no recording with a text; put NAME.json beside NAME.wav, or a *.tsv with lines FILE<TAB>TEXT",
            folder.display()
        )));
    }
    Ok(cases)
}

fn collect(folder: &Path, cases: &mut Vec<Case>) -> Result<(), Failure> {
    let unreadable = |path: &Path, error: &dyn std::fmt::Display| {
        Failure::must_be_mended(format!("{} cannot be read: {error}", path.display()))
    };
    for entry in fs::read_dir(folder).map_err(|error| unreadable(folder, &error))? {
        let path = entry.map_err(|error| unreadable(folder, &error))?.path();
        let kind = path
            .extension()
            .and_then(|kind| kind.to_str())
            .unwrap_or_default();
        if path.is_dir() {
            collect(&path, cases)?;
        } else if kind == "json" && path.with_extension("wav").exists() {
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            let call: Call =
                serde_json::from_str(&text).map_err(|error| unreadable(&path, &error))?;
            let mut said: BTreeMap<Leg, String> = BTreeMap::new();
            for utterance in call.utterances {
                said.entry(utterance.speaker)
                    .or_default()
                    .push_str(&utterance.text);
            }
            cases.push(Case {
                wav: path.with_extension("wav"),
                said,
            });
        } else if kind == "tsv" {
            let text = fs::read_to_string(&path).map_err(|error| unreadable(&path, &error))?;
            for (line, row) in (1..)
                .zip(text.lines())
                .filter(|(_, row)| !row.trim().is_empty())
            {
                let (file, said) = row.split_once('\t').ok_or_else(|| {
                    unreadable(&path, &format!("line {line} is not FILE<TAB>TEXT"))
                })?;
                cases.push(Case {
                    wav: folder.join(file),
                    said: BTreeMap::from([(Leg::Mono, said.to_owned())]),
                });
            }
        }
    }
    Ok(())
}
