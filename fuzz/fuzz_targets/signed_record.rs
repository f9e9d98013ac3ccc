//! Fuzzes the check of signed records.

#![no_main]

const CONFIG: &[u8] = include_bytes!("../reprise.json");

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| reprise_repository::fuzzing::fuzz_signed_record(bytes, CONFIG));
