//! gRPC over mutual TLS, with the certificates as files.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tonic::transport::Endpoint;

use super::*;
use crate::grpc;
use crate::grpc::access::{Access, Client, Role};
use crate::grpc::proto::ticket::v1::UpsertDraftRequest;
use crate::grpc::proto::ticket::v1::ticket_intake_client::TicketIntakeClient;
use crate::grpc::tls::{self, Acceptor, Connector, Identity};

/// An authority and the files of what it signed.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    fn write(&self, folder: &Path, name: &str) -> std::path::PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.issuer.pem()).unwrap();
        path
    }

    /// A certificate for `host`, in the files NAME.pem and NAME.key.
    fn sign(&self, folder: &Path, name: &str, host: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            cert: folder.join(format!("{name}.pem")),
            key: folder.join(format!("{name}.key")),
        };
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        std::fs::write(&identity.cert, cert.pem()).unwrap();
        identity
    }
}

/// The backend, secured.
async fn secured(folder: &TempDir, tls: Acceptor) -> Office {
    secured_for(folder, tls, Access::default()).await
}

/// The same, for clients that are known.
async fn secured_for(folder: &TempDir, tls: Acceptor, access: Access) -> Office {
    let book = Book::open(folder.path().join("ticketing.db").as_path())
        .await
        .unwrap();
    let listener = bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let services = Services {
        transcripts: None,
        ticketing: Some(Backend::new(book.clone())),
        access,
        ..Services::default()
    };
    let serving = serve(listener, services, Some(tls), stop.clone());
    let server = tokio::spawn(async move { serving.await.unwrap() });
    Office {
        address,
        book,
        stop,
        server,
    }
}

fn desk(office: &Office, tls: Connector) -> GrpcDesk {
    let endpoint = format!("https://{}", office.address);
    GrpcDesk::new(&endpoint, Some(tls), Duration::from_secs(3)).unwrap()
}

/// Why a request with `tls` reaches nobody at `address`.
async fn hindrance(address: &str, tls: Connector) -> Option<String> {
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    let mut client = TicketIntakeClient::new(tls::channel(&endpoint, Some(tls)));
    let answer = client.upsert_draft(UpsertDraftRequest::default()).await;
    grpc::no_answer(&answer.err().unwrap())
}

async fn sends(desk: &GrpcDesk, revision: u64) -> bool {
    match desk.upsert(&submission("a", revision)).await {
        Ok(receipt) => receipt.applied,
        Err(DeskError::Unavailable { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sides_must_prove_who_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let ca = ours.write(folder.path(), "ca.pem");
    let foreign_ca = foreign.write(folder.path(), "foreign-ca.pem");
    let server = ours.sign(folder.path(), "server", "tickets.example.com");
    let client = ours.sign(folder.path(), "client", "gateway");
    let stranger = foreign.sign(folder.path(), "stranger", "gateway");
    let tls = Acceptor::new(server, Some(ca.clone())).unwrap();
    let office = secured(&folder, tls).await;
    let domain = Some("tickets.example.com".to_owned());
    let connector = |ca: &Path, identity: Option<&Identity>, domain: &Option<String>| {
        Connector::new(ca.to_owned(), identity.cloned(), domain.clone()).unwrap()
    };

    assert!(sends(&desk(&office, connector(&ca, Some(&client), &domain)), 1).await);
    for (what, tls, why) in [
        (
            "without a certificate",
            connector(&ca, None, &domain),
            "CertificateRequired",
        ),
        (
            "with a foreign one",
            connector(&ca, Some(&stranger), &domain),
            "fatal alert",
        ),
        (
            "to an unknown authority",
            connector(&foreign_ca, Some(&client), &domain),
            "invalid peer certificate",
        ),
        (
            "under another name",
            connector(&ca, Some(&client), &None),
            "not valid for name",
        ),
    ] {
        assert!(!sends(&desk(&office, tls.clone()), 2).await, "{what}");
        let said = hindrance(&office.address.to_string(), tls).await;
        assert!(
            said.clone().is_some_and(|said| said.contains(why)),
            "{what}: {said:?}"
        );
    }
    let known = connector(&ca, Some(&client), &domain);
    let said = hindrance(&office.address.to_string(), known.clone()).await;
    assert_eq!(said, None, "the peer itself refuses an empty draft");
    let said = hindrance("127.0.0.1:1", known).await.unwrap();
    assert!(said.contains("refused"), "{said}");
    let plain = GrpcDesk::connect_lazy(&office.endpoint()).unwrap();
    assert!(!sends(&plain, 2).await, "without TLS");
    assert!(
        GrpcDesk::connect_lazy("https://127.0.0.1:1").is_err(),
        "https without TLS"
    );
    office.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_opens_what_its_roles_say_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new();
    let ca = ours.write(folder.path(), "ca.pem");
    let server = ours.sign(folder.path(), "server", "tickets.example.com");
    let tls = Acceptor::new(server, Some(ca.clone())).unwrap();
    let access = Access::of(vec![
        Client::new("gateway.example.com", None, [Role::WriteTickets]),
        Client::new("crm.example.com", None, [Role::ReadTickets]),
    ]);
    let office = secured_for(&folder, tls, access).await;
    let endpoint = Endpoint::from_shared(format!("https://{}", office.address)).unwrap();
    for (host, writes, reads) in [
        ("gateway.example.com", Ok(()), Err(Code::PermissionDenied)),
        ("crm.example.com", Err(Code::PermissionDenied), Ok(())),
        (
            "other.example.com",
            Err(Code::Unauthenticated),
            Err(Code::Unauthenticated),
        ),
    ] {
        let shown = ours.sign(folder.path(), host, host);
        let domain = Some("tickets.example.com".to_owned());
        let connector = Connector::new(ca.clone(), Some(shown), domain).unwrap();
        let channel = tls::channel(&endpoint, Some(connector));
        let written = TicketIntakeClient::new(channel.clone())
            .upsert_draft(upsert("a", 1))
            .await;
        assert_eq!(
            written.map(drop).map_err(|status| status.code()),
            writes,
            "{host}"
        );
        let read = TicketBookClient::new(channel)
            .list_drafts(ListDraftsRequest::default())
            .await;
        assert_eq!(
            read.map(drop).map_err(|status| status.code()),
            reads,
            "{host}"
        );
    }
    office.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_certificates_are_used_without_a_restart_and_half_written_ones_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let old = Authority::new();
    let ca = old.write(folder.path(), "ca.pem");
    let server = old.sign(folder.path(), "server", "tickets.example.com");
    let client = old.sign(folder.path(), "client", "gateway");
    let tls = Acceptor::new(server, Some(ca.clone())).unwrap();
    let office = secured(&folder, tls).await;
    let domain = Some("tickets.example.com".to_owned());
    let connector = Connector::new(ca.clone(), Some(client.clone()), domain.clone()).unwrap();
    assert!(sends(&desk(&office, connector.clone()), 1).await);

    std::fs::write(folder.path().join("server.pem"), "-----BEGIN CERT").unwrap();
    assert!(
        sends(&desk(&office, connector.clone()), 2).await,
        "the old one goes on"
    );

    let new = Authority::new();
    new.write(folder.path(), "ca.pem");
    new.sign(folder.path(), "server", "tickets.example.com");
    let held_back = folder.path().join("stale");
    std::fs::create_dir(&held_back).unwrap();
    let stale = old.sign(&held_back, "client", "gateway");
    new.sign(folder.path(), "client", "gateway");
    assert!(
        sends(&desk(&office, connector), 3).await,
        "both sides are renewed"
    );
    let stale = Connector::new(ca, Some(stale), domain).unwrap();
    assert!(
        !sends(&desk(&office, stale), 4).await,
        "the old authority counts no more"
    );
    office.shut().await;
}

#[tokio::test]
async fn a_file_that_is_none_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let identity = authority.sign(folder.path(), "server", "a");
    let absent = folder.path().join("absent.pem");
    let said =
        |result: Result<Acceptor, crate::grpc::tls::TlsError>| result.err().unwrap().to_string();
    let missing = Identity {
        cert: absent.clone(),
        ..identity.clone()
    };
    assert!(said(Acceptor::new(missing, None)).contains("absent.pem"));
    assert!(
        said(Acceptor::new(identity.clone(), Some(identity.key.clone()))).contains("authority")
    );
    let other = authority.sign(folder.path(), "other", "a");
    let mixed = Identity {
        key: other.key,
        ..identity
    };
    assert!(said(Acceptor::new(mixed, None)).contains("other.key"));
}
