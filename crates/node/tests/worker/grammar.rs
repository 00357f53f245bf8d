//! Answers that follow a grammar.

use engine::request::Request;
use node::worker::Class;

use crate::machine::{Machine, request};

const SCHEMA: &str = r#"start: %json {"type": "object", "properties": {"a": {"type": "integer",
    "minimum": 100000}, "b": {"type": "string", "maxLength": 40}}, "required": ["a", "b"],
    "additionalProperties": false, "x-guidance": {"whitespace_flexible": false}}"#;

fn asked(machine: &Machine, grammar: &str, said: &[u32]) -> Request {
    let end_tokens = machine.worker().served().tokenizer.ends().to_vec();
    let grammar = Some(grammar.into());
    Request { said: said.to_vec(), end_tokens, grammar, ..request(200) }
}

#[test]
fn answers_follow_their_grammar_and_go_on_under_it_from_anywhere() {
    let machine = Machine::new(&[]);
    let ask = |said: &[u32]| machine.ask(Class::Own, asked(&machine, SCHEMA, said));
    let whole = ask(&[]).unwrap().rest().unwrap();
    let text = machine.worker().served().tokenizer.decode(&whole);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(value["a"].as_u64().is_some_and(|a| a >= 100_000) && value["b"].is_string(), "{text}");
    for cut in [1, whole.len() / 2, whole.len() - 1] {
        let rest = ask(&whole[..cut]).unwrap().rest().unwrap();
        assert_eq!([&whole[..cut], &rest].concat(), whole, "from token {cut}");
    }
    let free = machine.submit(Class::Own, 200).unwrap();
    assert_ne!(
        free.rest().unwrap()[..whole.len()],
        whole,
        "the model would not say that by itself"
    );
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let machine = Machine::new(&[]);
    let refused = machine.ask(Class::Others, asked(&machine, "start: nothing", &[]));
    let refused = refused.map(|_| ()).unwrap_err();
    assert_eq!((refused.code, refused.status()), ("grammar", 400));
    let strange = machine.ask(Class::Others, asked(&machine, SCHEMA, &[1, 2])).unwrap();
    let broken = strange.rest().unwrap_err();
    assert_eq!(broken.0, "the answer does not follow its grammar");
}
