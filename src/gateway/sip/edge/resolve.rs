//! Names in SIP URIs: where a host or a domain leads (RFC 3263).
//!
//! NAPTR and SRV are asked for only of a domain without a port; addresses are the system's to find, unless name servers
//! are set. A server that says nothing about a name costs no call its time twice: it is not asked about that name again
//! for a while, and what was known of it before serves on (RFC 8767). Names that peers bring (in a Contact, a route, a
//! transfer) have a budget and memory of their own, so that they take nothing from those of the configuration.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | questions about names of the configuration | 64 at once | answered from memory, else the way is not found |
//! | questions about peers' names | 16 at once | the same |
//! | known answers, unanswered questions | 1,024 of each | the oldest is forgotten |

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{LookupIpStrategy, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::gateway::sip::lock::locked;
use crate::gateway::sip::stack::message::uri::ParamsExt;
use crate::gateway::sip::stack::message::{Host, Scheme, Transport as SipTransport, Uri};
use crate::sip::Transport;
use crate::sip::address::{self, Address};
use crate::sip::lasting::Lasting;
use crate::sip::locate::{self, Naptr, Srv};
use crate::sip::registrar::Flow;

/// How long looking up a host may take.
pub(crate) const LOOKUP_TIME: Duration = Duration::from_secs(4);
/// How long a name server has for one answer.
pub(crate) const ANSWER_TIME: Duration = Duration::from_secs(1);
/// For how long a name server is not asked again about a name that it said nothing about.
const DEAF_TIME: Duration = Duration::from_mins(1);
/// For how long an answer serves after its time, while no newer one comes.
const STALE_TIME: Duration = Duration::from_hours(24);
/// The most addresses of one host that are tried.
const MAX_ADDRESSES: usize = 4;
/// The most that are tried of all servers of a domain.
const MAX_FLOWS: usize = 8;
/// Known answers, and unanswered questions, about names of the configuration, and as many about peers' names.
const MAX_REMEMBERED: usize = 1_024;
/// Questions at a time about names of the configuration.
const OWN_QUESTIONS: usize = 64;
/// Questions at a time about names that peers brought.
const PEERS_QUESTIONS: usize = 16;

/// Why the operator's phone was not reached, as the status that tells it.
pub(crate) struct Unreachable {
    pub status: u16,
    pub reason: String,
}

/// The server there does not work, and another may (RFC 3263 §4.3).
pub(crate) const fn is_worth_another_address(status: u16) -> bool {
    matches!(status, 408 | 500 | 502..=504)
}

/// What names are looked up with.
pub(crate) struct NameResolver {
    /// One for each name server, in the order to ask them.
    resolvers: Vec<TokioResolver>,
    /// Name servers are set, and are asked for everything.
    own: bool,
    /// The hosts that the configuration names, in small letters.
    configured: HashSet<String>,
    of_configuration: Memory,
    of_peers: Memory,
}

/// What is known of names, and the questions that are under way.
struct Memory {
    questions: Arc<Semaphore>,
    /// With the time until which they are fresh.
    answers: Mutex<Lasting<Question, (Instant, Vec<RData>)>>,
    /// What a server left unanswered.
    unanswered: Mutex<Lasting<(usize, Question), ()>>,
}

/// A name, in small letters, and what is asked for: [`RecordType::A`] for addresses of either family.
type Question = (String, RecordType);

impl Memory {
    fn new(questions: usize) -> Self {
        Self {
            questions: Arc::new(Semaphore::new(questions)),
            answers: Mutex::new(Lasting::new(MAX_REMEMBERED)),
            unanswered: Mutex::new(Lasting::new(MAX_REMEMBERED)),
        }
    }

    /// The answer to a question, if it is fresh, or however old it is.
    fn remembered(&self, now: Instant, question: &Question, is_fresh: bool) -> Option<Vec<RData>> {
        let answers = locked(&self.answers);
        let (fresh_until, data) = answers.get(now, question)?;
        (!is_fresh || now < *fresh_until).then(|| data.clone())
    }

    fn remember(&self, now: Instant, question: Question, fresh_until: Instant, data: &[RData]) {
        let entry = (fresh_until, data.to_vec());
        locked(&self.answers).put(now, question, fresh_until.max(now) + STALE_TIME, entry);
    }
}

/// What one server said.
enum ServerAnswer {
    Data(Instant, Vec<RData>),
    /// There is no such thing.
    Nothing,
    /// It cannot say.
    Failed,
}

impl NameResolver {
    /// Asks these name servers, or those of the system; `configured` are the SIP URIs that the configuration names.
    pub(crate) fn new<'a>(
        servers: &[SocketAddr],
        configured: impl IntoIterator<Item = &'a String>,
    ) -> Self {
        let known = if servers.is_empty() {
            let system = read_system_conf().ok();
            system.map_or(Vec::new(), |(config, _)| config.name_servers)
        } else {
            let known = servers.iter().map(|server| {
                let mut known = NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut known.connections {
                    connection.port = server.port();
                }
                known
            });
            known.collect()
        };
        let resolvers = known.into_iter().filter_map(|server| {
            let config = ResolverConfig::from_name_servers(vec![server]);
            let provider = TokioRuntimeProvider::default();
            let mut builder = TokioResolver::builder_with_config(config, provider);
            let options = builder.options_mut();
            options.timeout = ANSWER_TIME;
            options.attempts = 1;
            options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
            builder.build().ok()
        });
        Self {
            resolvers: resolvers.collect(),
            own: !servers.is_empty(),
            configured: configured
                .into_iter()
                .filter_map(|uri| address::Uri::parse(Address::parse(uri)?.uri))
                .map(|uri| uri.host.to_ascii_lowercase())
                .collect(),
            of_configuration: Memory::new(OWN_QUESTIONS),
            of_peers: Memory::new(PEERS_QUESTIONS),
        }
    }

    /// Where a URI leads, in the order to try.
    pub(crate) async fn locate(&self, uri: &Uri) -> Result<Vec<Flow>, Unreachable> {
        let wanted = wanted(uri)?;
        let transport = wanted.unwrap_or(Transport::Udp);
        let port = uri.host_with_port.port.map(|port| port.value());
        let host = match &uri.host_with_port.host {
            Host::IpAddr(ip) => {
                let port = port.unwrap_or(transport.default_port());
                return Ok(vec![flow(SocketAddr::new(*ip, port), transport)]);
            }
            Host::Domain(name) => name.to_string().to_ascii_lowercase(),
        };
        let memory = if self.configured.contains(&host) {
            &self.of_configuration
        } else {
            &self.of_peers
        };
        let looking = async {
            // A name without a dot is a machine's, not a domain's.
            if port.is_none() && host.trim_end_matches('.').contains('.') {
                let flows = self.servers(memory, &host, wanted).await;
                if !flows.is_empty() {
                    return flows;
                }
            }
            let port = port.unwrap_or(transport.default_port());
            let addresses = self.addresses(memory, &host, port).await;
            addresses.map(|address| flow(address, transport)).collect()
        };
        let flows: Vec<Flow> = timeout(LOOKUP_TIME, looking).await.unwrap_or_default();
        if flows.is_empty() {
            return Err(Unreachable {
                status: 503,
                reason: format!("the host {host} cannot be looked up"),
            });
        }
        Ok(flows)
    }

    /// The servers of a domain, if its name says any.
    async fn servers(&self, memory: &Memory, domain: &str, wanted: Option<Transport>) -> Vec<Flow> {
        let mut listed = Vec::new();
        if wanted.is_none() {
            for record in self
                .records(memory, domain, domain, RecordType::NAPTR)
                .await
            {
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
            let records = self.records(memory, domain, &name, RecordType::SRV).await;
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
                let host = server.target.trim_end_matches('.').to_ascii_lowercase();
                let addresses = self.addresses(memory, &host, server.port).await;
                flows.extend(addresses.map(|address| flow(address, transport)));
                if flows.len() >= MAX_FLOWS {
                    flows.truncate(MAX_FLOWS);
                    return flows;
                }
            }
        }
        flows
    }

    /// What the name servers say of the servers of `domain`; nothing when they say none.
    ///
    /// Who says nothing to the first such question is not asked the others: what matters most are the addresses.
    async fn records(
        &self,
        memory: &Memory,
        domain: &str,
        name: &str,
        kind: RecordType,
    ) -> Vec<RData> {
        // From the root: what the system would add to a short name is no business of a URI's.
        let name = format!("{}.", name.trim_end_matches('.').to_ascii_lowercase());
        let about = (domain.to_owned(), RecordType::SRV);
        let question = (name, kind);
        self.answer(memory, &about, question, |(name, kind), resolver| {
            let name = name.clone();
            let kind = *kind;
            async move {
                match resolver.lookup(name, kind).await {
                    Ok(found) => {
                        let answers = found.answers().iter();
                        let data = answers.map(|record| record.data.clone()).collect();
                        ServerAnswer::Data(found.valid_until(), data)
                    }
                    Err(error) if error.is_no_records_found() => ServerAnswer::Nothing,
                    Err(_) => ServerAnswer::Failed,
                }
            }
        })
        .await
    }

    async fn addresses(
        &self,
        memory: &Memory,
        host: &str,
        port: u16,
    ) -> impl Iterator<Item = SocketAddr> + use<> {
        let question = (host.to_owned(), RecordType::A);
        let found = if self.own {
            let about = question.clone();
            self.answer(memory, &about, question, |(host, _), resolver| {
                let host = host.clone();
                async move {
                    match resolver.lookup_ip(host).await {
                        Ok(found) => {
                            let data = found.iter().map(RData::from).collect();
                            ServerAnswer::Data(found.as_lookup().valid_until(), data)
                        }
                        Err(error) if error.is_no_records_found() => ServerAnswer::Nothing,
                        Err(_) => ServerAnswer::Failed,
                    }
                }
            })
            .await
        } else {
            self.system_addresses(memory, question).await
        };
        found
            .into_iter()
            .filter_map(|data| data.ip_addr())
            .map(move |ip: IpAddr| SocketAddr::new(ip, port))
            .take(MAX_ADDRESSES)
    }

    /// What the system finds, which may look into more than the DNS; it keeps its answers itself.
    async fn system_addresses(&self, memory: &Memory, question: Question) -> Vec<RData> {
        let now = Instant::now();
        let system = (self.resolvers.len(), question.clone());
        if locked(&memory.unanswered).get(now, &system).is_none()
            && let Ok(place) = memory.questions.clone().try_acquire_owned()
        {
            let host = question.0.clone();
            // On its own, so that its place stays taken for as long as the system's thread is.
            let asked = tokio::spawn(async move {
                let found = tokio::net::lookup_host((host, 0)).await;
                drop(place);
                let found = found.ok()?;
                Some(
                    found
                        .map(|address| RData::from(address.ip()))
                        .collect::<Vec<_>>(),
                )
            });
            match timeout(LOOKUP_TIME / 2, asked).await {
                Ok(Ok(Some(data))) => {
                    memory.remember(now, question, now, &data);
                    return data;
                }
                Ok(_) => {}
                Err(_) => locked(&memory.unanswered).put(now, system, now + DEAF_TIME, ()),
            }
        }
        let stale = memory.remembered(now, &question, false);
        stale.unwrap_or_default()
    }

    /// The answer to a question, fresh, from the first server that has one, or an old one; `about` is what a server is
    /// not asked about again if it says nothing.
    async fn answer<F: Future<Output = ServerAnswer> + Send + 'static>(
        &self,
        memory: &Memory,
        about: &Question,
        question: Question,
        ask: impl Fn(&Question, TokioResolver) -> F,
    ) -> Vec<RData> {
        let now = Instant::now();
        if let Some(fresh) = memory.remembered(now, &question, true) {
            return fresh;
        }
        for (index, resolver) in self.resolvers.iter().enumerate() {
            let server = (index, about.clone());
            if locked(&memory.unanswered)
                .get(Instant::now(), &server)
                .is_some()
            {
                continue;
            }
            let Ok(place) = memory.questions.try_acquire() else {
                break;
            };
            let said = timeout(ANSWER_TIME, ask(&question, resolver.clone())).await;
            drop(place);
            let now = Instant::now();
            match said {
                Ok(ServerAnswer::Data(fresh_until, data)) => {
                    memory.remember(now, question, fresh_until, &data);
                    return data;
                }
                Ok(ServerAnswer::Nothing) => {
                    locked(&memory.answers).remove(&question);
                    return Vec::new();
                }
                Ok(ServerAnswer::Failed) => {}
                Err(_) => locked(&memory.unanswered).put(now, server, now + DEAF_TIME, ()),
            }
        }
        let stale = memory.remembered(Instant::now(), &question, false);
        stale.unwrap_or_default()
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
