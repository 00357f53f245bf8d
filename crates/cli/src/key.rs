//! `mashaa key`: make, list and revoke API keys.
//!
//! A node that serves from the same home sees what changes at its next request.
//!
//! Not here: what a key may do and use (`gateway::auth`).

use anyhow::Context as _;
use gateway::auth::key::{Key, LIMIT_MAX, Limits, NAME_SIZE_MAX, Scope};
use gateway::auth::ring::Ring;
use serde_json::{Value, json};
use types::amount::Amount;

use crate::arguments::{KeyCommand, NewKeyArguments};
use crate::context::Context;
use crate::outcome::{Outcome, Problem};
use crate::peers::{seconds, time};

/// What a key is for if nothing is said.
const USUAL: [Scope; 4] = [Scope::Models, Scope::Inference, Scope::Files, Scope::Batches];

/// Runs a `key` command.
pub(crate) fn run(context: &Context, command: &KeyCommand) -> anyhow::Result<Outcome> {
    let ring = context.ring();
    match command {
        KeyCommand::New(new) => make(context, &ring, new),
        KeyCommand::Ls => list(context, &ring),
        KeyCommand::Revoke { key } => revoke(context, &ring, key),
    }
}

fn make(context: &Context, ring: &Ring, new: &NewKeyArguments) -> anyhow::Result<Outcome> {
    let usage = Problem::Usage;
    if !Key::is_name(&new.name) {
        let what = "letters, digits, `-`, `_` and `.`, beginning with a letter or digit";
        let wanted = format!("up to {NAME_SIZE_MAX} {what}");
        return Err(usage(format!("{:?} is no name: {wanted}", new.name)).into());
    }
    let now = seconds();
    let expires = new.expires.as_deref().map(time).transpose()?.map(|length| now + length);
    let (key, secret) = Key::new(&new.name, &scopes(&new.scope)?, limits(new)?, (now, expires))
        .map_err(|error| anyhow::anyhow!("{}", error.public))?;
    let shown = key.json();
    ring.change(|keys| {
        if keys.iter().any(|it| it.name == new.name && it.is_good(now)) {
            let what =
                format!("there is a key {:?}; revoke it first, or choose another name", new.name);
            return Err(anyhow::Error::from(usage(what)));
        }
        keys.push(key);
        Ok(())
    })?;
    match context.json {
        true => {
            let mut told = told(&shown);
            told["key"] = json!(secret);
            println!("{told}");
        }
        false => println!("{secret}"),
    }
    eprintln!(
        "This is the only time you see the key; only its hash is kept. Whoever has it may use this \
         node as it allows."
    );
    Ok(Outcome::Done)
}

fn scopes(names: &[String]) -> Result<Vec<Scope>, Problem> {
    if names.is_empty() {
        return Ok(USUAL.to_vec());
    }
    let known = || Scope::ALL.map(|(_, name)| name).join(", ");
    let wrong = |name: &String| Problem::Usage(format!("{name:?} is none of {}", known()));
    names.iter().map(|name| Scope::of(name).ok_or_else(|| wrong(name))).collect()
}

fn limits(new: &NewKeyArguments) -> Result<Limits, Problem> {
    let wrong = |text: &String| Problem::Usage(format!("{text:?} is no number of credits"));
    let credits = |text: &String| Amount::parse(text).ok_or_else(|| wrong(text));
    let spend = new.spend.as_ref().map(credits).transpose()?.map(|it| it.millionths());
    let limits = Limits {
        requests_per_minute: new.requests_per_minute,
        tokens_per_minute: new.tokens_per_minute,
        tokens_per_day: new.tokens_per_day,
        at_once: new.at_once,
        spend,
    };
    let Limits { requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend } = limits;
    let all = [requests_per_minute, tokens_per_minute, tokens_per_day, at_once, spend];
    match all.iter().flatten().all(|limit| (1..=LIMIT_MAX).contains(limit)) {
        true => Ok(limits),
        false => Err(Problem::Usage(format!(
            "a limit is from 1 to {LIMIT_MAX}, and one on credits from 0.000001 to a million; leave it out for none"
        ))),
    }
}

fn revoke(context: &Context, ring: &Ring, wanted: &str) -> anyhow::Result<Outcome> {
    let now = seconds();
    let revoked = ring.change(|keys| {
        let good = keys.iter().position(|it| it.name == wanted && it.is_good(now));
        let found = keys.iter().position(|it| it.id == wanted).or(good);
        let found = found.and_then(|index| keys.get_mut(index));
        let none =
            || format!("there is no key {wanted:?} that is good; `mashaa key ls` lists them");
        let key = found.ok_or_else(|| anyhow::Error::from(Problem::NotFound(none())))?;
        key.revoked.get_or_insert(now);
        Ok::<_, anyhow::Error>(key.json())
    })?;
    match context.json {
        true => println!("{}", told(&revoked)),
        false => println!("revoked {}", revoked["id"].as_str().unwrap_or_default()),
    }
    Ok(Outcome::Done)
}

fn list(context: &Context, ring: &Ring) -> anyhow::Result<Outcome> {
    let keys = ring.list().context("the keys cannot be read")?;
    let now = seconds();
    if context.json {
        let keys = keys.iter().map(|key| {
            let (today, spent) = ring.used(key);
            let mut told = told(&key.json());
            told["is_good"] = json!(key.is_good(now));
            told["used"] = json!({"tokens_today": today, "spend": spent});
            told
        });
        println!("{}", Value::from_iter(keys));
        return Ok(Outcome::Done);
    }
    for key in keys {
        let state = match (key.revoked, key.expires) {
            (Some(_), _) => "revoked".to_owned(),
            (None, Some(expires)) if expires <= now => "expired".to_owned(),
            (None, Some(expires)) => format!("good for {} h", (expires - now).div_ceil(3600)),
            (None, None) => "good".to_owned(),
        };
        let scopes: Vec<&str> = key.scopes.iter().map(|it| it.name()).collect();
        println!("{:20} {}  {state}  {}", key.name, key.id, scopes.join(","));
        let limits = describe(&key.limits, ring.used(&key));
        if !limits.is_empty() {
            println!("{:20} {limits}", "");
        }
    }
    Ok(Outcome::Done)
}

/// A key's limits in a line, with what is used of them.
fn describe(limits: &Limits, (today, spent): (u64, u64)) -> String {
    let credits = |millionths| Amount::new(millionths).unwrap_or_default();
    let parts = [
        limits.requests_per_minute.map(|it| format!("{it} requests a minute")),
        limits.tokens_per_minute.map(|it| format!("{it} tokens a minute")),
        limits.tokens_per_day.map(|it| format!("{today} of {it} tokens today")),
        limits.at_once.map(|it| format!("{it} answers at once")),
        limits.spend.map(|it| format!("{} of {} credits spent", credits(spent), credits(it))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// What is told of a key: not its hash, of which nobody has a use.
fn told(key: &Value) -> Value {
    let mut told = key.clone();
    told.as_object_mut().into_iter().for_each(|fields| drop(fields.remove("sha256")));
    told
}
