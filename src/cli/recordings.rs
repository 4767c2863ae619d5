//! `xinqiao recording`: the recordings of calls, listed and brought out as WAV files.

use std::path::PathBuf;

use super::{Failure, serve::Settings};
use crate::config::Config;
use crate::recording::{self, Key};
use crate::speech::CallId;
use crate::store::Store;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the recordings, the most recent first
    List {
        /// At most so many
        #[arg(long, default_value_t = 50)]
        limit: u32,
        #[command(flatten)]
        settings: Settings,
    },
    /// Write a call's recording as a WAV file, unsealed if it is sealed
    Export {
        /// The gateway's identifier of the call
        call: String,
        /// The file to write; without one, CALL.wav here
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        #[command(flatten)]
        settings: Settings,
    },
    /// Make a key that seals recordings; keep a copy where the recordings are not
    NewKey {
        /// The file to make, for `recording.key_file`
        file: PathBuf,
    },
}

pub fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::NewKey { file } => {
            Key::create(&file).map_err(Failure::must_be_mended)?;
            println!(
                "{} holds a new key; without it, no sealed recording can be opened",
                file.display()
            );
            Ok(())
        }
        Command::List { limit, settings } => {
            let config = settings.load()?;
            let listed = super::runtime()?.block_on(async {
                let store = store(&config).await?;
                let listed = store.recordings(limit).await.map_err(Failure::failed);
                store.close().await;
                listed
            })?;
            for recording in listed {
                println!(
                    "{}  {:>8.1} s  {:?}{}",
                    recording.file,
                    recording.duration.as_secs_f64(),
                    recording.state,
                    if recording.lost.is_zero() {
                        String::new()
                    } else {
                        format!(", {:.1} s of it lost", recording.lost.as_secs_f64())
                    }
                );
            }
            Ok(())
        }
        Command::Export {
            call,
            out,
            settings,
        } => {
            let config = settings.load()?;
            let found = super::runtime()?.block_on(async {
                let store = store(&config).await?;
                let found = store
                    .recording(&CallId::new(&call))
                    .await
                    .map_err(Failure::failed);
                store.close().await;
                found
            })?;
            let found = found.ok_or_else(|| {
                Failure::failed(format!(
                    "call {call} has no recording; `xinqiao recording list` names those that there are"
                ))
            })?;
            let key = config
                .recording
                .key_file
                .as_deref()
                .map(Key::read)
                .transpose();
            let key = key.map_err(Failure::must_be_mended)?;
            let target = out.unwrap_or_else(|| format!("{call}.wav").into());
            let source = config.recording.folder.join(&found.file);
            let duration =
                recording::export(&source, key.as_ref(), &target).map_err(Failure::failed)?;
            println!(
                "{}: {:.1} s, caller left, operator right",
                target.display(),
                duration.as_secs_f64()
            );
            Ok(())
        }
    }
}

async fn store(config: &Config) -> Result<Store, Failure> {
    let location = config.store.location().map_err(Failure::must_be_mended)?;
    Store::open_existing(location)
        .await
        .map_err(Failure::must_be_mended)
}
