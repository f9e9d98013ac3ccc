//! Makes the escrow key of a repository: a keeper's key that it keeps for a recovery identity and a passphrase.

use reprise_repository::{Keeper, KeyChange, Passphrase, Repository};

use crate::environment::JobEnvironment;
use crate::error::JobResult;

/// Replaces the escrow key of a repository, if there is one, by a new one. Returns the name of the record.
///
/// # Errors
/// When the passphrase is too short, or the keys cannot be changed.
pub fn replace_escrow_key(
    environment: &JobEnvironment,
    repository: &Repository,
    keeper: &Keeper,
    passphrase: &Passphrase,
    reason: &str,
) -> JobResult<reprise_repository::ObjectId> {
    let now = (environment.clock)();
    let mut change = KeyChange {
        by: environment.user.clone(),
        reason: reason.to_owned(),
        ..KeyChange::default()
    };
    let _ = repository.revoke_escrow(&mut change);
    repository.add_escrow(&mut change, passphrase, now)?;
    Ok(repository.change_keys(keeper, &change, now)?.record)
}
