//! The passphrase of the escrow key: from a file, a variable, or the terminal.

use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use reprise_repository::Passphrase;

use crate::context::env_variable;
use crate::failure::Failure;

/// The variable that may hold the passphrase.
const VARIABLE: &str = "REPRISE_ESCROW_PASSPHRASE";

#[derive(Debug, Args)]
pub(crate) struct PassphraseArgs {
    /// File with the passphrase of the escrow key. Without it, that of REPRISE_ESCROW_PASSPHRASE, or the terminal asks.
    #[arg(long, value_name = "FILE")]
    pub(crate) passphrase_file: Option<PathBuf>,
}

impl PassphraseArgs {
    /// The passphrase, if it is given or can be asked for. A new one is asked for twice.
    pub(crate) fn find(&self, is_new: bool) -> Result<Option<Passphrase>, Failure> {
        let text = match &self.passphrase_file {
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::file_error("read", file, &error))?;
                // Editors and `echo` end a file with a line end that is not meant.
                let text = text.strip_suffix('\n').unwrap_or(&text);
                Some(text.strip_suffix('\r').unwrap_or(text).to_owned())
            }
            None => env_variable(VARIABLE),
        };
        let passphrase = match text {
            Some(text) => Passphrase::new(text),
            None if std::io::stdin().is_terminal() => Passphrase::ask(is_new)?,
            None => return Ok(None),
        };
        if is_new {
            passphrase.require_length()?;
        }
        Ok(Some(passphrase))
    }

    /// The passphrase.
    pub(crate) fn require(&self, is_new: bool) -> Result<Passphrase, Failure> {
        self.find(is_new)?.ok_or_else(|| {
            Failure::usage(
                "the passphrase of the escrow key is not given",
                format!("give it with --passphrase-file FILE or in {VARIABLE}, or at a terminal"),
            )
        })
    }
}
