//! `mashaa work`, `mashaa why` and `mashaa status`: what a node does, and what its owner lets it.
//!
//! Not here: the rules (`node::preferences`).

use serde_json::{Value, json};

use crate::arguments::{NodeFlag, WorkCommand};
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::order;
use crate::outcome::{Outcome, Problem};
use crate::payments;

/// Seconds that one request waits for the work to be finished, at most: as many as a node allows.
const WAIT_MAX: u64 = node::control::WAIT_MAX;

/// Runs a `work` command.
pub(crate) fn run(context: &Context, command: &WorkCommand) -> anyhow::Result<Outcome> {
    match command {
        WorkCommand::Pause { node, length, until, all } => {
            let seconds = length.as_deref().map(seconds).transpose()?;
            let mut word = json!({"do": "pause", "all": all});
            if let Some(seconds) = seconds {
                word["seconds"] = seconds.into();
            }
            if let Some(until) = until {
                word["until"] = until.as_str().into();
            }
            tell(context, node, &word)
        }
        WorkCommand::Resume(node) => tell(context, node, &json!({"do": "resume"})),
        WorkCommand::Drain { node, all, wait } => drain(context, node, *all, *wait),
        WorkCommand::Status(node) => {
            let value = Client::of(context, node).get("/node/work")?;
            shown(context, &value, work_lines)
        }
        WorkCommand::Registry(command) => order::registry(context, command),
    }
}

/// `mashaa why`: every preference, what was measured, and what follows.
pub(crate) fn why(context: &Context, node: &NodeFlag) -> anyhow::Result<Outcome> {
    let client = Client::of(context, node);
    let (value, books) = (client.get("/node/work")?, client.get("/node/earned")?);
    shown(context, &value, |value| {
        let mut lines = work_lines(value)?;
        lines.extend(members_lines(&value["workers"])?);
        lines.extend(payments::audits(&books));
        lines.push(String::new());
        for finding in value["preferences"].as_array().into_iter().flatten() {
            let (effect, sentence) = (text(finding, "effect")?, text(finding, "sentence")?);
            lines.push(format!("{effect:8} {}  {sentence}", text(finding, "code")?));
        }
        Ok(lines)
    })
}

/// What the members let this machine and others compute, where there are others.
fn members_lines(workers: &Value) -> anyhow::Result<Vec<String>> {
    if workers.is_null() {
        return Ok(Vec::new());
    }
    let mut lines = vec![format!("the members let {} compute for others", policy(workers)?)];
    if let Some(why) = workers["unused_because"].as_str() {
        lines.push(format!("others do not use what this machine offers: {why}"));
    }
    match number(workers, "others_unused")? {
        0 => {}
        count => lines.push(format!(
            "offers of other machines that are not used: {count}; `mashaa peers` says why"
        )),
    }
    Ok(lines)
}

/// Whose machines may compute, in words.
pub(crate) fn policy(workers: &Value) -> anyhow::Result<&'static str> {
    Ok(match text(workers, "policy")? {
        "anyone" => "any machine",
        "registered" => "machines with a pass that an account has registered",
        "registered by a member" => "machines with a pass that a member has registered",
        _ => "machines with a pass",
    })
}

/// `mashaa status`: one screen of a node.
pub(crate) fn status(context: &Context, node: &NodeFlag) -> anyhow::Result<Outcome> {
    let value = Client::of(context, node).get("/node/status")?;
    shown(context, &value, |value| {
        let uptime = span(number(value, "uptime_seconds")?);
        let mut lines =
            vec![format!("node      mashaa {}, up for {uptime}", text(value, "version")?)];
        for model in value["models"].as_array().into_iter().flatten() {
            lines.push(format!("model     {} ({})", text(model, "name")?, text(model, "cid")?));
        }
        if !value["work"].is_null() {
            lines.push(format!("requests  {}", requests(&value["requests"])?));
            lines.extend(gates(&value["work"])?.into_iter().map(|it| format!("work      {it}")));
        }
        let ledger = &value["ledger"];
        if !ledger.is_null() {
            lines.push(format!(
                "ledger    {} at height {}, {} peers configured",
                text(ledger, "name")?,
                number(ledger, "height")?,
                number(ledger, "peers_configured")?
            ));
        }
        let network = &value["network"];
        if !network.is_null() {
            let (known, connected) = (number(network, "known")?, number(network, "connected")?);
            lines.push(format!(
                "machines  {connected} of {known} others connected; `mashaa peers` shows them"
            ));
        }
        Ok(lines)
    })
}

/// Prints an answer, as JSON or in words.
fn shown(
    context: &Context,
    value: &Value,
    words: impl FnOnce(&Value) -> anyhow::Result<Vec<String>>,
) -> anyhow::Result<Outcome> {
    match context.json {
        true => println!("{value}"),
        false => words(value)?.iter().for_each(|line| println!("{line}")),
    }
    Ok(Outcome::Done)
}

fn tell(context: &Context, node: &NodeFlag, word: &Value) -> anyhow::Result<Outcome> {
    let value = Client::of(context, node).post("/node/work", word)?;
    shown(context, &value, work_lines)
}

fn drain(context: &Context, node: &NodeFlag, all: bool, wait: u64) -> anyhow::Result<Outcome> {
    let client = Client::of(context, node);
    let mut value = client.post("/node/work", &json!({"do": "drain", "all": all}))?;
    let mut left = wait;
    while left > 0 && value["drained"] == false && value["mode"]["do"] == "drain" {
        let wait = left.min(WAIT_MAX);
        value = client.get(&format!("/node/work?wait={wait}"))?;
        left -= wait;
    }
    let drained = value["drained"] == true;
    shown(context, &value, |value| {
        let mut lines = work_lines(value)?;
        if drained {
            lines.push("drained".to_owned());
        }
        Ok(lines)
    })?;
    match (drained, wait) {
        (true, _) | (_, 0) => Ok(Outcome::Done),
        _ => anyhow::bail!("not drained after {wait} seconds; the drain goes on"),
    }
}

fn work_lines(value: &Value) -> anyhow::Result<Vec<String>> {
    let mut lines = gates(&value["work"])?;
    lines.push(requests(&value["requests"])?);
    Ok(lines)
}

/// Whether others' and own requests run, and why not.
fn gates(work: &Value) -> anyhow::Result<Vec<String>> {
    let reason = work["reason"].as_str().unwrap_or_default();
    let gate = |word: &str| match word {
        "open" => "are answered",
        "draining" => "are finished, and no new ones taken",
        _ => "stand still, and no new ones are taken",
    };
    let (others, own) = (text(work, "others")?, text(work, "own")?);
    let why = if others == "open" { String::new() } else { format!(": {reason}") };
    Ok(vec![
        format!("requests of others {}{why}", gate(others)),
        format!("own requests {}", gate(own)),
    ])
}

fn requests(load: &Value) -> anyhow::Result<String> {
    let (own, others) = (number(load, "own")?, number(load, "others")?);
    Ok(format!(
        "{own} own and {others} of others now, {} of them waiting",
        number(load, "waiting")?
    ))
}

/// A length of time such as `2h` or `1d12h30m`, in seconds.
fn seconds(text: &str) -> Result<u64, Problem> {
    let wrong = || {
        Problem::Usage(format!(
            "--for {text:?} is no length of time: write numbers with d, h, m or s, such as 2h or 1d12h"
        ))
    };
    let (mut sum, mut digits) = (0u64, String::new());
    for c in text.chars() {
        let unit = match c {
            '0'..='9' => {
                digits.push(c);
                continue;
            }
            'd' => 86_400u64,
            'h' => 3600,
            'm' => 60,
            's' => 1,
            _ => return Err(wrong()),
        };
        let count: u64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        let part = count.checked_mul(unit).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
    }
    match (sum, digits.is_empty()) {
        (1.., true) => Ok(sum),
        _ => Err(wrong()),
    }
}

/// A length of time as a person says it.
fn span(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, ..) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}
