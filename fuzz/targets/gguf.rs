#![no_main]

#[path = "../../crates/engine/tests/support/inputs.rs"]
mod inputs;
#[path = "../../crates/engine/tests/support/kernel_allocator.rs"]
mod kernel_allocator;
#[path = "../../crates/engine/tests/support/untrusted.rs"]
mod untrusted;

libfuzzer_sys::fuzz_target!(|input: &[u8]| inputs::gguf(input));
