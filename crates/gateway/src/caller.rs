//! Who asks, and how: what a request brings besides its body, and the log's line about its answer.
//!
//! The line has the names of OpenTelemetry's conventions for generative AI, and of a W3C trace context.
//!
//! Invariants:
//! - No line holds a prompt or an answer, unless the node's owner has asked for prompts.
//!
//! Not here: the log itself, which is the program's.

use axum::extract::Request;
use axum::http::HeaderMap;
use tokio::time::{Duration, Instant};

use crate::auth::account::Grant;
use crate::backend::Urgency;
use crate::error::Code;
use crate::limits::LOGGED_PROMPT_SIZE_MAX;
use crate::observe::{RequestId, hex};
use crate::plan::Plan;
use crate::router::Gateway;
use crate::sampling::random;
use crate::shape::{Surface, Usage};

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    pub(crate) urgency: Urgency,
    /// Who is charged, if the request came with a key of a ring.
    pub(crate) grant: Option<Grant>,
    /// The request's name.
    id: Option<RequestId>,
    trace: Option<Trace>,
    /// Whether the log holds prompts.
    log_prompts: bool,
}

/// The place of a request in its caller's trace (W3C Trace Context, level 1).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    id: String,
    parent: String,
    /// This request's own.
    span: String,
}

/// What the log will say of an answer.
#[derive(Debug)]
pub(crate) struct Told {
    caller: Caller,
    operation: &'static str,
    model: String,
    started: Instant,
    /// From the start to the first token.
    pub(crate) first: Option<Duration>,
    /// Why each choice ended that has.
    pub(crate) finished: Vec<&'static str>,
    /// Why there is no whole answer, and the tokens till then.
    pub(crate) error: Option<(Code, Usage)>,
}

impl Caller {
    /// Whoever has sent a request.
    pub(crate) fn of(gateway: &Gateway, request: &Request) -> Caller {
        Caller {
            urgency: Urgency::of(request),
            grant: Grant::of(request),
            id: request.extensions().get().cloned(),
            trace: Trace::of(request.headers()),
            log_prompts: gateway.log_prompts(),
        }
    }

    /// The id of the key that takes turns with others, if it does.
    pub(crate) fn lane(&self) -> Option<&str> {
        let urgent = self.grant.as_ref().filter(|_| self.urgency == Urgency::Now);
        urgent.map(|grant| grant.key().id.as_str())
    }
}

impl Trace {
    /// That of the header `traceparent`; none where it is none.
    fn of(headers: &HeaderMap) -> Option<Trace> {
        let mut parts = headers.get("traceparent")?.to_str().ok()?.split('-');
        let mut part = |size: usize| {
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            parts.next().filter(|part| part.len() == size && part.bytes().all(is_hex))
        };
        let (version, id, parent) = (part(2)?, part(32)?, part(16)?);
        part(2)?;
        // Later versions may have more parts; the first has none.
        let is_known = version != "ff" && (version != "00" || parts.next().is_none());
        let is_set = |part: &str| part.bytes().any(|byte| byte != b'0');
        let is_fine = is_known && is_set(id) && is_set(parent);
        let span = hex(&random::<8>().ok()?);
        is_fine.then(|| Trace { id: id.to_owned(), parent: parent.to_owned(), span })
    }
}

impl Told {
    /// Of an answer that is about to begin.
    pub(crate) fn of(plan: &Plan) -> Told {
        let operation = match plan.surface {
            Surface::Chat => "chat",
            Surface::Completions => "text_completion",
        };
        let told = Told {
            caller: plan.caller.clone(),
            operation,
            model: plan.model.name.clone(),
            started: Instant::now(),
            first: None,
            finished: Vec::new(),
            error: None,
        };
        if told.caller.log_prompts {
            told.prompts(plan);
        }
        told
    }

    fn id(&self) -> &str {
        self.caller.id.as_ref().map_or("", RequestId::as_str)
    }

    fn prompts(&self, plan: &Plan) {
        for prompt in &plan.prompts {
            let text = plan.model.tokenizer.decode(&prompt.tokens);
            let shown: String = text
                .char_indices()
                .take_while(|(at, _)| *at < LOGGED_PROMPT_SIZE_MAX)
                .map(|(_, character)| character)
                .collect();
            tracing::info!(request_id = self.id(), prompt = shown, "asked");
        }
    }

    /// Writes the line.
    pub(crate) fn tell(&self, choices: usize, usage: Usage) {
        let trace = self.caller.trace.as_ref();
        let key = self.caller.grant.as_ref().map(|grant| grant.key().id.as_str());
        // A client that hung up has no error and no end.
        let hung_up = (self.finished.len() < choices).then_some("cancelled");
        let (error, usage) =
            self.error.map_or((hung_up, usage), |(it, till)| (Some(it.name()), till));
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            request_id = self.id(),
            trace_id = trace.map(|it| it.id.as_str()),
            parent_span_id = trace.map(|it| it.parent.as_str()),
            span_id = trace.map(|it| it.span.as_str()),
            key,
            gen_ai.operation.name = self.operation,
            gen_ai.provider.name = "mashaa",
            gen_ai.request.model = self.model,
            gen_ai.usage.input_tokens = usage.prompt,
            gen_ai.usage.cache_read.input_tokens = usage.cached,
            gen_ai.usage.output_tokens = usage.completion,
            gen_ai.response.finish_reasons = self.finished.join(","),
            error.type = error,
            first_token_ms = self.first.map(milliseconds),
            duration_ms = milliseconds(self.started.elapsed()),
            "answered"
        );
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_trace_context_is_taken_whole_or_not_at_all() {
        let of = |text: &'static str| {
            let headers = [("traceparent", text)].map(|(name, value)| {
                (axum::http::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            Trace::of(&headers.into_iter().collect()).map(|it| (it.id, it.parent))
        };
        let (id, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let whole = Some((id.to_owned(), parent.to_owned()));
        assert_eq!(of("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), whole);
        assert_eq!(of("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more"), whole);
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
