//! The draft while the call goes on: what the operator writes, what contradicts it, and what a further line costs.

use super::*;
use crate::ticket::Evidence;
use crate::ticket::model::Span;

/// A call in which the caller says `lines`, and the drafts that have come of it.
struct Talk {
    world: World,
}

impl Talk {
    fn new(lines: &'static [&'static str]) -> Self {
        let mut world = World::answered();
        world.says = lines;
        Self { world }
    }

    /// The caller says the next line.
    fn say(&mut self) -> &TicketDraft {
        self.world.pass(600, true, false).pass(1_400, false, false);
        self.draft()
    }

    fn write(&mut self, name: FieldName, value: Option<FieldValue>) -> &TicketDraft {
        let edit = Command::Edit { name, value };
        assert_eq!(self.world.ask(edit), Ok(()));
        self.draft()
    }

    fn draft(&self) -> &TicketDraft {
        &self.world.drafts.last().expect("a draft").draft
    }
}

fn text(text: &str) -> FieldValue {
    FieldValue::Text(text.into())
}

#[test]
fn what_the_operator_wrote_stands_and_a_later_statement_that_contradicts_it_is_shown_beside_it() {
    const ADDRESS: FieldName = FieldName::Address;
    let mut talk = Talk::new(&[
        "你好，我家停水了，我住在芝罘区南大街12号。",
        "小区里都停水了，你们快点来修。",
        "不对，地址说错了，是莱山区观海路99号。",
        "都停了两天了。",
    ]);
    let said = talk.say().fields[&ADDRESS].value.clone();
    assert_ne!(said, text("芝罘区南大街18号"));
    let draft = talk.write(ADDRESS, Some(text("芝罘区南大街18号")));
    assert_eq!(draft.fields[&ADDRESS].value, text("芝罘区南大街18号"));
    assert_eq!(draft.fields[&FieldName::District].value, text("芝罘区"));
    assert_eq!(
        draft.edited[&ADDRESS], None,
        "it is what the operator had before their eyes"
    );
    assert_eq!(talk.say().edited[&ADDRESS], None);
    let draft = talk.say();
    assert_eq!(draft.fields[&ADDRESS].value, text("芝罘区南大街18号"));
    assert_eq!(
        draft.fields[&FieldName::District].value,
        text("芝罘区"),
        "it follows the address"
    );
    let against = draft.edited[&ADDRESS]
        .clone()
        .expect("the caller has said otherwise");
    assert!(
        matches!(&against.value, FieldValue::Text(text) if text.reveal().contains("观海路99号"))
    );
    assert!(
        matches!(against.evidence[..], [Evidence { utterance: 2, .. }, ..]),
        "{against:?}"
    );
    assert!(
        talk.say().edited[&ADDRESS].is_some(),
        "until the operator has decided"
    );
    // To keep it is to write it once more, to adopt what was said is to give the field back.
    assert_eq!(
        talk.write(ADDRESS, Some(text("芝罘区南大街18号"))).edited[&ADDRESS],
        None
    );
    let draft = talk.write(ADDRESS, None);
    assert_eq!(draft.fields[&ADDRESS], against);
    assert!(draft.edited.is_empty());
    let last = talk.world.drafts.len();
    talk.write(ADDRESS, None);
    assert_eq!(talk.world.drafts.len(), last, "nothing has changed");
}

#[test]
fn title_departments_missing_fields_and_time_limits_follow_what_the_operator_wrote() {
    let mut talk = Talk::new(&[
        "我要投诉芝罘区的力健健身房，办的年卡不给退钱。",
        "老板也联系不上。",
    ]);
    let before = talk.say().clone();
    assert_eq!(
        before.limits.map(|limits| limits.finish),
        Some(Span::WorkingDays(5))
    );
    assert!(before.missing.contains(&FieldName::AmountYuan));
    let draft = talk.write(FieldName::Subject, Some(text("立健健身俱乐部")));
    let title = &draft.fields[&FieldName::Title].value;
    assert!(matches!(title, FieldValue::Text(title) if title.reveal().contains("立健健身俱乐部")));
    let draft = talk.write(FieldName::Urgency, Some(text("特急")));
    assert_eq!(
        draft.limits.map(|limits| limits.finish),
        Some(Span::WorkingDays(1))
    );
    let levels = FieldValue::List(vec!["住房与物业".to_owned(), "供水".to_owned()]);
    let draft = talk.write(FieldName::Category, Some(levels));
    assert!(
        !draft.missing.contains(&FieldName::AmountYuan),
        "{:?}",
        draft.missing
    );
    assert_ne!(
        draft.fields[&FieldName::Departments].value,
        before.fields[&FieldName::Departments].value
    );
    // A title of the operator's stays, and is not contradicted by the one that would be put together.
    talk.write(FieldName::Title, Some(text("健身房纠纷")));
    let draft = talk.say();
    assert_eq!(draft.fields[&FieldName::Title].value, text("健身房纠纷"));
    assert_eq!(draft.edited[&FieldName::Title], None);
}

#[test]
fn what_the_operator_wrote_stands_even_when_the_draft_cannot_be_drawn_up() {
    const ADDRESS: FieldName = FieldName::Address;
    let mut talk = Talk::new(&["你好，我家停水了，我住在芝罘区南大街12号。"]);
    talk.say();
    let edit = Command::Edit {
        name: ADDRESS,
        value: Some(text("芝罘区南大街18号")),
    };
    let World { call, now, .. } = &mut talk.world;
    assert_eq!(call.command(*now, &Actor::System, edit), Ok(()));
    let Output::Redraft(redraft) = call.poll(*now) else {
        panic!("no draft is asked for");
    };
    call.handle(*now, Input::Drafted(redraft.refuse()));
    talk.world.drain();
    let draft = talk.draft();
    assert_eq!(draft.fields[&ADDRESS].value, text("芝罘区南大街18号"));
    assert_eq!(draft.edited[&ADDRESS], None);
}

#[test]
fn what_is_written_while_the_phone_rings_is_in_the_first_draft_and_after_the_close_it_is_refused() {
    let edit = |name, value| Command::Edit {
        name,
        value: Some(value),
    };
    let mut world = World::ringing();
    let urgent = edit(FieldName::Urgency, text(" 紧急 "));
    assert_eq!(world.ask(urgent.clone()), Ok(()));
    for (name, value) in [
        (FieldName::Urgency, text("马上")),
        (FieldName::AmountYuan, text("860")),
        (FieldName::AmountYuan, FieldValue::Number(-1.0)),
        (FieldName::Category, FieldValue::List(vec!["一".into()])),
        (FieldName::Confidential, text("是")),
        (FieldName::Address, FieldValue::Flag(true)),
    ] {
        let refused = world.ask(edit(name, value));
        assert!(matches!(refused, Err(Refusal::Unfit(_))), "{name:?}");
    }
    world.sip(SipEvent::Answered {
        party: Party::OPERATOR,
        answer: described(OPERATOR, "8"),
    });
    let first = &world.drafts[0].draft;
    assert_eq!(first.fields[&FieldName::Urgency].value, text("紧急"));
    world.sip(SipEvent::HungUp {
        party: Party::CALLER,
        cause: DialogEnd::Bye,
    });
    assert_eq!(world.ask(urgent.clone()), Err(Refusal::NotRunning));
    assert_eq!(
        world.ask(Command::Pause { paused: true }),
        Err(Refusal::NotRunning)
    );
    assert!(world.drafts.last().is_some_and(|draft| draft.closes));

    let mut world = World::ringing();
    world.sip(SipEvent::Cancelled {
        party: Party::CALLER,
    });
    assert_eq!(world.ask(urgent), Err(Refusal::NotRunning));
}
