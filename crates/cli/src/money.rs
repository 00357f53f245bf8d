//! `mashaa session`, `mashaa channel`, `mashaa stake` and `mashaa credits`: what an account lets others do, sets aside
//! for others, and, as a cashier, brings into being.
//!
//! Not here: signing and sending (`order`).

use node::ledger::unhex;
use serde_json::json;
use types::bounded::Set;
use types::id::Address;
use types::signature::Signature;
use types::transaction::{
    Action, CloseChannel, Enlist, Give, GrantSession, IssueCredits, NO_NODE, OpenChannel,
    RedeemVoucher, Resign, RevokeSession, Stake, TopUpChannel, Unstake, Voucher, WithdrawCredits,
};
use types::word::{Fund, Scope};

use crate::arguments::{ChannelCommand, CreditsCommand, SessionCommand, SignFlags, StakeCommand};
use crate::client::{Client, text};
use crate::context::Context;
use crate::ledger;
use crate::order::{address, amount, network, node_key, open, plain, send, usage};
use crate::outcome::Outcome;

/// `mashaa session`.
pub(crate) fn session(context: &Context, command: &SessionCommand) -> anyhow::Result<Outcome> {
    match command {
        SessionCommand::Grant { sign, key, cap, scope, blocks } => {
            let (key, cap) = (address(key)?, amount(cap)?);
            let scopes = scope.iter().map(|word| {
                let all = || Scope::ALL.iter().map(|it| it.word()).collect::<Vec<_>>().join(", ");
                Scope::parse(word).ok_or_else(|| usage(format!("{word:?} is none of {}", all())))
            });
            let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
            let scopes = Set::new(scopes).map_err(|error| usage(format!("--scope: {error}")))?;
            send(context, sign, |_, height| {
                let expires = height.after(*blocks);
                Ok(Action::GrantSession(GrantSession { key, cap, scopes, expires }))
            })
        }
        SessionCommand::Revoke { sign, key } => {
            let key = address(key)?;
            send(context, sign, |_, _| Ok(Action::RevokeSession(RevokeSession { key })))
        }
    }
}

/// `mashaa stake`.
pub(crate) fn stake(context: &Context, command: &StakeCommand) -> anyhow::Result<Outcome> {
    match command {
        StakeCommand::Show { node, address } => {
            let address = ledger::own_or(context, address.as_deref())?;
            ledger::show(context, node, &format!("/ledger/stakes/{address}"))
        }
        StakeCommand::Add { sign, amount: of } => {
            let amount = amount(of)?;
            send(context, sign, |_, _| Ok(Action::Stake(Stake { amount })))
        }
        StakeCommand::Take { sign, amount: of } => {
            let amount = amount(of)?;
            send(context, sign, |_, _| Ok(Action::Unstake(Unstake { amount })))
        }
        StakeCommand::Enlist(sign) => send(context, sign, |_, _| Ok(Action::Enlist(Enlist {}))),
        StakeCommand::Resign(sign) => send(context, sign, |_, _| Ok(Action::Resign(Resign {}))),
    }
}

/// `mashaa channel`.
pub(crate) fn channel(context: &Context, command: &ChannelCommand) -> anyhow::Result<Outcome> {
    match command {
        ChannelCommand::Show { node, channel } => {
            ledger::show(context, node, &format!("/ledger/channels/{channel}"))
        }
        ChannelCommand::Open { sign, payee, amount: of, timeout, work } => {
            let (payee, amount, timeout) =
                (address(payee)?, amount(of)?, types::amount::Blocks(*timeout));
            let node = work.as_deref().map_or(Ok(NO_NODE), node_key)?;
            send(context, sign, |_, _| {
                Ok(Action::OpenChannel(OpenChannel { payee, amount, timeout, node }))
            })
        }
        ChannelCommand::TopUp { sign, channel, amount: of } => {
            let (channel, amount) = (*channel, amount(of)?);
            send(context, sign, |_, _| Ok(Action::TopUpChannel(TopUpChannel { channel, amount })))
        }
        ChannelCommand::Voucher { sign, channel, cumulative } => {
            voucher(context, sign, *channel, cumulative)
        }
        ChannelCommand::Redeem { sign, channel, cumulative, signature } => {
            let (channel, cumulative) = (*channel, amount(cumulative)?);
            let bytes = unhex(signature).and_then(|bytes| bytes.try_into().ok());
            let signature = Signature(bytes.ok_or_else(|| {
                usage(format!("{signature:?} is no signature: 0x and 130 hexadecimal digits"))
            })?);
            send(context, sign, |_, _| {
                Ok(Action::RedeemVoucher(RedeemVoucher { channel, cumulative, signature }))
            })
        }
        ChannelCommand::Close { sign, channel } => {
            let channel = *channel;
            send(context, sign, |_, _| Ok(Action::CloseChannel(CloseChannel { channel })))
        }
    }
}

/// Signs a voucher and prints it.
fn voucher(
    context: &Context,
    sign: &SignFlags,
    number: u64,
    cumulative: &str,
) -> anyhow::Result<Outcome> {
    let cumulative = amount(cumulative)?;
    let client = Client::of(context, &sign.node);
    let (genesis, _) = network(context, &client)?;
    let channel = client.get(&format!("/ledger/channels/{number}"))?;
    let party = |field: &str| -> anyhow::Result<Address> { Ok(address(text(&channel, field)?)?) };
    let voucher =
        Voucher { payer: party("payer")?, payee: party("payee")?, channel: number, cumulative };
    let wallet = open(context, sign)?;
    let signature = wallet.sign_voucher(&voucher, &genesis);
    match context.json {
        true => println!(
            "{}",
            json!({
                "channel": number, "payer": voucher.payer.to_string(), "payee": voucher.payee.to_string(),
                "cumulative": cumulative.to_string(), "signature": signature.to_string(),
            })
        ),
        false => println!("mashaa channel redeem {number} {cumulative} {signature}"),
    }
    Ok(Outcome::Done)
}

/// `mashaa credits`.
pub(crate) fn credits(context: &Context, command: &CreditsCommand) -> anyhow::Result<Outcome> {
    match command {
        CreditsCommand::Give { sign, fund, amount: of } => {
            let all = || Fund::ALL.iter().map(|it| it.word()).collect::<Vec<_>>().join(", ");
            let fund =
                Fund::parse(fund).ok_or_else(|| usage(format!("{fund:?} is none of {}", all())))?;
            let amount = amount(of)?;
            send(context, sign, |_, _| Ok(Action::Give(Give { fund, amount })))
        }
        CreditsCommand::Issue { sign, to, amount: of, reference } => {
            let (to, amount) = (address(to)?, amount(of)?);
            let reference = plain("the reference", reference)?;
            send(context, sign, |_, _| {
                Ok(Action::IssueCredits(IssueCredits { to, amount, reference }))
            })
        }
        CreditsCommand::Withdraw { sign, amount: of, reference } => {
            let amount = amount(of)?;
            let reference = plain("the reference", reference)?;
            send(context, sign, |_, _| {
                Ok(Action::WithdrawCredits(WithdrawCredits { amount, reference }))
            })
        }
    }
}
