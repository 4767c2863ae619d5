//! Names in URIs, with a name server of our own.

use std::thread;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::rdata::{A, NAPTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::dialogs::Talk;
use super::flows::{Bridge, PHONE_SDP, Phone, leaves_nothing};
use super::*;
use crate::gateway::sip::edge::resolve::{ANSWER_TIME, LOOKUP_TIME, NameResolver};

const DOMAIN: &str = "pbx.hotline.cn.";
const SERVICE: &str = "_sip._udp.pbx.hotline.cn.";

fn name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

/// Answers for the domain's servers at these ports, the first with the best priority; every host is this machine.
fn serve_names(ports: Vec<u16>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    let patience = Some(Duration::from_secs(8));
    socket.set_read_timeout(patience).expect("a timeout");
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            for query in &question.queries {
                answer.add_query(query.clone());
                let asked = query.name().to_string();
                let data: Vec<RData> = match (query.query_type(), asked.as_str()) {
                    (RecordType::NAPTR, DOMAIN) => vec![RData::NAPTR(NAPTR::new(
                        1,
                        1,
                        (*b"s").into(),
                        (*b"SIP+D2U").into(),
                        Box::default(),
                        name(SERVICE),
                    ))],
                    (RecordType::SRV, SERVICE) => ports
                        .iter()
                        .zip(1..)
                        .map(|(port, priority)| {
                            let host = name(&format!("host{priority}.hotline.cn."));
                            RData::SRV(SRV::new(priority, 0, *port, host))
                        })
                        .collect(),
                    (RecordType::A, _) => vec![RData::A(A::new(127, 0, 0, 1))],
                    _ => Vec::new(),
                };
                for data in data {
                    answer.add_answer(Record::from_rdata(query.name().clone(), 60, data));
                }
            }
            let bytes = answer.to_vec().expect("an answer");
            socket.send_to(&bytes, source).expect("sent");
        }
    });
    address
}

fn locating(server: SocketAddr) -> SipConfig {
    SipConfig {
        nameservers: vec![server],
        hop_reply: Duration::from_millis(300),
        ..config()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_leads_to_its_servers_and_past_those_that_do_not_work() {
    let (silent, overloaded, phone) = (Phone::new(), Phone::new(), Phone::new());
    let ports = [silent.port(), overloaded.port(), phone.port()];
    let server = serve_names(ports.to_vec());
    let to = "sip:op@pbx.hotline.cn".to_owned();
    let bridge = Bridge::start(locating(server), to).await;
    let gateway = bridge.port();
    let full = tokio::task::spawn_blocking(move || {
        let (talk, invite) = Talk::invited(overloaded);
        talk.answers(&invite, "503 Service Unavailable", "", "");
        talk.phone.receive("ACK");
    });
    let operator = tokio::task::spawn_blocking(move || {
        let (talk, invite) = Talk::invited(phone);
        assert!(
            invite.starts_with("INVITE sip:op@pbx.hotline.cn SIP/2.0"),
            "{invite}"
        );
        talk.answers(&invite, "200 OK", "", PHONE_SDP);
        talk.phone.receive("ACK");
        talk.is_hung_up_on();
    });
    let caller = tokio::task::spawn_blocking(move || {
        let mut caller = Talk::calling(gateway);
        caller.is_answered();
        caller.hangs_up();
    });
    caller.await.expect("the caller");
    operator.await.expect("the operator");
    full.await.expect("the full one");
    drop(silent);
    leaves_nothing(&bridge.edge).await;
}

/// Answers with this machine's address, for no time at all, to questions about hosts that `knows`; the others it never
/// answers. What was asked is counted by name.
fn serve_some(
    knows: impl Fn(&str) -> bool + Send + 'static,
) -> (SocketAddr, Arc<StdMutex<Vec<String>>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = socket.local_addr().expect("bound");
    let asked = Arc::<StdMutex<Vec<String>>>::default();
    let log = asked.clone();
    thread::spawn(move || {
        let mut buffer = [0; 2_048];
        while let Ok((length, source)) = socket.recv_from(&mut buffer) {
            let question = Message::from_vec(&buffer[..length]).expect("a question");
            let mut answer = Message::response(question.metadata.id, OpCode::Query);
            let query = question.queries[0].clone();
            let host = query.name().to_ascii().to_ascii_lowercase();
            locked(&log).push(host.clone());
            if !knows(&host) {
                continue;
            }
            if query.query_type() == RecordType::A {
                let here = RData::A(A::new(127, 0, 0, 1));
                answer.add_answer(Record::from_rdata(query.name().clone(), 0, here));
            }
            answer.add_query(query);
            let bytes = answer.to_vec().expect("an answer");
            let _ = socket.send_to(&bytes, source);
        }
    });
    (address, asked)
}

async fn status_of(names: &NameResolver, text: &str) -> (Result<usize, u16>, Duration) {
    let began = Instant::now();
    let found = names.locate(&uris::sip_uri(text).expect("a URI")).await;
    let found = found.map(|flows| flows.len());
    (found.map_err(|error| error.status), began.elapsed())
}

#[tokio::test(flavor = "multi_thread")]
async fn names_whose_server_is_silent_cost_those_of_the_configuration_nothing() {
    let (server, asked) = serve_some(|host| !host.contains("evil"));
    let configured = "sip:op@op.example:17580".to_owned();
    let names = Arc::new(NameResolver::new(&[server], [&configured]));
    assert_eq!(status_of(&names, &configured).await.0, Ok(1));
    // One caller names a domain whose server is silent.
    let (found, took) = status_of(&names, "sip:x@evil.example:5060").await;
    assert_eq!(found, Err(503));
    assert!(took < LOOKUP_TIME + ANSWER_TIME, "{took:?}");
    // A thousand others name one each.
    let storm: Vec<_> = (0..1_000)
        .map(|caller| {
            let names = names.clone();
            let contact = format!("sip:x@evil{caller}.example:5060");
            tokio::spawn(async move { status_of(&names, &contact).await })
        })
        .collect();
    for call in 0..50 {
        let (found, took) = status_of(&names, &configured).await;
        assert_eq!(found, Ok(1), "call {call}");
        assert!(took < ANSWER_TIME, "call {call}: {took:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for caller in storm {
        assert_eq!(caller.await.expect("an answer").0, Err(503));
    }
    // About the first no server is asked again so soon, about the others when there is room.
    let questions = |wanted: &str| {
        let asked = locked(&asked);
        asked.iter().filter(|host| *host == wanted).count()
    };
    let before = questions("evil.example.");
    let (found, took) = status_of(&names, "sip:x@evil.example:5060").await;
    assert_eq!((found, questions("evil.example.")), (Err(503), before));
    assert!(took < ANSWER_TIME, "{took:?}");
    assert_eq!(status_of(&names, "sip:a@pbx.example:5060").await.0, Ok(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_of_a_name_serves_on_while_its_server_is_silent() {
    let silent = Arc::new(AtomicBool::new(false));
    let is_silent = silent.clone();
    let (server, _) = serve_some(move |_| !is_silent.load(Ordering::Relaxed));
    let configured = "sip:op@pbx.example".to_owned();
    let names = NameResolver::new(&[server], [&configured]);
    for uri in [configured.as_str(), "sip:peer@peer.example:5070"] {
        assert_eq!(status_of(&names, uri).await.0, Ok(1));
    }
    silent.store(true, Ordering::Relaxed);
    for uri in [configured.as_str(), "sip:peer@peer.example:5070"] {
        let (found, took) = status_of(&names, uri).await;
        assert_eq!(found, Ok(1), "{uri}");
        assert!(took < LOOKUP_TIME + ANSWER_TIME, "{uri}: {took:?}");
        let (found, took) = status_of(&names, uri).await;
        assert_eq!(found, Ok(1), "{uri}");
        assert!(took < ANSWER_TIME, "{uri}: {took:?}");
    }
    assert_eq!(
        status_of(&names, "sip:new@new.example:5070").await.0,
        Err(503)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_name_server_is_asked_where_the_first_is_silent() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let (server, _) = serve_some(|_| true);
    let names = NameResolver::new(&[silent.local_addr().expect("bound"), server], []);
    let uri = "sip:a@one.example:5060";
    assert_eq!(status_of(&names, uri).await.0, Ok(1));
    // The silent one is not waited for again.
    let (found, took) = status_of(&names, uri).await;
    assert_eq!(found, Ok(1));
    assert!(took < ANSWER_TIME, "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn name_servers_that_are_silent_are_not_waited_for_again_and_hosts_need_none() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let names = NameResolver::new(&[silent.local_addr().expect("bound")], []);
    let uri = |text: &str| uris::sip_uri(text).expect("a URI");
    let lookup = async |text: &str| {
        let began = Instant::now();
        let found = names.locate(&uri(text)).await;
        (found.map_err(|error| error.status), began.elapsed())
    };
    let (found, first) = lookup("sip:op@pbx.hotline.cn").await;
    assert_eq!(found, Err(503));
    assert!(first < LOOKUP_TIME + ANSWER_TIME, "{first:?}");
    let (_, again) = lookup("sip:op@pbx.hotline.cn").await;
    assert!(again < ANSWER_TIME, "{again:?}");
    let system = NameResolver::new(&[], []);
    for (text, at, transport) in [
        ("sip:op@192.0.2.7", "192.0.2.7:5060", Transport::Udp),
        (
            "sip:op@[2001:db8::7]:5070;transport=tcp",
            "[2001:db8::7]:5070",
            Transport::Tcp,
        ),
        ("sips:op@192.0.2.7", "192.0.2.7:5061", Transport::Tls),
    ] {
        let found = system
            .locate(&uri(text))
            .await
            .map_err(|error| error.status);
        let source = at.parse().expect("an address");
        assert_eq!(found, Ok(vec![Flow { source, transport }]), "{text}");
    }
    // A machine's own name, without a dot, is no domain that has servers.
    let found = system.locate(&uri("sip:op@localhost:5062")).await;
    assert!(found.is_ok_and(|flows| flows.iter().all(|flow| flow.source.ip().is_loopback())));
    let found = system.locate(&uri("sip:op@192.0.2.7;transport=ws")).await;
    assert_eq!(found.map_err(|error| error.status), Err(416));
}
