//! Two ends of a dialog in virtual time over a link that takes time.

use super::*;

const TERMS: Terms = Terms {
    expires: 1_800,
    min: 90,
};
const NONE: TimerHeaders = TimerHeaders {
    expires: None,
    min_se: None,
    supported: false,
};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What is on its way: when it arrives, to whom, and what it is.
enum Sent {
    Ask(Ask, Option<String>, TimerHeaders),
    Response(u16, Option<u32>, TimerHeaders),
}

/// The end that began the dialog, and the other one.
struct Pair {
    ends: [Session; 2],
    now: Instant,
    began: Instant,
    delay: Duration,
    wire: Vec<(Instant, usize, Sent)>,
    /// Who took whose offer, and when.
    taken: Vec<(usize, String, Duration)>,
    refreshed: usize,
    expired: Vec<(usize, Duration)>,
    responses: Vec<u16>,
    deaf: [bool; 2],
}

impl Pair {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            ends: [
                Session::new(true, TERMS, seed),
                Session::new(false, TERMS, !seed),
            ],
            now,
            began: now,
            delay: Duration::from_millis(40),
            wire: Vec::new(),
            taken: Vec::new(),
            refreshed: 0,
            expired: Vec::new(),
            responses: Vec::new(),
            deaf: [false; 2],
        }
    }

    /// The dialog is set up: the first end asked for timers, the second granted them.
    fn confirmed(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        let said = pair.ends[0].says();
        let grant = pair.ends[1].asked(true, said).expect("granted");
        pair.ends[1].answered(false);
        pair.ends[1].granted(pair.now, grant);
        let answer = answer(grant);
        pair.ends[0].accepted(pair.now, answer);
        pair
    }

    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.deliver();
            let mut next = until;
            for end in 0..2 {
                loop {
                    match self.ends[end].poll(self.now) {
                        Act::Send { ask, offer } => {
                            let said = self.ends[end].says();
                            self.send(1 - end, Sent::Ask(ask, offer, said));
                        }
                        Act::Expire => self.expired.push((end, self.now - self.began)),
                        Act::At(at) => {
                            next = next.min(at.max(self.now + Duration::from_millis(1)));
                            break;
                        }
                        Act::Nothing => break,
                    }
                }
            }
            for (at, ..) in &self.wire {
                next = next.min(*at);
            }
            self.now = next.max(self.now + Duration::from_millis(1));
        }
    }

    fn send(&mut self, to: usize, what: Sent) {
        if !self.deaf[to] {
            self.wire.push((self.now + self.delay, to, what));
        }
    }

    fn deliver(&mut self) {
        let (here, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(at, ..)| *at <= self.now);
        self.wire = later;
        let here: Vec<(Instant, usize, Sent)> = here;
        for (_, end, what) in here {
            match what {
                Sent::Ask(ask, offer, said) => {
                    let offers = ask == Ask::Invite || offer.is_some();
                    let response = match self.ends[end].asked(offers, said) {
                        Ok(grant) => {
                            if offers {
                                self.ends[end].answered(false);
                            }
                            self.ends[end].granted(self.now, grant);
                            match offer {
                                Some(offer) => {
                                    self.taken.push((end, offer, self.now - self.began));
                                }
                                None => self.refreshed += 1,
                            }
                            Sent::Response(200, None, answer(grant))
                        }
                        Err(refusal) => {
                            let said = TimerHeaders {
                                min_se: refusal.min_se,
                                ..NONE
                            };
                            Sent::Response(refusal.status, refusal.retry_after, said)
                        }
                    };
                    self.send(1 - end, response);
                }
                Sent::Response(status, retry_after, said) => {
                    self.responses.push(status);
                    self.ends[end].responded(self.now, status, retry_after, said);
                }
            }
        }
    }
}

fn answer(grant: Option<Grant>) -> TimerHeaders {
    TimerHeaders {
        expires: grant.map(|grant| (grant.expires, Some(grant.refresher))),
        ..NONE
    }
}

#[test]
fn after_a_glare_both_offers_get_through_and_the_owner_of_the_call_id_waits_longer() {
    for seed in 0..40 {
        let mut pair = Pair::confirmed(seed);
        pair.ends[0].offer("hold by the first".to_owned());
        pair.ends[1].offer("hold by the second".to_owned());
        pair.run(secs(12));
        assert!(
            pair.responses
                .iter()
                .filter(|status| **status == 491)
                .count()
                >= 2,
            "seed {seed}: no glare"
        );
        let when = |end| {
            pair.taken
                .iter()
                .find(|(by, ..)| *by == end)
                .map(|(.., at)| *at)
                .expect("taken")
        };
        // The second end's offer is taken by the first, and comes first.
        let (second, first) = (when(0), when(1));
        assert!(
            second <= Duration::from_millis(2_200),
            "seed {seed}: {second:?}"
        );
        assert!(
            (Duration::from_millis(2_100)..Duration::from_millis(4_300)).contains(&first),
            "seed {seed}: {first:?}"
        );
        assert_eq!(pair.taken.len(), 2, "seed {seed}: nothing is offered twice");
    }
}

#[test]
fn a_newer_offer_replaces_the_one_that_glare_held_back() {
    let mut pair = Pair::confirmed(1);
    pair.ends[0].offer("hold".to_owned());
    pair.ends[1].offer("codec".to_owned());
    pair.run(Duration::from_millis(200));
    pair.ends[0].offer("resume".to_owned());
    pair.run(secs(10));
    let to_second: Vec<_> = pair
        .taken
        .iter()
        .filter(|(end, ..)| *end == 1)
        .map(|(_, offer, _)| offer.as_str())
        .collect();
    assert_eq!(to_second, ["resume"]);
}

#[test]
fn the_refresher_keeps_a_session_alive_for_hours_by_re_invite_or_update() {
    for updates in [false, true] {
        let mut pair = Pair::confirmed(7);
        for end in &mut pair.ends {
            end.described("v=0");
            end.peer_takes_updates(updates);
        }
        pair.run(secs(4 * 3_600));
        assert!(pair.expired.is_empty(), "{:?}", pair.expired);
        let refreshes = pair.refreshed + pair.taken.len();
        assert!(
            (15..=17).contains(&refreshes),
            "{refreshes} refreshes in four hours at half of 1800 s"
        );
        assert_eq!(pair.refreshed > 0, updates);
    }
}

#[test]
fn without_a_refresh_each_end_gives_up_before_the_session_is_over() {
    let mut pair = Pair::confirmed(3);
    pair.deaf = [true; 2];
    pair.run(secs(1_800));
    // RFC 4028 §10: 32 seconds, for a third of half an hour is more.
    let ends: Vec<_> = pair
        .expired
        .iter()
        .map(|(end, at)| (*end, at.as_secs()))
        .collect();
    assert_eq!(ends, [(0, 1_768), (1, 1_768)]);
}

#[test]
fn too_short_a_session_is_refused_with_the_shortest_that_is_taken() {
    let mut callee = Session::new(false, TERMS, 1);
    let said = TimerHeaders {
        expires: Some((60, None)),
        min_se: None,
        supported: true,
    };
    let refusal = callee.asked(true, said).expect_err("too short");
    assert_eq!((refusal.status, refusal.min_se), (422, Some(90)));
    // Nothing is open after a refusal.
    let said = TimerHeaders {
        expires: Some((90, None)),
        ..said
    };
    let grant = callee.asked(true, said).expect("taken").expect("granted");
    assert_eq!(grant.expires_header(), "90;refresher=uac");

    let mut caller = Session::new(
        true,
        Terms {
            expires: 90,
            min: 90,
        },
        1,
    );
    assert!(caller.is_too_short(Some(600)));
    assert_eq!(caller.says().expires_header().as_deref(), Some("600"));
    assert_eq!(caller.says().min_se, Some(600));
    assert!(
        !caller.is_too_short(Some(600)),
        "asking the same again would never end"
    );
    assert!(!caller.is_too_short(None));
}

#[test]
fn who_does_not_know_timers_is_refreshed_and_never_refused() {
    let mut callee = Session::new(false, TERMS, 1);
    // A proxy asked for it.
    let said = TimerHeaders {
        expires: Some((30, Some(Refresher::Uac))),
        min_se: None,
        supported: false,
    };
    let grant = callee.asked(true, said).expect("taken").expect("granted");
    assert_eq!(
        grant,
        Grant {
            expires: 90,
            refresher: Refresher::Uas
        }
    );
    callee.answered(false);
    assert_eq!(callee.asked(true, NONE), Ok(None));
    let mut off = Session::new(
        false,
        Terms {
            expires: 0,
            min: 90,
        },
        1,
    );
    assert_eq!(off.asked(true, said), Ok(None));
    assert_eq!(off.says().expires, None);
}

#[test]
fn while_one_offer_is_open_a_second_is_deferred_and_an_update_without_one_is_not() {
    let mut session = Session::new(false, TERMS, 1);
    session.asked(true, NONE).expect("the first");
    let refusal = session.asked(true, NONE).expect_err("the second");
    assert_eq!(refusal.status, 500);
    assert!(refusal.retry_after.is_some_and(|seconds| seconds <= 10));
    assert_eq!(session.asked(false, NONE), Ok(None));
    // Our own offer waits until theirs is settled, by the ACK where our 2xx made the offer.
    session.offer("ours".to_owned());
    session.answered(true);
    assert_eq!(session.poll(Instant::now()), Act::Nothing);
    assert!(session.acknowledged());
    assert!(matches!(
        session.poll(Instant::now()),
        Act::Send {
            ask: Ask::Invite,
            ..
        }
    ));
    assert_eq!(session.asked(true, NONE).expect_err("glare").status, 491);
}

#[test]
fn a_peer_that_has_forgotten_the_dialog_ends_it_and_one_that_refuses_does_not() {
    let now = Instant::now();
    for (status, outcome) in [
        (481, Outcome::Dead),
        (408, Outcome::Dead),
        (488, Outcome::Refused { offered: true }),
        (500, Outcome::Refused { offered: true }),
        (200, Outcome::Accepted { offered: true }),
        (491, Outcome::Again),
    ] {
        let mut session = Session::new(true, TERMS, 1);
        session.offer("ours".to_owned());
        assert!(matches!(session.poll(now), Act::Send { .. }));
        assert_eq!(
            session.responded(now, status, None, NONE),
            outcome,
            "{status}"
        );
    }
}

#[test]
fn a_peer_that_always_defers_is_asked_a_bounded_number_of_times() {
    let mut session = Session::new(false, TERMS, 1);
    let mut now = Instant::now();
    session.offer("ours".to_owned());
    let mut asked = 0;
    loop {
        match session.poll(now) {
            Act::Send { .. } => {
                asked += 1;
                if session.responded(now, 491, None, NONE) != Outcome::Again {
                    break;
                }
            }
            Act::At(at) => now = at,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(asked, MOST_TRIES);
}

#[test]
fn headers_are_read_as_they_come() {
    let said = TimerHeaders::new(Some(" 1800 ; Refresher=UAS"), Some("120;x=1"), true);
    assert_eq!(said.expires, Some((1_800, Some(Refresher::Uas))));
    assert_eq!(said.min_se, Some(120));
    assert_eq!(
        TimerHeaders::new(Some("99999999999999"), None, false).expires,
        Some((86_400, None))
    );
    for broken in ["", "soon", "-1", ";refresher=uac"] {
        assert_eq!(
            TimerHeaders::new(Some(broken), Some(broken), false),
            NONE,
            "{broken}"
        );
    }
}
