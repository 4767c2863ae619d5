//! The whole gateway: builds its parts, runs them, and takes them down.
//!
//! ```text
//! made:     files read → addresses → recognition → threads → records → calls, writers, servers
//! stopped:  new calls → running calls → SIP → recorder → writers → deliveries → servers → records
//! ```
//! Each part is made from its own part of the configuration. Whatever can fail comes before whatever runs, so a failure
//! to start leaves nothing running; and every wait of the stop has a limit.

mod archive;
mod calls;
mod error;
mod grpc;
mod language;
mod listeners;
pub mod people;
mod receivers;
mod records;
mod stop;
mod tasks;
mod telephony;
#[cfg(test)]
mod tests;
pub mod word_lists;
mod writers;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::archive::Archive;
use self::calls::{Needs, Threads};
pub use self::error::StartError;
use self::language::Language;
pub use self::language::taxonomy;
use self::listeners::{Connections, Listeners};
use self::receivers::Receivers;
use self::records::Records;
use self::tasks::Tasks;
use self::writers::Writers;
use crate::access::{Added, People};
use crate::audio::Frame;
use crate::config::Config;
use crate::console::{self, Console};
use crate::control::CallControl;
use crate::gateway::advice::Advisor;
use crate::gateway::calls::CallTable;
use crate::gateway::registrations::RegistrationStore;
use crate::gateway::sip::{NewCall, SipConfig, SipEdge};
use crate::gateway::{audiosocket, registrations};
use crate::grpc::access::Access;
use crate::grpc::tls::Acceptor;
use crate::language_model::LanguageModel;
use crate::recognition::{self, Recognizers};
use crate::telemetry::{self, Readiness, State};
use crate::text::formatter::TranscriptFormatter;

/// A running gateway.
pub struct Gateway {
    /// Where SIP is taken.
    pub sip: SocketAddr,
    /// Where the page is.
    pub console: SocketAddr,
    /// Where the gRPC services are.
    pub grpc: SocketAddr,
    /// Who signs in, where anybody does.
    pub people: Option<People>,
    /// The first administrator, where this start has made one: the password is shown where the program was started, and
    /// nowhere else, for logs are kept and read.
    pub first_administrator: Option<Added>,
    is_encrypted: bool,
    edge: SipEdge,
    calls: Arc<CallTable>,
    archive: Option<Archive>,
    records: Records,
    readiness: Arc<Readiness>,
    /// Ends the ways in beside SIP.
    inlets: CancellationToken,
    tasks: TaskGroups,
    /// Has the word lists read again.
    reread: Arc<Notify>,
    /// How long running calls may go on after the stop.
    drain: Duration,
    /// How long the last words of a call may take.
    flush: Duration,
}

/// What runs beside the calls, in the order in which it is stopped.
#[derive(Default)]
struct TaskGroups {
    writers: Tasks,
    deliveries: Tasks,
    servers: Tasks,
}

/// Everything that can fail to be made. What of it runs already ends when it is dropped.
struct Parts {
    announcement: Option<Arc<Frame>>,
    formatter: TranscriptFormatter,
    model: Option<LanguageModel>,
    tls: Option<Acceptor>,
    page_tls: Option<Acceptor>,
    access: Access,
    listeners: Listeners,
    connections: Connections,
    receivers: Receivers,
    registrations: Arc<RegistrationStore>,
    edge: SipEdge,
    new_calls: mpsc::Receiver<NewCall>,
    recognizers: Option<Recognizers>,
    threads: Threads,
    records: Records,
    archive: Option<Archive>,
}

impl Parts {
    async fn make(config: &Config) -> Result<Self, StartError> {
        // Files first: a mistake in them is said before anything is taken.
        recognition::check(&config.recognition).map_err(StartError::Recognition)?;
        let announcement = calls::announcement(config.recording.announcement.as_deref())?;
        let language = Language::read(config)?;
        let (tls, access) = (grpc::tls(&config.grpc)?, grpc::access(&config.grpc)?);
        let page_tls = config.store.location().map_err(StartError::Records)?;
        let page_tls = people::tls(&config.console, &page_tls)?;
        let receivers = Receivers::read(&config.ticketing, &config.webhook)?;

        // Then the addresses: they are the likeliest to be taken, and nothing is written until they are ours.
        let listeners = Listeners::bind(config).await?;
        let registrations = Arc::<RegistrationStore>::default();
        let sip = telephony::sip_config(config);
        let connections = Connections::beside(config.calls.max, sip.max_connections);
        let sip = SipConfig {
            registrations: Some(registrations.clone()),
            max_connections: connections.sip,
            ..sip
        };
        let (edge, new_calls) = SipEdge::bind(sip).await.map_err(StartError::Sip)?;

        // Then what takes memory and threads.
        let recognizers =
            recognition::load(&config.recognition).map_err(StartError::Recognition)?;
        let threads = Threads::start(config, language.drafter)?;

        // Then what is on disk.
        let records = Records::open(&config.store, &config.ticketing, &receivers.lanes()).await?;
        let registered = registrations::restored(&records.store).await;
        edge.restore(registered.map_err(StartError::Store)?);
        let archive = Archive::open(&config.recording).map_err(StartError::Recording)?;
        Ok(Self {
            announcement,
            formatter: language.formatter,
            model: language.model,
            tls,
            page_tls,
            access,
            connections,
            listeners,
            receivers,
            registrations,
            edge,
            new_calls,
            recognizers,
            threads,
            records,
            archive,
        })
    }

    /// Starts what brings to disk what calls and phones leave behind.
    fn write(&self, tasks: &TaskGroups, readiness: &Readiness) -> Writers {
        let Records { store, bus, .. } = &self.records;
        let writers = Writers::new(self.registrations.clone(), bus.clone());
        writers.tell(readiness);
        writers.run(store, &tasks.writers);
        if let Some(archive) = &self.archive {
            archive.tell(readiness);
            archive.run(store, &tasks.writers, &tasks.servers);
        }
        writers
    }

    /// The operator's page.
    fn page(
        &self,
        config: &Config,
        control: &CallControl,
        readiness: &Arc<Readiness>,
        people: Option<People>,
    ) -> Console {
        Console::new(self.records.bus.clone(), self.records.store.clone())
            .within(self.connections.console)
            .named(&config.console.hosts)
            .knowing(people)
            .encrypted(self.page_tls.clone())
            .controlling(control.clone())
            .telling(readiness.clone())
            .choosing(self.threads.drafter().taxonomy())
            .playing(self.archive.as_ref().map(Archive::recordings))
    }
}

impl Gateway {
    /// Starts everything that `config` names.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        telemetry::start();
        recognition::describe();
        let mut gateway = Self::run(config, Parts::make(config).await?);
        gateway.readiness.set(State::Ready);
        match config.admission.strangers {
            Some(calls @ 1..) => warn!(calls, "anybody may call: admission.strangers is set"),
            None if config.trunk.is_empty() && !gateway.sip.ip().is_loopback() => {
                warn!("only extensions and this machine itself may call: no [[trunk]] is set up");
            }
            _ => {}
        }
        if let Some(people) = &gateway.people {
            match people.first_administrator().await {
                Ok(first) => gateway.first_administrator = first,
                Err(refusal) => {
                    gateway.stop(CancellationToken::new()).await;
                    return Err(StartError::People(refusal));
                }
            }
        }
        let workers = config.recognition.workers();
        let Self {
            sip, console, grpc, ..
        } = &gateway;
        info!(%sip, %console, %grpc, workers, "the gateway is up");
        Ok(gateway)
    }

    /// Sets the parts to work; nothing here can fail.
    fn run(config: &Config, parts: Parts) -> Self {
        let (tasks, inlets) = (TaskGroups::default(), CancellationToken::new());
        let (readiness, reread) = (Arc::<Readiness>::default(), Arc::<Notify>::default());
        let Writers { drafts, audit, .. } = parts.write(&tasks, &readiness);
        let people = people::people(config, &parts.records.store, audit.clone());
        let control = CallControl::audited(move |accepted| audit.note(accepted));
        let page = parts.page(config, &control, &readiness, people.clone());
        if let Some(people) = people.clone() {
            tasks.servers.spawn(|stop| people.sweep(stop));
        }
        let is_encrypted = parts.page_tls.is_some();
        let (console, grpc) = parts.listeners.addresses(config);

        let (records, archive, formatter) = (parts.records, parts.archive, parts.formatter);
        parts.receivers.deliver(&records, &tasks.deliveries);
        // A node that writes and delivers its last is alive to the others.
        let node = records.store.clone();
        tasks.deliveries.spawn(|stop| node.keep_alive(stop));
        let connections = parts.connections.grpc;
        let services = grpc::services(
            &records,
            &control,
            parts.access,
            people.clone(),
            connections,
        );
        let (listeners, servers) = (parts.listeners, &tasks.servers);
        servers.spawn(|stop| console::serve(listeners.console, page, stop));
        servers.spawn(|stop| grpc::serve(listeners.grpc, services, parts.tls, stop));
        let (folder, every) = (config.text.hotwords.clone(), word_lists::LOOK_EVERY);
        servers.spawn(|stop| {
            word_lists::watch(formatter.clone(), folder, every, reread.clone(), stop)
        });

        let needs = Needs {
            announcement: parts.announcement,
            recognizers: parts.recognizers,
            threads: parts.threads,
            recorder: archive.as_ref().map(|archive| archive.recorder.clone()),
            control,
            bus: records.bus.clone(),
            draft_writer: drafts,
            formatter,
            advisor: Advisor::new(records.store.clone(), parts.model),
        };
        let calls = Arc::new(calls::table(config, needs));
        servers.spawn(|_| calls.clone().run(parts.new_calls));
        if let Some(listeners) = listeners.audiosocket {
            let (config, most) = (&config.audiosocket, config.calls.max);
            audiosocket::start(config, most, listeners, &calls, &inlets);
        }
        Self {
            sip: parts.edge.local_addr(),
            console,
            grpc,
            people,
            first_administrator: None,
            is_encrypted,
            edge: parts.edge,
            calls,
            archive,
            records,
            readiness,
            inlets,
            tasks,
            reread,
            drain: Duration::from_secs(config.calls.drain_s),
            flush: Duration::from_secs(config.calls.flush_s),
        }
    }

    /// The page's address, for a browser.
    #[must_use]
    pub fn page(&self) -> String {
        let scheme = if self.is_encrypted { "https" } else { "http" };
        format!("{scheme}://{}", self.console)
    }

    /// Reads the word lists again, while calls run; what is wrong with them is logged, and the old ones stay then.
    pub fn reload(&self) {
        self.reread.notify_one();
    }
}
