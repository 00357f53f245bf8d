//! One root for an answer: over each position's last hidden row and the token that follows it.
//!
//! A leaf is the exact bytes of what the head multiplies and the token that was chosen; the root
//! binds the prompt, the count and the leaves. It is a function of the artifact, the prompt and the
//! answer alone: batches, chunks, caches and a change of workers leave it as it is. Specified in
//! `docs/spec/audit.md`, section 2.
//!
//! Invariants:
//! - An answer's leaves are complete and in order, or there is no root of it.
//! - At most `ANSWERS_MAX` answers are held, each of at most `engine`'s longest context.
//!
//! Not here: whether rows and tokens are right (`replay`), and who states a root (`receipt`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use engine::numeric::Scale;
use engine::request::SequenceId;
use engine::trace::{Answered, Interest, Observe};

use merkle::Digest;

use crate::digest::tagged;

/// Answers that one committer follows at a time: as many as an engine takes by default, and room.
pub const ANSWERS_MAX: usize = 4_096;
/// Tokens of an answer: no longer context is there.
pub const TOKENS_MAX: usize = engine::artifact::config::CONTEXT_MAX as usize;

const LEAF_TAG: &[u8] = b"mashaa/audit/position/v1";
const ROOT_TAG: &str = "mashaa/audit/answer/v1";
const BLIND_TAG: &str = "mashaa/audit/blind/v1";
const PROMPT_TAG: &str = "mashaa/audit/prompt/v1";
const OUTPUT_TAG: &str = "mashaa/audit/output/v1";

/// A row as the head takes it, and the token that follows.
#[derive(Clone, Copy, Debug)]
pub struct Position<'a> {
    /// Tokens before the one that follows.
    pub position: u64,
    /// What the head multiplies, `[width]`.
    pub hidden: &'a [i16],
    /// Its scale.
    pub scale: Scale,
    /// The token that follows.
    pub token: u32,
}

/// The leaves of one answer, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaves(Vec<Digest>);

/// Where a leaf stands, and its path to the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Which token of the answer, from 0.
    pub index: u32,
    /// Tokens of the answer.
    pub count: u32,
    /// The neighbours on the way up.
    pub path: Vec<Digest>,
}

/// Makes commitments while an engine generates.
#[derive(Debug, Default)]
pub struct Committer {
    answers: BTreeMap<SequenceId, Following>,
    bytes: Vec<u8>,
}

#[derive(Debug, Default)]
struct Following {
    leaves: Vec<Digest>,
    has_gap: bool,
}

impl Position<'_> {
    /// The hash of the position: its leaf.
    #[must_use]
    pub fn leaf(&self) -> Digest {
        let mut bytes = Vec::new();
        self.write(&mut bytes);
        merkle::leaf(&bytes)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(LEAF_TAG);
        out.extend_from_slice(&self.position.to_le_bytes());
        out.extend_from_slice(&self.token.to_le_bytes());
        out.extend_from_slice(&self.scale.mantissa.to_le_bytes());
        out.extend_from_slice(&self.scale.exponent.to_le_bytes());
        // A row has at most 65,536 elements.
        out.extend_from_slice(&(self.hidden.len() as u32).to_le_bytes());
        let from = out.len();
        out.resize(from + 2 * self.hidden.len(), 0);
        for (bytes, value) in out[from..].chunks_exact_mut(2).zip(self.hidden) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
    }
}

impl Leaves {
    /// Leaves that someone states; none if there are too many.
    #[must_use]
    pub fn new(leaves: Vec<Digest>) -> Option<Leaves> {
        (leaves.len() <= TOKENS_MAX).then_some(Leaves(leaves))
    }

    /// The leaves.
    #[must_use]
    pub fn as_slice(&self) -> &[Digest] {
        &self.0
    }

    /// The first of them, as many as there are of so many.
    #[must_use]
    pub fn first(mut self, count: usize) -> Leaves {
        self.0.truncate(count);
        self
    }

    /// The answer's root. `prompt` is the prompt's hash.
    #[must_use]
    pub fn root(&self, prompt: &Digest) -> Digest {
        answer_root(prompt, self.count(), &merkle::root(&self.0))
    }

    /// The path of a token of the answer; none if there is no such token.
    #[must_use]
    pub fn open(&self, index: u32) -> Option<Opening> {
        let path = merkle::path(&self.0, index as usize)?;
        Some(Opening { index, count: self.count(), path })
    }

    /// The first leaf that is not the other's, or where one of the two ends.
    #[must_use]
    pub fn first_difference(&self, other: &Leaves) -> Option<u32> {
        let equal = self.0.iter().zip(&other.0).take_while(|(one, two)| one == two).count();
        (equal < self.0.len().max(other.0.len())).then_some(equal as u32)
    }

    /// At most `TOKENS_MAX`.
    fn count(&self) -> u32 {
        self.0.len() as u32
    }
}

impl Opening {
    /// Whether the position stands in the answer of this root.
    #[must_use]
    pub fn leads_to(&self, leaf: Digest, prompt: &Digest, root: &Digest) -> bool {
        let found = merkle::root_of(leaf, self.index.into(), self.count.into(), &self.path);
        found.is_some_and(|found| answer_root(prompt, self.count, &found) == *root)
    }
}

impl Committer {
    /// Follows an answer from its first token on. False when too many are followed already.
    pub fn follow(&mut self, sequence: SequenceId) -> bool {
        self.follow_from(sequence, Leaves::default())
    }

    /// Follows an answer whose first leaves are known, from the token after them on. False when too
    /// many are followed already.
    pub fn follow_from(&mut self, sequence: SequenceId, leaves: Leaves) -> bool {
        let has_room = self.answers.len() < ANSWERS_MAX;
        if has_room {
            self.answers.insert(sequence, Following { leaves: leaves.0, has_gap: false });
        }
        has_room
    }

    /// Whether it follows no answer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }

    /// Forgets an answer and gives its leaves; none if it was not followed from its beginning.
    pub fn take(&mut self, sequence: SequenceId) -> Option<Leaves> {
        let following = self.answers.remove(&sequence)?;
        (!following.has_gap).then_some(Leaves(following.leaves))
    }
}

impl Observe for Committer {
    fn interest(&self) -> Interest {
        Interest::Answer
    }

    fn answered(&mut self, answered: Answered<'_>) {
        let Some(following) = self.answers.get_mut(&answered.row.sequence) else { return };
        if following.leaves.len() != answered.index || answered.index >= TOKENS_MAX {
            following.has_gap = true;
            return;
        }
        position(&answered).write(&mut self.bytes);
        following.leaves.push(merkle::leaf(&self.bytes));
    }
}

/// The position that an engine has shown.
#[must_use]
pub fn position<'a>(answered: &Answered<'a>) -> Position<'a> {
    Position {
        position: answered.row.position as u64 + 1,
        hidden: answered.hidden,
        scale: answered.scale,
        token: answered.token,
    }
}

/// The hash of a prompt's tokens.
#[must_use]
pub fn prompt_hash(tokens: &[u32]) -> Digest {
    tokens_hash(PROMPT_TAG, tokens)
}

/// The hash of an answer's tokens.
#[must_use]
pub fn output_hash(tokens: &[u32]) -> Digest {
    tokens_hash(OUTPUT_TAG, tokens)
}

/// What is stated of a root until everyone has stated what they found.
#[must_use]
pub fn blind(root: &Digest, blinding: &Digest) -> Digest {
    tagged(BLIND_TAG, &[blinding, root])
}

fn tokens_hash(tag: &str, tokens: &[u32]) -> Digest {
    let bytes: Vec<u8> = tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
    // At most 2^32 tokens: longer lists are in no memory.
    tagged(tag, &[&(tokens.len() as u32).to_le_bytes(), &bytes])
}

/// The root of an answer of so many tokens, from the root of the tree over its leaves and the hash of
/// its prompt.
#[must_use]
pub fn answer_root(prompt: &Digest, count: u32, root: &Digest) -> Digest {
    tagged(ROOT_TAG, &[prompt, &count.to_le_bytes(), root])
}
