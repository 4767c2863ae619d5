//! The edge against a real peer, `SIPp`; `malformed` has what no peer should send.

/// Skips, and says so, where the peer is not installed.
macro_rules! needs_sipp {
    () => {
        if !Path::new(SIPP).exists() {
            println!("skipped: {SIPP} is not installed (apt-get install sip-tester)");
            return;
        }
    };
}

mod addresses;
mod admission;
mod dialogs;
mod flows;
mod loops;
mod malformed;
mod races;
mod resolve;
#[path = "../../../../tests/peers/sipp.rs"]
mod sipp;
mod torture;
mod transports;
mod trunks;

use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::Mutex as StdMutex;

use self::sipp::{SIPP, Sipp, free_port};
use super::edge::wire;
use super::stack::uris;
use super::*;
use crate::sip::registrar::Flow;
use crate::sip::sdp::{self, Description, Direction, Local};
use crate::sip::{DialogEnd, IncomingCall, Party, SipCommand, SipEvent, Target, status_for_caller};

const PATIENCE: Duration = Duration::from_secs(40);

fn config() -> SipConfig {
    config_at("127.0.0.1:0")
}

fn config_at(address: &str) -> SipConfig {
    SipConfig {
        t1: Duration::from_millis(30),
        operator_reply: Duration::from_secs(5),
        ring: Duration::from_secs(10),
        ..SipConfig::new(address.parse().expect("an address"))
    }
}

fn description(address: SocketAddr, direction: Direction) -> Local {
    Local {
        session: 1,
        version: 1,
        rtp: address,
        direction,
    }
}

const MEDIA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4_000);
const CODECS: [crate::audio::codec::Codec; 2] = [
    crate::audio::codec::Codec::Pcma,
    crate::audio::codec::Codec::Pcmu,
];

fn answer_to(offer: &str) -> Result<String, u16> {
    let theirs = Description::parse(offer).map_err(|error| error.status())?;
    let agreed = sdp::negotiate(&theirs, &CODECS).map_err(|error| error.status())?;
    Ok(sdp::answer(
        &theirs,
        &agreed,
        &description(MEDIA, Direction::SendRecv),
    ))
}

/// A gateway that bridges each call to one phone, as the real one does, and writes down the events.
struct Gateway {
    edge: SipEdge,
    events: Arc<StdMutex<Vec<SipEvent>>>,
    incoming: Arc<StdMutex<Vec<IncomingCall>>>,
}

impl Gateway {
    async fn start(config: SipConfig, operator: String) -> Self {
        let (edge, mut calls) = SipEdge::bind(config).await.expect("bound");
        let events = Arc::new(StdMutex::new(Vec::new()));
        let incoming = Arc::new(StdMutex::new(Vec::new()));
        let (log, seen) = (events.clone(), incoming.clone());
        tokio::spawn(async move {
            while let Some(call) = calls.recv().await {
                locked(&seen).push(call.incoming.clone());
                tokio::spawn(bridge(call, operator.clone(), log.clone()));
            }
        });
        Self {
            edge,
            events,
            incoming,
        }
    }

    fn port(&self) -> u16 {
        self.edge.local_addr().port()
    }

    fn saw(&self, wanted: impl Fn(&SipEvent) -> bool) -> usize {
        locked(&self.events)
            .iter()
            .filter(|event| wanted(event))
            .count()
    }

    /// Waits until nothing is left of any call, transactions that absorb retransmissions included.
    async fn falls_silent(&self) {
        let end = Instant::now() + PATIENCE;
        loop {
            let counts = self.edge.counts();
            if (counts.calls, counts.dialogs, counts.transactions) == (0, 0, 0) {
                return;
            }
            assert!(Instant::now() < end, "left over: {counts:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn bridge(mut call: NewCall, operator: String, log: Arc<StdMutex<Vec<SipEvent>>>) {
    let offer = call.incoming.offer.clone().unwrap_or_default();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&operator),
        caller_number: call.incoming.caller_number.clone(),
        offer: sdp::offer(&description(MEDIA, Direction::SendRecv), &CODECS),
    };
    let _ = call.commands.send(invite).await;
    while let Some(event) = call.events.recv().await {
        locked(&log).push(event.clone());
        let command = match event {
            SipEvent::Cancelled { .. } => SipCommand::HangUp {
                party: Party::OPERATOR,
            },
            SipEvent::Ringing { status, answer, .. } => SipCommand::Ring {
                party: Party::CALLER,
                status,
                answer: answer.and_then(|_| answer_to(&offer).ok()),
            },
            SipEvent::Answered { .. } => match answer_to(&offer) {
                Ok(answer) => SipCommand::Answer {
                    party: Party::CALLER,
                    answer: Some(answer),
                },
                Err(status) => SipCommand::Reject {
                    party: Party::CALLER,
                    status,
                    reason: String::new(),
                },
            },
            SipEvent::Rejected { status, reason, .. } => SipCommand::Reject {
                party: Party::CALLER,
                status: status_for_caller(status),
                reason,
            },
            SipEvent::HungUp { party, .. } => SipCommand::HangUp {
                party: match party {
                    Party::CALLER => Party::OPERATOR,
                    _ => Party::CALLER,
                },
            },
            SipEvent::Offered { party, offer } => SipCommand::AnswerOffer {
                party,
                answer: answer_to(&offer.unwrap_or_default()),
            },
            _ => continue,
        };
        let _ = call.commands.send(command).await;
    }
}

/// The header lines of a request that its answer repeats, but for To.
fn lines_for_answer(request: &str) -> String {
    let repeated = ["Via:", "From:", "Call-ID:", "CSeq:"];
    let lines = request
        .lines()
        .filter(|line| repeated.iter().any(|name| line.starts_with(name)));
    lines.flat_map(|line| [line, "\r\n"]).collect()
}

/// Runs `calls` calls of one caller scenario against one operator scenario.
async fn run(caller: (&str, &str), operator: (&str, &str), calls: u32) -> Gateway {
    run_with(config(), caller, operator, calls, &[], "").await
}

async fn run_with(
    config: SipConfig,
    caller: (&str, &str),
    operator: (&str, &str),
    calls: u32,
    more: &[&str],
    parameters: &str,
) -> Gateway {
    let (phone, port) = Sipp::operator(operator.0, operator.1, calls, more);
    let gateway = Gateway::start(config, format!("sip:op@127.0.0.1:{port}{parameters}")).await;
    let caller = Sipp::caller(caller.0, caller.1, gateway.port(), calls, more);
    caller.succeeds().await;
    phone.succeeds().await;
    gateway.falls_silent().await;
    gateway
}

#[tokio::test]
async fn a_start_that_is_given_up_halfway_ends_without_a_panic() {
    let mut bind = Box::pin(SipEdge::bind(config()));
    // It has threads after its first step, and waits for what runs on them.
    tokio::select! {
        biased;
        bound = &mut bind => drop(bound.expect("bound")),
        () = tokio::task::yield_now() => {}
    }
    drop(bind);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_caller_hangs_up_and_the_operator_hears_it() {
    needs_sipp!();
    let gateway = run(("caller-hangs-up", ""), ("operator-answers", ""), 1).await;
    let incoming = locked(&gateway.incoming)[0].clone();
    assert_eq!(incoming.called, "12345");
    assert_eq!(incoming.caller_number, Some("13800138000".into()));
    assert_eq!(incoming.caller_display, Some("Li Hua".into()));
    assert!(
        incoming
            .offer
            .is_some_and(|offer| offer.contains("m=audio"))
    );
    let hung_up = |event: &SipEvent| {
        matches!(
            event,
            SipEvent::HungUp {
                party: Party::CALLER,
                cause: DialogEnd::Bye
            }
        )
    };
    assert_eq!(gateway.saw(hung_up), 1);
    assert_eq!(
        gateway.saw(|event| matches!(event, SipEvent::Ringing { status: 180, .. })),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_hangs_up_and_the_caller_hears_it() {
    needs_sipp!();
    let gateway = run(("caller-waits", ""), ("operator-hangs-up", ""), 1).await;
    let early = |event: &SipEvent| {
        matches!(
            event,
            SipEvent::Ringing {
                status: 183,
                answer: Some(_),
                ..
            }
        )
    };
    assert_eq!(gateway.saw(early), 1);
    let hung_up = |event: &SipEvent| {
        matches!(
            event,
            SipEvent::HungUp {
                party: Party::OPERATOR,
                ..
            }
        )
    };
    assert_eq!(gateway.saw(hung_up), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_refuses_with_reaches_the_caller() {
    needs_sipp!();
    let mut runs = tokio::task::JoinSet::new();
    for (from_operator, to_caller) in [
        ("486 Busy Here", "486"),
        ("480 Temporarily Unavailable", "480"),
        ("603 Decline", "603"),
        ("408 Request Timeout", "480"),
        ("503 Service Unavailable", "500"),
    ] {
        runs.spawn(async move {
            run(
                ("caller-refused", to_caller),
                ("operator-refuses", from_operator),
                1,
            )
            .await;
        });
    }
    while let Some(ended) = runs.join_next().await {
        ended.expect("as it should");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_who_cancels_ends_the_operators_ringing() {
    needs_sipp!();
    let gateway = run(("caller-cancels", ""), ("operator-is-cancelled", ""), 10).await;
    assert_eq!(
        gateway.saw(|event| matches!(event, SipEvent::Cancelled { .. })),
        10
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    needs_sipp!();
    run(("caller-cancels", ""), ("operator-answers-too-late", ""), 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hold_and_retrieval_are_offers_and_their_acks_are_no_new_call() {
    needs_sipp!();
    let gateway = run(("caller-holds", ""), ("operator-answers", ""), 5).await;
    assert_eq!(
        gateway.saw(|event| matches!(
            event,
            SipEvent::Offered {
                party: Party::CALLER,
                offer: Some(_)
            }
        )),
        10
    );
    // Ringing, answered, acknowledged, twice offered, hung up: the ACKs of the re-INVITEs raise nothing.
    assert_eq!(gateway.saw(|_| true), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_over_tcp_on_both_sides() {
    needs_sipp!();
    let over_tcp = ["-t", "t1"];
    let gateway = run_with(
        config(),
        ("caller-hangs-up", ""),
        ("operator-answers", ""),
        20,
        &over_tcp,
        ";transport=tcp",
    )
    .await;
    assert_eq!(
        gateway.saw(|event| matches!(event, SipEvent::Answered { .. })),
        20
    );
    run_with(
        config(),
        ("caller-waits", ""),
        ("operator-hangs-up", ""),
        5,
        &over_tcp,
        ";transport=tcp",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_calls_at_fifty_a_second_leave_nothing_behind() {
    needs_sipp!();
    // What a busy machine holds up for half a second is no loss: SIPp gives a call up at an INVITE that is sent again.
    let patient = SipConfig {
        t1: Duration::from_millis(250),
        operator_reply: PATIENCE,
        ring: PATIENCE,
        ..config()
    };
    let gateway = run_with(
        patient,
        ("caller-hangs-up", ""),
        ("operator-answers", ""),
        200,
        &["-r", "50"],
        "",
    )
    .await;
    assert_eq!(
        gateway.saw(|event| matches!(event, SipEvent::Answered { .. })),
        200
    );
    let counts = gateway.edge.counts();
    assert_eq!((counts.malformed, counts.refused), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_never_answers_is_480_for_the_caller() {
    needs_sipp!();
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let to = format!("sip:op@{}", silent.local_addr().expect("bound"));
    let hasty = SipConfig {
        operator_reply: Duration::from_millis(600),
        ..config()
    };
    let gateway = Gateway::start(hasty, to).await;
    Sipp::caller("caller-refused", "480", gateway.port(), 3, &[])
        .succeeds()
        .await;
    assert_eq!(
        gateway.saw(|event| matches!(event, SipEvent::Rejected { status: 408, .. })),
        3
    );
    gateway.falls_silent().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_carries_a_call_is_not_idle() {
    needs_sipp!();
    let hasty = SipConfig {
        tcp_idle: Duration::from_millis(400),
        ..config()
    };
    let over_tcp = ["-t", "t1", "-d", "1000"];
    run_with(
        hasty,
        ("caller-hangs-up", ""),
        ("operator-answers", ""),
        1,
        &over_tcp,
        ";transport=tcp",
    )
    .await;
}
