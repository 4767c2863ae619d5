//! Brings to disk where extensions are registered, and back after a restart, without a REGISTER waiting for it.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | changed extensions → store | one entry an extension | the newer places of an extension replace the older |

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::sip::Transport;
use crate::sip::registrar::{Binding, Flow};
use crate::store::{Place, Store, StoreError};

/// Between attempts while the disk refuses.
const PAUSE: Duration = Duration::from_secs(1);

/// The extensions whose places have changed and are not on disk yet.
#[derive(Debug, Default)]
pub struct Places {
    changed: Mutex<HashMap<String, Vec<Binding>>>,
    fresh: Notify,
}

/// What is kept of a binding beside its end.
#[derive(Serialize, Deserialize)]
struct Kept {
    contact: String,
    source: std::net::SocketAddr,
    transport: Transport,
    path: Vec<String>,
    call_id: String,
    cseq: u32,
    q: u16,
}

impl Places {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Binding>>> {
        // Nothing panics under the lock.
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an extension's places; never waits.
    pub fn note(&self, extension: &str, bindings: &[Binding]) {
        self.lock().insert(extension.to_owned(), bindings.to_vec());
        self.fresh.notify_one();
    }

    /// Writes until `stop`, then what is left, once.
    pub async fn run(&self, store: &Store, stop: &CancellationToken) {
        loop {
            let batch = std::mem::take(&mut *self.lock());
            if batch.is_empty() {
                if stop.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.fresh.notified() => {}
                    () = stop.cancelled() => {}
                }
                continue;
            }
            for (extension, bindings) in batch {
                let places: Vec<Place> = bindings
                    .iter()
                    .filter_map(|binding| kept(&extension, binding))
                    .collect();
                if let Err(error) = store.keep_places(&extension, &places).await {
                    error!(extension, %error, "its places wait in memory");
                    if stop.is_cancelled() {
                        return;
                    }
                    // A newer change may have come meanwhile.
                    self.lock().entry(extension).or_insert(bindings);
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

fn kept(extension: &str, binding: &Binding) -> Option<Place> {
    let left = binding.until.saturating_duration_since(Instant::now());
    let body = Kept {
        contact: binding.contact.clone(),
        source: binding.flow.source,
        transport: binding.flow.transport,
        path: binding.path.clone(),
        call_id: binding.call_id.clone(),
        cseq: binding.cseq,
        q: binding.q,
    };
    Some(Place {
        extension: extension.to_owned(),
        body: serde_json::to_string(&body).ok()?,
        until: SystemTime::now() + left,
    })
}

/// What was kept by an earlier run and has not ended.
///
/// # Errors
/// [`StoreError`] when it cannot be read; a place that this program does not understand is left out.
pub async fn restored(store: &Store) -> Result<Vec<(String, Binding)>, StoreError> {
    let (wall, now) = (SystemTime::now(), Instant::now());
    let places = store.places(wall).await?;
    Ok(places
        .into_iter()
        .filter_map(|place| {
            let kept: Kept = serde_json::from_str(&place.body).ok()?;
            let flow = Flow {
                source: kept.source,
                transport: kept.transport,
            };
            let left = place.until.duration_since(wall).ok()?;
            let binding = Binding {
                contact: kept.contact,
                flow,
                path: kept.path,
                call_id: kept.call_id,
                cseq: kept.cseq,
                q: kept.q,
                since: now,
                until: now + left,
            };
            Some((place.extension, binding))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(contact: &str, seconds: u64) -> Binding {
        let now = Instant::now();
        Binding {
            contact: contact.to_owned(),
            flow: Flow {
                source: "[2001:db8::1]:5062".parse().expect("an address"),
                transport: Transport::Tls,
            },
            path: vec!["<sip:proxy;lr>".to_owned()],
            call_id: "c".to_owned(),
            cseq: 7,
            q: 500,
            since: now,
            until: now + Duration::from_secs(seconds),
        }
    }

    #[tokio::test]
    async fn places_come_back_after_a_restart_with_the_time_that_they_have_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("gateway.db");
        let store = Store::open(&file).await.expect("opened");
        let (places, stop) = (Places::default(), CancellationToken::new());
        places.note("1001", &[binding("sip:old", 600)]);
        places.note("1001", &[binding("sip:a", 600), binding("sip:b", 0)]);
        places.note("1002", &[binding("sip:c", 600)]);
        stop.cancel();
        places.run(&store, &stop).await;
        places.note("1002", &[]);
        places.run(&store, &stop).await;
        store.close().await;
        let store = Store::open(&file).await.expect("opened again");
        let back = restored(&store).await.expect("read");
        assert_eq!(back.len(), 1, "{back:?}");
        let (extension, came) = &back[0];
        let left = came.until.saturating_duration_since(Instant::now());
        assert!((580..=600).contains(&left.as_secs()), "{left:?}");
        let same = Binding {
            since: came.since,
            until: came.until,
            ..binding("sip:a", 0)
        };
        assert_eq!((extension.as_str(), came), ("1001", &same));
        store.close().await;
    }
}
