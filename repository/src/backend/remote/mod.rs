//! Network destinations: S3 and Azure Blob, and what they share.
//!
//! `options` are the settings, `endpoint` says where plain HTTP is accepted. `http` is the one client, with `traffic_counters` and `bandwidth`. `attempt` is how one
//! request fails, `classify` what an error response means, `retry` repeats requests up to a deadline and bounds
//! those in flight. `object_name`, `listing`, `object_read`, `split` and `probing` are for what the vendors do in the same way;
//! `runtime` waits for asynchronous operations.

mod attempt;
mod azure;
mod bandwidth;
mod classify;
mod endpoint;
mod http;
mod listing;
mod object_name;
mod object_read;
mod options;
mod probing;
mod retry;
mod runtime;
mod s3;
mod split;
mod traffic_counters;

pub use azure::{AzureBackend, AzureEndpoint};
pub use options::{ImmutabilityPolicy, LockMode, RemoteOptions};
pub use s3::S3Backend;
