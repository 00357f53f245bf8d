//! Where the seed of an answer comes from: its caller, or this node and the first worker together.
//!
//! Whoever takes the answer first tells a nonce before it knows this node's, to which this node has
//! committed; from then on the seed is that of the answer, whoever goes on with it and from whichever
//! token. So nobody draws again: not the worker by giving up, nor this node by asking another. Specified
//! in `docs/spec/receipt.md`, section 2.1.
//!
//! Invariants:
//! - A nonce of this node is told to one worker, and that one's own nonce is known by then.
//!
//! Not here: how the nonces travel (`remote`).

use audit::receipt::{Seeding, seed};
use engine::request::Request;
use engine::sampling::Seed;
use gateway::backend::Urgency;
use types::id::Hash;

/// Who has chosen the seed of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedOf {
    /// Nobody yet.
    Nobody,
    /// The caller, who asked for the one that the request has.
    Caller,
    /// This node and the worker that took the answer first.
    Both(Nonces),
}

/// What a joint seed is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nonces {
    /// The gateway's.
    pub client: Hash,
    /// That of the worker that took the answer first.
    pub worker: Hash,
}

/// One sequence that a client wants, and who has chosen its seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The sequence.
    pub request: Request,
    /// Who has chosen the request's seed.
    pub seed: SeedOf,
    /// Whether somebody waits for it.
    pub urgency: Urgency,
}

impl Nonces {
    /// Those of an answer that this node computes itself.
    ///
    /// # Errors
    /// When the machine has no randomness.
    pub fn draw() -> Result<Nonces, getrandom::Error> {
        Ok(Nonces { client: random()?, worker: random()? })
    }

    /// The seed that both make.
    #[must_use]
    pub fn seed(&self) -> Seed {
        seed(Seeding::Joint, &self.client, &self.worker)
    }
}

impl Wanted {
    /// A sequence as a gateway's client asks for it.
    #[must_use]
    pub fn of(request: Request, seeding: gateway::backend::Seeding, urgency: Urgency) -> Wanted {
        let seed = match seeding {
            gateway::backend::Seeding::Fixed => SeedOf::Caller,
            gateway::backend::Seeding::Open => SeedOf::Nobody,
        };
        Wanted { request, seed, urgency }
    }

    /// The same with this seed.
    #[must_use]
    pub fn with(mut self, seed: SeedOf) -> Wanted {
        if let SeedOf::Both(nonces) = &seed {
            self.request.sampling.seed = nonces.seed();
        }
        Wanted { seed, ..self }
    }

    /// The same with a seed, where this node is to compute it itself. Without randomness the seed stays
    /// the request's own.
    #[must_use]
    pub fn seeded_here(self) -> Wanted {
        match self.seed {
            SeedOf::Nobody => {
                let seed = Nonces::draw().map_or(SeedOf::Caller, SeedOf::Both);
                self.with(seed)
            }
            _ => self,
        }
    }
}

/// 32 random bytes.
///
/// # Errors
/// When the machine has no randomness.
pub(crate) fn random() -> Result<Hash, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(Hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(seed: SeedOf) -> Wanted {
        let request = engine::fingerprint::standard_request(vec![1], 1);
        Wanted { request, seed, urgency: Urgency::Now }
    }

    #[test]
    fn an_open_seed_is_made_once_and_stays() {
        let one = wanted(SeedOf::Nobody).seeded_here();
        assert!(matches!(one.seed, SeedOf::Both(_)), "{:?}", one.seed);
        assert_eq!(one.clone().seeded_here(), one);
        assert_ne!(wanted(SeedOf::Nobody).seeded_here(), one, "drawn anew");
        assert_ne!(one.request.sampling.seed, wanted(SeedOf::Nobody).request.sampling.seed);
    }

    #[test]
    fn a_seed_that_was_asked_for_is_kept() {
        assert_eq!(wanted(SeedOf::Caller).seeded_here(), wanted(SeedOf::Caller));
    }
}
