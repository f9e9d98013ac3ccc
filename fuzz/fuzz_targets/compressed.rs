//! Fuzzes `reprise_repository::fuzzing::fuzz_compressed`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::fuzz_compressed(bytes));
