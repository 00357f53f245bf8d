//! Rust source, cut just finely enough for line checks.
//!
//! Splits each line into code and comment, drops what stands inside literals, and finds where an
//! item ends. So a rule about code never fires on a string, and a brace in a string counts for
//! nothing.
//!
//! Not here: tokens, macros, types. What needs those is clippy's work.

/// One line: its code with literals emptied, its comment with the slashes, and whether it is test
/// code by `#[cfg(test)]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    pub(crate) code: String,
    pub(crate) comment: String,
    pub(crate) in_test: bool,
}

/// A function with a body.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: String,
    /// 0-based line of its name.
    pub(crate) line: usize,
    /// Lines from its name to its closing brace.
    pub(crate) length: usize,
}

#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

#[derive(Clone, Copy)]
enum Place {
    Code,
    Comment,
    Literal,
}

/// Cuts a source into lines.
pub(crate) fn lines(source: &str) -> Vec<Line> {
    let chars: Vec<char> = source.chars().collect();
    let mut lines = vec![];
    let mut line = Line::default();
    let (mut state, mut at) = (State::Code, 0);
    while at < chars.len() {
        let (next, count, place) = step(state, &chars[at..]);
        for &char in &chars[at..chars.len().min(at + count)] {
            match (char, place) {
                ('\n', _) => lines.push(std::mem::take(&mut line)),
                (_, Place::Code) => line.code.push(char),
                (_, Place::Comment) => line.comment.push(char),
                (_, Place::Literal) => {}
            }
        }
        (state, at) = (next, at + count);
    }
    if !line.code.is_empty() || !line.comment.is_empty() {
        lines.push(line);
    }
    mark_tests(&mut lines);
    lines
}

/// The functions with a body, in order; a nested one counts for itself and for the one around it.
pub(crate) fn functions(lines: &[Line]) -> Vec<Function> {
    let mut found = vec![];
    for (index, line) in lines.iter().enumerate() {
        for (column, _) in line.code.match_indices("fn ") {
            let name = leading_word(&line.code[column + 3..]);
            if !is_word_start(&line.code, column) || name.is_empty() {
                continue;
            }
            if let (end, true) = item_end(lines, index, column) {
                found.push(Function { name, line: index, length: end - index + 1 });
            }
        }
    }
    found
}

/// Whether the code contains the word, not as a part of a longer one.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    code.match_indices(word).any(|(at, _)| {
        is_word_start(code, at) && !code[at + word.len()..].starts_with(is_word_char)
    })
}

fn step(state: State, rest: &[char]) -> (State, usize, Place) {
    match state {
        State::Code => code_step(rest),
        State::LineComment if rest[0] == '\n' => (State::Code, 1, Place::Code),
        State::LineComment => (state, 1, Place::Comment),
        State::BlockComment(1) if rest.starts_with(&['*', '/']) => (State::Code, 2, Place::Comment),
        State::BlockComment(depth) if rest.starts_with(&['*', '/']) => {
            (State::BlockComment(depth - 1), 2, Place::Comment)
        }
        State::BlockComment(depth) if rest.starts_with(&['/', '*']) => {
            (State::BlockComment(depth + 1), 2, Place::Comment)
        }
        State::BlockComment(_) => (state, 1, Place::Comment),
        State::Text if rest[0] == '\\' => (state, 2, Place::Literal),
        State::Text if rest[0] == '"' => (State::Code, 1, Place::Code),
        State::RawText(hashes) if rest[0] == '"' && hashes_after(rest, 1) >= hashes => {
            (State::Code, 1 + hashes, Place::Code)
        }
        State::Text | State::RawText(_) => (state, 1, Place::Literal),
    }
}

fn code_step(rest: &[char]) -> (State, usize, Place) {
    match rest {
        ['/', '/', ..] => (State::LineComment, 2, Place::Comment),
        ['/', '*', ..] => (State::BlockComment(1), 2, Place::Comment),
        ['"', ..] => (State::Text, 1, Place::Code),
        ['r', ..] if rest.get(1 + hashes_after(rest, 1)) == Some(&'"') => {
            let hashes = hashes_after(rest, 1);
            (State::RawText(hashes), 2 + hashes, Place::Code)
        }
        ['\'', '\\', _, tail @ ..] => {
            let length = tail.iter().position(|&char| char == '\'').unwrap_or(0);
            (State::Code, length + 4, Place::Literal)
        }
        ['\'', _, '\'', ..] => (State::Code, 3, Place::Literal),
        _ => (State::Code, 1, Place::Code),
    }
}

fn hashes_after(rest: &[char], from: usize) -> usize {
    rest[from..].iter().take_while(|&&char| char == '#').count()
}

fn mark_tests(lines: &mut [Line]) {
    const MARK: &str = "#[cfg(test)]";
    for index in 0..lines.len() {
        if let Some(column) = lines[index].code.find(MARK) {
            let (end, _) = item_end(lines, index, column + MARK.len());
            lines[index..=end].iter_mut().for_each(|line| line.in_test = true);
        }
    }
}

/// The line where the item ends, and whether it had a body: its closing brace, or its semicolon.
/// Braces inside brackets or parentheses are balanced and skipped.
fn item_end(lines: &[Line], start: usize, column: usize) -> (usize, bool) {
    let (mut brackets, mut braces) = (0_i32, 0_i32);
    for (index, line) in lines.iter().enumerate().skip(start) {
        let code = if index == start { &line.code[column..] } else { &line.code };
        for char in code.chars() {
            match char {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' if brackets == 0 => braces += 1,
                '}' if brackets == 0 && braces == 1 => return (index, true),
                '}' if brackets == 0 => braces -= 1,
                ';' if brackets == 0 && braces == 0 => return (index, false),
                _ => {}
            }
        }
    }
    (lines.len() - 1, false)
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|&char| is_word_char(char)).collect()
}

fn is_word_start(text: &str, at: usize) -> bool {
    !text[..at].ends_with(is_word_char)
}

fn is_word_char(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests;
