//! From the settings to what the SIP edge needs.

use std::time::Duration;

use crate::config::Config;
use crate::config::telephony::{self, Route};
use crate::gateway::sip::{self, SipConfig, TlsFiles};
use crate::private::Private;
use crate::sip::Transport;
use crate::sip::address::escaped_user;
use crate::sip::digest::Secret;
use crate::sip::limits::{GuessLimits, ScanLimits};
use crate::sip::registrar::Terms;
use crate::sip::route::{Called, Routes, Rule};
use crate::sip::session;

/// The edge that checked settings describe.
pub(super) fn sip_config(config: &Config) -> SipConfig {
    let mut edge = SipConfig::new(config.sip.listen);
    for listener in &mut edge.listeners {
        listener.advertised.clone_from(&config.sip.advertise);
    }
    let further = config.sip.listener.iter().map(|listener| sip::Listener {
        address: listener.listen,
        transport: transport(listener.transport),
        advertised: listener.advertise.clone(),
    });
    edge.listeners.extend(further);
    let admission = &config.admission;
    SipConfig {
        tls: TlsFiles {
            certificate: config.sip.tls_certificate.clone(),
            key: config.sip.tls_key.clone(),
            trust: config.sip.tls_trust.clone(),
            client_ca: config.sip.tls_client_ca.clone(),
            clients_must: config.sip.tls_client_required,
        },
        realm: config.sip.realm.clone(),
        digest: config.sip.digest.clone(),
        outbound_proxy: config.sip.outbound_proxy.clone(),
        nameservers: config.sip.nameservers(),
        operators: vec![config.operators.default.clone()],
        // The call itself gives the phone up first.
        ring: config.ring() + Duration::from_secs(5),
        // One more than the call table takes, so that the table's refusal is the one that is given.
        max_calls: config.calls.max + 1,
        strangers: admission.strangers,
        max_connections: admission.connections,
        connections_per_source: admission.connections_per_source,
        tcp_idle: Duration::from_secs(admission.idle_s),
        scans: ScanLimits {
            targets: admission.targets,
            window: Duration::from_mins(1),
            ban: Duration::from_secs(admission.ban_s),
        },
        guesses: GuessLimits {
            of_socket: admission.wrong_passwords,
            of_network: admission.wrong_passwords_per_source,
            ban: Duration::from_secs(admission.ban_s),
        },
        scanners: admission
            .scanners
            .iter()
            .map(|part| part.to_ascii_lowercase())
            .collect(),
        trunks: config.trunk.iter().map(trunk).collect(),
        extensions: config.extension.iter().map(extension).collect(),
        terms: Terms {
            least: config.registrar.least_s,
            most: config.registrar.most_s,
        },
        routes: Routes(
            config
                .route
                .iter()
                .filter_map(|route| rule(config, route))
                .collect(),
        ),
        operator: Some(config.operators.default.clone()),
        session: session::Terms {
            expires: config.calls.session_expires_s,
            min: config.calls.min_se_s,
        },
        ..edge
    }
}

const fn transport(transport: telephony::Transport) -> Transport {
    match transport {
        telephony::Transport::Udp => Transport::Udp,
        telephony::Transport::Tcp => Transport::Tcp,
        telephony::Transport::Tls => Transport::Tls,
    }
}

fn trunk(trunk: &telephony::Trunk) -> sip::Trunk {
    let pair = |name: &Option<String>, password: &Option<Private<String>>| {
        Some((name.clone()?, password.as_ref()?.reveal().clone()))
    };
    sip::Trunk {
        name: trunk.name.clone(),
        addresses: trunk
            .addresses
            .iter()
            .filter_map(|network| network.parse().ok())
            .collect(),
        peer: pair(&trunk.peer_username, &trunk.peer_password)
            .map(|(name, password)| (name, Secret::Password(password))),
        uri: trunk.uri.clone(),
        login: pair(&trunk.username, &trunk.password),
        register: trunk.register.then_some(trunk.register_s),
        options: (trunk.options_s > 0).then(|| Duration::from_secs(trunk.options_s)),
        outbound_proxy: trunk.outbound_proxy.clone(),
        trusted: trunk.trusted,
        offers_late: trunk.offers_late,
    }
}

fn extension(extension: &telephony::Extension) -> sip::Extension {
    let hash = |hash: &Option<Private<String>>| {
        hash.as_ref().map(|hash| hash.reveal().to_ascii_lowercase())
    };
    sip::Extension {
        name: extension.name.clone(),
        secret: match &extension.password {
            Some(password) => Secret::Password(password.reveal().clone()),
            None => Secret::Hashes {
                md5: hash(&extension.ha1_md5),
                sha256: hash(&extension.ha1_sha256),
            },
        },
    }
}

fn rule(config: &Config, route: &Route) -> Option<Rule> {
    let called = match (&route.called, &route.prefix, &route.pattern) {
        (Some(number), ..) => Called::Exactly(number.clone()),
        (_, Some(prefix), _) => Called::Prefix(prefix.clone()),
        (.., Some(pattern)) => Called::pattern(pattern).ok()?,
        _ => return None,
    };
    Some(Rule {
        called,
        trunk: route.trunk.clone(),
        to: route.to.iter().filter_map(|to| uri(config, to)).collect(),
    })
}

/// The SIP URI of somebody that a route names.
fn uri(config: &Config, to: &str) -> Option<String> {
    if to.starts_with("sip:") || to.starts_with("sips:") {
        return Some(to.to_owned());
    }
    let Some(rest) = to.strip_prefix("trunk:") else {
        return Some(format!("sip:{}@{}", escaped_user(to), config.sip.realm));
    };
    let (name, number) = match rest.split_once('/') {
        Some((name, number)) => (name, number),
        None => (rest, sip::THE_CALLED),
    };
    let trunk = config.trunk.iter().find(|trunk| trunk.name == name)?;
    let (scheme, host) = trunk.uri.as_deref()?.split_once(':')?;
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    Some(format!("{scheme}:{}@{host}", escaped_user(number)))
}
