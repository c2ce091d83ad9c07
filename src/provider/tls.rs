//! TLS towards the providers: whose certificates are trusted, read once for all workers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::Verifier;

/// How connections to providers are made; clones share what was read.
#[derive(Clone, Debug, Default)]
pub struct ClientSettings(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    ca_file: Option<PathBuf>,
    /// Absent until it could be read.
    tls: OnceLock<ClientConfig>,
}

impl ClientSettings {
    /// Trusts the system's certificate authorities, and those of a file in PEM.
    pub fn new(ca_file: Option<PathBuf>) -> Self {
        Self(Arc::new(Shared { ca_file, tls: OnceLock::new() }))
    }

    /// Reads the certificates now, which takes milliseconds, so that no call has to wait for it. What fails is tried again and
    /// told by the calls that need it.
    pub fn prepare(&self) {
        let _ = self.tls();
    }

    /// The settings of TLS.
    pub(super) fn tls(&self) -> Result<&ClientConfig, String> {
        if let Some(tls) = self.0.tls.get() {
            return Ok(tls);
        }
        let read = config(self.0.ca_file.as_deref())?;
        Ok(self.0.tls.get_or_init(|| read))
    }
}

fn config(ca_file: Option<&Path>) -> Result<ClientConfig, String> {
    let further = match ca_file {
        None => Vec::new(),
        Some(path) => certificates(path).map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let verifier = Verifier::new_with_extra_roots(further, crypto()).map_err(|error| error.to_string())?;
    let builder = ClientConfig::builder_with_provider(crypto()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier)).with_no_client_auth())
}

/// Settings that trust nobody: for providers that are called without TLS.
pub(super) fn trusting_nobody() -> ClientConfig {
    let builder = ClientConfig::builder_with_provider(crypto()).with_safe_default_protocol_versions();
    let builder = builder.expect("the provider has the protocol's own versions");
    builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

fn crypto() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(rustls::crypto::ring::default_provider()), Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_holds_no_certificate_is_told_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str, text: Option<&str>| {
            let path = folder.path().join(name);
            if let Some(text) = text {
                std::fs::write(&path, text).unwrap();
            }
            let settings = ClientSettings::new(Some(path.clone()));
            settings.prepare();
            assert!(settings.clone().tls().unwrap_err().contains(name), "{name}");
            // Mended, it is read by the next who needs it.
            std::fs::write(&path, "").unwrap();
            assert!(settings.tls().is_ok());
        };
        check("absent.pem", None);
        check("broken.pem", Some("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"));
    }

    #[test]
    fn settings_that_trust_nobody_can_always_be_made() {
        let _ = trusting_nobody();
    }
}
