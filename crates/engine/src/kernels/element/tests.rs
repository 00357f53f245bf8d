use super::*;
use crate::kernels::Isa;

/// A number from a seed.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        self.0 >> 11
    }

    /// So many numbers of magnitude `most` at most, the ends among them.
    fn list(&mut self, count: usize, most: i64) -> Vec<i64> {
        let mut number = |at| match at % 7 {
            3 => most,
            5 => -most,
            _ => {
                self.next() as i64 % (most + 1) * if self.next().is_multiple_of(2) { 1 } else { -1 }
            }
        };
        (0..count).map(&mut number).collect()
    }
}

fn sixteen(numbers: &[i64]) -> Vec<i16> {
    numbers.iter().map(|&it| it as i16).collect()
}

fn all() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_available())
}

#[test]
fn sums_of_32_and_of_64_bits_are_scaled_as_one_by_one() {
    let mut numbers = Numbers(1);
    for (count, product_shift) in [(1, 1), (7, 8), (33, 9), (100, 16)] {
        for shift in [1, 17, 30, 31, 32, 33, 48, 62] {
            let short: Vec<i32> =
                numbers.list(count, i32::MAX.into()).iter().map(|&it| it as i32).collect();
            let wide = numbers.list(count, (1 << 46) - 1);
            let scales: Vec<[u8; 4]> =
                (0..count).map(|_| ((numbers.next() >> 22) as i32).to_le_bytes()).collect();
            let mantissa = (numbers.next() >> 22) as i32 | 1 << 30;
            let epilogue = Epilogue { product_shift, mantissa, shift };
            let apply =
                |(sum, scale): (i64, &[u8; 4])| epilogue.apply(sum, i32::from_le_bytes(*scale));
            let pairs = short.iter().map(|&sum| i64::from(sum)).zip(&scales);
            let right_short: Vec<i32> = pairs.map(apply).collect();
            let right_wide: Vec<i32> = wide.iter().copied().zip(&scales).map(apply).collect();
            for isa in all() {
                let mut out = vec![0; count];
                scale_short_sums(isa, epilogue, &short, &scales, &mut out);
                assert_eq!(out, right_short, "{isa:?}, {shift}");
                scale_sums(isa, epilogue, &wide, &scales, &mut out);
                assert_eq!(out, right_wide, "{isa:?}, {shift}");
            }
        }
    }
}

#[test]
fn scores_and_weighted_values_are_the_exact_sums() {
    let mut numbers = Numbers(2);
    for (size, seen) in [(16, 1), (32, 7), (48, 513), (64, 19), (128, 1_100), (512, 3)] {
        let query = sixteen(&numbers.list(size, 2_047));
        let keys = sixteen(&numbers.list(size * seen, 2_047));
        let values = sixteen(&numbers.list(size * seen, 127));
        let weights: Vec<i16> =
            numbers.list(seen, 32_767).iter().map(|it| it.unsigned_abs() as i16).collect();
        let dot = |key: &[i16]| {
            let pairs = query.iter().zip(key).map(|(&q, &k)| i64::from(q) * i64::from(k));
            i32::try_from(pairs.sum::<i64>()).unwrap()
        };
        let right: Vec<i32> = keys.chunks(size).map(dot).collect();
        let sum = |at: usize| {
            let pairs = weights.iter().zip(values.chunks(size));
            pairs.map(|(&weight, row)| i64::from(weight) * i64::from(row[at])).sum()
        };
        let right_sums: Vec<i64> = (0..size).map(sum).collect();
        for isa in all() {
            let mut out = vec![0; seen];
            scores(isa, &query, &keys, &mut out);
            assert_eq!(out, right, "{isa:?}, {size}, {seen}");
            let mut sums = vec![7; size];
            weighted(isa, &weights, &values, &mut sums);
            assert_eq!(sums, right_sums, "{isa:?}, {size}, {seen}");
        }
    }
    for isa in all() {
        // The most that any of them can be.
        let mut sums = [0; 16];
        weighted(isa, &[32_767; 512], &[-127; 512 * 16], &mut sums);
        assert_eq!(sums, [-32_767 * 127 * 512; 16]);
    }
}

#[test]
fn every_instruction_set_gives_the_bits_of_the_plain_steps() {
    let mut numbers = Numbers(3);
    for count in [16, 48, 576, 1_536] {
        let row: Vec<i32> = numbers.list(count, 1 << 26).iter().map(|&it| it as i32).collect();
        let other: Vec<i32> = numbers.list(count, 1 << 22).iter().map(|&it| it as i32).collect();
        let weights: Vec<i32> =
            numbers.list(count, (1 << 23) - 1).iter().map(|&it| it as i32).collect();
        let turns: Vec<(i32, i32)> =
            (0..count / 2).map(|_| crate::numeric::cos_sin_q30(numbers.next() << 11)).collect();
        let (cos, sin): (Vec<i32>, Vec<i32>) = turns.into_iter().unzip();
        let of = |isa: Isa| {
            let (mut terms, mut x) = (vec![0; count], vec![0; count]);
            let (mut head, mut out) = (row.clone(), vec![0; count]);
            let sum = norm_terms(isa, &row, &weights, &mut terms);
            let mut found = vec![format!("{sum:?} {terms:?}")];
            found.push(format!("{:?} {x:?}", quantise(isa, &terms, &mut x)));
            rescale(isa, &terms, Scale { mantissa: 1 << 30, exponent: 40 }, 3, &mut out);
            found.push(format!("{out:?}"));
            for activation in [Activation::Silu, Activation::Gelu, Activation::GeluErf] {
                gated(isa, activation, &other, &row, &mut terms);
                found.push(format!("{terms:?}"));
            }
            widen(isa, &row, &mut terms);
            rotate(isa, &mut head, &cos, &sin);
            found.push(format!("{terms:?} {head:?}"));
            found.push(format!("{} {x:?}", quantise_head(isa, &head, 2_047, 11, &mut x)));
            add(isa, &mut out, &other);
            let mut scores = other.clone();
            let (keys, values): (Vec<i32>, Vec<i32>) =
                (row.iter().map(|it| it.abs() + 1).collect(), vec![70_000; count]);
            let softmax_row = SoftmaxRow { from: 0, to: count, mantissa: 40_000, exponent: 40 };
            let ends = softmax(isa, softmax_row, &mut scores, &keys, &values, &mut x);
            found.push(format!("{out:?} {ends:?} {x:?}"));
            let sums: Vec<i64> = row.iter().map(|&it| i64::from(it)).collect();
            finish_head(isa, &sums, 1 << 22, 17, &mut out);
            let distances: Vec<u32> = keys.iter().map(|&it| it as u32).collect();
            found.push(format!("{out:?} {}", smallest(isa, &distances)));
            found
        };
        let right = of(Isa::Scalar);
        all().for_each(|isa| assert_eq!(of(isa), right, "{isa:?}, {count}"));
        let least = row.iter().map(|it| it.abs() + 1).min().unwrap();
        assert!(right.last().unwrap().ends_with(&format!(" {least}")));
    }
    assert_eq!(smallest(Isa::best(), &[]), u32::MAX);
}
