//! Work between two nodes: asking another's engine, and letting others ask this one's.
//!
//! Invariants:
//! - A worker that says nothing for `QUIET_TIME` is told of, and given up after `SILENCE_TIME_MAX`.
//! - A worker states at most one receipt of an answer, right before its end.
//! - Whoever closes the stream stops the work.
//!
//! Not here: which worker is asked (`route`, `fleet`), the messages' bytes (`network::work`).

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use engine::request::{Finish, Logprobs, Output, Request};
use engine::sampling::{Sampling, Seed};
use futures_util::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use gateway::backend::{Broken, Job};
use network::frame::{self, FrameError};
use network::messages::words;
use network::network::{Network, Purpose, Stream};
use network::work::{
    ALIVE_INTERVAL, ASK_SIZE_MAX, Ask, Cause, End, SCORES_MAX, Score, TELL_SIZE_MAX, Tell,
};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{interval, timeout};
use types::bounded::{List, Text};
use types::codec::Malformed;
use types::id::Hash;

use crate::worker::is_given_back;

/// How long a worker says nothing before it may be gone, so that another is asked as well: two times
/// and more the interval in which it says that it is alive, also while it computes a prompt.
pub(crate) const QUIET_TIME: Duration = Duration::from_millis(700);
/// How long a worker may say nothing: several times the interval in which it says that it is alive.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(2);
/// How long a worker may take to say whether it takes a sequence.
const TAKE_TIME_MAX: Duration = Duration::from_secs(3);
/// Streams on which a worker is asked, at most. A stream can be dropped unread, where too many wait or
/// its connection ends, which says nothing about the worker.
const TRIES_MAX: u32 = 3;
/// How long a message to the other node may take to leave.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);
/// How long whoever opened a stream may take to say what it wants.
const ASK_TIME_MAX: Duration = Duration::from_secs(20);
/// Messages of a worker that wait for the gateway, at most; then the stream waits.
const TELLS_MAX: usize = 64;

/// Why a worker gives no answer, or none to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has too much to do, or does not work now: no fault of its own.
    Busy(String),
    /// It does not know yet that this node belongs; it is to be told.
    Stranger(String),
    /// No worker would do this.
    Never(String),
    /// It failed, lied or fell silent.
    Failed(String),
}

/// What is heard of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It goes on with the answer.
    Output(Output),
    /// It has not even said for `QUIET_TIME` that it is alive. It may come back.
    Quiet,
}

/// What a worker states of an answer that it has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stated {
    /// The signed receipt.
    pub receipt: Vec<u8>,
    /// What hides the answer's root in it.
    pub blinding: Hash,
}

/// An answer that another node computes. Dropping it stops the work.
#[derive(Debug)]
pub struct Remote {
    heard: mpsc::Receiver<Result<Heard, Fault>>,
    stated: Arc<OnceLock<Stated>>,
}

impl Remote {
    /// Asks a node for a sequence; ready once it has taken it.
    ///
    /// # Errors
    /// When the node cannot be reached, or does not take it.
    pub async fn ask(
        network: &Network,
        node: Hash,
        model: &str,
        request: &Request,
    ) -> Result<Remote, Fault> {
        let ask = ask_of(model, request).map_err(|error| Fault::Never(error.to_string()))?;
        let taken = async {
            let mut tries = TRIES_MAX;
            loop {
                let mut stream = network
                    .open(node, Purpose::Work)
                    .await
                    .map_err(|error| Fault::Failed(error.to_string()))?;
                frame::write(&mut stream, &ask).await.map_err(|error| broke(&error))?;
                tries -= 1;
                match frame::read(&mut stream, TELL_SIZE_MAX).await {
                    Ok(Tell::Taken) => return Ok(stream),
                    Ok(Tell::Refused(cause, why)) => return Err(fault(cause, why.as_str())),
                    Ok(_) => {
                        let why = "it began without taking the work".to_owned();
                        return Err(Fault::Failed(why));
                    }
                    Err(FrameError::Stream(_)) if tries > 0 => {}
                    Err(error) => return Err(broke(&error)),
                }
            }
        };
        let late = |_| Fault::Failed(format!("no answer in {} s", TAKE_TIME_MAX.as_secs()));
        let stream = timeout(TAKE_TIME_MAX, taken).await.map_err(late)??;
        let (sender, heard) = mpsc::channel(TELLS_MAX);
        let stated = Arc::default();
        tokio::spawn(listen(stream, sender, Arc::clone(&stated), Limits::of(request)));
        Ok(Remote { heard, stated })
    }

    /// What the worker has stated; there before the answer's end is heard, if it states anything.
    #[must_use]
    pub fn stated(&self) -> Option<&Stated> {
        self.stated.get()
    }

    /// What is heard next. Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Result<Heard, Fault> {
        let ended = || Err(Fault::Failed("it ended too early".to_owned()));
        self.heard.recv().await.unwrap_or_else(ended)
    }
}

fn broke(error: &dyn std::fmt::Display) -> Fault {
    Fault::Failed(error.to_string())
}

fn fault(cause: Cause, why: &str) -> Fault {
    let why = format!("{}: {why}", cause.word());
    match cause {
        Cause::Busy | Cause::Paused => Fault::Busy(why),
        Cause::Request => Fault::Never(why),
        Cause::Stranger => Fault::Stranger(why),
        Cause::Model | Cause::Failed => Fault::Failed(why),
    }
}

/// What an honest worker keeps to.
#[derive(Clone, Copy, Debug)]
struct Limits {
    tokens: usize,
    scores: usize,
    scored: bool,
}

impl Limits {
    fn of(request: &Request) -> Limits {
        let tokens = (request.tokens_max as usize).saturating_sub(request.said.len());
        let scores = if request.prompt_logprobs { request.prompt.len() } else { 0 };
        Limits { tokens, scores, scored: request.logprobs.is_some() }
    }
}

/// Follows a worker until its end, or until nobody wants to know.
async fn listen(
    mut stream: Stream,
    sender: mpsc::Sender<Result<Heard, Fault>>,
    stated: Arc<OnceLock<Stated>>,
    mut limits: Limits,
) {
    let mut scores = Vec::new();
    loop {
        let tell = tokio::select! {
            tell = next_tell(&mut stream, &sender) => tell,
            () = sender.closed() => return,
        };
        let output = match tell {
            Ok(Ok(Tell::Alive)) => continue,
            Ok(Ok(Tell::Receipt(receipt, blinding))) => {
                let receipt = receipt.as_slice().to_vec();
                match stated.set(Stated { receipt, blinding: Hash(blinding) }) {
                    Ok(()) => continue,
                    Err(_) => Err(broke(&"it broke the protocol: two receipts of one answer")),
                }
            }
            Ok(Ok(tell)) => heard(tell, &mut scores, &mut limits),
            Ok(Err(error)) => Err(broke(&error)),
            Err(_) => Err(Fault::Failed(format!("silent for {} s", SILENCE_TIME_MAX.as_secs()))),
        };
        let Some(output) = output.transpose() else { continue };
        let last = matches!(output, Err(_) | Ok(Output::Finished(_)));
        if sender.send(output.map(Heard::Output)).await.is_err() || last {
            return;
        }
    }
}

/// The next message; says once if it is late.
async fn next_tell(
    stream: &mut Stream,
    sender: &mpsc::Sender<Result<Heard, Fault>>,
) -> Result<Result<Tell, FrameError>, Elapsed> {
    let mut next = pin!(timeout(SILENCE_TIME_MAX, frame::read(stream, TELL_SIZE_MAX)));
    // Half a message may be read, so the same future goes on.
    if let Ok(tell) = timeout(QUIET_TIME, &mut next).await {
        return tell;
    }
    // Where so much waits, nobody waits for the worker.
    let _ = sender.try_send(Ok(Heard::Quiet));
    next.await
}

/// What a message adds to the answer; nothing, if more is to come first.
fn heard(
    tell: Tell,
    scores: &mut Vec<Logprobs>,
    limits: &mut Limits,
) -> Result<Option<Output>, Fault> {
    let wrong = |what: &str| Err(Fault::Failed(format!("it broke the protocol: {what}")));
    match tell {
        Tell::Scores(more) => {
            scores.extend(more.as_slice().iter().map(logprobs));
            if scores.len() > limits.scores {
                return wrong("more scores than tokens of the prompt");
            }
            Ok(None)
        }
        Tell::Prompt(cached) => {
            Ok(Some(Output::Prompt { cached, logprobs: std::mem::take(scores) }))
        }
        Tell::Token(token, score) => {
            if limits.tokens == 0 {
                return wrong("more tokens than were asked for");
            }
            if score.is_some() != limits.scored {
                return wrong("a score where none was asked for, or none where one was");
            }
            limits.tokens -= 1;
            let logprobs = score.as_ref().map(logprobs);
            Ok(Some(Output::Token { token, logprobs }))
        }
        Tell::Finished(End::EndToken) => Ok(Some(Output::Finished(Finish::EndToken))),
        Tell::Finished(End::Length) => Ok(Some(Output::Finished(Finish::Length))),
        Tell::Refused(cause, why) => Err(fault(cause, why.as_str())),
        Tell::Taken | Tell::Alive | Tell::Receipt(..) => wrong("it took the work twice"),
    }
}

/// What this node computes for another: reads what it wants, and tells it. `submit` says what becomes
/// of a request for a model, and `state` gives what is stated of an answer by its receipt's id.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    submit: impl Fn(&str, Request) -> Result<Job, (Cause, String)>,
    state: impl Fn(&str) -> Option<Stated>,
) {
    let (mut reader, mut writer) = futures_util::AsyncReadExt::split(stream);
    let asked = timeout(ASK_TIME_MAX, frame::read::<Ask>(&mut reader, ASK_SIZE_MAX)).await;
    let Ok(Ok(ask)) = asked else { return };
    let mut job = match submit(ask.model.as_str(), request_of(&ask)) {
        Ok(job) => job,
        Err((cause, why)) => {
            // It hears it, or has gone.
            let _ = tell(&mut writer, &Tell::Refused(cause, words(&why))).await;
            return;
        }
    };
    if !tell(&mut writer, &Tell::Taken).await {
        return;
    }
    let mut alive = interval(ALIVE_INTERVAL);
    let mut nothing = [0; 1];
    loop {
        let said = tokio::select! {
            output = job.next() => {
                // Whatever it says, it says that it is alive.
                alive.reset();
                let ended = matches!(output, Some(Ok(Output::Finished(_))));
                let id = job.receipt().said().filter(|_| ended);
                let heard = match id.and_then(&state).and_then(receipt) {
                    Some(receipt) => tell(&mut writer, &receipt).await,
                    None => true,
                };
                heard && tell_output(&mut writer, output).await
            }
            _ = alive.tick() => tell(&mut writer, &Tell::Alive).await,
            // Nothing more is to be said by whoever asked: it has gone.
            _ = reader.read(&mut nothing) => false,
        };
        if !said {
            return;
        }
    }
}

/// The message that states a receipt.
fn receipt(stated: Stated) -> Option<Tell> {
    Some(Tell::Receipt(List::new(stated.receipt).ok()?, stated.blinding.0))
}

/// Writes one message; false if it cannot be, or is the last one.
async fn tell(writer: &mut (impl AsyncWrite + Unpin), message: &Tell) -> bool {
    let written = timeout(WRITE_TIME_MAX, frame::write(writer, message)).await;
    let last = matches!(message, Tell::Finished(_) | Tell::Refused(..));
    matches!(written, Ok(Ok(()))) && !last
}

async fn tell_output(
    writer: &mut (impl AsyncWrite + Unpin),
    output: Option<Result<Output, Broken>>,
) -> bool {
    let message = match output {
        Some(Ok(Output::Prompt { cached, logprobs })) => {
            for part in logprobs.chunks(SCORES_MAX) {
                let scores = List::new(part.iter().map(score).collect()).unwrap_or_default();
                if !tell(writer, &Tell::Scores(scores)).await {
                    return false;
                }
            }
            Tell::Prompt(cached)
        }
        Some(Ok(Output::Token { token, logprobs })) => {
            Tell::Token(token, logprobs.as_ref().map(score))
        }
        Some(Ok(Output::Finished(Finish::EndToken))) => Tell::Finished(End::EndToken),
        Some(Ok(Output::Finished(Finish::Length))) => Tell::Finished(End::Length),
        Some(Err(broken)) if is_given_back(&broken) => {
            Tell::Refused(Cause::Paused, words(&broken.0))
        }
        Some(Err(Broken(why))) => Tell::Refused(Cause::Failed, words(&why)),
        None => Tell::Refused(Cause::Failed, words("the engine has stopped")),
    };
    tell(writer, &message).await
}

fn ask_of(model: &str, request: &Request) -> Result<Ask, Malformed> {
    let sampling = &request.sampling;
    Ok(Ask {
        model: Text::new(model)?,
        prompt: List::new(request.prompt.clone())?,
        said: List::new(request.said.clone())?,
        tokens_max: request.tokens_max,
        end_tokens: List::new(request.end_tokens.clone())?,
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        logit_bias: List::new(sampling.logit_bias.clone())?,
        seed: sampling.seed.0,
        logprobs: request.logprobs,
        prompt_logprobs: request.prompt_logprobs,
        grammar: List::new(request.grammar.as_deref().unwrap_or_default().into())?,
    })
}

fn request_of(ask: &Ask) -> Request {
    Request {
        prompt: ask.prompt.as_slice().to_vec(),
        said: ask.said.as_slice().to_vec(),
        sampling: Sampling {
            temperature: ask.temperature,
            top_k: ask.top_k,
            top_p: ask.top_p,
            min_p: ask.min_p,
            repetition_penalty: ask.repetition_penalty,
            presence_penalty: ask.presence_penalty,
            frequency_penalty: ask.frequency_penalty,
            logit_bias: ask.logit_bias.as_slice().to_vec(),
            seed: Seed(ask.seed),
        },
        tokens_max: ask.tokens_max,
        end_tokens: ask.end_tokens.as_slice().to_vec(),
        logprobs: ask.logprobs,
        prompt_logprobs: ask.prompt_logprobs,
        grammar: grammar_of(ask.grammar.as_slice()),
    }
}

/// What is no text is no grammar either, and is refused as such.
fn grammar_of(bytes: &[u8]) -> Option<Arc<str>> {
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(bytes).into())
}

fn score(logprobs: &Logprobs) -> Score {
    let (token, logit) = logprobs.chosen;
    // The engine gives no more alternatives than a score may have.
    let top = List::new(logprobs.top.clone()).unwrap_or_default();
    Score { max: logprobs.max, total: logprobs.total, token, logit, top }
}

fn logprobs(score: &Score) -> Logprobs {
    Logprobs {
        max: score.max,
        total: score.total,
        chosen: (score.token, score.logit),
        top: score.top.as_slice().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_survives_the_way() {
        let request = Request {
            prompt: vec![1, 2, 3],
            said: vec![4],
            sampling: Sampling {
                temperature: 5,
                top_k: 6,
                top_p: 7,
                min_p: 8,
                repetition_penalty: 9,
                presence_penalty: -10,
                frequency_penalty: 11,
                logit_bias: vec![(1, -2)],
                seed: Seed([12; 32]),
            },
            tokens_max: 13,
            end_tokens: vec![14],
            logprobs: Some(15),
            prompt_logprobs: true,
            grammar: Some("start: /a+/".into()),
        };
        assert_eq!(request_of(&ask_of("bafy", &request).unwrap()), request);
    }

    #[test]
    fn a_worker_that_breaks_the_protocol_is_given_up() {
        let limits = Limits { tokens: 1, scores: 0, scored: false };
        let heard = |tell: Tell, limits: Limits| heard(tell, &mut Vec::new(), &mut limits.clone());
        let score = Score { max: 0, total: 1, token: 2, logit: 3, top: List::default() };
        assert!(heard(Tell::Token(1, None), limits).is_ok());
        let none = Limits { tokens: 0, ..limits };
        assert!(heard(Tell::Token(1, None), none).is_err());
        assert!(heard(Tell::Token(1, Some(score.clone())), limits).is_err());
        assert!(heard(Tell::Token(1, None), Limits { scored: true, ..limits }).is_err());
        assert!(heard(Tell::Taken, limits).is_err());
        let scores = List::new(vec![score]).unwrap();
        assert!(heard(Tell::Scores(scores), limits).is_err());
    }
}
