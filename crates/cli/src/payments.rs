//! `mashaa earn` and `mashaa spend`: what machines pay each other for answers.
//!
//! Not here: the books (`node::earn`, `node::pay`), channels by hand (`money`).

use std::sync::Arc;

use anyhow::Context as _;
use node::earn::Earned;
use node::ledger::unhex;
use node::pay::{self, Payer};
use serde_json::Value;
use types::amount::Amount;
use types::id::Address;
use types::signature::Signature;
use types::transaction::{Action, RedeemVoucher};
use wallet::wallets::Wallets;

use crate::arguments::{EarnArguments, EarnCommand, NodeFlag, SignFlags};
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
    let name = context.config.text("pay_wallet");
    if name.is_empty() {
        return Ok(None);
    }
    let wallets = Wallets::of(context.home.wallets());
    let Some(passphrase) = wallets.passphrase(name)? else {
        let wanted = "a wallet that opens without a person: `mashaa wallet new --unattended`";
        return Err(context.config.wrong("pay_wallet", wanted).into());
    };
    let wallet = wallets.open(name, &passphrase)?;
    let account = match context.config.text("pay_account") {
        "" => wallet.address(),
        text => Address::parse(text)
            .ok_or_else(|| context.config.wrong("pay_account", "an address, or empty"))?,
    };
    let settings = pay::Settings {
        file: context.home.paid(),
        secret: wallet.secret(),
        account,
        price_max: setting(context, "pay_price_max")?,
        deposit: setting(context, "pay_deposit")?,
        cap: setting(context, "pay_cap")?,
    };
    let shown = settings.file.display().to_string();
    Ok(Some(Arc::new(Payer::open(settings).context(shown)?)))
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
                ))
            };
            show(context, &books, channel)
        }
        Some(EarnCommand::Redeem(sign)) => redeem(context, sign),
    }
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

/// Sends the last voucher of each channel that grants more than was redeemed.
fn redeem(context: &Context, sign: &SignFlags) -> anyhow::Result<Outcome> {
    let books = Client::of(context, &sign.node).get("/node/earned")?;
    let channels = books["channels"].as_array().into_iter().flatten();
    let pending = channels.filter(|it| it["pending"] != "0").collect::<Vec<_>>();
    if pending.is_empty() && !context.json {
        println!("nothing is pending");
    }
    for channel in pending {
        let action = redemption(channel)?;
        if let outcome @ Outcome::Refused = send(context, sign, |_, _| Ok(action))? {
            return Ok(outcome);
        }
    }
    Ok(Outcome::Done)
}

/// The order that takes what a channel's last voucher grants: the one place that says which order it is.
fn redemption(channel: &Value) -> anyhow::Result<Action> {
    let wrong = || Problem::Refused("the node shows no voucher of this channel".to_owned());
    let cumulative = Amount::parse(text(channel, "vouched")?).ok_or_else(wrong)?;
    let signature = unhex(text(channel, "signature")?).and_then(|it| it.try_into().ok());
    let signature = Signature(signature.ok_or_else(wrong)?);
    let channel = number(channel, "channel")?;
    Ok(Action::RedeemVoucher(RedeemVoucher { channel, cumulative, signature }))
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
