//! The way to the operator's phone: from whom to invite to the final answer of our INVITE.

use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::gateway::sip::dialog::table::{Beginning, Ringer};
use crate::gateway::sip::edge::listen::local_address_for;
use crate::gateway::sip::edge::next_hop::NextHop;
use crate::gateway::sip::edge::resolve::{Unreachable, is_worth_another_address};
use crate::gateway::sip::edge::streams::Carried;
use crate::gateway::sip::edge::{sockets, wire};
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::dialogs::{
    Credential, DialogStateSender, InviteDialog, InviteOption,
};
use crate::gateway::sip::stack::message::{
    Header, HostWithPort, Response, Scheme, StatusCode, Uri,
};
use crate::gateway::sip::stack::transports::SipAddr;
use crate::gateway::sip::stack::{kind_of, uris};
use crate::private::Private;
use crate::sip::Transport;

/// Whom to invite to what.
pub(crate) struct Invitation {
    /// In the order to try them.
    pub callees: Vec<Uri>,
    /// The trunk that the call came over.
    pub trunk: Option<String>,
    pub number: Option<Private<String>>,
    pub offer: String,
    /// Max-Forwards.
    pub hops: u8,
    /// Max-Breadth: callees are tried one at a time, so each may have all of it.
    pub breadth: u32,
    /// The URIs that the call was sent to before it came to us.
    pub visited: Vec<String>,
    /// What else the INVITE says.
    pub headers: Vec<Header>,
    /// Who takes what a phone asks while it rings.
    pub ringer: Ringer,
}

/// How an invitation ended.
pub(crate) struct Invited {
    pub dialog: InviteDialog,
    pub response: Option<Response>,
    pub begun: Beginning,
}

impl Invited {
    /// Whether the phone has answered.
    pub(crate) fn is_accepted(&self) -> bool {
        self.response
            .as_ref()
            .is_some_and(|response| response.status_code == StatusCode::OK)
    }
}

/// Invites one after the other until somebody answers, and waits for the final answer; the stack cancels the INVITE
/// when this is dropped.
///
/// Another address of the same callee is tried when one does not work, another callee when he does not take the call.
/// `heard` is set by the caller of this when the phone has answered anything.
pub(crate) async fn invite(
    shared: Arc<Shared>,
    invitation: Invitation,
    heard: Arc<AtomicBool>,
    states: DialogStateSender,
) -> Result<Invited, Unreachable> {
    let mut last = Err(Unreachable {
        status: 404,
        reason: "nobody is named for this call".to_owned(),
    });
    let callees = invitation.callees.len();
    for (index, callee) in invitation.callees.iter().enumerate() {
        let next_hops = match shared.next_hops(callee, invitation.trunk.as_deref()).await {
            Ok(next_hops) => next_hops,
            Err(unreachable) => {
                last = Err(unreachable);
                continue;
            }
        };
        let count = next_hops.len();
        for (hop_index, next_hop) in next_hops.into_iter().enumerate() {
            heard.store(false, Ordering::Relaxed);
            let is_last = index + 1 == callees && hop_index + 1 == count;
            let patience = (!is_last).then_some(shared.config.hop_reply);
            let invited = invite_over(
                &shared,
                &invitation,
                callee,
                next_hop,
                patience,
                &heard,
                &states,
            )
            .await;
            let status = status_of(&invited);
            last = invited;
            if !is_worth_another_address(status) {
                break;
            }
        }
        if !is_worth_another_callee(status_of(&last)) {
            break;
        }
    }
    last
}

fn status_of(invited: &Result<Invited, Unreachable>) -> u16 {
    match invited {
        Ok(invited) => invited
            .response
            .as_ref()
            .map_or(408, |response| response.status_code.code()),
        Err(unreachable) => unreachable.status,
    }
}

/// He does not take the call, and does not forbid that another does (RFC 3261 §21.6).
const fn is_worth_another_callee(status: u16) -> bool {
    matches!(status, 400..=486 | 488..=599)
}

async fn invite_over(
    shared: &Arc<Shared>,
    invitation: &Invitation,
    callee: &Uri,
    next_hop: NextHop,
    patience: Option<Duration>,
    heard: &AtomicBool,
    states: &DialogStateSender,
) -> Result<Invited, Unreachable> {
    let flow = next_hop.flow;
    let peer = flow.source;
    let stream = Carried::new(&shared.transport.streams, flow);
    sockets::connect(shared, flow, &next_hop.host)
        .await
        .map_err(|error| Unreachable {
            status: 503,
            reason: format!("{peer} over {}: {error}", flow.transport.token()),
        })?;
    let (login, is_late) = (next_hop.login.clone(), next_hop.offers_late);
    let mut option = invitation.option(shared, next_hop);
    let contact = option.contact.clone();
    let call_id = format!("{:032x}@{}", rand::random::<u128>(), shared.config.realm);
    let mut visited = invitation.visited.clone();
    visited.push(uris::written(callee));
    let _rings = shared
        .dialogs
        .begin(&call_id, invitation.ringer.clone(), is_late, visited);
    option.call_id = Some(call_id);
    tokio::select! {
        invited = shared.stack.layer.do_invite(option, states.clone()) => match invited {
            Ok((dialog, response)) => {
                let begun = Beginning { flow, stream, contact, login, stays: false };
                Ok(Invited { dialog, response, begun })
            }
            Err(_) => Err(Unreachable {
                status: 500,
                reason: "the stack could not bring the INVITE to an end".to_owned(),
            }),
        },
        () = is_closed(peer, shared.config.t1 * 2, heard), if flow.transport == Transport::Udp => {
            Err(Unreachable {
                status: 503,
                reason: format!("nothing listens at {peer}"),
            })
        }
        () = is_silent(patience, heard) => Err(Unreachable {
            status: 408,
            reason: format!("{peer} does not answer"),
        }),
    }
}

impl Invitation {
    fn option(&self, shared: &Shared, next_hop: NextHop) -> InviteOption {
        let peer = next_hop.flow.source;
        let host = next_hop
            .domain
            .as_deref()
            .and_then(|domain| HostWithPort::try_from(domain).ok())
            .unwrap_or_else(|| local_address_for(peer.ip()).into());
        let caller = Uri {
            scheme: Some(Scheme::Sip),
            auth: Some(uris::auth(
                self.number
                    .as_ref()
                    .map_or("anonymous", |number| number.reveal()),
            )),
            host_with_port: host,
            ..Uri::default()
        };
        InviteOption {
            caller: uris::verbatim(caller),
            callee: uris::verbatim(next_hop.uri),
            destination: Some(SipAddr::new(kind_of(next_hop.flow.transport), peer.into())),
            offer: (!next_hop.offers_late).then(|| self.offer.clone().into_bytes()),
            contact: shared.contact("gateway", next_hop.flow),
            credential: next_hop.login.map(|(username, password)| Credential {
                username,
                password,
                ..Credential::default()
            }),
            route_set: next_hop.routes,
            headers: Some(
                [
                    Header::MaxForwards(u32::from(self.hops).into()),
                    Header::Other("Max-Breadth".into(), self.breadth.to_string()),
                    Header::Allow(wire::ALLOW.into()),
                ]
                .into_iter()
                .chain(self.headers.iter().cloned().map(|header| match header {
                    // An offer comes in the 200 then, not in a response before it.
                    Header::Supported(_) if next_hop.offers_late => {
                        Header::Supported(wire::SUPPORTED_LATE.into())
                    }
                    header => header,
                }))
                .collect(),
            ),
            ..InviteOption::default()
        }
    }
}

/// Ends when the peer has answered nothing for so long; never, if it may take its time.
async fn is_silent(patience: Option<Duration>, heard: &AtomicBool) {
    if let Some(patience) = patience {
        tokio::time::sleep(patience).await;
        if !heard.load(Ordering::Relaxed) {
            return;
        }
    }
    pending::<()>().await;
}

/// Ends when the peer's machine says that nothing listens there; a socket for many peers is not told (RFC 1122 §4.1.3).
async fn is_closed(peer: SocketAddr, silence: Duration, heard: &AtomicBool) {
    tokio::time::sleep(silence).await;
    if !heard.load(Ordering::Relaxed) {
        let local = SocketAddr::new(local_address_for(peer.ip()), 0);
        let refused = async {
            let probe = tokio::net::UdpSocket::bind(local).await?;
            probe.connect(peer).await?;
            // A keep-alive, which every SIP element passes over (RFC 3261 §7.5).
            probe.send(b"\r\n\r\n").await?;
            probe.recv(&mut [0; 4]).await
        };
        if refused
            .await
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
        {
            return;
        }
    }
    pending::<()>().await;
}
