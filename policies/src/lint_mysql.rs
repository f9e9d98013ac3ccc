//! Warnings about how database servers are reached.

use crate::lint::Lint;
use crate::mysql::TlsMode;
use crate::source::SourceKind;

impl Lint<'_> {
    /// Whoever names certificates wants them to be compared.
    pub(crate) fn databases(&mut self) {
        let policy = self.policy;
        for (name, source) in &policy.sources {
            let SourceKind::Mysql(mysql) = &source.kind else {
                continue;
            };
            let unused = match mysql.tls {
                Some(mode @ (TlsMode::Off | TlsMode::Preferred | TlsMode::Required)) => mode,
                Some(TlsMode::VerifyCa | TlsMode::VerifyIdentity) | None => continue,
            };
            if mysql.tls_ca.is_some() {
                let message = format!("`tls_ca` has no effect with `tls: {}`", unused.as_str());
                let help = "write `tls: verify-identity` or `tls: verify-ca`, or remove it";
                self.warn(&["sources", name, "mysql", "tls_ca"], message, help);
            }
        }
    }
}
