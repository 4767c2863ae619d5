//! Settings of the people who sign in, and of the audit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ConfigError;
use crate::people::{PasswordRules, Role};

/// The least that the law asks audit records to be kept (网络安全法 §21).
const LEAST_AUDIT_DAYS: u32 = 180;

/// Who signs in, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct People {
    /// Whether the page asks who somebody is. Without it, whoever reaches the page sees every call and writes into every
    /// ticket, so it must be left on where others than this machine itself reach it.
    pub sign_in: bool,
    /// A session in which nothing is asked for so long has ended.
    pub idle_min: u32,
    /// A session ends after so long at the most.
    pub session_h: u32,
    /// Roles that must have an authenticator (TOTP).
    pub totp_for: Vec<Role>,
    /// Characters of a password, at least.
    pub password_least: u32,
    /// What authenticators call this site.
    pub site: String,
}

/// What is kept of what was done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// For how many days.
    pub kept_days: u32,
}

impl Default for People {
    fn default() -> Self {
        Self {
            sign_in: true,
            idle_min: 60,
            session_h: 12,
            totp_for: Vec::new(),
            password_least: PasswordRules::default().least as u32,
            site: "心桥".to_owned(),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { kept_days: 400 }
    }
}

impl People {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, why: &str| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                value: Some(value),
                origin: None,
                why: why.to_owned(),
            })
        };
        if self.idle_min == 0 {
            return refuse("people.idle_min", "0".to_owned(), "it must be 1 or more");
        }
        if !(1..=168).contains(&self.session_h) {
            let value = self.session_h.to_string();
            return refuse("people.session_h", value, "it must be from 1 to 168");
        }
        if !(8..=64).contains(&self.password_least) {
            let value = self.password_least.to_string();
            return refuse("people.password_least", value, "it must be from 8 to 64");
        }
        if let Some(role) = self.totp_for.iter().find(|role| role.is_program()) {
            return refuse(
                "people.totp_for",
                role.to_string(),
                "that role is a program's",
            );
        }
        if self.site.trim().is_empty() {
            return refuse("people.site", String::new(), "it must have a name");
        }
        Ok(())
    }

    /// How long a session may be without a request.
    #[must_use]
    pub fn idle(&self) -> Duration {
        Duration::from_mins(u64::from(self.idle_min))
    }

    /// How long it lasts at the most.
    #[must_use]
    pub fn absolute(&self) -> Duration {
        Duration::from_hours(u64::from(self.session_h))
    }
}

impl Audit {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.kept_days >= LEAST_AUDIT_DAYS {
            return Ok(());
        }
        Err(ConfigError::Value {
            key: "audit.kept_days".to_owned(),
            value: Some(self.kept_days.to_string()),
            origin: None,
            why: format!("it must be {LEAST_AUDIT_DAYS} or more, as the law asks"),
        })
    }

    /// How long.
    #[must_use]
    pub fn kept(&self) -> Duration {
        Duration::from_hours(24) * self.kept_days
    }
}
