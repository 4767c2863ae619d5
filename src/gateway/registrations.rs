//! Brings to disk where extensions are registered, and back after a restart, without a REGISTER waiting for it.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | changed extensions → store | one entry an extension | the newer bindings of an extension replace the older |

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::sip::Transport;
use crate::sip::registrar::{Binding, Flow};
use crate::store::write_behind::{Health, Newest};
use crate::store::{RegisteredLocation, Store, StoreError, WriteBehind};

/// The extensions whose bindings have changed and are not on disk yet.
#[derive(Debug)]
pub struct RegistrationStore(WriteBehind<Newest<String, Vec<Binding>>>);

impl Default for RegistrationStore {
    fn default() -> Self {
        Self(WriteBehind::new("registrations", Newest::default()))
    }
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

impl RegistrationStore {
    /// Takes an extension's bindings; never waits.
    pub fn note(&self, extension: &str, bindings: &[Binding]) {
        self.0.put(extension.to_owned(), bindings.to_vec());
    }

    /// Writes until `stop`, then the rest; returns of how many extensions the bindings could not be written.
    pub async fn run(&self, store: &Store, stop: &CancellationToken) -> usize {
        let write = |changed: Vec<(String, Arc<Vec<Binding>>)>| async move {
            let kept = changed.iter().map(|(extension, bindings)| {
                let places = bindings
                    .iter()
                    .filter_map(|binding| kept(extension, binding));
                (extension.as_str(), places.collect())
            });
            store
                .keep_registered_locations(&kept.collect::<Vec<_>>())
                .await
        };
        self.0.run(write, stop).await
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.health()
    }
}

fn kept(extension: &str, binding: &Binding) -> Option<RegisteredLocation> {
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
    Some(RegisteredLocation {
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
    let places = store.registered_locations(wall).await?;
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
    use std::time::Duration;

    use super::*;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::at;

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

    on_both_engines![places_come_back_after_a_restart_with_the_time_that_they_have_left];

    async fn places_come_back_after_a_restart_with_the_time_that_they_have_left(site: Site) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let (places, stop) = (RegistrationStore::default(), CancellationToken::new());
        places.note("1001", &[binding("sip:old", 600)]);
        places.note("1001", &[binding("sip:a", 600), binding("sip:b", 0)]);
        places.note("1002", &[binding("sip:c", 600)]);
        stop.cancel();
        assert_eq!(places.run(&store, &stop).await, 0);
        places.note("1002", &[]);
        assert_eq!(places.run(&store, &stop).await, 0);
        store.close().await;
        let store = Store::open(at(&site.store())).await.expect("opened again");
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
