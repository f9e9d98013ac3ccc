//! Whether the given identities can read what a repository stores.

use crate::crypto::encryption::{Recipients, has_recipient};
use crate::error::{Error, PossibleReaders, Result};
use crate::store::{Repository, Store};

impl Repository {
    /// Fails early when no given identity can read contents, stored now or before recipients were changed.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`].
    pub fn require_data_identity(&self) -> Result<()> {
        let inner = &self.inner;
        let (object, mut recipients) = match self.require_current_identity() {
            Err(Error::NoMatchingIdentity { object, readers }) => (object, readers.recipients),
            done => return done,
        };
        let added = inner.keyring.applied_records().iter();
        let added = added.flat_map(|applied| &applied.record.add.recipients.data);
        for recipient in inner.config.recipients.data.iter().chain(added) {
            if has_recipient(&recipients, recipient) {
                continue;
            }
            // An identity that cannot be used here, because its plugin is missing, does not help.
            let earlier = Recipients::parse(std::slice::from_ref(recipient));
            if earlier
                .and_then(|earlier| self.require_identity_of(&earlier))
                .is_ok()
            {
                return Ok(());
            }
            recipients.push(recipient.clone());
        }
        Err(Error::NoMatchingIdentity {
            object,
            readers: PossibleReaders {
                recipients,
                reads_others: false,
            },
        })
    }

    /// Fails early when no given identity can read contents that are stored from now on.
    ///
    /// # Errors
    /// [`Error::NoMatchingIdentity`].
    pub(crate) fn require_current_identity(&self) -> Result<()> {
        self.require_identity_of(&self.inner.data_recipients)
    }

    /// Whether one of the identities has been a recovery recipient since the repository exists: all that it stores is
    /// encrypted to that one.
    pub(crate) fn has_permanent_identity(&self) -> bool {
        let Store {
            identities,
            keyring,
            ..
        } = self.inner.as_ref();
        let mut present = self.inner.data_recipients.texts().iter();
        present.any(|text| keyring.is_permanent_recipient(text) && identities.have_recipient(text))
    }

    fn require_identity_of(&self, recipients: &Recipients) -> Result<()> {
        let probe = recipients.encrypt(b"probe")?;
        let (what, texts) = (&"the contents of this repository", recipients.texts());
        let found = self.inner.identities.decrypt(&probe, what, texts, 64);
        found.map(drop)
    }
}
