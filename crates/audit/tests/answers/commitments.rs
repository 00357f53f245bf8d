//! One answer, one root, however it was computed; openings of single positions.

use audit::commitment::{Committer, Leaves, Position, blind, output_hash, prompt_hash};
use engine::artifact::config::Family;
use engine::batch::{Engine, Options};
use engine::kernels::Isa;
use engine::kv::PAGE;
use engine::numeric::Scale;
use engine::request::{Output, Request};
use engine::trace::{Answered, Interest, Observe, Observer};

use crate::{FAMILIES, alone, model, options, request, run, tokens};

#[test]
fn batches_chunks_caches_threads_and_kernels_leave_the_root() {
    for family in FAMILIES {
        let model = model(family, 3);
        let shared = tokens(40, 5);
        let requests: Vec<Request> = (0..6)
            .map(|i| {
                let mut prompt = if i % 2 == 0 { shared.clone() } else { Vec::new() };
                prompt.extend(tokens(3 + 9 * i, i as u64));
                request(prompt, i as i64, 1 + 4 * i as u32)
            })
            .collect();
        let reference: Vec<_> = requests
            .iter()
            .map(|it| {
                let plain = options(Isa::Scalar, 1);
                alone(&model, it, Options { prefix_cache: false, drafts: false, ..plain })
            })
            .collect();
        let best = options(Isa::best(), 2);
        // Room for one context only: sequences take each other's pages and are computed again.
        let tight = Options { kv_size_max: 0, step_rows_max: 17, ..best };
        for options in [best, tight, Options { step_rows_max: 3, ..best }] {
            let mut engine = Engine::new(model.clone(), options);
            for round in ["cold", "warm"] {
                for (found, known) in run(&mut engine, &requests).into_iter().zip(&reference) {
                    assert_eq!(found.0, known.0, "{family:?} {round}");
                    assert_eq!(found.1.as_ref(), Some(&known.1), "{family:?} {round} {options:?}");
                }
            }
        }
    }
}

#[test]
fn a_continuation_has_the_root_of_the_whole_answer_even_where_its_pages_are_cached() {
    let model = model(Family::Qwen3, 3);
    let whole = request(tokens(37, 5), 9, 20);
    let (answer, leaves) = alone(&model, &whole, options(Isa::Scalar, 1));
    let mut engine = Engine::new(model, options(Isa::best(), 2));
    for cut in 0..=answer.len() {
        let rest = Request { said: answer[..cut].to_vec(), ..whole.clone() };
        // The engine has computed this answer before, so that nearly all of its pages are cached.
        let (tokens, found) = run(&mut engine, &[rest]).remove(0);
        assert_eq!(tokens, answer[cut..], "cut after {cut}");
        assert_eq!(found.as_ref(), Some(&leaves), "cut after {cut}");
    }
}

#[test]
fn an_answer_that_goes_on_where_its_leaves_are_known_uses_its_cache() {
    let (model, whole) = (model(Family::Llama, 3), request(tokens(21, 4), 4, 40));
    let (answer, leaves) = alone(&model, &whole, options(Isa::Scalar, 1));
    let mut engine = Engine::new(model, options(Isa::best(), 1));
    drop(run(&mut engine, core::slice::from_ref(&whole)));
    for cut in 0..answer.len() {
        for known in [0, cut / 2, cut] {
            let rest = Request { said: answer[..cut].to_vec(), ..whole.clone() };
            let id = engine.submit(rest).unwrap();
            let mut committer = Committer::default();
            engine.skip_shown(id, known);
            assert!(committer.follow_from(id, leaves.clone().first(known)));
            let mut cached = None;
            while !engine.is_idle() {
                for (_, output) in engine.step(&mut Observer::new(&mut committer)) {
                    if let Output::Prompt { cached: count, .. } = output {
                        cached = Some(count as usize);
                    }
                }
            }
            assert_eq!(committer.take(id).as_ref(), Some(&leaves), "{cut}, {known} known");
            // Whole pages before the first row that has to be shown.
            let before = 21 - 1 + known;
            assert_eq!(cached, Some(before / PAGE * PAGE), "{cut}, {known} known");
        }
    }
}

#[test]
fn an_answer_that_was_not_followed_from_its_beginning_has_no_leaves() {
    let model = model(Family::Llama, 3);
    let mut engine = Engine::new(model, options(Isa::best(), 1));
    let id = engine.submit(request(tokens(9, 1), 1, 8)).unwrap();
    let mut committer = Committer::default();
    assert!(committer.follow(id));
    engine.step(&mut Observer::none());
    while !engine.is_idle() {
        engine.step(&mut Observer::new(&mut committer));
    }
    assert_eq!(committer.take(id), None);
    assert_eq!(committer.take(id), None, "nothing is left of it");
}

/// The rows that an observer was shown.
#[derive(Default)]
struct Rows(Vec<(u64, Vec<i16>, Scale, u32)>);

impl Observe for Rows {
    fn interest(&self) -> Interest {
        Interest::Answer
    }

    fn answered(&mut self, it: Answered<'_>) {
        let position = it.row.position as u64 + 1;
        self.0.push((position, it.hidden.to_vec(), it.scale, it.token));
    }
}

#[test]
fn each_position_opens_and_no_changed_one_does() {
    let model = model(Family::Gemma3, 4);
    for tokens_max in [1, 2, 13] {
        let prompt = tokens(30, 8);
        let request = request(prompt.clone(), 2, tokens_max);
        let (_, leaves) = alone(&model, &request, options(Isa::best(), 1));
        let mut engine = Engine::new(model.clone(), options(Isa::Scalar, 1));
        engine.submit(request).unwrap();
        let mut rows = Rows::default();
        while !engine.is_idle() {
            engine.step(&mut Observer::new(&mut rows));
        }
        let prompt = prompt_hash(&prompt);
        let root = leaves.root(&prompt);
        assert_eq!(rows.0.len(), tokens_max as usize);
        for (index, (position, hidden, scale, token)) in rows.0.iter().enumerate() {
            let opening = leaves.open(index as u32).unwrap();
            let it = Position { position: *position, hidden, scale: *scale, token: *token };
            let leads = |it: Position<'_>| opening.leads_to(it.leaf(), &prompt, &root);
            assert!(leads(it), "{index} of {tokens_max}");
            assert!(!leads(Position { position: position + 1, ..it }));
            assert!(!leads(Position { token: token ^ 1, ..it }));
            let exponent = scale.exponent + 1;
            assert!(!leads(Position { scale: Scale { exponent, ..*scale }, ..it }));
            let mut other = hidden.clone();
            other[index] ^= 1;
            assert!(!leads(Position { hidden: &other, ..it }));
            assert!(!leads(Position { hidden: &hidden[1..], ..it }));
            assert!(!opening.leads_to(it.leaf(), &prompt_hash(&[1]), &root), "another prompt");
        }
        assert_eq!(leaves.open(tokens_max), None);
    }
}

#[test]
fn lists_that_differ_differ_in_their_hashes_and_are_compared_to_the_first_difference() {
    let lists: [&[u32]; 5] = [&[], &[0], &[0, 0], &[1], &[256]];
    for (i, one) in lists.iter().enumerate() {
        for two in &lists[i + 1..] {
            assert_ne!(prompt_hash(one), prompt_hash(two));
            assert_ne!(output_hash(one), output_hash(two));
        }
        assert_ne!(prompt_hash(one), output_hash(one));
    }
    let leaves = |bytes: &[u8]| Leaves::new(bytes.iter().map(|&it| [it; 32]).collect()).unwrap();
    let whole = leaves(&[1, 2, 3]);
    assert_eq!(whole.first_difference(&whole), None);
    assert_eq!(whole.first_difference(&leaves(&[1, 9, 3])), Some(1));
    assert_eq!(whole.first_difference(&leaves(&[1, 2])), Some(2));
    assert_eq!(leaves(&[]).first_difference(&whole), Some(0));
    assert_ne!(blind(&[1; 32], &[2; 32]), blind(&[2; 32], &[1; 32]));
    assert_eq!(Leaves::new(vec![[0; 32]; audit::commitment::TOKENS_MAX + 1]), None);
}
