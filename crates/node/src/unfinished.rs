//! What was committed to of answers that were stopped before their end, for when they go on here.
//!
//! A client that reads slowly has its answer stopped and taken up again and again; its past positions
//! are in the cache then, and so need not be computed for the commitment alone.
//!
//! Invariants:
//! - At most `ANSWERS_MAX` answers are kept, with at most `KEPT_TOKENS_MAX` tokens; the oldest go first.
//! - A leaf follows from the prompt and the tokens up to its own, so that only equal ones count.
//!
//! Not here: the rows themselves (the engine's prefix cache).

use std::collections::VecDeque;

use audit::commitment::Leaves;

/// Answers that are kept, at most: as many slow clients as are served at once.
const ANSWERS_MAX: usize = 64;
/// Tokens of their prompts and answers, at most: some 40 MB with the leaves.
const KEPT_TOKENS_MAX: usize = 1 << 20;

/// Answers that were stopped.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    /// The oldest first.
    answers: VecDeque<Answer>,
    tokens: usize,
}

#[derive(Debug)]
struct Answer {
    prompt: Vec<u32>,
    output: Vec<u32>,
    leaves: Leaves,
}

impl Answer {
    fn size(&self) -> usize {
        self.prompt.len() + self.output.len()
    }

    /// Leaves that count for an answer to this prompt which begins so.
    fn counting(&self, prompt: &[u32], said: &[u32]) -> usize {
        if self.prompt != prompt {
            return 0;
        }
        let equal = self.output.iter().zip(said).take_while(|(one, other)| one == other).count();
        equal.min(self.leaves.as_slice().len())
    }
}

impl Unfinished {
    /// Keeps what there is of an answer.
    pub(crate) fn keep(&mut self, prompt: Vec<u32>, output: Vec<u32>, leaves: Leaves) {
        let answer = Answer { prompt, output, leaves };
        self.tokens += answer.size();
        self.answers.push_back(answer);
        while self.answers.len() > ANSWERS_MAX || self.tokens > KEPT_TOKENS_MAX {
            let Some(oldest) = self.answers.pop_front() else { return };
            self.tokens -= oldest.size();
        }
    }

    /// The first leaves of an answer that goes on; none if it is not known.
    pub(crate) fn take(&mut self, prompt: &[u32], said: &[u32]) -> Leaves {
        let counting = self.answers.iter().map(|it| it.counting(prompt, said)).enumerate();
        let most = counting.max_by_key(|(_, count)| *count).filter(|(_, count)| *count > 0);
        let Some((at, count)) = most else { return Leaves::default() };
        let Some(answer) = self.answers.remove(at) else { return Leaves::default() };
        self.tokens -= answer.size();
        answer.leaves.first(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u8) -> Leaves {
        Leaves::new((0..count).map(|index| [index; 32]).collect()).unwrap()
    }

    #[test]
    fn only_leaves_of_equal_tokens_count() {
        let mut unfinished = Unfinished::default();
        unfinished.keep(vec![1, 2], vec![5, 6, 7, 8], leaves(4));
        assert_eq!(unfinished.take(&[1, 3], &[5, 6]), leaves(0));
        assert_eq!(unfinished.take(&[1, 2], &[4, 6]), leaves(0));
        assert_eq!(unfinished.take(&[1, 2], &[]), leaves(0));
        assert_eq!(unfinished.take(&[1, 2], &[5, 6, 9]), leaves(2));
        assert_eq!((unfinished.take(&[1, 2], &[5, 6, 9]), unfinished.tokens), (leaves(0), 0));
        // It was stopped before the rows of what another had said were all computed.
        unfinished.keep(vec![1], vec![5, 6, 7], leaves(1));
        assert_eq!(unfinished.take(&[1], &[5, 6, 7]), leaves(1));
    }

    #[test]
    fn no_more_is_kept_than_may_be() {
        let mut unfinished = Unfinished::default();
        for prompt in 0..=ANSWERS_MAX as u32 {
            unfinished.keep(vec![prompt], vec![5], leaves(1));
        }
        assert_eq!((unfinished.answers.len(), unfinished.tokens), (ANSWERS_MAX, 2 * ANSWERS_MAX));
        assert_eq!(unfinished.take(&[0], &[5]), leaves(0));
        unfinished.keep(vec![0; KEPT_TOKENS_MAX], vec![5], leaves(1));
        assert_eq!((unfinished.answers.len(), unfinished.tokens), (0, 0));
    }
}
