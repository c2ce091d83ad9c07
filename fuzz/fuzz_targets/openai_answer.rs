//! See [`tollgate::fuzzing::openai_answer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::openai_answer(bytes));
