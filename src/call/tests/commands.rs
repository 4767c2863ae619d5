//! What is asked of a call from outside it: notes, hanging up, transfers, in virtual time.

use super::*;
use crate::sip::Target;
use crate::transcript::{ActorKind, Note};

const SUCCESSOR: &str = "203.0.113.77:7700";

impl World {
    fn transfer(&mut self, to: &str) -> Result<Party, Refusal> {
        self.commands.clear();
        self.ask(Command::Transfer { to: to.into() })?;
        let invited = self.commands.iter().find_map(|command| match command {
            SipCommand::Invite { party, .. } => Some(*party),
            _ => None,
        });
        Ok(invited.expect("somebody is invited"))
    }

    fn hung_up(&self, party: Party) -> bool {
        self.commands.contains(&SipCommand::HangUp { party })
    }

    fn has_left(&mut self, party: Party) {
        let cause = DialogEnd::Bye;
        self.sip(SipEvent::HungUp { party, cause });
    }

    fn failures(&self) -> usize {
        let alarms = self.told.iter().filter(|event| {
            let failed = AlarmKind::TransferFailed;
            matches!(event, TranscriptEvent::Alarm { alarm, .. } if *alarm == failed)
        });
        alarms.count()
    }
}

#[test]
fn a_call_is_hung_up_on_both_legs_with_its_last_words_and_says_what_kind_of_actor_it_was() {
    let mut world = World::answered();
    world.pass(1_500, true, false);
    assert_eq!(world.ask(Command::HangUp), Ok(()));
    assert!(world.hung_up(Party::CALLER) && world.hung_up(Party::OPERATOR));
    assert_eq!(world.ask(Command::HangUp), Err(Refusal::NotRunning));
    let transfer = Command::Transfer { to: "1002".into() };
    assert_eq!(world.ask(transfer), Err(Refusal::NotRunning));
    world.wait(1_000);
    assert_eq!(world.final_lines().len(), 1);
    world.ended_properly();
    let actor = ActorKind::User;
    let ended = world.summary.take().expect("ended");
    assert_eq!(ended.reason, EndReason::EndedBy { actor });
    let note = Command::Note {
        text: "晚了".into(),
    };
    assert_eq!(world.ask(note), Err(Refusal::NotRunning));
}

#[test]
fn a_call_that_rings_is_hung_up_too_and_cannot_be_transferred_yet() {
    let mut world = World::ringing();
    assert_eq!(world.transfer("1002"), Err(Refusal::NotAnswered));
    assert_eq!(world.ask(Command::HangUp), Ok(()));
    assert!(world.hung_up(Party::OPERATOR));
    assert_eq!(world.rejected(), Some(480));
    let actor = ActorKind::User;
    let ended = world.summary.expect("ended");
    assert_eq!(ended.reason, EndReason::EndedBy { actor });
}

#[test]
fn a_transfer_invites_at_the_operators_host_and_lets_go_of_the_operator_when_that_one_answers() {
    let mut world = World::answered();
    world.pass(1_500, true, false).pass(1_200, false, false);
    let successor = world.transfer("1002").expect("taken");
    let wanted = Target::new("sip:1002@203.0.113.9");
    assert!(
        world.commands.iter().any(
            |command| matches!(command, SipCommand::Invite { target, .. } if *target == wanted)
        )
    );
    assert_eq!(world.transfer("1003"), Err(Refusal::TransferUnderWay));
    world.sip(SipEvent::Ringing {
        party: successor,
        status: 180,
        answer: None,
    });
    world.speak(true, true);
    world.wait(1);
    let heard = world.forwarded[0].len();
    assert!(heard > 0, "the operator talks on meanwhile");
    world.sip(SipEvent::Answered {
        party: successor,
        answer: described(SUCCESSOR, "8"),
    });
    // Its phone has asked for nothing, and is told nothing but the end.
    assert!(world.hung_up(Party::OPERATOR));
    assert!(!world.commands.iter().any(|command| matches!(
        command,
        SipCommand::ReportTransfer { .. } | SipCommand::AnswerRefer { .. }
    )));
    world.speak(true, true);
    world.wait(1);
    assert_eq!(world.forwarded[0].len(), heard);
    assert!(world.summary.is_none());
    world.pass(1_500, true, false).pass(1_200, false, false);
    assert_eq!(world.final_lines().len(), 2, "the transcript goes on");
    world.has_left(successor);
    assert!(world.hung_up(Party::CALLER));
    world.wait(300);
    world.ended_properly();
    assert_eq!(world.failures(), 0);
}

#[test]
fn a_transfer_that_fails_leaves_the_caller_with_the_operator_and_is_an_alarm() {
    let mut world = World::answered();
    let successor = world.transfer("sip:1002@203.0.113.77").expect("taken");
    world.sip(SipEvent::Rejected {
        party: successor,
        status: 486,
        reason: "Busy Here".to_owned(),
    });
    assert_eq!(world.failures(), 1);
    world.speak(true, true);
    world.wait(1);
    assert_eq!(world.forwarded[0].len(), 1, "the operator talks on");
    // The next one rings too long, and the operator has gone meanwhile.
    let successor = world.transfer("sip:1003@203.0.113.77").expect("taken");
    world.has_left(Party::OPERATOR);
    assert!(world.summary.is_none());
    for _ in 0..1_550 {
        world.speak(false, false);
        world.wait(20);
    }
    assert!(world.hung_up(successor) && world.hung_up(Party::CALLER));
    world.ended_properly();
    assert_eq!(
        world.summary.as_ref().expect("ended").reason,
        EndReason::TransferFailed { status: 408 }
    );
    assert_eq!(world.failures(), 1, "nobody is left to be told");
}

#[test]
fn what_is_no_destination_invites_nobody() {
    let mut world = World::answered();
    world.commands.clear();
    let transfer = Command::Transfer {
        to: "王科长".into(),
    };
    assert_eq!(world.ask(transfer), Err(Refusal::NoDestination));
    assert!(world.commands.is_empty());
    assert!(world.transfer("1002").is_ok(), "the next one is");
}

#[test]
fn a_note_stands_in_the_transcript_at_its_time_with_who_wrote_it() {
    let mut world = World::answered();
    world.wait(2_000);
    let note = |text: &str| Command::Note { text: text.into() };
    for unfit in ["", " \n", &"字".repeat(1_001)] {
        assert_eq!(world.ask(note(unfit)), Err(Refusal::UnfitNote));
    }
    assert_eq!(world.ask(note(" 市民情绪激动，请回访。")), Ok(()));
    let notes: Vec<&Note> = world
        .told
        .iter()
        .filter_map(|event| match event {
            TranscriptEvent::Note(note) => Some(note),
            _ => None,
        })
        .collect();
    let [note] = notes[..] else {
        panic!("{notes:?}")
    };
    assert_eq!(note.at, MediaTime::from_millis(2_000));
    assert_eq!(note.text.reveal(), "市民情绪激动，请回访。");
    assert_eq!(note.by.name(), "console");
    assert!(!format!("{note:?}").contains("情绪"), "it is personal data");
}
