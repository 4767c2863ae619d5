//! Which call's recording is in which file, and how it stands.

use std::time::Duration;

use super::database::{Row, values};
use super::{Doing, Store, StoreError};
use crate::recording::{Notice, State};
use crate::speech::CallId;

const fn name_of(state: State) -> &'static str {
    match state {
        State::Running => "running",
        State::Complete => "complete",
        State::Failed => "failed",
        State::Recovered => "recovered",
    }
}

fn state_of(name: &str) -> State {
    [State::Running, State::Complete, State::Recovered]
        .into_iter()
        .find(|state| name_of(*state) == name)
        .unwrap_or(State::Failed)
}

impl Store {
    /// Keeps what is said of recordings, all or nothing; a later notice of a call replaces an earlier one.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn note_recordings(&self, notices: &[&Notice]) -> Result<(), StoreError> {
        const DOING: &str = "saving what is recorded";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        for notice in notices {
            transaction
                .execute(
                    "INSERT INTO recordings (call_id, file, state, duration_us, lost_us) VALUES ($1, $2, $3, $4, $5)
                     ON CONFLICT (call_id) DO UPDATE SET file = excluded.file, state = excluded.state,
                         duration_us = excluded.duration_us, lost_us = excluded.lost_us",
                    values![
                        notice.call.as_str(),
                        &notice.file,
                        name_of(notice.state),
                        notice.duration.as_micros() as i64,
                        notice.lost.as_micros() as i64,
                    ],
                )
                .await
                .doing(DOING)?;
        }
        transaction.commit().await.doing(DOING)
    }

    /// A call's recording, if it has one.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn recording(&self, call: &CallId) -> Result<Option<Notice>, StoreError> {
        let row = self
            .db
            .fetch_first(
                "SELECT * FROM recordings WHERE call_id = $1",
                values![call.as_str()],
            )
            .await
            .doing("reading what is recorded")?;
        Ok(row.as_ref().map(notice_of))
    }

    /// The recordings, the most recent calls first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn recordings(&self, limit: u32) -> Result<Vec<Notice>, StoreError> {
        let rows = self
            .db
            .fetch_all(
                "SELECT * FROM recordings ORDER BY rowid DESC LIMIT $1",
                values![limit],
            )
            .await
            .doing("reading what is recorded")?;
        Ok(rows.iter().map(notice_of).collect())
    }

    /// Forgets the recordings of `calls`, whose files are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written.
    pub async fn forget_recordings(&self, calls: &[String]) -> Result<(), StoreError> {
        const DOING: &str = "forgetting old recordings";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        for call in calls {
            transaction
                .execute("DELETE FROM recordings WHERE call_id = $1", values![call])
                .await
                .doing(DOING)?;
        }
        transaction.commit().await.doing(DOING)
    }
}

fn notice_of(row: &Row) -> Notice {
    let micros = |column| Duration::from_micros(row.get::<i64>(column).unsigned_abs());
    Notice {
        call: CallId::new(&row.get::<String>("call_id")),
        file: row.get("file"),
        state: state_of(&row.get::<String>("state")),
        duration: micros("duration_us"),
        lost: micros("lost_us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::at;

    on_both_engines![a_recording_is_noted_replaced_found_and_forgotten];

    async fn a_recording_is_noted_replaced_found_and_forgotten(site: Site) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let notice = |call: &str, state, seconds| Notice {
            call: CallId::new(call),
            file: format!("2026-11-24/{call}.wav"),
            state,
            duration: Duration::from_secs(seconds),
            lost: Duration::ZERO,
        };
        let running = [
            notice("a", State::Running, 0),
            notice("b", State::Running, 0),
        ];
        let [a, b] = &running;
        store.note_recordings(&[a, b]).await.expect("noted");
        let whole = notice("a", State::Complete, 9);
        store.note_recordings(&[&whole]).await.expect("noted");
        let found = store.recording(&CallId::new("a")).await.expect("read");
        assert_eq!(found, Some(whole));
        store
            .forget_recordings(&["a".to_owned()])
            .await
            .expect("forgotten");
        assert_eq!(store.recordings(9).await.expect("read"), running[1..]);
    }
}
