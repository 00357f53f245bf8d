//! Cutting text into words before byte-pair encoding.
//!
//! Each family of models has its own patterns; the names are those of `tokenizer.ggml.pre` in GGUF
//! and the patterns those that llama.cpp applies under each name. Patterns are applied in turn,
//! each to the pieces that the ones before it left; what a pattern does not match stays a piece.
//!
//! Published patterns end in `\s+(?!\S)|\s+`: a run of spaces leaves its last one to the word that
//! follows. Here they end in `\s+`, and the last space is given back by code, so that no pattern
//! needs look-ahead and matching is linear in the text, whatever the text is.
//!
//! Invariants:
//! - The pieces are in order, not empty, and together are the text.
//!
//! Not here: what becomes of a word.

use std::ops::Range;

use regex::Regex;

/// GPT-2's words.
const GPT_2: Step = Step {
    pattern: r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+",
    gives_back: GivesBack::AnySpace,
};
/// Each digit alone.
const DIGIT: Step = Step { pattern: r"\p{N}", gives_back: GivesBack::Nothing };
/// Llama 3's words: numbers of up to three digits, line ends kept with what is before them.
const LLAMA_3: Step = Step {
    pattern: concat!(
        r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// Qwen 2's words: as Llama 3's, with single digits.
const QWEN_2: Step = Step {
    pattern: concat!(
        r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
        r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// Qwen 3.5's words: as Qwen 2's, with combining marks kept in words.
const QWEN_35: Step = Step {
    pattern: concat!(
        r"'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]",
        r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// Tekken's words: a capital starts a new one.
const TEKKEN: Step = Step {
    pattern: concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+",
        r"|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*",
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// GPT-4o's words: as Tekken's, with English endings and numbers of up to three digits.
const GPT_4O: Step = Step {
    pattern: concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+",
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
        r"|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*",
        r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])?",
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// DeepSeek V3's words, after numbers and East Asian runs were cut out.
const DEEPSEEK_3: Step = Step {
    pattern: concat!(
        r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"##,
        r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+",
    ),
    gives_back: GivesBack::Blank,
};
/// DeepSeek LLM's letters: those with case, without modifiers, as its author listed them.
const DEEPSEEK_LETTERS: &str = concat!(
    r"\s?[A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}",
    r"\x{295}-\x{2AF}\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}",
    r"\x{38C}\x{38E}-\x{3A1}\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}",
    r"\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}",
    r"\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}",
    r"\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}",
    r"\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}\x{1FC2}-\x{1FC4}",
    r"\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}\x{1FF2}-\x{1FF4}",
    r"\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}",
    r"\x{2145}-\x{2149}\x{214E}\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}",
    r"\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}\x{A680}-\x{A69B}\x{A722}-\x{A76F}",
    r"\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}",
    r"\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}\x{104B0}-\x{104D3}",
    r"\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}]+",
);
/// DeepSeek's East Asian runs. Spaces among these characters are spaces to llama.cpp.
const DEEPSEEK_HAN: &str = r"[[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]&&\S]+";

/// The pre-tokenizer of one vocabulary.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    steps: Vec<(Regex, GivesBack)>,
    /// Whether a word that is itself a token is taken whole, without merging.
    pub(super) takes_whole_words: bool,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    pattern: &'static str,
    gives_back: GivesBack,
}

/// When a match of nothing but spaces leaves its last one to the next piece.
#[derive(Clone, Copy, Debug)]
enum GivesBack {
    /// Never.
    Nothing,
    /// When anything follows.
    AnySpace,
    /// When anything follows and no line ends in it: those match `\s*[\r\n]+`, which keeps all.
    Blank,
}

impl PreTokenizer {
    /// The pre-tokenizer with this name; an empty name is `default`. `None` for a name that is not
    /// known: guessing would give a model text it was not trained on.
    pub(super) fn named(name: &str) -> Option<PreTokenizer> {
        let steps = steps(name)?;
        let compile = |step: &Step| Some((Regex::new(step.pattern).ok()?, step.gives_back));
        let steps = steps.iter().map(compile).collect::<Option<Vec<_>>>()?;
        Some(PreTokenizer { steps, takes_whole_words: takes_whole_words(name) })
    }

    /// The pieces of a text.
    pub(super) fn split(&self, text: &str) -> Vec<Range<usize>> {
        let mut pieces = Vec::new();
        if !text.is_empty() {
            pieces.push(0..text.len());
        }
        for (regex, gives_back) in &self.steps {
            let mut cut = Vec::with_capacity(pieces.len());
            for piece in pieces {
                split_piece(regex, *gives_back, &text[piece.clone()], piece.start, &mut cut);
            }
            pieces = cut;
        }
        pieces
    }
}

fn split_piece(
    regex: &Regex,
    gives_back: GivesBack,
    piece: &str,
    start: usize,
    out: &mut Vec<Range<usize>>,
) {
    let mut at = 0;
    let mut push = |range: Range<usize>| {
        if !range.is_empty() {
            out.push(start + range.start..start + range.end);
        }
    };
    while let Some(found) = regex.find_at(piece, at) {
        let end = found.end() - given_back(gives_back, found.as_str(), &piece[found.end()..]);
        push(at..found.start());
        push(found.start()..end);
        // No pattern matches the empty string; this keeps the loop finite if one ever did.
        if end <= at {
            break;
        }
        at = end;
    }
    push(at..piece.len());
}

/// Bytes of a match that are left to the next one.
fn given_back(gives_back: GivesBack, found: &str, rest: &str) -> usize {
    let gives = match gives_back {
        GivesBack::Nothing => false,
        GivesBack::AnySpace => true,
        GivesBack::Blank => !found.ends_with(['\r', '\n']),
    };
    let last = found.chars().next_back().map_or(0, char::len_utf8);
    let is_run = last < found.len() && found.chars().all(char::is_whitespace);
    if gives && is_run && !rest.is_empty() { last } else { 0 }
}

fn steps(name: &str) -> Option<Vec<Step>> {
    let isolated = |pattern| Step { pattern, gives_back: GivesBack::Nothing };
    Some(match name {
        "" | "default" => vec![
            isolated(r"[\p{P}\$\+<=>\^~\|]+"),
            GPT_2,
            isolated(r"\p{N}+"),
            isolated(r"[0-9][0-9][0-9]"),
        ],
        "gpt-2" | "phi-2" | "jina-es" | "jina-de" | "gigachat" | "a.x-4.0" | "mellum"
        | "modern-bert" | "mpt" | "olmo" | "jais" | "trillion" | "granite-docling" | "exaone4" => {
            vec![GPT_2]
        }
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => vec![DIGIT, GPT_2],
        "llama3" | "llama-v3" | "llama-bpe" | "falcon3" | "falcon-h1" | "pixtral" | "midm-2.0"
        | "lfm2" | "dbrx" | "smaug-bpe" | "chatglm-bpe" | "glm4" | "glm5" => vec![LLAMA_3],
        "qwen2" | "deepseek-r1-qwen" | "kormo" | "stablelm2" | "megrez" | "hunyuan"
        | "solar-open" | "grok-2" => vec![QWEN_2],
        "qwen35" => vec![QWEN_35],
        "tekken" => vec![TEKKEN],
        "gpt-4o" | "llama4" | "kanana2" => vec![GPT_4O],
        "falcon" => {
            vec![isolated(r"[\p{P}\$\+<=>\^~\|`]+"), GPT_2, isolated(r"[0-9][0-9][0-9]")]
        }
        "deepseek-v3" | "hunyuan-dense" => vec![
            isolated(r"\p{N}{1,3}"),
            isolated(r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"),
            DEEPSEEK_3,
        ],
        "deepseek-coder" => vec![
            isolated(r"[\r\n]"),
            isolated(r"\s?\p{L}+"),
            isolated(r"\s?\p{P}+"),
            isolated(DEEPSEEK_HAN),
            isolated(r"\p{N}"),
        ],
        "deepseek-llm" => vec![
            isolated(r"[\r\n]"),
            isolated(DEEPSEEK_LETTERS),
            // The ideographic space is a space to llama.cpp, although the range starts at it.
            isolated(concat!(
                r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}",
                r"\x{2018}-\x{201F}\x{3001}-\x{3002}]+",
            )),
            isolated(r"\s+$"),
            isolated(DEEPSEEK_HAN),
            isolated(r"\p{N}+"),
        ],
        _ => return None,
    })
}

fn takes_whole_words(name: &str) -> bool {
    matches!(
        name,
        "llama3"
            | "llama-v3"
            | "llama-bpe"
            | "falcon3"
            | "falcon-h1"
            | "pixtral"
            | "midm-2.0"
            | "lfm2"
            | "glm4"
            | "glm5"
            | "tekken"
    )
}

#[cfg(test)]
mod tests;
