//! Passwords: which are taken, how they are kept, and those that hold once.

use std::fmt;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Argon2, PasswordHash as Phc};
use serde::{Deserialize, Serialize};
use zxcvbn::{Score, zxcvbn};

use super::account::UserName;
use crate::private::Private;

/// No password is longer, in characters: hashing a book takes a processor.
const LONGEST: usize = 128;

/// A password as it is kept: Argon2id (RFC 9106) in its own notation, with salt and costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PasswordHash(Private<String>);

impl PasswordHash {
    /// Of `password` with a random `salt`. Takes tens of milliseconds and 19 MiB.
    #[must_use]
    pub fn new(password: &str, salt: [u8; 16]) -> Self {
        let hashed = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        // It fails for parameters that are out of bounds, and these are the library's own.
        let phc = hashed.map_or_else(|_| String::new(), |hash| hash.to_string());
        Self(Private::new(phc))
    }

    /// Whether `password` is the one. Takes as long as making it did.
    #[must_use]
    pub fn is(&self, password: &str) -> bool {
        let Ok(hash) = Phc::new(self.0.reveal()) else {
            return false;
        };
        // Somebody who tries a book does not get it hashed.
        password.len() <= LONGEST * 4
            && Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
    }
}

/// Which passwords are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordRules {
    /// Characters, at least.
    pub least: usize,
    /// Kinds of characters (small and capital letters, digits, others), at least.
    pub kinds: usize,
    /// So many earlier ones are not taken again.
    pub earlier: usize,
}

impl Default for PasswordRules {
    fn default() -> Self {
        Self {
            least: 10,
            kinds: 3,
            earlier: 5,
        }
    }
}

/// Why a password is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordFault {
    /// Fewer characters.
    TooShort {
        /// Than these.
        least: usize,
    },
    /// More characters.
    TooLong {
        /// Than these.
        most: usize,
    },
    /// Fewer kinds of characters.
    TooPlain {
        /// Than these.
        least: usize,
    },
    /// It has the user's name in it.
    ContainsName,
    /// It is among the first that anybody tries.
    Common,
    /// It was the password before.
    UsedBefore {
        /// Among so many.
        last: usize,
    },
}

impl fmt::Display for PasswordFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { least } => write!(f, "a password has at least {least} characters"),
            Self::TooLong { most } => write!(f, "a password has at most {most} characters"),
            Self::TooPlain { least } => write!(
                f,
                "a password has at least {least} of: small letters, capital letters, digits, other characters"
            ),
            Self::ContainsName => f.write_str("a password does not contain the user's name"),
            Self::Common => f.write_str(
                "this password is among the first that are tried; take a longer or rarer one",
            ),
            Self::UsedBefore { last } => write!(f, "the last {last} passwords are not taken again"),
        }
    }
}

impl std::error::Error for PasswordFault {}

impl PasswordRules {
    /// Whether `password` may become the one of `name`. Whether it was used before is [`Self::is_earlier`].
    ///
    /// # Errors
    /// [`PasswordFault`], the first that is met.
    pub fn check(
        &self,
        password: &str,
        name: &UserName,
        display: &str,
    ) -> Result<(), PasswordFault> {
        let length = password.chars().count();
        if length < self.least {
            return Err(PasswordFault::TooShort { least: self.least });
        }
        if length > LONGEST {
            return Err(PasswordFault::TooLong { most: LONGEST });
        }
        if kinds(password) < self.kinds {
            return Err(PasswordFault::TooPlain { least: self.kinds });
        }
        let lower = password.to_lowercase();
        let names = [name.as_str().to_lowercase(), display.to_lowercase()];
        if names
            .iter()
            .any(|name| name.chars().count() >= 3 && lower.contains(name.as_str()))
        {
            return Err(PasswordFault::ContainsName);
        }
        let known: Vec<&str> = names.iter().map(String::as_str).collect();
        if zxcvbn(password, &known).score() < Score::Three {
            return Err(PasswordFault::Common);
        }
        Ok(())
    }

    /// Whether `password` is the present or one of the last ones. Takes tens of milliseconds each.
    ///
    /// # Errors
    /// [`PasswordFault::UsedBefore`].
    pub fn is_earlier<'h>(
        &self,
        password: &str,
        hashes: impl IntoIterator<Item = &'h PasswordHash>,
    ) -> Result<(), PasswordFault> {
        let mut hashes = hashes.into_iter().take(self.earlier);
        if hashes.any(|hash| hash.is(password)) {
            return Err(PasswordFault::UsedBefore { last: self.earlier });
        }
        Ok(())
    }
}

fn kinds(password: &str) -> usize {
    let has = |kind: fn(char) -> bool| usize::from(password.chars().any(kind));
    has(char::is_lowercase)
        + has(char::is_uppercase)
        + has(|letter| letter.is_ascii_digit())
        + has(|letter| !letter.is_lowercase() && !letter.is_uppercase() && !letter.is_ascii_digit())
}

/// A password that somebody gives to somebody else, of random bytes: five groups of four, without letters that are
/// taken for digits. 96 bits.
#[must_use]
pub fn one_time(random: [u8; 20]) -> Private<String> {
    // 28 letters and digits; the remainder of a byte favours four of them by a tenth, which costs less than a bit.
    const LETTERS: &[u8; 28] = b"abcdefghkmnpqrstuvwxyz345678";
    let letters = random.map(|byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    Private::new(groups.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wang() -> UserName {
        UserName::parse("wang.li").expect("a name")
    }

    #[test]
    fn a_password_is_known_again_and_not_seen_in_what_is_kept() {
        let hash = PasswordHash::new("Chrysantheme#9 am Meer", [3; 16]);
        assert!(hash.is("Chrysantheme#9 am Meer"));
        assert!(!hash.is("chrysantheme#9 am Meer") && !hash.is(""));
        let kept = serde_json::to_string(&hash).expect("json");
        assert!(
            kept.contains("$argon2id$") && !kept.contains("Meer"),
            "{kept}"
        );
        let read: PasswordHash = serde_json::from_str(&kept).expect("read");
        assert!(read.is("Chrysantheme#9 am Meer"));
        assert!(!format!("{hash:?}").contains("argon2id"));
        let broken: PasswordHash = serde_json::from_str("\"nothing\"").expect("read");
        assert!(!broken.is("nothing"), "what is damaged opens nothing");
    }

    #[test]
    fn what_is_easily_guessed_is_not_taken_and_the_fault_is_named() {
        let rules = PasswordRules::default();
        let long = "aB3$".repeat(33);
        for (password, fault) in [
            ("kA7#qx", PasswordFault::TooShort { least: 10 }),
            (long.as_str(), PasswordFault::TooLong { most: 128 }),
            ("abcdefghijklmnop", PasswordFault::TooPlain { least: 3 }),
            ("Wang.Li-2026!", PasswordFault::ContainsName),
            ("xx王丽丽Aa9-#qrt", PasswordFault::ContainsName),
            ("Password123!", PasswordFault::Common),
            ("Qwertyuiop1!", PasswordFault::Common),
        ] {
            let refused = rules.check(password, &wang(), "王丽丽");
            assert_eq!(refused, Err(fault), "{password}");
        }
        for good in ["Tramontana 47 grau", "7kT-vq9-Lrw-2xz", "海边的灯塔亮Ab12"] {
            assert_eq!(rules.check(good, &wang(), "王丽丽"), Ok(()), "{good}");
        }
    }

    #[test]
    fn the_last_passwords_are_not_taken_again() {
        let rules = PasswordRules {
            earlier: 2,
            ..PasswordRules::default()
        };
        let hashes: Vec<_> = ["one", "two", "three"]
            .iter()
            .map(|password| PasswordHash::new(password, [1; 16]))
            .collect();
        assert_eq!(
            rules.is_earlier("two", &hashes),
            Err(PasswordFault::UsedBefore { last: 2 })
        );
        assert_eq!(rules.is_earlier("three", &hashes), Ok(()));
    }

    #[test]
    fn a_one_time_password_is_typed_without_doubt() {
        let password = one_time(std::array::from_fn(|index| (index * 13) as u8));
        let typed = password.reveal();
        assert_eq!(typed.split('-').count(), 5);
        assert!(
            !typed.contains(['i', 'l', 'o', 'j', '0', '1', '2', '9']),
            "{typed}"
        );
        assert_ne!(one_time([1; 20]).reveal(), one_time([2; 20]).reveal());
    }
}
