//! `mashaa model add --measure`: an artifact's quality against its source.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use engine::import::assemble::Parts;
use engine::import::{Options, measure};
use engine::kernels::Isa;
use node::models::ModelRecord;
use node::source::Source;
use serde_json::json;
use store::cid::Cid;
use text::tokenizer::SpecialTokens;

use crate::context::{Context, cores};

/// Tokens of each window: the reference sees no further back.
const WINDOW: usize = 512;

/// Compares a model with the source that it was imported from, on a text.
pub(crate) fn run(
    context: &Context,
    record: &ModelRecord,
    text: &Path,
    tokens_max: usize,
) -> anyhow::Result<()> {
    let source: Cid = record.source.parse()?;
    let source = Source::open(&context.blobs, &source)?;
    let opened = node::opened::open(&context.blobs, record)?;
    let words = std::fs::read_to_string(text).with_context(|| text.display().to_string())?;
    let words = opened.served.tokenizer.encode(&words, SpecialTokens::Plain);
    // Each window begins as a prompt does.
    let vocabulary = opened.model.vocabulary();
    let begin = vocabulary.begin().filter(|_| vocabulary.adds_begin());
    let windows = words.chunks_exact(WINDOW - begin.iter().len()).take(tokens_max / WINDOW);
    let tokens: Vec<u32> =
        windows.flat_map(|words| begin.into_iter().chain(words.iter().copied())).collect();
    if tokens.is_empty() {
        bail!("{} has fewer than {WINDOW} tokens", text.display());
    }
    let machine = (Isa::best(), cores());
    let model = Arc::clone(&opened.model);
    let measure = |parts: &Parts<'_>| measure::measure(parts, &model, &tokens, WINDOW, machine);
    let quality = source.read(&Options::default(), measure)?;
    if context.json {
        let value = json!({
            "tokens": quality.tokens,
            "mean_kl": quality.mean_kl,
            "p99_kl": quality.p99_kl,
            "max_kl": quality.max_kl,
            "top1": quality.top1,
            "perplexity": quality.perplexity,
            "source_perplexity": quality.perplexity_source,
        });
        println!("{value}");
        return Ok(());
    }
    println!("tokens            {}", quality.tokens);
    println!("mean KL           {:.6} nats", quality.mean_kl);
    println!("KL at 99 %        {:.6}", quality.p99_kl);
    println!("largest KL        {:.6}", quality.max_kl);
    println!("top-1 agreement   {:.2} %", quality.top1 * 100.0);
    println!("perplexity        {:.4}", quality.perplexity);
    println!("source perplexity {:.4}", quality.perplexity_source);
    Ok(())
}
