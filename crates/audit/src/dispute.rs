//! Two traces of one run that differ: finds the first cell in which they do, and who is wrong.
//!
//! Both sides state the root of their trace, then in each round up to 256 nodes under the first one
//! that differs, until one cell is left whose inputs both agree on. One recomputation decides. Where
//! the traces are equal and the answers' roots are not, the same is done with the answers' leaves,
//! and the row of the trace decides. Specified in `docs/spec/audit.md`, section 7.
//!
//! Invariants:
//! - A refused message changes nothing.
//! - There are at most `ROUNDS_MAX` rounds, and whoever is silent at a deadline loses.
//!
//! Not here: clocks (heights are arguments), what a cell should be (`referee`), and what is lost (the
//! ledger).

use alloc::vec::Vec;

use crate::commitment::answer_root;
use crate::trace::{FAN_BITS, levels, step_leaf};
use merkle::Digest;

#[cfg(feature = "std")]
mod bytes;

/// Steps of a run, at most: 131,072 positions of 512 layers of 4,112 steps are fewer.
pub const STEPS_MAX: u64 = 1 << 40;
/// Cells of a step, at most: a logit of each of 2^20 tokens, sixteen to a cell.
pub const CELLS_MAX: u64 = 1 << 16;
/// Tokens of an answer, at most: no longer context is there.
pub const ANSWER_MAX: u64 = crate::commitment::TOKENS_MAX as u64;
/// Rounds of a dispute: five for `STEPS_MAX`, one that opens a step, two for `CELLS_MAX`.
pub const ROUNDS_MAX: u32 = 8;

const _: () = assert!(STEPS_MAX == 1 << (5 * FAN_BITS) && CELLS_MAX == 1 << (2 * FAN_BITS));

/// One of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who stated the answer.
    Worker = 0,
    /// Who says that it is wrong.
    Challenger = 1,
}

/// How a dispute ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The worker's cell is not what the rules give.
    WorkerWrong,
    /// The challenger's cell is not what the rules give.
    ChallengerWrong,
    /// Neither's is.
    BothWrong,
    /// This side was silent.
    Silent(Side),
}

/// Where a dispute stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Both state the nodes under one that differs.
    Divide(Divide),
    /// Both state the root of the cells of the first step that differs.
    Open {
        /// The step.
        step: u64,
        /// Its digest, by side.
        digests: [Digest; 2],
        /// What was stated, by side.
        stated: [Option<Digest>; 2],
    },
    /// A cell is to be computed.
    Judge(Cell),
    /// Both state the root of the tree over their answer's leaves.
    Tree {
        /// What was stated, by side.
        stated: [Option<Digest>; 2],
    },
    /// A leaf of the answer is to be computed from the trace.
    Position(Leaf),
    /// It is over.
    Ended(Verdict),
}

/// The first leaf of the answers that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Which token of the answer, from 0.
    pub index: u64,
    /// The leaf, by side.
    pub leaves: [Digest; 2],
}

/// What is disputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum About {
    /// The traces of a run.
    Trace,
    /// The roots of an answer, where the traces are equal.
    Answer,
}

/// A node of which the nodes below are to be stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divide {
    /// The step whose cells these are; none while steps, or an answer's leaves, are divided.
    pub step: Option<Step>,
    /// Leaves of the whole list.
    pub count: u64,
    /// The node's level; leaves have 0.
    pub level: u32,
    /// Its number on its level, from 0.
    pub block: u64,
    digests: [Digest; 2],
    stated: [Option<Vec<Digest>>; 2],
}

/// The first step that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub index: u64,
    /// The root of its cells, by side.
    pub roots: [Digest; 2],
}

/// The first cell that differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Its step.
    pub step: Step,
    /// Its number in the step.
    pub cell: u64,
    /// Its leaf, by side.
    pub leaves: [Digest; 2],
}

/// A dispute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dispute {
    about: About,
    /// Of steps, or of the answer's tokens.
    count: u64,
    roots: [Digest; 2],
    phase: Phase,
    rounds: u32,
    deadline: u64,
    patience: u64,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run has no step or too many, or the two roots are equal.
    #[error("there is nothing to dispute")]
    NoDifference,
    /// It is not what the dispute waits for.
    #[error("the dispute does not wait for this")]
    OutOfTurn,
    /// The side has stated it already.
    #[error("this side has stated it already")]
    Twice,
    /// It came after the deadline.
    #[error("the deadline was {deadline} and this is {now}")]
    Late {
        /// The last height.
        deadline: u64,
        /// This height.
        now: u64,
    },
    /// The deadline is still to come.
    #[error("the deadline is {deadline} and this is {now}")]
    Early {
        /// The last height.
        deadline: u64,
        /// This height.
        now: u64,
    },
    /// The nodes are not as many as there are.
    #[error("{found} nodes were stated and there are {expected}")]
    Count {
        /// Nodes stated.
        found: u64,
        /// Nodes that there are.
        expected: u64,
    },
    /// The nodes do not lead to what the side stated before.
    #[error("the nodes do not lead to what this side stated before")]
    Unfaithful,
}

impl Dispute {
    /// Begins with the roots of both sides' traces of a run of `steps` steps. Each turn ends at most
    /// `patience` heights after the one before.
    ///
    /// # Errors
    /// When there is no difference.
    pub fn new(
        steps: u64,
        roots: [Digest; 2],
        (now, patience): (u64, u64),
    ) -> Result<Dispute, Refused> {
        if steps == 0 || steps > STEPS_MAX || roots[0] == roots[1] {
            return Err(Refused::NoDifference);
        }
        let phase = Phase::Divide(Divide::whole(None, steps, roots));
        let deadline = now.saturating_add(patience);
        let (about, count) = (About::Trace, steps);
        Ok(Dispute { about, count, roots, phase, rounds: 0, deadline, patience }.settled(now))
    }

    /// Begins with the roots of an answer of `tokens` tokens that two sides state whose traces are
    /// equal.
    ///
    /// # Errors
    /// When there is no difference.
    pub fn of_answers(
        tokens: u64,
        roots: [Digest; 2],
        (now, patience): (u64, u64),
    ) -> Result<Dispute, Refused> {
        if tokens == 0 || tokens > ANSWER_MAX || roots[0] == roots[1] {
            return Err(Refused::NoDifference);
        }
        let phase = Phase::Tree { stated: [None, None] };
        let deadline = now.saturating_add(patience);
        let (about, count) = (About::Answer, tokens);
        Ok(Dispute { about, count, roots, phase, rounds: 0, deadline, patience })
    }

    /// What is disputed.
    #[must_use]
    pub fn about(&self) -> About {
        self.about
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Rounds so far in which both stated something.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// The last height at which the present turn can be taken.
    #[must_use]
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// The roots of the traces, or of the answers, by side.
    #[must_use]
    pub fn roots(&self) -> &[Digest; 2] {
        &self.roots
    }

    /// Steps of the run, or tokens of the answer.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether a side has made the statement that the present turn asks of both.
    #[must_use]
    pub fn has_stated(&self, side: Side) -> bool {
        match &self.phase {
            Phase::Divide(divide) => divide.stated[side as usize].is_some(),
            Phase::Open { stated, .. } | Phase::Tree { stated } => stated[side as usize].is_some(),
            Phase::Judge(_) | Phase::Position(_) | Phase::Ended(_) => false,
        }
    }

    /// Takes a side's nodes.
    ///
    /// # Errors
    /// When they are late, out of turn, too many, too few, or not those under its node.
    pub fn divide(&mut self, side: Side, nodes: &[Digest], now: u64) -> Result<(), Refused> {
        self.in_time(now)?;
        let Phase::Divide(divide) = &mut self.phase else { return Err(Refused::OutOfTurn) };
        let (found, expected) = (nodes.len() as u64, divide.expected());
        if divide.stated[side as usize].is_some() {
            return Err(Refused::Twice);
        }
        if found != expected {
            return Err(Refused::Count { found, expected });
        }
        if merkle::root(nodes) != divide.digests[side as usize] {
            return Err(Refused::Unfaithful);
        }
        divide.stated[side as usize] = Some(nodes.to_vec());
        self.advance(now);
        Ok(())
    }

    /// Takes the root of a side's cells of the first step that differs, which has `cells` of them.
    ///
    /// # Errors
    /// When it is late, out of turn, or not that of its step.
    pub fn open(&mut self, side: Side, root: &Digest, cells: u64, now: u64) -> Result<(), Refused> {
        self.in_time(now)?;
        let Phase::Open { step, digests, stated } = &mut self.phase else {
            return Err(Refused::OutOfTurn);
        };
        if stated[side as usize].is_some() {
            return Err(Refused::Twice);
        }
        let is_its = step_leaf(*step, cells, root) == digests[side as usize];
        if !is_its || cells == 0 || cells > CELLS_MAX {
            return Err(Refused::Unfaithful);
        }
        stated[side as usize] = Some(*root);
        if let [Some(worker), Some(challenger)] = *stated {
            let step = Step { index: *step, roots: [worker, challenger] };
            self.phase = Phase::Divide(Divide::whole(Some(step), cells, step.roots));
            self.rounds += 1;
            self.deadline = now.saturating_add(self.patience);
            *self = self.clone().settled(now);
        }
        Ok(())
    }

    /// Takes the root of the tree over a side's leaves of the answer; `prompt` is the prompt's hash.
    ///
    /// # Errors
    /// When it is late, out of turn, or not that of the answer's root.
    pub fn open_answer(
        &mut self,
        side: Side,
        tree: &Digest,
        prompt: &Digest,
        now: u64,
    ) -> Result<(), Refused> {
        self.in_time(now)?;
        let Phase::Tree { stated } = &mut self.phase else { return Err(Refused::OutOfTurn) };
        if stated[side as usize].is_some() {
            return Err(Refused::Twice);
        }
        // At most `ANSWER_MAX`.
        let root = answer_root(prompt, self.count as u32, tree);
        if root != self.roots[side as usize] {
            return Err(Refused::Unfaithful);
        }
        stated[side as usize] = Some(*tree);
        if let [Some(worker), Some(challenger)] = *stated {
            let trees = [worker, challenger];
            self.phase = Phase::Divide(Divide::whole(None, self.count, trees));
            self.rounds += 1;
            self.deadline = now.saturating_add(self.patience);
            *self = self.clone().settled(now);
        }
        Ok(())
    }

    /// Ends it with the cell, or the bytes of the answer's leaf, that the rules give.
    ///
    /// # Errors
    /// When nothing is to be judged, or it is too late.
    pub fn judge(&mut self, right: &[u8], now: u64) -> Result<Verdict, Refused> {
        self.judge_leaf(&merkle::leaf(right), now)
    }

    /// Ends it with the leaf of the cell, or of the answer, that the rules give.
    ///
    /// # Errors
    /// When nothing is to be judged, or it is too late.
    pub fn judge_leaf(&mut self, right: &Digest, now: u64) -> Result<Verdict, Refused> {
        self.in_time(now)?;
        let leaves = match &self.phase {
            Phase::Judge(cell) => cell.leaves,
            Phase::Position(leaf) => leaf.leaves,
            _ => return Err(Refused::OutOfTurn),
        };
        let verdict = match leaves.map(|leaf| leaf == *right) {
            [true, _] => Verdict::ChallengerWrong,
            [false, true] => Verdict::WorkerWrong,
            [false, false] => Verdict::BothWrong,
        };
        self.phase = Phase::Ended(verdict);
        Ok(verdict)
    }

    /// Ends it where a side has been silent. Both silent, or no evidence brought, is the challenger's
    /// silence: the claim is its own.
    ///
    /// # Errors
    /// Before the deadline has passed, or after the end.
    pub fn expire(&mut self, now: u64) -> Result<Verdict, Refused> {
        if now <= self.deadline {
            return Err(Refused::Early { deadline: self.deadline, now });
        }
        let sides = [Side::Worker, Side::Challenger];
        let has_stated = match &self.phase {
            Phase::Judge(_) | Phase::Position(_) => [true, false],
            Phase::Ended(_) => return Err(Refused::OutOfTurn),
            _ => sides.map(|side| self.has_stated(side)),
        };
        let silent = if has_stated == [false, true] { Side::Worker } else { Side::Challenger };
        self.phase = Phase::Ended(Verdict::Silent(silent));
        Ok(Verdict::Silent(silent))
    }

    fn in_time(&self, now: u64) -> Result<(), Refused> {
        match now > self.deadline {
            true => Err(Refused::Late { deadline: self.deadline, now }),
            false => Ok(()),
        }
    }

    /// Goes on where both have stated their nodes.
    fn advance(&mut self, now: u64) {
        let Phase::Divide(divide) = &mut self.phase else { return };
        let [Some(worker), Some(challenger)] = &divide.stated else { return };
        let pairs = worker.iter().zip(challenger);
        // The nodes lead to two different digests, so that one of them differs.
        let Some(first) = pairs.clone().position(|(one, two)| one != two) else { return };
        let digests = [worker[first], challenger[first]];
        let level = divide.level.saturating_sub(FAN_BITS);
        let fan = divide.level - level;
        divide.digests = digests;
        divide.block = (divide.block << fan) + first as u64;
        divide.level = level;
        divide.stated = [None, None];
        self.rounds += 1;
        self.deadline = now.saturating_add(self.patience);
        *self = self.clone().settled(now);
    }

    /// Where a division has come down to one leaf, what comes after it.
    fn settled(mut self, now: u64) -> Dispute {
        let Phase::Divide(divide) = &self.phase else { return self };
        if divide.level > 0 {
            return self;
        }
        let digests = divide.digests;
        self.phase = match (self.about, divide.step) {
            (About::Answer, _) => Phase::Position(Leaf { index: divide.block, leaves: digests }),
            (About::Trace, None) => {
                Phase::Open { step: divide.block, digests, stated: [None, None] }
            }
            (About::Trace, Some(step)) => {
                Phase::Judge(Cell { step, cell: divide.block, leaves: digests })
            }
        };
        self.deadline = now.saturating_add(self.patience);
        self
    }
}

impl Divide {
    fn whole(step: Option<Step>, count: u64, digests: [Digest; 2]) -> Divide {
        Divide { step, count, level: levels(count), block: 0, digests, stated: [None, None] }
    }

    /// Nodes under this one.
    #[must_use]
    pub fn expected(&self) -> u64 {
        let below = self.level.saturating_sub(FAN_BITS);
        let from = self.block << self.level;
        let leaves = (self.count - from).min(1 << self.level);
        leaves.div_ceil(1 << below)
    }
}
