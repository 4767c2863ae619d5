//! The recordings' keeper beside the gateway: mends at start, brings notices to the store, deletes what is too old.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use crate::config::Recording;
use crate::recording::{self, Keeping, Key, Notice, Recorder, RecordingError, State};
use crate::speech::CallId;
use crate::store::Store;

/// Notices on their way to the store.
const NOTICES: usize = 1_024;
/// How many of them a transaction takes.
const BATCH: usize = 256;
/// How often old recordings are looked for.
const SWEEP: Duration = Duration::from_mins(10);
/// Pause after the store has refused.
const PAUSE: Duration = Duration::from_secs(1);

/// The running keeper.
pub struct Archive {
    /// Records the calls.
    pub recorder: Arc<Recorder>,
    /// What the recordings are sealed with.
    pub key: Option<Key>,
    notes: JoinHandle<()>,
    sweeps: JoinHandle<()>,
}

impl Archive {
    /// Mends what a crash left, and starts recorder and keeper; needs a running tokio runtime.
    ///
    /// # Errors
    /// [`RecordingError`] when the key cannot be read or the folder not be used.
    pub fn open(settings: &Recording, store: Store) -> Result<Self, RecordingError> {
        let key = settings.key_file.as_deref().map(Key::read).transpose()?;
        let folder = settings.folder.clone();
        let refused = |source| RecordingError::File {
            path: settings.folder.clone(),
            doing: "making the folder",
            source,
        };
        std::fs::create_dir_all(&folder).map_err(refused)?;
        let (recovered, failed) = recording::recover(&folder, key.as_ref());
        for error in failed {
            warn!("a recording of an earlier run stays unfinished: {error}");
        }
        if !recovered.is_empty() {
            info!(
                "{} recordings of an earlier run were mended",
                recovered.len()
            );
        }
        let mended: Vec<Notice> = recovered
            .into_iter()
            .map(|mended| Notice {
                call: CallId::new(&mended.call),
                file: mended
                    .path
                    .strip_prefix(&folder)
                    .unwrap_or(&mended.path)
                    .display()
                    .to_string(),
                state: State::Recovered,
                duration: mended.duration,
                lost: Duration::ZERO,
            })
            .collect();
        let (notices, mut noticed) = mpsc::channel(NOTICES);
        let recorder = Recorder::start(&folder, key.clone(), notices).map_err(refused)?;
        let keeping = Keeping {
            days: settings.keep_days,
            free: settings.min_free_mb << 20,
        };
        let sweeps = tokio::spawn(sweep(folder, keeping, store.clone()));
        let notes = tokio::spawn(async move {
            let mut batch = mended;
            loop {
                while !batch.is_empty()
                    && let Err(error) = store.note_recordings(&batch).await
                {
                    error!(%error, "{} recordings are not in the records yet", batch.len());
                    tokio::time::sleep(PAUSE).await;
                }
                batch.clear();
                if noticed.recv_many(&mut batch, BATCH).await == 0 {
                    return;
                }
            }
        });
        Ok(Self {
            recorder: Arc::new(recorder),
            key,
            notes,
            sweeps,
        })
    }

    /// Writes what is left; every call must be over.
    pub async fn close(self) {
        self.sweeps.abort();
        let recorder = self.recorder;
        // Joins its thread, which may have to wait for the disk.
        let _ = tokio::task::spawn_blocking(move || recorder.close()).await;
        let last = tokio::time::timeout(Duration::from_secs(5), self.notes).await;
        if last.is_err() {
            warn!("some recordings are not in the records; their files are there");
        }
    }
}

async fn sweep(folder: PathBuf, keeping: Keeping, store: Store) {
    loop {
        let below = folder.clone();
        let gone = tokio::task::spawn_blocking(move || {
            recording::sweep(&below, keeping, SystemTime::now())
        })
        .await
        .unwrap_or_default();
        if !gone.is_empty() {
            info!("{} old recordings were deleted", gone.len());
            if let Err(error) = store.forget_recordings(&gone).await {
                error!(%error, "deleted recordings still stand in the records");
            }
        }
        tokio::time::sleep(SWEEP).await;
    }
}
