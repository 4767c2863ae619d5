//! Drafts as signed JSON over HTTP: the second way out, for a backend that does not speak gRPC.
//!
//! Requests follow the Standard Webhooks specification: `webhook-id` is the same for every attempt of one hand-over,
//! `webhook-timestamp` says when this one was signed, `webhook-signature` is `v1,` and the base64 of the HMAC-SHA256
//! over `id.timestamp.body`. `docs/webhook.md` shows how to verify it.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use ring::hmac;
use serde_json::json;
use tokio_rustls::rustls;
use ureq::Agent;

use crate::outbound::{self, CaError, Reach};
use crate::private::Private;
use crate::ticket::desk::{DeskError, Receipt, Submission, TicketDesk};
use crate::ticket::handover;

/// Before the secret, in its file.
const PREFIX: &str = "whsec_";
/// A shorter secret is a mistake, or a guess away.
const SHORTEST: usize = 16;
/// Of a refusal's body, so much is kept for the administrator.
const REASON_BYTES: u64 = 1_000;

/// The secret cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for SecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "webhook.secret_file {} cannot be used ({}); write {PREFIX} and the base64 of at least {SHORTEST} random \
             bytes into it, one such line for each secret in use",
            self.file.display(),
            self.why
        )
    }
}

impl std::error::Error for SecretError {}

/// Why a webhook cannot be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookError {
    /// The secret.
    Secret(SecretError),
    /// The authority's file.
    Ca(CaError),
}

impl fmt::Display for WebhookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secret(error) => error.fmt(f),
            Self::Ca(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for WebhookError {}

/// Signs what is sent. A file with several secrets signs with each, so that a receiver can change over.
pub struct Secrets(Vec<hmac::Key>);

impl Secrets {
    /// Reads the file; every line is a secret.
    ///
    /// # Errors
    /// [`SecretError`]; it never quotes a secret.
    pub fn read(file: &Path) -> Result<Self, SecretError> {
        let fault = |why: String| SecretError {
            file: file.to_owned(),
            why,
        };
        let text = std::fs::read_to_string(file).map_err(|error| fault(error.to_string()))?;
        let mut keys = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let bytes = line
                .strip_prefix(PREFIX)
                .and_then(|secret| BASE64.decode(secret).ok())
                .ok_or_else(|| fault("a line is not of that form".to_owned()))?;
            if bytes.len() < SHORTEST {
                return Err(fault(format!("a secret has only {} bytes", bytes.len())));
            }
            keys.push(hmac::Key::new(hmac::HMAC_SHA256, &bytes));
        }
        if keys.is_empty() {
            return Err(fault("it is empty".to_owned()));
        }
        Ok(Self(keys))
    }

    /// The value of `webhook-signature`.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let signed = format!("{id}.{timestamp}.{body}");
        let signature = |key| format!("v1,{}", BASE64.encode(hmac::sign(key, signed.as_bytes())));
        self.0.iter().map(signature).collect::<Vec<_>>().join(" ")
    }
}

/// A receiver that is reached over HTTP.
#[derive(Clone)]
pub struct Webhook {
    url: String,
    secret_file: PathBuf,
    agent: Agent,
}

impl Webhook {
    /// Posts to `url`; `ca` names the authority of its certificate where that is none of the public ones. The secret is
    /// read again for each request, so that it can be changed without a restart.
    ///
    /// # Errors
    /// [`WebhookError`] when a file cannot be used now.
    pub fn new(
        url: &str,
        secret_file: &Path,
        ca: Option<&Path>,
        timeout: Duration,
    ) -> Result<Self, WebhookError> {
        Secrets::read(secret_file).map_err(WebhookError::Secret)?;
        let roots = ca
            .map(outbound::authorities)
            .transpose()
            .map_err(WebhookError::Ca)?;
        let reach = Reach {
            roots,
            only_private: false,
        };
        Ok(Self {
            url: url.to_owned(),
            secret_file: secret_file.to_owned(),
            agent: outbound::agent(timeout, reach),
        })
    }

    async fn post(&self, submission: &Submission, closes: bool) -> Result<Receipt, DeskError> {
        let kind = if closes { "closed" } else { "updated" };
        let key = &submission.key;
        let id = format!("{}.{}.{kind}", key.call.as_str(), key.revision);
        let now = SystemTime::now();
        let body = json!({
            "type": format!("ticket.draft.{kind}"),
            "timestamp": Timestamp::try_from(now).unwrap_or_default().to_string(),
            "data": handover::json(submission),
        })
        .to_string();
        let timestamp = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let webhook = self.clone();
        let posted = tokio::task::spawn_blocking(move || webhook.send(&id, timestamp, &body));
        posted.await.unwrap_or(Err(DeskError::Unavailable {
            code: "the request broke off",
        }))
    }

    fn send(&self, id: &str, timestamp: u64, body: &str) -> Result<Receipt, DeskError> {
        let secrets = Secrets::read(&self.secret_file).map_err(|error| {
            tracing::error!("{error}");
            DeskError::Unavailable {
                code: "the secret cannot be read",
            }
        })?;
        let answer = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json")
            .header("webhook-id", id)
            .header("webhook-timestamp", timestamp.to_string())
            .header("webhook-signature", secrets.sign(id, timestamp, body))
            .send(body)
            .map_err(|error| DeskError::Unavailable { code: code(&error) })?;
        let status = answer.status();
        if status.is_success() {
            return Ok(Receipt {
                ticket: String::new(),
                applied: true,
            });
        }
        let code = status.canonical_reason().unwrap_or("refused");
        if is_passing(status.as_u16()) {
            return Err(DeskError::Unavailable { code });
        }
        let mut reason = Vec::new();
        // What cannot be read of a refusal's reason does not change the refusal.
        let _ = answer
            .into_body()
            .into_reader()
            .take(REASON_BYTES)
            .read_to_end(&mut reason);
        Err(DeskError::Rejected {
            code,
            reason: Private::new(String::from_utf8_lossy(&reason).trim().to_owned()),
        })
    }
}

/// Whether the same request may be taken later: after a repair, a pause, or when the key has been mended.
const fn is_passing(status: u16) -> bool {
    matches!(status, 401 | 403 | 407 | 408 | 425 | 429) || status >= 500
}

fn code(error: &ureq::Error) -> &'static str {
    // What is wrong with a certificate comes to light while the first octets are written.
    let is_secrecy = |error: &std::io::Error| matches!(error.get_ref(), Some(inner) if inner.is::<rustls::Error>());
    match error {
        ureq::Error::Timeout(_) => "deadline exceeded",
        ureq::Error::HostNotFound => "host not found",
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => "no secure connection",
        ureq::Error::Io(error) if is_secrecy(error) => "no secure connection",
        _ => "unreachable",
    }
}

impl TicketDesk for Webhook {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.post(submission, false).await
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        self.post(submission, true).await
    }
}

#[cfg(test)]
mod tests;
