use super::*;
use crate::codec::decode;

#[test]
fn what_is_printed_is_read_back() {
    for (millionths, text) in [
        (0, "0"),
        (1, "0.000001"),
        (100, "0.0001"),
        (1_000_000, "1"),
        (12_500_000, "12.5"),
        (AMOUNT_MAX, "9007199254.740991"),
    ] {
        let amount = Amount::new(millionths).unwrap();
        assert_eq!(amount.to_string(), text);
        assert_eq!(Amount::parse(text), Some(amount));
    }
}

#[test]
fn an_amount_has_one_text() {
    for text in [
        "",
        ".",
        "1.",
        ".5",
        "01",
        "1.50",
        "+1",
        "-1",
        "1.0000001",
        "1,5",
        " 1",
        "9007199254.740992",
    ] {
        assert_eq!(Amount::parse(text), None, "{text:?}");
    }
}

#[test]
fn arithmetic_stops_at_the_limits() {
    let (one, most) = (Amount(1), Amount(AMOUNT_MAX));
    assert_eq!(most.checked_add(one), None);
    assert_eq!(Amount::ZERO.checked_sub(one), None);
    assert_eq!(Amount(10).checked_part(1, 3), Some(Amount(3)));
    assert_eq!(Amount(10).checked_part(1, 0), None);
    assert_eq!(most.checked_part(2, 1), None);
    assert!(decode::<Amount>(&(AMOUNT_MAX + 1).to_le_bytes()).is_err());
}
