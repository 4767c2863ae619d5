//! Where the DNS says that a domain's SIP servers are (RFC 3263): which transports, which servers, in which order.

use super::Transport;

/// A record that says which transports a domain has (RFC 3403).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower goes first.
    pub order: u16,
    /// Lower goes first within an order.
    pub preference: u16,
    /// `s` where the replacement has SRV records.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T` or `SIPS+D2T`.
    pub service: String,
    /// Whose SRV records to ask for.
    pub replacement: String,
}

/// A server of a domain (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower goes first.
    pub priority: u16,
    /// The share among those of one priority.
    pub weight: u16,
    /// Its port.
    pub port: u16,
    /// Its host; `.` says that there is none.
    pub target: String,
}

/// The label that asks for servers of a transport.
const fn label(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    }
}

/// The transports to use for a domain and whose SRV records to ask for, in order; `wanted` is the transport that a URI
/// names or, by `sips:`, implies.
#[must_use]
pub fn services(
    domain: &str,
    wanted: Option<Transport>,
    mut naptr: Vec<Naptr>,
) -> Vec<(Transport, String)> {
    if let Some(transport) = wanted {
        return vec![(transport, format!("{}.{domain}", label(transport)))];
    }
    naptr.sort_by_key(|record| (record.order, record.preference));
    let listed: Vec<_> = naptr
        .into_iter()
        .filter(|record| record.flags.eq_ignore_ascii_case("s"))
        .filter_map(|record| {
            let transport = match record.service.to_ascii_uppercase().as_str() {
                "SIP+D2U" => Transport::Udp,
                "SIP+D2T" => Transport::Tcp,
                "SIPS+D2T" => Transport::Tls,
                _ => return None,
            };
            Some((transport, record.replacement))
        })
        .collect();
    if !listed.is_empty() {
        return listed;
    }
    [Transport::Udp, Transport::Tcp]
        .map(|transport| (transport, format!("{}.{domain}", label(transport))))
        .into()
}

/// Servers in the order to try them: by priority, and among equals by lot, with the chances that their weights give;
/// `draw` gives a number up to and with its argument.
pub fn ordered(mut servers: Vec<Srv>, mut draw: impl FnMut(u32) -> u32) -> Vec<Srv> {
    servers.retain(|server| !matches!(server.target.as_str(), "." | ""));
    // Those without a weight first, so that they have a chance at all (RFC 2782).
    servers.sort_by_key(|server| (server.priority, server.weight));
    let mut ordered = Vec::with_capacity(servers.len());
    while let Some(first) = servers.first() {
        let priority = first.priority;
        let equals = servers
            .iter()
            .take_while(|server| server.priority == priority);
        let total: u32 = equals.map(|server| u32::from(server.weight)).sum();
        let drawn = draw(total).min(total);
        let mut sum = 0;
        let at = servers.iter().position(|server| {
            sum += u32::from(server.weight);
            sum >= drawn
        });
        ordered.push(servers.remove(at.unwrap_or(0)));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naptr(order: u16, preference: u16, service: &str) -> Naptr {
        Naptr {
            order,
            preference,
            flags: "s".to_owned(),
            service: service.to_owned(),
            replacement: format!("{service}.example"),
        }
    }

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        Srv {
            priority,
            weight,
            port: 5_060,
            target: target.to_owned(),
        }
    }

    #[test]
    fn a_domain_says_its_transports_unless_the_uri_does() {
        let records = vec![
            naptr(20, 1, "SIP+D2U"),
            naptr(10, 2, "SIP+D2T"),
            naptr(10, 1, "SIPS+D2T"),
            naptr(1, 1, "SIP+D2W"),
            Naptr {
                flags: "u".to_owned(),
                ..naptr(1, 1, "SIP+D2U")
            },
        ];
        let names = |services: Vec<(Transport, String)>| -> Vec<String> {
            services.into_iter().map(|(_, name)| name).collect()
        };
        assert_eq!(
            names(services("x", None, records.clone())),
            ["SIPS+D2T.example", "SIP+D2T.example", "SIP+D2U.example"]
        );
        assert_eq!(
            services("x", Some(Transport::Tls), records),
            [(Transport::Tls, "_sips._tcp.x".to_owned())]
        );
        assert_eq!(
            names(services("x", None, Vec::new())),
            ["_sip._udp.x", "_sip._tcp.x"]
        );
    }

    #[test]
    fn servers_go_by_priority_and_then_by_lot() {
        let servers = vec![
            srv(2, 0, "spare"),
            srv(1, 60, "big"),
            srv(1, 0, "tiny"),
            srv(1, 40, "small"),
            srv(0, 1, "."),
        ];
        let order = |draws: &[u32]| -> Vec<String> {
            let mut draws = draws.iter().copied();
            ordered(servers.clone(), |_| draws.next().unwrap_or(0))
                .into_iter()
                .map(|server| server.target)
                .collect()
        };
        assert_eq!(order(&[0, 0, 0]), ["tiny", "small", "big", "spare"]);
        assert_eq!(order(&[41, 1]), ["big", "small", "tiny", "spare"]);
        assert_eq!(order(&[40, 60]), ["small", "big", "tiny", "spare"]);
        assert_eq!(order(&[u32::MAX; 4]), ["big", "small", "tiny", "spare"]);
    }
}
