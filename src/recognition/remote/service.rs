//! The recogniser's side: a pool of workers behind the protocol.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tonic::{Request, Response, Status};

use super::wire;
use crate::grpc::proto::recognition::v1::recognition_service_server::RecognitionService;
use crate::grpc::proto::recognition::v1::{
    GetLoadRequest, GetLoadResponse, RecognizeRequest, RecognizeResponse,
};
use crate::recognition::{Job, RecognitionPool};
use crate::speech::{Outcome, RecognizerError};

/// The recognition service; clones share the workers.
#[derive(Clone)]
pub struct RecognizerService {
    pool: Arc<RecognitionPool>,
}

impl RecognizerService {
    /// Over these workers.
    #[must_use]
    pub const fn new(pool: Arc<RecognitionPool>) -> Self {
        Self { pool }
    }
}

impl std::fmt::Debug for RecognizerService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecognizerService").finish_non_exhaustive()
    }
}

#[tonic::async_trait]
impl RecognitionService for RecognizerService {
    async fn recognize(
        &self,
        request: Request<RecognizeRequest>,
    ) -> Result<Response<RecognizeResponse>, Status> {
        let request = request.into_inner();
        let due = Instant::now() + Duration::from_millis(request.due_ms.into());
        let utterance = wire::utterance(request).map_err(Status::invalid_argument)?;
        let (told, outcome) = oneshot::channel();
        self.pool.submit(Job {
            utterance,
            due,
            // Nobody waits any more when the gateway has given it up.
            reply: Box::new(move |_, outcome| drop(told.send(outcome))),
        });
        match outcome.await {
            Ok(Outcome::Recognized(heard)) => {
                Ok(Response::new(wire::response(heard, &self.pool.load())))
            }
            Ok(Outcome::Superseded | Outcome::Failed(RecognizerError::Aborted)) => {
                Err(Status::aborted("a more urgent pass took its place"))
            }
            Ok(Outcome::Shed) => Err(Status::resource_exhausted("there is no time for it")),
            Ok(Outcome::Failed(error)) => Err(Status::internal(error.to_string())),
            Err(_) => Err(Status::unavailable("the recogniser is going down")),
        }
    }

    async fn get_load(
        &self,
        _: Request<GetLoadRequest>,
    ) -> Result<Response<GetLoadResponse>, Status> {
        Ok(Response::new(GetLoadResponse {
            load: Some(wire::load(&self.pool.load())),
        }))
    }
}
