use super::*;

#[test]
fn integers_are_little_endian_and_of_fixed_width() {
    assert_eq!(encode(&0x0102_0304_u32), [4, 3, 2, 1]);
    assert_eq!(encode(&-1_i128), [255; 16]);
    assert_eq!(decode::<u16>(&[1, 2]), Ok(0x0201));
}

#[test]
fn bytes_after_a_value_are_refused() {
    assert_eq!(decode::<u8>(&[1, 2]), Err(Malformed::Trailing { left: 1 }));
}

#[test]
fn bytes_that_end_early_are_refused() {
    assert_eq!(decode::<u64>(&[1, 2]), Err(Malformed::Short { wanted: 8, left: 2 }));
}

#[test]
fn only_0_and_1_are_truths() {
    assert_eq!(decode::<bool>(&[1]), Ok(true));
    assert_eq!(decode::<bool>(&[2]), Err(Malformed::UnknownVariant { number: 2 }));
    assert_eq!(decode::<Option<u8>>(&[1, 7]), Ok(Some(7)));
    assert_eq!(decode::<Option<u8>>(&[0]), Ok(None));
    assert!(decode::<Option<u8>>(&[0, 7]).is_err());
}
