//! Linphone as both phones: registered with its instance id, plain and encrypted, held and taken back.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::time::Duration;

use super::baresip::was_held_and_taken_back;
use super::sipp::free_port;
use super::tone::{self, CALLER, Heard, OPERATOR, Tones};
use super::{Gateway, PASSWORD, Program, extensions, installed, until};

const LINPHONE: &str = "/usr/bin/linphonec";
const NEEDED: (&str, &str) = (LINPHONE, "linphone-cli");
/// How long a phone can play, which is longer than any of these calls.
const LONGEST: u32 = 40;
/// How loud a tone of 6000 is at least behind the poorest codec; the phone's own must stay below a tenth of it.
const LOUD: f64 = 2_000.0;
/// How long both talk before the hold, are held, and talk afterwards.
const STRETCH: Duration = Duration::from_millis(1_500);

/// A running Linphone, driven by what is typed into it.
struct Linphone {
    program: Program,
    input: ChildStdin,
    heard: PathBuf,
}

impl Linphone {
    /// Starts one that plays `tones`; `sip_keys` and `account` are keys and sections of its configuration.
    fn start(folder: &Path, name: &str, tones: Tones, sip_keys: &str, account: &str) -> Self {
        let home = folder.join(name);
        // It makes no folder for its own records, and complains for seconds without.
        fs::create_dir_all(home.join(".local/share/linphone")).expect("a folder");
        let (says, heard) = (home.join("says.wav"), home.join("heard.wav"));
        tone::write(&says, tones, 16_000, 1, LONGEST);
        let (sip, rtp) = (free_port(), free_port());
        // It looks for a network by the way to a public address; a loopback that leads nowhere else is one too.
        let config = format!(
            "[sip]\nsip_port={sip}\nsip_tcp_port=0\nsip_tls_port=0\nauto_net_state_mon=0\nregister_only_when_network_is_up=0\nguess_hostname=0\n\
             contact=<sip:{name}@127.0.0.1>\n{sip_keys}\n\
             [rtp]\naudio_rtp_port={rtp}\n\
             [sound]\nechocancellation=0\n\
             [video]\nenabled=0\ndisplay=0\ncapture=0\n{account}"
        );
        let file = home.join("linphonerc");
        fs::write(&file, config).expect("written");
        let mut command = Command::new(LINPHONE);
        command
            .env("HOME", &home)
            .arg("-c")
            .arg(&file)
            .args(["-a", "-d", "3", "-l"])
            .arg(home.join("messages"));
        let mut program =
            Program::start_with_input(&mut command, &home, "linphone", Stdio::piped());
        let input = program.child.stdin.take().expect("piped");
        let mut phone = Self {
            program,
            input,
            heard,
        };
        phone.says("soundcard use files");
        phone.says(&format!("play {}", says.display()));
        phone.says(&format!("record {}", phone.heard.display()));
        phone
    }

    /// An extension of the gateway's, which answers at once; started when it is registered.
    fn extension(folder: &Path, gateway: SocketAddr, name: &str, sip_keys: &str) -> Self {
        let account = format!(
            "[proxy_0]\nreg_proxy=<sip:{gateway}>\nreg_identity=sip:{name}@xinqiao\nreg_expires=60\nreg_sendregister=1\n\
             [auth_info_0]\nusername={name}\nuserid={name}\npasswd={PASSWORD}\nrealm=xinqiao\n"
        );
        let sip_keys = format!("default_proxy=0\n{sip_keys}");
        let phone = Self::start(folder, name, OPERATOR, &sip_keys, &account);
        // It says so in its log alone.
        let log = folder.join(name).join("messages");
        until("registered with the gateway", || {
            fs::read_to_string(&log)
                .is_ok_and(|log| log.contains("LinphoneRegistrationOk"))
                .then_some(())
        });
        phone
    }

    /// Types a line.
    fn says(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("typed");
        self.input.flush().expect("typed");
    }

    /// Waits until it has said something so many times.
    #[track_caller]
    fn tells(&self, words: &str, times: usize) {
        let told = || self.program.said().matches(words).count() >= times;
        until(words, || told().then_some(()));
    }

    /// Ends it; whether it has heard the other one's tone, and not its own, at the end of the call.
    #[track_caller]
    fn has_heard(mut self, tones: Tones) {
        self.says("quit");
        // What it has heard is only whole in the file when it has ended.
        until("its end", || self.program.child.try_wait().ok().flatten());
        let own = if tones == CALLER { OPERATOR } else { CALLER };
        let heard = Heard::so_far(&self.heard).expect("a WAV file").last(0.5);
        let (other, own) = (heard.amplitude(tones.low), heard.amplitude(own.low));
        assert!(other > LOUD && own < LOUD / 10.0, "{other:.0}, {own:.0}");
    }
}

/// Two phones talk, the caller holds and comes back, and hangs up; both have heard each other, and so has the recording.
fn talk(gateway: &Gateway, folder: &Path, sip_keys: &str) {
    let operator = Linphone::extension(folder, gateway.sip, "1000", sip_keys);
    let mut caller = Linphone::start(folder, "caller", CALLER, sip_keys, "");
    let both_talk = |caller: &Linphone, times| {
        for phone in [caller, &operator] {
            phone.tells("Media streams established", times);
        }
        std::thread::sleep(STRETCH);
    };
    caller.says(&format!("call sip:1000@{}", gateway.sip));
    both_talk(&caller, 1);
    caller.says("pause");
    caller.tells("is now paused", 1);
    std::thread::sleep(STRETCH);
    caller.says("resume 1");
    both_talk(&caller, 2);
    caller.says("terminate");
    for phone in [&caller, &operator] {
        phone.tells("ended (No error)", 1);
    }
    caller.has_heard(OPERATOR);
    operator.has_heard(CALLER);
    for recording in gateway.recordings(1) {
        was_held_and_taken_back(&recording);
    }
}

#[test]
fn linphone_registers_calls_is_held_and_taken_back() {
    if !installed(&[NEEDED]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    talk(&Gateway::start(&extensions(1)), folder.path(), "");
}

#[test]
fn linphone_that_demands_encryption_is_given_it() {
    if !installed(&[NEEDED]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let gateway = Gateway::start(&format!(
        "[media]\nkeys_without_tls = true\n{}",
        extensions(1)
    ));
    let keys = "media_encryption=srtp\nmedia_encryption_mandatory=1";
    talk(&gateway, folder.path(), keys);
}
