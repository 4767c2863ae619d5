//! End-pointing: cuts one leg's audio into utterances and says when each deserves a recognition.
//!
//! A leg is idle until voice is heard for [`Settings::onset`]; the utterance then begins [`Settings::pre_roll`]
//! earlier, so that soft initials (b, f, h …) are not lost. While it grows, a partial pass is due every
//! [`Settings::partial_every`]. At the first short pause ([`Settings::short_pause`]) an endpoint pass starts at
//! once; when the pause lasts [`Settings::end_pause`] that very pass becomes the final line, so the recognition
//! has run while the end-pointer was still making sure. An utterance of [`Settings::longest`] is cut at its
//! quietest place, and what follows the cut begins the next one; where even that place is loud, the cut goes through
//! a word, and the next one begins [`OVERLAP`] earlier, so that one of the two hears the word whole.
//!
//! Everything is counted in samples: the caller feeds a gapless timeline, and media time follows from it.

use std::sync::Arc;
use std::time::Duration;

use crate::audio::{Frequency, MediaTime};
use crate::speech::Pass;
use crate::speech::passage::OVERLAP;

/// The segmenter's audio rate.
pub const RATE: Frequency = Frequency::HZ_16000;

/// How long after a voice began the detector hears it, as measured on speech with known times.
const DETECTOR_LAG: Duration = Duration::from_millis(50);

/// A place this much quieter than the utterance lies between words.
const QUIET: f32 = 0.05;

/// When to start, pass on and end an utterance.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Voice probability at which an utterance may start.
    pub start_above: f32,
    /// Voice probability below which a step counts as pause; lower than `start_above`, so that weak ends stay in.
    pub pause_below: f32,
    /// How long voice must last before it counts as speech (a click is shorter).
    pub onset: Duration,
    /// Audio kept from before the onset.
    pub pre_roll: Duration,
    /// Pause after which an endpoint pass starts.
    pub short_pause: Duration,
    /// Pause after which the utterance has ended.
    pub end_pause: Duration,
    /// Audio kept after the last voice.
    pub tail: Duration,
    /// Longest time between partial passes while somebody speaks.
    pub partial_every: Duration,
    /// Longest utterance; past it, it is cut.
    pub longest: Duration,
    /// How far before the end the quietest place is looked for.
    pub cut_window: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            start_above: 0.5,
            pause_below: 0.35,
            onset: Duration::from_millis(64),
            pre_roll: Duration::from_millis(300),
            short_pause: Duration::from_millis(200),
            end_pause: Duration::from_millis(600),
            tail: Duration::from_millis(200),
            partial_every: Duration::from_millis(900),
            longest: Duration::from_secs(15),
            cut_window: Duration::from_secs(4),
        }
    }
}

/// A recognition that is due.
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    /// Counts this leg's utterances from 0.
    pub number: u32,
    /// How urgent; a `Final` ends the utterance.
    pub pass: Pass,
    /// 16 kHz mono.
    pub samples: Arc<[f32]>,
    /// When the first sample was heard.
    pub start: MediaTime,
    /// When the first voice was heard.
    pub voice: MediaTime,
    /// When the last voice was heard (the end of speech, not of the samples).
    pub end: MediaTime,
    /// Where the utterance before was cut in a word; what was heard up to then, that one heard too.
    pub cut: Option<MediaTime>,
}

/// What became of the audio pushed so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An utterance has begun.
    Began {
        /// Its number on this leg.
        number: u32,
        /// When.
        start: MediaTime,
    },
    /// A recognition is due.
    Due(Segment),
}

struct Growing {
    number: u32,
    start: u64,
    /// Sample position of the first voiced step.
    voiced_from: u64,
    samples: Vec<f32>,
    /// Voice probability of each step, for finding the quietest place.
    loudness: Vec<(u64, f32)>,
    /// Sample position after the last voiced step.
    voiced_until: u64,
    /// Sample position at which the last pass was issued.
    passed_at: u64,
    /// An endpoint pass has been issued for the current pause.
    endpoint_issued: bool,
    /// Sample position at which the one before was cut in a word.
    cut: Option<u64>,
}

/// Cuts one leg's audio; see the module's opening.
pub struct Segmenter {
    settings: Settings,
    /// Sample position of the next sample to be pushed, counted from media time zero.
    position: u64,
    recent: Vec<f32>,
    voiced_run: u64,
    growing: Option<Growing>,
    next_number: u32,
    voiced_total: u64,
}

impl Segmenter {
    /// A segmenter whose timeline begins at `start`.
    #[must_use]
    pub fn new(settings: Settings, start: MediaTime) -> Self {
        Self {
            settings,
            position: RATE.samples_in(start.since(MediaTime::ZERO)),
            recent: Vec::new(),
            voiced_run: 0,
            growing: None,
            next_number: 0,
            voiced_total: 0,
        }
    }

    /// How much voice has been heard so far.
    #[must_use]
    pub fn voiced(&self) -> Duration {
        RATE.duration_of(self.voiced_total)
    }

    /// Takes the next step of audio with the probability that it holds voice, and appends what follows to `out`.
    pub fn push(&mut self, step: &[f32], voice: f32, out: &mut Vec<Event>) {
        self.position += step.len() as u64;
        let voiced = voice
            >= if self.growing.is_some() {
                self.settings.pause_below
            } else {
                self.settings.start_above
            };
        if voiced {
            self.voiced_total += step.len() as u64;
        }
        match &mut self.growing {
            None => self.push_idle(step, voiced, out),
            Some(growing) => {
                growing.samples.extend_from_slice(step);
                let energy = step.iter().map(|sample| sample * sample).sum::<f32>()
                    / step.len().max(1) as f32;
                growing.loudness.push((self.position, energy));
                if voiced {
                    growing.voiced_until = self.position;
                    growing.endpoint_issued = false;
                }
                self.pass_or_end(out);
            }
        }
    }

    /// Ends what is being said, because the audio ends here.
    pub fn flush(&mut self, out: &mut Vec<Event>) {
        if let Some(growing) = self.growing.take() {
            out.push(Event::Due(self.segment(&growing, Pass::Final)));
        }
        self.voiced_run = 0;
        self.recent.clear();
    }

    fn push_idle(&mut self, step: &[f32], voiced: bool, out: &mut Vec<Event>) {
        self.recent.extend_from_slice(step);
        self.voiced_run = if voiced {
            self.voiced_run + step.len() as u64
        } else {
            0
        };
        if self.voiced_run < RATE.samples_in(self.settings.onset) {
            let keep = RATE.samples_in(self.settings.pre_roll + self.settings.onset) as usize;
            let surplus = self.recent.len().saturating_sub(keep);
            self.recent.drain(..surplus);
            return;
        }
        let lag = RATE
            .samples_in(DETECTOR_LAG)
            .min(self.recent.len() as u64 - self.voiced_run);
        let voiced_from = self.position - self.voiced_run - lag;
        self.voiced_run = 0;
        let samples = std::mem::take(&mut self.recent);
        self.begin(samples, voiced_from, self.position, None, out);
    }

    fn begin(
        &mut self,
        samples: Vec<f32>,
        voiced_from: u64,
        voiced_until: u64,
        cut: Option<u64>,
        out: &mut Vec<Event>,
    ) {
        let start = self.position - samples.len() as u64;
        let number = self.next_number;
        self.next_number += 1;
        self.growing = Some(Growing {
            number,
            start,
            voiced_from,
            samples,
            loudness: Vec::new(),
            voiced_until,
            passed_at: start,
            endpoint_issued: false,
            cut,
        });
        out.push(Event::Began {
            number,
            start: time_of(start),
        });
    }

    fn pass_or_end(&mut self, out: &mut Vec<Event>) {
        let Some(mut growing) = self.growing.take() else {
            return;
        };
        let pause = self.position.saturating_sub(growing.voiced_until);
        // No partial in a pause: the voice either goes on at once, or the endpoint pass follows within 200 ms.
        if pause >= RATE.samples_in(self.settings.end_pause) {
            out.push(Event::Due(self.segment(&growing, Pass::Final)));
            // What was heard after the tail is the next utterance's pre-roll.
            let keep = growing
                .samples
                .len()
                .min(RATE.samples_in(self.settings.pre_roll) as usize);
            self.recent = growing.samples.split_off(growing.samples.len() - keep);
            return;
        }
        if growing.samples.len() as u64 >= RATE.samples_in(self.settings.longest) {
            self.cut(growing, out);
            return;
        }
        if pause >= RATE.samples_in(self.settings.short_pause) {
            if !growing.endpoint_issued {
                growing.endpoint_issued = true;
                growing.passed_at = self.position;
                out.push(Event::Due(self.segment(&growing, Pass::Endpoint)));
            }
        } else if pause == 0
            && self.position - growing.passed_at >= RATE.samples_in(self.settings.partial_every)
        {
            growing.passed_at = self.position;
            out.push(Event::Due(self.segment(&growing, Pass::Partial)));
        }
        self.growing = Some(growing);
    }

    /// Ends `growing` at its quietest place and begins the next utterance with the rest.
    fn cut(&mut self, mut growing: Growing, out: &mut Vec<Event>) {
        let from = self.position
            - RATE
                .samples_in(self.settings.cut_window)
                .min(growing.samples.len() as u64);
        let (at, quiet) = quietest(&growing.loudness, from).unwrap_or((self.position, 0.0));
        let loud = energy(&growing.loudness) / growing.loudness.len().max(1) as f32;
        let overlap = if quiet < QUIET * loud {
            0
        } else {
            RATE.samples_in(OVERLAP).min(at - growing.start)
        };
        let place = (at - growing.start) as usize;
        let rest = growing.samples[place - overlap as usize..].to_vec();
        // The one before keeps its tail, which is all that it hears beyond the cut.
        let kept = if overlap == 0 {
            place
        } else {
            place + RATE.samples_in(self.settings.tail) as usize
        };
        growing.samples.truncate(kept);
        let voiced_until = growing.voiced_until;
        growing.voiced_until = voiced_until.min(at);
        out.push(Event::Due(self.segment(&growing, Pass::Final)));
        let cut = (overlap > 0).then_some(at);
        self.begin(rest, at - overlap, voiced_until.max(at), cut, out);
    }

    fn segment(&self, growing: &Growing, pass: Pass) -> Segment {
        let wanted =
            (growing.voiced_until - growing.start + RATE.samples_in(self.settings.tail)) as usize;
        let samples = &growing.samples[..growing.samples.len().min(wanted)];
        Segment {
            number: growing.number,
            pass,
            samples: samples.into(),
            start: time_of(growing.start),
            voice: time_of(growing.voiced_from),
            end: time_of(growing.voiced_until),
            cut: growing.cut.map(time_of),
        }
    }
}

/// The middle of the quietest 80 ms or so that lie behind `from`, and how loud a step of it is.
fn quietest(loudness: &[(u64, f32)], from: u64) -> Option<(u64, f32)> {
    /// Five steps of 16 ms: shorter than a syllable, longer than a stop consonant's closure.
    const STEPS: usize = 5;
    loudness
        .windows(STEPS)
        .filter(|window| window[0].0 > from)
        .min_by(|a, b| energy(a).total_cmp(&energy(b)))
        .map(|window| (window[STEPS / 2].0, energy(window) / STEPS as f32))
}

fn energy(window: &[(u64, f32)]) -> f32 {
    window.iter().map(|(_, energy)| energy).sum()
}

fn time_of(position: u64) -> MediaTime {
    MediaTime::ZERO + RATE.duration_of(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: usize = 256;

    struct Bench {
        segmenter: Segmenter,
        events: Vec<Event>,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                segmenter: Segmenter::new(Settings::default(), MediaTime::ZERO),
                events: Vec::new(),
            }
        }

        /// `millis` of sound at `level`, voiced or not.
        fn hear(&mut self, millis: u64, level: f32, voiced: bool) -> &mut Self {
            for _ in 0..millis / 16 {
                let step = [level; STEP];
                self.segmenter
                    .push(&step, if voiced { 0.9 } else { 0.1 }, &mut self.events);
            }
            self
        }

        fn speech(&mut self, millis: u64) -> &mut Self {
            self.hear(millis, 0.3, true)
        }

        fn pause(&mut self, millis: u64) -> &mut Self {
            self.hear(millis, 0.0, false)
        }

        fn passes(&self) -> Vec<(u32, Pass)> {
            self.segments()
                .iter()
                .map(|segment| (segment.number, segment.pass))
                .collect()
        }

        fn segments(&self) -> Vec<&Segment> {
            self.events
                .iter()
                .filter_map(|event| match event {
                    Event::Due(segment) => Some(segment),
                    Event::Began { .. } => None,
                })
                .collect()
        }
    }

    #[test]
    fn silence_and_clicks_give_no_utterance() {
        let mut bench = Bench::new();
        bench.pause(2_000);
        for _ in 0..20 {
            bench.speech(48).pause(400);
        }
        bench.segmenter.flush(&mut bench.events);
        assert_eq!(bench.events, []);
    }

    #[test]
    fn a_pause_starts_the_endpoint_pass_and_its_extent_is_the_final_one() {
        let mut bench = Bench::new();
        bench.pause(1_008).speech(480).pause(1_008);
        assert_eq!(bench.passes(), [(0, Pass::Endpoint), (0, Pass::Final)]);
        let segments = bench.segments();
        assert_eq!(segments[0].samples, segments[1].samples);
        assert_eq!(segments[0].start, segments[1].start);
        assert_eq!(segments[0].end, segments[1].end);
        assert_eq!(segments[1].end.as_millis(), 1_488);
        let begins = segments[1].start.as_millis();
        assert!(
            (1_008 - 320..1_008).contains(&begins),
            "pre-roll is kept: {begins}"
        );
    }

    #[test]
    fn partials_come_at_least_every_second_while_somebody_speaks() {
        let mut bench = Bench::new();
        bench.speech(5_200);
        assert_eq!(bench.passes(), vec![(0, Pass::Partial); 5]);
    }

    #[test]
    fn a_resumed_utterance_goes_on_after_its_endpoint_pass() {
        let mut bench = Bench::new();
        bench.speech(480).pause(400).speech(480).pause(800);
        assert_eq!(
            bench.passes(),
            [(0, Pass::Endpoint), (0, Pass::Endpoint), (0, Pass::Final)]
        );
    }

    #[test]
    fn endless_speech_is_cut_at_its_quietest_place_and_no_sample_is_lost_or_doubled() {
        let mut bench = Bench::new();
        bench
            .speech(13_008)
            .hear(96, 0.01, true)
            .speech(9_008)
            .pause(1_008);
        let finals: Vec<&Segment> = bench
            .segments()
            .into_iter()
            .filter(|segment| segment.pass == Pass::Final)
            .collect();
        assert_eq!(finals.len(), 2);
        let cut = finals[0].end.as_millis();
        assert!((13_008..=13_104).contains(&cut), "cut at {cut}");
        assert_eq!(finals[1].start, finals[0].end);
        assert_eq!(
            finals[0].samples.len(),
            RATE.samples_in(finals[0].end.since(finals[0].start)) as usize
        );
    }

    #[test]
    fn a_cut_in_a_word_is_heard_by_both_sides() {
        let mut bench = Bench::new();
        bench.speech(20_000).pause(1_008);
        let segments = bench.segments();
        let finals: Vec<&&Segment> = segments
            .iter()
            .filter(|segment| segment.pass == Pass::Final)
            .collect();
        assert_eq!(finals.len(), 2);
        let cut = finals[1].cut.expect("cut in a word");
        assert_eq!((finals[0].end, finals[0].cut), (cut, None));
        assert_eq!(cut.since(finals[1].start), OVERLAP);
        let heard = RATE.samples_in(cut.since(finals[0].start) + Settings::default().tail);
        assert_eq!(finals[0].samples.len() as u64, heard);
    }

    #[test]
    fn flush_ends_what_is_being_said() {
        let mut bench = Bench::new();
        bench.speech(480);
        bench.segmenter.flush(&mut bench.events);
        assert_eq!(bench.passes(), [(0, Pass::Final)]);
    }
}
