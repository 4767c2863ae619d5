//! `xinqiao export-call`: one call as a vCon, with everything that was said in it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::Failure;
use super::serve::Settings;
use crate::speech::CallId;
use crate::store::{Store, StoreError};
use crate::vcon::{self, Call, Recording};

#[derive(clap::Args)]
pub struct Arguments {
    /// The call, as the page, the logs and the tickets name it
    call: String,
    /// Where to write it, readable by this user only; without one, to the output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// A recording of the call that goes along, WAV
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
}

/// Writes the vCon; a call that is not over yet is written as it stands.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.load()?;
    let audio = arguments.audio.as_deref().map(read).transpose()?;
    let exported = super::runtime()?.block_on(async {
        let store = Store::open_existing(&config.store.database)
            .await
            .map_err(Failure::must_be_mended)?;
        let exported = export(&store, &arguments.call, audio.as_ref()).await;
        store.close().await;
        exported.map_err(Failure::failed)
    })?;
    let Some(exported) = exported else {
        return Err(Failure::failed(format!(
            "no call '{}' is in {}",
            arguments.call.escape_default(),
            config.store.database.display()
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

fn read(file: &Path) -> Result<(String, Vec<u8>), Failure> {
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

async fn export(
    store: &Store,
    call: &str,
    audio: Option<&(String, Vec<u8>)>,
) -> Result<Option<String>, StoreError> {
    let call = CallId::new(call);
    let Some(record) = store.call(&call).await? else {
        return Ok(None);
    };
    let transcript = store.transcript(&call).await?;
    let draft = store.draft(&call).await?;
    let exported = vcon::export(
        &Call {
            record: &record,
            transcript: &transcript,
            draft: draft.as_ref(),
            recording: audio.map(|(name, wav)| Recording { name, wav }),
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
