//! The recordings: mends at start what a crash left, tells the store of them, deletes what is too old.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::tasks::Tasks;
use crate::config::Recording;
use crate::console::Recordings;
use crate::recording::{self, Keeping, Key, Notice, Recorder, RecordingError, State};
use crate::speech::CallId;
use crate::store::write_behind::Newest;
use crate::store::{Store, WriteBehind};
use crate::telemetry::{Fault, Readiness};

/// How often old recordings are looked for: calls fill what is kept free beyond `min_free_mb` in more than that.
const SWEEP: Duration = Duration::from_mins(1);

/// What the store is to know of recordings: of each call the newest.
type Notices = WriteBehind<Newest<CallId, Notice>>;

/// The recorder, and what it has to say.
pub(super) struct Archive {
    pub recorder: Arc<Recorder>,
    /// What the recordings are sealed with.
    key: Option<Key>,
    folder: PathBuf,
    keeping: Keeping,
    notices: Arc<Notices>,
}

impl Archive {
    /// Mends what a crash left and starts the recorder, where calls are to be recorded.
    pub fn open(settings: &Recording) -> Result<Option<Self>, RecordingError> {
        if !settings.enabled {
            return Ok(None);
        }
        let key = settings.key_file.as_deref().map(Key::read).transpose()?;
        let folder = settings.folder.clone();
        let refused = |source| RecordingError::File {
            path: settings.folder.clone(),
            doing: "making the folder",
            source,
        };
        recording::make_private_folder(&folder).map_err(refused)?;
        let notices = Arc::new(Notices::new("notices of recordings", Newest::default()));
        mend(&folder, key.as_ref(), &notices);
        let least_free = settings.min_free_mb << 20;
        let recorder = Recorder::start(&folder, key.clone(), least_free, {
            let notices = notices.clone();
            move |notice| notices.put(notice.call.clone(), notice)
        });
        Ok(Some(Self {
            recorder: Arc::new(recorder.map_err(refused)?),
            key,
            folder,
            keeping: Keeping {
                days: settings.keep_days,
                // Old recordings make way before new ones have to stop.
                free: least_free + least_free / 4,
            },
            notices,
        }))
    }

    /// Where the page finds the recordings.
    pub fn recordings(&self) -> Recordings {
        Recordings {
            folder: self.folder.clone(),
            key: self.key.clone(),
        }
    }

    /// Has `readiness` tell when there is no room to record, and when the store does not hear of recordings.
    pub fn tell(&self, readiness: &Readiness) {
        let (recorder, notices) = (self.recorder.clone(), self.notices.clone());
        readiness.watch(Fault::RecordingStopped, move || recorder.fault());
        readiness.watch(Fault::RecordsUnwritten, move || notices.health().fault());
    }

    /// Has `writers` tell the store of recordings, and `background` delete the old ones.
    pub fn run(&self, store: &Store, writers: &Tasks, background: &Tasks) {
        writers.spawn(|stop| write(self.notices.clone(), store.clone(), stop));
        background.spawn(|stop| {
            let sweeping = sweep(self.folder.clone(), self.keeping, store.clone());
            async move { stop.run_until_cancelled(sweeping).await }
        });
    }

    /// Finishes every file; every call must be over.
    pub async fn close(&self) {
        let recorder = self.recorder.clone();
        // Joins its thread, which may have to wait for the disk.
        let _ = tokio::task::spawn_blocking(move || recorder.close()).await;
    }
}

/// Mends the recordings of an earlier run.
fn mend(folder: &Path, key: Option<&Key>, notices: &Notices) {
    let (recovered, failed) = recording::recover(folder, key);
    for error in failed {
        warn!("a recording of an earlier run stays unfinished: {error}");
    }
    if !recovered.is_empty() {
        info!(
            "{} recordings of an earlier run were mended",
            recovered.len()
        );
    }
    for mended in recovered {
        let file = mended.path.strip_prefix(folder).unwrap_or(&mended.path);
        let notice = Notice {
            call: CallId::new(&mended.call),
            file: file.display().to_string(),
            state: State::Recovered,
            duration: mended.duration,
            lost: Duration::ZERO,
        };
        notices.put(notice.call.clone(), notice);
    }
}

async fn write(notices: Arc<Notices>, store: Store, stop: CancellationToken) {
    let write = |batch: Vec<(CallId, Arc<Notice>)>| {
        let store = &store;
        async move {
            let notices: Vec<_> = batch.iter().map(|(_, notice)| &**notice).collect();
            store.note_recordings(&notices).await
        }
    };
    if notices.run(write, &stop).await > 0 {
        warn!("some recordings are not in the records; their files are there");
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
