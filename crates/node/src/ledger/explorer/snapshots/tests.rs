//! Ranges of bytes: those that are served in part, those that are not, and those outside.

use super::*;

#[test]
fn a_range_is_a_part_of_the_file_or_ignored_or_outside() {
    let cases = [
        ("bytes=0-", Wanted::Part(0, 10)),
        ("bytes=4-", Wanted::Part(4, 6)),
        ("bytes=9-", Wanted::Part(9, 1)),
        ("bytes=10-", Wanted::Nothing),
        ("bytes=18446744073709551615-", Wanted::Nothing),
        ("bytes=2-5", Wanted::Part(2, 4)),
        ("bytes=2-2", Wanted::Part(2, 1)),
        ("bytes=2-99", Wanted::Part(2, 8)),
        ("bytes=2-18446744073709551615", Wanted::Part(2, 8)),
        ("bytes=5-2", Wanted::All),
        ("bytes=-3", Wanted::All),
        ("bytes=1-2,4-5", Wanted::All),
        ("lines=1-2", Wanted::All),
        ("", Wanted::All),
    ];
    for (range, expected) in cases {
        assert_eq!(wanted(range, 10), expected, "{range:?}");
    }
    assert_eq!(wanted("bytes=0-", 0), Wanted::Nothing);
}
