//! `CallControl`: commands of programs to running calls.

use tonic::{Request, Response, Status};

use super::convert;
use super::peer::Peer;
use super::proto::control::v1::call_control_server::CallControl as Service;
use super::proto::control::v1::{
    EditRequest, EditResponse, HangUpRequest, HangUpResponse, NoteRequest, NoteResponse,
    PauseRequest, PauseResponse, ReviseRequest, ReviseResponse, TransferRequest, TransferResponse,
};
use super::proto::ticket::v1 as ticket;
use crate::access::People;
use crate::control::{Actor, CallControl, Command, Refusal};
use crate::events::Bus;
use crate::people::Action;
use crate::private::Private;
use crate::speech::CallId;
use crate::store::Store;
use crate::ticket::FieldName;
use crate::transcript::revise::Revision;

/// The control service of a gateway; clones share it.
#[derive(Clone, Debug)]
pub struct Controls {
    control: CallControl,
    people: Option<(People, Bus, Store)>,
}

impl Controls {
    /// Reaches the calls that `control` does.
    #[must_use]
    pub const fn new(control: CallControl) -> Self {
        Self {
            control,
            people: None,
        }
    }

    /// Asked by people, each of whom does what the roles allow on the calls that `bus` and `store` know, instead of by
    /// programs.
    #[must_use]
    pub fn for_people(self, people: People, bus: Bus, store: Store) -> Self {
        Self {
            people: Some((people, bus, store)),
            ..self
        }
    }

    /// Who asks, where `action` is allowed on `call`.
    async fn actor<T>(
        &self,
        request: &Request<T>,
        action: Action,
        call: &str,
    ) -> Result<Actor, Status> {
        let Some((people, bus, store)) = &self.people else {
            return Ok(Peer::of(None, request).await?.actor());
        };
        let peer = Peer::of(Some(people), request).await?;
        let call = CallId::new(call);
        peer.demand((bus, store), action, &call).await?;
        Ok(peer.actor())
    }

    async fn ask(&self, actor: Actor, call: &str, command: Command) -> Result<(), Status> {
        let asked = self.control.ask(&CallId::new(call), actor, command).await;
        asked.map_err(refused)
    }
}

/// A refusal as a status.
pub(super) fn refused(refusal: Refusal) -> Status {
    Status::new(refusal.verdict().grpc, refusal.to_string())
}

/// What a client writes into a field.
pub(super) fn edit(field: Option<ticket::Field>) -> Result<Command, Status> {
    let field = field.unwrap_or_default();
    let name = FieldName::of_number(field.name)
        .ok_or_else(|| Status::invalid_argument("field.name is none that is known here"))?;
    Ok(Command::Edit {
        name,
        value: convert::value_back(&field),
    })
}

/// What a client wants of a change.
pub(super) const fn revise(line: u32, change: u32, revision: u32, restore: bool) -> Command {
    Command::Revise(Revision {
        line,
        change: change as usize,
        seen: if revision > 0 { Some(revision) } else { None },
        undone: !restore,
    })
}

#[tonic::async_trait]
impl Service for Controls {
    async fn edit(&self, request: Request<EditRequest>) -> Result<Response<EditResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::EditCall, call).await?;
        let EditRequest { call_id, field } = request.into_inner();
        self.ask(actor, &call_id, edit(field)?).await?;
        Ok(Response::new(EditResponse {}))
    }

    async fn revise(
        &self,
        request: Request<ReviseRequest>,
    ) -> Result<Response<ReviseResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::EditCall, call).await?;
        let ReviseRequest {
            call_id,
            utterance_id,
            change,
            restore,
            revision,
        } = request.into_inner();
        let command = revise(utterance_id, change, revision, restore);
        self.ask(actor, &call_id, command).await?;
        Ok(Response::new(ReviseResponse {}))
    }

    async fn pause(
        &self,
        request: Request<PauseRequest>,
    ) -> Result<Response<PauseResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::EditCall, call).await?;
        let PauseRequest { call_id, paused } = request.into_inner();
        self.ask(actor, &call_id, Command::Pause { paused }).await?;
        Ok(Response::new(PauseResponse {}))
    }

    async fn note(&self, request: Request<NoteRequest>) -> Result<Response<NoteResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::EditCall, call).await?;
        let NoteRequest { call_id, text } = request.into_inner();
        let text = Private::new(text);
        self.ask(actor, &call_id, Command::Note { text }).await?;
        Ok(Response::new(NoteResponse {}))
    }

    async fn hang_up(
        &self,
        request: Request<HangUpRequest>,
    ) -> Result<Response<HangUpResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::DirectCall, call).await?;
        let HangUpRequest { call_id } = request.into_inner();
        self.ask(actor, &call_id, Command::HangUp).await?;
        Ok(Response::new(HangUpResponse {}))
    }

    async fn transfer(
        &self,
        request: Request<TransferRequest>,
    ) -> Result<Response<TransferResponse>, Status> {
        let call = &request.get_ref().call_id;
        let actor = self.actor(&request, Action::DirectCall, call).await?;
        let TransferRequest { call_id, to } = request.into_inner();
        let to = Private::new(to);
        self.ask(actor, &call_id, Command::Transfer { to }).await?;
        Ok(Response::new(TransferResponse {}))
    }
}
