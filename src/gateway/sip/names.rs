//! Names in SIP URIs: where a host or a domain leads (RFC 3263).
//!
//! NAPTR and SRV are asked for only of a domain without a port; addresses are the system's to find, unless name servers
//! are set. Servers that answer nothing cost no call its time twice: they are not asked again for a while.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig, ResolverOpts,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use rsipstack::sip::uri::ParamsExt;
use rsipstack::sip::{Host, Scheme, Transport as SipTransport, Uri};
use tokio::time::timeout;

use super::invite::Unreachable;
use super::locked;
use crate::sip::Transport;
use crate::sip::locate::{self, Naptr, Srv};
use crate::sip::registrar::Flow;

/// How long looking up a host may take.
const LOOKUP_TIME: Duration = Duration::from_secs(4);
/// How long a name server has for one answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// For how long name servers are left alone that did not answer.
const DEAF_TIME: Duration = Duration::from_mins(1);
/// The most addresses of one host that are tried.
const MAX_ADDRESSES: usize = 4;
/// The most that are tried of all servers of a domain.
const MAX_FLOWS: usize = 8;

/// What names are looked up with.
pub(super) struct Names {
    resolver: Option<TokioResolver>,
    /// Name servers are set, and are asked for everything.
    own: bool,
    deaf: Mutex<Option<Instant>>,
}

impl Names {
    /// Asks these name servers, or those of the system.
    pub fn new(servers: &[SocketAddr]) -> Self {
        let builder = if servers.is_empty() {
            TokioResolver::builder_tokio()
        } else {
            let mut config = ResolverConfig::default();
            for server in servers {
                let at = |mut connection: ConnectionConfig| {
                    connection.port = server.port();
                    connection
                };
                let mut known = NameServerConfig::udp_and_tcp(server.ip());
                known.connections = known.connections.into_iter().map(at).collect();
                config.add_name_server(known);
            }
            let provider = TokioRuntimeProvider::default();
            Ok(TokioResolver::builder_with_config(config, provider))
        };
        let resolver = builder.ok().and_then(|mut builder| {
            let options: &mut ResolverOpts = builder.options_mut();
            options.timeout = ANSWER_TIME;
            options.attempts = 1;
            options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
            builder.build().ok()
        });
        Self {
            resolver,
            own: !servers.is_empty(),
            deaf: Mutex::default(),
        }
    }

    /// Where a URI leads, in the order to try.
    pub async fn locate(&self, uri: &Uri) -> Result<Vec<Flow>, Unreachable> {
        let wanted = wanted(uri)?;
        let transport = wanted.unwrap_or(Transport::Udp);
        let port = uri.host_with_port.port.map(|port| port.value());
        let host = match &uri.host_with_port.host {
            Host::IpAddr(ip) => {
                let port = port.unwrap_or(transport.default_port());
                return Ok(vec![flow(SocketAddr::new(*ip, port), transport)]);
            }
            Host::Domain(name) => name.to_string(),
        };
        let looking = async {
            // A name without a dot is a machine's, not a domain's.
            if port.is_none() && host.trim_end_matches('.').contains('.') {
                let flows = self.servers(&host, wanted).await;
                if !flows.is_empty() {
                    return flows;
                }
            }
            let port = port.unwrap_or(transport.default_port());
            let addresses = self.addresses(&host, port).await;
            addresses.map(|address| flow(address, transport)).collect()
        };
        let flows: Vec<Flow> = timeout(LOOKUP_TIME, looking).await.unwrap_or_default();
        if flows.is_empty() {
            return Err(Unreachable {
                status: 503,
                reason: format!("the operator's host {host} cannot be looked up"),
            });
        }
        Ok(flows)
    }

    /// The servers of a domain, if its name says any.
    async fn servers(&self, domain: &str, wanted: Option<Transport>) -> Vec<Flow> {
        let mut listed = Vec::new();
        if wanted.is_none() {
            for record in self.records(domain, RecordType::NAPTR).await {
                if let RData::NAPTR(record) = record {
                    listed.push(Naptr {
                        order: record.order,
                        preference: record.preference,
                        flags: String::from_utf8_lossy(&record.flags).into_owned(),
                        service: String::from_utf8_lossy(&record.services).into_owned(),
                        replacement: record.replacement.to_string(),
                    });
                }
            }
        }
        let mut flows = Vec::new();
        for (transport, name) in locate::services(domain, wanted, listed) {
            let records = self.records(&name, RecordType::SRV).await;
            let servers = records.into_iter().filter_map(|record| match record {
                RData::SRV(record) => Some(Srv {
                    priority: record.priority,
                    weight: record.weight,
                    port: record.port,
                    target: record.target.to_string(),
                }),
                _ => None,
            });
            let draw = |most| rand::random_range(0..=most);
            for server in locate::ordered(servers.collect(), draw) {
                let host = server.target.trim_end_matches('.');
                let addresses = self.addresses(host, server.port).await;
                flows.extend(addresses.map(|address| flow(address, transport)));
                if flows.len() >= MAX_FLOWS {
                    flows.truncate(MAX_FLOWS);
                    return flows;
                }
            }
        }
        flows
    }

    /// The answer to one question; none when there is none.
    async fn records(&self, name: &str, kind: RecordType) -> Vec<RData> {
        // From the root: what the system would add to a short name is no business of a URI's.
        let name = format!("{}.", name.trim_end_matches('.'));
        let asked = |resolver: TokioResolver| async move { resolver.lookup(name, kind).await };
        let Some(Ok(found)) = self.ask(asked).await else {
            return Vec::new();
        };
        let answers = found.answers().iter();
        answers.map(|record| record.data.clone()).collect()
    }

    async fn addresses(&self, host: &str, port: u16) -> impl Iterator<Item = SocketAddr> + use<> {
        let mut found: Vec<SocketAddr> = Vec::new();
        if self.own {
            let host = host.to_owned();
            let asked = |resolver: TokioResolver| async move { resolver.lookup_ip(host).await };
            if let Some(Ok(answer)) = self.ask(asked).await {
                found.extend(answer.iter().map(|ip| SocketAddr::new(ip, port)));
            }
        } else {
            let answer = tokio::net::lookup_host((host, port)).await;
            found.extend(answer.into_iter().flatten());
        }
        found.into_iter().take(MAX_ADDRESSES)
    }

    /// Asks the name servers, if they have answered lately.
    async fn ask<T, F: Future<Output = T>>(
        &self,
        question: impl FnOnce(TokioResolver) -> F,
    ) -> Option<T> {
        let is_deaf = locked(&self.deaf).is_some_and(|until| Instant::now() < until);
        let resolver = self.resolver.clone().filter(|_| !is_deaf)?;
        let answer = timeout(ANSWER_TIME, question(resolver)).await;
        if answer.is_err() {
            *locked(&self.deaf) = Some(Instant::now() + DEAF_TIME);
        }
        answer.ok()
    }
}

const fn flow(source: SocketAddr, transport: Transport) -> Flow {
    Flow { source, transport }
}

/// The transport that a URI names or implies.
fn wanted(uri: &Uri) -> Result<Option<Transport>, Unreachable> {
    Ok(Some(match uri.transport() {
        None | Some(SipTransport::Udp | SipTransport::Tcp) if uri.scheme == Some(Scheme::Sips) => {
            Transport::Tls
        }
        None => return Ok(None),
        Some(SipTransport::Udp) => Transport::Udp,
        Some(SipTransport::Tcp) => Transport::Tcp,
        Some(SipTransport::Tls) => Transport::Tls,
        Some(other) => {
            return Err(Unreachable {
                status: 416,
                reason: format!("the operator's transport {other} is none of udp, tcp and tls"),
            });
        }
    }))
}
