//! The worker's side: reads what another node wants, and tells what comes of it.
//!
//! Invariants:
//! - A joint seed is made after both nonces are known, and this node's was told first.
//! - At most one receipt of an answer is stated, right before its end.
//! - Whoever closes the stream stops the work.
//!
//! Not here: whether it is done (`peers::guests`), the computation (`worker`).

use audit::receipt::nonce_commitment;
use engine::request::{Finish, Output};
use futures_util::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use gateway::backend::{Broken, Job, Urgency};
use network::frame::{self, FrameError};
use network::messages::words;
use network::work::{
    ALIVE_INTERVAL, ASK_SIZE_MAX, Ask, Cause, End, NOTE_SIZE_MAX, Note, SCORES_MAX, SeedSource,
    Tell,
};
use tokio::time::{interval, timeout};
use types::bounded::List;

use super::translate::{request_of, score};
use super::{ASK_TIME_MAX, Stated, WRITE_TIME_MAX};
use crate::peers::guests::Guest;
use crate::seeding::{Nonces, SeedOf, Wanted, random};
use crate::worker::is_given_back;

/// How long a gateway may take to tell its nonce once it has heard the worker's, while a place is kept
/// for it: several ways there and back by way of a relay.
const NONCE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(5);

/// How long a gateway may take to vouch for an answer once it has the receipt: a write to its disk, and
/// the way there and back by way of a relay.
const VOUCHER_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(10);
/// Notes that come after an answer's end, at most: the wish to stop, which was too late, and the voucher.
const NOTES_AFTER_MAX: usize = 2;

/// Why something is not done, as a gateway is told it.
pub(crate) type Refusal = (Cause, String);
/// Begins a sequence for which a place is kept.
pub(crate) type Begin<'a> = Box<dyn FnOnce(Wanted) -> Result<Job, Refusal> + Send + 'a>;

/// What this node computes for another: reads what it wants, and tells it.
pub(crate) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    guest: &Guest<'_>,
) {
    let (mut reader, mut writer) = stream.split();
    let asked = timeout(ASK_TIME_MAX, frame::read::<Ask>(&mut reader, ASK_SIZE_MAX)).await;
    let Ok(Ok(ask)) = asked else { return };
    let request = request_of(&ask);
    let begun = match guest.admit(&ask, &request) {
        Ok(begin) => match take(&mut reader, &mut writer, &ask.seed).await {
            Ok(Some(seed)) => {
                begin(Wanted { request, seed: SeedOf::Nobody, urgency: Urgency::Now }.with(seed))
            }
            Ok(None) => return,
            Err(refusal) => Err(refusal),
        },
        Err(refusal) => Err(refusal),
    };
    match begun {
        Ok(job) => follow(job, reader, writer, guest).await,
        Err((cause, why)) => {
            // It hears it, or has gone.
            let _ = tell(&mut writer, &Tell::Refused(cause, words(&why))).await;
        }
    }
}

/// Says that it will be done, and makes the seed with whoever asks; none if that one has gone.
async fn take(
    reader: &mut (impl AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    source: &SeedSource,
) -> Result<Option<SeedOf>, Refusal> {
    let (commitment, seed) = match *source {
        SeedSource::Fixed(_) => (None, SeedOf::Caller),
        SeedSource::Made { client, worker } => (None, SeedOf::Both(Nonces { client, worker })),
        SeedSource::Joint(commitment) => (Some(commitment), SeedOf::Nobody),
    };
    let Some(commitment) = commitment else {
        return Ok(tell(writer, &Tell::Taken(None)).await.then_some(seed));
    };
    let worker = random().map_err(|error| (Cause::Failed, format!("no randomness: {error}")))?;
    if !tell(writer, &Tell::Taken(Some(worker))).await {
        return Ok(None);
    }
    match timeout(NONCE_TIME_MAX, frame::read::<Note>(reader, NOTE_SIZE_MAX)).await {
        Ok(Ok(Note::Nonce(client))) if nonce_commitment(&client) == commitment => {
            Ok(Some(SeedOf::Both(Nonces { client, worker })))
        }
        Ok(Ok(_)) => {
            Err((Cause::Request, "this is not the nonce that was committed to".to_owned()))
        }
        Ok(Err(_)) | Err(_) => Ok(None),
    }
}

/// The next note, and what it was read from.
type Noting<R> = std::pin::Pin<Box<dyn Future<Output = (R, Result<Note, FrameError>)> + Send>>;

fn next_note<R: AsyncRead + Unpin + Send + 'static>(mut reader: R) -> Noting<R> {
    Box::pin(async move {
        let note = frame::read(&mut reader, NOTE_SIZE_MAX).await;
        (reader, note)
    })
}

/// Tells what comes of a sequence until its end, or until nobody wants to know.
async fn follow(
    mut job: Job,
    reader: impl AsyncRead + Unpin + Send + 'static,
    mut writer: impl AsyncWrite + Unpin,
    guest: &Guest<'_>,
) {
    let mut alive = interval(ALIVE_INTERVAL);
    // Half a note may be read, so the same future goes on.
    let mut note = next_note(reader);
    loop {
        let said = tokio::select! {
            output = job.next() => {
                // Whatever it says, it says that it is alive.
                alive.reset();
                let stopped = output.is_none() && job.stop().is_raised();
                let ended = stopped || matches!(output, Some(Ok(Output::Finished(_))));
                let id = job.receipt().said().filter(|_| ended);
                let heard = match id.and_then(|it| guest.stated(&it.id)).and_then(receipt) {
                    Some(receipt) => tell(&mut writer, &receipt).await,
                    None => true,
                };
                match (heard, stopped) {
                    (false, _) => false,
                    (true, true) => tell(&mut writer, &Tell::Finished(End::Stopped)).await,
                    (true, false) => tell_output(&mut writer, output).await,
                }
            }
            _ = alive.tick() => tell(&mut writer, &Tell::Alive).await,
            (reader, heard) = &mut note => match heard {
                Ok(Note::Stop) => {
                    job.stop().raise();
                    note = next_note(reader);
                    true
                }
                // Nothing more is to be said by whoever asked: it has gone, or breaks the protocol.
                Ok(Note::Nonce(_) | Note::Voucher(..)) | Err(_) => return,
            },
        };
        if !said {
            break;
        }
    }
    if guest.is_paid() {
        await_voucher(note, guest).await;
    }
}

/// Takes what the gateway vouches for, once it has the receipt. Another note may still be on its way.
async fn await_voucher<R: AsyncRead + Unpin + Send + 'static>(
    mut note: Noting<R>,
    guest: &Guest<'_>,
) {
    let heard = async {
        for _ in 0..NOTES_AFTER_MAX {
            match note.await {
                (_, Ok(Note::Voucher(cumulative, signature))) => {
                    guest.vouched(cumulative, signature);
                    return;
                }
                (reader, Ok(Note::Stop)) => note = next_note(reader),
                (_, Ok(Note::Nonce(_)) | Err(_)) => return,
            }
        }
    };
    // Whoever does not vouch gets no more work, in the end.
    let _ = timeout(VOUCHER_TIME_MAX, heard).await;
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
