use super::friends_only;

#[test]
fn friends_are_drawn_alone_as_often_as_counting_says() {
    // Three of five, and two of four: 3/5 * 2/4.
    assert_eq!(friends_only(&[8, 8, 8], 40, 2), 300_000);
    // 10/20 * 5/10 + 5/20 * 10/15, each division rounded down.
    assert_eq!(friends_only(&[10, 5], 20, 2), 250_000 + 166_666);
    assert_eq!(friends_only(&[8], 40, 2), 0);
    assert_eq!(friends_only(&[], 0, 1), 0);
}
