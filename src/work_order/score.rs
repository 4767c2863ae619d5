//! How units did, from what happened: recomputable to the digit, because it is made of the histories alone.
//!
//! A work order counts in the month in which it was rated or filed last. The rates are counts over counts; the score is a
//! weighted sum of them, with the weights as data. Few cases say little: each rate has its interval (Wilson, 95 %).

use std::collections::BTreeMap;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::command::{Event, Ruling};
use super::limit::LimitKind;
use super::order::{Happened, WorkOrder};

/// What weighs how much, in thousandths of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Formula {
    /// 按时办结.
    pub on_time: u32,
    /// 解决.
    pub solved: u32,
    /// 满意.
    pub satisfied: u32,
    /// Not sent back by the hall.
    pub accepted: u32,
}

impl Default for Formula {
    fn default() -> Self {
        Self {
            on_time: 300,
            solved: 300,
            satisfied: 300,
            accepted: 100,
        }
    }
}

/// A unit in a month.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month {
    /// Which unit.
    pub unit: String,
    /// The year.
    pub year: i16,
    /// 1 to 12.
    pub month: i8,
}

/// Cases out of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// That are so.
    pub cases: u32,
    /// Of which it is known.
    pub of: u32,
}

impl Rate {
    fn count(&mut self, is_so: bool) {
        self.of += 1;
        self.cases += u32::from(is_so);
    }

    /// 0.0 to 1.0; `None` without a case.
    #[must_use]
    pub fn share(self) -> Option<f64> {
        (self.of > 0).then(|| f64::from(self.cases) / f64::from(self.of))
    }

    /// Within which it lies with 95 % (Wilson 1927); `None` without a case.
    #[must_use]
    pub fn interval(self) -> Option<(f64, f64)> {
        const Z: f64 = 1.959_964;
        let share = self.share()?;
        let of = f64::from(self.of);
        let spread = Z * Z / of;
        let middle = (share + spread / 2.0) / (1.0 + spread);
        let half = Z * (share * (1.0 - share) / of + spread / (4.0 * of)).sqrt() / (1.0 + spread);
        Some(((middle - half).max(0.0), (middle + half).min(1.0)))
    }
}

/// How a unit did in a month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Score {
    /// Work orders that it led to their end.
    pub led: u32,
    /// Finished before the limit.
    pub on_time: Rate,
    /// Solved, as the citizens say.
    pub solved: Rate,
    /// Satisfied citizens.
    pub satisfied: Rate,
    /// Answers that the hall did not send back.
    pub accepted: Rate,
    /// Objections.
    pub objected: u32,
    /// Of which others were found responsible.
    pub objected_rightly: u32,
    /// Left out, with a reason and an approver, elsewhere in the records.
    pub excluded: u32,
}

impl Score {
    /// Points of a hundred by `formula`, over the rates of which there are cases; `None` without any.
    #[must_use]
    pub fn points(&self, formula: &Formula) -> Option<f64> {
        let parts = [
            (self.on_time, formula.on_time),
            (self.solved, formula.solved),
            (self.satisfied, formula.satisfied),
            (self.accepted, formula.accepted),
        ];
        let known = parts
            .iter()
            .filter_map(|(rate, weight)| Some((rate.share()?, f64::from(*weight))));
        let (sum, weights) = known.fold((0.0, 0.0), |(sum, weights), (share, weight)| {
            (sum + share * weight, weights + weight)
        });
        (weights > 0.0).then(|| 100.0 * sum / weights)
    }
}

/// All units in all months.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scores(pub BTreeMap<Month, Score>);

impl Scores {
    /// Counts a work order from its history; `excluded` ones are counted as such only.
    pub fn count(&mut self, new: WorkOrder, history: &[Happened], excluded: bool) {
        let mut order = new;
        let (mut finished, mut due, mut sent_back) = (None, None, 0_u32);
        for happened in history {
            match &happened.event {
                Event::Objected { unit, .. } => {
                    self.of(unit, happened.at).objected += 1;
                }
                Event::Ruled { ruling, .. } => {
                    let by = order.objecting.as_ref().map(|(unit, _)| unit.clone());
                    if let (Ruling::Elsewhere(_), Some(unit)) = (ruling, by) {
                        self.of(&unit, happened.at).objected_rightly += 1;
                    }
                }
                Event::SentBack { .. } => sent_back += 1,
                Event::Approved => {
                    finished = Some(happened.at);
                    due = order.limits.get(&LimitKind::Finish).map(|limit| limit.due);
                }
                Event::Rated { rating } => {
                    if let Some(lead) = lead(&order)
                        && !excluded
                    {
                        let score = self.of(&lead, happened.at);
                        score.solved.count(rating.solved);
                        score.satisfied.count(rating.satisfied);
                    }
                }
                _ => {}
            }
            let is_over = matches!(happened.event, Event::Rated { .. } | Event::LeftUnrated);
            order.evolve(happened);
            if is_over && let (Some(lead), Some(at)) = (lead(&order), finished.take()) {
                let score = self.of(&lead, happened.at);
                if excluded {
                    score.excluded += 1;
                } else {
                    score.led += 1;
                    if let Some(due) = due.take() {
                        score.on_time.count(at <= due);
                    }
                    score.accepted.count(sent_back == 0);
                }
                sent_back = 0;
            }
        }
    }

    fn of(&mut self, unit: &str, at: DateTime) -> &mut Score {
        let month = Month {
            unit: unit.to_owned(),
            year: at.year(),
            month: at.month(),
        };
        self.0.entry(month).or_default()
    }
}

fn lead(order: &WorkOrder) -> Option<String> {
    order.parties.as_ref().map(|parties| parties.lead.clone())
}
