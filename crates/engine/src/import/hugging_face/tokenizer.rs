//! Reads `tokenizer.json` into the artifact's vocabulary.
//!
//! Two kinds are known: byte-level byte-pair encoding, whose cutting into words is recognised by its
//! pattern and gets the name that GGUF files have for it; and SentencePiece's, stored as merges,
//! which becomes scores.
//!
//! Invariants:
//! - Anything that would cut or normalise text in another way than the artifact can say is refused.
//!   One exception: Unicode's normal form C, which the engine does not apply, as llama.cpp does not.
//!
//! Not here: turning text into tokens (the `text` crate).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use serde_json::Value;

use super::{ImportError, Shape, Texts, unsupported};
use crate::import::gguf_model::ends;
use crate::vocabulary::{TokenKind, VocabularyModel, VocabularyParts};

/// Words of Llama 3.
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Words of Qwen 2 and 3.
const QWEN_2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// SentencePiece's space.
const SPACE: &str = "\u{2581}";

fn wrong(what: &str) -> ImportError {
    super::wrong("tokenizer.json", what)
}

/// Reads the vocabulary; `configs` may name its first and last tokens.
pub(super) fn read(
    bytes: &[u8],
    texts: &Texts,
    configs: &[&Value],
    shape: &Shape,
) -> Result<VocabularyParts, ImportError> {
    let file = super::json("tokenizer.json", bytes)?;
    let model = file.get("model").ok_or_else(|| wrong("has no model"))?;
    refuse_unsupported(model)?;
    let table = Table::read(&file, model, shape.vocabulary)?;
    let fallback = model.get("byte_fallback").and_then(Value::as_bool) == Some(true);
    let merges = table.merges(model)?;
    let template = template(&file, &table)?;
    let begin = template.or_else(|| table.named(texts, configs, "bos_token").first().copied());
    let add = texts.tokenizer_config.get("add_bos_token").and_then(Value::as_bool);
    let adds_begin = template.is_some() || (is_null(&file, "post_processor") && add == Some(true));
    let named = table.named(texts, configs, "eos_token");
    let mut parts = VocabularyParts {
        model: VocabularyModel::Bpe,
        pre: String::new(),
        score_bits: Vec::new(),
        merges: Vec::new(),
        begin,
        unknown: table.unknown,
        ends: ends(&table.tokens, &table.kinds, named),
        adds_begin: adds_begin && begin.is_some(),
        adds_space_prefix: false,
        tokens: Vec::new(),
        kinds: Vec::new(),
    };
    if fallback {
        parts.model = VocabularyModel::SentencePiece;
        parts.adds_space_prefix = space_prefix(&file)?;
        parts.score_bits = table.scores(&merges)?;
    } else {
        parts.pre = words(&file, model)?.to_string();
        parts.merges = merges;
    }
    (parts.tokens, parts.kinds) = (table.tokens, table.kinds);
    Ok(parts)
}

fn is_null(value: &Value, key: &str) -> bool {
    value.get(key).is_none_or(Value::is_null)
}

fn kind(value: &Value) -> &str {
    value.get("type").and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, key: &str) -> bool {
    value.get(key).and_then(Value::as_bool) == Some(true)
}

fn refuse_unsupported(model: &Value) -> Result<(), ImportError> {
    // Old files leave out the type of the only kind that has merges.
    if kind(model) != "BPE" && (model.get("type").is_some() || is_null(model, "merges")) {
        return Err(unsupported(&format!("a vocabulary of type {:?}", kind(model))));
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()) {
            return Err(unsupported(&format!("a vocabulary with {key}")));
        }
    }
    match model.get("dropout").and_then(Value::as_f64) {
        Some(dropout) if dropout != 0.0 => Err(unsupported("a vocabulary with dropout")),
        _ => Ok(()),
    }
}

/// Steps of a component: itself, or what its sequence holds under `list`.
fn steps<'v>(file: &'v Value, component: &str, list: &str) -> Vec<&'v Value> {
    match file.get(component) {
        None | Some(Value::Null) => Vec::new(),
        Some(value) if kind(value) == "Sequence" => {
            value.get(list).and_then(Value::as_array).into_iter().flatten().collect()
        }
        Some(value) => vec![value],
    }
}

/// The name, as GGUF spells it, of the rule that cuts text into words.
fn words(file: &Value, model: &Value) -> Result<&'static str, ImportError> {
    if steps(file, "normalizer", "normalizers").iter().any(|step| kind(step) != "NFC") {
        return Err(unsupported("a normalizer other than NFC"));
    }
    let steps = steps(file, "pre_tokenizer", "pretokenizers");
    let is_byte_level = |step: &Value, use_regex: bool| {
        // The library's default is to use its own pattern.
        let uses = step.get("use_regex").and_then(Value::as_bool).unwrap_or(true);
        kind(step) == "ByteLevel" && uses == use_regex && !flag(step, "add_prefix_space")
    };
    let name = match steps.as_slice() {
        [only] if is_byte_level(only, true) => Some("gpt-2"),
        [digits, last] if kind(digits) == "Digits" && is_byte_level(last, true) => {
            flag(digits, "individual_digits").then_some("smollm")
        }
        [split, last] if is_byte_level(last, false) => match split_pattern(split) {
            Some(LLAMA_3) => Some("llama-bpe"),
            Some(QWEN_2) => Some("qwen2"),
            _ => None,
        },
        _ => None,
    };
    let name = name.ok_or_else(|| unsupported("a pre_tokenizer that is not known"))?;
    // The name says this too: whole words that are tokens are taken before any merge.
    if flag(model, "ignore_merges") != (name == "llama-bpe") {
        return Err(unsupported(&format!("ignore_merges other than that of {name:?}")));
    }
    Ok(name)
}

fn split_pattern(step: &Value) -> Option<&str> {
    let is_isolated = step.get("behavior").and_then(Value::as_str) == Some("Isolated");
    let is_plain = kind(step) == "Split" && is_isolated && !flag(step, "invert");
    step.get("pattern")?.get("Regex")?.as_str().filter(|_| is_plain)
}

/// Whether SentencePiece's text gets a space in front; refuses other changes to the text.
fn space_prefix(file: &Value) -> Result<bool, ImportError> {
    let text = |step: &Value, key: &str| step.get(key).and_then(Value::as_str) == Some(SPACE);
    let splits_spaces = |step: &Value| {
        step.get("pattern").and_then(|pattern| pattern.get("String")).and_then(Value::as_str)
            == Some(" ")
    };
    let mut prefix = false;
    let mut spaces = false;
    for step in steps(file, "normalizer", "normalizers") {
        match kind(step) {
            "Prepend" if text(step, "prepend") => prefix = true,
            "Replace" if splits_spaces(step) && text(step, "content") => spaces = true,
            other => return Err(unsupported(&format!("the normalizer {other:?}"))),
        }
    }
    for step in steps(file, "pre_tokenizer", "pretokenizers") {
        match kind(step) {
            "Metaspace" if text(step, "replacement") => {
                spaces = true;
                prefix |= match step.get("prepend_scheme").and_then(Value::as_str) {
                    Some(scheme) => scheme != "never",
                    None => step.get("add_prefix_space").and_then(Value::as_bool) != Some(false),
                };
            }
            // After spaces were replaced there is none left to split at.
            "Split" if splits_spaces(step) && spaces => {}
            other => return Err(unsupported(&format!("the pre_tokenizer {other:?}"))),
        }
    }
    if spaces { Ok(prefix) } else { Err(unsupported("a vocabulary without U+2581 for spaces")) }
}

/// The token that the post-processor puts first, if it does.
fn template(file: &Value, table: &Table) -> Result<Option<u32>, ImportError> {
    let steps = steps(file, "post_processor", "processors");
    let Some(template) = steps.into_iter().find(|step| kind(step) == "TemplateProcessing") else {
        return Ok(None);
    };
    let pieces = template.get("single").and_then(Value::as_array);
    let pieces = pieces.ok_or_else(|| wrong("post_processor has no single template"))?;
    let special = |piece: &Value| {
        let text = piece.get("SpecialToken")?.get("id")?.as_str()?;
        table.find(text.as_bytes())
    };
    let is_text = |piece: &Value| piece.get("Sequence").is_some();
    match pieces.as_slice() {
        [text] if is_text(text) => Ok(None),
        [first, text] if is_text(text) && special(first).is_some() => Ok(special(first)),
        _ => Err(unsupported("a template with more than one token before the text")),
    }
}

/// Tokens by id.
struct Table {
    tokens: Vec<Vec<u8>>,
    kinds: Vec<TokenKind>,
    ids: BTreeMap<Vec<u8>, u32>,
    unknown: Option<u32>,
}

impl Table {
    /// Reads `model.vocab` and `added_tokens`; holes up to `rows` become unused tokens.
    fn read(file: &Value, model: &Value, rows: usize) -> Result<Table, ImportError> {
        let mut slots: Vec<Option<(Vec<u8>, TokenKind)>> = vec![None; rows];
        let mut put = |text: &str, id: Option<u64>, kind| {
            let slot = id.and_then(|id| slots.get_mut(usize::try_from(id).ok()?));
            let slot = slot.ok_or_else(|| {
                wrong(&format!("token {text:?} has no id below {rows}, the embedding's rows"))
            })?;
            if slot.as_ref().is_some_and(|(known, _)| known != text.as_bytes()) {
                return Err(wrong(&format!("token {text:?} has another token's id")));
            }
            *slot = Some((text.as_bytes().to_vec(), kind));
            Ok(())
        };
        let vocabulary = model.get("vocab").and_then(Value::as_object);
        let vocabulary = vocabulary.ok_or_else(|| wrong("model has no vocab"))?;
        let fallback = flag(model, "byte_fallback");
        for (text, id) in vocabulary {
            let is_byte = fallback && is_byte_token(text);
            put(text, id.as_u64(), if is_byte { TokenKind::Byte } else { TokenKind::Normal })?;
        }
        for added in file.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            let text = added.get("content").and_then(Value::as_str);
            let text = text.ok_or_else(|| wrong("an added token has no content"))?;
            let is_special = flag(added, "special");
            let kind = if is_special { TokenKind::Control } else { TokenKind::UserDefined };
            put(text, added.get("id").and_then(Value::as_u64), kind)?;
        }
        let unknown = model.get("unk_token").and_then(Value::as_str);
        Ok(Table::fill(slots, unknown))
    }

    fn fill(slots: Vec<Option<(Vec<u8>, TokenKind)>>, unknown: Option<&str>) -> Table {
        let hole = |id: usize| (format!("[PAD{id}]").into_bytes(), TokenKind::Unused);
        let filled =
            slots.into_iter().enumerate().map(|(id, slot)| slot.unwrap_or_else(|| hole(id)));
        let (tokens, mut kinds): (Vec<Vec<u8>>, Vec<TokenKind>) = filled.unzip();
        let used =
            (0u32..).zip(&tokens).zip(&kinds).filter(|(_, kind)| **kind != TokenKind::Unused);
        let ids: BTreeMap<_, _> = used.map(|((id, text), _)| (text.clone(), id)).collect();
        let unknown = unknown.and_then(|text| ids.get(text.as_bytes()).copied());
        if let Some(id) = unknown {
            kinds[id as usize] = TokenKind::Unknown;
        }
        Table { tokens, kinds, ids, unknown }
    }

    fn find(&self, text: &[u8]) -> Option<u32> {
        self.ids.get(text).copied()
    }

    /// The ids that the files give a role, such as `eos_token`: as texts or as numbers.
    fn named(&self, texts: &Texts, configs: &[&Value], role: &str) -> Vec<u32> {
        let text = texts.tokenizer_config.get(role);
        let text = text.and_then(|text| text.get("content").or(Some(text))).and_then(Value::as_str);
        let mut ids: Vec<u32> =
            text.and_then(|text| self.find(text.as_bytes())).into_iter().collect();
        let key = format!("{role}_id");
        for config in [&texts.generation_config].into_iter().chain(configs.iter().copied()) {
            let value = config.get(&key);
            let one = value.and_then(Value::as_u64);
            let many = value.and_then(Value::as_array).into_iter().flatten();
            let numbers = one.into_iter().chain(many.filter_map(Value::as_u64));
            ids.extend(numbers.filter(|&id| id < self.tokens.len() as u64).map(|id| id as u32));
        }
        ids
    }

    /// Merges as pairs of ids, best first.
    fn merges(&self, model: &Value) -> Result<Vec<[u32; 2]>, ImportError> {
        let merges = model.get("merges").and_then(Value::as_array);
        let merges = merges.ok_or_else(|| wrong("model has no merges"))?;
        let pair = |merge: &Value| {
            let (left, right) = match merge {
                Value::String(text) => text.split_once(' ')?,
                Value::Array(pair) => match pair.as_slice() {
                    [left, right] => (left.as_str()?, right.as_str()?),
                    _ => return None,
                },
                _ => return None,
            };
            let is_token = self.find(&[left, right].concat().into_bytes()).is_some();
            Some([self.find(left.as_bytes())?, self.find(right.as_bytes())?]).filter(|_| is_token)
        };
        let pairs = merges.iter().map(pair).collect::<Option<Vec<_>>>();
        pairs.ok_or_else(|| wrong("a merge is not two tokens that make a third"))
    }

    /// Scores by which the same merges are chosen: a token's is the negative rank of the first merge
    /// that makes it.
    ///
    /// SentencePiece merges any two neighbours that together are a token. So every way to make a
    /// token must be among the merges, and those of one token must not stand apart: otherwise no
    /// scores choose as the ranks do.
    fn scores(&self, merges: &[[u32; 2]]) -> Result<Vec<u32>, ImportError> {
        let known: BTreeSet<[u32; 2]> = merges.iter().copied().collect();
        let mut ranks: Vec<Option<u32>> = vec![None; self.tokens.len()];
        let mut last = None;
        for (rank, &[left, right]) in (0u32..).zip(merges) {
            let text = [self.text(left), self.text(right)].concat();
            let made = self.find(&text).ok_or_else(|| wrong("a merge makes no token"))?;
            let slot = &mut ranks[made as usize];
            if slot.is_some() && last != Some(made) {
                return Err(unsupported("merges whose order no scores express"));
            }
            slot.get_or_insert(rank);
            last = Some(made);
        }
        for id in 0..self.tokens.len() as u32 {
            if self.splits(id).any(|pair| !known.contains(&pair)) {
                return Err(unsupported("a vocabulary in which some tokens have no merge"));
            }
        }
        let worst = merges.len() as u32;
        let score = |rank: Option<u32>| (0.0 - rank.unwrap_or(worst) as f32).to_bits();
        Ok(ranks.into_iter().map(score).collect())
    }

    fn text(&self, id: u32) -> &[u8] {
        &self.tokens[id as usize]
    }

    fn is_normal(&self, id: u32) -> bool {
        self.kinds[id as usize] == TokenKind::Normal
    }

    /// The ways to make an ordinary token of two.
    fn splits(&self, id: u32) -> impl Iterator<Item = [u32; 2]> {
        let text = if self.is_normal(id) { self.text(id) } else { &[] };
        (1..text.len()).filter_map(move |at| {
            let (left, right) = text.split_at(at);
            let pair = [self.find(left)?, self.find(right)?];
            pair.iter().all(|&id| self.is_normal(id)).then_some(pair)
        })
    }
}

/// Whether a text is `<0xNN>`.
fn is_byte_token(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|text| text.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && u8::from_str_radix(digits, 16).is_ok())
}
