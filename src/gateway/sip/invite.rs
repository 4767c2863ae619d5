//! The way to the operator's phone: from its URI to the final answer of our INVITE.

use std::future::pending;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rsipstack::dialog::dialog::DialogStateSender;
use rsipstack::dialog::invitation::InviteOption;
use rsipstack::dialog::invite_dialog::InviteDialog;
use rsipstack::sip::uri::ParamsExt;
use rsipstack::sip::{Auth, Header, Host, Response, Scheme, Transport as SipTransport, Uri};
use rsipstack::transport::SipAddr;
use tokio::time::timeout;

use super::sockets::{self, Carried};
use super::{Shared, Transport, local_address_for, wire};
use crate::private::Private;

/// How long looking up the operator's host may take.
const LOOKUP_TIME: Duration = Duration::from_secs(4);

/// Whom to invite to what.
pub(super) struct Invitation {
    pub callee: Uri,
    pub number: Option<Private<String>>,
    pub offer: String,
    /// Max-Forwards.
    pub hops: u8,
}

/// How an invitation ended.
pub(super) struct Invited {
    pub dialog: InviteDialog,
    pub response: Option<Response>,
    pub stream: Option<Carried>,
}

/// Why the operator's phone was not reached, as the status that tells it.
pub(super) struct Unreachable {
    pub status: u16,
    pub reason: String,
}

/// Invites and waits for the final answer; the stack cancels the INVITE when this is dropped.
///
/// `heard` is set by the caller of this when the phone has answered anything.
pub(super) async fn invite(
    shared: Arc<Shared>,
    invitation: Invitation,
    heard: Arc<AtomicBool>,
    states: DialogStateSender,
) -> Result<Invited, Unreachable> {
    let (peer, transport) = locate(&invitation.callee).await?;
    let stream = match transport {
        Transport::Udp => None,
        Transport::Tcp => {
            let carried = Carried::new(&shared, peer);
            sockets::connect(&shared, peer)
                .await
                .map_err(|error| Unreachable {
                    status: 503,
                    reason: format!("{peer} over TCP: {error}"),
                })?;
            Some(carried)
        }
    };
    let option = invitation.option(&shared, peer, transport);
    tokio::select! {
        invited = shared.layer.do_invite(option, states) => match invited {
            Ok((dialog, response)) => Ok(Invited { dialog, response, stream }),
            Err(_) => Err(Unreachable {
                status: 500,
                reason: "the stack could not bring the INVITE to an end".to_owned(),
            }),
        },
        () = is_closed(peer, shared.config.t1 * 2, &heard), if transport == Transport::Udp => {
            Err(Unreachable {
                status: 503,
                reason: format!("nothing listens at {peer}"),
            })
        }
    }
}

impl Invitation {
    fn option(self, shared: &Shared, peer: SocketAddr, transport: Transport) -> InviteOption {
        let caller = Uri {
            scheme: Some(Scheme::Sip),
            auth: Some(Auth {
                user: self
                    .number
                    .map_or_else(|| "anonymous".to_owned(), Private::into_inner),
                password: None,
            }),
            host_with_port: local_address_for(peer.ip()).into(),
            ..Uri::default()
        };
        let kind = match transport {
            Transport::Udp => SipTransport::Udp,
            Transport::Tcp => SipTransport::Tcp,
        };
        InviteOption {
            caller,
            callee: self.callee,
            destination: Some(SipAddr::new(kind, peer.into())),
            offer: Some(self.offer.into_bytes()),
            contact: shared.contact(peer, transport),
            headers: Some(vec![
                Header::MaxForwards(u32::from(self.hops).into()),
                Header::Allow(wire::ALLOW.into()),
            ]),
            ..InviteOption::default()
        }
    }
}

/// Where a URI leads: its address, or that of its host.
async fn locate(uri: &Uri) -> Result<(SocketAddr, Transport), Unreachable> {
    let transport = match uri.transport() {
        None | Some(SipTransport::Udp) => Transport::Udp,
        Some(SipTransport::Tcp) => Transport::Tcp,
        Some(other) => {
            return Err(Unreachable {
                status: 416,
                reason: format!("the operator's transport {other} is neither udp nor tcp"),
            });
        }
    };
    let port = uri.host_with_port.port.map_or(5060, |port| port.value());
    let host = match &uri.host_with_port.host {
        Host::IpAddr(ip) => return Ok((SocketAddr::new(*ip, port), transport)),
        Host::Domain(name) => name.to_string(),
    };
    let found = timeout(LOOKUP_TIME, tokio::net::lookup_host((host.as_str(), port))).await;
    found
        .ok()
        .and_then(Result::ok)
        .and_then(|mut addresses| addresses.next())
        .map(|address| (address, transport))
        .ok_or_else(|| Unreachable {
            status: 503,
            reason: format!("the operator's host {host} cannot be looked up"),
        })
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

/// The address of this machine from which a `sip:` URI is reached.
///
/// # Errors
/// What is wrong with the URI or its host.
pub async fn local_address_towards(uri: &str) -> Result<IpAddr, String> {
    let uri = operator_uri(uri).ok_or("it is no sip: URI")?;
    let (peer, _) = locate(&uri)
        .await
        .map_err(|unreachable| unreachable.reason)?;
    Ok(local_address_for(peer.ip()))
}

/// A `sip:` URI.
pub(super) fn operator_uri(text: &str) -> Option<Uri> {
    Uri::try_from(text)
        .ok()
        .filter(|uri| uri.scheme == Some(Scheme::Sip))
}
