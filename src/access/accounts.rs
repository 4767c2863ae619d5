//! The accounts, as administrators change them. Whether somebody may is asked before, by [`Caller::demand`]; the command
//! line on the machine itself may.
//!
//! [`Caller::demand`]: super::Caller::demand

use std::time::SystemTime;

use serde_json::json;

use super::{Deed, People, Refusal};
use crate::people::{Account, Action, Profile, Rights, Role, Scope, Session, UserName, password};
use crate::private::Private;
use crate::store::KeptAccount;
use crate::transcript::Actor;

/// An account that was made, or has a new password.
#[derive(Debug)]
pub struct Added {
    /// As it stands now.
    pub account: Account,
    /// Shown this once; it has to be replaced at the first sign-in.
    pub one_time: Private<String>,
}

impl People {
    /// Makes the first administrator, who can make the other accounts, where there is no account yet.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`], [`Refusal::Busy`].
    pub async fn first_administrator(&self) -> Result<Option<Added>, Refusal> {
        if !self.0.store.accounts("", 1).await?.is_empty() {
            return Ok(None);
        }
        let roles = vec![Role::SystemAdministrator, Role::SecurityAdministrator];
        match self
            .add(&Actor::System, "admin", Profile::default(), roles)
            .await
        {
            // Another node was quicker.
            Err(Refusal::NameTaken) => Ok(None),
            added => added.map(Some),
        }
    }

    /// Makes an account.
    ///
    /// # Errors
    /// [`Refusal::Bad`], [`Refusal::NameTaken`] and as always.
    pub async fn add(
        &self,
        by: &Actor,
        name: &str,
        profile: Profile,
        roles: Vec<Role>,
    ) -> Result<Added, Refusal> {
        let one_time = password::one_time(rand::random());
        let hash = self.hash_of(one_time.reveal()).await?;
        let name = UserName::parse(name)?;
        let account = Account::new(name, profile, roles, hash, SystemTime::now())?;
        if !self.0.store.add_account(&account).await? {
            return Err(Refusal::NameTaken);
        }
        self.forget().await;
        let detail =
            json!({ "user": account.name, "profile": account.profile, "roles": account.roles });
        self.note(by.clone(), None, Deed::AddUser, &detail);
        Ok(Added { account, one_time })
    }

    /// Replaces what an account says of its user, as it stood in `revision`.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Bad`], [`Refusal::ChangedMeanwhile`] and as always.
    pub async fn update(
        &self,
        by: &Actor,
        name: &UserName,
        profile: Profile,
        revision: u64,
    ) -> Result<Account, Refusal> {
        let (kept, profile) = (self.read(name).await?, profile.checked()?);
        let updated = |account: &mut Account| {
            based_on(account, revision)?;
            account.profile = profile.clone();
            Ok(())
        };
        let account = self.change(kept, updated).await?;
        let detail = json!({ "user": name, "profile": account.profile });
        self.note(by.clone(), None, Deed::UpdateUser, &detail);
        Ok(account)
    }

    /// Replaces the roles of an account, as they stood in `revision`; its sessions end.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::Bad`], [`Refusal::ChangedMeanwhile`], [`Refusal::OwnAccount`],
    /// [`Refusal::LastAdministrator`] and as always.
    pub async fn set_roles(
        &self,
        by: &Actor,
        name: &UserName,
        roles: Vec<Role>,
        revision: u64,
    ) -> Result<Account, Refusal> {
        is_anothers(by, name)?;
        let kept = self.read(name).await?;
        let gives = |roles: &[Role]| Rights::of(roles).may(Action::AssignRoles, Scope::All);
        if !gives(&roles) {
            self.demand_another_administrator(&kept.account).await?;
        }
        let before = kept.account.roles.clone();
        let changed = |account: &mut Account| {
            based_on(account, revision)?;
            account.set_roles(roles.clone())?;
            Ok(())
        };
        let account = self.change(kept, changed).await?;
        self.end_all(name, None).await?;
        let detail = json!({ "user": name, "from": before, "to": account.roles });
        self.note(by.clone(), None, Deed::SetRoles, &detail);
        Ok(account)
    }

    /// Lets an account sign in, or does not; its sessions end when it does not.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::OwnAccount`], [`Refusal::LastAdministrator`] and as always.
    pub async fn set_disabled(
        &self,
        by: &Actor,
        name: &UserName,
        disabled: bool,
    ) -> Result<Account, Refusal> {
        is_anothers(by, name)?;
        let kept = self.read(name).await?;
        if disabled {
            self.demand_another_administrator(&kept.account).await?;
        }
        let changed = |account: &mut Account| {
            account.disabled = disabled;
            account.revision += 1;
            Ok(())
        };
        let account = self.change(kept, changed).await?;
        if disabled {
            self.end_all(name, None).await?;
        }
        let detail = json!({ "user": name, "disabled": disabled });
        self.note(by.clone(), None, Deed::SetDisabled, &detail);
        Ok(account)
    }

    /// Gives an account a new one-time password, takes its authenticator away where asked, and lifts a lock-out of its
    /// name; its sessions end.
    ///
    /// # Errors
    /// [`Refusal::NoAccount`], [`Refusal::OwnAccount`] and as always.
    pub async fn reset_password(
        &self,
        by: &Actor,
        name: &UserName,
        remove_totp: bool,
    ) -> Result<Added, Refusal> {
        is_anothers(by, name)?;
        let kept = self.read(name).await?;
        let one_time = password::one_time(rand::random());
        let hash = self.hash_of(one_time.reveal()).await?;
        let earlier = self.0.settings.rules.earlier;
        let reset = |account: &mut Account| {
            account.replace_password(hash.clone(), earlier, true);
            if remove_totp {
                (account.totp, account.proposed_totp) = (None, None);
            }
            account.revision += 1;
            Ok(())
        };
        let account = self.change(kept, reset).await?;
        self.end_all(name, None).await?;
        self.lockout().lift(name);
        let detail = json!({ "user": name, "remove_totp": remove_totp });
        self.note(by.clone(), None, Deed::ResetPassword, &detail);
        Ok(Added { account, one_time })
    }

    /// The accounts behind the name `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub async fn accounts(&self, after: &str, limit: u32) -> Result<Vec<Account>, Refusal> {
        let kept = self.0.store.accounts(after, limit).await?;
        Ok(kept
            .into_iter()
            .map(|KeptAccount { account, .. }| account)
            .collect())
    }

    /// The sessions of `user`, or of all, the latest first.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub async fn sessions(&self, user: Option<&UserName>) -> Result<Vec<Session>, Refusal> {
        let (limits, now) = (self.0.settings.limits, SystemTime::now());
        let mut sessions = self.0.store.sessions(user).await?;
        sessions.retain(|session| session.holds(limits, now));
        Ok(sessions)
    }

    /// Ends a session of anybody.
    ///
    /// # Errors
    /// [`Refusal::NoSession`] and as always.
    pub async fn revoke(&self, by: &Actor, id: &str) -> Result<(), Refusal> {
        let user = self.end(id, None).await?;
        let detail = json!({ "session": id, "user": user });
        self.note(by.clone(), None, Deed::RevokeSession, &detail);
        Ok(())
    }

    /// Where `account` can give roles, somebody else who can must be left.
    async fn demand_another_administrator(&self, account: &Account) -> Result<(), Refusal> {
        /// Accounts that are read at a time.
        const PAGE: u32 = 500;
        let gives = |account: &Account| {
            !account.disabled && Rights::of(&account.roles).may(Action::AssignRoles, Scope::All)
        };
        if !gives(account) {
            return Ok(());
        }
        let mut after = String::new();
        loop {
            let page = self.accounts(&after, PAGE).await?;
            if page
                .iter()
                .any(|other| other.name != account.name && gives(other))
            {
                return Ok(());
            }
            match page.last() {
                Some(last) => after = last.name.to_string(),
                None => return Err(Refusal::LastAdministrator),
            }
        }
    }
}

fn based_on(account: &mut Account, revision: u64) -> Result<(), Refusal> {
    if account.revision != revision {
        return Err(Refusal::ChangedMeanwhile);
    }
    account.revision += 1;
    Ok(())
}

/// Nobody changes his own account; the machine itself has none.
fn is_anothers(by: &Actor, name: &UserName) -> Result<(), Refusal> {
    match by {
        Actor::User { user, .. } if user == name.as_str() => Err(Refusal::OwnAccount),
        _ => Ok(()),
    }
}
