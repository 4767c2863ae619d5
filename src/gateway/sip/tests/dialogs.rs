//! What happens within dialogs, with bare phones whose every message is written here.

use super::flows::{Bridge, PHONE_SDP, Phone, leaves_nothing, value};
use super::trunks::PASSWORD;
use super::*;
use crate::sip::digest::{Algorithm, Guard, Secret, Verdict};

/// A bare phone that is in a call.
pub(super) struct Talk {
    pub phone: Phone,
    gateway: SocketAddr,
    /// As the lines of its requests have them.
    pub own: String,
    other: String,
    call_id: String,
    target: String,
    pub number: u32,
    /// The tag of its responses to what begins a dialog.
    pub tag: &'static str,
    /// The port that its Contact names.
    at: u16,
}

impl Talk {
    /// The operator's phone, after it has got its INVITE.
    pub fn invited(phone: Phone) -> (Self, String) {
        let (invite, gateway) = phone.receive("INVITE");
        let talk = Self {
            own: format!("{};tag=phone", value(&invite, "To")),
            other: value(&invite, "From").to_owned(),
            call_id: value(&invite, "Call-ID").to_owned(),
            target: contact(&invite).to_owned(),
            number: 0,
            tag: "phone",
            at: phone.port(),
            phone,
            gateway,
        };
        (talk, invite)
    }

    /// The caller's phone, before it has called.
    pub fn calling(gateway: u16) -> Self {
        let phone = Phone::new();
        Self {
            own: "<sip:13800138000@127.0.0.1>;tag=citizen".to_owned(),
            other: "<sip:12345@127.0.0.1>".to_owned(),
            call_id: format!("bare-{}", phone.port()),
            target: format!("sip:12345@127.0.0.1:{gateway}"),
            number: 0,
            tag: "phone",
            at: phone.port(),
            gateway: ([127, 0, 0, 1], gateway).into(),
            phone,
        }
    }

    pub fn send(&self, method: &str, number: u32, extra: &str, body: &str) {
        let port = self.phone.port();
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let text = format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{port};rport;branch=z9hG4bK{port}{method}{number}x{}\r\n\
             From: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {number} {method}\r\nContact: <sip:bare@127.0.0.1:{}>\r\n\
             Max-Forwards: 70\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            self.target,
            extra.len(),
            self.own,
            self.other,
            self.call_id,
            self.at,
            body.len()
        );
        let sent = self.phone.0.send_to(text.as_bytes(), self.gateway);
        sent.expect("sent");
    }

    /// Sends a request within the dialog; the first response that begins with the status.
    pub fn asks(&mut self, method: &str, extra: &str, body: &str, status: &str) -> String {
        self.number += 1;
        self.send(method, self.number, extra, body);
        self.phone.receive(&format!("SIP/2.0 {status}")).0
    }

    /// Answers a request.
    pub fn answers(&self, request: &str, status: &str, extra: &str, body: &str) {
        let to = value(request, "To");
        let to = if to.contains("tag=") {
            to.to_owned()
        } else {
            format!("{to};tag={}", self.tag)
        };
        let kind = if body.is_empty() {
            ""
        } else {
            "Content-Type: application/sdp\r\n"
        };
        let text = format!(
            "SIP/2.0 {status}\r\nVia: {}\r\nFrom: {}\r\nTo: {to}\r\nCall-ID: {}\r\nCSeq: {}\r\n\
             Contact: <sip:bare@127.0.0.1:{}>\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            value(request, "Via"),
            value(request, "From"),
            value(request, "Call-ID"),
            value(request, "CSeq"),
            self.at,
            body.len()
        );
        let sent = self.phone.0.send_to(text.as_bytes(), self.gateway);
        sent.expect("sent");
    }

    /// Calls, and waits for the answer.
    pub fn is_answered(&mut self) {
        self.number += 1;
        self.send("INVITE", self.number, "", PHONE_SDP);
        let (answer, _) = self.phone.receive("SIP/2.0 200");
        self.is_within(&answer);
        self.send("ACK", self.number, "", "");
    }

    /// Takes what a response to its INVITE says of the dialog.
    pub fn is_within(&mut self, response: &str) {
        value(response, "To").clone_into(&mut self.other);
        contact(response).clone_into(&mut self.target);
    }

    pub fn hangs_up(&mut self) {
        self.asks("BYE", "", "", "200");
    }

    pub fn is_hung_up_on(&self) -> String {
        let (bye, _) = self.phone.receive("BYE");
        self.answers(&bye, "200 OK", "", "");
        bye
    }
}

/// A call between two bare phones; `config` is told the port of the operator's.
pub(super) async fn between(
    config: impl FnOnce(u16) -> SipConfig,
    caller: impl FnOnce(Talk) + Send + 'static,
    operator: impl FnOnce(Phone) + Send + 'static,
) -> Vec<String> {
    let phone = Phone::new();
    let port = phone.port();
    let bridge = Bridge::start(config(port), format!("sip:op@127.0.0.1:{port}")).await;
    let gateway = bridge.port();
    let caller = tokio::task::spawn_blocking(move || caller(Talk::calling(gateway)));
    let operator = tokio::task::spawn_blocking(move || operator(phone));
    caller.await.expect("the caller");
    operator.await.expect("the operator");
    leaves_nothing(&bridge.edge).await;
    locked(&bridge.reasons).clone()
}

fn contact(message: &str) -> &str {
    let contact = value(message, "Contact").trim_start_matches('<');
    contact.split('>').next().expect("a URI")
}

pub(super) fn sdp(direction: &str) -> String {
    format!("{PHONE_SDP}a={direction}\r\n")
}

const US: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A PBX that wants every request authenticated.
struct Strict(Guard<&'static str>);

impl Strict {
    fn new() -> Self {
        let now = Instant::now();
        let minute = Duration::from_mins(1);
        let mut guard = Guard::new("pbx", &Algorithm::ALL, minute, [9; 32], now);
        guard.admit("hotline", Secret::Password(PASSWORD.to_owned()), "us");
        Self(guard)
    }

    /// The headers of a challenge, if the request is not authenticated.
    fn doubts(&mut self, request: &str) -> Option<String> {
        let method = request.split(' ').next().expect("a method");
        let proofs = request
            .lines()
            .filter_map(|line| line.strip_prefix("Authorization: "));
        let picked = self.0.pick(proofs).expect("one proof");
        let verdict = picked.map(|proof| self.0.judge(Instant::now(), US, method, &proof));
        match verdict {
            Some(Verdict::Known(_)) => None,
            other => Some(self.challenge(other == Some(Verdict::Stale))),
        }
    }

    fn challenge(&mut self, stale: bool) -> String {
        let values = self.0.challenge(Instant::now(), US, stale);
        let lines = values
            .iter()
            .map(|value| format!("WWW-Authenticate: {value}\r\n"));
        lines.collect()
    }

    /// The next request of a method, once it is authenticated; how often it was doubted.
    fn demands(&mut self, talk: &Talk, method: &str) -> (String, usize) {
        for doubted in 0.. {
            let (request, _) = talk.phone.receive(method);
            match self.doubts(&request) {
                None => return (request, doubted),
                Some(challenge) => talk.answers(&request, "401 Unauthorized", &challenge, ""),
            }
        }
        unreachable!("a request is not sent for ever")
    }
}

fn trunk(to: u16) -> Trunk {
    Trunk {
        addresses: vec!["127.0.0.1".parse().expect("a network")],
        ..trunks::trunk("pbx", ([127, 0, 0, 1], to).into())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pbx_that_wants_every_request_authenticated_gets_credentials_with_growing_counts() {
    let guarded = |port| SipConfig {
        trunks: vec![trunk(port)],
        ..config()
    };
    let caller = move |mut caller: Talk| {
        caller.is_answered();
        caller.asks("INVITE", "", &sdp("sendonly"), "200");
        caller.send("ACK", caller.number, "", "");
        // Hold is passed on meanwhile.
        std::thread::sleep(Duration::from_millis(300));
        caller.hangs_up();
    };
    let operator = move |phone: Phone| {
        let mut strict = Strict::new();
        let (talk, invite) = Talk::invited(phone);
        let challenge = strict
            .doubts(&invite)
            .expect("nothing is authenticated yet");
        talk.answers(&invite, "401 Unauthorized", &challenge, "");
        let (invite, _) = strict.demands(&talk, "INVITE");
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        let (ack, _) = talk.phone.receive("ACK");
        let proof = |message: &str| {
            let mut lines = message.lines();
            let proof = lines.find(|line| line.starts_with("Authorization: "));
            proof.expect("authenticated").to_owned()
        };
        assert_eq!(proof(&ack), proof(&invite), "{ack}");
        // The nonce serves on, with the next count.
        let (hold, doubted) = strict.demands(&talk, "INVITE");
        assert_eq!(doubted, 0, "{hold}");
        assert!(hold.contains("nc=00000002"), "{hold}");
        // Another machine of the PBX does not know the nonce.
        let stale = strict.challenge(true);
        talk.answers(&hold, "401 Unauthorized", &stale, "");
        talk.phone.receive("ACK");
        let (hold, _) = strict.demands(&talk, "INVITE");
        assert!(hold.contains("nc=00000001"), "{hold}");
        talk.answers(&hold, "200 OK", "", &sdp("recvonly"));
        talk.phone.receive("ACK");
        let (bye, doubted) = strict.demands(&talk, "BYE");
        assert_eq!(doubted, 0, "{bye}");
        let numbers = [&invite, &hold, &bye].map(|request| {
            let number = value(request, "CSeq").split(' ').next();
            number.and_then(|number| number.parse::<u32>().ok())
        });
        assert!(numbers.is_sorted(), "{numbers:?}");
        talk.answers(&bye, "200 OK", "", "");
    };
    let reasons = between(guarded, caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_called_may_want_our_bye_authenticated_and_one_that_takes_no_credentials_loses_no_call()
 {
    let guarded = |_| SipConfig {
        trunks: vec![trunk(9)],
        ..config()
    };
    let operator = move |phone: Phone| {
        let (mut talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        talk.asks("INVITE", "", &sdp("sendonly"), "200");
        talk.send("ACK", talk.number, "", "");
        std::thread::sleep(Duration::from_millis(300));
        talk.hangs_up();
    };
    let caller = move |mut caller: Talk| {
        let mut strict = Strict::new();
        caller.is_answered();
        // It wants a password that it then does not take: the offer is lost, and the call goes on.
        let (hold, _) = caller.phone.receive("INVITE");
        let wrong = strict.challenge(false);
        caller.answers(&hold, "401 Unauthorized", &wrong, "");
        let (hold, _) = caller.phone.receive("INVITE");
        assert!(hold.contains("Authorization: Digest"), "{hold}");
        caller.answers(&hold, "401 Unauthorized", &wrong, "");
        let mut strict = Strict::new();
        strict.0 = Guard::new(
            "pbx",
            &[Algorithm::Md5],
            Duration::from_mins(1),
            [1; 32],
            Instant::now(),
        );
        let secret = Secret::Password(PASSWORD.to_owned());
        strict.0.admit("hotline", secret, "us");
        let (bye, doubted) = strict.demands(&caller, "BYE");
        assert_eq!(doubted, 1, "another nonce and another algorithm");
        caller.answers(&bye, "200 OK", "", "");
    };
    let reasons = between(guarded, caller, operator).await;
    assert_eq!(reasons, ["operator hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_within_a_dialog_goes_to_the_target_that_was_named_last() {
    let caller = move |mut caller: Talk| {
        caller.is_answered();
        // A caller who moves: its UPDATE and its re-INVITE name another place.
        let moved = Phone::new();
        caller.at = moved.port();
        caller.asks("UPDATE", "", "", "200");
        caller.asks("INVITE", "", &sdp("sendonly"), "200");
        caller.send("ACK", caller.number, "", "");
        caller.phone = moved;
        caller.is_hung_up_on();
    };
    let operator = move |phone: Phone| {
        let (mut talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        // The answer to our re-INVITE names another place too: its ACK and all that follows go there.
        let (hold, _) = talk.phone.receive("INVITE");
        let moved = Phone::new();
        talk.at = moved.port();
        talk.answers(&hold, "200 OK", "", &sdp("recvonly"));
        moved.receive("ACK");
        talk.phone = moved;
        let info = talk.asks("INFO", "", "", "200");
        assert!(info.contains("CSeq: 1 INFO"), "{info}");
        talk.hangs_up();
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["operator hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_rings_may_change_its_early_media_once_its_answer_is_acknowledged() {
    let caller = move |mut caller: Talk| {
        caller.is_answered();
        caller.hangs_up();
    };
    let operator = move |phone: Phone| {
        let (mut talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "180 Ringing", "", "");
        // A sign of life needs nothing; an offer has to wait for the answer to ours.
        let answer = talk.asks("UPDATE", "", "", "200");
        assert_eq!(contact(&answer), talk.target, "{answer}");
        talk.asks("UPDATE", "", PHONE_SDP, "491");
        let reliable = "Require: 100rel\r\nRSeq: 1\r\n";
        talk.answers(&invite, "183 Session Progress", reliable, PHONE_SDP);
        let (prack, _) = talk.phone.receive("PRACK");
        talk.answers(&prack, "200 OK", "", "");
        let other = PHONE_SDP.replace("RTP/AVP 8", "RTP/AVP 0");
        let answer = talk.asks("UPDATE", "", &other, "200");
        assert!(answer.contains("RTP/AVP 0"), "{answer}");
        talk.asks("REFER", "Refer-To: <sip:x@127.0.0.1>\r\n", "", "405");
        // Old numbers are out of order, and a dialog that is none is unknown.
        talk.number -= 3;
        talk.asks("UPDATE", "Subject: late\r\n", "", "500");
        talk.number += 9;
        let call_id = std::mem::replace(&mut talk.call_id, "unknown".to_owned());
        talk.asks("UPDATE", "", "", "481");
        talk.call_id = call_id;
        // The answer is settled, so that the 200 needs none.
        talk.answers(&invite, "200 OK", "", "");
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_may_change_its_early_media_before_the_answer() {
    let (rings, rung) = std::sync::mpsc::channel::<()>();
    let operator = move |phone: Phone| {
        let (talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "183 Session Progress", "", PHONE_SDP);
        let _ = rung.recv_timeout(PATIENCE);
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    };
    let caller = move |mut caller: Talk| {
        caller.number += 1;
        let invite = caller.number;
        caller.send("INVITE", invite, "Supported: 100rel\r\n", PHONE_SDP);
        let (early, _) = caller.phone.receive("SIP/2.0 183");
        caller.is_within(&early);
        // Its offer has no answer that is sure yet.
        caller.asks("UPDATE", "", PHONE_SDP, "500");
        let rack = format!("RAck: {} {invite} INVITE\r\n", value(&early, "RSeq"));
        caller.asks("PRACK", &rack, "", "200");
        let other = PHONE_SDP.replace("RTP/AVP 8", "RTP/AVP 0");
        let answer = caller.asks("UPDATE", "", &other, "200");
        assert!(answer.contains("RTP/AVP 0"), "{answer}");
        rings.send(()).expect("the operator waits");
        let (answer, _) = caller.phone.receive("SIP/2.0 200");
        assert!(value(&answer, "CSeq").ends_with("INVITE"), "{answer}");
        caller.send("ACK", invite, "", "");
        caller.hangs_up();
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trunk_that_wants_to_offer_is_invited_without_an_offer_and_answered_in_the_ack() {
    let late = |port| SipConfig {
        trunks: vec![Trunk {
            offers_late: true,
            ..trunk(port)
        }],
        ..config()
    };
    let caller = move |mut caller: Talk| {
        caller.is_answered();
        caller.hangs_up();
        // Of the second call nothing comes.
        let mut caller = Talk::calling(caller.gateway.port());
        caller.asks("INVITE", "", PHONE_SDP, "488");
        caller.send("ACK", caller.number, "", "");
    };
    let operator = move |phone: Phone| {
        let (talk, invite) = Talk::invited(phone);
        assert!(invite.ends_with("\r\n\r\n"), "{invite}");
        assert!(!invite.contains("application/sdp"), "{invite}");
        assert!(!value(&invite, "Supported").contains("100rel"), "{invite}");
        // What is only a preview answers nothing.
        talk.answers(&invite, "183 Session Progress", "", PHONE_SDP);
        let offer = PHONE_SDP.replace("RTP/AVP 8", "RTP/AVP 0 8");
        // The ACK may be lost.
        for _ in 0..2 {
            talk.answers(&invite, "200 OK", "", &offer);
            let (ack, _) = talk.phone.receive("ACK");
            // The caller has A-law, which therefore goes before what the trunk likes best.
            assert!(ack.contains("RTP/AVP 8\r\n"), "{ack}");
            assert!(ack.contains("application/sdp"), "{ack}");
        }
        talk.is_hung_up_on();
        let (talk, invite) = Talk::invited(talk.phone);
        talk.answers(&invite, "180 Ringing", "", "");
        let foreign = PHONE_SDP.replace("RTP/AVP 8", "RTP/AVP 18");
        talk.answers(&invite, "200 OK", "", &foreign);
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    };
    let reasons = between(late, caller, operator).await;
    assert_eq!(reasons.first().map(String::as_str), Some("caller hung up"));
}
