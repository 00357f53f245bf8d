//! The longest run and the largest vocabulary: evidence for every kind of step fits, and decides.

use std::collections::BTreeMap;

use audit::artifact::Artifact;
use audit::case::Shown;
use audit::graph::{Graph, Place, RUN_MAX, What};
use audit::referee::{Evidence, judge};
use engine::sampling::{ONE, Sampling};
use store::cid::Cid;
use types::codec::encode;
use types::transaction::PIECE_MAX;

use crate::longest::{Longest, largest};

/// Bytes of the evidence for a step, as the aim counts them: all but the artifact's.
const EVIDENCE_MAX: usize = 3 << 19;

/// The evidence for one step of each kind that it has at the last position.
fn evidence(longest: &Longest) -> BTreeMap<String, (Place, Evidence)> {
    let mut of_kind = BTreeMap::new();
    // Of the heads' steps those of the last head.
    for place in longest.places(RUN_MAX - 2).into_iter().rev() {
        let kind = format!("{:?}", place.what);
        let kind = kind.split('(').next().unwrap().to_owned();
        of_kind.entry(kind).or_insert_with(|| (place, longest.evidence(place).0));
    }
    of_kind
}

#[test]
fn evidence_for_every_kind_of_step_fits_at_the_end_of_the_longest_run() {
    let graphs = [largest(32, 128, 32), largest(1_024, 64, 512), largest(128, 512, 512)];
    for graph in graphs {
        let longest = Longest::new(graph, Sampling::default());
        let of_kind = evidence(&longest);
        // All but the embedding, which reads no result.
        assert_eq!(of_kind.len(), 23);
        for (kind, (_, evidence)) in of_kind {
            let size = evidence.size();
            assert!(size <= EVIDENCE_MAX, "{kind}: {size} bytes");
            for step in evidence.steps {
                let piece = encode(&Shown::Step(step)).len();
                assert!(piece <= PIECE_MAX, "{kind}: a message of {piece} bytes");
            }
        }
    }
}

#[test]
fn a_run_of_one_token_more_or_a_context_of_that_length_would_not_be_judged() {
    let Graph { mut config, .. } = largest(32, 128, 32);
    assert_eq!(config.run_max(), RUN_MAX);
    assert!(config.run_max() < config.context_max, "the context is longer than a run may be");
    config.context_max = 512;
    assert_eq!(config.run_max(), 512);
}

#[test]
fn the_last_steps_of_the_longest_run_are_judged() {
    let penalised = Sampling {
        temperature: ONE,
        top_p: 62_000,
        repetition_penalty: 70_000,
        presence_penalty: 9_000,
        ..Sampling::default()
    };
    let longest = Longest::new(largest(32, 128, 32), penalised);
    let nothing = Artifact::new(Cid::of(b"no step here reads the artifact"));
    let position = RUN_MAX - 2;
    let whats = [What::Scores(31), What::Weights(31), What::Sums(31), What::Result(31)]
        .map(|what| Place { position, layer: 31, what })
        .into_iter()
        .chain([Place { position, layer: 32, what: What::Sample }]);
    for place in whats {
        let (evidence, roots, cell) = longest.evidence(place);
        let judged = |evidence: &Evidence| {
            let case = (&roots, &cell);
            judge(&longest.graph, &longest.shape, case, evidence, &nothing, longest.run_of())
        };
        assert!(judged(&evidence).is_ok(), "{place:?}");
        let mut changed = evidence.clone();
        match changed.steps.first_mut() {
            Some(step) => step.result[77] ^= 1,
            None => changed.cells[0].bytes[7] ^= 1,
        }
        assert!(judged(&changed).is_err(), "{place:?}: a result that is not in the trace");
    }
}
