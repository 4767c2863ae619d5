//! The operator's page: one HTTP server with the page, the list of calls, and each call's events over a WebSocket.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | connections, and those from one address | [`crate::listener`] | as there |
//! | viewers, and those from one address | [`MOST_VIEWERS`], half of them | 503 with a sentence; the page tries again |
//! | events → a viewer | one in flight | it lags on the bus, gets what then stands, and goes on |
//! | listeners to recordings, and those from one address | [`MOST_LISTENERS`], half of them | 503 with a sentence |
//! | a viewer that takes nothing | 10 s | it is cut off; the page comes back where it stood |

mod api;
mod assets;
mod door;
mod playback;
mod viewer;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::{Extension, Json, Router, middleware};
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::{Routes, RoutesBuilder};

use self::door::{Ends, Hosts, is_same_origin};
use crate::access::{self, Deed, People, Sight};
use crate::control::{self, Actor, CallControl, Command};
use crate::events::{Bus, Filter};
use crate::grpc::people::PeopleServices;
use crate::grpc::proto::control::v1::call_control_server::CallControlServer;
use crate::grpc::proto::people::v1::account_server::AccountServer;
use crate::grpc::proto::people::v1::audit_server::AuditServer;
use crate::grpc::proto::people::v1::users_server::UsersServer;
use crate::grpc::proto::transcript::v1::transcript_service_server::TranscriptServiceServer;
use crate::grpc::tls::Acceptor;
use crate::grpc::{Controls, Transcripts};
use crate::listener::{ConnectionGuard, Limits};
use crate::people::Action;
use crate::private::Private;
use crate::speech::CallId;
use crate::store::{
    CallRecord, PageKey, Store, StoreError, operator_of, recent_calls_shown, unix_ms,
};
use crate::telemetry::{self, Readiness};
use crate::ticket::{FieldName, FieldValue, Taxonomy};
use crate::transcript::revise::Revision;
pub use door::CONNECTIONS;
pub use playback::Recordings;
use viewer::Wanted;
use wire::{Calls, Choices, Fault};

/// Viewers at a time: some screens for each of a large hotline's operators.
pub const MOST_VIEWERS: usize = 512;
/// Recordings that are played at a time.
pub const MOST_LISTENERS: usize = 64;
/// What a viewer may send at most, in bytes; it has nothing to say.
const LONGEST_MESSAGE: usize = 4_096;
/// Calls in an answer when the page names no number, and at most.
const DEFAULT_CALLS: u32 = 50;
const MOST_CALLS: u32 = 200;
/// How long viewers have after `shutdown` to take their good-bye.
const GRACE: Duration = Duration::from_secs(3);

/// The console of a gateway; clones share it.
#[derive(Clone, Debug)]
pub struct Console {
    bus: Bus,
    store: Store,
    control: CallControl,
    connections: Arc<ConnectionGuard>,
    viewers: Arc<ConnectionGuard>,
    listeners: Arc<ConnectionGuard>,
    hosts: Arc<Hosts>,
    recordings: Option<Recordings>,
    choices: Arc<Choices>,
    readiness: Arc<Readiness>,
    people: Option<People>,
    tls: Option<Acceptor>,
    shutdown: CancellationToken,
}

/// Who is signed in; nobody where nobody signs in.
#[derive(Clone, Debug)]
struct Signed(Option<Arc<Sight>>);

impl<S: Sync> FromRequestParts<S> for Signed {
    type Rejection = Refusal;

    /// The door has put it there.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or(Refusal::SignIn)
    }
}

impl Signed {
    /// Whether `action` is allowed on a call that `phone` answers.
    fn may(&self, action: Action, phone: &str) -> bool {
        self.0.as_ref().is_none_or(|sight| sight.may(action, phone))
    }

    fn actor(&self, ends: Ends) -> Actor {
        match &self.0 {
            Some(sight) => sight.caller().actor(),
            // Nobody signs in: the machine is all that is known of who sits there.
            None => Actor::User {
                user: "console".to_owned(),
                station: ends.peer.to_string(),
            },
        }
    }
}

impl Console {
    /// Over what `bus` holds in memory and `store` on disk.
    #[must_use]
    pub fn new(bus: Bus, store: Store) -> Self {
        Self {
            bus,
            store,
            control: CallControl::default(),
            connections: ConnectionGuard::new("console", door::CONNECTIONS),
            viewers: places("viewers", MOST_VIEWERS),
            listeners: places("players", MOST_LISTENERS),
            hosts: Arc::default(),
            recordings: None,
            choices: Arc::default(),
            readiness: Arc::default(),
            people: None,
            tls: None,
            shutdown: CancellationToken::new(),
        }
    }

    /// Has at most `connections` at a time, where that is less than usual.
    #[must_use]
    pub fn within(self, connections: usize) -> Self {
        let limits = door::CONNECTIONS.within(connections);
        Self {
            connections: ConnectionGuard::new("console", limits),
            ..self
        }
    }

    /// Is asked for by these names too, as behind a proxy that encrypts and signs in.
    #[must_use]
    pub fn named(self, hosts: &[String]) -> Self {
        Self {
            hosts: Arc::new(Hosts::new(hosts)),
            ..self
        }
    }

    /// Says good-bye to its viewers when `shutdown` is cancelled.
    #[must_use]
    pub fn until(self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self }
    }

    /// Tells whoever asks `/readyz`, and its viewers, where `readiness` stands.
    #[must_use]
    pub fn telling(self, readiness: Arc<Readiness>) -> Self {
        Self { readiness, ..self }
    }

    /// Reaches the running calls by `control`.
    #[must_use]
    pub fn controlling(self, control: CallControl) -> Self {
        Self { control, ..self }
    }

    /// Lets in whom `people` know, and shows each what the roles allow; without them, everybody everything.
    #[must_use]
    pub fn knowing(self, people: Option<People>) -> Self {
        Self { people, ..self }
    }

    /// Speaks through `tls`, where there is any.
    #[must_use]
    pub fn encrypted(self, tls: Option<Acceptor>) -> Self {
        Self { tls, ..self }
    }

    /// Plays the recordings of finished calls, where there are any.
    #[must_use]
    pub fn playing(self, recordings: Option<Recordings>) -> Self {
        Self { recordings, ..self }
    }

    /// Offers the operator what `taxonomy` knows.
    #[must_use]
    pub fn choosing(self, taxonomy: &Taxonomy) -> Self {
        Self {
            choices: Arc::new(Choices::of(taxonomy)),
            ..self
        }
    }

    /// The routes: `/` and what the page needs, `/healthz`, `/readyz`, `/metrics`, `/api/calls`, a draft's fields, a line's
    /// changes, notes, hanging up and transfers, a call's recording, what there is to choose from, `/ws`, and the services
    /// of people, transcripts and control as JSON and gRPC-Web at `/package.Service/Method`.
    pub fn router(&self) -> Router {
        assets::routes()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/api/calls", get(calls))
            .route("/api/calls/{call}/fields/{name}", put(edit))
            .route("/api/calls/{call}/note", post(note))
            .route("/api/calls/{call}/hangup", post(hang_up))
            .route("/api/calls/{call}/transfer", post(transfer))
            .route("/api/calls/{call}/recording", get(playback::recording))
            .route("/api/choices", get(choices))
            .route(
                "/api/calls/{call}/lines/{line}/changes/{change}",
                delete(revise).post(revise),
            )
            .route("/ws", get(watch))
            .route("/{service}/{method}", post(api::ask))
            .layer(Extension(self.services()))
            .layer(middleware::from_fn_with_state(self.clone(), door::check))
            .with_state(self.clone())
    }

    /// What programs and pages ask for by gRPC-Web and JSON; who asks is signed in.
    fn services(&self) -> Routes {
        let mut routes = RoutesBuilder::default();
        if let Some(people) = &self.people {
            let services = PeopleServices::new(people.clone());
            let (bus, store, control) = (&self.bus, &self.store, &self.control);
            let transcripts = Transcripts::new(bus.clone(), store.clone(), control.clone());
            let transcripts = transcripts.until(self.shutdown.clone());
            let controls = Controls::new(control.clone());
            let controls = controls.for_people(people.clone(), bus.clone(), store.clone());
            routes
                .add_service(AccountServer::new(services.clone()))
                .add_service(UsersServer::new(services.clone()))
                .add_service(AuditServer::new(services))
                .add_service(TranscriptServiceServer::new(
                    transcripts.for_people(people.clone()),
                ))
                .add_service(CallControlServer::new(controls));
        }
        routes.routes()
    }

    /// Has a running call do what its operator asks on the page.
    async fn ask(
        &self,
        (signed, ends): (Signed, Ends),
        call: &str,
        action: Action,
        command: Command,
    ) -> Result<StatusCode, Refusal> {
        let call = CallId::new(call);
        self.demand(&signed, action, &call).await?;
        let asked = self.control.ask(&call, signed.actor(ends), command).await;
        asked.map_err(Refusal::ByCall)?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Whether who is signed in may do `action` on `call`. Of one that nobody knows, or that is somebody else's, nothing
    /// is told.
    async fn demand(&self, signed: &Signed, action: Action, call: &CallId) -> Result<(), Refusal> {
        if signed.0.is_none() {
            return Ok(());
        }
        let operator = operator_of(&self.bus, &self.store, call).await;
        let operator = operator.map_err(|error| Refusal::unreadable(&error))?;
        let operator = operator.ok_or(Refusal::ByCall(control::Refusal::NotRunning))?;
        if signed.may(action, &operator) {
            Ok(())
        } else {
            Err(Refusal::MayNot)
        }
    }

    /// What a stream may show for as long as it lasts.
    async fn sight(&self, signed: &Signed) -> Result<Option<Sight>, Refusal> {
        let (Some(people), Some(sight)) = (&self.people, &signed.0) else {
            return Ok(None);
        };
        let again = sight.again(people).await;
        again
            .map(Some)
            .map_err(|refusal| Refusal::of_people(&refusal))
    }

    /// Keeps that somebody has opened a call.
    fn note(&self, signed: &Signed, call: &CallId, deed: Deed) {
        if let (Some(people), Some(sight)) = (&self.people, &signed.0) {
            let (actor, detail) = (sight.caller().actor(), serde_json::json!({}));
            people.note(actor, Some(call.clone()), deed, &detail);
        }
    }

    /// What the gateway cannot do for now, each once.
    fn faults(&self) -> Vec<telemetry::Fault> {
        let faults = self.readiness.faults().into_iter();
        let mut faults: Vec<_> = faults.map(|(fault, _)| fault).collect();
        faults.sort_unstable();
        faults.dedup();
        faults
    }

    /// Whether memory or disk knows the call. Memory first: a call goes from there to the disk, not back.
    async fn knows(&self, call: &CallId) -> Result<bool, StoreError> {
        let alive = self.bus.calls().iter().any(|info| info.call == *call);
        Ok(alive || self.store.call(call).await?.is_some())
    }
}

/// Places for requests that last, of which one address has at most half.
fn places(what: &'static str, most: usize) -> Arc<ConnectionGuard> {
    let limits = Limits {
        total: most,
        ..door::CONNECTIONS
    };
    ConnectionGuard::new(what, limits.within(most))
}

/// Serves the console until `shutdown`; open requests and viewers then get three seconds.
pub async fn serve(listener: TcpListener, console: Console, shutdown: CancellationToken) {
    let console = console.until(shutdown.clone());
    let guard = console.connections.clone();
    door::keep(
        listener,
        guard,
        console.router(),
        console.tls.clone(),
        shutdown,
    )
    .await;
    // Every viewer gives its place back when it has said good-bye.
    let all_gone = async {
        while console.viewers.open() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let _ = tokio::time::timeout(GRACE, all_gone).await;
}

/// Whether new calls should be sent here, for load balancers; if not, why.
async fn ready(State(console): State<Console>) -> (StatusCode, String) {
    let faults = console.readiness.faults();
    let (status, told) = match console.readiness.get() {
        telemetry::State::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting".to_owned()),
        telemetry::State::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned()),
        telemetry::State::Ready if faults.is_empty() => (StatusCode::OK, "ready".to_owned()),
        telemetry::State::Ready => {
            let why: Vec<_> = faults.into_iter().map(|(_, why)| why).collect();
            (StatusCode::SERVICE_UNAVAILABLE, why.join("\n"))
        }
    };
    (status, told + "\n")
}

async fn metrics() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (kind, telemetry::metrics()).into_response()
}

/// What `/api/calls` is asked for.
#[derive(Debug, Deserialize)]
struct CallsQuery {
    operator: Option<String>,
    /// From the `next` of the page before.
    before: Option<String>,
    limit: Option<u32>,
}

async fn calls(
    State(console): State<Console>,
    signed: Signed,
    Query(query): Query<CallsQuery>,
) -> Result<Response, Refusal> {
    let before = match &query.before {
        None => None,
        Some(token) => Some(parse_token(token).ok_or(Refusal::BadToken)?),
    };
    let limit = query.limit.unwrap_or(DEFAULT_CALLS).clamp(1, MOST_CALLS);
    let operator = query
        .operator
        .as_deref()
        .filter(|operator| !operator.is_empty());
    let shown = |call: &CallRecord| signed.may(Action::SeeCall, &call.info.operator);
    let (bus, store) = (&console.bus, &console.store);
    let listed = recent_calls_shown(bus, store, operator, before, limit, shown).await;
    let (listed, next) = listed.map_err(|error| Refusal::unreadable(&error))?;
    let body = Calls {
        now_ms: unix_ms(SystemTime::now()),
        calls: listed.iter().map(wire::Call::new).collect(),
        next: next.map(|key| format!("{}:{}", key.started_ms, key.call)),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

async fn choices(State(console): State<Console>) -> Response {
    let held = [(header::CACHE_CONTROL, "no-cache")];
    (held, Json(&*console.choices)).into_response()
}

fn parse_token(token: &str) -> Option<PageKey> {
    let (started, call) = token.split_once(':')?;
    Some(PageKey {
        started_ms: started.parse().ok()?,
        call: call.to_owned(),
    })
}

/// What an operator writes into a field; `null` gives it back to what is said.
#[derive(Deserialize)]
struct Written {
    value: Option<FieldValue>,
}

async fn edit(
    State(console): State<Console>,
    ends: Ends,
    signed: Signed,
    Path((call, name)): Path<(String, FieldName)>,
    Json(written): Json<Written>,
) -> Result<StatusCode, Refusal> {
    let value = written.value;
    let edit = Command::Edit { name, value };
    console
        .ask((signed, ends), &call, Action::EditCall, edit)
        .await
}

/// What an operator notes.
#[derive(Deserialize)]
struct Noted {
    text: Private<String>,
}

async fn note(
    State(console): State<Console>,
    ends: Ends,
    signed: Signed,
    Path(call): Path<String>,
    Json(Noted { text }): Json<Noted>,
) -> Result<StatusCode, Refusal> {
    let note = Command::Note { text };
    console
        .ask((signed, ends), &call, Action::EditCall, note)
        .await
}

async fn hang_up(
    State(console): State<Console>,
    ends: Ends,
    signed: Signed,
    Path(call): Path<String>,
) -> Result<StatusCode, Refusal> {
    let who = (signed, ends);
    console
        .ask(who, &call, Action::DirectCall, Command::HangUp)
        .await
}

/// Where an operator transfers a call to.
#[derive(Deserialize)]
struct Destination {
    to: Private<String>,
}

async fn transfer(
    State(console): State<Console>,
    ends: Ends,
    signed: Signed,
    Path(call): Path<String>,
    Json(Destination { to }): Json<Destination>,
) -> Result<StatusCode, Refusal> {
    let transfer = Command::Transfer { to };
    console
        .ask((signed, ends), &call, Action::DirectCall, transfer)
        .await
}

/// The version of the line in which the change was seen.
#[derive(Debug, Deserialize)]
struct SeenQuery {
    revision: Option<u32>,
}

/// `DELETE` takes a change back, `POST` makes it again.
async fn revise(
    State(console): State<Console>,
    ends: Ends,
    signed: Signed,
    method: Method,
    Path((call, line, change)): Path<(String, u32, usize)>,
    Query(query): Query<SeenQuery>,
) -> Result<StatusCode, Refusal> {
    let revision = Revision {
        line,
        change,
        seen: query.revision,
        undone: method == Method::DELETE,
    };
    let command = Command::Revise(revision);
    console
        .ask((signed, ends), &call, Action::EditCall, command)
        .await
}

/// What `/ws` is asked for: a call, an operator's calls, or the comings and goings of calls alone.
#[derive(Debug, Deserialize)]
struct WatchQuery {
    call: Option<String>,
    operator: Option<String>,
    /// Go on behind this position.
    after: Option<u64>,
    /// `calls`: only when calls begin, are answered and end.
    only: Option<String>,
}

async fn watch(
    State(console): State<Console>,
    Query(query): Query<WatchQuery>,
    ends: Ends,
    signed: Signed,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    if !is_same_origin(&headers) {
        return Err(Refusal::ForeignOrigin);
    }
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    let (call, operator) = (given(query.call), given(query.operator));
    let only_calls = query.only.as_deref() == Some("calls");
    if call.is_some() == (operator.is_some() || only_calls) {
        return Err(Refusal::UnclearWish);
    }
    if let Some(call) = &call {
        let call = CallId::new(call);
        // The stream itself says of a call that nobody knows that nobody does.
        if console
            .knows(&call)
            .await
            .map_err(|error| Refusal::unreadable(&error))?
        {
            console.demand(&signed, Action::SeeCall, &call).await?;
        }
        if query.after.is_none() {
            console.note(&signed, &call, Deed::SeeCall);
        }
    }
    let place = console.viewers.admit(ends.peer).ok_or(Refusal::Full)?;
    let wanted = Wanted {
        filter: Filter {
            call: call.as_deref().map(CallId::new),
            operator,
        },
        after: query.after,
        only_calls,
        sight: console.sight(&signed).await?,
    };
    let upgrade = upgrade
        .max_message_size(LONGEST_MESSAGE)
        .max_frame_size(LONGEST_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| async move {
        viewer::show(socket, console, wanted).await;
        drop(place);
    }))
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug)]
enum Refusal {
    ForeignHost,
    ForeignOrigin,
    SignIn,
    MustFirst,
    MayNot,
    UnclearWish,
    BadToken,
    Full,
    Unreadable,
    ByCall(control::Refusal),
    NoRecording,
    StillRecorded,
    Damaged,
}

impl Refusal {
    fn unreadable(error: &StoreError) -> Self {
        tracing::error!(%error, "the console cannot read the store");
        Self::Unreadable
    }

    /// Why somebody is not let in.
    fn of_people(refusal: &access::Refusal) -> Self {
        match refusal {
            access::Refusal::MustFirst(_) => Self::MustFirst,
            access::Refusal::MayNot => Self::MayNot,
            access::Refusal::Unreadable(_) => Self::Unreadable,
            _ => Self::SignIn,
        }
    }

    fn told(self) -> (StatusCode, Fault) {
        match self {
            Self::ForeignHost => (StatusCode::MISDIRECTED_REQUEST, Fault::FOREIGN_HOST),
            Self::ForeignOrigin => (StatusCode::FORBIDDEN, Fault::FOREIGN_ORIGIN),
            Self::SignIn => (StatusCode::UNAUTHORIZED, Fault::SIGN_IN),
            Self::MustFirst => (StatusCode::FORBIDDEN, Fault::MUST_FIRST),
            Self::MayNot => (StatusCode::FORBIDDEN, Fault::MAY_NOT),
            Self::UnclearWish => (StatusCode::BAD_REQUEST, Fault::UNCLEAR_WISH),
            Self::BadToken => (StatusCode::BAD_REQUEST, Fault::BAD_TOKEN),
            Self::ByCall(refusal) => {
                let status = StatusCode::from_u16(refusal.verdict().http);
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                (status, Fault::by_call(refusal))
            }
            Self::NoRecording => (StatusCode::NOT_FOUND, Fault::NO_RECORDING),
            Self::StillRecorded => (StatusCode::CONFLICT, Fault::STILL_RECORDED),
            Self::Damaged => (StatusCode::INTERNAL_SERVER_ERROR, Fault::DAMAGED),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, Fault::FULL),
            Self::Unreadable => (StatusCode::SERVICE_UNAVAILABLE, Fault::UNREADABLE),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, fault) = self.told();
        (
            status,
            [(header::CACHE_CONTROL, "no-store")],
            Json(wire::Refused { error: fault }),
        )
            .into_response()
    }
}
