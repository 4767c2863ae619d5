//! `xinqiao store`: the gateway's records as a whole.

use std::path::PathBuf;

use super::{Failure, location};
use crate::store::{Copied, CopyError, Location, Store};
use crate::ticketing::Book;

#[derive(clap::Subcommand)]
pub enum Command {
    /// Copy all records to another place, e.g. from a file to a PostgreSQL server; safe to repeat
    Copy(CopyArguments),
}

#[derive(clap::Args)]
pub struct CopyArguments {
    /// Where they are: sqlite:FILE, or `postgres://USER@HOST/DATABASE`
    #[arg(long, value_name = "URL")]
    from: String,
    /// Where they shall be: an empty database or a new file
    #[arg(long, value_name = "URL")]
    to: String,
    /// Copy the reference ticketing backend's records instead of the gateway's
    #[arg(long)]
    ticketing: bool,
    /// A file with the password for the source; without one, PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "FILE")]
    from_password_file: Option<PathBuf>,
    /// A file with the password for the target; without one, PGPASSWORD or ~/.pgpass
    #[arg(long, value_name = "FILE")]
    to_password_file: Option<PathBuf>,
}

pub fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Copy(arguments) => copy(arguments),
    }
}

fn copy(arguments: CopyArguments) -> Result<(), Failure> {
    let from =
        location("--from", &arguments.from)?.with_password_file(arguments.from_password_file);
    let to = location("--to", &arguments.to)?.with_password_file(arguments.to_password_file);
    if let Location::Sqlite(file) = &from
        && !file.exists()
    {
        let sentence = format!("--from {}: there is no such file", file.display());
        return Err(Failure::must_be_mended(sentence));
    }
    let copied = super::runtime()?.block_on(async {
        if arguments.ticketing {
            tickets(&from, &to).await
        } else {
            records(&from, &to).await
        }
    })?;
    for table in &copied {
        println!(
            "{:<12} {:>10} rows  sha256 {}",
            table.table, table.rows, table.digest
        );
    }
    let key = if arguments.ticketing {
        "ticketing.url"
    } else {
        "store.url"
    };
    println!("{from} is now in {to}, verified; set {key} to it");
    Ok(())
}

async fn records(from: &Location, to: &Location) -> Result<Vec<Copied>, Failure> {
    let source = Store::open(from).await.map_err(Failure::must_be_mended)?;
    let target = Store::open(to).await.map_err(Failure::must_be_mended)?;
    let copied = source.copy_to(&target).await;
    source.close().await;
    target.close().await;
    copied.map_err(failure)
}

async fn tickets(from: &Location, to: &Location) -> Result<Vec<Copied>, Failure> {
    let source = Book::open(from).await.map_err(Failure::must_be_mended)?;
    let target = Book::open(to).await.map_err(Failure::must_be_mended)?;
    let copied = source.copy_to(&target).await;
    source.close().await;
    target.close().await;
    copied.map_err(failure)
}

fn failure(error: CopyError) -> Failure {
    match error {
        CopyError::Same | CopyError::Foreign { .. } => Failure::must_be_mended(error),
        CopyError::Store(_) | CopyError::Differs { .. } => Failure::failed(error),
    }
}
