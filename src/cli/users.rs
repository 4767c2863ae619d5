//! `xinqiao users`: the accounts of the page, also beside a running gateway; for who has no browser, or no password any more.

use clap::Subcommand;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Failure;
use super::serve::Settings;
use crate::access::{Added, People, Refusal};
use crate::app::people::settings;
use crate::people::{Account, Profile, Role, UserName};
use crate::store::Store;
use crate::transcript::Actor;

/// Accounts read at a time.
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
    /// Make an account; its one-time password is printed
    Add {
        /// What one signs in with
        name: String,
        /// A role: operator, `team_lead`, dispatcher, department, `call_back`, `knowledge_editor`, `system_administrator`,
        /// `security_administrator` or `audit_administrator`; may be repeated
        #[arg(long = "role", required = true)]
        roles: Vec<Role>,
        /// How the user is called
        #[arg(long, default_value = "")]
        display_name: String,
        /// The team
        #[arg(long, default_value = "")]
        team: String,
        /// The department, for who handles its tickets
        #[arg(long, default_value = "")]
        department: String,
        /// A phone that the user works at: an extension's number or a whole SIP address; may be repeated
        #[arg(long = "station")]
        stations: Vec<String>,
    },
    /// Give an account a new one-time password, and lift a lock-out; its sessions end
    Reset {
        /// Whose
        name: String,
        /// Take its authenticator away as well
        #[arg(long)]
        remove_totp: bool,
    },
    /// Let nobody sign in with an account any more; its sessions end
    Disable {
        /// Whose
        name: String,
    },
    /// Let its user sign in again
    Enable {
        /// Whose
        name: String,
    },
    /// The accounts: name, display name, roles, team, stations, last sign-in
    List,
}

pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = arguments.settings.load()?;
    let location = config.store.location().map_err(Failure::must_be_mended)?;
    super::runtime()?.block_on(async {
        let store = Store::open(location)
            .await
            .map_err(Failure::must_be_mended)?;
        let (sender, mut kept) = tokio::sync::mpsc::channel(16);
        let people = People::new(store.clone(), settings(&config), move |record| {
            // No command leaves as many records as there is room for.
            let _ = sender.try_send(record);
        });
        let done = act(&people, &arguments.action).await;
        drop(people);
        let mut records = Vec::new();
        while let Ok(record) = kept.try_recv() {
            records.push(record);
        }
        let audited = store.save_audit(&records).await.map_err(Failure::failed);
        store.close().await;
        done.and(audited)
    })
}

async fn act(people: &People, action: &Action) -> Result<(), Failure> {
    let by = Actor::System;
    let named = |name: &str| UserName::parse(name).map_err(Failure::must_be_mended);
    match action {
        Action::Add {
            name,
            roles,
            display_name,
            team,
            department,
            stations,
        } => {
            let profile = Profile {
                display_name: display_name.clone(),
                team: team.clone(),
                department: department.clone(),
                stations: stations.clone(),
            };
            told(
                &people
                    .add(&by, name, profile, roles.clone())
                    .await
                    .map_err(failure)?,
            );
        }
        Action::Reset { name, remove_totp } => {
            let reset = people
                .reset_password(&by, &named(name)?, *remove_totp)
                .await;
            told(&reset.map_err(failure)?);
        }
        Action::Disable { name } => {
            let set = people.set_disabled(&by, &named(name)?, true).await;
            println!("{} cannot sign in any more", set.map_err(failure)?.name);
        }
        Action::Enable { name } => {
            let set = people.set_disabled(&by, &named(name)?, false).await;
            println!("{} can sign in again", set.map_err(failure)?.name);
        }
        Action::List => list(people).await?,
    }
    Ok(())
}

async fn list(people: &People) -> Result<(), Failure> {
    let mut after = String::new();
    loop {
        let page = people.accounts(&after, PAGE).await.map_err(failure)?;
        for account in &page {
            println!("{}", line(account));
        }
        match page.last() {
            Some(last) => after = last.name.to_string(),
            None => return Ok(()),
        }
    }
}

/// What an account is, separated by tabs.
fn line(account: &Account) -> String {
    let roles: Vec<_> = account.roles.iter().map(|role| role.name()).collect();
    let seen = account
        .signed_in
        .and_then(|at| Timestamp::try_from(at).ok())
        .map(|at| {
            at.to_zoned(TimeZone::system())
                .strftime("%F %T")
                .to_string()
        });
    let state = if account.disabled { "disabled" } else { "" };
    [
        account.name.as_str(),
        account.display_name(),
        &roles.join(","),
        &account.profile.team,
        &account.profile.stations.join(","),
        seen.as_deref().unwrap_or("never"),
        state,
    ]
    .join("\t")
}

fn told(added: &Added) {
    println!(
        "{} signs in with {}, which has to be replaced then",
        added.account.name,
        added.one_time.reveal()
    );
}

fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Unreadable(error) => Failure::failed(error),
        refusal => Failure::must_be_mended(refusal),
    }
}
