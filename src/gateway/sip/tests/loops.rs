//! A call of ours that somebody sends back: one that would go where it has been is a loop, another is a spiral.

use super::flows::{Phone, value};
use super::malformed::{Peer, SDP, next, request};
use super::trunks::trunk;
use super::*;
use crate::sip::route::{Called, Routes, Rule};

/// A gateway whose PBX answers under `pbx`; 12345 and every number without a rule go to 6000 there, 777 to 6001, and
/// 778 to 6002 first and then to 6000.
fn through(pbx: &Phone) -> SipConfig {
    let at = |number: &str| format!("sip:{number}@127.0.0.1:{}", pbx.port());
    let rule = |called: &str, to: &[&str]| Rule {
        called: Called::Exactly(called.to_owned()),
        trunk: None,
        to: to.iter().map(|number| at(number)).collect(),
    };
    let mut trunk = trunk("pbx", ([127, 0, 0, 1], pbx.port()).into());
    trunk.addresses = vec!["127.0.0.1".parse().expect("an address")];
    SipConfig {
        trunks: vec![trunk],
        routes: Routes(vec![
            rule("12345", &["6000"]),
            rule("777", &["6001"]),
            rule("778", &["6002", "6000"]),
        ]),
        operator: Some(at("6000")),
        ..config()
    }
}

/// Sends a call to the first of its route; the INVITE that the PBX gets.
async fn sent_on(call: &NewCall, pbx: &Phone) -> String {
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&call.route[0]),
        caller_number: call.incoming.caller_number.clone(),
        offer: SDP.to_owned(),
    };
    call.commands.send(invite).await.expect("taken");
    let number = call.route[0].split('@').next().expect("a number");
    pbx.receive(&format!("INVITE {number}@")).0
}

/// As a proxy passes a request on: to another URI, with a Via of its own.
fn passed_on(invite: &str, uri: &str, branch: &str) -> String {
    let (line, rest) = invite.split_once("\r\n").expect("a request");
    let to = line.split(' ').nth(1).expect("a URI");
    format!(
        "{}\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bK{branch}\r\n{rest}",
        line.replace(to, uri)
    )
    .replace("Max-Forwards: 70", "Max-Forwards: 69")
}

/// What the gateway says to a request of the PBX's.
fn said_to(edge: &SipEdge, pbx: &Phone, text: &str) -> String {
    pbx.0
        .send_to(text.as_bytes(), edge.local_addr())
        .expect("sent");
    let status = pbx.receive("SIP/2.0 4").0;
    status.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_would_go_where_it_has_been_ends_in_its_first_round() {
    let pbx = Phone::new();
    let (edge, mut calls) = SipEdge::bind(through(&pbx)).await.expect("bound");
    Peer::of(&edge).send(request("INVITE", "first", "", SDP));
    let call = next(&mut calls).await;
    let invite = sent_on(&call, &pbx).await;
    let us = edge.local_addr();
    let without = |name: &str| {
        let lines = invite.split_inclusive("\r\n");
        lines
            .filter(|line| !line.starts_with(name))
            .collect::<String>()
    };
    let call_id = value(&invite, "Call-ID");
    for (way, text) in [
        (
            "to the number that was called",
            passed_on(&invite, &format!("sip:12345@{us}"), "a"),
        ),
        (
            "to the number as another writes it",
            passed_on(&invite, &format!("sip:%312345@{us};x=1"), "b"),
        ),
        (
            "to a number without a rule",
            passed_on(&invite, &format!("sip:6000@{us}"), "c"),
        ),
        (
            "to the account",
            passed_on(&invite, &format!("sip:hotline@{us}"), "d"),
        ),
        (
            "over two proxies",
            passed_on(
                &passed_on(&invite, "sip:x@y", "e"),
                &format!("sip:12345@{us}"),
                "f",
            ),
        ),
        (
            "with its Vias in one line",
            passed_on(&invite, &format!("sip:12345@{us}"), "g").replace(
                "\r\nVia: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKg\r\nVia: ",
                "\r\nv: SIP/2.0/UDP 127.0.0.1:9;rport;branch=z9hG4bKg , ",
            ),
        ),
        (
            "with a Call-ID of its own",
            passed_on(&invite, &format!("sip:12345@{us}"), "h").replace(call_id, "another"),
        ),
        (
            "with Vias of its own only",
            passed_on(&without("Via:"), &format!("sip:12345@{us}"), "i"),
        ),
        ("as it was", invite.clone()),
    ] {
        assert_eq!(
            said_to(&edge, &pbx, &text),
            "SIP/2.0 482 Loop Detected",
            "{way}: {text}"
        );
    }
    assert!(calls.try_recv().is_err(), "no second call began");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_was_challenged_on_its_way_is_known_when_it_comes_back() {
    let pbx = Phone::new();
    let (edge, mut calls) = SipEdge::bind(through(&pbx)).await.expect("bound");
    Peer::of(&edge).send(request("INVITE", "challenged", "", SDP));
    let call = next(&mut calls).await;
    let invite = sent_on(&call, &pbx).await;
    let challenge = format!(
        "SIP/2.0 401 Unauthorized\r\n{}To: {};tag=pbx\r\n\
         WWW-Authenticate: Digest realm=\"pbx\", nonce=\"1\", algorithm=MD5\r\nContent-Length: 0\r\n\r\n",
        lines_for_answer(&invite),
        value(&invite, "To"),
    );
    pbx.0
        .send_to(challenge.as_bytes(), edge.local_addr())
        .expect("sent");
    let authenticated = loop {
        let (again, _) = pbx.receive("INVITE");
        if again.contains("\r\nAuthorization:") {
            break again;
        }
    };
    let text = passed_on(
        &authenticated,
        &format!("sip:12345@{}", edge.local_addr()),
        "a",
    )
    .replace(value(&invite, "Call-ID"), "another");
    assert_eq!(said_to(&edge, &pbx, &text), "SIP/2.0 482 Loop Detected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_comes_back_for_another_is_taken_until_it_would_go_round() {
    let pbx = Phone::new();
    let (edge, mut calls) = SipEdge::bind(through(&pbx)).await.expect("bound");
    let us = edge.local_addr();
    Peer::of(&edge).send(request("INVITE", "spiral", "", SDP));
    let first = next(&mut calls).await;
    let invite = sent_on(&first, &pbx).await;
    for (number, branch, leads_to) in [("777", "a", "6001"), ("778", "b", "6002")] {
        let text = passed_on(&invite, &format!("sip:{number}@{us}"), branch);
        let text = text.replace(value(&invite, "Call-ID"), branch);
        pbx.0.send_to(text.as_bytes(), us).expect("sent");
        let spiral = next(&mut calls).await;
        let wanted = format!("sip:{leads_to}@127.0.0.1:{}", pbx.port());
        assert_eq!(spiral.route, [wanted], "not to 6000, where it has been");
        // One round later it would go to either of the two.
        let again = sent_on(&spiral, &pbx).await;
        for number in ["12345", number] {
            let text = passed_on(
                &again,
                &format!("sip:{number}@{us}"),
                &format!("{branch}{number}"),
            );
            assert_eq!(
                said_to(&edge, &pbx, &text),
                "SIP/2.0 482 Loop Detected",
                "{number}"
            );
        }
    }
    // Another call of the same caller to the same number is nobody's loop.
    Peer::of(&edge).send(request("INVITE", "at-the-same-time", "", SDP));
    assert_eq!(next(&mut calls).await.route, first.route);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_takes_its_breadth_along() {
    for (said, passed) in [
        ("", "60"),
        ("Max-Breadth: 7\r\n", "7"),
        ("Max-Breadth: 1\r\n", "1"),
    ] {
        let pbx = Phone::new();
        let (edge, mut calls) = SipEdge::bind(through(&pbx)).await.expect("bound");
        Peer::of(&edge).send(request("INVITE", "breadth", said, SDP));
        let call = next(&mut calls).await;
        let invite = sent_on(&call, &pbx).await;
        assert_eq!(value(&invite, "Max-Breadth"), passed);
    }
    let (edge, _calls) = SipEdge::bind(through(&Phone::new())).await.expect("bound");
    let none = request("INVITE", "breadth", "Max-Breadth: 0\r\n", SDP);
    let refused = Peer::of(&edge).ask(none);
    assert!(
        refused.starts_with("SIP/2.0 440 Max-Breadth Exceeded\r\n"),
        "{refused}"
    );
}
