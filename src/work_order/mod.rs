//! The closed loop of a work order (工单), as a pure decider: a command and what happened so far give what happens, or a
//! refusal ([`decide`]); what happened gives the state ([`WorkOrder::of`]). The clock, the calendar and the rules are
//! parameters; nothing is read or written here.
//!
//! ```text
//!  Received ──answer──► Filed (answered on the call: three quarters of all)
//!     │ ├────hand over─► Filed (emergency line, utility)
//!     │ └────decline───► Filed (not accepted, with where to go)
//!     │ accept
//!     ▼
//!  ToDispatch ─dispatch─► Dispatched ─take─► Handling ─reply─► Replied ─approve─► Finished ─rate─► Rated ─file─► Filed
//!                           ▲  │               │  ▲ ▲             │                  │                              │
//!                           │  └──object───────┘  │ └──send back──┘                  │ dissatisfied: again, then     │
//!                           │        ▼            │                                  │ raised, with supervision      │
//!                           └─rule─ Objected ─────┘ (refused)   Dispatched ◄─────────┘                               │
//!  ToDispatch ◄──────────────────────────────── reopen ──────────────────────────────────────────────────────────────┘
//! ```
//! Beside it, never states: supervision, extension, suspension, merging under a parent, urging, attachments, confidentiality.

pub mod calendar;
pub mod command;
pub mod decide;
pub mod limit;
mod order;
mod permission;
pub mod score;
#[cfg(test)]
mod tests;

pub use calendar::Calendar;
pub use command::{
    Attachment, Card, Command, CommandKind, Event, Parties, Rating, Refusal, Ruling,
};
pub use decide::{Policy, World, decide, followers};
pub use limit::{About, Limit, LimitKind, LimitRules};
pub use order::{Caller, Happened, Outcome, Part, Stage, WorkOrder, number};
pub use permission::{Actor, Capacity, may};
pub use score::{Score, Scores};
