//! faster-whisper in its own process, asked one clip at a time.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde::Deserialize;

/// Its threads wait busily for this long after their work (OpenMP's block time is 200 ms); whoever measures next waits.
const SPIN: Duration = Duration::from_millis(300);

/// The running process; it ends when it is dropped, because its input ends.
pub struct Peer {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Of faster-whisper.
    pub version: String,
}

#[derive(Deserialize)]
struct Ready {
    ready: String,
}

/// What it heard.
#[derive(Deserialize)]
pub struct Answer {
    /// As the model wrote it.
    pub text: String,
    /// Of the recognition alone.
    pub seconds: f64,
}

impl Peer {
    /// Starts it and waits until its model is loaded. A beam of 1 does the same work as our side; a wider one is as
    /// its users run it, with its voice-activity filter and its own ways out of a loop.
    pub fn start(
        python: &Path,
        model: &Path,
        prompt: &str,
        beam: usize,
    ) -> Result<Self, Box<dyn Error>> {
        let mut process = Command::new(python)
            .arg("benches/recognition/faster_whisper_peer.py")
            .arg(model)
            .arg(prompt)
            .arg(beam.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let questions = process.stdin.take();
        let answers = process.stdout.take().expect("it is piped");
        let mut peer = Self {
            process,
            questions,
            answers: BufReader::new(answers),
            version: String::new(),
        };
        peer.version = serde_json::from_str::<Ready>(&peer.line()?)?.ready;
        Ok(peer)
    }

    /// Has it recognise a file, and lets its threads come to rest.
    pub fn recognise(&mut self, file: &Path) -> Result<Answer, Box<dyn Error>> {
        let questions = self.questions.as_mut().expect("open until dropped");
        writeln!(questions, "{}", file.display())?;
        let answer = serde_json::from_str(&self.line()?)?;
        std::thread::sleep(SPIN);
        Ok(answer)
    }

    fn line(&mut self) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("faster-whisper ended; its own words are above".into());
        }
        Ok(line)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.questions.take());
        // It ends with its input; there is nothing to do about one that was killed.
        let _ = self.process.wait();
    }
}
