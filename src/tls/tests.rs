use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SigningKey,
    date_time_ymd,
};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, CertificateError, Digest, Fault};
use super::choice::Choice;
use super::key_log::KeyLogging;
use super::server::{Server, Settings};
use super::version::Version;

/// A directory that goes with its value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("evenkeel-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("the temporary directory can be written");
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("a writable directory");
        path
    }

    /// Reads what is written first.
    fn read(&self, cert: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Certificate, Wrong> {
        let (cert, key) = (self.write("cert", cert), self.write("key", key));
        Certificate::read(&cert, &key).map_err(Wrong::from)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Which file is wrong, what is wrong with it, and how that is said.
#[derive(Debug)]
struct Wrong {
    file: String,
    fault: Fault,
    said: String,
}

impl From<CertificateError> for Wrong {
    fn from(error: CertificateError) -> Self {
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into());
        Self {
            file: name(&error.file).unwrap_or_default(),
            said: error.to_string(),
            fault: error.fault,
        }
    }
}

fn params(names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    CertificateParams::new(names).expect("names")
}

fn authority(name: &str) -> CertificateParams {
    let mut params = params(&[]);
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A certificate that nobody else has signed.
fn signed_by_itself(params: &CertificateParams, key: &impl SigningKey) -> String {
    params.self_signed(key).expect("a certificate").pem()
}

#[test]
fn what_is_read_is_known() {
    let folder = Folder::new();
    let key = key();
    let mut params = params(&["Shop.test", "*.shop.test", "192.0.2.1"]);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    let cert = signed_by_itself(&params, &key);
    let read = folder
        .read(cert, key.serialize_pem())
        .expect("a certificate");
    let names: Vec<&str> = read.names.iter().map(|name| &**name).collect();
    assert_eq!(names, ["shop.test", "*.shop.test"]);
    assert_eq!(&*read.file, folder.0.join("cert"));
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    assert_eq!(read.not_before, at(1_577_836_800));
    assert_eq!(read.not_after, at(4_102_444_800));
    assert!(read.is_valid_at(read.not_before) && read.is_valid_at(read.not_after));
    assert!(!read.is_valid_at(read.not_before - Duration::from_secs(1)));
    assert!(!read.is_valid_at(read.not_after + Duration::from_secs(1)));
}

#[test]
fn what_has_expired_is_read_all_the_same() {
    let folder = Folder::new();
    let key = key();
    let mut params = params(&["shop.test"]);
    params.not_before = date_time_ymd(1971, 1, 1);
    params.not_after = date_time_ymd(2001, 1, 1);
    let cert = signed_by_itself(&params, &key);
    let read = folder
        .read(cert, key.serialize_pem())
        .expect("a certificate");
    assert!(!read.is_valid_at(SystemTime::now()));
}

#[test]
fn a_digest_tells_whether_the_files_have_changed() {
    let folder = Folder::new();
    let digest = |cert: &str, key: &str| {
        let (cert, key) = (folder.write("cert", cert), folder.write("key", key));
        Digest::of_files(&cert, &key).expect("readable files")
    };
    assert_eq!(digest("ab", "c"), digest("ab", "c"));
    for (cert, key) in [
        ("ab", "d"),
        ("aa", "c"),
        ("a", "bc"),
        ("abc", ""),
        ("", "abc"),
    ] {
        assert_ne!(digest("ab", "c"), digest(cert, key), "{cert} {key}");
    }
    let read = certificate(&folder, &["shop.test"]);
    let again = Digest::of_files(&folder.0.join("cert"), &folder.0.join("key"));
    assert_eq!(read.digest, again.expect("readable files"));
}

#[test]
fn keys_of_every_usual_kind_are_read() {
    let folder = Folder::new();
    for algorithm in [
        &rcgen::PKCS_ECDSA_P256_SHA256,
        &rcgen::PKCS_ECDSA_P384_SHA384,
        &rcgen::PKCS_ECDSA_P521_SHA512,
        &rcgen::PKCS_ED25519,
        &rcgen::PKCS_RSA_SHA256,
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let cert = signed_by_itself(&params(&["shop.test"]), &key);
        let read = folder.read(cert, key.serialize_pem());
        assert!(read.is_ok(), "{algorithm:?}: {read:?}");
    }
}

#[test]
fn prose_around_and_between_is_passed_over() {
    let folder = Folder::new();
    let key = key();
    let cert = signed_by_itself(&params(&["shop.test"]), &key);
    let (cert, key) = (cert.replace('\n', "\r\n"), key.serialize_pem());
    let both = format!("Certificate:\n  Subject: CN=shop\n{cert}\nand\n{key}\nend");
    // The key may stand in the file of the certificate, too.
    assert!(folder.read(&both, &both).is_ok());
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = Folder::new();
    let key = key();
    let cert = folder.write("cert", signed_by_itself(&params(&["a.test"]), &key));
    let key = folder.write("key", key.serialize_pem());
    let none = folder.0.join("none");
    for (cert, key, file) in [
        (&none, &key, "none"),
        (&cert, &none, "none"),
        (
            &folder.0,
            &key,
            folder
                .0
                .file_name()
                .and_then(|name| name.to_str())
                .expect("text"),
        ),
    ] {
        let wrong = Wrong::from(Certificate::read(cert, key).expect_err("a fault"));
        assert!(matches!(wrong.fault, Fault::Unreadable(_)), "{wrong:?}");
        assert_eq!(wrong.file, file);
        assert!(wrong.said.contains("cannot be read: "), "{}", wrong.said);
    }
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let folder = Folder::new();
    let key = key();
    let (cert, key) = (
        signed_by_itself(&params(&["a.test"]), &key),
        key.serialize_pem(),
    );
    let most = 1024 * 1024;
    let padded = |text: &str, size: usize| format!("{text}{}", "\n".repeat(size - text.len()));
    assert!(folder.read(padded(&cert, most), padded(&key, most)).is_ok());
    for (cert, key, file) in [
        (padded(&cert, most + 1), key.clone(), "cert"),
        (cert.clone(), padded(&key, most + 1), "key"),
    ] {
        let wrong = folder.read(cert, key).expect_err("a fault");
        assert!(matches!(wrong.fault, Fault::TooLarge), "{wrong:?}");
        assert_eq!(wrong.file, file);
    }
    // A device has no end.
    let endless = Certificate::read(Path::new("/dev/zero"), &folder.0.join("key"));
    assert!(matches!(
        endless.map_err(|error| error.fault),
        Err(Fault::TooLarge)
    ));
}

#[test]
fn what_is_not_there_is_said() {
    let folder = Folder::new();
    let key = key();
    let (cert, key) = (
        signed_by_itself(&params(&["a.test"]), &key),
        key.serialize_pem(),
    );
    for nothing in ["", "nothing", &key, "\0\u{1}\u{2}"] {
        let wrong = folder.read(nothing, &key).expect_err("a fault");
        assert!(matches!(wrong.fault, Fault::NoCertificate), "{wrong:?}");
        assert_eq!(wrong.file, "cert");
    }
    for nothing in ["", "nothing", &cert] {
        let wrong = folder.read(&cert, nothing).expect_err("a fault");
        assert!(matches!(wrong.fault, Fault::NoKey), "{wrong:?}");
        assert_eq!(wrong.file, "key");
    }
    // As PKCS #8 has it, and as OpenSSL did before.
    let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    let begin = "-----BEGIN EC PRIVATE KEY-----\n";
    let header = format!("{begin}Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n");
    let old = key
        .replace("PRIVATE KEY", "EC PRIVATE KEY")
        .replace(begin, &header);
    for locked in [locked, old] {
        let wrong = folder.read(&cert, locked).expect_err("a fault");
        assert!(matches!(wrong.fault, Fault::Password), "{wrong:?}");
        assert!(wrong.said.contains("has a password"), "{wrong:?}");
    }
}

#[test]
fn what_is_no_pem_is_said() {
    let folder = Folder::new();
    let key = key();
    let (cert, key) = (
        signed_by_itself(&params(&["a.test"]), &key),
        key.serialize_pem(),
    );
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let strange = |text: &str| text.replacen("\nM", "\n!!", 1);
    for broken in [
        half(&cert),
        strange(&cert),
        cert.replace("-----END", "----"),
    ] {
        let wrong = folder.read(&broken, &key).expect_err("a fault");
        assert!(
            matches!(wrong.fault, Fault::NotPem(_)),
            "{broken}: {wrong:?}"
        );
        assert_eq!(wrong.file, "cert");
        // In words, not in numbers of bytes.
        assert!(!wrong.said.contains('['), "{}", wrong.said);
    }
    for broken in [half(&key), strange(&key)] {
        let wrong = folder.read(&cert, &broken).expect_err("a fault");
        assert!(matches!(wrong.fault, Fault::NotPem(_)), "{wrong:?}");
        assert_eq!(wrong.file, "key");
        // What stands in a file of a key is never told.
        assert!(!wrong.said.contains("!!"), "{}", wrong.said);
    }
}

#[test]
fn what_is_no_certificate_is_told_by_its_position() {
    let folder = Folder::new();
    let key = key();
    let (cert, key) = (
        signed_by_itself(&params(&["a.test"]), &key),
        key.serialize_pem(),
    );
    // The body of a key under the name of a certificate.
    let body = key.replace("PRIVATE KEY", "CERTIFICATE");
    for (cert, expected) in [(body.clone(), 1), (format!("{cert}{body}"), 2)] {
        let wrong = folder.read(cert, &key).expect_err("a fault");
        let Fault::Malformed { position, .. } = wrong.fault else {
            panic!("{wrong:?}");
        };
        assert_eq!(position, expected);
    }
}

#[test]
fn a_chain_has_its_order() {
    let folder = Folder::new();
    let root = CertifiedIssuer::self_signed(authority("root"), key()).expect("a root");
    let middle = CertifiedIssuer::signed_by(authority("middle"), key(), &root).expect("a middle");
    let key = key();
    let mut facts = params(&["shop.test"]);
    facts.distinguished_name.push(DnType::CommonName, "shop");
    let cert = facts.signed_by(&key, &middle).expect("a certificate").pem();
    // It has the right name.
    let impostor = CertifiedIssuer::self_signed(authority("middle"), self::key());
    let impostor = impostor.expect("an impostor").pem();
    let (key, middle, root) = (key.serialize_pem(), middle.pem(), root.pem());
    for good in [
        vec![&cert],
        vec![&cert, &middle],
        vec![&cert, &middle, &root],
    ] {
        let chain: String = good.iter().map(|pem| pem.as_str()).collect();
        let read = folder.read(&chain, &key).expect("a certificate");
        assert_eq!(read.key.cert.len(), good.len());
    }
    for (bad, expected) in [
        (vec![&cert, &root], 2),
        (vec![&cert, &root, &middle], 2),
        (vec![&cert, &middle, &cert], 3),
        (vec![&middle, &cert], 2),
        (vec![&cert, &cert], 2),
        (vec![&cert, &impostor], 2),
        (vec![&cert, &impostor, &root], 2),
    ] {
        let chain: String = bad.iter().map(|pem| pem.as_str()).collect();
        let wrong = folder.read(&chain, &key).expect_err("a fault");
        let Fault::Order { position } = wrong.fault else {
            panic!("{wrong:?}");
        };
        assert_eq!((position, wrong.file.as_str()), (expected, "cert"));
    }
}

/// Clients need all of it.
#[test]
fn a_chain_is_valid_while_all_of_it_is() {
    let folder = Folder::new();
    let years = |mut params: CertificateParams, from, until| {
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        params
    };
    let root = years(authority("root"), 2001, 2002);
    let root = CertifiedIssuer::self_signed(root, key()).expect("a root");
    let key = key();
    let facts = years(params(&["shop.test"]), 2000, 2100);
    let cert = facts.signed_by(&key, &root).expect("a certificate").pem();
    let read = |chain: String| folder.read(chain, key.serialize_pem()).expect("a chain");
    let (alone, whole) = (read(cert.clone()), read(format!("{cert}{}", root.pem())));
    let now = SystemTime::now();
    assert!(alone.is_valid_at(now) && !whole.is_valid_at(now));
    assert!(whole.not_before > alone.not_before && whole.not_after < alone.not_after);
}

#[test]
fn a_key_must_be_the_certificates() {
    let folder = Folder::new();
    let cert = signed_by_itself(&params(&["shop.test"]), &key());
    let rsa = KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).expect("a key");
    for other in [key(), rsa] {
        let wrong = folder
            .read(&cert, other.serialize_pem())
            .expect_err("a fault");
        assert!(matches!(&wrong.fault, Fault::OtherKey(cert) if cert.ends_with("cert")));
        assert_eq!(wrong.file, "key");
    }
}

#[test]
fn a_key_that_is_none_cannot_be_used() {
    let folder = Folder::new();
    let cert = signed_by_itself(&params(&["shop.test"]), &key());
    let none = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let wrong = folder.read(cert, none).expect_err("a fault");
    assert!(matches!(wrong.fault, Fault::Key(_)), "{wrong:?}");
    assert_eq!(wrong.file, "key");
}

/// A certificate for these names.
fn certificate(folder: &Folder, names: &[&str]) -> Certificate {
    let key = key();
    let cert = signed_by_itself(&params(names), &key);
    folder
        .read(cert, key.serialize_pem())
        .expect("a certificate")
}

#[test]
fn a_name_finds_its_certificates() {
    let folder = Folder::new();
    let certificates = [
        certificate(&folder, &["first.test"]),
        certificate(&folder, &["*.shop.test", "shop.test"]),
        certificate(&folder, &["www.shop.test", "*.Deep.shop.test"]),
        certificate(&folder, &["www.shop.test"]),
    ];
    let choice = Choice::new(&certificates);
    let found = |name: &str| -> Vec<usize> {
        let keys = choice.for_name(name);
        let position = |key: &Arc<CertifiedKey>| {
            let mut all = certificates.iter();
            all.position(|one| Arc::ptr_eq(&one.key, key))
                .expect("one of them")
        };
        keys.map(position).collect()
    };
    for (name, expected) in [
        ("first.test", &[0][..]),
        ("FIRST.test", &[0]),
        ("shop.test", &[1]),
        ("a.shop.test", &[1]),
        ("www.shop.test", &[2, 3, 1]),
        ("WWW.SHOP.TEST", &[2, 3, 1]),
        ("a.deep.shop.test", &[2]),
        ("deep.shop.test", &[1]),
        ("a.b.shop.test", &[]),
        ("a.first.test", &[]),
        ("test", &[]),
        ("", &[]),
        (".shop.test", &[1]),
        ("*.shop.test", &[1]),
    ] {
        assert_eq!(found(name), expected, "{name:?}");
    }
}

#[test]
fn a_server_tells_no_keys() {
    let folder = Folder::new();
    let settings = Settings {
        min_version: Version::V1_2,
        max_handshakes: 1,
        handshake: Duration::from_secs(1),
        key_logging: KeyLogging::Off,
        alpn: Vec::new(),
    };
    let certificates = vec![certificate(&folder, &["shop.test"])];
    let server = Server::new(certificates.into(), settings, None).expect("a server");
    let told = format!("{server:?}");
    assert!(told.contains("/cert"), "{told}");
    assert!(!told.to_lowercase().contains("key"), "{told}");
}
