//! Fuzzes `reprise_repository::fuzzing::records`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::records(bytes));
