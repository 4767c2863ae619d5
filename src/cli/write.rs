//! `xinqiao write`: spoken text to written text, to try word lists and rules on.

use std::io::BufRead;
use std::path::PathBuf;

use serde_json::json;

use super::Failure;
use crate::app::word_lists;
use crate::private::Private;
use crate::speech::Leg;
use crate::speech::finish::{Finish, Spoken};
use crate::text::formatter::TranscriptFormatter;

#[derive(clap::Args)]
pub struct Arguments {
    /// Lines to write; without any, those of standard input
    lines: Vec<String>,
    /// Print JSON, one object a line: {"spoken","text","changes":[…],"marks":[…]}
    #[arg(long)]
    json: bool,
    /// The folder of the hotline's word lists (*.txt); without one, the embedded example's
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_hotwords")]
    hotwords: Option<PathBuf>,
    /// Put no misheard words right
    #[arg(long)]
    no_hotwords: bool,
}

/// Writes the lines.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let lists = word_lists::read(arguments.hotwords.as_deref()).map_err(Failure::must_be_mended)?;
    let formatter = TranscriptFormatter::new(lists, !arguments.no_hotwords);
    if arguments.lines.is_empty() {
        for line in std::io::stdin().lock().lines() {
            write(&formatter, line.map_err(Failure::failed)?, arguments.json);
        }
    }
    for line in &arguments.lines {
        write(&formatter, line.clone(), arguments.json);
    }
    Ok(())
}

fn write(formatter: &TranscriptFormatter, line: String, as_json: bool) {
    let said = Private::new(line);
    let written = formatter.finish(Spoken {
        leg: Leg::Mono,
        text: &said,
        words: &[],
        is_final: true,
    });
    if as_json {
        println!(
            "{}",
            json!({"spoken": said, "text": written.text, "changes": written.changes, "marks": formatter.marks(&written.text)})
        );
    } else {
        println!("{}", written.text.reveal());
    }
}
