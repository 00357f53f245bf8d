//! A batch as clients see it, and as its file has it.
//!
//! Not here: who works on it (`work`), the folder (`desk`).

use serde_json::{Map, Value, json};

/// The field with the id of the API key that a batch came with, which clients do not see.
pub(crate) const KEY: &str = "key";

/// One batch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Batch {
    fields: Map<String, Value>,
    /// Requests in it, once they are counted.
    pub(crate) total: usize,
    /// What became of them.
    pub(crate) counts: Counts,
}

/// How many requests of a batch have been answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// With what was asked for.
    pub(crate) completed: usize,
    /// With an error.
    pub(crate) failed: usize,
}

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) input: String,
    /// As the client wrote it, and in seconds.
    pub(crate) window: (String, u64),
    pub(crate) metadata: Value,
    /// Seconds after which the files of results go away.
    pub(crate) output_expires_after: Option<u64>,
}

/// The operation that answers the requests of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/responses`.
    Responses,
}

/// Where a batch is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Its file is being read.
    Validating,
    /// Its file cannot be worked on.
    Failed,
    /// Its requests are being answered.
    InProgress,
    /// Its results are being written.
    Finalizing,
    /// Its results are there.
    Completed,
    /// Its time was over first.
    Expired,
    /// Its client wants no more.
    Cancelling,
    /// The same, and the results so far are there.
    Cancelled,
}

impl Endpoint {
    /// Each, with its path.
    pub(crate) const ALL: [(Endpoint, &str); 4] = [
        (Endpoint::Chat, "/v1/chat/completions"),
        (Endpoint::Completions, "/v1/completions"),
        (Endpoint::Embeddings, "/v1/embeddings"),
        (Endpoint::Responses, "/v1/responses"),
    ];

    /// The operation at a path.
    pub(crate) fn of(path: &str) -> Option<Endpoint> {
        Endpoint::ALL.into_iter().find(|(_, known)| *known == path).map(|(endpoint, _)| endpoint)
    }

    /// Its path.
    pub(crate) fn path(self) -> &'static str {
        Endpoint::ALL.into_iter().find(|(known, _)| *known == self).map_or("", |(_, path)| path)
    }
}

impl Status {
    const ALL: [(Status, &'static str); 8] = [
        (Status::Validating, "validating"),
        (Status::Failed, "failed"),
        (Status::InProgress, "in_progress"),
        (Status::Finalizing, "finalizing"),
        (Status::Completed, "completed"),
        (Status::Expired, "expired"),
        (Status::Cancelling, "cancelling"),
        (Status::Cancelled, "cancelled"),
    ];

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        Status::ALL.into_iter().find(|(known, _)| *known == self).map_or("", |(_, name)| name)
    }

    fn of(name: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|(_, known)| *known == name).map(|(status, _)| status)
    }

    /// Whether nothing more is done.
    pub(crate) fn is_end(self) -> bool {
        matches!(self, Status::Failed | Status::Completed | Status::Expired | Status::Cancelled)
    }
}

impl Batch {
    /// A batch that was just asked for.
    pub(crate) fn new(id: &str, asked: &Asked, now: u64) -> Batch {
        let (window, seconds) = &asked.window;
        let value = json!({
            "id": id,
            "object": "batch",
            "endpoint": asked.endpoint.path(),
            "errors": null,
            "input_file_id": asked.input,
            "completion_window": window,
            "status": Status::Validating.name(),
            "output_file_id": null,
            "error_file_id": null,
            "output_cid": null,
            "error_cid": null,
            "created_at": now,
            "in_progress_at": null,
            "expires_at": now.saturating_add(*seconds),
            "finalizing_at": null,
            "completed_at": null,
            "failed_at": null,
            "expired_at": null,
            "cancelling_at": null,
            "cancelled_at": null,
            "metadata": asked.metadata,
            "output_expires_after": asked.output_expires_after,
        });
        let fields = value.as_object().cloned().unwrap_or_default();
        Batch { fields, total: 0, counts: Counts::default() }
    }

    /// What was written of a batch.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Batch> {
        let Value::Object(mut fields) = serde_json::from_slice(bytes).ok()? else { return None };
        let counts = fields.remove("request_counts")?;
        let count = |name: &str| usize::try_from(counts[name].as_u64()?).ok();
        let (total, completed, failed) = (count("total")?, count("completed")?, count("failed")?);
        let batch = Batch { fields, total, counts: Counts { completed, failed } };
        let is_whole = Status::of(batch.text("status")).is_some()
            && Endpoint::of(batch.text("endpoint")).is_some()
            && batch.fields.get("expires_at").is_some_and(Value::is_u64);
        is_whole.then_some(batch)
    }

    /// The batch as clients see it.
    pub(crate) fn shown(&self) -> Value {
        let mut shown = self.json();
        shown.as_object_mut().into_iter().for_each(|fields| drop(fields.remove(KEY)));
        shown
    }

    /// The batch as its file has it.
    pub(crate) fn json(&self) -> Value {
        let mut fields = self.fields.clone();
        let Counts { completed, failed } = self.counts;
        let counts = json!({"total": self.total, "completed": completed, "failed": failed});
        fields.insert("request_counts".to_owned(), counts);
        Value::Object(fields)
    }

    /// Its id.
    pub(crate) fn id(&self) -> &str {
        self.text("id")
    }

    /// Where it is.
    pub(crate) fn status(&self) -> Status {
        Status::of(self.text("status")).unwrap_or(Status::Failed)
    }

    /// Who answers its requests.
    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint::of(self.text("endpoint")).unwrap_or(Endpoint::Chat)
    }

    /// The id of the API key that it came with, if that is of a ring.
    pub(crate) fn key(&self) -> Option<&str> {
        self.fields.get(KEY).and_then(Value::as_str)
    }

    /// When its time is over, in seconds since 1970.
    pub(crate) fn expires_at(&self) -> u64 {
        self.number("expires_at").unwrap_or(0)
    }

    /// Seconds after which its results go away, if they do.
    pub(crate) fn output_expires_after(&self) -> Option<u64> {
        self.number("output_expires_after")
    }

    /// Brings it to a status.
    pub(crate) fn enter(&mut self, status: Status, now: u64) {
        self.set("status", json!(status.name()));
        self.set(&format!("{}_at", status.name()), json!(now));
    }

    /// Sets a field.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }

    fn text(&self, name: &str) -> &str {
        self.fields.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name).and_then(Value::as_u64)
    }
}
