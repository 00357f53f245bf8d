//! Reads the file of a batch: a request in each line.
//!
//! Invariants:
//! - One line is in memory at a time.
//! - A file is worked on only if each of its lines is a request of its own for the batch's operation.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::batches::record::Endpoint;
use crate::error::quote;
use crate::limits::{BATCH_LINES_MAX, BATCH_PROBLEMS_MAX, BODY_SIZE_MAX, CUSTOM_ID_SIZE_MAX};

/// Bytes of one line, at most: a body and what is around it.
const LINE_SIZE_MAX: usize = BODY_SIZE_MAX + 4096;

/// Where a request is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    at: u64,
    size: usize,
}

/// One request.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) custom_id: String,
    pub(crate) body: Value,
}

/// Why a file cannot be worked on, as clients are told.
pub(crate) type Problems = Vec<Value>;

/// The requests of a file, or what is wrong with it.
pub(crate) fn read(path: &Path, endpoint: Endpoint) -> io::Result<Result<Vec<Line>, Problems>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut lines, mut problems, mut ids) = (Vec::new(), Problems::new(), BTreeSet::new());
    let (mut at, mut bytes) = (0, Vec::new());
    for number in 1.. {
        bytes.clear();
        reader.by_ref().take(LINE_SIZE_MAX as u64 + 1).read_until(b'\n', &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        let line = Line { at, size: bytes.len() };
        at += bytes.len() as u64;
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        if lines.len() == BATCH_LINES_MAX {
            let message = format!("there are more than {BATCH_LINES_MAX} requests");
            problems.push(problem("too_many_tasks", &message, None, number));
            break;
        }
        if let Err((code, message, param)) = check(&bytes, endpoint, &mut ids) {
            problems.push(problem(code, &message, param, number));
        }
        // What is too long is not read on.
        if problems.len() == BATCH_PROBLEMS_MAX || bytes.len() > LINE_SIZE_MAX {
            break;
        }
        lines.push(line);
    }
    if lines.is_empty() && problems.is_empty() {
        problems.push(problem("empty_file", "the file has no requests", None, 1));
    }
    Ok(if problems.is_empty() { Ok(lines) } else { Err(problems) })
}

/// Reads one request of a file whose lines were all in order.
pub(crate) fn load(path: &Path, line: Line) -> io::Result<Request> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(line.at))?;
    let mut bytes = vec![0; line.size];
    file.read_exact(&mut bytes)?;
    let mut value: Value = serde_json::from_slice(&bytes)?;
    let custom_id = value["custom_id"].as_str().unwrap_or_default().to_owned();
    Ok(Request { custom_id, body: value["body"].take() })
}

type Wrong = (&'static str, String, Option<&'static str>);

fn check(bytes: &[u8], endpoint: Endpoint, ids: &mut BTreeSet<[u8; 32]>) -> Result<(), Wrong> {
    if bytes.len() > LINE_SIZE_MAX {
        let message = format!("the line is longer than {LINE_SIZE_MAX} bytes");
        return Err(("invalid_json_line", message, None));
    }
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|error| ("invalid_json_line", format!("the line is no JSON: {error}"), None))?;
    let text = |name: &'static str| {
        let missing = || ("missing_required_parameter", format!("`{name}` is missing"), Some(name));
        value[name].as_str().ok_or_else(missing)
    };
    let id = text("custom_id")?;
    if id.is_empty() || id.len() > CUSTOM_ID_SIZE_MAX {
        let message =
            format!("`custom_id` has {} bytes, outside 1 to {CUSTOM_ID_SIZE_MAX}", id.len());
        return Err(("invalid_custom_id", message, Some("custom_id")));
    }
    if !ids.insert(Sha256::digest(id).into()) {
        let message = format!("another line has the `custom_id` {}, too", quote(id));
        return Err(("duplicate_custom_id", message, Some("custom_id")));
    }
    let method = text("method")?;
    if method != "POST" {
        let message = format!("`method` is {}, not `POST`", quote(method));
        return Err(("invalid_method", message, Some("method")));
    }
    let (url, path) = (text("url")?, endpoint.path());
    if url != path {
        let message = format!("`url` is {}, and the batch is for `{path}`", quote(url));
        return Err(("mismatched_url", message, Some("url")));
    }
    let known = ["custom_id", "method", "url", "body"];
    let fields = value.as_object().into_iter().flat_map(|fields| fields.keys());
    if let Some(name) = fields.into_iter().find(|name| !known.contains(&name.as_str())) {
        let message = format!("{} is not supported by this server", quote(name));
        return Err(("unsupported_parameter", message, None));
    }
    match &value["body"] {
        Value::Object(_) => Ok(()),
        _ => Err(("missing_required_parameter", "`body` is no object".to_owned(), Some("body"))),
    }
}

fn problem(code: &str, message: &str, param: Option<&str>, line: usize) -> Value {
    json!({"code": code, "message": message, "param": param, "line": line})
}
