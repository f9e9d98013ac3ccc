//! Opens the backend of a location.

use std::sync::Arc;

use super::{
    AzureBackend, Backend, BackendResult, LocalBackend, RemoteOptions, RepositoryLocation,
    S3Backend,
};

/// The backend of a location. `options` are for destinations over a network.
///
/// # Errors
/// When the configuration or credentials cannot be used.
pub fn open_location(
    location: &RepositoryLocation,
    options: &RemoteOptions,
) -> BackendResult<Arc<dyn Backend>> {
    match location {
        RepositoryLocation::Directory(path) => {
            let backend = LocalBackend::new(path);
            backend.remove_stale_temp_files();
            Ok(Arc::new(backend))
        }
        RepositoryLocation::S3 { bucket, prefix } => {
            Ok(Arc::new(S3Backend::new(bucket, prefix, options.clone())?))
        }
        RepositoryLocation::Azure {
            account,
            container,
            prefix,
        } => {
            let backend = AzureBackend::new(account, container, prefix, options.clone())?;
            Ok(Arc::new(backend))
        }
    }
}
