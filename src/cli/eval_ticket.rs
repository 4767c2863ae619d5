//! `xinqiao eval-ticket`: how well drafts agree with the tickets that good operators wrote.

use std::path::PathBuf;

use super::Failure;
use crate::gateway::serve::taxonomy;
use crate::ticket::noise::Dice;
use crate::ticket::{Drafter, eval};

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
}

/// Prints the score of each field.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| {
        Failure::must_be_mended(format!(
            "{file} cannot be read ({error}); name a file of dialogues that is there"
        ))
    })?;
    let drafter =
        Drafter::new(taxonomy(arguments.taxonomy.as_deref()).map_err(Failure::must_be_mended)?);
    let share = f64::from(arguments.noise) / 100.0;
    let mut dice = Dice::new(arguments.seed);
    let report = eval::evaluate(&drafter, &text, |dialogue| {
        if arguments.noise > 0 {
            eval::spoil(dialogue, share, &mut dice);
        }
        true
    })
    .map_err(|error| Failure::must_be_mended(format!("{file}: {error}")))?;
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
