//! The one way to reach a running call: typed commands, each with its actor and an answer.
//!
//! ```text
//! page, gRPC ─► CallControl::ask ──Order──► the call's Orders ─► Call::command
//!      ▲                                                              │
//!      └───────────────── accepted, or a Refusal ◄────────────────────┘
//! ```
//! What is accepted is handed to the audit at once, on the way back.
//!
//! The call decides, on the thread that carries it; who asks waits for its answer, at most [`PATIENCE`]. A call that
//! ends meanwhile has not been running. To answer, to hold and to listen in
//! will be further [`Command`]s.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | orders to a call | [`MOST_ORDERS`] | [`Refusal::Busy`] |

mod verdict;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};

pub use crate::call::{Command, Refusal};
use crate::speech::CallId;
pub use crate::transcript::Actor;
pub use verdict::Verdict;

/// What may be asked of a call before it has answered: more than people do at once.
const MOST_ORDERS: usize = 32;

/// How long a call may take to answer. It takes microseconds, unless its thread is stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// A command on its way to its call.
struct Order {
    actor: Actor,
    command: Command,
    answer: oneshot::Sender<Result<(), Refusal>>,
}

/// A command that a call has accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// When.
    pub at: SystemTime,
    /// Which call.
    pub call: CallId,
    /// Whose it was.
    pub actor: Actor,
    /// What.
    pub command: Command,
}

/// Takes what is accepted; it never waits.
type Audit = Arc<dyn Fn(Accepted) + Send + Sync>;

/// The ways to all running calls, one each; clones share them.
#[derive(Clone)]
pub struct CallControl {
    calls: Arc<Mutex<HashMap<CallId, mpsc::Sender<Order>>>>,
    audit: Audit,
}

impl Default for CallControl {
    /// Nobody keeps what is accepted.
    fn default() -> Self {
        Self::audited(|_| {})
    }
}

impl fmt::Debug for CallControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallControl").finish_non_exhaustive()
    }
}

impl CallControl {
    /// `audit` takes what calls accept, on the threads that carry them, so it must not wait.
    pub fn audited(audit: impl Fn(Accepted) + Send + Sync + 'static) -> Self {
        Self {
            calls: Arc::default(),
            audit: Arc::new(audit),
        }
    }

    /// Has `call` do what `actor` wants.
    ///
    /// # Errors
    /// [`Refusal`]; nothing was done then.
    pub async fn ask(&self, call: &CallId, actor: Actor, command: Command) -> Result<(), Refusal> {
        self.ask_within(PATIENCE, call, actor, command).await
    }

    async fn ask_within(
        &self,
        patience: Duration,
        call: &CallId,
        actor: Actor,
        command: Command,
    ) -> Result<(), Refusal> {
        let orders = self.lock().get(call).cloned().ok_or(Refusal::NotRunning)?;
        let (answer, answered) = oneshot::channel();
        let order = Order {
            actor,
            command,
            answer,
        };
        orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Refusal::Busy,
            mpsc::error::TrySendError::Closed(_) => Refusal::NotRunning,
        })?;
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(answer)) => answer,
            // It has ended, and its orders with it.
            Ok(Err(_)) => Err(Refusal::NotRunning),
            Err(_) => Err(Refusal::NoAnswer),
        }
    }

    /// Lets `call` be reached until what is returned is dropped.
    #[must_use]
    pub fn open(&self, call: CallId) -> Orders {
        let (sender, waiting) = mpsc::channel(MOST_ORDERS);
        self.lock().insert(call.clone(), sender);
        Orders {
            call,
            waiting,
            control: self.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, mpsc::Sender<Order>>> {
        // Nothing panics under the lock.
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is asked of one running call.
pub struct Orders {
    call: CallId,
    waiting: mpsc::Receiver<Order>,
    control: CallControl,
}

impl Orders {
    /// Has what is waiting done by `call`; `context` is woken when there is more.
    pub fn carry_out(
        &mut self,
        context: &mut Context<'_>,
        mut call: impl FnMut(&Actor, Command) -> Result<(), Refusal>,
    ) {
        while let Poll::Ready(Some(order)) = self.waiting.poll_recv(context) {
            let Order {
                actor,
                command,
                answer,
            } = order;
            // Who has been told that nothing was done must not be surprised.
            if answer.is_closed() {
                continue;
            }
            let done = call(&actor, command.clone());
            if done.is_ok() {
                (self.control.audit)(Accepted {
                    at: SystemTime::now(),
                    call: self.call.clone(),
                    actor,
                    command,
                });
            }
            let _ = answer.send(done);
        }
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.control.lock().remove(&self.call);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ticket::{FieldName, FieldValue};

    /// A task that answers what is asked of `call`, until it is aborted.
    pub fn answering(
        control: &CallControl,
        call: &str,
        mut answer: impl FnMut(&Actor, Command) -> Result<(), Refusal> + Send + 'static,
    ) -> tokio::task::JoinHandle<()> {
        let mut orders = control.open(CallId::new(call));
        tokio::spawn(std::future::poll_fn(move |context| {
            orders.carry_out(context, &mut answer);
            Poll::Pending
        }))
    }

    fn edit() -> Command {
        Command::Edit {
            name: FieldName::Address,
            value: Some(FieldValue::Text("南大街1号".into())),
        }
    }

    #[tokio::test]
    async fn a_command_reaches_its_call_with_its_actor_and_the_calls_answer_comes_back() {
        let (sender, audited) = std::sync::mpsc::sync_channel(4);
        let control = CallControl::audited(move |accepted| {
            let _ = sender.try_send(accepted);
        });
        let call = CallId::new("a");
        let actor = Actor::Service {
            service: "crm".to_owned(),
        };
        assert_eq!(
            control.ask(&call, actor.clone(), edit()).await,
            Err(Refusal::NotRunning)
        );
        let asked = actor.clone();
        let running = answering(&control, "a", move |actor, command| {
            assert_eq!(*actor, asked);
            match command {
                Command::HangUp => Err(Refusal::NoSuchChange),
                command => {
                    assert_eq!(command, edit());
                    Ok(())
                }
            }
        });
        assert_eq!(control.ask(&call, actor.clone(), edit()).await, Ok(()));
        assert_eq!(
            control.ask(&call, actor.clone(), Command::HangUp).await,
            Err(Refusal::NoSuchChange)
        );
        let accepted = audited.try_recv().expect("what is accepted is kept");
        assert_eq!((&accepted.call, &accepted.actor), (&call, &actor));
        assert_eq!(accepted.command, edit());
        assert!(audited.try_recv().is_err(), "and nothing else");
        let other = control.ask(&CallId::new("b"), actor.clone(), edit()).await;
        assert_eq!(other, Err(Refusal::NotRunning));
        running.abort();
        let _ = running.await;
        assert_eq!(
            control.ask(&call, actor, edit()).await,
            Err(Refusal::NotRunning)
        );
    }

    #[tokio::test]
    async fn a_call_that_takes_nothing_is_busy_then_silent_and_one_that_ends_has_not_been_running()
    {
        let (control, call) = (CallControl::default(), CallId::new("a"));
        let mut orders = control.open(call.clone());
        let ask = |control: &CallControl| {
            let (control, call) = (control.clone(), call.clone());
            let patience = Duration::from_millis(100);
            tokio::spawn(async move {
                let asked = control.ask_within(patience, &call, Actor::System, edit());
                asked.await
            })
        };
        let asked: Vec<_> = (0..MOST_ORDERS).map(|_| ask(&control)).collect();
        tokio::task::yield_now().await;
        assert_eq!(
            control.ask(&call, Actor::System, edit()).await,
            Err(Refusal::Busy)
        );
        for asked in asked {
            assert_eq!(asked.await.expect("asked"), Err(Refusal::NoAnswer));
        }
        let mut done = 0;
        orders.carry_out(
            &mut Context::from_waker(std::task::Waker::noop()),
            |_, _| {
                done += 1;
                Ok(())
            },
        );
        assert_eq!(done, 0, "who asked has been told that nothing was done");
        let asked = ask(&control);
        tokio::task::yield_now().await;
        drop(orders);
        assert_eq!(asked.await.expect("asked"), Err(Refusal::NotRunning));
    }
}
