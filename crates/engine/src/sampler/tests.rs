use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use super::*;
use crate::guide::allows;
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

/// The logits after section 9.1 as it is written.
fn after_penalties(logits: &[i32], sampling: &Sampling, context: Context<'_>) -> Vec<i64> {
    let mut logits: Vec<i64> = logits.iter().map(|&logit| i64::from(logit)).collect();
    let seen: BTreeSet<u32> = context.prompt.iter().chain(context.generated).copied().collect();
    let repetition = i64::from(sampling.repetition_penalty);
    for token in seen {
        if let Some(logit) = logits.get_mut(token as usize).filter(|_| repetition != i64::from(ONE))
        {
            *logit = match *logit > 0 {
                true => *logit * 65_536 / repetition,
                false => round_shift(*logit * repetition, 16),
            };
        }
    }
    let generated: BTreeSet<u32> = context.generated.iter().copied().collect();
    for token in generated {
        let count = context.generated.iter().filter(|it| **it == token).count() as i64;
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit -= i64::from(sampling.presence_penalty);
            *logit -= count * i64::from(sampling.frequency_penalty);
        }
    }
    for &(token, bias) in &sampling.logit_bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += i64::from(bias);
        }
    }
    logits
}

/// The rules of section 9 as they are written: all is weighed, sorted, and dropped from the end.
fn by_the_rules(
    logits: &[i32],
    allowed: Option<&[u32]>,
    sampling: &Sampling,
    context: Context<'_>,
) -> u32 {
    let is_allowed = |token: u32| allowed.is_none_or(|allowed| allows(allowed, token));
    let logits = after_penalties(logits, sampling, context);
    let logit = |(token, &logit)| is_allowed(token).then_some((Reverse(logit), token));
    let mut ranked: Vec<(Reverse<i64>, u32)> = (0..).zip(&logits).filter_map(logit).collect();
    ranked.sort_unstable();
    let Some(&(Reverse(max), best)) = ranked.first() else { return 0 };
    if sampling.temperature == 0 {
        return best;
    }
    let slope = LOG2_E_Q48 / u64::from(sampling.temperature);
    let mut kept: Vec<(u32, u128)> = ranked
        .iter()
        .map(|&(Reverse(logit), token)| (token, u128::from(weight(max - logit, slope))))
        .filter(|(_, weight)| *weight > 0)
        .collect();
    if sampling.top_k > 0 {
        kept.truncate(sampling.top_k as usize);
    }
    if sampling.top_p < ONE {
        let enough = kept.iter().map(|it| it.1).sum::<u128>() * u128::from(sampling.top_p);
        let mut sum = 0;
        let last = kept.iter().position(|(_, weight)| {
            sum += weight;
            sum << 16 >= enough
        });
        kept.truncate(last.unwrap() + 1);
    }
    kept.retain(|(_, weight)| weight << 16 >= u128::from(sampling.min_p) << 30);
    kept.sort_unstable();
    let position = (context.prompt.len() + context.generated.len()) as u64;
    let total: u128 = kept.iter().map(|it| it.1).sum();
    let mut left = (u128::from(sampling.seed.draw(position)) * total) >> 64;
    for (token, weight) in kept {
        if left < weight {
            return token;
        }
        left -= weight;
    }
    best
}

/// A number from a seed, below a bound.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    fn one_of(&mut self, values: &[u32]) -> u32 {
        values[self.below(values.len() as u64) as usize]
    }

    fn sampling(&mut self, tokens: u64) -> Sampling {
        let mut biases: Vec<u32> = (0..self.below(4)).map(|_| self.below(tokens) as u32).collect();
        biases.sort_unstable();
        biases.dedup();
        let bias = |token| (token, self.below(1 << 19) as i32 - (1 << 18));
        let logit_bias = biases.into_iter().map(bias).collect();
        Sampling {
            temperature: self.one_of(&[0, 1, 300, ONE / 3, ONE, 3 * ONE, TEMPERATURE_MAX]),
            top_k: self.one_of(&[0, 0, 1, 2, 40, 1_100, u32::MAX]),
            top_p: self.one_of(&[ONE, ONE, 1, ONE / 2, ONE - 1, 60_000]),
            min_p: self.one_of(&[0, 0, 1, 3_000, ONE]),
            repetition_penalty: self.one_of(&[ONE, ONE, 70_000, ONE / 2]),
            presence_penalty: self.one_of(&[0, 0, 40_000]) as i32,
            frequency_penalty: self.one_of(&[0, 0, 9_000]) as i32 - 3_000,
            logit_bias,
            seed: Seed::from_integer(self.below(1 << 30) as i64),
        }
    }
}

#[test]
fn every_choice_is_that_of_the_rules_as_they_are_written() {
    let mut sampler = Sampler::default();
    for seed in 0..3_000 {
        let mut numbers = Numbers(seed);
        // Around one, two and three blocks, and a vocabulary with ties, without, and with extremes.
        let count = numbers.one_of(&[1, 2, 50, 1_023, 1_024, 1_025, 2_500]) as usize;
        let range = numbers.one_of(&[1, 30, 200_000, 3_000_000, u32::MAX]);
        let logits: Vec<i32> = (0..count)
            .map(|_| (numbers.below(u64::from(range)) as i64 - i64::from(range / 2)) as i32)
            .collect();
        let sampling = numbers.sampling(count as u64 + 3);
        let mut tokens = || (0..5).map(|_| numbers.below(count as u64 + 3) as u32).collect();
        let (prompt, generated): (Vec<u32>, Vec<u32>) = (tokens(), tokens());
        let context = Context { prompt: &prompt, generated: &generated };
        let words: Vec<u32> = (0..count / 40).map(|_| numbers.below(1 << 31) as u32).collect();
        // Long runs of none and of all, as grammars have them; a run can be longer than a block.
        let mut run = 0;
        let runs: Vec<u32> = (0..count.div_ceil(32))
            .map(|_| {
                if numbers.below(20) == 0 {
                    run = numbers.one_of(&[0, 0, u32::MAX, 1 << 31, 5]);
                }
                run
            })
            .collect();
        for allowed in [None, Some(&words[..]), Some(&runs[..])] {
            let found = sampler.choose_among(&logits, allowed, &sampling, context);
            let right = by_the_rules(&logits, allowed, &sampling, context);
            assert_eq!(found, right, "seed {seed}: {count} tokens, {sampling:?}");
        }
    }
}

#[test]
fn every_instruction_set_weighs_as_the_exponential_does() {
    let distances: Vec<u32> =
        (0..5_000).map(|at| at * at * 11).chain([0, 1, (1 << 28) - 1]).collect();
    for temperature in [1, 7, 300, ONE / 3, ONE, 3 * ONE, TEMPERATURE_MAX] {
        let slope = LOG2_E_Q48 / u64::from(temperature);
        let limit = (31u64 << 48).div_ceil(slope) as u32;
        let distances: Vec<u32> = distances.iter().map(|&distance| distance.min(limit)).collect();
        let right: Vec<u32> = distances.iter().map(|&it| weight(it.into(), slope) as u32).collect();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.is_available()) {
            let mut found = vec![0; distances.len()];
            element::weigh(isa, &distances, slope, &mut found);
            assert_eq!(found, right, "{isa:?}, temperature {temperature}");
        }
        assert_eq!(weight(limit.into(), slope), 0, "from the limit on every weight is 0");
    }
}
