//! `mashaa up`: serve a model.

use node::service::{self, Roles};
use node::worker::Worker;

use crate::context::Context;
use crate::network;
use crate::outcome::Outcome;

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
    let worker = Worker::start(opened.model, opened.served, options)?;
    let keys = context.config.text("api_keys").split(',').filter(|key| !key.is_empty());
    let gateway = gateway::router::Options {
        api_keys: keys.map(str::to_owned).collect(),
        ..gateway::router::Options::default()
    };
    let open = gateway.api_keys.is_empty();
    let roles = Roles {
        model: Some((worker, gateway)),
        ledger: Some(network::settings(context)?),
        store: Some(context.blobs.clone()),
    };
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
