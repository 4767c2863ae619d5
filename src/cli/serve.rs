//! `xinqiao serve` and `xinqiao check-config`.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{Failure, log};
use crate::access::Added;
use crate::app::Gateway;
use crate::config::Config;

/// For threads that hang when everything is down.
const LAST: Duration = Duration::from_secs(2);

/// Where the settings come from.
#[derive(clap::Args)]
pub struct Settings {
    /// A TOML file; without one, the embedded defaults hold
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// A single setting, e.g. operators.default=sip:op@127.0.0.1:5080; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    sets: Vec<String>,
}

impl Settings {
    /// The settings, checked.
    pub fn load(&self) -> Result<Config, Failure> {
        Config::load(self.config.as_deref(), &self.sets).map_err(Failure::must_be_mended)
    }
}

#[derive(clap::Args)]
pub struct CheckArguments {
    /// The file to check
    file: PathBuf,
}

/// Says whether a file's settings can be used.
pub fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    Config::load(Some(&arguments.file), &[]).map_err(Failure::must_be_mended)?;
    println!("{} can be used", arguments.file.display());
    Ok(())
}

/// Serves until the first SIGTERM or Ctrl-C, then drains; a second one ends the running calls at once. SIGHUP has the
/// word lists read again.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    log::start();
    let config = settings.load()?;
    let runtime = super::runtime()?;
    let served = runtime.block_on(async {
        // From here on, so that none that comes while it starts just ends the process.
        let mut hangup = signal(SignalKind::hangup()).expect("the runtime handles signals");
        let mut stop = std::pin::pin!(asked_to_stop());
        let gateway = tokio::select! {
            started = Gateway::start(&config) => started.map_err(Failure::must_be_mended)?,
            () = &mut stop => return Ok(()),
        };
        println!(
            "SIP {} · page {} · gRPC {} · operator {}",
            gateway.sip,
            gateway.page(),
            gateway.grpc,
            config.operators.default
        );
        tell_once(gateway.first_administrator.as_ref());
        loop {
            tokio::select! {
                () = &mut stop => break,
                _ = hangup.recv() => gateway.reload(),
            }
        }
        // Both before it is said: who has read the line may count on either.
        gateway.refuse_new_calls();
        let hurry = CancellationToken::new();
        let (again, asked) = (hurry.clone(), asked_to_stop());
        println!("draining; ask again to end the running calls at once");
        tokio::spawn(async move {
            asked.await;
            again.cancel();
        });
        gateway.stop(hurry).await;
        Ok(())
    });
    // What still runs waits for a disk that does not answer; the process ends without it.
    runtime.shutdown_timeout(LAST);
    served
}

/// Says with what the first administrator signs in.
pub fn tell_once(first: Option<&Added>) {
    if let Some(Added { account, one_time }) = first {
        println!(
            "the first administrator signs in on the page as {} with {}, which has to be replaced then",
            account.name,
            one_time.reveal()
        );
    }
}

/// Waits for a SIGTERM or Ctrl-C after this moment.
pub fn asked_to_stop() -> impl Future<Output = ()> + Send {
    let listen = |kind| signal(kind).expect("the runtime handles signals");
    let mut terminate = listen(SignalKind::terminate());
    let mut interrupt = listen(SignalKind::interrupt());
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
