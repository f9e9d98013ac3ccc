//! Fuzzes `reprise_repository::fuzzing::trailer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::trailer(bytes));
