use super::*;
use crate::codec::{decode, encode};

#[test]
fn a_text_holds_its_limit_and_no_byte_more() {
    assert!(Text::<4>::new("1234").is_ok());
    assert_eq!(Text::<4>::new("12345"), Err(Malformed::TooLong { length: 5, max: 4 }));
    assert_eq!(decode::<Text<1>>(&[2, 0, 0, 0, b'a', b'b']), Text::<1>::new("ab"));
}

#[test]
fn a_length_is_refused_before_anything_is_read() {
    let bytes = [255, 255, 255, 255];
    let refused = Malformed::TooLong { length: 0xFFFF_FFFF, max: 4 };
    assert_eq!(decode::<Text<4>>(&bytes), Err(refused));
    assert_eq!(decode::<List<u8, 4>>(&bytes), Err(refused));
}

#[test]
fn texts_that_would_show_other_than_they_are_do_not_exist() {
    assert!(Text::<64>::new("\u{645}\u{634}\u{627}\u{639}").is_ok());
    for hidden in ["\n", "\0", "a\u{202e}b", "\u{2066}", "\u{200b}", "\u{feff}", "\u{7f}"] {
        assert_eq!(Text::<64>::new(hidden), Err(Malformed::BadText), "{hidden:?}");
    }
    assert_eq!(decode::<Text<4>>(&[1, 0, 0, 0, 0xFF]), Err(Malformed::BadText));
}

#[test]
fn a_set_has_one_order() {
    let set = Set::<u8, 3>::new(vec![3, 1]).unwrap();
    assert_eq!(encode(&set), [2, 0, 0, 0, 1, 3]);
    assert_eq!(decode::<Set<u8, 3>>(&[2, 0, 0, 0, 3, 1]), Err(Malformed::NotAscending));
    assert_eq!(decode::<Set<u8, 3>>(&[2, 0, 0, 0, 1, 1]), Err(Malformed::NotAscending));
    assert_eq!(Set::<u8, 3>::new(vec![1, 1]), Err(Malformed::NotAscending));
}

#[test]
fn a_list_holds_its_limit_and_no_value_more() {
    assert!(List::<u8, 2>::new(vec![1, 2]).is_ok());
    assert!(List::<u8, 2>::new(vec![1, 2, 3]).is_err());
    assert!(decode::<List<u8, 2>>(&[3, 0, 0, 0, 1, 2, 3]).is_err());
}

#[test]
fn bytes_hold_their_limit_and_no_byte_more() {
    let full = Bytes::<3>::new(vec![1, 2, 3]).unwrap();
    assert_eq!(encode(&full), [3, 0, 0, 0, 1, 2, 3]);
    assert_eq!(decode(&[3, 0, 0, 0, 1, 2, 3]), Ok(full));
    let refused = Malformed::TooLong { length: 4, max: 3 };
    assert_eq!(Bytes::<3>::new(vec![0; 4]), Err(refused));
    assert_eq!(decode::<Bytes<3>>(&[4, 0, 0, 0, 1, 2, 3, 4]), Err(refused));
    assert_eq!(decode::<Bytes<3>>(&[2, 0, 0, 0, 1]), Err(Malformed::Short { wanted: 2, left: 1 }));
}
