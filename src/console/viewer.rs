//! One viewer: its stream of events over one WebSocket, in its own task, so that nothing else ever waits for it.

use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use tokio::time::{Instant, MissedTickBehavior};

use super::Console;
use super::wire::{Body, Fault, Message, Notice};
use crate::access::Sight;
use crate::events::{Event, Filter, Payload};
use crate::people::Action;
use crate::store::{Replay, StoreError};
use crate::transcript::TranscriptEvent;

/// The connection is probed this often, and the page told that it is fine.
const PROBE: Duration = Duration::from_secs(15);
/// How often it is looked whether a part of the gateway is at fault.
const LOOK: Duration = Duration::from_secs(1);
/// A viewer from which nothing came for so long (not even the answer to a probe) is gone.
const SILENT: Duration = Duration::from_secs(40);
/// A viewer that takes nothing for so long is cut off.
const STALLED: Duration = Duration::from_secs(10);
/// The page must not ask again for a call that nobody knows (application codes begin at 4000).
const UNKNOWN_CALL: u16 = 4404;

/// The page must have its user sign in.
const SIGNED_OUT: u16 = 4401;

/// What a viewer wants to see.
pub struct Wanted {
    /// Which events.
    pub filter: Filter,
    /// Only those behind this position.
    pub after: Option<u64>,
    /// Only when calls begin, are answered and end.
    pub only_calls: bool,
    /// What may be seen; everything where nobody signs in.
    pub sight: Option<Sight>,
}

impl Wanted {
    fn wants(&self, event: &Event) -> bool {
        !self.only_calls
            || matches!(
                event.payload,
                Payload::Transcript(
                    TranscriptEvent::Started(_)
                        | TranscriptEvent::Answered { .. }
                        | TranscriptEvent::CallFinal { .. }
                )
            )
    }
}

/// Why a stream ends.
enum End {
    /// Everything has been said.
    Over,
    /// The viewer should hear why.
    Fault(u16, Fault),
    /// The viewer is gone, or as good as gone.
    Gone,
}

impl End {
    const SIGNED_OUT: Self = Self::Fault(SIGNED_OUT, Fault::SIGN_IN);
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a viewer cannot be served");
        Self::Fault(close_code::ERROR, Fault::UNREADABLE)
    }
}

/// Shows a viewer what it wants until there is no more of it, the viewer leaves, or the gateway goes down.
pub async fn show(mut socket: WebSocket, console: Console, wanted: Wanted) {
    let Err(end) = stream(&mut socket, &console, wanted).await;
    let close = match end {
        End::Gone => return,
        End::Over => CloseFrame {
            code: close_code::NORMAL,
            reason: "over".into(),
        },
        End::Fault(code, fault) => {
            let told = Message::Notice(Notice::Error(fault)).json();
            if send(&mut socket, Frame::Text(told.into())).await.is_err() {
                return;
            }
            CloseFrame {
                code,
                reason: fault.code.into(),
            }
        }
    };
    let _ = send(&mut socket, Frame::Close(Some(close))).await;
}

async fn stream(
    socket: &mut WebSocket,
    console: &Console,
    mut wanted: Wanted,
) -> Result<std::convert::Infallible, End> {
    if let Some(call) = &wanted.filter.call
        && !console.knows(call).await?
    {
        return Err(End::Fault(UNKNOWN_CALL, Fault::UNKNOWN_CALL));
    }
    let (bus, store) = (console.bus.clone(), console.store.clone());
    let mut replay = Replay::open(bus, store, wanted.filter.clone(), wanted.after);
    let mut position = wanted.after.unwrap_or(0);
    let mut revision = 0;
    let mut heard = Instant::now();
    let mut probe = tokio::time::interval_at(heard + PROBE, PROBE);
    probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = Vec::new();
    let mut sight = wanted.sight.take();
    loop {
        let event = tokio::select! {
            () = closed(&mut sight) => return Err(End::SIGNED_OUT),
            event = replay.next() => event?,
            received = socket.recv() => match received {
                // A viewer has nothing to say: that it is there is enough.
                Some(Ok(_)) => { heard = Instant::now(); continue }
                _ => return Err(End::Gone),
            },
            _ = probe.tick() => {
                if heard.elapsed() > SILENT {
                    return Err(End::Gone);
                }
                send(socket, Frame::Ping(Vec::new().into())).await?;
                send(socket, Frame::Text(Message::Notice(Notice::Alive).json().into())).await?;
                continue;
            }
            _ = look.tick() => {
                if let Some(sight) = &mut sight {
                    sight.renew().await.map_err(|_| End::SIGNED_OUT)?;
                }
                let faults = console.faults();
                if faults != told {
                    told.clone_from(&faults);
                    let notice = Message::Notice(Notice::Faults { faults });
                    send(socket, Frame::Text(notice.json().into())).await?;
                }
                continue;
            }
            () = console.shutdown.cancelled() => {
                return Err(End::Fault(close_code::RESTART, Fault::GOING_DOWN));
            }
        };
        if let Some(Payload::Draft { revision: new, .. }) = event.as_ref().map(|e| &e.payload) {
            revision = *new;
        }
        let is_last = event.as_ref().is_none_or(|event| {
            matches!(
                event.payload,
                Payload::Transcript(TranscriptEvent::CallFinal { .. })
            )
        });
        if is_last && let Some(call) = &wanted.filter.call {
            // The last draft of a call that has left memory is on disk.
            if let Some(held) = console.store.draft(call).await?
                && held.submission.key.revision > revision
            {
                revision = held.submission.key.revision;
                let message = Message::Event {
                    position,
                    call: call.as_str(),
                    operator: event.as_ref().map_or("", |event| &event.operator),
                    body: Body::draft(revision, &held.submission.draft),
                };
                send(socket, Frame::Text(message.json().into())).await?;
            }
        }
        let Some(event) = event else {
            return Err(End::Over);
        };
        position = event.position;
        let may = |sight: &Sight| sight.may(Action::SeeCall, &event.operator);
        if wanted.wants(&event) && sight.as_ref().is_none_or(may) {
            let text = Message::event(&event).json();
            send(socket, Frame::Text(text.into())).await?;
        }
    }
}

/// Ends when the session does.
async fn closed(sight: &mut Option<Sight>) {
    match sight {
        Some(sight) => sight.closed().await,
        None => std::future::pending().await,
    }
}

async fn send(socket: &mut WebSocket, frame: Frame) -> Result<(), End> {
    match tokio::time::timeout(STALLED, socket.send(frame)).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(End::Gone),
    }
}
