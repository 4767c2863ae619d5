//! The house rules as data: which room may import which, and what pure rooms must not name.

use std::fs;
use std::path::{Path, PathBuf};

/// A room, whether it is pure, and the rooms that it may import besides itself and `private`.
const ROOMS: &[(&str, bool, &[&str])] = &[
    ("audio", true, &[]),
    ("rtp", true, &["audio"]),
    ("sip", true, &["audio", "rtp", "speech"]),
    ("speech", true, &["audio"]),
    ("text", true, &["audio", "speech"]),
    ("transcript", true, &["audio", "speech"]),
    ("ticket", true, &["audio", "speech", "text", "transcript"]),
    (
        "events",
        false,
        &["audio", "speech", "transcript", "ticket"],
    ),
    (
        "call",
        true,
        &["audio", "rtp", "sip", "speech", "transcript", "ticket"],
    ),
    (
        "control",
        false,
        &["audio", "speech", "transcript", "ticket", "call"],
    ),
    ("people", true, &[]),
    ("work_order", true, &[]),
    (
        "access",
        false,
        &["people", "speech", "transcript", "store"],
    ),
    ("config", false, &["sip", "store", "people"]),
    (
        "console",
        false,
        &[
            "audio",
            "speech",
            "transcript",
            "ticket",
            "control",
            "events",
            "store",
            "recording",
            "telemetry",
            "listener",
            "people",
            "access",
            "grpc",
        ],
    ),
    ("telemetry", false, &[]),
    ("listener", false, &["telemetry"]),
    ("recognition", false, &["audio", "speech", "grpc", "config"]),
    ("recording", false, &["audio", "speech"]),
    (
        "store",
        false,
        &[
            "audio",
            "speech",
            "transcript",
            "ticket",
            "events",
            "recording",
            "people",
        ],
    ),
    (
        "grpc",
        false,
        &[
            "audio",
            "people",
            "access",
            "recording",
            "speech",
            "transcript",
            "ticket",
            "control",
            "events",
            "store",
            "telemetry",
        ],
    ),
    ("ticketing", false, &["grpc", "store", "ticket"]),
    ("outbound", false, &["config"]),
    ("webhook", false, &["ticket", "outbound"]),
    (
        "vcon",
        false,
        &["audio", "sip", "speech", "transcript", "ticket", "store"],
    ),
    (
        "language_model",
        false,
        &["ticket", "transcript", "outbound"],
    ),
    (
        "gateway",
        false,
        &[
            "audio",
            "rtp",
            "sip",
            "speech",
            "listener",
            "transcript",
            "ticket",
            "control",
            "events",
            "call",
            "config",
            "telemetry",
            "recognition",
            "recording",
            "store",
            "grpc",
            "ticketing",
            "language_model",
        ],
    ),
    ("app", false, &["*"]),
    ("fuzzing", false, &["*"]),
    ("cli", false, &["*"]),
    ("private", true, &[]),
];

/// What ties code to the outside world, and so must not stand in a pure room.
const IMPURE: [&str; 9] = [
    "tokio",
    "std::fs",
    "std::thread",
    "UdpSocket",
    "Instant::now",
    "SystemTime::now",
    "rand::rng(",
    "thread_rng",
    "rand::random",
];

/// Channels without a bound.
const UNBOUNDED: [&str; 3] = ["unbounded_channel", "mpsc::channel()", "unbounded()"];

fn source_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)
        .expect("the source folder")
        .map(|entry| entry.expect("an entry").path())
    {
        if entry.is_dir() {
            files.extend(source_files(&entry));
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            files.push(entry);
        }
    }
    files
}

/// Each file of `src/` with the room it is in and its text, without the crate's two roots and the files of tests.
fn rooms() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    source_files(&root)
        .into_iter()
        .filter_map(|path| {
            let below = path.strip_prefix(&root).expect("found below it").to_owned();
            let room = below
                .components()
                .next()?
                .as_os_str()
                .to_str()?
                .trim_end_matches(".rs")
                .to_owned();
            let text = fs::read_to_string(&path).expect("readable");
            let is_test = below
                .iter()
                .any(|part| part == "tests" || part == "tests.rs");
            (room != "lib" && room != "main" && !is_test).then_some((room, below, text))
        })
        .collect()
}

/// The code without comments; tests too may use what they like.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..tests]
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn imports(code: &str) -> Vec<String> {
    code.split("crate::")
        .skip(1)
        .map(|rest| {
            rest.chars()
                .take_while(|letter| letter.is_alphanumeric() || *letter == '_')
                .collect()
        })
        .collect()
}

#[test]
fn every_room_stands_in_the_table() {
    for (room, path, _) in rooms() {
        assert!(
            ROOMS.iter().any(|(name, ..)| *name == room),
            "{} is in no known room",
            path.display()
        );
    }
}

#[test]
fn a_room_imports_only_what_it_may() {
    for (room, path, text) in rooms() {
        let (_, _, may) = ROOMS
            .iter()
            .find(|(name, ..)| *name == room)
            .expect("in the table");
        for import in imports(&code(&text)) {
            let allowed = import == room
                || import == "private"
                || may.contains(&"*")
                || may.contains(&import.as_str());
            assert!(allowed, "{} imports {import}", path.display());
        }
    }
}

#[test]
fn a_pure_room_names_nothing_of_the_outside_world() {
    for (room, path, text) in rooms() {
        if ROOMS.iter().any(|(name, pure, _)| *name == room && *pure) {
            for word in IMPURE {
                assert!(
                    !code(&text).contains(word),
                    "{} names {word}",
                    path.display()
                );
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is_and_no_channel_is_unbounded() {
    for (_, path, text) in rooms() {
        assert!(
            text.starts_with("//! "),
            "{} lacks its opening",
            path.display()
        );
        for word in UNBOUNDED {
            assert!(
                // The SIP stack demands this type for a stream; no message ever goes through it.
                !code(&text).contains(word) || path.ends_with("gateway/sip/sockets.rs"),
                "{} makes an unbounded channel",
                path.display()
            );
        }
    }
}
