//! Text in which nothing was misheard: the real written tickets of the shared folder, read as if they had been heard.

use super::super::{CallFacts, Drafter, FieldName, Taxonomy, TicketDraft};
use crate::audio::MediaTime;
use crate::speech::{CallId, Leg};
use crate::text::script::simplified_letter;
use crate::transcript::{Line, Transcript};

/// How many of the tickets are read, spread over all of them.
const TICKETS: usize = 1_500;

/// Real written tickets, if the shared folder is there.
fn tickets() -> Option<Vec<String>> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../shared/text/complaints-full-train.csv"
    );
    let Ok(source) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return None;
    };
    let texts: Vec<String> = (source.lines().skip(1))
        .filter_map(|line| Some(line.split_once(',')?.1.trim_matches('"').to_owned()))
        .collect();
    let step = (texts.len() / TICKETS).max(1);
    Some(texts.into_iter().step_by(step).take(TICKETS).collect())
}

fn draft(drafter: &Drafter, text: &str) -> TicketDraft {
    let mut transcript = Transcript::default();
    let zero = MediaTime::ZERO;
    transcript.apply(Line::plain(0, Leg::Caller, text, zero, zero));
    let facts = CallFacts {
        call: CallId::new("written"),
        caller_number: None,
        started_at: super::moment("2026-03-14T09:01:00+08:00"),
    };
    drafter.draft(&transcript, &facts)
}

/// Brackets are half as wide for the rules.
const fn half_width(letter: char) -> char {
    match letter {
        '（' => '(',
        '）' => ')',
        other => other,
    }
}

/// How many values were found, and those that hold a character which is not in the text: (field, value, the characters).
fn unsaid(drafter: &Drafter, tickets: &[String]) -> (usize, Vec<(FieldName, String, String)>) {
    let (mut count, mut changed) = (0, Vec::new());
    for ticket in tickets {
        let written: Vec<char> = (ticket.chars().map(half_width).map(simplified_letter))
            .flat_map(char::to_lowercase)
            .collect();
        let draft = draft(drafter, ticket);
        for name in [
            FieldName::Address,
            FieldName::Subject,
            FieldName::CallerName,
        ] {
            let Some(value) = draft.fields.get(&name).and_then(|field| field.value.text()) else {
                continue;
            };
            count += 1;
            // Numbers change their script, two roads are joined by 与, districts have their whole names, people a title.
            let new: String = (value.chars().map(simplified_letter))
                .flat_map(char::to_lowercase)
                .filter(|letter| !letter.is_ascii_digit() && !"与区市县先生女士".contains(*letter))
                .filter(|letter| !written.contains(letter))
                .collect();
            if !new.is_empty() {
                changed.push((name, value.to_owned(), new));
            }
        }
    }
    (count, changed)
}

#[test]
fn of_a_thousand_values_of_clean_text_at_most_one_is_changed_and_none_where_it_was_typed() {
    let Some(tickets) = tickets() else { return };
    let heard = Drafter::new(Taxonomy::embedded());
    let (count, changed) = unsaid(&heard, &tickets);
    for (name, value, new) in &changed {
        println!("{name:?} {value}: {new}");
    }
    println!("{} of {count} values changed", changed.len());
    assert!(count > 500, "{count} values are too few to judge by");
    assert!(
        changed.len() * 1_000 <= count,
        "{} of {count}",
        changed.len()
    );
    let typed = Drafter::new(Taxonomy::embedded()).of_written();
    let (_, changed) = unsaid(&typed, &tickets);
    assert!(changed.is_empty(), "{changed:?}");
}
