//! See [`tollgate::fuzzing::session_cookie`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::session_cookie(bytes));
