//! Fuzzes `reprise_repository::fuzzing::fuzz_trailer`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::fuzz_trailer(bytes));
