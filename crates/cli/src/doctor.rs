//! `mashaa doctor`: what works on this machine, and what to do about the rest.

use std::net::TcpListener;
use std::process::Command;

use engine::kernels::Isa;
use node::space;
use serde_json::json;
use store::cid::Cid;

use crate::context::{Context, cores};
use crate::outcome::Outcome;

/// Bytes of memory and of disk for the default model: its source, its wheel and its artifact, of
/// about 100 MB each, and as much for past positions.
const NEEDED: u64 = 400_000_000;

/// Checks the machine and the home, a line each.
pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let mut sound = true;
    let mut line = |good: bool, what: &str, advice: &str| {
        sound &= good;
        if context.json {
            let advice = (!good).then_some(advice);
            println!("{}", json!({ "good": good, "what": what, "advice": advice }));
            return;
        }
        let (mark, advice) = if good { ("ok  ", "") } else { ("BAD ", advice) };
        println!("{mark} {what}{}{advice}", if good { "" } else { ": " });
    };
    let here = Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(Isa::name);
    let here = here.collect::<Vec<_>>().join(", ");
    line(true, &format!("{} cores; instruction sets {here}", cores()), "");
    line(true, &format!("home {}", context.home.path().display()), "");
    for (free, what) in [(memory(), "memory"), (space::free(context.home.path()), "disk")] {
        if let Some(free) = free {
            let what = format!("{:.1} GB of {what} free", free as f64 / 1e9);
            line(free >= NEEDED, &what, "the default model needs as much");
        }
    }
    let probe = context.home.work().join("doctor");
    let writable = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe)).is_ok();
    line(writable, "the home can be written", "check its owner and the disk's free space");
    let address = context.config.text("listen");
    let free = TcpListener::bind(address).is_ok();
    let used = "another program listens there; a running node is fine, else choose with --listen";
    line(free, &format!("{address} is free"), used);
    let pip = ["python3", "python"].iter().any(|python| has_pip(python));
    let advice = "needed only to fetch catalogue models from Python packages; install Python's pip";
    line(pip, "pip is there", advice);
    for record in context.models.list()? {
        let good =
            record.artifact.parse::<Cid>().is_ok_and(|cid| context.blobs.verify(&cid).is_ok());
        let again = format!("remove and fetch it again: mashaa model rm {0}", record.name);
        line(good, &format!("model {} hashes to its name", record.name), &again);
    }
    Ok(if sound { Outcome::Done } else { Outcome::Failed })
}

/// Bytes of memory that programs may still take, where the system tells.
fn memory() -> Option<u64> {
    let told = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = told.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn has_pip(python: &str) -> bool {
    let output = Command::new(python).args(["-m", "pip", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}
