//! What the adapter does with received bytes before any state is touched, for `fuzz/` and the mutation tests.

use std::net::{Ipv4Addr, SocketAddr};

use crate::gateway::sip::dialog::bodies::{allows, description, said};
use crate::gateway::sip::edge::wire::{Frame, Framer, Message};
use crate::gateway::sip::edge::{grammar, wire};
use crate::gateway::sip::stack::message::SipMessage;
use crate::gateway::sip::stack::transports::SipConnection;
use crate::gateway::sip::stack::{challenges, kind_of, uris};
use crate::sip::Transport;
use crate::sip::address::Address;
use crate::sip::{Replaces, Target};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 5_060);

/// Reads the bytes as a datagram and as a stream that is cut somewhere.
pub(crate) fn read(bytes: &[u8]) {
    match Message::from_datagram(bytes, PEER) {
        Ok(Some(message)) => understand(message),
        Ok(None) => {}
        Err(defect) => assert!(
            defect
                .reply
                .is_none_or(|reply| reply.starts_with(b"SIP/2.0 "))
        ),
    }
    let cut = bytes.first().map_or(0, |first| usize::from(*first)) % bytes.len().max(1);
    let mut framer = Framer::default();
    for part in [&bytes[..cut], &bytes[cut..]] {
        framer.push(part);
        loop {
            match framer.next(PEER) {
                Ok(Some(Frame::Message(message))) => understand(*message),
                Ok(Some(Frame::Ping)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

/// Everything that is asked of a sound message.
fn understand(mut message: Message) {
    let written = message.to_bytes();
    let again = Message::from_datagram(&written, PEER);
    let again = again.expect("what we wrote is sound").expect("a message");
    assert_eq!(again.to_bytes(), written, "what we wrote is read as it was");
    if let Some(reply) = message.reply(400, &[], PEER) {
        assert!(Message::from_datagram(&reply, PEER).is_ok_and(|reply| reply.is_some()));
    }
    let _ = wire::with_sent_by(&written, Transport::Udp, "192.0.2.9:5060");
    let _ = (
        grammar::is_broken(&message),
        grammar::is_foreign(&message),
        grammar::refuses_descriptions(&message),
        message.branch(),
        message.target(),
        message.tokens("Require").count(),
    );
    for name in ["From", "To", "Contact", "Via", "Route", "Path", "Diversion"] {
        for value in message.items(name) {
            let _ = (
                wire::tag(value),
                wire::user(value),
                wire::display_name(value),
            );
            if let Some(address) = Address::parse(value) {
                let _ = (uris::sip_uri(address.uri), address.parameter("expires"));
            }
        }
    }
    for value in message.all("Replaces") {
        let _ = Replaces::parse(value);
    }
    for value in message.all("Refer-To") {
        let _ = Target::from_refer_to(value, message.header("Referred-By"));
    }
    if let Some(body) = message.to_body() {
        let _ = (body.media_type(), body.description(), body.metadata());
    }
    message.simplify_addresses();
    message.mend_contact(PEER);
    challenges::simplify_challenges(&mut message);
    // From here on it is the stack's.
    let parsed = SipMessage::try_from(message.to_bytes().as_slice())
        .ok()
        .and_then(|parsed| {
            SipConnection::update_msg_received(parsed, PEER, kind_of(Transport::Udp)).ok()
        });
    match parsed {
        Some(SipMessage::Request(request)) => {
            let _ = (
                said(&request),
                allows(&request, "UPDATE"),
                description(&request),
            );
        }
        Some(SipMessage::Response(response)) => {
            let _ = (
                said(&response),
                allows(&response, "UPDATE"),
                description(&response),
            );
        }
        None => {}
    }
}
