//! Working days and working hours: the week, and the days on which a country works otherwise.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::civil::{Date, DateTime, Time, Weekday};
use serde::Deserialize;

/// Days that are looked through for a working day; no calendar closes for so long.
const LONGEST_CLOSED: usize = 400;

/// Which days and hours are worked.
#[derive(Clone, Debug)]
pub struct Calendar {
    years: BTreeMap<i16, Year>,
    /// The hours of a working day, in order and apart.
    hours: Vec<(Time, Time)>,
}

/// What is otherwise in a year.
#[derive(Clone, Debug, Default)]
struct Year {
    holidays: BTreeSet<Date>,
    /// Days of a weekend that are worked.
    worked: BTreeSet<Date>,
}

/// A year as it stands in the data: `"05-01/05-05"` or `"05-09"`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    holidays: Vec<String>,
    worked: Vec<String>,
}

/// Why a calendar cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadCalendar {
    /// It is no TOML of years.
    Unreadable {
        /// The parser's words.
        why: String,
    },
    /// A year or a day is none.
    Day {
        /// In which year.
        year: String,
        /// What stands there.
        day: String,
    },
    /// The hours are not in order, or none.
    Hours,
}

impl fmt::Display for BadCalendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { why } => write!(
                f,
                "the calendar is no TOML of years with holidays and worked days: {why}"
            ),
            Self::Day { year, day } => write!(
                f,
                "'{day}' of the calendar's year {year} is no day; write e.g. \"05-09\" or \"05-01/05-05\""
            ),
            Self::Hours => f.write_str(
                "the working hours are not in order; write e.g. 08:30-12:00 and 13:30-17:30",
            ),
        }
    }
}

impl std::error::Error for BadCalendar {}

/// A moment that was computed, and the years of which the calendar knew nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Computed {
    /// When.
    pub at: DateTime,
    /// Years on the way that were taken for ordinary weeks: it has to be computed anew when they are known.
    pub unknown_years: BTreeSet<i16>,
}

impl Calendar {
    /// Of a TOML table of years, with the `hours` of a working day.
    ///
    /// # Errors
    /// [`BadCalendar`].
    pub fn read(text: &str, hours: &[(Time, Time)]) -> Result<Self, BadCalendar> {
        let written: BTreeMap<String, Written> =
            toml::from_str(text).map_err(|error| BadCalendar::Unreadable {
                why: error.message().to_owned(),
            })?;
        let mut years = BTreeMap::new();
        for (name, written) in written {
            let bad = |day: &str| BadCalendar::Day {
                year: name.clone(),
                day: day.to_owned(),
            };
            let year: i16 = name.parse().map_err(|_| bad(&name))?;
            let days = |ranges: &[String]| -> Result<BTreeSet<Date>, BadCalendar> {
                let mut days = BTreeSet::new();
                for range in ranges {
                    let (first, last) = range.split_once('/').unwrap_or((range, range));
                    let (first, last) = (day_of(year, first), day_of(year, last));
                    let (Some(mut day), Some(last)) = (first, last) else {
                        return Err(bad(range));
                    };
                    if day > last {
                        return Err(bad(range));
                    }
                    while day <= last {
                        days.insert(day);
                        day = next(day);
                    }
                }
                Ok(days)
            };
            let year_of = Year {
                holidays: days(&written.holidays)?,
                worked: days(&written.worked)?,
            };
            years.insert(year, year_of);
        }
        let mut edges = hours.iter().flat_map(|(from, to)| [from, to]);
        let is_ordered = !hours.is_empty()
            && edges
                .clone()
                .zip(edges.by_ref().skip(1))
                .all(|(one, other)| one < other);
        if !is_ordered {
            return Err(BadCalendar::Hours);
        }
        Ok(Self {
            years,
            hours: hours.to_vec(),
        })
    }

    /// Whether a day is worked.
    #[must_use]
    pub fn is_worked(&self, day: Date) -> bool {
        let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        match self.years.get(&day.year()) {
            Some(year) => {
                year.worked.contains(&day) || (!is_weekend && !year.holidays.contains(&day))
            }
            None => !is_weekend,
        }
    }

    /// Whether the notice for a year is in the data.
    #[must_use]
    pub fn knows(&self, year: i16) -> bool {
        self.years.contains_key(&year)
    }

    /// The end of the working hours `days` working days after the day of `from`, which is not counted itself.
    #[must_use]
    pub fn after_days(&self, from: DateTime, days: u32) -> Computed {
        let mut walk = Walk::from(self, from.date());
        let mut left = days;
        while left > 0 && walk.next() {
            left -= 1;
        }
        let (_, end) = self.hours[self.hours.len() - 1];
        // No days at all: the end of the same day, or of the next that is worked.
        if days == 0 && !self.is_worked(from.date()) {
            walk.next();
        }
        walk.done(end)
    }

    /// `days` working days before the day of `until`, at the same time of day.
    #[must_use]
    pub fn days_before(&self, until: DateTime, days: u32) -> DateTime {
        let mut day = until.date();
        let mut left = days;
        for _ in 0..LONGEST_CLOSED {
            if left == 0 {
                break;
            }
            day = previous(day);
            left -= u32::from(self.is_worked(day));
        }
        day.to_datetime(until.time())
    }

    /// When so many seconds of working hours have passed since `from`.
    #[must_use]
    pub fn after_seconds(&self, from: DateTime, seconds: i64) -> Computed {
        let mut walk = Walk::from(self, from.date());
        let mut left = seconds.max(0);
        let mut at = from.time();
        if !self.is_worked(walk.day) {
            walk.next();
            at = Time::midnight();
        }
        loop {
            for (begins, ends) in &self.hours {
                let begins = (*begins).max(at);
                if begins >= *ends {
                    continue;
                }
                let there = seconds_between(begins, *ends);
                if left <= there {
                    let time = begins.checked_add(jiff::SignedDuration::from_secs(left));
                    return walk.done(time.unwrap_or(*ends));
                }
                left -= there;
            }
            if !walk.next() {
                return walk.done(Time::midnight());
            }
            at = Time::midnight();
        }
    }

    /// How many seconds of working hours are between two moments; 0 where the second is not later.
    #[must_use]
    pub fn seconds_between(&self, from: DateTime, to: DateTime) -> i64 {
        let (mut day, mut sum) = (from.date(), 0);
        while day <= to.date() {
            if self.is_worked(day) {
                for (begins, ends) in &self.hours {
                    let begins = if day == from.date() {
                        (*begins).max(from.time())
                    } else {
                        *begins
                    };
                    let ends = if day == to.date() {
                        (*ends).min(to.time())
                    } else {
                        *ends
                    };
                    sum += seconds_between(begins, ends).max(0);
                }
            }
            match day.tomorrow() {
                Ok(next) => day = next,
                Err(_) => break,
            }
        }
        sum
    }
}

/// Goes from working day to working day, and notes what was not known.
struct Walk<'c> {
    calendar: &'c Calendar,
    day: Date,
    unknown_years: BTreeSet<i16>,
}

impl<'c> Walk<'c> {
    fn from(calendar: &'c Calendar, day: Date) -> Self {
        let mut walk = Self {
            calendar,
            day,
            unknown_years: BTreeSet::new(),
        };
        walk.note();
        walk
    }

    fn note(&mut self) {
        if !self.calendar.knows(self.day.year()) {
            self.unknown_years.insert(self.day.year());
        }
    }

    /// Goes to the next working day; `false` at the end of time.
    fn next(&mut self) -> bool {
        for _ in 0..LONGEST_CLOSED {
            let Ok(next) = self.day.tomorrow() else {
                return false;
            };
            self.day = next;
            self.note();
            if self.calendar.is_worked(next) {
                return true;
            }
        }
        false
    }

    fn done(self, time: Time) -> Computed {
        Computed {
            at: self.day.to_datetime(time),
            unknown_years: self.unknown_years,
        }
    }
}

fn day_of(year: i16, text: &str) -> Option<Date> {
    let (month, day) = text.split_once('-')?;
    Date::new(year, month.parse().ok()?, day.parse().ok()?).ok()
}

fn next(day: Date) -> Date {
    day.tomorrow().unwrap_or(day)
}

fn previous(day: Date) -> Date {
    day.yesterday().unwrap_or(day)
}

fn seconds_between(from: Time, to: Time) -> i64 {
    let second = |time: Time| {
        i64::from(time.hour()) * 3_600 + i64::from(time.minute()) * 60 + i64::from(time.second())
    };
    second(to) - second(from)
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::civil::{date, datetime, time};

    use super::*;

    /// China's, with the hours of its offices.
    pub fn china() -> Calendar {
        let hours = [
            (time(8, 30, 0, 0), time(12, 0, 0, 0)),
            (time(13, 30, 0, 0), time(17, 30, 0, 0)),
        ];
        Calendar::read(include_str!("../../deploy/calendars/china.toml"), &hours)
            .expect("a calendar")
    }

    #[test]
    fn holidays_and_the_weekend_days_worked_for_them_are_as_the_notices_say() {
        let china = china();
        for (day, worked) in [
            (date(2026, 2, 14), true), // A Saturday before the Spring Festival.
            (date(2026, 2, 16), false),
            (date(2026, 2, 24), true),
            (date(2025, 10, 8), false),
            (date(2025, 10, 11), true),
            (date(2004, 5, 3), false),
            (date(2026, 3, 7), false),
            (date(2026, 3, 9), true),
            (date(2027, 1, 1), true), // Nobody knows yet.
            (date(2027, 1, 2), false),
        ] {
            assert_eq!(china.is_worked(day), worked, "{day}");
        }
        assert!(china.knows(2004) && china.knows(2026) && !china.knows(2027));
    }

    #[test]
    fn working_days_are_counted_from_the_next_day_and_end_with_the_hours() {
        let china = china();
        for (from, days, at) in [
            // A Monday.
            (
                datetime(2026, 3, 2, 9, 0, 0, 0),
                5,
                datetime(2026, 3, 9, 17, 30, 0, 0),
            ),
            // In the evening, and on a Saturday: both count from the next day.
            (
                datetime(2026, 3, 6, 22, 0, 0, 0),
                1,
                datetime(2026, 3, 9, 17, 30, 0, 0),
            ),
            (
                datetime(2026, 3, 7, 10, 0, 0, 0),
                1,
                datetime(2026, 3, 9, 17, 30, 0, 0),
            ),
            // Over the Spring Festival: the 13th is a Friday, the Saturday is worked, the 24th is the next.
            (
                datetime(2026, 2, 13, 9, 0, 0, 0),
                2,
                datetime(2026, 2, 24, 17, 30, 0, 0),
            ),
            (
                datetime(2026, 3, 2, 9, 0, 0, 0),
                0,
                datetime(2026, 3, 2, 17, 30, 0, 0),
            ),
            (
                datetime(2026, 3, 7, 9, 0, 0, 0),
                0,
                datetime(2026, 3, 9, 17, 30, 0, 0),
            ),
        ] {
            let computed = china.after_days(from, days);
            assert_eq!(computed.at, at, "{from} + {days}");
            assert!(computed.unknown_years.is_empty());
        }
        let back = china.days_before(datetime(2026, 2, 24, 17, 30, 0, 0), 1);
        assert_eq!(back, datetime(2026, 2, 14, 17, 30, 0, 0));
    }

    #[test]
    fn a_limit_that_reaches_into_an_unknown_year_says_so() {
        let china = china();
        let computed = china.after_days(datetime(2026, 12, 29, 9, 0, 0, 0), 5);
        assert_eq!(computed.unknown_years, BTreeSet::from([2027]));
        let hours = china.after_seconds(datetime(2026, 12, 31, 17, 0, 0, 0), 3_600);
        assert_eq!(hours.unknown_years, BTreeSet::from([2027]));
    }

    #[test]
    fn working_hours_leave_out_noon_night_and_holidays() {
        let china = china();
        let hour = 3_600;
        for (from, seconds, at) in [
            (
                datetime(2026, 3, 2, 9, 0, 0, 0),
                2 * hour,
                datetime(2026, 3, 2, 11, 0, 0, 0),
            ),
            (
                datetime(2026, 3, 2, 11, 0, 0, 0),
                2 * hour,
                datetime(2026, 3, 2, 14, 30, 0, 0),
            ),
            (
                datetime(2026, 3, 2, 17, 0, 0, 0),
                hour,
                datetime(2026, 3, 3, 9, 0, 0, 0),
            ),
            (
                datetime(2026, 3, 2, 23, 0, 0, 0),
                hour,
                datetime(2026, 3, 3, 9, 30, 0, 0),
            ),
            (
                datetime(2026, 2, 14, 17, 0, 0, 0),
                hour,
                datetime(2026, 2, 24, 9, 0, 0, 0),
            ),
            // To the last second of the day, and not into the next.
            (
                datetime(2026, 3, 2, 17, 0, 0, 0),
                hour / 2,
                datetime(2026, 3, 2, 17, 30, 0, 0),
            ),
        ] {
            let computed = china.after_seconds(from, seconds);
            assert_eq!(computed.at, at, "{from} + {seconds} s");
            assert_eq!(china.seconds_between(from, at), seconds, "{from} to {at}");
        }
        assert_eq!(
            china.seconds_between(
                datetime(2026, 3, 3, 9, 0, 0, 0),
                datetime(2026, 3, 2, 9, 0, 0, 0)
            ),
            0
        );
    }

    /// A calendar that is always open loses no minute at midnight (zammad #3180).
    #[test]
    fn a_week_of_whole_days_has_all_its_minutes_but_the_last_second_of_each() {
        let whole = [(time(0, 0, 0, 0), time(23, 59, 59, 0))];
        let open = Calendar::read("", &whole).expect("a calendar");
        let (from, to) = (
            datetime(2026, 3, 2, 0, 0, 0, 0),
            datetime(2026, 3, 7, 0, 0, 0, 0),
        );
        assert_eq!(open.seconds_between(from, to), 5 * 86_399);
    }

    #[test]
    fn what_is_no_calendar_is_refused_with_the_place() {
        let hours = [(time(9, 0, 0, 0), time(17, 0, 0, 0))];
        let refused = |text: &str| Calendar::read(text, &hours).expect_err(text).to_string();
        assert!(refused("[2026]\nholidays=[\"02-30\"]\nworked=[]").contains("'02-30'"));
        assert!(refused("[2026]\nholidays=[\"05-05/05-01\"]\nworked=[]").contains("2026"));
        assert!(refused("[year]\nholidays=[]\nworked=[]").contains("'year'"));
        assert!(refused("[2026]\nholiday=[]").contains("TOML of years"));
        let backwards = [(time(17, 0, 0, 0), time(9, 0, 0, 0))];
        assert_eq!(
            Calendar::read("", &backwards).expect_err("no hours"),
            BadCalendar::Hours
        );
        assert_eq!(
            Calendar::read("", &[]).expect_err("no hours"),
            BadCalendar::Hours
        );
    }
}
