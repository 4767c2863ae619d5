//! Where extensions are registered, so that a restart does not silence their phones until they register again.

use std::time::SystemTime;

use super::database::values;
use super::{Doing, Store, StoreError, unix_ms};

/// A registered place, in the words of its own room; the contact is the phone's, not a citizen's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisteredLocation {
    /// Whose phone.
    pub extension: String,
    /// What is kept of it.
    pub body: String,
    /// When it ends.
    pub until: SystemTime,
}

impl Store {
    /// Keeps the places of each extension instead of those that were kept, all or nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be written; the old ones are kept then.
    pub async fn keep_registered_locations(
        &self,
        changed: &[(&str, Vec<RegisteredLocation>)],
    ) -> Result<(), StoreError> {
        const DOING: &str = "keeping where extensions are registered";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        for (extension, places) in changed {
            transaction
                .execute(
                    "DELETE FROM places WHERE extension = $1",
                    values![*extension],
                )
                .await
                .doing(DOING)?;
            for place in places {
                transaction
                    .execute(
                        "INSERT INTO places (extension, body, until_ms) VALUES ($1, $2, $3)",
                        values![*extension, &place.body, unix_ms(place.until)],
                    )
                    .await
                    .doing(DOING)?;
            }
        }
        transaction.commit().await.doing(DOING)
    }

    /// The places that end after `now`; the others are forgotten.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read or written.
    pub async fn registered_locations(
        &self,
        now: SystemTime,
    ) -> Result<Vec<RegisteredLocation>, StoreError> {
        const DOING: &str = "reading where extensions are registered";
        self.db
            .execute(
                "DELETE FROM places WHERE until_ms <= $1",
                values![unix_ms(now)],
            )
            .await
            .doing(DOING)?;
        let rows = self
            .db
            .fetch_all(
                "SELECT extension, body, until_ms FROM places ORDER BY rowid",
                values![],
            )
            .await
            .doing(DOING)?;
        Ok(rows
            .iter()
            .map(|row| RegisteredLocation {
                extension: row.get("extension"),
                body: row.get("body"),
                until: super::from_unix_ms(row.get("until_ms")),
            })
            .collect())
    }
}
