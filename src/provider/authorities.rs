//! Files of certificate authorities, looked at before anything is connected to with them.

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::config::defaults::NAMED_FILE_BYTES_MAX;
use crate::runtime::read_text;

/// Says what is wrong with a file of certificate authorities in PEM, if something is.
pub fn check_authorities(path: &Path) -> Result<(), String> {
    let (pem, _) = read_text(path, NAMED_FILE_BYTES_MAX).map_err(|error| format!("can't be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("holds a certificate that can't be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate: write them in PEM, as -----BEGIN CERTIFICATE-----".to_owned());
    }
    Ok(())
}
