//! The recordings' keeper beside the gateway: mends at start, brings notices to the store, deletes what is too old.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::Recording;
use crate::recording::{self, Keeping, Key, Notice, Recorder, RecordingError, State};
use crate::speech::CallId;
use crate::store::write_behind::Newest;
use crate::store::{Store, WriteBehind};

/// How often old recordings are looked for.
const SWEEP: Duration = Duration::from_mins(10);

/// What the store is to know of recordings: of each call the newest.
type Notices = WriteBehind<Newest<CallId, Notice>>;

/// The running keeper.
pub struct Archive {
    /// Records the calls.
    pub recorder: Arc<Recorder>,
    /// What the recordings are sealed with.
    pub key: Option<Key>,
    stop: CancellationToken,
    writer: JoinHandle<usize>,
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
        recording::make_private_folder(&folder).map_err(refused)?;
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
        let notices = Arc::new(Notices::new("notices of recordings", Newest::default()));
        for mended in recovered {
            let file = mended.path.strip_prefix(&folder).unwrap_or(&mended.path);
            let notice = Notice {
                call: CallId::new(&mended.call),
                file: file.display().to_string(),
                state: State::Recovered,
                duration: mended.duration,
                lost: Duration::ZERO,
            };
            notices.put(notice.call.clone(), notice);
        }
        let recorder = Recorder::start(&folder, key.clone(), {
            let notices = notices.clone();
            move |notice| notices.put(notice.call.clone(), notice)
        });
        let recorder = recorder.map_err(refused)?;
        let keeping = Keeping {
            days: settings.keep_days,
            free: settings.min_free_mb << 20,
        };
        let sweeps = tokio::spawn(sweep(folder, keeping, store.clone()));
        let stop = CancellationToken::new();
        let writer = tokio::spawn({
            let stop = stop.clone();
            async move {
                let write = |batch: Vec<(_, Arc<Notice>)>| {
                    let store = &store;
                    async move {
                        let notices: Vec<_> = batch.iter().map(|(_, notice)| &**notice).collect();
                        store.note_recordings(&notices).await
                    }
                };
                notices.run(write, &stop).await
            }
        });
        Ok(Self {
            recorder: Arc::new(recorder),
            key,
            stop,
            writer,
            sweeps,
        })
    }

    /// Writes what is left; every call must be over.
    pub async fn close(self) {
        self.sweeps.abort();
        let recorder = self.recorder;
        // Joins its thread, which may have to wait for the disk.
        let _ = tokio::task::spawn_blocking(move || recorder.close()).await;
        self.stop.cancel();
        if self.writer.await.is_ok_and(|lost| lost > 0) {
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
