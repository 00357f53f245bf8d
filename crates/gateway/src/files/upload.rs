//! Reads a file as clients send it, as multipart form data, and brings it to the disk as it comes.
//!
//! Invariants:
//! - However large the file, some pieces of it are in memory at once.
//! - Fields come in any order; what is refused leaves nothing behind.
//!
//! Not here: the disk (`shelf`).

use std::sync::Arc;

use axum::extract::Request;
use axum::http::header;
use multer::{Constraints, Field, Multipart, SizeLimit};
use serde_json::json;
use tokio::time::timeout;

use crate::error::{ApiError, Code, quote};
use crate::files::on_disk;
use crate::files::shelf::{Incoming, Label, PIECE_SIZE, Shelf, Stored};
use crate::ids::{fresh, seconds};
use crate::limits::{BODY_TIME_MAX, FILENAME_SIZE_MAX};
use crate::parameters::{invalid, unsupported};

/// What files are said to be for, in the OpenAI API. Only `batch` is used here.
const PURPOSES: [&str; 6] = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"];
/// Bytes of a field that is no file, at most.
const FIELD_SIZE_MAX: u64 = 1024;
/// Bytes of a body beyond its file, at most: the heads of its parts.
const OVERHEAD_MAX: u64 = 64 << 10;
/// Seconds after which a file may go away: an hour to 30 days, as in the OpenAI API.
const EXPIRY: std::ops::RangeInclusive<u64> = 3600..=2_592_000;

/// What was read so far.
#[derive(Default)]
struct Form {
    purpose: Option<String>,
    anchor: Option<String>,
    expires_after: Option<u64>,
    /// The file and its name.
    file: Option<(Incoming, String)>,
}

/// Reads a request for a new file, and keeps the file.
pub(crate) async fn read(request: Request, shelf: &Arc<Shelf>) -> Result<Arc<Stored>, ApiError> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    let boundary = multer::parse_boundary(kind.unwrap_or_default()).map_err(|_| {
        let message = "the body must have the header `Content-Type: multipart/form-data`";
        ApiError::new(Code::UnsupportedMediaType, message)
    })?;
    // Beyond its own limit a file is read on for one piece, so that the error names the setting.
    let file = shelf.file_size_max().saturating_add(OVERHEAD_MAX);
    let limits = SizeLimit::new().per_field(FIELD_SIZE_MAX).for_field("file", file);
    let limits = limits.whole_stream(file.saturating_add(OVERHEAD_MAX));
    let constraints = Constraints::new().size_limit(limits);
    let body = request.into_body().into_data_stream();
    let mut parts = Multipart::with_constraints(body, boundary, constraints);
    let id = fresh("file-")?;
    let mut form = Form::default();
    while let Some(field) = patient(parts.next_field()).await? {
        form.take(field, &id, shelf).await?;
    }
    form.keep(id).await
}

impl Form {
    async fn take(
        &mut self,
        field: Field<'_>,
        id: &str,
        shelf: &Arc<Shelf>,
    ) -> Result<(), ApiError> {
        let name = field.name().unwrap_or_default().to_owned();
        match name.as_str() {
            "file" if self.file.is_some() => return Err(invalid("file", "is there twice")),
            "file" => {
                let filename = filename(&field)?;
                let (shelf, id) = (Arc::clone(shelf), id.to_owned());
                let incoming = blocking(move || shelf.begin(&id)).await?;
                self.file = Some((receive(field, incoming).await?, filename));
            }
            "purpose" => self.purpose = Some(purpose(patient(field.text()).await?)?),
            "expires_after[anchor]" => self.anchor = Some(patient(field.text()).await?),
            "expires_after[seconds]" => {
                let text = patient(field.text()).await?;
                let after = text.parse().ok().filter(|it| EXPIRY.contains(it));
                let (least, most) = (EXPIRY.start(), EXPIRY.end());
                let problem = format!("is {}, outside {least} to {most}", quote(&text));
                self.expires_after = Some(after.ok_or_else(|| invalid(&name, problem))?);
            }
            _ => return Err(unsupported(&name, &json!(null))),
        }
        Ok(())
    }

    async fn keep(self, id: String) -> Result<Arc<Stored>, ApiError> {
        let missing = |name: &str| {
            ApiError::new(Code::MissingParameter, format!("`{name}` is missing")).at(name)
        };
        let (incoming, filename) = self.file.ok_or_else(|| missing("file"))?;
        let purpose = self.purpose.ok_or_else(|| missing("purpose"))?;
        match (self.anchor.as_deref(), self.expires_after) {
            (Some("created_at"), Some(_)) | (None, None) => {}
            (Some("created_at"), None) => return Err(missing("expires_after[seconds]")),
            (None, Some(_)) => return Err(missing("expires_after[anchor]")),
            (Some(other), _) => {
                return Err(unsupported("expires_after[anchor]", &json!(other)));
            }
        }
        let expires_at = self.expires_after.map(|after| seconds().saturating_add(after));
        let label = Label { id, purpose, filename, expires_at };
        on_disk(move || incoming.keep(&label)).await
    }
}

/// Brings a file's bytes to the disk.
async fn receive(mut field: Field<'_>, mut incoming: Incoming) -> Result<Incoming, ApiError> {
    let mut buffer = Vec::with_capacity(PIECE_SIZE);
    loop {
        let piece = patient(field.chunk()).await?;
        let is_last = piece.is_none();
        buffer.extend_from_slice(&piece.unwrap_or_default());
        if buffer.len() < PIECE_SIZE && !is_last {
            continue;
        }
        (incoming, buffer) = blocking(move || {
            incoming.write(&buffer)?;
            buffer.clear();
            Ok((incoming, buffer))
        })
        .await?;
        if is_last {
            return Ok(incoming);
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    on_disk(move || Ok(work())).await?
}

/// Waits for a client's next bytes.
async fn patient<T>(next: impl Future<Output = Result<T, multer::Error>>) -> Result<T, ApiError> {
    let late = |_| ApiError::new(Code::RequestTimeout, "the body did not come in time");
    timeout(BODY_TIME_MAX, next).await.map_err(late)?.map_err(|error| match error {
        multer::Error::FieldSizeExceeded { .. } | multer::Error::StreamSizeExceeded { .. } => {
            ApiError::new(Code::BodyTooLarge, "the body, or a field of it, is too large")
                .because(error)
        }
        _ => ApiError::new(Code::InvalidMultipart, "the body is no whole multipart form")
            .because(error),
    })
}

fn purpose(text: String) -> Result<String, ApiError> {
    match PURPOSES.contains(&text.as_str()) {
        true => Ok(text),
        false => Err(unsupported("purpose", &json!(text))),
    }
}

fn filename(field: &Field<'_>) -> Result<String, ApiError> {
    let name = field.file_name().unwrap_or("file");
    if name.len() > FILENAME_SIZE_MAX {
        let problem = format!("has a name of {} bytes, more than {FILENAME_SIZE_MAX}", name.len());
        return Err(invalid("file", problem));
    }
    Ok(name.to_owned())
}
