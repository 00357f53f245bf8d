//! Asking a node, over HTTP.
//!
//! Not here: what is asked.

use std::io::{BufRead as _, BufReader, Read as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::arguments::NodeFlag;
use crate::context::Context;
use crate::outcome::Problem;

/// Bytes of an answer, at most: a block in hexadecimal digits, twice over.
const ANSWER_SIZE_MAX: u64 = 16 << 20;
/// How long a node may take beyond what it was asked to wait.
const TIME_MAX: Duration = Duration::from_secs(90);

/// A node's API.
pub(crate) struct Client {
    agent: ureq::Agent,
    address: String,
    /// The key of this home's own node, if it needs one.
    key: Option<String>,
}

impl Client {
    /// The node that is named, or this home's own.
    pub(crate) fn of(context: &Context, flag: &NodeFlag) -> Client {
        match &flag.node {
            // Another node gets no key of this one.
            Some(address) => Client::at(address),
            None => {
                let key = context.config.text("api_keys").split(',').find(|key| !key.is_empty());
                let key = key.map(str::to_owned);
                Client { key, ..Client::at(context.config.text("listen")) }
            }
        }
    }

    /// The node at an address.
    pub(crate) fn at(address: &str) -> Client {
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let settings = ureq::Agent::config_builder()
            .timeout_global(Some(TIME_MAX))
            .http_status_as_error(false)
            .proxy(None)
            .build();
        Client { agent: settings.into(), address, key: None }
    }

    /// Where the node is.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut request = self.agent.get(format!("http://{}{path}", self.address));
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.read(request.call())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.post_text(path, body.to_string())
    }

    /// Posts what is JSON already.
    pub(crate) fn post_text(&self, path: &str, body: String) -> anyhow::Result<Value> {
        let request = self.agent.post(format!("http://{}{path}", self.address));
        let mut request = request.header("content-type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.read(request.send(body))
    }

    /// The lines of an answer that has no end.
    pub(crate) fn lines(&self, path: &str) -> anyhow::Result<impl Iterator<Item = String> + use<>> {
        let request = self.agent.get(format!("http://{}{path}", self.address));
        let answer = request.config().timeout_global(None).build().call()?;
        let lines = BufReader::new(answer.into_body().into_reader()).lines();
        Ok(lines.map_while(Result::ok))
    }

    fn read(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> anyhow::Result<Value> {
        let mut answer = answer.with_context(|| {
            format!(
                "no node answers at {}; start one with `mashaa up` or name one with --node",
                self.address
            )
        })?;
        let status = answer.status();
        let mut text = String::new();
        let mut body = answer.body_mut().as_reader().take(ANSWER_SIZE_MAX);
        body.read_to_string(&mut text).with_context(|| self.address.clone())?;
        let value: Option<Value> = serde_json::from_str(&text).ok();
        let said = value.as_ref().and_then(|it| it["error"]["message"].as_str().map(str::to_owned));
        match (status.as_u16(), value, said) {
            (200, Some(value), _) => Ok(value),
            (404, _, Some(message)) => Err(Problem::NotFound(message).into()),
            (400, _, Some(message)) => Err(Problem::Usage(message).into()),
            (_, _, Some(message)) => bail!("{}: {message}", self.address),
            _ => bail!(
                "{} answered {status}, which is no answer of a node; is another program there?",
                self.address
            ),
        }
    }
}

/// A field's text.
pub(crate) fn text<'a>(value: &'a Value, field: &str) -> anyhow::Result<&'a str> {
    value[field].as_str().with_context(|| format!("the node's answer has no {field:?}"))
}

/// A field's whole number.
pub(crate) fn number(value: &Value, field: &str) -> anyhow::Result<u64> {
    value[field].as_u64().with_context(|| format!("the node's answer has no {field:?}"))
}
