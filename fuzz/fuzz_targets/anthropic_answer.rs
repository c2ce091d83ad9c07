//! See [`tollgate::fuzzing::anthropic_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::anthropic_answer(bytes));
