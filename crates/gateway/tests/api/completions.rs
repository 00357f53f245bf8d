//! Completions that succeed.

use expect_test::expect;
use gateway::backend::{Quote, Trust};

use crate::world::{CHAT, COMPLETIONS, Line, Script, check};

#[test]
fn prompt_may_be_text() {
    check(
        Script::new(&[&[Line::Prompt(1), Line::Text("cd"), Line::End]]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"ab"}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:null,text:"cd"}]
            model: "tiny"
            object: "text_completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:3,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:1,prompt_tokens_details:{cached_tokens:1},total_tokens:4}
        "#]],
    );
}

#[test]
fn what_it_would_cost_is_told_and_no_machine_is_asked() {
    let quote = Quote {
        worker: "ab".to_owned(),
        is_here: false,
        price: "2.5".to_owned(),
        cost_max: "0.00002".to_owned(),
        trust: Trust::Checked,
        wait: 12,
        time_max: 340,
        reliability: 990,
    };
    // A script without jobs: whoever asked for one would find the machine busy.
    let script = || Script { quotes: vec![quote.clone()], ..Script::new(&[]) };
    let shown = expect![[r#"
        200
        completion_tokens_max: 12
        model: "tiny"
        object: "mashaa.quote"
        prompt_tokens: 3
        quotes: [{cost_max:"0.00002",is_here:false,price:"2.5",reliability:990,time_max_ms:340,trust:"checked",wait_ms:12,worker:"ab"}]
        system_fingerprint: "int-1:bafytiny"
    "#]];
    check(
        script(),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":["ab","hi"],"n":2,"max_tokens":3,"dry_run":true}"#,
        shown,
    );
    let body = r#"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"dry_run":true,"stream":true}"#;
    check(
        script(),
        CHAT,
        body,
        expect![[r#"
        200
        completion_tokens_max: 43
        model: "tiny"
        object: "mashaa.quote"
        prompt_tokens: 21
        quotes: [{cost_max:"0.00002",is_here:false,price:"2.5",reliability:990,time_max_ms:340,trust:"checked",wait_ms:12,worker:"ab"}]
        system_fingerprint: "int-1:bafytiny"
    "#]],
    );
    let body = r#"{"model":"tiny","prompt":"","dry_run":true}"#;
    check(
        script(),
        COMPLETIONS,
        body,
        expect![[r#"
        400
        error: {code:"invalid_value",message:"`prompt` is empty: there is no token to continue",param:"prompt",type:"invalid_request_error"}
    "#]],
    );
}

#[test]
fn scoring_a_prompt_generates_nothing() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Full]]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":[104,258,195,169],"max_tokens":0,"echo":true,"logprobs":1}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"length",index:0,logprobs:{text_offset:[0,1,3,3],token_logprobs:[null,-0.6931471805599453,-0.6931471805599453,-0.6931471805599453],tokens:["h","ab","bytes:\\xc3","bytes:\\xa9"],top_logprobs:[null,{ab:-0.6931471805599453},{bytes:\xc3:-0.6931471805599453},{bytes:\xa9:-0.6931471805599453}]},text:"habé"}]
            model: "tiny"
            object: "text_completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:0,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:4,prompt_tokens_details:{cached_tokens:0},total_tokens:4}
        "#]],
    );
}

#[test]
fn scoring_with_one_token_reports_that_token_even_if_it_is_the_end() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::End]]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"hi","max_tokens":1,"echo":true,"logprobs":0}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:{text_offset:[0,1,2],token_logprobs:[null,-0.6931471805599453,-0.6931471805599453],tokens:["h","i","<|im_end|>"],top_logprobs:[null,{i:-0.6931471805599453},{<|im_end|>:-0.6931471805599453}]},text:"hi"}]
            model: "tiny"
            object: "text_completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:1,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:2,prompt_tokens_details:{cached_tokens:0},total_tokens:3}
        "#]],
    );
}

#[test]
fn several_prompts_times_choices_are_numbered_in_order() {
    check(
        Script::new(&[
            &[Line::Prompt(1), Line::Text("A"), Line::Full],
            &[Line::Prompt(2), Line::Text("B"), Line::Full],
            &[Line::Prompt(0), Line::Text("C"), Line::Full],
            &[Line::Prompt(3), Line::Text("D"), Line::Full],
        ]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":["xy",[1,2,3]],"n":2,"max_tokens":1}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"length",index:0,logprobs:null,text:"A"},{finish_reason:"length",index:1,logprobs:null,text:"B"},{finish_reason:"length",index:2,logprobs:null,text:"C"},{finish_reason:"length",index:3,logprobs:null,text:"D"}]
            model: "tiny"
            object: "text_completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:4,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:5,prompt_tokens_details:{cached_tokens:1},total_tokens:9}
        "#]],
    );
}

#[test]
fn echo_comes_first_in_a_stream() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("c"), Line::End]]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"ab","echo":true,"stream":true,"logprobs":1,
            "stream_options":{"include_usage":true}}"#,
        expect![[r#"
            200
            {choices:[{finish_reason:null,index:0,logprobs:{text_offset:[0],token_logprobs:[null],tokens:["ab"],top_logprobs:[null]},text:"ab"}],usage:null}
            {choices:[{finish_reason:null,index:0,logprobs:{text_offset:[2],token_logprobs:[-0.6931471805599453],tokens:["c"],top_logprobs:[{c:-0.6931471805599453}]},text:"c"}],usage:null}
            {choices:[{finish_reason:null,index:0,logprobs:{text_offset:[3],token_logprobs:[-0.6931471805599453],tokens:["<|im_end|>"],top_logprobs:[{<|im_end|>:-0.6931471805599453}]},text:""}],usage:null}
            {choices:[{finish_reason:"stop",index:0,logprobs:null,text:""}],usage:null}
            {choices:[],usage:{completion_tokens:2,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:1,prompt_tokens_details:{cached_tokens:0},total_tokens:3}}
            data: [DONE]
        "#]],
    );
}

#[test]
fn stop_string_in_the_echo_does_not_count() {
    check(
        Script::new(&[&[Line::Prompt(0), Line::Text("y."), Line::Hang]]),
        COMPLETIONS,
        r#"{"model":"tiny","prompt":"x.","echo":true,"stop":"."}"#,
        expect![[r#"
            200
            choices: [{finish_reason:"stop",index:0,logprobs:null,text:"x.y"}]
            model: "tiny"
            object: "text_completion"
            system_fingerprint: "int-1:bafytiny"
            usage: {completion_tokens:2,completion_tokens_details:{reasoning_tokens:0},prompt_tokens:2,prompt_tokens_details:{cached_tokens:0},total_tokens:4}
        "#]],
    );
}
