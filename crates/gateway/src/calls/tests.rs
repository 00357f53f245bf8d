use super::{Call, CallReader, Piece, Reason};
use crate::tools::{Choice, Syntax, Tools};

/// What is read of pieces of a text: the text, the calls, the reason.
fn read(syntax: Syntax, parallel: bool, pieces: &[&str]) -> (String, Vec<Call>, Option<Reason>) {
    let names = vec!["f".to_owned(), "g".to_owned()];
    let tools = Tools { names, parallel, ..Tools::default() };
    let mut reader = CallReader::new(syntax, &tools);
    let mut found = Piece::default();
    let last = pieces.len();
    for (index, text) in pieces.iter().chain([&""]).enumerate() {
        let finish = (index == last).then_some(Reason::Stop);
        let mut piece = Piece { text: (*text).to_owned(), finish, ..Piece::default() };
        reader.read(&mut piece);
        found.text.push_str(&piece.text);
        found.calls.extend(piece.calls);
        found.finish = piece.finish;
        if found.finish.is_some() {
            break;
        }
    }
    (found.text, found.calls, found.finish)
}

/// The same of a text cut everywhere and nowhere.
fn check(syntax: Syntax, text: &str, said: &str, calls: &[(&str, &str)]) {
    let characters: Vec<String> = text.chars().map(String::from).collect();
    let characters: Vec<&str> = characters.iter().map(String::as_str).collect();
    let calls = calls.iter().enumerate().map(|(index, (name, arguments))| Call {
        index,
        name: (*name).to_owned(),
        arguments: (*arguments).to_owned(),
        is_cut: false,
    });
    let calls: Vec<Call> = calls.collect();
    let reason = if calls.is_empty() { Reason::Stop } else { Reason::ToolCalls };
    for pieces in [&[text][..], &characters] {
        let found = read(syntax, true, pieces);
        assert_eq!(found, (said.to_owned(), calls.clone(), Some(reason)), "{text:?}");
    }
}

#[test]
fn calls_stand_between_tags() {
    let one = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"b\": 1, \"a\": [2]}}\n</tool_call>";
    let two = "<tool_call>{\"name\":\"g\"}</tool_call>";
    let arguments = r#"{"b":1,"a":[2]}"#;
    check(Syntax::Tagged, one, "", &[("f", arguments)]);
    check(Syntax::Tagged, &format!("{one}\n{two}\n"), "", &[("f", arguments), ("g", "{}")]);
    check(Syntax::Tagged, &format!("Well,\n\n{one} so."), "Well, so.", &[("f", arguments)]);
    check(Syntax::Tagged, one.trim_end_matches("</tool_call>"), "", &[("f", arguments)]);
}

#[test]
fn what_is_no_call_is_text() {
    for text in [
        "plain  text \n",
        "a <tool_call b",
        "<tool_call>nothing</tool_call> \n x",
        "<tool_call>{\"name\":\"unknown\",\"arguments\":{}}</tool_call>",
        "<tool_call>{\"name\":\"f\"",
        "<tool_call><tool_call>",
        "{\"name\":\"f\",\"parameters\":{}}",
        "  ",
    ] {
        check(Syntax::Tagged, text, text, &[]);
    }
    for text in
        ["plain", " {", "{\"name\":\"h\"}", "<tool_call>{\"name\":\"f\"}</tool_call>", " \n"]
    {
        check(Syntax::Bare, text, text, &[]);
    }
}

#[test]
fn bare_call_is_the_whole_answer() {
    let call = "\n{\"name\": \"f\", \"parameters\": {\"x\": \"\u{645}\"}} ";
    check(Syntax::Bare, call, "", &[("f", "{\"x\":\"\u{645}\"}")]);
    check(Syntax::Bare, "{\"name\":\"f\",\"arguments\":\"{}\"}", "", &[("f", "{}")]);
}

#[test]
fn a_call_that_was_cut_behind_its_name_is_the_beginning_of_one() {
    let tools = Tools { names: vec!["f".to_owned()], ..Tools::default() };
    let cut = |syntax, text: &str| {
        let mut reader = CallReader::new(syntax, &tools);
        let finish = Some(Reason::Length);
        let mut piece = Piece { text: text.to_owned(), finish, ..Piece::default() };
        reader.read(&mut piece);
        assert_eq!(piece.finish, Some(Reason::Length));
        let call = piece.calls.pop().map(|call| (call.name, call.arguments, call.is_cut));
        (piece.text, call)
    };
    for (text, arguments, is_cut) in [
        ("{\"name\": \"f\"", "", true),
        ("{\"name\": \"f\", \"argu", "", true),
        ("{\"name\": \"f\", \"arguments\": ", "", true),
        ("{ \"name\" :\"f\",\n\"parameters\":{\"x\": [1, ", "{\"x\": [1, ", true),
        ("{\"name\": \"f\", \"arguments\": {\"x\": 1}", "{\"x\": 1}", true),
        ("{\"name\": \"f\", \"arguments\": {\"x\": 1}}", "{\"x\":1}", false),
    ] {
        let call = Some(("f".to_owned(), arguments.to_owned(), is_cut));
        assert_eq!(cut(Syntax::Bare, text), (String::new(), call.clone()), "{text}");
        let tagged = format!("<tool_call>\n{text}");
        assert_eq!(cut(Syntax::Tagged, &tagged), (String::new(), call), "{text}");
    }
    for text in ["{\"name\": \"f", "{\"na", "{\"name\": \"h\", \"arguments\": {", "{\"x\": \"f\""] {
        assert_eq!(cut(Syntax::Bare, text), (text.to_owned(), None));
    }
}

#[test]
fn a_tool_that_is_asked_for_by_its_name_is_called_once() {
    let choice = Choice::Named("f".to_owned());
    let tools = Tools { names: vec!["f".to_owned()], choice, parallel: true, ..Tools::default() };
    let mut reader = CallReader::new(Syntax::Tagged, &tools);
    let call = "<tool_call>{\"name\":\"f\"}</tool_call>";
    let mut piece = Piece { text: call.repeat(2), ..Piece::default() };
    reader.read(&mut piece);
    assert_eq!((piece.calls.len(), piece.finish), (1, Some(Reason::ToolCalls)));
}

#[test]
fn where_one_call_is_allowed_the_answer_ends_with_it() {
    let text = "<tool_call>{\"name\":\"f\"}</tool_call><tool_call>{\"name\":\"g\"}</tool_call>";
    let (said, calls, finish) = read(Syntax::Tagged, false, &[text, "more"]);
    assert_eq!((said.as_str(), calls.len(), finish), ("", 1, Some(Reason::ToolCalls)));
}
