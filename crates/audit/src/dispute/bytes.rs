//! Canonical bytes of a dispute, so that it can stand in a ledger between two messages.
//!
//! Specified in `docs/spec/audit.md`, section 7.
//!
//! Invariants:
//! - What is read is a dispute that messages could have led to, as far as sizes go: every later shift
//!   and index stays in its range.
//!
//! Not here: bytes of evidence (`referee`).

use merkle::Digest;
use types::bounded::List;
use types::codec::{Canonical, Malformed, Reader};

use super::{
    ANSWER_MAX, About, CELLS_MAX, Cell, Dispute, Divide, Leaf, Phase, STEPS_MAX, Side, Step,
    Verdict,
};
use crate::trace::{FAN_BITS, levels};

/// Nodes of one statement, at most.
const NODES_MAX: usize = 1 << FAN_BITS;

impl Canonical for Dispute {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self.about {
            About::Trace => 1,
            About::Answer => 2,
        });
        self.count.write(out);
        pair(&self.roots, out);
        self.rounds.write(out);
        self.deadline.write(out);
        self.patience.write(out);
        self.phase.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Dispute, Malformed> {
        let (about, count_max) = match u8::read(reader)? {
            1 => (About::Trace, STEPS_MAX),
            2 => (About::Answer, ANSWER_MAX),
            number => return Err(Malformed::UnknownVariant { number }),
        };
        let it = Dispute {
            about,
            count: u64::read(reader)?,
            roots: read_pair(reader)?,
            rounds: u32::read(reader)?,
            deadline: u64::read(reader)?,
            patience: u64::read(reader)?,
            phase: Phase::read(reader)?,
        };
        let is_in_range = (1..=count_max).contains(&it.count);
        let is_whole = match &it.phase {
            Phase::Divide(divide) if divide.step.is_none() => divide.count == it.count,
            _ => true,
        };
        if is_in_range && is_whole { Ok(it) } else { Err(Malformed::OutOfRange) }
    }
}

impl Canonical for Phase {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Phase::Divide(divide) => {
                out.push(1);
                divide.write(out);
            }
            Phase::Open { step, digests, stated } => {
                out.push(2);
                step.write(out);
                pair(digests, out);
                stated.iter().for_each(|it| it.write(out));
            }
            Phase::Judge(Cell { step, cell, leaves }) => {
                out.push(3);
                step.write(out);
                cell.write(out);
                pair(leaves, out);
            }
            Phase::Tree { stated } => {
                out.push(4);
                stated.iter().for_each(|it| it.write(out));
            }
            Phase::Position(Leaf { index, leaves }) => {
                out.push(5);
                index.write(out);
                pair(leaves, out);
            }
            Phase::Ended(verdict) => {
                out.push(6);
                verdict.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Phase, Malformed> {
        Ok(match u8::read(reader)? {
            1 => Phase::Divide(Divide::read(reader)?),
            2 => Phase::Open {
                step: u64::read(reader)?,
                digests: read_pair(reader)?,
                stated: [Option::read(reader)?, Option::read(reader)?],
            },
            3 => Phase::Judge(Cell {
                step: Step::read(reader)?,
                cell: u64::read(reader)?,
                leaves: read_pair(reader)?,
            }),
            4 => Phase::Tree { stated: [Option::read(reader)?, Option::read(reader)?] },
            5 => Phase::Position(Leaf { index: u64::read(reader)?, leaves: read_pair(reader)? }),
            6 => Phase::Ended(Verdict::read(reader)?),
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}

impl Canonical for Divide {
    fn write(&self, out: &mut Vec<u8>) {
        self.step.write(out);
        self.count.write(out);
        self.level.write(out);
        self.block.write(out);
        pair(&self.digests, out);
        for stated in &self.stated {
            // What was taken is as many nodes as were expected, which no list is too short for.
            let nodes = stated.clone().and_then(|nodes| List::<_, NODES_MAX>::new(nodes).ok());
            nodes.write(out);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Divide, Malformed> {
        let (step, count): (Option<Step>, u64) = (Option::read(reader)?, u64::read(reader)?);
        let (level, block) = (u32::read(reader)?, u64::read(reader)?);
        let digests = read_pair(reader)?;
        let count_max = if step.is_some() { CELLS_MAX } else { STEPS_MAX };
        if !(1..=count_max).contains(&count) || level > levels(count) {
            return Err(Malformed::OutOfRange);
        }
        if block > (count - 1) >> level {
            return Err(Malformed::OutOfRange);
        }
        let mut it = Divide { step, count, level, block, digests, stated: [None, None] };
        for side in 0..2 {
            let nodes = Option::<List<Digest, NODES_MAX>>::read(reader)?;
            let nodes = nodes.map(|nodes| nodes.as_slice().to_vec());
            if nodes.as_ref().is_some_and(|nodes| nodes.len() as u64 != it.expected()) {
                return Err(Malformed::OutOfRange);
            }
            it.stated[side] = nodes;
        }
        Ok(it)
    }
}

impl Canonical for Step {
    fn write(&self, out: &mut Vec<u8>) {
        self.index.write(out);
        pair(&self.roots, out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Step, Malformed> {
        Ok(Step { index: u64::read(reader)?, roots: read_pair(reader)? })
    }
}

impl Canonical for Verdict {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Verdict::WorkerWrong => 1,
            Verdict::ChallengerWrong => 2,
            Verdict::BothWrong => 3,
            Verdict::Silent(Side::Worker) => 4,
            Verdict::Silent(Side::Challenger) => 5,
        });
    }

    fn read(reader: &mut Reader<'_>) -> Result<Verdict, Malformed> {
        Ok(match u8::read(reader)? {
            1 => Verdict::WorkerWrong,
            2 => Verdict::ChallengerWrong,
            3 => Verdict::BothWrong,
            4 => Verdict::Silent(Side::Worker),
            5 => Verdict::Silent(Side::Challenger),
            number => return Err(Malformed::UnknownVariant { number }),
        })
    }
}

fn pair(digests: &[Digest; 2], out: &mut Vec<u8>) {
    digests[0].write(out);
    digests[1].write(out);
}

fn read_pair(reader: &mut Reader<'_>) -> Result<[Digest; 2], Malformed> {
    Ok([reader.array()?, reader.array()?])
}
