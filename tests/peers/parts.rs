//! The parts that the scenarios of `tests/peers` share: `{{from caller BYE}}` and the like become the lines of a message.

/// Fills in a scenario's parts.
pub(super) fn expanded(scenario: &str) -> String {
    let mut text = String::new();
    let mut rest = scenario;
    while let Some((before, after)) = rest.split_once("{{") {
        let (part, after) = after.split_once("}}").expect("a part ends with }}");
        text.push_str(before);
        let words: Vec<&str> = part.split(' ').collect();
        text.push_str(&match words.as_slice() {
            ["invited"] => "{{invited}}".to_owned(),
            ["sdp", direction @ ..] => description(direction.first()),
            ["from", "caller", method] => from_caller(method, "[cseq]", "[branch]"),
            ["from", "caller", "ACK", "again"] => from_caller("ACK", "[cseq]", "[branch-3]"),
            ["from", "caller", method, number] => from_caller(method, number, "[branch]"),
            ["from", "operator", method, number] => from_operator(method, number),
            ["response", status @ ..] => answer(status, LAST),
            ["first", status @ ..] => answer(status, FIRST),
            ["late", status @ ..] => answer(status, &LATE.replace("TAG", "o[call_number]")),
            ["forked", fork, status @ ..] => answer(status, &LATE.replace("TAG", fork)),
            _ => panic!("no part is called {part}"),
        });
        rest = after;
    }
    text.push_str(rest);
    let invited = invited(&text);
    text.replace("{{invited}}", &invited)
}

const LAST: &str = "[last_Via:]\n[last_From:]\n[last_To:]\n[last_Call-ID:]\n[last_CSeq:]";
const FIRST: &str =
    "[last_Via:]\n[last_From:]\n[last_To:];tag=[pid]o[call_number]\n[last_Call-ID:]\n[last_CSeq:]";
/// To an INVITE that is not the last request any more.
const LATE: &str =
    "Via:[$via]\nFrom:[$them]\nTo:[$us];tag=[pid]TAG\nCall-ID: [call_id]\nCSeq:[$cseq]";

/// As the lines of a message stand in a scenario.
fn lines(text: &str) -> String {
    text.lines()
        .map(|line| format!("      {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn answer(status: &[&str], headers: &str) -> String {
    let contact = "Contact: <sip:op@[local_ip]:[local_port];transport=[transport]>";
    lines(&format!(
        "SIP/2.0 {}\n{headers}\n{contact}",
        status.join(" ")
    ))
}

fn from_caller(method: &str, number: &str, branch: &str) -> String {
    lines(&format!(
        "{method} sip:12345@[remote_ip]:[remote_port] SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch={branch}\n\
         From: \"Li Hua\" <sip:13800138000@[local_ip]:[local_port]>;tag=[pid]c[call_number]\n\
         To: <sip:12345@[remote_ip]:[remote_port]>[peer_tag_param]\n\
         Call-ID: [call_id]\n\
         CSeq: {number} {method}\n\
         Contact: <sip:13800138000@[local_ip]:[local_port];transport=[transport]>\n\
         Max-Forwards: 70"
    ))
}

fn from_operator(method: &str, number: &str) -> String {
    lines(&format!(
        "{method} [$target] SIP/2.0\n\
         Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]\n\
         From:[$us];tag=[pid]o[call_number]\n\
         To:[$them]\n\
         Call-ID: [call_id]\n\
         CSeq: {number} {method}\n\
         Contact: <sip:op@[local_ip]:[local_port];transport=[transport]>\n\
         Max-Forwards: 70"
    ))
}

/// A description; `plain` is one of a phone that takes no key presses in its stream.
fn description(direction: Option<&&str>) -> String {
    let (keys, event, direction) = match direction {
        Some(&"plain") => ("", "", String::new()),
        Some(direction) => (
            " 101",
            "\na=rtpmap:101 telephone-event/8000",
            format!("\na={direction}"),
        ),
        None => (" 101", "\na=rtpmap:101 telephone-event/8000", String::new()),
    };
    lines(&format!(
        "Content-Type: application/sdp\nContent-Length: [len]\n\nv=0\no=- 1 1 IN IP4 [local_ip]\ns=-\n\
         c=IN IP4 [local_ip]\nt=0 0\nm=audio [media_port] RTP/AVP 8 0{keys}\na=rtpmap:8 PCMA/8000\n\
         a=rtpmap:0 PCMU/8000{event}\na=ptime:20{direction}"
    ))
}

/// Takes the INVITE and remembers of it what the scenario uses; `SIPp` refuses what is remembered in vain.
fn invited(text: &str) -> String {
    let remembered: Vec<String> = [
        ("them", ".*", "From:"),
        ("us", ".*", "To:"),
        ("target", "sip:[^>]*", "Contact:"),
        ("via", ".*", "Via:"),
        ("cseq", ".*", "CSeq:"),
    ]
    .into_iter()
    .filter(|(name, ..)| text.contains(&format!("[${name}]")))
    .map(|(name, pattern, header)| {
        format!(
            "      <ereg regexp=\"{pattern}\" search_in=\"hdr\" header=\"{header}\" assign_to=\"{name}\" />\n"
        )
    })
    .collect();
    if remembered.is_empty() {
        return "  <recv request=\"INVITE\" />".to_owned();
    }
    format!(
        "  <recv request=\"INVITE\">\n    <action>\n{}    </action>\n  </recv>",
        remembered.concat()
    )
}
