//! Each vendor's layout, changes during a call, and what no peer may do to us.

use super::*;

macro_rules! layout {
    ($name:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/data/siprec/",
            $name,
            ".xml"
        ))
    };
}

fn read(xml: &str) -> Recording {
    let mut recording = Recording::default();
    recording.update(xml.as_bytes()).expect("readable");
    recording
}

fn own(numbers: &[&str]) -> Vec<String> {
    numbers.iter().map(|number| (*number).to_owned()).collect()
}

/// Each label with its leg and the speaker's number, by label.
fn heard(recording: &Recording, clues: Clues<'_>) -> Vec<(String, Leg, bool, String)> {
    let mut heard: Vec<_> = recording
        .speakers(clues)
        .into_iter()
        .map(|speaker| {
            let number = speaker.number.map(Private::into_inner).unwrap_or_default();
            (speaker.label, speaker.leg, speaker.certain, number)
        })
        .collect();
    heard.sort_by(|one, other| one.0.cmp(&other.0));
    heard
}

fn expect(heard: &[(String, Leg, bool, String)], wanted: [(&str, Leg, &str); 2]) {
    let wanted =
        wanted.map(|(label, leg, number)| (label.to_owned(), leg, true, number.to_owned()));
    assert_eq!(heard, wanted);
}

/// The elements below the root in the opposite order, which must not matter.
fn turned_round(xml: &str) -> String {
    let recording = xml.find("recording").expect("a root");
    let open = recording + xml[recording..].find('>').expect("its end") + 1;
    let close = xml.rfind("</").expect("its close");
    let mut elements = Vec::new();
    let mut reader = quick_xml::Reader::from_str(&xml[open..close]);
    reader.config_mut().check_end_names = false;
    let (mut depth, mut begin) = (0, 0);
    loop {
        let before = reader.buffer_position() as usize;
        match reader.read_event().expect("well-formed") {
            quick_xml::events::Event::Start(_) => {
                if depth == 0 {
                    begin = before;
                }
                depth += 1;
            }
            quick_xml::events::Event::End(_) => {
                depth -= 1;
                if depth == 0 {
                    elements.push(&xml[open..close][begin..reader.buffer_position() as usize]);
                }
            }
            quick_xml::events::Event::Empty(_) if depth == 0 => {
                elements.push(&xml[open..close][before..reader.buffer_position() as usize]);
            }
            quick_xml::events::Event::Eof => break,
            _ => {}
        }
    }
    assert!(elements.len() > 4, "{elements:?}");
    elements.reverse();
    [&xml[..open], &elements.join("\n"), &xml[close..]].concat()
}

fn in_any_order(xml: &str, clues: Clues<'_>, wanted: [(&str, Leg, &str); 2]) {
    expect(&heard(&read(xml), clues), wanted);
    expect(&heard(&read(&turned_round(xml)), clues), wanted);
}

#[test]
fn opensips_names_the_operator_first_and_is_not_believed() {
    let own = own(&["1*"]);
    // The citizen's number begins like an extension: the pattern divides nobody, the calling party does.
    let clues = Clues {
        own: &own,
        calling: Some("013812345678"),
    };
    let wanted = [
        ("1", Leg::Operator, "1007"),
        ("2", Leg::Caller, "13812345678"),
    ];
    in_any_order(layout!("opensips"), clues, wanted);
    let speakers = read(layout!("opensips")).speakers(clues);
    let citizen = speakers
        .iter()
        .find(|speaker| speaker.leg == Leg::Caller)
        .expect("one");
    let name = citizen.name.as_ref().expect("a name").reveal();
    assert_eq!(name, "\"王女士\"");
}

#[test]
fn cisco_is_read_by_the_number_that_was_called() {
    let own = own(&["12345"]);
    let clues = Clues {
        own: &own,
        calling: None,
    };
    let wanted = [
        ("1", Leg::Operator, "12345"),
        ("2", Leg::Caller, "+8613812345678"),
    ];
    in_any_order(layout!("cisco"), clues, wanted);
    let references = read(layout!("cisco")).references().to_vec();
    assert!(references[1].starts_with("6b1c7a9f4ba8"), "{references:?}");
}

#[test]
fn oracle_marks_the_calling_party_and_forgets_quotes() {
    let wanted = [
        ("553654187", Leg::Operator, "4001"),
        ("553654188", Leg::Caller, "5357771234"),
    ];
    in_any_order(layout!("oracle"), Clues::default(), wanted);
    let references = read(layout!("oracle")).references().to_vec();
    assert!(references.contains(&"00FA0800012CAB553FA9ED;encoding=hex".to_owned()));
}

#[test]
fn a_call_that_the_hotline_places_has_the_citizen_at_the_called_end() {
    let own = own(&["5357771234"]);
    let clues = Clues {
        own: &own,
        calling: Some("5357771234"),
    };
    let wanted = [
        ("553654187", Leg::Caller, "4001"),
        ("553654188", Leg::Operator, "5357771234"),
    ];
    in_any_order(layout!("oracle"), clues, wanted);
}

#[test]
fn audiocodes_has_bare_numbers_and_the_streams_inside_of_participants() {
    let own = own(&["105*"]);
    let clues = Clues {
        own: &own,
        calling: None,
    };
    let wanted = [
        ("1", Leg::Operator, "1056"),
        ("2", Leg::Caller, "13812345678"),
    ];
    in_any_order(layout!("audiocodes"), clues, wanted);
}

#[test]
fn genesys_prefixes_every_element_and_associates_before_it_names() {
    let own = own(&["7*"]);
    let clues = Clues {
        own: &own,
        calling: None,
    };
    let wanted = [
        ("a", Leg::Caller, "+86-13812345678"),
        ("b", Leg::Operator, "7105"),
    ];
    in_any_order(layout!("genesys"), clues, wanted);
}

#[test]
fn without_a_clue_both_are_marked_as_uncertain_and_the_order_still_says_nothing() {
    let xml = layout!("cisco");
    let one = heard(&read(xml), Clues::default());
    let other = heard(&read(&turned_round(xml)), Clues::default());
    assert_eq!(one, other);
    assert!(one.iter().all(|(_, _, certain, _)| !certain));
    let legs: Vec<Leg> = one.iter().map(|(_, leg, ..)| *leg).collect();
    assert!(legs.contains(&Leg::Caller) && legs.contains(&Leg::Operator));
}

#[test]
fn a_partial_update_changes_the_operator_and_a_complete_one_replaces_all() {
    let own = own(&["12345", "1008"]);
    let clues = Clues {
        own: &own,
        calling: None,
    };
    let mut recording = read(layout!("cisco"));
    recording
        .update(
            br#"<recording xmlns="urn:ietf:params:xml:ns:recording:1"><datamode>partial</datamode>
            <participant participant_id="new"><nameID aor="sip:1008@pbx"/></participant>
            <participantsessionassoc participant_id="kQNhKFdEEeeJ+ND/VsPGWA==" session_id="s">
            <disassociate-time>2026-11-24T01:03:00Z</disassociate-time></participantsessionassoc>
            <participantstreamassoc participant_id="new"><send>kQOH5VdEEeeJ/dD/VsPGWA==</send></participantstreamassoc>
            </recording>"#,
        )
        .expect("readable");
    let wanted = [
        ("1", Leg::Operator, "1008"),
        ("2", Leg::Caller, "+8613812345678"),
    ];
    expect(&heard(&recording, clues), wanted);
    // Someone who comes back is heard again.
    recording
        .update(layout!("oracle").as_bytes())
        .expect("readable");
    assert_eq!(recording, read(layout!("oracle")));
}

#[test]
fn an_association_that_ends_takes_the_stream_from_its_speaker() {
    let mut recording = read(layout!("cisco"));
    recording
        .update(
            br#"<recording><datamode>partial</datamode><participantstreamassoc participant_id="kQNhKFdEEeeJ99D/VsPGWA==">
            <send>kQOH5VdEEeeJ/ND/VsPGWA==</send><disassociate-time>t</disassociate-time></participantstreamassoc></recording>"#,
        )
        .expect("readable");
    let labels: Vec<_> = recording
        .speakers(Clues::default())
        .into_iter()
        .map(|speaker| speaker.label)
        .collect();
    assert_eq!(labels, ["1"]);
}

#[test]
fn a_stream_that_two_send_is_mono() {
    let mixed = layout!("audiocodes").replace(
        "<send>00000000-0000-0000-0000-BF583A36C4E3</send>",
        "<send>00000000-0000-0000-0000-1CF23A36C4E3</send>",
    );
    let heard = heard(&read(&mixed), Clues::default());
    assert_eq!(heard, [("1".into(), Leg::Mono, false, String::new())]);
}

#[test]
fn names_of_elements_are_read_in_any_case_and_parameters_are_no_part_of_a_number() {
    let own = own(&["12345"]);
    let clues = Clues {
        own: &own,
        calling: None,
    };
    let spelt = layout!("cisco")
        .replace("participantstreamassoc", "participantStreamAssoc")
        .replace("nameID", "nameId")
        .replace("participant_id", "Participant_ID")
        .replace(
            "sip:+8613812345678@192.0.2.10",
            "&lt;sip:%2B8613812345678@ims.example;noa=international;srvattri=national&gt;",
        );
    let wanted = [
        ("1", Leg::Operator, "12345"),
        ("2", Leg::Caller, "+8613812345678"),
    ];
    expect(&heard(&read(&spelt), clues), wanted);
    assert_eq!(
        read(&spelt).references(),
        read(layout!("cisco")).references()
    );
}

#[test]
fn numbers_are_known_of_participants_whose_streams_are_not() {
    let number = |recording: &Recording, leg, clues| {
        recording
            .number(leg, clues)
            .map(Private::into_inner)
            .unwrap_or_default()
    };
    let called = |recording: &Recording, clues| {
        recording
            .called(clues)
            .map(Private::into_inner)
            .unwrap_or_default()
    };
    let hotline = own(&["12345"]);
    let clues = Clues {
        own: &hotline,
        calling: None,
    };
    let unassigned = layout!("cisco")
        .replace("<send>", "<other>")
        .replace("</send>", "</other>");
    let recording = read(&unassigned);
    assert!(recording.speakers(clues).is_empty());
    assert_eq!(number(&recording, Leg::Caller, clues), "+8613812345678");
    assert_eq!(number(&recording, Leg::Operator, clues), "12345");
    assert_eq!(called(&recording, clues), "12345");
    // A call that the hotline places goes to the citizen.
    let placed = Clues {
        own: &hotline,
        calling: Some("12345"),
    };
    assert_eq!(called(&recording, placed), "+8613812345678");
    // Two of the hotline's own talk to each other: both are heard, and neither is sure.
    let both = own(&["12345", "+86*"]);
    let clues = Clues {
        own: &both,
        calling: None,
    };
    let heard = heard(&read(layout!("cisco")), clues);
    let legs: Vec<(Leg, bool)> = heard
        .iter()
        .map(|(_, leg, certain, _)| (*leg, *certain))
        .collect();
    assert!(
        legs.contains(&(Leg::Caller, false)) && legs.contains(&(Leg::Operator, false)),
        "{legs:?}"
    );
    assert_eq!(called(&Recording::default(), clues), "");
    // Of two on a leg, who is heard goes before who is not, and then the first.
    let supervisor = br#"<recording><datamode>partial</datamode><participant participant_id="s"><nameID aor="sip:12399@pbx"/></participant>
        <stream stream_id="third"><label>3</label></stream>
        <participantstreamassoc participant_id="s"><send>third</send></participantstreamassoc></recording>"#;
    let three = own(&["123*"]);
    let clues = Clues {
        own: &three,
        calling: None,
    };
    for (xml, operator) in [(layout!("cisco"), "12345"), (&unassigned, "12399")] {
        let mut joined = read(xml);
        joined.update(supervisor).expect("readable");
        assert_eq!(number(&joined, Leg::Operator, clues), operator);
    }
}

#[test]
fn bad_metadata_gets_a_sentence_and_changes_nothing() {
    let mut recording = read(layout!("cisco"));
    let before = recording.clone();
    let deep = format!("<recording>{}", "<a>".repeat(100));
    let many = format!("<recording>{}</recording>", "<a/>".repeat(5_000));
    let long = format!("<recording>{}</recording>", " ".repeat(MAX_BYTES));
    for (xml, status) in [
        ("", 400),
        ("<recording>", 400),
        ("<recording></stream>", 400),
        ("<sip/>", 400),
        ("<recording>&who;</recording>", 400),
        (
            "<!DOCTYPE r [<!ENTITY a \"b\">]><recording>&a;</recording>",
            400,
        ),
        ("\u{0}\u{1}\u{2}", 400),
        (&deep, 413),
        (&many, 413),
        (&long, 413),
    ] {
        let error = recording.update(xml.as_bytes()).expect_err(xml);
        assert_eq!(error.status(), status, "{error}");
        assert!(error.to_string().contains("the peer must send"), "{error}");
    }
    assert_eq!(recording, before);
}

#[test]
fn numbers_are_the_same_with_and_without_their_prefixes() {
    assert!(same_number("+8613812345678", "013812345678"));
    assert!(same_number("1007", "1007"));
    assert!(!same_number("1007", "91007"));
    assert!(!same_number("13812345678", "13812345679"));
}

#[test]
fn no_name_or_number_is_printed() {
    let recording = read(layout!("opensips"));
    let printed = format!("{recording:?} {:?}", recording.speakers(Clues::default()));
    assert!(!printed.contains("13812345678") && !printed.contains('王'));
}
