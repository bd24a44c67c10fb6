//! Which source wins, and how each is read.

use super::*;

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
    assert_eq!(settings.upstream.unwrap().url, "http://file");
    assert_eq!(settings.listen.address.port(), 2);
    assert_eq!(settings.admin.address.port(), 3);
    assert_eq!(settings.limits.in_flight, 1024);
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
    let file =
        "upstream: {url: http://a}\npolicy: {file: ./policy.yaml}\nstorage: {directory: ../data}\n";
    std::fs::write(directory.path().join("etc/regseal.yaml"), file).unwrap();
    let mut flags = Flags {
        config: Some("etc/regseal.yaml".into()),
        ..Flags::default()
    };
    let nothing: [(&str, &str); 0] = [];
    let environment = Environment::new(directory.path(), nothing);
    let settings = load(&flags, &environment).unwrap();
    assert_eq!(
        settings.policy.file.unwrap(),
        directory.path().join("etc/policy.yaml")
    );
    assert_eq!(
        settings.storage,
        Storage::Directory(directory.path().join("etc/../data"))
    );
    flags.data = Some("./data".to_owned());
    let settings = load(&flags, &environment).unwrap();
    let data = directory.path().join("data");
    assert_eq!(settings.storage, Storage::Directory(data));
}
