use super::*;

#[test]
fn decimals_round_to_the_nearest_step_and_halves_up() {
    let step = 1.0 / 65536.0;
    let table = [
        (0.0, 0),
        (1.0, 65536),
        (0.7, 45875),
        (step / 2.0, 1),
        (step * 0.499_999_999_999_999_94, 0),
        (step * 1.5, 2),
        (-step / 2.0, 0),
        (-step * 0.75, -1),
        (-1e-300, 0),
        (100.0, 6_553_600),
        (f64::MAX, i64::MAX),
    ];
    for (decimal, expected) in table {
        assert_eq!(to_q16(decimal), expected, "{decimal}");
    }
}

#[test]
fn token_ids_have_one_spelling() {
    assert_eq!(token_id("7"), Some(7));
    for spelling in ["07", "+7", "-7", " 7", "7.0", "4294967296", ""] {
        assert_eq!(token_id(spelling), None, "{spelling:?}");
    }
}
