//! `mashaa node`: which account answers for which machine.
//!
//! Not here: the orders' way to the ledger (`order`).

use node::ledger::{hex, unhex};
use serde_json::json;
use types::codec::{decode, encode};
use types::id::{Address, Hash};
use types::transaction::{Action, Consent, RegisterNode, UnregisterNode};

use crate::arguments::{NodeCommand, NodeFlag};
use crate::client::Client;
use crate::context::Context;
use crate::ledger;
use crate::network;
use crate::order::{self, address, usage};
use crate::outcome::{Outcome, Problem};
use types::node_key::NodeSigned;

/// Blocks for which the consent of this home's own node is good: as long as its order.
const CONSENT_BLOCKS: u64 = 600;

/// Runs a `node` command.
pub(crate) fn run(context: &Context, command: &NodeCommand) -> anyhow::Result<Outcome> {
    match command {
        NodeCommand::List { node, after } => {
            ledger::list_after(context, node, "nodes", after.as_deref())
        }
        NodeCommand::Register { sign, consent } => {
            let given = consent.as_deref().map(read).transpose()?;
            let (network, _) = order::network(context, &Client::of(context, &sign.node))?;
            order::send(context, sign, |account, height| {
                let order = match given {
                    Some(given) => given,
                    None => consent_to(context, network, account, height.after(CONSENT_BLOCKS).0)?,
                };
                check(&order, network, account)?;
                Ok(Action::RegisterNode(order))
            })
        }
        NodeCommand::Consent { node, address, blocks } => {
            print_consent(context, node, address, *blocks)
        }
        NodeCommand::Unregister { sign, key } => {
            let node_key = match key {
                Some(key) => order::node_key(key)?,
                None => network::secret(context)?.key(),
            };
            let action = Action::UnregisterNode(UnregisterNode { node_key });
            order::send(context, sign, |_, _| Ok(action))
        }
    }
}

fn print_consent(
    context: &Context,
    node: &NodeFlag,
    of: &str,
    blocks: u64,
) -> anyhow::Result<Outcome> {
    let account = address(of)?;
    let (network, height) = order::network(context, &Client::of(context, node))?;
    let order = consent_to(context, network, account, height.after(blocks).0)?;
    let text = hex(&encode(&order));
    if context.json {
        let (node_key, until) = (order.node_key.to_string(), order.until.0);
        println!(
            "{}",
            json!({
                "node_key": node_key, "account": account.to_string(), "until": until, "consent": text,
            })
        );
        return Ok(Outcome::Done);
    }
    println!("{text}");
    eprintln!(
        "Where the wallet of {account} is: `mashaa node register --consent TEXT`, before block {}.",
        order.until.0
    );
    Ok(Outcome::Done)
}

/// This home's node consents.
fn consent_to(
    context: &Context,
    network: Hash,
    account: Address,
    until: u64,
) -> anyhow::Result<RegisterNode> {
    let secret = network::secret(context)?;
    let (node_key, until) = (secret.key(), types::amount::Height(until));
    let consent = Consent { network, account, node_key, until }.sign(&secret);
    Ok(RegisterNode { node_key, until, consent })
}

fn read(text: &str) -> Result<RegisterNode, Problem> {
    let order = unhex(text).and_then(|bytes| decode(&bytes).ok());
    order.ok_or_else(|| {
        usage("--consent: write what `mashaa node consent ADDRESS` printed on the other machine")
    })
}

/// Whether the consent is to this account on this network, which the ledger would refuse in fewer
/// words.
fn check(order: &RegisterNode, network: Hash, account: Address) -> Result<(), Problem> {
    let RegisterNode { node_key, until, consent } = *order;
    match (Consent { network, account, node_key, until }).is_signed(&node_key, &consent) {
        true => Ok(()),
        false => Err(usage(format!(
            "--consent: node {node_key} consents to another account than {account}, or on another network; run `mashaa node consent {account}` there"
        ))),
    }
}
