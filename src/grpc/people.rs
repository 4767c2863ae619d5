//! The services of people.proto: sign-in, accounts, the audit.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::access::Shown;
use super::proto::people::v1 as wire;
use super::proto::people::v1::account_server::Account as AccountService;
use super::proto::people::v1::audit_server::Audit as AuditService;
use super::proto::people::v1::users_server::Users as UsersService;
use crate::access::{Added, Caller, Deed, Given, Must, People, Refusal, Sight, SignedIn};
use crate::people::{Account, Action, Profile, Role, Scope, Session, UserName};
use crate::private::Private;
use crate::speech::CallId;
use crate::store::{AuditFilter, AuditRecord, unix_ms};

/// What refusals say they come from.
const DOMAIN: &str = "xinqiao";
/// Entries of a page when none is asked for, and at most.
const PAGE: u32 = 100;
const MOST: u32 = 500;

/// How a request comes in that a browser has sent: by the console's port, with the session in a cookie.
#[derive(Clone, Debug)]
pub struct ByBrowser {
    /// The session's token, where it showed one.
    pub token: Option<String>,
    /// Where it is.
    pub address: IpAddr,
    /// What it calls itself.
    pub agent: String,
    /// The name of the cookie that holds the session, and what stands behind its value.
    pub cookie: (&'static str, &'static str),
}

/// The three services; clones share the people.
#[derive(Clone, Debug)]
pub struct PeopleServices(People);

impl PeopleServices {
    /// Over `people`.
    #[must_use]
    pub const fn new(people: People) -> Self {
        Self(people)
    }

    /// Who asks.
    async fn caller<T>(&self, request: &Request<T>) -> Result<Arc<Caller>, Status> {
        let (caller, _) = signed(&self.0, request).await?;
        Ok(caller)
    }

    async fn caller_who_may<T>(
        &self,
        request: &Request<T>,
        action: Action,
    ) -> Result<Arc<Caller>, Status> {
        let caller = self.caller(request).await?;
        caller.demand(action, Scope::All)?;
        Ok(caller)
    }

    fn me(&self, caller: &Caller) -> wire::Me {
        let grants = caller.rights().grants().map(|(action, scope)| wire::Grant {
            action: action_to_wire(action).into(),
            scope: scope_to_wire(scope).into(),
        });
        let must = caller.must.iter().map(|must| match must {
            Must::ChangePassword => wire::Must::ChangePassword.into(),
            Must::EnrolTotp => wire::Must::EnrolTotp.into(),
        });
        wire::Me {
            user: Some(user(&caller.account)),
            grants: grants.collect(),
            must: must.collect(),
            session: Some(session(&caller.session, Some(caller))),
            idle_limit_s: self.0.idle_limit().as_secs() as u32,
        }
    }
}

/// Who asks, and by which token.
async fn signed<T>(
    people: &People,
    request: &Request<T>,
) -> Result<(Arc<Caller>, Arc<str>), Refusal> {
    let (token, address) = match request.extensions().get::<ByBrowser>() {
        Some(browser) => (browser.token.clone(), browser.address),
        None => (bearer(request), address(request)),
    };
    let token = token.ok_or(Refusal::SignIn)?;
    let caller = people.caller(&token, address).await?;
    Ok((caller, token.into()))
}

/// What who asks may see of the calls.
pub(super) async fn sight<T>(people: &People, request: &Request<T>) -> Result<Sight, Refusal> {
    let (caller, token) = signed(people, request).await?;
    Sight::open(people, caller, token).await
}

fn bearer<T>(request: &Request<T>) -> Option<String> {
    let value = request.metadata().get("authorization")?.to_str().ok()?;
    value
        .strip_prefix("Bearer ")
        .map(|token| token.trim().to_owned())
}

fn address<T>(request: &Request<T>) -> IpAddr {
    let shown = request.extensions().get::<Shown>();
    let address = shown
        .and_then(|shown| shown.address)
        .or_else(|| request.remote_addr());
    address.map_or(Ipv4Addr::UNSPECIFIED.into(), |address| address.ip())
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        let code = match &refusal {
            Refusal::SignIn | Refusal::Wrong => Code::Unauthenticated,
            Refusal::LockedOut { .. } | Refusal::Busy => Code::ResourceExhausted,
            Refusal::MayNot => Code::PermissionDenied,
            Refusal::NoAccount | Refusal::NoSession => Code::NotFound,
            Refusal::NameTaken => Code::AlreadyExists,
            Refusal::Bad(_) | Refusal::Password(_) | Refusal::WrongCode | Refusal::BadPage => {
                Code::InvalidArgument
            }
            Refusal::ChangedMeanwhile => Code::Aborted,
            Refusal::MustFirst(_)
            | Refusal::OwnAccount
            | Refusal::LastAdministrator
            | Refusal::NotProposed
            | Refusal::TotpRequired => Code::FailedPrecondition,
            Refusal::Unreadable(_) => Code::Unavailable,
        };
        let numbers = refusal.numbers().into_iter();
        let metadata: HashMap<_, _> = numbers
            .map(|(name, number)| (name.to_owned(), number.to_string()))
            .collect();
        let details = ErrorDetails::with_error_info(refusal.reason(), DOMAIN, metadata);
        Self::with_error_details(code, refusal.to_string(), details)
    }
}

#[tonic::async_trait]
impl AccountService for PeopleServices {
    async fn sign_in(
        &self,
        request: Request<wire::SignInRequest>,
    ) -> Result<Response<wire::SignInResponse>, Status> {
        let browser = request.extensions().get::<ByBrowser>().cloned();
        let agent = request.metadata().get("user-agent");
        let agent = agent
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let given = Given {
            name: &request.get_ref().name,
            password: &request.get_ref().password,
            code: &request.get_ref().totp_code,
            address: browser
                .as_ref()
                .map_or_else(|| address(&request), |known| known.address),
            agent: browser.as_ref().map_or(agent, |known| &known.agent),
        };
        let (token, caller) = match self.0.sign_in(given).await? {
            SignedIn::CodeNeeded => {
                return Ok(Response::new(wire::SignInResponse {
                    code_needed: true,
                    ..Default::default()
                }));
            }
            SignedIn::Begun { token, caller } => (token, caller),
        };
        let mut answer = wire::SignInResponse {
            code_needed: false,
            me: Some(self.me(&caller)),
            token: String::new(),
        };
        let Some(ByBrowser { cookie, .. }) = browser else {
            token.reveal().clone_into(&mut answer.token);
            return Ok(Response::new(answer));
        };
        let (name, attributes) = cookie;
        let lasts = self.0.absolute_limit().as_secs();
        let cookie = format!("{name}={}; Max-Age={lasts}{attributes}", token.reveal());
        with_cookie(answer, &cookie)
    }

    async fn sign_out(
        &self,
        request: Request<wire::SignOutRequest>,
    ) -> Result<Response<wire::SignOutResponse>, Status> {
        let caller = self.caller(&request).await?;
        self.0.sign_out(&caller).await?;
        match request.extensions().get::<ByBrowser>() {
            None => Ok(Response::new(wire::SignOutResponse {})),
            Some(ByBrowser { cookie, .. }) => {
                let (name, attributes) = cookie;
                let cookie = format!("{name}=; Max-Age=0{attributes}");
                with_cookie(wire::SignOutResponse {}, &cookie)
            }
        }
    }

    async fn who_am_i(
        &self,
        request: Request<wire::WhoAmIRequest>,
    ) -> Result<Response<wire::WhoAmIResponse>, Status> {
        let caller = self.caller(&request).await?;
        let me = Some(self.me(&caller));
        Ok(Response::new(wire::WhoAmIResponse { me }))
    }

    async fn change_password(
        &self,
        request: Request<wire::ChangePasswordRequest>,
    ) -> Result<Response<wire::ChangePasswordResponse>, Status> {
        let caller = self.caller(&request).await?;
        let wire::ChangePasswordRequest {
            password,
            new_password,
        } = request.get_ref();
        self.0
            .change_password(&caller, password, new_password)
            .await?;
        Ok(Response::new(wire::ChangePasswordResponse {}))
    }

    async fn enrol_totp(
        &self,
        request: Request<wire::EnrolTotpRequest>,
    ) -> Result<Response<wire::EnrolTotpResponse>, Status> {
        let caller = self.caller(&request).await?;
        let enrolled = self
            .0
            .enrol_totp(&caller, &request.get_ref().password)
            .await?;
        let (secret, uri) = enrolled;
        Ok(Response::new(wire::EnrolTotpResponse {
            secret: secret.into_inner(),
            uri: uri.into_inner(),
        }))
    }

    async fn confirm_totp(
        &self,
        request: Request<wire::ConfirmTotpRequest>,
    ) -> Result<Response<wire::ConfirmTotpResponse>, Status> {
        let caller = self.caller(&request).await?;
        self.0
            .confirm_totp(&caller, &request.get_ref().code)
            .await?;
        Ok(Response::new(wire::ConfirmTotpResponse {}))
    }

    async fn remove_totp(
        &self,
        request: Request<wire::RemoveTotpRequest>,
    ) -> Result<Response<wire::RemoveTotpResponse>, Status> {
        let caller = self.caller(&request).await?;
        let wire::RemoveTotpRequest { password, code } = request.get_ref();
        self.0.remove_totp(&caller, password, code).await?;
        Ok(Response::new(wire::RemoveTotpResponse {}))
    }

    async fn list_sessions(
        &self,
        request: Request<wire::ListSessionsRequest>,
    ) -> Result<Response<wire::ListSessionsResponse>, Status> {
        let caller = self.caller(&request).await?;
        let sessions = self.0.own_sessions(&caller).await?;
        let sessions = sessions.iter().map(|of| session(of, Some(&caller)));
        Ok(Response::new(wire::ListSessionsResponse {
            sessions: sessions.collect(),
        }))
    }

    async fn revoke_session(
        &self,
        request: Request<wire::RevokeSessionRequest>,
    ) -> Result<Response<wire::RevokeSessionResponse>, Status> {
        let caller = self.caller(&request).await?;
        self.0.revoke_own(&caller, &request.get_ref().id).await?;
        Ok(Response::new(wire::RevokeSessionResponse {}))
    }
}

#[tonic::async_trait]
impl UsersService for PeopleServices {
    async fn list_users(
        &self,
        request: Request<wire::ListUsersRequest>,
    ) -> Result<Response<wire::ListUsersResponse>, Status> {
        let caller = self.caller(&request).await?;
        if caller.demand(Action::AssignRoles, Scope::All).is_err() {
            caller.demand(Action::ManageUsers, Scope::All)?;
        }
        let wire::ListUsersRequest {
            page_size,
            page_token,
        } = request.into_inner();
        if !page_token.is_empty() && UserName::parse(&page_token).is_err() {
            return Err(Refusal::BadPage.into());
        }
        let limit = page_of(page_size);
        let accounts = self.0.accounts(&page_token, limit).await?;
        let more = accounts.last().filter(|_| accounts.len() == limit as usize);
        Ok(Response::new(wire::ListUsersResponse {
            next_page_token: more.map(|last| last.name.to_string()).unwrap_or_default(),
            users: accounts.iter().map(user).collect(),
        }))
    }

    async fn add_user(
        &self,
        request: Request<wire::AddUserRequest>,
    ) -> Result<Response<wire::AddUserResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        let asked = request.into_inner().user.unwrap_or_default();
        let roles = roles(&asked.roles)?;
        if !roles.is_empty() {
            caller.demand(Action::AssignRoles, Scope::All)?;
        }
        let by = caller.actor();
        let added = self.0.add(&by, &asked.name, profile(&asked), roles).await?;
        let Added { account, one_time } = added;
        Ok(Response::new(wire::AddUserResponse {
            user: Some(user(&account)),
            one_time_password: one_time.into_inner(),
        }))
    }

    async fn update_user(
        &self,
        request: Request<wire::UpdateUserRequest>,
    ) -> Result<Response<wire::UpdateUserResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        let asked = request.into_inner().user.unwrap_or_default();
        let name = named(&asked.name)?;
        let (by, profile) = (caller.actor(), profile(&asked));
        let updated = self.0.update(&by, &name, profile, asked.revision).await?;
        let user = Some(user(&updated));
        Ok(Response::new(wire::UpdateUserResponse { user }))
    }

    async fn set_roles(
        &self,
        request: Request<wire::SetRolesRequest>,
    ) -> Result<Response<wire::SetRolesResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::AssignRoles).await?;
        let asked = request.into_inner();
        let (name, roles) = (named(&asked.name)?, roles(&asked.roles)?);
        let by = caller.actor();
        let set = self.0.set_roles(&by, &name, roles, asked.revision).await?;
        let user = Some(user(&set));
        Ok(Response::new(wire::SetRolesResponse { user }))
    }

    async fn set_disabled(
        &self,
        request: Request<wire::SetDisabledRequest>,
    ) -> Result<Response<wire::SetDisabledResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        let asked = request.into_inner();
        let name = named(&asked.name)?;
        let set = self
            .0
            .set_disabled(&caller.actor(), &name, asked.disabled)
            .await?;
        let user = Some(user(&set));
        Ok(Response::new(wire::SetDisabledResponse { user }))
    }

    async fn reset_password(
        &self,
        request: Request<wire::ResetPasswordRequest>,
    ) -> Result<Response<wire::ResetPasswordResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        let asked = request.into_inner();
        let name = named(&asked.name)?;
        let by = caller.actor();
        let reset = self.0.reset_password(&by, &name, asked.remove_totp).await?;
        Ok(Response::new(wire::ResetPasswordResponse {
            one_time_password: reset.one_time.into_inner(),
        }))
    }

    async fn list_user_sessions(
        &self,
        request: Request<wire::ListUserSessionsRequest>,
    ) -> Result<Response<wire::ListUserSessionsResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        let of = request.into_inner().name;
        let of = if of.is_empty() {
            None
        } else {
            Some(named(&of)?)
        };
        let sessions = self.0.sessions(of.as_ref()).await?;
        let sessions = sessions.iter().map(|of| session(of, Some(&caller)));
        Ok(Response::new(wire::ListUserSessionsResponse {
            sessions: sessions.collect(),
        }))
    }

    async fn revoke_user_session(
        &self,
        request: Request<wire::RevokeUserSessionRequest>,
    ) -> Result<Response<wire::RevokeUserSessionResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ManageUsers).await?;
        self.0
            .revoke(&caller.actor(), &request.get_ref().id)
            .await?;
        Ok(Response::new(wire::RevokeUserSessionResponse {}))
    }
}

#[tonic::async_trait]
impl AuditService for PeopleServices {
    async fn list_records(
        &self,
        request: Request<wire::ListRecordsRequest>,
    ) -> Result<Response<wire::ListRecordsResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ReadAudit).await?;
        let asked = request.into_inner();
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        let before = match given(&asked.page_token) {
            Some(token) => Some(page(&token).ok_or(Refusal::BadPage)?),
            None => asked.before_unix_ms.map(|ms| (at(ms), String::new())),
        };
        let filter = AuditFilter {
            call: given(&asked.call_id).map(|call| CallId::new(&call)),
            actor: given(&asked.actor),
            action: given(&asked.action),
            from: asked.from_unix_ms.map(at),
            before,
        };
        let limit = page_of(asked.page_size);
        let records = self.0.store().audit(&filter, limit).await;
        let records = records.map_err(Refusal::from)?;
        if asked.page_token.is_empty() || asked.reveal {
            let detail = json!({
                "call": asked.call_id, "actor": asked.actor, "action": asked.action, "reveal": asked.reveal,
            });
            self.0.note(caller.actor(), None, Deed::ReadAudit, &detail);
        }
        let more = records.last().filter(|_| records.len() == limit as usize);
        Ok(Response::new(wire::ListRecordsResponse {
            next_page_token: more
                .map(|last| format!("{}:{}", unix_ms(last.at), last.id))
                .unwrap_or_default(),
            records: records
                .iter()
                .map(|kept| record(kept, asked.reveal))
                .collect(),
        }))
    }

    async fn verify_records(
        &self,
        request: Request<wire::VerifyRecordsRequest>,
    ) -> Result<Response<wire::VerifyRecordsResponse>, Status> {
        let caller = self.caller_who_may(&request, Action::ReadAudit).await?;
        let chain = self.0.store().verify_audit().await.map_err(Refusal::from)?;
        let detail = json!({ "verified": chain.verified, "broken_at": chain.broken_at });
        self.0
            .note(caller.actor(), None, Deed::VerifyAudit, &detail);
        let (algorithm, hash) = chain.last_hash.split_once(':').unwrap_or_default();
        Ok(Response::new(wire::VerifyRecordsResponse {
            verified: chain.verified,
            unchained: chain.unchained,
            broken_at: chain.broken_at,
            last: chain.last,
            last_hash: hash.to_owned(),
            algorithm: algorithm.to_owned(),
        }))
    }
}

fn with_cookie<T>(answer: T, cookie: &str) -> Result<Response<T>, Status> {
    let value = MetadataValue::try_from(cookie);
    let value = value.map_err(|_| Status::internal("the cookie is no header"))?;
    let mut response = Response::new(answer);
    response.metadata_mut().insert("set-cookie", value);
    Ok(response)
}

fn page_of(asked: u32) -> u32 {
    if asked == 0 { PAGE } else { asked.min(MOST) }
}

fn at(unix_ms: i64) -> SystemTime {
    let since = Duration::from_millis(u64::try_from(unix_ms).unwrap_or_default());
    SystemTime::UNIX_EPOCH
        .checked_add(since)
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

fn page(token: &str) -> Option<(SystemTime, String)> {
    let (ms, id) = token.split_once(':')?;
    Some((at(ms.parse().ok()?), id.to_owned()))
}

fn named(name: &str) -> Result<UserName, Status> {
    // A name that cannot be one is none of an account.
    UserName::parse(name).map_err(|_| Refusal::NoAccount.into())
}

fn profile(user: &wire::User) -> Profile {
    Profile {
        display_name: user.display_name.clone(),
        team: user.team.clone(),
        department: user.department.clone(),
        stations: user.stations.clone(),
    }
}

fn user(account: &Account) -> wire::User {
    let Profile {
        team,
        department,
        stations,
        ..
    } = account.profile.clone();
    wire::User {
        name: account.name.to_string(),
        display_name: account.display_name().to_owned(),
        roles: account
            .roles
            .iter()
            .map(|role| role_to_wire(*role).into())
            .collect(),
        team,
        department,
        stations,
        disabled: account.disabled,
        totp: account.totp.is_some(),
        must_change_password: account.must_change,
        revision: account.revision,
        created_unix_ms: unix_ms(account.created),
        signed_in_unix_ms: account.signed_in.map(unix_ms),
    }
}

fn session(session: &Session, caller: Option<&Caller>) -> wire::Session {
    wire::Session {
        id: session.id.clone(),
        user: session.user.to_string(),
        address: session.address.to_string(),
        agent: session.agent.clone(),
        started_unix_ms: unix_ms(session.started),
        seen_unix_ms: unix_ms(session.seen),
        until_unix_ms: unix_ms(session.until),
        current: caller.is_some_and(|caller| caller.session.id == session.id),
    }
}

fn record(record: &AuditRecord, reveal: bool) -> wire::AuditRecord {
    let detail = if reveal {
        record.detail.reveal().clone()
    } else {
        masked(record.detail.reveal())
    };
    wire::AuditRecord {
        number: record.number,
        at_unix_ms: unix_ms(record.at),
        actor_kind: record.actor.kind().name().to_owned(),
        actor: record.actor.name().to_owned(),
        address: record.actor.station().unwrap_or_default().to_owned(),
        action: record.action.clone(),
        call_id: record.call.as_ref().map_or("", CallId::as_str).to_owned(),
        detail,
    }
}

/// JSON in which the texts that somebody wrote or said are masked; names of fields, roles and users are not personal.
fn masked(detail: &str) -> String {
    const PERSONAL: [&str; 3] = ["value", "text", "to"];
    fn mask(value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = Private::from(text.as_str()).to_string(),
            serde_json::Value::Array(values) => values.iter_mut().for_each(mask),
            serde_json::Value::Object(values) => values.values_mut().for_each(mask),
            serde_json::Value::Number(_) => *value = "‹number›".into(),
            serde_json::Value::Null | serde_json::Value::Bool(_) => {}
        }
    }
    let Ok(serde_json::Value::Object(mut values)) = serde_json::from_str(detail) else {
        return Private::from(detail).to_string();
    };
    let is_command = values.contains_key("command");
    for (name, value) in &mut values {
        if is_command && PERSONAL.contains(&name.as_str()) {
            mask(value);
        }
    }
    serde_json::Value::Object(values).to_string()
}

fn roles(wire: &[i32]) -> Result<Vec<Role>, Status> {
    let role = |number: &i32| match wire::Role::try_from(*number) {
        Ok(wire::Role::Operator) => Ok(Role::Operator),
        Ok(wire::Role::TeamLead) => Ok(Role::TeamLead),
        Ok(wire::Role::Dispatcher) => Ok(Role::Dispatcher),
        Ok(wire::Role::Department) => Ok(Role::Department),
        Ok(wire::Role::CallBack) => Ok(Role::CallBack),
        Ok(wire::Role::KnowledgeEditor) => Ok(Role::KnowledgeEditor),
        Ok(wire::Role::SystemAdministrator) => Ok(Role::SystemAdministrator),
        Ok(wire::Role::SecurityAdministrator) => Ok(Role::SecurityAdministrator),
        Ok(wire::Role::AuditAdministrator) => Ok(Role::AuditAdministrator),
        Ok(wire::Role::Unspecified) | Err(_) => Err(Status::invalid_argument(format!(
            "there is no role {number}; take one of people.proto's Role"
        ))),
    };
    wire.iter().map(role).collect()
}

fn role_to_wire(role: Role) -> wire::Role {
    match role {
        Role::Operator => wire::Role::Operator,
        Role::TeamLead => wire::Role::TeamLead,
        Role::Dispatcher => wire::Role::Dispatcher,
        Role::Department => wire::Role::Department,
        Role::CallBack => wire::Role::CallBack,
        Role::KnowledgeEditor => wire::Role::KnowledgeEditor,
        Role::SystemAdministrator => wire::Role::SystemAdministrator,
        Role::SecurityAdministrator => wire::Role::SecurityAdministrator,
        Role::AuditAdministrator => wire::Role::AuditAdministrator,
        // No account has them.
        Role::Transcripts | Role::ControlCalls | Role::ReadTickets | Role::WriteTickets => {
            wire::Role::Unspecified
        }
    }
}

fn action_to_wire(action: Action) -> wire::Action {
    match action {
        Action::SeeCall => wire::Action::SeeCall,
        Action::HearCall => wire::Action::HearCall,
        Action::EditCall => wire::Action::EditCall,
        Action::DirectCall => wire::Action::DirectCall,
        Action::Reveal => wire::Action::Reveal,
        Action::Export => wire::Action::Export,
        Action::ReadTickets => wire::Action::ReadTickets,
        Action::WriteTickets => wire::Action::WriteTickets,
        Action::Dispatch => wire::Action::Dispatch,
        Action::HandleTicket => wire::Action::HandleTicket,
        Action::CallBack => wire::Action::CallBack,
        Action::ReadKnowledge => wire::Action::ReadKnowledge,
        Action::EditKnowledge => wire::Action::EditKnowledge,
        Action::ManageUsers => wire::Action::ManageUsers,
        Action::AssignRoles => wire::Action::AssignRoles,
        Action::ManageSettings => wire::Action::ManageSettings,
        Action::ReadAudit => wire::Action::ReadAudit,
        Action::SeeStatistics => wire::Action::SeeStatistics,
    }
}

fn scope_to_wire(scope: Scope) -> wire::Scope {
    match scope {
        Scope::Own => wire::Scope::Own,
        Scope::Team => wire::Scope::Team,
        Scope::All => wire::Scope::All,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_wrote_is_masked_and_what_was_done_is_not() {
        let edit = r#"{"command":"edit","name":"address","value":"南大街1号"}"#;
        let shown = masked(edit);
        assert!(
            shown.contains("address") && !shown.contains("南大街"),
            "{shown}"
        );
        let amount = masked(r#"{"command":"edit","name":"amount","value":860}"#);
        assert!(!amount.contains("860"), "{amount}");
        let roles = r#"{"from":["operator"],"to":["team_lead"],"user":"wang"}"#;
        assert_eq!(masked(roles), roles);
        assert!(!masked("no json 13863512207").contains("138"));
    }
}
