//! Which host's snapshots the name of a source means.

use clap::Args;

/// The host whose snapshots are meant.
#[derive(Debug, Default, Args)]
pub(crate) struct HostArgs {
    /// Host whose snapshots of the source are meant, by its name in `key list` or the beginning of its signer. Default:
    /// the one that the policies mean, else the one that has stored the source first. A snapshot that is named by its ID must
    /// be of this host.
    #[arg(long, value_name = "NAME")]
    pub(crate) host: Option<String>,
}
