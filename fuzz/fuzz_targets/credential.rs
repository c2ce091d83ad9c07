//! See [`tollgate::fuzzing::credential`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::credential(bytes));
