//! One choice, from tokens to text.
//!
//! A pure state machine: the engine's outputs go in, pieces of text with their log-probabilities
//! come out. It joins bytes to characters across tokens, ends the answer at a stop string, and
//! releases a token's record together with the token's text.
//!
//! Invariants:
//! - The joined pieces are the same however the client asked for them.
//! - After a piece with a `finish`, nothing follows.
//! - A record is released only if some of its token's text is, or the answer ended by itself.
//!
//! Not here: waiting for outputs (`answer`), JSON (`shape`).

use std::collections::VecDeque;
use std::sync::Arc;

use engine::request::{Finish, Logprobs, Output};
use text::tokenizer::StreamDecoder;

use crate::backend::{Receipt, ServedModel};
use crate::calls::Call;
use crate::stop::StopMatcher;

/// What one output adds to a choice.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// Calls of tools that were found in the text, which is without them.
    pub(crate) calls: Vec<Call>,
    pub(crate) records: Vec<Record>,
    pub(crate) finish: Option<Reason>,
    /// With the finish: the stop string that ended the choice, if one did.
    pub(crate) stop: Option<String>,
    /// With the finish: the receipt about the choice, if there is one.
    pub(crate) receipt: Option<Receipt>,
}

/// Why a choice ended, in the API's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The model ended it, or a stop string did.
    Stop,
    /// `max_tokens`, or the context, was full.
    Length,
    /// The model ended it after it called tools.
    ToolCalls,
}

/// One token's place in the answer and its log-probabilities.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) token: u32,
    /// Characters of the choice's text before this token's.
    pub(crate) offset: usize,
    /// `None` for a prompt's first token, which nothing precedes.
    pub(crate) logprobs: Option<Logprobs>,
}

/// Which tokens get a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Records {
    /// None.
    Off,
    /// Those of the answer's text.
    Text,
    /// The one that ends the answer as well.
    All,
}

/// A choice being written.
#[derive(Debug)]
pub(crate) struct Transcript {
    model: Arc<ServedModel>,
    prompt: Arc<[u32]>,
    echo: Option<String>,
    records: Records,
    decoder: StreamDecoder,
    stop: StopMatcher,
    /// Bytes of text that the decoder gave, and how many of them were released.
    heard: usize,
    released: usize,
    /// Characters before what the decoder gives next, the echo's among them.
    offset: usize,
    waiting: VecDeque<Waiting>,
    completion_tokens: u32,
    cached_tokens: u32,
}

/// A record whose text is not released yet: bytes `start..end` of what was heard.
#[derive(Debug)]
struct Waiting {
    record: Record,
    start: usize,
    end: usize,
}

impl Reason {
    /// The reason as the API spells it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::Stop => "stop",
            Reason::Length => "length",
            Reason::ToolCalls => "tool_calls",
        }
    }
}

impl Piece {
    /// Adds the next piece of the same choice.
    pub(crate) fn absorb(&mut self, next: Piece) {
        self.text.push_str(&next.text);
        self.calls.extend(next.calls);
        self.records.extend(next.records);
        self.finish = next.finish;
        self.stop = next.stop;
        self.receipt = next.receipt;
    }

    /// Whether there is nothing to say.
    pub(crate) fn is_empty(&self) -> bool {
        let is_silent = self.text.is_empty() && self.calls.is_empty() && self.records.is_empty();
        is_silent && self.finish.is_none()
    }
}

impl Transcript {
    /// The transcript of one choice. `echo` is the prompt's text, if the answer begins with it.
    pub(crate) fn new(
        model: Arc<ServedModel>,
        prompt: Arc<[u32]>,
        echo: Option<String>,
        stops: &[String],
        records: Records,
    ) -> Transcript {
        Transcript {
            model,
            prompt,
            echo,
            records,
            decoder: StreamDecoder::new(),
            stop: StopMatcher::new(stops),
            heard: 0,
            released: 0,
            offset: 0,
            waiting: VecDeque::new(),
            completion_tokens: 0,
            cached_tokens: 0,
        }
    }

    /// Tokens generated so far, the ending one among them.
    pub(crate) fn completion_tokens(&self) -> u32 {
        self.completion_tokens
    }

    /// Tokens of the prompt.
    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.prompt.len() as u64
    }

    /// Prompt tokens that were found in a cache.
    pub(crate) fn cached_tokens(&self) -> u32 {
        self.cached_tokens
    }

    /// Takes the next output.
    pub(crate) fn apply(&mut self, output: Output) -> Piece {
        match output {
            Output::Prompt { cached, logprobs } => self.prompt(cached, logprobs),
            Output::Token { token, logprobs } => self.token(token, logprobs),
            Output::Finished(Finish::EndToken) => self.finish(Reason::Stop),
            Output::Finished(Finish::Length) => self.finish(Reason::Length),
        }
    }

    fn prompt(&mut self, cached: u32, logprobs: Vec<Logprobs>) -> Piece {
        self.cached_tokens = cached.min(self.prompt.len() as u32);
        let Some(text) = self.echo.take() else {
            return Piece::default();
        };
        self.offset = text.chars().count();
        let records = match self.records {
            Records::Off => Vec::new(),
            Records::Text | Records::All => self.prompt_records(logprobs),
        };
        Piece { text, records, ..Piece::default() }
    }

    fn prompt_records(&self, logprobs: Vec<Logprobs>) -> Vec<Record> {
        let mut decoder = StreamDecoder::new();
        let mut offset = 0;
        let logprobs = std::iter::once(None).chain(logprobs.into_iter().map(Some));
        let record = |(&token, logprobs)| {
            let record = Record { token, offset, logprobs };
            let bytes = self.model.tokenizer.bytes(token).unwrap_or_default();
            offset += decoder.push(bytes).chars().count();
            record
        };
        self.prompt.iter().zip(logprobs).map(record).collect()
    }

    fn token(&mut self, token: u32, logprobs: Option<Logprobs>) -> Piece {
        self.completion_tokens = self.completion_tokens.saturating_add(1);
        let ends = self.model.tokenizer.ends().contains(&token);
        let text = match self.model.tokenizer.bytes(token) {
            Some(bytes) if !ends => self.decoder.push(bytes),
            _ => String::new(),
        };
        let recorded = match self.records {
            Records::Off => false,
            Records::Text => !ends,
            Records::All => true,
        };
        if recorded {
            let record = Record { token, offset: self.offset, logprobs };
            let (start, end) = (self.heard, self.heard + text.len());
            self.waiting.push_back(Waiting { record, start, end });
        }
        self.hear(&text)
    }

    /// Takes more text; ends the answer if a stop string is complete.
    fn hear(&mut self, text: &str) -> Piece {
        self.heard += text.len();
        self.offset += text.chars().count();
        let released = self.stop.push(text);
        self.released += released.text.len();
        if released.stopped {
            let records = self.records_before_stop();
            let (finish, stop) = (Some(Reason::Stop), self.stop.stopped().map(str::to_owned));
            return Piece { text: released.text, records, finish, stop, ..Piece::default() };
        }
        Piece { text: released.text, records: self.records_released(), ..Piece::default() }
    }

    fn finish(&mut self, reason: Reason) -> Piece {
        let rest = self.decoder.finish();
        let mut piece = self.hear(&rest);
        if piece.finish.is_none() {
            piece.text.push_str(&self.stop.finish());
            piece.records.extend(self.waiting.drain(..).map(|waiting| waiting.record));
            piece.finish = Some(reason);
        }
        piece
    }

    /// The records up to the last whose whole text is released. A token without text of its own,
    /// such as half a character, waits for the text that follows.
    fn records_released(&mut self) -> Vec<Record> {
        let done = |waiting: &Waiting| waiting.end > waiting.start && waiting.end <= self.released;
        let count = self.waiting.iter().rposition(done).map_or(0, |last| last + 1);
        self.waiting.drain(..count).map(|waiting| waiting.record).collect()
    }

    fn records_before_stop(&mut self) -> Vec<Record> {
        let stop = self.released;
        let before = self.waiting.drain(..).take_while(|waiting| waiting.start < stop);
        before.map(|waiting| waiting.record).collect()
    }
}
