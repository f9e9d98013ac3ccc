//! Encrypting a connection, and which certificates are accepted.

use std::fs;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme, StreamOwned,
};

use crate::connection::{Address, Tls};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Which certificates to trust.
#[derive(Debug)]
struct CertificateVerifier {
    tls: Tls,
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
        if matches!(self.tls, Tls::Off | Tls::Preferred | Tls::Required) {
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
            )) if self.tls == Tls::VerifyCa => Ok(ServerCertVerified::assertion()),
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

/// Performs the TLS handshake.
pub(super) fn start_tls(
    mut stream: TcpStream,
    place: &Address,
    tls: Tls,
) -> Result<StreamOwned<ClientConnection, TcpStream>, String> {
    let config = tls_config(place, tls)?;
    let name = ServerName::try_from(place.host().to_owned()).map_err(|e| e.to_string())?;
    let mut connection =
        ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    let begin = Instant::now();
    while connection.is_handshaking() {
        match connection.complete_io(&mut stream) {
            Ok(_) => {}
            Err(error)
                if crate::wire::is_timeout(&error) && begin.elapsed() < HANDSHAKE_TIMEOUT => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(StreamOwned::new(connection, stream))
}

fn tls_config(place: &Address, tls: Tls) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let roots = Arc::new(load_root_certificates(place)?);
    let strict =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .build()
            .map_err(|e| e.to_string())?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(CertificateVerifier {
            tls,
            webpki_verifier: strict,
        }))
        .with_no_client_auth();
    Ok(config)
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
