//! How an operator's hand reaches a running call: each call says where its edits go, for as long as it runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::speech::CallId;
use crate::ticket::advice::Advice;
use crate::ticket::{FieldName, FieldValue};
use crate::transcript::revise::Revision;

/// What an operator does by hand.
#[derive(Clone, Debug, PartialEq)]
pub enum Deed {
    /// Writes into the draft.
    Write(Advice),
    /// Takes a change of a line back, or lets it stand again.
    Revise(Revision),
}

/// Where a call takes what is done by hand; it never waits.
type Take = Arc<dyn Fn(Deed) + Send + Sync>;

/// The running calls' hands; clones share them. As many entries as calls run.
#[derive(Clone, Default)]
pub struct Hands(Arc<Mutex<HashMap<CallId, Take>>>);

/// Why an edit was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditError {
    /// The call is not running, so its draft stands as it was handed over.
    NotRunning,
    /// The value does not fit the field.
    Unfit(&'static str),
    /// No final line of the call has such a change.
    NoSuchChange,
}

impl std::fmt::Display for EditError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning => f.write_str(
                "the call is not running here; correct the ticket in the ticketing system",
            ),
            Self::NoSuchChange => f.write_str(
                "no final line of the call has such a change; name one of those that came with it",
            ),
            Self::Unfit(what) => write!(f, "the value does not fit: {what}"),
        }
    }
}

impl std::error::Error for EditError {}

impl Hands {
    fn lock(&self) -> MutexGuard<'_, HashMap<CallId, Take>> {
        // Nothing panics under the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on, `take` gets what is done by hand in `call`.
    pub fn lend(&self, call: CallId, take: impl Fn(Deed) + Send + Sync + 'static) {
        self.lock().insert(call, Arc::new(take));
    }

    /// The call is over.
    pub fn withdraw(&self, call: &CallId) {
        self.lock().remove(call);
    }

    /// Writes `value` into a field of a running call's draft; `None` gives the field back to what is said.
    ///
    /// # Errors
    /// [`EditError`] when the call is not running or the value does not fit the field.
    pub fn write(
        &self,
        call: &CallId,
        name: FieldName,
        value: Option<FieldValue>,
    ) -> Result<(), EditError> {
        let value = value
            .map(|value| name.holds(value))
            .transpose()
            .map_err(EditError::Unfit)?;
        self.give(call, Deed::Write(Advice::Edited(name, value)))
    }

    /// Hands a deed to its call.
    pub(super) fn give(&self, call: &CallId, deed: Deed) -> Result<(), EditError> {
        let take = self.lock().get(call).cloned();
        take.ok_or(EditError::NotRunning)?(deed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[test]
    fn an_edit_reaches_its_call_while_that_runs_and_only_in_the_fields_own_shape() {
        let (hands, call) = (Hands::default(), CallId::new("a"));
        let (sender, taken) = sync_channel(4);
        hands.lend(call.clone(), move |deed| {
            let _ = sender.try_send(deed);
        });
        let text = |text: &str| Some(FieldValue::Text(text.into()));
        hands
            .write(&call, FieldName::Urgency, text(" 紧急 "))
            .expect("fits");
        assert_eq!(
            taken.try_recv(),
            Ok(Deed::Write(Advice::Edited(
                FieldName::Urgency,
                text("紧急")
            )))
        );
        for (name, value) in [
            (FieldName::Urgency, text("马上")),
            (FieldName::AmountYuan, text("860")),
            (FieldName::AmountYuan, Some(FieldValue::Number(-1.0))),
            (
                FieldName::Category,
                Some(FieldValue::List(vec!["一".into()])),
            ),
            (FieldName::Confidential, text("是")),
            (FieldName::Address, Some(FieldValue::Flag(true))),
        ] {
            let refused = hands.write(&call, name, value);
            assert!(matches!(refused, Err(EditError::Unfit(_))), "{name:?}");
        }
        hands.withdraw(&call);
        assert_eq!(
            hands.write(&call, FieldName::Address, None),
            Err(EditError::NotRunning)
        );
        assert!(taken.try_recv().is_err());
    }
}
