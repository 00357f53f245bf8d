//! What holds for every answer and every request, tried with many seeds.

use std::sync::Arc;

use gateway::router::{Gateway, Options, router};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::world::{CHAT, COMPLETIONS, Line, Script, post, read, run};

struct SplitMix64(u64);

impl SplitMix64 {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

async fn ask(script: Script, path: &str, body: &str) -> (u16, String) {
    let gateway = Gateway::new(Arc::new(script), &Options::default());
    let response = router(gateway).oneshot(post(path, body)).await.unwrap();
    let (status, _, body) = read(response).await;
    (status.as_u16(), body)
}

/// The text, the tokens of the log-probabilities, and the reason of the only choice.
fn gather<'a>(choices: impl Iterator<Item = &'a Value>) -> (String, Vec<Value>, Value) {
    let mut gathered = (String::new(), Vec::new(), Value::Null);
    for choice in choices {
        gathered.0.push_str(choice["text"].as_str().unwrap());
        gathered.1.extend(choice["logprobs"]["tokens"].as_array().into_iter().flatten().cloned());
        gathered.2 = choice["finish_reason"].clone();
    }
    gathered
}

#[test]
fn stream_joined_is_the_answer_at_once() {
    for seed in 0..300 {
        let mut random = SplitMix64(seed);
        let mut lines = vec![Line::Prompt(0)];
        // Letters, a merged token, bytes of characters, bytes of nothing, a control token.
        let tokens = [97, 98, 258, 0xc3, 0xa9, 0xe2, 0x80, 0xff, 256, 46];
        lines.extend((0..random.below(12)).map(|_| Line::Token(random.pick(&tokens))));
        lines.push(if random.below(2) == 0 { Line::End } else { Line::Full });
        let stops = ["a", "bab", "\u{e9}.", "\u{fffd}", "ab"];
        let stop: Vec<&str> = (0..random.below(3)).map(|_| random.pick(&stops)).collect();
        let body = |stream: bool| {
            let logprobs = if seed % 2 == 0 { json!(1) } else { Value::Null };
            json!({"model": "tiny", "prompt": "x", "echo": seed % 3 == 0, "stop": stop,
                   "logprobs": logprobs, "stream": stream})
            .to_string()
        };
        let whole = run(ask(Script::new(&[&lines]), COMPLETIONS, &body(false))).1;
        let whole: Value = serde_json::from_str(&whole).unwrap();
        let stream = run(ask(Script::new(&[&lines]), COMPLETIONS, &body(true))).1;
        let events: Vec<Value> = stream
            .split_terminator("\n\n")
            .filter_map(|event| serde_json::from_str(event.strip_prefix("data: ")?).ok())
            .collect();
        let pieces = gather(events.iter().map(|event| &event["choices"][0]));
        assert_eq!(pieces, gather([&whole["choices"][0]].into_iter()), "seed {seed}: {lines:?}");
        for stop in &stop {
            let text = pieces.0.strip_prefix('x').filter(|_| seed % 3 == 0).unwrap_or(&pieces.0);
            assert!(!text.contains(stop), "seed {seed}: {text:?} has {stop:?}");
        }
    }
}

#[test]
fn no_request_breaks_the_gateway() {
    let bodies = [
        r#"{"model":"tiny","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],
            "logprobs":true,"top_logprobs":2,"stop":["a"],"logit_bias":{"5":1.5},"n":2}"#,
        r#"{"model":"tiny","prompt":[[1,2],[3]],"max_tokens":0,"echo":true,"logprobs":1,
            "temperature":0.5,"stream":true,"stream_options":{"include_usage":true}}"#,
    ];
    let words =
        ["null", "-1", "1e999", "1e308", "\"\"", "[]", "{}", "0.5", "\"\\ud800\"", "9999999999"];
    for seed in 0..2000 {
        let mut random = SplitMix64(seed);
        let (path, body) = random.pick(&[(CHAT, bodies[0]), (COMPLETIONS, bodies[1])]);
        let mut body = body.as_bytes().to_vec();
        for _ in 0..1 + random.below(3) {
            let start = random.below(body.len());
            let end = (start + random.below(6)).min(body.len());
            let word = random.pick(&words).as_bytes();
            body.splice(start..end, word.iter().copied());
        }
        let lines: &[Line] = &[Line::Prompt(0), Line::Text("ok"), Line::End];
        let body = String::from_utf8_lossy(&body);
        let (status, answer) = run(ask(Script::new(&[lines; 4]), path, &body));
        assert!(matches!(status, 200 | 400 | 404), "seed {seed}: {status} for {body}");
        if status != 200 {
            let answer: Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(answer["error"].as_object().unwrap().len(), 4, "seed {seed}: {body}");
        }
    }
}
