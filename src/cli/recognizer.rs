//! `xinqiao recognizer`: recognition as a process of its own, for gateways on other machines.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::serve::asked_to_stop;
use super::{Failure, log};
use crate::config::Recognition;
use crate::gateway::{Services, bind, serve};
use crate::grpc::tls::{Acceptor, Identity};
use crate::recognition::{self, RecognizerService};

#[derive(clap::Args)]
pub struct Arguments {
    /// Where gateways reach it
    #[arg(long, default_value = "127.0.0.1:50061")]
    listen: SocketAddr,
    /// Its certificate chain, PEM
    #[arg(long, value_name = "FILE", requires_all = ["key", "client_ca"])]
    cert: Option<PathBuf>,
    /// The certificate's private key, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// Only gateways whose certificate one of these has signed are served, PEM
    #[arg(long, value_name = "FILE", requires = "cert")]
    client_ca: Option<PathBuf>,
    /// A model from `xinqiao models list`, or the path of any ggml whisper model
    #[arg(long, default_value = "whisper-base")]
    model: String,
    /// The folder that holds the models
    #[arg(long, default_value = "data/models")]
    models_dir: PathBuf,
    /// Recognitions at a time; 0 takes as many as the machine has cores for
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Threads of one recognition
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// What is spoken: zh, yue, en …, or auto
    #[arg(long, default_value = "zh", value_parser = language)]
    language: String,
    /// Hypotheses that the last pass over an utterance follows while there is time
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=8))]
    beam: u16,
    /// End-points and finals that may wait for a worker
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queue: u32,
}

fn language(text: &str) -> Result<String, String> {
    if recognition::speaks(text) {
        Ok(text.to_owned())
    } else {
        Err("whisper knows no such language; write e.g. zh, yue, en or auto".to_owned())
    }
}

/// Serves gateways until the first SIGTERM or Ctrl-C.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    log::start();
    let tls = match (&arguments.cert, &arguments.key) {
        (Some(cert), Some(key)) => {
            let identity = Identity {
                cert: cert.clone(),
                key: key.clone(),
            };
            let acceptor = Acceptor::new(identity, arguments.client_ca.clone());
            Some(acceptor.map_err(Failure::must_be_mended)?)
        }
        _ if arguments.listen.ip().is_loopback() => None,
        _ => {
            return Err(Failure::must_be_mended(format!(
                "{} can be reached from elsewhere, and what callers say would travel open; give --cert, --key and --client-ca, or listen on 127.0.0.1",
                arguments.listen
            )));
        }
    };
    let settings = Recognition {
        model: arguments.model.clone(),
        models_dir: arguments.models_dir.clone(),
        workers: arguments.workers,
        threads: arguments.threads.into(),
        language: arguments.language.clone(),
        beam: arguments.beam.into(),
        queue: arguments.queue as usize,
        ..Recognition::default()
    };
    let pool = recognition::load_workers(&settings).map_err(Failure::must_be_mended)?;
    super::runtime()?.block_on(async {
        let listener = bind(arguments.listen)
            .await
            .map_err(Failure::must_be_mended)?;
        let address = listener.local_addr().unwrap_or(arguments.listen);
        let asked = asked_to_stop();
        println!("recogniser {address} · {} workers", settings.workers());
        let services = Services {
            recognizer: Some(RecognizerService::new(Arc::new(pool))),
            ..Services::default()
        };
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, services, tls, stop.clone()));
        asked.await;
        stop.cancel();
        match serving.await {
            Ok(served) => served.map_err(Failure::failed),
            Err(error) => Err(Failure::failed(error)),
        }
    })
}
