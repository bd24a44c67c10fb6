//! What is wrong, and where.

use super::*;

#[test]
fn every_mistake_of_a_file_is_reported_in_one_run() {
    let file = r#"
listen:
  addres: 0.0.0.0:8080
  public_url: https://registry.example.com/prefix
  tls: tls.crt
admin: {address: localhost}
upstream:
  url: http://user:hidden@legacy.example.com
  hides_private_repositories: "yes"
  trusts_proxy: maybe
auth:
  cache_ttl: 2m
  token_relay: maybe
storage: ./data
capture:
  mode: both
  mode: store
  artifact_types:
    - application/vnd.example+json
    - signature
    - 17
  max_blob: 256MIB
  staging: -1
  on_subject_delete: remove
index:
  embedded: {cache: 1MiB}
  redis: {url: 'redis://user:hidden@redis:0'}
policy: {fil: policy.yaml, file: 17}
trust: {directory: []}
webhooks: []
timeouts:
  head: 30
  idle: 0s
  redis: 0s
limits: {in_flight: 0, manifest: 4.5}
telemetry:
  log: {format: xml, levle: info}
completely: different
"#;
    insta::assert_snapshot!(mistakes(file), @r#"
    regseal.yaml:3: listen.addres: unknown key (did you mean "address"?)
    regseal.yaml:4: listen.public_url: a URL without path is expected here
    regseal.yaml:5: listen.tls: expected a mapping of keys, found "tls.crt"
    regseal.yaml:6: admin.address: expected an IP address and a port such as 0.0.0.0:8080, found "localhost"
    regseal.yaml:8: upstream.url: a URL without userinfo is expected here
    regseal.yaml:9: upstream.hides_private_repositories: expected true or false, found "yes"
    regseal.yaml:10: upstream.trusts_proxy: expected no or acknowledged, found "maybe"
    regseal.yaml:12: auth.cache_ttl: expected a duration from 0s to 1m, found "2m"
    regseal.yaml:13: auth.token_relay: expected auto or off, found "maybe"
    regseal.yaml:14: storage: expected a mapping of keys, found "./data"
    regseal.yaml:17: capture.mode: written twice, first on line 16
    regseal.yaml:20: capture.artifact_types: expected a media type such as application/vnd.example+json, found "signature"
    regseal.yaml:21: capture.artifact_types: expected a media type such as application/vnd.example+json, found 17
    regseal.yaml:22: capture.max_blob: expected a size such as 4MiB, 4MB or a number of bytes, found "256MIB"
    regseal.yaml:23: capture.staging: expected a size such as 4MiB, 4MB or a number of bytes, found -1
    regseal.yaml:24: capture.on_subject_delete: expected keep or grace or delete, found "remove"
    regseal.yaml:26: index.embedded.cache: unknown key
    regseal.yaml:27: index.redis: only one of this and index.embedded can be set
    regseal.yaml:27: index.redis.url: expected a URL such as redis://localhost:6379 or rediss://user@redis.example.com:6380/0, found a text with userinfo
    regseal.yaml:28: policy.file: expected a path, found 17
    regseal.yaml:28: policy.fil: unknown key (did you mean "file"?)
    regseal.yaml:29: trust.directory: expected a path, found a list
    regseal.yaml:30: webhooks: not yet supported
    regseal.yaml:32: timeouts.head: expected a duration such as 500ms, 30s, 2m or 1h, found 30
    regseal.yaml:33: timeouts.idle: expected a duration from 1ms to 24h, found "0s"
    regseal.yaml:34: timeouts.redis: expected a duration from 1ms to 24h, found "0s"
    regseal.yaml:35: limits.in_flight: expected a whole number from 1 to 1000000, found 0
    regseal.yaml:35: limits.manifest: expected a size such as 4MiB, 4MB or a number of bytes, found 4.5
    regseal.yaml:37: telemetry.log.format: expected json or text, found "xml"
    regseal.yaml:37: telemetry.log.levle: unknown key (did you mean "level"?)
    regseal.yaml:38: completely: unknown key
    "#);
}

#[test]
fn a_file_that_is_no_mapping_is_one_mistake() {
    for (file, expected, why) in [
        (
            "- a\n",
            "regseal.yaml: expected a mapping of keys, found a list",
            "a list",
        ),
        (
            "text",
            "regseal.yaml: expected a mapping of keys, found \"text\"",
            "a scalar",
        ),
        (
            "listen: {\n",
            "regseal.yaml:1: not valid YAML: ",
            "an open bracket",
        ),
        (
            "listen:\n  a: 1\n b: 2\n",
            "regseal.yaml:3: not valid YAML: ",
            "bad indentation",
        ),
        (
            "listen: *none\n",
            "regseal.yaml:1: not valid YAML: ",
            "an unknown alias",
        ),
        (
            "a: 1\n---\nb: 2\n",
            "regseal.yaml:3: not valid YAML: ",
            "two documents",
        ),
    ] {
        let mistakes = mistakes(file);
        assert!(mistakes.starts_with(expected), "{why}: {mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{why}: {mistakes}");
    }
}

#[test]
fn keys_of_later_versions_are_refused_unless_they_are_null() {
    let case = Case::new(
        "upstream: {url: http://a}\nlisten: {signing: null, tls: ~}\nkeys:\npolicy: null\n",
    );
    assert!(case.load(&[]).is_ok());
    for key in ["listen: {signing: x}", "webhooks: []"] {
        let mistakes = mistakes(&format!("upstream: {{url: http://a}}\n{key}\n"));
        assert!(
            mistakes.starts_with("regseal.yaml:2: "),
            "{key}: {mistakes}"
        );
        assert!(mistakes.ends_with("not yet supported"), "{key}: {mistakes}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let flags = Flags {
        config: Some("missing.yaml".into()),
        ..upstream_flag()
    };
    let directory = tempfile::tempdir().unwrap();
    let errors = load(&flags, &Environment::new(directory.path(), [("", ""); 0])).unwrap_err();
    assert!(matches!(errors, ConfigErrors::Unreadable { .. }));
    assert!(
        errors
            .to_string()
            .starts_with("missing.yaml: cannot be read: ")
    );
}

#[test]
fn mistakes_outside_the_file_name_the_variable_or_the_flag() {
    let case = Case::new("listen: {address: nowhere}\n");
    let flags = Flags {
        listen: Some("8080".to_owned()),
        policy: Some("policy.yaml".to_owned()),
        ..case.flags.clone()
    };
    let environment = case.environment(&[
        ("REGSEAL__LISTEN__ADRESS", "0.0.0.0:8080"),
        ("REGSEAL__LISTEN__ADDRESS", "80"),
        ("REGSEAL__TIMEOUTS", "{head: 5}"),
        ("REGSEAL__STORAGE__S3__BUCKET", "signatures"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("REGSEAL_PORT", "tcp://10.0.0.1:8080"),
        ("HOME", "/root"),
    ]);
    let errors = load(&flags, &environment).unwrap_err();
    insta::assert_snapshot!(errors, @r#"
    regseal.yaml:1: listen.address: expected an IP address and a port such as 0.0.0.0:8080, found "nowhere"
    REGSEAL__LISTEN__ADDRESS: listen.address: expected an IP address and a port such as 0.0.0.0:8080, found 80
    REGSEAL__LISTEN__ADRESS: listen.adress: unknown key (did you mean "address"?)
    REGSEAL__STORAGE__S3__BUCKET: storage.s3: needs index.redis: an embedded index cannot see what other replicas write
    REGSEAL__TIMEOUTS: timeouts.head: expected a duration such as 500ms, 30s, 2m or 1h, found 5
    OTEL_EXPORTER_OTLP_ENDPOINT: telemetry.otlp.endpoint: expected a URL such as https://registry.example.com, found "collector:4317"
    --listen: listen.address: expected an IP address and a port such as 0.0.0.0:8080, found "8080"
    --policy: policy.file: needs keys.sealing: with S3 the replicas share what they have found out, sealed
    upstream.url: required: set it in the file, with REGSEAL__UPSTREAM__URL or with --upstream
    "#);
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_no_text_is_a_mistake() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let variables = [(
        "REGSEAL__STORAGE__DIRECTORY",
        OsString::from_vec(vec![b'/', 0xff]),
    )];
    let errors = load(&upstream_flag(), &Environment::new("/srv", variables)).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "REGSEAL__STORAGE__DIRECTORY: storage.directory: the value is not UTF-8"
    );
}

#[test]
fn a_weaker_value_is_checked_as_well() {
    let case = Case::new("upstream: {url: ftp://file}\n");
    let mistakes = case
        .load(&[("REGSEAL__UPSTREAM__URL", "http://variable")])
        .unwrap_err();
    assert!(
        mistakes.starts_with("regseal.yaml:1: upstream.url: "),
        "{mistakes}"
    );
}
