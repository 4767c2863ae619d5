//! One tapped call: what its two connections say, brought to the call table and to the call's channels.

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use super::super::calls::TappedCall;
use super::super::media::frames::{self, FrameSender};
use super::frame::{Frame, FrameError};
use super::voice::Voice;
use super::{Connection, Shared};
use crate::rtp::dtmf::Key;

/// The name of the way in, where the call's record names the trunk.
const NAME: &str = "audiosocket";

/// Brings a call to the call table and its sound to its channels, until either side or the gateway ends it.
pub(super) async fn carry(shared: &Shared, mut connections: [Connection; 2]) {
    let call = connections[0].id.call.clone();
    match run(shared, &call, &mut connections).await {
        Ok(reason) => info!(%call, "the AudioSocket call is over: {reason}"),
        Err(reason) => warn!(%call, "the AudioSocket call is refused: {reason}"),
    }
    for connection in connections {
        connection.end().await;
    }
}

/// How the call ended, or why there was none.
async fn run(
    shared: &Shared,
    call: &str,
    connections: &mut [Connection; 2],
) -> Result<String, &'static str> {
    let (mut from_caller, caller) = frames::channel();
    let (mut from_operator, operator) = frames::channel();
    let (refusal, gateway) = oneshot::channel();
    let tapped = TappedCall {
        name: call.to_owned(),
        source: connections[0].source,
        caller_number: connections[0].id.speaker.clone(),
        operator_number: connections[1].id.speaker.clone(),
        called: connections
            .iter()
            .find_map(|connection| connection.id.called.clone())
            .unwrap_or_default(),
        trunk: NAME.to_owned(),
        legs: [caller, operator],
        refusal,
    };
    if shared.accepting.is_cancelled() || shared.calls.try_send(tapped).is_err() {
        return Err("the gateway takes no calls now");
    }
    let [caller, operator] = connections;
    let (who, ended, leg) = tokio::select! {
        ended = pump(caller, &mut from_caller) => ("caller", ended, from_caller),
        ended = pump(operator, &mut from_operator) => ("operator", ended, from_operator),
        refused = gateway => return match refused {
            Ok(reason) => Err(reason),
            Err(_) => Ok("the gateway ended it".to_owned()),
        },
    };
    let broke = ended.err().map(|error| error.to_string());
    leg.end(broke.clone()).await;
    Ok(match broke {
        None => format!("the {who}'s connection ended"),
        Some(error) => format!("the {who}'s connection: {error}"),
    })
}

/// Brings a connection's sound to its leg, until it ends.
async fn pump(connection: &mut Connection, leg: &mut FrameSender) -> Result<(), FrameError> {
    let mut voice = Voice::new(Instant::now());
    loop {
        match connection.next().await? {
            Frame::HangUp => return Ok(()),
            Frame::Audio(rate, samples) => {
                // What finds no room, the call counts as lost.
                let until = voice.take(Instant::now(), rate, &samples, |at, rate, samples| {
                    leg.send(at, rate, samples);
                });
                sleep_until(until).await;
            }
            Frame::Key(key) => {
                if let Some(key) = Key::from_char(key) {
                    leg.press(key);
                }
            }
            Frame::Error(code) => {
                warn!("an AudioSocket connection tells of its error {code:#04x}");
            }
            // Another UUID within the call would be another call.
            Frame::Id(_) | Frame::Unknown => {}
        }
    }
}
