//! The word lists of a folder, read again whenever a file of it changes or somebody asks for it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::text::formatter::TranscriptFormatter;
use crate::text::vocabulary::{ListError, Vocabulary};

/// The example's lists, compiled in.
const EMBEDDED: [(&str, &str); 7] = [
    (
        "places.txt",
        include_str!("../../deploy/examples/yantai/hotwords/places.txt"),
    ),
    (
        "departments.txt",
        include_str!("../../deploy/examples/yantai/hotwords/departments.txt"),
    ),
    (
        "matters.txt",
        include_str!("../../deploy/examples/yantai/hotwords/matters.txt"),
    ),
    (
        "phrases.txt",
        include_str!("../../deploy/examples/yantai/hotwords/phrases.txt"),
    ),
    (
        "surnames.txt",
        include_str!("../../deploy/examples/yantai/hotwords/surnames.txt"),
    ),
    (
        "sensitive.txt",
        include_str!("../../deploy/examples/yantai/hotwords/sensitive.txt"),
    ),
    (
        "prompts.txt",
        include_str!("../../deploy/examples/yantai/hotwords/prompts.txt"),
    ),
];
/// A list larger than this is a mistake.
const LARGEST: u64 = 4 << 20;
/// How often the folder is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Why lists cannot be used.
#[derive(Debug)]
pub enum ListsError {
    /// The folder or a file of it cannot be read.
    Unreadable(PathBuf, std::io::Error),
    /// There is no list in the folder.
    Empty(PathBuf),
    /// A file is too large.
    TooLarge(PathBuf),
    /// A list is wrong.
    List(ListError),
}

impl fmt::Display for ListsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, source) => write!(
                f,
                "word lists {} cannot be read ({source}); deploy/examples/yantai/hotwords shows what is needed",
                path.display()
            ),
            Self::Empty(path) => write!(
                f,
                "{} holds no word list; put files *.txt there as in deploy/examples/yantai/hotwords",
                path.display()
            ),
            Self::TooLarge(path) => write!(
                f,
                "word list {} is larger than {} MiB; divide it or leave out what nobody says",
                path.display(),
                LARGEST >> 20
            ),
            Self::List(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ListsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable(_, source) => Some(source),
            Self::List(error) => Some(error),
            Self::Empty(_) | Self::TooLarge(_) => None,
        }
    }
}

/// The lists of a folder's `*.txt`, in the order of their names; without a folder, the embedded example's.
///
/// # Errors
/// [`ListsError`] with the file, the line and a remedy.
pub fn read(folder: Option<&Path>) -> Result<Vocabulary, ListsError> {
    let Some(folder) = folder else {
        return Vocabulary::parse(EMBEDDED).map_err(ListsError::List);
    };
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| ListsError::Unreadable(path, source)
    };
    let mut texts = Vec::new();
    for file in files(folder).map_err(unreadable(folder))? {
        let size = std::fs::metadata(&file).map_err(unreadable(&file))?.len();
        if size > LARGEST {
            return Err(ListsError::TooLarge(file));
        }
        let text = std::fs::read_to_string(&file).map_err(unreadable(&file))?;
        texts.push((file.display().to_string(), text));
    }
    if texts.is_empty() {
        return Err(ListsError::Empty(folder.to_owned()));
    }
    let texts = texts
        .iter()
        .map(|(file, text)| (file.as_str(), text.as_str()));
    Vocabulary::parse(texts).map_err(ListsError::List)
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|path| path.extension().is_some_and(|kind| kind == "txt"));
    files.sort();
    Ok(files)
}

/// What tells that something has changed: each file with its size and time.
fn state(folder: &Path) -> Vec<(PathBuf, u64, Option<SystemTime>)> {
    let state_of = |path: PathBuf| {
        let about = std::fs::metadata(&path).ok();
        let size = about.as_ref().map_or(0, std::fs::Metadata::len);
        (path, size, about.and_then(|about| about.modified().ok()))
    };
    files(folder)
        .unwrap_or_default()
        .into_iter()
        .map(state_of)
        .collect()
}

/// Renews the formatter's lists whenever a file of `folder` changes, looking `every` so often, and whenever it is `asked` to,
/// until `stop`; lists that cannot be used leave the old ones in place.
pub async fn watch(
    formatter: TranscriptFormatter,
    folder: Option<PathBuf>,
    every: Duration,
    asked: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut known = folder.as_deref().map(state).unwrap_or_default();
    loop {
        let is_asked = tokio::select! {
            () = tokio::time::sleep(every), if folder.is_some() => false,
            () = asked.notified() => true,
            () = stop.cancelled() => return,
        };
        let Some(folder) = &folder else {
            warn!("the embedded word lists stay: text.hotwords names no folder to read again");
            continue;
        };
        let (now, formatter) = (folder.clone(), formatter.clone());
        let before = known.clone();
        // Reading files and building the search take a moment that no call should wait for.
        let looked = tokio::task::spawn_blocking(move || {
            let state = state(&now);
            if is_asked || state != before {
                match read(Some(&now)) {
                    Ok(lists) => {
                        info!(words = lists.len(), "word lists read again");
                        formatter.renew(lists);
                    }
                    Err(error) => warn!("the old word lists stay: {error}"),
                }
            }
            state
        });
        if let Ok(state) = looked.await {
            known = state;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_lists_are_sound_and_hold_what_a_hotline_needs() {
        let lists = read(None).expect("sound");
        assert!(lists.len() > 1_200 && lists.surnames().len() > 200);
        for name in ["芝罘区", "毓璜顶街道", "市场监管局", "预付卡"] {
            assert!(
                lists.get(&name.chars().collect::<Vec<_>>()).is_some(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_folder_without_lists_and_a_bad_list_are_refused_by_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let complaint = |folder: &Path| read(Some(folder)).err().expect("refused").to_string();
        assert!(complaint(folder.path()).contains("no word list"));
        assert!(complaint(&folder.path().join("absent")).contains("cannot be read"));
        std::fs::write(folder.path().join("a.txt"), "退款\n%what\n").expect("written");
        assert!(complaint(folder.path()).contains("a.txt, line 2"));
    }

    #[tokio::test]
    async fn changed_lists_are_used_and_broken_ones_leave_the_old_in_place() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a.txt");
        std::fs::write(&file, "退款\n").expect("written");
        let formatter = TranscriptFormatter::new(read(Some(folder.path())).expect("sound"), false);
        let stop = CancellationToken::new();
        let every = Duration::from_millis(5);
        let watched = Some(folder.path().to_owned());
        let asked = Arc::<Notify>::default();
        let task = tokio::spawn(watch(
            formatter.clone(),
            watched,
            every,
            asked,
            stop.clone(),
        ));
        tokio::time::sleep(4 * every).await;
        let becomes = async |count: usize| {
            for _ in 0..400 {
                if formatter.lists().len() == count {
                    return;
                }
                tokio::time::sleep(every).await;
            }
            panic!("there are {} words, not {count}", formatter.lists().len());
        };
        std::fs::write(&file, "退款 退货 退费\n").expect("written");
        becomes(3).await;
        std::fs::write(&file, "退款 x，y 退费 退钱\n").expect("written");
        tokio::time::sleep(20 * every).await;
        becomes(3).await;
        std::fs::write(&file, "退款 退费\n").expect("written");
        becomes(2).await;
        stop.cancel();
        task.await.expect("ends");
    }

    #[tokio::test]
    async fn lists_are_read_again_when_asked_though_no_file_looks_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("a.txt"), "退款 退费\n").expect("written");
        let formatter = TranscriptFormatter::new(Vocabulary::default(), false);
        let (stop, asked) = (CancellationToken::new(), Arc::<Notify>::default());
        let never = Duration::from_hours(1);
        let watched = Some(folder.path().to_owned());
        let watching = watch(
            formatter.clone(),
            watched,
            never,
            asked.clone(),
            stop.clone(),
        );
        let task = tokio::spawn(watching);
        asked.notify_one();
        while formatter.lists().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(formatter.lists().len(), 2);
        stop.cancel();
        task.await.expect("ends");
    }
}
