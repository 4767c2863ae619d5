//! `xinqiao transcribe`: a recording through exactly the pipeline of a call, faster than time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Failure;
use super::recording::{self, Options, Recognised};
use crate::gateway::wav::Wav;
use crate::transcript::Line;

#[derive(clap::Args)]
pub struct Arguments {
    /// A WAV file; of two channels the left one is the caller, the right one the operator
    file: PathBuf,
    /// Print JSON: {"utterances":[…],"`duration_ms","wall_ms`"}
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    options: Options,
}

/// Recognises the file and prints what was said.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let began = Instant::now();
    let wav = Wav::read(&arguments.file).map_err(Failure::must_be_mended)?;
    let formatter = arguments.options.formatter()?;
    let pool = arguments.options.workers()?;
    let duration = wav.rate.duration_of(wav.channels[0].len() as u64);
    let style = ProgressStyle::with_template("recognising {bar:40} {pos}/{len} s")
        .expect("the template is constant");
    let bar = ProgressBar::new(duration.as_secs()).with_style(style);
    let heard = recording::recognise(
        &arguments.options,
        &wav,
        &pool,
        Arc::new(formatter),
        |position| {
            bar.set_position(position.as_secs());
        },
    )?;
    bar.finish_and_clear();
    print(&heard, arguments.json, duration, began.elapsed());
    Ok(())
}

fn print(heard: &Recognised, as_json: bool, duration: Duration, wall: Duration) {
    if as_json {
        let utterances: Vec<_> = heard.lines.iter().map(utterance).collect();
        let (duration_ms, wall_ms) = (duration.as_millis() as u64, wall.as_millis() as u64);
        println!(
            "{}",
            json!({"utterances": utterances, "duration_ms": duration_ms, "wall_ms": wall_ms})
        );
        return;
    }
    for line in &heard.lines {
        println!(
            "{:>9}  {:<8}  {}",
            line.start.to_string(),
            line.leg.as_str(),
            line.text.reveal()
        );
    }
    eprintln!(
        "{:.1} s of sound in {:.1} s ({:.1} times real time)",
        duration.as_secs_f64(),
        wall.as_secs_f64(),
        duration.as_secs_f64() / wall.as_secs_f64()
    );
}

/// A line with its words' times and with what was heard where something else is written.
fn utterance(line: &Line) -> serde_json::Value {
    let rounded = |value: f32| (f64::from(value) * 1_000.0).round() / 1_000.0;
    let letters: Vec<char> = line.text.reveal().chars().collect();
    let slice = |from: u32, to: u32| -> String {
        letters[from as usize..(to as usize).min(letters.len())]
            .iter()
            .collect()
    };
    let words: Vec<_> = line
        .words
        .iter()
        .map(|word| {
            json!({
                "text": slice(word.from, word.to),
                "from": word.from,
                "to": word.to,
                "start_ms": word.start.as_millis(),
                "end_ms": word.end.as_millis(),
                "confidence": rounded(word.confidence),
            })
        })
        .collect();
    let changes: Vec<_> = line
        .changes
        .iter()
        .map(|change| {
            json!({
                "text": slice(change.from, change.to),
                "from": change.from,
                "to": change.to,
                "heard": change.said,
                "kind": change.kind,
                "list": change.list,
            })
        })
        .collect();
    json!({
        "leg": line.leg,
        "start_ms": line.start.as_millis(),
        "end_ms": line.end.as_millis(),
        "text": line.text,
        "confidence": rounded(line.confidence),
        "words": words,
        "changes": changes,
        "marks": line.marks,
    })
}
