//! Races and losses on the wire, with bare phones.

use super::dialogs::{Talk, between, sdp};
use super::flows::{PHONE_SDP, Phone, value};
use super::*;
use crate::sip::session::Terms;

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_while_our_own_offer_is_open_is_told_to_wait_on_either_side() {
    let (held, holding) = std::sync::mpsc::channel::<()>();
    let caller = move |mut caller: Talk| {
        caller.is_answered();
        let answer = caller.asks("UPDATE", "", &sdp("sendonly"), "200");
        assert!(answer.contains("a=recvonly"), "{answer}");
        holding.recv_timeout(PATIENCE).expect("passed on");
        caller.asks("UPDATE", "", &sdp("sendrecv"), "200");
        // Then the operator holds, and the caller offers something too.
        let (hold, _) = caller.phone.receive("INVITE");
        caller.asks("INVITE", "", PHONE_SDP, "491");
        caller.send("ACK", caller.number, "", "");
        caller.answers(&hold, "200 OK", "", &sdp("recvonly"));
        caller.phone.receive("ACK");
        caller.hangs_up();
    };
    let operator = move |phone: Phone| {
        let (mut talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        let (hold, _) = talk.phone.receive("INVITE");
        assert!(hold.contains("a=sendonly"), "{hold}");
        talk.asks("INVITE", "", PHONE_SDP, "491");
        talk.send("ACK", talk.number, "", "");
        talk.asks("UPDATE", "", PHONE_SDP, "491");
        talk.answers(&hold, "200 OK", "", &sdp("recvonly"));
        talk.phone.receive("ACK");
        held.send(()).expect("the caller waits");
        let (back, _) = talk.phone.receive("INVITE");
        talk.answers(&back, "200 OK", "", &sdp("sendrecv"));
        talk.phone.receive("ACK");
        let answer = talk.asks("UPDATE", "", &sdp("sendonly"), "200");
        assert!(answer.contains("a=recvonly"), "{answer}");
        talk.is_hung_up_on();
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_wants_longer_sessions_is_asked_again_with_what_it_wants() {
    let timed = SipConfig {
        session: Terms {
            expires: 600,
            min: 90,
        },
        ..config()
    };
    let caller = |mut caller: Talk| {
        caller.is_answered();
        caller.hangs_up();
    };
    let operator = |phone: Phone| {
        let (talk, invite) = Talk::invited(phone);
        assert!(value(&invite, "Session-Expires").starts_with("600"));
        let too_short = "422 Session Interval Too Small";
        talk.answers(&invite, too_short, "Min-SE: 1200\r\n", "");
        talk.phone.receive("ACK");
        let (talk, invite) = Talk::invited(talk.phone);
        assert!(value(&invite, "Session-Expires").starts_with("1200"));
        assert_eq!(value(&invite, "Min-SE"), "1200");
        let agreed = "Require: timer\r\nSession-Expires: 1200;refresher=uas\r\n";
        talk.answers(&invite, "200 OK", agreed, PHONE_SDP);
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    };
    let reasons = between(|_| timed, caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn early_media_are_repeated_while_their_prack_is_lost_and_the_answer_waits_for_it() {
    let caller = |mut caller: Talk| {
        caller.number += 1;
        let invite = caller.number;
        caller.send("INVITE", invite, "Require: 100rel\r\n", PHONE_SDP);
        let (early, _) = caller.phone.receive("SIP/2.0 183");
        caller.is_within(&early);
        // Its PRACK is lost; the gateway says the same again.
        let (again, _) = caller.phone.receive("SIP/2.0 183");
        assert_eq!(value(&again, "RSeq"), value(&early, "RSeq"));
        caller.asks("PRACK", "RAck: 1 999 INVITE\r\n", "", "481");
        let rack = format!("RAck: {} {invite} INVITE\r\n", value(&early, "RSeq"));
        caller.asks("PRACK", &rack, "", "200");
        let (answer, _) = caller.phone.receive("SIP/2.0 200");
        assert!(value(&answer, "CSeq").ends_with("INVITE"), "{answer}");
        caller.send("ACK", invite, "", "");
        caller.hangs_up();
    };
    let operator = |phone: Phone| {
        let (talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "183 Session Progress", "", PHONE_SDP);
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
    let never = |mut caller: Talk| {
        caller.number += 1;
        caller.send("INVITE", 1, "Require: 100rel\r\n", PHONE_SDP);
        let (refused, _) = caller.phone.receive("SIP/2.0 504");
        caller.is_within(&refused);
        caller.send("ACK", 1, "", "");
    };
    let cancelled = |phone: Phone| {
        let (talk, invite) = Talk::invited(phone);
        talk.answers(&invite, "183 Session Progress", "", PHONE_SDP);
        let (cancel, _) = talk.phone.receive("CANCEL");
        talk.answers(&cancel, "200 OK", "", "");
        talk.answers(&invite, "487 Request Terminated", "", "");
        talk.phone.receive("ACK");
    };
    let reasons = between(|_| config(), never, cancelled).await;
    assert_eq!(reasons, ["caller lost before the answer (no PRACK)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_phones_with_early_media_the_one_that_answers_is_talked_to() {
    let caller = |mut caller: Talk| {
        caller.is_answered();
        caller.hangs_up();
    };
    let operator = |phone: Phone| {
        let (mut talk, invite) = Talk::invited(phone);
        let early = "183 Session Progress";
        let reliable = "Require: 100rel\r\nRSeq: 1\r\n";
        let own = talk.own.clone();
        for tag in ["first", "second"] {
            talk.tag = tag;
            talk.answers(&invite, early, reliable, PHONE_SDP);
            let (prack, _) = talk.phone.receive("PRACK");
            assert!(value(&prack, "To").ends_with(tag), "{prack}");
            talk.answers(&prack, "200 OK", "", "");
        }
        // The first changes its media once more; the second, which had agreed on its own, answers.
        talk.own = own.replace("tag=phone", "tag=first");
        talk.asks("UPDATE", "", PHONE_SDP, "200");
        talk.tag = "second";
        talk.answers(&invite, "200 OK", "", "");
        let (ack, _) = talk.phone.receive("ACK");
        assert!(value(&ack, "To").ends_with("second"), "{ack}");
        // One that answers after all is taken at its word, and let go.
        talk.tag = "first";
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        let (ack, _) = talk.phone.receive("ACK");
        assert!(value(&ack, "To").ends_with("first"), "{ack}");
        for _ in 0..2 {
            let bye = talk.is_hung_up_on();
            assert!(
                bye.contains("tag=first") || bye.contains("tag=second"),
                "{bye}"
            );
        }
    };
    let reasons = between(|_| config(), caller, operator).await;
    assert_eq!(reasons, ["caller hung up"]);
}
