//! What became of each request of a batch, in one file that only grows.
//!
//! ```text
//! DIGEST LINE KIND TEXT\n
//! ```
//!
//! `DIGEST` is the first 16 hexadecimal digits of the SHA-256 of what follows it and a blank, without the
//! end of the line; `LINE` the number of the request from 0; `KIND` is `c` (completed) or `f` (failed);
//! `TEXT` the line of the results.
//!
//! Invariants:
//! - A record counts once it is on the disk. What follows the last whole record is cut off at the next
//!   opening, and its request is answered again.
//! - A request has one record.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::batches::record::Counts;
use crate::limits::{BATCH_ANSWER_SIZE_MAX, CUSTOM_ID_SIZE_MAX};
use crate::observe::hex;

/// Bytes of one record, at most: an answer, its escaped `custom_id`, and what is around them.
const RECORD_SIZE_MAX: u64 = (BATCH_ANSWER_SIZE_MAX + 6 * CUSTOM_ID_SIZE_MAX + 4096) as u64;
/// Bytes of the digest that a record begins with.
const DIGEST_SIZE: usize = 8;

/// The records of one batch.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    size: u64,
    /// By request: where its text is.
    places: BTreeMap<usize, Place>,
}

/// What is said of one request.
#[derive(Debug)]
pub(crate) struct Record {
    /// The request's number, from 0.
    pub(crate) line: usize,
    pub(crate) completed: bool,
    /// One line of the results.
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    completed: bool,
    at: u64,
    size: usize,
}

impl Journal {
    /// Opens a journal, which is made if it is not there, and cuts off what is not whole.
    pub(crate) fn open(path: &Path) -> io::Result<Journal> {
        let mut options = File::options();
        let file = options.read(true).append(true).create(true).open(path)?;
        let mut journal = Journal { file, size: 0, places: BTreeMap::new() };
        let mut reader = BufReader::new(journal.file.try_clone()?);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            reader.by_ref().take(RECORD_SIZE_MAX).read_until(b'\n', &mut bytes)?;
            let Some((line, completed, text)) = parse(&bytes) else { break };
            let at = journal.size + (bytes.len() - 1 - text) as u64;
            journal.places.entry(line).or_insert(Place { completed, at, size: text });
            journal.size += bytes.len() as u64;
        }
        if journal.file.metadata()?.len() > journal.size {
            journal.file.set_len(journal.size)?;
            journal.file.sync_all()?;
        }
        Ok(journal)
    }

    /// Adds records, and brings them to the disk together.
    pub(crate) fn append(&mut self, records: &[Record]) -> io::Result<()> {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for Record { line, completed, text } in records {
            if self.places.contains_key(line) {
                continue;
            }
            let kind = if *completed { 'c' } else { 'f' };
            let body = format!("{line} {kind} {text}");
            bytes.extend_from_slice(digest(body.as_bytes()).as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(body.as_bytes());
            let at = self.size + (bytes.len() - text.len()) as u64;
            bytes.push(b'\n');
            places.push((*line, Place { completed: *completed, at, size: text.len() }));
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // Nothing counts of what is perhaps there in part.
            self.file.set_len(self.size)?;
            return Err(error);
        }
        self.size += bytes.len() as u64;
        self.places.extend(places);
        Ok(())
    }

    /// Whether a request has its record.
    pub(crate) fn has(&self, line: usize) -> bool {
        self.places.contains_key(&line)
    }

    /// How many requests have.
    pub(crate) fn counts(&self) -> Counts {
        let completed = self.places.values().filter(|it| it.completed).count();
        Counts { completed, failed: self.places.len() - completed }
    }

    /// Writes the texts of one kind, in the order of the requests, each with the end of its line.
    pub(crate) fn write(&self, completed: bool, to: &mut dyn Write) -> io::Result<()> {
        let mut file = self.file.try_clone()?;
        let mut text = Vec::new();
        for place in self.places.values().filter(|it| it.completed == completed) {
            file.seek(SeekFrom::Start(place.at))?;
            text.resize(place.size, 0);
            file.read_exact(&mut text)?;
            to.write_all(&text)?;
            to.write_all(b"\n")?;
        }
        Ok(())
    }
}

/// The request, its kind and the size of its text, of a record that is whole.
fn parse(bytes: &[u8]) -> Option<(usize, bool, usize)> {
    let record = std::str::from_utf8(bytes.strip_suffix(b"\n")?).ok()?;
    let (given, body) = record.split_once(' ')?;
    if digest(body.as_bytes()) != given {
        return None;
    }
    let (line, rest) = body.split_once(' ')?;
    let (kind, text) = rest.split_once(' ')?;
    Some((line.parse().ok()?, kind == "c", text.len()))
}

fn digest(body: &[u8]) -> String {
    hex(&Sha256::digest(body)[..DIGEST_SIZE])
}

#[cfg(test)]
mod tests;
