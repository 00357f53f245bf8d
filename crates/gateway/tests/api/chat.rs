//! Chat completions that succeed.

use expect_test::expect;

use crate::world::{CHAT, Line, Script, check};

#[test]
fn answer_comes_at_once() {
    check(
        Script::new(&[&[Line::Prompt(4), Line::Text("Hello"), Line::End]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:null,message:{content:"Hello",refusal:null,role:"assistant"}}]
            model: "tiny"
            object: "chat.completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:6,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:4},total_tokens:27}
        "#]],
    );
}

#[test]
fn answer_comes_in_pieces() {
    check(
        Script::new(&[&[Line::Prompt(4), Line::Text("Hi"), Line::End]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"H"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"i"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
            data: [DONE]
        "#]],
    );
}

#[test]
fn usage_comes_in_a_chunk_of_its_own() {
    check(
        Script::new(&[&[Line::Prompt(4), Line::Text("a"), Line::Full]]),
        CHAT,
        r#"{"model":"org/tiny","messages":[{"role":"user","content":"hi"}],"stream":true,
            "stream_options":{"include_usage":true}}"#,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}],usage:null}
            {choices:[{delta:{content:"a"},finish_reason:null,index:0,logprobs:null}],usage:null}
            {choices:[{delta:{},finish_reason:"length",index:0,logprobs:null}],usage:null}
            {choices:[],usage:{completion_tokens:1,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:4},total_tokens:22}}
            data: [DONE]
        "#]],
    );
}

#[test]
fn several_choices_count_their_prompt_once() {
    check(
        Script::new(&[
            &[Line::Prompt(4), Line::Text("one"), Line::End],
            &[Line::Prompt(21), Line::Text("two"), Line::Full],
        ]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"n":2}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:null,message:{content:"one",refusal:null,role:"assistant"}},{finish_reason:"length",index:1,logprobs:null,message:{content:"two",refusal:null,role:"assistant"}}]
            model: "tiny"
            object: "chat.completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:7,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:4},total_tokens:28}
        "#]],
    );
}

#[test]
fn several_choices_take_turns_in_a_stream() {
    check(
        Script::new(&[
            &[Line::Prompt(0), Line::Text("12"), Line::End],
            &[Line::Prompt(0), Line::Text("x"), Line::Full],
        ]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"n":2,"stream":true}"#,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:1,logprobs:null}]}
            {choices:[{delta:{content:"1"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"x"},finish_reason:null,index:1,logprobs:null}]}
            {choices:[{delta:{content:"2"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{},finish_reason:"length",index:1,logprobs:null}]}
            {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
            data: [DONE]
        "#]],
    );
}

#[test]
fn stop_string_across_tokens_is_not_seen() {
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],
        "stop":["\n\n","END"],"stream":true}"#;
    let lines = [Line::Prompt(0), Line::Text("so EN\nEND more"), Line::End];
    check(
        Script::new(&[&lines]),
        CHAT,
        body,
        expect![[r#"
        200
        {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"s"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"o"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:" "},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"EN"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"\n"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
        data: [DONE]
    "#]],
    );
    let lines = [Line::Prompt(0), Line::Text("EN"), Line::End];
    check(
        Script::new(&[&lines]),
        CHAT,
        body,
        expect![[r#"
        200
        {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{content:"EN"},finish_reason:null,index:0,logprobs:null}]}
        {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
        data: [DONE]
    "#]],
    );
}

#[test]
fn stop_string_inside_a_token_keeps_the_head_of_the_token() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("xab"), Line::Hang]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stop":"b",
            "logprobs":true}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:{content:[{bytes:[120],logprob:-0.6931471805599453,token:"x",top_logprobs:[]},{bytes:[97,98],logprob:-0.6931471805599453,token:"ab",top_logprobs:[]}],refusal:null},message:{content:"xa",refusal:null,role:"assistant"}}]
            model: "tiny"
            object: "chat.completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:2,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:0},total_tokens:23}
        "#]],
    );
}

#[test]
fn character_over_several_tokens_comes_whole() {
    let token = |byte| Line::Token(byte);
    let lines = [
        Line::Prompt(0),
        token(0xd9),
        token(0x85),
        token(0xd8),
        token(0xb4),
        token(0xe2),
        Line::End,
    ];
    check(
        Script::new(&[&lines]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true}"#,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"م"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"ش"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"�"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
            data: [DONE]
        "#]],
    );
}

#[test]
fn logprobs_name_bytes_and_alternatives_and_leave_out_the_end() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("h\u{e9}"), Line::End]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],
            "logprobs":true,"top_logprobs":2}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:{content:[{bytes:[104],logprob:-0.6931471805599453,token:"h",top_logprobs:[{bytes:[104],logprob:-0.6931471805599453,token:"h"},{bytes:[105],logprob:-1.1931471805599454,token:"i"}]},{bytes:[195],logprob:-0.6931471805599453,token:"bytes:\\xc3",top_logprobs:[{bytes:[195],logprob:-0.6931471805599453,token:"bytes:\\xc3"},{bytes:[196],logprob:-1.1931471805599454,token:"bytes:\\xc4"}]},{bytes:[169],logprob:-0.6931471805599453,token:"bytes:\\xa9",top_logprobs:[{bytes:[169],logprob:-0.6931471805599453,token:"bytes:\\xa9"},{bytes:[170],logprob:-1.1931471805599454,token:"bytes:\\xaa"}]}],refusal:null},message:{content:"hé",refusal:null,role:"assistant"}}]
            model: "tiny"
            object: "chat.completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:4,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:21,prompt_tokens_details:{cached_tokens:0},total_tokens:25}
        "#]],
    );
}

#[test]
fn logprobs_of_a_stream_come_with_their_text() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("\u{e9}!"), Line::End]]),
        CHAT,
        r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"stream":true,
            "logprobs":true}"#,
        expect![[r#"
            200
            {choices:[{delta:{content:"",role:"assistant"},finish_reason:null,index:0,logprobs:null}]}
            {choices:[{delta:{content:"é"},finish_reason:null,index:0,logprobs:{content:[{bytes:[195],logprob:-0.6931471805599453,token:"bytes:\\xc3",top_logprobs:[]},{bytes:[169],logprob:-0.6931471805599453,token:"bytes:\\xa9",top_logprobs:[]}],refusal:null}}]}
            {choices:[{delta:{content:"!"},finish_reason:null,index:0,logprobs:{content:[{bytes:[33],logprob:-0.6931471805599453,token:"!",top_logprobs:[]}],refusal:null}}]}
            {choices:[{delta:{},finish_reason:"stop",index:0,logprobs:null}]}
            data: [DONE]
        "#]],
    );
}
