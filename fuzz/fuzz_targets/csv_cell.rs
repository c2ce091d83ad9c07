//! See [`tollgate::fuzzing::csv_cell`].
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tollgate::fuzzing::csv_cell(bytes));
