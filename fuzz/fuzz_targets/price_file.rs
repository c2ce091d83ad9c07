//! See [`tollgate::fuzzing::price_file`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::price_file(bytes));
