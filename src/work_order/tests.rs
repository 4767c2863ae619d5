//! The loop from the outside: stories, the table of permissions cell by cell, and properties over any commands.

use jiff::civil::{DateTime, date, datetime};
use proptest::prelude::*;

use super::calendar::tests::china;
use super::limit::tests::rules;
use super::score::{Formula, Month};
use super::*;
use crate::private::Private;

/// Monday morning.
const MONDAY: DateTime = datetime(2026, 3, 2, 9, 0, 0, 0);

fn text(text: &str) -> Private<String> {
    text.into()
}

fn actor(capacity: Capacity, unit: &str) -> Actor {
    Actor {
        name: format!("{capacity:?} {unit}"),
        capacity,
        unit: unit.to_owned(),
    }
}

fn parties(lead: &str, joint: &[&str]) -> Parties {
    Parties {
        lead: lead.to_owned(),
        joint: joint.iter().map(|unit| (*unit).to_owned()).collect(),
    }
}

fn satisfied(satisfied: bool) -> Command {
    Command::Rate {
        rating: Rating {
            solved: satisfied,
            satisfied,
            why: text("钱退了没有"),
        },
    }
}

/// A work order that things happen to.
struct Desk {
    new: WorkOrder,
    order: WorkOrder,
    history: Vec<Happened>,
    now: DateTime,
    policy: Policy,
}

impl Desk {
    fn open(id: &str) -> Self {
        let about = About {
            category: vec!["市场监管".into(), "预付卡".into()],
            request_type: "投诉".into(),
            urgency: "一般".into(),
        };
        let caller = Caller {
            name: text("王先生"),
            phone: text("13863512207"),
        };
        let new = WorkOrder::new(id, about, caller, false);
        Self {
            order: new.clone(),
            new,
            history: Vec::new(),
            now: MONDAY,
            policy: Policy::default(),
        }
    }

    fn ask(&mut self, by: &Actor, command: &Command) -> Result<Vec<Event>, Refusal> {
        let (calendar, rules) = (china(), rules());
        let world = World {
            now: self.now,
            calendar: &calendar,
            rules: &rules,
            policy: &self.policy,
        };
        let events = decide(&self.order, command, by, world)?;
        for event in &events {
            let happened = Happened {
                at: self.now,
                by: by.clone(),
                event: event.clone(),
            };
            self.order.evolve(&happened);
            self.history.push(happened);
        }
        Ok(events)
    }

    fn hall(&mut self, command: &Command) {
        let by = actor(Capacity::Dispatcher, "");
        self.ask(&by, command)
            .unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }

    fn unit(&mut self, unit: &str, command: &Command) {
        let by = actor(Capacity::Unit, unit);
        self.ask(&by, command)
            .unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    }

    fn dispatched(&mut self, lead: &str, joint: &[&str]) {
        self.hall(&Command::Accept);
        self.hall(&Command::Dispatch {
            parties: parties(lead, joint),
            note: text(""),
        });
    }

    fn finished(&mut self, lead: &str) {
        self.unit(lead, &Command::Take);
        self.unit(
            lead,
            &Command::Reply {
                text: text("已退款860元"),
            },
        );
        self.hall(&Command::Approve);
    }

    fn rate(&mut self, is_satisfied: bool) {
        let by = actor(Capacity::CallBack, "");
        self.ask(&by, &satisfied(is_satisfied)).expect("rated");
    }

    fn due(&self, kind: LimitKind) -> Option<DateTime> {
        self.order.limits.get(&kind).map(|limit| limit.due)
    }
}

#[test]
fn each_cell_of_the_table_is_as_a_hall_wants_it() {
    use CommandKind as K;
    // Stages: received, to dispatch, dispatched, handling, objected, replied, finished, rated, filed.
    // Who: operator, dispatcher, unit, call-back, supervisor, system.
    let expected: [(K, &str, &str); 33] = [
        (K::AnswerDirectly, "x........", "xx...."),
        (K::HandOver, "xx.......", "xx...."),
        (K::Decline, "xx.......", "xx...."),
        (K::Accept, "x........", "xx...."),
        (K::Dispatch, ".x.......", ".x...x"),
        (K::Take, "..xx.....", "..x..."),
        (K::Object, "..xx.....", "..x..."),
        (K::Rule, "....x....", ".x..x."),
        (K::ReplyPart, "...x.....", "..x..."),
        (K::Reply, "...x.....", "..x..."),
        (K::Approve, ".....x...", ".x..x."),
        (K::SendBack, ".....x...", ".x..x."),
        (K::TryCallBack, "......x..", "x..x.."),
        (K::Rate, "......x..", "x..x.."),
        (K::File, ".......x.", ".x.x.x"),
        (K::Reopen, "........x", ".x..x."),
        (K::AskExtension, "..xx.....", "..x..."),
        (K::DecideExtension, "..xxxx...", ".x..x."),
        (K::Suspend, "..xx.....", ".x..x."),
        (K::Resume, "..xx.....", ".x..xx"),
        (K::Supervise, "xxxxxxxx.", "....xx"),
        (K::EndSupervision, "xxxxxxxx.", "....x."),
        (K::Merge, "xxx......", "xx...."),
        (K::Separate, "xxx...x..", ".x...."),
        (K::Adopt, "xxxxxx...", "xx...."),
        (K::Release, "xxxxxxxxx", "xx.xx."),
        (K::FinishWithParent, "xxx......", ".x..x."),
        (K::Urge, "xxxxxxxx.", "xx..x."),
        (K::Attach, "xxxxxxxx.", "xxxxx."),
        (K::SetConfidential, "xxxxxxxx.", "xx..x."),
        (K::Note, "xxxxxxxxx", "xxxxx."),
        (K::ShowCard, "..xxxx...", ".....x"),
        (K::RecomputeLimits, "xxxxxxxx.", ".....x"),
    ];
    assert_eq!(expected.len(), CommandKind::ALL.len());
    for kind in CommandKind::ALL {
        let (_, stages, who) = expected
            .iter()
            .find(|(of, ..)| of == kind)
            .unwrap_or_else(|| panic!("{kind:?} is not in the table"));
        for (stage, in_stage) in Stage::ALL.into_iter().zip(stages.chars()) {
            for (capacity, by) in Capacity::ALL.into_iter().zip(who.chars()) {
                let allowed = in_stage == 'x' && by == 'x';
                assert_eq!(
                    may(*kind, stage, capacity),
                    allowed,
                    "{kind:?} {stage:?} {capacity:?}"
                );
            }
        }
    }
}

#[test]
fn the_prepaid_card_of_mr_wang_goes_to_market_supervision_and_comes_back_rated_and_filed() {
    let mut desk = Desk::open("20260302-000001");
    desk.dispatched("市市场监管局", &["区商务局"]);
    assert_eq!(
        desk.due(LimitKind::Finish),
        Some(datetime(2026, 3, 9, 17, 30, 0, 0))
    );
    desk.unit("市市场监管局", &Command::Take);
    assert_eq!(
        (desk.order.stage, desk.due(LimitKind::Take)),
        (Stage::Handling, None)
    );
    let reply = Command::Reply {
        text: text("已联系店主退款"),
    };
    let lead = actor(Capacity::Unit, "市市场监管局");
    let missing = Refusal::PartsMissing {
        units: vec!["区商务局".into()],
    };
    assert_eq!(desk.ask(&lead, &reply), Err(missing));
    let joint = actor(Capacity::Unit, "区商务局");
    assert_eq!(desk.ask(&joint, &reply), Err(Refusal::OnlyLead));
    let stranger = actor(Capacity::Unit, "市教育局");
    assert_eq!(desk.ask(&stranger, &reply), Err(Refusal::NotYours));
    desk.unit("区商务局", &Command::Take);
    desk.unit(
        "区商务局",
        &Command::ReplyPart {
            text: text("备案资金充足"),
        },
    );
    desk.unit("市市场监管局", &reply);
    desk.hall(&Command::SendBack {
        reason: text("没有说明何时退款"),
    });
    desk.unit("市市场监管局", &reply);
    desk.now = datetime(2026, 3, 5, 10, 0, 0, 0);
    desk.hall(&Command::Approve);
    assert!(desk.order.limits.is_empty() && desk.order.stage == Stage::Finished);
    desk.rate(true);
    desk.hall(&Command::File);
    assert_eq!(
        (desk.order.stage, &desk.order.outcome),
        (Stage::Filed, &Some(Outcome::Done))
    );

    let mut scores = Scores::default();
    scores.count(desk.new.clone(), &desk.history, false);
    let month = Month {
        unit: "市市场监管局".into(),
        year: 2026,
        month: 3,
    };
    let score = &scores.0[&month];
    assert_eq!(
        (score.led, score.on_time.share(), score.accepted.share()),
        (1, Some(1.0), Some(0.0))
    );
    assert_eq!(score.points(&Formula::default()), Some(90.0));
    let (low, high) = score.satisfied.interval().expect("a case");
    assert!(
        low < 0.25 && (high - 1.0).abs() < 1e-9,
        "one case says little: {low} to {high}"
    );
}

#[test]
fn what_is_answered_on_the_call_handed_over_or_declined_is_filed_at_once() {
    let operator = actor(Capacity::Operator, "");
    for (command, outcome) in [
        (
            Command::AnswerDirectly {
                answer: text("带身份证到政务大厅"),
                basis: "知识库 4711".into(),
            },
            Outcome::AnsweredDirectly,
        ),
        (
            Command::HandOver {
                to: "119".into(),
                note: text("燃气泄漏"),
            },
            Outcome::HandedOver,
        ),
        (
            Command::Decline {
                reason: "诉讼中".into(),
                go_to: "人民法院".into(),
            },
            Outcome::Declined,
        ),
    ] {
        let mut desk = Desk::open("1");
        desk.ask(&operator, &command).expect("done");
        assert_eq!(
            (desk.order.stage, desk.order.outcome.clone()),
            (Stage::Filed, Some(outcome))
        );
        assert_eq!(desk.order.next_due(), None);
        let again = desk.ask(&operator, &command);
        assert_eq!(
            again,
            Err(Refusal::NotNow {
                stage: Stage::Filed
            })
        );
    }
    let mut desk = Desk::open("1");
    let nothing = Command::Decline {
        reason: "诉讼中".into(),
        go_to: " ".into(),
    };
    assert_eq!(
        desk.ask(&operator, &nothing),
        Err(Refusal::Empty),
        "the citizen is told where to go"
    );
}

#[test]
fn units_object_twice_and_then_the_ruling_is_final_and_no_return_stops_the_clock() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    let due = desk.due(LimitKind::Finish);
    let object = Command::Object {
        reason: text("不属于本单位职责"),
        instead: "b".into(),
    };
    let rule = |ruling| Command::Rule {
        ruling,
        reason: text("三定方案"),
    };
    desk.unit("a", &object);
    assert_eq!(desk.order.stage, Stage::Objected);
    desk.now = datetime(2026, 3, 3, 9, 0, 0, 0);
    desk.hall(&rule(Ruling::Elsewhere(parties("b", &[]))));
    assert_eq!((desk.due(LimitKind::Finish), desk.order.passes), (due, 2));
    assert_eq!(
        desk.due(LimitKind::Take),
        Some(datetime(2026, 3, 3, 14, 30, 0, 0))
    );
    assert_eq!(
        desk.ask(&actor(Capacity::Unit, "a"), &Command::Take),
        Err(Refusal::NotYours)
    );
    desk.unit("b", &object);
    desk.hall(&rule(Ruling::Refused));
    assert!(desk.order.ruled_finally && desk.order.stage == Stage::Dispatched);
    let b = actor(Capacity::Unit, "b");
    assert_eq!(desk.ask(&b, &object), Err(Refusal::ObjectedEnough));
    assert_eq!(desk.due(LimitKind::Finish), due);

    // One that was agreed on is final at once; and after the time for it nobody objects.
    let mut desk = Desk::open("2");
    desk.dispatched("a", &[]);
    desk.unit("a", &object);
    desk.hall(&rule(Ruling::Negotiated(parties("c", &["a"]))));
    let c = actor(Capacity::Unit, "c");
    assert_eq!(desk.ask(&c, &object), Err(Refusal::ObjectedEnough));
    let mut desk = Desk::open("3");
    desk.dispatched("a", &[]);
    desk.now = datetime(2026, 3, 5, 9, 0, 0, 0);
    let late = desk.ask(&actor(Capacity::Unit, "a"), &object);
    assert_eq!(late, Err(Refusal::TooLateToObject));
}

#[test]
fn a_dissatisfied_citizens_matter_is_done_again_then_raised_and_in_the_end_stays_as_it_is() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    for (round, raised) in [(1, false), (2, true), (3, true)] {
        desk.finished("a");
        desk.rate(false);
        assert_eq!(desk.order.stage, Stage::Dispatched, "round {round}");
        assert_eq!((desk.order.round, desk.order.raised), (round, raised));
        assert_eq!(desk.order.supervised, raised);
        assert!(
            desk.due(LimitKind::Finish).is_some(),
            "each round has its time"
        );
    }
    desk.finished("a");
    desk.rate(false);
    assert_eq!(desk.order.stage, Stage::Rated);
    desk.hall(&Command::File);
    desk.hall(&Command::Reopen {
        reason: text("市民再次来电"),
    });
    assert_eq!(
        (desk.order.stage, desk.order.reopened),
        (Stage::ToDispatch, 1)
    );
}

#[test]
fn a_citizen_who_is_never_reached_leaves_it_unrated() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    desk.finished("a");
    let caller = actor(Capacity::CallBack, "");
    let try_it = Command::TryCallBack {
        note: text("无人接听"),
    };
    for _ in 0..3 {
        assert_eq!(desk.order.stage, Stage::Finished);
        desk.ask(&caller, &try_it).expect("tried");
    }
    assert_eq!(
        (desk.order.stage, &desk.order.rating),
        (Stage::Rated, &None)
    );
}

#[test]
fn suspension_alone_stops_the_clock_and_extensions_are_given_within_what_the_site_allows() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    desk.unit("a", &Command::Take);
    let suspend = |review| Command::Suspend {
        review,
        reason: text("等待鉴定结论"),
    };
    let dispatcher = actor(Capacity::Dispatcher, "");
    assert_eq!(
        desk.ask(&dispatcher, &suspend(date(2026, 3, 2))),
        Err(Refusal::PastReview)
    );
    desk.now = datetime(2026, 3, 3, 10, 0, 0, 0);
    desk.hall(&suspend(date(2026, 3, 20)));
    assert_eq!(
        desk.order.next_due(),
        Some(datetime(2026, 3, 20, 0, 0, 0, 0))
    );
    let a = actor(Capacity::Unit, "a");
    let reply = Command::Reply {
        text: text("办好了"),
    };
    assert_eq!(desk.ask(&a, &reply), Err(Refusal::Pending));
    assert_eq!(
        desk.ask(&dispatcher, &suspend(date(2026, 3, 25))),
        Err(Refusal::Pending)
    );
    desk.now = datetime(2026, 3, 9, 10, 0, 0, 0);
    desk.hall(&Command::Resume);
    assert_eq!(
        desk.due(LimitKind::Finish),
        Some(datetime(2026, 3, 13, 17, 30, 0, 0))
    );

    let extension = |days| Command::AskExtension {
        days,
        reason: text("需现场勘查"),
    };
    assert_eq!(
        desk.ask(&a, &extension(11)),
        Err(Refusal::TooLong { most: 10 })
    );
    desk.unit("a", &extension(6));
    assert_eq!(
        desk.ask(&a, &reply),
        Err(Refusal::Pending),
        "that comes first"
    );
    desk.hall(&Command::DecideExtension {
        approved: true,
        reason: text(""),
    });
    assert_eq!(
        desk.due(LimitKind::Finish),
        Some(datetime(2026, 3, 23, 17, 30, 0, 0))
    );
    assert_eq!(
        desk.ask(&a, &extension(5)),
        Err(Refusal::TooLong { most: 4 })
    );
    desk.unit("a", &extension(4));
    desk.hall(&Command::DecideExtension {
        approved: false,
        reason: text("理由不足"),
    });
    assert_eq!(
        desk.due(LimitKind::Finish),
        Some(datetime(2026, 3, 23, 17, 30, 0, 0))
    );
    let nothing = Command::DecideExtension {
        approved: true,
        reason: text(""),
    };
    assert_eq!(desk.ask(&dispatcher, &nothing), Err(Refusal::NothingAsked));
}

#[test]
fn cards_are_shown_once_when_their_time_comes_and_again_when_the_limit_moves_ahead_of_them() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    desk.unit("a", &Command::Take);
    let system = actor(Capacity::System, "");
    let show = |card| Command::ShowCard {
        kind: LimitKind::Finish,
        card,
    };
    assert_eq!(
        desk.ask(&system, &show(Card::Yellow)),
        Err(Refusal::NoSuchCard),
        "not yet"
    );
    // A week's outage: all cards are due at once, each once.
    desk.now = datetime(2026, 3, 16, 9, 0, 0, 0);
    let mut shown = Vec::new();
    let next = |desk: &Desk| {
        let due = desk
            .order
            .cards_to_come()
            .filter(|(at, ..)| *at <= desk.now);
        due.min()
    };
    while let Some((_, kind, card)) = next(&desk) {
        desk.ask(&system, &Command::ShowCard { kind, card })
            .expect("shown");
        shown.push((kind, card));
    }
    shown.retain(|(kind, _)| *kind == LimitKind::Finish);
    let cards = [Card::Yellow, Card::Due, Card::Red].map(|card| (LimitKind::Finish, card));
    assert_eq!(shown, cards);
    assert!(desk.order.supervised, "the red card has it supervised");
    assert_eq!(
        desk.ask(&system, &show(Card::Red)),
        Err(Refusal::NoSuchCard)
    );
    desk.unit(
        "a",
        &Command::AskExtension {
            days: 10,
            reason: text("x"),
        },
    );
    desk.hall(&Command::DecideExtension {
        approved: true,
        reason: text(""),
    });
    assert!(!desk.order.cards.contains(&(LimitKind::Finish, Card::Red)));
    assert!(desk.order.next_due().is_some_and(|next| next > desk.now));
}

#[test]
fn repeats_are_merged_and_each_caller_has_an_answer_and_is_asked() {
    let (mut parent, mut child) = (Desk::open("1"), Desk::open("2"));
    parent.dispatched("a", &[]);
    let operator = actor(Capacity::Operator, "");
    let merge = Command::Merge { parent: "1".into() };
    let before = child.order.clone();
    let events = child.ask(&operator, &merge).expect("merged");
    let follow = followers(&before, &events);
    assert_eq!(
        follow,
        [("1".to_owned(), Command::Adopt { child: "2".into() })]
    );
    parent.ask(&operator, &follow[0].1).expect("adopted");
    assert_eq!(
        child.ask(&operator, &Command::Accept),
        Err(Refusal::IsMerged { parent: "1".into() })
    );
    child
        .ask(
            &operator,
            &Command::Urge {
                text: text("又来电催问"),
            },
        )
        .expect("urged");
    let own = Command::Merge { parent: "1".into() };
    assert_eq!(parent.ask(&operator, &own), Err(Refusal::HasChildren));

    parent.unit("a", &Command::Take);
    parent.unit(
        "a",
        &Command::Reply {
            text: text("已修复"),
        },
    );
    let before = parent.order.clone();
    let dispatcher = actor(Capacity::Dispatcher, "");
    let events = parent
        .ask(&dispatcher, &Command::Approve)
        .expect("approved");
    for (id, command) in followers(&before, &events) {
        assert_eq!(id, "2");
        child.ask(&dispatcher, &command).expect("finished with it");
    }
    assert_eq!(child.order.stage, Stage::Finished);
    assert_eq!(child.order.reply, Some(text("已修复")));
    parent.rate(true);
    // The second caller isn't content: the matter goes its own way.
    let before = child.order.clone();
    let events = child
        .ask(&actor(Capacity::CallBack, ""), &satisfied(false))
        .expect("rated");
    assert_eq!(
        (child.order.stage, &child.order.parent),
        (Stage::ToDispatch, &None)
    );
    let release = [("1".to_owned(), Command::Release { child: "2".into() })];
    assert_eq!(followers(&before, &events), release);
    parent.ask(&dispatcher, &release[0].1).expect("released");
    assert!(parent.order.children.is_empty());
}

#[test]
fn units_do_not_see_who_called_where_that_is_confidential() {
    let mut desk = Desk::open("1");
    desk.dispatched("a", &[]);
    let (unit, hall) = (actor(Capacity::Unit, "a"), actor(Capacity::Dispatcher, ""));
    assert!(desk.order.caller_for(&unit).is_some());
    desk.hall(&Command::SetConfidential { confidential: true });
    assert!(desk.order.caller_for(&unit).is_none());
    assert!(desk.order.caller_for(&hall).is_some());
}

#[test]
fn files_are_taken_by_kind_and_size_and_parties_stand_once() {
    let mut desk = Desk::open("1");
    let operator = actor(Capacity::Operator, "");
    let attach = |media_type: &str, size| Command::Attach {
        attachment: Attachment {
            name: "照片.jpg".into(),
            media_type: media_type.into(),
            size,
            digest: "00".into(),
        },
    };
    assert!(desk.ask(&operator, &attach("image/jpeg", 1_000)).is_ok());
    for (media_type, size) in [
        ("application/x-msdownload", 10),
        ("image/jpeg", 1 << 30),
        ("", 10),
    ] {
        let refused = desk.ask(&operator, &attach(media_type, size));
        assert_eq!(refused, Err(Refusal::BadAttachment), "{media_type}");
    }
    desk.hall(&Command::Accept);
    let dispatch = |parties| Command::Dispatch {
        parties,
        note: text(""),
    };
    let dispatcher = actor(Capacity::Dispatcher, "");
    let twice = desk.ask(&dispatcher, &dispatch(parties("a", &["b", "a"])));
    assert_eq!(twice, Err(Refusal::UnitTwice));
    assert_eq!(
        desk.ask(&dispatcher, &dispatch(parties("", &[]))),
        Err(Refusal::Empty)
    );
}

#[test]
fn numbers_are_by_day() {
    assert_eq!(number(date(2026, 3, 2), 17), "20260302-000017");
}

// ---- properties

fn any_text() -> impl Strategy<Value = Private<String>> {
    prop_oneof![Just(text("")), Just(text("理由")), Just(text("答复"))]
}

fn any_unit() -> impl Strategy<Value = String> {
    prop_oneof![Just("a"), Just("b"), Just("c")].prop_map(str::to_owned)
}

fn any_parties() -> impl Strategy<Value = Parties> {
    (any_unit(), proptest::collection::vec(any_unit(), 0..3))
        .prop_map(|(lead, joint)| Parties { lead, joint })
}

fn any_ruling() -> impl Strategy<Value = Ruling> {
    prop_oneof![
        any_parties().prop_map(Ruling::Elsewhere),
        Just(Ruling::Refused),
        any_parties().prop_map(Ruling::Negotiated),
    ]
}

fn any_limit() -> impl Strategy<Value = (LimitKind, Card)> {
    let kind = prop_oneof![
        Just(LimitKind::Take),
        Just(LimitKind::Object),
        Just(LimitKind::Finish),
        Just(LimitKind::CallBack)
    ];
    (
        kind,
        prop_oneof![Just(Card::Yellow), Just(Card::Due), Just(Card::Red)],
    )
}

fn any_command() -> impl Strategy<Value = Command> {
    let id = prop_oneof![Just("1"), Just("2"), Just("")].prop_map(str::to_owned);
    let rating = (any::<bool>(), any::<bool>(), any_text()).prop_map(|(solved, satisfied, why)| {
        Command::Rate {
            rating: Rating {
                solved,
                satisfied,
                why,
            },
        }
    });
    let first = prop_oneof![
        any_text().prop_map(|answer| Command::AnswerDirectly {
            answer,
            basis: String::new()
        }),
        any_text().prop_map(|note| Command::HandOver {
            to: "119".into(),
            note
        }),
        Just(Command::Decline {
            reason: "诉讼".into(),
            go_to: "法院".into()
        }),
        Just(Command::Accept),
        (any_parties(), any_text()).prop_map(|(parties, note)| Command::Dispatch { parties, note }),
        Just(Command::Take),
        any_text().prop_map(|reason| Command::Object {
            reason,
            instead: String::new()
        }),
        (any_ruling(), any_text()).prop_map(|(ruling, reason)| Command::Rule { ruling, reason }),
        any_text().prop_map(|text| Command::ReplyPart { text }),
        any_text().prop_map(|text| Command::Reply { text }),
        Just(Command::Approve),
        any_text().prop_map(|reason| Command::SendBack { reason }),
        any_text().prop_map(|note| Command::TryCallBack { note }),
        rating,
        Just(Command::File),
        any_text().prop_map(|reason| Command::Reopen { reason }),
    ];
    let second = prop_oneof![
        (0_u32..12, any_text()).prop_map(|(days, reason)| Command::AskExtension { days, reason }),
        (any::<bool>(), any_text())
            .prop_map(|(approved, reason)| Command::DecideExtension { approved, reason }),
        (1_i8..28, any_text()).prop_map(|(day, reason)| Command::Suspend {
            review: date(2026, 4, day),
            reason
        }),
        Just(Command::Resume),
        any_text().prop_map(|reason| Command::Supervise { reason }),
        Just(Command::EndSupervision),
        id.clone().prop_map(|parent| Command::Merge { parent }),
        Just(Command::Separate),
        id.clone().prop_map(|child| Command::Adopt { child }),
        id.prop_map(|child| Command::Release { child }),
        any_text().prop_map(|answer| Command::FinishWithParent { answer }),
        any_text().prop_map(|text| Command::Urge { text }),
        any::<bool>().prop_map(|confidential| Command::SetConfidential { confidential }),
        any_text().prop_map(|text| Command::Note { text }),
        any_limit().prop_map(|(kind, card)| Command::ShowCard { kind, card }),
        Just(Command::RecomputeLimits),
    ];
    prop_oneof![3 => first, 2 => second]
}

/// Mostly somebody who may give the command: else little would happen.
fn any_step() -> impl Strategy<Value = (Command, Actor, i64)> {
    let who = (any::<prop::sample::Index>(), any_unit(), 0_u8..20);
    (any_command(), who, 0_i64..72).prop_map(|(command, (index, unit, odd), hours)| {
        let capacities: Vec<_> = Capacity::ALL
            .into_iter()
            .filter(|capacity| {
                odd == 0
                    || Stage::ALL
                        .into_iter()
                        .any(|stage| may(command.kind(), stage, *capacity))
            })
            .collect();
        let capacity = capacities[index.index(capacities.len())];
        (command, actor(capacity, &unit), hours)
    })
}

/// What holds of every work order, whatever was asked of it.
fn holds(desk: &Desk) {
    let order = &desk.order;
    let is_with_units = matches!(
        order.stage,
        Stage::Dispatched | Stage::Handling | Stage::Objected | Stage::Replied
    );
    assert!(!is_with_units || order.parties.is_some());
    assert_eq!(order.objecting.is_some(), order.stage == Stage::Objected);
    assert!(order.objections <= desk.policy.objections);
    assert!(order.round <= desk.policy.rounds + 1);
    assert!(order.extended_days <= desk.policy.extension_days);
    assert!(order.stage != Stage::Filed || (order.limits.is_empty() && order.outcome.is_some()));
    assert!(order.parent.is_none() || order.children.is_empty() || order.stage != Stage::Received);
    assert!(order.parent.is_none() || order.next_due().is_none() || order.stage == Stage::Finished);
    if let Some(parties) = &order.parties {
        assert!(order.parts.contains_key(&parties.lead));
        assert_eq!(order.parts.len(), parties.joint.len() + 1);
    }
    assert!(order.suspended.is_none() || is_with_units);
    // Cards are only of limits that ran, and each is behind its moment.
    for (kind, card) in &order.cards {
        if let Some(at) = order
            .limits
            .get(kind)
            .and_then(|limit| order::moment(limit, *card))
        {
            assert!(at <= desk.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_leaves_the_rules_and_replaying_gives_the_same(
        steps in proptest::collection::vec(any_step(), 1..120)
    ) {
        let mut desk = Desk::open("1");
        for (command, by, hours) in steps {
            desk.now = desk.now.checked_add(jiff::Span::new().hours(hours)).expect("a time");
            let before = desk.order.clone();
            let asked = desk.ask(&by, &command);
            match asked {
                Err(_) => prop_assert_eq!(&before, &desk.order, "a refusal changes nothing"),
                Ok(_) => prop_assert!(may(command.kind(), before.stage, by.capacity)),
            }
            holds(&desk);
        }
        let kept = serde_json::to_string(&desk.history).expect("json");
        let read: Vec<Happened> = serde_json::from_str(&kept).expect("read");
        prop_assert_eq!(&WorkOrder::of(desk.new.clone(), &read), &desk.order);
        let mut one = Scores::default();
        one.count(desk.new.clone(), &desk.history, false);
        let mut other = Scores::default();
        other.count(desk.new.clone(), &read, false);
        prop_assert_eq!(one, other);
    }
}

/// Sequences that never got anywhere would show nothing.
#[test]
fn the_sequences_reach_every_stage_and_nearly_everything_that_can_happen() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    use std::collections::BTreeSet;

    let mut runner = TestRunner::deterministic();
    let strategy = proptest::collection::vec(any_step(), 60..120);
    let (mut stages, mut events) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..200 {
        let steps = strategy.new_tree(&mut runner).expect("steps").current();
        let mut desk = Desk::open("1");
        for (command, by, hours) in steps {
            desk.now = desk
                .now
                .checked_add(jiff::Span::new().hours(hours))
                .expect("a time");
            let _ = desk.ask(&by, &command);
            stages.insert(format!("{:?}", desk.order.stage));
        }
        for happened in &desk.history {
            let value = serde_json::to_value(&happened.event).expect("json");
            events.insert(value["event"].as_str().unwrap_or_default().to_owned());
        }
    }
    assert_eq!(stages.len(), Stage::ALL.len(), "{stages:?}");
    assert!(events.len() >= 30, "{} of 38: {events:?}", events.len());
}
