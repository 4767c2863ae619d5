//! `xinqiao ticketing`: the reference ticketing backend as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;

use tokio_util::sync::CancellationToken;

use super::serve::asked_to_stop;
use super::{Failure, log};
use crate::gateway::{Services, bind, serve};
use crate::grpc::tls::{Acceptor, Identity};
use crate::store::Location;
use crate::ticketing::{Backend, Book};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where drafts are taken
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:50052")]
    listen: SocketAddr,
    /// Where they are kept: sqlite:FILE, or `postgres://USER@HOST/DATABASE` with the password in PGPASSWORD
    #[arg(
        long,
        value_name = "URL",
        default_value = "sqlite:data/ticketing.db",
        conflicts_with = "database"
    )]
    url: String,
    /// The file they are kept in: the short form of --url sqlite:FILE
    #[arg(long, value_name = "FILE")]
    database: Option<PathBuf>,
    /// The certificate for TLS, PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Take only clients with a certificate that this authority signed, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
}

/// Serves until SIGTERM or Ctrl-C.
pub fn run(arguments: Arguments) -> Result<(), Failure> {
    log::start();
    if !arguments.listen.ip().is_loopback() && arguments.client_ca.is_none() {
        return Err(Failure::must_be_mended(format!(
            "{} can be reached from elsewhere, and nobody would be asked who he is; give --cert, --key and --client-ca, or listen on 127.0.0.1",
            arguments.listen
        )));
    }
    let records = match arguments.database {
        Some(file) => Location::Sqlite(file),
        None => super::location("--url", &arguments.url)?,
    };
    let identity = arguments.cert.zip(arguments.key);
    let tls = identity
        .map(|(cert, key)| Acceptor::new(Identity { cert, key }, arguments.client_ca))
        .transpose()
        .map_err(Failure::must_be_mended)?;
    super::runtime()?.block_on(async {
        let listener = bind(arguments.listen)
            .await
            .map_err(Failure::must_be_mended)?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let book = Book::open(records).await.map_err(Failure::must_be_mended)?;
        let services = Services {
            transcripts: None,
            ticketing: Some(Backend::new(book.clone())),
            ..Services::default()
        };
        let asked = asked_to_stop();
        println!("taking drafts at {address} until Ctrl-C");
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        tokio::spawn(async move {
            asked.await;
            stopped.cancel();
        });
        let served = serve(listener, services, tls, stop).await;
        book.close().await;
        served.map_err(Failure::failed)
    })
}
