//! `mashaa earn`, `mashaa spend` and `mashaa quote`: what machines pay each other for answers.
//!
//! Not here: the books (`node::earn`, `node::pay`), channels by hand (`money`).

use std::sync::Arc;

use anyhow::Context as _;
use audit::receipt::Trust;
use node::earn::Earned;
use node::ledger::unhex;
use node::orders::Signer;
use node::pay::{self, Payer};
use serde_json::{Value, json};
use types::amount::Amount;
use types::id::{Address, Cid, Hash};
use types::signature::Signature;
use types::transaction::{Action, RedeemBatch};
use wallet::wallet::Wallet;
use wallet::wallets::Wallets;

use crate::arguments::{EarnArguments, EarnCommand, NodeFlag, QuoteArguments, SignFlags};
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::order::send;
use crate::outcome::{Outcome, Problem};

/// Seconds of a day.
const DAY: u64 = 86_400;

/// What this home's node earns with, where it asks for something or has earned before.
pub(crate) fn earned(context: &Context) -> anyhow::Result<Option<Arc<Earned>>> {
    let folder = context.home.earned();
    let (price, unpaid_max) =
        (setting(context, "earn_price")?, setting(context, "earn_unpaid_max")?);
    if price == Amount::ZERO && !folder.is_dir() {
        return Ok(None);
    }
    let shown = folder.display().to_string();
    Ok(Some(Arc::new(Earned::open(folder, price, unpaid_max).context(shown)?)))
}

/// Who pays from this home's node, if someone does.
pub(crate) fn payer(context: &Context) -> anyhow::Result<Option<Arc<Payer>>> {
    let Some((account, wallet)) = unattended(context, "pay_wallet", "pay_account")? else {
        return Ok(None);
    };
    let settings = pay::Settings {
        file: context.home.paid(),
        secret: wallet.secret(),
        account,
        price_max: setting(context, "pay_price_max")?,
        deposit: setting(context, "pay_deposit")?,
        cap: setting(context, "pay_cap")?,
        trust: trust(context)?,
    };
    let shown = settings.file.display().to_string();
    Ok(Some(Arc::new(Payer::open(settings).context(shown)?)))
}

/// How answers that are paid for may be checked.
fn trust(context: &Context) -> anyhow::Result<Trust> {
    match Trust::parse(context.config.text("pay_trust")) {
        Some(trust @ (Trust::Checked | Trust::Private)) => Ok(trust),
        _ => Err(context.config.wrong("pay_trust", "checked or private").into()),
    }
}

fn setting(context: &Context, key: &'static str) -> anyhow::Result<Amount> {
    let wanted = "an amount of credits, such as 0.25";
    let amount = Amount::parse(context.config.text(key));
    Ok(amount.ok_or_else(|| context.config.wrong(key, wanted))?)
}

/// `mashaa earn`.
pub(crate) fn earn(context: &Context, it: &EarnArguments) -> anyhow::Result<Outcome> {
    match &it.command {
        None => {
            let books = Client::of(context, &it.node).get("/node/earned")?;
            let channel = |channel: &Value| {
                Ok(format!(
                    "channel {:>6}  {} answers, {} due, {} vouched for, {} redeemed, {} pending",
                    number(channel, "channel")?,
                    number(channel, "receipts")?,
                    text(channel, "owed")?,
                    text(channel, "vouched")?,
                    channel["redeemed"].as_str().unwrap_or("closed"),
                    text(channel, "pending")?,
                ) + &channel["refused"]
                    .as_str()
                    .map_or_else(String::new, |why| format!("; not redeemed: {why}")))
            };
            let outcome = show(context, &books, channel)?;
            batches(context, &books)?;
            audits(&books).iter().filter(|_| !context.json).for_each(|line| println!("{line}"));
            Ok(outcome)
        }
        Some(EarnCommand::Redeem(sign)) => redeem(context, sign),
    }
}

/// What is wrong with audits, in lines.
pub(crate) fn audits(books: &Value) -> Vec<String> {
    let notes = books["audits"].as_array().into_iter().flatten();
    let line = |it: &Value| {
        let what = it["what"].as_str().unwrap_or_default();
        format!("audit of batch {}, answer {}: {what}", it["batch"], it["index"])
    };
    notes.map(line).collect()
}

/// What waits for its audits.
fn batches(context: &Context, books: &Value) -> anyhow::Result<()> {
    for it in books["batches"].as_array().into_iter().flatten().filter(|_| !context.json) {
        println!(
            "batch {:>8}  {} answers, {} credits, paid at the end of block {} or after {} audits",
            number(it, "number")?,
            number(it, "count")?,
            text(it, "amount")?,
            number(it, "settles")?,
            number(it, "open_audits")?,
        );
    }
    Ok(())
}

/// `mashaa spend`.
pub(crate) fn spend(context: &Context, node: &NodeFlag) -> anyhow::Result<Outcome> {
    let books = Client::of(context, node).get("/node/spent")?;
    let channel = |channel: &Value| {
        Ok(format!(
            "channel {:>6}  to {}: {} vouched for of {}, {} redeemed",
            number(channel, "channel")?,
            text(channel, "payee")?,
            text(channel, "vouched")?,
            text(channel, "deposit")?,
            channel["redeemed"].as_str().unwrap_or("closed"),
        ))
    };
    show(context, &books, channel)
}

/// `mashaa quote`.
pub(crate) fn quote(context: &Context, it: &QuoteArguments) -> anyhow::Result<Outcome> {
    let client = Client::of(context, &it.node);
    let model = match &it.model {
        Some(model) => model.clone(),
        None => {
            let first = &client.get("/v1/models")?["data"][0];
            first["id"].as_str().context("the node serves no model")?.to_owned()
        }
    };
    let asked = json!({
        "model": model, "messages": [{"role": "user", "content": it.question}],
        "max_completion_tokens": it.max_tokens, "dry_run": true,
    });
    // A base model continues the question as it is.
    let plain = json!({
        "model": model, "prompt": it.question, "max_tokens": it.max_tokens, "dry_run": true,
    });
    let quote = client.post("/v1/chat/completions", &asked);
    let quote = quote.or_else(|_| client.post("/v1/completions", &plain))?;
    if context.json {
        println!("{quote}");
        return Ok(Outcome::Done);
    }
    println!(
        "{}: a question of {} tokens, an answer of at most {}",
        text(&quote, "model")?,
        number(&quote, "prompt_tokens")?,
        number(&quote, "completion_tokens_max")?,
    );
    let quotes = quote["quotes"].as_array().map_or(&[][..], Vec::as_slice);
    if quotes.is_empty() {
        println!("no machine would answer now; `mashaa peers` shows who is there");
    }
    quotes.iter().try_for_each(show_quote)?;
    Ok(Outcome::Done)
}

fn show_quote(it: &Value) -> anyhow::Result<()> {
    let worker = text(it, "worker")?;
    let here = if it["is_here"] == true { "this machine" } else { "another" };
    println!(
        "{}  {here}: costs at most {} credits ({} a million tokens), {}; begins after {} ms, ends within {} ms; {} of 1000 answers whole",
        worker.get(..12).unwrap_or(worker),
        text(it, "cost_max")?,
        text(it, "price")?,
        text(it, "trust")?,
        number(it, "wait_ms")?,
        number(it, "time_max_ms")?,
        number(it, "reliability")?,
    );
    Ok(())
}

fn show(
    context: &Context,
    books: &Value,
    channel: impl Fn(&Value) -> anyhow::Result<String>,
) -> anyhow::Result<Outcome> {
    if context.json {
        println!("{books}");
        return Ok(Outcome::Done);
    }
    for it in books["channels"].as_array().into_iter().flatten() {
        println!("{}", channel(it)?);
    }
    let sums = |it: &Value| -> anyhow::Result<String> {
        Ok(format!("{} answers, {} due", number(it, "answers")?, text(it, "due")?))
    };
    for it in books["by_model"].as_array().into_iter().flatten() {
        println!("model {}  {}", text(it, "model")?, sums(it)?);
    }
    for it in books["by_day"].as_array().into_iter().flatten() {
        println!("day {}  {}", day(number(it, "day")?), sums(it)?);
    }
    Ok(Outcome::Done)
}

/// A day of UTC, as `2026-11-29`.
fn day(seconds: u64) -> String {
    // Days since 1970 become year, month and day by Howard Hinnant's `civil_from_days` (2013).
    let days = seconds / DAY + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Redeems what each channel's last voucher pays for.
fn redeem(context: &Context, sign: &SignFlags) -> anyhow::Result<Outcome> {
    let books = Client::of(context, &sign.node).get("/node/earned")?;
    let channels = books["channels"].as_array().into_iter().flatten();
    let pending = channels.filter(|it| !it["redeemable"].is_null()).collect::<Vec<_>>();
    if pending.is_empty() && !context.json {
        println!("nothing is pending");
    }
    for channel in pending {
        let order = batch(channel)?;
        let send = send(context, sign, |_, _| Ok(Action::RedeemBatch(order)))?;
        if send == Outcome::Refused {
            return Ok(send);
        }
    }
    Ok(Outcome::Done)
}

/// The order that redeems a channel's receipts, as the node shows it.
fn batch(channel: &Value) -> anyhow::Result<RedeemBatch> {
    let it = &channel["redeemable"];
    let wrong = || Problem::Refused("the node shows no batch of this channel".to_owned());
    let signature = unhex(text(it, "signature")?).and_then(|it| it.try_into().ok());
    Ok(RedeemBatch {
        channel: number(channel, "channel")?,
        cumulative: Amount::parse(text(it, "cumulative")?).ok_or_else(wrong)?,
        signature: Signature(signature.ok_or_else(wrong)?),
        work: Cid::parse(text(it, "work")?).ok_or_else(wrong)?,
        gateway: Address::parse(text(it, "gateway")?).ok_or_else(wrong)?,
        root: Hash::parse(text(it, "root")?).ok_or_else(wrong)?,
        count: u32::try_from(number(it, "count")?).map_err(|_| wrong())?,
    })
}

/// Who signs what this home's node sends by itself, if someone does.
pub(crate) fn signer(context: &Context) -> anyhow::Result<Option<Signer>> {
    Ok(unattended(context, "node_wallet", "node_account")?
        .map(|(account, wallet)| Signer { account, secret: wallet.secret() }))
}

/// A wallet of the settings that opens without a person, and the account that it acts for.
fn unattended(
    context: &Context,
    wallet: &'static str,
    account: &'static str,
) -> anyhow::Result<Option<(Address, Wallet)>> {
    let name = context.config.text(wallet);
    if name.is_empty() {
        return Ok(None);
    }
    let wallets = Wallets::of(context.home.wallets());
    let Some(passphrase) = wallets.passphrase(name)? else {
        let wanted = "a wallet that opens without a person: `mashaa wallet new --unattended`";
        return Err(context.config.wrong(wallet, wanted).into());
    };
    let opened = wallets.open(name, &passphrase)?;
    let account = match context.config.text(account) {
        "" => opened.address(),
        text => Address::parse(text)
            .ok_or_else(|| context.config.wrong(account, "an address, or empty"))?,
    };
    Ok(Some((account, opened)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0, "1970-01-01"),
            (951_782_400, "2000-02-29"),
            (951_868_800, "2000-03-01"),
            (1_795_910_400, "2026-11-29"),
            (4_102_444_799, "2099-12-31"),
        ] {
            assert_eq!(day(seconds / DAY * DAY), shown);
        }
    }
}
