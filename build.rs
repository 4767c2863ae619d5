//! Compiles the protocol files to Rust, and writes their descriptor set for server reflection. No `protoc` is needed.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: &[&str] = &[
    "xinqiao/control/v1/control.proto",
    "xinqiao/people/v1/people.proto",
    "xinqiao/recognition/v1/recognition.proto",
    "xinqiao/ticket/v1/ticket.proto",
    "xinqiao/transcript/v1/transcript.proto",
];

/// Enumerations, whose values are no personal data.
const ENUMS: &[&str] = &[
    ".xinqiao.ticket.v1.Outcome",
    ".xinqiao.ticket.v1.FieldName",
    ".xinqiao.ticket.v1.Likeness",
    ".xinqiao.ticket.v1.Speaker",
    ".xinqiao.people.v1.Role",
    ".xinqiao.people.v1.Action",
    ".xinqiao.people.v1.Scope",
    ".xinqiao.people.v1.Must",
    ".xinqiao.recognition.v1.Leg",
    ".xinqiao.recognition.v1.Pass",
    ".xinqiao.transcript.v1.Leg",
    ".xinqiao.transcript.v1.ActorKind",
    ".xinqiao.transcript.v1.AlarmKind",
    ".xinqiao.transcript.v1.CallState",
    ".xinqiao.transcript.v1.RecordingKind",
    ".xinqiao.transcript.v1.ChangeKind",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("proto");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("xinqiao_descriptor.bin"),
        descriptors.encode_to_vec(),
    )?;
    // No message gets `Debug`: they carry personal data, and what cannot be formatted cannot be logged.
    let mut builder = tonic_prost_build::configure().skip_debug(["."]);
    for harmless in ENUMS {
        builder = builder.enum_attribute(harmless, "#[derive(Debug)]");
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
