//! How a connection is protected, decided in one place for all connections: before anything is said that an impostor could
//! use.
//!
//! On the way to another host a connection is encrypted, and the server must prove who it is: by its certificate authority,
//! or by the public key that this host saw first. Sockets, containers and addresses of this host are as they are.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::connection::{Address, Tls};

/// Whether a connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsUse {
    Never,
    /// Where the server can.
    IfOffered,
    Always,
}

/// Which certificates are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CertificateRule {
    /// Any: only on this host, or where nothing is checked on purpose.
    Any,
    /// One with the public key that was seen first, or of a public authority for this host name.
    Pinned,
    /// One of a known authority.
    Authority,
    /// One of a known authority for this host name.
    Identity,
}

/// The public key to which a password may be encrypted when the connection is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PasswordKeyRule {
    /// Whatever the server sends: only on this host.
    Any,
    /// The one in this file.
    File(PathBuf),
    /// None: the password is not sent.
    None,
}

/// What a connection needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Protection {
    pub(crate) tls: TlsUse,
    pub(crate) certificate: CertificateRule,
    pub(crate) password_key: PasswordKeyRule,
}

impl Protection {
    /// What the connection to a server needs.
    pub(crate) fn for_address(address: &Address) -> Self {
        let local = is_on_this_host(address);
        let (tls, certificate) = match (address.tls, local) {
            (Some(Tls::Off), _) => (TlsUse::Never, CertificateRule::Any),
            (Some(Tls::VerifyCa), _) => (TlsUse::Always, CertificateRule::Authority),
            (Some(Tls::VerifyIdentity), _) => (TlsUse::Always, CertificateRule::Identity),
            (None | Some(Tls::Preferred), true) => (TlsUse::IfOffered, CertificateRule::Any),
            (Some(Tls::Required), true) => (TlsUse::Always, CertificateRule::Any),
            (None | Some(Tls::Preferred | Tls::Required), false) => {
                (TlsUse::Always, remote_certificate_rule(address))
            }
        };
        let password_key = match (&address.server_public_key, local) {
            (Some(file), _) => PasswordKeyRule::File(file.clone()),
            (None, true) => PasswordKeyRule::Any,
            (None, false) => PasswordKeyRule::None,
        };
        Self {
            tls,
            certificate,
            password_key,
        }
    }
}

/// An authority that is given is asked; without one, and without a place to remember keys, the public ones are.
fn remote_certificate_rule(address: &Address) -> CertificateRule {
    match (&address.tls_ca, &address.settings.pins) {
        (None, Some(_)) => CertificateRule::Pinned,
        _ => CertificateRule::Identity,
    }
}

/// Whether a connection never leaves this host. A container's address is on a network of this host.
fn is_on_this_host(address: &Address) -> bool {
    if address.socket.is_some() || address.container.is_some() {
        return true;
    }
    let host = address.host();
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse::<IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(url: &str) -> (TlsUse, CertificateRule, PasswordKeyRule) {
        let mut address = Address::parse(url).unwrap();
        address.settings.pins = Some("pins".into());
        let protection = Protection::for_address(&address);
        (
            protection.tls,
            protection.certificate,
            protection.password_key,
        )
    }

    #[test]
    fn another_host_must_encrypt_and_prove_who_it_is() {
        use CertificateRule::{Authority, Identity, Pinned};
        for (parameters, rule) in [
            ("", Pinned),
            ("?tls=preferred", Pinned),
            ("?tls=required", Pinned),
            ("?tls-ca=ca.pem", Identity),
            ("?tls=verify-ca", Authority),
            ("?tls=verify-identity", Identity),
        ] {
            for host in ["db", "10.0.0.7", "[2001:db8::1]"] {
                let found = rules(&format!("mysql://{host}/{parameters}"));
                assert_eq!(
                    found,
                    (TlsUse::Always, rule, PasswordKeyRule::None),
                    "{parameters}"
                );
            }
        }
        let unencrypted = rules("mysql://db/?tls=off");
        assert_eq!(
            (unencrypted.0, unencrypted.2),
            (TlsUse::Never, PasswordKeyRule::None)
        );
        let with_key = rules("mysql://db/?tls=off&server-public-key=k.pem");
        assert_eq!(with_key.2, PasswordKeyRule::File("k.pem".into()));
        let no_place = Protection::for_address(&Address::parse("mysql://db/").unwrap());
        assert_eq!(no_place.certificate, Identity);
    }

    #[test]
    fn on_this_host_nothing_is_demanded_that_was_not_asked_for() {
        for place in [
            "127.0.0.1/",
            "localhost/",
            "[::1]/",
            "x/?socket=s",
            "x/?container=c",
        ] {
            let found = rules(&format!("mysql://{place}"));
            let expected = (
                TlsUse::IfOffered,
                CertificateRule::Any,
                PasswordKeyRule::Any,
            );
            assert_eq!(found, expected, "{place}");
        }
        assert_eq!(rules("mysql://127.0.0.1/?tls=required").0, TlsUse::Always);
    }
}
