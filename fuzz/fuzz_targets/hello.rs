#![no_main]
#[path = "../../crates/lacuna-wire/tests/it/fuzzed.rs"]
mod fuzzed;
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzzed::hello(bytes));
