//! What is mended in each message between the stack and the wire.

use std::sync::Arc;

use rsipstack::sip::{Header, SipMessage};
use rsipstack::transaction::endpoint::MessageInspector;
use rsipstack::transport::SipAddr;

use super::ack_credentials::AckCredentials;
use super::challenges::respelled;
use super::reliable_provisionals::ReliableProvisionals;
use super::uris;
use crate::gateway::sip::dialog::table::DialogTable;

/// The last touch on messages that leave: a 503 says when to come back (RFC 3261 §21.5.4), credentials name their
/// algorithm as others do, a PRACK finds its way, and an ACK
/// takes along what its INVITE was authenticated with and what a late offer is answered.
pub(crate) struct Inspector {
    pub(crate) retry_after: u32,
    pub(crate) provisionals: Arc<ReliableProvisionals>,
    pub(crate) dialogs: Arc<DialogTable>,
    pub(crate) ack_credentials: AckCredentials,
}

impl MessageInspector for Inspector {
    fn before_send(&self, mut message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
        match &mut message {
            SipMessage::Response(response) if response.status_code.code() == 503 => response
                .headers
                .unique_push(Header::RetryAfter(self.retry_after.to_string().into())),
            SipMessage::Request(request) => {
                request.uri = uris::verbatim(std::mem::take(&mut request.uri));
                for header in request.headers.iter_mut() {
                    match header {
                        Header::Authorization(value) => {
                            *value = respelled(value.value()).into();
                        }
                        Header::ProxyAuthorization(value) => {
                            *value = respelled(value.value()).into();
                        }
                        _ => {}
                    }
                }
            }
            SipMessage::Response(_) => {}
        }
        if let SipMessage::Request(request) = &mut message {
            self.provisionals.lead(request);
            self.dialogs.complete(request);
            self.ack_credentials.follow(request);
        }
        message
    }

    fn after_received(&self, mut message: SipMessage, _: Option<&SipAddr>) -> SipMessage {
        if let SipMessage::Response(response) = &mut message {
            self.provisionals.note(response);
        }
        message
    }
}
