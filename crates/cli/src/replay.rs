//! `mashaa ledger replay` and `mashaa ledger recount`: computes the ledger again from its blocks.
//!
//! The node that gives the blocks need not be trusted: every signature, certificate and root is
//! checked on the way from the genesis.
//!
//! Not here: what a node says without proof (`ledger`).

use std::collections::VecDeque;

use ::ledger as rules;
use anyhow::Context as _;
use chain::block::Block;
use chain::chain::Chain;
use chain::store::Store;
use node::ledger::{credits, shown_account, shown_event, unhex};
use rules::event::Event;
use rules::genesis::Genesis;
use rules::governance::Stage;
use rules::state::State;
use serde_json::{Value, json};
use types::agreement::Certificate;
use types::amount::Height;
use types::codec::decode;
use types::id::Address;
use types::transaction::Action;
use types::word::Choice;

use crate::arguments::{NodeFlag, ReplayArguments};
use crate::client::{Client, number, text};
use crate::context::{Context, cores};
use crate::ledger::fields;
use crate::outcome::{Outcome, Problem};

/// Events that are shown, at most: the last ones, about 20 MB as JSON.
const EVENTS_MAX: usize = 100_000;

/// A ballot that an order of the chain cast.
struct Cast {
    proposal: u64,
    voter: Address,
    choice: Choice,
    height: Height,
}

/// A ledger that is computed again from its blocks, with every signature, certificate and root checked.
pub(crate) struct Follower {
    chain: Chain,
}

impl Follower {
    /// Begins with the genesis of a node's network.
    pub(crate) fn begin(client: &Client) -> anyhow::Result<Follower> {
        let answer = client.get("/ledger/genesis")?;
        let bytes = unhex(text(&answer, "bytes")?);
        let bytes = bytes.context("the node's genesis is no hexadecimal")?;
        let genesis: Genesis = decode(&bytes).context("the node's genesis")?;
        Ok(Follower { chain: Chain::open(Store::in_memory()?, &genesis, cores())? })
    }

    /// Fetches the next block and computes what happens in it.
    pub(crate) fn step(&mut self, client: &Client) -> anyhow::Result<(Block, Vec<Event>)> {
        let height = self.chain.tip().height.after(1).0;
        let answer = client.get(&format!("/ledger/blocks/{height}/raw"))?;
        let [block, certificate] = ["block", "certificate"].map(|field| {
            unhex(text(&answer, field)?)
                .with_context(|| format!("{field} {height} is no hexadecimal"))
        });
        let (block, certificate) = (block?, Certificate::decode(&certificate?));
        let certificate =
            certificate.with_context(|| format!("the certificate of block {height}"))?;
        let wrong = || format!("block {height} does not follow from those before it");
        // The time of a block that was decided long ago is never too far ahead.
        self.chain.check(u64::MAX, &block).with_context(wrong)?;
        let events = self.chain.commit(&certificate).with_context(wrong)?;
        Ok((Block::decode(&block).with_context(wrong)?, events))
    }

    /// The last block that was computed.
    pub(crate) fn height(&self) -> Height {
        self.chain.tip().height
    }

    /// What the blocks lead to.
    pub(crate) fn state(&mut self) -> &State {
        self.chain.state()
    }
}

/// Fetches every block from the genesis on, up to one or the last, and computes the state again; `see` is
/// shown each block and what happened in it. The one is named by the flag that says which.
pub(crate) fn compute(
    client: &Client,
    until: Option<(&str, u64)>,
    mut see: impl FnMut(&Block, &[Event]),
) -> anyhow::Result<Chain> {
    let mut follower = Follower::begin(client)?;
    let status = client.get("/ledger")?;
    let (first, last) = (number(&status, "first")?, number(&status, "height")?);
    if first > 1 {
        let what = format!(
            "the node's record begins at block {first}; ask an archive: a node that began with the genesis and whose ledger_keep_blocks is 0"
        );
        return Err(Problem::NotFound(what).into());
    }
    if let Some((flag, until)) = until.filter(|(_, until)| *until > last) {
        let what = format!("{flag} is {until}, and the node's last block is {last}");
        return Err(Problem::NotFound(what).into());
    }
    for _ in 1..=until.map_or(last, |(_, until)| until) {
        let (block, events) = follower.step(client)?;
        see(&block, &events);
    }
    Ok(follower.chain)
}

/// `mashaa ledger replay`.
pub(crate) fn replay(context: &Context, it: &ReplayArguments) -> anyhow::Result<Outcome> {
    let client = Client::of(context, &it.node);
    let (mut orders, mut happened, mut left_out) = (0usize, VecDeque::new(), 0u64);
    let mut chain = compute(&client, it.until.map(|it| ("--until", it)), |block, events| {
        orders += block.orders.as_slice().len();
        for event in events.iter().filter(|_| it.events) {
            if happened.len() == EVENTS_MAX {
                happened.pop_front();
                left_out += 1;
            }
            happened.push_back((block.header.height.0, shown_event(event)));
        }
    })?;
    let tip = chain.tip();
    rules::check::check(chain.state()).context("the state that the blocks lead to")?;
    // Before the first block there is nothing to compare with.
    let shown = match tip.height.0 {
        0 => json!({"state": tip.state.to_string()}),
        height => client.get(&format!("/ledger/blocks/{height}"))?,
    };
    if text(&shown, "state")? != tip.state.to_string() {
        let what = format!(
            "the node shows the state {} and its blocks lead to {}",
            shown["state"], tip.state
        );
        return Err(Problem::Refused(what).into());
    }
    let sum: i128 = chain.state().all_accounts().map(|(_, account)| account.balance).sum();
    let mut value = json!({
        "network": chain.network().to_string(), "height": tip.height.0, "block": tip.id.to_string(),
        "state": tip.state.to_string(), "orders": orders, "sum": credits(sum),
    });
    if it.accounts {
        let state = chain.state();
        value["accounts"] =
            state.all_accounts().map(|(address, _)| shown_account(address, state)).collect();
    }
    if it.events {
        let shown = |(block, event): &(u64, String)| json!({"block": block, "event": event});
        value["events"] = happened.iter().map(shown).collect();
        value["events_left_out"] = left_out.into();
    }
    match context.json {
        true => println!("{value}"),
        false => print(chain.state(), it, value, &happened),
    }
    Ok(Outcome::Done)
}

/// Prints what was computed, an event or an account a line.
fn print(
    state: &State,
    it: &ReplayArguments,
    mut value: Value,
    happened: &VecDeque<(u64, String)>,
) {
    for (block, event) in happened {
        println!("block {block}: {event}");
    }
    for (address, account) in state.all_accounts().filter(|_| it.accounts) {
        let member = state.member(address);
        let name = member.map_or(String::new(), |it| format!("  name={}", it.name.as_str()));
        let capital = member.map_or(String::new(), |it| format!("  capital={}", it.capital));
        println!("{address}  balance={}{capital}{name}", credits(account.balance));
    }
    if let Some(value) = value.as_object_mut() {
        value.remove("accounts");
        value.remove("events");
    }
    fields(&value, 0);
}

/// `mashaa ledger recount`.
pub(crate) fn recount(context: &Context, node: &NodeFlag, number: u64) -> anyhow::Result<Outcome> {
    let client = Client::of(context, node);
    let mut cast = vec![];
    let mut chain = compute(&client, None, |block, _| {
        for signed in block.orders.as_slice() {
            if let Action::Vote(vote) = &signed.order.action {
                let (voter, height) = (signed.order.account, block.header.height);
                let (proposal, choice) = (vote.proposal, vote.choice);
                cast.push(Cast { proposal, voter, choice, height });
            }
        }
    })?;
    let state = chain.state();
    let unknown = || Problem::NotFound(format!("the ledger has no proposal {number}"));
    let proposal = state.proposal(number).ok_or_else(unknown)?.clone();
    let mut counts = [0u32; 3];
    let mut lines = vec![];
    for ((_, voter), ballot) in state.all_ballots().filter(|((of, _), _)| *of == number) {
        // Who cast it, and in which block: an order of the voter's own, or of its delegate's.
        let order = cast.iter().rfind(|it| it.proposal == number && it.voter == ballot.by);
        let Some(order) = order.filter(|order| order.choice == ballot.choice) else {
            let what = format!("the ballot of {voter} stands on no order of {}", ballot.by);
            return Err(Problem::Refused(what).into());
        };
        counts[match ballot.choice {
            Choice::Yes => 0,
            Choice::No => 1,
            Choice::Abstain => 2,
        }] += 1;
        lines.push(json!({
            "voter": voter.to_string(), "choice": ballot.choice.word(),
            "by": ballot.by.to_string(), "block": order.height.0,
        }));
    }
    let (tally, [yes, no, abstain]) = (proposal.tally, counts);
    let is_open = proposal.stage == Stage::Voting;
    if !is_open && [tally.yes, tally.no, tally.abstain] != counts {
        let what = format!(
            "the ledger says {}, {} and {}, and the ballots {yes}, {no} and {abstain}",
            tally.yes, tally.no, tally.abstain
        );
        return Err(Problem::Refused(what).into());
    }
    let value = json!({
        "proposal": number, "title": proposal.title.as_str(), "stage": proposal.stage.word(),
        "yes": yes, "no": no, "abstain": abstain, "electorate": proposal.electorate,
        "quorum_thousandths": proposal.quorum, "threshold_thousandths": proposal.threshold,
        "ballots": lines,
    });
    match context.json {
        true => println!("{value}"),
        false => fields(&value, 0),
    }
    Ok(Outcome::Done)
}
