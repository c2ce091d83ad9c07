//! What every HTTP client has in common that calls neither for a virtual key nor on the way of a call: alerts, providers' statements,
//! traces.
//!
//! Redirects are not followed: an address that the settings name is called, and no other. Beside the system's certificate authorities
//! those of `[tls] ca_file` are trusted.

use std::path::Path;

/// A client to set limits of, that trusts the authorities of a file in PEM too.
pub fn client(ca_file: Option<&Path>) -> Result<reqwest::ClientBuilder, String> {
    // The program has installed it; whoever uses the library may have installed another, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).user_agent("tollgate");
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        for certificate in reqwest::Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string())? {
            builder = builder.add_root_certificate(certificate);
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_told_of() {
        let missing = client(Some(Path::new("/nowhere/ca.pem"))).err().unwrap();
        assert!(missing.starts_with("/nowhere/ca.pem: "), "{missing}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(client(Some(&path)).and_then(|builder| builder.build().map_err(|error| error.to_string())).is_err());
    }
}
