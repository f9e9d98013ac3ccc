//! `reprise cat`: one file of a snapshot on standard output.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use reprise_repository::{Progress, RawText};
use reprise_restore::files;

use crate::context::Context;
use crate::failure::{Exit, Failure};
use crate::host_args::HostArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Nothing but the content is written to standard output. If the stored data is damaged, it ends with exit code 4 and says
how many bytes were written.

Example:
  reprise --identity recovery-1.txt cat jenkins jobs/deploy/config.xml | less")]
pub(crate) struct CatArgs {
    /// Beginning of a snapshot ID, SOURCE, SOURCE@latest, SOURCE@2026-11-29, or SOURCE@'yesterday 18:00': the newest at or
    /// before that.
    pub(crate) snapshot: String,
    /// The file, relative to the snapshot's root.
    pub(crate) path: OsString,
    #[command(flatten)]
    pub(crate) host: HostArgs,
}

pub(crate) fn run(context: &Context, args: &CatArgs) -> Result<Exit, Failure> {
    if context.global.json {
        return Err(Failure::usage(
            "cat writes the content of a file, not JSON",
            "leave out --json; `reprise --json ls` describes the file",
        ));
    }
    let repository = context.open_repository_of(&args.snapshot)?;
    let repository = repository.with_chosen_host(args.host.host.as_deref());
    let snapshot = context.find_snapshot(&repository, &args.snapshot)?;
    let path = RawText::new(args.path.as_bytes());
    let mut output = std::io::BufWriter::new(std::io::stdout().lock());
    let progress = Progress::default();
    files::write_entry_content(&repository, &snapshot, &path, &mut output, &progress)?;
    // `write_entry_content` flushes; this tells if the terminal or pipe took everything.
    output
        .flush()
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write: {error}"), ""))?;
    Ok(Exit::Ok)
}
