//! Drafts change no bit of what is said, reported, shown and kept.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail loudly")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::artifact::config::Family;
use engine::artifact::matrix::Bits;
use engine::batch::{Engine, Options, Priority};
use engine::guide::Guide;
use engine::kernels::Isa;
use engine::model::Model;
use engine::numeric::Scale;
use engine::request::{Output, Request, SequenceId};
use engine::sampling::{Sampling, Seed};
use engine::trace::{Answered, Interest, Observe, Observer};
use support::Random;

const FAMILIES: [Family; 4] = [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3];
/// Tokens of the vocabulary.
const TOKENS: usize = 150;

/// A row that an observer was shown: position, index, row, scale, logits, token.
type Row = (usize, usize, Vec<i16>, Scale, Option<Vec<i32>>, u32);

/// The rows of each sequence, in the order in which they were shown.
#[derive(Default)]
struct Rows(BTreeMap<SequenceId, Vec<Row>>);

impl Observe for Rows {
    fn interest(&self) -> Interest {
        Interest::Answer
    }

    fn answered(&mut self, it: Answered<'_>) {
        let logits = it.logits.map(<[i32]>::to_vec);
        let row = (it.row.position, it.index, it.hidden.to_vec(), it.scale, logits, it.token);
        self.0.entry(it.row.sequence).or_default().push(row);
    }
}

/// Allows words of a list one after the other, and foresees what it must or will not allow.
#[derive(Debug)]
struct Words {
    taken: usize,
    mask: Vec<u32>,
}

/// Allowed at each place, in turns: one token, or one of several.
const WORDS: [&[u32]; 7] = [&[9], &[11], &[12], &[5, 6], &[13], &[14], &[70, 71, 72, 73]];

impl Guide for Words {
    fn allowed(&mut self) -> &[u32] {
        self.mask = vec![0; TOKENS.div_ceil(32)];
        for token in WORDS[self.taken % WORDS.len()] {
            self.mask[*token as usize / 32] |= 1 << (token % 32);
        }
        &self.mask
    }

    fn take(&mut self, token: u32) -> bool {
        self.taken += 1;
        WORDS[(self.taken - 1) % WORDS.len()].contains(&token)
    }

    fn foresee(&mut self) -> Vec<u32> {
        let next = WORDS.iter().cycle().skip(self.taken % WORDS.len());
        // The fourth and the last word are often another one, and then the rest is in vain.
        next.map(|word| word[0]).take(5).collect()
    }
}

fn tokens(count: usize, seed: u64) -> Vec<u32> {
    let mut random = Random(seed);
    (0..count).map(|_| random.within(0, TOKENS as i64 - 1) as u32).collect()
}

fn request(prompt: Vec<u32>, sampling: Sampling, tokens_max: u32) -> Request {
    Request {
        prompt,
        said: Vec::new(),
        sampling,
        tokens_max,
        end_tokens: Vec::new(),
        logprobs: Some(3),
        prompt_logprobs: false,
        grammar: None,
    }
}

/// Requests of every kind, whose answers repeat themselves or their prompts here and there.
fn requests() -> Vec<Request> {
    let repeated = tokens(23, 2).repeat(3);
    let warm = |seed| Sampling {
        temperature: 1 << 16,
        // Few tokens are left to choose from, so that their order comes back.
        logit_bias: [7, 8, 9].map(|token| (token, 1000 << 16)).to_vec(),
        seed: Seed::from_integer(seed),
        ..Sampling::default()
    };
    let fined = Sampling {
        presence_penalty: 20_000,
        frequency_penalty: 9_000,
        repetition_penalty: 70_000,
        ..warm(4)
    };
    let filtered = Sampling { temperature: 40_000, top_k: 4, top_p: 60_000, ..warm(5) };
    let choice = |index| Sampling { seed: warm(6).seed.choice(index), ..warm(6) };
    let mut requests = vec![
        request(repeated.clone(), Sampling::default(), 60),
        request(tokens(5, 3), Sampling::default(), 90),
        request(repeated.clone(), warm(1), 80),
        request(tokens(40, 5), warm(2), 33),
        request(repeated.clone(), fined, 50),
        request(repeated.clone(), filtered, 50),
        request(repeated.clone(), choice(0), 40),
        request(repeated.clone(), choice(1), 40),
        request(repeated.clone(), choice(2), 40),
        request(tokens(9, 7), warm(7), 1),
        request(tokens(9, 7), warm(7), 2),
        request(tokens(9, 7), warm(7), 0),
    ];
    // Ends with one of the tokens that keep coming up.
    requests.push(Request { end_tokens: vec![8], ..request(repeated.clone(), warm(9), 40) });
    let scored = request(repeated.clone(), warm(10), 40);
    requests.push(Request { prompt_logprobs: true, ..scored });
    let said = [7, 8, 9, 7, 8, 9, 7, 8, 7].to_vec();
    requests.push(Request { said, ..request(repeated.clone(), warm(11), 40) });
    let guided = Some("words".into());
    requests.push(Request { grammar: guided, ..request(tokens(30, 8), warm(12), 60) });
    requests
}

/// What came of each request: what was reported, without what was found in caches, and shown.
type Told = Vec<(Vec<Output>, Vec<Row>)>;

/// Runs requests together.
fn run(engine: &mut Engine, requests: &[Request]) -> Told {
    let submit = |request: &Request| {
        let guide = request.grammar.is_some().then(|| {
            let words = Words { taken: 0, mask: Vec::new() };
            Box::new(words) as Box<dyn Guide>
        });
        engine.submit_guided(request.clone(), Priority::default(), guide).unwrap()
    };
    let ids: Vec<SequenceId> = requests.iter().map(submit).collect();
    let mut told: BTreeMap<SequenceId, Vec<Output>> = BTreeMap::new();
    let mut rows = Rows::default();
    while !engine.is_idle() {
        for (id, output) in engine.step(&mut Observer::new(&mut rows)) {
            told.entry(id).or_default().push(output);
        }
    }
    let told =
        ids.iter().map(|id| (told.remove(id).unwrap(), rows.0.remove(id).unwrap_or_default()));
    told.collect()
}

/// The same without how much of each prompt was found in the cache.
fn uncached(mut told: Told) -> Told {
    for output in told.iter_mut().flat_map(|(outputs, _)| outputs) {
        if let Output::Prompt { cached, .. } = output {
            *cached = 0;
        }
    }
    told
}

fn model(family: Family) -> Arc<Model> {
    support::model(&support::config(family), Bits::Four, 3)
}

#[test]
fn drafts_change_no_bit_alone_together_in_chunks_with_caches_and_when_suspended() {
    for family in FAMILIES {
        let model = model(family);
        let requests = requests();
        let plain = Options {
            isa: Isa::best(),
            threads: 1,
            prefix_cache: false,
            drafts: false,
            ..Options::default()
        };
        let alone = |request| {
            let request = std::slice::from_ref(request);
            uncached(run(&mut Engine::new(model.clone(), plain), request))
        };
        let alone: Told = requests.iter().flat_map(alone).collect();
        let best = Options { drafts: true, prefix_cache: true, ..plain };
        let tight = Options { kv_size_max: 0, step_rows_max: 17, threads: 2, ..best };
        for options in [best, tight, Options { step_rows_max: 3, ..best }] {
            // Only few sequences at once have drafts.
            for together in [1, 2, requests.len()] {
                let mut engine = Engine::new(model.clone(), options);
                for round in ["cold", "warm"] {
                    for (some, known) in requests.chunks(together).zip(alone.chunks(together)) {
                        let found = uncached(run(&mut engine, some));
                        assert!(found == known, "{family:?} {options:?} {together} {round}");
                    }
                }
                let drafts = engine.drafts();
                let some = together > 2 || drafts.chosen > 50 && drafts.made > drafts.chosen + 10;
                assert!(some, "{family:?} {together}: {drafts:?}");
            }
        }
    }
}

#[test]
fn only_what_was_chosen_is_found_in_the_cache() {
    let model = model(Family::Llama);
    let options = Options { threads: 1, ..Options::default() };
    let [mut with, mut without] =
        [true, false].map(|drafts| Engine::new(model.clone(), Options { drafts, ..options }));
    for round in 0..2 {
        for request in requests() {
            let found = run(&mut with, std::slice::from_ref(&request));
            assert!(found == run(&mut without, std::slice::from_ref(&request)), "round {round}");
            // The whole answer as a prompt finds as many pages.
            let answer = found[0].1.iter().map(|row| row.5);
            let prompt = request.prompt.iter().copied().chain(answer).collect();
            let next = Request { prompt, said: Vec::new(), grammar: None, ..request };
            let next = Request { tokens_max: 0, ..next };
            let found = run(&mut with, std::slice::from_ref(&next));
            assert!(found == run(&mut without, &[next]), "round {round}");
        }
    }
    assert!(with.drafts().chosen > 100);
    assert_eq!(without.drafts(), engine::batch::Drafts::default());
}

#[test]
fn whoever_asks_for_every_logit_sees_no_draft() {
    /// Counts the rows of each step.
    #[derive(Default)]
    struct Steps(Vec<usize>);
    impl Observe for Steps {
        fn step(&mut self, rows: &[engine::trace::RowId]) {
            self.0.push(rows.len());
        }
    }
    let request = request(tokens(5, 3), Sampling::default(), 40);
    let mut engine = Engine::new(model(Family::Llama), Options::default());
    let mut steps = Steps::default();
    engine.submit(request).unwrap();
    while !engine.is_idle() {
        engine.step(&mut Observer::new(&mut steps));
    }
    assert_eq!(steps.0, [&[5][..], &[1; 39]].concat());
    assert_eq!(engine.drafts().made, 0);
}
