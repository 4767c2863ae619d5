//! The SIP stack behind a fence: nothing outside this folder names `rsipstack`, and what has to be mended in what it does
//! is mended here.
//!
//! | what the stack does | what mends it |
//! |---|---|
//! | writes a PRACK as if it began a dialog, and takes all phones of a fork for one | `reliable_provisionals` |
//! | sends an ACK without what its INVITE was authenticated with, under a Via that it takes from the answer | `ack_credentials` |
//! | escapes users twice, and ends them at a semicolon | `uris` |
//! | takes the first of several challenges, and spells SHA-256 in its own way | `challenges` |
//! | opens streams of its own, which trust what peers say about lengths | `locator`, `datagrams` |
//! | acknowledges a 2xx before its offer is answered | `dialog::table`, which holds it back |
//!
//! `inspector` applies them to what leaves and arrives; `endpoint` is the stack as the edge runs it. Of the stack's own
//! names the edge uses those below.

pub(crate) mod ack_credentials;
pub(crate) mod challenges;
pub(crate) mod datagrams;
pub(crate) mod endpoint;
mod inspector;
pub(crate) mod locator;
pub(crate) mod reliable_provisionals;
pub(crate) mod uris;

/// Messages and what they are made of.
pub(crate) mod message {
    pub(crate) use rsipstack::sip::{
        Auth, CSeq, CallId, Header, HeadersExt, Host, HostWithPort, Method, Param, Request,
        Response, Route, Scheme, SipMessage, StatusCode, StatusCodeKind, To, ToTypedHeader,
        Transport, Uri, Version, typed, uri,
    };
}

/// The beginning and the end of a dialog.
pub(crate) mod dialogs {
    pub(crate) use rsipstack::dialog::DialogId;
    pub(crate) use rsipstack::dialog::authenticate::Credential;
    pub(crate) use rsipstack::dialog::dialog::{
        Dialog, DialogState, DialogStateReceiver, DialogStateSender, TerminatedReason,
    };
    pub(crate) use rsipstack::dialog::invitation::InviteOption;
    pub(crate) use rsipstack::dialog::invite_dialog::InviteDialog;
}

/// Requests with their responses.
pub(crate) mod transactions {
    pub(crate) use rsipstack::transaction::TransactionReceiver;
    pub(crate) use rsipstack::transaction::key::{TransactionKey, TransactionRole};
    pub(crate) use rsipstack::transaction::transaction::{
        Transaction, TransactionEvent, TransactionEventSender,
    };
}

/// What carries messages.
pub(crate) mod transports {
    pub(crate) use rsipstack::platform::mpsc as queues;
    pub(crate) use rsipstack::transport::channel::ChannelConnection;
    pub(crate) use rsipstack::transport::udp::UdpConnection;
    pub(crate) use rsipstack::transport::{SipAddr, SipConnection, TransportEvent};
}

/// The stack's word for a transport.
pub(crate) const fn kind_of(transport: crate::sip::Transport) -> message::Transport {
    match transport {
        crate::sip::Transport::Udp => message::Transport::Udp,
        crate::sip::Transport::Tcp => message::Transport::Tcp,
        crate::sip::Transport::Tls => message::Transport::Tls,
    }
}

/// The values of a header in a response, by its name.
pub(crate) fn values_of<'a>(
    response: &'a message::Response,
    name: &'a str,
) -> impl Iterator<Item = String> + 'a {
    response.headers.iter().filter_map(move |header| {
        let line = header.to_string();
        let (found, value) = line.split_once(':')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().to_owned())
    })
}
