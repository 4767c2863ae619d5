//! Who is let in, and what each sees: over real connections, as browsers and programs ask.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prost::Message as _;
use tonic::Code;

use super::*;
use crate::access::{People, Refusal as Refused, Settings};
use crate::grpc::proto::people::v1 as wire;
use crate::people::{Limits, PasswordRules, Profile, Role, lockout};

const NEW: &str = "Tramontana 47 grau";

fn people(store: &Store) -> People {
    let settings = Settings {
        limits: Limits {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(12),
        },
        rules: PasswordRules::default(),
        lockout: lockout::Policy::default(),
        totp_for: Vec::new(),
        issuer: "心桥".into(),
        audit_kept: Duration::from_hours(24 * 400),
    };
    let audit = store.clone();
    People::new(store.clone(), settings, move |record| {
        let audit = audit.clone();
        tokio::spawn(async move { audit.save_audit(&[record]).await.unwrap() });
    })
}

/// A house with a door, and who may come in.
struct Guarded {
    house: House,
    passwords: HashMap<&'static str, String>,
}

impl Guarded {
    async fn open() -> Self {
        let known = std::sync::OnceLock::new();
        let house = House::open_with(|console| {
            let people = people(&console.store);
            let _ = known.set(people.clone());
            console.knowing(Some(people))
        });
        let house = house.await;
        let people = known.into_inner().unwrap();
        let mut passwords = HashMap::new();
        for (name, role, station, team) in [
            ("wang", Role::Operator, "1001", "a"),
            ("li", Role::Operator, "1002", "b"),
            ("zhang", Role::TeamLead, "", "a"),
            ("sun", Role::AuditAdministrator, "", ""),
            ("admin", Role::SystemAdministrator, "", ""),
        ] {
            let profile = Profile {
                stations: vec![station.to_owned()],
                team: team.to_owned(),
                ..Profile::default()
            };
            let added = people.add(&Actor::System, name, profile, vec![role]).await;
            passwords.insert(name, added.unwrap().one_time.into_inner());
        }
        Self { house, passwords }
    }

    /// The head and the body of what a method answers to JSON.
    async fn json(&self, method: &str, body: &Value, header: &str) -> (String, Value) {
        let body = body.to_string();
        let header = format!(
            "{header}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let path = format!("/xinqiao.people.v1.{method}");
        // The empty line behind the body belongs to no request.
        let (head, answer) = self.house.answer("POST", &path, &header).await;
        let answer = serde_json::from_str(&answer).unwrap_or(Value::Null);
        (head, answer)
    }

    /// Signs in as a browser, replaces the one-time password, and returns the cookie's header.
    async fn enter(&self, name: &'static str) -> String {
        let password = &self.passwords[name];
        let asked = json!({ "name": name, "password": password });
        let (head, answer) = self.json("Account/SignIn", &asked, "").await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {answer}");
        assert_eq!(answer["token"], Value::Null, "no script gets the token");
        let cookie = head
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: "))
            .unwrap();
        assert!(
            cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"),
            "{cookie}"
        );
        let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
        let asked = json!({ "password": password, "newPassword": NEW });
        let (head, answer) = self.json("Account/ChangePassword", &asked, &cookie).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head} {answer}");
        cookie
    }

    fn call(&self, id: &str, operator: &str) {
        self.house.say(id, started(id, operator));
    }
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn nobody_who_has_not_signed_in_sees_a_call_and_a_one_time_password_shows_none() {
    let hall = Guarded::open().await;
    hall.call("a", "sip:1001@192.0.2.20");
    for path in [
        "/api/calls",
        "/api/choices",
        "/api/calls/a/recording",
        "/ws?call=a",
    ] {
        let (head, body) = hall.house.ask(path, "").await;
        assert_eq!(status(&head), "401", "{path}");
        assert!(body.contains("sign_in"), "{body}");
        let forged = "Cookie: xinqiao=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\r\n";
        let (head, _) = hall.house.ask(path, forged).await;
        assert_eq!(status(&head), "401", "{path}");
    }
    for path in ["/", "/app.js", "/healthz", "/metrics"] {
        let (head, _) = hall.house.ask(path, "").await;
        assert_eq!(status(&head), "200", "{path}");
    }
    let asked = json!({ "name": "wang", "password": hall.passwords["wang"] });
    let (head, answer) = hall.json("Account/SignIn", &asked, "").await;
    assert_eq!(answer["me"]["must"], json!(["MUST_CHANGE_PASSWORD"]));
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    let cookie = format!("Cookie: {cookie}\r\n");
    let (head, body) = hall.house.ask("/api/calls", &cookie).await;
    assert!(
        status(&head) == "403" && body.contains("must_first"),
        "{body}"
    );
    hall.house.shut().await;
}

#[tokio::test]
async fn each_sees_hears_and_changes_what_the_role_allows_and_it_is_kept() {
    let hall = Guarded::open().await;
    hall.call("of-wang", "sip:1001@192.0.2.20");
    hall.call("of-li", "sip:1002@192.0.2.20");
    hall.call("of-nobody", "sip:op@127.0.0.1:5080");
    let mut answering: Vec<_> = Vec::new();
    for call in ["of-wang", "of-li", "of-nobody"] {
        answering.push(super::answering(&hall.house.control, call, |_, _| Ok(())));
    }
    for (name, sees) in [
        ("wang", &["of-wang"][..]),
        ("li", &["of-li"]),
        ("zhang", &["of-nobody", "of-wang"]),
        ("sun", &[]),
        ("admin", &[]),
    ] {
        let cookie = hall.enter(name).await;
        let (_, body) = hall.house.ask("/api/calls?limit=1", &cookie).await;
        let page: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(
            page["calls"].as_array().unwrap().len(),
            sees.len().min(1),
            "{name}"
        );
        let (_, body) = hall.house.ask("/api/calls", &cookie).await;
        let listed: Value = serde_json::from_str(&body).unwrap();
        let mut listed: Vec<_> = listed["calls"]
            .as_array()
            .unwrap()
            .iter()
            .map(|call| call["call"].as_str().unwrap().to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, sees, "{name}");
        for call in ["of-wang", "of-li", "of-nobody"] {
            let allowed = sees.contains(&call);
            let body =
                "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"text\":\"ok\"}";
            let path = format!("/api/calls/{call}/note");
            let (head, _) = hall
                .house
                .act("POST", &path, &format!("{cookie}{body}"))
                .await;
            assert_eq!(
                status(&head),
                if allowed { "204" } else { "403" },
                "{name} {call}"
            );
            let upgrade = format!(
                "{cookie}Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            );
            let (head, _) = hall
                .house
                .ask(&format!("/api/calls/{call}/recording"), &cookie)
                .await;
            assert_eq!(
                status(&head),
                if allowed { "404" } else { "403" },
                "{name} {call}"
            );
            if !allowed {
                let upgrade = upgrade.replace("\r\nUpgrade", "\r\nConnection: upgrade\r\nUpgrade");
                let (head, _) = hall.house.ask(&format!("/ws?call={call}"), &upgrade).await;
                assert!(
                    ["403", "400"].contains(&status(&head)),
                    "{name} {call} {head}"
                );
            }
        }
    }
    answering.iter().for_each(JoinHandle::abort);
    hall.house.shut().await;
}

#[tokio::test]
async fn a_stream_shows_only_what_may_be_seen_and_ends_with_its_session() {
    let hall = Guarded::open().await;
    let cookie = hall.enter("wang").await;
    hall.call("of-li", "sip:1002@192.0.2.20");
    hall.call("of-wang", "sip:1001@192.0.2.20");
    let mut request = format!("ws://{}/ws?only=calls", hall.house.address)
        .into_client_request()
        .unwrap();
    let shown = cookie.trim().strip_prefix("Cookie: ").unwrap();
    request
        .headers_mut()
        .insert("cookie", shown.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let first = loop {
        let message = socket.next().await.unwrap().unwrap();
        let text = message.into_text().unwrap_or_default().to_string();
        if text.contains("\"call\"") {
            break text;
        }
    };
    assert!(
        first.contains("of-wang") && !first.contains("of-li"),
        "{first}"
    );
    let (head, _) = hall.json("Account/SignOut", &json!({}), &cookie).await;
    assert!(head.contains("Max-Age=0"), "{head}");
    let closed = tokio::time::timeout(PATIENCE, async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) => return u16::from(frame.code),
                Some(Ok(_)) => {}
                other => panic!("{other:?}"),
            }
        }
    });
    assert_eq!(closed.await.unwrap(), 4401);
    let (head, _) = hall.house.ask("/api/calls", &cookie).await;
    assert_eq!(status(&head), "401");
    hall.house.shut().await;
}

#[tokio::test]
async fn what_another_site_sends_is_refused_and_a_program_holds_its_token_by_itself() {
    let hall = Guarded::open().await;
    let asked = json!({ "name": "wang", "password": hall.passwords["wang"] });
    for header in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
    ] {
        let own = format!("Origin: http://{}\r\n", hall.house.address);
        let own = if header.starts_with("Sec") {
            own.as_str()
        } else {
            ""
        };
        let (head, _) = hall
            .json("Account/SignIn", &asked, &format!("{own}{header}"))
            .await;
        assert_eq!(status(&head), "403", "{header}");
    }
    let path = "/xinqiao.people.v1.Account/SignIn";
    let form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 0\r\n";
    let (head, _) = hall.house.act("POST", path, form).await;
    assert_eq!(status(&head), "415");

    // A program names no site.
    let text = asked.to_string();
    let length = text.len();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{text}",
        hall.house.address
    );
    let mut connection = TcpStream::connect(hall.house.address).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    assert!(!answer.contains("set-cookie"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let answer: Value = serde_json::from_str(body).unwrap();
    let token = answer["token"].as_str().unwrap();
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let (head, answer) = hall.json("Account/WhoAmI", &json!({}), &bearer).await;
    assert_eq!(
        (status(&head), &answer["me"]["user"]["name"]),
        ("200", &json!("wang"))
    );
    hall.house.shut().await;
}

#[tokio::test]
async fn administrators_make_accounts_and_the_auditor_reads_of_it_and_nobody_else_does() {
    let hall = Guarded::open().await;
    let admin = hall.enter("admin").await;
    let user = json!({ "user": { "name": "zhao", "displayName": "赵", "stations": ["1003"] } });
    let (head, answer) = hall.json("Users/AddUser", &user, &admin).await;
    assert_eq!(status(&head), "200", "{answer}");
    assert!(answer["oneTimePassword"].as_str().unwrap().len() > 20);
    let (head, answer) = hall.json("Users/AddUser", &user, &admin).await;
    assert_eq!(
        (status(&head), &answer["code"]),
        ("409", &json!("already_exists"))
    );
    assert_eq!(answer["details"][0]["debug"]["reason"], "NAME_TAKEN");
    let with_roles = json!({ "user": { "name": "qian", "roles": ["ROLE_OPERATOR"] } });
    let (head, _) = hall.json("Users/AddUser", &with_roles, &admin).await;
    assert_eq!(
        status(&head),
        "403",
        "who makes accounts does not give roles"
    );
    let (head, _) = hall.json("Audit/ListRecords", &json!({}), &admin).await;
    assert_eq!(status(&head), "403");

    let auditor = hall.enter("sun").await;
    let (head, answer) = hall
        .json(
            "Audit/ListRecords",
            &json!({ "action": "add_user" }),
            &auditor,
        )
        .await;
    assert_eq!(status(&head), "200", "{answer}");
    let newest = &answer["records"][0];
    assert_eq!(
        (&newest["actor"], &newest["actorKind"]),
        (&json!("admin"), &json!("user"))
    );
    assert!(newest["detail"].as_str().unwrap().contains("zhao"));
    let (_, answer) = hall.json("Audit/VerifyRecords", &json!({}), &auditor).await;
    assert_eq!(
        (&answer["brokenAt"], &answer["algorithm"]),
        (&Value::Null, &json!("sha-256"))
    );
    let (head, _) = hall.json("Users/ListUsers", &json!({}), &auditor).await;
    assert_eq!(status(&head), "403");
    let operator = hall.enter("wang").await;
    for method in [
        "Users/ListUsers",
        "Users/AddUser",
        "Users/SetRoles",
        "Users/ResetPassword",
        "Audit/ListRecords",
        "Audit/VerifyRecords",
    ] {
        let (head, answer) = hall.json(method, &json!({}), &operator).await;
        assert_eq!(
            (status(&head), &answer["code"]),
            ("403", &json!("permission_denied")),
            "{method}"
        );
    }
    hall.house.shut().await;
}

/// Each refusal by JSON and by gRPC-Web; that gRPC says the same is what both are made of.
#[tokio::test]
async fn a_refusal_has_its_code_reason_and_numbers_in_every_encoding() {
    let hall = Guarded::open().await;
    let cookie = hall.enter("admin").await;
    let _ = hall.enter("wang").await;
    for _ in 0..5 {
        let wrong = json!({ "name": "locked", "password": "wrong" });
        let (head, answer) = hall.json("Account/SignIn", &wrong, "").await;
        assert_eq!(
            (status(&head), &answer["code"]),
            ("401", &json!("unauthenticated"))
        );
    }
    let user = |name: &str| wire::User {
        name: name.to_owned(),
        revision: 7,
        ..wire::User::default()
    };
    let cases = [
        (
            "Account/SignIn",
            json!({ "name": "locked", "password": "wrong" }),
            wire::SignInRequest {
                name: "locked".into(),
                password: "wrong".into(),
                ..Default::default()
            }
            .encode_to_vec(),
            Code::ResourceExhausted,
            "LOCKED_OUT",
            "429",
        ),
        (
            "Users/UpdateUser",
            json!({ "user": { "name": "nobody" } }),
            wire::UpdateUserRequest {
                user: Some(user("nobody")),
            }
            .encode_to_vec(),
            Code::NotFound,
            "NO_ACCOUNT",
            "404",
        ),
        (
            "Users/AddUser",
            json!({ "user": { "name": "wang" } }),
            wire::AddUserRequest {
                user: Some(user("wang")),
            }
            .encode_to_vec(),
            Code::AlreadyExists,
            "NAME_TAKEN",
            "409",
        ),
        (
            "Users/AddUser",
            json!({ "user": { "name": "no name" } }),
            wire::AddUserRequest {
                user: Some(user("no name")),
            }
            .encode_to_vec(),
            Code::InvalidArgument,
            "BAD_NAME",
            "400",
        ),
        (
            "Users/UpdateUser",
            json!({ "user": { "name": "wang", "revision": "7" } }),
            wire::UpdateUserRequest {
                user: Some(user("wang")),
            }
            .encode_to_vec(),
            Code::Aborted,
            "CHANGED_MEANWHILE",
            "409",
        ),
        (
            "Users/SetDisabled",
            json!({ "name": "admin", "disabled": true }),
            wire::SetDisabledRequest {
                name: "admin".into(),
                disabled: true,
            }
            .encode_to_vec(),
            Code::FailedPrecondition,
            "OWN_ACCOUNT",
            "400",
        ),
        (
            "Audit/VerifyRecords",
            json!({}),
            Vec::new(),
            Code::PermissionDenied,
            "MAY_NOT",
            "403",
        ),
        (
            "Account/ChangePassword",
            json!({ "password": NEW, "newPassword": "short" }),
            wire::ChangePasswordRequest {
                password: NEW.into(),
                new_password: "short".into(),
            }
            .encode_to_vec(),
            Code::InvalidArgument,
            "TOO_SHORT",
            "400",
        ),
    ];
    for (method, asked, message, code, reason, http) in cases {
        let (head, answer) = hall.json(method, &asked, &cookie).await;
        assert_eq!(status(&head), http, "{method} {answer}");
        assert_eq!(answer["details"][0]["debug"]["reason"], reason, "{method}");
        let by_web = hall.by_grpc_web(method, &message, &cookie).await;
        assert_eq!(
            (by_web.0, by_web.1.as_str()),
            (code as i32, reason),
            "{method}"
        );
    }
    let (head, answer) = hall.json("Account/Nothing", &json!({}), &cookie).await;
    assert_eq!(
        (status(&head), &answer["code"]),
        ("501", &json!("unimplemented"))
    );
    let (head, answer) = hall
        .json("Account/SignIn", &json!({ "nome": 1 }), &cookie)
        .await;
    assert_eq!(status(&head), "400", "{answer}");
    let long = json!({ "name": "x".repeat(2_000_000) });
    let (head, _) = hall.json("Account/SignIn", &long, &cookie).await;
    assert_eq!(status(&head), "429");
    let retry = Refused::LockedOut {
        retry_after: Duration::from_secs(7),
    };
    assert_eq!(retry.numbers(), [("retry_after_s", 7)]);
    hall.house.shut().await;
}

#[tokio::test]
async fn an_encrypted_page_has_a_cookie_that_is_bound_to_it() {
    use std::sync::OnceLock;

    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

    use crate::grpc::tls::{Acceptor, SelfSigned};

    let folder = tempfile::tempdir().unwrap();
    let names = || vec!["localhost".to_owned()];
    let made = SelfSigned::at(folder.path(), names()).unwrap();
    let again = SelfSigned::at(folder.path(), names()).unwrap();
    assert_eq!(made.certificate, again.certificate, "it is made once");
    let password = OnceLock::new();
    let acceptor = Acceptor::for_browsers(made.identity).unwrap();
    let house = House::open_with(|console| {
        let people = people(&console.store);
        let _ = password.set(people.clone());
        console.knowing(Some(people)).encrypted(Some(acceptor))
    });
    let house = house.await;
    let added = password.get().unwrap().add(
        &Actor::System,
        "wang",
        Profile::default(),
        vec![Role::Operator],
    );
    let password = added.await.unwrap().one_time;

    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.certificate)).unwrap();
    let config = ClientConfig::builder_with_provider(crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(house.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let body = json!({ "name": "wang", "password": password.reveal() }).to_string();
    let request = format!(
        "POST /xinqiao.people.v1.Account/SignIn HTTP/1.1\r\nHost: localhost\r\nOrigin: https://localhost\r\n\
         Sec-Fetch-Site: same-origin\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // Who closes without a word of it is no browser's concern.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer);
    let cookie = answer
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap_or_else(|| panic!("{answer}"));
    assert!(
        cookie.starts_with("__Host-xinqiao=") && cookie.contains("; Path=/; Secure; HttpOnly"),
        "{cookie}"
    );

    // Who does not encrypt is not understood.
    let mut plain = TcpStream::connect(house.address).await.unwrap();
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    house.shut().await;
}

impl Guarded {
    /// The code and the reason that gRPC-Web answers.
    async fn by_grpc_web(&self, method: &str, message: &[u8], cookie: &str) -> (i32, String) {
        let mut framed = vec![0];
        framed.extend((message.len() as u32).to_be_bytes());
        framed.extend(message);
        let head = format!(
            "POST /xinqiao.people.v1.{method} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nConnection: close\r\n{cookie}\
             Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nContent-Length: {1}\r\n\r\n",
            self.house.address,
            framed.len()
        );
        let mut connection = TcpStream::connect(self.house.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(&framed).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let value = |name: &str| {
            let name = format!("{name}:");
            let at = answer
                .find(&name)
                .unwrap_or_else(|| panic!("{name} {answer}"));
            let rest = &answer[at + name.len()..];
            rest.split("\r\n").next().unwrap().trim().to_owned()
        };
        let details = value("grpc-status-details-bin");
        let bytes = STANDARD_NO_PAD
            .decode(details.trim_end_matches('='))
            .unwrap();
        let status = tonic_types::pb::Status::decode(bytes.as_slice()).unwrap();
        let info = tonic_types::pb::ErrorInfo::decode(status.details[0].value.as_slice());
        (value("grpc-status").parse().unwrap(), info.unwrap().reason)
    }
}

#[tokio::test]
async fn the_services_of_calls_show_and_do_on_the_pages_port_what_the_role_allows() {
    let hall = Guarded::open().await;
    hall.call("of-wang", "sip:1001@192.0.2.20");
    hall.call("of-li", "sip:1002@192.0.2.20");
    hall.house.say("of-wang", line(0, 1, true));
    let running: Vec<_> = ["of-wang", "of-li"]
        .map(|call| super::answering(&hall.house.control, call, |_, _| Ok(())))
        .into();
    let cookie = hall.enter("wang").await;
    let ask = async |service: &str, body: Value| {
        let path = format!("/xinqiao.{service}");
        let body = body.to_string();
        let header = format!(
            "{cookie}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let (head, answer) = hall.house.answer("POST", &path, &header).await;
        let answer: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        (status(&head).to_owned(), answer)
    };
    let (code, listed) = ask("transcript.v1.TranscriptService/ListCalls", json!({})).await;
    assert_eq!(code, "200", "{listed}");
    let calls = listed["calls"].as_array().unwrap();
    assert_eq!(calls.len(), 1, "{listed}");
    let own = json!({ "callId": "of-wang" });
    let (code, got) = ask("transcript.v1.TranscriptService/Get", own.clone()).await;
    assert_eq!(
        (code.as_str(), &got["utterances"][0]["text"]),
        ("200", &json!("第0句"))
    );
    let foreign = json!({ "callId": "of-li" });
    for method in [
        "transcript.v1.TranscriptService/Get",
        "transcript.v1.TranscriptService/PauseRecording",
        "transcript.v1.TranscriptService/UndoChange",
        "control.v1.CallControl/HangUp",
        "control.v1.CallControl/Pause",
    ] {
        let (code, answer) = ask(method, foreign.clone()).await;
        assert_eq!(
            (code.as_str(), &answer["code"]),
            ("403", &json!("permission_denied")),
            "{method}"
        );
    }
    let (code, _) = ask("control.v1.CallControl/HangUp", own).await;
    assert_eq!(code, "200");
    let nobody = json!({ "callId": "nobody" });
    let (code, _) = ask("transcript.v1.TranscriptService/Get", nobody).await;
    assert_eq!(code, "404");
    let (code, answer) = ask("transcript.v1.TranscriptService/Watch", json!({})).await;
    assert_eq!(
        (code.as_str(), &answer["code"]),
        ("501", &json!("unimplemented")),
        "a stream is none for JSON"
    );

    // A program that watches by gRPC-Web hears of its own calls alone, until its session ends.
    let mut connection = TcpStream::connect(hall.house.address).await.unwrap();
    let request = format!(
        "POST /xinqiao.transcript.v1.TranscriptService/Watch HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\n{cookie}\
         Content-Type: application/grpc-web+proto\r\nX-Grpc-Web: 1\r\nConnection: close\r\nContent-Length: 7\r\n\r\n",
        hall.house.address
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    // after_position = 0: everything that is remembered.
    connection
        .write_all(&[0, 0, 0, 0, 2, 0x18, 0])
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (head, _) = hall.json("Account/SignOut", &json!({}), &cookie).await;
    assert!(head.contains("Max-Age=0"), "{head}");
    let mut heard = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, connection.read_to_end(&mut heard));
    ended
        .await
        .expect("the stream ends with its session")
        .unwrap();
    let heard = String::from_utf8_lossy(&heard);
    assert!(
        heard.contains("of-wang") && !heard.contains("of-li"),
        "{heard}"
    );
    assert!(heard.contains("grpc-status:16"), "{heard}");
    running.iter().for_each(JoinHandle::abort);
    hall.house.shut().await;
}
