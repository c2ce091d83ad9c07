//! See [`tollgate::fuzzing::records`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::records(bytes));
