//! S3, Redis, and which stores go together.

use std::time::Duration;

use super::*;
use crate::secret::Secret;
use crate::store::OnSubjectDelete;
use crate::store::blob::s3::{self, Checksums, ConditionalWrites, Credentials, Encryption};
use crate::store::index::redis::{Mode, Server};

/// Files of secrets beside the configuration.
fn case(file: &str) -> Case {
    let case = Case::new(&format!("upstream: {{url: http://a}}\n{file}"));
    for (name, content) in [
        ("secret", "hidden secret\n"),
        ("windows", "hidden\r\n"),
        ("empty", "\n"),
        ("key", "hidden"),
    ] {
        std::fs::write(case.directory.path().join(name), content).unwrap();
    }
    case
}

fn settings(file: &str) -> Settings {
    case(file).load(&[]).unwrap()
}

fn s3(file: &str) -> s3::Config {
    let index = "index: {redis: {url: redis://redis}}";
    match settings(&format!("storage: {{s3: {file}}}\n{index}")).storage {
        Storage::S3(s3) => s3.config,
        Storage::Directory(_) => panic!("a directory"),
    }
}

fn redis(file: &str) -> Redis {
    match settings(&format!("index: {{redis: {file}}}")).index {
        Index::Redis(redis) => *redis,
        Index::Embedded(_) => panic!("embedded"),
    }
}

fn server(host: &str, port: u16) -> Server {
    Server {
        host: host.to_owned(),
        port,
    }
}

/// Lines of the configuration, and the mistakes in them without file and line.
fn mistakes_of(file: &str) -> Vec<String> {
    let case = case(file);
    let place = format!("{}/", case.directory.path().display());
    let mistakes = case.load(&[]).unwrap_err();
    assert!(!mistakes.contains("hidden"), "{mistakes}");
    let lines = mistakes.lines().map(|line| {
        // What is missing stands nowhere.
        let mistake = match line.strip_prefix("regseal.yaml:") {
            Some(placed) => placed.split_once(": ").unwrap().1,
            None => line,
        };
        mistake.replace(&place, "")
    });
    lines.collect()
}

#[test]
fn a_bucket_needs_little() {
    let config = s3("{bucket: signatures}");
    let expected = s3::Config {
        bucket: "signatures".to_owned(),
        prefix: None,
        region: None,
        endpoint: None,
        path_style: false,
        credentials: Credentials::Chain,
        encryption: Encryption::Bucket,
        checksums: Checksums::WhenRequired,
        conditional_writes: ConditionalWrites::Auto,
        ca: None,
        operation_timeout: Duration::from_secs(15),
    };
    assert_eq!(config, expected);
}

#[test]
fn every_key_of_a_bucket_arrives() {
    let config = s3(
        "{bucket: b.1, prefix: a/b/, region: r, endpoint: https://s3:9000, path_style: false, \
         access_key_id: id, secret_access_key_file: secret, session_token: token, encryption: kms, kms_key_id: k, \
         checksums: when_supported, conditional_writes: off}",
    );
    assert_eq!(config.prefix.as_deref(), Some("a/b"));
    assert_eq!(config.endpoint.unwrap(), "https://s3:9000");
    assert!(!config.path_style);
    let credentials = Credentials::Static {
        access_key_id: "id".to_owned(),
        secret_access_key: Secret::new("hidden secret"),
        session_token: Some(Secret::new("token")),
    };
    assert_eq!(config.credentials, credentials);
    let key_id = Some("k".to_owned());
    assert_eq!(config.encryption, Encryption::Kms { key_id });
    assert_eq!(config.checksums, Checksums::WhenSupported);
    assert_eq!(config.conditional_writes, ConditionalWrites::Off);
    assert!(s3("{bucket: b-1, endpoint: http://s3}").path_style);
    assert_eq!(
        s3("{bucket: b-1, profile: dev}").credentials,
        Credentials::Profile("dev".to_owned())
    );
}

#[test]
fn redis_is_one_server_or_many() {
    let one = redis("{url: redis://localhost}").config;
    assert_eq!(one.servers, [server("localhost", 6379)]);
    assert_eq!((one.tls, one.database), (false, 0));
    assert_eq!((one.username, one.password), (None, None));
    assert_eq!(one.mode, Mode::Single);
    assert_eq!(one.key_prefix, "rx1");
    assert_eq!(one.timeout, Duration::from_secs(1));

    let one = redis(
        "{url: 'rediss://user@[::1]:6380/2', password_file: windows, key_prefix: p, ca: ca.crt}",
    );
    assert!(one.ca.unwrap().ends_with("ca.crt"));
    let one = one.config;
    assert_eq!(one.servers, [server("::1", 6380)]);
    assert_eq!((one.tls, one.database), (true, 2));
    assert_eq!(one.username.as_deref(), Some("user"));
    assert_eq!(one.password, Some(Secret::new("hidden")));

    let cluster = redis("{url: 'redis://a,b:7000,[::1]', mode: cluster}").config;
    let nodes = [server("a", 6379), server("b", 7000), server("::1", 6379)];
    assert_eq!(cluster.servers, nodes);
    assert_eq!(cluster.mode, Mode::Cluster);

    let sentinel = redis(
        "{url: 'redis://:p%40ss@a,b:7000/1', mode: sentinel, sentinel_username: s, sentinel_password: '1'}",
    )
    .config;
    assert_eq!(sentinel.servers, [server("a", 26379), server("b", 7000)]);
    assert_eq!(sentinel.password, Some(Secret::new("p@ss")));
    let mode = Mode::Sentinel {
        service: "mymaster".to_owned(),
        username: Some("s".to_owned()),
        password: Some(Secret::new("1")),
    };
    assert_eq!(sentinel.mode, mode);
}

#[test]
fn stores_go_together_or_not() {
    let redis = "index: {redis: {url: redis://redis}}\n";
    assert!(matches!(
        settings(redis).storage,
        Storage::Directory(directory) if directory.ends_with("regseal-data")
    ));
    let embedded = settings("storage: {directory: d}\nindex: {embedded: {}}\n");
    let (Storage::Directory(objects), Index::Embedded(index)) = (embedded.storage, embedded.index)
    else {
        panic!("not embedded")
    };
    assert_eq!(objects, index);
    // Nothing is written by keys that hold nothing.
    let null = settings("storage: {s3: , directory: d}\nindex: {redis: {url: null}}\n");
    assert!(matches!(null.index, Index::Embedded(_)));

    let s3 = "storage: {s3: {bucket: signatures}}\n";
    let needs =
        "storage.s3: needs index.redis: an embedded index cannot see what other replicas write";
    assert_eq!(mistakes_of(s3), [needs]);
    assert_eq!(
        mistakes_of(&format!("{s3}index: {{embedded: {{}}}}")),
        [needs]
    );
    assert_eq!(
        mistakes_of(&format!(
            "storage: {{directory: d, s3: {{bucket: signatures}}}}\n{redis}"
        )),
        ["storage.s3: only one of this and storage.directory can be set"]
    );
    assert_eq!(
        mistakes_of("index: {redis: {url: redis://redis}, embedded: {}}"),
        ["index.redis: only one of this and index.embedded can be set"]
    );
}

#[test]
fn mistakes_in_the_keys_of_a_bucket_are_told() {
    for (keys, expected) in [
        (
            "prefix: p",
            &[
                "storage.s3.bucket: required: set it in the file or with REGSEAL__STORAGE__S3__BUCKET",
            ][..],
        ),
        (
            "bucket: Signatures",
            &[
                "storage.s3.bucket: expected the name of a bucket: 3 to 63 lower case letters, digits, dots and hyphens, found \"Signatures\"",
            ],
        ),
        (
            "bucket: b-1, prefix: /p",
            &[
                "storage.s3.prefix: expected at most 120 letters, digits, dots, underscores and hyphens, with single slashes between names, found \"/p\"",
            ],
        ),
        (
            "bucket: b-1, endpoint: s3:9000",
            &[
                "storage.s3.endpoint: expected a URL such as https://registry.example.com, found \"s3:9000\"",
            ],
        ),
        (
            "bucket: b-1, access_key_id: id",
            &["storage.s3.access_key_id: needs secret_access_key or secret_access_key_file"],
        ),
        (
            "bucket: b-1, secret_access_key: hidden",
            &["storage.s3.secret_access_key: needs access_key_id"],
        ),
        (
            "bucket: b-1, secret_access_key_file: secret",
            &["storage.s3.secret_access_key_file: needs access_key_id"],
        ),
        (
            "bucket: b-1, session_token: hidden",
            &["storage.s3.session_token: needs access_key_id"],
        ),
        (
            "bucket: b-1, access_key_id: id, secret_access_key: hidden, secret_access_key_file: secret",
            &[
                "storage.s3.secret_access_key_file: only one of this and storage.s3.secret_access_key can be set",
            ],
        ),
        (
            "bucket: b-1, access_key_id: id, secret_access_key: hidden, profile: dev",
            &["storage.s3.profile: only one of this and storage.s3.access_key_id can be set"],
        ),
        (
            "bucket: b-1, access_key_id: id, secret_access_key_file: missing",
            &[
                "storage.s3.secret_access_key_file: cannot read missing: No such file or directory (os error 2)",
            ],
        ),
        (
            "bucket: b-1, access_key_id: id, secret_access_key_file: empty",
            &["storage.s3.secret_access_key_file: empty is empty"],
        ),
        (
            "bucket: b-1, access_key_id: id, secret_access_key: 12345",
            &[
                "storage.s3.secret_access_key: expected a text that is not empty, in quotes if it looks like something else",
            ],
        ),
        (
            "bucket: b-1, kms_key_id: k",
            &["storage.s3.kms_key_id: has an effect only with encryption: kms"],
        ),
        (
            "bucket: b-1, encryption: aws:kms",
            &["storage.s3.encryption: expected bucket or aes256 or kms, found \"aws:kms\""],
        ),
        (
            "bucket: b-1, endpoint: http://s3, ca: ca.crt",
            &["storage.s3.ca: has an effect only with TLS"],
        ),
    ] {
        let file = format!("storage: {{s3: {{{keys}}}}}\nindex: {{redis: {{url: redis://redis}}}}");
        assert_eq!(mistakes_of(&file), expected, "{keys}");
    }
}

#[test]
fn mistakes_in_the_keys_of_redis_are_told() {
    for (keys, expected) in [
        (
            "mode: single",
            &["index.redis.url: required: set it in the file or with REGSEAL__INDEX__REDIS__URL"][..],
        ),
        (
            "url: 'http://user:hidden@redis'",
            &[
                "index.redis.url: expected a URL such as redis://localhost:6379 or rediss://user@redis.example.com:6380/0, found a text with userinfo",
            ],
        ),
        (
            "url: 'redis://a,b'",
            &["index.redis.url: needs mode: sentinel or mode: cluster for several hosts"],
        ),
        (
            "url: 'redis://a/1', mode: cluster",
            &["index.redis.url: a URL without the number of a database is expected here"],
        ),
        (
            "url: redis://user@redis",
            &["index.redis.url: needs a password or password_file for the user it names"],
        ),
        (
            "url: 'redis://:hidden@redis', password_file: secret",
            &[
                "index.redis.password_file: only one of this and a password in index.redis.url can be set",
            ],
        ),
        (
            "url: redis://redis, password: hidden, password_file: secret",
            &["index.redis.password_file: only one of this and index.redis.password can be set"],
        ),
        (
            "url: redis://redis, master_name: m",
            &["index.redis.master_name: has an effect only with mode: sentinel"],
        ),
        (
            "url: redis://redis, mode: cluster, sentinel_password: hidden",
            &["index.redis.sentinel_password: has an effect only with mode: sentinel"],
        ),
        (
            "url: redis://redis, mode: sentinel, sentinel_username: s",
            &["index.redis.sentinel_username: needs sentinel_password or sentinel_password_file"],
        ),
        (
            "url: redis://redis, key_prefix: 'a{b}'",
            &[
                "index.redis.key_prefix: expected 1 to 64 letters, digits, dots, underscores, hyphens and colons, found \"a{b}\"",
            ],
        ),
        (
            "url: redis://redis, ca: ca.crt",
            &["index.redis.ca: has an effect only with TLS"],
        ),
        (
            "urls: redis://redis, url: redis://redis",
            &["index.redis.urls: unknown key (did you mean \"url\"?)"],
        ),
    ] {
        assert_eq!(
            mistakes_of(&format!("index: {{redis: {{{keys}}}}}")),
            expected,
            "{keys}"
        );
    }
    assert_eq!(
        mistakes_of("index: {redis: 'redis://user:hidden@redis'}"),
        ["index.redis: expected a mapping of keys, found a URL with userinfo"]
    );
}

#[test]
fn a_secret_in_a_variable_is_taken_as_it_stands() {
    let case = case("storage: {s3: {bucket: signatures, access_key_id: id}}\n");
    for secret in ["0123", "true", "# {[", " a b ", "'quoted'", "a: b"] {
        let settings = case
            .load(&[
                ("REGSEAL__STORAGE__S3__SECRET_ACCESS_KEY", secret),
                ("REGSEAL__STORAGE__S3__SESSION_TOKEN", ""),
                ("REGSEAL__INDEX__REDIS__URL", "redis://redis"),
                ("REGSEAL__INDEX__REDIS__PASSWORD", secret),
            ])
            .unwrap();
        let (Storage::S3(s3), Index::Redis(redis)) = (settings.storage, settings.index) else {
            panic!("not S3 and Redis")
        };
        let credentials = Credentials::Static {
            access_key_id: "id".to_owned(),
            secret_access_key: Secret::new(secret),
            session_token: None,
        };
        assert_eq!(s3.config.credentials, credentials);
        assert_eq!(redis.config.password, Some(Secret::new(secret)));
    }
}

#[test]
fn the_endpoint_of_aws_counts_only_with_a_bucket() {
    let endpoint = [("AWS_ENDPOINT_URL_S3", "http://s3:9000")];
    let nothing = case("").load(&endpoint).unwrap();
    assert!(matches!(nothing.storage, Storage::Directory(_)));
    let index = "index: {redis: {url: redis://redis}}\n";
    for (keys, expected) in [
        ("bucket: signatures", "http://s3:9000"),
        (
            "bucket: signatures, endpoint: http://weaker",
            "http://s3:9000",
        ),
    ] {
        let settings = case(&format!("storage: {{s3: {{{keys}}}}}\n{index}")).load(&endpoint);
        let Storage::S3(s3) = settings.unwrap().storage else {
            panic!("not S3")
        };
        assert_eq!(s3.config.endpoint.unwrap(), expected);
        assert!(s3.config.path_style);
    }
}

#[test]
fn keys_of_cryptography_have_to_be_there() {
    assert!(
        case("keys: {sealing: [key, secret], signing: key}")
            .load(&[])
            .is_ok()
    );
    assert_eq!(
        mistakes_of("keys: {sealing: [key, missing], signing: missing}"),
        [
            "keys.sealing: cannot read missing: No such file or directory (os error 2)",
            "keys.signing: cannot read missing: No such file or directory (os error 2)"
        ]
    );
}

#[test]
fn commands_on_the_stores_need_no_registry() {
    let case = Case::new("storage: {directory: d}\n");
    let settings = load_for_stores(&case.flags, &case.environment(&[])).unwrap();
    assert_eq!(settings.upstream, None);
    let case = Case::new("upstream: {ur: http://a}\n");
    let mistakes = load_for_stores(&case.flags, &case.environment(&[])).unwrap_err();
    assert!(mistakes.to_string().contains("unknown key"), "{mistakes}");
}

#[test]
fn deletion_and_collection_are_configured() {
    let settings = settings(
        "capture: {on_subject_delete: grace, subject_grace: 48h}\ngc: {between_scans: 2s, untouched: 1ms}\n",
    );
    assert_eq!(settings.capture.on_subject_delete, OnSubjectDelete::Grace);
    assert_eq!(settings.capture.subject_grace, Duration::from_hours(48));
    assert_eq!(settings.gc.between_scans, Duration::from_secs(2));
    assert_eq!(settings.gc.untouched, Duration::from_millis(1));
    assert_eq!(mistakes_of("gc: {untouched: 0s}").len(), 1);
}

/// Which of the words of `mode` is meant, the text that users were given leaves open.
#[test]
fn the_example_of_the_design_is_valid() {
    for (stores, mode) in [
        (
            "storage: {directory: ./regseal-data}\nindex: {embedded: {}}\n",
            "",
        ),
        (
            "storage: {s3: {bucket: signatures, prefix: prod, region: eu-central-1, endpoint: https://s3.example.com, \
             path_style: true, checksums: when_required, conditional_writes: auto}}\n\
             index: {redis: {url: rediss://user@redis:6380/0, password_file: secret, mode: MODE, key_prefix: rx1}}\n",
            "single|sentinel",
        ),
        (
            "index: {redis: {url: rediss://user@redis:6380/0, password_file: secret, mode: MODE, key_prefix: rx1}}\n",
            "cluster",
        ),
    ] {
        for mode in mode.split('|') {
            let file = format!(
                "{}keys: {{sealing: [key], signing: secret}}\ntimeouts: {{head: 30s, idle: 60s, upstream_connect: 5s, \
                 upstream_first_byte: 60s, redis: 1s, s3_operation: 15s}}\n",
                stores.replace("MODE", mode)
            );
            assert_eq!(case(&file).load(&[]).err(), None, "{file}");
        }
    }
}
