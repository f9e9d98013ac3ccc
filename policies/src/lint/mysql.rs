//! Warnings about connections to database servers.

use crate::lint::linter::PolicyLinter;
use crate::model::mysql::{PolicyMysqlSource, TlsMode};
use crate::model::source::PolicySourceKind;

impl PolicyLinter<'_> {
    /// A user who names certificates or a key expects the server to be verified by them.
    pub(crate) fn lint_databases(&mut self) {
        let policy = self.policy;
        for (name, source) in &policy.sources {
            let PolicySourceKind::Mysql(mysql) = &source.kind else {
                continue;
            };
            if let Some((key, help)) = find_unused_key(mysql) {
                let mode = mysql.tls.map_or("", TlsMode::as_str);
                let message = format!("`{key}` has no effect with `tls: {mode}`");
                self.add_warning(&["sources", name, "mysql", key], message, help);
            }
        }
    }
}

/// The key by which nothing is verified, and what to write instead.
fn find_unused_key(mysql: &PolicyMysqlSource) -> Option<(&'static str, &'static str)> {
    match mysql.tls? {
        TlsMode::Off => mysql.tls_ca.as_ref().map(|_| {
            (
                "tls_ca",
                "write `tls: verify-identity` or `tls: verify-ca`, or remove it",
            )
        }),
        // With TLS, the password is protected by the certificate; for servers on other hosts all of these ask the authority.
        TlsMode::Required | TlsMode::VerifyCa | TlsMode::VerifyIdentity => {
            mysql.server_public_key.as_ref().map(|_| {
                (
                    "server_public_key",
                    "write `tls_ca` to verify the server's certificate, or remove it",
                )
            })
        }
        TlsMode::Preferred => None,
    }
}
