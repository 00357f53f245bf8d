//! Work between two nodes: asking another's engine, and letting others ask this one's.
//!
//! Invariants:
//! - A worker that says nothing for `QUIET_TIME` is told of, and given up after `SILENCE_TIME_MAX`.
//! - A worker states at most one receipt of an answer, right before its end.
//! - Whoever closes the stream stops the work.
//!
//! Here is the gateway's side; the worker's is `serving`.
//!
//! Not here: which worker is asked (`route`, `fleet`), the messages' bytes (`network::work`).

pub(crate) mod serving;
mod translate;

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use audit::receipt::nonce_commitment;
use engine::request::{Finish, Logprobs, Output, Request};
use futures_util::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use network::frame::{self, FrameError};
use network::network::{Network, Purpose, Stream};
use network::work::{Ask, Cause, End, Note, Payment, SeedSource, TELL_SIZE_MAX, Tell};
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::timeout;
use types::amount::Amount;
use types::id::Hash;
use types::signature::Signature;

use crate::seeding::{Nonces, SeedOf, Wanted, random};
use translate::{ask_of, logprobs};

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
/// Notes for a worker that wait, at most: its nonce, the wish to stop and the voucher, each once.
const NOTES_MAX: usize = 4;

/// Why a worker gives no answer, or none to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It has too much to do, or does not work now: no fault of its own.
    Busy(String),
    /// It does not know yet that this node belongs; it is to be told.
    Stranger(String),
    /// The channel that pays is refused; another one may do.
    Spent(String),
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
    /// It has ended where it was, as it was asked to.
    Stopped,
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
    notes: mpsc::Sender<Note>,
    stated: Arc<OnceLock<Stated>>,
}

impl Remote {
    /// Asks a node for a sequence; ready once it has taken it. Says who has chosen the seed, too.
    ///
    /// # Errors
    /// When the node cannot be reached, or does not take it.
    pub async fn ask(
        network: &Network,
        node: Hash,
        model: &str,
        wanted: &Wanted,
        payment: Option<Payment>,
    ) -> Result<(Remote, SeedOf), Fault> {
        // One for each worker that is asked: whoever is refused by another must not know it.
        let client = random().map_err(|error| broke(&error))?;
        let request = &wanted.request;
        let source = match wanted.seed {
            SeedOf::Nobody => SeedSource::Joint(nonce_commitment(&client)),
            SeedOf::Caller => SeedSource::Fixed(Hash(request.sampling.seed.0)),
            SeedOf::Both(Nonces { client, worker }) => SeedSource::Made { client, worker },
        };
        let ask = ask_of(model, request, source, payment);
        let ask = ask.map_err(|error| Fault::Never(error.to_string()))?;
        let late = |_| Fault::Failed(format!("no answer in {} s", TAKE_TIME_MAX.as_secs()));
        let taken = timeout(TAKE_TIME_MAX, take(network, node, &ask)).await;
        let (stream, nonce) = taken.map_err(late)??;
        let (notes, to_say) = mpsc::channel(NOTES_MAX);
        let seed = match (wanted.seed, nonce) {
            (SeedOf::Nobody, Some(worker)) => {
                // Told on the way, so that whatever the worker does now, the seed is made.
                let _ = notes.try_send(Note::Nonce(client));
                SeedOf::Both(Nonces { client, worker })
            }
            (SeedOf::Nobody, None) | (_, Some(_)) => {
                let why = "it broke the protocol: a nonce where none is due, or none where one is";
                return Err(Fault::Failed(why.to_owned()));
            }
            (made, None) => made,
        };
        let (reader, mut writer) = stream.split();
        tokio::spawn(async move { say(&mut writer, to_say).await });
        let (sender, heard) = mpsc::channel(TELLS_MAX);
        let stated = Arc::default();
        tokio::spawn(listen(reader, sender, Arc::clone(&stated), Limits::of(request)));
        Ok((Remote { heard, notes, stated }, seed))
    }

    /// Asks the worker to end where it is, and to state what there is.
    pub fn stop(&self) {
        // Where no more can be said, the worker has gone.
        let _ = self.notes.try_send(Note::Stop);
    }

    /// Hands the worker a voucher: what is granted in all, and the signature of that.
    pub fn vouch(&self, cumulative: Amount, signature: Signature) {
        // A worker that has gone finds what it is granted in the next one.
        let _ = self.notes.try_send(Note::Voucher(cumulative, signature));
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

/// Opens streams until a node has answered on one; gives its nonce, if it told one.
async fn take(network: &Network, node: Hash, ask: &Ask) -> Result<(Stream, Option<Hash>), Fault> {
    let mut tries = TRIES_MAX;
    loop {
        let mut stream = network
            .open(node, Purpose::Work)
            .await
            .map_err(|error| Fault::Failed(error.to_string()))?;
        frame::write(&mut stream, ask).await.map_err(|error| broke(&error))?;
        tries -= 1;
        match frame::read(&mut stream, TELL_SIZE_MAX).await {
            Ok(Tell::Taken(nonce)) => return Ok((stream, nonce)),
            Ok(Tell::Refused(cause, why)) => return Err(fault(cause, why.as_str())),
            Ok(_) => {
                return Err(Fault::Failed("it began without taking the work".to_owned()));
            }
            Err(FrameError::Stream(_)) if tries > 0 => {}
            Err(error) => return Err(broke(&error)),
        }
    }
}

/// Says notes until there are no more, or nobody hears them; then the stream ends, behind the last one.
async fn say(writer: &mut (impl AsyncWrite + Unpin), mut notes: mpsc::Receiver<Note>) {
    while let Some(note) = notes.recv().await {
        let said = timeout(WRITE_TIME_MAX, frame::write(writer, &note)).await;
        if !matches!(said, Ok(Ok(()))) {
            return;
        }
    }
    // Whoever does not hear it hears that the connection ends.
    let _ = timeout(WRITE_TIME_MAX, writer.close()).await;
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
        Cause::Spent => Fault::Spent(why),
        Cause::Model | Cause::Failed | Cause::Unpaid => Fault::Failed(why),
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
    mut stream: impl AsyncRead + Unpin,
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
            Ok(Ok(Tell::Finished(End::Stopped))) => {
                // Whoever has not asked for it takes it for a fault.
                let _ = sender.send(Ok(Heard::Stopped)).await;
                return;
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
    stream: &mut (impl AsyncRead + Unpin),
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
        Tell::Finished(End::Stopped) => wrong("it stopped unasked"),
        Tell::Taken(_) | Tell::Alive | Tell::Receipt(..) => wrong("it took the work twice"),
    }
}

#[cfg(test)]
mod tests {
    use network::work::Score;
    use types::bounded::List;

    use super::*;

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
        assert!(heard(Tell::Taken(None), limits).is_err());
        assert!(heard(Tell::Finished(End::Stopped), limits).is_err(), "nobody said so");
        let scores = List::new(vec![score]).unwrap();
        assert!(heard(Tell::Scores(scores), limits).is_err());
    }
}
