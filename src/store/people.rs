//! Accounts and sessions.

use std::net::IpAddr;
use std::time::SystemTime;

use super::database::{Row, values};
use super::{Doing, Store, StoreError, from_unix_ms, unix_ms};
use crate::people::{Account, Session, TokenDigest, UserName};

/// An account and which version of it that is: only who has seen the latest may write the next.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptAccount {
    /// The account.
    pub account: Account,
    /// Counts the writes.
    pub version: u64,
}

const ACCOUNT: &str = "an account";

impl Store {
    /// Keeps a new account; `false` when there is one of that name.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub async fn add_account(&self, account: &Account) -> Result<bool, StoreError> {
        let sql = "INSERT INTO users (name, version, identity, body) VALUES ($1, 1, $2, $3)
                   ON CONFLICT DO NOTHING";
        let values = values![account.name.as_str(), identity(account), body(account)?];
        let added = self.db.execute(sql, values).await;
        Ok(added.doing("adding an account")? == 1)
    }

    /// Writes an account that was read as `seen`; `false` when somebody else has written it since.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub async fn save_account(&self, account: &Account, seen: u64) -> Result<bool, StoreError> {
        let sql = "UPDATE users SET version = version + 1, identity = $3, body = $4
                   WHERE name = $1 AND version = $2";
        let values = values![
            account.name.as_str(),
            seen,
            identity(account),
            body(account)?
        ];
        let saved = self.db.execute(sql, values).await;
        Ok(saved.doing("saving an account")? == 1)
    }

    /// The account of this name.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn account(&self, name: &UserName) -> Result<Option<KeptAccount>, StoreError> {
        let sql = "SELECT name, version, body FROM users WHERE name = $1";
        let found = self.db.fetch_first(sql, values![name.as_str()]).await;
        found
            .doing("reading an account")?
            .as_ref()
            .map(account_of)
            .transpose()
    }

    /// The account of who is known by `subject` to the identity provider `issuer`.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn account_of_identity(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<KeptAccount>, StoreError> {
        let sql = "SELECT name, version, body FROM users WHERE identity = $1";
        let found = self
            .db
            .fetch_first(sql, values![joined(issuer, subject)])
            .await;
        found
            .doing("reading an account")?
            .as_ref()
            .map(account_of)
            .transpose()
    }

    /// All accounts behind the name `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<KeptAccount>, StoreError> {
        let sql = "SELECT name, version, body FROM users WHERE name > $1 ORDER BY name LIMIT $2";
        let rows = self.db.fetch_all(sql, values![after, limit]).await;
        rows.doing("reading the accounts")?
            .iter()
            .map(account_of)
            .collect()
    }

    /// Keeps a session that has begun.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written; it has not begun then.
    pub async fn add_session(
        &self,
        session: &Session,
        digest: &TokenDigest,
    ) -> Result<(), StoreError> {
        let sql = "INSERT INTO sessions
                       (id, digest, user_name, address, agent, started_ms, seen_ms, until_ms)
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
        let values = values![
            &session.id,
            digest.hex(),
            session.user.as_str(),
            session.address.to_string(),
            &session.agent,
            unix_ms(session.started),
            unix_ms(session.seen),
            unix_ms(session.until),
        ];
        let added = self.db.execute(sql, values).await;
        added.doing("beginning a session").map(|_| ())
    }

    /// The session of a token, whether it still holds or not.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be read.
    pub async fn session(&self, digest: &TokenDigest) -> Result<Option<Session>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM sessions WHERE digest = $1");
        let found = self.db.fetch_first(&sql, values![digest.hex()]).await;
        found
            .doing("reading a session")?
            .as_ref()
            .map(session_of)
            .transpose()
    }

    /// The sessions of `user`, or of all, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be read.
    pub async fn sessions(&self, user: Option<&UserName>) -> Result<Vec<Session>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM sessions WHERE $1 IS NULL OR user_name = $1
             ORDER BY seen_ms DESC, id"
        );
        let rows = self
            .db
            .fetch_all(&sql, values![user.map(UserName::as_str)])
            .await;
        rows.doing("reading the sessions")?
            .iter()
            .map(session_of)
            .collect()
    }

    /// Keeps that something was asked in a session.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written.
    pub async fn session_seen(&self, id: &str, at: SystemTime) -> Result<(), StoreError> {
        let sql = "UPDATE sessions SET seen_ms = $2 WHERE id = $1 AND seen_ms < $2";
        let seen = self.db.execute(sql, values![id, unix_ms(at)]).await;
        seen.doing("keeping a session").map(|_| ())
    }

    /// Ends a session, where it is `user`'s or nobody is named; returns whose it was.
    ///
    /// # Errors
    /// [`StoreError`] when it cannot be written; it goes on then.
    pub async fn end_session(
        &self,
        id: &str,
        user: Option<&UserName>,
    ) -> Result<Option<UserName>, StoreError> {
        const DOING: &str = "ending a session";
        let sql = "DELETE FROM sessions WHERE id = $1 AND ($2 IS NULL OR user_name = $2)
                   RETURNING user_name";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let values = values![id, user.map(UserName::as_str)];
        let ended = transaction.fetch_first(sql, values).await.doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        ended
            .map(|row| named(&row.get::<String>("user_name")))
            .transpose()
    }

    /// Ends the sessions of `user` except `kept`; returns which.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written; they go on then.
    pub async fn end_sessions(
        &self,
        user: &UserName,
        kept: Option<&str>,
    ) -> Result<Vec<String>, StoreError> {
        const DOING: &str = "ending sessions";
        let sql = "DELETE FROM sessions WHERE user_name = $1 AND ($2 IS NULL OR id <> $2)
                   RETURNING id";
        let mut transaction = self.db.begin().await.doing(DOING)?;
        let values = values![user.as_str(), kept];
        let ended = transaction.fetch_all(sql, values).await.doing(DOING)?;
        transaction.commit().await.doing(DOING)?;
        Ok(ended.iter().map(|row| row.get("id")).collect())
    }

    /// Forgets the sessions that have ended by `now`, or in which nothing was asked since `idle_since`.
    ///
    /// # Errors
    /// [`StoreError`] when they cannot be written.
    pub async fn forget_sessions(
        &self,
        now: SystemTime,
        idle_since: SystemTime,
    ) -> Result<u64, StoreError> {
        let sql = "DELETE FROM sessions WHERE until_ms <= $1 OR seen_ms <= $2";
        let values = values![unix_ms(now), unix_ms(idle_since)];
        let forgotten = self.db.execute(sql, values).await;
        forgotten.doing("forgetting sessions")
    }
}

const COLUMNS: &str = "id, user_name, address, agent, started_ms, seen_ms, until_ms";

fn unreadable(what: &'static str, key: &str) -> StoreError {
    StoreError::Unreadable {
        what,
        key: key.to_owned(),
    }
}

fn body(account: &Account) -> Result<String, StoreError> {
    serde_json::to_string(account).map_err(|_| unreadable(ACCOUNT, account.name.as_str()))
}

fn identity(account: &Account) -> Option<String> {
    let (issuer, subject) = account.identity.as_ref()?;
    Some(joined(issuer, subject))
}

fn joined(issuer: &str, subject: &str) -> String {
    format!("{issuer}\n{subject}")
}

fn account_of(row: &Row) -> Result<KeptAccount, StoreError> {
    let account = serde_json::from_str(&row.get::<String>("body"));
    Ok(KeptAccount {
        account: account.map_err(|_| unreadable(ACCOUNT, &row.get::<String>("name")))?,
        version: row.get::<i64>("version") as u64,
    })
}

fn named(name: &str) -> Result<UserName, StoreError> {
    UserName::parse(name).map_err(|_| unreadable("a session", name))
}

fn session_of(row: &Row) -> Result<Session, StoreError> {
    let address = row.get::<String>("address").parse::<IpAddr>();
    let id: String = row.get("id");
    Ok(Session {
        user: named(&row.get::<String>("user_name"))?,
        address: address.map_err(|_| unreadable("a session", &id))?,
        agent: row.get("agent"),
        started: from_unix_ms(row.get("started_ms")),
        seen: from_unix_ms(row.get("seen_ms")),
        until: from_unix_ms(row.get("until_ms")),
        id,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::people::{Limits, PasswordHash, Profile, Role, Token};
    use crate::postgres_server::{Site, on_both_engines};
    use crate::store::at;

    on_both_engines![
        an_account_is_written_only_by_who_has_seen_its_latest_version,
        sessions_are_found_by_their_tokens_and_end_one_by_one_or_together,
    ];

    fn name(name: &str) -> UserName {
        UserName::parse(name).expect("a name")
    }

    fn account(of: &str) -> Account {
        let hash = PasswordHash::new("one", [1; 16]);
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        Account::new(
            name(of),
            Profile::default(),
            vec![Role::Operator],
            hash,
            now,
        )
        .expect("fits")
    }

    async fn an_account_is_written_only_by_who_has_seen_its_latest_version(site: Site) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let (mut wang, li) = (account("wang"), account("li"));
        assert!(store.add_account(&wang).await.expect("added"));
        assert!(store.add_account(&li).await.expect("added"));
        assert!(
            !store.add_account(&wang).await.expect("looked"),
            "the name is taken"
        );
        let kept = store
            .account(&wang.name)
            .await
            .expect("read")
            .expect("there");
        assert_eq!((&kept.account, kept.version), (&wang, 1));
        wang.disabled = true;
        wang.identity = Some(("https://id.example".into(), "7".into()));
        assert!(store.save_account(&wang, 1).await.expect("saved"));
        assert!(!store.save_account(&li, 2).await.expect("looked"));
        assert!(
            !store.save_account(&wang, 1).await.expect("looked"),
            "an old version"
        );
        let found = store.account_of_identity("https://id.example", "7").await;
        let found = found.expect("read").expect("there");
        assert_eq!((found.account, found.version), (wang, 2));
        let other = store.account_of_identity("https://id.example", "8").await;
        assert_eq!(other.expect("read"), None);
        let all = store.accounts("", 10).await.expect("read");
        let names: Vec<_> = all.iter().map(|kept| kept.account.name.as_str()).collect();
        assert_eq!(names, ["li", "wang"]);
        assert_eq!(store.accounts("li", 1).await.expect("read").len(), 1);
        store.close().await;
    }

    async fn sessions_are_found_by_their_tokens_and_end_one_by_one_or_together(site: Site) {
        let store = Store::open(at(&site.store())).await.expect("opened");
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let limits = Limits {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(12),
        };
        let begin = async |number: u8, user: &str| {
            let (token, address) = (Token::new([number; 32]), [192, 0, 2, number].into());
            let id = format!("s{number}");
            let session = Session::begin(id, name(user), address, "Firefox", limits, now);
            store
                .add_session(&session, &token.digest())
                .await
                .expect("begun");
            (token, session)
        };
        let (token, first) = begin(1, "wang").await;
        let (_, second) = begin(2, "wang").await;
        let (_, third) = begin(3, "li").await;
        let found = store.session(&token.digest()).await.expect("read");
        assert_eq!(found.as_ref(), Some(&first));
        assert_eq!(
            store
                .session(&TokenDigest::of("other"))
                .await
                .expect("read"),
            None
        );
        store
            .session_seen("s1", now + Duration::from_mins(5))
            .await
            .expect("kept");
        store.session_seen("s1", now).await.expect("kept");
        let wangs = store.sessions(Some(&name("wang"))).await.expect("read");
        let seen = Session {
            seen: now + Duration::from_mins(5),
            ..first
        };
        assert_eq!(wangs, [seen, second]);
        assert_eq!(store.sessions(None).await.expect("read").len(), 3);
        let not_his = store.end_session("s3", Some(&name("wang"))).await;
        assert_eq!(not_his.expect("looked"), None);
        assert_eq!(
            store.end_session("s3", None).await.expect("ended"),
            Some(third.user)
        );
        let others = store.end_sessions(&name("wang"), Some("s1")).await;
        assert_eq!(others.expect("ended"), ["s2"]);
        let gone = store
            .forget_sessions(now, now + Duration::from_mins(5))
            .await;
        assert_eq!(gone.expect("forgotten"), 1);
        assert_eq!(store.sessions(None).await.expect("read"), []);
        store.close().await;
    }
}
