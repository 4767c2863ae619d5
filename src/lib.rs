//! Xinqiao (心桥): a voice gateway for public-service hotlines.
//!
//! A citizen calls; the operator hears the caller, sees the conversation as text while it is spoken, and finds the
//! ticket already filled in beside it. No audio and no text leaves the hotline's machines.
//!
//! ```text
//! gateway ─► Call::handle(now, Input)      (each leg's media by a MediaTransport: RTP sockets, decoded frames)
//!  SIP → dialog → legs {caller, operator}
//!  RTP ─┬─► other leg                 (forwarded first; nothing below can delay or drop it)
//!       └─► ListenBuffer → Decoder ─┬─► SpeechPipeline { Resampler → Leveler → VoiceActivity → Segmenter }
//!  decoded sound ─► DecodedStream ──┘                     │ utterance (partial, end-point or final)
//! Call::transmit() → packets to the other leg, drained first
//! Call::command(now, Actor, Command) → accepted or refused   (from the page or gRPC, through CallControl)
//! Call::poll() → Sip | EndTap | Recognize | Transcript | Redraft | Draft | Record | Erase | Ended | Deadline
//!   Recognize  → recognition workers, here or elsewhere → Input::Heard → TranscriptBuilder → transcript
//!                (final lines once more, in longer pieces, while no worker has anything else to do)
//!   Transcript → event bus → operator's page, gRPC stream, store
//!   Redraft    → drafting thread → Input::Drafted → Draft
//!   Draft      → draft writer → outbox → gRPC TicketIntake (the ticketing backend), webhook
//!   Record, Erase → recorder thread → stereo file
//! ```
//!
//! Reading order: [`speech`] (utterances and the `Recognizer` seam) and its `segmenter`, [`rtp`], [`sip`], [`transcript`],
//! [`ticket`] (its `model` is the one contract of a ticket's fields; the drafter; the `TicketDesk` seam), [`call`], which
//! composes them, and [`work_order`], the closed loop; then the edge: [`control`], [`recognition`], [`recording`], [`events`], [`store`] with the outbox,
//! [`people`] with [`access`], [`grpc`], [`ticketing`], [`listener`], [`console`], [`gateway`] with the sockets and the call table; and [`app`], which
//! builds them all, runs them and takes them down.
//! `tests/integration/layering.rs` holds which room may import which.

pub mod access;
pub mod app;
pub mod audio;
pub mod call;
pub mod cli;
pub mod config;
pub mod console;
pub mod control;
pub mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
pub mod grpc;
pub mod language_model;
pub mod listener;
pub mod outbound;
pub mod people;
#[cfg(test)]
#[path = "../tests/support/postgres.rs"]
mod postgres_server;
pub mod private;
pub mod recognition;
pub mod recording;
pub mod rtp;
pub mod sip;
#[cfg(test)]
#[path = "../tests/support/disk.rs"]
mod small_disk;
pub mod speech;
pub mod store;
pub mod telemetry;
pub mod text;
pub mod ticket;
pub mod ticketing;
pub mod transcript;
pub mod vcon;
pub mod webhook;
pub mod work_order;
