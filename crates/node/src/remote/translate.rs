//! Requests and scores as messages between nodes, and back.
//!
//! Not here: the messages' bytes (`network::work`).

use std::sync::Arc;

use audit::receipt::{numbers, sampling};
use engine::request::{Logprobs, Request};
use engine::sampling::Seed;
use network::work::{Ask, Payment, Score, SeedSource};
use types::bounded::{List, Text};
use types::codec::Malformed;

/// The question for a sequence.
pub(super) fn ask_of(
    model: &str,
    request: &Request,
    seed: SeedSource,
    payment: Option<Payment>,
) -> Result<Ask, Malformed> {
    Ok(Ask {
        model: Text::new(model)?,
        prompt: List::new(request.prompt.clone())?,
        said: List::new(request.said.clone())?,
        tokens_max: request.tokens_max,
        end_tokens: List::new(request.end_tokens.clone())?,
        numbers: numbers(&request.sampling),
        logit_bias: List::new(request.sampling.logit_bias.clone())?,
        seed,
        logprobs: request.logprobs,
        prompt_logprobs: request.prompt_logprobs,
        grammar: List::new(request.grammar.as_deref().unwrap_or_default().into())?,
        payment,
    })
}

/// The sequence that is asked for. Its seed is there only if the caller has chosen it.
pub(super) fn request_of(ask: &Ask) -> Request {
    let seed = match ask.seed {
        SeedSource::Fixed(seed) => Seed(seed.0),
        SeedSource::Joint(_) | SeedSource::Made { .. } => Seed([0; 32]),
    };
    Request {
        prompt: ask.prompt.as_slice().to_vec(),
        said: ask.said.as_slice().to_vec(),
        sampling: sampling(&ask.numbers, ask.logit_bias.as_slice().to_vec(), seed),
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

/// A score as a message.
pub(super) fn score(logprobs: &Logprobs) -> Score {
    let (token, logit) = logprobs.chosen;
    // The engine gives no more alternatives than a score may have.
    let top = List::new(logprobs.top.clone()).unwrap_or_default();
    Score { max: logprobs.max, total: logprobs.total, token, logit, top }
}

/// A score as the engine tells it.
pub(super) fn logprobs(score: &Score) -> Logprobs {
    Logprobs {
        max: score.max,
        total: score.total,
        chosen: (score.token, score.logit),
        top: score.top.as_slice().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use engine::sampling::Sampling;
    use types::id::Hash;

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
        let seed = SeedSource::Fixed(Hash(request.sampling.seed.0));
        assert_eq!(request_of(&ask_of("bafy", &request, seed, None).unwrap()), request);
    }
}
