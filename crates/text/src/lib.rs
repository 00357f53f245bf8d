//! Turn chats into token ids, and token ids back into text.
//!
//! A model reads and writes numbers. This crate stands between them and people: `template` writes a
//! conversation the way the model's author wrote its training data, `tokenizer` turns that text
//! into ids and ids into bytes, and `check` compares a tokenizer with recorded ids. `grammar` follows an answer that may not
//! go on with every token.
//!
//! Invariants:
//! - The same vocabulary, template and conversation give the same ids on every machine.
//! - The message of a conversation cannot forge a control token (`template::Template::encode_chat`).
//! - No text, template or vocabulary reaches a panic; templates run under a budget, whose one gap
//!   `template::environment` names.
//!
//! Not here: reading model files (the importer makes the vocabulary's bytes), and how a request's
//! JSON becomes messages (`gateway`).

pub mod tokenizer;

pub mod template;

pub mod check;

pub mod grammar;

#[cfg(test)]
mod small;
