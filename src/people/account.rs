//! An account: what one signs in with, and what is known of its user.

use std::collections::HashSet;
use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::password::PasswordHash;
use super::right::{Role, go_together};
use super::totp::Totp;

/// The longest name, display name, team, department or station, in characters.
const LONGEST: usize = 64;
/// Phones of one user.
const MOST_STATIONS: usize = 16;

/// What one signs in with: 1 to 64 letters, digits and `. _ - @`; upper and lower case are the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserName(String);

impl UserName {
    /// Of what somebody typed.
    ///
    /// # Errors
    /// [`BadAccount::Name`].
    pub fn parse(typed: &str) -> Result<Self, BadAccount> {
        let typed = typed.trim();
        let fits = (1..=LONGEST).contains(&typed.chars().count())
            && typed
                .chars()
                .all(|letter| letter.is_alphanumeric() || "._-@".contains(letter));
        if fits {
            Ok(Self(typed.to_lowercase()))
        } else {
            Err(BadAccount::Name)
        }
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an account says of its user.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// How the user is called; empty: by the name.
    #[serde(default)]
    pub display_name: String,
    /// The team; empty is a team as well.
    #[serde(default)]
    pub team: String,
    /// The department, for who handles its tickets.
    #[serde(default)]
    pub department: String,
    /// The phones that the user works at: an extension's number, or a whole address of record.
    #[serde(default)]
    pub stations: Vec<String>,
}

impl Profile {
    /// As it may be kept: without spaces around, each station once.
    ///
    /// # Errors
    /// [`BadAccount`].
    pub fn checked(mut self) -> Result<Self, BadAccount> {
        for text in [&mut self.display_name, &mut self.team, &mut self.department] {
            *text = text.trim().to_owned();
            if text.chars().count() > LONGEST || text.chars().any(char::is_control) {
                return Err(BadAccount::TooLong);
            }
        }
        let mut seen = HashSet::new();
        self.stations = self
            .stations
            .iter()
            .map(|station| station.trim().to_owned())
            .filter(|station| !station.is_empty() && seen.insert(station.clone()))
            .collect();
        let is_bad = |station: &String| {
            station.chars().count() > LONGEST
                || station
                    .chars()
                    .any(|letter| letter.is_control() || letter.is_whitespace())
        };
        if self.stations.len() > MOST_STATIONS || self.stations.iter().any(is_bad) {
            return Err(BadAccount::Station);
        }
        Ok(self)
    }

    /// Whether `phone` (`sip:1001@192.0.2.20:5060`) is one that the user works at.
    #[must_use]
    pub fn works_at(&self, phone: &str) -> bool {
        let address = bare(phone);
        let user = address.split_once('@').map_or(address, |(user, _)| user);
        self.stations.iter().any(|station| {
            let station = bare(station);
            if station.contains('@') {
                station.eq_ignore_ascii_case(address)
            } else {
                station == user
            }
        })
    }
}

/// An address of record without scheme and parameters.
fn bare(address: &str) -> &str {
    let address = address
        .strip_prefix("sips:")
        .or_else(|| address.strip_prefix("sip:"))
        .unwrap_or(address);
    address.split([';', '?']).next().unwrap_or(address)
}

/// Why an account cannot be as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadAccount {
    /// The name is none.
    Name,
    /// A text is too long.
    TooLong,
    /// A phone is none, or there are too many.
    Station,
    /// The roles are not for one person.
    RolesApart,
}

impl fmt::Display for BadAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name => f.write_str("a name is 1 to 64 letters, digits and . _ - @"),
            Self::TooLong => f.write_str("a text has at most 64 characters and no control characters"),
            Self::Station => f.write_str(
                "a station is an extension's number or an address such as sip:1001@192.0.2.20:5060, at most 16 of them",
            ),
            Self::RolesApart => f.write_str(
                "these roles are not for one person: who reads the audit does nothing else, who administers takes no calls",
            ),
        }
    }
}

impl std::error::Error for BadAccount {}

/// An account as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// What one signs in with.
    pub name: UserName,
    /// What it says of its user.
    pub profile: Profile,
    /// What the user is to the hotline.
    pub roles: Vec<Role>,
    /// Whether nobody can sign in with it.
    #[serde(default)]
    pub disabled: bool,
    /// Absent for one that signs in elsewhere only.
    pub password: Option<PasswordHash>,
    /// Those before, the latest first.
    #[serde(default)]
    pub earlier: Vec<PasswordHash>,
    /// Whether the password was given by somebody else, and holds for one sign-in.
    #[serde(default)]
    pub must_change: bool,
    /// The authenticator, where there is one.
    #[serde(default)]
    pub totp: Option<Totp>,
    /// The secret of one that is not confirmed yet.
    #[serde(default)]
    pub proposed_totp: Option<Totp>,
    /// How its user is known to the site's identity provider: issuer and subject.
    #[serde(default)]
    pub identity: Option<(String, String)>,
    /// Counts the changes.
    pub revision: u64,
    /// When it was made.
    pub created: SystemTime,
    /// The last sign-in.
    #[serde(default)]
    pub signed_in: Option<SystemTime>,
}

impl Account {
    /// A new one with a password that has to be replaced.
    ///
    /// # Errors
    /// [`BadAccount`].
    pub fn new(
        name: UserName,
        profile: Profile,
        roles: Vec<Role>,
        one_time: PasswordHash,
        now: SystemTime,
    ) -> Result<Self, BadAccount> {
        let mut account = Self {
            name,
            profile: profile.checked()?,
            roles: Vec::new(),
            disabled: false,
            password: Some(one_time),
            earlier: Vec::new(),
            must_change: true,
            totp: None,
            proposed_totp: None,
            identity: None,
            revision: 1,
            created: now,
            signed_in: None,
        };
        account.set_roles(roles)?;
        Ok(account)
    }

    /// Replaces the roles.
    ///
    /// # Errors
    /// [`BadAccount::RolesApart`].
    pub fn set_roles(&mut self, mut roles: Vec<Role>) -> Result<(), BadAccount> {
        roles.sort_unstable();
        roles.dedup();
        if !go_together(&roles) || roles.iter().any(|role| role.is_program()) {
            return Err(BadAccount::RolesApart);
        }
        self.roles = roles;
        Ok(())
    }

    /// How the user is called.
    #[must_use]
    pub fn display_name(&self) -> &str {
        if self.profile.display_name.is_empty() {
            self.name.as_str()
        } else {
            &self.profile.display_name
        }
    }

    /// Puts a new password in the place of the present one, of which `kept` earlier ones are remembered.
    pub fn replace_password(&mut self, new: PasswordHash, kept: usize, must_change: bool) {
        if let Some(old) = self.password.replace(new) {
            self.earlier.insert(0, old);
            self.earlier.truncate(kept);
        }
        self.must_change = must_change;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling_and_no_strange_characters() {
        let parsed = |typed| UserName::parse(typed).map(|name| name.to_string());
        assert_eq!(parsed(" Wang.Li "), Ok("wang.li".to_owned()));
        assert_eq!(parsed("王丽"), Ok("王丽".to_owned()));
        let long = "a".repeat(65);
        for bad in ["", " ", "a b", "a/b", "a\nb", "<script>", long.as_str()] {
            assert_eq!(parsed(bad), Err(BadAccount::Name), "{bad:?}");
        }
    }

    #[test]
    fn a_phone_is_ones_own_by_its_number_or_its_whole_address() {
        let profile = Profile {
            stations: vec!["1001".into(), "sip:desk@pbx.example".into()],
            ..Profile::default()
        };
        for own in [
            "sip:1001@192.0.2.20:5060",
            "sips:1001@pbx.example;transport=tls",
            "1001",
            "sip:desk@PBX.example",
        ] {
            assert!(profile.works_at(own), "{own}");
        }
        for foreign in [
            "sip:10010@192.0.2.20",
            "sip:desk@other.example",
            "sip:2001@1001",
            "",
        ] {
            assert!(!profile.works_at(foreign), "{foreign}");
        }
    }

    #[test]
    fn a_profile_is_kept_trimmed_and_each_station_once_and_refused_where_it_is_none() {
        let profile = Profile {
            display_name: " 王丽 ".into(),
            stations: vec![" 1001 ".into(), "1001".into(), String::new()],
            ..Profile::default()
        };
        let kept = profile.checked().expect("fits");
        assert_eq!(
            (kept.display_name.as_str(), kept.stations.len()),
            ("王丽", 1)
        );
        let of = |stations: Vec<String>| Profile {
            stations,
            ..Profile::default()
        };
        assert_eq!(of(vec!["a b".into()]).checked(), Err(BadAccount::Station));
        let many = (0..17).map(|number| number.to_string()).collect();
        assert_eq!(of(many).checked(), Err(BadAccount::Station));
        let long = Profile {
            team: "x".repeat(65),
            ..Profile::default()
        };
        assert_eq!(long.checked(), Err(BadAccount::TooLong));
    }
}
