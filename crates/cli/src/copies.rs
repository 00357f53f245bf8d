//! Copies on other machines, as a person sees them: `mashaa store plan`, and what `pin`, `ls` and
//! `stat` say of them.
//!
//! Not here: keeping and checking them (`node::copies`).

use std::time::{SystemTime, UNIX_EPOCH};

use node::copies::care::Care;
use node::copies::chance::Wanted;
use node::copies::files::{Files, Lease};
use serde_json::{Value, json};
use store::cid::Cid;

use crate::arguments::NodeFlag;
use crate::client::{Client, number, text};
use crate::context::Context;
use crate::outcome::{Outcome, Problem};

/// The availability that a person asked for; none: of this machine alone.
pub(crate) fn wanted(text: &str) -> anyhow::Result<Option<Wanted>> {
    if text.parse::<u32>() == Ok(0) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| Problem::Usage(format!("{error}")).into())
}

/// What this home keeps for others now.
pub(crate) fn leases(context: &Context) -> anyhow::Result<Vec<Lease>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let leases = Files::of(&context.home).leases()?.into_iter();
    Ok(leases.filter(|lease| u128::from(lease.until) > now).collect())
}

/// How available a pin is to be, and is; null for one that is here alone.
pub(crate) fn of_pin(context: &Context, cid: &Cid) -> anyhow::Result<Value> {
    let files = Files::of(&context.home);
    let Some(wanted) = files.wanted_of(cid)? else { return Ok(Value::Null) };
    let care = files.care(cid)?.unwrap_or_else(|| Care::new(0, wanted));
    let counted = care.keepers.iter().filter(|(_, it)| it.counts());
    let keepers: Vec<String> = counted.map(|(node, _)| node.to_string()).collect();
    Ok(json!({
        "wanted": wanted.to_string(), "estimated": share(u64::from(care.estimate)),
        "keepers": keepers, "repairs": care.repairs, "let_go": care.releases,
    }))
}

/// The same in a line; empty for a pin that is here alone.
pub(crate) fn in_words(of_pin: &Value) -> String {
    let Some(wanted) = of_pin["wanted"].as_str() else { return String::new() };
    let estimated = of_pin["estimated"].as_str().unwrap_or_default();
    let keepers = of_pin["keepers"].as_array().map_or(0, Vec::len);
    format!("wanted {wanted}, now {estimated}, {keepers} keepers, {} repairs", of_pin["repairs"])
}

/// `mashaa store plan`: asks the node of this home, which has looked at the others.
pub(crate) fn plan(
    context: &Context,
    cid: &Cid,
    availability: Option<&str>,
    node: &NodeFlag,
) -> anyhow::Result<Outcome> {
    let mut path = format!("/node/copies/plan?cid={cid}");
    if let Some(text) = availability {
        let wanted = wanted(text)?.ok_or_else(|| {
            Problem::Usage("nothing has to be planned for an availability of 0".to_owned())
        })?;
        path.push_str(&format!("&availability={wanted}"));
    }
    let plan = Client::of(context, node).get(&path)?;
    if context.json {
        println!("{plan}");
        return Ok(Outcome::Done);
    }
    let size = number(&plan, "size")?;
    println!("{cid}  {size} bytes, wanted {}", text(&plan, "wanted")?);
    let nodes = plan["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    if nodes.is_empty() {
        println!("no other machine has been seen; `mashaa invite` lets some in");
    }
    for node in nodes {
        println!();
        println!(
            "{} {}  {}",
            if node["chosen"] == true { "*" } else { " " },
            text(node, "node")?,
            node["name"].as_str().unwrap_or_default()
        );
        println!("    there {}", measured(node, number(&plan, "prior_seconds")?));
        println!("    {}", text(node, "why")?);
    }
    println!();
    let (copies, bytes) = (number(&plan, "copies")?, number(&plan, "bytes")?);
    let availability = share(number(&plan, "availability_millionths")?);
    let falls_short = if plan["suffices"] == true { "" } else { ", LESS THAN WANTED" };
    println!("{copies} copies: there {availability} of the time{falls_short}, {bytes} bytes");
    println!("erasure coding: {}", code(&plan["code"]));
    println!("These numbers suppose that machines fail independently of each other.");
    Ok(Outcome::Done)
}

/// How often a machine was there, and over how long.
fn measured(node: &Value, prior: u64) -> String {
    let (there, looked) = (&node["there_seconds"], node["looked_seconds"].as_u64().unwrap_or(0));
    let counted = share(node["counted_millionths"].as_u64().unwrap_or(0));
    let measured = (there.as_u64().unwrap_or(0) * 1_000_000).checked_div(looked);
    let measured = measured.map_or_else(|| "not yet measured".to_owned(), share);
    format!(
        "{measured} over {}; counts as {counted}, with the assumption of 0.5 over {} more",
        span(looked),
        span(prior)
    )
}

fn code(code: &Value) -> String {
    let cheapest = &code["cheapest"];
    match cheapest["pieces"].as_u64() {
        Some(pieces) => format!(
            "{pieces} pieces of which {} suffice: there {} of the time, {} bytes (a comparison only)",
            cheapest["least"],
            share(cheapest["availability_millionths"].as_u64().unwrap_or(0)),
            cheapest["bytes"]
        ),
        None => format!("not with the {} machines that there are", code["machines"]),
    }
}

/// Parts per million as a share.
fn share(millionths: u64) -> String {
    match millionths {
        1_000_000.. => "1".to_owned(),
        0 => "0".to_owned(),
        _ => format!("0.{}", format!("{millionths:06}").trim_end_matches('0')),
    }
}

/// A span of time in its largest unit.
fn span(seconds: u64) -> String {
    for (unit, name) in [(86_400, "days"), (3600, "hours"), (60, "minutes")] {
        if seconds >= unit {
            let tenths = seconds * 10 / unit;
            return format!("{}.{} {name}", tenths / 10, tenths % 10);
        }
    }
    format!("{seconds} seconds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_read_them() {
        let shares = [(0, "0"), (1, "0.000001"), (930_000, "0.93"), (1_000_000, "1")];
        assert!(shares.iter().all(|(millionths, text)| share(*millionths) == *text));
        let spans = [
            (59, "59 seconds"),
            (90, "1.5 minutes"),
            (86_399, "23.9 hours"),
            (518_400, "6.0 days"),
        ];
        assert!(spans.iter().all(|(seconds, text)| span(*seconds) == *text));
        let node =
            json!({"there_seconds": 93, "looked_seconds": 100, "counted_millionths": 501_000});
        assert!(measured(&node, 86_400).starts_with("0.93 over 1.6 minutes; counts as 0.501"));
        let unseen =
            json!({"there_seconds": 0, "looked_seconds": 0, "counted_millionths": 500_000});
        assert!(measured(&unseen, 60).starts_with("not yet measured over 0 seconds"));
    }
}
