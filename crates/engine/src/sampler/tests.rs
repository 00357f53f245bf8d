use super::*;
use crate::sampling::Seed;

const NONE: Context<'_> = Context { prompt: &[], generated: &[] };

fn q16(values: &[f64]) -> Vec<i32> {
    values.iter().map(|value| (value * 65_536.0) as i32).collect()
}

/// How often each token is drawn over many seeds.
fn frequencies(logits: &[i32], sampling: &Sampling) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    let mut sampler = Sampler::default();
    for seed in 0..4_000 {
        let sampling = Sampling { seed: Seed::from_integer(seed), ..sampling.clone() };
        counts[sampler.choose(logits, &sampling, NONE) as usize] += 1.0 / 4_000.0;
    }
    counts
}

#[test]
fn greedy_takes_the_lowest_of_equal_tokens() {
    let mut sampler = Sampler::default();
    assert_eq!(sampler.choose(&[5, 9, 9, 1], &Sampling::default(), NONE), 1);
}

#[test]
fn draws_follow_the_softmax() {
    let logits = q16(&[0.0, 1.0, 2.0, -3.0]);
    for temperature in [0.5, 1.0, 2.0] {
        let sampling =
            Sampling { temperature: (temperature * 65_536.0) as u32, ..Sampling::default() };
        let weights: Vec<f64> =
            [0.0, 1.0, 2.0, -3.0].iter().map(|l: &f64| (l / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (found, weight) in frequencies(&logits, &sampling).iter().zip(&weights) {
            assert!((found - weight / total).abs() < 0.03, "temperature {temperature}");
        }
    }
}

#[test]
fn filters_keep_only_what_they_name() {
    let logits = q16(&[3.0, 2.0, 1.0, 0.0, -9.0]);
    let hot = Sampling { temperature: 2 << 16, ..Sampling::default() };
    let kept = |sampling: &Sampling| {
        frequencies(&logits, sampling).iter().map(|&share| share > 0.0).collect::<Vec<_>>()
    };
    let top_k = Sampling { top_k: 2, ..hot.clone() };
    assert_eq!(kept(&top_k), [true, true, false, false, false]);
    // At temperature 2 the shares are 0.46, 0.28, 0.17, 0.10.
    let top_p = Sampling { top_p: ONE / 2, ..hot.clone() };
    assert_eq!(kept(&top_p), [true, true, false, false, false]);
    let min_p = Sampling { min_p: ONE / 3, ..hot.clone() };
    assert_eq!(kept(&min_p), [true, true, true, false, false]);
}

#[test]
fn penalties_and_biases_move_logits() {
    let logits = q16(&[1.0, 0.9, -1.0]);
    let mut sampler = Sampler::default();
    let context = Context { prompt: &[0], generated: &[0, 0] };
    let presence = Sampling { presence_penalty: ONE as i32 / 5, ..Sampling::default() };
    let frequency = Sampling { frequency_penalty: ONE as i32 / 15, ..Sampling::default() };
    let repetition = Sampling { repetition_penalty: ONE + ONE / 4, ..Sampling::default() };
    for sampling in [presence, frequency, repetition] {
        assert_eq!(sampler.choose(&logits, &sampling, NONE), 0);
        assert_eq!(sampler.choose(&logits, &sampling, context), 1);
    }
    let bias = Sampling { logit_bias: vec![(2, 3 << 16)], ..Sampling::default() };
    assert_eq!(sampler.choose(&logits, &bias, NONE), 2);
}

#[test]
fn logprobs_sum_to_one_and_rank_by_logit_then_id() {
    let logits = q16(&[1.0, 2.0, 2.0, -1.0]);
    let found = logprobs(&logits, 3, 3);
    let probability = |logit: i32| {
        (f64::from(logit - found.max) / 65_536.0).exp() * f64::from(1 << 30) / found.total as f64
    };
    let sum: f64 = logits.iter().map(|&logit| probability(logit)).sum();
    assert!((sum - 1.0).abs() < 1e-4);
    let order: Vec<u32> = found.top.iter().map(|&(token, _)| token).collect();
    assert_eq!(order, [1, 2, 0]);
    assert_eq!(found.chosen, (3, logits[3]));
}

#[test]
fn only_allowed_tokens_are_chosen_and_weighed() {
    let logits = q16(&[3.0, 2.0, 1.0, 0.0]);
    // The second and the last.
    let allowed = Some(&[0b1010][..]);
    let mut sampler = Sampler::default();
    assert_eq!(sampler.choose_among(&logits, allowed, &Sampling::default(), NONE), 1);
    let mut counts = [0; 4];
    for seed in 0..2_000 {
        let seed = Seed::from_integer(seed);
        let hot = Sampling { temperature: 2 << 16, seed, ..Sampling::default() };
        counts[sampler.choose_among(&logits, allowed, &hot, NONE) as usize] += 1;
    }
    // Their weights are e and 1.
    assert!(counts[0] + counts[2] == 0 && (1_380..1_540).contains(&counts[1]), "{counts:?}");
    let bare = |index: i32| q16(&[9.0, f64::from(index), 9.0, 0.5]);
    assert_eq!(sampler.choose_among(&bare(-30_000), allowed, &Sampling::default(), NONE), 3);
}
