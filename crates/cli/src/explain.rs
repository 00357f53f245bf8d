//! `mashaa explain CODE`: what a code means, in English or Arabic.
//!
//! The codes are the tables of the documents, which are part of the program: there is no second list.
//!
//! Not here: why a node does what it does now (`why`).

use serde_json::{Value, json};

use crate::arguments::ExplainArguments;
use crate::outcome::{Outcome, Problem};

const REFUSALS: &str = include_str!("../../../docs/spec/refusals.md");
const API: &str = include_str!("../../../docs/api.md");
const CLI: &str = include_str!("../../../docs/cli.md");
/// The head of the column with the sentence in Arabic, which only tables of codes have.
const ARABIC: &str = "العربية";
/// Codes that are suggested, at most: as many as a person compares.
const SUGGESTIONS_MAX: usize = 4;

/// What is said of a code.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    kind: Kind,
    number: Option<String>,
    name: Option<String>,
    english: String,
    arabic: String,
}

/// Where a code is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Refusal,
    Api,
    Preference,
    Exit,
}

/// Runs the command.
pub(crate) fn run(it: &ExplainArguments, json: bool) -> anyhow::Result<Outcome> {
    let is_arabic = is_arabic(&it.lang)?;
    let entries = entries();
    let found = find(&entries, &it.code);
    if found.is_empty() {
        return Err(Problem::NotFound(unknown(&entries, &it.code, is_arabic)).into());
    }
    match json {
        true => println!("{}", Value::from_iter(found.into_iter().map(Entry::json))),
        false => found.into_iter().for_each(|entry| println!("{}", entry.text(is_arabic))),
    }
    Ok(Outcome::Done)
}

/// Whether a person wants Arabic, rather than English.
pub(crate) fn is_arabic(lang: &str) -> Result<bool, Problem> {
    match lang {
        "en" => Ok(false),
        "ar" => Ok(true),
        other => Err(Problem::Usage(format!("--lang {other:?} is neither en nor ar"))),
    }
}

/// Every code of the documents, in their order.
fn entries() -> Vec<Entry> {
    [REFUSALS, API, CLI].into_iter().flat_map(tables).collect()
}

/// The codes of a document's tables.
fn tables(document: &str) -> Vec<Entry> {
    let (mut entries, mut head) = (Vec::new(), Vec::new());
    for line in document.lines() {
        let Some(cells) = cells(line) else {
            head.clear();
            continue;
        };
        match head.is_empty() {
            true => head = cells,
            false => entries.extend(entry(&head, &cells)),
        }
    }
    entries
}

/// The cells of a table's line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(|cell| cell.trim()).collect())
}

/// What a line says, if its table is one of codes.
fn entry(head: &[&str], cells: &[&str]) -> Option<Entry> {
    let cell = |name: &str| {
        let at = head.iter().position(|it| *it == name)?;
        cells.get(at).map(|cell| cell.trim_matches('`').to_owned())
    };
    let arabic = cell(ARABIC).filter(|it| !it.starts_with("--"))?;
    let first = head.first().copied().unwrap_or_default();
    let (kind, number, name, english) = match (first, head.get(1).copied().unwrap_or_default()) {
        ("number", "name") => (Kind::Refusal, cell("number"), cell("name"), cell("English")?),
        ("status", "code") => (Kind::Api, cell("status"), cell("code"), cell("when")?),
        ("code", "setting") => {
            let (stops, goes_on) = (cell("stops the work while")?, cell("goes on once")?);
            let english = format!("stops the work while: {stops}; goes on once: {goes_on}");
            (Kind::Preference, None, cell("code"), english)
        }
        ("code", "meaning") => (Kind::Exit, cell("code"), None, cell("meaning")?),
        _ => return None,
    };
    Some(Entry { kind, number, name, english, arabic })
}

/// The entries that a person may mean: by number, status or name, however it is spelled.
fn find<'a>(entries: &'a [Entry], code: &str) -> Vec<&'a Entry> {
    let wanted = plain(code);
    let is_meant = |it: &&Entry| {
        let words = it.number.iter().chain(&it.name);
        !wanted.is_empty() && words.into_iter().any(|word| plain(word) == wanted)
    };
    entries.iter().filter(is_meant).collect()
}

/// Letters and digits alone, in lower case: `NotEnough` is `not_enough` and `not-enough`.
fn plain(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

fn unknown(entries: &[Entry], code: &str, is_arabic: bool) -> String {
    let near = near(entries, code);
    let names = near.join(", ");
    match (is_arabic, near.is_empty()) {
        (false, true) => format!("there is no code {code:?}"),
        (false, false) => format!("there is no code {code:?}; near it are: {names}"),
        (true, true) => format!("لا يوجد رمز {code:?}"),
        (true, false) => format!("لا يوجد رمز {code:?}؛ أقرب الرموز إليه: {names}"),
    }
}

/// The names that are most like a word, the nearest first.
fn near(entries: &[Entry], code: &str) -> Vec<String> {
    let wanted = plain(code);
    let mut found: Vec<(usize, &str)> = Vec::new();
    for name in entries.iter().filter_map(|it| it.name.as_deref()) {
        let known = plain(name);
        let holds = wanted.len() > 2 && (known.contains(&wanted) || wanted.contains(&known));
        let distance = if holds { 1 } else { distance(&wanted, &known) };
        // A third of the letters may be wrong.
        if distance <= wanted.len().max(known.len()) / 3 && !found.iter().any(|it| it.1 == name) {
            found.push((distance, name));
        }
    }
    found.sort_unstable();
    found.into_iter().take(SUGGESTIONS_MAX).map(|(_, name)| name.to_owned()).collect()
}

/// Letters to change, add or leave out until one word is the other (Levenshtein, 1965).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.bytes().enumerate() {
            let changed = corner + usize::from(a != b);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Kind::Refusal => "refusal",
            Kind::Api => "api",
            Kind::Preference => "preference",
            Kind::Exit => "exit",
        }
    }

    /// Where it is met, for a person.
    fn shown(self, is_arabic: bool) -> &'static str {
        match (self, is_arabic) {
            (Kind::Refusal, false) => "why the ledger refuses an order",
            (Kind::Refusal, true) => "سبب رفض الدفتر لأمر",
            (Kind::Api, false) => "an error of the API",
            (Kind::Api, true) => "خطأ من واجهة البرمجة",
            (Kind::Preference, false) => "a preference of the machine's owner",
            (Kind::Preference, true) => "تفضيل من تفضيلات مالك الجهاز",
            (Kind::Exit, false) => "an exit code of the program",
            (Kind::Exit, true) => "رمز خروج البرنامج",
        }
    }
}

impl Entry {
    /// A line for the code, and one for the sentence: in a terminal without bidirectional text neither
    /// mixes with the other.
    fn text(&self, is_arabic: bool) -> String {
        let words = [self.number.as_deref(), self.name.as_deref()];
        let code = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let sentence = if is_arabic { &self.arabic } else { &self.english };
        let kind = self.kind.shown(is_arabic);
        match is_arabic {
            true => format!("{code}\n  {kind}:\n  {}", sentence.replace('`', "")),
            false => format!("{code}: {kind}\n  {}", sentence.replace('`', "")),
        }
    }

    fn json(&self) -> Value {
        let Entry { kind, number, name, english, arabic } = self;
        json!({"kind": kind.word(), "number": number, "name": name, "en": english, "ar": arabic})
    }
}

#[cfg(test)]
mod tests;
