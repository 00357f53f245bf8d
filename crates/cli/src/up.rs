//! `mashaa up`: serve a model.

use std::sync::Arc;

use node::service::{self, Roles, Serving};
use node::worker::Worker;

use crate::context::Context;
use crate::network;
use crate::outcome::Outcome;
use crate::peers;

/// Serves until the process is asked to end.
pub(crate) fn run(context: &Context) -> anyhow::Result<Outcome> {
    let lock = context.home.lock()?;
    let options = context.engine_options()?;
    let opened = context.opened(None)?;
    let name = opened.served.name.clone();
    eprintln!(
        "model {name} ({}), {} threads, {}",
        opened.served.cid,
        options.threads,
        options.isa.name()
    );
    let slots = u32::try_from(options.sequences_max).unwrap_or(u32::MAX);
    let (served, worker) = match peers::is_yes(context, "compute")? {
        true => {
            let worker = Worker::start(opened.model, opened.served, options)?;
            (worker.served().clone(), Some(worker))
        }
        false => (Arc::new(opened.served), None),
    };
    let keys = context.config.text("api_keys").split(',').filter(|key| !key.is_empty());
    let gateway = gateway::router::Options {
        api_keys: keys.map(str::to_owned).collect(),
        ..gateway::router::Options::default()
    };
    let open = gateway.api_keys.is_empty();
    let serving = Serving { served, worker, slots, options: gateway };
    let ledger = network::settings(context)?;
    let part = peers::settings(context, &ledger)?;
    let roles = Roles { model: Some(serving), ledger: Some(ledger), network: Some(part) };
    let address = context.config.text("listen");
    service::serve(roles, address, |local, ledger| {
        eprintln!("{}", welcome(&local, &name, open));
        ledger.into_iter().for_each(network::welcome);
    })?;
    drop(lock);
    eprintln!("stopped");
    Ok(Outcome::Done)
}

/// What a person can do now.
fn welcome(address: &std::net::SocketAddr, model: &str, open: bool) -> String {
    let key = if open { "unused" } else { "YOUR-KEY" };
    let header = if open { "" } else { " -H 'authorization: Bearer YOUR-KEY'" };
    format!(
        "ready: http://{address}/v1

  curl http://{address}/v1/chat/completions{header} -H 'content-type: application/json' \\
    -d '{{\"model\": \"{model}\", \"messages\": [{{\"role\": \"user\", \"content\": \"Hello!\"}}], \"temperature\": 0}}'

  from openai import OpenAI
  client = OpenAI(base_url=\"http://{address}/v1\", api_key=\"{key}\")
  print(client.chat.completions.create(model=\"{model}\", temperature=0,
      messages=[{{\"role\": \"user\", \"content\": \"Hello!\"}}]).choices[0].message.content)

Stop with Ctrl-C; answers in flight are finished first."
    )
}
