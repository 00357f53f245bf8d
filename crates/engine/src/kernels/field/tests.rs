use super::*;
use crate::kernels::Isa;

#[test]
fn the_parts_of_every_instruction_set_are_the_sum_of_products() {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        state >> 3
    };
    let most = (1u64 << 61) - 1;
    for count in [1usize, 3, 16, 100, 512] {
        for is_most in [false, true] {
            let numbers: Vec<u64> =
                (0..count).map(|_| if is_most { most } else { next() }).collect();
            let mut values = |most: i64| -> Vec<i64> {
                let number = || if is_most { -most } else { next() as i64 % most };
                std::iter::repeat_with(number).take(count).collect()
            };
            let (long, int, small) = (values((1 << 46) - 1), values(1 << 31), values(1 << 15));
            let right = |values: &[i64]| -> i128 {
                let pairs = numbers.iter().zip(values);
                pairs.map(|(&number, &value)| i128::from(number) * i128::from(value)).sum()
            };
            let ints: Vec<i32> = int.iter().map(|&it| it as i32).collect();
            let smalls: Vec<i16> = small.iter().map(|&it| it as i16).collect();
            for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
                let [hh, hl, lh, ll] = wide(isa, &numbers, &long).map(i128::from);
                assert_eq!((hh << 54) + (hl << 31) + (lh << 23) + ll, right(&long), "{isa:?}");
                let [high, middle, low] = short(isa, &numbers, &ints).map(i128::from);
                assert_eq!((high << 40) + (middle << 20) + low, right(&int), "{isa:?}");
                let [above, below] = narrow(isa, &numbers, &smalls).map(i128::from);
                assert_eq!((above << 31) + below, right(&small), "{isa:?}");
                assert_eq!(
                    largest(isa, &long),
                    long.iter().map(|it| it.unsigned_abs()).max().unwrap()
                );
            }
        }
    }
}
