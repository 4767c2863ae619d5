//! The gateway's settings: embedded defaults, then a TOML file, then `XINQIAO_…` variables, then `--set`.
//!
//! A key that does not exist, a value of the wrong kind and values that contradict each other are refused with the
//! key, the value, where it came from and a remedy, before anything starts.

mod audiosocket;
mod calls;
pub mod delivery;
mod media;
mod people;
mod recognition;
mod recording;
mod store;
mod taps;
pub mod telephony;
mod text;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};

pub use self::audiosocket::AudioSocket;
pub use self::calls::Calls;
use self::telephony::{Admission, Extension, Registrar, Route, Sip, Telephony, Trunk};
use delivery::{Grpc, LanguageModel, Webhook};
pub use media::{Codec, Media, Sources, Srtp};
pub use people::{Audit, People};
pub use recognition::{Listening, Recognition};
pub use recording::Recording;
pub use store::Store;
pub use taps::Taps;
pub use text::Text;

/// Prefix of environment variables: `XINQIAO_SIP__LISTEN` is `sip.listen`.
const PREFIX: &str = "XINQIAO_";

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where calls come in.
    pub sip: Sip,
    /// Where their audio flows.
    pub media: Media,
    /// Who answers them.
    pub operators: Operators,
    /// How they are recognised.
    pub recognition: Recognition,
    /// How their speech is cut into utterances.
    pub listening: Listening,
    /// How what was recognised is written.
    pub text: Text,
    /// How many at once, and how they end.
    pub calls: Calls,
    /// Calls that take place elsewhere and are forked to us.
    pub taps: Taps,
    /// The same, brought by an Asterisk over TCP.
    pub audiosocket: AudioSocket,
    /// The operator's page.
    pub console: Console,
    /// Who signs in there.
    pub people: People,
    /// What is kept of what was done.
    pub audit: Audit,
    /// The gRPC services.
    pub grpc: Grpc,
    /// Where drafts go.
    pub ticketing: Ticketing,
    /// Where they go besides.
    pub webhook: Webhook,
    /// What reads the conversation beside the rules.
    pub language_model: LanguageModel,
    /// Where calls are kept.
    pub store: Store,
    /// How they are recorded.
    pub recording: Recording,
    /// Who is let in.
    pub admission: Admission,
    /// For how long extensions are registered.
    pub registrar: Registrar,
    /// The peers that bring and take calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trunk: Vec<Trunk>,
    /// The hotline's own phones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extension: Vec<Extension>,
    /// Which calls go to whom; the others go to `operators.default`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub route: Vec<Route>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operators {
    /// SIP URI of the phone or the PBX that rings.
    pub default: String,
    /// How long it may ring.
    pub ring_s: u64,
}

/// The operator's page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Console {
    /// Address and port.
    pub listen: SocketAddr,
    /// Names that it is asked for by, beside this machine's own: those of a proxy before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Encrypts it. Without it, a page for others than this machine itself is encrypted with a certificate of its own
    /// making.
    pub tls: Option<ConsoleTls>,
}

/// The page's certificate. The files are read again when they change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleTls {
    /// The certificate chain, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// The ticketing backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ticketing {
    /// The backend's gRPC address; without one, the reference backend in this process.
    pub endpoint: Option<String>,
    /// The authority that signed the backend's certificate, PEM; for an https endpoint.
    pub ca: Option<PathBuf>,
    /// The certificate that the backend is shown, PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
    /// The name in the backend's certificate, where it is not the endpoint's host.
    pub domain: Option<String>,
    /// How long one request to the backend may take.
    pub deadline_s: u64,
    /// The reference backend's records: `sqlite:FILE` or `postgres://USER@HOST/DATABASE`.
    pub url: String,
    /// A `SQLite` file: the short form of `url = "sqlite:FILE"`.
    pub database: Option<PathBuf>,
    /// A file with the password of the database's user; without one, `PGPASSWORD` or `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// The folder of the hotline's categories, departments, places and phrases; without one, the embedded example's.
    pub taxonomy: Option<PathBuf>,
    /// A classifier from `xinqiao taxonomy train` that advises on the category beside the phrases; without one, none.
    pub classifier: Option<PathBuf>,
}

const LOOPBACK: [u8; 4] = [127, 0, 0, 1];

impl Default for Operators {
    fn default() -> Self {
        Self {
            default: "sip:op@127.0.0.1:5080".to_owned(),
            ring_s: 60,
        }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((LOOPBACK, 8080)),
            hosts: Vec::new(),
            tls: None,
        }
    }
}

impl Default for Ticketing {
    fn default() -> Self {
        Self {
            endpoint: None,
            ca: None,
            cert: None,
            key: None,
            domain: None,
            deadline_s: 5,
            url: store::TICKETING_URL.to_owned(),
            database: None,
            password_file: None,
            taxonomy: None,
            classifier: None,
        }
    }
}

impl Config {
    /// Reads the layers in their order; `sets` are `KEY=VALUE` with the value as in TOML (quotes may be left out).
    ///
    /// # Errors
    /// [`ConfigError`] with key, value and remedy.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        if let Some(file) = file {
            let text = std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
                file: file.to_owned(),
                source,
            })?;
            // Parsed here first: figment's own syntax error does not say where.
            toml::from_str::<toml::Table>(&text).map_err(|error| ConfigError::Syntax {
                file: file.to_owned(),
                what: error.to_string().trim_end().to_owned(),
            })?;
            figment = figment.merge(Toml::file_exact(file));
        }
        // `XINQIAO_LOG` is the log's (`cli::log`).
        figment = figment.merge(Env::prefixed(PREFIX).ignore(&["log"]).split("__"));
        for set in sets {
            let (key, value) = set
                .split_once('=')
                .ok_or_else(|| ConfigError::NotAnAssignment { set: set.clone() })?;
            figment = figment.merge(Serialized::default(key.trim(), toml_value(value.trim())));
        }
        let config: Self = figment.extract().map_err(|error| {
            let key = error.path.join(".");
            ConfigError::Value {
                value: figment.find_value(&key).ok().map(|value| shown(&value)),
                origin: error.metadata.as_ref().map(origin),
                why: error.kind.to_string(),
                key,
            }
        })?;
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key: &str, value: String, why: &str| {
            Err(ConfigError::Value {
                key: key.to_owned(),
                value: Some(value),
                origin: None,
                why: why.to_owned(),
            })
        };
        self.telephony()
            .validate()
            .or_else(|(key, value, why)| refuse(&key, value, &why))?;
        self.media.validate()?;
        if self.media_address().is_unspecified() {
            return refuse(
                "media.address",
                "not set".to_owned(),
                "sip.listen is on every address, so callers must be told which one their audio goes to",
            );
        }
        if !(self.operators.default.starts_with("sip:") && self.operators.default.contains('@')) {
            let value = self.operators.default.clone();
            return refuse(
                "operators.default",
                value,
                "not a SIP URI of the form sip:USER@HOST:PORT",
            );
        }
        if !self.console.listen.ip().is_loopback() && !self.people.sign_in {
            return refuse(
                "people.sign_in",
                "false".to_owned(),
                &format!(
                    "console.listen = {} lets others than this machine itself reach the page",
                    self.console.listen
                ),
            );
        }
        if let Some(host) = self.console.hosts.iter().find(|host| !is_host(host)) {
            return refuse("console.hosts", host.clone(), "not the name of a host");
        }
        self.people.validate()?;
        self.audit.validate()?;
        self.grpc.validate()?;
        if self.operators.ring_s == 0 {
            return refuse("operators.ring_s", "0".to_owned(), "it must be 1 or more");
        }
        self.calls.validate()?;
        self.taps.validate()?;
        self.audiosocket.validate()?;
        self.recognition.validate()?;
        self.listening.validate()?;
        self.ticketing.validate()?;
        self.ticketing.location()?;
        self.store.location()?;
        self.webhook.validate()?;
        self.language_model.validate()
    }

    /// What is set about telephony.
    #[must_use]
    pub fn telephony(&self) -> Telephony<'_> {
        Telephony {
            sip: &self.sip,
            admission: &self.admission,
            registrar: &self.registrar,
            trunks: &self.trunk,
            extensions: &self.extension,
            routes: &self.route,
        }
    }

    /// The address that session descriptions name.
    #[must_use]
    pub fn media_address(&self) -> IpAddr {
        self.media.address.unwrap_or_else(|| self.sip.listen.ip())
    }

    /// Threads that carry media.
    #[must_use]
    pub fn media_threads(&self) -> usize {
        match self.media.threads {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
            threads => threads,
        }
    }

    /// How long an operator's phone may ring.
    #[must_use]
    pub const fn ring(&self) -> Duration {
        Duration::from_secs(self.operators.ring_s)
    }
}

/// A host's name or address, without a port.
fn is_host(text: &str) -> bool {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || ".-:[]_".contains(letter);
    !text.is_empty() && text.chars().all(plain)
}

/// A value as TOML reads it, or as plain text where quotes were left out.
fn toml_value(text: &str) -> toml::Value {
    toml::from_str::<toml::Table>(&format!("value = {text}"))
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}

fn shown(value: &figment::value::Value) -> String {
    match value.as_str() {
        Some(text) => text.to_owned(),
        None => serde_json::to_string(value).unwrap_or_default(),
    }
}

/// Where a value was set, in the user's words.
fn origin(metadata: &figment::Metadata) -> String {
    match &metadata.source {
        Some(figment::Source::Code(_)) => "--set".to_owned(),
        Some(file) => file.to_string(),
        None => metadata.name.to_string(),
    }
}

/// What is wrong with the settings.
#[derive(Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    Unreadable {
        /// Which.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    Syntax {
        /// Which.
        file: PathBuf,
        /// The parser's words, with line and column.
        what: String,
    },
    /// A `--set` without `=`.
    NotAnAssignment {
        /// As given.
        set: String,
    },
    /// A key does not exist, or its value does not do.
    Value {
        /// The key, e.g. `sip.listen`.
        key: String,
        /// Its value, where it has one.
        value: Option<String>,
        /// The file, variable or option that it comes from.
        origin: Option<String>,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { file, source } => {
                write!(
                    f,
                    "configuration file {} cannot be read ({source}); name a file that is there",
                    file.display()
                )
            }
            Self::Syntax { file, what } => {
                write!(
                    f,
                    "configuration file {} is not TOML: {what}",
                    file.display()
                )
            }
            Self::NotAnAssignment { set } => {
                write!(
                    f,
                    "`--set {set}` has no `=`; write e.g. --set sip.listen=127.0.0.1:5062"
                )
            }
            Self::Value {
                key,
                value,
                origin,
                why,
            } => {
                write!(f, "configuration key `{key}`")?;
                if let Some(value) = value {
                    write!(f, " = {value}")?;
                }
                if let Some(origin) = origin {
                    write!(f, " in {origin}")?;
                }
                write!(f, ": {why}; {}", remedy(key))
            }
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// What to write instead.
fn remedy(key: &str) -> &'static str {
    let remedies = [
        calls::remedy,
        delivery::remedy,
        audiosocket::remedy,
        store::remedy,
    ];
    if let Some(remedy) = remedies.iter().find_map(|remedy| remedy(key)) {
        return remedy;
    }
    match key {
        "console.listen" => "write ADDRESS:PORT, e.g. 127.0.0.1:8080",
        "people.sign_in" => "leave it true, or let the page listen on 127.0.0.1 only",
        "people.totp_for" => "write e.g. [\"system_administrator\", \"security_administrator\"]",
        "console.hosts" => "write e.g. [\"hotline.example.com\"], without a port",
        "sip.listen" => "write ADDRESS:PORT, e.g. 127.0.0.1:5060",
        "taps.own_numbers" => "write e.g. [\"12345\", \"10*\"]",
        "media.address" => "write the address that phones reach this machine by, e.g. 192.0.2.10",
        "media.first_port" | "media.last_port" => {
            "write e.g. first_port = 20000 and last_port = 21999"
        }
        "media.srtp" | "media.operator_srtp" => "write off, optional or required",
        "media.codecs" => "write some of PCMA, PCMU, G722 and opus, e.g. [\"PCMA\", \"PCMU\"]",
        "media.sources" => "write signalled, address or network",
        "operators.default" => "write e.g. sip:1001@192.0.2.20:5060",
        "recording.announcement" => "name a WAV file of at most a minute, or leave the key out",
        "recognition.model" => "`xinqiao models list` names the models",
        "recognition.remotes" => {
            "write e.g. https://192.0.2.40:50061, and [recognition.tls] with ca, cert and key"
        }
        "recognition.language" => "write e.g. zh, yue, en or auto",
        _ => {
            telephony::remedy(key).unwrap_or("deploy/xinqiao.toml shows every key with its default")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets(sets: &[&str]) -> Result<Config, ConfigError> {
        Config::load(
            None,
            &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>(),
        )
    }

    fn complaint(set: &str) -> String {
        sets(&[set]).expect_err(set).to_string()
    }

    #[test]
    fn without_a_file_the_defaults_hold_and_a_set_overrides_one() {
        let config =
            sets(&["operators.default=sip:1001@192.0.2.9:5070", "calls.max=3"]).expect("valid");
        assert_eq!(config.operators.default, "sip:1001@192.0.2.9:5070");
        assert_eq!((config.calls.max, config.sip.listen.port()), (3, 5060));
    }

    #[test]
    fn a_file_is_read_and_a_set_beats_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("xinqiao.toml");
        std::fs::write(
            &file,
            "[sip]\nlisten = \"127.0.0.1:5070\"\n[calls]\nmax = 7\n",
        )
        .expect("written");
        let config = Config::load(Some(&file), &["calls.max=8".to_owned()]).expect("valid");
        assert_eq!((config.sip.listen.port(), config.calls.max), (5070, 8));
    }

    #[test]
    fn the_example_file_shows_every_default() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/xinqiao.toml");
        assert_eq!(
            Config::load(Some(&file), &[]).expect("valid"),
            Config::default()
        );
        let text = std::fs::read_to_string(file).expect("readable");
        let defaults = toml::Table::try_from(Config::default()).expect("serialisable");
        for (section, keys) in defaults {
            assert!(text.contains(&format!("[{section}]")), "{section}");
            for key in keys.as_table().expect("sections").keys() {
                assert!(text.contains(&format!("\n{key} = ")), "{section}.{key}");
            }
        }
    }

    #[test]
    fn what_contradicts_itself_about_telephony_is_named_with_a_remedy() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("xinqiao.toml");
        let load = |text: &str| {
            std::fs::write(&file, text).expect("written");
            Config::load(Some(&file), &[])
        };
        let pbx =
            "[[trunk]]\nname = \"pbx\"\nuri = \"sip:192.0.2.9\"\naddresses = [\"192.0.2.0/24\"]\n";
        let phone = "[[extension]]\nname = \"1001\"\npassword = \"x\"\n";
        let route = "[[route]]\npattern = \"0535\\\\d+\"\ntrunk = \"pbx\"\nto = [\"1001\", \"trunk:pbx/6000\", \"sip:q@h\"]\n";
        let whole = format!("{pbx}{phone}{route}");
        let config = load(&whole).expect("valid");
        assert_eq!(
            (config.trunk[0].options_s, config.trunk[0].trusted),
            (30, true)
        );
        assert!(
            !format!("{config:?}").contains("\"x\""),
            "a password is shown"
        );
        for (from, to, parts) in [
            (
                "192.0.2.0/24",
                "192.0.2.0/99",
                ["trunk.addresses", "192.0.2.0/99", "e.g."],
            ),
            (
                "uri = \"sip:192.0.2.9\"",
                "offers_late = true",
                ["trunk.offers_late", "true", "uri"],
            ),
            (
                "[[trunk]]",
                "[sip]\nnameservers = [\"dns\"]\n[[trunk]]",
                ["sip.nameservers", "dns", "192.0.2.53"],
            ),
            (
                "name = \"1001\"",
                "name = \"1002\"",
                ["route.to", "1001", "trunk:pbx/6000"],
            ),
            (
                "password = \"x\"",
                "ha1_md5 = \"123\"",
                ["extension.ha1", "1001", "32"],
            ),
            (
                "password = \"x\"",
                "ha1_sha256 = \"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"",
                ["extension.ha1", "1001", "sip.digest"],
            ),
            (
                "trunk = \"pbx\"",
                "trunk = \"pbx2\"",
                ["route.trunk", "pbx2", "no such"],
            ),
            (
                "0535",
                "05(",
                ["route.pattern", "05(", "an expression such as"],
            ),
            (
                "pattern",
                "called = \"1\"\npattern",
                ["route.called", "exactly one", "12345"],
            ),
            (
                "uri = \"sip:192.0.2.9\"",
                "uri = \"192.0.2.9\"",
                ["trunk.uri", "192.0.2.9", "sip:192"],
            ),
            (
                "[[trunk]]",
                "[sip]\nlistener = [{ listen = \"[::1]:5061\", transport = \"tls\" }]\n[[trunk]]",
                ["sip.tls_certificate", "speaks tls", "/etc/"],
            ),
        ] {
            let changed = whole.replace(from, to);
            let said = load(&changed).expect_err(from).to_string();
            for part in parts {
                assert!(said.contains(part), "{part} in: {said}");
            }
        }
    }

    #[test]
    fn a_misspelt_key_is_named_with_those_that_exist_and_its_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("xinqiao.toml");
        std::fs::write(&file, "[sip]\nlissen = \"127.0.0.1:5070\"\n").expect("written");
        let said = Config::load(Some(&file), &[])
            .expect_err("refused")
            .to_string();
        for part in ["lissen", "listen", "xinqiao.toml", "deploy/xinqiao.toml"] {
            assert!(said.contains(part), "{part} in: {said}");
        }
        std::fs::write(&file, "[sip\n").expect("written");
        let said = Config::load(Some(&file), &[])
            .expect_err("refused")
            .to_string();
        assert!(said.contains("line 1"), "{said}");
    }

    #[test]
    fn who_lets_others_reach_the_page_has_them_sign_in() {
        for listen in [
            "console.listen=0.0.0.0:8080",
            "console.listen=[2001:db8::1]:8080",
        ] {
            assert!(sets(&[listen]).is_ok(), "{listen}");
            let complaint = sets(&[listen, "people.sign_in=false"]).expect_err(listen);
            let complaint = complaint.to_string();
            for part in ["people.sign_in", &listen[15..], "127.0.0.1"] {
                assert!(complaint.contains(part), "{complaint}");
            }
        }
        assert!(sets(&["people.sign_in=false"]).is_ok());
    }

    #[test]
    fn a_wrong_value_is_named_with_its_key_and_a_remedy() {
        for (set, parts) in [
            ("sip.listen=5060", ["--set", "5060", "ADDRESS:PORT"]),
            (
                "operators.default=1001",
                ["operators.default", "1001", "sip:1001@"],
            ),
            (
                "people.session_h=0",
                ["people.session_h", "0", "from 1 to 168"],
            ),
            (
                "people.totp_for=[\"write_tickets\"]",
                ["people.totp_for", "write_tickets", "system_administrator"],
            ),
            (
                "people.totp_for=[\"boss\"]",
                ["people.totp_for", "boss", "team_lead"],
            ),
            ("audit.kept_days=30", ["audit.kept_days", "30", "180"]),
            (
                "console.hosts=[\"http://a\"]",
                ["console.hosts", "http://a", "without a port"],
            ),
            (
                "grpc.listen=192.0.2.1:50051",
                ["grpc.listen", "grpc.tls", "client_ca"],
            ),
            ("media.last_port=7", ["media.last_port", "7", "21999"]),
            ("media.srtp=always", ["media.srtp", "always", "required"]),
            ("media.codecs=[]", ["media.codecs", "[]", "PCMA"]),
            ("media.codecs=[\"G729\"]", ["media.codecs", "G729", "opus"]),
            ("media.sources=any", ["media.sources", "any", "signalled"]),
            (
                "calls.max=many",
                ["calls.max", "many", "deploy/xinqiao.toml"],
            ),
            (
                "sip.listen=0.0.0.0:5060",
                ["media.address", "sip.listen", "192.0.2.10"],
            ),
            (
                "calls.min_se_s=30",
                ["calls.min_se_s", "RFC 4028", "90 or more"],
            ),
            (
                "calls.session_expires_s=60",
                ["calls.session_expires_s", "60", "1800"],
            ),
            ("calls.max", ["--set calls.max", "=", "e.g."]),
            (
                "listening.short_pause_ms=700",
                ["short_pause_ms", "700", "end_pause_ms"],
            ),
            (
                "recognition.remotes=[\"http://192.0.2.40:50061\"]",
                ["recognition.remotes", "192.0.2.40", "recognition.tls"],
            ),
            (
                "audiosocket.caller=127.0.0.1:9019",
                ["audiosocket.operator", "the port alone", "9020"],
            ),
            (
                "audiosocket.networks=[\"lan\"]",
                ["audiosocket.networks", "lan", "192.0.2.5"],
            ),
            ("recognition.beam=9", ["recognition.beam", "9", "1 to 8"]),
            (
                "recognition.language=mandarin",
                ["recognition.language", "mandarin", "zh"],
            ),
        ] {
            let said = complaint(set);
            for part in parts {
                assert!(said.contains(part), "{part} in: {said}");
            }
        }
    }
}
