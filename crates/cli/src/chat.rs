//! `mashaa chat`: one question, or a conversation in the terminal.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Context as _, bail};
use engine::batch::Engine;
use engine::request::{Output, Request};
use engine::sampling::{Sampling, Seed};
use engine::trace::Observer;
use gateway::backend::ServedModel;
use serde_json::Map;
use text::template::{Conversation, Message};
use text::tokenizer::{SpecialTokens, StreamDecoder};

use crate::arguments::ChatArguments;
use crate::context::Context;
use crate::outcome::Outcome;

/// Answers one question, or talks until standard input ends.
pub(crate) fn run(context: &Context, arguments: &ChatArguments) -> anyhow::Result<Outcome> {
    let opened = context.opened(None)?;
    let mut engine = Engine::new(opened.model, context.engine_options()?);
    let mut messages = Vec::new();
    if let Some(question) = &arguments.question {
        messages.push(message("user", question));
        answer(&mut engine, &opened.served, &messages, arguments)?;
        return Ok(Outcome::Done);
    }
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("{}: ask; end with Ctrl-D.", opened.served.name);
    }
    loop {
        if terminal {
            eprint!("> ");
        }
        let mut line = String::new();
        if std::io::stdin().lock().read_line(&mut line)? == 0 {
            return Ok(Outcome::Done);
        }
        if line.trim().is_empty() {
            continue;
        }
        messages.push(message("user", line.trim()));
        let text = answer(&mut engine, &opened.served, &messages, arguments)?;
        messages.push(message("assistant", &text));
    }
}

fn message(role: &str, content: &str) -> Message {
    Message { role: role.to_owned(), content: content.to_owned(), extra: Map::new() }
}

/// Prints the answer to a conversation as it comes, and returns it.
fn answer(
    engine: &mut Engine,
    served: &ServedModel,
    messages: &[Message],
    arguments: &ChatArguments,
) -> anyhow::Result<String> {
    let prompt = prompt(served, messages)?;
    let room = (served.context_max as usize).saturating_sub(prompt.len());
    if room == 0 {
        let (tokens, most) = (prompt.len(), served.context_max);
        bail!("the conversation has {tokens} tokens, and the model's context is {most}");
    }
    let id = engine.submit(Request {
        prompt,
        said: Vec::new(),
        sampling: sampling(arguments)?,
        tokens_max: arguments.max_tokens.min(room as u32),
        end_tokens: served.tokenizer.ends().to_vec(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    })?;
    let (mut decoder, mut whole) = (StreamDecoder::new(), String::new());
    let mut show = |text: &str| {
        whole.push_str(text);
        print!("{text}");
        std::io::stdout().flush()
    };
    while !engine.is_idle() {
        for (_, output) in
            engine.step(&mut Observer::none()).into_iter().filter(|(of, _)| *of == id)
        {
            if let Output::Token { token, .. } = output {
                show(&decoder.push(served.tokenizer.bytes(token).unwrap_or_default()))?;
            }
        }
    }
    show(&decoder.finish())?;
    println!();
    Ok(whole)
}

/// The conversation's tokens; without a template the last message alone is continued.
fn prompt(served: &ServedModel, messages: &[Message]) -> anyhow::Result<Vec<u32>> {
    let Some(template) = &served.template else {
        let last = messages.last().map_or("", |message| &message.content);
        return Ok(served.tokenizer.encode_prompt(last, SpecialTokens::Plain));
    };
    let conversation = Conversation {
        messages,
        add_generation_prompt: true,
        begin: &served.begin_text,
        end: &served.end_text,
        tools: None,
    };
    Ok(template.encode_chat(&served.tokenizer, &conversation)?)
}

fn sampling(arguments: &ChatArguments) -> anyhow::Result<Sampling> {
    let temperature = arguments.temperature * f64::from(engine::sampling::ONE);
    let sampling = Sampling {
        temperature: temperature.round() as u32,
        seed: Seed::from_integer(arguments.seed),
        ..Sampling::default()
    };
    sampling.check().context("--temperature")?;
    Ok(sampling)
}
