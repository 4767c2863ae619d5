//! From a SIP URI to the addresses to try: an extension's places, a trunk, a proxy, or what the host's name says.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use crate::gateway::sip::edge::admission::Who;
use crate::gateway::sip::edge::config::THE_CALLED;
use crate::gateway::sip::edge::listen::local_address_for;
use crate::gateway::sip::edge::resolve::{NameResolver, Unreachable};
use crate::gateway::sip::edge::sockets;
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::message::typed::Route;
use crate::gateway::sip::stack::message::uri::ParamsExt;
use crate::gateway::sip::stack::message::{Host, Scheme, Transport as SipTransport, Uri};
use crate::gateway::sip::stack::uris;
use crate::gateway::sip::stack::uris::sip_uri;
use crate::sip::Transport;
use crate::sip::address::{self, Address, escaped_user};
use crate::sip::digest::Secret;
use crate::sip::registrar::{Binding, Flow};

/// One address to try, and how.
#[derive(Clone)]
pub(crate) struct NextHop {
    /// The Request-URI.
    pub uri: Uri,
    /// Where it is sent.
    pub flow: Flow,
    /// Whose certificate is wanted there.
    pub host: String,
    /// The proxies on the way (RFC 3261 §8.1.2).
    pub routes: Vec<Route>,
    /// Name and password for a challenge.
    pub login: Option<(String, String)>,
    /// The domain of From, where the peer wants its own.
    pub domain: Option<String>,
    /// Whether the peer wants to make the offer.
    pub offers_late: bool,
}

/// What is known of the way to a URI before it is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteSecurity {
    /// Whether nobody on the way can read what is signalled.
    pub is_secret: bool,
    /// Where the answer will come from, if that is sure.
    pub signals_from: Option<IpAddr>,
}

/// Tells what is known of the next hops to URIs.
#[derive(Clone, Default)]
pub struct RouteSecurityLookup(Option<Arc<Shared>>);

impl std::fmt::Debug for RouteSecurityLookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteSecurityLookup")
    }
}

impl RouteSecurityLookup {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self(Some(shared.clone()))
    }

    /// What is known of the way to a URI.
    #[must_use]
    pub fn towards(&self, uri: &str) -> RouteSecurity {
        let uri = sip_uri(uri);
        match (uri, &self.0) {
            (Some(uri), Some(shared)) => shared.route_security(&uri),
            (uri, _) => RouteSecurity {
                is_secret: uri.is_some_and(|uri| is_secret(&uri)),
                signals_from: None,
            },
        }
    }
}

fn is_secret(uri: &Uri) -> bool {
    uri.scheme == Some(Scheme::Sips) || uri.transport() == Some(&SipTransport::Tls)
}

impl Shared {
    /// Where a request within a dialog goes, with a stream of ours there if it wants one.
    pub(crate) async fn reach(self: &Arc<Self>, uri: &Uri) -> Result<Flow, Unreachable> {
        let uri = uris::mended(uri);
        let flows = self.transport.resolver.locate(&uri).await?;
        let host = uri.host_with_port.host.to_string();
        let mut last = Unreachable {
            status: 503,
            reason: format!("{host} leads nowhere"),
        };
        for flow in flows {
            match sockets::connect(self, flow, &host).await {
                Ok(()) => return Ok(flow),
                Err(error) => last.reason = format!("{}: {error}", flow.source),
            }
        }
        Err(last)
    }

    /// What we prove ourselves with to whoever called: a trunk's login, or a phone's own password, which some ask for.
    pub(crate) fn login(&self, who: &Who) -> Option<(String, String)> {
        match who {
            Who::Anybody => None,
            Who::Trunk(index) => self.config.trunks[*index].login.clone(),
            Who::Extension(name) => self.login_of(name),
        }
    }

    fn login_of(&self, name: &str) -> Option<(String, String)> {
        let mut extensions = self.config.extensions.iter();
        let extension = extensions.find(|extension| extension.name == name)?;
        match &extension.secret {
            Secret::Password(password) => Some((name.to_owned(), password.clone())),
            Secret::Hashes { .. } => None,
        }
    }

    /// Whom the rules name for a number, as URIs in the order to try them; a rule may be for the calls of one trunk.
    pub(crate) fn chosen(&self, number: &str, trunk: Option<&str>) -> Vec<String> {
        let chosen = self.config.routes.choose(number, trunk);
        // Only what is plainly a number or a name is put into a URI of ours.
        let plain = |letter: char| letter.is_ascii_alphanumeric() || "+*#.-_".contains(letter);
        let is_plain = !number.is_empty() && number.chars().all(plain);
        let chosen = chosen.unwrap_or_default().iter();
        chosen
            .filter(|uri| is_plain || !uri.contains(THE_CALLED))
            .map(|uri| uri.replace(THE_CALLED, &escaped_user(number)))
            .collect()
    }

    /// Whom a URI means: a number of ours that is no extension goes where a call to it would go, and not out to come
    /// back in.
    pub(crate) fn meant(&self, callee: Uri, trunk: Option<&str>) -> Vec<Uri> {
        if self.is_number_of_ours(&callee) {
            self.behind(&callee, trunk)
        } else {
            vec![callee]
        }
    }

    /// Whom a call may go to that has come back to us: not where it has been, for it would come back for ever. `None` if
    /// that is where it would go first, which makes it a loop; to another target it is a spiral (RFC 3261 §16.3, RFC
    /// 5393 §4.2).
    pub(crate) fn unvisited(
        &self,
        mut route: Vec<String>,
        trunk: Option<&str>,
        visited: &[String],
    ) -> Option<Vec<String>> {
        if visited.is_empty() {
            return Some(route);
        }
        if route.is_empty() {
            route.extend(self.config.operator.clone());
        }
        let visited: Vec<_> = visited
            .iter()
            .filter_map(|uri| address::Uri::parse(uri))
            .collect();
        let is_visited = |callee: &Uri| {
            let callee = uris::written(callee);
            address::Uri::parse(&callee)
                .is_some_and(|callee| visited.iter().any(|other| other.is_same_place(&callee)))
        };
        let leads_back = |uri: &str| {
            let meant = sip_uri(uri).map(|uri| self.meant(uri, trunk));
            meant.is_some_and(|meant| meant.iter().any(is_visited))
        };
        if route.first().is_some_and(|first| leads_back(first)) {
            return None;
        }
        route.retain(|uri| !leads_back(uri));
        Some(route)
    }

    /// Whether a URI leads to this gateway and to none of its extensions; a trunk may have our domain.
    fn is_number_of_ours(&self, callee: &Uri) -> bool {
        self.extension_of(callee).is_none()
            && (self.is_here(callee)
                || (self.is_of_realm(callee) && self.trunk_of(callee).is_none()))
    }

    /// Who is called at a number of ours.
    fn behind(&self, callee: &Uri, trunk: Option<&str>) -> Vec<Uri> {
        let mut chosen = self.chosen(&uris::user(callee).unwrap_or_default(), trunk);
        if chosen.is_empty() {
            chosen.extend(self.config.operator.clone());
        }
        let chosen = chosen.iter().filter_map(|uri| sip_uri(uri));
        chosen.filter(|uri| !self.is_number_of_ours(uri)).collect()
    }

    /// The addresses to try for a URI, in order.
    pub(crate) async fn next_hops(
        &self,
        callee: &Uri,
        trunk: Option<&str>,
    ) -> Result<Vec<NextHop>, Unreachable> {
        let hops = self.hops_out(callee).await?;
        if !hops.iter().any(|hop| self.leads_here(hop)) {
            return Ok(hops);
        }
        // A name of this machine that we did not know: its numbers are ours.
        let named = Uri {
            host_with_port: self.transport.addresses.first().into(),
            ..callee.clone()
        };
        let meant = match self.extension_of(&named) {
            Some(_) => vec![named],
            None => self.behind(&named, trunk),
        };
        let mut last = Err(Unreachable {
            status: 404,
            reason: "the way there leads back to this gateway".to_owned(),
        });
        for callee in meant {
            last = self.hops_out(&callee).await;
            if let Ok(hops) = &mut last {
                hops.retain(|hop| !self.leads_here(hop));
                if !hops.is_empty() {
                    break;
                }
            }
        }
        last
    }

    /// Whether a request would come back to this gateway.
    fn leads_here(&self, hop: &NextHop) -> bool {
        let flow = hop.flow;
        self.transport
            .addresses
            .are_ours(&flow.source.ip().to_string(), Some(flow.source.port()))
    }

    async fn hops_out(&self, callee: &Uri) -> Result<Vec<NextHop>, Unreachable> {
        if let Some(name) = self.extension_of(callee) {
            return self.hops_to_extension(name).await;
        }
        match self.trunk_of(callee) {
            Some(index) if !self.trunks[index].is_up() => Err(Unreachable {
                status: 503,
                reason: format!("trunk {} is down", self.config.trunks[index].name),
            }),
            Some(index) => self.hops_to_trunk(callee, index).await,
            None => match &self.config.outbound_proxy {
                Some(proxy) => self.through(proxy, callee).await,
                None => self.direct(callee, callee).await,
            },
        }
    }

    /// The extension of ours that a URI names.
    fn extension_of(&self, callee: &Uri) -> Option<&str> {
        let is_ours = self.is_of_realm(callee) || self.is_here(callee);
        let name = is_ours.then(|| uris::user(callee))??;
        let mut extensions = self.config.extensions.iter();
        let extension = extensions.find(|extension| extension.name == name)?;
        Some(&extension.name)
    }

    /// Whether a URI's host is our domain.
    fn is_of_realm(&self, uri: &Uri) -> bool {
        let host = uri.host_with_port.host.to_string();
        host.eq_ignore_ascii_case(&self.config.realm)
    }

    /// Whether a URI's host and port are those that we listen at.
    fn is_here(&self, uri: &Uri) -> bool {
        let port = uri.host_with_port.port.map(|port| port.value());
        let host = uri.host_with_port.host.to_string();
        self.transport.addresses.are_ours(&host, port)
    }

    /// The trunk that a URI leads to.
    fn trunk_of(&self, callee: &Uri) -> Option<usize> {
        let host = callee.host_with_port.host.to_string();
        let port = callee.host_with_port.port.map(|port| port.value());
        self.config.trunks.iter().position(|trunk| {
            trunk
                .uri
                .as_deref()
                .and_then(address::Uri::parse)
                .is_some_and(|of_trunk| {
                    of_trunk.host.eq_ignore_ascii_case(&host)
                        && (port.is_none() || of_trunk.port.is_none() || port == of_trunk.port)
                })
        })
    }

    /// What is known of the way to a URI before it is tried.
    fn route_security(&self, callee: &Uri) -> RouteSecurity {
        if let Some(name) = self.extension_of(callee) {
            let bindings = locked(&self.registrar.bindings).contacts(Instant::now(), name);
            let is_tls = |binding: &Binding| {
                binding.path.is_empty() && binding.flow.transport == Transport::Tls
            };
            return RouteSecurity {
                is_secret: !bindings.is_empty() && bindings.iter().all(is_tls),
                signals_from: match &bindings[..] {
                    [only] => Some(only.flow.source.ip()),
                    _ => None,
                },
            };
        }
        let trunk = self
            .trunk_of(callee)
            .map(|index| &self.config.trunks[index]);
        let proxy = trunk
            .and_then(|trunk| trunk.outbound_proxy.as_ref())
            .or(self.config.outbound_proxy.as_ref());
        let next = proxy.or(trunk.and_then(|trunk| trunk.uri.as_ref()));
        RouteSecurity {
            is_secret: match next {
                Some(next) => hop(next).is_some_and(|next| is_secret(&next)),
                None => is_secret(callee),
            },
            signals_from: None,
        }
    }

    /// The ways to somebody at a trunk, whether it is up or not.
    pub(crate) async fn hops_to_trunk(
        &self,
        callee: &Uri,
        index: usize,
    ) -> Result<Vec<NextHop>, Unreachable> {
        let trunk = &self.config.trunks[index];
        let proxy = trunk.outbound_proxy.as_ref();
        let mut hops = if let Some(proxy) = proxy.or(self.config.outbound_proxy.as_ref()) {
            self.through(proxy, callee).await?
        } else {
            // The transport and the port are the trunk's, also for a number there.
            let its_own = trunk.uri.as_deref().and_then(sip_uri);
            self.direct(callee, its_own.as_ref().unwrap_or(callee))
                .await?
        };
        for hop in &mut hops {
            hop.login.clone_from(&trunk.login);
            let domain = callee.host_with_port.host.to_string();
            hop.domain = trunk.login.is_some().then_some(domain);
            hop.offers_late = trunk.offers_late;
        }
        Ok(hops)
    }

    async fn hops_to_extension(&self, name: &str) -> Result<Vec<NextHop>, Unreachable> {
        let bindings = locked(&self.registrar.bindings).contacts(Instant::now(), name);
        let mut hops = Vec::new();
        for binding in bindings {
            hops.extend(self.hop_to_binding(&binding).await);
        }
        if hops.is_empty() {
            return Err(Unreachable {
                status: 480,
                reason: format!("extension {name} is not registered"),
            });
        }
        for hop in &mut hops {
            hop.login = self.login_of(name);
        }
        Ok(hops)
    }

    async fn hop_to_binding(&self, binding: &Binding) -> Option<NextHop> {
        let uri = sip_uri(&binding.contact)?;
        if let Some(first) = binding.path.first() {
            let mut hop = self.through(first, &uri).await.ok()?.into_iter().next()?;
            hop.routes = routes(&binding.path);
            return Some(hop);
        }
        let Flow { source, transport } = binding.flow;
        let stream_is_open = self.transport.streams.is_open(binding.flow);
        // A phone that names its own address is called at the port that it names; one behind a translating router, and
        // one whose stream still stands, where its REGISTER came from.
        let flow = match uri.host_with_port.host {
            Host::IpAddr(ip) if ip == source.ip() && !stream_is_open => Flow {
                source: SocketAddr::new(ip, port_of(&uri, transport)),
                transport,
            },
            _ => binding.flow,
        };
        Some(NextHop {
            host: uri.host_with_port.host.to_string(),
            uri,
            flow,
            routes: Vec::new(),
            login: None,
            domain: None,
            offers_late: false,
        })
    }

    /// Through a proxy, which is told so by a Route.
    async fn through(&self, proxy: &str, callee: &Uri) -> Result<Vec<NextHop>, Unreachable> {
        let mut proxy = hop(proxy).ok_or_else(|| Unreachable {
            status: 500,
            reason: "the outbound proxy is no sip: URI".to_owned(),
        })?;
        if !proxy
            .params
            .iter()
            .any(|parameter| matches!(parameter, crate::gateway::sip::stack::message::Param::Lr))
        {
            proxy
                .params
                .push(crate::gateway::sip::stack::message::Param::Lr);
        }
        let mut hops = self.direct(callee, &proxy).await?;
        for hop in &mut hops {
            hop.routes = vec![Route::from(proxy.clone())];
        }
        Ok(hops)
    }

    /// To where `towards` leads.
    async fn direct(&self, callee: &Uri, towards: &Uri) -> Result<Vec<NextHop>, Unreachable> {
        let flows = self.transport.resolver.locate(towards).await?;
        Ok(flows
            .into_iter()
            .map(|flow| NextHop {
                uri: callee.clone(),
                flow,
                host: towards.host_with_port.host.to_string(),
                routes: Vec::new(),
                login: None,
                domain: None,
                offers_late: false,
            })
            .collect())
    }
}

/// The URI of a proxy: alone, or in brackets.
fn hop(value: &str) -> Option<Uri> {
    sip_uri(value).or_else(|| sip_uri(Address::parse(value)?.uri))
}

fn routes(path: &[String]) -> Vec<Route> {
    path.iter()
        .filter_map(|value| hop(value))
        .map(Route::from)
        .collect()
}

fn port_of(uri: &Uri, transport: Transport) -> u16 {
    uri.host_with_port
        .port
        .map_or(transport.default_port(), |port| port.value())
}

/// The address of this machine from which a `sip:` URI is reached.
///
/// # Errors
/// What is wrong with the URI or its host.
pub async fn local_address_towards(uri: &str) -> Result<IpAddr, String> {
    let uri = sip_uri(uri).ok_or("it is no sip: URI")?;
    let flows = NameResolver::new(&[], [])
        .locate(&uri)
        .await
        .map_err(|unreachable| unreachable.reason)?;
    let peer = flows.first().ok_or("it leads nowhere")?;
    Ok(local_address_for(peer.source.ip()))
}
