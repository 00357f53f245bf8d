//! Sound files are read as they were written. Broken ones are in `tests/bad_files.rs`.

use super::*;
use crate::import::gguf_build::{Data, Field, GgufBuilder};

fn floats(value: f32, count: usize) -> Data<'static> {
    Data::Bytes(core::iter::repeat_n(value.to_le_bytes(), count).flatten().collect())
}

#[test]
fn every_type_of_value_is_read_back() {
    let texts = [b"one".to_vec(), Vec::new(), b"\xff".to_vec()];
    let mut builder = GgufBuilder::new();
    builder
        .key("u32", Field::U32(u32::MAX))
        .key("i32", Field::I32(-5))
        .key("f32", Field::F32(0.5))
        .key("bool", Field::Bool(true))
        .key("text", Field::Text("hi"))
        .key("texts", Field::Texts(&texts))
        .key("i32s", Field::I32s(&[1, -1]))
        .key("u32s", Field::U32s(&[7]))
        .key("f32s", Field::F32s(&[]));
    let bytes = builder.to_bytes().unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    assert_eq!(gguf.unsigned("u32"), Ok(u64::from(u32::MAX)));
    assert_eq!(gguf.get("i32"), Some(Value::Signed(-5)));
    assert_eq!(gguf.float("f32"), Ok(0.5));
    assert_eq!(gguf.float("i32"), Ok(-5.0));
    assert_eq!(gguf.get("bool"), Some(Value::Bool(true)));
    assert_eq!(gguf.text("text"), Ok("hi"));
    let all = |key: &str| gguf.array(key).unwrap().iter().collect::<Vec<_>>();
    assert_eq!(all("texts"), texts.each_ref().map(|text| Value::Text(text)));
    assert_eq!(all("i32s"), [Value::Signed(1), Value::Signed(-1)]);
    assert_eq!(all("u32s"), [Value::Unsigned(7)]);
    assert!(gguf.array("f32s").unwrap().is_empty() && all("f32s").is_empty());
}

#[test]
fn a_value_of_another_type_is_refused_by_key() {
    let mut builder = GgufBuilder::new();
    builder.key("k", Field::I32(-1));
    let bytes = builder.to_bytes().unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let message = |error: GgufError| error.to_string();
    assert_eq!(
        gguf.unsigned("k").map_err(message),
        Err("key \"k\": is not a whole number of at least 0".to_string())
    );
    assert!(gguf.text("k").map_err(message).unwrap_err().contains("is not text"));
    assert!(gguf.array("k").map_err(message).unwrap_err().contains("is not an array"));
    assert!(gguf.float("other").map_err(message).unwrap_err().contains("is missing"));
}

#[test]
fn tensors_are_read_in_place_with_rows_of_their_fastest_dimension() {
    let mut builder = GgufBuilder::new();
    builder.tensor("one", &[3], Encoding::F32, floats(1.0, 3)).unwrap();
    let row = |row: usize, out: &mut [u8]| out.fill(row as u8);
    builder
        .tensor("two", &[4, 2, 3], Encoding::F16, Data::Rows(alloc::boxed::Box::new(row)))
        .unwrap();
    let bytes = builder.to_bytes().unwrap();
    let gguf = Gguf::parse(&bytes).unwrap();
    let names: Vec<&str> = gguf.tensors().map(|tensor| tensor.name).collect();
    assert_eq!(names, ["one", "two"]);
    let two = gguf.tensor("two").unwrap();
    assert_eq!((two.rows, two.columns, two.encoding), (6, 4, Encoding::F16));
    assert_eq!(two.row(5), [5; 8]);
    assert!(two.row(6).is_empty());
    assert!(gguf.tensor("three").is_none());
}

#[test]
fn a_file_may_name_another_alignment() {
    for (alignment, is_sound) in [(8u32, true), (32, true), (64, false), (0, false), (24, false)] {
        let mut builder = GgufBuilder::new();
        builder.key("general.alignment", Field::U32(alignment));
        builder.tensor("t", &[8], Encoding::F32, floats(1.0, 8)).unwrap();
        builder.tensor("u", &[8], Encoding::F32, floats(1.0, 8)).unwrap();
        let bytes = builder.to_bytes().unwrap();
        // The builder aligns to 32, so 8 works too; at 64 the second tensor's place is unsound.
        assert_eq!(Gguf::parse(&bytes).is_ok(), is_sound, "{alignment}");
    }
}

#[test]
fn the_builder_refuses_tensors_that_no_reader_would_take() {
    let mut builder = GgufBuilder::new();
    let mut refused = |dimensions: &[u64], encoding, count| {
        builder.tensor("t", dimensions, encoding, floats(0.0, count)).is_err()
    };
    assert!(refused(&[], Encoding::F32, 1));
    assert!(refused(&[1; 5], Encoding::F32, 1));
    assert!(refused(&[0], Encoding::F32, 0));
    assert!(refused(&[2], Encoding::F32, 1));
    assert!(refused(&[33], Encoding::Q8_0, 1));
    assert!(refused(&[1 << 62, 8], Encoding::F32, 1));
}
