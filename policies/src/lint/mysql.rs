//! Warnings about connections to database servers.

use crate::lint::linter::PolicyLinter;
use crate::model::mysql::TlsMode;
use crate::model::source::PolicySourceKind;

impl PolicyLinter<'_> {
    /// A user who names certificates expects them to be verified.
    pub(crate) fn lint_databases(&mut self) {
        let policy = self.policy;
        for (name, source) in &policy.sources {
            let PolicySourceKind::Mysql(mysql) = &source.kind else {
                continue;
            };
            let unused = match mysql.tls {
                Some(mode @ TlsMode::Off) => mode,
                // For servers on other hosts all of these ask the authority that is given.
                Some(
                    TlsMode::Preferred
                    | TlsMode::Required
                    | TlsMode::VerifyCa
                    | TlsMode::VerifyIdentity,
                )
                | None => continue,
            };
            if mysql.tls_ca.is_some() {
                let message = format!("`tls_ca` has no effect with `tls: {}`", unused.as_str());
                let help = "write `tls: verify-identity` or `tls: verify-ca`, or remove it";
                self.add_warning(&["sources", name, "mysql", "tls_ca"], message, help);
            }
        }
    }
}
