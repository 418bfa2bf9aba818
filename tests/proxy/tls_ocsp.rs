//! What an authority says of a certificate, shown with it (RFC 6960), where OpenSSL is installed:
//! it is the responder, and the client.

use std::fs;
use std::io::ErrorKind;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{ExtendedKeyUsagePurpose, IsCa};
use rustix::fs::{CWD, Mode, mkfifoat};

use crate::support::clock::eventually;
use crate::support::command::Files;
use crate::support::endpoint::Endpoint;
use crate::support::evenkeel::Evenkeel;
use crate::support::openssl::missing;
use crate::support::tls::{Authority, Certified};

/// An authority, what it has certified, and the responses that OpenSSL makes for it.
struct Desk {
    files: Files,
    authority: Authority,
    shop: Certified,
}

/// How a certificate stands with its authority, as a line of OpenSSL's index says it.
#[derive(Clone, Copy)]
enum Standing {
    Good,
    Revoked,
    /// It has no line.
    Unknown,
}

impl Desk {
    /// `None` where there is no OpenSSL.
    fn open() -> Option<Self> {
        let authority = Authority::new();
        let responder = authority.certify_with(&["responder"], |params| {
            params.is_ca = IsCa::ExplicitNoCa;
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
        });
        let impostor = authority.certify(&["impostor"]);
        let serial = |number: u8| {
            authority.certify_with(&["shop.test"], |params| {
                params.serial_number = Some(vec![number].into());
            })
        };
        let (shop, other) = (serial(0x11), serial(0x12));
        let files = Files::new(&[
            ("ca.pem", &authority.pem()),
            ("ca.key", &authority.key_pem()),
            ("responder.pem", &responder.cert),
            ("responder.key", &responder.key),
            ("impostor.pem", &impostor.cert),
            ("impostor.key", &impostor.key),
            ("shop.pem", &shop.cert),
            ("other.pem", &other.cert),
        ]);
        let desk = Self {
            files,
            authority,
            shop,
        };
        openssl(&desk.files, &["version"]).map(|_| desk)
    }

    /// What `signer` answers about a certificate, which holds for a day unless told otherwise.
    fn response(&self, about: &str, standing: Standing, signer: &str, time: &[&str]) -> Vec<u8> {
        let serial = if about == "shop" { "11" } else { "12" };
        let index = match standing {
            Standing::Good => format!("V\t991231235959Z\t\t{serial}\tunknown\t/CN=a server\n"),
            Standing::Revoked => {
                format!("R\t991231235959Z\t250101000000Z\t{serial}\tunknown\t/CN=a server\n")
            }
            Standing::Unknown => String::new(),
        };
        fs::write(self.files.path("index"), index).expect("a writable directory");
        let (cert, key) = (format!("{signer}.pem"), format!("{signer}.key"));
        let about = format!("{about}.pem");
        let asked = [
            "ocsp", "-issuer", "ca.pem", "-cert", &about, "-reqout", "request",
        ];
        assert!(
            openssl(&self.files, &asked)
                .expect("it is there")
                .status
                .success()
        );
        let usual = [
            "ocsp", "-index", "index", "-CA", "ca.pem", "-reqin", "request",
        ];
        let signer = ["-rsigner", &cert, "-rkey", &key, "-respout", "response"];
        let output = openssl(&self.files, &[&usual[..], &signer, time].concat());
        let output = output.expect("it is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        fs::read(self.files.path("response")).expect("it was written")
    }

    fn usual(&self) -> Vec<u8> {
        self.response("shop", Standing::Good, "responder", DAY)
    }

    /// The server's certificate with its authority's behind it.
    fn chain(&self) -> String {
        format!("{}{}", self.shop.cert, self.authority.pem())
    }

    /// A proxy that has this beside its chain.
    fn proxy(&self, endpoint: &Endpoint, chain: String, ocsp: &[u8]) -> Evenkeel {
        let files = [
            ("a.pem".to_owned(), chain),
            ("a.key".to_owned(), self.shop.key.clone()),
            ("ca.pem".to_owned(), self.authority.pem()),
        ];
        fs::write(self.files.path("a.ocsp"), ocsp).expect("a writable directory");
        Evenkeel::start_among(&files, &self.config(endpoint))
    }

    fn config(&self, endpoint: &Endpoint) -> String {
        format!(
            "[listener.web]\nbind = \"@web\"\nto = [\"{}\"]\n[listener.web.tls]\n\
             certificates = [{{ cert = \"a.pem\", key = \"a.key\", ocsp = \"{}\" }}]\n",
            endpoint.address(),
            self.files.path("a.ocsp").display()
        )
    }
}

/// Runs OpenSSL among the files; `None` where it is not installed.
fn openssl(files: &Files, arguments: &[&str]) -> Option<Output> {
    let folder = files.path("ca.pem");
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder.parent().expect("it lies in a folder"))
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => Some(output),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            missing("openssl");
            None
        }
        Err(error) => panic!("openssl: {error}"),
    }
}

/// What a client that asks for it is shown.
fn shown(desk: &Desk, proxy: &Evenkeel, version: &str) -> String {
    let address = proxy.address("web").to_string();
    let arguments = [
        "s_client",
        "-connect",
        &address,
        "-servername",
        "shop.test",
        "-CAfile",
        "ca.pem",
        "-status",
        version,
    ];
    let output = openssl(&desk.files, &arguments).expect("it is there");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

const DAY: &[&str] = &["-ndays", "1"];

const GOOD: &str = "Cert Status: good";

const NONE: &str = "OCSP response: no response sent";

#[test]
fn clients_that_ask_are_shown_what_the_authority_says() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    for (chain, signer) in [
        (desk.chain(), "responder"),
        (desk.chain(), "ca"),
        // The authority is not at hand to be asked who signed.
        (desk.shop.cert.clone(), "responder"),
    ] {
        let response = desk.response("shop", Standing::Good, signer, DAY);
        let proxy = desk.proxy(&endpoint, chain, &response);
        for version in ["-tls1_3", "-tls1_2"] {
            let said = shown(&desk, &proxy, version);
            assert!(said.contains(GOOD), "{said}");
            assert!(said.contains("Verify return code: 0"), "{said}");
        }
        let listed = &proxy.admin_json("/v1/certificates")[0]["ocsp"];
        assert_eq!(listed["is_shown"], true, "{listed}");
        let file = listed["file"].as_str().expect("a file");
        assert!(file.ends_with("a.ocsp"), "{listed}");
    }
}

#[test]
fn a_newer_one_is_shown_by_itself() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let proxy = desk.proxy(&endpoint, desk.chain(), &desk.usual());
    let newer = desk.response("shop", Standing::Good, "responder", &["-ndays", "9"]);
    fs::write(desk.files.path("a.ocsp"), &newer).expect("a writable directory");
    eventually("it is taken", || proxy.events("cert_reloaded").pop());
    assert!(shown(&desk, &proxy, "-tls1_3").contains(GOOD));
    // What was said before is not shown when it is said no more.
    let revoked = desk.response("shop", Standing::Revoked, "responder", DAY);
    fs::write(desk.files.path("a.ocsp"), revoked).expect("a writable directory");
    let rejected = eventually("it is refused", || proxy.events("ocsp_rejected").pop());
    assert!(rejected.to_string().contains("revoked"), "{rejected}");
    assert!(shown(&desk, &proxy, "-tls1_3").contains(NONE));
    assert!(proxy.events("cert_rejected").is_empty());
}

/// Certificates are renewed, and only later is it fetched what their authority says of them.
#[test]
fn a_certificate_does_not_wait_for_what_is_said_of_it() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let proxy = desk.proxy(&endpoint, desk.chain(), &desk.usual());
    let renewed = desk.authority.certify_with(&["shop.test"], |params| {
        params.serial_number = Some(vec![0x33].into());
    });
    fs::write(proxy.path("a.key"), &renewed.key).expect("a writable directory");
    let chain = format!("{}{}", renewed.cert, desk.authority.pem());
    fs::write(proxy.path("a.pem"), chain).expect("a writable directory");
    let told = eventually("it is taken", || proxy.events("ocsp_rejected").pop());
    assert!(told.to_string().contains("says nothing of"), "{told}");
    let said = shown(&desk, &proxy, "-tls1_3");
    assert!(said.contains(NONE), "{said}");
    assert!(said.contains("Verify return code: 0"), "{said}");
    assert!(!proxy.events("cert_reloaded").is_empty());
}

#[test]
fn one_that_holds_no_more_is_not_shown() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let old = dated(
        &desk,
        ["20200101000000Z", "20200101000000Z", "20200102000000Z"],
    );
    let proxy = desk.proxy(&endpoint, desk.shop.cert.clone(), &old);
    let said = shown(&desk, &proxy, "-tls1_3");
    assert!(said.contains(NONE), "{said}");
    assert_eq!(
        proxy.admin_json("/v1/certificates")[0]["ocsp"]["is_shown"],
        false
    );
    let status = proxy.admin_json("/v1/status")["warnings"].to_string();
    assert!(status.contains("a.ocsp"), "{status}");
    let checked = proxy.command(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success() && said.contains("W0320"), "{said}");
    fs::write(desk.files.path("a.ocsp"), desk.usual()).expect("a writable directory");
    eventually("it is taken", || proxy.events("cert_reloaded").pop());
    assert!(shown(&desk, &proxy, "-tls1_3").contains(GOOD));
}

#[test]
fn one_that_expires_is_taken_away() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let proxy = desk.proxy(&endpoint, desk.shop.cert.clone(), &desk.usual());
    assert!(shown(&desk, &proxy, "-tls1_3").contains(GOOD));
    // Later than the next look at the files, or not: it ends the same.
    let soon = Timestamp::now() + Duration::from_secs(7);
    let soon = soon.strftime("%Y%m%d%H%M%SZ").to_string();
    let brief = dated(&desk, ["20200101000000Z", "20200101000000Z", &soon]);
    fs::write(desk.files.path("a.ocsp"), brief).expect("a writable directory");
    let told = eventually("it expires", || proxy.events("ocsp_expired").pop());
    assert!(told.to_string().contains("a.ocsp has expired at"), "{told}");
    assert!(shown(&desk, &proxy, "-tls1_3").contains(NONE));
}

/// Whatever else is wrong, what holds no more is not shown.
#[test]
fn one_that_expires_is_taken_away_beside_broken_files() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let soon = Timestamp::now() + Duration::from_secs(9);
    let soon = soon.strftime("%Y%m%d%H%M%SZ").to_string();
    let brief = dated(&desk, ["20200101000000Z", "20200101000000Z", &soon]);
    let proxy = desk.proxy(&endpoint, desk.shop.cert.clone(), &brief);
    assert!(shown(&desk, &proxy, "-tls1_3").contains(GOOD));
    fs::write(proxy.path("a.key"), "no key").expect("a writable directory");
    let told = eventually("it expires", || proxy.events("ocsp_expired").pop());
    assert!(told.to_string().contains("a.ocsp has expired at"), "{told}");
    assert!(shown(&desk, &proxy, "-tls1_3").contains(NONE));
    let listed = &proxy.admin_json("/v1/certificates")[0]["ocsp"];
    assert_eq!(listed["is_shown"], false, "{listed}");
}

#[test]
fn what_no_client_would_take_is_left_away() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let mut proxy = desk.proxy(&endpoint, desk.chain(), &desk.usual());
    let good = desk.usual();
    let mut forged = good.clone();
    // A digit of what is signed: of when it was produced.
    let place = forged
        .windows(4)
        .position(|four| four == b"\x18\x0f20")
        .expect("a time");
    forged[place + 15] ^= 1;
    let response = |about, standing, signer, time| desk.response(about, standing, signer, time);
    for (content, why) in [
        (
            response("shop", Standing::Revoked, "responder", DAY),
            "revoked",
        ),
        (
            response("shop", Standing::Unknown, "responder", DAY),
            "unknown",
        ),
        (
            response("other", Standing::Good, "responder", DAY),
            "says nothing of",
        ),
        (
            response("shop", Standing::Good, "impostor", DAY),
            "is not signed by",
        ),
        (
            response("shop", Standing::Good, "responder", &[]),
            "nextUpdate",
        ),
        (forged, "is not signed by"),
        (good[..good.len() - 1].to_vec(), "no OCSP response"),
        ([&good[..], b"x"].concat(), "no OCSP response"),
        (Vec::new(), "no OCSP response"),
        (vec![0x30, 3, 0x0a, 1, 3], "try later"),
        (vec![0; 2 * 1024 * 1024], "larger than 1 MiB"),
    ] {
        fs::write(desk.files.path("a.ocsp"), content).expect("a writable directory");
        let checked = proxy.command(&["check"]);
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(checked.status.success(), "{why}: {said}");
        assert!(
            said.contains("warning[W0323]") && said.contains(why),
            "{why}: {said}"
        );
        let reload = proxy.command(&["reload"]);
        assert!(reload.status.success(), "{why}");
        eventually("it is logged", || proxy.log().contains(why).then_some(()));
        let status = proxy.admin_json("/v1/status")["warnings"].to_string();
        assert!(status.contains(why), "{status}");
        let listed = &proxy.admin_json("/v1/certificates")[0]["ocsp"];
        assert_eq!(listed["is_shown"], false, "{why}: {listed}");
    }
    assert!(shown(&desk, &proxy, "-tls1_3").contains(NONE));
    fs::remove_file(desk.files.path("a.ocsp")).expect("it was there");
    let config = desk.config(&endpoint);
    proxy.reload(&config);
    fs::write(desk.files.path("a.ocsp"), good).expect("a writable directory");
    proxy.reload(&config);
    assert!(shown(&desk, &proxy, "-tls1_3").contains(GOOD));
}

/// Nobody writes into it: whoever reads it waits.
#[test]
fn one_that_does_not_answer_holds_nobody_up() {
    let Some(desk) = Desk::open() else { return };
    let endpoint = Endpoint::echo();
    let proxy = desk.proxy(&endpoint, desk.chain(), &desk.usual());
    let path = desk.files.path("a.ocsp");
    fs::remove_file(&path).expect("it was there");
    mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).expect("a writable directory");
    let checked = proxy.command(&["check"]);
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{said}");
    assert!(
        said.contains("W0323") && said.contains("not read within"),
        "{said}"
    );
}

/// One whose times are these: produced at, this update, next update. Who has its certificate alone,
/// without the authority's, cannot see that nobody has signed this.
fn dated(desk: &Desk, times: [&str; 3]) -> Vec<u8> {
    let mut response = desk.usual();
    let is_time = |pair: &[u8]| pair == b"\x18\x0f";
    // What comes behind is of certificates.
    let places = (0..response.len() - 17).filter(|place| is_time(&response[*place..place + 2]));
    let places: Vec<usize> = places.take(3).collect();
    for (place, time) in places.into_iter().zip(times) {
        response[place + 2..place + 17].copy_from_slice(time.as_bytes());
    }
    response
}
