//! A real receiver over HTTP, fed by the real outbox.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use axum::serve::Listener;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::audio::MediaTime;
use crate::postgres_server::{Site, on_both_engines};
use crate::speech::{CallId, Leg};
use crate::store::{Delivery, EntryKind, EntryState, Lane, Outbox, Store, at};
use crate::ticket::desk::DraftKey;
use crate::ticket::{Evidence, Field, FieldName, FieldValue, TicketDraft};
use crate::transcript::Line;

const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// What a request brought.
#[derive(Clone)]
struct Got {
    id: String,
    body: Value,
    verified: bool,
}

#[derive(Clone, Default)]
struct Receiver {
    got: Arc<Mutex<Vec<Got>>>,
    /// The next answers; 204 when there are none.
    answers: Arc<Mutex<VecDeque<(u16, &'static str)>>>,
}

async fn take(
    State(receiver): State<Receiver>,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, &'static str) {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let key = BASE64.decode(&SECRET[PREFIX.len()..]).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    let signed = format!("{id}.{at}.{body}");
    let verified = header("webhook-signature").split(' ').any(|signature| {
        let signature = BASE64
            .decode(signature.strip_prefix("v1,").unwrap())
            .unwrap();
        hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
    });
    let got = Got {
        id,
        body: serde_json::from_str(&body).unwrap(),
        verified,
    };
    receiver.got.lock().unwrap().push(got);
    let (status, text) = receiver
        .answers
        .lock()
        .unwrap()
        .pop_front()
        .unwrap_or((204, ""));
    (StatusCode::from_u16(status).unwrap(), text)
}

impl Receiver {
    fn router(&self) -> Router {
        Router::new()
            .route("/drafts", post(take))
            .with_state(self.clone())
    }

    async fn open(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        address
    }

    /// The same over TLS, with a certificate for 127.0.0.1 that `authority` signed.
    async fn open_secured(&self, authority: &Authority) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let secured = Secured {
            listener,
            acceptor: authority.acceptor("127.0.0.1"),
        };
        let router = self.router();
        tokio::spawn(async move { axum::serve(secured, router).await.unwrap() });
        address
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }
}

/// Accepts connections and makes them secure; whoever does not want to trust it is passed over.
struct Secured {
    listener: tokio::net::TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Secured {
    type Io = TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, from) = self.listener.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, from);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A private authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn write(&self, folder: &Path, name: &str) -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, self.0.pem()).unwrap();
        path
    }

    fn acceptor(&self, host: &str) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        Arc::new(config).into()
    }
}

struct House {
    store: Store,
    stop: CancellationToken,
    delivery: JoinHandle<()>,
    site: Site,
}

impl House {
    async fn open(site: Site, receiver: SocketAddr) -> Self {
        Self::posting(site, &format!("http://{receiver}/drafts"), None).await
    }

    /// Posts to `url`, whose certificate `authority` signed.
    async fn posting(site: Site, url: &str, authority: Option<&Authority>) -> Self {
        let secret = site.folder().join("secret");
        std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
        let ca = authority.map(|authority| authority.write(site.folder(), "ca.pem"));
        let webhook = Webhook::new(url, &secret, ca.as_deref(), Duration::from_secs(2)).unwrap();
        let store = Store::open_with(at(&site.store()), &[Lane::Webhook])
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let options = Delivery {
            first_pause: Duration::from_millis(20),
            longest_pause: Duration::from_millis(100),
            ..Delivery::with_seed(1)
        };
        let delivery = tokio::spawn(store.outbox().deliver(
            Lane::Webhook,
            Arc::new(webhook),
            options,
            stop.clone(),
        ));
        Self {
            store,
            stop,
            delivery,
            site,
        }
    }

    fn outbox(&self) -> Outbox {
        self.store.outbox()
    }

    async fn until(&self, done: impl Fn(&[crate::store::Entry]) -> bool) {
        let begun = Instant::now();
        while !done(&self.outbox().entries().await.unwrap()) {
            assert!(begun.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn shut(self) {
        self.stop.cancel();
        self.delivery.await.unwrap();
        self.store.close().await;
    }
}

fn submission(call: &str, revision: u64) -> Submission {
    let phone = Field {
        value: FieldValue::Text("13800000001".into()),
        confidence: 0.5,
        evidence: vec![Evidence {
            utterance: 3,
            start: 5,
            end: 16,
        }],
    };
    Submission {
        key: DraftKey {
            call: CallId::new(call),
            revision,
        },
        draft: TicketDraft {
            fields: [(FieldName::ContactPhone, phone)].into(),
            missing: vec![FieldName::Address],
            ..TicketDraft::default()
        },
        lines: vec![Line::plain(
            3,
            Leg::Caller,
            "我的电话是13800000001",
            MediaTime::from_millis(4_000),
            MediaTime::from_millis(6_500),
        )],
    }
}

#[test]
fn the_signature_is_that_of_the_standard_webhooks_example() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    std::fs::write(
        &file,
        format!("{SECRET}\nwhsec_{}\n", BASE64.encode([7; 24])),
    )
    .unwrap();
    let signature = Secrets::read(&file).unwrap().sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1_614_265_330,
        r#"{"test": 2432232314}"#,
    );
    let (first, second) = signature.split_once(' ').unwrap();
    assert_eq!(first, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    assert!(second.starts_with("v1,") && second != first);
}

#[test]
fn a_secret_that_is_missing_short_or_no_secret_is_refused_and_not_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let said = || Secrets::read(&file).err().unwrap().to_string();
    assert!(said().contains("webhook.secret_file"));
    for wrong in ["", "hunter2hunter2hunter2", "whsec_c2hvcnQ=", "whsec_!!!"] {
        std::fs::write(&file, wrong).unwrap();
        let said = said();
        assert!(said.contains("whsec_ and the base64"), "{said}");
        assert!(
            !said.contains("hunter2") && !said.contains("c2hvcnQ"),
            "{said}"
        );
    }
}

on_both_engines![
    drafts_arrive_signed_in_order_and_an_outage_only_delays_them,
    a_refused_draft_is_parked_with_the_receivers_words_and_a_redirect_is_not_followed,
];

async fn drafts_arrive_signed_in_order_and_an_outage_only_delays_them(site: Site) {
    let receiver = Receiver::default();
    receiver
        .answers
        .lock()
        .unwrap()
        .extend([(503, ""), (500, ""), (429, ""), (401, "")]);
    let house = House::open(site, receiver.open().await).await;
    house.outbox().put(&submission("a", 1)).await.unwrap();
    house.until(<[_]>::is_empty).await;
    house.outbox().put(&submission("a", 2)).await.unwrap();
    house.outbox().close(&submission("a", 3)).await.unwrap();
    house.until(<[_]>::is_empty).await;
    let got = receiver.got();
    assert!(got.iter().all(|got| got.verified));
    let ids: Vec<&str> = got.iter().map(|got| got.id.as_str()).collect();
    assert_eq!(ids[..5], ["a.1.updated"; 5], "the same id at each attempt");
    assert_eq!(ids.last(), Some(&"a.3.closed"));
    assert!(
        ids[5..ids.len() - 1]
            .iter()
            .all(|id| id.ends_with("updated"))
    );
    let body = &got[0].body;
    assert_eq!(body["type"], "ticket.draft.updated");
    let data = &body["data"];
    assert_eq!(
        (&data["call_id"], &data["revision"]),
        (&"a".into(), &1.into())
    );
    let phone = &data["fields"]["contact_phone"];
    assert_eq!(phone["value"], "13800000001");
    assert_eq!(phone["evidence"][0]["start_ms"], 4_000);
    assert_eq!(data["missing"][0], "address");
    assert_eq!(data["transcript"][0]["speaker"], "caller");
    let kept = house.store.draft(&CallId::new("a")).await.unwrap().unwrap();
    assert_eq!(kept.ticket, None, "a webhook gives no ticket number");
    house.shut().await;
}

async fn a_refused_draft_is_parked_with_the_receivers_words_and_a_redirect_is_not_followed(
    site: Site,
) {
    let receiver = Receiver::default();
    receiver
        .answers
        .lock()
        .unwrap()
        .extend([(422, "涉及金额不能为空"), (307, "")]);
    let house = House::open(site, receiver.open().await).await;
    house.outbox().put(&submission("a", 1)).await.unwrap();
    let parked = |entries: &[crate::store::Entry]| matches!(entries, [entry] if matches!(entry.state, EntryState::Parked { .. }));
    house.until(parked).await;
    let entries = house.outbox().parked().await.unwrap();
    assert_eq!(
        (entries[0].lane, entries[0].kind),
        (Lane::Webhook, EntryKind::Upsert)
    );
    let EntryState::Parked { code, reason } = &entries[0].state else {
        panic!("not parked")
    };
    assert_eq!(code, "Unprocessable Entity");
    assert_eq!(reason.reveal(), "涉及金额不能为空");
    assert_eq!(
        house
            .outbox()
            .resend(None, Some(Lane::Ticketing))
            .await
            .unwrap(),
        0
    );
    assert_eq!(
        house
            .outbox()
            .resend(None, Some(Lane::Webhook))
            .await
            .unwrap(),
        1
    );
    house.until(parked).await;
    assert_eq!(receiver.got().len(), 2);
    assert_eq!(
        house
            .outbox()
            .drop_call(&CallId::new("a"), None)
            .await
            .unwrap(),
        1
    );
    house.until(<[_]>::is_empty).await;
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_does_not_answer_is_asked_again_and_a_changed_secret_is_used_at_once() {
    let receiver = Receiver::default();
    let address = receiver.open().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let url = format!("http://{}/drafts", silent.local_addr().unwrap());
    let webhook = Webhook::new(&url, &secret, None, Duration::from_millis(200)).unwrap();
    let code = |code| Err(DeskError::Unavailable { code });
    assert_eq!(
        webhook.upsert(&submission("a", 1)).await,
        code("deadline exceeded")
    );
    drop(silent);
    assert_eq!(
        webhook.upsert(&submission("a", 1)).await,
        code("unreachable")
    );

    let house = House::open(Site::of_files(), address).await;
    let other = format!("whsec_{}", BASE64.encode([9; 32]));
    std::fs::write(house.site.folder().join("secret"), other).unwrap();
    house.outbox().put(&submission("a", 1)).await.unwrap();
    house.until(<[_]>::is_empty).await;
    assert!(!receiver.got()[0].verified, "signed with the new secret");
    house.shut().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_https_only_a_receiver_that_the_named_authority_vouches_for_gets_a_draft() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let receiver = Receiver::default();
    receiver
        .answers
        .lock()
        .unwrap()
        .extend([(503, ""), (422, "涉及金额不能为空")]);
    let address = receiver.open_secured(&ours).await;
    let url = format!("https://{address}/drafts");
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let foreign = foreign.write(folder.path(), "foreign.pem");
    let ca = ours.write(folder.path(), "ca.pem");
    for (what, url, ca) in [
        ("another authority", url.clone(), Some(&foreign)),
        ("the public ones", url.clone(), None),
        (
            "another name",
            url.replace("127.0.0.1", "localhost"),
            Some(&ca),
        ),
    ] {
        let webhook = Webhook::new(
            &url,
            &secret,
            ca.map(PathBuf::as_path),
            Duration::from_secs(2),
        );
        let refused = webhook.unwrap().upsert(&submission("a", 1)).await;
        let code = "no secure connection";
        assert_eq!(refused, Err(DeskError::Unavailable { code }), "{what}");
    }
    assert!(
        receiver.got().is_empty(),
        "not a word before the certificate is believed"
    );

    let house = House::posting(Site::of_files(), &url, Some(&ours)).await;
    house.outbox().put(&submission("a", 1)).await.unwrap();
    let parked = |entries: &[crate::store::Entry]| matches!(entries, [entry] if matches!(entry.state, EntryState::Parked { .. }));
    house.until(parked).await;
    // A newer revision takes the place of what was refused.
    house.outbox().put(&submission("a", 2)).await.unwrap();
    house.until(<[_]>::is_empty).await;
    let got = receiver.got();
    let ids: Vec<&str> = got.iter().map(|got| got.id.as_str()).collect();
    assert_eq!(ids, ["a.1.updated", "a.1.updated", "a.2.updated"]);
    assert!(got.iter().all(|got| got.verified));
    house.shut().await;
}
