//! The dump, and the files that are shipped.

use super::*;
use crate::secret::Secret;
use crate::store::blob::s3::Credentials;
use crate::store::index::redis::Mode;

#[test]
fn a_dump_loads_again_and_names_origins() {
    let file = "listen:\n  public_url: https://registry.example.com\nupstream: {ca: 'my #ca: 1.crt'}\ncapture:\n  \
                artifact_types: []\n  max_blob: 1000001\nauth: {token_relay: off, cache_ttl: 0s}\n";
    let case = Case::new(file);
    case.certificate("my #ca: 1.crt", "ca.key");
    let flags = Flags {
        upstream: Some("http://localhost:5000/".to_owned()),
        verbose: 1,
        ..case.flags.clone()
    };
    let environment = case.environment(&[
        ("REGSEAL__TELEMETRY__LOG__FORMAT", "text"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otlp/"),
    ]);
    let settings = load(&flags, &environment).unwrap();
    let dump = dump_yaml(&flags, &environment).unwrap();
    for dump in [
        dump.clone(),
        dump_json(&flags, &environment).unwrap().to_string(),
    ] {
        assert_eq!(Case::new(&dump).load(&[]).as_ref(), Ok(&settings), "{dump}");
    }
    let place = case.directory.path().to_str().unwrap();
    insta::assert_snapshot!(dump.replace(place, "/srv"), @r#"
    listen:
      address: 0.0.0.0:8080  # default
      public_url: https://registry.example.com  # regseal.yaml:2
      proxy_protocol:
        from: []  # default
      trusted_proxies: []  # default
    admin:
      address: 127.0.0.1:8081  # default
      token_file: null  # default
    upstream:
      url: http://localhost:5000  # --upstream
      ca: "/srv/my #ca: 1.crt"  # regseal.yaml:3
      hides_private_repositories: true  # default
      foreign_uploads: map  # default
      redirects: relay  # default
      namespaces: []  # default
      mend_tag_delete: true  # default
      client_certificate: null  # default
      client_key: null  # default
      trusts_proxy: "no"  # default
    auth:
      token_relay: "off"  # regseal.yaml:7
      realms: []  # default
      cache_ttl: 0s  # regseal.yaml:7
    storage:
      directory: /srv/regseal-data  # default
    index:
      embedded: {}
    keys:
      sealing: null  # default
      signing: null  # default
    capture:
      mode: auto  # default
      artifact_types: []  # regseal.yaml:5
      max_blob: 1000001B  # regseal.yaml:6
      staging: 1MiB  # default
      absorb_fallback_tags: true  # default
      absorb_cosign_tags: true  # default
      refresh: 1m  # default
      on_subject_delete: keep  # default
      subject_grace: 24h  # default
    gc:
      between_scans: 1h  # default
      untouched: 24h  # default
    policy:
      file: null  # default
    trust:
      directory: null  # default
    timeouts:
      head: 30s  # default
      idle: 1m  # default
      upstream_connect: 5s  # default
      upstream_first_byte: 1m  # default
      upload_completion: 10m  # default
      upstream_queue: 2s  # default
      request: 2m  # default
      drain: 30s  # default
      redis: 1s  # default
      s3_operation: 15s  # default
    limits:
      in_flight: 1024  # default
      per_client: 0  # default
      upstream: 512  # default
      upstream_queue: 512  # default
      buffered: 64MiB  # default
      manifest: 4MiB  # default
    telemetry:
      service_name: regseal  # default
      otlp:
        endpoint: http://collector:4318/otlp/  # OTEL_EXPORTER_OTLP_ENDPOINT
      log:
        format: text  # REGSEAL__TELEMETRY__LOG__FORMAT
        level: debug  # -v
    "#);
}

/// The shipped file, with the lines that begin with one of these marks made part of it.
fn shipped(marks: &[&str]) -> String {
    let shipped = std::fs::read_to_string("config/regseal.yaml").unwrap();
    let line = |line: &str| {
        let text = line.trim_start();
        match marks.iter().find_map(|mark| text.strip_prefix(mark)) {
            Some(example) => format!("{}{example}\n", " ".repeat(line.find('#').unwrap())),
            None => format!("{line}\n"),
        }
    };
    shipped.lines().map(line).collect()
}

/// A case of that file, beside which the files lie that it names.
fn shipped_case(text: &str) -> Case {
    let case = Case::new(text);
    for file in [
        "s3-secret",
        "s3-token",
        "redis-password",
        "sentinel-password",
        "sealing-1.key",
        "admin-token",
        "upstream-password",
        "signing.pem",
    ] {
        std::fs::write(case.directory.path().join(file), "hidden\n").unwrap();
    }
    for (certificate, key) in [
        ("tls.crt", "tls.key"),
        ("upstream.crt", "upstream.key"),
        ("clients.crt", "clients.key"),
        ("ca.crt", "ca.key"),
    ] {
        case.certificate(certificate, key);
    }
    case
}

const DEFAULT_STORES: [&str; 2] = ["  directory: ./regseal-data\n", "  embedded: {}\n"];

#[test]
fn the_shipped_file_says_the_defaults() {
    let plain = shipped_case(&shipped(&[]));
    let settings = plain.load(&[]).unwrap();
    let defaults = load(
        &Flags {
            upstream: Some(settings.upstream.as_ref().unwrap().url.to_string()),
            ..Flags::default()
        },
        &plain.environment(&[]),
    );
    assert_eq!(settings, defaults.unwrap());
}

#[test]
fn the_alternatives_of_the_shipped_file_are_valid() {
    let text = shipped(&["#| "]);
    for default in DEFAULT_STORES {
        assert!(text.contains(default), "{default}");
    }
    let both = shipped_case(&text).load(&[]).unwrap_err();
    assert!(both.contains("only one of this and"), "{both}");
    let text = DEFAULT_STORES
        .iter()
        .fold(text, |text, default| text.replace(default, ""));
    let settings = shipped_case(&text).load(&[]).unwrap();
    let (Storage::S3(s3), Index::Redis(redis)) = (settings.storage, settings.index) else {
        panic!("not S3 and Redis")
    };
    assert_eq!(s3.config.credentials, Credentials::Chain);
    assert_eq!(redis.config.mode, Mode::Single);
}

#[test]
fn the_shipped_file_shows_every_key() {
    let text = shipped(&["#| ", "#: "]);
    let text = DEFAULT_STORES
        .iter()
        .fold(text, |text, default| text.replace(default, ""))
        .replace("encryption: bucket", "encryption: kms")
        .replace("mode: single", "mode: sentinel");
    let case = shipped_case(&text);
    let dump = dump_yaml(&case.flags, &case.environment(&[])).unwrap();
    assert!(!dump.contains("hidden"), "{dump}");
    let missing: Vec<_> = dump
        .lines()
        .filter(|line| line.ends_with("# default"))
        .map(|line| line.trim().split(':').next().unwrap())
        .collect();
    // What cannot stand beside what the file shows.
    let others = [
        "password",
        "secret_access_key",
        "session_token",
        "profile",
        "password",
        "sentinel_password",
    ];
    assert_eq!(
        missing, others,
        "keys that config/regseal.yaml does not show"
    );
}

#[test]
fn a_dump_of_s3_and_redis_loads_again_without_its_secrets() {
    let file = "storage:\n  s3: {bucket: signatures, access_key_id: key, secret_access_key: hidden}\n\
                index:\n  redis: {url: 'redis://user:hidden@localhost'}\n";
    let case = Case::new(file);
    let flags = Flags {
        upstream: Some("http://localhost:5000".to_owned()),
        ..case.flags.clone()
    };
    let environment = case.environment(&[]);
    let mut settings = load(&flags, &environment).unwrap();
    assert!(!format!("{settings:?}").contains("hidden"), "{settings:?}");
    if let (Storage::S3(s3), Index::Redis(redis)) = (&mut settings.storage, &mut settings.index) {
        s3.config.credentials = Credentials::Static {
            access_key_id: "key".to_owned(),
            secret_access_key: Secret::new("***"),
            session_token: None,
        };
        redis.config.password = Some(Secret::new("***"));
    }
    let dump = dump_yaml(&flags, &environment).unwrap();
    for dump in [
        dump.clone(),
        dump_json(&flags, &environment).unwrap().to_string(),
    ] {
        assert!(!dump.contains("hidden"), "{dump}");
        assert_eq!(Case::new(&dump).load(&[]).as_ref(), Ok(&settings), "{dump}");
    }
    let stores = dump.split("storage:\n").nth(1).unwrap();
    let stores = stores.split("keys:\n").next().unwrap();
    insta::assert_snapshot!(stores, @r#"
      s3:
        bucket: signatures  # regseal.yaml:2
        prefix: null  # default
        region: null  # default
        endpoint: null  # default
        path_style: false  # default
        access_key_id: key  # regseal.yaml:2
        secret_access_key: "***"  # regseal.yaml:2
        secret_access_key_file: null  # default
        session_token: null  # default
        session_token_file: null  # default
        profile: null  # default
        encryption: bucket  # default
        kms_key_id: null  # default
        checksums: when_required  # default
        conditional_writes: auto  # default
        ca: null  # default
    index:
      redis:
        url: redis://user:***@localhost  # regseal.yaml:4
        password: null  # default
        password_file: null  # default
        mode: single  # default
        master_name: null  # default
        sentinel_username: null  # default
        sentinel_password: null  # default
        sentinel_password_file: null  # default
        key_prefix: rx1  # default
        ca: null  # default
    "#);
}

#[test]
fn the_shipped_schema_is_current() {
    let shipped = std::fs::read_to_string("config/regseal.schema.json").unwrap();
    let shipped: serde_json::Value = serde_json::from_str(&shipped).unwrap();
    assert!(
        shipped == schema(),
        "run `regseal config schema > config/regseal.schema.json`"
    );
}

#[test]
fn the_schema_names_what_is_not_yet_supported() {
    let schema = schema();
    for pointer in [
        "/properties/webhooks",
        "/properties/listen/properties/signing",
    ] {
        let later = schema.pointer(pointer).unwrap();
        assert!(
            later["description"]
                .as_str()
                .unwrap()
                .starts_with("Not yet supported. ")
        );
    }
    let ttl = schema
        .pointer("/properties/auth/properties/cache_ttl")
        .unwrap();
    assert_eq!(ttl["default"], "30s");
    assert_eq!(ttl["type"], serde_json::json!(["string", "null"]));
    assert_eq!(
        schema
            .pointer("/properties/storage/properties/directory/default")
            .unwrap(),
        Path::new("regseal-data").to_str().unwrap()
    );
}
