//! The locks of the edge.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The data behind the locks here is whole after every statement, so a panic elsewhere does not spoil it.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
