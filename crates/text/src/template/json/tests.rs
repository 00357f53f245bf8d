use minijinja::value::Value;

use super::write;

fn sample() -> Value {
    Value::from_pairs([
        ("name", Value::from("a \"b\" \\ \n\u{1} <'&'> \u{645}")),
        ("list", Value::from(vec![Value::from(1), Value::from(2.5), Value::from(())])),
        ("empty", Value::from(Vec::<Value>::new())),
        ("truth", Value::from(true)),
    ])
}

#[test]
fn json_is_spaced_as_python_does() {
    let expected = concat!(
        r#"{"name": "a \"b\" \\ \n\u0001 <'&'> "#,
        "\u{645}",
        r#"", "list": [1, 2.5, null], "empty": [], "truth": true}"#
    );
    assert_eq!(write(&sample(), None, 1000).unwrap(), expected);
}

#[test]
fn json_is_indented_as_python_does() {
    let value = Value::from_pairs([("a", vec![1, 2]), ("b", Vec::new())]);
    let expected = "{\n  \"a\": [\n    1,\n    2\n  ],\n  \"b\": []\n}";
    assert_eq!(write(&value, Some(2), 1000).unwrap(), expected);
}

#[test]
fn json_stops_at_its_limit() {
    let size = write(&sample(), None, 1000).unwrap().len();
    assert!(write(&sample(), None, size).is_ok());
    assert!(write(&sample(), None, size - 1).is_err());
}

#[test]
fn a_value_that_holds_itself_many_times_is_refused() {
    let mut value = Value::from("x");
    for _ in 0..60 {
        value = Value::from(vec![value.clone(), value]);
    }
    assert!(write(&value, None, 100_000).is_err());
    for _ in 0..60 {
        value = Value::from(vec![value]);
    }
    assert!(write(&value, None, usize::MAX).is_err());
}

#[test]
fn what_json_lacks_is_refused() {
    assert!(write(&Value::UNDEFINED, None, 100).is_err());
}
