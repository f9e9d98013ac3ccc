//! Fuzzes `reprise_repository::fuzzing::fuzz_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::fuzz_entry(bytes));
