//! Honest machines never accuse each other, whatever they are.

use engine::artifact::config::Family;

use crate::diverse::{Machine, audited};
use crate::{FAMILIES, model};

#[test]
fn machines_of_every_kind_agree_about_every_answer() {
    for family in FAMILIES {
        // Two answers by each; `cargo run --release -p audit --example diverse` has a thousand.
        let answers = 2 * Machine::all().len() + usize::from(family == Family::Llama);
        let outcomes = audited(&model(family, 3), answers, 9);
        let done: usize = outcomes.iter().map(|(_, it)| it.answers).sum();
        assert_eq!(done, answers);
        for (machine, outcome) in outcomes {
            assert_eq!(outcome.tokens, 9 * outcome.answers, "{family:?} {machine:?}");
            assert_eq!(outcome.mismatches, 0, "{family:?} {machine:?}");
        }
    }
}
