//! REGISTER of the hotline's own phones: who it is, what it wants, and the answer, all without the stack.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::gateway::sip::edge::admission::{Admitted, Answer, Who};
use crate::gateway::sip::edge::wire;
use crate::gateway::sip::edge::wire::Message;
use crate::gateway::sip::lock::locked;
use crate::gateway::sip::shared::Shared;
use crate::gateway::sip::stack::uris::sip_uri;
use crate::sip::address::Address;
use crate::sip::registrar::{Flow, Refusal, Register, Wanted, Wish};

/// Serves a REGISTER; the answer.
pub(crate) fn register(
    shared: &Arc<Shared>,
    message: &Message,
    flow: Flow,
    listener: usize,
    now: Instant,
) -> Option<Vec<u8>> {
    let (cseq, _) = message.cseq()?;
    let key = (
        flow,
        message.branch().unwrap_or_default().to_owned(),
        message.header("Call-ID")?.to_owned(),
        cseq,
    );
    if let Some(answer) = locked(&shared.registrar.answers).find(&key) {
        return Some(answer);
    }
    let name = match shared.admit(now, message, flow) {
        Admitted::As(Who::Extension(name)) => name,
        Admitted::As(_) => return shared.refuse(message, &(403, vec![]), flow.source),
        Admitted::Not(answer) => return shared.refuse(message, &answer, flow.source),
        Admitted::Dropped => {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            return None;
        }
    };
    let (status, headers) = serve(shared, message, &name, flow, listener, now);
    if status != 200 {
        shared.refused.fetch_add(1, Ordering::Relaxed);
    }
    let headers: Vec<_> = headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let answer = message.reply(status, &headers, flow.source)?;
    let until = now + shared.config.t1 * 64;
    locked(&shared.registrar.answers).keep(key, until, now, answer.clone());
    Some(answer)
}

fn serve(
    shared: &Arc<Shared>,
    message: &Message,
    name: &str,
    flow: Flow,
    listener: usize,
    now: Instant,
) -> Answer {
    // Nobody may register another one's place.
    if message.header("To").and_then(wire::user).as_deref() != Some(name) {
        return (403, vec![]);
    }
    let Some(wish) = wish(message) else {
        return (400, vec![]);
    };
    let register = Register {
        extension: name,
        call_id: message.header("Call-ID").unwrap_or_default(),
        cseq: message.cseq().map_or(0, |(cseq, _)| cseq),
        flow,
        path: message.items("Path").map(str::to_owned).collect(),
        wish,
    };
    let registered = locked(&shared.registrar.bindings).register(now, &register);
    match registered {
        Ok(bindings) => {
            if register.wish != Wish::Ask
                && let Some(store) = &shared.config.registrations
            {
                store.note(name, &bindings);
            }
            shared
                .transport
                .addresses
                .remember(flow.source, flow.transport, listener);
            shared.log(|| {
                tracing::info!(extension = name, source = %flow.source, places = bindings.len(), "registered");
            });
            let mut headers: Vec<_> = bindings
                .iter()
                .map(|binding| {
                    let left = binding.until.saturating_duration_since(now).as_secs();
                    let value = format!("<{}>;expires={left}", binding.contact);
                    ("Contact", value)
                })
                .collect();
            let path = message.items("Path").map(|hop| ("Path", hop.to_owned()));
            headers.extend(path);
            (200, headers)
        }
        Err(refusal) => {
            let headers = match refusal {
                Refusal::TooBrief { least } => vec![("Min-Expires", least.to_string())],
                Refusal::TooMany | Refusal::Overtaken => vec![],
            };
            (refusal.status(), headers)
        }
    }
}

/// What a REGISTER asks for; `None` when it cannot be understood.
fn wish(message: &Message) -> Option<Wish> {
    let all_expire = match message.header("Expires") {
        // A number that cannot be read counts as none (RFC 3261 §10.3), and one too large as large.
        Some(text) if text.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(text.parse().unwrap_or(u32::MAX))
        }
        _ => None,
    };
    let contacts: Vec<&str> = message.items("Contact").collect();
    if contacts.is_empty() {
        return Some(Wish::Ask);
    }
    if contacts.contains(&"*") {
        return (contacts.len() == 1 && all_expire == Some(0)).then_some(Wish::ForgetAll);
    }
    let wanted = contacts
        .into_iter()
        .map(|contact| {
            let address = Address::parse(contact)?;
            sip_uri(address.uri)?;
            let expires = address
                .parameter("expires")
                .and_then(|seconds| seconds.parse().ok())
                .or(all_expire);
            let q = address
                .parameter("q")
                .and_then(|q| q.parse::<f32>().ok())
                .map_or(1_000, |q| (q.clamp(0.0, 1.0) * 1_000.0) as u16);
            Some(Wanted {
                contact: address.uri.to_owned(),
                expires,
                q,
            })
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Wish::Bind(wanted))
}
