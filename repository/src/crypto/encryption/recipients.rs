//! Recipients: what is stored is encrypted to all of a class.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use age::cli_common::{StdinGuard, read_recipients};
use serde::{Deserialize, Serialize};

use crate::crypto::encryption::key_text::SECRET_KEY_MARKER;
use crate::crypto::encryption::mask_secret;
use crate::error::{Error, Result};
use crate::id::ObjectId;

/// Who can read something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RecipientClass {
    /// File contents, names, rows: the recovery identities only.
    Data,
    /// IDs, sizes, the index, snapshot roots without names: also the host's own writer identity.
    Catalog,
}

/// Recipients of one class, ready for encryption.
#[derive(Clone)]
pub struct Recipients {
    texts: Arc<Vec<String>>,
    // The age crate's recipients may be sent between threads but not shared; the lock is held only while a
    // file key is wrapped.
    parsed: Arc<Mutex<Vec<Box<dyn age::Recipient + Send>>>>,
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recipients").field(&self.texts).finish()
    }
}

impl Recipients {
    /// Parses recipients: X25519, SSH public keys or plugin recipients.
    ///
    /// # Errors
    /// [`Error::Recipient`] names the first that cannot be used.
    pub fn parse(texts: &[String]) -> Result<Self> {
        let mut parsed = Vec::new();
        for text in texts {
            parsed.extend(parse_recipient(text)?);
        }
        let texts = Arc::new(texts.to_vec());
        let recipients = Self {
            texts,
            parsed: Arc::new(Mutex::new(parsed)),
        };
        // Some combinations (post-quantum with classic) and missing plugins only show when used.
        if !recipients.texts.is_empty() {
            recipients.encrypt(b"probe")?;
        }
        Ok(recipients)
    }

    /// The recipients as text.
    #[must_use]
    pub fn texts(&self) -> &[String] {
        &self.texts
    }

    /// An ID of this set of recipients.
    pub(crate) fn recipient_set_id(&self) -> ObjectId {
        let texts = self.texts.iter();
        let mut texts: Vec<String> = texts.map(|text| canonical_recipient(text)).collect();
        texts.sort_unstable();
        texts.dedup();
        ObjectId::from_content(texts.join("\n").as_bytes())
    }

    /// Encrypts bytes into one complete age file with its own file key.
    ///
    /// # Errors
    /// When a recipient cannot be used, for instance because its plugin fails.
    pub fn encrypt(&self, plain: &[u8]) -> Result<Vec<u8>> {
        let fail = |reason: String| Error::Recipient {
            recipient: self.texts.join(", "),
            reason,
        };
        let encryptor = {
            let parsed = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
            age::Encryptor::with_recipients(parsed.iter().map(|r| &**r as &dyn age::Recipient))
                .map_err(|error| fail(error.to_string()))?
        };
        // 64 KiB payload blocks add 16 bytes each; the header has a few hundred bytes per recipient.
        let capacity = plain.len() + plain.len() / 4096 + 1024;
        let mut writer = encryptor
            .wrap_output(Vec::with_capacity(capacity))
            .map_err(|error| fail(error.to_string()))?;
        writer
            .write_all(plain)
            .map_err(|error| fail(error.to_string()))?;
        writer.finish().map_err(|error| fail(error.to_string()))
    }
}

/// A recipient in canonical form: an SSH key without its comment, any other in lower case. Two texts are the same
/// recipient when these are equal.
#[must_use]
pub fn canonical_recipient(text: &str) -> String {
    let mut words = text.split_whitespace();
    match (words.next().unwrap_or_default(), words.next()) {
        (sort, Some(key)) if sort.starts_with("ssh-") => format!("{sort} {key}"),
        _ => text.trim().to_ascii_lowercase(),
    }
}

/// Whether a recipient is in a list.
#[must_use]
pub fn has_recipient<'a>(recipients: impl IntoIterator<Item = &'a String>, wanted: &str) -> bool {
    let wanted = canonical_recipient(wanted);
    let mut recipients = recipients.into_iter();
    recipients.any(|recipient| canonical_recipient(recipient) == wanted)
}

fn parse_recipient(text: &str) -> Result<Vec<Box<dyn age::Recipient + Send>>> {
    let fail = |reason: String| Error::Recipient {
        recipient: mask_secret(text),
        reason,
    };
    if text.to_ascii_uppercase().contains(SECRET_KEY_MARKER) {
        return Err(fail(
            "it is a secret key: give the public key instead".to_owned(),
        ));
    }
    if text.trim() != text || text.contains(['\n', '\r', '\0']) {
        return Err(fail(
            "it has leading or trailing white space, or contains control characters".to_owned(),
        ));
    }
    read_recipients(
        vec![text.to_owned()],
        vec![],
        vec![],
        None,
        &mut StdinGuard::new(true),
    )
    .map_err(|error| fail(error.to_string()))
}
