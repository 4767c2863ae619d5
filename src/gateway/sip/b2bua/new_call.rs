//! What the gateway gets of a call: its events and its commands, each in a queue of its own.

use std::net::SocketAddr;

use tokio::sync::mpsc;

use crate::gateway::sip::edge::next_hop::RouteSecurityLookup;
use crate::sip::{IncomingCall, SipCommand, SipEvent, Transport};

/// Calls that wait for the gateway to take them; past it 503.
pub(crate) const NEW_CALLS: usize = 64;
/// Events that wait for the call, and commands that wait for the adapter; a call that lets so many pile up is ended.
pub(crate) const CALL_QUEUE: usize = 32;
/// A call that arrived; dropping it, or either channel, ends it.
#[derive(Debug)]
pub struct NewCall {
    /// What its INVITE says.
    pub incoming: IncomingCall,
    /// Where the INVITE came from.
    pub source: SocketAddr,
    /// What carried it.
    pub transport: Transport,
    /// Whom to invite, as SIP URIs in the order to try them; empty when no rule says so.
    pub route: Vec<String>,
    /// What is known of the ways there.
    pub route_security: RouteSecurityLookup,
    /// What happens; `None` when both legs have ended.
    pub events: mpsc::Receiver<SipEvent>,
    /// What to do.
    pub commands: mpsc::Sender<SipCommand>,
}

/// A call that we place: its first party is [`crate::sip::Party::OPERATOR`], begun by [`SipCommand::Invite`].
#[derive(Debug)]
pub struct PlacedCall {
    /// What happens; `None` when the call has ended.
    pub events: mpsc::Receiver<SipEvent>,
    /// What to do.
    pub commands: mpsc::Sender<SipCommand>,
}
