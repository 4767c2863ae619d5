//! The types generated from `proto/`. None of them has `Debug`: they carry personal data.

/// Commands to running calls.
pub mod control {
    /// `xinqiao.control.v1`; documented in `proto/xinqiao/control/v1/control.proto`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("xinqiao.control.v1");
    }
}

/// Who works with the gateway.
pub mod people {
    /// `xinqiao.people.v1`; documented in `proto/xinqiao/people/v1/people.proto`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("xinqiao.people.v1");
    }
}

/// Draft tickets.
pub mod ticket {
    /// `xinqiao.ticket.v1`; documented in `proto/xinqiao/ticket/v1/ticket.proto`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("xinqiao.ticket.v1");
    }
}

/// Transcripts.
pub mod transcript {
    /// `xinqiao.transcript.v1`; documented in `proto/xinqiao/transcript/v1/transcript.proto`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("xinqiao.transcript.v1");
    }
}

/// Recognition in a process of its own.
pub mod recognition {
    /// `xinqiao.recognition.v1`; documented in `proto/xinqiao/recognition/v1/recognition.proto`.
    #[allow(missing_docs, clippy::all, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("xinqiao.recognition.v1");
    }
}

/// The encoded `FileDescriptorSet` of all packages, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/xinqiao_descriptor.bin"));
