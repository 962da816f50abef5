//! The certificates of a control plane.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};

/// Makes an authority, the server's certificate, an administrator's, and
/// the key that signs tokens, and writes them all into `folder`.
pub(super) fn write_pki(folder: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "tests");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let names = ["localhost", "kubernetes.default.svc"].map(str::to_owned);
    let mut server = CertificateParams::new(names)?;
    let loopback = SanType::IpAddress(Ipv4Addr::LOCALHOST.into());
    server.subject_alt_names.push(loopback);
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    let server = server.signed_by(&server_key, &authority)?;

    // The group that RBAC lets do everything.
    let mut admin = CertificateParams::default();
    admin.distinguished_name.push(DnType::CommonName, "admin");
    let group = "system:masters";
    admin
        .distinguished_name
        .push(DnType::OrganizationName, group);
    admin.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let admin_key = KeyPair::generate()?;
    let admin = admin.signed_by(&admin_key, &authority)?;

    let accounts_key = KeyPair::generate()?;
    for (name, text) in [
        ("ca.crt", &authority.pem()),
        ("admin.crt", &admin.pem()),
        ("admin.key", &admin_key.serialize_pem()),
        ("server.crt", &server.pem()),
        ("server.key", &server_key.serialize_pem()),
        ("accounts.key", &accounts_key.serialize_pem()),
        ("accounts.pub", &accounts_key.public_key_pem()),
    ] {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}
