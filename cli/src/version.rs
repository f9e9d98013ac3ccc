//! `--version`, and with `-v` also what is built in that grows old.

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, Utc};
use clap::error::ErrorKind;
use reprise_policies::{PolicySet, TimeZone, TimeZoneData};

use crate::global_args::GlobalArgs;
use crate::output;

/// Ends the program as a command line demands that is not a command: help, a version, or a wrong argument.
pub(crate) fn exit_with(
    error: &clap::Error,
    mut arguments: impl Iterator<Item = OsString>,
    now: DateTime<Utc>,
) -> ! {
    if error.kind() == ErrorKind::DisplayVersion && arguments.any(|one| is_verbose(&one)) {
        let data = TimeZoneData::bundled();
        output::print_line(concat!("reprise ", env!("CARGO_PKG_VERSION")));
        output::print_line(&format!(
            "time-zone data: {} (of {})",
            data.version, data.published
        ));
        if let Some(age) = data.describe_age(now) {
            output::print_note(&format!("warning: {age}"));
        }
        std::process::exit(0);
    }
    error.exit()
}

/// Whether an argument is `--verbose` or has a `-v` among short options.
fn is_verbose(argument: &OsString) -> bool {
    let text = argument.to_string_lossy();
    let short = text
        .strip_prefix('-')
        .is_some_and(|flags| flags.contains('v') && flags.chars().all(|flag| "vVq".contains(flag)));
    short || text == "--verbose"
}

/// Whether it was said already: some commands read their policies twice.
static REPORTED: AtomicBool = AtomicBool::new(false);

/// Says once which time-zone data policies are read by, and warns when these are old, if a policy has a zone at all.
pub(crate) fn report_time_zone_data(global: &GlobalArgs, policies: &PolicySet, now: DateTime<Utc>) {
    let mut zones = policies.policies().iter().map(|policy| &policy.time_zone);
    if global.quiet || zones.all(|zone| *zone == TimeZone::utc()) {
        return;
    }
    if REPORTED.swap(true, Ordering::Relaxed) {
        return;
    }
    let data = TimeZoneData::bundled();
    if global.verbose > 0 {
        output::print_note(&format!(
            "time-zone data: {} (of {})",
            data.version, data.published
        ));
    }
    if let Some(age) = data.describe_age(now) {
        output::print_note(&format!("warning: {age}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verbose_version_is_recognised() {
        for yes in ["-v", "-vv", "-vV", "-Vv", "--verbose"] {
            assert!(is_verbose(&yes.into()), "{yes}");
        }
        for no in ["-V", "--version", "v", "-r", "-", "--"] {
            assert!(!is_verbose(&no.into()), "{no}");
        }
    }
}
