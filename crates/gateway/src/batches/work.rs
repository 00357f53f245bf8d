//! Answers the requests of batches, one batch after another, while nothing urgent runs.
//!
//! Each request takes the way of any other, but less urgently: the backend lets others go first, and a
//! request begins only while no urgent one is being answered. What a restart interrupts is done again;
//! what is in the journal is not.
//!
//! Invariants:
//! - Each request has one line in the results, whatever happened in between.
//! - Being busy, paused, not ready or over the key's limits is no answer: the request waits, till its batch's
//!   time is over.
//!
//! Not here: the operations (`router`), the files (`files::shelf`).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::archive::Archive;
use crate::auth::key::Scope;
use crate::backend::Urgency;
use crate::batches::input::{self, Line};
use crate::batches::journal::{Journal, Record};
use crate::batches::record::{Batch, Endpoint, Status};
use crate::error::{ApiError, Code};
use crate::files::on_disk;
use crate::files::shelf::Label;
use crate::ids::seconds;
use crate::limits::{BATCH_ANSWER_SIZE_MAX, BATCH_PAUSE, BATCH_TRIES_MAX, IDLE_LOOK};
use crate::observe::RequestId;
use crate::parameters::unsupported;
use crate::router::{Gateway, answer};
use crate::shape::Surface;
use crate::{embeddings, responses};

/// The pause after the disk has failed a batch.
const STANDSTILL: Duration = Duration::from_secs(15);

/// Works on batches until it is dropped. Where the gateway keeps none, there is nothing to do.
pub async fn work(gateway: Arc<Gateway>) {
    let Ok(archive) = gateway.archive() else { return };
    let desk = &archive.desk;
    // The one that is being answered, which then also sees that it is cancelled.
    let current = Mutex::new(String::new());
    let current = || current.lock().unwrap_or_else(PoisonError::into_inner);
    let is_cancelling = |it: &Batch| it.status() == Status::Cancelling;
    let answer = each(&gateway, archive, || {
        let next = desk.first(|it| !it.status().is_end() && !is_cancelling(it));
        *current() = next.as_ref().map(|it| it.id().to_owned()).unwrap_or_default();
        next
    });
    // Others need not wait for it to be cancelled.
    let cancel = each(&gateway, archive, || {
        let current = current().clone();
        desk.first(|it| is_cancelling(it) && it.id() != current)
    });
    tokio::join!(answer, cancel);
}

/// Works on one batch after another, whenever there is one.
async fn each(gateway: &Arc<Gateway>, archive: &Archive, next: impl Fn() -> Option<Batch>) {
    let mut changes = archive.desk.watch();
    loop {
        changes.borrow_and_update();
        let Some(batch) = next() else {
            // The sender is in the desk.
            drop(changes.changed().await);
            continue;
        };
        let id = batch.id().to_owned();
        if let Err(error) = Work::of(gateway, archive, batch).run().await {
            let why = error.private.as_deref().unwrap_or(&error.public);
            tracing::warn!(batch = id, why, "a batch stands still");
            sleep(STANDSTILL).await;
        }
    }
}

/// Work on one batch.
struct Work<'a> {
    gateway: &'a Arc<Gateway>,
    archive: &'a Archive,
    id: String,
    endpoint: Endpoint,
    expires_at: u64,
    output_expires_after: Option<u64>,
    folder: PathBuf,
    /// The id of the API key that it came with.
    key: Option<String>,
}

/// What ended the answering.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    Cancelled,
    Expired,
}

impl End {
    /// The status that follows, and what is said of requests that have no answer.
    fn row(self) -> (Status, &'static str, &'static str) {
        match self {
            End::Answered => (Status::Completed, "", ""),
            End::Cancelled => {
                (Status::Cancelled, "batch_cancelled", "the batch was cancelled first")
            }
            End::Expired => (Status::Expired, "batch_expired", "the batch's time was over first"),
        }
    }
}

impl Work<'_> {
    fn of<'a>(gateway: &'a Arc<Gateway>, archive: &'a Archive, batch: Batch) -> Work<'a> {
        Work {
            gateway,
            archive,
            endpoint: batch.endpoint(),
            expires_at: batch.expires_at(),
            output_expires_after: batch.output_expires_after(),
            folder: archive.desk.folder(batch.id()),
            id: batch.id().to_owned(),
            key: batch.key().map(str::to_owned),
        }
    }

    async fn run(&self) -> Result<(), ApiError> {
        let (path, endpoint) = (self.folder.join("input"), self.endpoint);
        let lines = match on_disk(move || input::read(&path, endpoint)).await? {
            Ok(lines) => lines,
            Err(problems) => return self.fail(problems).await,
        };
        let total = lines.len();
        self.change(move |batch| {
            batch.total = total;
            if batch.status() == Status::Validating {
                batch.enter(Status::InProgress, seconds());
            }
            true
        })
        .await?;
        let path = self.folder.join("journal");
        let journal = on_disk(move || Journal::open(&path)).await?;
        let (journal, end) = self.answer_all(&lines, journal).await?;
        self.change(move |batch| {
            let goes_on = end == End::Answered && batch.status() == Status::InProgress;
            if goes_on {
                batch.enter(Status::Finalizing, seconds());
            }
            goes_on
        })
        .await?;
        self.finish(&lines, journal, end).await
    }

    /// Answers what is not answered yet, until all is or the batch is to end.
    async fn answer_all(
        &self,
        lines: &[Line],
        mut journal: Journal,
    ) -> Result<(Journal, End), ApiError> {
        let left: Vec<usize> = (0..lines.len()).filter(|&line| !journal.has(line)).collect();
        let mut left = left.into_iter().filter_map(|line| Some((line, *lines.get(line)?)));
        let time = Duration::from_secs(self.expires_at.saturating_sub(seconds()));
        let expiry = sleep_until(Instant::now() + time);
        tokio::pin!(expiry);
        let mut changes = self.archive.desk.watch();
        let mut running = FuturesUnordered::new();
        loop {
            if self.archive.desk.get(&self.id).is_none_or(|it| it.status() == Status::Cancelling) {
                return Ok((journal, End::Cancelled));
            }
            let free = self.archive.lines_at_once.saturating_sub(running.len());
            running.extend(left.by_ref().take(free).map(|it| self.answer_line(it)));
            tokio::select! {
                record = running.next() => {
                    let Some(record) = record else { return Ok((journal, End::Answered)) };
                    let mut records = vec![record?];
                    // Those that are there as well go to the disk with it.
                    while let Some(Some(record)) = running.next().now_or_never() {
                        records.push(record?);
                    }
                    journal = self.record(journal, records).await?;
                }
                _ = changes.changed() => {}
                () = &mut expiry => return Ok((journal, End::Expired)),
            }
        }
    }

    /// Brings answers to the disk, and then tells of them.
    async fn record(
        &self,
        mut journal: Journal,
        records: Vec<Record>,
    ) -> Result<Journal, ApiError> {
        let journal = on_disk(move || journal.append(&records).map(|()| journal)).await?;
        self.archive.desk.count(&self.id, journal.counts());
        Ok(journal)
    }

    /// The line of the results for a request.
    async fn answer_line(&self, (number, line): (usize, Line)) -> Result<Record, ApiError> {
        let path = self.folder.join("input");
        let request = on_disk(move || input::load(&path, line)).await?;
        let name = RequestId::new();
        let (status, body) = self.answer(request.body, &name).await?;
        let text = format!(
            r#"{{"id":{},"custom_id":{},"response":{{"status_code":{status},"request_id":{},"body":{body}}},"error":null}}"#,
            json!(self.line_id(number)),
            json!(request.custom_id),
            json!(name.as_str()),
        );
        Ok(Record { line: number, completed: status == 200, text })
    }

    /// The status and the body of a request's answer, which may take a while to come.
    async fn answer(&self, body: Value, name: &RequestId) -> Result<(u16, String), ApiError> {
        let mut broken = 0;
        loop {
            while !self.gateway.metrics().in_flight(Urgency::Now).is_zero() {
                sleep(IDLE_LOOK).await;
            }
            let error = match self.ask(&body, name).await {
                Ok(response) => match whole(response).await {
                    Ok(whole) => return Ok(whole),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            match error.code {
                Code::Busy | Code::RateLimited | Code::Paused | Code::NotReady => {}
                Code::AnswerBroken | Code::AnswerTimeout | Code::Internal
                    if broken < BATCH_TRIES_MAX =>
                {
                    broken += 1;
                }
                _ => return whole(error.into_response()).await,
            }
            let pause = error.retry_after.map_or(BATCH_PAUSE, |it| Duration::from_secs(it.into()));
            sleep(pause).await;
        }
    }

    /// Asks the operation.
    async fn ask(&self, body: &Value, name: &RequestId) -> Result<Response, ApiError> {
        if body["stream"] == true {
            return Err(unsupported("stream", &body["stream"]));
        }
        let request = Request::builder().method(Method::POST).uri(self.endpoint.path());
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let keys = self.gateway.keys();
        let grant = self.key.as_ref().map(|id| keys.later(id, Scope::Batches)).transpose()?;
        let mut request = request.extension(Urgency::Idle).extension(name.clone());
        if let Some(grant) = grant {
            request = request.extension(grant);
        }
        let request = request.body(Body::from(body.to_string()));
        let broken = |error| ApiError::new(Code::Internal, "no request").because(error);
        let (request, gateway) = (request.map_err(broken)?, Arc::clone(self.gateway));
        match self.endpoint {
            Endpoint::Chat => answer(&gateway, name.clone(), request, Surface::Chat).await,
            Endpoint::Completions => {
                answer(&gateway, name.clone(), request, Surface::Completions).await
            }
            Endpoint::Embeddings => embeddings::embeddings(State(gateway), request).await,
            Endpoint::Responses => {
                responses::create(State(gateway), Extension(name.clone()), request).await
            }
        }
    }

    /// Writes the results, and ends the batch.
    async fn finish(&self, lines: &[Line], mut journal: Journal, end: End) -> Result<(), ApiError> {
        let (status, code, message) = end.row();
        let mut records = Vec::new();
        for (number, line) in lines.iter().enumerate().filter(|(number, _)| !journal.has(*number)) {
            let custom_id = json!(
                input::load(&self.folder.join("input"), *line)
                    .map_err(|error| crate::files::broken(&error))?
                    .custom_id
            );
            let id = json!(self.line_id(number));
            let error = json!({"code": code, "message": message});
            let text =
                format!(r#"{{"id":{id},"custom_id":{custom_id},"response":null,"error":{error}}}"#);
            records.push(Record { line: number, completed: false, text });
        }
        let name = |kind: &str| {
            let id = format!("file-{}-{kind}", self.id.trim_start_matches("batch_"));
            let expires_at = self.output_expires_after.map(|it| seconds().saturating_add(it));
            let filename = format!("{}_{kind}.jsonl", self.id);
            Label { id, purpose: "batch_output".to_owned(), filename, expires_at }
        };
        let kinds = [("output", true), ("error", false)].map(|(it, kind)| (it, kind, name(it)));
        let shelf = Arc::clone(&self.archive.shelf);
        let (files, counts) = on_disk(move || {
            journal.append(&records)?;
            let counts = journal.counts();
            let mut files = Vec::new();
            for (word, kind, label) in kinds {
                if (if kind { counts.completed } else { counts.failed }) > 0 {
                    files.push((word, shelf.put(&label, |to| journal.write(kind, to))?));
                }
            }
            Ok((files, counts))
        })
        .await?;
        self.change(move |batch| {
            for (word, stored) in &files {
                batch.set(&format!("{word}_file_id"), json!(stored.id));
                batch.set(&format!("{word}_cid"), json!(stored.cid));
            }
            batch.counts = counts;
            batch.enter(status, seconds());
            true
        })
        .await
    }

    /// Ends a batch whose file cannot be worked on.
    async fn fail(&self, problems: Vec<Value>) -> Result<(), ApiError> {
        self.change(move |batch| {
            batch.set("errors", json!({"object": "list", "data": problems}));
            batch.enter(Status::Failed, seconds());
            true
        })
        .await
    }

    async fn change(
        &self,
        change: impl FnOnce(&mut Batch) -> bool + Send + 'static,
    ) -> Result<(), ApiError> {
        let (desk, id) = (Arc::clone(&self.archive.desk), self.id.clone());
        on_disk(move || desk.change(&id, change)).await.map(|_| ())
    }

    fn line_id(&self, number: usize) -> String {
        format!("batch_req_{}_{number}", self.id.trim_start_matches("batch_"))
    }
}

/// Status and body, on one line.
async fn whole(response: Response) -> Result<(u16, String), ApiError> {
    let status = response.status().as_u16();
    let broken = |error: &dyn std::fmt::Display| {
        ApiError::new(Code::Internal, "an answer could not be kept").because(error)
    };
    let bytes = axum::body::to_bytes(response.into_body(), BATCH_ANSWER_SIZE_MAX).await;
    let bytes = bytes.map_err(|error| broken(&error))?;
    let text = String::from_utf8(bytes.to_vec()).map_err(|error| broken(&error))?;
    // In JSON an end of a line is a blank between two tokens; in a string it is escaped.
    Ok((status, text.replace('\n', " ")))
}
