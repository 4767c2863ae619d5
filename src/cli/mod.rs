//! The command line: one file a subcommand; exit code 0 when done, 1 when it failed, 2 when something must be mended first.

mod audit;
mod demo;
mod draft;
mod eval_speech;
mod eval_ticket;
mod export_call;
mod log;
mod models;
mod outbox;
mod phone;
mod progress;
mod recognizer;
mod recording;
mod recordings;
mod serve;
mod staged;
mod store;
mod taxonomy;
mod ticketing;
mod transcribe;
mod users;
mod write;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::gateway;
use crate::store::{Location, LocationError, redacted};

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
    /// Take calls, recognise them, fill tickets
    Serve(serve::Settings),
    /// Place one call through a gateway of its own, and show the transcript and the ticket
    Demo(demo::Arguments),

    /// The speech models on this machine
    Models(models::Arguments),
    /// Recognise for gateways on other machines
    Recognizer(recognizer::Arguments),
    /// Recognise a recording through exactly the pipeline of a call
    Transcribe(transcribe::Arguments),
    /// Measure recognition on a folder of recordings with their texts
    EvalSpeech(eval_speech::Arguments),
    /// Write spoken text as an operator would, line by line from the arguments or standard input
    Write(write::Arguments),
    /// Fill draft tickets from written dialogues
    Draft(draft::Arguments),
    /// Score draft tickets against those that good operators wrote
    EvalTicket(eval_ticket::Arguments),
    /// Train and judge the classifier of a hotline's own categories
    #[command(subcommand)]
    Taxonomy(taxonomy::Command),
    /// A test phone that calls and plays a recording
    Call(phone::CallArguments),
    /// A test phone that answers calls and plays a recording
    Answer(phone::AnswerArguments),

    /// Drafts that the ticketing backend or the webhook does not have yet
    Outbox(outbox::Arguments),
    /// What calls were asked and accepted, and what people did
    Audit(audit::Arguments),
    /// The accounts of who signs in on the page
    Users(users::Arguments),
    /// Write a finished call as a vCon: parties, lines, transcript, draft ticket
    ExportCall(export_call::Arguments),
    /// The recordings of calls
    Recording(recordings::Arguments),
    /// The gateway's records as a whole
    #[command(subcommand)]
    Store(store::Command),
    /// The reference ticketing backend as a process of its own
    Ticketing(ticketing::Arguments),
    /// Check a configuration file
    CheckConfig(serve::CheckArguments),
    /// Print name and version
    Version,
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    sentence: String,
}

impl Failure {
    /// The machine lacks something, or was told something wrong; the sentence says what to do. Exit code 2.
    fn must_be_mended(error: impl fmt::Display) -> Self {
        Self {
            code: 2,
            sentence: error.to_string(),
        }
    }

    /// It was tried and did not come off. Exit code 1.
    fn failed(error: impl fmt::Display) -> Self {
        Self {
            code: 1,
            sentence: error.to_string(),
        }
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn run() -> ExitCode {
    let command = Arguments::parse().command;
    if !matches!(
        command,
        Command::Serve(_) | Command::Demo(_) | Command::Ticketing(_)
    ) {
        // A reader that has seen enough (`| head`) ends a command quietly, as it ends any other tool.
        sigpipe::reset();
    }
    let outcome = match command {
        Command::Serve(settings) => serve::run(&settings),
        Command::Demo(arguments) => demo::run(&arguments),

        Command::Models(arguments) => models::run(&arguments),
        Command::Recognizer(arguments) => recognizer::run(&arguments),
        Command::Transcribe(arguments) => transcribe::run(&arguments),
        Command::EvalSpeech(arguments) => eval_speech::run(&arguments),
        Command::Write(arguments) => write::run(&arguments),
        Command::Draft(arguments) => draft::run(&arguments),
        Command::EvalTicket(arguments) => eval_ticket::run(&arguments),
        Command::Taxonomy(command) => taxonomy::run(&command),
        Command::Call(arguments) => phone::call(arguments),
        Command::Answer(arguments) => phone::answer(arguments),

        Command::Outbox(arguments) => outbox::run(&arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Users(arguments) => users::run(&arguments),
        Command::ExportCall(arguments) => export_call::run(&arguments),
        Command::Recording(arguments) => recordings::run(arguments),
        Command::Store(command) => store::run(command),
        Command::Ticketing(arguments) => ticketing::run(arguments),
        Command::CheckConfig(arguments) => serve::check(&arguments),
        Command::Version => {
            println!("xinqiao {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, sentence }) => {
            eprintln!("xinqiao: {sentence}");
            ExitCode::from(code)
        }
    }
}

/// Records as an option names them.
fn location(option: &str, url: &str) -> Result<Location, Failure> {
    url.parse().map_err(|why: LocationError| {
        Failure::must_be_mended(format!("{option} {}: {why}", redacted(url)))
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    gateway::runtime()
        .map_err(|error| Failure::failed(format!("the runtime cannot be started: {error}")))
}
