//! One hash over every logit of a run, to compare machines.
//!
//! The hash is SHA-256 over the logits of every position but the last, in order of positions, as
//! 32-bit little endian integers, one a token of the vocabulary. `mashaa hash` prints it; golden ones
//! are in `fixtures/hashes`.
//!
//! Not here: the ways of computing a run that are compared (the program's).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sha2::{Digest, Sha256};

use crate::batch::{Engine, Refused};
use crate::request::{Output, Request, SequenceId};
use crate::sampling::{Sampling, Seed};
use crate::trace::{Observe, Observer, RowId};

/// Prompt tokens of the standard run.
pub const PROMPT_TOKENS: u32 = 220;

/// Hashes one sequence's logits in order of positions.
#[derive(Debug, Default)]
pub struct Fingerprint {
    sequence: Option<SequenceId>,
    next: usize,
    hash: Sha256,
}

impl Fingerprint {
    /// Takes the logits of the next position.
    pub fn update(&mut self, logits: &[i32]) {
        let bytes: Vec<u8> = logits.iter().flat_map(|logit| logit.to_le_bytes()).collect();
        self.hash.update(bytes);
        self.next += 1;
    }

    /// The hash, in hexadecimal.
    #[must_use]
    pub fn finish(self) -> String {
        self.hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Runs a request to its end, with whatever else the engine holds, and returns its tokens.
    /// Positions that this fingerprint has already taken are not taken again, so a second request
    /// may continue where a first one with the same prefix ended.
    ///
    /// # Errors
    /// When the engine refuses the request.
    pub fn drive(&mut self, engine: &mut Engine, request: Request) -> Result<Vec<u32>, Refused> {
        let id = engine.submit(request)?;
        self.sequence = Some(id);
        let mut tokens = Vec::new();
        while !engine.is_idle() {
            let outputs = engine.step(&mut Observer::new(self));
            for (_, output) in outputs.into_iter().filter(|(sequence, _)| *sequence == id) {
                match output {
                    Output::Token { token, .. } => tokens.push(token),
                    Output::Finished(_) => return Ok(tokens),
                    Output::Prompt { .. } => {}
                }
            }
        }
        Ok(tokens)
    }
}

impl Observe for Fingerprint {
    fn logits(&mut self, row: RowId, logits: &[i32]) {
        if self.sequence == Some(row.sequence) && row.position == self.next {
            self.update(logits);
        }
    }
}

/// The standard prompt for a vocabulary of `tokens`.
#[must_use]
pub fn standard_prompt(tokens: usize) -> Vec<u32> {
    (0..PROMPT_TOKENS).map(|i| (i * 7_919 + 13) % tokens.max(1) as u32).collect()
}

/// A run whose sampling uses every filter and the repetition penalty.
#[must_use]
pub fn standard_request(prompt: Vec<u32>, generate: u32) -> Request {
    let sampling = Sampling {
        temperature: 52_429,
        top_k: 40,
        top_p: 62_259,
        repetition_penalty: 72_090,
        seed: Seed::from_integer(1),
        ..Sampling::default()
    };
    Request {
        prompt,
        said: Vec::new(),
        sampling,
        tokens_max: generate,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    }
}
