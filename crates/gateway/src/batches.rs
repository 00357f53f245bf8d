//! `/v1/batches`: many requests in one file, answered when nothing else is to be done.
//!
//! Not here: answering them (`work`), what is kept (`desk`, `journal`), their file (`input`).

pub(crate) mod desk;
mod input;
mod journal;
mod record;
pub mod work;

use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Value, json};

use crate::auth::account::Grant;
use crate::batches::record::{Asked, Batch, Endpoint, KEY, Status};
use crate::body::Id;
use crate::error::{ApiError, Code, json_response, quote};
use crate::files::{find, on_disk};
use crate::ids::{fresh, seconds};
use crate::limits::BATCHES_MAX;
use crate::paging::{Page, Pairs};
use crate::parameters::{Fields, invalid, string, unsupported, wrong_type};
use crate::router::Gateway;
use crate::stored::metadata;

/// Batches of one page, at most, and if nothing is said, as in the OpenAI API.
const PAGE_MAX: usize = 100;
const PAGE: usize = 20;
/// Hours that a batch may take, at most: a week.
const HOURS_MAX: u64 = 168;
/// Seconds after which results may go away: an hour to 30 days, as in the OpenAI API.
const OUTPUT_EXPIRY: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// `POST /v1/batches`.
pub(crate) async fn create(
    State(gateway): State<Arc<Gateway>>,
    request: Request,
) -> Result<Response, ApiError> {
    let archive = gateway.archive()?;
    let grant = Grant::of(&request);
    let body = gateway.read(request).await?;
    let asked = asked(&body.bytes)?;
    let stored = find(archive, &asked.input).map_err(|error| error.at("input_file_id"))?;
    if stored.purpose != "batch" {
        let problem = format!("names a file for {}, not for `batch`", quote(&stored.purpose));
        return Err(invalid("input_file_id", problem));
    }
    let mut batch = Batch::new(&fresh("batch_")?, &asked, seconds());
    grant.iter().for_each(|grant| batch.set(KEY, json!(grant.key().id)));
    let (desk, shelf) = (Arc::clone(&archive.desk), Arc::clone(&archive.shelf));
    let shown = batch.shown();
    let kept = on_disk(move || desk.add(&batch, |to| shelf.link(&asked.input, to))).await?;
    if !kept {
        let problem = format!("there are {BATCHES_MAX} batches that have not ended");
        return Err(ApiError::new(Code::StorageFull, problem));
    }
    Ok(json_response(StatusCode::OK, &shown))
}

/// `GET /v1/batches`.
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Query(pairs): Pairs,
) -> Result<Response, ApiError> {
    let batches = gateway.archive()?.desk.list();
    let page = Page::read(&pairs, (PAGE, PAGE_MAX), |_, _| false)?;
    let page = page.of(batches.iter().map(Batch::shown).collect(), "the list")?;
    Ok(json_response(StatusCode::OK, &page))
}

/// `GET /v1/batches/{id}`.
pub(crate) async fn retrieve(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let batch = gateway.archive()?.desk.get(&id).ok_or_else(|| unknown(&id))?;
    Ok(json_response(StatusCode::OK, &batch.shown()))
}

/// `POST /v1/batches/{id}/cancel`. To cancel what is being cancelled changes nothing.
pub(crate) async fn cancel(
    State(gateway): State<Arc<Gateway>>,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let desk = Arc::clone(&gateway.archive()?.desk);
    let name = id.clone();
    let batch = on_disk(move || {
        desk.change(&name, |batch| {
            let may = matches!(batch.status(), Status::Validating | Status::InProgress);
            if may {
                batch.enter(Status::Cancelling, seconds());
            }
            may
        })
    });
    let batch = batch.await?.ok_or_else(|| unknown(&id))?;
    match batch.status() {
        Status::Cancelling | Status::Cancelled => Ok(json_response(StatusCode::OK, &batch.shown())),
        status => {
            let message = format!("the batch is {}, and cannot be cancelled", status.name());
            Err(ApiError::new(Code::InvalidValue, message))
        }
    }
}

fn unknown(id: &str) -> ApiError {
    ApiError::new(Code::BatchNotFound, format!("there is no batch {} here", quote(id)))
}

fn asked(body: &[u8]) -> Result<Asked, ApiError> {
    let mut fields = Fields::parse(body)?;
    let asked = Asked {
        endpoint: fields.require("endpoint", endpoint)?,
        input: fields.require("input_file_id", string)?,
        window: fields.require("completion_window", window)?,
        metadata: fields.take("metadata", metadata)?.unwrap_or_default(),
        output_expires_after: fields.take("output_expires_after", expiry)?,
    };
    fields.finish()?;
    Ok(asked)
}

fn endpoint(path: &str, value: Value) -> Result<Endpoint, ApiError> {
    let text = string(path, value)?;
    Endpoint::of(&text).ok_or_else(|| {
        let known: Vec<String> =
            Endpoint::ALL.iter().map(|(_, path)| format!("`{path}`")).collect();
        invalid(path, format!("is {}, none of {}", quote(&text), known.join(", ")))
    })
}

/// Hours, such as `24h`.
fn window(path: &str, value: Value) -> Result<(String, u64), ApiError> {
    let text = string(path, value)?;
    let hours = text.strip_suffix('h').and_then(|it| it.parse().ok());
    match hours.filter(|hours| (1..=HOURS_MAX).contains(hours)) {
        Some(hours) => Ok((text, hours * 3600)),
        None => {
            let problem = format!("is {}, not `24h` or another number of hours", quote(&text));
            Err(invalid(path, format!("{problem} from 1 to {HOURS_MAX}")))
        }
    }
}

fn expiry(path: &str, value: Value) -> Result<u64, ApiError> {
    let mut fields = Fields::object(path, value)?;
    fields.require("anchor", |path, value| match value.as_str() {
        Some("created_at") => Ok(()),
        _ => Err(unsupported(path, &value)),
    })?;
    let seconds = fields.require("seconds", |path, value| {
        let seconds = value.as_u64().ok_or_else(|| wrong_type(path, "an integer"))?;
        let (least, most) = (OUTPUT_EXPIRY.start(), OUTPUT_EXPIRY.end());
        let problem = || invalid(path, format!("is {seconds}, outside {least} to {most}"));
        OUTPUT_EXPIRY.contains(&seconds).then_some(seconds).ok_or_else(problem)
    })?;
    fields.finish()?;
    Ok(seconds)
}
