//! Measures what commitments cost: the same run with and without them, in turn.
//!
//! overhead ARTIFACT THREADS PROMPT_TOKENS GENERATE ROUNDS
//!
//! Prints, for the prompt and for the answer, the median seconds without and with a commitment, and the
//! median of the rounds' ratios; the time spent in the commitment itself, which is less than what two
//! runs on a shared machine differ by; and what a replay takes. No tokens are drafted, so that a run
//! takes the same steps each time.
#![expect(clippy::print_stdout, reason = "the measurement is the program's output")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use audit::commitment::Committer;
use audit::replay::{Run, replay};
use engine::batch::{Engine, Options};
use engine::fingerprint::standard_request;
use engine::kernels::Isa;
use engine::model::Model;
use engine::request::{Output, Request};
use engine::trace::{Answered, Interest, Observe, Observer};

/// A commitment, and the time that it takes.
#[derive(Default)]
struct Timed {
    committer: Committer,
    taken: Duration,
}

impl Observe for Timed {
    fn interest(&self) -> Interest {
        self.committer.interest()
    }

    fn answered(&mut self, answered: Answered<'_>) {
        let started = Instant::now();
        self.committer.answered(answered);
        self.taken += started.elapsed();
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, threads, prompt, generate, rounds] = arguments.as_slice() else {
        return Err("usage: overhead ARTIFACT THREADS PROMPT_TOKENS GENERATE ROUNDS".into());
    };
    let (threads, rounds): (usize, usize) = (threads.parse()?, rounds.parse()?);
    let (prompt, generate): (u32, u32) = (prompt.parse()?, generate.parse()?);
    let model = Arc::new(Model::open(Arc::new(std::fs::read(file)?))?);
    let options = Options {
        isa: Isa::best(),
        threads,
        prefix_cache: false,
        drafts: false,
        ..Options::default()
    };
    let mut engine = Engine::new(model.clone(), options);
    let vocabulary = model.vocabulary_size() as u32;
    let tokens: Vec<u32> = (0..prompt).map(|i| (i * 37 + 3) % vocabulary).collect();
    let request = standard_request(tokens, generate);
    let mut times: [Vec<[f64; 2]>; 2] = [Vec::new(), Vec::new()];
    let (mut output, mut replays, mut inside) = (Vec::new(), Vec::new(), Vec::new());
    run(&mut engine, &request, false)?;
    for round in 0..rounds {
        for with in [round % 2 == 0, round % 2 == 1] {
            let (tokens, [prompt, answer, committing]) = run(&mut engine, &request, with)?;
            times[usize::from(with)].push([prompt, answer]);
            output = tokens;
            if with {
                inside.push(committing / (prompt + answer));
            }
        }
        let started = Instant::now();
        let (prompt, sampling) = (&request.prompt, &request.sampling);
        let found = replay(&mut engine, &Run { prompt, output: &output, said: 0, sampling })?;
        replays.push(started.elapsed().as_secs_f64());
        assert!(found.wrong.is_none(), "the replay agrees");
    }
    for (at, part) in ["prompt", "answer"].into_iter().enumerate() {
        let column = |times: &[[f64; 2]]| times.iter().map(|pair| pair[at]).collect::<Vec<f64>>();
        let (without, with) = (column(&times[0]), column(&times[1]));
        let ratios = with.iter().zip(&without).map(|(with, without)| with / without).collect();
        let (without, with) = (median(without), median(with));
        println!("{part}: {without:.4} s without, {with:.4} s with, ratio {:.4}", median(ratios));
    }
    println!("the commitment itself: {:.3} % of the run", 100.0 * median(inside));
    let whole: Vec<f64> = times[0].iter().map(|[prompt, answer]| prompt + answer).collect();
    let (whole, again) = (median(whole), median(replays));
    println!("replay: {again:.4} s, {:.3} of the run", again / whole);
    Ok(())
}

/// The answer, the seconds of the prompt with the first token and of the rest, and of these the seconds
/// in the commitment.
fn run(
    engine: &mut Engine,
    request: &Request,
    commits: bool,
) -> Result<(Vec<u32>, [f64; 3]), Box<dyn Error>> {
    let mut timed = Timed::default();
    let id = engine.submit(request.clone())?;
    timed.committer.follow(id);
    let (started, mut first, mut tokens) = (Instant::now(), None, Vec::new());
    while !engine.is_idle() {
        let mut observer = if commits { Observer::new(&mut timed) } else { Observer::none() };
        for (_, output) in engine.step(&mut observer) {
            if let Output::Token { token, .. } = output {
                first.get_or_insert_with(|| started.elapsed().as_secs_f64());
                tokens.push(token);
            }
        }
    }
    let whole = started.elapsed().as_secs_f64();
    let first = first.unwrap_or_default();
    let found = timed.committer.take(id).map_or(0, |leaves| leaves.as_slice().len());
    assert!(!commits || found == tokens.len(), "every token has its leaf");
    Ok((tokens, [first, whole - first, timed.taken.as_secs_f64()]))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
