//! `xinqiao taxonomy`: learns from labelled texts what matters are about, and says how well and why.

use std::path::{Path, PathBuf};

use super::Failure;
use crate::ticket::classifier::samples::{self, Sample};
use crate::ticket::classifier::{Classifier, score, train};
use crate::ticket::noise::{Dice, spoiled};

#[derive(clap::Subcommand)]
pub enum Command {
    /// Learn a classifier from labelled texts
    Train(TrainArguments),
    /// Judge a classifier by labelled texts
    Eval(EvalArguments),
    /// Say what a text is about, and which words say so
    Explain(ExplainArguments),
}

#[derive(clap::Args)]
pub struct TrainArguments {
    /// CSV files with the columns label and text
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Where to write the classifier
    #[arg(long, value_name = "MODEL")]
    out: PathBuf,
}

#[derive(clap::Args)]
pub struct EvalArguments {
    /// A classifier from `taxonomy train`
    model: PathBuf,
    /// A CSV file with the columns label and text, which the classifier has not learned from
    file: PathBuf,
    /// First make so many percent of the letters wrong, as a recogniser would
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=90))]
    noise: u8,
    /// Which letters become wrong
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Show the classifier only so many characters of each text
    #[arg(long, value_name = "CHARACTERS")]
    first: Option<usize>,
}

#[derive(clap::Args)]
pub struct ExplainArguments {
    /// A classifier from `taxonomy train`
    model: PathBuf,
    /// What was said
    text: String,
}

pub fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Train(arguments) => train(arguments),
        Command::Eval(arguments) => eval(arguments),
        Command::Explain(arguments) => explain(arguments),
    }
}

fn bytes(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| {
        Failure::must_be_mended(format!(
            "{} cannot be read ({error}); name a file that is there",
            file.display()
        ))
    })
}

fn labelled(file: &Path) -> Result<Vec<Sample>, Failure> {
    samples::read(&bytes(file)?)
        .map_err(|error| Failure::must_be_mended(format!("{} {error}", file.display())))
}

/// Reads a classifier from its file.
pub fn classifier(file: &Path) -> Result<Classifier, Failure> {
    Classifier::from_bytes(&bytes(file)?)
        .map_err(|error| Failure::must_be_mended(format!("{}: {error}", file.display())))
}

fn train(arguments: &TrainArguments) -> Result<(), Failure> {
    let mut samples = Vec::new();
    for file in &arguments.files {
        samples.extend(labelled(file)?);
    }
    let model = train::train(&samples).map_err(Failure::must_be_mended)?;
    let model = model.to_bytes();
    // Never half a model under the name that a gateway reads.
    let out = &arguments.out;
    let fresh = out.with_added_extension("new");
    std::fs::write(&fresh, &model)
        .and_then(|()| std::fs::rename(&fresh, out))
        .map_err(|error| {
            Failure::must_be_mended(format!(
                "{} cannot be written ({error}); name a file in a folder that is there",
                out.display()
            ))
        })?;
    println!(
        "{} texts, {:.1} MB written to {}",
        samples.len(),
        model.len() as f64 / 1e6,
        out.display()
    );
    Ok(())
}

fn eval(arguments: &EvalArguments) -> Result<(), Failure> {
    let model = classifier(&arguments.model)?;
    let mut samples = labelled(&arguments.file)?;
    let mut dice = Dice::new(arguments.seed);
    for sample in &mut samples {
        if let Some(first) = arguments.first {
            sample.text = sample.text.chars().take(first).collect();
        }
        if arguments.noise > 0 {
            sample.text = spoiled(&sample.text, f64::from(arguments.noise) / 100.0, &mut dice);
        }
    }
    let from = std::time::Instant::now();
    let report = score::evaluate(&model, &samples);
    let each = from.elapsed().as_secs_f64() * 1e3 / samples.len() as f64;
    print!("{report}");
    println!("\n{each:.3} ms a text");
    Ok(())
}

fn explain(arguments: &ExplainArguments) -> Result<(), Failure> {
    let model = classifier(&arguments.model)?;
    let Some(verdict) = model.judge(&arguments.text, 8) else {
        println!("nothing in the text is known to the classifier");
        return Ok(());
    };
    for (label, likely) in verdict.ranked.iter().take(3) {
        println!("{:5.1} %  {}", likely * 100.0, model.labels()[*label]);
    }
    for reason in &verdict.reasons {
        let places: Vec<String> = reason
            .places
            .iter()
            .map(|place| format!("{}–{}", place.start, place.end))
            .collect();
        println!(
            "{:+.3}  {}  at {}",
            reason.weight,
            reason.gram,
            places.join(", ")
        );
    }
    Ok(())
}
