//! Where a repository is: the one grammar of repository URLs, for policies and for the command line.
//!
//! ```text
//! a plain path                          a directory; nothing in it is decoded
//! file:///path, file://localhost/path   a directory; `%20` and the like are decoded
//! s3://bucket/prefix                    a bucket of S3, or a prefix in it; nothing is decoded, as keys have no URL syntax
//! azure://account/container/prefix      a container of Azure Blob Storage, or a prefix in it; nothing is decoded
//! ```
//!
//! Schemes are of any case. Credentials, `?` and `#` are refused: endpoints, regions and secrets come from the environment.
//! `location` is the grammar, `error` says why a text is none of it, `masking` keeps secrets out of messages,
//! and `terminal` what steers a terminal.

mod error;
mod location;
mod masking;
mod terminal;

pub use error::{InvalidLocation, LocationProblem};
pub use location::{RepositoryLocation, SCHEMES};
pub use masking::mask_secrets;
pub use terminal::changes_terminal;
