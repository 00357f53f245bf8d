//! `mashaa invite`, `mashaa join` and `mashaa peers`: networks of machines.
//!
//! Not here: what a running node does in one (`node::peers`).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use network::messages::words;
use network::network::Multiaddr;
use network::ticket::Ticket;
use node::home::HomeError;
use node::ledger::genesis_file;
use node::peers::files::Files;
use node::peers::{Settings, join};
use serde_json::Value;
use types::bounded::{List, Text};
use types::id::Hash;

use crate::arguments::{
    FromFlag, InviteArguments, JoinArguments, NodeFlag, PeersArguments, PeersCommand,
};
use crate::client::{Client, text};
use crate::context::Context;
use crate::model;
use crate::network as ledger_network;
use crate::outcome::{Outcome, Problem};
use crate::store;
use crate::up;
use crate::work;

/// How long a node that runs may take to begin its network.
const BEGIN_TIME_MAX: Duration = Duration::from_secs(15);
/// How often it is looked whether it has.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Machines that one ticket lets in, at most.
const USES_MAX: u32 = 10_000;
/// Days that a ticket is good, at most.
const DAYS_MAX: u64 = 366;

/// Seconds since 1970.
pub(crate) fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Whether a setting says yes.
pub(crate) fn is_yes(context: &Context, key: &'static str) -> anyhow::Result<bool> {
    match context.config.text(key) {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(context.config.wrong(key, "yes or no").into()),
    }
}

/// How a node of this home takes part in its network of machines.
pub(crate) fn settings(
    context: &Context,
    ledger: &node::ledger::Settings,
) -> anyhow::Result<Settings> {
    let wanted = "an IP address and a port, such as 0.0.0.0:8422";
    let listen = context.config.text("network_listen").parse();
    let listen = listen.map_err(|_| context.config.wrong("network_listen", wanted))?;
    let announced = context.config.text("network_address").split(',').map(str::trim);
    let announced = announced.filter(|it| !it.is_empty()).map(|it| addresses(context, it));
    let announced: Vec<Vec<Multiaddr>> = announced.collect::<anyhow::Result<_>>()?;
    Ok(Settings {
        files: Files::of(&context.home),
        network: ledger.genesis.hash(),
        genesis: genesis_file::write(&ledger.genesis),
        secret: ledger.secret.clone(),
        listen,
        announced: announced.into_iter().flatten().collect(),
        nearby: is_yes(context, "network_nearby")?,
        name: words(context.config.text("network_name")).as_str().chars().take(60).collect(),
        ledger: Some(ledger.listen).filter(|it| it.port() != 0),
    })
}

/// The addresses of HOST:PORT, over QUIC and TCP.
fn addresses(context: &Context, text: &str) -> anyhow::Result<Vec<Multiaddr>> {
    let wrong = || context.config.wrong("network_address", "HOST:PORT, such as 203.0.113.5:8422");
    let peer = consensus::start::Peer::parse(text).map_err(|_| wrong())?;
    let host = match peer.host.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => format!("/ip4/{ip}"),
        Ok(std::net::IpAddr::V6(ip)) => format!("/ip6/{ip}"),
        Err(_) => format!("/dns/{}", peer.host),
    };
    let both = [format!("{host}/udp/{}/quic-v1", peer.port), format!("{host}/tcp/{}", peer.port)];
    both.iter().map(|it| it.parse().map_err(|_| wrong().into())).collect()
}

/// `mashaa invite`: a ticket of the node that runs in this home.
pub(crate) fn invite(context: &Context, arguments: &InviteArguments) -> anyhow::Result<Outcome> {
    let usage = |what: String| Problem::Usage(what);
    if arguments.uses == 0 || arguments.uses > USES_MAX {
        return Err(usage(format!("--uses is from 1 to {USES_MAX}")).into());
    }
    let expires = seconds() + time(&arguments.expires)?;
    let network = ledger_network::own_network(context)?;
    let (Some(network), Err(HomeError::InUse { .. })) = (network, context.home.lock()) else {
        let what = "no node runs in this home: start `mashaa up`, and invite while it runs";
        return Err(Problem::NotFound(what.to_owned()).into());
    };
    let files = Files::of(&context.home);
    let secret = files.invite(expires, arguments.uses, seconds())?;
    let found = wait_for_addresses(&files)?;
    let found = found.iter().filter_map(|it| Text::new(it).ok()).collect();
    let ticket = Ticket {
        network,
        node: ledger_network::secret(context)?.key(),
        addresses: List::new(found).context("this machine has too many addresses")?,
        secret,
        expires,
    };
    if context.json {
        let value = serde_json::json!({
            "ticket": ticket.to_string(),
            "network": network.to_string(),
            "node": ticket.node.to_string(),
            "addresses": ticket.addresses.as_slice().iter().map(Text::as_str).collect::<Vec<_>>(),
            "expires": expires,
            "uses": arguments.uses,
        });
        println!("{value}");
        return Ok(Outcome::Done);
    }
    println!("{ticket}");
    if arguments.qr {
        eprintln!("{}", qr(&ticket.to_string())?);
    }
    eprintln!(
        "On the other machine: `mashaa join TICKET`. It lets {} machines in for {}; whoever has it can join.",
        arguments.uses, arguments.expires
    );
    Ok(Outcome::Done)
}

fn qr(ticket: &str) -> anyhow::Result<String> {
    // Capitals fit a denser mode of the code, and a ticket is read in either case.
    let code = qrcode::QrCode::new(ticket.to_uppercase().as_bytes())
        .context("the ticket does not fit a QR code")?;
    Ok(code.render::<qrcode::render::unicode::Dense1x2>().build())
}

/// Seconds of a number and a unit.
pub(crate) fn time(text: &str) -> Result<u64, Problem> {
    let wrong = || {
        Problem::Usage(format!("{text:?} is no time: a number and m, h or d, up to {DAYS_MAX}d"))
    };
    let unit = text.chars().last().ok_or_else(wrong)?;
    let number: u64 = text.strip_suffix(unit).and_then(|it| it.parse().ok()).ok_or_else(wrong)?;
    let unit = match unit {
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let time = number.checked_mul(unit).filter(|it| (1..=DAYS_MAX * 86_400).contains(it));
    time.ok_or_else(wrong)
}

fn wait_for_addresses(files: &Files) -> anyhow::Result<Vec<String>> {
    let until = Instant::now() + BEGIN_TIME_MAX;
    let mut before = Vec::new();
    loop {
        let found = files.addresses()?;
        // They come one by one; once no more do, a ticket has all of them.
        if !found.is_empty() && found == before {
            return Ok(found);
        }
        before = found;
        if Instant::now() > until {
            anyhow::bail!(
                "the node does not listen for other machines; its log says why, and `network_listen` is where"
            );
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// `mashaa join`: takes the ticket's network as this home's, and serves.
pub(crate) fn join(context: &mut Context, arguments: &JoinArguments) -> anyhow::Result<Outcome> {
    let lock = context.home.lock()?;
    let ticket: Ticket =
        arguments.ticket.parse().map_err(|error| Problem::Usage(format!("{error}")))?;
    let own = ledger_network::own_network(context)?;
    let is_other = own.is_some_and(|own| own != ticket.network);
    if is_other && !arguments.leave {
        let what = format!(
            "this home has a ledger of its own, {}; `--leave` puts it aside (nothing is deleted), or choose another home with --home",
            own.unwrap_or(Hash([0; 32]))
        );
        return Err(Problem::Refused(what).into());
    }
    let secret = ledger_network::secret(context)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build()?;
    let (joined, network) = runtime.block_on(join::knock(&ticket, &secret))?;
    let genesis = genesis_file::read(&joined.genesis).context("the network's genesis")?;
    if genesis.hash() != ticket.network {
        let what = "the node that invites sent the genesis of another network";
        return Err(Problem::Refused(what.to_owned()).into());
    }
    if is_other {
        ledger_network::put_aside(context)?;
    }
    ledger_network::take_in(context, &genesis)?;
    Files::of(&context.home).set_member(&joined.member)?;
    if context.json {
        let value = serde_json::json!({
            "network": ticket.network.to_string(),
            "name": genesis.name.as_str(),
            "node": secret.key().to_string(),
            "let_in_by": ticket.node.to_string(),
        });
        println!("{value}");
    } else {
        println!("joined {} ({})", genesis.name.as_str(), ticket.network);
    }
    if !arguments.no_up {
        let at = runtime.block_on(join::store_of(&network, ticket.node))?;
        choose_model(context, &joined.offers, &format!("http://{at}"))?;
    }
    runtime.block_on(network.disconnect(ticket.node));
    drop((network, runtime, lock));
    if arguments.no_up { Ok(Outcome::Done) } else { up::run(context) }
}

/// A new machine serves what the others do, where nothing else is said. It takes a model that it does
/// not have from the machine that let it in, and else from the catalogue; where it only asks, no more of
/// it than that takes.
fn choose_model(
    context: &mut Context,
    offers: &[(String, String)],
    from: &str,
) -> anyhow::Result<()> {
    let said = context.config.text("model").to_owned();
    let is_wanted = |name: &str, cid: &str| said.is_empty() || said == name || said == cid;
    let Some((name, cid)) = offers.iter().find(|(name, cid)| is_wanted(name, cid)) else {
        return Ok(());
    };
    let is_here = [name, cid].into_iter().any(|it| context.record(it).is_ok());
    if !is_here {
        let computes = is_yes(context, "compute")?;
        let what = if computes { "comes" } else { "is asked for elsewhere, and its texts come" };
        eprintln!("{name} ({cid}) {what} from the machine that let this one in");
        let cid = cid.parse().context("the model that the others offer")?;
        let from = vec![from.to_owned()];
        let taken = match computes {
            true => model::pull_artifact(context, &cid, from, Some(name)),
            false => store::texts_from(context, &cid, &FromFlag { from }, name),
        };
        if let Err(error) = taken {
            eprintln!("{name} does not come from there: {error:#}");
            return Ok(());
        }
    }
    context.override_setting("model", name.clone());
    Ok(())
}

/// `mashaa peers`.
pub(crate) fn run(context: &Context, arguments: &PeersArguments) -> anyhow::Result<Outcome> {
    match &arguments.command {
        None => show(context, &arguments.node),
        Some(PeersCommand::Revoke { node, key }) => revoke(context, node, key),
    }
}

fn revoke(context: &Context, node: &NodeFlag, key: &str) -> anyhow::Result<Outcome> {
    let body = serde_json::json!({"revoke": key});
    let value = Client::of(context, node).post("/node/network", &body)?;
    let node = text(&value, "node")?;
    match (context.json, value["known"] == true) {
        (true, _) => println!("{value}"),
        (_, true) => println!(
            "the pass of {node} is taken back; it needs a ticket of this machine or another to come again"
        ),
        (_, false) => println!(
            "no machine with the key {node} is known now; if this one let it in, its pass no longer counts"
        ),
    }
    Ok(Outcome::Done)
}

/// Who is there.
fn show(context: &Context, node: &NodeFlag) -> anyhow::Result<Outcome> {
    let value = Client::of(context, node).get("/network")?;
    if context.json {
        println!("{value}");
        return Ok(Outcome::Done);
    }
    if value["begun"] != true {
        println!("alone; `mashaa invite` lets other machines in");
        return Ok(Outcome::Done);
    }
    println!("network  {}", text(&value, "network")?);
    println!("node     {}  {}", text(&value, "node")?, name(&value));
    for address in value["addresses"].as_array().into_iter().flatten() {
        println!("at       {}", address.as_str().unwrap_or_default());
    }
    let workers = &value["workers"];
    println!("compute  {}", work::policy(workers)?);
    if let Some(why) = workers["unused_because"].as_str() {
        println!("  not this machine: {why}");
    }
    for node in value["nodes"].as_array().into_iter().flatten() {
        println!();
        println!("{}  {}", text(node, "node")?, name(node));
        println!("  {}", connection(node));
        if let Some(account) = node["account"].as_str() {
            println!("  registered by {account}");
        }
        if let Some(why) = node["unused_because"].as_str() {
            println!("  not used: {why}");
        }
        for offer in node["offers"].as_array().into_iter().flatten() {
            println!(
                "  {}: context {}, {} + {} tok/s, price {}",
                offer["name"].as_str().unwrap_or_default(),
                offer["context"],
                offer["prefill"],
                offer["decode"],
                offer["price"]
            );
        }
        let standing = &node["standing"];
        if let Some(reliability) = standing["reliability"].as_u64() {
            let shunned = if standing["shunned"] == true { ", failed lately" } else { "" };
            println!(
                "  answers {}.{} %, {} now{shunned}",
                reliability / 10,
                reliability % 10,
                standing["in_flight"]
            );
        }
    }
    Ok(Outcome::Done)
}

fn name(value: &Value) -> &str {
    value["name"].as_str().unwrap_or_default()
}

fn connection(node: &Value) -> String {
    let Some(address) = node["address"].as_str() else { return "not connected".to_owned() };
    let way = if node["relayed"] == true { "through a relay" } else { "directly" };
    let ping = node["ping_us"].as_u64();
    let ping = ping.map_or(String::new(), |it| format!(", {}.{} ms", it / 1000, it % 1000 / 100));
    format!("{way}, {address}{ping}")
}
