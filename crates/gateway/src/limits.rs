//! Every bound of the gateway, each with its reason.
//!
//! Not here: limits of the sampler (`engine::sampling`) and of log-probabilities
//! (`engine::request`), which hold for every way into the engine.

use std::time::Duration;

/// Bytes of one request's body, at most, unless the options say otherwise. A context of a million
/// tokens is about 5 MB of text, and JSON may escape it.
pub const BODY_SIZE_MAX: usize = 16 << 20;
/// Bytes of all request bodies being read or decoded at once, at most. Bounds what a crowd of
/// slow clients can make the gateway hold; a request that finds no room is told to come back.
pub const BODIES_SIZE_MAX: usize = 256 << 20;
/// Prompts times `n` in one request, at most. Each is one job in the backend's queue.
pub const CHOICES_MAX: usize = 128;
/// Texts in one request for embeddings, at most, as in the OpenAI API.
pub const EMBEDDING_INPUTS_MAX: usize = 2048;
/// Tokens of all texts in one request for embeddings, at most, as in the OpenAI API: about a minute of
/// two cores.
pub const EMBEDDING_TOKENS_MAX: usize = 300_000;
/// Messages in one conversation, at most: as many as templates take.
pub const MESSAGES_MAX: usize = text::template::MESSAGES_MAX;
/// Tools in one request, at most, as in the OpenAI API.
pub const TOOLS_MAX: usize = 128;
/// Responses that are kept for later requests, at most: those of some people's days.
pub const RESPONSES_MAX: usize = 1024;
/// Bytes of these, at most.
pub const RESPONSES_SIZE_MAX: usize = 64 << 20;
/// Stop strings in one request, at most, as in the OpenAI API.
pub const STOPS_MAX: usize = 4;
/// Bytes of one stop string, at most. A possible stop is held back while it may still come, so a
/// long one would delay the stream.
pub const STOP_SIZE_MAX: usize = 1024;
/// Bytes of an `idempotency-key`, at most, as Stripe has it.
pub const IDEMPOTENCY_KEY_SIZE_MAX: usize = 255;
/// Keys whose answers are kept, at most; that many more may be in the making as answers are.
pub const IDEMPOTENCY_KEYS_MAX: usize = 1024;
/// Bytes of these answers, at most.
pub const IDEMPOTENCY_SIZE_MAX: usize = 64 << 20;
/// Bytes of the name of a file that a client leaves here, at most: as file systems have it.
pub const FILENAME_SIZE_MAX: usize = 255;
/// Requests in one batch, at most, as in the OpenAI API.
pub const BATCH_LINES_MAX: usize = 50_000;
/// Batches that are kept, at most. The oldest of those that have ended goes for a new one.
pub const BATCHES_MAX: usize = 1024;
/// Problems of a batch's file that are told, at most: the first ones, so that they can be read.
pub const BATCH_PROBLEMS_MAX: usize = 100;
/// Pairs in the metadata of a batch, and bytes of a key and a value, at most, as in the OpenAI API.
pub const METADATA_MAX: (usize, usize, usize) = (16, 64, 512);
/// Bytes of a `custom_id`, at most. All of a batch are compared with each other.
pub const CUSTOM_ID_SIZE_MAX: usize = 512;
/// Bytes of one answer in a batch, at most: what some hundred choices with log-probabilities take.
pub const BATCH_ANSWER_SIZE_MAX: usize = 256 << 20;
/// How often a request of a batch is tried again after its answer broke off.
pub const BATCH_TRIES_MAX: u32 = 16;
/// Characters of a client's own word that an error message repeats, at most.
pub const QUOTE_LENGTH_MAX: usize = 64;
/// Requests with keys of a ring whose prompt is not computed yet, at most, before others of them take
/// turns: as many as keep some machines busy, and delay a newcomer by some prompts.
pub const TURNS_MAX: usize = 16;
/// Requests of one such key that wait for their turn, at most: as many as a node's queue has by default.
pub const TURNS_WAITING_MAX: usize = 256;
/// Bytes of a prompt in the log, at most, where the owner wants prompts there: some pages.
pub const LOGGED_PROMPT_SIZE_MAX: usize = 64 << 10;
/// Requests decoded and tokenised at once, at most. More would only take turns on the cores, and
/// each may need some twenty times the size of its body while its JSON is a tree.
pub const PREPARATIONS_MAX: usize = 4;
/// Open connections, at most. Further ones wait in the listener's own queue.
pub const CONNECTIONS_MAX: usize = 1024;

/// A client has this long to send a request's head; also how long an idle connection is kept.
pub const HEAD_TIME_MAX: Duration = Duration::from_secs(75);
/// A client has this long to send a request's body.
pub const BODY_TIME_MAX: Duration = Duration::from_secs(60);
/// A client has this long to take some of what it is sent.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(60);
/// A stream that has nothing to say says so this often, so that no proxy takes it for dead.
pub const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long the answer to a request with an `idempotency-key` is kept, as Stripe has it.
pub const IDEMPOTENCY_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long a request waits for its turn. Clients wait longer for a first token.
pub const TURN_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a batch looks whether urgent requests still run.
pub const IDLE_LOOK: Duration = Duration::from_millis(50);
/// The pause before a request of a batch is tried again where nothing says how long it should be.
pub const BATCH_PAUSE: Duration = Duration::from_secs(1);
/// An answer that stays silent this long is given up. The official clients wait as long.
pub const SILENCE_TIME_MAX: Duration = Duration::from_secs(600);
/// Answers in flight have this long to finish once shutdown is asked for.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(30);
/// Pause after the operating system refused a new connection, so that the loop does not spin.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

const _: () = assert!(BODY_SIZE_MAX <= BODIES_SIZE_MAX);
const _: () = assert!(PING_INTERVAL.as_secs() < SILENCE_TIME_MAX.as_secs());
