use super::*;

fn parts(amount: u64, weights: &[u128]) -> Option<Vec<u64>> {
    let parts = divide(Amount::new(amount).unwrap(), weights)?;
    Some(parts.into_iter().map(Amount::millionths).collect())
}

#[test]
fn what_is_left_goes_to_the_largest_remainders() {
    assert_eq!(parts(10, &[1, 1, 1]), Some(vec![4, 3, 3]));
    assert_eq!(parts(100, &[60, 40]), Some(vec![60, 40]));
    assert_eq!(parts(1, &[1, 2, 1]), Some(vec![0, 1, 0]));
    assert_eq!(parts(7, &[0, 5, 0]), Some(vec![0, 7, 0]));
    assert_eq!(parts(0, &[3]), Some(vec![0]));
}

#[test]
fn no_weight_and_too_much_weight_divide_nothing() {
    assert_eq!(parts(7, &[]), None);
    assert_eq!(parts(7, &[0, 0]), None);
    let most = types::amount::AMOUNT_MAX;
    assert_eq!(parts(7, &[WEIGHT_MAX + 1]), None);
    assert_eq!(parts(most, &[WEIGHT_MAX, WEIGHT_MAX]), Some(vec![most / 2 + 1, most / 2]));
}

#[test]
fn parts_sum_to_the_amount_and_differ_from_proportion_by_less_than_one() {
    let mut state = 7_u64;
    let mut next = |below: u64| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) % below
    };
    for seed in 0..2000 {
        let amount = next(types::amount::AMOUNT_MAX);
        let weights: Vec<u128> = (0..1 + next(20)).map(|_| u128::from(next(1 << 40))).collect();
        let sum: u128 = weights.iter().sum();
        let Some(parts) = parts(amount, &weights) else { continue };
        assert_eq!(parts.iter().sum::<u64>(), amount, "seed {seed}");
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = u128::from(amount) * weight;
            let given = u128::from(*part) * sum;
            assert!(given.abs_diff(exact) < sum, "seed {seed}");
        }
    }
}
