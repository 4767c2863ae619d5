//! Xinqiao (心桥): a voice gateway for public-service hotlines.
//!
//! A citizen calls; the operator hears the caller, sees the conversation as text while it is spoken, and finds the
//! ticket already filled in beside it. No audio and no text leaves the hotline's machines.
//!
//! ```text
//! UDP ─gateway─► Call::handle(now, Input)                                                       (to be built)
//!  SIP → dialog → legs {caller, operator}                                                       (to be built)
//!  RTP ─┬─► other leg      (forwarded first; nothing below can delay or drop it)                (to be built)
//!       └─► JitterBuffer → Codec → Resampler → VoiceActivity                                    (to be built)
//!                                                   └─► Segmenter ─► Utterance (partial or final)
//!   Recognize  → recognition workers → Hypothesis → Transcript                (models here, workers to be built)
//!   Transcript → event bus → gRPC stream, store                                         (console to be built)
//!   Draft      → outbox → gRPC TicketIntake (the ticketing backend)                      (drafter to be built)
//! ```
//!
//! Reading order: [`speech`] (utterances and the `Recognizer` seam) and its `segmenter`, [`transcript`],
//! [`ticket`] (the draft and the `TicketDesk` seam), [`sip`] (what a call needs of SIP); then the edge:
//! [`events`], [`store`] with the outbox, [`grpc`], [`ticketing`], [`recognition`], and [`gateway`], which wires them.
//! `tests/layering.rs` holds which room may import which.

pub mod audio;
pub mod call;
pub mod cli;
pub mod config;
pub mod console;
pub mod events;
pub mod gateway;
pub mod grpc;
pub mod private;
pub mod recognition;
pub mod rtp;
pub mod sip;
pub mod speech;
pub mod store;
pub mod ticket;
pub mod ticketing;
pub mod transcript;
