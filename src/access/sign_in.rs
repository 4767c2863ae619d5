//! Signing in and out, and what one changes of one's own account.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use serde_json::json;

use super::{Caller, Deed, People, Refusal};
use crate::people::totp::Totp;
use crate::people::{Account, Attempt, Session, Token, UserName};
use crate::private::Private;
use crate::store::KeptAccount;
use crate::transcript::Actor;

/// What somebody gives to sign in.
#[derive(Clone, Debug)]
pub struct Given<'a> {
    /// The account's name.
    pub name: &'a str,
    /// Its password.
    pub password: &'a str,
    /// The authenticator's six digits; empty at first.
    pub code: &'a str,
    /// Whence.
    pub address: IpAddr,
    /// What the browser or program calls itself.
    pub agent: &'a str,
}

/// How a sign-in went.
#[derive(Debug)]
pub enum SignedIn {
    /// Nothing is begun yet: the authenticator's code is needed too.
    CodeNeeded,
    /// A session has begun.
    Begun {
        /// For the browser alone.
        token: Token,
        /// Who it is.
        caller: Arc<Caller>,
    },
}

impl People {
    /// Begins a session. How long it takes tells nothing of whether the account exists.
    ///
    /// # Errors
    /// [`Refusal::Wrong`], [`Refusal::LockedOut`], [`Refusal::Busy`], [`Refusal::Unreadable`].
    pub async fn sign_in(&self, given: Given<'_>) -> Result<SignedIn, Refusal> {
        let tried = UserName::parse(given.name).ok();
        let actor = Actor::User {
            user: tried.as_ref().map(ToString::to_string).unwrap_or_default(),
            station: given.address.to_string(),
        };
        let signed_in = match tried {
            Some(name) => self.try_to_sign_in(name, &given).await,
            // What cannot be a name is tried like any other.
            None => self
                .is_password(None, given.password)
                .await
                .and(Err(Refusal::Wrong)),
        };
        match &signed_in {
            Ok(SignedIn::CodeNeeded) | Err(Refusal::Busy | Refusal::Unreadable(_)) => {}
            Ok(SignedIn::Begun { caller, .. }) => {
                let detail = json!({ "session": caller.session.id });
                self.note(actor, None, Deed::SignIn, &detail);
            }
            Err(refusal) => {
                let detail = json!({ "reason": refusal.reason() });
                self.note(actor, None, Deed::SignInRefused, &detail);
            }
        }
        signed_in
    }

    async fn try_to_sign_in(&self, name: UserName, given: &Given<'_>) -> Result<SignedIn, Refusal> {
        let attempt = Attempt {
            name,
            address: given.address,
        };
        let waiting = self.lockout().wait(&attempt, Instant::now());
        if let Some(retry_after) = waiting {
            return Err(Refusal::LockedOut { retry_after });
        }
        let kept = self.0.store.account(&attempt.name).await?;
        let hash = kept.as_ref().and_then(|kept| kept.account.password.clone());
        let is_right = self.is_password(hash, given.password).await?;
        let open = kept
            .filter(|kept| is_right && !kept.account.disabled && kept.account.password.is_some());
        let Some(kept) = open else {
            return Err(self.wrong(&attempt));
        };
        if kept.account.totp.is_some() && given.code.is_empty() {
            return Ok(SignedIn::CodeNeeded);
        }
        let now = SystemTime::now();
        let signed = |account: &mut Account| {
            let is_right = account
                .totp
                .as_mut()
                .is_none_or(|totp| totp.take(given.code, now));
            account.signed_in = Some(now);
            if is_right {
                Ok(())
            } else {
                Err(Refusal::Wrong)
            }
        };
        let account = match self.change(kept, signed).await {
            Err(Refusal::Wrong) => return Err(self.wrong(&attempt)),
            changed => changed?,
        };
        self.lockout().right(&attempt);
        let begun = self.begin_session(&account.name, given.address, given.agent, now);
        let (token, session) = begun.await?;
        let caller = Arc::new(self.as_caller(account, session, given.address));
        Ok(SignedIn::Begun { token, caller })
    }

    fn wrong(&self, attempt: &Attempt) -> Refusal {
        if self.lockout().wrong(attempt, Instant::now()) {
            tracing::warn!(name = %attempt.name, address = %attempt.address, "too many wrong sign-ins: locked out");
        }
        Refusal::Wrong
    }

    /// Writes an account as `how` changes it; where somebody else has written it since, what they wrote is changed.
    pub(super) async fn change(
        &self,
        mut kept: KeptAccount,
        mut how: impl FnMut(&mut Account) -> Result<(), Refusal>,
    ) -> Result<Account, Refusal> {
        /// More than there are people who write at once.
        const ATTEMPTS: usize = 8;
        for _ in 0..ATTEMPTS {
            let mut account = kept.account;
            how(&mut account)?;
            if self.0.store.save_account(&account, kept.version).await? {
                self.forget().await;
                return Ok(account);
            }
            kept = self.read(&account.name).await?;
        }
        Err(Refusal::ChangedMeanwhile)
    }

    pub(super) async fn read(&self, name: &UserName) -> Result<KeptAccount, Refusal> {
        self.0.store.account(name).await?.ok_or(Refusal::NoAccount)
    }

    /// Ends the session that asks.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), Refusal> {
        self.end(&caller.session.id, None).await?;
        let detail = json!({ "session": caller.session.id });
        self.note(caller.actor(), None, Deed::SignOut, &detail);
        Ok(())
    }

    /// Ends a session, where it is `user`'s or nobody is named; returns whose it was.
    pub(super) async fn end(&self, id: &str, user: Option<&UserName>) -> Result<UserName, Refusal> {
        let ended = self.0.store.end_session(id, user).await?;
        self.forget().await;
        let of = ended.ok_or(Refusal::NoSession)?;
        // Nobody may be listening.
        let _ = self.0.ended.send(id.into());
        Ok(of)
    }

    /// Ends the sessions of `user` except `kept`.
    pub(super) async fn end_all(&self, user: &UserName, kept: Option<&str>) -> Result<(), Refusal> {
        let ended = self.0.store.end_sessions(user, kept).await?;
        self.forget().await;
        for id in ended {
            let _ = self.0.ended.send(id.into());
        }
        Ok(())
    }

    /// Replaces one's own password; all other sessions of the account end.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for the present one, [`Refusal::Password`], [`Refusal::LockedOut`], and as always.
    pub async fn change_password(
        &self,
        caller: &Caller,
        password: &str,
        new: &str,
    ) -> Result<(), Refusal> {
        let kept = self.confirmed(caller, password).await?;
        let rules = self.0.settings.rules;
        let account = &kept.account;
        rules.check(new, &account.name, account.display_name())?;
        let hashes: Vec<_> = account
            .password
            .iter()
            .chain(&account.earlier)
            .cloned()
            .collect();
        let tried = new.to_owned();
        self.hash(move || rules.is_earlier(&tried, &hashes))
            .await??;
        let hash = self.hash_of(new).await?;
        let replaced = |account: &mut Account| {
            account.replace_password(hash.clone(), rules.earlier, false);
            account.revision += 1;
            Ok(())
        };
        self.change(kept, replaced).await?;
        let own = &caller.account.name;
        self.end_all(own, Some(&caller.session.id)).await?;
        self.note(caller.actor(), None, Deed::ChangePassword, &json!({}));
        Ok(())
    }

    /// The caller's account, where `password` is right. A wrong one counts like a wrong sign-in.
    async fn confirmed(&self, caller: &Caller, password: &str) -> Result<KeptAccount, Refusal> {
        let attempt = Attempt {
            name: caller.account.name.clone(),
            address: caller.address,
        };
        let waiting = self.lockout().wait(&attempt, Instant::now());
        if let Some(retry_after) = waiting {
            return Err(Refusal::LockedOut { retry_after });
        }
        let kept = self.read(&attempt.name).await?;
        let hash = kept.account.password.clone();
        if !self.is_password(hash, password).await? {
            return Err(self.wrong(&attempt));
        }
        Ok(kept)
    }

    /// Proposes an authenticator: its secret, and its URI for a QR code.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] and as always.
    pub async fn enrol_totp(
        &self,
        caller: &Caller,
        password: &str,
    ) -> Result<(Private<String>, Private<String>), Refusal> {
        let kept = self.confirmed(caller, password).await?;
        let totp = Totp::new(rand::random());
        let uri = totp.uri(&self.0.settings.issuer, kept.account.name.as_str());
        let proposed = |account: &mut Account| {
            account.proposed_totp = Some(totp.clone());
            Ok(())
        };
        self.change(kept, proposed).await?;
        Ok((totp.secret().clone(), uri))
    }

    /// Has the proposed authenticator hold from now on.
    ///
    /// # Errors
    /// [`Refusal::NotProposed`], [`Refusal::WrongCode`] and as always.
    pub async fn confirm_totp(&self, caller: &Caller, code: &str) -> Result<(), Refusal> {
        let kept = self.read(&caller.account.name).await?;
        let now = SystemTime::now();
        let confirmed = |account: &mut Account| {
            let mut totp = account.proposed_totp.take().ok_or(Refusal::NotProposed)?;
            if !totp.take(code, now) {
                return Err(Refusal::WrongCode);
            }
            account.totp = Some(totp);
            account.revision += 1;
            Ok(())
        };
        self.change(kept, confirmed).await?;
        self.note(
            caller.actor(),
            None,
            Deed::Totp,
            &json!({ "enrolled": true }),
        );
        Ok(())
    }

    /// Takes the authenticator away.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] for password or code, [`Refusal::TotpRequired`] and as always.
    pub async fn remove_totp(
        &self,
        caller: &Caller,
        password: &str,
        code: &str,
    ) -> Result<(), Refusal> {
        let kept = self.confirmed(caller, password).await?;
        let totp_for = &self.0.settings.totp_for;
        if kept
            .account
            .roles
            .iter()
            .any(|role| totp_for.contains(role))
        {
            return Err(Refusal::TotpRequired);
        }
        let now = SystemTime::now();
        let removed = |account: &mut Account| {
            let mut totp = account.totp.take().ok_or(Refusal::NotProposed)?;
            if !totp.take(code, now) {
                return Err(Refusal::Wrong);
            }
            account.revision += 1;
            Ok(())
        };
        match self.change(kept, removed).await {
            Err(Refusal::Wrong) => {
                let attempt = Attempt {
                    name: caller.account.name.clone(),
                    address: caller.address,
                };
                return Err(self.wrong(&attempt));
            }
            changed => changed?,
        };
        self.note(
            caller.actor(),
            None,
            Deed::Totp,
            &json!({ "enrolled": false }),
        );
        Ok(())
    }

    /// The sessions of the caller's account, the latest first.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub async fn own_sessions(&self, caller: &Caller) -> Result<Vec<Session>, Refusal> {
        self.sessions(Some(&caller.account.name)).await
    }

    /// Ends one of them.
    ///
    /// # Errors
    /// [`Refusal::NoSession`] and as always.
    pub async fn revoke_own(&self, caller: &Caller, id: &str) -> Result<(), Refusal> {
        self.end(id, Some(&caller.account.name)).await?;
        self.note(
            caller.actor(),
            None,
            Deed::RevokeSession,
            &json!({ "session": id }),
        );
        Ok(())
    }
}
