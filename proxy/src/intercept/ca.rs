//! The authority of this devbox: it signs for hosts that are intercepted, and only this gate's sandboxes trust it. Its
//! key never leaves the state directory and is nobody else's to read; its certificate is for everybody.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use postern_daemon::files;
use postern_policy::Host;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PublicKeyData, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// The key and the certificate in the gate's state directory.
const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";

/// The largest of the two files, in bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;

/// How long the authority's certificate is good, and how long before its end another is made for the same key; in
/// seconds.
const CA_SECONDS: i64 = 10 * 365 * DAY;
const CA_RENEWED_BEFORE: i64 = 365 * DAY;

/// How long a host's certificate is good, in seconds.
pub(super) const LEAF_SECONDS: i64 = DAY;

/// How far back certificates begin, for clocks that are behind; in seconds.
const SKEW_SECONDS: i64 = 3600;

const DAY: i64 = 24 * 3600;

/// The longest common name of a certificate, in bytes (X.520).
const COMMON_NAME_BYTES_MAX: usize = 64;

/// What stands before the end of its life in the certificate's file; readers of PEM skip such lines.
const UNTIL: &str = "valid until (Unix seconds): ";

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoCa {
    #[error("{}: {error}", .path.display())]
    File { path: PathBuf, error: io::Error },
    #[error("{}: others may read this key: remove it, and a new one is made", .0.display())]
    Open(PathBuf),
    #[error("{}: this is no key of ours: remove it, and a new one is made", .0.display())]
    NoKey(PathBuf),
    #[error("a certificate could not be made: {0}")]
    Signing(#[from] rcgen::Error),
    #[error("there is no randomness to be had: {0}")]
    Random(io::Error),
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// The authority.
pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Ca {
    /// The authority of this state directory; made if there is none.
    pub(crate) fn open(state: &Path, now: i64) -> Result<Self, NoCa> {
        let key = read_or_make_key(&state.join(KEY))?;
        let params = params_for(&key);
        let path = state.join(CERTIFICATE);
        let certificate = match read(&path)? {
            Some(text) if is_good(&text, &key, now) => text,
            _ => {
                let made = make_certificate(&params, &key, now)?;
                write(&path, made.as_bytes(), 0o644)?;
                made
            }
        };
        Ok(Self {
            issuer: Issuer::new(params, key),
            certificate,
        })
    }

    /// The certificate in PEM.
    pub(crate) fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A certificate for one host, good from now on.
    pub(super) fn sign(
        &self,
        host: &Host,
        key: &impl PublicKeyData,
        now: i64,
    ) -> Result<CertificateDer<'static>, NoCa> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let name = host.to_string();
        if name.len() <= COMMON_NAME_BYTES_MAX {
            params
                .distinguished_name
                .push(DnType::CommonName, name.clone());
        }
        params.subject_alt_names = vec![match host {
            Host::Name(_) => SanType::DnsName(name.try_into()?),
            Host::Ip(address) => SanType::IpAddress(*address),
        }];
        params.not_before = at(now - SKEW_SECONDS);
        params.not_after = at(now + LEAF_SECONDS);
        // All leaves share a key, and a number derived from it would be one number for all.
        params.serial_number = Some(serial()?);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        Ok(params.signed_by(key, &self.issuer)?.der().clone())
    }
}

/// A key for ECDSA on P-256.
pub(super) fn fresh_key() -> Result<KeyPair, NoCa> {
    Ok(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)
}

fn read_or_make_key(path: &Path) -> Result<KeyPair, NoCa> {
    let Some(text) = read(path)?.map(Zeroizing::new) else {
        let key = fresh_key()?;
        let der = Zeroizing::new(key.serialize_der());
        let text = Zeroizing::new(pem("PRIVATE KEY", &der));
        write(path, text.as_bytes(), 0o600)?;
        return Ok(key);
    };
    let mode = fs::symlink_metadata(path).map_err(|error| file(path, error))?;
    if mode.permissions().mode() & 0o077 != 0 {
        return Err(NoCa::Open(path.to_owned()));
    }
    let no_key = || NoCa::NoKey(path.to_owned());
    let der = PrivatePkcs8KeyDer::from_pem_slice(text.as_bytes()).map_err(|_| no_key())?;
    KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_ECDSA_P256_SHA256).map_err(|_| no_key())
}

/// What the authority says of itself; it follows from the key alone, so that it is the same after every start.
fn params_for(key: &KeyPair) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mark = hex::encode(Sha256::digest(key.subject_public_key_info()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(
        DnType::CommonName,
        format!("Postern devbox CA {}", &mark[..16]),
    );
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn make_certificate(params: &CertificateParams, key: &KeyPair, now: i64) -> Result<String, NoCa> {
    let mut params = params.clone();
    let until = now + CA_SECONDS;
    params.not_before = at(now - DAY);
    params.not_after = at(until);
    params.serial_number = Some(serial()?);
    let certificate = params.self_signed(key)?;
    let text = pem("CERTIFICATE", certificate.der());
    Ok(format!("{UNTIL}{until}\n{text}"))
}

/// Whether a certificate is for this key and has a while to go.
fn is_good(text: &str, key: &KeyPair, now: i64) -> bool {
    let until = text.lines().find_map(|line| line.strip_prefix(UNTIL));
    let until = until.and_then(|until| until.parse::<i64>().ok());
    let Ok(der) = CertificateDer::from_pem_slice(text.as_bytes()) else {
        return false;
    };
    let public = key.subject_public_key_info();
    let is_for_key = der.windows(public.len()).any(|part| part == public);
    is_for_key && until.is_some_and(|until| until - CA_RENEWED_BEFORE > now)
}

fn serial() -> Result<SerialNumber, NoCa> {
    let hex = files::random_hex(16).map_err(NoCa::Random)?;
    let mut bytes = hex::decode(hex).unwrap_or_default();
    // Positive, and never shorter than it looks.
    if let Some(first) = bytes.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    Ok(SerialNumber::from(bytes))
}

fn at(unix_seconds: i64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(unix_seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn pem(label: &str, der: &[u8]) -> String {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn read(path: &Path) -> Result<Option<String>, NoCa> {
    match files::read_bounded(path, FILE_BYTES_MAX) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(path, error)),
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), NoCa> {
    files::write_private(path, bytes)
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        .map_err(|error| file(path, error))
}

fn file(path: &Path, error: io::Error) -> NoCa {
    let path = path.to_owned();
    NoCa::File { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_authority_survives_a_restart_and_its_key_is_nobody_elses() {
        let state = tempfile::tempdir().unwrap();
        let first = Ca::open(state.path(), NOW).unwrap();
        let again = Ca::open(state.path(), NOW + DAY).unwrap();
        assert_eq!(first.certificate(), again.certificate());
        assert_eq!(mode(&state.path().join(KEY)), 0o600);
        assert_eq!(mode(&state.path().join(CERTIFICATE)), 0o644);
        assert!(!first.certificate().contains("PRIVATE"));
        let another = tempfile::tempdir().unwrap();
        let another = Ca::open(another.path(), NOW).unwrap();
        assert_ne!(first.certificate(), another.certificate());
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let state = tempfile::tempdir().unwrap();
        Ca::open(state.path(), NOW).unwrap();
        let key = state.path().join(KEY);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Ca::open(state.path(), NOW), Err(NoCa::Open(_))));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&key, "rubbish").unwrap();
        assert!(matches!(Ca::open(state.path(), NOW), Err(NoCa::NoKey(_))));
    }

    #[test]
    fn a_certificate_that_is_lost_wrong_or_nearly_over_is_made_again_for_the_same_key() {
        let state = tempfile::tempdir().unwrap();
        let first = Ca::open(state.path(), NOW).unwrap();
        let key = fs::read(state.path().join(KEY)).unwrap();
        let path = state.path().join(CERTIFICATE);
        fs::remove_file(&path).unwrap();
        let second = Ca::open(state.path(), NOW).unwrap();
        assert_ne!(first.certificate(), second.certificate());
        let stranger = tempfile::tempdir().unwrap();
        Ca::open(stranger.path(), NOW).unwrap();
        fs::copy(stranger.path().join(CERTIFICATE), &path).unwrap();
        let third = Ca::open(state.path(), NOW).unwrap();
        let late = Ca::open(state.path(), NOW + CA_SECONDS - CA_RENEWED_BEFORE).unwrap();
        assert_ne!(third.certificate(), late.certificate());
        assert_eq!(fs::read(state.path().join(KEY)).unwrap(), key);
    }

    #[test]
    fn no_two_certificates_have_one_number() {
        let state = tempfile::tempdir().unwrap();
        let ca = Ca::open(state.path(), NOW).unwrap();
        let key = fresh_key().unwrap();
        let host: Host = "a.example".parse().unwrap();
        // Nothing else changes, and the signature is not compared: it comes last and is random anyway.
        let head = |der: &CertificateDer<'_>| der[..60].to_vec();
        let one = ca.sign(&host, &key, NOW).unwrap();
        let other = ca.sign(&host, &key, NOW).unwrap();
        assert_ne!(head(&one), head(&other));
    }
}
