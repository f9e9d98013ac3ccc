//! `key add --replaces`: a host continues the series of another.

use std::collections::BTreeSet;

use reprise_repository::{KeyChange, Repository, SeriesContinuation, SignerId, SignerRole};

use crate::failure::Failure;

/// Adds to a change that the host in it continues the series of another one. A host that the repository knows already is
/// not added again.
pub(crate) fn add_continuation(
    repository: &Repository,
    change: &mut KeyChange,
    replaced: &str,
) -> Result<(), Failure> {
    let Some(signer) = change.add.signers.first().map(|added| added.key) else {
        return Err(Failure::usage("--replaces needs --host", ""));
    };
    let found = repository.find_hosts(replaced)?;
    let others: BTreeSet<SignerId> = found.into_iter().filter(|key| *key != signer).collect();
    let trust = repository.keyring().trust();
    let series: BTreeSet<SignerId> = others.iter().map(|key| trust.series_signer(key)).collect();
    let Some(replaces) = others.last().copied().filter(|_| series.len() == 1) else {
        return Err(Failure::usage(
            format!("`{replaced}` does not mean one other host"),
            "give the signer of the host: `reprise key list` prints it",
        ));
    };
    change
        .add
        .continues
        .push(SeriesContinuation { signer, replaces });
    if trust.has_role(&signer, SignerRole::Writer) {
        change.add.signers.clear();
        change.add.recipients.writers.clear();
    }
    Ok(())
}
