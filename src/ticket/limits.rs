//! How long a ticket may take, as data: by when it is accepted, answered and finished, by category and urgency.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::model::{Limits, Span, Urgency};

/// A ticket's time limits as they are written in `categories.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    accept: Spanned<String>,
    reply: Spanned<String>,
    finish: Spanned<String>,
}

/// What is written for some urgencies.
pub(super) type WrittenTable = BTreeMap<Urgency, Written>;

/// What is wrong with one: where, what, and the remedy.
pub(super) type Fault = (Range<usize>, String, &'static str);

/// The limits of one category, or of all that have none of their own, by urgency.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Table([Option<Limits>; Urgency::ALL.len()]);

impl Table {
    /// Reads and checks what is written; `otherwise` stands for the urgencies that are not.
    pub fn read(written: &WrittenTable, otherwise: Self) -> Result<Self, Fault> {
        let mut table = otherwise;
        for (urgency, written) in written {
            let span = |text: &Spanned<String>| {
                read(text.get_ref()).ok_or_else(|| {
                    let what = format!("{} is no time limit", text.get_ref());
                    (
                        text.span(),
                        what,
                        "write hours as \"2h\" or working days as \"5d\"",
                    )
                })
            };
            let limits = Limits {
                accept: span(&written.accept)?,
                reply: span(&written.reply)?,
                finish: span(&written.finish)?,
            };
            for (earlier, later, place) in [
                (limits.accept, limits.reply, &written.reply),
                (limits.reply, limits.finish, &written.finish),
            ] {
                if later.hours() < earlier.hours() {
                    let what = format!(
                        "the time limit {} ends before the one before it",
                        place.get_ref()
                    );
                    return Err((place.span(), what, "let accept, reply and finish rise"));
                }
            }
            table.0[*urgency as usize] = Some(limits);
        }
        Ok(table)
    }

    /// What a ticket of this urgency may take.
    pub const fn of(&self, urgency: Urgency) -> Option<Limits> {
        self.0[urgency as usize]
    }
}

/// `2h` are hours, `5d` working days.
fn read(text: &str) -> Option<Span> {
    let number = |digits: &str| {
        digits
            .parse()
            .ok()
            .filter(|number| (1..=999).contains(number))
    };
    if let Some(hours) = text.strip_suffix('h') {
        return number(hours).map(Span::Hours);
    }
    number(text.strip_suffix('d')?).map(Span::WorkingDays)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ticket::{Sources, Taxonomy};

    fn refused(from: &str, to: &str) -> String {
        let wrong = Sources::EMBEDDED.categories.replacen(from, to, 1);
        assert_ne!(wrong, Sources::EMBEDDED.categories, "{from} is there");
        let line = wrong
            .lines()
            .position(|line| line.contains(to))
            .expect("there")
            + 1;
        let sources = Sources {
            categories: &wrong,
            ..Sources::EMBEDDED
        };
        let error = Taxonomy::parse(&sources).err().expect("refused");
        assert_eq!(
            (error.file, error.line),
            ("categories.toml", line),
            "{error}"
        );
        error.to_string()
    }

    #[test]
    fn the_more_urgent_a_ticket_the_sooner_it_is_due_and_a_categorys_own_limits_come_first() {
        let taxonomy = Taxonomy::embedded();
        for category in taxonomy.category_names() {
            let of = |urgency| {
                taxonomy
                    .limits(category, urgency)
                    .expect("every category has limits")
            };
            for [sooner, later] in [
                [Urgency::Critical, Urgency::Urgent],
                [Urgency::Urgent, Urgency::Normal],
            ] {
                let (sooner, later) = (of(sooner), of(later));
                assert!(
                    sooner.finish.hours() <= later.finish.hours(),
                    "{category:?}"
                );
                assert!(
                    sooner.accept.hours() <= later.accept.hours(),
                    "{category:?}"
                );
            }
        }
        let table = |text: &str| toml::from_str::<WrittenTable>(text).expect("TOML");
        let general = table("\"一般\" = { accept = \"1d\", reply = \"3d\", finish = \"5d\" }");
        let own = table("\"特急\" = { accept = \"1h\", reply = \"2h\", finish = \"1d\" }");
        let general = Table::read(&general, Table::default()).expect("sound");
        let own = Table::read(&own, general).expect("sound");
        assert_eq!(
            own.of(Urgency::Critical).map(|limits| limits.finish),
            Some(Span::WorkingDays(1))
        );
        assert_eq!(own.of(Urgency::Normal), general.of(Urgency::Normal));
        assert_eq!(own.of(Urgency::Urgent), None);
    }

    #[test]
    fn a_limit_that_makes_no_sense_is_refused_with_its_line() {
        assert!(refused("\"特急\" = {", "\"火急\" = {").contains("火急"));
        assert!(refused("finish = \"5d\"", "finish = \"5 days\"").contains("\"5d\""));
        assert!(refused("finish = \"5d\"", "finish = \"0d\"").contains("0d"));
        assert!(refused("finish = \"5d\"", "finish = \"9h\"").contains("before"));
        assert!(refused("finish = \"5d\"", "finsh = \"5d\"").contains("finsh"));
    }
}
