//! Sources, ready to be read: `reader` prepares what a policy describes, `mysql_server` the addresses of database servers.

mod mysql_server;
mod reader;

pub use mysql_server::{build_filter, mysql_address, scratch_address, with_environment_password};
pub use reader::{SnapshotNaming, SourceReader, identity_file, snapshot_naming, source_reader};
