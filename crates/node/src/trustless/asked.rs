//! Read what form of the content a request asks for.
//!
//! Not here: the answer.

use std::ops::Range;

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::{ACCEPT, CACHE_CONTROL};
use sha2::{Digest, Sha256};
use store::cid::Cid;
use store::walk::Scope;

use super::Refused;

/// The CID of nothing, in itself, by which gateways are found.
pub(super) const PROBE: &str = "bafkqaaa";
pub(super) const RAW: &str = "application/vnd.ipld.raw";
pub(super) const CAR: &str = "application/vnd.ipld.car";
pub(super) const BYTES: &str = "application/octet-stream";

/// In which form content is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One block.
    Raw,
    /// Blocks in an archive.
    Car,
    /// A file's bytes.
    File,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) form: Form,
    pub(super) scope: Scope,
    pub(super) bytes: Option<Bytes>,
    pub(super) only_if_cached: bool,
}

/// `entity-bytes`: from and to, both of which count; negative ones count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes {
    from: i64,
    to: Option<i64>,
}

impl Asked {
    pub(super) fn read(query: &[(String, String)], headers: &HeaderMap) -> Result<Asked, Refused> {
        let parameter =
            |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let form = match parameter("format") {
            // What the address says goes before what the header says (IPIP-523).
            Some("raw") => Form::Raw,
            Some("car") => Form::Car,
            Some(other) => return Err(unacceptable(format!("format {other:?} is not served"))),
            None => accepted(headers)?,
        };
        match parameter("car-version").or(accept_parameter(headers, "version")) {
            None | Some("1") => {}
            Some(other) => {
                return Err(unacceptable(format!("CAR version {other:?} is not served")));
            }
        }
        match parameter("car-order").or(accept_parameter(headers, "order")) {
            None | Some("dfs" | "unk") => {}
            Some(other) => return Err(Refused::bad(format!("car-order {other:?} is no order"))),
        }
        let bytes = parameter("entity-bytes").map(Bytes::parse).transpose()?;
        let scope = match parameter("dag-scope") {
            None | Some("all") => Scope::All,
            Some("entity") => Scope::Entity(None),
            Some("block") => Scope::Block,
            Some(other) => return Err(Refused::bad(format!("dag-scope {other:?} is no scope"))),
        };
        let cached = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let only_if_cached = cached.is_some_and(|value| value.contains("only-if-cached"));
        Ok(Asked { form, scope, bytes, only_if_cached })
    }

    /// A tag that differs wherever the answer may.
    pub(super) fn etag(&self, root: &Cid, path: &str) -> String {
        match self.form {
            Form::Raw => format!("\"{root}.raw\""),
            Form::File => format!("\"{}\"", short(path)),
            Form::Car => {
                let what = format!("{path} {:?} {:?}", self.scope, self.bytes);
                format!("W/\"{root}.car.{}\"", short(&what))
            }
        }
    }
}

/// Some digits that tell texts apart.
fn short(text: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(text).into();
    data_encoding::HEXLOWER.encode(&digest[..16])
}

/// Whether one of the tags that a client has is this one, weak or not.
pub(super) fn matches(seen: &str, etag: &str) -> bool {
    let plain = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    seen.trim() == "*" || seen.split(',').any(|tag| plain(tag) == plain(etag))
}

/// The form that `Accept` likes best.
fn accepted(headers: &HeaderMap) -> Result<Form, Refused> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let wanted: Vec<&str> = accept.flat_map(|value| value.split(',')).collect();
    if wanted.is_empty() {
        return Ok(Form::File);
    }
    let mut best: Option<(u32, Form)> = None;
    for wanted in wanted {
        let mut parts = wanted.split(';').map(str::trim);
        let form = match parts.next().unwrap_or_default() {
            RAW => Form::Raw,
            CAR => Form::Car,
            BYTES | "application/*" | "*/*" => Form::File,
            // Browsers and the like, which take anything.
            _ => continue,
        };
        let quality = parts.find_map(|part| part.strip_prefix("q=")).map_or(1000, thousandths);
        if quality > 0 && best.is_none_or(|(other, _)| quality > other) {
            best = Some((quality, form));
        }
    }
    let none = || unacceptable(format!("served are {RAW}, {CAR} and {BYTES}"));
    best.map(|(_, form)| form).ok_or_else(none)
}

/// `0.5` as 500; what is no quality counts as none.
fn thousandths(quality: &str) -> u32 {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let part: u32 = format!("{part:0<3}").get(..3).and_then(|part| part.parse().ok()).unwrap_or(0);
    whole.parse::<u32>().map_or(0, |whole| whole.min(1) * 1000 + part).min(1000)
}

/// A parameter of the CAR type in `Accept`.
fn accept_parameter<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let accept = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let car = accept.flat_map(|value| value.split(',')).find(|it| it.trim().starts_with(CAR))?;
    car.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='))
}

fn unacceptable(message: String) -> Refused {
    Refused::new(StatusCode::NOT_ACCEPTABLE, message)
}

impl Bytes {
    fn parse(text: &str) -> Result<Bytes, Refused> {
        let wrong = || Refused::bad(format!("entity-bytes {text:?} is not FROM:TO"));
        let (from, to) = text.split_once(':').ok_or_else(wrong)?;
        let from = from.parse().map_err(|_| wrong())?;
        let to = match to {
            "*" => None,
            to => Some(to.parse().map_err(|_| wrong())?),
        };
        Ok(Bytes { from, to })
    }

    /// The bytes of a file of this size.
    pub(super) fn of(self, size: u64) -> Range<u64> {
        let place = |at: i64| match u64::try_from(at) {
            Ok(at) => at.min(size),
            Err(_) => size.saturating_sub(at.unsigned_abs()),
        };
        // The last byte counts, and the last of the file is -1.
        let end = match self.to {
            None | Some(-1) => size,
            Some(to) => place(to.saturating_add(1)),
        };
        let start = place(self.from);
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests;
