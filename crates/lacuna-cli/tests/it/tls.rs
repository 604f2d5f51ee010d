//! `lacunas://`, and what else may call at the same port.

use std::path::{Path, PathBuf};
use std::process::Command;

use lacuna_testing::pattern::kinds_of;
use tempfile::TempDir;

use crate::common::{Server, expect, lacuna, names, sample, ssync};

/// A directory to serve, a source, and what both ends need to trust each other.
struct Place {
    directory: TempDir,
}

impl Place {
    /// With a certificate for `name` that is good until the end of `year`.
    fn new(name: &str, year: i32) -> Self {
        let place = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(place.path("root")).unwrap();
        sample().write(&place.path("a.img"));
        std::fs::write(place.path("token"), "open sesame\n").unwrap();
        place.certify("cert.pem", "key.pem", name, year);
        place
    }

    fn certify(&self, certificate: &str, key: &str, name: &str, year: i32) {
        let signer = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        // Each has a name of its own, so that none vouches for another.
        params.distinguished_name.push(rcgen::DnType::CommonName, certificate);
        std::fs::write(self.path(certificate), params.self_signed(&signer).unwrap().pem()).unwrap();
        std::fs::write(self.path(key), signer.serialize_pem()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A server that speaks TLS; with `more` words.
    fn serve(&self, more: &[&str]) -> Server {
        let mut command = lacuna();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(more);
        command.arg("--tls-cert").arg(self.path("cert.pem"));
        command.arg("--tls-key").arg(self.path("key.pem"));
        Server::start(&mut command)
    }

    fn serve_root(&self, more: &[&str]) -> Server {
        let root = self.path("root");
        self.serve(&[&["--root", root.to_str().unwrap()], more].concat())
    }

    fn sync(&self, source: &str, target: &str) -> Command {
        let mut sync = lacuna();
        sync.current_dir(self.directory.path()).args(["sync", source, target]);
        sync
    }

    /// A sync of the source fails with `words`, and nothing is there.
    fn assert_refused(&self, url: &str, more: &[&str], words: &[&str]) {
        let output = self.sync("a.img", url).args(more).output().unwrap();
        let (_, err) = expect(&output, 1);
        assert!(words.iter().all(|word| err.contains(word)), "{url}: {err}");
        assert!(names(&self.path("root")).is_empty(), "{url}");
    }
}

fn same(a: &Path, b: &Path) {
    assert!(std::fs::read(a).unwrap() == std::fs::read(b).unwrap());
    assert_eq!(kinds_of(a), kinds_of(b));
}

#[test]
fn an_image_goes_there_and_back_by_tls() {
    let place = Place::new("127.0.0.1", 4000);
    let server = place.serve_root(&["--token-file", place.path("token").to_str().unwrap()]);
    let there = format!("lacunas://{}/b.img", server.address);
    let keys = ["--tls-ca", "cert.pem", "--token-file", "token"];
    expect(&place.sync("a.img", &there).args(keys).output().unwrap(), 0);
    same(&place.path("a.img"), &place.path("root/b.img"));
    expect(&place.sync(&there, "c.img").args(keys).output().unwrap(), 0);
    same(&place.path("a.img"), &place.path("c.img"));
}

#[test]
fn who_is_not_trusted_gets_nothing() {
    let place = Place::new("127.0.0.1", 4000);
    place.certify("other.pem", "other.key", "127.0.0.1", 4000);
    std::fs::write(place.path("wrong"), "open barley\n").unwrap();
    let server = place.serve_root(&["--token-file", place.path("token").to_str().unwrap()]);
    let url = format!("lacunas://{}/b.img", server.address);
    let token = ["--token-file", "token"];
    place.assert_refused(&url, &token, &["no TLS with", "UnknownIssuer", "--tls-ca"]);
    let other = [&token[..], &["--tls-ca", "other.pem"]].concat();
    place.assert_refused(&url, &other, &["no TLS with", "UnknownIssuer"]);
    place.assert_refused(&url, &["--tls-ca", "cert.pem"], &["token is missing or wrong"]);
    let wrong = ["--tls-ca", "cert.pem", "--token-file", "wrong"];
    place.assert_refused(&url, &wrong, &["token is missing or wrong", "--token-file"]);
    place.assert_refused(
        &url,
        &["--tls-ca", "none.pem"],
        &["cannot read none.pem", "no such file"],
    );
    place.assert_refused(&url, &["--tls-ca", "a.img"], &["cannot use a.img", "no items found"]);
}

#[test]
fn a_certificate_that_has_expired_or_is_for_another_name_is_told() {
    let place = Place::new("127.0.0.1", 2001);
    let server = place.serve_root(&[]);
    let url = format!("lacunas://{}/b.img", server.address);
    place.assert_refused(&url, &["--tls-ca", "cert.pem"], &["xpired", "renew the certificate"]);
    let place = Place::new("elsewhere.invalid", 4000);
    let server = place.serve_root(&[]);
    let url = format!("lacunas://{}/b.img", server.address);
    let words = ["elsewhere.invalid", "a name that its certificate has"];
    place.assert_refused(&url, &["--tls-ca", "cert.pem"], &words);
}

#[test]
fn plain_and_tls_do_not_meet_and_each_says_so() {
    let place = Place::new("127.0.0.1", 4000);
    let server = place.serve_root(&[]);
    let url = format!("lacuna://{}/b.img", server.address);
    place.assert_refused(&url, &[], &["speaks TLS only", "lacunas://"]);
    place.assert_refused(&server.url(), &[], &["does not speak Longhorn's ssync protocol"]);
    let root = place.path("root");
    let words = ["serve", "--listen", "127.0.0.1:0", "--root"];
    let plain = Server::start(lacuna().args(words).arg(root));
    let url = format!("lacunas://{}/b.img", plain.address);
    place.assert_refused(&url, &["--tls-ca", "cert.pem"], &["no TLS with", "speaks TLS"]);
}

#[test]
fn one_image_is_received_by_tls_and_longhorns_clients_are_sent_away() {
    let place = Place::new("127.0.0.1", 4000);
    let target = place.path("b.img");
    let server = place.serve(&["--once", target.to_str().unwrap()]);
    let (host, port) = server.address.split_once(':').unwrap();
    let mut original = ssync();
    original.args(["-host", host, "-port", port, "-directIO=false"]).arg(place.path("a.img"));
    expect(&original.output().unwrap(), 1);
    assert!(!target.exists());
    let url = format!("lacunas://{}/b.img", server.address);
    expect(&place.sync("a.img", &url).args(["--tls-ca", "cert.pem"]).output().unwrap(), 0);
    assert!(server.wait().0.success());
    same(&place.path("a.img"), &target);
}

#[test]
fn a_key_of_another_certificate_is_refused_at_the_start() {
    let place = Place::new("127.0.0.1", 4000);
    place.certify("other.pem", "other.key", "127.0.0.1", 4000);
    let mut serve = lacuna();
    serve.args(["serve", "--listen", "127.0.0.1:0", "--root"]).arg(place.path("root"));
    serve.arg("--tls-cert").arg(place.path("cert.pem"));
    let mismatched = serve.arg("--tls-key").arg(place.path("other.key")).output().unwrap();
    let (_, err) = expect(&mismatched, 1);
    assert!(err.contains("cannot use") && err.contains("cert.pem"), "{err}");
}

#[test]
fn beyond_this_machine_both_tls_and_a_token_are_asked_for() {
    let place = Place::new("127.0.0.1", 4000);
    let words = |more: &[&str]| {
        let mut serve = lacuna();
        serve.current_dir(place.directory.path());
        serve.args(["serve", "--listen", "0.0.0.0:0", "--root", "root"]).args(more);
        serve
    };
    let tls = ["--tls-cert", "cert.pem", "--tls-key", "key.pem"];
    let token = ["--token-file", "token"];
    for missing in [&[][..], &tls, &token] {
        let (_, err) = expect(&words(missing).output().unwrap(), 2);
        assert!(err.contains("not protected") && err.contains("--token-file"), "{err}");
    }
    let server = Server::start(&mut words(&[&tls[..], &token].concat()));
    assert!(server.address.starts_with("0.0.0.0:"));
}
