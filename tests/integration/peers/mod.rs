//! The gateway among what others wrote: Kamailio before it, baresip and Linphone as both phones, rtpengine in the audio's path.
//!
//! Each test starts the real programs on loopback with settings of its own, and skips, saying so, where one is missing.

mod baresip;
mod kamailio;
mod linphone;
mod rtpengine;
#[path = "../../peers/sipp.rs"]
pub(crate) mod sipp;
mod tone;

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::product::{Process, Serving, serve};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// The password of every [`extensions`].
const PASSWORD: &str = "correct";

/// So many extensions, 1000 and on, each with its number.
fn extensions(count: usize) -> String {
    let blocks = (1_000..).take(count).map(|name| {
        format!(
            "[[extension]]\nname = \"{name}\"\npassword = \"{PASSWORD}\"\n\
             [[route]]\ncalled = \"{name}\"\nto = [\"{name}\"]\n"
        )
    });
    blocks.collect()
}

/// Whether all these programs are there; says which is not, and how to get it.
fn installed(programs: &[(&str, &str)]) -> bool {
    programs.iter().all(|(program, package)| {
        let there = Path::new(program).exists();
        if !there {
            println!("skipped: {program} is not installed (apt-get install {package})");
        }
        there
    })
}

/// Waits until something is there, and gives it back.
#[track_caller]
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Another's program; it ends with the test, and so do the processes that it started.
struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it, with all that it says in a file of `folder`.
    fn start(command: &mut Command, folder: &Path, name: &str) -> Self {
        Self::start_with_input(command, folder, name, Stdio::null())
    }

    /// The same for one that reads commands.
    fn start_with_input(command: &mut Command, folder: &Path, name: &str, input: Stdio) -> Self {
        let log = folder.join(name).with_extension("log");
        let output = File::create(&log).expect("a file");
        let child = command
            .current_dir(folder)
            .stdin(input)
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .process_group(0)
            .spawn()
            .expect("it starts");
        Self { child, log }
    }

    fn said(&self) -> String {
        let bytes = std::fs::read(&self.log).expect("its log");
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("{}: {}", self.log.display(), self.said());
        }
    }
}

/// A gateway that records and recognises nothing.
struct Gateway {
    process: Process,
    sip: SocketAddr,
    data: tempfile::TempDir,
}

impl Gateway {
    /// Starts it with a few lines of configuration.
    fn start(config: &str) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let sets = [
            "recognition.enabled=false".to_owned(),
            "recording.enabled=true".to_owned(),
            format!(
                "recording.folder={}",
                data.path().join("recordings").display()
            ),
        ];
        let file = data.path().join("xinqiao.toml");
        std::fs::write(&file, config).expect("written");
        let Serving { process, sip, .. } = serve(data.path(), Some(&file), &sets);
        Self { process, sip, data }
    }

    /// The recordings of all calls that have ended, once there are so many.
    fn recordings(&self, calls: usize) -> Vec<PathBuf> {
        until("the recordings", || {
            let days = std::fs::read_dir(self.data.path().join("recordings")).ok()?;
            let files = days
                .flatten()
                .filter_map(|day| std::fs::read_dir(day.path()).ok())
                .flat_map(|day| day.flatten().map(|file| file.path()));
            let ended: Vec<_> = files
                .filter(|file| file.extension().is_some_and(|kind| kind == "wav"))
                .collect();
            (ended.len() == calls).then_some(ended)
        })
    }
}
