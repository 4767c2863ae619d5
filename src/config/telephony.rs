//! The telephone side: listeners, trunks, extensions, routes, and who is let in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::private::Private;
use crate::sip::digest::Algorithm;
use crate::sip::route::{Called, Cidr};

/// Signalling.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sip {
    /// UDP and TCP.
    pub listen: SocketAddr,
    /// Further addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listener: Vec<Listener>,
    /// Host, perhaps with a port, by which peers reach `listen` where that is another, as behind a translating router.
    pub advertise: Option<String>,
    /// The realm of passwords, and the domain of the extensions.
    pub realm: String,
    /// How others may prove themselves, in the order of the offers.
    pub digest: Vec<Algorithm>,
    /// A proxy that all calls to others go through.
    pub outbound_proxy: Option<String>,
    /// Name servers, as addresses with or without a port; the system's if there are none.
    pub nameservers: Vec<String>,
    /// Our certificate with its chain, for listeners that speak TLS.
    pub tls_certificate: Option<PathBuf>,
    /// Its private key.
    pub tls_key: Option<PathBuf>,
    /// Whose certificates are believed when we connect; without it, those of the public authorities.
    pub tls_trust: Option<PathBuf>,
    /// Whose certificates clients may show; without it they are not asked for one.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether they must show one.
    pub tls_client_required: bool,
}

impl Sip {
    /// The name servers that are set, without those that are no address.
    #[must_use]
    pub fn nameservers(&self) -> Vec<SocketAddr> {
        let servers = self.nameservers.iter();
        servers.filter_map(|text| name_server(text)).collect()
    }
}

fn name_server(text: &str) -> Option<SocketAddr> {
    const PORT: u16 = 53;
    let ip: Option<IpAddr> = text.parse().ok();
    ip.map(|ip| SocketAddr::new(ip, PORT))
        .or_else(|| text.parse().ok())
}

/// A further address to listen on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Address and port.
    pub listen: SocketAddr,
    /// What is spoken there.
    pub transport: Transport,
    /// Host, perhaps with a port, by which peers reach it where that is another.
    pub advertise: Option<String>,
}

/// What carries SIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
    /// Encrypted streams.
    Tls,
}

impl Default for Sip {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 5060)),
            listener: Vec::new(),
            advertise: None,
            realm: "xinqiao".to_owned(),
            digest: vec![Algorithm::Md5],
            outbound_proxy: None,
            nameservers: Vec::new(),
            tls_certificate: None,
            tls_key: None,
            tls_trust: None,
            tls_client_ca: None,
            tls_client_required: false,
        }
    }
}

/// Who is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admission {
    /// Calls that others than trunks and extensions may hold at a time; without it only this machine itself may call, and
    /// only while no trunk is set up.
    pub strangers: Option<usize>,
    /// Different numbers and names that a source which is no trunk may ask for in a minute.
    pub targets: usize,
    /// Wrong passwords for one extension or trunk from one socket.
    pub wrong_passwords: usize,
    /// Those from one address.
    pub wrong_passwords_per_source: usize,
    /// For how long wrong passwords count, and one that asks or guesses more is not answered.
    pub ban_s: u64,
    /// Parts of the User-Agent of those who are never answered.
    pub scanners: Vec<String>,
    /// TCP and TLS connections at a time.
    pub connections: usize,
    /// Those from one address.
    pub connections_per_source: usize,
    /// A silent connection that carries no call and no registration is closed after so long.
    pub idle_s: u64,
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            strangers: None,
            targets: 30,
            wrong_passwords: 10,
            wrong_passwords_per_source: 30,
            ban_s: 600,
            scanners: [
                "friendly-scanner",
                "sipvicious",
                "sipcli",
                "sip-scan",
                "sipsak",
                "sundayddr",
                "vaxsipuseragent",
                "pplsip",
                "iwar",
            ]
            .map(str::to_owned)
            .to_vec(),
            connections: 1_000,
            connections_per_source: 100,
            idle_s: 300,
        }
    }
}

/// For how long extensions are registered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registrar {
    /// Less is refused with 423.
    pub least_s: u32,
    /// More is shortened.
    pub most_s: u32,
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            least_s: 60,
            most_s: 3_600,
        }
    }
}

/// A peer that brings and takes calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trunk {
    /// For the log, the call record and `trunk:NAME` in routes.
    pub name: String,
    /// Where its requests come from: addresses and networks.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// The name that it proves with `peer_password`.
    pub peer_username: Option<String>,
    /// What it proves itself with.
    pub peer_password: Option<Private<String>>,
    /// Where calls to it are sent.
    pub uri: Option<String>,
    /// The name that we prove with `password`.
    pub username: Option<String>,
    /// What we prove ourselves with.
    pub password: Option<Private<String>>,
    /// Whether we register with it.
    #[serde(default)]
    pub register: bool,
    /// For how long at a time.
    #[serde(default = "register_s")]
    pub register_s: u32,
    /// How often it is asked whether it lives; 0 for never.
    #[serde(default = "options_s")]
    pub options_s: u64,
    /// A proxy before it.
    pub outbound_proxy: Option<String>,
    /// Whether its P-Asserted-Identity, Diversion and History-Info are believed.
    #[serde(default = "yes")]
    pub trusted: bool,
    /// Whether it wants to make the offer: it is invited without one, and gets our answer in the ACK.
    #[serde(default)]
    pub offers_late: bool,
}

const fn register_s() -> u32 {
    600
}

const fn options_s() -> u64 {
    30
}

const fn yes() -> bool {
    true
}

/// One of the hotline's own phones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Extension {
    /// Its number or name.
    pub name: String,
    /// Its password; or the hashes of name, realm and password.
    pub password: Option<Private<String>>,
    /// MD5 of `name:realm:password`.
    pub ha1_md5: Option<Private<String>>,
    /// SHA-256 of `name:realm:password`.
    pub ha1_sha256: Option<Private<String>>,
}

/// Which calls go to whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The called number.
    pub called: Option<String>,
    /// Or how it begins; empty for every number.
    pub prefix: Option<String>,
    /// Or an expression that it matches as a whole.
    pub pattern: Option<String>,
    /// Only calls that came over this trunk.
    pub trunk: Option<String>,
    /// Extensions, `trunk:NAME`, `trunk:NAME/NUMBER` or SIP URIs, in the order to try them.
    pub to: Vec<String>,
}

/// What is wrong: the key, its value, and why.
pub type Wrong = (String, String, String);

/// All that is set about telephony.
pub struct Telephony<'a> {
    /// `[sip]`.
    pub sip: &'a Sip,
    /// `[admission]`.
    pub admission: &'a Admission,
    /// `[registrar]`.
    pub registrar: &'a Registrar,
    /// `[[trunk]]`.
    pub trunks: &'a [Trunk],
    /// `[[extension]]`.
    pub extensions: &'a [Extension],
    /// `[[route]]`.
    pub routes: &'a [Route],
}

impl Telephony<'_> {
    /// Finds the first value that cannot be used.
    ///
    /// # Errors
    /// [`Wrong`].
    pub fn validate(&self) -> Result<(), Wrong> {
        self.check_sip()?;
        for (index, trunk) in self.trunks.iter().enumerate() {
            let said = |key: &str, value: &str, why: &str| {
                Err((format!("trunk.{key}"), value.to_owned(), why.to_owned()))
            };
            let name = trunk.name.as_str();
            if name.is_empty() || name.contains('/') {
                return said("name", name, "a trunk needs a name without slashes");
            }
            if self.trunks[..index].iter().any(|other| other.name == name) {
                return said("name", name, "two trunks have this name");
            }
            if trunk.addresses.is_empty() && trunk.peer_username.is_none() && trunk.uri.is_none() {
                return said(
                    "addresses",
                    name,
                    "the trunk has no addresses, no peer_username and no uri, so nothing can be done with it",
                );
            }
            if trunk.peer_username.is_some() != trunk.peer_password.is_some() {
                return said(
                    "peer_password",
                    name,
                    "peer_username and peer_password belong together",
                );
            }
            if trunk.username.is_some() != trunk.password.is_some() {
                return said("password", name, "username and password belong together");
            }
            if trunk.register && (trunk.uri.is_none() || trunk.username.is_none()) {
                return said(
                    "register",
                    name,
                    "to register, a trunk needs uri, username and password",
                );
            }
            if trunk.offers_late && trunk.uri.is_none() {
                return said(
                    "offers_late",
                    "true",
                    "without a uri the trunk is never invited to offer anything",
                );
            }
            for network in &trunk.addresses {
                if let Err(error) = network.parse::<Cidr>() {
                    return said("addresses", network, &error.to_string());
                }
            }
            for uri in [&trunk.uri, &trunk.outbound_proxy].into_iter().flatten() {
                if !is_sip_uri(uri) {
                    return said("uri", uri, "not a SIP URI");
                }
            }
        }
        for (index, extension) in self.extensions.iter().enumerate() {
            let said = |key: &str, why: &str| {
                Err((
                    format!("extension.{key}"),
                    extension.name.clone(),
                    why.to_owned(),
                ))
            };
            if extension.name.is_empty() || extension.name.contains(['@', ':', '/', ' ']) {
                return said(
                    "name",
                    "an extension is a number or a name without @, :, / and spaces",
                );
            }
            let taken = self.extensions[..index]
                .iter()
                .map(|other| &other.name)
                .chain(
                    self.trunks
                        .iter()
                        .filter_map(|trunk| trunk.peer_username.as_ref()),
                )
                .any(|name| *name == extension.name);
            if taken {
                return said(
                    "name",
                    "two extensions, or an extension and a trunk, prove themselves with this name",
                );
            }
            let hashes = [(&extension.ha1_md5, 32), (&extension.ha1_sha256, 64)];
            if extension.password.is_none() && hashes.iter().all(|(hash, _)| hash.is_none()) {
                return said(
                    "password",
                    "the extension has neither password nor ha1_md5 nor ha1_sha256",
                );
            }
            let offers = |algorithm| self.sip.digest.contains(&algorithm);
            let provable = extension.password.is_some()
                || (extension.ha1_md5.is_some() && offers(Algorithm::Md5))
                || (extension.ha1_sha256.is_some() && offers(Algorithm::Sha256));
            if !provable && !self.sip.digest.is_empty() {
                return said(
                    "ha1",
                    "the extension's hash is of an algorithm that sip.digest does not offer; add it there, or the other hash here",
                );
            }
            for (hash, length) in hashes {
                if hash.as_ref().map(Private::reveal).is_some_and(|hash| {
                    hash.len() != length || !hash.bytes().all(|digit| digit.is_ascii_hexdigit())
                }) {
                    return said(
                        "ha1",
                        "a hash is 32 (MD5) or 64 (SHA-256) hexadecimal digits",
                    );
                }
            }
        }
        for route in self.routes {
            self.check_route(route)?;
        }
        Ok(())
    }

    fn check_sip(&self) -> Result<(), Wrong> {
        let Sip {
            listener,
            tls_certificate,
            tls_key,
            ..
        } = self.sip;
        let wrong =
            |key: &str, value: String, why: &str| Err((key.to_owned(), value, why.to_owned()));
        if tls_certificate.is_some() != tls_key.is_some() {
            return wrong(
                "sip.tls_key",
                "not set".to_owned(),
                "tls_certificate and tls_key belong together",
            );
        }
        if let Some(tls) = listener
            .iter()
            .find(|listener| listener.transport == Transport::Tls)
            && tls_certificate.is_none()
        {
            return wrong(
                "sip.tls_certificate",
                "not set".to_owned(),
                &format!("the listener {} speaks tls", tls.listen),
            );
        }
        if self.sip.tls_client_required && self.sip.tls_client_ca.is_none() {
            return wrong(
                "sip.tls_client_ca",
                "not set".to_owned(),
                "clients must show a certificate, and nobody's is believed",
            );
        }
        if self.sip.realm.is_empty() || self.sip.realm.contains(['"', '\\', ' ']) {
            return wrong(
                "sip.realm",
                self.sip.realm.clone(),
                "not a name such as sip.example.com",
            );
        }
        if self.sip.digest.is_empty() {
            return wrong(
                "sip.digest",
                "[]".to_owned(),
                "nobody could prove himself; write [\"MD5\", \"SHA-256\"] or one of them",
            );
        }
        if let Some(proxy) = &self.sip.outbound_proxy
            && !is_sip_uri(proxy)
        {
            return wrong("sip.outbound_proxy", proxy.clone(), "not a SIP URI");
        }
        if let Some(server) = self
            .sip
            .nameservers
            .iter()
            .find(|text| name_server(text).is_none())
        {
            return wrong(
                "sip.nameservers",
                server.clone(),
                "not an address such as 192.0.2.53 or 192.0.2.53:5353",
            );
        }
        let Registrar { least_s, most_s } = *self.registrar;
        if least_s == 0 || most_s < least_s {
            return wrong(
                "registrar.most_s",
                format!("{least_s}–{most_s}"),
                "most_s must be least_s or more, and that 1 or more",
            );
        }
        for (key, value) in [
            ("admission.targets", self.admission.targets),
            ("admission.wrong_passwords", self.admission.wrong_passwords),
            (
                "admission.wrong_passwords_per_source",
                self.admission.wrong_passwords_per_source,
            ),
            ("admission.connections", self.admission.connections),
            (
                "admission.connections_per_source",
                self.admission.connections_per_source,
            ),
            ("admission.idle_s", self.admission.idle_s as usize),
        ] {
            if value == 0 {
                return wrong(key, "0".to_owned(), "it must be 1 or more");
            }
        }
        if self.admission.scanners.iter().any(String::is_empty) {
            return wrong(
                "admission.scanners",
                "\"\"".to_owned(),
                "an empty part would be in every name",
            );
        }
        Ok(())
    }

    fn check_route(&self, route: &Route) -> Result<(), Wrong> {
        let wrong = |key: &str, value: &str, why: &str| {
            Err((format!("route.{key}"), value.to_owned(), why.to_owned()))
        };
        let given = [&route.called, &route.prefix, &route.pattern];
        if given.iter().filter(|value| value.is_some()).count() != 1 {
            return wrong(
                "called",
                &format!("{:?}", route.to),
                "a route needs exactly one of called, prefix and pattern",
            );
        }
        if let Some(pattern) = &route.pattern
            && let Err(error) = Called::pattern(pattern)
        {
            return wrong("pattern", pattern, &error);
        }
        if let Some(name) = &route.trunk
            && !self.trunks.iter().any(|trunk| trunk.name == *name)
        {
            return wrong("trunk", name, "there is no such trunk");
        }
        if route.to.is_empty() {
            return wrong("to", "[]", "a route leads to somebody");
        }
        for to in &route.to {
            let leads = match to.strip_prefix("trunk:") {
                Some(rest) => {
                    let name = rest.split('/').next().unwrap_or_default();
                    self.trunks
                        .iter()
                        .any(|trunk| trunk.name == name && trunk.uri.is_some())
                }
                None => is_sip_uri(to) || self.extensions.iter().any(|other| other.name == *to),
            };
            if !leads {
                return wrong(
                    "to",
                    to,
                    "it is no extension, no trunk:NAME with a uri, and no SIP URI",
                );
            }
        }
        Ok(())
    }
}

fn is_sip_uri(text: &str) -> bool {
    let host = text
        .strip_prefix("sip:")
        .or_else(|| text.strip_prefix("sips:"));
    host.is_some_and(|host| !host.is_empty() && !host.contains([' ', '<', '>', ',']))
}

/// What to write instead.
pub(super) fn remedy(key: &str) -> Option<&'static str> {
    Some(match key {
        "sip.outbound_proxy" | "trunk.uri" => "write e.g. sip:192.0.2.20:5060;transport=tcp",
        "sip.tls_certificate" | "sip.tls_key" => {
            "name the files of certificate chain and key, e.g. tls_certificate = \"/etc/xinqiao/sip.pem\""
        }
        "sip.nameservers" => "write e.g. nameservers = [\"192.0.2.53\"]",
        "trunk.offers_late" => "set the trunk's uri, or leave offers_late out",
        "trunk.addresses" => "write e.g. addresses = [\"192.0.2.0/24\"]",
        "route.called" => "write e.g. called = \"12345\" and to = [\"1001\"]",
        "route.to" => "write e.g. to = [\"1001\", \"trunk:pbx/6000\", \"sip:queue@192.0.2.20\"]",
        "route.pattern" => "write an expression such as 0535\\\\d+",
        "extension.password" => "write e.g. password = \"a long one\"",
        _ => return None,
    })
}
