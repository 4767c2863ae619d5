//! Who may do what in which stage, as one table.

use serde::{Deserialize, Serialize};

use super::command::CommandKind;
use super::order::Stage;

/// What somebody is to a work order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capacity {
    /// 话务员.
    Operator,
    /// 派单员.
    Dispatcher,
    /// 承办单位.
    Unit,
    /// 回访员, and a citizen who answers by a link.
    CallBack,
    /// 督办员, the lead of the hall.
    Supervisor,
    /// The backend itself.
    System,
}

impl Capacity {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Operator,
        Self::Dispatcher,
        Self::Unit,
        Self::CallBack,
        Self::Supervisor,
        Self::System,
    ];
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// As they are signed in.
    pub name: String,
    /// As what they act.
    pub capacity: Capacity,
    /// For which unit; only of [`Capacity::Unit`].
    #[serde(default)]
    pub unit: String,
}

use Capacity::{CallBack, Dispatcher, Operator, Supervisor, System, Unit};
use CommandKind as K;
use Stage as S;

const OPEN: &[Stage] = &[
    S::Received,
    S::ToDispatch,
    S::Dispatched,
    S::Handling,
    S::Objected,
    S::Replied,
    S::Finished,
    S::Rated,
];
const BEFORE_FINISHED: &[Stage] = &[
    S::Received,
    S::ToDispatch,
    S::Dispatched,
    S::Handling,
    S::Objected,
    S::Replied,
];
const WITH_UNITS: &[Stage] = &[S::Dispatched, S::Handling, S::Objected, S::Replied];
const HALL: &[Capacity] = &[Operator, Dispatcher, Supervisor];

/// A row: a command, the stages in which it may be given, and who may give it.
const TABLE: &[(CommandKind, &[Stage], &[Capacity])] = &[
    (K::AnswerDirectly, &[S::Received], &[Operator, Dispatcher]),
    (
        K::HandOver,
        &[S::Received, S::ToDispatch],
        &[Operator, Dispatcher],
    ),
    (
        K::Decline,
        &[S::Received, S::ToDispatch],
        &[Operator, Dispatcher],
    ),
    (K::Accept, &[S::Received], &[Operator, Dispatcher]),
    (K::Dispatch, &[S::ToDispatch], &[Dispatcher, System]),
    (K::Take, &[S::Dispatched, S::Handling], &[Unit]),
    (K::Object, &[S::Dispatched, S::Handling], &[Unit]),
    (K::Rule, &[S::Objected], &[Dispatcher, Supervisor]),
    (K::ReplyPart, &[S::Handling], &[Unit]),
    (K::Reply, &[S::Handling], &[Unit]),
    (K::Approve, &[S::Replied], &[Dispatcher, Supervisor]),
    (K::SendBack, &[S::Replied], &[Dispatcher, Supervisor]),
    (K::TryCallBack, &[S::Finished], &[CallBack, Operator]),
    (K::Rate, &[S::Finished], &[CallBack, Operator]),
    (K::File, &[S::Rated], &[Dispatcher, CallBack, System]),
    (K::Reopen, &[S::Filed], &[Dispatcher, Supervisor]),
    (K::AskExtension, &[S::Dispatched, S::Handling], &[Unit]),
    (K::DecideExtension, WITH_UNITS, &[Dispatcher, Supervisor]),
    (
        K::Suspend,
        &[S::Dispatched, S::Handling],
        &[Dispatcher, Supervisor],
    ),
    (
        K::Resume,
        &[S::Dispatched, S::Handling],
        &[Dispatcher, Supervisor, System],
    ),
    (K::Supervise, OPEN, &[Supervisor, System]),
    (K::EndSupervision, OPEN, &[Supervisor]),
    (
        K::Merge,
        &[S::Received, S::ToDispatch, S::Dispatched],
        &[Operator, Dispatcher],
    ),
    (
        K::Separate,
        &[S::Received, S::ToDispatch, S::Dispatched, S::Finished],
        &[Dispatcher],
    ),
    (K::Adopt, BEFORE_FINISHED, &[Operator, Dispatcher]),
    (
        K::Release,
        &Stage::ALL,
        &[Operator, Dispatcher, CallBack, Supervisor],
    ),
    (
        K::FinishWithParent,
        &[S::Received, S::ToDispatch, S::Dispatched],
        &[Dispatcher, Supervisor],
    ),
    (K::Urge, OPEN, HALL),
    (
        K::Attach,
        OPEN,
        &[Operator, Dispatcher, Unit, CallBack, Supervisor],
    ),
    (K::SetConfidential, OPEN, HALL),
    (
        K::Note,
        &Stage::ALL,
        &[Operator, Dispatcher, Unit, CallBack, Supervisor],
    ),
    (K::ShowCard, WITH_UNITS, &[System]),
    (K::RecomputeLimits, OPEN, &[System]),
];

/// Whether `capacity` may give a command of `kind` in `stage`. What else must hold, the decider knows.
#[must_use]
pub fn may(kind: CommandKind, stage: Stage, capacity: Capacity) -> bool {
    row(kind).is_some_and(|(stages, who)| stages.contains(&stage) && who.contains(&capacity))
}

/// The stages in which a command may be given at all, and by whom.
pub(super) fn row(kind: CommandKind) -> Option<(&'static [Stage], &'static [Capacity])> {
    let found = TABLE.iter().find(|(of, ..)| *of == kind);
    found.map(|(_, stages, who)| (*stages, *who))
}
