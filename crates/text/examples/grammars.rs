//! Measures what following a grammar costs, without an engine.
//!
//! grammars ARTIFACT ANSWERS [ROUNDS]
//!
//! `ANSWERS` has a line of JSON for each answer, with its `schema` and its `text`, as
//! `fixtures/clients/schemas` leaves them. Each is followed `ROUNDS` times, once by default, each time under a
//! grammar made anew.
#![expect(clippy::print_stdout, reason = "the measurement is the program's output")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::guide::Guide as _;
use engine::model::Model;
use serde_json::{Value, json};
use text::tokenizer::{SpecialTokens, Tokenizer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [file, answers, more @ ..] = arguments.as_slice() else {
        return Err("usage: grammars ARTIFACT ANSWERS [ROUNDS]".into());
    };
    let rounds: usize = more.first().map_or(Ok(1), |it| it.parse())?;
    let model = Model::open(Arc::new(std::fs::read(file)?))?;
    let tokenizer = Tokenizer::new(&model.vocabulary())?;
    let started = Instant::now();
    tokenizer.guide("start: \"a\"")?;
    println!("tables of {} tokens: {:.1} ms", tokenizer.len(), ms(started.elapsed()));

    let answers = std::fs::read_to_string(answers)?;
    let (mut made, mut again, mut first, mut next) = (vec![], vec![], vec![], vec![]);
    let mut slowest: Vec<(Duration, Duration, String)> = Vec::new();
    for _ in 0..rounds {
        for line in answers.lines() {
            let mut answer: Value = serde_json::from_str(line)?;
            answer["schema"]["x-guidance"] = json!({
                "whitespace_flexible": false, "item_separator": ", ", "key_separator": ": ",
            });
            let grammar = format!("start: %json {}", answer["schema"]);
            let started = Instant::now();
            // One whose references are escaped is followed only after the gateway has rewritten it.
            let Ok(mut guide) = tokenizer.guide(&grammar) else { continue };
            made.push(started.elapsed());
            let started = Instant::now();
            drop(tokenizer.guide(&grammar)?);
            again.push(started.elapsed());
            let text = answer["text"].as_str().unwrap_or_default();
            let mut worst = Duration::ZERO;
            for (index, token) in tokenizer.encode(text, SpecialTokens::Plain).iter().enumerate() {
                let times = if index == 0 { &mut first } else { &mut next };
                let started = Instant::now();
                guide.allowed();
                let taken = guide.take(*token);
                let time = started.elapsed();
                if !taken {
                    return Err(format!("token {index} of {text:?} is not allowed").into());
                }
                worst = worst.max(time);
                times.push(time);
            }
            slowest.push((worst, made[made.len() - 1], grammar));
        }
    }
    println!("{} answers, {} tokens", made.len(), next.len());
    for (name, times) in [
        ("grammar made", &mut made),
        ("the same again", &mut again),
        ("first token", &mut first),
        ("next token", &mut next),
    ] {
        println!("{name}: {}", spread(times));
    }
    slowest.sort_by_key(|it| std::cmp::Reverse(it.0));
    for (worst, made, grammar) in slowest.iter().take(5) {
        let start: String = grammar.chars().take(300).collect();
        println!("slowest token {:.2} ms, made in {:.2} ms: {start}", ms(*worst), ms(*made));
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    1e3 * time.as_secs_f64()
}

fn spread(times: &mut [Duration]) -> String {
    times.sort();
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().map_or(0.0, ms)
    };
    let sum: Duration = times.iter().sum();
    let mean = ms(sum) / times.len().max(1) as f64;
    format!(
        "p50 {:.3} ms, mean {mean:.3}, p99 {:.3}, p99.9 {:.3}, max {:.3}",
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    )
}
