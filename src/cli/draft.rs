//! `xinqiao draft`: written dialogues to draft tickets.

use std::path::PathBuf;

use super::Failure;
use crate::app::taxonomy;
use crate::ticket::{Drafter, jsonl};

#[derive(clap::Args)]
pub struct Arguments {
    /// One dialogue a line, as JSON
    file: PathBuf,
    /// The folder of a hotline's own categories, departments, places and phrases
    #[arg(long, value_name = "FOLDER")]
    taxonomy: Option<PathBuf>,
    /// The dialogues were typed, not recognised: no word in them is taken for a misheard one
    #[arg(long)]
    written: bool,
}

/// Prints one draft a line; a line that cannot be read is said, and the others go on.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let file = arguments.file.display();
    let text = std::fs::read_to_string(&arguments.file).map_err(|error| {
        Failure::must_be_mended(format!(
            "{file} cannot be read ({error}); name a file of dialogues that is there"
        ))
    })?;
    let mut drafter =
        Drafter::new(taxonomy(arguments.taxonomy.as_deref()).map_err(Failure::must_be_mended)?);
    if arguments.written {
        drafter = drafter.of_written();
    }
    let mut unread = 0;
    for dialogue in jsonl::read_all(&text) {
        match dialogue {
            Ok(dialogue) => {
                let draft = drafter.draft(&dialogue.transcript, &dialogue.facts);
                println!("{}", jsonl::write(&dialogue.facts.call, &draft));
            }
            Err(error) => {
                unread += 1;
                eprintln!("xinqiao: {file}: {error}");
            }
        }
    }
    match unread {
        0 => Ok(()),
        _ => Err(Failure::must_be_mended(format!(
            "{unread} lines of {file} could not be read"
        ))),
    }
}
