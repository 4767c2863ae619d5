//! Time limits: rules as data, and each limit with the steps by which it was computed.

use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

use super::calendar::Calendar;

/// What has to be done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// 签收: the unit takes what was sent to it.
    Take,
    /// 退回: the unit says that it isn't responsible.
    Object,
    /// 办结: it is done and the citizen has an answer.
    Finish,
    /// 回访: the citizen is asked.
    CallBack,
}

/// How long something may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// To the end of the working hours, so many working days later.
    WorkingDays(u32),
    /// Hours of working time.
    WorkingHours(u32),
    /// Hours by the clock, day and night.
    Hours(u32),
}

/// What a limit depends on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// The category, from the general to the particular.
    #[serde(default)]
    pub category: Vec<String>,
    /// 咨询, 求助, 投诉 …
    #[serde(default)]
    pub request_type: String,
    /// 一般, 紧急, 特急.
    #[serde(default)]
    pub urgency: String,
}

/// A rule; of those that fit the first holds, so the particular stand before the general.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// What it is called, for who asks why.
    pub name: String,
    /// Of what.
    pub kind: LimitKind,
    /// How long.
    pub span: Span,
    /// Only for categories that begin like this; empty for all.
    #[serde(default)]
    pub category: Vec<String>,
    /// Only for these; empty for all.
    #[serde(default)]
    pub request_types: Vec<String>,
    /// Only for these; empty for all.
    #[serde(default)]
    pub urgencies: Vec<String>,
    /// Working days before the limit at which the yellow card is shown; 0 shows none.
    #[serde(default)]
    pub yellow_days_before: u32,
    /// Working days after the limit at which the red card is shown; 0 shows none.
    #[serde(default)]
    pub red_days_after: u32,
}

impl Rule {
    fn fits(&self, kind: LimitKind, about: &About) -> bool {
        let any =
            |allowed: &[String], value: &String| allowed.is_empty() || allowed.contains(value);
        self.kind == kind
            && about.category.starts_with(&self.category)
            && any(&self.request_types, &about.request_type)
            && any(&self.urgencies, &about.urgency)
    }
}

/// What happened to a limit after it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// It was prolonged by so many working days.
    Extended(u32),
    /// The work was suspended from then to then.
    Paused(DateTime, DateTime),
}

/// A limit as it was computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limit {
    /// By which rule.
    pub rule: Rule,
    /// Since when it runs.
    pub from: DateTime,
    /// What happened to it since.
    pub steps: Vec<Step>,
    /// When it ends.
    pub due: DateTime,
    /// When the yellow card is shown, where one is.
    pub yellow: Option<DateTime>,
    /// When the red card is shown, where one is.
    pub red: Option<DateTime>,
    /// Years that the calendar did not know.
    pub unknown_years: BTreeSet<i16>,
}

/// All rules of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitRules {
    /// In the order in which they are tried.
    #[serde(default)]
    pub limit: Vec<Rule>,
}

impl LimitRules {
    /// The limit of `kind` that begins at `from`, where there is a rule for it.
    #[must_use]
    pub fn limit(
        &self,
        kind: LimitKind,
        about: &About,
        from: DateTime,
        calendar: &Calendar,
    ) -> Option<Limit> {
        let rule = self.limit.iter().find(|rule| rule.fits(kind, about))?;
        Some(Limit::of(rule.clone(), from, Vec::new(), calendar))
    }
}

impl Limit {
    /// Computes it; the same rule, beginning and steps give the same limit as long as the calendar knows the same.
    #[must_use]
    pub fn of(rule: Rule, from: DateTime, steps: Vec<Step>, calendar: &Calendar) -> Self {
        let more_days: u32 = steps
            .iter()
            .map(|step| match step {
                Step::Extended(days) => *days,
                Step::Paused(since, until) => match rule.span {
                    Span::WorkingDays(_) => days_between(calendar, *since, *until),
                    _ => 0,
                },
            })
            .sum();
        let paused = |lasted: fn(&Calendar, DateTime, DateTime) -> i64| -> i64 {
            let pauses = steps.iter().map(|step| match step {
                Step::Paused(since, until) => lasted(calendar, *since, *until),
                Step::Extended(_) => 0,
            });
            pauses.sum()
        };
        let mut computed = match rule.span {
            Span::WorkingDays(days) => calendar.after_days(from, days + more_days),
            Span::WorkingHours(hours) => {
                let more = paused(Calendar::seconds_between);
                calendar.after_seconds(from, i64::from(hours) * 3_600 + more)
            }
            Span::Hours(hours) => {
                let more = paused(|_, since, until| clock_seconds(since, until));
                let at = from.checked_add((i64::from(hours) * 3_600 + more).seconds());
                super::calendar::Computed {
                    at: at.unwrap_or(from),
                    unknown_years: BTreeSet::new(),
                }
            }
        };
        if more_days > 0 && !matches!(rule.span, Span::WorkingDays(_)) {
            let longer = calendar.after_days(computed.at, more_days);
            computed.at = longer.at;
            computed.unknown_years.extend(longer.unknown_years);
        }
        let due = computed.at;
        let yellow = (rule.yellow_days_before > 0)
            .then(|| calendar.days_before(due, rule.yellow_days_before).max(from));
        let red = (rule.red_days_after > 0).then(|| {
            let red = calendar.after_days(due, rule.red_days_after);
            computed.unknown_years.extend(red.unknown_years);
            red.at
        });
        Self {
            rule,
            from,
            steps,
            due,
            yellow,
            red,
            unknown_years: computed.unknown_years,
        }
    }

    /// The same after one more step.
    #[must_use]
    pub fn after(&self, step: Step, calendar: &Calendar) -> Self {
        let mut steps = self.steps.clone();
        steps.push(step);
        Self::of(self.rule.clone(), self.from, steps, calendar)
    }

    /// The same by what the calendar knows now.
    #[must_use]
    pub fn anew(&self, calendar: &Calendar) -> Self {
        Self::of(self.rule.clone(), self.from, self.steps.clone(), calendar)
    }
}

/// Working days after the one of `since` up to the one of `until`.
fn days_between(calendar: &Calendar, since: DateTime, until: DateTime) -> u32 {
    let (mut day, mut count) = (since.date(), 0);
    while let Ok(next) = day.tomorrow() {
        if next > until.date() {
            break;
        }
        day = next;
        count += u32::from(calendar.is_worked(day));
    }
    count
}

fn clock_seconds(since: DateTime, until: DateTime) -> i64 {
    until.duration_since(since).as_secs().max(0)
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::datetime;

    use super::super::calendar::tests::china;
    use super::LimitKind::{CallBack, Finish, Take};
    use super::*;

    pub fn rules() -> LimitRules {
        toml::from_str(include_str!("../../deploy/examples/yantai/limits.toml")).expect("rules")
    }

    fn about(category: &str, urgency: &str) -> About {
        About {
            category: vec![category.to_owned(), "停水".to_owned()],
            request_type: "投诉".to_owned(),
            urgency: urgency.to_owned(),
        }
    }

    #[test]
    fn the_first_rule_that_fits_holds_and_what_has_none_has_no_limit() {
        let (rules, china) = (rules(), china());
        let from = datetime(2026, 3, 2, 9, 0, 0, 0);
        let due = |kind, category, urgency| {
            let limit = rules.limit(kind, &about(category, urgency), from, &china);
            limit.map(|limit| (limit.rule.name, limit.due))
        };
        let named = |name: &str, due| Some((name.to_owned(), due));
        assert_eq!(
            due(Finish, "市场监管", "一般"),
            named("一般事项", datetime(2026, 3, 9, 17, 30, 0, 0))
        );
        assert_eq!(
            due(Finish, "公用事业", "一般"),
            named("水电气热", datetime(2026, 3, 3, 9, 0, 0, 0))
        );
        assert_eq!(
            due(Finish, "公用事业", "特急"),
            named("特急", datetime(2026, 3, 2, 11, 0, 0, 0))
        );
        assert_eq!(
            due(Take, "市场监管", "一般"),
            named("签收", datetime(2026, 3, 2, 14, 30, 0, 0))
        );
        assert_eq!(due(CallBack, "市场监管", "一般"), None);
    }

    #[test]
    fn cards_stand_a_working_day_before_and_after_whatever_lies_between() {
        let china = china();
        let limit = rules().limit(
            LimitKind::Finish,
            &about("市场监管", "一般"),
            datetime(2026, 2, 9, 9, 0, 0, 0),
            &china,
        );
        let limit = limit.expect("a limit");
        assert_eq!(
            limit.due,
            datetime(2026, 2, 14, 17, 30, 0, 0),
            "the worked Saturday"
        );
        assert_eq!(limit.yellow, Some(datetime(2026, 2, 13, 17, 30, 0, 0)));
        assert_eq!(limit.red, Some(datetime(2026, 2, 24, 17, 30, 0, 0)));
    }

    #[test]
    fn a_pause_moves_a_limit_by_the_time_that_it_measures_and_an_extension_by_working_days() {
        let china = china();
        let limit = |kind, category, urgency| {
            let from = datetime(2026, 3, 2, 9, 0, 0, 0);
            let limit = rules().limit(kind, &about(category, urgency), from, &china);
            limit.expect("a limit")
        };
        // From Tuesday to the next Monday: four working days.
        let pause = Step::Paused(
            datetime(2026, 3, 3, 10, 0, 0, 0),
            datetime(2026, 3, 9, 10, 0, 0, 0),
        );
        let paused = limit(LimitKind::Finish, "市场监管", "一般").after(pause, &china);
        assert_eq!(paused.due, datetime(2026, 3, 13, 17, 30, 0, 0));
        let by_the_clock = limit(LimitKind::Finish, "公用事业", "一般").after(pause, &china);
        assert_eq!(by_the_clock.due, datetime(2026, 3, 9, 9, 0, 0, 0));
        let extended = paused.after(Step::Extended(10), &china);
        assert_eq!(extended.due, datetime(2026, 3, 27, 17, 30, 0, 0));
        assert_eq!(extended.steps.len(), 2);
        assert_eq!(
            extended.anew(&china),
            extended,
            "computed again it is the same"
        );
    }

    #[test]
    fn a_limit_over_a_year_that_becomes_known_is_computed_anew() {
        use jiff::civil::time;
        let hours = [(time(8, 30, 0, 0), time(17, 30, 0, 0))];
        let now = china();
        let from = datetime(2026, 12, 30, 9, 0, 0, 0);
        let limit = rules().limit(LimitKind::Finish, &about("市场监管", "一般"), from, &now);
        let limit = limit.expect("a limit");
        assert_eq!(limit.unknown_years, BTreeSet::from([2027]));
        assert_eq!(limit.due.date().to_string(), "2027-01-06");
        let later = "[2026]\nholidays=[]\nworked=[]\n[2027]\nholidays=[\"01-01/01-03\"]\nworked=[]";
        let later = Calendar::read(later, &hours).expect("a calendar");
        let anew = limit.anew(&later);
        assert!(anew.unknown_years.is_empty());
        assert_eq!(anew.due.date().to_string(), "2027-01-07");
    }
}
