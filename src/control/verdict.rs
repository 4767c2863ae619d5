//! What a refusal is called in HTTP and in gRPC.

use tonic::Code;

use super::Refusal;

/// How a refusal is told over the protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The HTTP status.
    pub http: u16,
    /// The stable name for programs.
    pub code: &'static str,
    /// The gRPC status.
    pub grpc: Code,
}

impl Refusal {
    /// How it is told over the protocols.
    #[must_use]
    pub const fn verdict(self) -> Verdict {
        let (http, code, grpc) = match self {
            Self::NotRunning => (409, "not_running", Code::FailedPrecondition),
            Self::Unfit(_) => (422, "unfit_value", Code::InvalidArgument),
            Self::NoSuchChange => (404, "no_such_change", Code::NotFound),
            Self::HeardAnew => (409, "heard_anew", Code::Aborted),
            Self::UnfitNote => (422, "unfit_note", Code::InvalidArgument),
            Self::NotAnswered => (409, "not_answered", Code::FailedPrecondition),
            Self::TakesPlaceElsewhere => (409, "takes_place_elsewhere", Code::FailedPrecondition),
            Self::NoDestination => (422, "no_destination", Code::InvalidArgument),
            Self::TransferUnderWay => (409, "transfer_under_way", Code::FailedPrecondition),
            Self::TooManyTransfers => (409, "too_many_transfers", Code::FailedPrecondition),
            Self::Busy => (503, "call_busy", Code::ResourceExhausted),
            Self::NoAnswer => (504, "no_answer", Code::DeadlineExceeded),
        };
        Verdict { http, code, grpc }
    }
}
