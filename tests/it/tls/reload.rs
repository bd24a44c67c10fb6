//! Certificates that change while regseal runs.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::sync::Arc;

use rustls::{ClientConfig, HandshakeKind};

use super::{Stage, curl, tls};
use crate::support::images::{LAYER, random_hex};
use crate::support::policy::metric;
use crate::support::tls::{Authority, Pair, connect};
use crate::support::{ALICE, Content, Registry, Regseal, wait_for};

const RELOADS: &str = "regseal_certificates_reloads_total";

/// The certificate that the listener shows now.
fn shown(stage: &Stage, config: &Arc<ClientConfig>) -> Vec<u8> {
    let fresh = ClientConfig::clone(config);
    let stream = connect(stage.authority(), Arc::new(without_memory(fresh))).unwrap();
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}

fn without_memory(mut config: ClientConfig) -> ClientConfig {
    config.resumption = rustls::client::Resumption::disabled();
    config
}

/// How the handshake of a whole request went.
fn handshake(stage: &Stage, config: &Arc<ClientConfig>) -> Option<HandshakeKind> {
    let mut stream = connect(stage.authority(), Arc::clone(config)).ok()?;
    stream
        .write_all(b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    stream.conn.handshake_kind()
}

fn check(stage: &Stage) -> String {
    let page = stage.regseal.admin.get("/readyz?verbose").expect(200);
    let page = String::from_utf8_lossy(&page.body).into_owned();
    let line = page
        .lines()
        .find(|line| line.contains("certificates.listener"));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_certificate_is_replaced_by_a_symlink_while_a_download_runs() {
    let authority = Authority::new();
    let (first, second) = (authority.sign("first"), authority.sign("second"));
    // As Kubernetes does: files are links through `..data`, which is replaced whole.
    let mounted = tempfile::tempdir().unwrap();
    let path = |name: &str| mounted.path().join(name);
    for (version, pair) in [("..1", &first), ("..2", &second)] {
        std::fs::create_dir(path(version)).unwrap();
        std::fs::copy(&pair.certificate, path(version).join("tls.crt")).unwrap();
        std::fs::copy(&pair.key, path(version).join("tls.key")).unwrap();
    }
    symlink("..1", path("..data")).unwrap();
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), path(name)).unwrap();
    }
    let pair = Pair {
        certificate: path("tls.crt"),
        key: path("tls.key"),
    };
    let stage = Stage::with(&tls(&pair, None));
    let blob = Content::new(LAYER, random_hex(2 << 20));
    stage.behind("app").push_blob(&blob);
    let host = stage.authority().to_owned();
    let url = format!("https://{host}/v2/app/blobs/{}", blob.digest());
    let config = authority.client(None, &[]);
    assert_eq!(handshake(&stage, &config), Some(HandshakeKind::Full));
    let slow = std::thread::spawn({
        let ca = authority.file().display().to_string();
        move || curl(None, &["--cacert", &ca, "--limit-rate", "1M", &url])
    });
    wait_for("the download at the registry", || {
        let seen = stage.gate.seen();
        seen.iter()
            .any(|asked| asked.path.contains("/blobs/"))
            .then_some(())
    });
    assert_eq!(shown(&stage, &config), first.chain()[0].to_vec());

    symlink("..2", path("..next")).unwrap();
    std::fs::rename(path("..next"), path("..data")).unwrap();
    wait_for("the second certificate", || {
        (shown(&stage, &config) == second.chain()[0].to_vec()).then_some(())
    });
    assert_eq!(
        handshake(&stage, &config),
        Some(HandshakeKind::Resumed),
        "tickets still count"
    );
    let read = slow.join().unwrap().success();
    assert_eq!(
        read.stdout.len(),
        blob.bytes.len() + "\n200 2".len(),
        "the download went on"
    );
    assert_eq!(
        metric(
            &stage.regseal,
            RELOADS,
            &["for=\"listener\"", "result=\"ok\""]
        ),
        1.0
    );
}

#[test]
fn what_does_not_fit_together_is_told_once_and_not_used() {
    let authority = Authority::new();
    let (pair, other) = (authority.sign("server"), authority.sign("other"));
    let stage = Stage::with(&tls(&pair, None));
    let config = authority.client(None, &[]);
    let first = shown(&stage, &config);
    for (name, content, problem) in [
        (
            "the key of another",
            std::fs::read(&other.key).unwrap(),
            "is not the key of the certificate",
        ),
        ("no key", b"hidden".to_vec(), "has no private key"),
    ] {
        std::fs::write(&pair.key, content).unwrap();
        wait_for(name, || {
            let check = check(&stage);
            (check.contains("degraded") && check.contains(problem)).then_some(())
        });
        assert_eq!(shown(&stage, &config), first, "{name}");
    }
    let failures = || {
        metric(
            &stage.regseal,
            RELOADS,
            &["for=\"listener\"", "result=\"failed\""],
        )
    };
    assert_eq!(failures(), 2.0);
    let told = stage.regseal.log();
    assert_eq!(
        told.matches("is not the key of the certificate").count(),
        1,
        "told once"
    );
    assert!(!told.contains("hidden"), "{told}");

    pair.replace_by(&other);
    wait_for("the other certificate", || {
        (shown(&stage, &config) == other.chain()[0].to_vec()).then_some(())
    });
    wait_for("health", || check(&stage).starts_with("[+]").then_some(()));
}

#[test]
fn who_has_a_ticket_of_an_authority_that_counts_no_more_is_refused() {
    let (authority, old, new) = (Authority::new(), Authority::new(), Authority::new());
    let listen = tls(&authority.sign("server"), Some(&old));
    let stage = Stage::with(&listen);
    let client = authority.client(Some(&old.sign("client")), &[]);
    assert_eq!(handshake(&stage, &client), Some(HandshakeKind::Full));
    assert_eq!(handshake(&stage, &client), Some(HandshakeKind::Resumed));
    std::fs::copy(new.file(), old.file()).unwrap();
    wait_for("the end of the old authority", || {
        handshake(&stage, &client).is_none().then_some(())
    });
    let known = authority.client(Some(&new.sign("client")), &[]);
    assert_eq!(handshake(&stage, &known), Some(HandshakeKind::Full));
}

#[test]
fn the_certificate_for_the_registry_is_replaced() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let registry = Registry::with_tls(&authority.sign("registry"), Some(&clients));
    let strangers = Authority::new();
    let shown = strangers.sign("stranger");
    let config = format!(
        "upstream: {{ca: {:?}, client_certificate: {:?}, client_key: {:?}, trusts_proxy: acknowledged}}\n",
        authority.file(),
        shown.certificate,
        shown.key
    );
    let regseal = Regseal::builder(&registry)
        .upstream(&format!("https://{}", registry.endpoint.authority))
        .config(&config)
        .start();
    let http = regseal.endpoint.http(ALICE);
    http.get("/v2/").expect(502);
    shown.replace_by(&clients.sign("regseal"));
    wait_for("the right certificate", || {
        (http.get("/v2/").status == 200).then_some(())
    });
}
