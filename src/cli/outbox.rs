//! `xinqiao outbox`: what is still to be delivered, also beside a running gateway. Personal data is masked.

use clap::{Subcommand, ValueEnum};
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit};

use super::Failure;
use super::serve::Settings;
use crate::private::Private;
use crate::speech::CallId;
use crate::store::{Entry, EntryKind, EntryState, Lane, Store, StoreError};
use crate::ticket::{FieldValue, TicketDraft};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Action {
    /// Everything that waits or was refused, the longest waiting first
    List {
        /// Only what was refused
        #[arg(long)]
        parked: bool,
        /// Show the receivers' reasons, which may quote the draft
        #[arg(long)]
        reveal: bool,
    },
    /// One call's draft, and where it stands
    Show {
        /// The call
        call: String,
        /// Show personal data
        #[arg(long)]
        reveal: bool,
    },
    /// Try again what was refused, of one call or of all; a running gateway does so within two seconds
    Resend {
        /// The call; without one, every call
        #[arg(required_unless_present = "all")]
        call: Option<String>,
        /// Every call
        #[arg(long, conflicts_with = "call")]
        all: bool,
        /// Only to this receiver
        #[arg(long)]
        to: Option<To>,
    },
    /// Do not deliver a call's draft; it stays in the gateway's records
    Drop {
        /// The call
        call: String,
        /// Only to this receiver
        #[arg(long)]
        to: Option<To>,
    },
}

/// A receiver.
#[derive(Clone, Copy, ValueEnum)]
enum To {
    Ticketing,
    Webhook,
}

impl From<To> for Lane {
    fn from(to: To) -> Self {
        match to {
            To::Ticketing => Self::Ticketing,
            To::Webhook => Self::Webhook,
        }
    }
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
    let outbox = store.outbox();
    let failed = |error: StoreError| Failure::failed(error);
    let lane = |to: Option<To>| to.map(Lane::from);
    match action {
        Action::List { parked, reveal } => {
            let entries = if *parked {
                outbox.parked().await
            } else {
                outbox.entries().await
            };
            let entries = entries.map_err(failed)?;
            if entries.is_empty() {
                println!("nothing waits");
            }
            for entry in &entries {
                println!("{}", line(entry, *reveal));
            }
        }
        Action::Show { call, reveal } => {
            let id = CallId::new(call);
            let held = store.draft(&id).await.map_err(failed)?;
            let Some(held) = held else {
                return Err(unknown(call));
            };
            let ticket = held.ticket.as_deref().unwrap_or("none yet");
            let state = if held.closed { "closed" } else { "open" };
            println!(
                "call {call}, revision {}, {state}, ticket {ticket}",
                held.submission.key.revision
            );
            print(&held.submission.draft, *reveal);
            let entries = outbox.entries().await.map_err(failed)?;
            let mut waits = false;
            for entry in entries.iter().filter(|entry| entry.key.call == id) {
                println!("{}", line(entry, *reveal));
                waits = true;
            }
            if !waits {
                println!("delivered");
            }
        }
        Action::Resend { call, to, .. } => {
            let id = call.as_deref().map(CallId::new);
            let done = outbox
                .resend(id.as_ref(), lane(*to))
                .await
                .map_err(failed)?;
            if done == 0
                && let Some(call) = call
            {
                return Err(unknown(call));
            }
            println!("{done} sent again");
        }
        Action::Drop { call, to } => {
            let done = outbox
                .drop_call(&CallId::new(call), lane(*to))
                .await
                .map_err(failed)?;
            if done == 0 {
                return Err(unknown(call));
            }
            println!("{done} dropped");
        }
    }
    Ok(())
}

fn unknown(call: &str) -> Failure {
    Failure::failed(format!(
        "nothing of call '{}' is there; `xinqiao outbox list` names those that wait",
        call.escape_default()
    ))
}

/// Call, revision, receiver, kind, since when, and what keeps it; separated by tabs.
fn line(entry: &Entry, reveal: bool) -> String {
    let kind = match entry.kind {
        EntryKind::Upsert => "draft",
        EntryKind::Close => "closing",
    };
    let since = Timestamp::try_from(entry.since)
        .and_then(|since| since.round(Unit::Second))
        .map(|since| {
            since
                .to_zoned(TimeZone::system())
                .strftime("%F %T")
                .to_string()
        })
        .unwrap_or_default();
    let state = match &entry.state {
        EntryState::Waiting { attempts: 0, .. } => "waiting".to_owned(),
        EntryState::Waiting { attempts, last } => format!(
            "waiting after {attempts} attempts: {}",
            last.as_deref().unwrap_or("?")
        ),
        EntryState::Parked { code, reason } => {
            format!("refused: {code}: {}", text(reason, reveal))
        }
    };
    format!(
        "{}\t{}\t{}\t{kind}\t{since}\t{state}",
        entry.key.call.as_str(),
        entry.key.revision,
        entry.lane.name()
    )
}

fn print(draft: &TicketDraft, reveal: bool) {
    for (name, field) in &draft.fields {
        let value = match &field.value {
            FieldValue::Flag(flag) => flag.to_string(),
            FieldValue::Number(number) => number.to_string(),
            FieldValue::Text(value) => text(value, reveal),
            FieldValue::List(values) => values.join(", "),
        };
        println!("  {:<14} {:.2}  {value}", name.wire(), field.confidence);
    }
}

fn text(value: &Private<String>, reveal: bool) -> String {
    if reveal {
        // One line, whatever a receiver has written.
        value.reveal().replace(char::is_control, " ")
    } else {
        value.to_string()
    }
}
