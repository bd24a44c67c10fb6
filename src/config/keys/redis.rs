//! Keys of the index in Redis.

use std::time::Duration;

use crate::config::kind::{Choice, FilePath, KeyPrefix, Name, RedisAddress, RedisUrl};
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::Redis;
use crate::config::written::Origin;
use crate::secret::Secret;
use crate::store::index::redis::{Config, Mode, Server};

#[derive(Clone, Copy, PartialEq)]
enum Word {
    Single,
    Sentinel,
    Cluster,
}

const SENTINEL: &str = "mode: sentinel";

/// Reads `index.redis`. There is none only if a mistake was reported, or if nobody has written one.
pub(super) fn read(keys: &mut Section<'_>) -> Option<Redis> {
    let origin = keys.origin("url");
    let address = keys.required(
        "url",
        "redis:// or, with TLS, rediss://, then perhaps a user and @, the host, and perhaps a port and the number of a \
         database. The sentinels, or some nodes of a cluster, are written with commas between them. Required.",
        &RedisUrl,
        None,
    );
    let separate = keys.first_written(&["password", "password_file"]);
    let password = keys.secret(
        ("password", "The password."),
        ("password_file", "The file with the password."),
    );
    let word = keys.value(
        "mode",
        "One server (single), sentinels that know it, or a cluster.",
        &Choice(&[
            ("single", Some(Word::Single)),
            ("sentinel", Some(Word::Sentinel)),
            ("cluster", Some(Word::Cluster)),
        ]),
        Word::Single,
    );
    let mode = mode(keys, word);
    let key_prefix = keys.value(
        "key_prefix",
        "What all keys begin with, for several regseals in one Redis.",
        &KeyPrefix,
        "rx1".to_owned(),
    );
    let tls = address.as_ref().is_none_or(|address| address.tls);
    let ca = keys.only_if(
        (tls, "TLS"),
        "ca",
        "A PEM file with certificate authorities to trust besides those of the system.",
        &FilePath,
    );
    let (address, origin) = (address?, origin?);
    if let (Some(_), Some((origin, name))) = (&address.password, &separate) {
        let other = "a password in index.redis.url".to_owned();
        keys.report(origin.clone(), name, Problem::Excludes { other });
    }
    if address.username.is_some() && address.password.is_none() && separate.is_none() {
        let why = "a password or password_file for the user it names";
        keys.report(origin.clone(), "url", Problem::Needs(why));
    }
    check_hosts(keys, &origin, &address, word);
    let port = if word == Word::Sentinel { 26379 } else { 6379 };
    Some(Redis {
        config: Config {
            servers: servers(address.hosts, port),
            mode,
            tls: address.tls,
            ca: None,
            database: address.database.unwrap_or(0).into(),
            username: address.username,
            password: password.or(address.password),
            key_prefix,
            objects: String::new(),
            timeout: Duration::ZERO,
        },
        ca,
    })
}

fn mode(keys: &mut Section<'_>, word: Word) -> Mode {
    let applies = (word == Word::Sentinel, SENTINEL);
    let service = keys.only_if(
        applies,
        "master_name",
        "The name by which the sentinels know the server. Without it: mymaster.",
        &Name,
    );
    let user_origin = keys.origin("sentinel_username");
    let username = keys.only_if(
        applies,
        "sentinel_username",
        "The user of the sentinels themselves.",
        &Name,
    );
    let written = keys.first_written(&["sentinel_password", "sentinel_password_file"]);
    if let (false, Some((origin, name))) = (applies.0, &written) {
        keys.report(origin.clone(), name, Problem::OnlyIf(SENTINEL));
    }
    if let (true, Some(origin), None) = (applies.0, user_origin, &written) {
        let why = "sentinel_password or sentinel_password_file";
        keys.report(origin, "sentinel_username", Problem::Needs(why));
    }
    let password: Option<Secret> = keys.secret(
        (
            "sentinel_password",
            "The password of the sentinels themselves.",
        ),
        ("sentinel_password_file", "The file with that password."),
    );
    match word {
        Word::Single => Mode::Single,
        Word::Cluster => Mode::Cluster,
        Word::Sentinel => Mode::Sentinel {
            service: service.unwrap_or_else(|| "mymaster".to_owned()),
            username,
            password,
        },
    }
}

fn check_hosts(keys: &mut Section<'_>, origin: &Origin, address: &RedisAddress, word: Word) {
    if word == Word::Single && address.hosts.len() > 1 {
        let why = "mode: sentinel or mode: cluster for several hosts";
        keys.report(origin.clone(), "url", Problem::Needs(why));
    }
    if word == Word::Cluster && address.database.is_some_and(|number| number > 0) {
        let part = Problem::UrlPart("the number of a database");
        keys.report(origin.clone(), "url", part);
    }
}

fn servers(hosts: Vec<(String, Option<u16>)>, default: u16) -> Vec<Server> {
    let server = |(host, port): (String, Option<u16>)| Server {
        host,
        port: port.unwrap_or(default),
    };
    hosts.into_iter().map(server).collect()
}
