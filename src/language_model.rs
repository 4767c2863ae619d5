//! A language model on the hotline's own network that reads along: any server with `OpenAI`'s chat interface and
//! structured output. Off unless configured; what it says is checked by [`crate::ticket::reading`] before it counts.
//!
//! | queue | bound | when full |
//! |---|---|---|
//! | questions under way | [`AT_ONCE`] | a call waits, and asks with what has been said by then |

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use ureq::Agent;

use crate::outbound::{self, Reach};
use crate::private::Private;
use crate::ticket::reading::{Reader, ReadingError};
use crate::ticket::{Field, FieldName};
use crate::transcript::Line;

/// Questions at a time, over all calls: a model's server answers few at once, and late answers are worth little.
const AT_ONCE: usize = 4;
/// Of an answer, so much is read.
const LONGEST_ANSWER: u64 = 1 << 20;
/// Tokens that an answer may have: twelve fields with their quotes.
const TOKENS: u32 = 3_000;

/// The key's file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    file: PathBuf,
    why: String,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "language_model.api_key_file {} cannot be read ({}); name a file that holds the key and that this user may read",
            self.file.display(),
            self.why
        )
    }
}

impl std::error::Error for KeyError {}

/// Why a question brought nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelError {
    /// Nobody answered in time, or the address may not be asked.
    Unreachable(String),
    /// The server refused.
    Status(u16),
    /// The answer is not of the interface's form, or breaks off.
    Answer(&'static str),
    /// The answer cannot be believed.
    Reading(ReadingError),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(f, "the language model cannot be asked: {why}"),
            Self::Status(status) => write!(f, "the language model's server said {status}"),
            Self::Answer(what) => write!(f, "the language model's server sent {what}"),
            Self::Reading(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ModelError {}

/// The model's server; clones share it.
#[derive(Clone)]
pub struct LanguageModel {
    url: String,
    model: String,
    key: Option<Private<String>>,
    agent: Agent,
    reader: Arc<Reader>,
    places: Arc<Semaphore>,
}

/// What of an answer is needed.
#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    #[serde(default)]
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<String>,
}

impl LanguageModel {
    /// Asks `model` at `url` (up to `/v1`), which must lie on a private network unless `allow_public`.
    ///
    /// # Errors
    /// [`KeyError`] when the key's file cannot be read.
    pub fn new(
        url: &str,
        model: &str,
        key_file: Option<&Path>,
        timeout: Duration,
        allow_public: bool,
        reader: Reader,
    ) -> Result<Self, KeyError> {
        let key = key_file.map(|file| {
            let read = std::fs::read_to_string(file);
            read.map(|key| Private::from(key.trim()))
                .map_err(|error| KeyError {
                    file: file.to_owned(),
                    why: error.to_string(),
                })
        });
        let reach = Reach {
            roots: None,
            only_private: !allow_public,
        };
        Ok(Self {
            url: format!("{}/chat/completions", url.trim_end_matches('/')),
            model: model.to_owned(),
            key: key.transpose()?,
            agent: outbound::agent(timeout, reach),
            reader: Arc::new(reader),
            places: Arc::new(Semaphore::new(AT_ONCE)),
        })
    }

    /// Waits until there is room for one more question.
    pub async fn place(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// The fields that the model reads in the conversation, as far as its quotes bear them out.
    ///
    /// # Errors
    /// [`ModelError`]; the rules' draft stands without it.
    pub async fn read(&self, lines: Vec<Line>) -> Result<BTreeMap<FieldName, Field>, ModelError> {
        let model = self.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let answer = model.ask(&lines)?;
            model
                .reader
                .check(&answer, &lines)
                .map_err(ModelError::Reading)
        });
        asked
            .await
            .unwrap_or(Err(ModelError::Answer("nothing: the question broke off")))
    }

    fn ask(&self, lines: &[Line]) -> Result<String, ModelError> {
        let question = json!({
            "model": self.model,
            "messages": self.reader.messages(lines),
            "temperature": 0,
            "max_tokens": TOKENS,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "ticket", "strict": true, "schema": self.reader.schema()},
            },
        });
        let mut request = self
            .agent
            .post(&self.url)
            .header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {}", key.reveal()));
        }
        let unreachable = |error: ureq::Error| ModelError::Unreachable(error.to_string());
        let mut answer = request.send(question.to_string()).map_err(unreachable)?;
        if !answer.status().is_success() {
            return Err(ModelError::Status(answer.status().as_u16()));
        }
        let body = answer.body_mut().with_config().limit(LONGEST_ANSWER);
        let body = body.read_to_string().map_err(unreachable)?;
        // The parser's message would quote the answer.
        let completion: Completion =
            serde_json::from_str(&body).map_err(|_| ModelError::Answer("no chat completion"))?;
        let choice = completion.choices.into_iter().next();
        let choice = choice.ok_or(ModelError::Answer("no choice"))?;
        if choice.finish_reason.as_deref() == Some("length") {
            return Err(ModelError::Answer("an answer that breaks off"));
        }
        choice
            .message
            .content
            .ok_or(ModelError::Answer("no content"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;
    use std::time::Instant;

    use axum::Router;
    use axum::extract::State;
    use axum::http::{HeaderMap, StatusCode};
    use axum::routing::post;
    use serde_json::Value;

    use super::*;
    use crate::audio::MediaTime;
    use crate::speech::Leg;
    use crate::ticket::{FieldValue, Taxonomy};

    /// A server that speaks the interface; it answers the last question with what it is told to.
    #[derive(Clone)]
    struct Server {
        answer: Arc<Mutex<(u16, String, Duration)>>,
        asked: Arc<Mutex<Option<(HeaderMap, Value)>>>,
        url: String,
    }

    async fn complete(
        State(server): State<Server>,
        headers: HeaderMap,
        body: String,
    ) -> (StatusCode, String) {
        *server.asked.lock().unwrap() = Some((headers, serde_json::from_str(&body).unwrap()));
        let (status, body, pause) = server.answer.lock().unwrap().clone();
        tokio::time::sleep(pause).await;
        (StatusCode::from_u16(status).unwrap(), body)
    }

    impl Server {
        async fn open() -> Self {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = Self {
                answer: Arc::new(Mutex::new((500, String::new(), Duration::ZERO))),
                asked: Arc::default(),
                url: format!("http://{}/v1", listener.local_addr().unwrap()),
            };
            let router = Router::new()
                .route("/v1/chat/completions", post(complete))
                .with_state(server.clone());
            tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            server
        }

        fn will(&self, status: u16, body: &str) {
            *self.answer.lock().unwrap() = (status, body.to_owned(), Duration::ZERO);
        }

        fn will_say(&self, content: &Value) {
            let content = content.to_string();
            let body = json!({"choices": [{"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}]});
            self.will(200, &body.to_string());
        }

        fn model(&self, key: Option<&Path>) -> LanguageModel {
            let reader = Reader::new(&Taxonomy::embedded());
            let timeout = Duration::from_secs(2);
            LanguageModel::new(&self.url, "qwen3", key, timeout, false, reader).unwrap()
        }
    }

    fn lines() -> Vec<Line> {
        vec![Line::plain(
            4,
            Leg::Caller,
            "我要投诉芝罘区的力健健身房。",
            MediaTime::ZERO,
            MediaTime::ZERO,
        )]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_question_carries_the_schema_and_the_key_and_the_answer_its_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "s3cret\n").unwrap();
        let server = Server::open().await;
        server.will_say(&json!({
            "subject": {"value": "力健健身房", "evidence": [{"utterance": 4, "quote": "力健健身房"}]},
            "address": {"value": "南大街", "evidence": [{"utterance": 4, "quote": "南大街"}]},
        }));
        let fields = server.model(Some(&key)).read(lines()).await.unwrap();
        assert_eq!(fields.len(), 1, "what was not said is dropped");
        assert_eq!(
            fields[&FieldName::Subject].value,
            FieldValue::Text("力健健身房".into())
        );
        assert_eq!(fields[&FieldName::Subject].evidence[0].utterance, 4);
        let (headers, question) = server.asked.lock().unwrap().clone().unwrap();
        assert_eq!(headers["authorization"], "Bearer s3cret");
        assert_eq!(question["response_format"]["type"], "json_schema");
        assert_eq!(question["response_format"]["json_schema"]["strict"], true);
        assert!(
            question["messages"][1]["content"]
                .as_str()
                .unwrap()
                .contains("[4] 市民")
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn malformed_and_lying_answers_bring_nothing() {
        let server = Server::open().await;
        let model = server.model(None);
        let lie =
            json!({"subject": {"value": "别家", "evidence": [{"utterance": 4, "quote": "别家"}]}});
        server.will_say(&lie);
        assert_eq!(
            model.read(lines()).await,
            Err(ModelError::Reading(ReadingError::NothingQuoted))
        );
        server.will_say(&json!("对不起"));
        assert_eq!(
            model.read(lines()).await,
            Err(ModelError::Reading(ReadingError::Malformed))
        );
        for (body, said) in [
            ("<html>", "no chat completion"),
            ("{}", "no chat completion"),
            (r#"{"choices":[]}"#, "no choice"),
            (
                r#"{"choices":[{"message":{"content":null}}]}"#,
                "no content",
            ),
            (
                r#"{"choices":[{"message":{"content":"{"},"finish_reason":"length"}]}"#,
                "an answer that breaks off",
            ),
        ] {
            server.will(200, body);
            assert_eq!(
                model.read(lines()).await,
                Err(ModelError::Answer(said)),
                "{body}"
            );
        }
        server.will(503, "");
        assert_eq!(model.read(lines()).await, Err(ModelError::Status(503)));
        server.will(200, &"x".repeat(2 << 20));
        assert!(matches!(
            model.read(lines()).await,
            Err(ModelError::Unreachable(_))
        ));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_slow_answer_is_given_up_and_a_public_address_is_never_asked() {
        let server = Server::open().await;
        let slow = Duration::from_mins(1);
        *server.answer.lock().unwrap() = (200, String::new(), slow);
        let begun = Instant::now();
        let given_up = server.model(None).read(lines()).await;
        assert!(matches!(given_up, Err(ModelError::Unreachable(_))));
        assert!(begun.elapsed() < slow / 2);
        let reader = Reader::new(&Taxonomy::embedded());
        let timeout = Duration::from_secs(2);
        let model =
            LanguageModel::new("http://192.0.2.1/v1", "m", None, timeout, false, reader).unwrap();
        let error = model.read(lines()).await.unwrap_err().to_string();
        assert!(error.contains("outside private networks"), "{error}");
        let reader = Reader::new(&Taxonomy::embedded());
        let absent = Path::new("absent.key");
        let said = LanguageModel::new(
            "http://127.0.0.1/v1",
            "m",
            Some(absent),
            timeout,
            false,
            reader,
        )
        .err()
        .unwrap()
        .to_string();
        assert!(said.contains("absent.key"), "{said}");
    }
}
