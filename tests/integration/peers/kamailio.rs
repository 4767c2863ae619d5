//! Kamailio before the gateway: we register with it, and calls pass it in both directions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::sipp::{SIPP, Scenario, Sipp, free_port};
use super::{Gateway, Program, installed, until};

const KAMAILIO: &str = "/usr/sbin/kamailio";
pub(super) const NEEDED: [(&str, &str); 2] = [(KAMAILIO, "kamailio"), (SIPP, "sip-tester")];
/// Of our account there.
const PASSWORD: &str = "battery staple";
/// For how many seconds Kamailio lets us be registered.
const EXPIRES: u32 = 3;

/// A running Kamailio: registrar and record-routing proxy of the domain `pbx.test`.
pub(super) struct Kamailio {
    program: Program,
    pub port: u16,
}

/// What it wrote of a request.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    /// `proto`, `id`, `expires`, `user`, `within` and `routed`, as `kamailio.cfg` writes them.
    notes: BTreeMap<String, String>,
}

impl Seen {
    fn note(&self, name: &str) -> &str {
        // As Kamailio writes what is not there.
        let note = self.notes.get(name).map_or("", String::as_str);
        if note == "<null>" { "" } else { note }
    }

    fn is_within_a_dialog(&self) -> bool {
        !self.note("within").is_empty()
    }
}

impl Kamailio {
    /// Starts it; the number 6000 leads to `agent`, with `rtpengine` (its control port) in the audio's path.
    pub fn start(folder: &Path, agent: &str, rtpengine: Option<u16>) -> Self {
        let port = free_port();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/kamailio.cfg");
        let config = std::fs::read_to_string(path)
            .expect("the configuration")
            .replace("@PORT@", &port.to_string())
            .replace("@EXPIRES@", &EXPIRES.to_string())
            .replace("@PASSWORD@", PASSWORD)
            .replace("@AGENT@", agent)
            .replace("@NG@", &rtpengine.unwrap_or_default().to_string());
        std::fs::write(folder.join("kamailio.cfg"), config).expect("written");
        let mut command = Command::new(KAMAILIO);
        command.args(["-DD", "-E", "-m", "32", "-M", "8", "-f", "kamailio.cfg"]);
        command.args(["-Y", "."]);
        if rtpengine.is_some() {
            command.args(["-A", "RTPENGINE"]);
        }
        let program = Program::start(&mut command, folder, "kamailio");
        Self { program, port }
    }

    fn seen(&self) -> Vec<Seen> {
        let said = self.program.said();
        let lines = said.lines().filter_map(|line| line.split_once("LINE "));
        lines
            .map(|(_, line)| {
                let mut words = line.split(' ');
                let method = words.next().unwrap_or_default().to_owned();
                let notes = words
                    .filter_map(|word| word.split_once('='))
                    .map(|(name, value)| (name.to_owned(), value.to_owned()));
                Seen {
                    method,
                    notes: notes.collect(),
                }
            })
            .collect()
    }

    /// Waits until we have registered with proof so many times.
    pub fn registered(&self, times: usize) {
        until("registered with Kamailio", || {
            let seen = self.seen();
            let authenticated = seen
                .iter()
                .filter(|seen| seen.method == "REGISTER" && seen.note("user") == "hotline");
            (authenticated.count() >= times).then_some(())
        });
    }
}

/// What makes us a trunk of that Kamailio, over the transport, with its number 6000 as the operator.
pub(super) fn trunk(kamailio: &Kamailio, transport: &str) -> String {
    format!(
        "[[trunk]]\nname = \"pbx\"\naddresses = [\"127.0.0.1\"]\nuri = \"sip:127.0.0.1:{};transport={transport}\"\n\
         username = \"hotline\"\npassword = \"{PASSWORD}\"\nregister = true\nregister_s = 60\noptions_s = 1\n\
         [[route]]\ncalled = \"12345\"\nto = [\"trunk:pbx/6000\"]\n",
        kamailio.port
    )
}

/// A scenario behind a proxy: its answers repeat the recorded route, and its requests within the dialog follow it.
fn routed(name: &str) -> Scenario {
    let plain = Scenario::from(name);
    let text = plain
        .text
        .replacen(
            "<recv request=\"INVITE\"",
            "<recv request=\"INVITE\" rrs=\"true\"",
            1,
        )
        .replacen(
            "<recv response=\"200\"",
            "<recv response=\"200\" rrs=\"true\"",
            1,
        );
    let messages = text.split("<![CDATA[").enumerate().map(|(index, part)| {
        if index == 0 {
            return part.to_owned();
        }
        let is_within = part.contains("[peer_tag_param]") || part.contains("To:[$them]");
        let lines = part.lines().map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                // What the phone has taken from Contact itself is as good.
                [method, target, "SIP/2.0"] if is_within && !target.starts_with("[$") => {
                    format!("      {method} [next_url] SIP/2.0")
                }
                ["CSeq:", ..] if is_within => format!("{line}\n      [routes]"),
                ["[last_Via:]"] => format!("{line}\n      [last_Record-Route:]"),
                _ => line.to_owned(),
            }
        });
        lines.collect::<Vec<_>>().join("\n") + "\n"
    });
    Scenario {
        text: messages.collect::<Vec<_>>().join("<![CDATA["),
        ..plain
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn we_register_with_kamailio_renew_take_a_call_from_it_and_prove_ourselves_when_we_call() {
    if !installed(&NEEDED) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (phone, port) = Sipp::operator(routed("operator-answers"), "", 1, &[]);
    let kamailio = Kamailio::start(folder.path(), &format!("sip:agent@127.0.0.1:{port}"), None);
    let gateway = Gateway::start(&trunk(&kamailio, "udp"));
    kamailio.registered(1);
    let caller = Sipp::caller(
        routed("caller-hangs-up"),
        "",
        kamailio.port,
        1,
        &["-d", "300"],
    );
    caller.succeeds().await;
    phone.succeeds().await;
    // A renewal, before what was granted is over.
    kamailio.registered(2);
    gateway.process.terminate();

    let seen = kamailio.seen();
    let challenged = |method: &str| {
        let mut requests = seen
            .iter()
            .filter(|seen| seen.method == method && !seen.is_within_a_dialog());
        let unauthenticated = requests.any(|seen| seen.note("user") != "hotline");
        unauthenticated && requests.any(|seen| seen.note("user") == "hotline")
    };
    assert!(challenged("REGISTER") && challenged("INVITE"));
    let last = seen.iter().rfind(|seen| seen.method == "REGISTER");
    assert_eq!(
        last.map(|seen| seen.note("expires")),
        Some("0"),
        "we leave when we go"
    );
    assert!(seen.iter().any(|seen| seen.method == "OPTIONS"));
}

/// Runs a call through Kamailio, TCP on our side of it and UDP on the phones'; each of `within` passes it in both dialogs.
async fn passes(caller: &str, operator: &str, within: &[(&str, usize)]) {
    if !installed(&NEEDED) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (phone, port) = Sipp::operator(routed(operator), "", 1, &[]);
    let kamailio = Kamailio::start(folder.path(), &format!("sip:agent@127.0.0.1:{port}"), None);
    let _gateway = Gateway::start(&trunk(&kamailio, "tcp"));
    kamailio.registered(1);
    Sipp::caller(routed(caller), "", kamailio.port, 1, &["-d", "300"])
        .succeeds()
        .await;
    phone.succeeds().await;

    let seen = kamailio.seen();
    let said = kamailio.program.said();
    assert!(!said.contains("STRAY"), "a request lacks its route: {said}");
    let dialogs: BTreeSet<&str> = seen
        .iter()
        .filter(|seen| seen.method == "INVITE")
        .map(|seen| seen.note("id"))
        .collect();
    assert_eq!(
        dialogs.len(),
        2,
        "the caller's and the operator's: {seen:#?}"
    );
    for dialog in dialogs {
        for (method, least) in within {
            let passed: Vec<_> = seen
                .iter()
                .filter(|seen| {
                    seen.note("id") == dialog && seen.method == *method && seen.is_within_a_dialog()
                })
                .collect();
            assert!(
                passed.len() >= *least && passed.iter().all(|seen| !seen.note("routed").is_empty()),
                "{method} in {dialog}: {seen:#?}"
            );
        }
    }
    // Both transports were used, whoever asked.
    for transport in ["udp", "tcp"] {
        assert!(seen.iter().any(|seen| {
            seen.method == "INVITE" && seen.note("proto").eq_ignore_ascii_case(transport)
        }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_holds_and_hangs_up_is_heard_through_the_recorded_route() {
    passes(
        "caller-holds",
        "operator-is-held",
        &[("ACK", 3), ("INVITE", 2), ("BYE", 1)],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_holds_and_hangs_up_is_heard_through_the_recorded_route() {
    passes(
        "caller-is-held",
        "operator-holds",
        &[("ACK", 3), ("INVITE", 2), ("BYE", 1)],
    )
    .await;
}
