//! Who works at which phone, and in which team.

use crate::people::Profile;
use crate::store::{Store, StoreError};

/// Accounts that are read at a time.
const PAGE: u32 = 500;

/// What all accounts say of their users.
#[derive(Clone, Debug, Default)]
pub struct Roster(Vec<Profile>);

impl Roster {
    /// Of everybody who can sign in.
    pub(super) async fn read(store: &Store) -> Result<Self, StoreError> {
        let (mut profiles, mut after) = (Vec::new(), String::new());
        loop {
            let page = store.accounts(&after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            if let Some(last) = page.last() {
                after = last.account.name.to_string();
            }
            let accounts = page.into_iter().map(|kept| kept.account);
            profiles.extend(
                accounts
                    .filter(|account| !account.disabled && !account.profile.stations.is_empty())
                    .map(|account| account.profile),
            );
            if is_last {
                return Ok(Self(profiles));
            }
        }
    }

    /// Whether somebody of `team` works at `phone`, or nobody is known to.
    #[must_use]
    pub fn is_of_team(&self, phone: &str, team: &str) -> bool {
        let mut owners = self
            .0
            .iter()
            .filter(|profile| profile.works_at(phone))
            .peekable();
        owners.peek().is_none() || owners.any(|profile| profile.team == team)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_of_its_users_teams_and_one_without_a_user_of_every_team() {
        let profile = |station: &str, team: &str| Profile {
            stations: vec![station.to_owned()],
            team: team.to_owned(),
            ..Profile::default()
        };
        let roster = Roster(vec![
            profile("1001", "a"),
            profile("1002", "b"),
            profile("1001", "c"),
        ]);
        let of = |phone: &str, team: &str| roster.is_of_team(phone, team);
        assert!(of("sip:1001@192.0.2.1", "a") && of("sip:1001@192.0.2.1", "c"));
        assert!(!of("sip:1001@192.0.2.1", "b") && !of("sip:1002@192.0.2.1", ""));
        assert!(
            of("sip:1003@192.0.2.1", "b"),
            "nobody is known to work there"
        );
    }
}
