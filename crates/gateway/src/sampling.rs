//! Decimals of the API become the sampler's integers, once, here.
//!
//! A decimal is read as the nearest f64, multiplied by 2^16 (which is exact), and rounded to the
//! nearest integer, halves up. The answer is a function of the integer, so two decimals that round
//! alike give the same answer.
//!
//! Not here: what the sampler does with them (`engine::sampling`).

use engine::sampling::{BIAS_MAX, BIASES_MAX, ONE, Sampling, Seed, TEMPERATURE_MAX};
use serde_json::Value;

use crate::backend::Seeding;
use crate::error::{ApiError, Code};
use crate::parameters::{Fields, integer, invalid, wrong_type};

/// Takes every sampling parameter. `token_count` is the size of the model's vocabulary.
pub(crate) fn take(
    fields: &mut Fields,
    token_count: usize,
) -> Result<(Sampling, Seeding), ApiError> {
    let one = i64::from(ONE);
    let hot = i64::from(TEMPERATURE_MAX);
    let bias = i64::from(BIAS_MAX);
    let mut q16 = |name: &str, min: i64, max: i64, absent: i64| {
        let taken = fields.take(name, |path, value| q16_within(path, &value, min, max))?;
        Ok::<i64, ApiError>(taken.unwrap_or(absent))
    };
    let temperature = q16("temperature", 0, hot, one)? as u32;
    // 0 asks for the likeliest token alone, and so does the least share above it.
    let top_p = q16("top_p", 0, one, one)?.max(1) as u32;
    let min_p = q16("min_p", 0, one, 0)? as u32;
    let repetition_penalty = q16("repetition_penalty", 1, hot, one)? as u32;
    let presence_penalty = q16("presence_penalty", -bias, bias, 0)? as i32;
    let frequency_penalty = q16("frequency_penalty", -bias, bias, 0)? as i32;
    let (seed, seeding) = match fields.take("seed", integer)? {
        Some(seed) => (Seed::from_integer(seed), Seeding::Fixed),
        None => (Seed(random()?), Seeding::Open),
    };
    let sampling = Sampling {
        temperature,
        top_k: fields.take("top_k", top_k)?.unwrap_or(0),
        top_p,
        min_p,
        repetition_penalty,
        presence_penalty,
        frequency_penalty,
        logit_bias: fields
            .take("logit_bias", |path, value| logit_bias(path, value, token_count))?
            .unwrap_or_default(),
        seed,
    };
    let refused = |error| ApiError::new(Code::InvalidValue, format!("{error}"));
    sampling.check().map_err(refused)?;
    Ok((sampling, seeding))
}

/// Random bytes from the operating system.
pub(crate) fn random<const SIZE: usize>() -> Result<[u8; SIZE], ApiError> {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).map_err(|error| {
        ApiError::new(Code::Internal, "the machine has no randomness").because(error)
    })?;
    Ok(bytes)
}

/// The nearest multiple of 2^-16, halves up, as its numerator. Saturates; NaN gives 0.
pub(crate) fn to_q16(decimal: f64) -> i64 {
    let scaled = decimal * 65536.0;
    let floor = scaled.floor();
    // The difference to the floor is exact where it could be a half, so this never rounds twice.
    let rounded = if scaled - floor >= 0.5 { floor + 1.0 } else { floor };
    rounded as i64
}

/// Decodes a number within a range given in units of 2^-16.
fn q16_within(path: &str, value: &Value, min: i64, max: i64) -> Result<i64, ApiError> {
    let decimal = value.as_f64().ok_or_else(|| wrong_type(path, "a number"))?;
    let number = to_q16(decimal);
    if number >= min && number <= max {
        return Ok(number);
    }
    let [min, max] = [min, max].map(|bound| bound as f64 / 65536.0);
    Err(invalid(path, format!("is {value}, outside {min} to {max}")))
}

fn top_k(path: &str, value: Value) -> Result<u32, ApiError> {
    match integer(path, value)? {
        // Both are in use for "keep all".
        -1 | 0 => Ok(0),
        number => u32::try_from(number)
            .map_err(|_| invalid(path, format!("is {number}, outside -1 to {}", u32::MAX))),
    }
}

fn logit_bias(path: &str, value: Value, token_count: usize) -> Result<Vec<(u32, i32)>, ApiError> {
    let Value::Object(entries) = value else {
        return Err(wrong_type(path, "an object from token ids to numbers"));
    };
    if entries.len() > BIASES_MAX {
        let count = entries.len();
        return Err(invalid(path, format!("has {count} entries, more than {BIASES_MAX}")));
    }
    let mut biases = Vec::with_capacity(entries.len());
    for (key, value) in &entries {
        let token = token_id(key).filter(|&token| (token as usize) < token_count);
        let Some(token) = token else {
            let key = crate::error::quote(key);
            return Err(invalid(path, format!("names {key}, which is no token of this model")));
        };
        let bias = i64::from(BIAS_MAX);
        biases.push((token, q16_within(path, value, -bias, bias)? as i32));
    }
    biases.sort_unstable();
    Ok(biases)
}

/// A token id in plain decimal digits: no sign, no leading zero, so that no two keys are one id.
fn token_id(key: &str) -> Option<u32> {
    key.parse().ok().filter(|id: &u32| id.to_string() == key)
}

#[cfg(test)]
mod tests;
