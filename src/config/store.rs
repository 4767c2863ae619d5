//! Settings of where records are kept: the gateway's and the reference backend's.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, Ticketing};
use crate::store::{Location, redacted};

pub(super) const TICKETING_URL: &str = "sqlite:data/ticketing.db";
const STORE_URL: &str = "sqlite:data/xinqiao.db";

/// The gateway's own records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `sqlite:FILE`, or `postgres://USER@HOST/DATABASE`, which several gateways may share.
    pub url: String,
    /// A `SQLite` file: the short form of `url = "sqlite:FILE"`.
    pub database: Option<PathBuf>,
    /// A file with the password of the database's user; without one, `PGPASSWORD` or `~/.pgpass`.
    pub password_file: Option<PathBuf>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: STORE_URL.to_owned(),
            database: None,
            password_file: None,
        }
    }
}

impl Store {
    /// Where the records are.
    ///
    /// # Errors
    /// [`ConfigError`] with key, value (a password is left out) and remedy.
    pub fn location(&self) -> Result<Location, ConfigError> {
        location(
            "store",
            (&self.url, STORE_URL),
            self.database.as_deref(),
            self.password_file.as_deref(),
        )
    }
}

impl Ticketing {
    /// Where the reference backend's records are.
    ///
    /// # Errors
    /// As [`Store::location`].
    pub fn location(&self) -> Result<Location, ConfigError> {
        location(
            "ticketing",
            (&self.url, TICKETING_URL),
            self.database.as_deref(),
            self.password_file.as_deref(),
        )
    }
}

fn location(
    section: &str,
    (url, default): (&str, &str),
    file: Option<&Path>,
    password: Option<&Path>,
) -> Result<Location, ConfigError> {
    let refuse = |key: &str, value: String, why: String| ConfigError::Value {
        key: format!("{section}.{key}"),
        value: Some(value),
        origin: None,
        why,
    };
    let location = match file {
        Some(file) if url == default => Location::from(file),
        Some(file) => {
            let why = format!("{section}.url names other records; leave one of the two out");
            return Err(refuse("database", file.display().to_string(), why));
        }
        None => url.parse().map_err(|why: crate::store::LocationError| {
            refuse("url", redacted(url), why.to_string())
        })?,
    };
    if let (Location::Sqlite(_), Some(password)) = (&location, password) {
        let why = "a file of this machine has no password".to_owned();
        return Err(refuse("password_file", password.display().to_string(), why));
    }
    Ok(location.with_password_file(password.map(Path::to_owned)))
}

/// What to write instead.
pub(super) fn remedy(key: &str) -> Option<&'static str> {
    match key {
        "store.url" => {
            Some("write e.g. sqlite:data/xinqiao.db or postgres://xinqiao@db.example/xinqiao")
        }
        "ticketing.url" => {
            Some("write e.g. sqlite:data/ticketing.db or postgres://xinqiao@db.example/xinqiao")
        }
        "store.database" | "ticketing.database" => Some("write e.g. url = \"sqlite:FILE\""),
        "store.password_file" | "ticketing.password_file" => {
            Some("leave the key out, or write url = \"postgres://…\"")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn load(sets: &[&str]) -> Result<Config, ConfigError> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::load(None, &sets)
    }

    #[test]
    fn records_are_named_by_url_or_by_the_short_form_of_a_file() {
        for (sets, shown) in [
            (&[][..], "data/xinqiao.db"),
            (&["store.database=x.db"], "x.db"),
            (&["store.url=sqlite:x.db"], "x.db"),
            (
                &["store.url=postgres://u@h/d", "store.password_file=/run/p"],
                "postgres://u@h/d",
            ),
        ] {
            let store = load(sets).expect("valid").store;
            assert_eq!(store.location().expect("valid").to_string(), shown);
        }
        let ticketing = load(&["ticketing.url=postgres://u@h/d"]).expect("valid");
        assert!(matches!(
            ticketing.ticketing.location(),
            Ok(Location::Postgres(_))
        ));
    }

    #[test]
    fn records_that_cannot_be_named_so_are_refused_and_no_password_is_shown() {
        for (sets, parts) in [
            (
                &["store.url=x.db"][..],
                ["store.url", "x.db", "sqlite:data"],
            ),
            (
                &["store.url=postgres://u:secret@h/d"],
                ["store.url", "password_file", "PGPASSWORD"],
            ),
            (
                &["ticketing.url=postgres://h/d?password=secret"],
                ["ticketing.url", "password_file", "PGPASSWORD"],
            ),
            (
                &["store.url=sqlite:y.db", "store.database=x.db"],
                ["store.database", "x.db", "store.url"],
            ),
            (
                &["store.password_file=/run/p"],
                ["store.password_file", "/run/p", "postgres://"],
            ),
        ] {
            let said = load(sets).expect_err("refused").to_string();
            for part in parts {
                assert!(said.contains(part), "{part} in: {said}");
            }
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
