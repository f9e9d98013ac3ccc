//! Who may be able to read something that none of the given identities decrypts.

/// Who may be able to read something that none of the given identities decrypts.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PossibleReaders {
    /// Recipients, present and removed ones, any one of which may be enough.
    pub recipients: Vec<String>,
    /// Whether the given identities read other parts of the repository: this was stored for others.
    pub reads_others: bool,
}

impl PossibleReaders {
    /// What helps to read it.
    #[must_use]
    pub fn hint(&self) -> String {
        let mut hint = match (self.recipients.is_empty(), self.reads_others) {
            (true, _) => {
                return "it is encrypted to none of the recipients that the repository ever had"
                    .to_owned();
            }
            (_, true) => "it was stored for other recipients: give the identity of one of these with --identity FILE as well:",
            (_, false) => "give the identity of one of these recipients with --identity FILE:",
        }
        .to_owned();
        for recipient in &self.recipients {
            hint.push_str("\n  ");
            hint.push_str(recipient);
        }
        if self.reads_others {
            hint.push_str(
                "\nwith it, `reprise key rotate --reencrypt` re-encrypts contents for the present recipients, and `reprise copy`\n\
                 brings them to a repository copy; log segments stay as they are",
            );
        }
        hint
    }
}
