//! A gateway whose backend follows a script, and one way to ask it and to print its answer.
//!
//! The vocabulary has one token a byte (its id is the byte), `<|im_start|>` (256), `<|im_end|>`
//! (257, which ends an answer) and one merge, `ab` (258).

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Arc, LazyLock, Mutex};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::Response;
use engine::request::{Finish, Logprobs, Output};
use engine::vocabulary::{TokenKind, Vocabulary, VocabularyModel, VocabularyParts};
use expect_test::Expect;
use gateway::backend::{
    Backend, Broken, Busy, Job, Places, Quote, Seeding, ServedModel, Submitting, Urgency,
};
use gateway::router::{Gateway, Options, router};
use serde_json::Value;
use text::template::Template;
use text::tokenizer::{SpecialTokens, Tokenizer};
use tokio::sync::mpsc::UnboundedSender;
use tower::ServiceExt;

pub(crate) const CHAT: &str = "/v1/chat/completions";
/// A chat of one message, and the same as a stream.
pub(crate) const HI: &str = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const HI_STREAM: &str =
    r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}"#;
pub(crate) const COMPLETIONS: &str = "/v1/completions";
const END: u32 = 257;
const CONTEXT_MAX: u32 = 64;
const TEMPLATE: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' \
    + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\
    {% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/// The model that most tests ask, made once.
static TINY: LazyLock<Arc<ServedModel>> = LazyLock::new(|| Arc::new(model("tiny", Some(TEMPLATE))));

/// What the backend does for one job.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// The prompt is computed, and so much of it was cached.
    Prompt(u32),
    /// Tokens for this text.
    Text(&'static str),
    /// One token.
    Token(u32),
    /// The end token, and the end.
    End,
    /// The end, for want of room.
    Full,
    /// The machine dies.
    Break,
    /// Nothing more, and no end.
    Hang,
}

/// A backend that follows a script; each job takes the next list of lines.
pub(crate) struct Script {
    pub(crate) models: Vec<Arc<ServedModel>>,
    pub(crate) ready: Result<(), String>,
    pub(crate) places: Option<Places>,
    pub(crate) quotes: Vec<Quote>,
    pub(crate) jobs: Mutex<VecDeque<Vec<Line>>>,
    pub(crate) requests: Mutex<Vec<engine::request::Request>>,
    pub(crate) hanging: Mutex<Vec<UnboundedSender<Result<Output, Broken>>>>,
}

impl Script {
    pub(crate) fn new(jobs: &[&[Line]]) -> Script {
        Script {
            models: vec![Arc::clone(&TINY)],
            ready: Ok(()),
            places: None,
            quotes: Vec::new(),
            jobs: Mutex::new(jobs.iter().map(|lines| lines.to_vec()).collect()),
            requests: Mutex::default(),
            hanging: Mutex::default(),
        }
    }
}

impl Backend for Script {
    fn models(&self) -> Vec<Arc<ServedModel>> {
        self.models.clone()
    }

    fn submit<'a>(
        &'a self,
        model: &'a ServedModel,
        request: engine::request::Request,
        _: Seeding,
        _: Urgency,
    ) -> Submitting<'a> {
        Box::pin(std::future::ready(self.play(model, request)))
    }

    fn places(&self) -> Option<Places> {
        self.places
    }

    fn quotes(&self, _: &ServedModel, _: &[engine::request::Request]) -> Vec<Quote> {
        self.quotes.clone()
    }

    fn ready(&self) -> Result<(), String> {
        self.ready.clone()
    }
}

impl Script {
    fn play(&self, model: &ServedModel, request: engine::request::Request) -> Result<Job, Busy> {
        let lines = self.jobs.lock().unwrap().pop_front().ok_or(Busy { retry_after: 3 })?;
        let (sender, job) = Job::channel();
        for line in lines {
            if matches!(line, Line::Hang) {
                self.hanging.lock().unwrap().push(sender.clone());
            }
            outputs(&line, model, &request).into_iter().for_each(|output| {
                sender.send(output).unwrap();
            });
        }
        self.requests.lock().unwrap().push(request);
        Ok(job)
    }
}

fn outputs(
    line: &Line,
    model: &ServedModel,
    request: &engine::request::Request,
) -> Vec<Result<Output, Broken>> {
    let distribution = |token: u32| request.logprobs.map(|top| distribution(token, top));
    let token = |&token: &u32| Ok(Output::Token { token, logprobs: distribution(token) });
    match line {
        Line::Prompt(cached) => {
            let tokens = request.prompt.iter().skip(1).filter(|_| request.prompt_logprobs);
            let logprobs = tokens.filter_map(|&token| distribution(token)).collect();
            vec![Ok(Output::Prompt { cached: *cached, logprobs })]
        }
        Line::Text(text) => {
            model.tokenizer.encode(text, SpecialTokens::Plain).iter().map(token).collect()
        }
        Line::Token(id) => vec![token(id)],
        Line::End => vec![token(&END), Ok(Output::Finished(Finish::EndToken))],
        Line::Full => vec![Ok(Output::Finished(Finish::Length))],
        Line::Break => vec![Err(Broken("the machine caught fire".to_owned()))],
        Line::Hang => Vec::new(),
    }
}

/// Half of the weight on the token, and its successors by halves of e.
fn distribution(token: u32, top: u8) -> Logprobs {
    Logprobs {
        max: 5 << 16,
        total: 2 << 30,
        chosen: (token, 5 << 16),
        top: (0..u32::from(top)).map(|i| (token + i, (5 << 16) - (i << 15) as i32)).collect(),
    }
}

pub(crate) fn model(name: &str, template: Option<&str>) -> ServedModel {
    ServedModel {
        name: name.to_owned(),
        aliases: vec![format!("org/{name}")],
        cid: format!("bafy{name}"),
        profile: "int-1",
        created: 1_700_000_000,
        context_max: CONTEXT_MAX,
        licence: Some("Apache-2.0".to_owned()),
        owner: "tests".to_owned(),
        tokenizer: tokenizer(),
        template: template.map(|source| Template::new(source).unwrap()),
        begin_text: String::new(),
        end_text: "<|im_end|>".to_owned(),
    }
}

fn tokenizer() -> Tokenizer {
    let mut tokens: Vec<Vec<u8>> = alphabet().iter().map(|c| c.to_string().into_bytes()).collect();
    let mut kinds = vec![TokenKind::Normal; 256];
    tokens.extend([b"<|im_start|>".to_vec(), b"<|im_end|>".to_vec(), b"ab".to_vec()]);
    kinds.extend([TokenKind::Control, TokenKind::Control, TokenKind::Normal]);
    let parts = VocabularyParts {
        model: VocabularyModel::Bpe,
        pre: "smollm".to_owned(),
        tokens,
        kinds,
        score_bits: Vec::new(),
        merges: vec![[u32::from(b'a'), u32::from(b'b')]],
        begin: None,
        unknown: None,
        ends: vec![END],
        adds_begin: false,
        adds_space_prefix: false,
    };
    let bytes = parts.to_bytes().unwrap();
    Tokenizer::new(&Vocabulary::new(&bytes).unwrap()).unwrap()
}

/// GPT-2's printable character for each byte.
fn alphabet() -> Vec<char> {
    let mut extra = 256..;
    let printable = |byte: &u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    (0..256u32)
        .map(|byte| if printable(&byte) { byte } else { extra.next().unwrap() })
        .map(|code| char::from_u32(code).unwrap())
        .collect()
}

/// Posts a body to a gateway over the script, and compares everything that comes back.
pub(crate) fn check(script: Script, path: &str, body: &str, expect: Expect) {
    check_request(script, &Options::default(), post(path, body), expect);
}

pub(crate) fn post(path: &str, body: &str) -> Request<Body> {
    let builder = Request::builder().method(Method::POST).uri(path);
    let builder = builder.header("content-type", "application/json");
    builder.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::builder().uri(path).body(Body::empty()).unwrap()
}

pub(crate) fn check_request(
    script: Script,
    options: &Options,
    request: Request<Body>,
    expect: Expect,
) {
    let gateway = Gateway::new(Arc::new(script), options);
    let printed = run(async {
        let response = router(gateway).oneshot(request).await.unwrap();
        let (status, headers, body) = read(response).await;
        print(status, &headers, &body)
    });
    expect.assert_eq(&printed);
}

/// Runs with a clock that jumps whenever nothing else can happen.
pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().start_paused(true).build().unwrap().block_on(future)
}

pub(crate) async fn read(response: Response) -> (StatusCode, HeaderMap, String) {
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    (head.status, head.headers, String::from_utf8(bytes.to_vec()).unwrap())
}

/// Status, headers that matter, and the body with sorted keys. What differs from run to run is
/// checked here and left out.
pub(crate) fn print(status: StatusCode, headers: &HeaderMap, body: &str) -> String {
    assert!(headers["x-request-id"].to_str().unwrap().starts_with("req_"));
    assert!(headers.contains_key("openai-processing-ms"));
    let mut out = format!("{}\n", status.as_u16());
    for name in ["retry-after", "allow", "www-authenticate"] {
        if let Some(value) = headers.get(name) {
            writeln!(out, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
    }
    match headers.get("content-type").map(|kind| kind.to_str().unwrap()) {
        Some("text/event-stream") => print_events(&mut out, body),
        Some("application/json") => {
            let mut value: Value = serde_json::from_str(body).unwrap();
            strip(&mut value);
            print_value(&mut out, &value);
        }
        _ => out.push_str(body),
    }
    out
}

fn print_events(out: &mut String, body: &str) {
    let mut envelope = None;
    for event in body.split_terminator("\n\n") {
        let Some(data) = event.strip_prefix("data: ").filter(|data| *data != "[DONE]") else {
            writeln!(out, "{event}").unwrap();
            continue;
        };
        let mut value: Value = serde_json::from_str(data).unwrap();
        if value.get("error").is_none() {
            let fields = value.as_object_mut().unwrap();
            let names = ["id", "object", "created", "model", "system_fingerprint"];
            let common: Vec<Value> =
                names.into_iter().map(|name| fields.remove(name).unwrap()).collect();
            assert_eq!(envelope.get_or_insert_with(|| common.clone()), &common);
        }
        writeln!(out, "{}", sorted(&value)).unwrap();
    }
}

fn strip(value: &mut Value) {
    if let Some(fields) = value.as_object_mut().filter(|fields| fields.contains_key("choices")) {
        let id = fields.remove("id").unwrap();
        assert!(id.as_str().unwrap().len() > 30, "{id}");
        assert!(fields.remove("created").unwrap().as_u64().unwrap() > 1_700_000_000);
    }
}

fn print_value(out: &mut String, value: &Value) {
    let fields: BTreeMap<_, _> = value.as_object().unwrap().iter().collect();
    for (name, value) in fields {
        writeln!(out, "{name}: {}", sorted(value)).unwrap();
    }
}

/// JSON with sorted keys, whatever order the library keeps.
pub(crate) fn sorted(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(sorted).collect();
            format!("[{}]", items.join(","))
        }
        Value::Object(fields) => {
            let fields: BTreeMap<_, _> = fields.iter().collect();
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{name}:{}", sorted(value))).collect();
            format!("{{{}}}", fields.join(","))
        }
        _ => value.to_string(),
    }
}
