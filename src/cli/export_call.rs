//! `xinqiao export-call`: one call as a vCon, with everything that was said in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Failure;
use super::serve::Settings;
use crate::app::taxonomy;
use crate::config::Config;
use crate::recording::{Key, Sound, State};
use crate::speech::CallId;
use crate::store::Store;
use crate::ticket::Drafter;
use crate::vcon::{self, Call, Recording};

#[derive(clap::Args)]
pub struct Arguments {
    /// The call, as the page, the logs and the tickets name it
    call: String,
    /// Where to write it, readable by this user only; without one, to the output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A WAV file that goes along instead of the gateway's own recording of the call
    #[arg(long, value_name = "FILE", conflicts_with = "no_audio")]
    audio: Option<PathBuf>,
    /// Leave the recording out
    #[arg(long)]
    no_audio: bool,
    /// Where the recording can be fetched: it is named there, with its hash, instead of being put inside
    #[arg(long, value_name = "URL", conflicts_with = "no_audio")]
    audio_url: Option<String>,
    #[command(flatten)]
    settings: Settings,
}

/// A recording's file name, and the WAV file.
type Audio = (String, Vec<u8>);

/// Writes the vCon; a call that is not over yet is written as it stands.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.load()?;
    let location = config.store.location().map_err(Failure::must_be_mended)?;
    let exported = super::runtime()?.block_on(async {
        let store = Store::open_existing(&location)
            .await
            .map_err(Failure::must_be_mended)?;
        let exported = export(&store, &config, arguments).await;
        store.close().await;
        exported
    })?;
    let Some(exported) = exported else {
        return Err(Failure::failed(format!(
            "no call '{}' is in {location}",
            arguments.call.escape_default(),
        )));
    };
    match &arguments.out {
        None => println!("{exported}"),
        Some(file) => write(file, &exported).map_err(|error| {
            let file = file.display();
            Failure::must_be_mended(format!("{file} cannot be written ({error}); name another"))
        })?,
    }
    Ok(())
}

fn read(file: &Path) -> Result<Audio, Failure> {
    let wav = std::fs::read(file).map_err(|error| {
        let file = file.display();
        Failure::must_be_mended(format!(
            "{file} cannot be read ({error}); name a recording that is there"
        ))
    })?;
    if !(wav.starts_with(b"RIFF") && wav.get(8..12) == Some(b"WAVE")) {
        let file = file.display();
        return Err(Failure::must_be_mended(format!(
            "{file} is not a WAV file; name one that is"
        )));
    }
    let name = file
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    Ok((name, wav))
}

/// What the gateway itself recorded of the call; nothing when there is nothing (any more), or not yet all of it.
async fn recorded(store: &Store, config: &Config, call: &CallId) -> Result<Option<Audio>, Failure> {
    let noted = store.recording(call).await.map_err(Failure::failed)?;
    let Some(noted) = noted.filter(|noted| noted.state != State::Running) else {
        return Ok(None);
    };
    let key = config.recording.key_file.as_deref().map(Key::read);
    let key = key.transpose().map_err(Failure::must_be_mended)?;
    let path = config.recording.folder.join(&noted.file);
    let sound = match Sound::open(&path, key.as_ref()) {
        Ok(sound) => sound,
        Err(error) if error.is_absent() => {
            eprintln!(
                "{} is not there any more; exported without it",
                path.display()
            );
            return Ok(None);
        }
        Err(error) => return Err(Failure::must_be_mended(error)),
    };
    let wav = sound.whole().map_err(Failure::failed)?;
    Ok(Some((format!("{}.wav", call.as_str()), wav)))
}

async fn export(
    store: &Store,
    config: &Config,
    arguments: &Arguments,
) -> Result<Option<String>, Failure> {
    let call = CallId::new(&arguments.call);
    let Some(record) = store.call(&call).await.map_err(Failure::failed)? else {
        return Ok(None);
    };
    let transcript = store.transcript(&call).await.map_err(Failure::failed)?;
    let notes = store.notes(&call).await.map_err(Failure::failed)?;
    let draft = store.draft(&call).await.map_err(Failure::failed)?;
    let audio = match &arguments.audio {
        Some(file) => Some(read(file)?),
        None if arguments.no_audio => None,
        None => recorded(store, config, &call).await?,
    };
    let drafter = Drafter::new(
        taxonomy(config.ticketing.taxonomy.as_deref()).map_err(Failure::must_be_mended)?,
    );
    let exported = vcon::export(
        &Call {
            record: &record,
            transcript: &transcript,
            notes: &notes,
            draft: draft.as_ref(),
            recording: audio.as_ref().map(|(name, wav)| Recording {
                name,
                wav,
                url: arguments.audio_url.as_deref(),
            }),
            dialing: drafter.dialing(),
        },
        SystemTime::now(),
    );
    Ok(Some(format!("{exported:#}")))
}

/// It is full of personal data: others must not read it.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    writeln!(options.open(file)?, "{text}")
}
