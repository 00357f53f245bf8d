//! `mashaa model add --measure`: an artifact's quality against its source.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use engine::import::gguf::Gguf;
use engine::import::{Options, gguf_model, measure};
use engine::kernels::Isa;
use node::models::ModelRecord;
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
    let bytes = context.blobs.map(&source)?;
    let gguf = Gguf::parse(&bytes)?;
    let parts = gguf_model::read(&gguf, &Options::default())?;
    let opened = node::opened::open(&context.blobs, record)?;
    let words = std::fs::read_to_string(text).with_context(|| text.display().to_string())?;
    let mut tokens = opened.served.tokenizer.encode(&words, SpecialTokens::Plain);
    tokens.truncate(tokens_max / WINDOW * WINDOW);
    if tokens.len() < WINDOW {
        bail!("{} has fewer than {WINDOW} tokens", text.display());
    }
    let machine = (Isa::best(), cores());
    let model = Arc::clone(&opened.model);
    let quality = measure::measure(&parts, &model, &tokens, WINDOW, machine)?;
    println!("tokens            {}", quality.tokens);
    println!("mean KL           {:.6} nats", quality.mean_kl);
    println!("KL at 99 %        {:.6}", quality.p99_kl);
    println!("largest KL        {:.6}", quality.max_kl);
    println!("top-1 agreement   {:.2} %", quality.top1 * 100.0);
    println!("perplexity        {:.4}", quality.perplexity);
    println!("source perplexity {:.4}", quality.perplexity_source);
    Ok(())
}
