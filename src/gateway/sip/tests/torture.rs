//! The 49 torture test messages of RFC 4475, to the byte, against the running edge.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use super::*;

const MESSAGES: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/rfc4475.txt"
));

/// What becomes of a call that a message begins here.
const BUSY: u16 = 486;

/// A refusal that says nothing about what was wrong, as nobody may register here.
const NO_REGISTRAR: &[u16] = &[401, 403, 405];

/// What the edge may do with each message: the final statuses that are right; none where it must be dropped.
const WANTED: [(&str, &[u16]); 49] = [
    // 3.1.1, valid: understood, and answered by what they ask for.
    ("wsinv", &[481]), // its To has a tag, and there is no such dialog
    ("intmeth", &[405, 501]),
    ("esc01", &[BUSY]),
    ("escnull", NO_REGISTRAR),
    ("esc02", &[405, 501]), // not REGISTER, although it looks so when unescaped
    ("lwsdisp", &[200]),
    ("longreq", &[BUSY]),
    ("dblreq", NO_REGISTRAR), // and nothing for the INVITE behind it
    ("semiuri", &[200]),
    ("transports", &[200]),
    ("mpart01", &[405]),
    ("unreason", &[]),
    ("noreason", &[]),
    // 3.1.2, invalid: refused, or read leniently where the RFC allows it.
    ("badinv01", &[400]),
    ("clerr", &[400]),
    ("ncl", &[400]),
    ("scalar02", &[400]),
    ("scalarlg", &[]),
    ("quotbal", &[400]),
    ("ltgtruri", &[400]),
    ("lwsruri", &[]), // its start line has four words
    ("lwsstart", &[400]),
    ("trws", &[400, 200]),
    ("escruri", &[400]),
    ("baddate", &[400, BUSY]),
    ("regbadct", &[400, 401, 403, 405]),
    ("badaspec", &[400, 200]),
    ("baddn", &[400, 200]),
    ("badvers", &[505]),
    ("mismatch01", &[400]),
    ("mismatch02", &[400, 405, 501]),
    ("bigcode", &[]),
    // 3.2, transactions.
    ("badbranch", &[400, 200]),
    // 3.3, what a user agent makes of them.
    ("insuf", &[]), // there is nothing to address an answer with
    ("unkscm", &[416]),
    ("novelsc", &[416]),
    ("unksm2", &[400, 401, 403, 404, 405]),
    ("bext01", &[420]),
    ("invut", &[415]),
    ("regaut01", NO_REGISTRAR),
    ("multi01", &[400]),
    ("mcl01", &[400]),
    ("bcast", &[]),
    ("zeromf", &[200, 483]),
    ("cparam01", NO_REGISTRAR),
    ("cparam02", NO_REGISTRAR),
    ("regescrt", NO_REGISTRAR),
    ("sdp01", &[406]),
    // 3.4, RFC 2543.
    ("inv2543", &[400, BUSY]),
];

/// The messages by name.
fn messages() -> BTreeMap<String, Vec<u8>> {
    let mut messages = BTreeMap::new();
    let mut text = String::new();
    for line in MESSAGES.split_inclusive('\n').rev() {
        if let Some(title) = line.strip_prefix("==== ") {
            let name = title.split(' ').next().expect("a name");
            messages.insert(name.to_owned(), bytes_of(&text));
            text.clear();
        } else {
            text.insert_str(0, line);
        }
    }
    messages
}

/// A message in the RFC's notation as it goes over the wire (RFC 4475 §2.1).
fn bytes_of(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut joins = false;
    for line in text.split_terminator('\n') {
        match line {
            "<allOneLine>" => joins = true,
            "</allOneLine>" => {
                joins = false;
                bytes.extend_from_slice(b"\r\n");
            }
            _ => {
                expand(line, &mut bytes);
                if !joins {
                    bytes.extend_from_slice(b"\r\n");
                }
            }
        }
    }
    bytes
}

fn expand(mut line: &str, bytes: &mut Vec<u8>) {
    while let Some(at) = line.find(['<']) {
        let (before, tag) = line.split_at(at);
        bytes.extend_from_slice(before.as_bytes());
        if let Some((hex, rest)) = tag
            .strip_prefix("<hex>")
            .and_then(|tag| tag.split_once("</hex>"))
        {
            bytes.extend((0..hex.len()).step_by(2).map(|index| {
                u8::from_str_radix(&hex[index..index + 2], 16).expect("two hexadecimal digits")
            }));
            line = rest;
        } else if let Some((repeat, rest)) = tag
            .strip_prefix("<repeat count=")
            .and_then(|tag| tag.split_once("</repeat>"))
        {
            let (count, text) = repeat.split_once('>').expect("a count");
            let text = text.repeat(count.parse().expect("a number"));
            bytes.extend_from_slice(text.as_bytes());
            line = rest;
        } else {
            bytes.push(b'<');
            line = &tag[1..];
        }
    }
    bytes.extend_from_slice(line.as_bytes());
}

/// The final statuses that came to a socket, each once.
fn answers(socket: &UdpSocket) -> Vec<u16> {
    let mut statuses = Vec::new();
    let mut buffer = vec![0; 65_536];
    while let Ok(length) = socket.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        let status = text.get(8..11).and_then(|status| status.parse().ok());
        let status = status.expect("a status line");
        if status >= 200 && !statuses.contains(&status) {
            statuses.push(status);
        }
    }
    statuses
}

#[test]
fn the_messages_are_those_of_the_rfc() {
    let messages = messages();
    assert_eq!(messages.len(), 49);
    // Where a message tells its length truly, that length proves each octet of the body.
    let lies = ["clerr", "ncl", "mcl01", "dblreq", "inv2543"];
    let mut proven = 0;
    for (name, bytes) in &messages {
        let head = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("{name} has no end of headers"));
        let length = String::from_utf8_lossy(&bytes[..head])
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(header, _)| {
                let header = header.trim().to_ascii_lowercase();
                header == "content-length" || header == "l"
            })
            .and_then(|(_, value)| value.trim().parse::<usize>().ok());
        if !lies.contains(&name.as_str()) {
            assert_eq!(length, Some(bytes.len() - head - 4), "{name}");
            proven += 1;
        }
    }
    assert_eq!(proven, 44);
    assert!(messages["intmeth"].contains(&0));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_torture_message_is_understood_refused_or_dropped() {
    let (edge, mut calls) = SipEdge::bind(config()).await.expect("bound");
    let mut peers = Vec::new();
    for (name, bytes) in messages() {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(edge.local_addr()).expect("connected");
        socket.set_nonblocking(true).expect("set");
        socket.send(&bytes).expect("sent");
        peers.push((name, socket));
    }
    let mut begun = Vec::new();
    while let Ok(Some(call)) = tokio::time::timeout(Duration::from_secs(1), calls.recv()).await {
        begun.push(call.incoming.called.clone());
        let refusal = SipCommand::Reject {
            party: Party::CALLER,
            status: BUSY,
            reason: String::new(),
        };
        call.commands.try_send(refusal).expect("taken");
        tokio::spawn(async move {
            let mut call = call;
            while call.events.recv().await.is_some() {}
        });
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut wrong = Vec::new();
    for (name, socket) in &peers {
        let (_, wanted) = WANTED
            .iter()
            .find(|(wanted, _)| wanted == name)
            .expect("a verdict");
        let got = answers(socket);
        let right = match wanted {
            [] => got.is_empty(),
            wanted => got.len() == 1 && wanted.contains(&got[0]),
        };
        if !right {
            wrong.push(format!("{name}: {got:?} instead of {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // The escaped user part of esc01 is no second address: it stays one user.
    assert!(
        begun.iter().any(|called| called.contains("sips")),
        "{begun:?}"
    );
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(edge.local_addr()).expect("connected");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.send(&messages()["lwsdisp"]).expect("sent");
    assert_eq!(
        tokio::task::spawn_blocking(move || answers(&socket))
            .await
            .expect("ended"),
        [200],
        "the edge lives on"
    );
}
