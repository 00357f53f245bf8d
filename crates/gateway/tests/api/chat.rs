//! Chat completions that succeed.

use expect_test::expect;

use crate::world::{Line, Script, check};

const CHAT: &str = "/v1/chat/completions";

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
