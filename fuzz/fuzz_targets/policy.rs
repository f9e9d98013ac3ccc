//! Fuzzes the policy parser.

#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    drop(reprise_policies::PolicySet::parse([(Path::new("/policy.yaml"), text)]));
});
