//! TLS, IPv6, several listeners, and the routes that proxies record.

use std::io::{Read, Write};
use std::sync::Arc as StdArc;

use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{self, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::malformed::{Peer, SDP, next, request, with_length};
use super::*;

/// An authority and the files of a certificate that it has signed for `127.0.0.1`.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let authority = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("signed"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        authority.sign("127.0.0.1");
        std::fs::write(authority.path("ca.pem"), authority.issuer.pem()).expect("written");
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        std::fs::write(self.path("sip.pem"), certificate.pem()).expect("written");
        std::fs::write(self.path("sip.key"), key.serialize_pem()).expect("written");
    }

    fn files(&self) -> TlsFiles {
        TlsFiles {
            certificate: Some(self.path("sip.pem")),
            key: Some(self.path("sip.key")),
            trust: Some(self.path("ca.pem")),
            ..TlsFiles::default()
        }
    }

    /// A peer that speaks TLS to the edge, with or without a certificate of its own.
    fn connect(&self, to: SocketAddr, certified: bool) -> TlsPeer {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let provider = StdArc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = if certified {
            let chain = vec![
                rustls::pki_types::CertificateDer::from_pem_file(self.path("sip.pem"))
                    .expect("a certificate"),
            ];
            let key = rustls::pki_types::PrivateKeyDer::from_pem_file(self.path("sip.key"))
                .expect("a key");
            builder.with_client_auth_cert(chain, key).expect("they fit")
        } else {
            builder.with_no_client_auth()
        };
        let name = ServerName::from(IpAddr::from([127, 0, 0, 1]));
        let session = ClientConnection::new(StdArc::new(config), name).expect("a session");
        let stream = std::net::TcpStream::connect(to).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        TlsPeer(StreamOwned::new(session, stream))
    }
}

struct TlsPeer(StreamOwned<ClientConnection, std::net::TcpStream>);

impl TlsPeer {
    fn try_ask(&mut self, text: &str) -> std::io::Result<String> {
        let text = with_length(&text.replace("SIP/2.0/UDP", "SIP/2.0/TLS"));
        self.0.write_all(text.as_bytes())?;
        let mut buffer = vec![0; 16_384];
        let length = self.0.read(&mut buffer)?;
        if length == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    fn certificate(&self) -> Vec<u8> {
        let shown = self.0.conn.peer_certificates().expect("a certificate");
        shown[0].to_vec()
    }
}

fn with_listener(transport: Transport, address: &str) -> SipConfig {
    let mut config = config();
    config.listeners.push(Listener {
        address: address.parse().expect("an address"),
        transport,
        advertised: None,
    });
    config
}

fn port_of(edge: &SipEdge, transport: Transport) -> SocketAddr {
    let peer = SocketAddr::from(([127, 0, 0, 1], 9));
    let listener = edge
        .shared
        .transport
        .addresses
        .towards(peer, transport)
        .expect("listened on");
    let name = edge.shared.transport.addresses.name(listener, peer.ip());
    name.parse().expect("an address")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_over_tls_and_a_certificate_that_is_renewed_under_it() {
    let authority = Authority::new();
    let config = SipConfig {
        tls: authority.files(),
        tls_check: Duration::from_millis(50),
        ..with_listener(Transport::Tls, "127.0.0.1:0")
    };
    let (edge, mut calls) = SipEdge::bind(config).await.expect("bound");
    let address = port_of(&edge, Transport::Tls);
    let mut peer = authority.connect(address, false);
    let trying = peer
        .try_ask(&request("INVITE", "secret", "", SDP))
        .expect("answered");
    assert!(trying.starts_with("SIP/2.0 100 "), "{trying}");
    let call = next(&mut calls).await;
    assert_eq!(call.transport, Transport::Tls);
    let ring = SipCommand::Ring {
        party: Party::CALLER,
        status: 180,
        answer: None,
    };
    call.commands.send(ring).await.expect("taken");
    let mut buffer = vec![0; 8_192];
    let length = peer.0.read(&mut buffer).expect("ringing");
    let ringing = String::from_utf8_lossy(&buffer[..length]).into_owned();
    assert!(
        ringing.contains(&format!("<sip:gateway@{address};transport=TLS>")),
        "{ringing}"
    );
    let before = peer.certificate();
    // A key that does not fit, as half a renewal looks, changes nothing.
    std::fs::write(
        authority.path("sip.key"),
        KeyPair::generate().expect("a key").serialize_pem(),
    )
    .expect("written");
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut other = authority.connect(address, false);
    assert!(other.try_ask(&request("OPTIONS", "old", "", "")).is_ok());
    assert_eq!(other.certificate(), before);
    authority.sign("127.0.0.1");
    let end = Instant::now() + PATIENCE;
    loop {
        let mut renewed = authority.connect(address, false);
        renewed
            .try_ask(&request("OPTIONS", "new", "", ""))
            .expect("answered");
        if renewed.certificate() != before {
            break;
        }
        assert!(Instant::now() < end, "the new certificate is not used");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The call goes on.
    drop(call);
    let length = peer.0.read(&mut buffer).expect("the end");
    assert!(buffer[..length].starts_with(b"SIP/2.0 503 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_must_show_a_certificate_and_does_not_is_not_heard() {
    let authority = Authority::new();
    for (must, certified, heard) in [
        (true, false, false),
        (true, true, true),
        (false, false, true),
    ] {
        let config = SipConfig {
            tls: TlsFiles {
                client_ca: Some(authority.path("ca.pem")),
                clients_must: must,
                ..authority.files()
            },
            ..with_listener(Transport::Tls, "127.0.0.1:0")
        };
        let (edge, _calls) = SipEdge::bind(config).await.expect("bound");
        let mut peer = authority.connect(port_of(&edge, Transport::Tls), certified);
        let answer = peer.try_ask(&request("OPTIONS", "who", "", ""));
        assert_eq!(answer.is_ok(), heard, "{must} {certified} {answer:?}");
    }
    let missing = with_listener(Transport::Tls, "127.0.0.1:0");
    let error = SipEdge::bind(missing)
        .await
        .expect_err("refused")
        .to_string();
    assert!(error.contains("sip.tls_certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_go_out_over_tls_to_who_shows_the_right_certificate() {
    let authority = Authority::new();
    let phone = SipConfig {
        tls: authority.files(),
        ..with_listener(Transport::Tls, "127.0.0.1:0")
    };
    let (phone, mut calls) = SipEdge::bind(phone).await.expect("bound");
    let to = format!("sips:op@{}", port_of(&phone, Transport::Tls));
    let place = |edge: &SipEdge| {
        let placed = edge.place_call();
        let invite = SipCommand::Invite {
            party: Party::OPERATOR,
            target: Target::new(&to),
            caller_number: None,
            offer: SDP.to_owned(),
        };
        placed.commands.try_send(invite).expect("taken");
        placed
    };
    let trusting = SipConfig {
        tls: TlsFiles {
            trust: Some(authority.path("ca.pem")),
            ..TlsFiles::default()
        },
        ..config()
    };
    let (edge, _none) = SipEdge::bind(trusting).await.expect("bound");
    let mut placed = place(&edge);
    let call = next(&mut calls).await;
    assert_eq!(
        (call.transport, call.incoming.called.as_str()),
        (Transport::Tls, "op")
    );
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    while !matches!(placed.events.recv().await, Some(SipEvent::Answered { .. })) {}
    drop(call);
    let ended = placed.events.recv().await;
    assert!(matches!(ended, Some(SipEvent::HungUp { .. })), "{ended:?}");
    // Nobody public has signed this one.
    let (edge, _none) = SipEdge::bind(config()).await.expect("bound");
    let mut placed = place(&edge);
    let said = placed.events.recv().await;
    assert!(
        matches!(said, Some(SipEvent::Rejected { status: 503, .. })),
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_works_on_both_sides_and_beside_ipv4() {
    let Ok(probe) = UdpSocket::bind("[::1]:0") else {
        println!("skipped: this machine has no IPv6");
        return;
    };
    drop(probe);
    let (edge, mut calls) = SipEdge::bind(with_listener(Transport::Udp, "[::1]:0"))
        .await
        .expect("bound");
    let local = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, 9));
    let listener = edge
        .shared
        .transport
        .addresses
        .towards(local, Transport::Udp)
        .expect("IPv6");
    let address = edge.shared.transport.addresses.name(listener, local.ip());
    let socket = UdpSocket::bind("[::1]:0").expect("a socket");
    socket.connect(&address).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let own = socket.local_addr().expect("bound");
    let peer = Peer(socket);
    let text = request("INVITE", "six", "", SDP).replace("127.0.0.1:9", &own.to_string());
    peer.send(&text);
    let call = next(&mut calls).await;
    assert_eq!(call.source, own);
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let mut ok = peer.receive();
    while !ok.starts_with("SIP/2.0 200 ") {
        ok = peer.receive();
    }
    assert!(
        ok.contains(&format!("Contact: <sip:gateway@{address}>")),
        "{ok}"
    );
    let to = ok.lines().find(|line| line.starts_with("To:")).expect("To");
    peer.send(format!(
        "ACK sip:gateway@{address} SIP/2.0\r\nVia: SIP/2.0/UDP {own};branch=z9hG4bKack\r\n\
         From: <sip:13987654321@127.0.0.1>;tag=f\r\n{to}\r\nCall-ID: six\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    ));
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(call);
    let mut bye = peer.receive();
    while !bye.starts_with("BYE ") {
        bye = peer.receive();
    }
    assert!(
        bye.contains(&format!("Via: SIP/2.0/UDP {address};")),
        "{bye}"
    );
    // And out: to a phone on IPv6 while the first listener is on IPv4.
    let placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new(&format!("sip:op@{own}")),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let mut invite = peer.receive();
    while !invite.starts_with("INVITE ") {
        invite = peer.receive();
    }
    assert!(
        invite.contains(&format!("Contact: <sip:gateway@{address}>")),
        "{invite}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_route_is_followed_from_either_end() {
    let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
    let proxy = Peer::of(&edge);
    let near = proxy.0.local_addr().expect("bound");
    let ours = edge.local_addr();
    // Two proxies between the caller and us; the nearer one is first in its Record-Route.
    let recorded = format!(
        "Record-Route: <sip:{near};lr;ftag=f>\r\nRecord-Route: <sip:far.invalid;lr>, <sip:farther.invalid;lr>\r\n"
    );
    proxy.send(
        request("INVITE", "routed", &recorded, SDP)
            .replace("<sip:13987654321@127.0.0.1:9>", "<sip:caller@203.0.113.9>"),
    );
    let call = next(&mut calls).await;
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let ok = proxy.answer();
    let routes: Vec<&str> = ok
        .lines()
        .filter_map(|line| line.strip_prefix("Record-Route: "))
        .collect();
    assert_eq!(
        routes.join(", "),
        format!("<sip:{near};lr;ftag=f>, <sip:far.invalid;lr>, <sip:farther.invalid;lr>")
    );
    let to = ok.lines().find(|line| line.starts_with("To:")).expect("To");
    proxy.send(format!(
        "ACK sip:gateway@{ours} SIP/2.0\r\nVia: SIP/2.0/UDP {near};branch=z9hG4bKack\r\n\
         From: <sip:13987654321@127.0.0.1>;tag=f\r\n{to}\r\nCall-ID: routed\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n"
    ));
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(call);
    let bye = proxy.receive();
    assert!(
        bye.starts_with("BYE sip:caller@203.0.113.9 SIP/2.0\r\n"),
        "{bye}"
    );
    let routes: Vec<&str> = bye
        .lines()
        .filter_map(|line| line.strip_prefix("Route: "))
        .collect();
    assert_eq!(
        routes.join(", "),
        format!("<sip:{near};lr;ftag=f>, <sip:far.invalid;lr>, <sip:farther.invalid;lr>")
    );

    // Towards the operator through an outbound proxy, which records itself.
    let through = SipConfig {
        outbound_proxy: Some(format!("sip:{near}")),
        ..config()
    };
    let (edge, _calls) = SipEdge::bind(through).await.expect("bound");
    let outbound = Peer(proxy.0.try_clone().expect("a socket"));
    outbound.0.connect(edge.local_addr()).expect("connected");
    let mut placed = edge.place_call();
    let invite = SipCommand::Invite {
        party: Party::OPERATOR,
        target: Target::new("sip:queue@pbx.invalid"),
        caller_number: None,
        offer: SDP.to_owned(),
    };
    placed.commands.try_send(invite).expect("taken");
    let invite = outbound.receive();
    assert!(
        invite.starts_with("INVITE sip:queue@pbx.invalid SIP/2.0\r\n"),
        "{invite}"
    );
    assert!(
        invite.contains(&format!("Route: <sip:{near};lr>\r\n")),
        "{invite}"
    );
    let kept = lines_for_answer(&invite);
    outbound.send(with_length(&format!(
        "SIP/2.0 200 OK\r\n{kept}To: <sip:queue@pbx.invalid>;tag=q\r\nContact: <sip:agent@198.51.100.7>\r\n\
         Record-Route: <sip:behind.invalid;lr>, <sip:{near};lr>\r\nContent-Type: application/sdp\r\n\r\n{SDP}"
    )));
    for method in ["ACK", "BYE"] {
        let request = outbound.receive();
        assert!(
            request.starts_with(&format!("{method} sip:agent@198.51.100.7 SIP/2.0\r\n")),
            "{request}"
        );
        let routes: Vec<&str> = request
            .lines()
            .filter_map(|line| line.strip_prefix("Route: "))
            .collect();
        assert_eq!(
            routes.join(", "),
            format!("<sip:{near};lr>, <sip:behind.invalid;lr>"),
            "{method}"
        );
        if method == "ACK" {
            assert!(matches!(
                placed.events.recv().await,
                Some(SipEvent::Answered { .. })
            ));
            let hang_up = SipCommand::HangUp {
                party: Party::OPERATOR,
            };
            placed.commands.try_send(hang_up).expect("taken");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bye_finds_a_new_stream_when_the_old_one_is_gone() {
    let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
    let phone = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let at = phone.local_addr().expect("bound");
    let mut stream = std::net::TcpStream::connect(edge.local_addr()).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let contact = format!("<sip:caller@{at};transport=tcp>");
    let invite = request("INVITE", "stream", "", SDP)
        .replace("SIP/2.0/UDP", "SIP/2.0/TCP")
        .replace("<sip:13987654321@127.0.0.1:9>", &contact);
    stream
        .write_all(with_length(&invite).as_bytes())
        .expect("written");
    let call = next(&mut calls).await;
    let answer = SipCommand::Answer {
        party: Party::CALLER,
        answer: Some(SDP.to_owned()),
    };
    call.commands.send(answer).await.expect("taken");
    let mut got = String::new();
    let mut buffer = vec![0; 8_192];
    while !got.contains("SIP/2.0 200 ") {
        let length = stream.read(&mut buffer).expect("an answer");
        got += &String::from_utf8_lossy(&buffer[..length]);
    }
    let ok = &got[got.find("SIP/2.0 200 ").expect("answered")..];
    let to = ok.lines().find(|line| line.starts_with("To:")).expect("To");
    let ack = format!(
        "ACK sip:gateway@{} SIP/2.0\r\nVia: SIP/2.0/TCP {at};branch=z9hG4bKack\r\n\
         From: <sip:13987654321@127.0.0.1>;tag=f\r\n{to}\r\nCall-ID: stream\r\nCSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n",
        edge.local_addr()
    );
    stream.write_all(ack.as_bytes()).expect("written");
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(stream);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(edge.counts().connections, 0);
    drop(call);
    let accepted = tokio::task::spawn_blocking(move || phone.accept());
    let accepted = tokio::time::timeout(PATIENCE, accepted).await;
    let (mut stream, _) = accepted.expect("in time").expect("run").expect("a stream");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let length = stream.read(&mut buffer).expect("the BYE");
    let bye = String::from_utf8_lossy(&buffer[..length]).into_owned();
    let via = format!("Via: SIP/2.0/TCP {};", edge.local_addr());
    assert!(
        bye.starts_with("BYE sip:caller@") && bye.contains(&via),
        "{bye}"
    );
    assert_eq!(edge.counts().connections, 1, "the stream is one of ours");
}
