//! Where records are: a `SQLite` file, or a database of a PostgreSQL server. A password never stands in it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

/// Where records are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A file of this machine.
    Sqlite(PathBuf),
    /// A server's database.
    Postgres(Address),
}

/// A PostgreSQL database, and how one gets in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `postgres://USER@HOST/DATABASE`, without a password.
    pub url: String,
    /// A file with the password; without one, `PGPASSWORD` and `~/.pgpass` are asked, as by `psql`.
    pub password_file: Option<PathBuf>,
}

/// Why a text is no location. It never quotes the text, which may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocationError {
    /// Neither `sqlite:` nor `postgres://`.
    Scheme,
    /// `sqlite:` without a file, or in memory.
    NoFile,
    /// A password stands in it.
    Password,
    /// It is no URL.
    Malformed,
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it begins neither with sqlite: nor with postgres://",
            Self::NoFile => "it names no file; records in memory would not outlive a restart",
            Self::Password => {
                "a password does not belong into the address, which is shown in messages; \
                 put it into a file (password_file) or into the environment (PGPASSWORD)"
            }
            Self::Malformed => "it is not of the form postgres://USER@HOST/DATABASE",
        })
    }
}

impl std::error::Error for LocationError {}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() || path.contains(":memory:") {
                return Err(LocationError::NoFile);
            }
            return Ok(Self::Sqlite(path.into()));
        }
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or(LocationError::Scheme)?;
        let (before_query, query) = rest.split_once('?').unwrap_or((rest, ""));
        // An unescaped `/` may stand in a password, so everything before the last `@` counts.
        let user = before_query.rsplit_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':'))
            || query.split('&').any(|part| part.starts_with("password="))
        {
            return Err(LocationError::Password);
        }
        PgConnectOptions::from_str(text).map_err(|_| LocationError::Malformed)?;
        Ok(Self::Postgres(Address {
            url: text.to_owned(),
            password_file: None,
        }))
    }
}

impl Location {
    /// The same, with the file that holds the password.
    #[must_use]
    pub fn with_password_file(mut self, file: Option<PathBuf>) -> Self {
        if let Self::Postgres(address) = &mut self {
            address.password_file = file;
        }
        self
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(address) => f.write_str(&address.url),
        }
    }
}

impl From<&Self> for Location {
    fn from(location: &Self) -> Self {
        location.clone()
    }
}

impl From<&Path> for Location {
    fn from(path: &Path) -> Self {
        Self::Sqlite(path.to_owned())
    }
}

impl From<&PathBuf> for Location {
    fn from(path: &PathBuf) -> Self {
        Self::Sqlite(path.clone())
    }
}

/// What of a URL may be shown, though it may hold a password.
#[must_use]
pub fn redacted(url: &str) -> String {
    let hidden = match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((user, host)) => {
                let user = user.split(':').next().unwrap_or_default();
                format!("{scheme}://{user}:…@{host}")
            }
            None => url.to_owned(),
        },
        None => url.to_owned(),
    };
    match hidden.split_once("password=") {
        Some((before, _)) => format!("{before}password=…"),
        None => hidden,
    }
}

/// A test's records.
#[cfg(test)]
pub(crate) fn at(url: &str) -> Location {
    url.parse().expect("a location")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_and_a_server_are_told_apart() {
        for (text, path) in [
            ("sqlite:data/x.db", "data/x.db"),
            ("sqlite:///var/x.db", "/var/x.db"),
        ] {
            assert_eq!(text.parse(), Ok(Location::Sqlite(path.into())), "{text}");
        }
        for text in [
            "postgres://xinqiao@db.example/xinqiao?sslmode=verify-full",
            "postgresql:///xinqiao?host=/run/postgresql",
        ] {
            let location: Location = text.parse().expect(text);
            assert_eq!(location.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_location_is_refused_and_a_password_is_never_shown() {
        for (text, why) in [
            ("data/x.db", LocationError::Scheme),
            ("mysql://h/d", LocationError::Scheme),
            ("sqlite:", LocationError::NoFile),
            ("sqlite::memory:", LocationError::NoFile),
            ("postgres://u:secret@h/d", LocationError::Password),
            ("postgres://u:se/cr@et@h/d", LocationError::Password),
            ("postgres://h/d?password=secret", LocationError::Password),
            ("postgres://h:port/d", LocationError::Malformed),
        ] {
            assert_eq!(text.parse::<Location>(), Err(why), "{text}");
            let shown = redacted(text);
            assert!(
                !shown.contains("secret") && !shown.contains("cr@et"),
                "{shown}"
            );
        }
    }
}
