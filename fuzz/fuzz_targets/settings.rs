//! See [`tollgate::fuzzing::settings`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::settings(bytes));
