//! `reprise ls`: lists the entries of a snapshot.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use chrono::DateTime;
use clap::Args;
use reprise_repository::{Entry, EntryKind, RawText};
use reprise_restore::files::{PathMatch, PathSelection};

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::host_args::HostArgs;
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  reprise --identity recovery-1.txt ls jenkins@latest jobs/deploy")]
pub(crate) struct LsArgs {
    /// Beginning of a snapshot ID, SOURCE, SOURCE@latest, SOURCE@2026-11-29, or SOURCE@'yesterday 18:00': the newest at or
    /// before that.
    pub(crate) snapshot: String,
    /// Only this path and what is below it, relative to the snapshot's root.
    pub(crate) path: Option<OsString>,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

pub(crate) fn run(context: &Context, args: &LsArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let snapshot = context.find_snapshot(&repository, &args.snapshot)?;
    repository.require_data_identity()?;
    let wanted: Vec<_> = args
        .path
        .iter()
        .map(|path| RawText::new(path.as_bytes()))
        .collect();
    let mut selection = PathSelection::new(&wanted);
    let reader = repository.content_reader()?;
    let mut entries = reader.snapshot_reader(&snapshot).entries();
    let mut listing = Listing {
        json: context.global.json,
        first: true,
    };
    while let Some((entry, _)) = entries.next_entry()? {
        if selection.match_path(entry.path.as_bytes()) == PathMatch::Yes {
            listing.write_entry(&entry)?;
        }
    }
    selection.require_all_found(&snapshot)?;
    listing.write_end();
    Ok(Exit::Ok)
}

/// Written while it is read: a listing may be larger than memory.
struct Listing {
    json: bool,
    first: bool,
}

impl Listing {
    fn write_entry(&mut self, entry: &Entry) -> Result<(), Failure> {
        if !self.json {
            output::print_line(&format_entry(entry));
            return Ok(());
        }
        let json = serde_json::to_string(entry)
            .map_err(|error| Failure::new(Exit::Failed, error.to_string(), ""))?;
        let start = if self.first { "{\"entries\": [\n" } else { "," };
        self.first = false;
        output::print_raw(&format!("{start}{json}"));
        Ok(())
    }

    fn write_end(&self) {
        match (self.json, self.first) {
            (true, true) => output::print_raw("{\"entries\": []}"),
            (true, false) => output::print_raw("]}"),
            (false, _) => {}
        }
    }
}

fn format_entry(entry: &Entry) -> String {
    let time = DateTime::from_timestamp(entry.mtime.0, entry.mtime.1);
    let time = time.map_or_else(|| "?".to_owned(), |time| output::format_time(&time));
    let path = if entry.path.as_bytes().is_empty() {
        ".".to_owned()
    } else {
        entry.path.display()
    };
    let arrow = match entry.kind {
        EntryKind::Symlink => " -> ",
        EntryKind::Hardlink => " = ",
        _ => "",
    };
    let target = entry
        .target
        .as_ref()
        .map_or_else(String::new, |target| format!("{arrow}{}", target.display()));
    let flags = match entry.flags.as_slice() {
        [] => String::new(),
        flags => format!(" [{}]", flags.join(", ")),
    };
    format!(
        "{}{} {:>5} {:>5} {:>12} {time} {path}{target}{flags}",
        kind_letter(entry.kind),
        format_permissions(entry.mode),
        entry.uid,
        entry.gid,
        entry.size
    )
}

fn kind_letter(kind: EntryKind) -> char {
    match kind {
        EntryKind::File => '-',
        EntryKind::Directory => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Hardlink => 'h',
        EntryKind::Fifo => 'p',
        EntryKind::CharDevice => 'c',
        EntryKind::BlockDevice => 'b',
        EntryKind::Socket => 's',
    }
}

/// Permissions in the format of `ls -l`.
fn format_permissions(mode: u32) -> String {
    let bit = |bit: u32, letter: char| if mode & bit == 0 { '-' } else { letter };
    let special = |execute: u32, special: u32, both: char, only: char| match (
        mode & execute != 0,
        mode & special != 0,
    ) {
        (true, true) => both,
        (false, true) => only,
        (true, false) => 'x',
        (false, false) => '-',
    };
    [
        bit(0o400, 'r'),
        bit(0o200, 'w'),
        special(0o100, 0o4000, 's', 'S'),
        bit(0o040, 'r'),
        bit(0o020, 'w'),
        special(0o010, 0o2000, 's', 'S'),
        bit(0o004, 'r'),
        bit(0o002, 'w'),
        special(0o001, 0o1000, 't', 'T'),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_look_as_in_ls() {
        let cases = [
            (0o755, "rwxr-xr-x"),
            (0o4711, "rws--x--x"),
            (0o1777, "rwxrwxrwt"),
            (0o2640, "rw-r-S---"),
        ];
        for (mode, expected) in cases {
            assert_eq!(format_permissions(mode), expected);
        }
    }
}
