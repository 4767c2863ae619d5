//! People who sign in, over real records.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use totp_rs::{Algorithm, Builder, Secret};

use super::*;
use crate::people::{PasswordFault, Profile};
use crate::postgres_server::Site;
use crate::store::at;

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 30));
const NEW: &str = "Tramontana 47 grau";

fn settings() -> Settings {
    Settings {
        limits: Limits {
            idle: Duration::from_mins(30),
            absolute: Duration::from_hours(12),
        },
        rules: PasswordRules::default(),
        lockout: lockout::Policy::default(),
        totp_for: vec![Role::Dispatcher],
        issuer: "心桥".into(),
        audit_kept: Duration::from_hours(24 * 180),
    }
}

struct Hall {
    people: People,
    kept: Arc<Mutex<Vec<AuditRecord>>>,
    store: Store,
    _site: Site,
}

impl Hall {
    async fn open() -> Self {
        let site = Site::of_files();
        let store = Store::open(at(&site.store())).await.expect("opened");
        let kept = Arc::<Mutex<Vec<AuditRecord>>>::default();
        let into = kept.clone();
        let people = People::new(store.clone(), settings(), move |record| {
            into.lock().expect("kept").push(record);
        });
        Self {
            people,
            kept,
            store,
            _site: site,
        }
    }

    async fn add(&self, name: &str, roles: &[Role]) -> String {
        self.add_to(name, roles, Profile::default()).await
    }

    async fn add_to(&self, name: &str, roles: &[Role], profile: Profile) -> String {
        let added = self
            .people
            .add(&Actor::System, name, profile, roles.to_vec());
        added.await.expect("added").one_time.into_inner()
    }

    async fn sign_in(&self, name: &str, password: &str, code: &str) -> Result<SignedIn, Refusal> {
        self.sign_in_from(HERE, name, password, code).await
    }

    async fn sign_in_from(
        &self,
        address: IpAddr,
        name: &str,
        password: &str,
        code: &str,
    ) -> Result<SignedIn, Refusal> {
        let given = Given {
            name,
            password,
            code,
            address,
            agent: "Firefox",
        };
        self.people.sign_in(given).await
    }

    async fn begun(&self, name: &str, password: &str) -> (Token, Arc<Caller>) {
        match self.sign_in(name, password, "").await.expect("signed in") {
            SignedIn::Begun { token, caller } => (token, caller),
            SignedIn::CodeNeeded => panic!("a code is needed"),
        }
    }

    fn deeds(&self) -> Vec<String> {
        let kept = self.kept.lock().expect("kept");
        kept.iter().map(|record| record.action.clone()).collect()
    }
}

fn reason<T>(answer: Result<T, Refusal>) -> &'static str {
    answer.map_or_else(|refusal| refusal.reason(), |_| "nothing")
}

/// The six digits that an authenticator shows now.
fn code(secret: &str) -> String {
    let totp = Builder::new()
        .with_algorithm(Algorithm::SHA1)
        .with_secret(Secret::try_from_base32(secret).expect("base32"))
        .build()
        .expect("a secret");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    totp.generate(now.expect("after 1970").as_secs())
        .to_string()
}

#[tokio::test]
async fn a_one_time_password_opens_nothing_but_its_replacement() {
    let hall = Hall::open().await;
    let first = hall
        .people
        .first_administrator()
        .await
        .expect("made")
        .expect("the first");
    assert!(
        hall.people
            .first_administrator()
            .await
            .expect("looked")
            .is_none()
    );
    let (token, caller) = hall.begun("Admin", first.one_time.reveal()).await;
    assert_eq!(caller.must, [Must::ChangePassword]);
    assert_eq!(
        reason(caller.demand(Action::ManageUsers, Scope::All)),
        "MUST_FIRST"
    );
    assert!(!caller.may_on(Action::SeeCall, "sip:1@x", &Roster::default()));
    let (other, _) = hall.begun("admin", first.one_time.reveal()).await;

    let people = &hall.people;
    let change = async |old: &str, new: &str| people.change_password(&caller, old, new).await;
    assert_eq!(reason(change("wrong", NEW).await), "WRONG");
    let old = first.one_time.reveal();
    assert_eq!(reason(change(old, "short").await), "TOO_SHORT");
    assert_eq!(reason(change(old, "Password123!").await), "COMMON");
    assert_eq!(reason(change(old, NEW).await), "nothing");
    let caller = people.caller(token.reveal(), HERE).await.expect("goes on");
    assert!(caller.must.is_empty() && caller.demand(Action::ManageUsers, Scope::All).is_ok());
    let ended = people.caller(other.reveal(), HERE).await;
    assert_eq!(reason(ended), "SIGN_IN", "the other session has ended");
    let again = people.change_password(&caller, NEW, old).await;
    assert!(matches!(
        again,
        Err(Refusal::Password(
            PasswordFault::TooPlain { .. } | PasswordFault::UsedBefore { .. }
        ))
    ));
    assert_eq!(reason(hall.sign_in("admin", old, "").await), "WRONG");
    assert_eq!(
        hall.deeds(),
        [
            "add_user",
            "sign_in",
            "sign_in",
            "change_password",
            "sign_in_refused"
        ]
    );
    hall.store.close().await;
}

#[tokio::test]
async fn an_authenticator_is_asked_for_once_it_is_confirmed_and_no_code_is_taken_twice() {
    let hall = Hall::open().await;
    let password = hall.add("wang", &[Role::Operator]).await;
    let (_, caller) = hall.begun("wang", &password).await;
    let people = &hall.people;
    assert_eq!(
        reason(people.confirm_totp(&caller, "123456").await),
        "NOT_PROPOSED"
    );
    let (secret, uri) = people
        .enrol_totp(&caller, &password)
        .await
        .expect("proposed");
    assert!(
        uri.reveal().starts_with("otpauth://totp/"),
        "{}",
        uri.reveal()
    );
    hall.begun("wang", &password).await;
    assert_eq!(
        reason(people.confirm_totp(&caller, "000000").await),
        "WRONG_CODE"
    );
    let used = code(secret.reveal());
    people
        .confirm_totp(&caller, &used)
        .await
        .expect("confirmed");
    let needed = hall.sign_in("wang", &password, "").await;
    assert!(matches!(needed, Ok(SignedIn::CodeNeeded)));
    assert_eq!(reason(hall.sign_in("wang", "wrong", "").await), "WRONG");
    let replayed = hall.sign_in("wang", &password, &used).await;
    assert_eq!(reason(replayed), "WRONG", "it was shown to confirm already");
    let removed = people
        .reset_password(&Actor::System, &caller.account.name, true)
        .await;
    let password = removed.expect("reset").one_time;
    hall.begun("wang", password.reveal()).await;

    let password = hall.add("pai", &[Role::Dispatcher]).await;
    let (_, caller) = hall.begun("pai", &password).await;
    assert_eq!(caller.must, [Must::ChangePassword, Must::EnrolTotp]);
    let refused = people.remove_totp(&caller, &password, "1").await;
    assert_eq!(reason(refused), "TOTP_REQUIRED");
    hall.store.close().await;
}

#[tokio::test]
async fn wrong_passwords_lock_an_account_that_exists_and_one_that_does_not_alike() {
    let hall = Hall::open().await;
    let password = hall.add("wang", &[Role::Operator]).await;
    for name in ["wang", "nobody"] {
        for _ in 0..5 {
            assert_eq!(
                reason(hall.sign_in(name, "wrong", "").await),
                "WRONG",
                "{name}"
            );
        }
        let locked = hall.sign_in(name, &password, "").await;
        assert_eq!(
            reason(locked),
            "LOCKED_OUT",
            "{name}, with the right password too"
        );
    }
    assert_eq!(reason(hall.sign_in("no name!", "wrong", "").await), "WRONG");
    let elsewhere = hall
        .sign_in_from([192, 0, 2, 31].into(), "wang", &password, "")
        .await;
    assert!(elsewhere.is_ok(), "at another desk the account works");
    let name = UserName::parse("wang").expect("a name");
    let reset = hall
        .people
        .reset_password(&Actor::System, &name, false)
        .await;
    let password = reset.expect("reset").one_time;
    hall.begun("wang", password.reveal()).await;
    hall.store.close().await;
}

#[tokio::test]
async fn whether_an_account_exists_does_not_show_in_the_time_of_a_refusal() {
    let hall = Hall::open().await;
    hall.add("wang", &[Role::Operator]).await;
    let mut spans = [Duration::ZERO; 2];
    // Turn by turn, so that what else the machine does meets both.
    for turn in 0..12_u8 {
        for (span, name) in spans.iter_mut().zip(["wang", "nobody"]) {
            let began = Instant::now();
            let address = [198, 51, 100, turn].into();
            let refused = hall.sign_in_from(address, name, "wrong", "").await;
            assert_eq!(reason(refused), "WRONG");
            *span += began.elapsed();
        }
    }
    let ratio = spans[0].as_secs_f64() / spans[1].as_secs_f64();
    // Without a decoy the second would take no time at all: a hundredth.
    assert!((0.4..2.5).contains(&ratio), "{spans:?}");
    hall.store.close().await;
}

#[tokio::test]
async fn sessions_are_seen_ended_and_heard_of_and_end_with_the_account() {
    let hall = Hall::open().await;
    let password = hall.add("wang", &[Role::Operator]).await;
    let (token, caller) = hall.begun("wang", &password).await;
    let (other, _) = hall.begun("wang", &password).await;
    let people = &hall.people;
    let sessions = people.own_sessions(&caller).await.expect("read");
    assert_eq!(sessions.len(), 2);
    let mut endings = people.endings();
    let theirs = sessions
        .iter()
        .find(|one| one.id != caller.session.id)
        .expect("other");
    people
        .revoke_own(&caller, &theirs.id)
        .await
        .expect("revoked");
    assert_eq!(*endings.recv().await.expect("heard"), *theirs.id);
    assert_eq!(reason(people.caller(other.reveal(), HERE).await), "SIGN_IN");
    assert_eq!(
        reason(people.revoke_own(&caller, &theirs.id).await),
        "NO_SESSION"
    );
    let name = &caller.account.name;
    people
        .set_disabled(&Actor::System, name, true)
        .await
        .expect("disabled");
    assert_eq!(*endings.recv().await.expect("heard"), *caller.session.id);
    assert_eq!(reason(people.caller(token.reveal(), HERE).await), "SIGN_IN");
    assert_eq!(reason(hall.sign_in("wang", &password, "").await), "WRONG");
    people
        .set_disabled(&Actor::System, name, false)
        .await
        .expect("enabled");
    let (token, caller) = hall.begun("wang", &password).await;
    people.sign_out(&caller).await.expect("signed out");
    assert_eq!(
        reason(people.still_holds(token.reveal(), HERE).await),
        "SIGN_IN"
    );
    hall.store.close().await;
}

#[tokio::test]
async fn nobody_changes_his_own_account_and_somebody_who_gives_roles_is_left() {
    let hall = Hall::open().await;
    let administrator = [Role::SystemAdministrator, Role::SecurityAdministrator];
    let password = hall.add("admin", &administrator).await;
    hall.add("wang", &[Role::Operator]).await;
    let (_, caller) = hall.begun("admin", &password).await;
    let (people, by) = (&hall.people, caller.actor());
    let named = |name: &str| UserName::parse(name).expect("a name");
    let admin = named("admin");
    assert_eq!(
        reason(people.set_roles(&by, &admin, vec![], 1).await),
        "OWN_ACCOUNT"
    );
    assert_eq!(
        reason(people.set_disabled(&by, &admin, true).await),
        "OWN_ACCOUNT"
    );
    assert_eq!(
        reason(people.reset_password(&by, &admin, true).await),
        "OWN_ACCOUNT"
    );
    let system = Actor::System;
    let last = people.set_roles(&system, &admin, vec![], 1).await;
    assert_eq!(reason(last), "LAST_ADMINISTRATOR");
    assert_eq!(
        reason(people.set_disabled(&system, &admin, true).await),
        "LAST_ADMINISTRATOR"
    );
    let apart = vec![Role::AuditAdministrator, Role::Operator];
    assert_eq!(
        reason(people.set_roles(&by, &named("wang"), apart, 1).await),
        "ROLES_APART"
    );
    let lead = vec![Role::TeamLead];
    let set = people.set_roles(&by, &named("wang"), lead.clone(), 1).await;
    assert_eq!(set.expect("set").roles, lead);
    let stale = people.set_roles(&by, &named("wang"), vec![], 1).await;
    assert_eq!(reason(stale), "CHANGED_MEANWHILE");
    let nobody = people
        .update(&by, &named("nobody"), Profile::default(), 1)
        .await;
    assert_eq!(reason(nobody), "NO_ACCOUNT");
    let taken = people.add(&by, "WANG", Profile::default(), vec![]).await;
    assert_eq!(reason(taken), "NAME_TAKEN");
    hall.store.close().await;
}

#[tokio::test]
async fn an_operator_sees_own_calls_and_a_team_lead_those_of_the_team_and_of_nobody() {
    let hall = Hall::open().await;
    let at = |station: &str, team: &str| Profile {
        stations: vec![station.to_owned()],
        team: team.to_owned(),
        ..Profile::default()
    };
    for (name, roles, profile) in [
        ("wang", Role::Operator, at("1001", "a")),
        ("li", Role::Operator, at("1002", "b")),
        ("zhang", Role::TeamLead, at("1009", "a")),
        ("sun", Role::AuditAdministrator, Profile::default()),
    ] {
        let password = hall.add_to(name, &[roles], profile).await;
        let (_, caller) = hall.begun(name, &password).await;
        hall.people
            .change_password(&caller, &password, NEW)
            .await
            .expect("changed");
    }
    let roster = hall.people.roster().await.expect("read");
    for (name, sees) in [
        ("wang", [true, false, false]),
        ("li", [false, true, false]),
        ("zhang", [true, false, true]),
        ("sun", [false, false, false]),
    ] {
        let (_, caller) = hall.begun(name, NEW).await;
        let phones = [
            "sip:1001@192.0.2.1",
            "sip:1002@192.0.2.1",
            "sip:op@127.0.0.1:5080",
        ];
        let seen = phones.map(|phone| caller.may_on(Action::SeeCall, phone, &roster));
        assert_eq!(seen, sees, "{name}");
    }
    hall.store.close().await;
}

#[tokio::test]
async fn accounts_that_are_written_at_once_lose_nothing() {
    let hall = Hall::open().await;
    let password = hall.add("wang", &[Role::Operator]).await;
    let begun = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..4_u8 {
        let (people, password, begun) = (hall.people.clone(), password.clone(), begun.clone());
        tasks.spawn(async move {
            let given = Given {
                name: "wang",
                password: &password,
                code: "",
                address: [192, 0, 2, number].into(),
                agent: "",
            };
            if people.sign_in(given).await.is_ok() {
                begun.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(begun.load(Ordering::Relaxed), 4);
    let name = UserName::parse("wang").expect("a name");
    assert_eq!(
        hall.people.sessions(Some(&name)).await.expect("read").len(),
        4
    );
    hall.store.close().await;
}

#[tokio::test]
async fn what_is_old_is_swept_up() {
    let hall = Hall::open().await;
    let password = hall.add("wang", &[Role::Operator]).await;
    hall.begun("wang", &password).await;
    let records = std::mem::take(&mut *hall.kept.lock().expect("kept"));
    hall.store.save_audit(&records).await.expect("saved");
    let later = SystemTime::now() + Duration::from_hours(13);
    hall.people.sweep_once(later).await.expect("swept");
    assert_eq!(hall.store.sessions(None).await.expect("read"), []);
    assert_eq!(hall.store.verify_audit().await.expect("read").verified, 2);
    let later = SystemTime::now() + Duration::from_hours(24 * 181);
    hall.people.sweep_once(later).await.expect("swept");
    assert_eq!(hall.deeds(), ["expire_audit"]);
    hall.store.close().await;
}
