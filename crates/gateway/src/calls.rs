//! Finding the calls of tools in what a model says, as it comes.
//!
//! Invariants:
//! - Text that is no call of a known tool is text, to the last byte, blanks around a call excepted.
//! - What is found does not depend on how the text was cut into pieces.
//!
//! Not here: how the model is told of tools (`tools`).

use serde_json::Value;

use crate::stop::StopMatcher;
use crate::tools::{Syntax, Tools};
use crate::transcript::{Piece, Reason};

const OPEN: &str = "<tool_call>";
const CLOSE: &str = "</tool_call>";

/// One call of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// Which call of its choice, from 0.
    pub(crate) index: usize,
    pub(crate) name: String,
    /// JSON, as the API has it: in a string.
    pub(crate) arguments: String,
    /// Whether the answer was full before the call was whole: then its arguments are the beginning of JSON.
    pub(crate) is_cut: bool,
}

/// Follows one choice.
#[derive(Debug)]
pub(crate) struct CallReader {
    names: Vec<String>,
    /// Calls that are passed on, at most.
    count_max: usize,
    count: usize,
    state: State,
    /// Blanks that are text only if more text follows.
    blanks: String,
}

#[derive(Debug)]
enum State {
    /// Text, up to the next opening tag.
    Text(StopMatcher),
    /// A call, up to its closing tag.
    Call(StopMatcher, String),
    /// Nothing but blanks so far: a bare call or a text.
    Start,
    /// A bare call, if it is one.
    Bare(String),
    /// A text without tags.
    Plain,
}

impl CallReader {
    /// A reader of one choice.
    pub(crate) fn new(syntax: Syntax, tools: &Tools) -> CallReader {
        let state = match syntax {
            Syntax::Tagged => State::Text(matcher(OPEN)),
            Syntax::Bare => State::Start,
        };
        let count_max = if tools.may_repeat() { usize::MAX } else { 1 };
        CallReader { names: tools.names.clone(), count_max, count: 0, state, blanks: String::new() }
    }

    /// Takes the calls out of a piece's text.
    pub(crate) fn read(&mut self, piece: &mut Piece) {
        let mut text = String::new();
        for character in std::mem::take(&mut piece.text).chars() {
            self.push(character, &mut text, &mut piece.calls);
            if self.count >= self.count_max {
                piece.finish = Some(Reason::ToolCalls);
                break;
            }
        }
        if let Some(reason) = piece.finish {
            self.finish(reason, &mut text, &mut piece.calls);
        }
        if self.count > 0 && piece.finish == Some(Reason::Stop) {
            piece.finish = Some(Reason::ToolCalls);
        }
        piece.text = text;
    }

    fn push(&mut self, character: char, text: &mut String, calls: &mut Vec<Call>) {
        let mut buffer = [0; 4];
        let piece = character.encode_utf8(&mut buffer);
        match &mut self.state {
            State::Plain => text.push(character),
            State::Bare(body) => body.push(character),
            State::Start if character.is_whitespace() => self.blanks.push(character),
            State::Start if character == '{' => self.state = State::Bare("{".to_owned()),
            State::Start => {
                self.say(piece, text);
                self.state = State::Plain;
            }
            State::Text(tag) => {
                let released = tag.push(piece);
                if released.stopped {
                    self.state = State::Call(matcher(CLOSE), String::new());
                }
                self.say(&released.text, text);
            }
            State::Call(tag, body) => {
                let released = tag.push(piece);
                body.push_str(&released.text);
                if released.stopped {
                    let body = std::mem::take(body);
                    self.state = State::Text(matcher(OPEN));
                    let raw = format!("{OPEN}{body}{CLOSE}");
                    self.call(parse(&body), &raw, text, calls);
                }
            }
        }
    }

    fn finish(&mut self, reason: Reason, text: &mut String, calls: &mut Vec<Call>) {
        let found = |body: &str| {
            let cut = || (reason == Reason::Length).then(|| begun(body)).flatten();
            parse(body).or_else(cut)
        };
        match std::mem::replace(&mut self.state, State::Plain) {
            State::Text(mut tag) => self.say(&tag.finish(), text),
            // A model may end without the closing tag.
            State::Call(mut tag, body) => {
                let body = body + &tag.finish();
                self.call(found(&body), &format!("{OPEN}{body}"), text, calls);
            }
            State::Bare(body) => self.call(found(&body), &body, text, calls),
            State::Start | State::Plain => {}
        }
        if self.count == 0 {
            text.push_str(&std::mem::take(&mut self.blanks));
        }
    }

    /// Passes text on, but for blanks at its end.
    fn say(&mut self, said: &str, text: &mut String) {
        let body = said.trim_end();
        if !body.is_empty() {
            text.push_str(&std::mem::take(&mut self.blanks));
            text.push_str(body);
        }
        self.blanks.push_str(said.get(body.len()..).unwrap_or_default());
    }

    /// Passes on what was found in a text, if it is a call of a tool, and else the text.
    fn call(&mut self, found: Option<Call>, raw: &str, text: &mut String, calls: &mut Vec<Call>) {
        match found.filter(|call| self.names.contains(&call.name)) {
            Some(call) => {
                self.blanks.clear();
                calls.push(Call { index: self.count, ..call });
                self.count += 1;
            }
            None => self.say(raw, text),
        }
    }
}

fn matcher(tag: &str) -> StopMatcher {
    StopMatcher::new(&[tag.to_owned()])
}

fn parse(body: &str) -> Option<Call> {
    let call: Value = serde_json::from_str(body.trim()).ok()?;
    let name = call.get("name")?.as_str()?.to_owned();
    let arguments = match call.get("arguments").or_else(|| call.get("parameters")) {
        None | Some(Value::Null) => "{}".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    Some(Call { index: 0, name, arguments, is_cut: false })
}

/// What follows a token of JSON, without the blanks around it.
fn after<'a>(text: &'a str, token: &str) -> Option<&'a str> {
    text.trim_start().strip_prefix(token).map(str::trim_start)
}

/// A call that was cut behind its name, with as much as there is of its arguments.
fn begun(body: &str) -> Option<Call> {
    let rest =
        after(body, "{").and_then(|it| after(it, "\"name\"")).and_then(|it| after(it, ":"))?;
    let (name, rest) = rest.strip_prefix('"')?.split_once('"')?;
    let rest = after(rest, ",").unwrap_or_default();
    let key = ["\"arguments\"", "\"parameters\""].into_iter().find_map(|key| after(rest, key));
    let arguments = key.and_then(|it| after(it, ":")).unwrap_or_default();
    let (name, arguments) = (name.to_owned(), arguments.to_owned());
    Some(Call { index: 0, name, arguments, is_cut: true })
}

#[cfg(test)]
mod tests;
