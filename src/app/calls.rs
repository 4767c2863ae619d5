//! From the settings to the call table.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::StartError;
use crate::audio::Frame;
use crate::call::{Rules, sound};
use crate::config::{self, Config, Listening};
use crate::control::CallControl;
use crate::events::Bus;
use crate::gateway::advice::Advisor;
use crate::gateway::calls::{CallContext, CallTable, DraftingDesk, MediaThreads};
use crate::gateway::draft_writer::DraftWriter;
use crate::gateway::media::ports::PortPool;
use crate::gateway::wav::Wav;
use crate::recognition::Recognizers;
use crate::recording::Recorder;
use crate::speech::segmenter::Settings;
use crate::text::formatter::TranscriptFormatter;
use crate::ticket::Drafter;

/// The threads that work for the calls; they end with it.
pub(super) struct Threads {
    media: MediaThreads,
    drafting: DraftingDesk,
}

impl Threads {
    pub fn start(config: &Config, drafter: Drafter) -> Result<Self, StartError> {
        let start = || {
            Ok(Self {
                media: MediaThreads::start(config.media_threads())?,
                drafting: DraftingDesk::start(Arc::new(drafter), config.calls.max)?,
            })
        };
        start().map_err(StartError::Threads)
    }

    /// Who draws up the drafts.
    pub fn drafter(&self) -> &Drafter {
        self.drafting.drafter()
    }
}

/// What the calls need of the other parts.
pub(super) struct Needs {
    pub announcement: Option<Arc<Frame>>,
    pub recognizers: Option<Recognizers>,
    pub threads: Threads,
    pub recorder: Option<Arc<Recorder>>,
    pub control: CallControl,
    pub bus: Bus,
    pub draft_writer: Arc<DraftWriter>,
    pub formatter: TranscriptFormatter,
    pub advisor: Advisor,
}

/// The table that the calls will run at.
pub(super) fn table(config: &Config, needs: Needs) -> CallTable {
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
        recorder: needs.recorder,
        announcement: needs.announcement,
        control: needs.control,
        pool: needs.recognizers.map(Arc::new),
        bus: needs.bus,
        draft_writer: needs.draft_writer,
        drafts: needs.threads.drafting,
        finish: Arc::new(needs.formatter),
        listening: listening(&config.listening),
        advisor: needs.advisor,
    };
    CallTable::new(context, needs.threads.media, config.calls.max)
}

/// What callers hear first: the file's channels as one.
pub(super) fn announcement(file: Option<&Path>) -> Result<Option<Arc<Frame>>, StartError> {
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

/// The end-pointer's settings.
fn listening(settings: &Listening) -> Settings {
    Settings {
        end_pause: settings.end_pause(),
        short_pause: settings.short_pause(),
        partial_every: settings.partial_every(),
        longest: settings.longest(),
        ..Settings::default()
    }
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
