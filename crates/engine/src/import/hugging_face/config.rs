//! The settings of `config.json`, as a shape.
//!
//! Invariants:
//! - A setting that changes the computation in a way that the engine does not follow is refused, as
//!   far as its name is known here.
//!
//! Not here: tensors (`hugging_face`).

use alloc::format;
use alloc::vec::Vec;

use serde_json::Value;

use super::{Found, ImportError, need, prefix, unsupported, wrong};
use crate::artifact::config::{Family, HEAD_SIZE_MAX};
use crate::import::family::{Shape, llama3_factors};

/// `config.json`, or the part of it that describes the language model.
pub(super) struct Config<'c> {
    pub(super) family: Family,
    pub(super) value: &'c Value,
}

impl Config<'_> {
    fn get(&self, key: &str) -> Option<&Value> {
        self.value.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.get(key).and_then(Value::as_bool)
    }

    /// A size; the default is the library's own, which Gemma 3's files leave out.
    fn size(&self, key: &str, gemma: Option<usize>) -> Result<usize, ImportError> {
        match self.get(key) {
            // Beyond 2^32 every later range check refuses; the clamp keeps the cast exact.
            Some(value) => match value.as_u64() {
                Some(size) => Ok(size.min(u64::from(u32::MAX)) as usize),
                None => Err(wrong("config.json", &format!("{key} is not a whole number"))),
            },
            None => gemma
                .filter(|_| self.family == Family::Gemma3)
                .ok_or_else(|| wrong("config.json", &format!("{key} is missing"))),
        }
    }

    fn number(&self, key: &str, default: f64) -> Result<f64, ImportError> {
        number(self.value, key).map(|number| number.unwrap_or(default))
    }

    pub(super) fn refuse_unsupported(&self) -> Result<(), ImportError> {
        for key in ["attn_logit_softcapping", "final_logit_softcapping", "quantization_config"] {
            if self.get(key).is_some() {
                return Err(unsupported(&format!("the setting {key}")));
            }
        }
        for key in
            ["attention_bias", "mlp_bias", "use_sliding_window", "use_bidirectional_attention"]
        {
            if self.flag(key) == Some(true) {
                return Err(unsupported(&format!("the setting {key}")));
            }
        }
        if self.number("partial_rotary_factor", 1.0)? != 1.0 {
            return Err(unsupported("the setting partial_rotary_factor"));
        }
        let activation = self.get("hidden_activation").or_else(|| self.get("hidden_act"));
        let known = if self.family == Family::Gemma3 { "gelu_pytorch_tanh" } else { "silu" };
        match activation.and_then(Value::as_str) {
            Some(name) if name != known => Err(unsupported(&format!("the activation {name:?}"))),
            _ => self.refuse_windows(),
        }
    }

    /// Refuses windows that the family's graph does not have.
    fn refuse_windows(&self) -> Result<(), ImportError> {
        let context = self.size("max_position_embeddings", Some(131_072))?;
        let windowed = self.flag("use_sliding_window") != Some(false);
        if self.family == Family::Llama && windowed {
            let window = self.size("sliding_window", None).unwrap_or(context);
            if self.get("sliding_window").is_some() && window < context {
                return Err(unsupported("a sliding window in every layer"));
            }
        }
        let gemma = self.family == Family::Gemma3;
        let period = self.size("sliding_window_pattern", Some(6)).unwrap_or(6);
        if gemma && period != 6 {
            return Err(unsupported("windows in other layers than five of six"));
        }
        let Some(kinds) = self.get("layer_types").and_then(Value::as_array) else { return Ok(()) };
        let is_known = |(layer, kind): (usize, &Value)| {
            let is_full = !gemma || (layer + 1).is_multiple_of(6);
            kind.as_str() == Some(if is_full { "full_attention" } else { "sliding_attention" })
        };
        match kinds.iter().enumerate().all(is_known) {
            true => Ok(()),
            false => Err(unsupported("windows in other layers than five of six")),
        }
    }

    pub(super) fn shape(&self, found: &Found<'_>) -> Result<Shape, ImportError> {
        let (prefix, _) = prefix(found)?;
        let embedding = need(found, &format!("{prefix}embed_tokens.weight"))?;
        let heads = self.size("num_attention_heads", Some(8))?;
        let width = self.size("hidden_size", Some(2_304))?;
        let gemma = self.family == Family::Gemma3;
        let head_size = match (self.get("head_dim"), self.family) {
            (Some(_), _) => self.size("head_dim", None)?,
            (None, Family::Gemma3) => 256,
            (None, Family::Qwen3) => 128,
            (None, _) => width.checked_div(heads).unwrap_or(0),
        };
        let kv_heads = match self.get("num_key_value_heads") {
            None if !gemma => heads,
            _ => self.size("num_key_value_heads", Some(4))?,
        };
        let (rope_base, rope_factors, rope_linear) = self.rope(head_size)?;
        let divisor = head_size as f64;
        Ok(Shape {
            family: self.family,
            vocabulary: embedding.rows,
            layers: self.size("num_hidden_layers", Some(26))?,
            width,
            hidden: self.size("intermediate_size", Some(9_216))?,
            heads,
            kv_heads,
            head_size,
            context_max: self.size("max_position_embeddings", Some(131_072))?,
            epsilon: self.number("rms_norm_eps", 1.0e-6)?,
            rope_base,
            rope_factors,
            rope_linear,
            window: if gemma { self.size("sliding_window", Some(4_096))? } else { 0 },
            score_divisor: match gemma {
                true => self.number("query_pre_attn_scalar", 256.0)?,
                false => divisor,
            },
        })
    }

    /// The rotary base, the factors that divide its frequencies, and what divides positions.
    fn rope(&self, head_size: usize) -> Result<(f64, Vec<f64>, f64), ImportError> {
        let gemma = self.family == Family::Gemma3;
        let parameters = self.get("rope_parameters");
        let part = |name| parameters.and_then(|parameters| parameters.get(name));
        let rope = part("full_attention").or(parameters).or_else(|| self.get("rope_scaling"));
        let rope = rope.unwrap_or(&Value::Null);
        let local = part("sliding_attention").unwrap_or(&Value::Null);
        let local = match number(local, "rope_theta")? {
            Some(base) => base,
            None => self.number("rope_local_base_freq", 10_000.0)?,
        };
        if gemma && local != 10_000.0 {
            return Err(unsupported("a rotary base other than 10000 in windowed layers"));
        }
        let default = if gemma { 1_000_000.0 } else { 10_000.0 };
        let base = match number(rope, "rope_theta")? {
            Some(base) => base,
            None => self.number("rope_theta", default)?,
        };
        let need = |key: &str| match number(rope, key)? {
            Some(number) => Ok(number),
            None => Err(wrong("config.json", &format!("rotary scaling has no {key}"))),
        };
        let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str);
        match kind.unwrap_or("default") {
            "default" => Ok((base, Vec::new(), 1.0)),
            "linear" => Ok((base, Vec::new(), need("factor")?)),
            "llama3" if head_size <= HEAD_SIZE_MAX as usize => {
                let bands = (need("low_freq_factor")?, need("high_freq_factor")?);
                let context = need("original_max_position_embeddings")?;
                let factors = llama3_factors((base, head_size), need("factor")?, bands, context);
                Ok((base, factors, 1.0))
            }
            other => Err(unsupported(&format!("rotary scaling of type {other:?}"))),
        }
    }
}

fn number(value: &Value, key: &str) -> Result<Option<f64>, ImportError> {
    match value.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number)),
            None => Err(wrong("config.json", &format!("{key} is not a number"))),
        },
    }
}
