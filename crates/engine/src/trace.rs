//! The hook through which a run's intermediate rows can be seen.
//!
//! Commitments and `mashaa hash` look at rows and logits as they are made; without an observer
//! nothing is copied and nothing is called.
//!
//! Not here: what is done with them.

use core::fmt;

use crate::numeric::Scale;
use crate::request::SequenceId;

/// A row of a step: which sequence, and its position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RowId {
    /// The sequence.
    pub sequence: SequenceId,
    /// 0-based position of the row's token.
    pub position: usize,
}

/// Which rows an observer asks for beyond those after each layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// The logits of every row, computed for it.
    EveryLogit,
    /// The rows from which the answer's tokens follow: one each, in order, whatever the batch, the
    /// chunks and the caches. Those of a new answer are computed in any case.
    Answer,
    /// The same, with the logits of tokens that another run has generated.
    AnswerLogits,
}

/// A row from which a token of an answer follows.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    /// The row: the position before the token's.
    pub row: RowId,
    /// Which token of the answer follows, from 0, those that another run has generated among them.
    pub index: usize,
    /// What the head multiplies: `norm_quantise(X, output_norm)`, `[width]`.
    pub hidden: &'a [i16],
    /// Its scale.
    pub scale: Scale,
    /// The logits, Q16, one a token of the vocabulary; `None` for a token that another run has
    /// generated, unless they were asked for.
    pub logits: Option<&'a [i32]>,
    /// The token that follows.
    pub token: u32,
}

/// Sees the rows of a run. Every method does nothing unless it is written.
pub trait Observe {
    /// What is to be shown.
    fn interest(&self) -> Interest {
        Interest::EveryLogit
    }

    /// A row from which a token of an answer follows, where `interest` asks for them.
    fn answered(&mut self, answered: Answered<'_>) {
        let _ = answered;
    }

    /// A step begins with these rows. Unless every logit is asked for, there may be rows among them of
    /// tokens that are not chosen in the end.
    fn step(&mut self, rows: &[RowId]) {
        let _ = rows;
    }

    /// The step's rows after layer `layer`: `[rows][width]`, in the order that `step` gave. Unless every
    /// logit is asked for, rows from which nothing follows are not computed to the last layer's end.
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

    /// Whether it asks for the logits of every row.
    pub(crate) fn wants_every_logit(&self) -> bool {
        self.interest() == Some(Interest::EveryLogit)
    }

    /// Whether it asks for answers, and then whether with all of their logits.
    pub(crate) fn wants_answers(&self) -> Option<bool> {
        match self.interest()? {
            Interest::EveryLogit => None,
            Interest::Answer => Some(false),
            Interest::AnswerLogits => Some(true),
        }
    }

    fn interest(&self) -> Option<Interest> {
        self.0.as_ref().map(|observe| observe.interest())
    }

    pub(crate) fn answered(&mut self, answered: Answered<'_>) {
        if let Some(observe) = &mut self.0 {
            observe.answered(answered);
        }
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
