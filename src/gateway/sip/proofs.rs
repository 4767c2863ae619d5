//! What our INVITEs were proved with, for the ACK of a 2xx says the same again (RFC 3261 §13.2.2.4): a proxy that lets
//! nothing pass without a proof cannot challenge an ACK.

use std::collections::VecDeque;
use std::sync::Mutex;

use rsipstack::sip::{Header, HeadersExt, Method, Request};

use super::locked;

/// INVITEs that are remembered: more are not answered at a time; the oldest gives way.
const MOST: usize = 1_024;

/// An INVITE by Call-ID and number, and its credentials.
type Proved = ((String, u32), Vec<Header>);

/// The INVITEs that were proved.
#[derive(Default)]
pub(super) struct Proofs(Mutex<VecDeque<Proved>>);

impl Proofs {
    /// Remembers what an INVITE is proved with, and gives it to its ACK.
    pub fn follow(&self, request: &mut Request) {
        let key = || {
            let number = request.cseq_header().ok()?.seq().ok()?;
            let call_id = request.call_id_header().ok()?.value().to_owned();
            Some((call_id, number))
        };
        match request.method {
            Method::Invite => {
                let proofs: Vec<Header> = proofs(request).cloned().collect();
                if let (false, Some(key)) = (proofs.is_empty(), key()) {
                    let mut known = locked(&self.0);
                    known.retain(|(other, _)| *other != key);
                    if known.len() == MOST {
                        known.pop_front();
                    }
                    known.push_back((key, proofs));
                }
            }
            Method::Ack if proofs(request).next().is_none() => {
                let known = locked(&self.0);
                let key = key();
                let found = known.iter().find(|(other, _)| Some(other) == key.as_ref());
                if let Some((_, proofs)) = found {
                    request.headers.extend(proofs.clone());
                }
            }
            _ => {}
        }
    }
}

fn proofs(request: &Request) -> impl Iterator<Item = &Header> {
    request.headers.iter().filter(|header| match header {
        Header::Authorization(_) | Header::ProxyAuthorization(_) => true,
        Header::Other(name, _) => ["Authorization", "Proxy-Authorization"].contains(&name.as_str()),
        _ => false,
    })
}
