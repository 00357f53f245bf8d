//! Responses that later requests can go on from.
//!
//! Invariants:
//! - At most `RESPONSES_MAX` are kept, of at most `RESPONSES_SIZE_MAX` bytes; the oldest go first.
//! - Nothing outlasts the process.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use text::template::Message;

use crate::limits::{RESPONSES_MAX, RESPONSES_SIZE_MAX};

/// A response, and what it takes to go on from it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) response: Value,
    /// What this response was asked.
    pub(crate) items: Vec<Value>,
    /// The conversation with the answer, as a model reads it.
    pub(crate) messages: Vec<Message>,
    size: usize,
}

/// The responses that are kept.
#[derive(Debug, Default)]
pub(crate) struct Responses(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: BTreeMap<String, Arc<Kept>>,
    /// The oldest first.
    order: VecDeque<String>,
    size: usize,
}

impl Kept {
    /// Something to keep, with its size.
    pub(crate) fn new(response: &Value, items: Vec<Value>, messages: Vec<Message>) -> Kept {
        let json = |value: &Value| value.to_string().len();
        let message = |message: &Message| {
            let extra: usize = message.extra.values().map(json).sum();
            message.role.len() + message.content.len() + extra
        };
        let size = json(response)
            + items.iter().map(json).sum::<usize>()
            + messages.iter().map(message).sum::<usize>();
        Kept { response: response.clone(), items, messages, size }
    }
}

impl Responses {
    /// Keeps a response. One that is larger than all may be together is not kept.
    pub(crate) fn keep(&self, id: &str, kept: Kept) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.size += kept.size;
        inner.order.push_back(id.to_owned());
        inner.kept.insert(id.to_owned(), Arc::new(kept));
        inner.forget();
    }

    /// A response, if it is still kept.
    pub(crate) fn get(&self, id: &str) -> Option<Arc<Kept>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.kept.get(id).cloned()
    }

    /// Every response, the oldest first.
    pub(crate) fn list(&self) -> Vec<Arc<Kept>> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.order.iter().filter_map(|id| inner.kept.get(id).cloned()).collect()
    }

    /// Keeps another version of a response that is still kept, in its place.
    pub(crate) fn replace(&self, id: &str, kept: Kept) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let size = kept.size;
        let Some(place) = inner.kept.get_mut(id) else { return };
        let old = std::mem::replace(place, Arc::new(kept)).size;
        inner.size = inner.size - old + size;
        inner.forget();
    }

    /// Forgets a response.
    pub(crate) fn remove(&self, id: &str) -> Option<Arc<Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

impl Inner {
    /// Lets the oldest go until there is no more than may be.
    fn forget(&mut self) {
        while self.order.len() > RESPONSES_MAX || self.size > RESPONSES_SIZE_MAX {
            let Some(oldest) = self.order.front().cloned() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &str) -> Option<Arc<Kept>> {
        let gone = self.kept.remove(id)?;
        let at = self.order.iter().position(|it| it == id);
        at.and_then(|at| self.order.remove(at));
        self.size -= gone.size;
        Some(gone)
    }
}

#[cfg(test)]
mod tests;
