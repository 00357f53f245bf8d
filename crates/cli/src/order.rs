//! Orders to the ledger: made of what a person typed, signed, sent, and waited for.
//!
//! Not here: what the ledger is asked without a signature (`ledger`).

use node::ledger::hex;
use serde_json::{Value, json};
use types::amount::{Amount, Height, Nonce};
use types::bounded::{List, Text};
use types::codec::encode;
use types::envelope::Order;
use types::id::{Address, Cid, Hash};
use types::measure::{
    AdmitMember, AdmitValidator, AdmitWork, AmendConstitution, ExpelMember, Measure, Parameter,
    ReinstateMember, RemoveValidator, RetireWork, SetCashier, SetCreditLine, SetGuardian,
    SetLicence, SetParameter, SetSplit, SpendCommons, SpendTreasury, SuspendMember,
};
use types::transaction::{
    Action, AddCapital, Apply, Delay, Delegate, Leave, Parent, PayForUse, Propose, Register,
    Retire, ReturnValidator, Share, Sponsor, Transfer, Undelegate, Vote,
};
use types::word::{Choice, Tier, WorkKind};
use wallet::wallet::Wallet;
use wallet::wallets::Wallets;

use crate::arguments::{
    DelayArguments, DelegateArguments, MemberCommand, ProposeArguments, RegisterArguments,
    RegistryCommand, SendArguments, SignFlags, ValidatorCommand, VoteArguments,
};
use crate::ask;
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::ledger;
use crate::outcome::{Outcome, Problem};

/// Blocks for which an order that is sent now is good.
const VALID_BLOCKS: u64 = 600;

pub(crate) fn usage(what: impl Into<String>) -> Problem {
    Problem::Usage(what.into())
}

pub(crate) fn address(text: &str) -> Result<Address, Problem> {
    let wanted = "0x and 40 hexadecimal digits, with EIP-55's capitals or none";
    Address::parse(text).ok_or_else(|| usage(format!("{text:?} is no address: {wanted}")))
}

pub(crate) fn amount(text: &str) -> Result<Amount, Problem> {
    Amount::parse(text).ok_or_else(|| {
        usage(format!("{text:?} is no amount: credits with at most six digits after the point and none that are not needed, such as 12.5"))
    })
}

fn cid(text: &str) -> Result<Cid, Problem> {
    Cid::parse(text).ok_or_else(|| usage(format!("{text:?} is no CID that the ledger can name")))
}

pub(crate) fn plain<const MAX: usize>(what: &str, text: &str) -> Result<Text<MAX>, Problem> {
    Text::new(text).map_err(|error| usage(format!("{what}: {error}")))
}

fn some<T, const MAX: usize>(what: &str, items: Vec<T>) -> Result<List<T, MAX>, Problem> {
    List::new(items).map_err(|_| usage(format!("{what}: at most {MAX}")))
}

fn whole(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| usage(format!("{text:?} is no whole number")))
}

/// `KEY=PARTS`.
fn parts<T>(text: &str, key: impl FnOnce(&str) -> Result<T, Problem>) -> Result<(T, u32), Problem> {
    let wanted = || usage(format!("{text:?}: write NAME=PARTS, with a whole number of parts"));
    let (name, parts) = text.split_once('=').ok_or_else(wanted)?;
    Ok((key(name)?, parts.parse().map_err(|_| wanted())?))
}

fn share(text: &str) -> Result<Share, Problem> {
    parts(text, address).map(|(account, parts)| Share { account, parts })
}

/// `mashaa send`.
pub(crate) fn transfer(context: &Context, it: &SendArguments) -> anyhow::Result<Outcome> {
    let (to, amount) = (address(&it.to)?, amount(&it.amount)?);
    let note = plain("--note", &it.note)?;
    send(context, &it.sign, |_, _| Ok(Action::Transfer(Transfer { to, amount, note })))
}

/// `mashaa member`.
pub(crate) fn member(context: &Context, command: &MemberCommand) -> anyhow::Result<Outcome> {
    match command {
        MemberCommand::List { node, after } => {
            ledger::list_after(context, node, "members", after.as_deref())
        }
        MemberCommand::Apply { sign, name } => {
            let name = plain("the name", name)?;
            send(context, sign, |_, _| Ok(Action::Apply(Apply { name })))
        }
        MemberCommand::Sponsor { sign, address: of } => {
            let applicant = address(of)?;
            send(context, sign, |_, _| Ok(Action::Sponsor(Sponsor { applicant })))
        }
        MemberCommand::Capital { sign, amount: of } => {
            let amount = amount(of)?;
            send(context, sign, |_, _| Ok(Action::AddCapital(AddCapital { amount })))
        }
        MemberCommand::Leave { sign } => send(context, sign, |_, _| Ok(Action::Leave(Leave {}))),
    }
}

/// `mashaa validator`.
pub(crate) fn validator(context: &Context, command: &ValidatorCommand) -> anyhow::Result<Outcome> {
    match command {
        ValidatorCommand::List { node } => {
            ledger::list(context, node, "validators", "/ledger/validators")
        }
        ValidatorCommand::Return { sign, key } => {
            let node_key = match key {
                Some(key) => node_key(key)?,
                None => {
                    let status = Client::of(context, &sign.node).get("/ledger")?;
                    node_key(text(&status, "node_key")?)?
                }
            };
            let action = Action::ReturnValidator(ReturnValidator { node_key });
            send(context, sign, |_, _| Ok(action))
        }
    }
}

/// `mashaa propose`.
pub(crate) fn propose(context: &Context, it: &ProposeArguments) -> anyhow::Result<Outcome> {
    let title = plain("the title", &it.title)?;
    let text = it.text.as_deref().map(cid).transpose()?;
    let measures = it.measures.iter().map(|text| measure(text)).collect::<Result<_, _>>()?;
    let measures = some("--do", measures)?;
    send(context, &it.sign, |_, _| Ok(Action::Propose(Propose { title, text, measures })))
}

/// `mashaa vote`.
pub(crate) fn vote(context: &Context, it: &VoteArguments) -> anyhow::Result<Outcome> {
    let choice = Choice::parse(&it.choice)
        .ok_or_else(|| usage(format!("{:?} is none of yes, no and abstain", it.choice)))?;
    let proposal = it.proposal;
    send(context, &it.sign, |_, _| Ok(Action::Vote(Vote { proposal, choice })))
}

/// `mashaa delay`.
pub(crate) fn delay(context: &Context, it: &DelayArguments) -> anyhow::Result<Outcome> {
    let proposal = it.proposal;
    send(context, &it.sign, |_, _| Ok(Action::Delay(Delay { proposal })))
}

/// `mashaa delegate`.
pub(crate) fn delegate(context: &Context, it: &DelegateArguments) -> anyhow::Result<Outcome> {
    let topics = || Tier::ALL.iter().map(|tier| tier.word()).collect::<Vec<_>>().join(", ");
    let topic = Tier::parse(&it.topic)
        .ok_or_else(|| usage(format!("{:?} is none of {}", it.topic, topics())))?;
    if it.to == "none" {
        return send(context, &it.sign, |_, _| Ok(Action::Undelegate(Undelegate { topic })));
    }
    let to = address(&it.to)?;
    send(context, &it.sign, |_, height| {
        let expires = height.after(it.blocks);
        Ok(Action::Delegate(Delegate { topic, to, expires }))
    })
}

/// `mashaa registry`.
pub(crate) fn registry(context: &Context, command: &RegistryCommand) -> anyhow::Result<Outcome> {
    match command {
        RegistryCommand::List { node, after } => {
            ledger::list_after(context, node, "works", after.as_deref())
        }
        RegistryCommand::Show { node, cid: of } => {
            ledger::show(context, node, &format!("/ledger/works/{}", cid(of)?))
        }
        RegistryCommand::Register(it) => register(context, it),
        RegistryCommand::Pay { sign, cid: of, amount: how_much, worker } => {
            let (work, amount, worker) = (cid(of)?, amount(how_much)?, address(worker)?);
            send(context, sign, |_, _| Ok(Action::PayForUse(PayForUse { work, worker, amount })))
        }
        RegistryCommand::Retire { sign, cid: of } => {
            let work = cid(of)?;
            send(context, sign, |_, _| Ok(Action::Retire(Retire { work })))
        }
    }
}

fn register(context: &Context, it: &RegisterArguments) -> anyhow::Result<Outcome> {
    let kind = WorkKind::parse(&it.kind)
        .ok_or_else(|| usage(format!("--kind: {:?} is neither model nor dataset", it.kind)))?;
    let makers = it.maker.iter().map(|text| share(text)).collect::<Result<_, _>>()?;
    let parent = |text: &String| parts(text, cid).map(|(work, parts)| Parent { work, parts });
    let parents = it.parent.iter().map(parent).collect::<Result<_, _>>()?;
    let register = Register {
        kind,
        work: cid(&it.cid)?,
        name: plain("--name", &it.name)?,
        licence: plain("--licence", &it.licence)?,
        terms: it.terms.as_deref().map(cid).transpose()?,
        makers: some("--maker", makers)?,
        parents: some("--parent", parents)?,
    };
    send(context, &it.sign, |_, _| Ok(Action::Register(register)))
}

/// A measure as a person writes it: its name in small letters, and its values.
fn measure(text: &str) -> Result<Measure, Problem> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let measure = match words.as_slice() {
        ["set-parameter", name, value] => {
            let parameter = Parameter::parse(name).ok_or_else(|| {
                usage(format!("{name:?} is no parameter; `mashaa ledger parameters` lists them"))
            })?;
            Measure::SetParameter(SetParameter { parameter, value: whole(value)? })
        }
        ["admit-member", of] => Measure::AdmitMember(AdmitMember { account: address(of)? }),
        ["suspend-member", of] => Measure::SuspendMember(SuspendMember { account: address(of)? }),
        ["reinstate-member", of] => {
            Measure::ReinstateMember(ReinstateMember { account: address(of)? })
        }
        ["expel-member", of] => Measure::ExpelMember(ExpelMember { account: address(of)? }),
        ["set-credit-line", of, line] => {
            Measure::SetCreditLine(SetCreditLine { account: address(of)?, line: amount(line)? })
        }
        ["spend-commons", to, how_much, purpose @ ..] => {
            let (to, amount) = (address(to)?, amount(how_much)?);
            let purpose = plain("the purpose", &purpose.join(" "))?;
            Measure::SpendCommons(SpendCommons { to, amount, purpose })
        }
        ["spend-treasury", to, how_much, purpose @ ..] => {
            let (to, amount) = (address(to)?, amount(how_much)?);
            let purpose = plain("the purpose", &purpose.join(" "))?;
            Measure::SpendTreasury(SpendTreasury { to, amount, purpose })
        }
        ["admit-work", of] => Measure::AdmitWork(AdmitWork { work: cid(of)? }),
        ["retire-work", of] => Measure::RetireWork(RetireWork { work: cid(of)? }),
        ["set-licence", of, licence @ ..] if !licence.is_empty() => {
            let licence = plain("the licence", &licence.join(" "))?;
            Measure::SetLicence(SetLicence { work: cid(of)?, licence })
        }
        ["set-split", of, makers @ ..] if !makers.is_empty() => {
            let makers = makers.iter().map(|text| share(text)).collect::<Result<_, _>>()?;
            Measure::SetSplit(SetSplit { work: cid(of)?, makers: some("set-split", makers)? })
        }
        ["admit-validator", key, account, power @ ..] if power.len() <= 1 => {
            let power = power.first().map_or(Ok(1), |power| whole(power))?;
            let power = u32::try_from(power).map_err(|_| usage("the power is too large"))?;
            let (node_key, account) = (node_key(key)?, address(account)?);
            Measure::AdmitValidator(AdmitValidator { node_key, account, power })
        }
        ["remove-validator", key] => {
            Measure::RemoveValidator(RemoveValidator { node_key: node_key(key)? })
        }
        ["set-guardian", who @ ..] if who.len() <= 1 => {
            let guardian = who.first().map(|who| address(who)).transpose()?;
            Measure::SetGuardian(SetGuardian { guardian })
        }
        ["set-cashier", who @ ..] if who.len() <= 1 => {
            let cashier = who.first().map(|who| address(who)).transpose()?;
            Measure::SetCashier(SetCashier { cashier })
        }
        ["amend-constitution", text] => {
            Measure::AmendConstitution(AmendConstitution { constitution: cid(text)? })
        }
        _ => {
            let what = "is no measure; `mashaa help propose` lists them with their values";
            return Err(usage(format!("{text:?} {what}")));
        }
    };
    Ok(measure)
}

pub(crate) fn node_key(text: &str) -> Result<Hash, Problem> {
    let wanted = "0x and 64 hexadecimal digits, as `mashaa ledger key` prints it";
    Hash::parse(text).ok_or_else(|| usage(format!("{text:?} is no node key: {wanted}")))
}

pub(crate) fn open(context: &Context, sign: &SignFlags) -> anyhow::Result<Wallet> {
    let wallets = Wallets::of(context.home.wallets());
    let name = &sign.wallet;
    let beside = match sign.passphrase_file {
        None => wallets.passphrase(name)?,
        Some(_) => None,
    };
    let passphrase = match beside {
        Some(passphrase) => passphrase,
        None => {
            wallets.entry(name)?;
            let what = format!("Passphrase of the wallet {name}");
            ask::passphrase(&what, sign.passphrase_file.as_deref(), "--passphrase-file")?
        }
    };
    Ok(wallets.open(name, &passphrase)?)
}

/// The network that a node is of, and its height.
pub(crate) fn network(context: &Context, client: &Client) -> anyhow::Result<(Hash, Height)> {
    let status = client.get("/ledger")?;
    let network = Hash::parse(text(&status, "network")?);
    let network =
        network.ok_or_else(|| Problem::Refused("the node names no network".to_owned()))?;
    ledger::check_network(context, &network)?;
    Ok((network, Height(number(&status, "height")?)))
}

/// Signs an order and gives it to the node; waits for its block. `action` is told the account and the
/// ledger's height.
pub(crate) fn send(
    context: &Context,
    sign: &SignFlags,
    action: impl FnOnce(Address, Height) -> anyhow::Result<Action>,
) -> anyhow::Result<Outcome> {
    let client = Client::of(context, &sign.node);
    let (network, height) = network(context, &client)?;
    let wallet = open(context, sign)?;
    let account = sign.account.as_deref().map_or(Ok(wallet.address()), address)?;
    let next = number(&client.get(&format!("/ledger/accounts/{account}"))?, "next_nonce")?;
    let order = Order {
        account,
        nonce: Nonce(next),
        valid_until: height.after(VALID_BLOCKS),
        action: action(account, height)?,
    };
    let signed = wallet.sign(order, &network);
    let body =
        json!({"orders": [hex(&encode(&signed))], "wait": sign.wait, "dry_run": sign.dry_run});
    let answer = client.post("/ledger/orders", &body)?;
    let result = &answer["results"][0];
    if context.json {
        println!("{result}");
    }
    let id = text(result, "id")?;
    let outcome = match text(result, "status")? {
        "done" => {
            if !context.json {
                println!("done in block {}: {id}", result["height"]);
            }
            Outcome::Done
        }
        "accepted" => {
            if !context.json {
                println!("the ledger would accept it now; nothing was sent");
            }
            Outcome::Done
        }
        "refused" if context.json => Outcome::Refused,
        "refused" => return Err(refused(result).into()),
        status => {
            eprintln!("{status}: `mashaa ledger order {id}` shows what becomes of it");
            Outcome::Done
        }
    };
    Ok(outcome)
}

fn refused(result: &Value) -> Problem {
    let message = result["message"].as_str().unwrap_or("for no reason that is known");
    match result["refusal"].as_u64() {
        Some(number) => Problem::Refused(format!("refused ({number}): {message}")),
        None => Problem::Refused(format!("refused: {message}")),
    }
}
