//! Who is signed in, and who may: what [`crate::people`] decides, with the records, the clock and the random generator.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | passwords that are checked | [`HASHING`] at a time; others wait [`PATIENCE`] | [`Refusal::Busy`] |
//! | sessions that are known in memory | [`MOST_KNOWN`] | all are read again |
//! | streams that hear of ended sessions | [`MOST_ENDED`] behind | the stream looks into the records again |

mod accounts;
mod refusal;
mod roster;
mod sight;
mod sign_in;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

pub use self::accounts::Added;
pub use self::refusal::Refusal;
pub use self::roster::Roster;
pub use self::sight::Sight;
pub use self::sign_in::{Given, SignedIn};
use crate::people::{
    Account, Action, Limits, Lockout, PasswordHash, PasswordRules, Rights, Role, Scope, Session,
    Token, TokenDigest, UserName, lockout,
};
use crate::private::Private;
use crate::speech::CallId;
use crate::store::{AuditRecord, Store, StoreError};
use crate::transcript::Actor;

/// Argon2 takes a core and 19 MiB for tens of milliseconds: calls need the cores more.
const HASHING: usize = 2;
/// How long a sign-in waits for others.
const PATIENCE: Duration = Duration::from_secs(5);
/// Sessions that are known without looking.
const MOST_KNOWN: usize = 4_096;
/// For so long: what another node has ended, it has ended here after that.
const KNOWN_FOR: Duration = Duration::from_secs(5);
/// Ended sessions that a stream may not have heard of yet.
const MOST_ENDED: usize = 256;
/// How often old sessions and audit records are swept up.
const SWEEP: Duration = Duration::from_hours(1);

/// What a site has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long a session lasts.
    pub limits: Limits,
    /// Which passwords are taken.
    pub rules: PasswordRules,
    /// How many wrong attempts make one wait.
    pub lockout: lockout::Policy,
    /// Who must have an authenticator.
    pub totp_for: Vec<Role>,
    /// What authenticators call this site.
    pub issuer: String,
    /// How long audit records are kept.
    pub audit_kept: Duration,
}

/// What has to be done before anything else is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Must {
    /// Replace the password that somebody else has given.
    ChangePassword,
    /// Enrol an authenticator.
    EnrolTotp,
}

/// Somebody who is signed in.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account as it stood a moment ago.
    pub account: Account,
    /// The session that asks.
    pub session: Session,
    /// What has to be done first.
    pub must: Vec<Must>,
    /// From where it is asked.
    pub address: IpAddr,
    rights: Rights,
}

impl Caller {
    /// For the records.
    #[must_use]
    pub fn actor(&self) -> Actor {
        Actor::User {
            user: self.account.name.to_string(),
            station: self.address.to_string(),
        }
    }

    /// What is allowed.
    #[must_use]
    pub const fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Whether `action` is allowed as far as `scope`.
    ///
    /// # Errors
    /// [`Refusal::MustFirst`] or [`Refusal::MayNot`].
    pub fn demand(&self, action: Action, scope: Scope) -> Result<(), Refusal> {
        self.demand_ready()?;
        if self.rights.may(action, scope) {
            Ok(())
        } else {
            Err(Refusal::MayNot)
        }
    }

    /// Whether nothing has to be done first.
    ///
    /// # Errors
    /// [`Refusal::MustFirst`].
    pub fn demand_ready(&self) -> Result<(), Refusal> {
        match self.must.first() {
            Some(must) => Err(Refusal::MustFirst(*must)),
            None => Ok(()),
        }
    }

    /// Whether `action` is allowed on a call that `phone` answers.
    #[must_use]
    pub fn may_on(&self, action: Action, phone: &str, roster: &Roster) -> bool {
        self.must.is_empty()
            && match self.rights.reach(action) {
                None => false,
                Some(Scope::All) => true,
                Some(Scope::Own) => self.account.profile.works_at(phone),
                Some(Scope::Team) => {
                    self.account.profile.works_at(phone)
                        || roster.is_of_team(phone, &self.account.profile.team)
                }
            }
    }
}

/// Something that people do and that is kept; what calls accept is kept by their commands' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Began a session.
    SignIn,
    /// Tried to.
    SignInRefused,
    /// Ended one.
    SignOut,
    /// Opened a call.
    SeeCall,
    /// Played a recording.
    HearCall,
    /// Made an account.
    AddUser,
    /// Changed what it says of its user.
    UpdateUser,
    /// Changed its roles.
    SetRoles,
    /// Closed or opened it.
    SetDisabled,
    /// Gave it a new password.
    ResetPassword,
    /// Replaced one's own.
    ChangePassword,
    /// Enrolled or removed an authenticator.
    Totp,
    /// Ended a session of somebody.
    RevokeSession,
    /// Read the audit.
    ReadAudit,
    /// Verified its chain.
    VerifyAudit,
    /// Forgot old records.
    ExpireAudit,
}

impl Deed {
    /// Its stable name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SignIn => "sign_in",
            Self::SignInRefused => "sign_in_refused",
            Self::SignOut => "sign_out",
            Self::SeeCall => "see_call",
            Self::HearCall => "hear_call",
            Self::AddUser => "add_user",
            Self::UpdateUser => "update_user",
            Self::SetRoles => "set_roles",
            Self::SetDisabled => "set_disabled",
            Self::ResetPassword => "reset_password",
            Self::ChangePassword => "change_password",
            Self::Totp => "totp",
            Self::RevokeSession => "revoke_session",
            Self::ReadAudit => "read_audit",
            Self::VerifyAudit => "verify_audit",
            Self::ExpireAudit => "expire_audit",
        }
    }
}

/// Takes what is to be kept; it never waits.
type Audit = Arc<dyn Fn(AuditRecord) + Send + Sync>;

/// The people of a site; clones share them.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    store: Store,
    settings: Settings,
    audit: Audit,
    lockout: Mutex<Lockout>,
    known: Mutex<HashMap<TokenDigest, (Arc<Caller>, Instant)>>,
    roster: tokio::sync::Mutex<Option<(Arc<Roster>, Instant)>>,
    ended: broadcast::Sender<Arc<str>>,
    hashing: Semaphore,
    /// What is checked where there is no account, so that it takes as long.
    decoy: PasswordHash,
}

impl fmt::Debug for People {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("People").finish_non_exhaustive()
    }
}

impl People {
    /// Those in `store`; `audit` takes what they do, and must not wait.
    #[must_use]
    pub fn new(
        store: Store,
        settings: Settings,
        audit: impl Fn(AuditRecord) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            lockout: Mutex::new(Lockout::new(settings.lockout)),
            store,
            settings,
            audit: Arc::new(audit),
            known: Mutex::default(),
            roster: tokio::sync::Mutex::default(),
            ended: broadcast::channel(MOST_ENDED).0,
            hashing: Semaphore::new(HASHING),
            decoy: PasswordHash::new("nobody's", rand::random()),
        }))
    }

    /// Who shows `token` from `address`.
    ///
    /// # Errors
    /// [`Refusal::SignIn`] when no session of it holds, [`Refusal::Unreadable`].
    pub async fn caller(&self, token: &str, address: IpAddr) -> Result<Arc<Caller>, Refusal> {
        let digest = TokenDigest::of(token);
        let (caller, now) = self.look(digest, address).await?;
        if caller.session.is_due(now) {
            self.0.store.session_seen(&caller.session.id, now).await?;
            let mut seen = Caller::clone(&caller);
            seen.session.seen = now;
            self.remember(digest, Arc::new(seen), Instant::now());
        }
        Ok(caller)
    }

    /// Whether a session of `token` holds, without anything being asked in it: who only looks is idle.
    ///
    /// # Errors
    /// As [`People::caller`].
    pub async fn still_holds(&self, token: &str, address: IpAddr) -> Result<Arc<Caller>, Refusal> {
        let (caller, _) = self.look(TokenDigest::of(token), address).await?;
        Ok(caller)
    }

    async fn look(
        &self,
        digest: TokenDigest,
        address: IpAddr,
    ) -> Result<(Arc<Caller>, SystemTime), Refusal> {
        let (now, instant) = (SystemTime::now(), Instant::now());
        let known = self.known().get(&digest).cloned();
        let caller = match known {
            Some((caller, read))
                if instant.saturating_duration_since(read) < KNOWN_FOR
                    && caller.address == address
                    && caller.session.holds(self.0.settings.limits, now) =>
            {
                caller
            }
            _ => self.read_caller(digest, address, now, instant).await?,
        };
        Ok((caller, now))
    }

    async fn read_caller(
        &self,
        digest: TokenDigest,
        address: IpAddr,
        now: SystemTime,
        instant: Instant,
    ) -> Result<Arc<Caller>, Refusal> {
        let Inner {
            store, settings, ..
        } = &*self.0;
        let session = store.session(&digest).await?;
        let session = session.filter(|session| session.holds(settings.limits, now));
        let session = session.ok_or(Refusal::SignIn)?;
        let kept = store.account(&session.user).await?;
        let account = kept
            .map(|kept| kept.account)
            .filter(|account| !account.disabled);
        let caller = Arc::new(self.as_caller(account.ok_or(Refusal::SignIn)?, session, address));
        self.remember(digest, caller.clone(), instant);
        Ok(caller)
    }

    fn as_caller(&self, account: Account, session: Session, address: IpAddr) -> Caller {
        Caller {
            must: self.must(&account),
            rights: Rights::of(&account.roles),
            account,
            session,
            address,
        }
    }

    fn must(&self, account: &Account) -> Vec<Must> {
        let needs_totp = account
            .roles
            .iter()
            .any(|role| self.0.settings.totp_for.contains(role));
        let must = [
            (account.must_change, Must::ChangePassword),
            (needs_totp && account.totp.is_none(), Must::EnrolTotp),
        ];
        must.into_iter()
            .filter_map(|(must, what)| must.then_some(what))
            .collect()
    }

    /// Hears of the sessions that end, by their numbers.
    #[must_use]
    pub fn endings(&self) -> broadcast::Receiver<Arc<str>> {
        self.0.ended.subscribe()
    }

    /// How long a session may be without a request.
    #[must_use]
    pub fn idle_limit(&self) -> Duration {
        self.0.settings.limits.idle
    }

    /// How long a session lasts at the most.
    #[must_use]
    pub fn absolute_limit(&self) -> Duration {
        self.0.settings.limits.absolute
    }

    /// Keeps what somebody did.
    pub fn note(&self, actor: Actor, call: Option<CallId>, deed: Deed, detail: &serde_json::Value) {
        let detail = Private::new(detail.to_string());
        let record = AuditRecord::new(SystemTime::now(), call, actor, deed.name(), detail);
        (self.0.audit)(record);
    }

    /// The records of what was done.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// Sweeps up ended sessions and old audit records, until `stop`.
    pub async fn sweep(self, stop: CancellationToken) {
        let mut turn = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turn.tick() => {}
            }
            if let Err(error) = self.sweep_once(SystemTime::now()).await {
                tracing::warn!("old sessions and audit records could not be swept up: {error}");
            }
        }
    }

    async fn sweep_once(&self, now: SystemTime) -> Result<(), StoreError> {
        let Inner {
            store, settings, ..
        } = &*self.0;
        let idle = settings.limits.idle + Session::SEEN_EVERY;
        let idle_since = now.checked_sub(idle).unwrap_or(SystemTime::UNIX_EPOCH);
        store.forget_sessions(now, idle_since).await?;
        let before = now.checked_sub(settings.audit_kept);
        let gone = store
            .expire_audit(before.unwrap_or(SystemTime::UNIX_EPOCH))
            .await?;
        if gone > 0 {
            let detail = serde_json::json!({ "records": gone });
            self.note(Actor::System, None, Deed::ExpireAudit, &detail);
        }
        Ok(())
    }

    /// Who works where, at most [`KNOWN_FOR`] old.
    ///
    /// # Errors
    /// [`Refusal::Unreadable`].
    pub async fn roster(&self) -> Result<Arc<Roster>, Refusal> {
        let mut held = self.0.roster.lock().await;
        if let Some((roster, read)) = &*held
            && read.elapsed() < KNOWN_FOR
        {
            return Ok(roster.clone());
        }
        let roster = Arc::new(Roster::read(&self.0.store).await?);
        *held = Some((roster.clone(), Instant::now()));
        Ok(roster)
    }

    fn known(&self) -> MutexGuard<'_, HashMap<TokenDigest, (Arc<Caller>, Instant)>> {
        // Nothing panics under the lock.
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, digest: TokenDigest, caller: Arc<Caller>, read: Instant) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(digest, (caller, read));
    }

    /// What was known of accounts and sessions is read again.
    async fn forget(&self) {
        self.known().clear();
        *self.0.roster.lock().await = None;
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        // Nothing panics under the lock.
        self.0
            .lockout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what takes a core beside everything else.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let place = tokio::time::timeout(PATIENCE, self.0.hashing.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(Refusal::Busy);
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| Refusal::Busy)
    }

    async fn hash_of(&self, password: &str) -> Result<PasswordHash, Refusal> {
        let password = password.to_owned();
        self.hash(move || PasswordHash::new(&password, rand::random()))
            .await
    }

    async fn is_password(
        &self,
        hash: Option<PasswordHash>,
        password: &str,
    ) -> Result<bool, Refusal> {
        let (hash, password) = (
            hash.unwrap_or_else(|| self.0.decoy.clone()),
            password.to_owned(),
        );
        self.hash(move || hash.is(&password)).await
    }

    async fn begin_session(
        &self,
        user: &UserName,
        address: IpAddr,
        agent: &str,
        now: SystemTime,
    ) -> Result<(Token, Session), Refusal> {
        let token = Token::new(rand::random());
        let id = format!("{:032x}", rand::random::<u128>());
        let limits = self.0.settings.limits;
        let session = Session::begin(id, user.clone(), address, agent, limits, now);
        self.0.store.add_session(&session, &token.digest()).await?;
        Ok((token, session))
    }
}
