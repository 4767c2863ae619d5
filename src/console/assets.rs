//! The page itself, compiled in: nothing is read from disk and nothing is fetched from elsewhere.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::wire;

/// Only what this server itself sends is loaded or connected to, and nobody may frame the page.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 10] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("../../console/index.html"),
    ),
    (
        "/app.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/app.js"),
    ),
    (
        "/controls.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/controls.js"),
    ),
    (
        "/dom.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/dom.js"),
    ),
    (
        "/fields.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/fields.js"),
    ),
    (
        "/people.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/people.js"),
    ),
    (
        "/player.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/player.js"),
    ),
    (
        "/ticket.js",
        "text/javascript; charset=utf-8",
        include_str!("../../console/ticket.js"),
    ),
    (
        "/style.css",
        "text/css; charset=utf-8",
        include_str!("../../console/style.css"),
    ),
    (
        "/icon.svg",
        "image/svg+xml",
        include_str!("../../console/icon.svg"),
    ),
];

/// What the page takes from the contract of a ticket's fields.
static CONTRACT: LazyLock<String> = LazyLock::new(wire::contract);

/// A route for each file.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let contract = (
        "/contract.js",
        "text/javascript; charset=utf-8",
        &**CONTRACT,
    );
    FILES
        .into_iter()
        .chain([contract])
        .fold(Router::new(), |router, (path, kind, text)| {
            let tag = tag_of(text);
            router.route(
                path,
                get(move |headers: HeaderMap| async move { answer(&headers, kind, text, &tag) }),
            )
        })
}

fn tag_of(text: &str) -> String {
    let digest = Sha256::digest(text);
    digest[..8].iter().fold(String::from('"'), |mut tag, byte| {
        let _ = write!(tag, "{byte:02x}");
        tag
    }) + "\""
}

/// The names do not change with the content, so the browser asks each time and gets the file only when it is new.
fn answer(headers: &HeaderMap, kind: &'static str, text: &'static str, tag: &str) -> Response {
    let held = headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let is_held = held.is_some_and(|held| {
        held.split(',')
            .any(|one| one.trim().trim_start_matches("W/") == tag)
    });
    let about = [
        (header::ETAG, tag),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    if is_held {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else {
        (about, [(header::CONTENT_TYPE, kind)], text).into_response()
    }
}
