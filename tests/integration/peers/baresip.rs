//! baresip as both phones: each really hears the other, through every codec that it has, encrypted too.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::sipp::free_port;
use super::tone::{self, CALLER, Heard, OPERATOR, Tones};
use super::{Gateway, PASSWORD, Program, extensions, installed, until};

const BARESIP: &str = "/usr/bin/baresip";
pub(super) const NEEDED: (&str, &str) = (BARESIP, "baresip-core");
/// How long a phone can play, which is longer than any of these calls.
const LONGEST: u32 = 30;
/// How loud a tone of 6000 is at least behind the poorest codec; another's must stay below a tenth of it.
const LOUD: f64 = 2_000.0;
/// How much of what was heard is looked at.
const WINDOW: f64 = 0.4;
/// How long a call is held, and how long it goes on after that.
const STRETCH: Duration = Duration::from_millis(900);

/// What a phone speaks: its name with baresip, module, rate and channels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Codec(&'static str, &'static str, u32, u16);

pub(super) const PCMA: Codec = Codec("PCMA/8000/1", "g711", 8_000, 1);
const PCMU: Codec = Codec("PCMU/8000/1", "g711", 8_000, 1);
const G722: Codec = Codec("G722/16000/1", "g722", 16_000, 1);
const OPUS: Codec = Codec("opus/48000/2", "opus", 48_000, 2);

impl Codec {
    /// Whether the high tones pass it.
    fn is_wide(self) -> bool {
        self.2 > 8_000
    }
}

/// A running baresip, driven over its control port.
pub(super) struct Baresip {
    program: Program,
    /// Where it takes calls.
    pub sip: u16,
    control: TcpStream,
    unread: Vec<u8>,
    events: Vec<Value>,
    folder: PathBuf,
    codec: Codec,
}

impl Baresip {
    /// Starts one that plays `tones`; `parameters` are those of its account.
    pub fn start(folder: &Path, account: &str, codec: Codec, tones: Tones) -> Self {
        let folder = folder.join(account.split(['<', ':', '@']).nth(2).unwrap_or("phone"));
        let Codec(name, module, rate, channels) = codec;
        let heard = folder.join("heard");
        fs::create_dir_all(&heard).expect("a folder");
        let wav = folder.join("says.wav");
        tone::write(&wav, tones, rate, channels, LONGEST);
        let (sip, control) = (free_pair(), free_port());
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/baresip.conf");
        let config = fs::read_to_string(template)
            .expect("the configuration")
            .replace("@SIP@", &sip.to_string())
            .replace("@CONTROL@", &control.to_string())
            .replace("@CODEC@", module)
            .replace("@WAV@", &wav.display().to_string())
            .replace("@HEARD@", &heard.display().to_string());
        fs::write(folder.join("config"), config).expect("written");
        fs::write(folder.join("contacts"), "").expect("written");
        let account = format!("{account};audio_codecs={name}\n");
        fs::write(folder.join("accounts"), account).expect("written");
        let mut command = Command::new(BARESIP);
        command.arg("-f").arg(&folder);
        let program = Program::start(&mut command, &folder, "baresip");
        let control = until("baresip's control port", || {
            TcpStream::connect(("127.0.0.1", control)).ok()
        });
        control
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a timeout");
        Self {
            program,
            sip,
            control,
            unread: Vec::new(),
            events: Vec::new(),
            folder,
            codec,
        }
    }

    /// An extension of the gateway's, which answers at once; started when it is registered.
    fn extension(folder: &Path, gateway: SocketAddr, name: &str, codec: Codec, more: &str) -> Self {
        let account = format!(
            "<sip:{name}@xinqiao>;auth_user={name};auth_pass={PASSWORD};outbound=\"sip:{gateway}\";regint=60;\
             answermode=auto{more}"
        );
        let phone = Self::start(folder, &account, codec, OPERATOR);
        until("registered with the gateway", || {
            phone.program.said().contains("200 OK").then_some(())
        });
        phone
    }

    /// Says a command.
    fn says(&mut self, command: &str, parameters: &str) {
        let said = serde_json::json!({"command": command, "params": parameters}).to_string();
        let framed = format!("{}:{said},", said.len());
        self.control.write_all(framed.as_bytes()).expect("sent");
    }

    /// Waits for an event that has not been waited for yet.
    #[track_caller]
    fn tells(&mut self, kind: &str) {
        until(kind, || {
            let mut buffer = [0; 4_096];
            if let Ok(length) = self.control.read(&mut buffer) {
                self.unread.extend_from_slice(&buffer[..length]);
            }
            while let Some(event) = take_netstring(&mut self.unread) {
                self.events.extend(serde_json::from_slice::<Value>(&event));
            }
            let at = self.events.iter().position(|event| event["type"] == kind)?;
            self.events.drain(..=at);
            Some(())
        });
    }

    /// What it has heard so far.
    fn heard(&self) -> Option<Heard> {
        fs::read_dir(self.folder.join("heard"))
            .ok()?
            .flatten()
            .map(|file| file.path())
            .find(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .and_then(|path| Heard::so_far(&path))
    }

    /// Waits until it has heard some more, and looks at that.
    #[track_caller]
    fn hears(&self, from: Codec, tones: Tones) {
        let before = self.heard().map_or(0.0, |heard| heard.seconds());
        let heard = until("something is heard", || {
            let heard = self.heard()?;
            (heard.seconds() > before + WINDOW + 0.2).then_some(heard)
        });
        let heard = heard.last(WINDOW);
        let own = if tones == CALLER { OPERATOR } else { CALLER };
        assert!(heard.amplitude(tones.low) > LOUD, "{}", describe(&heard));
        assert!(
            heard.amplitude(own.low) < LOUD / 10.0,
            "{}",
            describe(&heard)
        );
        if self.codec.is_wide() {
            let high = heard.amplitude(tones.high);
            assert_eq!(high > LOUD, from.is_wide(), "{}", describe(&heard));
        }
    }
}

fn describe(heard: &Heard) -> String {
    let tones = [CALLER.low, CALLER.high, OPERATOR.low, OPERATOR.high];
    let found = tones.map(|hertz| format!("{hertz} Hz: {:.0}", heard.amplitude(hertz)));
    format!("{:.2} s of {}", heard.seconds(), found.join(", "))
}

/// A free port whose successor, which baresip takes for TLS, is free too.
fn free_pair() -> u16 {
    std::iter::repeat_with(|| (free_port(), free_port()))
        .find_map(|(port, next)| (next == port + 1).then_some(port))
        .expect("endless")
}

/// The next whole `LENGTH:BYTES,`.
fn take_netstring(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    let colon = bytes.iter().position(|byte| *byte == b':')?;
    let length: usize = std::str::from_utf8(&bytes[..colon])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let end = colon + 1 + length;
    (bytes.len() > end).then(|| {
        let text = bytes[colon + 1..end].to_vec();
        bytes.drain(..=end);
        text
    })
}

/// A call between two phones: they hear each other, before and after the operator holds; the caller hangs up.
#[track_caller]
pub(super) fn converse(caller: &mut Baresip, operator: &mut Baresip, called: &str) {
    let (from_caller, from_operator) = (caller.codec, operator.codec);
    caller.says("dial", called);
    caller.tells("CALL_ESTABLISHED");
    operator.tells("CALL_ESTABLISHED");
    caller.hears(from_operator, OPERATOR);
    operator.hears(from_caller, CALLER);
    operator.says("hold", "");
    std::thread::sleep(STRETCH);
    operator.says("resume", "");
    std::thread::sleep(STRETCH);
    caller.says("hangup", "");
    operator.tells("CALL_CLOSED");
    caller.tells("CALL_CLOSED");
}

/// Lets phones talk at once, each pair in its way, and looks at what was recorded.
fn all_talk(pairs: &[([Codec; 2], &str)]) {
    if !installed(&[NEEDED]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(&format!(
        "[media]\nkeys_without_tls = true\n{}",
        extensions(pairs.len())
    ));
    let (at, place) = (gateway.sip, folder.path());
    std::thread::scope(|scope| {
        for (index, ([says, answers], more)) in pairs.iter().enumerate() {
            scope.spawn(move || {
                let name = (1_000 + index).to_string();
                let mut operator = Baresip::extension(place, at, &name, *answers, more);
                let account = format!("<sip:caller{name}@127.0.0.1>;regint=0{more}");
                let mut caller = Baresip::start(place, &account, *says, CALLER);
                converse(&mut caller, &mut operator, &format!("sip:{name}@{at}"));
            });
        }
    });
    for recording in gateway.recordings(pairs.len()) {
        was_held_and_taken_back(&recording);
    }
}

/// Whether both channels of a recording have a phone's tone, nothing, and the tone again. baresip 1.0 itself is deaf after
/// a hold, but what it says arrives.
#[track_caller]
pub(super) fn was_held_and_taken_back(recording: &Path) {
    for (channel, tones) in [CALLER, OPERATOR].into_iter().enumerate() {
        let loud = Heard::read(recording, channel)
            .stretches(0.1)
            .map(|stretch| stretch.amplitude(tones.low) > LOUD)
            .collect::<Vec<_>>();
        let turns: Vec<(bool, usize)> = loud
            .chunk_by(|one, other| one == other)
            .map(|run| (run[0], run.len()))
            // One is where a tone begins or ends.
            .filter(|(_, length)| *length > 3)
            .collect();
        let kinds: Vec<bool> = turns.iter().map(|(loud, _)| *loud).collect();
        assert!(
            matches!(
                kinds[..],
                [.., true, false, true] | [.., true, false, true, false]
            ),
            "channel {channel}: {turns:?}"
        );
    }
}

#[test]
fn both_hear_each_other_in_every_codec_and_are_held_and_taken_back() {
    all_talk(&[
        ([PCMA, PCMA], ""),
        ([PCMU, PCMU], ""),
        ([G722, G722], ""),
        ([OPUS, OPUS], ""),
    ]);
}

#[test]
fn phones_without_a_common_codec_hear_each_other() {
    all_talk(&[([OPUS, PCMA], ""), ([PCMU, G722], ""), ([G722, OPUS], "")]);
}

#[test]
fn encrypted_phones_hear_each_other() {
    all_talk(&[
        ([PCMA, PCMA], ";mediaenc=srtp-mand"),
        ([G722, G722], ";mediaenc=srtp"),
        ([OPUS, OPUS], ";mediaenc=srtp"),
    ]);
}
