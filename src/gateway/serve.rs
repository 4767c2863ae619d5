//! Everything at once: opens what must be open, wires the rooms, and takes it down in the right order.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::advice::Advisor;
use super::archive::Archive;
use super::audiosocket;
use super::calls::{CallContext, CallTable, Controls, DraftingDesk, MediaThreads};
use super::draft_writer::DraftWriter;
use super::lists::{self, ListsError};
use super::media::ports::PortPool;
use super::outgoing::{delivery, desk, grpc_access, grpc_tls, language_model, webhook};
use super::registrations::{self, RegistrationStore};
use super::server::{self, ServeError, Services};
use super::sip::{BindError, SipConfig, SipEdge};
use super::telephony;
use super::wav::{Wav, WavError};
use crate::audio::Frame;
use crate::call::{Rules, sound};
use crate::config::{self, Config, Listening, Recognition, Text};
use crate::console::{self, Console, Recordings};
use crate::events::Bus;
use crate::grpc::tls::{Connector, Identity, TlsError};
use crate::grpc::{EndpointError, Transcripts};
use crate::language_model::KeyError;
use crate::listener::spare_descriptors;
use crate::recognition::models::{ModelError, ModelStore};
use crate::recognition::{
    self, Engine, LoadError, RecognitionPool, Recognizers, Remote, RemoteError, WhisperModel,
};
use crate::recording::{RecordingError, make_private_folder};
use crate::speech::RecognizerError;
use crate::speech::segmenter::Settings;
use crate::store::{EventWriter, Lane, Store, StoreError};
use crate::telemetry::{self, Readiness, State};
use crate::text::pen::Pen;
use crate::ticket::classifier::{self, Classifier};
use crate::ticket::{Drafter, ForeignClassifier, Sources, Taxonomy, TaxonomyError};
use crate::ticketing::{Backend, Book, BookError};
use crate::webhook::WebhookError;

/// Why the gateway does not start; every sentence names the thing and the remedy.
#[derive(Debug)]
pub enum StartError {
    /// The speech model is missing or damaged.
    Model(ModelError),
    /// The speech model cannot be loaded.
    Load(LoadError),
    /// The recognition workers cannot be started.
    Recognition(RecognizerError),
    /// A folder for the records cannot be made.
    Folder {
        /// Which.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The calls cannot be recorded.
    Recording(RecordingError),
    /// The announcement cannot be played.
    Announcement(WavError),
    /// The threads that carry media cannot be started.
    Threads(io::Error),
    /// The gateway's records cannot be opened or written.
    Store(StoreError),
    /// The reference backend's records cannot be opened.
    Book(BookError),
    /// A file of the taxonomy cannot be read.
    TaxonomyFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The taxonomy cannot be used.
    Taxonomy(TaxonomyError),
    /// The word lists cannot be used.
    Lists(ListsError),
    /// The classifier's file cannot be read.
    ClassifierFile {
        /// Which.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The classifier's file is none.
    Classifier(classifier::file::ModelError),
    /// The classifier knows other categories.
    ForeignClassifier(ForeignClassifier),
    /// The backend's address cannot be used.
    Endpoint(EndpointError),
    /// A recogniser's address cannot be used.
    Remote(RemoteError),
    /// A certificate or key of gRPC cannot be used.
    Tls(TlsError),
    /// The token of a gRPC client cannot be read.
    Token {
        /// Its file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The webhook cannot be set up.
    Webhook(WebhookError),
    /// The language model's key cannot be read.
    ModelKey(KeyError),
    /// The SIP address cannot be taken.
    Sip(BindError),
    /// The gRPC or console address cannot be taken.
    Listen {
        /// The configuration key.
        key: &'static str,
        /// Why.
        source: ServeError,
    },
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Load(error) => error.fmt(f),
            Self::Recognition(error) => error.fmt(f),
            Self::Folder { folder, source } => write!(
                f,
                "the folder {} cannot be made ({source}); allow it, or set store.database and ticketing.database elsewhere",
                folder.display()
            ),
            Self::Recording(error) => error.fmt(f),
            Self::Announcement(error) => write!(f, "recording.announcement: {error}"),
            Self::Threads(source) => write!(
                f,
                "the media threads cannot be started ({source}); allow the process more threads and open files"
            ),
            Self::Store(error) => error.fmt(f),
            Self::Book(error) => error.fmt(f),
            Self::TaxonomyFile { file, source } => {
                write!(
                    f,
                    "taxonomy file {} cannot be read ({source}); deploy/examples/yantai shows the four that are needed",
                    file.display()
                )
            }
            Self::Taxonomy(error) => error.fmt(f),
            Self::Lists(error) => error.fmt(f),
            Self::ClassifierFile { file, source } => write!(
                f,
                "ticketing.classifier {} cannot be read ({source}); write it with `xinqiao taxonomy train`, or leave the key out",
                file.display()
            ),
            Self::Classifier(error) => write!(f, "ticketing.classifier: {error}"),
            Self::ForeignClassifier(error) => write!(f, "ticketing.classifier: {error}"),
            Self::Endpoint(error) => error.fmt(f),
            Self::Remote(error) => error.fmt(f),
            Self::Tls(error) => error.fmt(f),
            Self::Token { file, source } => write!(
                f,
                "the token_file {} of a [[grpc.client]] cannot be used ({source}); write a long random word into it that this user may read",
                file.display()
            ),
            Self::Webhook(error) => error.fmt(f),
            Self::ModelKey(error) => error.fmt(f),
            Self::Sip(error) => error.fmt(f),
            Self::Listen { key, source } => write!(f, "{key}: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(match self {
            Self::Model(error) => error,
            Self::Load(error) => error,
            Self::Recognition(error) => error,
            Self::Folder { source, .. }
            | Self::ClassifierFile { source, .. }
            | Self::TaxonomyFile { source, .. }
            | Self::Token { source, .. }
            | Self::Threads(source) => source,
            Self::Store(error) => error,
            Self::Recording(error) => error,
            Self::Announcement(error) => error,
            Self::Book(error) => error,
            Self::Taxonomy(error) => error,
            Self::Lists(error) => error,
            Self::Classifier(error) => error,
            Self::ForeignClassifier(error) => error,
            Self::Endpoint(error) => error,
            Self::Remote(error) => error,
            Self::Tls(error) => error,
            Self::Webhook(error) => error,
            Self::ModelKey(error) => error,
            Self::Sip(error) => error,
            Self::Listen { source, .. } => source,
        })
    }
}

/// A running gateway.
pub struct Gateway {
    /// Where SIP is taken.
    pub sip: SocketAddr,
    /// Where the page is.
    pub console: SocketAddr,
    /// Where the gRPC services are.
    pub grpc: SocketAddr,
    edge: SipEdge,
    calls: Arc<CallTable>,
    store: Store,
    readiness: Arc<Readiness>,
    /// The reference backend's records, where it runs here.
    book: Option<Book>,
    /// Ends the ways in beside SIP.
    accepting: CancellationToken,
    /// Ends the servers; the writers end after them.
    servers: CancellationToken,
    writers: CancellationToken,
    server_tasks: Vec<JoinHandle<()>>,
    writer_tasks: Vec<JoinHandle<usize>>,
    archive: Option<Archive>,
    /// Has the word lists read again.
    reread: Arc<Notify>,
    drain: Duration,
}

impl Gateway {
    /// Starts everything that `config` names.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(config: &Config) -> Result<Self, StartError> {
        telemetry::start();
        recognition::describe();
        let path = config
            .recognition
            .enabled
            .then(|| {
                ModelStore::new(&config.recognition.models_dir).path_of(&config.recognition.model)
            })
            .transpose()
            .map_err(StartError::Model)?;
        let announcement = announcement(config.recording.announcement.as_deref())?;
        let taxonomy = taxonomy(config.ticketing.taxonomy.as_deref())?;
        let tls = grpc_tls(config).map_err(StartError::Tls)?;
        let access = grpc_access(config)?;
        let webhook = webhook(config).map_err(StartError::Webhook)?;
        let classifier = classifier(config.ticketing.classifier.as_deref())?;
        let reads_along = language_model(config, &taxonomy).map_err(StartError::ModelKey)?;
        let pen = pen(&config.text)?;
        let drafter = Drafter::new(taxonomy);
        let drafter = match classifier {
            Some(classifier) => drafter
                .advised_by(classifier)
                .map_err(StartError::ForeignClassifier)?,
            None => drafter,
        };
        // Addresses first: they are the likeliest to be taken, and nothing is written until they are ours.
        let listen = |key, address| async move {
            server::bind(address)
                .await
                .map_err(|source| StartError::Listen { key, source })
        };
        let grpc_listener = listen("grpc.listen", config.grpc.listen).await?;
        let console_listener = listen("console.listen", config.console.listen).await?;
        let inlets = match config.audiosocket.listens() {
            Some([caller, operator]) => Some([
                listen("audiosocket.caller", caller).await?,
                listen("audiosocket.operator", operator).await?,
            ]),
            None => None,
        };
        let registrations = Arc::<RegistrationStore>::default();
        let sip_config = telephony::sip_config(config);
        let wanted = [
            console::CONNECTIONS.total,
            server::CONNECTIONS.total,
            sip_config.max_connections,
        ];
        let spare = spare_descriptors(config.calls.max, wanted.iter().sum());
        // Three eighths for the page, three for SIP, two for gRPC.
        let eighths = |parts: usize| (spare * parts / 8).max(1);
        let sip_config = SipConfig {
            registrations: Some(registrations.clone()),
            max_connections: sip_config.max_connections.min(eighths(3)),
            ..sip_config
        };
        let (edge, accept) = SipEdge::bind(sip_config).await.map_err(StartError::Sip)?;

        let pool = if let Some(path) = path {
            let model = WhisperModel::load_for(&path, engine(&config.recognition))
                .map_err(StartError::Load)?;
            let (workers, queue) = (config.workers(), config.recognition.queue);
            let pool = RecognitionPool::start(workers, queue, move || model.recognizer())
                .map_err(StartError::Recognition)?;
            Some(Arc::new(Recognizers::new(
                pool,
                remotes(&config.recognition)?,
            )))
        } else {
            warn!("recognition is switched off by recognition.enabled: calls have no transcript");
            None
        };
        let threads = MediaThreads::start(config.media_threads()).map_err(StartError::Threads)?;
        let drafter = Arc::new(drafter);
        let drafts = DraftingDesk::start(drafter, config.calls.max).map_err(StartError::Threads)?;

        let reference = config
            .ticketing
            .endpoint
            .is_none()
            .then_some(&config.ticketing.database);
        for file in [Some(&config.store.database), reference]
            .into_iter()
            .flatten()
        {
            if let Some(folder) = file.parent() {
                make_private_folder(folder).map_err(|source| StartError::Folder {
                    folder: folder.to_owned(),
                    source,
                })?;
            }
        }
        let mut lanes = vec![Lane::Ticketing];
        lanes.extend(webhook.is_some().then_some(Lane::Webhook));
        let store = Store::open_with(&config.store.database, &lanes)
            .await
            .map_err(StartError::Store)?;
        edge.restore(
            registrations::restored(&store)
                .await
                .map_err(StartError::Store)?,
        );
        let abandoned = store.outbox().close_abandoned().await;
        match abandoned.map_err(StartError::Store)? {
            0 => {}
            calls => warn!("the drafts of {calls} calls that were broken off are closed"),
        }
        let book = match reference {
            Some(file) => Some(Book::open(file).await.map_err(StartError::Book)?),
            None => None,
        };
        let archive = if config.recording.enabled {
            let archive = Archive::open(&config.recording, store.clone());
            Some(archive.map_err(StartError::Recording)?)
        } else {
            None
        };
        let bus = Bus::new(store.begin_run().await.map_err(StartError::Store)?);

        let grpc = address(&grpc_listener, config.grpc.listen);
        let controls = Controls::default();
        let (servers, writers) = (CancellationToken::new(), CancellationToken::new());
        let services = Services {
            transcripts: Some(Transcripts::new(bus.clone(), store.clone()).with_pause({
                let controls = controls.clone();
                move |call, paused| controls.pause(call, paused)
            })),
            ticketing: book.clone().map(Backend::new),
            access,
            connections: Some(eighths(2)),
            ..Services::default()
        };
        let endpoint = config.ticketing.endpoint.as_deref();
        let desk = endpoint
            .map(|endpoint| desk(config, endpoint))
            .transpose()?;
        let console = address(&console_listener, config.console.listen);
        let readiness = Arc::<Readiness>::default();
        let recordings = archive.as_ref().map(|archive| Recordings {
            folder: config.recording.folder.clone(),
            key: archive.key.clone(),
        });
        let page = Console::new(bus.clone(), store.clone())
            .within(eighths(3))
            .named(&config.console.hosts)
            .telling(readiness.clone())
            .choosing(drafts.drafter().taxonomy())
            .playing(recordings);
        let draft_writer = Arc::<DraftWriter>::default();
        let context = CallContext {
            ports: PortPool::new(
                config.sip.listen.ip(),
                config.media.first_port,
                config.media.last_port,
                Duration::from_secs(config.media.quiet_s),
            ),
            media_address: config.media_address(),
            operator: config.operators.default.clone(),
            media: config.media.clone(),
            own_numbers: config.taps.own_numbers.clone().into(),
            ring: config.ring(),
            flush: Duration::from_secs(config.calls.flush_s),
            rules: rules(&config.calls, &config.recording),
            reviewed: config.recognition.review,
            recorder: archive.as_ref().map(|archive| archive.recorder.clone()),
            announcement,
            controls,
            pool,
            bus: bus.clone(),
            draft_writer: draft_writer.clone(),
            drafts,
            finish: Arc::new(pen.clone()),
            listening: listening(&config.listening),
            advisor: Advisor::new(store.clone(), reads_along),
        };
        let calls = Arc::new(CallTable::new(context, threads, config.calls.max));

        let mut server_tasks = vec![
            tokio::spawn(ends(
                "gRPC",
                server::serve(grpc_listener, services, tls, servers.clone()),
            )),
            tokio::spawn(console::serve(console_listener, page, servers.clone())),
            tokio::spawn(calls.clone().run(accept)),
        ];
        let hand_over = delivery(config.ticketing.deadline_s);
        let (outbox, stop) = (store.outbox(), writers.clone());
        if let Some(desk) = desk {
            server_tasks.push(tokio::spawn(outbox.deliver(
                Lane::Ticketing,
                Arc::new(desk),
                hand_over,
                stop,
            )));
        } else if let Some(book) = &book {
            // Within the process: a door for it would stand open to everybody on this machine.
            let desk = Arc::new(Backend::new(book.clone()));
            server_tasks.push(tokio::spawn(outbox.deliver(
                Lane::Ticketing,
                desk,
                hand_over,
                stop,
            )));
        }
        let accepting = CancellationToken::new();
        if let Some(listeners) = inlets {
            audiosocket::start(config, listeners, &calls, &accepting);
        }
        if let Some(webhook) = webhook {
            server_tasks.push(tokio::spawn(store.outbox().deliver(
                Lane::Webhook,
                Arc::new(webhook),
                delivery(config.webhook.timeout_s),
                writers.clone(),
            )));
        }
        let writer_tasks = vec![
            tokio::spawn({
                let (outbox, stop) = (store.outbox(), writers.clone());
                async move { draft_writer.run(&outbox, &stop).await }
            }),
            tokio::spawn({
                let (store, stop) = (store.clone(), writers.clone());
                async move { registrations.run(&store, &stop).await }
            }),
            tokio::spawn({
                let (store, stop) = (store.clone(), writers.clone());
                let events = EventWriter::new(bus);
                async move { events.run(&store, &stop).await }
            }),
        ];
        let reread = Arc::<Notify>::default();
        tokio::spawn(lists::watch(
            pen,
            config.text.hotwords.clone(),
            lists::LOOK_EVERY,
            reread.clone(),
            servers.clone(),
        ));
        let sip = edge.local_addr();
        readiness.set(State::Ready);
        match config.admission.strangers {
            Some(calls @ 1..) => warn!(calls, "anybody may call: admission.strangers is set"),
            None if config.trunk.is_empty() && !sip.ip().is_loopback() => {
                warn!("only extensions and this machine itself may call: no [[trunk]] is set up");
            }
            _ => {}
        }
        info!(%sip, %console, %grpc, workers = config.workers(), "the gateway is up");
        Ok(Self {
            sip,
            console,
            grpc,
            edge,
            calls,
            store,
            readiness,
            book,
            accepting,
            servers,
            writers,
            server_tasks,
            writer_tasks,
            archive,
            reread,
            drain: Duration::from_secs(config.calls.drain_s),
        })
    }

    /// Reads the word lists again, while calls run; what is wrong with them is logged, and the old ones stay then.
    pub fn reload(&self) {
        self.reread.notify_one();
    }

    /// Takes no more calls: new ones are told to come back (503 with Retry-After), and it does not count as ready.
    pub fn refuse_new_calls(&self) {
        self.readiness.set(State::Draining);
        self.edge.set_accepting(false);
    }

    /// Takes no more calls, lets the running ones end (at most `calls.drain_s`), ends the rest, and writes what is left.
    ///
    /// `hurry` cuts the wait short.
    pub async fn stop(self, hurry: CancellationToken) {
        self.refuse_new_calls();
        self.accepting.cancel();
        let drained = tokio::select! {
            () = self.calls.idle() => true,
            () = tokio::time::sleep(self.drain) => false,
            () = hurry.cancelled() => false,
        };
        if !drained {
            warn!("{} calls are ended by the shutdown", self.calls.running());
            self.calls.end_all();
            self.calls.idle().await;
        }
        self.edge.close().await;
        if let Some(archive) = self.archive {
            archive.close().await;
        }
        // The last drafts and lines are in memory: to disk, then out to the backend and to the watchers.
        self.writers.cancel();
        for task in self.writer_tasks {
            let _ = task.await;
        }
        self.servers.cancel();
        for task in self.server_tasks {
            let _ = task.await;
        }
        self.store.close().await;
        if let Some(book) = self.book {
            book.close().await;
        }
        info!("the gateway is down");
    }
}

/// The recognisers elsewhere.
fn remotes(settings: &Recognition) -> Result<Vec<Remote>, StartError> {
    let tls = match &settings.tls {
        None => None,
        Some(tls) => {
            let identity = Identity {
                cert: tls.cert.clone(),
                key: tls.key.clone(),
            };
            let connector = Connector::new(tls.ca.clone(), Some(identity), tls.domain.clone());
            Some(connector.map_err(StartError::Tls)?)
        }
    };
    let remote = |address: &String| Remote::new(address, tls.clone());
    let remotes: Result<_, _> = settings.remotes.iter().map(remote).collect();
    remotes.map_err(StartError::Remote)
}

/// The engine's settings.
pub fn engine(settings: &Recognition) -> Engine {
    Engine {
        threads: settings.threads,
        language: settings.language.clone(),
        beam: settings.beam,
    }
}

/// The end-pointer's settings.
pub fn listening(settings: &Listening) -> Settings {
    Settings {
        end_pause: settings.end_pause(),
        short_pause: settings.short_pause(),
        partial_every: settings.partial_every(),
        longest: settings.longest(),
        ..Settings::default()
    }
}

/// What writes the lines.
fn pen(config: &Text) -> Result<Pen, StartError> {
    let lists = lists::read(config.hotwords.as_deref()).map_err(StartError::Lists)?;
    Ok(Pen::new(lists, config.corrections))
}

/// The taxonomy of a folder's files, or the embedded example.
///
/// # Errors
/// [`StartError::TaxonomyFile`] or [`StartError::Taxonomy`].
pub fn taxonomy(folder: Option<&Path>) -> Result<Taxonomy, StartError> {
    let Some(folder) = folder else {
        return Ok(Taxonomy::embedded());
    };
    let read = |name: &str| {
        let file = folder.join(name);
        std::fs::read_to_string(&file).map_err(|source| StartError::TaxonomyFile { file, source })
    };
    let (categories, departments) = (read("categories.toml")?, read("departments.toml")?);
    let (places, phrases) = (read("places.toml")?, read("phrases.toml")?);
    let matters = match read("matters.csv") {
        Err(StartError::TaxonomyFile { source, .. })
            if source.kind() == io::ErrorKind::NotFound =>
        {
            None
        }
        matters => Some(matters?),
    };
    let sources = Sources {
        categories: &categories,
        departments: &departments,
        places: &places,
        phrases: &phrases,
        matters: matters.as_deref(),
    };
    Taxonomy::parse(&sources).map_err(StartError::Taxonomy)
}

/// The classifier of a file, if there is to be one.
fn classifier(file: Option<&Path>) -> Result<Option<Classifier>, StartError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let bytes = std::fs::read(file).map_err(|source| StartError::ClassifierFile {
        file: file.to_owned(),
        source,
    })?;
    Classifier::from_bytes(&bytes)
        .map(Some)
        .map_err(StartError::Classifier)
}

/// What callers hear first: the file's channels as one.
fn announcement(file: Option<&Path>) -> Result<Option<Arc<Frame>>, StartError> {
    let Some(file) = file else {
        return Ok(None);
    };
    let Wav { rate, channels } = Wav::read(file).map_err(StartError::Announcement)?;
    let samples = match &channels[..] {
        [left, right] => left
            .iter()
            .zip(right)
            .map(|(left, right)| left.midpoint(*right))
            .collect(),
        one => one.concat(),
    };
    Ok(Some(Arc::new(sound(samples, rate))))
}

/// What may happen in a call; 0 in the settings is no limit.
fn rules(calls: &config::Calls, recording: &config::Recording) -> Rules {
    let limit = |seconds: u64| (seconds > 0).then(|| Duration::from_secs(seconds));
    Rules {
        early_media: calls.early_media,
        announce_early: recording.announce_early,
        hide_numbers: recording.hides_numbers(),
        max_duration: limit(calls.max_duration_s),
        media_timeout: limit(calls.media_timeout_s),
        leg_media_timeout: limit(calls.leg_media_timeout_s),
    }
}

fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// Says when a server stops by itself.
async fn ends<E: fmt::Display>(what: &'static str, server: impl Future<Output = Result<(), E>>) {
    if let Err(error) = server.await {
        tracing::error!("the {what} server stopped: {error}");
    }
}
