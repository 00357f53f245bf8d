//! The API over a scripted backend: requests in, responses out, in one process.

mod world;

mod chat;
