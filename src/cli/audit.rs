//! `xinqiao audit`: what calls were asked and accepted and what people did, also beside a running gateway. Personal data is
//! masked.

use std::time::{Duration, SystemTime};

use clap::Subcommand;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

use super::Failure;
use super::serve::Settings;
use crate::control::Command;
use crate::private::Private;
use crate::speech::CallId;
use crate::store::{AuditFilter, AuditRecord, Store};
use crate::ticket::FieldValue;

/// Records read at a time.
const PAGE: u32 = 500;

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Action {
    /// Who did what, the newest first: time, call, actor, action, detail
    List {
        /// Only of this call
        #[arg(long)]
        call: Option<String>,
        /// Only of actors of this name
        #[arg(long)]
        actor: Option<String>,
        /// Only of the last so many days
        #[arg(long)]
        days: Option<u32>,
        /// At most so many
        #[arg(long, default_value_t = 1_000)]
        limit: u32,
        /// Show personal data
        #[arg(long)]
        reveal: bool,
    },
    /// Compute the chain of all records again, and say whether one was changed, put in or taken out
    Verify,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.load()?;
    let location = config.store.location().map_err(Failure::must_be_mended)?;
    super::runtime()?.block_on(async {
        let store = Store::open_existing(&location)
            .await
            .map_err(Failure::must_be_mended)?;
        let done = act(&store, &arguments.action).await;
        store.close().await;
        done
    })
}

async fn act(store: &Store, action: &Action) -> Result<(), Failure> {
    let Action::List {
        call,
        actor,
        days,
        limit,
        reveal,
    } = action
    else {
        return verify(store).await;
    };
    let since = days.and_then(|days| {
        let span = Duration::from_hours(24) * days;
        SystemTime::now().checked_sub(span)
    });
    let mut filter = AuditFilter {
        call: call.as_deref().map(CallId::new),
        actor: actor.clone(),
        ..AuditFilter::default()
    };
    let mut left = *limit;
    while left > 0 {
        let page = store.audit(&filter, left.min(PAGE)).await;
        let page = page.map_err(Failure::failed)?;
        let Some(last) = page.last() else { break };
        filter.before = Some((last.at, last.id.clone()));
        left -= page.len() as u32;
        for record in &page {
            if since.is_some_and(|since| record.at < since) {
                return Ok(());
            }
            println!("{}", line(record, *reveal));
        }
    }
    if left == *limit {
        println!("nothing was done");
    }
    Ok(())
}

/// Exit code 1 when the chain is broken.
async fn verify(store: &Store) -> Result<(), Failure> {
    let chain = store.verify_audit().await.map_err(Failure::failed)?;
    if let Some(number) = chain.broken_at {
        return Err(Failure::failed(format!(
            "record {number} is not what was written, or one is missing there; {} others are in their place",
            chain.verified
        )));
    }
    println!("{} records are what was written", chain.verified);
    if chain.unchained > 0 {
        println!("{} are from before there was a chain", chain.unchained);
    }
    if chain.last > 0 {
        println!(
            "the newest is {} {}: noted elsewhere, it tells whether records are cut off behind",
            chain.last, chain.last_hash
        );
    }
    Ok(())
}

/// Time, call, actor, action and detail, separated by tabs.
fn line(record: &AuditRecord, reveal: bool) -> String {
    let at = Timestamp::try_from(record.at)
        .and_then(|at| at.round(Unit::Second))
        .map(|at| {
            at.to_zoned(TimeZone::system())
                .strftime("%F %T")
                .to_string()
        })
        .unwrap_or_default();
    let detail = serde_json::from_str(record.detail.reveal());
    let detail = detail.map_or_else(
        // What people did, which names users and roles, or what a newer version has accepted.
        |_| match record.call {
            None => record.detail.reveal().replace(char::is_control, " "),
            Some(_) => text(&record.detail, reveal),
        },
        |command: Command| described(&command, reveal),
    );
    let call = record.call.as_ref().map_or("-", CallId::as_str);
    let action = &record.action;
    format!("{at}\t{call}\t{}\t{action}\t{detail}", record.actor)
}

fn described(command: &Command, reveal: bool) -> String {
    match command {
        Command::Edit { name, value } => {
            let name = serde_json::to_value(name).unwrap_or_default();
            let name = name.as_str().unwrap_or_default().to_owned();
            match value {
                None => format!("{name} given back"),
                Some(FieldValue::Flag(flag)) => format!("{name} = {flag}"),
                Some(FieldValue::Number(number)) => format!("{name} = {number}"),
                Some(FieldValue::Text(value)) => format!("{name} = {}", text(value, reveal)),
                Some(FieldValue::List(values)) => format!("{name} = {}", values.join(", ")),
            }
        }
        Command::Revise(revision) => {
            let what = if revision.undone {
                "taken back"
            } else {
                "made again"
            };
            format!(
                "change {} of line {} {what}",
                revision.change, revision.line
            )
        }
        Command::Pause { paused: true } => "paused".to_owned(),
        Command::Pause { paused: false } => "resumed".to_owned(),
        Command::Note { text: note } => text(note, reveal),
        Command::HangUp => String::new(),
        Command::Transfer { to } => format!("to {}", text(to, reveal)),
    }
}

fn text(value: &Private<String>, reveal: bool) -> String {
    if reveal {
        // One line, whatever somebody has written.
        value.reveal().replace(char::is_control, " ")
    } else {
        value.to_string()
    }
}
