//! Settings of what leaves the gateway: gRPC with TLS, the ticketing backend's connection, the webhook, the language model.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{ConfigError, LOOPBACK, Ticketing};

/// The gRPC services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grpc {
    /// Address and port.
    pub listen: SocketAddr,
    /// Without it, gRPC is plain and only this machine itself may reach it.
    pub tls: Option<ServerTls>,
    /// Who may do what; without any, every client that is let in may do everything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub client: Vec<GrpcClient>,
}

/// A client of the gRPC services.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrpcClient {
    /// The DNS name in its certificate; with a token, any name for the log.
    pub name: String,
    /// A file with the token that it shows (`authorization: Bearer TOKEN`), where it has no certificate.
    pub token_file: Option<PathBuf>,
    /// What it may do.
    pub roles: Vec<Role>,
}

/// What a gRPC client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Read calls and transcripts, pause recordings, and correct drafts and lines.
    Transcripts,
    /// Give commands to running calls: edit, note, hang up, transfer.
    ControlCalls,
    /// Read the reference backend's tickets.
    ReadTickets,
    /// Hand drafts to the reference backend.
    WriteTickets,
}

/// A server's certificate, and whose clients it takes. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Clients must show a certificate that one of these has signed, PEM; without it, any client is taken.
    pub client_ca: Option<PathBuf>,
}

/// The second way out of drafts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where drafts are posted; without it, nowhere.
    pub url: Option<String>,
    /// A file with the signing secret, `whsec_` and base64.
    pub secret_file: Option<PathBuf>,
    /// The authority that signed the receiver's certificate, PEM; without it, the public ones.
    pub ca: Option<PathBuf>,
    /// How long one request may take.
    pub timeout_s: u64,
}

/// A language model on the hotline's own network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LanguageModel {
    /// The base of an OpenAI-compatible interface, up to `/v1`; without it, none is asked.
    pub url: Option<String>,
    /// The model's name there.
    pub model: String,
    /// A file with the key, where one is asked for.
    pub api_key_file: Option<PathBuf>,
    /// How long one answer may take.
    pub timeout_s: u64,
    /// Whether the address may lie outside private networks. What callers say would leave the hotline then.
    pub allow_public: bool,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((LOOPBACK, 50051)),
            tls: None,
            client: Vec::new(),
        }
    }
}

impl Default for Webhook {
    fn default() -> Self {
        Self {
            url: None,
            secret_file: None,
            ca: None,
            timeout_s: 10,
        }
    }
}

impl Default for LanguageModel {
    fn default() -> Self {
        Self {
            url: None,
            model: "qwen3".to_owned(),
            api_key_file: None,
            timeout_s: 20,
            allow_public: false,
        }
    }
}

fn refuse(key: &str, value: impl Into<String>, why: &str) -> Result<(), ConfigError> {
    Err(ConfigError::Value {
        key: key.to_owned(),
        value: Some(value.into()),
        origin: None,
        why: why.to_owned(),
    })
}

fn shown(path: Option<&PathBuf>) -> String {
    path.map_or_else(
        || "not set".to_owned(),
        |path| Path::display(path).to_string(),
    )
}

/// Scheme and host of a URL, without its port.
fn parts(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(address) => address.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty() && !authority.contains('@')).then_some((scheme, host))
}

impl Grpc {
    /// Whether those who can reach it are asked who they are.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let asks_for_certificates = self.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let mut clients = self.client.iter();
        let all_have_tokens =
            !self.client.is_empty() && clients.all(|client| client.token_file.is_some());
        let knows_clients = asks_for_certificates || all_have_tokens;
        if !self.listen.ip().is_loopback() && (self.tls.is_none() || !knows_clients) {
            return refuse(
                "grpc.listen",
                self.listen.to_string(),
                "who reaches it from elsewhere would not be asked who he is: that needs grpc.tls with client_ca, or with a token for each [[grpc.client]]",
            );
        }
        for (index, client) in self.client.iter().enumerate() {
            let others = &self.client[..index];
            let why = if client.name.is_empty() {
                "a client needs a name"
            } else if others.iter().any(|other| other.name == client.name) {
                "two clients have this name"
            } else if client.token_file.is_none() && !asks_for_certificates {
                "it has no token_file, and without grpc.tls.client_ca nobody shows a certificate"
            } else {
                continue;
            };
            return refuse("grpc.client", client.name.clone(), why);
        }
        Ok(())
    }
}

impl Ticketing {
    /// Whether the connection's settings fit together.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        if self.deadline_s == 0 {
            return refuse("ticketing.deadline_s", "0", "it must be 1 or more");
        }
        let endpoint = self.endpoint.as_deref().unwrap_or_default();
        if endpoint.starts_with("https://") && self.ca.is_none() {
            return refuse(
                "ticketing.ca",
                "not set",
                "ticketing.endpoint is https, so the authority that signed the backend's certificate must be known",
            );
        }
        if !endpoint.starts_with("https://") && (self.ca.is_some() || self.cert.is_some()) {
            return refuse(
                "ticketing.endpoint",
                if endpoint.is_empty() {
                    "not set"
                } else {
                    endpoint
                },
                "ticketing.ca and ticketing.cert are for an https address",
            );
        }
        if self.cert.is_some() != self.key.is_some() {
            return refuse(
                "ticketing.cert",
                shown(self.cert.as_ref()),
                "ticketing.cert and ticketing.key belong together",
            );
        }
        Ok(())
    }
}

impl Webhook {
    /// Whether the settings fit together.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.url else {
            return Ok(());
        };
        if !matches!(parts(url), Some(("http" | "https", _))) {
            return refuse("webhook.url", url, "not an http or https address");
        }
        if self.secret_file.is_none() {
            return refuse(
                "webhook.secret_file",
                "not set",
                "the receiver must be able to tell our requests from others",
            );
        }
        if self.timeout_s == 0 {
            return refuse("webhook.timeout_s", "0", "it must be 1 or more");
        }
        Ok(())
    }
}

impl LanguageModel {
    /// Whether the settings fit together, and the address lies on the hotline's own network as far as it shows.
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let Some(url) = &self.url else {
            return Ok(());
        };
        let Some(("http" | "https", host)) = parts(url) else {
            return refuse("language_model.url", url, "not an http or https address");
        };
        // A name is judged by its addresses, at every connection.
        if let Ok(address) = host.parse::<IpAddr>()
            && !self.allow_public
            && !is_private(address)
        {
            return refuse(
                "language_model.url",
                url,
                "the address lies outside private networks, and no text may leave the hotline's machines",
            );
        }
        if self.model.is_empty() {
            return refuse("language_model.model", "", "it must be named");
        }
        if self.timeout_s == 0 {
            return refuse("language_model.timeout_s", "0", "it must be 1 or more");
        }
        Ok(())
    }
}

/// Whether an address can only be on this machine or on a network of one's own.
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            address.is_loopback() || address.is_private() || address.is_link_local()
        }
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_private(mapped.into()),
            None => {
                address.is_loopback()
                    || address.is_unique_local()
                    || address.is_unicast_link_local()
            }
        },
    }
}

/// What to write instead, for the keys of this file.
pub(super) fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "ticketing.endpoint" => "write e.g. http://10.0.0.30:50051, or https://… with ticketing.ca",
        "ticketing.ca" => "write the path of a PEM file, e.g. /etc/xinqiao/ticketing-ca.pem",
        "ticketing.cert" | "ticketing.key" => "write the paths of two PEM files, or neither",
        "grpc.listen" => "write e.g. 127.0.0.1:50051, or set grpc.tls and who may come",
        "grpc.client" => {
            "write e.g. name = \"crm.example.com\", token_file = \"/etc/xinqiao/crm.token\", roles = [\"transcripts\"]"
        }
        "grpc.tls" | "grpc.tls.cert" | "grpc.tls.key" => {
            "write grpc.tls.cert and grpc.tls.key, the paths of two PEM files"
        }
        "webhook.url" => "write e.g. https://tickets.example.com/xinqiao",
        "webhook.secret_file" => {
            "name a file made by: (printf whsec_; head -c 32 /dev/urandom | base64) > webhook.secret"
        }
        "language_model.url" => {
            "write e.g. http://10.0.0.40:8000/v1, or set language_model.allow_public = true if you may"
        }
        "language_model.model" => "write the name that the server lists under /v1/models",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn load(sets: &[&str]) -> Result<Config, String> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Config::load(None, &sets).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_that_contradict_each_other_are_named_with_a_remedy() {
        for (sets, parts) in [
            (
                &["ticketing.endpoint=https://10.0.0.1:1"][..],
                &["ticketing.ca", "PEM"][..],
            ),
            (
                &["ticketing.endpoint=http://10.0.0.1:1", "ticketing.ca=a.pem"],
                &["ticketing.endpoint", "https"],
            ),
            (
                &[
                    "ticketing.endpoint=https://a:1",
                    "ticketing.ca=a.pem",
                    "ticketing.cert=c.pem",
                ],
                &["ticketing.cert", "ticketing.key"],
            ),
            (&["grpc.tls.cert=a.pem"], &["grpc.tls", "key"]),
            (
                &[
                    "grpc.listen=0.0.0.0:50051",
                    "grpc.tls.cert=a.pem",
                    "grpc.tls.key=k.pem",
                ],
                &["grpc.listen", "client_ca", "token"],
            ),
            (
                &[
                    "grpc.listen=0.0.0.0:50051",
                    "grpc.client=[{ name = \"a\", token_file = \"t\", roles = [] }]",
                ],
                &["grpc.listen", "grpc.tls"],
            ),
            (
                &["grpc.client=[{ name = \"a\", roles = [\"transcripts\"] }]"],
                &["grpc.client", "token_file", "client_ca"],
            ),
            (
                &["grpc.client=[{ name = \"a\", token_file = \"t\", roles = [\"all\"] }]"],
                &["grpc.client", "all", "write_tickets"],
            ),
            (
                &["webhook.url=https://a/b"],
                &["webhook.secret_file", "whsec_"],
            ),
            (
                &["webhook.url=ftp://a/b", "webhook.secret_file=s"],
                &["webhook.url", "https://"],
            ),
            (
                &["language_model.url=http://8.8.8.8/v1"],
                &["language_model.url", "8.8.8.8", "allow_public"],
            ),
            (
                &["language_model.url=http://[2001:db8::1]/v1"],
                &["language_model.url", "private"],
            ),
        ] {
            let said = load(sets).expect_err("refused");
            for part in parts {
                assert!(said.contains(part), "{part} in: {said}");
            }
        }
    }

    #[test]
    fn settings_that_fit_are_taken() {
        for sets in [
            &[
                "ticketing.endpoint=https://a:1",
                "ticketing.ca=a.pem",
                "ticketing.cert=c.pem",
                "ticketing.key=k.pem",
            ][..],
            &["grpc.tls.cert=a.pem", "grpc.tls.key=k.pem"],
            &[
                "grpc.listen=0.0.0.0:50051",
                "grpc.tls.cert=a.pem",
                "grpc.tls.key=k.pem",
                "grpc.tls.client_ca=c.pem",
            ],
            &[
                "grpc.listen=0.0.0.0:50051",
                "grpc.tls.cert=a.pem",
                "grpc.tls.key=k.pem",
                "grpc.client=[{ name = \"a\", token_file = \"t\", roles = [\"transcripts\"] }]",
            ],
            &["webhook.url=https://a/b", "webhook.secret_file=s"],
            &["language_model.url=http://10.1.2.3:8000/v1"],
            &["language_model.url=http://[fd00::1]:8000/v1"],
            &["language_model.url=http://model.hotline.example/v1"],
            &[
                "language_model.url=http://8.8.8.8/v1",
                "language_model.allow_public=true",
            ],
        ] {
            load(sets).unwrap_or_else(|said| panic!("{sets:?}: {said}"));
        }
    }
}
