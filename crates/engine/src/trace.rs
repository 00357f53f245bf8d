//! The hook through which a run's intermediate rows can be seen.
//!
//! Commitments and `mashaa hash` look at rows and logits as they are made; without an observer
//! nothing is copied and nothing is called.
//!
//! Not here: what is done with them.

use core::fmt;

use crate::request::SequenceId;

/// A row of a step: which sequence, and its position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId {
    /// The sequence.
    pub sequence: SequenceId,
    /// 0-based position of the row's token.
    pub position: usize,
}

/// Sees the rows of a run. Every method does nothing unless it is written.
pub trait Observe {
    /// A step begins with these rows.
    fn step(&mut self, rows: &[RowId]) {
        let _ = rows;
    }

    /// The step's rows after layer `layer`: `[rows][width]`, in the order that `step` gave.
    fn layer(&mut self, layer: usize, rows: &[i32], width: usize) {
        let _ = (layer, rows, width);
    }

    /// The logits of one row, Q16, one a token of the vocabulary.
    fn logits(&mut self, row: RowId, logits: &[i32]) {
        let _ = (row, logits);
    }
}

/// An observer, or none.
pub struct Observer<'a>(Option<&'a mut dyn Observe>);

impl fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Observer").field(&self.0.is_some()).finish()
    }
}

impl<'a> Observer<'a> {
    /// Nobody looks.
    #[must_use]
    pub fn none() -> Observer<'a> {
        Observer(None)
    }

    /// `observe` looks.
    pub fn new(observe: &'a mut dyn Observe) -> Observer<'a> {
        Observer(Some(observe))
    }

    pub(crate) fn is_some(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn step(&mut self, rows: &[RowId]) {
        if let Some(observe) = &mut self.0 {
            observe.step(rows);
        }
    }

    pub(crate) fn layer(&mut self, layer: usize, rows: &[i32], width: usize) {
        if let Some(observe) = &mut self.0 {
            observe.layer(layer, rows, width);
        }
    }

    pub(crate) fn logits(&mut self, row: RowId, logits: &[i32]) {
        if let Some(observe) = &mut self.0 {
            observe.logits(row, logits);
        }
    }
}
