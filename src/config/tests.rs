//! The configuration as a whole: files with mistakes, layers, the dump, and the files that are shipped.

use std::path::Path;

use super::*;

/// A directory with one file, and the flags that name it.
struct Case {
    directory: tempfile::TempDir,
    flags: Flags,
}

impl Case {
    fn new(file: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("regseal.yaml"), file).unwrap();
        let flags = Flags {
            config: Some("regseal.yaml".into()),
            ..Flags::default()
        };
        Self { directory, flags }
    }

    fn environment(&self, variables: &[(&str, &str)]) -> Environment {
        Environment::new(self.directory.path(), variables.iter().copied())
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Settings, String> {
        load(&self.flags, &self.environment(variables)).map_err(|errors| errors.to_string())
    }
}

fn mistakes(file: &str) -> String {
    Case::new(file).load(&[]).unwrap_err()
}

fn upstream_flag() -> Flags {
    Flags {
        upstream: Some("http://localhost:5000".to_owned()),
        ..Flags::default()
    }
}

#[test]
fn every_mistake_of_a_file_is_reported_in_one_run() {
    let file = r#"
listen:
  addres: 0.0.0.0:8080
  public_url: https://registry.example.com/prefix
  tls: {certificate: tls.crt}
admin: {address: localhost}
upstream:
  url: http://user:hidden@legacy.example.com
  hides_private_repositories: "yes"
  client_certificate: c.crt
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
  on_subject_delete: grace
index:
  embedded: {cache: 1MiB}
  redis: {url: redis://redis}
policy: {file: policy.yaml}
webhooks: []
timeouts:
  head: 30
  idle: 0s
  redis: 1s
limits: {in_flight: 0, manifest: 4.5}
telemetry:
  log: {format: xml, levle: info}
completely: different
"#;
    insta::assert_snapshot!(mistakes(file), @r#"
    regseal.yaml:3: listen.addres: unknown key (did you mean "address"?)
    regseal.yaml:4: listen.public_url: a URL without path is expected here
    regseal.yaml:5: listen.tls: not yet supported
    regseal.yaml:6: admin.address: expected an IP address and a port such as 0.0.0.0:8080, found "localhost"
    regseal.yaml:8: upstream.url: a URL without userinfo is expected here
    regseal.yaml:9: upstream.hides_private_repositories: expected true or false, found "yes"
    regseal.yaml:10: upstream.client_certificate: not yet supported
    regseal.yaml:12: auth.cache_ttl: expected a duration from 0s to 1m, found "2m"
    regseal.yaml:13: auth.token_relay: expected auto or off, found "maybe"
    regseal.yaml:14: storage: expected a mapping of keys, found "./data"
    regseal.yaml:17: capture.mode: written twice, first on line 16
    regseal.yaml:20: capture.artifact_types: expected a media type such as application/vnd.example+json, found "signature"
    regseal.yaml:21: capture.artifact_types: expected a media type such as application/vnd.example+json, found 17
    regseal.yaml:22: capture.max_blob: expected a size such as 4MiB, 4MB or a number of bytes, found "256MIB"
    regseal.yaml:23: capture.staging: expected a size such as 4MiB, 4MB or a number of bytes, found -1
    regseal.yaml:24: capture.on_subject_delete: "grace" is not yet supported
    regseal.yaml:26: index.embedded.cache: unknown key
    regseal.yaml:27: index.redis: not yet supported
    regseal.yaml:28: policy: not yet supported
    regseal.yaml:29: webhooks: not yet supported
    regseal.yaml:31: timeouts.head: expected a duration such as 500ms, 30s, 2m or 1h, found 30
    regseal.yaml:32: timeouts.idle: expected a duration from 1ms to 24h, found "0s"
    regseal.yaml:33: timeouts.redis: not yet supported
    regseal.yaml:34: limits.in_flight: expected a whole number from 1 to 1000000, found 0
    regseal.yaml:34: limits.manifest: expected a size such as 4MiB, 4MB or a number of bytes, found 4.5
    regseal.yaml:36: telemetry.log.format: expected json or text, found "xml"
    regseal.yaml:36: telemetry.log.levle: unknown key (did you mean "level"?)
    regseal.yaml:37: completely: unknown key
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
    for key in [
        "listen: {signing: x}",
        "listen: {tls: {}}",
        "listen: {proxy_protocol: x}",
        "listen: {trusted_proxies: []}",
        "admin: {token_file: x}",
        "auth: {realms: []}",
        "storage: {s3: {bucket: x}}",
        "index: {redis: {}}",
        "keys: {}",
        "policy: {}",
        "trust: {}",
        "webhooks: []",
        "timeouts: {redis: 1s}",
        "timeouts: {s3_operation: 15s}",
        "capture: {on_subject_delete: delete}",
    ] {
        let mistakes = mistakes(&format!("upstream: {{url: http://a}}\n{key}\n"));
        assert!(
            mistakes.starts_with("regseal.yaml:2: "),
            "{key}: {mistakes}"
        );
        assert!(mistakes.ends_with("not yet supported"), "{key}: {mistakes}");
    }
    for key in ["client_certificate", "client_key", "service_account"] {
        let mistakes = mistakes(&format!("upstream:\n  url: http://a\n  {key}: x\n"));
        assert_eq!(
            mistakes,
            format!("regseal.yaml:3: upstream.{key}: not yet supported")
        );
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
    REGSEAL__STORAGE__S3__BUCKET: storage.s3: not yet supported
    REGSEAL__TIMEOUTS: timeouts.head: expected a duration such as 500ms, 30s, 2m or 1h, found 5
    OTEL_EXPORTER_OTLP_ENDPOINT: telemetry.otlp.endpoint: expected a URL such as https://registry.example.com, found "collector:4317"
    --listen: listen.address: expected an IP address and a port such as 0.0.0.0:8080, found "8080"
    --policy: policy: not yet supported
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
fn flags_win_over_variables_over_the_file_over_defaults() {
    let case = Case::new(
        "upstream: {url: http://file}\nlisten: {address: 127.0.0.1:1}\nadmin: {address: 127.0.0.1:1}\n",
    );
    let variables = [
        ("REGSEAL__LISTEN__ADDRESS", "127.0.0.1:2"),
        ("REGSEAL__ADMIN__ADDRESS", "127.0.0.1:2"),
    ];
    let flags = Flags {
        admin: Some("127.0.0.1:3".to_owned()),
        ..case.flags.clone()
    };
    let settings = load(&flags, &case.environment(&variables)).unwrap();
    assert_eq!(settings.upstream.url, "http://file");
    assert_eq!(settings.listen.address.port(), 2);
    assert_eq!(settings.admin.address.port(), 3);
    assert_eq!(settings.limits.in_flight, 1024);
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

#[test]
fn variables_are_yaml_where_they_can_be() {
    let environment = Environment::new(
        "/srv",
        [
            ("REGSEAL__LISTEN__ADDRESS", "[::1]:8080"),
            ("REGSEAL__CAPTURE__ARTIFACT_TYPES", r#"["a/b", c/d]"#),
            ("REGSEAL__CAPTURE__ABSORB_COSIGN_TAGS", "false"),
            ("REGSEAL__AUTH__TOKEN_RELAY", "off"),
            ("REGSEAL__LIMITS__MANIFEST", "1048576"),
            ("REGSEAL__TIMEOUTS", "{head: 5s, idle: 6s}"),
            ("REGSEAL__TIMEOUTS__IDLE", "7s"),
            ("REGSEAL__LISTEN__PUBLIC_URL", ""),
        ],
    );
    let settings = load(&upstream_flag(), &environment).unwrap();
    assert_eq!(settings.listen.address.to_string(), "[::1]:8080");
    assert_eq!(settings.listen.public_url, None);
    assert_eq!(settings.capture.artifact_types, ["a/b", "c/d"]);
    assert!(!settings.capture.absorb_cosign_tags);
    assert_eq!(settings.limits.manifest, 1 << 20);
    assert_eq!(settings.timeouts.head.as_secs(), 5);
    assert_eq!(settings.timeouts.idle.as_secs(), 7);
}

#[test]
fn shared_variables_are_honoured_and_weaker_than_ours() {
    let mut variables = vec![
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318"),
        ("OTEL_SERVICE_NAME", "42"),
    ];
    let settings = load(
        &upstream_flag(),
        &Environment::new("/srv", variables.clone()),
    )
    .unwrap();
    assert_eq!(
        settings.telemetry.otlp_endpoint.unwrap(),
        "http://collector:4318"
    );
    assert_eq!(settings.telemetry.service_name, "42");
    variables.push(("REGSEAL__TELEMETRY__SERVICE_NAME", "seal"));
    let settings = load(&upstream_flag(), &Environment::new("/srv", variables)).unwrap();
    assert_eq!(settings.telemetry.service_name, "seal");
    let empty = [("OTEL_EXPORTER_OTLP_ENDPOINT", "")];
    let settings = load(&upstream_flag(), &Environment::new("/srv", empty)).unwrap();
    assert_eq!(settings.telemetry.otlp_endpoint, None);
}

#[test]
fn relative_paths_start_where_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("etc")).unwrap();
    let file = "upstream: {url: http://a, ca: ./ca.crt}\nstorage: {directory: ../data}\n";
    std::fs::write(directory.path().join("etc/regseal.yaml"), file).unwrap();
    let mut flags = Flags {
        config: Some("etc/regseal.yaml".into()),
        ..Flags::default()
    };
    let nothing: [(&str, &str); 0] = [];
    let environment = Environment::new(directory.path(), nothing);
    let settings = load(&flags, &environment).unwrap();
    assert_eq!(
        settings.upstream.ca.unwrap(),
        directory.path().join("etc/ca.crt")
    );
    assert_eq!(
        settings.storage.directory,
        directory.path().join("etc/../data")
    );
    flags.data = Some("./data".to_owned());
    let settings = load(&flags, &environment).unwrap();
    assert_eq!(settings.storage.directory, directory.path().join("data"));
}

#[test]
fn a_dump_loads_again_and_names_origins() {
    let file = "listen:\n  public_url: https://registry.example.com\nupstream: {ca: 'my #ca: 1.crt'}\ncapture:\n  \
                artifact_types: []\n  max_blob: 1000001\nauth: {token_relay: off, cache_ttl: 0s}\n";
    let case = Case::new(file);
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
    admin:
      address: 127.0.0.1:8081  # default
    upstream:
      url: http://localhost:5000  # --upstream
      ca: "/srv/my #ca: 1.crt"  # regseal.yaml:3
      hides_private_repositories: true  # default
    auth:
      token_relay: "off"  # regseal.yaml:7
      cache_ttl: 0s  # regseal.yaml:7
    storage:
      directory: /srv/regseal-data  # default
    index:
      embedded: {}
    capture:
      mode: auto  # default
      artifact_types: []  # regseal.yaml:5
      max_blob: 1000001B  # regseal.yaml:6
      staging: 1MiB  # default
      absorb_fallback_tags: true  # default
      absorb_cosign_tags: true  # default
      on_subject_delete: keep  # default
    timeouts:
      head: 30s  # default
      idle: 1m  # default
      upstream_connect: 5s  # default
      upstream_first_byte: 1m  # default
      drain: 30s  # default
    limits:
      in_flight: 1024  # default
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

#[test]
fn the_shipped_file_says_the_defaults() {
    let shipped = std::fs::read_to_string("config/regseal.yaml").unwrap();
    // A line that is commented out is an example of a key without a default; every other one is a default.
    let all: String = shipped
        .lines()
        .map(|line| match line.trim_start().strip_prefix("#: ") {
            Some(example) => format!("{}{example}\n", " ".repeat(line.find('#').unwrap())),
            None => format!("{line}\n"),
        })
        .collect();
    let plain = Case::new(&shipped);
    let settings = plain.load(&[]).unwrap();
    let defaults = load(
        &Flags {
            upstream: Some(settings.upstream.url.to_string()),
            ..Flags::default()
        },
        &plain.environment(&[]),
    );
    assert_eq!(settings, defaults.unwrap());

    let case = Case::new(&all);
    let dump = dump_yaml(&case.flags, &case.environment(&[])).unwrap();
    let missing: Vec<_> = dump
        .lines()
        .filter(|line| line.ends_with("# default"))
        .collect();
    assert!(
        missing.is_empty(),
        "keys that config/regseal.yaml does not show: {missing:#?}"
    );
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
    for pointer in ["/properties/policy", "/properties/listen/properties/tls"] {
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
