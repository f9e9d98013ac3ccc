//! `reprise diff`: lists the changes between two snapshots.

use std::cmp::Ordering;

use clap::Args;
use reprise_repository::{ChunkId, Entry, EntryReader, RawText, path_order};
use serde_json::json;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::host_args::HostArgs;
use crate::output;

#[derive(Debug, Args)]
#[command(after_help = "\
Each line shows a path and how it changed from A to B:
  + added   - removed   M content changed   T kind changed   a owner, mode, time or attributes changed")]
pub(crate) struct DiffArgs {
    /// The older snapshot: beginning of an ID, SOURCE, SOURCE@latest, SOURCE@2026-11-29, or SOURCE@'yesterday 18:00'.
    pub(crate) a: String,
    /// The newer snapshot, in the same way.
    pub(crate) b: String,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

type EntryWithChunks = (Entry, Vec<ChunkId>);

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<Exit, Failure> {
    let repository = context.open_repository_of(&args.a)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let (a, b) = (
        context.find_snapshot(&repository, &args.a)?,
        context.find_snapshot(&repository, &args.b)?,
    );
    repository.require_data_identity()?;
    let reader = repository.content_reader()?;
    let (mut left, mut right) = (
        reader.snapshot_reader(&a).entries(),
        reader.snapshot_reader(&b).entries(),
    );
    let mut changes = ChangeWriter {
        json: context.global.json,
        listed: Vec::new(),
        count: 0,
    };
    merge_entries(&mut left, &mut right, &mut changes)?;
    if context.global.json {
        output::print_json(&json!({"a": a.id, "b": b.id, "changes": changes.listed}));
    } else if changes.count == 0 {
        context.print_note("no difference");
    }
    Ok(Exit::Ok)
}

fn merge_entries(
    left: &mut EntryReader<'_>,
    right: &mut EntryReader<'_>,
    changes: &mut ChangeWriter,
) -> Result<(), Failure> {
    let (mut old, mut new) = (left.next_entry()?, right.next_entry()?);
    loop {
        let order = match (&old, &new) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => {
                path_order(old.path.as_bytes(), new.path.as_bytes())
            }
        };
        match (&old, &new, order) {
            (Some((entry, _)), _, Ordering::Less) => changes.add_change('-', &entry.path),
            (_, Some((entry, _)), Ordering::Greater) => changes.add_change('+', &entry.path),
            (Some(old), Some(new), Ordering::Equal) => {
                if let Some(letter) = change_letter(old, new) {
                    changes.add_change(letter, &new.0.path);
                }
            }
            _ => {}
        }
        if order != Ordering::Greater {
            old = left.next_entry()?;
        }
        if order != Ordering::Less {
            new = right.next_entry()?;
        }
    }
}

/// How an entry changed, if it did.
fn change_letter(
    (old, old_chunks): &EntryWithChunks,
    (new, new_chunks): &EntryWithChunks,
) -> Option<char> {
    if old.kind != new.kind {
        Some('T')
    } else if old_chunks != new_chunks || old.size != new.size || old.target != new.target {
        Some('M')
    } else if old != new {
        Some('a')
    } else {
        None
    }
}

struct ChangeWriter {
    json: bool,
    listed: Vec<serde_json::Value>,
    count: u64,
}

impl ChangeWriter {
    fn add_change(&mut self, letter: char, path: &RawText) {
        self.count += 1;
        if self.json {
            self.listed
                .push(json!({"change": letter.to_string(), "path": path}));
        } else {
            let shown = if path.as_bytes().is_empty() {
                ".".to_owned()
            } else {
                path.display()
            };
            output::print_line(&format!("{letter} {shown}"));
        }
    }
}
