//! TLS to a server, and which certificates are accepted: for the driver's connections and the log's alike.

use std::fs;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::connection::Address;
use crate::connection::protection::CertificateRule;
use crate::connection::server_pins::{PinProblem, ServerPin};
use crate::error::{DatabaseError, ServerKeyChange};

/// Which certificates to trust.
#[derive(Debug)]
struct CertificateVerifier {
    rule: CertificateRule,
    webpki_verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for CertificateVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if matches!(self.rule, CertificateRule::Any | CertificateRule::Pinned) {
            return Ok(ServerCertVerified::assertion());
        }
        let strict = self.webpki_verifier.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match strict {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.rule == CertificateRule::Authority => Ok(ServerCertVerified::assertion()),
            strict => strict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki_verifier
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki_verifier
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki_verifier.supported_verify_schemes()
    }
}

/// The client's side of TLS to a server, whose certificate must be as the rule says. [`check_server_key`] is the second
/// half of the check, and comes before anything is sent.
pub(crate) fn tls_client(
    place: &Address,
    rule: CertificateRule,
) -> Result<(Arc<ClientConfig>, ServerName<'static>), String> {
    let config = ClientConfig::builder_with_provider(crypto_provider())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CertificateVerifier {
            rule,
            webpki_verifier: authority_verifier(place)?,
        }))
        .with_no_client_auth();
    Ok((Arc::new(config), server_name(place)?))
}

/// After the handshake, which proves that the server has the certificate's key: whether it is the remembered one.
pub(crate) fn check_server_key(
    place: &Address,
    rule: CertificateRule,
    certificates: Option<&[CertificateDer<'_>]>,
    shown: &str,
) -> Result<(), DatabaseError> {
    let CertificateRule::Pinned = rule else {
        return Ok(());
    };
    let failed = |reason: String| DatabaseError::Connection {
        address: shown.to_owned(),
        reason,
    };
    let (Some([certificate, others @ ..]), Some(pins)) = (certificates, &place.settings.pins)
    else {
        return Err(failed("the server shows no certificate".to_owned()));
    };
    let parsed = ParsedCertificate::try_from(certificate)
        .map_err(|error| failed(format!("the server's certificate cannot be read: {error}")))?;
    let key = digest(&SHA256, &parsed.subject_public_key_info());
    let sha256 = hex::encode(key.as_ref());
    let name = server_name(place).map_err(failed)?;
    let authorities = authority_verifier(place).map_err(failed)?;
    let verified = authorities.verify_server_cert(certificate, others, &name, &[], UnixTime::now());
    let pin = ServerPin::new(place, &sha256, verified.is_ok());
    pin.check(pins).map_err(|problem| match problem {
        PinProblem::Changed { known, file } => {
            DatabaseError::ServerKeyChanged(Box::new(ServerKeyChange {
                address: shown.to_owned(),
                found: sha256.clone(),
                known,
                file,
            }))
        }
        PinProblem::Unreadable { file, reason } => failed(format!(
            "the remembered public key in {} cannot be read: {reason}",
            file.display()
        )),
    })
}

fn server_name(place: &Address) -> Result<ServerName<'static>, String> {
    ServerName::try_from(place.host().to_owned()).map_err(|e| e.to_string())
}

fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn authority_verifier(place: &Address) -> Result<Arc<WebPkiServerVerifier>, String> {
    let roots = Arc::new(load_root_certificates(place)?);
    WebPkiServerVerifier::builder_with_provider(roots, crypto_provider())
        .build()
        .map_err(|e| e.to_string())
}

/// The certificate authorities of the given file, or the public ones.
fn load_root_certificates(place: &Address) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let Some(file) = &place.tls_ca else {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(roots);
    };
    let wrong = |reason: String| {
        format!(
            "cannot use the CA certificate file {}: {reason}",
            file.display()
        )
    };
    let pem = fs::read(file).map_err(|e| wrong(e.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|e| wrong(e.to_string()))?;
        roots.add(certificate).map_err(|e| wrong(e.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("it contains no certificate".to_owned())),
        false => Ok(roots),
    }
}
