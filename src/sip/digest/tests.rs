//! The examples of the RFCs, and what a guard must refuse.

use super::*;

/// RFC 7616 §3.9.1.
const EXAMPLE: (&str, &str, &str) = (
    "Mufasa",
    "http-auth@example.org",
    "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
);
const CNONCE: &str = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";

fn example(algorithm: Algorithm) -> String {
    let (user, realm, nonce) = EXAMPLE;
    let ha1 = algorithm.hash(&[user, realm, "Circle of Life"]);
    let counted = Some(("00000001", CNONCE));
    response(algorithm, &ha1, nonce, counted, "GET", "/dir/index.html")
}

#[test]
fn the_responses_of_the_rfcs_examples_come_out() {
    assert_eq!(example(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        example(Algorithm::Sha256),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
    // RFC 2617 §3.5, and without quality of protection, as RFC 2069 has it.
    let ha1 = Algorithm::Md5.hash(&["Mufasa", "testrealm@host.com", "Circle Of Life"]);
    let nonce = "dcd98b7102dd2f0e8b11d0f600bfb0c093";
    let counted = Some(("00000001", "0a4f113b"));
    assert_eq!(
        response(
            Algorithm::Md5,
            &ha1,
            nonce,
            counted,
            "GET",
            "/dir/index.html"
        ),
        "6629fae49393a05397450978507c4ef1"
    );
    assert_eq!(
        response(Algorithm::Md5, &ha1, nonce, None, "GET", "/dir/index.html"),
        "670fd8c2df070c60b045671b8b24ff02"
    );
}

#[test]
fn the_best_challenge_that_can_be_answered_is_taken() {
    let best = |values: &[&str]| Challenge::best(values.iter().copied());
    let md5 = "Digest realm=\"a, b\", nonce=\"x\", qop=\"auth-int, auth\", opaque=\"o\\\"p\"";
    let sha = "digest  realm=\"r\",nonce=\"y\",algorithm=sha-256,stale=TRUE";
    assert_eq!(
        best(&[md5, sha]).expect("one").to_string(),
        "Digest realm=\"r\", nonce=\"y\", algorithm=SHA-256, stale=true"
    );
    let chosen = best(&[
        md5,
        "Digest realm=\"r\", nonce=\"z\", algorithm=SHA-512-256",
    ])
    .expect("one");
    assert_eq!(
        chosen.to_string(),
        "Digest realm=\"a, b\", nonce=\"x\", algorithm=MD5, qop=\"auth\", opaque=\"o\\\"p\""
    );
    for nothing in [
        "Basic realm=\"r\"",
        "Digest realm=\"r\"",
        "Digest realm=\"r\", nonce=\"open",
        "Digest",
        "",
        "Digest realm=\"r\", nonce=\"n\", qop=\"auth-int\"",
    ] {
        assert_eq!(Challenge::parse(nothing), None, "{nothing}");
    }
}

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 8));

struct World {
    guard: Guard<&'static str>,
    now: Instant,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        let mut guard = Guard::new(
            "hotline",
            &Algorithm::ALL,
            Duration::from_mins(1),
            [7; 32],
            now,
        );
        guard.admit("1001", Secret::Password("right".to_owned()), "desk one");
        let ha1 = Algorithm::Md5.hash(&["1002", "hotline", "right"]);
        guard.admit(
            "1002",
            Secret::Hashes {
                md5: Some(ha1),
                sha256: None,
            },
            "desk two",
        );
        Self { guard, now }
    }

    /// The answer to a fresh challenge.
    fn answer(&mut self, algorithm: Algorithm, user: &str, password: &str) -> String {
        let challenge = self
            .guard
            .challenge(self.now, HERE, false)
            .iter()
            .filter_map(|value| Challenge::parse(value))
            .find(|challenge| challenge.algorithm == algorithm)
            .expect("offered");
        challenge.answer((user, password), "REGISTER", "sip:hotline", "c", 1)
    }

    fn judge(&mut self, header: &str) -> Verdict<&'static str> {
        self.judge_as(HERE, "REGISTER", header)
    }

    fn judge_as(&mut self, source: IpAddr, method: &str, header: &str) -> Verdict<&'static str> {
        let picked = self.guard.pick(std::iter::once(header)).expect("one");
        let credentials = picked.expect("credentials for our realm");
        self.guard.judge(self.now, source, method, &credentials)
    }
}

const WRONG: Verdict<&str> = Verdict::Wrong;
const STALE: Verdict<&str> = Verdict::Stale;

#[test]
fn the_right_password_is_known_once_in_either_algorithm() {
    for algorithm in Algorithm::ALL {
        let mut world = World::new();
        let answer = world.answer(algorithm, "1001", "right");
        assert_eq!(world.judge(&answer), Verdict::Known("desk one"));
        assert_eq!(world.judge(&answer), STALE, "a replay was taken");
    }
    let mut world = World::new();
    let answer = world.answer(Algorithm::Md5, "1002", "right");
    assert_eq!(world.judge(&answer), Verdict::Known("desk two"));
    let answer = world.answer(Algorithm::Sha256, "1002", "right");
    assert_eq!(world.judge(&answer), WRONG, "there is no such hash");
}

#[test]
fn a_wrong_password_an_unknown_name_and_another_method_are_all_the_same() {
    let mut world = World::new();
    for (user, password) in [("1001", "wrong"), ("nobody", "right"), ("nobody", "")] {
        let answer = world.answer(Algorithm::Sha256, user, password);
        assert_eq!(world.judge(&answer), WRONG);
    }
    let answer = world.answer(Algorithm::Md5, "1001", "right");
    assert_eq!(world.judge_as(HERE, "INVITE", &answer), WRONG);
}

#[test]
fn one_header_is_judged_and_two_for_our_realm_are_refused() {
    let mut world = World::new();
    let ours = world.answer(Algorithm::Md5, "1001", "right");
    let guess = world.answer(Algorithm::Sha256, "1001", "guess");
    let foreign = ours.replace("hotline", "other");
    let pick = |headers: &[&str]| {
        let picked = world.guard.pick(headers.iter().copied());
        picked.map(|picked| picked.map(|credentials| credentials.response))
    };
    let response = pick(&[&ours]).expect("one");
    assert!(response.is_some());
    // Others' realms and schemes are others' business, before it or behind it.
    let strange = [
        "Digest realm=\"x\"",
        "Basic aGk6aGk=",
        &foreign,
        "",
        "Digest",
    ];
    for other in strange {
        assert_eq!(pick(&[other, &ours]), Ok(response.clone()), "{other}");
        assert_eq!(pick(&[&ours, other]), Ok(response.clone()), "{other}");
        assert_eq!(pick(&[other]), Ok(None), "{other}");
    }
    let broken = "Digest realm=\"hotline\"";
    for two in [
        [&ours, &guess],
        [&guess, &ours],
        [&ours, &ours],
        [&broken.to_owned(), &ours],
    ] {
        assert_eq!(pick(&two.map(String::as_str)), Err(Several));
    }
    assert_eq!(pick(&[broken]), Ok(None));
    assert_eq!(pick(&["Digest username=\"1001"]), Ok(None));
}

#[test]
fn a_nonce_is_good_only_where_it_was_given_and_no_password_is_looked_at_elsewhere() {
    let mut world = World::new();
    for password in ["right", "wrong"] {
        let answer = world.answer(Algorithm::Sha256, "1001", password);
        assert_eq!(world.judge_as(ELSEWHERE, "REGISTER", &answer), STALE);
        let picked = world.guard.pick(std::iter::once(answer.as_str()));
        let credentials = picked.expect("one").expect("ours");
        let mapped = IpAddr::V6(std::net::Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped());
        for (source, vouched) in [(HERE, true), (mapped, true), (ELSEWHERE, false)] {
            assert_eq!(
                world.guard.vouches(world.now, source, &credentials),
                vouched
            );
        }
        let later = world.now + Duration::from_secs(61);
        assert!(!world.guard.vouches(later, HERE, &credentials));
        // One digit of the seal, or of the time that it seals.
        for at in [3, 51] {
            let nonce = &credentials.nonce;
            let digit = if &nonce[at..=at] == "0" { "1" } else { "0" };
            let forged = Credentials {
                nonce: [&nonce[..at], digit, &nonce[at + 1..]].concat(),
                ..credentials.clone()
            };
            assert!(!world.guard.vouches(world.now, HERE, &forged), "{at}");
        }
    }
}

#[test]
fn a_nonce_grows_old_and_one_that_is_not_ours_is_never_taken() {
    let mut world = World::new();
    let answer = world.answer(Algorithm::Md5, "1001", "right");
    world.now += Duration::from_secs(59);
    assert_eq!(world.judge(&answer), Verdict::Known("desk one"));
    let answer = world.answer(Algorithm::Md5, "1001", "right");
    world.now += Duration::from_secs(61);
    assert_eq!(world.judge(&answer), STALE);
    let made_up = format!(
        "Digest realm=\"hotline\", nonce=\"{}\", qop=\"auth\"",
        "0".repeat(52)
    );
    let made_up = Challenge::parse(&made_up).expect("sound");
    let answer = made_up.answer(("1001", "right"), "REGISTER", "sip:hotline", "c", 1);
    assert_eq!(world.judge(&answer), STALE);
    // With a nonce that is too old no password is right or wrong.
    let guess = world.answer(Algorithm::Md5, "1001", "wrong");
    world.now += Duration::from_secs(61);
    assert_eq!(world.judge(&guess), STALE);
    // After its memory is gone, a used nonce is stale as well.
    assert!(world.guard.used.len() <= 1 && world.guard.order.len() <= 1);
}

#[test]
fn counts_may_overtake_each_other_and_none_is_taken_twice() {
    let mut counts = Counts {
        highest: 1,
        seen: 1,
    };
    assert_eq!(
        [3, 2, 3, 2, 1, 80, 79, 16, 80, u32::MAX, 81].map(|count| counts.take(count)),
        [
            true, true, false, false, false, true, true, false, false, true, false
        ]
    );
    let mut world = World::new();
    let answer = world.answer(Algorithm::Md5, "1001", "right");
    let zero = answer.replace("nc=00000001", "nc=00000000");
    assert_eq!(world.judge(&zero), WRONG);
}

#[test]
fn an_old_telephone_without_counts_may_use_a_nonce_once() {
    let mut world = World::new();
    let value = world.guard.challenge(world.now, HERE, false).remove(1);
    let challenge = Challenge::parse(&value.replace(", qop=\"auth\"", "")).expect("ours");
    let answer = challenge.answer(("1001", "right"), "REGISTER", "sip:hotline", "", 1);
    assert!(!answer.contains("qop"));
    assert_eq!(world.judge(&answer), Verdict::Known("desk one"));
    assert_eq!(world.judge(&answer), STALE);
}

#[test]
fn a_client_uses_a_nonce_again_with_a_growing_count_until_another_is_given() {
    let mut world = World::new();
    let mut keys = Keyring::new(Some(("1001".to_owned(), "right".to_owned())));
    let credentials = |keys: &mut Keyring| keys.credentials("REGISTER", "sip:hotline", "c");
    assert_eq!(credentials(&mut keys), []);
    let mut ask = |keys: &mut Keyring| {
        let values = world.guard.challenge(world.now, HERE, false);
        keys.challenged(Realm::Server, values.iter().map(String::as_str))
    };
    assert_eq!(ask(&mut keys), Some(Stale(false)));
    let first = credentials(&mut keys).remove(0);
    let second = credentials(&mut keys).remove(0);
    assert_eq!(first.0, "Authorization");
    assert!(second.1.contains("nc=00000002"), "{}", second.1);
    assert_eq!(ask(&mut keys), Some(Stale(false)));
    let third = credentials(&mut keys).remove(0);
    for credential in [&first, &second, &third] {
        assert_eq!(world.judge(&credential.1), Verdict::Known("desk one"));
    }
    // A request that the stack has sent used its nonce up to there.
    let mut another = Keyring::new(Some(("1001".to_owned(), "right".to_owned())));
    another.used(Realm::Server, &third.1);
    let fourth = credentials(&mut another).remove(0);
    assert_eq!(world.judge(&fourth.1), Verdict::Known("desk one"));
    // A proxy on the way and the server behind it ask each for itself.
    keys.challenged(
        Realm::Proxy,
        std::iter::once("Digest realm=\"edge\", nonce=\"n\""),
    );
    let names: Vec<_> = credentials(&mut keys)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["Authorization", "Proxy-Authorization"]);
    let mut nobody = Keyring::new(None);
    assert_eq!(
        nobody.challenged(Realm::Server, std::iter::once(STRANGE)),
        None
    );
}

const STRANGE: &str = "Digest realm=\"r\", nonce=\"n\"";

#[test]
fn a_challenge_is_answered_once_and_again_only_where_the_nonce_was_too_old() {
    let allowed = |challenges: &[(Realm, bool)]| {
        let mut patience = Patience::default();
        challenges
            .iter()
            .take_while(|(by, stale)| patience.allows(*by, Stale(*stale)))
            .count()
    };
    let server = |stale| (Realm::Server, stale);
    assert_eq!(
        allowed(&[server(false), server(false)]),
        1,
        "a wrong password"
    );
    assert_eq!(allowed(&[(Realm::Proxy, false), server(false)]), 2);
    assert_eq!(allowed(&[server(true); 9]), 4, "not for ever");
}

#[test]
fn nothing_secret_is_shown() {
    let shown = format!(
        "{:?} {:?}",
        Secret::Password("right".to_owned()),
        World::new().guard
    );
    assert!(
        !shown.contains("right") && shown.contains("secret"),
        "{shown}"
    );
}
