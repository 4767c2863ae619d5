//! The gateway's services on the console's port: `POST /package.Service/Method` with JSON, as Connect's unary protocol
//! writes it (<https://connectrpc.com/docs/protocol>), or with gRPC-Web. Both are handed to the same services that answer
//! gRPC; JSON is transcoded from the descriptors, so that there is no second interface to keep.

use std::sync::LazyLock;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MethodDescriptor, SerializeOptions};
use serde_json::json;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};

use super::Console;
use super::door::{Ends, session_cookie, shown_session};
use crate::grpc::people::ByBrowser;
use crate::grpc::proto::DESCRIPTORS;

/// The longest request, in bytes.
const LONGEST: usize = 1_024 * 1_024;
/// What stands before a message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// All that the protocol files describe; they are compiled in, and a test reads them.
static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

/// One call of a method.
pub(super) async fn ask(
    State(console): State<Console>,
    Extension(routes): Extension<Routes>,
    ends: Ends,
    Path((service, method)): Path<(String, String)>,
    mut request: Request,
) -> Response {
    let headers = request.headers();
    let kind = text(headers, header::CONTENT_TYPE).to_owned();
    // Only a browser names the site that asks; who names none is a program, and holds its token by itself.
    if headers.contains_key(header::ORIGIN) {
        let browser = ByBrowser {
            token: shown_session(&console, headers),
            address: ends.peer,
            agent: text(headers, header::USER_AGENT).to_owned(),
            cookie: session_cookie(&console),
        };
        request.extensions_mut().insert(browser);
    } else {
        let address = tonic::transport::server::TcpConnectInfo {
            local_addr: None,
            remote_addr: Some((ends.peer, 0).into()),
        };
        request.extensions_mut().insert(address);
    }
    if kind.starts_with("application/grpc-web") {
        let service = GrpcWebLayer::new().layer(routes.prepare());
        let answered = service.oneshot(request).await;
        return answered.map_or_else(|never| match never {}, |answer| answer.map(Body::new));
    }
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let accepted = [(header::ACCEPT, "application/json, application/grpc-web")];
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, accepted).into_response();
    }
    match as_json(routes, &service, &method, request).await {
        Ok((headers, body)) => (headers, axum::Json(body)).into_response(),
        Err(status) => refused(&status),
    }
}

async fn as_json(
    routes: Routes,
    service: &str,
    method: &str,
    request: Request,
) -> Result<(HeaderMap, serde_json::Value), Status> {
    let method = described(service, method)?;
    let (mut parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, LONGEST).await;
    let body = body.map_err(|_| {
        Status::resource_exhausted(format!("the request is longer than {LONGEST} bytes"))
    })?;
    let mut json =
        serde_json::Deserializer::from_slice(if body.is_empty() { b"{}" } else { &body });
    let message = DynamicMessage::deserialize(method.input(), &mut json)
        .and_then(|message| json.end().map(|()| message))
        // The parser's own words may quote what was written.
        .map_err(|error| {
            Status::invalid_argument(format!(
                "the body is no {} (line {}, column {})",
                method.input().full_name(),
                error.line(),
                error.column()
            ))
        })?;
    let mut framed = vec![0; PREFIX];
    message
        .encode(&mut framed)
        .map_err(|_| Status::internal("the message does not fit"))?;
    let length = u32::try_from(framed.len() - PREFIX).unwrap_or(u32::MAX);
    framed[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    let kind = HeaderValue::from_static("application/grpc");
    parts.headers.insert(header::CONTENT_TYPE, kind);
    parts.headers.remove(header::CONTENT_LENGTH);
    let request = Request::from_parts(parts, tonic::body::Body::new(Body::from(framed)));

    let answer = routes.oneshot(request).await;
    let (parts, body) = answer.unwrap_or_else(|never| match never {}).into_parts();
    refusal(&parts.headers)?;
    let (frames, trailers) = collected(body).await?;
    refusal(&trailers)?;
    let bytes = frames
        .get(PREFIX..)
        .ok_or_else(|| Status::internal("the service sent no answer"))?;
    let message = DynamicMessage::decode(method.output(), bytes)
        .map_err(|_| Status::internal("the answer cannot be read"))?;
    let options = SerializeOptions::new().skip_default_fields(true);
    let value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|_| Status::internal("the answer cannot be written as JSON"))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in parts.headers.get_all(header::SET_COOKIE) {
        headers.append(header::SET_COOKIE, cookie.clone());
    }
    Ok((headers, value))
}

/// The method, where it is one that answers once.
fn described(service: &str, method: &str) -> Result<MethodDescriptor, Status> {
    let found = POOL
        .get_service_by_name(service)
        .and_then(|service| service.methods().find(|known| known.name() == method));
    let found = found.ok_or_else(|| {
        Status::unimplemented(format!(
            "there is no method {method} of a service {service}"
        ))
    })?;
    if found.is_server_streaming() || found.is_client_streaming() {
        let sentence = format!("{service}/{method} is a stream; ask for it by gRPC or gRPC-Web");
        return Err(Status::unimplemented(sentence));
    }
    Ok(found)
}

/// All of a body, and what stands behind it.
async fn collected(body: tonic::body::Body) -> Result<(Vec<u8>, HeaderMap), Status> {
    use http_body_util::BodyExt as _;
    let collected = body.collect().await?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes().to_vec(), trailers))
}

/// What gRPC's headers or trailers say, where it is no success.
fn refusal(headers: &HeaderMap) -> Result<(), Status> {
    match Status::from_header_map(headers) {
        Some(status) if status.code() != Code::Ok => Err(status),
        _ => Ok(()),
    }
}

/// A refusal as Connect writes it: `{"code", "message", "details": [{"type", "value", "debug"}]}`.
fn refused(status: &Status) -> Response {
    let (name, http) = spelled(status.code());
    let details = google_status(status.details());
    let body = json!({ "code": name, "message": status.message(), "details": details });
    let http = StatusCode::from_u16(http).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (
        http,
        [(header::CACHE_CONTROL, "no-store")],
        axum::Json(body),
    )
        .into_response()
}

/// The details of a `google.rpc.Status`.
fn google_status(bytes: &[u8]) -> Vec<serde_json::Value> {
    let status = tonic_types::pb::Status::decode(bytes).unwrap_or_default();
    let details = status.details.into_iter();
    details.map(|any| {
        let kind = any.type_url.rsplit('/').next().unwrap_or_default().to_owned();
        let debug = tonic_types::pb::ErrorInfo::decode(any.value.as_slice())
            .ok()
            .filter(|_| kind == "google.rpc.ErrorInfo")
            .map(|info| json!({ "reason": info.reason, "domain": info.domain, "metadata": info.metadata }));
        json!({ "type": kind, "value": STANDARD_NO_PAD.encode(any.value), "debug": debug })
    })
    .collect()
}

/// How Connect spells a code, and the HTTP status that it goes with.
const fn spelled(code: Code) -> (&'static str, u16) {
    match code {
        Code::Ok => ("ok", 200),
        Code::Cancelled => ("canceled", 499),
        Code::Unknown => ("unknown", 500),
        Code::InvalidArgument => ("invalid_argument", 400),
        Code::DeadlineExceeded => ("deadline_exceeded", 504),
        Code::NotFound => ("not_found", 404),
        Code::AlreadyExists => ("already_exists", 409),
        Code::PermissionDenied => ("permission_denied", 403),
        Code::ResourceExhausted => ("resource_exhausted", 429),
        Code::FailedPrecondition => ("failed_precondition", 400),
        Code::Aborted => ("aborted", 409),
        Code::OutOfRange => ("out_of_range", 400),
        Code::Unimplemented => ("unimplemented", 501),
        Code::Internal => ("internal", 500),
        Code::Unavailable => ("unavailable", 503),
        Code::DataLoss => ("data_loss", 500),
        Code::Unauthenticated => ("unauthenticated", 401),
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    let value = headers.get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}
