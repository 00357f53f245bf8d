//! The thread that owns an encoder, and the handle through which texts reach it.
//!
//! Invariants:
//! - The encoder is touched by its own thread only.
//! - At most `QUEUE_MAX` requests wait; what a client gave up costs at most the texts in work.
//!
//! Not here: HTTP (`gateway`), models that generate (`worker`).

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use engine::artifact::strings;
use engine::encoder::{Encoder, EncoderModel};
use engine::kernels::Isa;
use gateway::backend::{Broken, Busy};
use gateway::embeddings::{Embedder, Embedding, NotEmbedded, ServedEncoder};
use store::blobs::Blobs;
use store::cid::Cid;
use text::tokenizer::Tokenizer;
use tokio::sync::oneshot;

use crate::models::ModelRecord;
use crate::opened::OpenError;

/// Requests that wait, at most; each holds the tokens of its texts.
pub const QUEUE_MAX: usize = 64;
/// Texts between two looks at whether the client has gone.
const TEXTS: usize = 32;
/// Seconds after which a client that met a full queue may come back.
const RETRY_AFTER: u32 = 2;

/// An encoder and its thread, which ends when this is dropped.
#[derive(Debug)]
pub struct LocalEmbedder {
    served: ServedEncoder,
    queue: SyncSender<Work>,
}

/// Texts that wait, and who waits for them.
struct Work {
    texts: Vec<Vec<u32>>,
    reply: oneshot::Sender<Result<Vec<Vec<i32>>, Broken>>,
}

/// Why an encoder does not start.
#[derive(Debug, thiserror::Error)]
pub enum EmbedderError {
    /// The model cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system gives no thread.
    #[error("the encoder's thread cannot start: {0}")]
    Thread(std::io::Error),
}

/// Opens the encoder of a record. The weights are mapped, not read.
///
/// # Errors
/// When the blob is missing or not an encoder's artifact, or its text rules are not known.
pub fn open(
    blobs: &Blobs,
    record: &ModelRecord,
) -> Result<(Arc<EncoderModel>, ServedEncoder), OpenError> {
    let cid: Cid = record.artifact.parse()?;
    let model = Arc::new(EncoderModel::open(blobs.map(&cid)?)?);
    let licence = model.strings().get(strings::LICENCE).cloned();
    let served = ServedEncoder {
        name: record.name.clone(),
        cid: record.artifact.clone(),
        profile: engine::artifact::PROFILE_NAME,
        created: record.added,
        context_max: model.config().context_max as u32,
        dimensions: model.config().width as u32,
        licence: licence.filter(|licence| !licence.is_empty()),
        tokenizer: Tokenizer::new(&model.vocabulary())?,
    };
    Ok((model, served))
}

impl LocalEmbedder {
    /// Opens the encoder of a record and starts its thread, which computes with `threads` threads.
    ///
    /// # Errors
    /// When the model cannot be opened, or the system gives no thread.
    pub fn start(
        blobs: &Blobs,
        record: &ModelRecord,
        isa: Isa,
        threads: usize,
    ) -> Result<LocalEmbedder, EmbedderError> {
        let (model, served) = open(blobs, record)?;
        let (queue, work) = sync_channel(QUEUE_MAX);
        let run = move || run(&work, &mut Encoder::new(model, isa, threads));
        let thread = std::thread::Builder::new().name("encoder".to_owned());
        thread.spawn(run).map_err(EmbedderError::Thread)?;
        Ok(LocalEmbedder { served, queue })
    }
}

impl Embedder for LocalEmbedder {
    fn served(&self) -> &ServedEncoder {
        &self.served
    }

    fn embed(&self, texts: Vec<Vec<u32>>) -> Embedding<'_> {
        let (reply, answer) = oneshot::channel();
        let queued = self.queue.try_send(Work { texts, reply });
        Box::pin(async move {
            queued.map_err(|_| NotEmbedded::Busy(Busy { retry_after: RETRY_AFTER }))?;
            let gone = |_| NotEmbedded::Broken(Broken("the encoder has stopped".to_owned()));
            answer.await.map_err(gone)?.map_err(NotEmbedded::Broken)
        })
    }
}

/// Embeds what is asked for, until nobody can ask any more.
fn run(queue: &Receiver<Work>, encoder: &mut Encoder) {
    while let Ok(Work { texts, reply }) = queue.recv() {
        let mut embeddings = Ok(Vec::with_capacity(texts.len()));
        for texts in texts.chunks(TEXTS) {
            if reply.is_closed() || embeddings.is_err() {
                break;
            }
            let texts: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
            match (encoder.embed(&texts), &mut embeddings) {
                (Ok(more), Ok(embeddings)) => embeddings.extend(more),
                (Err(error), embeddings) => *embeddings = Err(Broken(error.to_string())),
                (Ok(_), Err(_)) => {}
            }
        }
        // A client that has gone need not hear it.
        drop(reply.send(embeddings));
    }
}
