//! Which endpoints may be used: those with TLS, and plain HTTP where it does not leave this host or is allowed.

use reprise_location::mask_secrets;
use reqwest::Url;

use crate::backend::{BackendError, BackendResult, ConfigurationError};

/// Refuses plain HTTP, unless the server is on this host or `allow_http` is given.
pub(super) fn check_endpoint(endpoint: &str, allow_http: bool) -> BackendResult<()> {
    let Ok(url) = Url::parse(endpoint) else {
        // The vendor's library says what is wrong with it.
        return Ok(());
    };
    if url.scheme() != "http" || allow_http || is_loopback(&url) {
        return Ok(());
    }
    Err(BackendError::Configuration {
        problem: ConfigurationError::PlainHttp {
            endpoint: mask_secrets(endpoint),
        },
        source: "see docs/destinations.md".into(),
    })
}

/// Whether nothing on the way can change a response unnoticed. Without an endpoint it is the vendor's own, with TLS.
pub(super) fn uses_tls(endpoint: Option<&str>) -> bool {
    endpoint.is_none_or(|url| Url::parse(url).is_ok_and(|url| url.scheme() == "https"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::DestinationKind;

    #[test]
    fn plain_http_stays_on_this_host_unless_it_is_allowed() {
        for (endpoint, allowed) in [
            ("https://s3.example.org", true),
            ("HTTPS://192.0.2.1:9000", true),
            ("http://127.0.0.1:3900", true),
            ("http://127.200.0.1", true),
            ("http://127.1:9000", true),
            ("HTTP://LocalHost:9000/x", true),
            ("http://[::1]:9000", true),
            ("http://[::ffff:127.0.0.1]:9000", true),
            ("http://minio:9000", false),
            ("Http://s3.example.org", false),
            ("http://10.0.0.1", false),
            ("http://[::2]", false),
            ("http://localhost.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://127.0.0.1@example.org", false),
        ] {
            assert_eq!(
                check_endpoint(endpoint, false).is_ok(),
                allowed,
                "{endpoint}"
            );
            assert!(check_endpoint(endpoint, true).is_ok(), "{endpoint}");
        }
    }

    #[test]
    fn the_error_names_the_endpoint_and_both_ways_out() {
        let error = check_endpoint("http://key:hunter2@nas:9000/?sig=hunter2", false).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("nas:9000") && !text.contains("hunter2"),
            "{text}"
        );
        let hint = error.hint(DestinationKind::S3);
        for way_out in ["https", "allow_http: true", "REPRISE_ALLOW_HTTP"] {
            assert!(hint.contains(way_out), "{hint}");
        }
    }

    #[test]
    fn only_tls_is_taken_for_tls() {
        assert!(uses_tls(None));
        assert!(uses_tls(Some("https://x")));
        for plain in ["http://localhost", "HTTP://x", "x:1", ""] {
            assert!(!uses_tls(Some(plain)), "{plain}");
        }
    }
}
