//! The choices of one answer, followed together.
//!
//! Invariants:
//! - An answer under a grammar follows it, whoever computed it, or it is broken.
//! - Dropping an answer drops its jobs, which cancels them.
//! - The choices take turns, so that none waits for another's end.
//!
//! Not here: what an output means for the text (`transcript`), JSON (`shape`).

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use engine::guide::Guide as _;
use engine::request::{Output, Request};
use text::grammar::TextGuide;
use tokio::time::{Duration, Instant, timeout};

use crate::auth::account::{Claim, Grant, Running};
use crate::backend::{Backend, Broken, Job, Receipt};
use crate::caller::Told;
use crate::calls::CallReader;
use crate::error::{ApiError, Code, json_response};
use crate::limits::SILENCE_TIME_MAX;
use crate::metrics::{Hold, Metrics};
use crate::plan::Plan;
use crate::router::Gateway;
use crate::shape::{Shape, Usage};
use crate::stored::Keeper;
use crate::transcript::{Piece, Reason, Transcript};
use crate::turns::Place;

/// An answer being generated.
#[derive(Debug)]
pub(crate) struct Answer {
    choices: Vec<Choice>,
    /// The choice that is asked first for its next output.
    turn: usize,
    choices_per_prompt: usize,
    prompt_tokens: u64,
    metrics: Arc<Metrics>,
    started: Instant,
    told: Told,
    /// What its tokens are charged to.
    running: Option<Running>,
    /// Its turn, until a prompt is computed.
    place: Option<Place>,
    _in_flight: Hold,
}

#[derive(Debug)]
struct Choice {
    /// `None` once the choice ended.
    job: Option<Job>,
    transcript: Transcript,
    /// Finds calls of tools, if there may be any.
    calls: Option<CallReader>,
    /// Follows the grammar, if there is one.
    guide: Option<TextGuide>,
    /// Held until the backend has computed the prompt.
    queued: Option<Hold>,
    last_token: Option<Instant>,
}

impl Answer {
    /// Queues every choice of the plan; all of them or none.
    pub(crate) async fn start(plan: &Plan, gateway: &Gateway) -> Result<Answer, ApiError> {
        let (backend, metrics) = (gateway.backend(), gateway.metrics_shared());
        let told = Told::of(plan);
        let running = plan.caller.grant.as_ref().map(Grant::begin).transpose()?;
        // All of them or none: before any machine begins.
        let mut claims = claims(plan, backend)?.into_iter();
        let place = match plan.caller.lane() {
            Some(key) => Some(gateway.turns().take(key).await?),
            None => None,
        };
        let mut choices = Vec::new();
        for (index, request) in plan.requests() {
            let (seeding, urgency) = (plan.seeding, plan.caller.urgency);
            let job = backend.submit(&plan.model, request, seeding, urgency).await;
            let job = job.map_err(|busy| {
                ApiError::new(Code::Busy, "all machines are busy").retry_after(busy.retry_after)
            })?;
            claims.next().into_iter().for_each(|claim| job.bill().charge(claim));
            let queued = Some(metrics.queued.hold());
            choices.extend(plan.prompts.get(index).map(|prompt| Choice {
                job: Some(job),
                transcript: Transcript::new(
                    Arc::clone(&plan.model),
                    Arc::clone(&prompt.tokens),
                    prompt.echo.clone(),
                    &plan.stops,
                    plan.records(),
                ),
                calls: plan.tools.as_ref().map(|(syntax, tools)| CallReader::new(*syntax, tools)),
                guide: plan.grammar.as_ref().map(|grammar| grammar.guide.clone()),
                queued,
                last_token: None,
            }));
        }
        Ok(Answer {
            choices,
            turn: 0,
            choices_per_prompt: plan.n as usize,
            prompt_tokens: plan.prompts.iter().map(|prompt| prompt.tokens.len() as u64).sum(),
            metrics: Arc::clone(metrics),
            started: Instant::now(),
            told,
            running,
            place,
            _in_flight: metrics.in_flight(plan.caller.urgency).hold(),
        })
    }

    /// The machine that took the first choice, if the backend says so. Another may go on with it.
    pub(crate) fn worker(&self) -> Option<HeaderValue> {
        let job = self.choices.first()?.job.as_ref()?;
        HeaderValue::from_str(job.worker()?).ok()
    }

    /// How many choices there are.
    pub(crate) fn len(&self) -> usize {
        self.choices.len()
    }

    /// The next piece of any choice, with the choice's index; `None` when all have ended.
    /// Nothing is lost if the future is dropped before it is ready.
    pub(crate) async fn next(&mut self) -> Option<Result<(usize, Piece), ApiError>> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Tokens so far. Of a prompt's choices the first says what was cached: the others find what
    /// the first one left.
    pub(crate) fn usage(&self) -> Usage {
        let firsts = self.choices.iter().step_by(self.choices_per_prompt.max(1));
        let completion = |choice: &Choice| u64::from(choice.transcript.completion_tokens());
        Usage {
            prompt: self.prompt_tokens,
            cached: firsts.map(|choice| u64::from(choice.transcript.cached_tokens())).sum(),
            completion: self.choices.iter().map(completion).sum(),
        }
    }

    /// The whole answer at once.
    pub(crate) async fn whole(
        mut self,
        shape: &Shape,
        keeper: Option<Keeper>,
    ) -> Result<Response, ApiError> {
        let mut pieces: Vec<Piece> = self.choices.iter().map(|_| Piece::default()).collect();
        loop {
            let Ok(next) = timeout(SILENCE_TIME_MAX, self.next()).await else {
                return Err(self.silent());
            };
            let Some((index, piece)) = next.transpose()? else { break };
            if let Some(whole) = pieces.get_mut(index) {
                whole.absorb(piece);
            }
        }
        let answer = shape.answer(&pieces, self.usage());
        keeper.into_iter().for_each(|keeper| keeper.keep(&answer));
        let mut response = json_response(StatusCode::OK, &answer);
        let receipts: Option<Vec<&Receipt>> = pieces.iter().map(|it| it.receipt.as_ref()).collect();
        if let Some(receipts) = receipts {
            let mut put = |name, each: fn(&Receipt) -> &str| {
                let all: Vec<&str> = receipts.iter().map(|it| each(it)).collect();
                let value = HeaderValue::try_from(all.join(", ")).ok();
                value.and_then(|it| response.headers_mut().insert(name, it));
            };
            put("x-mashaa-receipt", |it| &it.id);
            put("x-mashaa-cost", |it| &it.cost);
        }
        Ok(response)
    }

    /// Gives up an answer that says nothing.
    pub(crate) fn silent(&mut self) -> ApiError {
        self.give_up(Code::AnswerTimeout);
        ApiError::new(Code::AnswerTimeout, "the answer stayed silent too long")
    }

    /// Cancels every choice.
    fn give_up(&mut self, why: Code) {
        self.told.error = Some((why, self.usage()));
        self.choices.clear();
        self.metrics.answers_broken.add(1);
    }

    fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<(usize, Piece), ApiError>>> {
        let count = self.choices.len();
        let mut running = false;
        for step in 0..count {
            let index = (self.turn + step) % count;
            let Some(choice) = self.choices.get_mut(index) else { continue };
            while let Some(job) = &mut choice.job {
                let Poll::Ready(output) = job.poll_next(context) else {
                    running = true;
                    break;
                };
                let Some(Ok(output)) = output else {
                    return Poll::Ready(Some(Err(self.broken(output))));
                };
                if !choice.follows(&output) {
                    let why = "a token does not follow the grammar".to_owned();
                    return Poll::Ready(Some(Err(self.broken(Some(Err(Broken(why)))))));
                }
                choice.measure(&output, &self.metrics, self.started, &mut self.told.first);
                self.place = None;
                let tokens = choice.tokens_of(&output);
                self.running.iter().filter(|_| tokens > 0).for_each(|it| it.count(tokens));
                let piece = choice.apply(output);
                self.told.finished.extend(piece.finish.map(Reason::name));
                if !piece.is_empty() {
                    self.turn = (index + 1) % count;
                    return Poll::Ready(Some(Ok((index, piece))));
                }
            }
        }
        if running { Poll::Pending } else { Poll::Ready(None) }
    }

    fn broken(&mut self, output: Option<Result<Output, Broken>>) -> ApiError {
        let reason = match output {
            Some(Err(Broken(reason))) => reason,
            _ => "the backend closed the job without finishing it".to_owned(),
        };
        self.give_up(Code::AnswerBroken);
        ApiError::new(Code::AnswerBroken, "the answer broke off before its end").because(reason)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.told.tell(self.choices.len(), self.usage());
    }
}

/// For each choice, what it may cost its key.
fn claims(plan: &Plan, backend: &dyn Backend) -> Result<Vec<Claim>, ApiError> {
    let capped = |grant: &&Grant| grant.key().limits.spend.is_some();
    let Some(grant) = plan.caller.grant.as_ref().filter(capped) else { return Ok(Vec::new()) };
    let price = backend.price_max();
    plan.requests().map(|(_, request)| grant.claim(most(&request, price))).collect()
}

/// What a sequence can cost at a price for a million tokens, at most.
fn most(request: &Request, price: u64) -> u64 {
    let tokens = request.prompt.len() as u128 + u128::from(request.tokens_max);
    u64::try_from((tokens * u128::from(price)).div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Says in a response which machine took the answer.
pub(crate) fn name_worker(response: &mut Response, worker: Option<HeaderValue>) {
    if let Some(worker) = worker {
        response.headers_mut().insert("x-mashaa-worker", worker);
    }
}

impl Choice {
    /// Tokens that an output stands for: those of the prompt, once it is computed, and each of the answer.
    fn tokens_of(&self, output: &Output) -> u64 {
        match output {
            Output::Prompt { .. } => self.transcript.prompt_tokens(),
            Output::Token { .. } => 1,
            Output::Finished(_) => 0,
        }
    }

    /// Whether an output follows the grammar, if there is one.
    fn follows(&mut self, output: &Output) -> bool {
        match (output, &mut self.guide) {
            (Output::Token { token, .. }, Some(guide)) => guide.take(*token),
            _ => true,
        }
    }

    fn apply(&mut self, output: Output) -> Piece {
        // Where a stop string ends the text first, the receipt would be about more than was sent.
        let is_whole = matches!(output, Output::Finished(_));
        let mut piece = self.transcript.apply(output);
        self.calls.iter_mut().for_each(|calls| calls.read(&mut piece));
        if piece.finish.is_some() {
            let job = self.job.as_ref().filter(|_| is_whole);
            piece.receipt = job.and_then(|job| job.receipt().said()).cloned();
            self.job = None;
            self.queued = None;
        }
        piece
    }

    fn measure(
        &mut self,
        output: &Output,
        metrics: &Metrics,
        started: Instant,
        first: &mut Option<Duration>,
    ) {
        match output {
            Output::Prompt { cached, .. } => {
                self.queued = None;
                metrics.prompt_tokens.add(self.transcript.prompt_tokens());
                metrics.cached_tokens.add(u64::from(*cached));
            }
            Output::Token { .. } => {
                self.queued = None;
                metrics.completion_tokens.add(1);
                let now = Instant::now();
                if first.is_none() {
                    let time = now.duration_since(started);
                    metrics.time_to_first_token.observe(time);
                    *first = Some(time);
                }
                if let Some(last) = self.last_token.replace(now) {
                    metrics.time_per_token.observe(now.duration_since(last));
                }
            }
            Output::Finished(_) => {}
        }
    }
}
