//! Recognition spread over two processes with mutual TLS, one of which is killed in the middle and comes back.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use xinqiao::audio::resample::Resampler;
use xinqiao::audio::{Frequency, MediaTime};
use xinqiao::gateway::wav::Wav;
use xinqiao::grpc::tls::{Connector, Identity};
use xinqiao::recognition::{Job, RecognitionPool, Recognizers, Remote};
use xinqiao::speech::{
    CallId, Hypothesis, Leg, Outcome, Pass, Prompt, Recognizer, RecognizerError, Utterance,
    UtteranceKey,
};

const MODEL: &str = "data/models/ggml-base-q8_0.bin";
const PATIENCE: Duration = Duration::from_mins(2);

/// A process that ends with the test.
struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start(folder: &Path, listen: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_xinqiao"))
            .args(["recognizer", "--listen", listen, "--workers", "1"])
            .arg("--cert")
            .arg(folder.join("server.pem"))
            .arg("--key")
            .arg(folder.join("server.key"))
            .arg("--client-ca")
            .arg(folder.join("ca.pem"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary runs");
        let mut line = String::new();
        let out = child.stdout.take().expect("piped");
        BufReader::new(out).read_line(&mut line).expect("a line");
        let address = line.split(' ').nth(1).expect("its address").to_owned();
        Self { child, address }
    }
}

/// An authority, and what it signed for the recogniser at 127.0.0.1 and for the gateway.
fn certificates(folder: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let key = KeyPair::generate().expect("a key");
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = authority.self_signed(&key).expect("signed");
    std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("written");
    let issuer = Issuer::new(authority, key);
    for name in ["server", "gateway"] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("parameters");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        std::fs::write(folder.join(format!("{name}.pem")), certificate.pem()).expect("written");
        std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).expect("written");
    }
}

/// Stands for this process's own workers.
struct Local;

impl Recognizer for Local {
    fn transcribe(&mut self, _: &Utterance) -> Result<Hypothesis, RecognizerError> {
        Ok(Hypothesis {
            text: "local".into(),
            words: Vec::new(),
            confidence: 1.0,
            took: Duration::ZERO,
        })
    }
}

fn sound() -> Vec<f32> {
    let wav = Wav::read(Path::new("data/models/samples/zh/pangrama.wav"))
        .expect("`xinqiao models pull --samples` brings it");
    let mut out = Vec::new();
    Resampler::new(wav.rate, Frequency::HZ_16000).push(&wav.channels[0], |piece| {
        out.extend(piece.iter().map(|sample| f32::from(*sample) / 32_768.0));
    });
    out.truncate(3 * 16_000);
    out
}

struct Bench {
    recognizers: Recognizers,
    sound: Vec<f32>,
    told: mpsc::SyncSender<(u32, String)>,
    outcomes: mpsc::Receiver<(u32, String)>,
}

impl Bench {
    fn submit(&self, id: u32, pass: Pass) {
        let told = self.told.clone();
        self.recognizers.submit(Job {
            utterance: Utterance {
                key: UtteranceKey {
                    call: CallId::new(&(id / 2).to_string()),
                    leg: Leg::Caller,
                    id,
                    revision: 1,
                },
                pass,
                samples: self.sound.as_slice().into(),
                start: MediaTime::from_millis(10_000),
                voice: MediaTime::from_millis(10_000),
                end: MediaTime::from_millis(13_000),
                prompt: Prompt::default(),
            },
            due: Instant::now(),
            reply: Box::new(move |key, outcome| {
                let outcome = match outcome {
                    Outcome::Recognized(heard) => {
                        let within = |word: &xinqiao::speech::words::Word| {
                            (10_000..=13_000).contains(&word.start.as_millis())
                        };
                        assert!(heard.words.iter().all(within));
                        heard.text.into_inner()
                    }
                    other => format!("{other:?}"),
                };
                told.send((key.id, outcome)).expect("room");
            }),
        });
    }

    fn next(&self) -> (u32, String) {
        self.outcomes
            .recv_timeout(PATIENCE)
            .expect("every job has its outcome")
    }

    async fn until(&self, wanted: impl Fn(&[(bool, u64)]) -> bool) {
        let began = Instant::now();
        while !wanted(&self.recognizers.served()) {
            assert!(
                began.elapsed() < PATIENCE,
                "{:?}",
                self.recognizers.served()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[test]
fn utterances_are_spread_over_processes_and_none_is_lost_when_one_is_killed_and_comes_back() {
    if !Path::new(MODEL).exists() {
        println!("skipped: there is no {MODEL}; `xinqiao models pull --samples` brings it");
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    certificates(folder.path());
    let (mut first, second) = (
        Process::start(folder.path(), "127.0.0.1:0"),
        Process::start(folder.path(), "127.0.0.1:0"),
    );
    let runtime = xinqiao::gateway::runtime().expect("a runtime");
    runtime.block_on(async {
        let file = |name: &str| -> PathBuf { folder.path().join(name) };
        let identity = Identity {
            cert: file("gateway.pem"),
            key: file("gateway.key"),
        };
        let tls = Connector::new(file("ca.pem"), Some(identity), None).expect("files");
        let remote = |process: &Process| {
            Remote::new(&format!("https://{}", process.address), Some(tls.clone()))
                .expect("an address")
        };
        let pool = RecognitionPool::start(1, 64, || Ok(Local)).expect("a thread");
        let (told, outcomes) = mpsc::sync_channel(128);
        let bench = Bench {
            recognizers: Recognizers::new(pool, vec![remote(&first), remote(&second)]),
            sound: sound(),
            told,
            outcomes,
        };
        bench
            .until(|served| served.iter().all(|(alive, _)| *alive))
            .await;
        for id in 0..16 {
            bench.submit(id, Pass::Final);
        }
        let mut heard = vec![bench.next(), bench.next(), bench.next()];
        first.child.kill().expect("it runs");
        while heard.len() < 16 {
            heard.push(bench.next());
        }
        let served = bench.recognizers.served();
        assert!(
            served.iter().all(|(_, count)| *count > 0),
            "both worked: {served:?}"
        );
        heard.sort();
        for (id, (heard, text)) in (0..).zip(&heard) {
            assert_eq!(*heard, id, "each once");
            assert!(text.chars().count() > 3, "{id}: {text}");
        }

        // All are away: this process goes on by itself.
        let address = first.address.clone();
        drop(second);
        bench
            .until(|served| served.iter().all(|(alive, _)| !alive))
            .await;
        bench.submit(100, Pass::Final);
        assert_eq!(bench.next(), (100, "local".to_owned()));

        // One comes back.
        let _ = first.child.wait();
        let _back = Process::start(folder.path(), &address);
        bench.until(|served| served[0].0).await;
        bench.submit(101, Pass::Final);
        let (id, text) = bench.next();
        assert!(
            id == 101 && text != "local" && text.chars().count() > 3,
            "{text}"
        );
    });
}
