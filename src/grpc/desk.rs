//! The ticketing backend over gRPC: the real [`TicketDesk`].

use std::fmt;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::convert;
use super::proto::ticket::v1::ticket_intake_client::TicketIntakeClient;
use super::proto::ticket::v1::{CloseDraftRequest, Outcome, UpsertDraftRequest};
use super::tls::{self, Connector};
use crate::private::Private;
use crate::ticket::desk::{DeskError, Receipt, Submission, TicketDesk};

/// How long establishing a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// How long one request may take when nothing else is said.
const DEADLINE: Duration = Duration::from_secs(5);
/// A silent connection is probed this often, so that a dead backend is noticed between calls.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// How long a probe may stay unanswered.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(5);

/// The endpoint in the configuration is not an address that one can connect to.
#[derive(Debug)]
pub struct EndpointError {
    endpoint: String,
    source: Option<tonic::transport::Error>,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not an address of a ticketing backend; write it like http://127.0.0.1:50051",
            self.endpoint
        )
    }
}

impl std::error::Error for EndpointError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|source| source as _)
    }
}

/// A ticketing backend that is reached over gRPC; connects when first used, and again when the connection broke.
#[derive(Clone, Debug)]
pub struct GrpcDesk {
    client: TicketIntakeClient<Channel>,
    /// How long one request may take, sent along as its gRPC deadline.
    deadline: Duration,
}

impl GrpcDesk {
    /// For the backend at `endpoint`, e.g. `http://127.0.0.1:50051`, without TLS; needs a running tokio runtime.
    ///
    /// # Errors
    /// [`EndpointError`] when it is no such address. Whether anybody listens there shows at the first request.
    pub fn connect_lazy(endpoint: &str) -> Result<Self, EndpointError> {
        Self::new(endpoint, None, DEADLINE)
    }

    /// For the backend at `endpoint`: `https` with `tls`, `http` without; each request may take `deadline`.
    ///
    /// # Errors
    /// As [`GrpcDesk::connect_lazy`].
    pub fn new(
        endpoint: &str,
        tls: Option<Connector>,
        deadline: Duration,
    ) -> Result<Self, EndpointError> {
        let fault = |source| EndpointError {
            endpoint: endpoint.to_owned(),
            source,
        };
        let parsed =
            Endpoint::from_shared(endpoint.to_owned()).map_err(|source| fault(Some(source)))?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        if parsed.uri().scheme_str() != Some(scheme) || parsed.uri().host().is_none() {
            return Err(fault(None));
        }
        let parsed = parsed
            .connect_timeout(CONNECT)
            .timeout(deadline)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE_ANSWER)
            .keep_alive_while_idle(true);
        Ok(Self {
            client: TicketIntakeClient::new(tls::channel(&parsed, tls)),
            deadline,
        })
    }
}

impl GrpcDesk {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.deadline);
        request
    }
}

impl TicketDesk for GrpcDesk {
    async fn upsert(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        let request = UpsertDraftRequest {
            key: Some(convert::key(&submission.key)),
            draft: Some(convert::submission(submission)),
        };
        let answer = self
            .client
            .clone()
            .upsert_draft(self.request(request))
            .await
            .map_err(|status| verdict(&status))?;
        let answer = answer.into_inner();
        Ok(receipt(answer.outcome(), answer.ticket_id))
    }

    async fn close(&self, submission: &Submission) -> Result<Receipt, DeskError> {
        let request = CloseDraftRequest {
            key: Some(convert::key(&submission.key)),
            draft: Some(convert::submission(submission)),
        };
        let answer = self
            .client
            .clone()
            .close_draft(self.request(request))
            .await
            .map_err(|status| verdict(&status))?;
        let answer = answer.into_inner();
        Ok(receipt(answer.outcome(), answer.ticket_id))
    }
}

/// An outcome that this version does not know was at any rate an acknowledgement.
fn receipt(outcome: Outcome, ticket: String) -> Receipt {
    Receipt {
        ticket,
        applied: outcome != Outcome::Stale,
    }
}

/// Whether to try again or to park. When in doubt, try again: that loses nothing.
pub fn verdict(status: &Status) -> DeskError {
    let code = code_name(status.code());
    match status.code() {
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::DataLoss => DeskError::Rejected {
            code,
            reason: Private::from(status.message()),
        },
        _ => {
            if let Some(why) = super::no_answer(status) {
                tracing::warn!("no answer from the ticketing backend: {why}");
            }
            DeskError::Unavailable { code }
        }
    }
}

const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid argument",
        // The transport says 'cancelled' when the time was up, on either side; nobody else cancels.
        Code::DeadlineExceeded | Code::Cancelled => "deadline exceeded",
        Code::NotFound => "not found",
        Code::AlreadyExists => "already exists",
        Code::PermissionDenied => "permission denied",
        Code::ResourceExhausted => "resource exhausted",
        Code::FailedPrecondition => "failed precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out of range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data loss",
        Code::Unauthenticated => "unauthenticated",
    }
}
