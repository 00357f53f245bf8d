//! Sampling parameters, in integers.
//!
//! What a request may ask of the sampler, as exact numbers: part of what an answer is a function of.
//! Specified in `docs/spec/int-1.md`, section 9. Decimal numbers of the API become these integers
//! once, in the gateway, and the receipt names these.
//!
//! Not here: the sampler itself (`sampler`).

use alloc::vec::Vec;

/// One in Q16.
pub const ONE: u32 = 1 << 16;
/// Biased tokens in one request, at most: every step walks the list.
pub const BIASES_MAX: usize = 4096;
/// Highest temperature, Q16: 100. Above it every choice is noise.
pub const TEMPERATURE_MAX: u32 = 100 << 16;
/// Largest penalty or bias, either sign, Q16: 1000, which bans or forces a token outright.
pub const BIAS_MAX: i32 = 1000 << 16;
/// Tokens before the position that penalties look at, at most.
pub const PENALTY_WINDOW_MAX: usize = 1 << 17;

/// Sampling parameters of one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Temperature, Q16, 0 to `TEMPERATURE_MAX`; 0 takes the likeliest token.
    pub temperature: u32,
    /// Keep the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keep the likeliest tokens until their share reaches this, Q16, 1 to `ONE`; `ONE` keeps all.
    pub top_p: u32,
    /// Drop tokens with less than this share of the likeliest one's weight, Q16, 0 to `ONE`.
    pub min_p: u32,
    /// Divide positive and multiply negative logits of tokens already in the context, Q16, 1 to
    /// `TEMPERATURE_MAX`; `ONE` is off.
    pub repetition_penalty: u32,
    /// Subtracted once from the logit of each generated token, Q16, within `BIAS_MAX`.
    pub presence_penalty: i32,
    /// Subtracted for each time a token was generated, Q16, within `BIAS_MAX`.
    pub frequency_penalty: i32,
    /// Added to logits: (token, Q16 within `BIAS_MAX`), ascending by token, at most `BIASES_MAX`.
    pub logit_bias: Vec<(u32, i32)>,
    /// Seed of the choices.
    pub seed: Seed,
}

impl Default for Sampling {
    /// Greedy.
    fn default() -> Sampling {
        Sampling {
            temperature: 0,
            top_k: 0,
            top_p: ONE,
            min_p: 0,
            repetition_penalty: ONE,
            presence_penalty: 0,
            frequency_penalty: 0,
            logit_bias: Vec::new(),
            seed: Seed([0; 32]),
        }
    }
}

/// The seed of a sequence's choices: 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl Seed {
    /// The seed named by an API's integer: SHA-256 of the tag and the integer, little endian.
    #[must_use]
    pub fn from_integer(seed: i64) -> Seed {
        digest(b"mashaa/engine/seed/v1", &[&seed.to_le_bytes()])
    }

    /// The seed of the i-th of several choices from one request; choice 0 keeps the seed itself.
    #[must_use]
    pub fn choice(self, index: u32) -> Seed {
        if index == 0 {
            return self;
        }
        digest(b"mashaa/engine/choice/v1", &[&self.0, &index.to_le_bytes()])
    }

    /// The 64 random bits for one position: the first 8 bytes of the hash, little endian.
    #[must_use]
    pub fn draw(self, position: u64) -> u64 {
        let Seed(hash) = digest(b"mashaa/engine/draw/v1", &[&self.0, &position.to_le_bytes()]);
        let [a, b, c, d, e, f, g, h, ..] = hash;
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// Why sampling parameters were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{parameter} is outside its range, {min} to {max} in units of 2^-16")]
pub struct SamplingError {
    /// The parameter's name as the API spells it.
    pub parameter: &'static str,
    /// Least allowed.
    pub min: i64,
    /// Most allowed.
    pub max: i64,
}

impl Sampling {
    /// Checks every range.
    ///
    /// # Errors
    /// Names the first parameter outside its range.
    pub fn check(&self) -> Result<(), SamplingError> {
        let one = i64::from(ONE);
        let bias = i64::from(BIAS_MAX);
        let hot = i64::from(TEMPERATURE_MAX);
        within("temperature", self.temperature.into(), 0, hot)?;
        within("top_p", self.top_p.into(), 1, one)?;
        within("min_p", self.min_p.into(), 0, one)?;
        within("repetition_penalty", self.repetition_penalty.into(), 1, hot)?;
        within("presence_penalty", self.presence_penalty.into(), -bias, bias)?;
        within("frequency_penalty", self.frequency_penalty.into(), -bias, bias)?;
        within("logit_bias", self.logit_bias.len() as i64, 0, BIASES_MAX as i64)?;
        let mut previous = -1;
        for &(token, value) in &self.logit_bias {
            within("logit_bias", value.into(), -bias, bias)?;
            within("logit_bias", token.into(), previous + 1, i64::from(u32::MAX))?;
            previous = i64::from(token);
        }
        Ok(())
    }
}

fn within(parameter: &'static str, value: i64, min: i64, max: i64) -> Result<(), SamplingError> {
    if value < min || value > max { Err(SamplingError { parameter, min, max }) } else { Ok(()) }
}

fn digest(tag: &[u8], parts: &[&[u8]]) -> Seed {
    use sha2::Digest;
    let mut hash = sha2::Sha256::new();
    hash.update(tag);
    parts.iter().for_each(|part| hash.update(part));
    Seed(hash.finalize().into())
}
