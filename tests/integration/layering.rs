//! The house rules as data: which room may import which, what pure rooms must not name, what only one folder may name, and
//! that the files of a room do not import each other in circles.

use std::collections::{BTreeMap, BTreeSet};
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

/// What only one folder, or the files named, may name; with the reason.
const FENCED: &[(&str, &[&str], &str)] = &[(
    "rsipstack",
    &["gateway/sip/stack/", "cli/log.rs"],
    "what the stack does is mended in one place; the log switches its own off by name",
)];

/// Circles that may stay: the files, or the folder, that may import each other, and why.
const CIRCLES: &[(&[&str], &str)] = &[
    (
        &[
            "call/decoded.rs",
            "call/io.rs",
            "call/media.rs",
            "call/path.rs",
        ],
        "what goes in and out of a call is told in the words of its parts, and these give outputs",
    ),
    (
        &["people/account.rs", "people/password.rs"],
        "an account has the hash of its password, and no password may hold its user's name",
    ),
    (
        &["recognition/measures.rs", "recognition/pool.rs"],
        "the pool writes its measures, and these tell of its load",
    ),
    (
        &["recording/keep.rs", "recording/recorder.rs"],
        "the recorder asks what is free, and what is kept is told by the days that it writes",
    ),
    (
        &[
            "store/database.rs",
            "store/postgres/mod.rs",
            "store/sqlite/mod.rs",
        ],
        "each engine is one of the two that a database may be",
    ),
    (
        &["ticket/"],
        "the fields of a draft are read off the same prepared words, each with an eye on the others",
    ),
    (
        &[
            "work_order/command.rs",
            "work_order/order.rs",
            "work_order/permission.rs",
        ],
        "who may give which command depends on the order, and the order on the commands it took",
    ),
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
                !code(&text).contains(word) || path.ends_with("gateway/sip/edge/sockets.rs"),
                "{} makes an unbounded channel",
                path.display()
            );
        }
    }
}

#[test]
fn what_is_fenced_is_named_nowhere_else() {
    for (_, path, text) in rooms() {
        for (word, homes, why) in FENCED {
            let is_home = homes.iter().any(|home| path.starts_with(home));
            assert!(
                is_home || !code(&text).contains(word),
                "{} names {word}: {why}",
                path.display()
            );
        }
    }
}

#[test]
fn the_files_of_a_room_import_each_other_in_no_circle() {
    for circle in circles(&sources()) {
        let is_known = |(files, _): &(&[&str], &str)| {
            let mut circle = circle.iter();
            circle.all(|file| files.iter().any(|known| file.starts_with(known)))
        };
        assert!(
            CIRCLES.iter().any(is_known),
            "these import each other in a circle: {}",
            circle.join(", ")
        );
    }
}

#[test]
fn a_circle_is_found_through_a_facade_and_not_between_a_module_and_its_parts() {
    let files = |list: &[(&str, &str)]| -> Sources {
        let read = |(path, text): &(&str, &str)| (module_of(path), Source::new(path, text));
        list.iter().map(read).collect()
    };
    let facade = (
        "room/mod.rs",
        "mod a;\nmod b;\npub use self::a::A;\npub struct M;",
    );
    let parts = files(&[
        facade,
        ("room/a.rs", "use super::M;\npub struct A;"),
        ("room/b.rs", "use super::{A, M};\npub struct B;"),
    ]);
    assert_eq!(circles(&parts), Vec::<Vec<String>>::new());
    let circle = files(&[
        facade,
        (
            "room/a.rs",
            "use crate::room::b::{self as other, B};\npub struct A;",
        ),
        (
            "room/b.rs",
            "fn b() { super::A::new() }\nuse super::A;\npub struct B;",
        ),
    ]);
    assert_eq!(circles(&circle), [["room/a.rs", "room/b.rs"]]);
}

/// A module's path, without the crate.
type Module = Vec<String>;

type Sources = BTreeMap<Module, Source>;

/// A file, and what it names.
struct Source {
    path: String,
    /// Its `use` declarations, one a name, and whether they are public.
    uses: Vec<(bool, Module)>,
    /// The other paths that it names.
    paths: Vec<Module>,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let module = module_of(path);
        let (mut uses, mut rest) = (Vec::new(), String::new());
        let mut declaration = String::new();
        for line in code(text).lines() {
            let start = line.trim_start();
            let visibility = start.strip_prefix("pub").map_or("", |after| {
                if after.starts_with('(') {
                    &start[..start.find(')').map_or(3, |end| end + 1)]
                } else {
                    "pub"
                }
            });
            let is_use = start[visibility.len()..].trim_start().starts_with("use ");
            if declaration.is_empty() && !is_use {
                rest.push_str(line);
                rest.push('\n');
                continue;
            }
            declaration.push_str(start);
            declaration.push(' ');
            if let Some((before, _)) = declaration.split_once(';') {
                let is_public = before.starts_with("pub");
                let (_, tree) = before.split_once("use ").expect("a use declaration");
                for name in names_of(tree) {
                    uses.extend(absolute(&module, &name).map(|name| (is_public, name)));
                }
                declaration.clear();
            }
        }
        let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        let paths = rest.split(|letter| !is_path(letter));
        let paths = paths.filter(|path| path.contains("::"));
        let paths = paths.filter_map(|path| absolute(&module, path)).collect();
        Self {
            path: path.to_owned(),
            uses,
            paths,
        }
    }
}

fn sources() -> Sources {
    let sources = rooms().into_iter().map(|(_, path, text)| {
        let path = path.to_str().expect("plain").to_owned();
        (module_of(&path), Source::new(&path, &text))
    });
    sources.collect()
}

fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path);
    let path = path.strip_suffix("/mod").unwrap_or(path);
    path.split('/').map(str::to_owned).collect()
}

/// The names that a tree of `use` stands for.
fn names_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((stem, rest)) = tree.split_once('{') else {
        let name = tree.split(" as ").next().unwrap_or_default();
        return vec![name.to_owned()];
    };
    let inner = &rest[..rest.rfind('}').expect("closed")];
    let (mut names, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, letter) in inner.char_indices().chain([(inner.len(), ',')]) {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    names.extend(names_of(&format!("{}{part}", stem.trim())));
                }
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

/// A path as it stands in a module, from the crate's root.
fn absolute(module: &[String], path: &str) -> Option<Module> {
    let mut parts = path
        .split("::")
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let (mut base, mut rest) = (module.to_vec(), Vec::new());
    match parts.next()? {
        "crate" => base.clear(),
        "self" => {}
        "super" => {
            base.pop();
        }
        // A part of the module itself, or of what it imports; another crate leads to nothing.
        part => rest.push(part.to_owned()),
    }
    for part in parts {
        match part {
            "super" => {
                base.pop();
            }
            "self" => {}
            part => rest.push(part.to_owned()),
        }
    }
    base.extend(rest);
    Some(base)
}

/// The module that a path leads to, through what is passed on.
fn home(sources: &Sources, path: &[String], depth: usize) -> Option<Module> {
    let mut prefixes = (1..=path.len()).rev().map(|length| &path[..length]);
    let module = prefixes.find(|module| sources.contains_key(*module))?;
    let Some(name) = path.get(module.len()) else {
        return Some(module.to_vec());
    };
    let passed_on = sources[module]
        .uses
        .iter()
        .find(|(_, used)| used.last() == Some(name));
    match passed_on {
        Some((_, used)) if depth > 0 && used.as_slice() != path => home(sources, used, depth - 1),
        _ => Some(module.to_vec()),
    }
}

/// The files that import each other in a circle. A module may use its parts and they may use it: that is how one thing
/// is spread over several files.
fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let mut imports: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (module, source) in sources {
        let passes_on = |is_public: bool, home: &Module| is_public && home.starts_with(module);
        let uses = source.uses.iter().filter_map(|(is_public, used)| {
            home(sources, used, 8).filter(|home| !passes_on(*is_public, home))
        });
        let paths = source
            .paths
            .iter()
            .filter_map(|path| home(sources, path, 8));
        for found in uses.chain(paths) {
            if !module.starts_with(&found) {
                let (found, _) = sources.get_key_value(&found).expect("a module");
                imports.entry(module).or_default().insert(found);
            }
        }
    }
    let reached = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(module) = next.pop() {
            for &other in imports.get(module).into_iter().flatten() {
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, _> = sources
        .keys()
        .map(|module| (module, reached(module)))
        .collect();
    let mut found = BTreeSet::new();
    for (module, others) in &reached {
        let circle = others
            .iter()
            .filter(|other| reached[**other].contains(*module));
        let circle: Vec<String> = circle.map(|other| sources[*other].path.clone()).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}
