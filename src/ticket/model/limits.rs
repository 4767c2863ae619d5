//! How long a ticket may take.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A time from the call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// By the clock, also at night.
    Hours(u16),
    /// Working days, of which the ticketing system knows the calendar.
    WorkingDays(u16),
}

impl Span {
    /// For comparing two: a working day is over after a day at the earliest.
    pub(in crate::ticket) const fn hours(self) -> u32 {
        match self {
            Self::Hours(hours) => hours as u32,
            Self::WorkingDays(days) => days as u32 * 24,
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours(hours) => write!(f, "{hours} 小时"),
            Self::WorkingDays(days) => write!(f, "{days} 个工作日"),
        }
    }
}

/// A ticket's time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// 受理: whoever handles it has taken it.
    pub accept: Span,
    /// 答复: the citizen has heard from them.
    pub reply: Span,
    /// 办结: it is done.
    pub finish: Span,
}
