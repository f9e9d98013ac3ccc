//! The one place where threads wait for the asynchronous operations of the vendors' libraries.

use std::sync::OnceLock;

use tokio::runtime::Runtime;

use crate::backend::BackendError;

/// The network needs few threads: hashing and encryption run on the callers' threads.
const WORKER_THREADS: usize = 2;

fn shared_runtime() -> Result<&'static Runtime, String> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKER_THREADS)
            .thread_name("network")
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
    });
    runtime.as_ref().map_err(Clone::clone)
}

/// Waits for a future on the calling thread.
pub(super) fn block_on<T>(
    future: impl Future<Output = Result<T, BackendError>>,
) -> Result<T, BackendError> {
    match shared_runtime() {
        Ok(runtime) => runtime.block_on(future),
        Err(error) => Err(BackendError::Io {
            operation: "start",
            key: "the network threads".to_owned(),
            source: error.into(),
        }),
    }
}
