//! Tokens that may follow, computed beside a sequence's next one.
//!
//! A step of a few rows takes little longer than one of a single row, since both read every weight.
//! Where a sequence repeats what it has said or read before, or a grammar leaves no choice, the
//! tokens that would follow are computed in the same step, as drafts. Each token is still chosen from
//! the logits of its own row, and a draft's row counts only if its token was chosen: a wrong draft
//! costs time, and nothing else.
//!
//! Invariants:
//! - Nothing is left of a draft that was not chosen: no output, no page, no prefix, no shown row.
//! - A draft takes no page from another sequence.
//!
//! Not here: choosing (`batch`), grammars (`guide`).

use alloc::vec::Vec;

use super::{Engine, Part, Ready, Sequence, finish, publish};
use crate::kv::PAGE;

/// Rows of a step that has drafts, at most: with more, a row costs more than most drafts bring.
const ROWS_MAX: usize = 4;
/// Steps in a row whose drafts were all chosen, after which a step has more than one.
const TRUST: u32 = 2;
/// Tokens that must stand before, in the same order, for what followed them to be a draft; and how
/// many more after each step whose drafts were all in vain, up to the most that are compared.
const MATCH_MIN: usize = 4;
const MATCH_MORE: usize = 2;
/// Tokens compared, at most: the longest match is looked for, and of these the latest.
const MATCH_MAX: usize = 16;
/// Tokens of a sequence in which matches are looked for, at most.
const LOOK_BACK_MAX: usize = 8_192;
/// Tokens without drafts after one in vain, doubled for each further one up to the most.
const REST_MIN: u32 = 4;
const REST_MAX: u32 = 128;

/// How many drafts were made, and how many of them were chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drafts {
    /// Made.
    pub made: u64,
    /// Chosen.
    pub chosen: u64,
}

/// What one sequence drafts.
#[derive(Debug, Default)]
pub(super) struct Drafter {
    /// The drafts of the step that runs.
    draft: Vec<u32>,
    /// Which token of the sequence the first of them would be.
    first: usize,
    /// Steps in a row whose drafts were all chosen.
    successes: u32,
    /// Steps whose drafts were all in vain, halved whenever one was chosen.
    failures: u32,
    /// Tokens to come before drafts are made again.
    rest: u32,
}

impl Drafter {
    pub(super) fn draft(&self) -> &[u32] {
        &self.draft
    }

    /// Whether none are made now, since too many were in vain.
    fn rests(&mut self) -> bool {
        let rests = self.rest > 0;
        self.rest = self.rest.saturating_sub(1);
        rests
    }

    /// Drafts what followed the longest match of the last tokens, at most `most` tokens.
    fn look_up(&mut self, tokens: &[u32], most: usize) {
        self.draft.clear();
        self.first = tokens.len();
        let least = MATCH_MAX.min(MATCH_MIN + MATCH_MORE * self.failures as usize);
        let Some(next) = repeated(tokens, least) else { return };
        for at in next..next + most {
            // A match that overlaps the end goes on with itself.
            let token = tokens.get(at).or_else(|| self.draft.get(at - tokens.len())).copied();
            self.draft.extend(token);
        }
    }

    /// Drafts tokens that a guide foresees.
    fn take(&mut self, foreseen: Vec<u32>, first: usize, most: usize) {
        self.draft = foreseen;
        self.draft.truncate(most);
        self.first = first;
    }

    /// Takes in how many of the drafts were chosen, and says it.
    fn learn(&mut self, tokens: &[u32]) -> usize {
        let pairs = self.draft.iter().zip(&tokens[self.first..]);
        let chosen = pairs.take_while(|(one, two)| one == two).count();
        let made = self.draft.len();
        self.draft.clear();
        self.successes = if chosen == made { self.successes.saturating_add(1) } else { 0 };
        if chosen > 0 {
            self.failures /= 2;
        } else {
            self.rest = REST_MAX.min(REST_MIN << self.failures.min(16));
            self.failures = self.failures.saturating_add(1);
        }
        chosen
    }
}

/// Where the longest earlier match of the last tokens ends, if it has so many at least.
fn repeated(tokens: &[u32], least: usize) -> Option<usize> {
    let (&last, _) = tokens.split_last()?;
    let from = tokens.len().saturating_sub(LOOK_BACK_MAX);
    let (mut best, mut length) = (None, least.saturating_sub(1));
    for end in (from + 1..tokens.len()).rev() {
        if tokens[end - 1] != last {
            continue;
        }
        let pairs = tokens[from..end].iter().rev().zip(tokens.iter().rev());
        let equal = pairs.take(MATCH_MAX).take_while(|(one, two)| one == two).count();
        if equal > length {
            (best, length) = (Some(end), equal);
        }
        if equal == MATCH_MAX {
            break;
        }
    }
    best
}

impl Sequence {
    /// Drafts what the grammar leaves no choice about, or else what followed before.
    fn draft(&mut self, most: usize) {
        if self.drafter.rests() {
            return;
        }
        let most = if self.drafter.successes < TRUST { most.min(1) } else { most };
        let foreseen = self.guide.as_mut().map_or_else(Vec::new, |guide| guide.foresee());
        match foreseen.is_empty() {
            true => self.drafter.look_up(&self.tokens, most),
            false => self.drafter.take(foreseen, self.tokens.len(), most),
        }
    }

    /// Whether the next token is chosen after this row, and books the row if it is a draft's.
    pub(super) fn takes(&mut self, draft: Option<(usize, u32)>) -> bool {
        let Some((position, token)) = draft else { return true };
        let is_next = self.tokens.len() == position + 1 && self.tokens[position] == token;
        let counts = is_next && finish(self).is_none();
        self.computed += usize::from(counts);
        counts
    }
}

impl Engine {
    /// How many drafts were made and chosen in all steps.
    #[must_use]
    pub fn drafts(&self) -> Drafts {
        self.drafts
    }

    /// Adds drafts to a step that has room for them: a few rows, each of a sequence past its prompt.
    pub(super) fn draft(&mut self, parts: &mut [Part]) {
        let room = (ROWS_MAX / parts.len().max(1)).saturating_sub(1);
        let generates = |part: &Part| {
            let sequence = &self.running[part.sequence];
            sequence.prompt_reported && sequence.pending() == 1
        };
        if room == 0 || !parts.iter().all(generates) {
            return;
        }
        for part in parts {
            let sequence = &mut self.running[part.sequence];
            // The last token's own row is not needed.
            let left = sequence.request.tokens_max as usize;
            let most = room.min(left.saturating_sub(sequence.generated() + 1));
            sequence.draft(most);
            let drafter = &mut sequence.drafter;
            while (sequence.computed + 1 + drafter.draft.len()).div_ceil(PAGE)
                > sequence.pages.len()
            {
                match self.table.take() {
                    Some(page) => sequence.pages.push(page),
                    None => {
                        let room = sequence.pages.len() * PAGE - sequence.computed - 1;
                        drafter.draft.truncate(room);
                    }
                }
            }
            part.drafted = drafter.draft.len();
        }
    }

    /// The rows of a part's drafts, of which `row` is the first.
    pub(super) fn drafted(&self, part: &Part, row: usize) -> impl Iterator<Item = Ready> {
        let sequence = &self.running[part.sequence];
        let drafts = sequence.drafter.draft().iter().enumerate();
        let (index, first) = (part.sequence, sequence.tokens.len());
        drafts.map(move |(at, &token)| Ready {
            sequence: index,
            row: row + at,
            draft: Some((first + at, token)),
        })
    }

    /// Keeps what was chosen of the drafts, and lets the rest go.
    pub(super) fn settle(&mut self, parts: &[Part]) {
        for part in parts.iter().filter(|part| part.drafted > 0) {
            let sequence = &mut self.running[part.sequence];
            let chosen = sequence.drafter.learn(&sequence.tokens);
            self.drafts.made += part.drafted as u64;
            self.drafts.chosen += chosen as u64;
            if self.options.prefix_cache {
                publish(&mut self.table, sequence);
            }
            let needed = sequence.computed.div_ceil(PAGE);
            sequence.pages.drain(needed..).for_each(|page| self.table.release(page));
        }
    }
}
