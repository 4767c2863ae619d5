//! The command line: one file a subcommand; exit code 0 when done, 1 when it failed, 2 when something must be mended first.

mod models;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The hotline's machine lacks something, or was told something wrong; the sentence says what to do.
const MUST_BE_MENDED: u8 = 2;

#[derive(Parser)]
#[command(
    name = "xinqiao",
    about = "Voice gateway for public-service hotlines",
    version
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The speech models on this machine
    Models(models::Arguments),
    /// Print name and version
    Version,
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Models(arguments) => models::run(&arguments),
        Command::Version => {
            println!("xinqiao {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xinqiao: {error}");
            ExitCode::from(MUST_BE_MENDED)
        }
    }
}
