//! The credentials of `docker login`, where they are written in the file itself; credential helpers are not asked.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use thiserror::Error;

use super::translate;
use crate::auth::Caller;
use crate::config::{Environment, Settings};
use crate::secret::Secret;

/// The Docker configuration cannot be used.
#[derive(Debug, Error)]
#[error("the Docker configuration {path} cannot be used: {problem}")]
pub struct DockerError {
    /// The file.
    path: String,
    /// What is wrong with it.
    problem: String,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    auth: Option<String>,
}

/// What regseal itself is to the registry behind, for a command: whom docker has logged in there, else the service account.
///
/// # Errors
/// The Docker configuration cannot be used.
pub(super) fn account_of(
    settings: &Settings,
    environment: &Environment,
) -> Result<Caller, DockerError> {
    let registry = settings.upstream.as_ref();
    let host = registry.and_then(|registry| registry.url.authority());
    let host = host.map(|host| host.as_str()).unwrap_or_default();
    Ok(match account(environment, host)? {
        Some((username, password)) => Caller::own(Some((&username, &password))),
        None => translate::account(settings),
    })
}

/// Name and password for a registry; none if the file is not there or has none for it.
pub(super) fn account(
    environment: &Environment,
    host: &str,
) -> Result<Option<(String, Secret)>, DockerError> {
    let Some(path) = environment.docker_config() else {
        return Ok(None);
    };
    let wrong = |problem: String| DockerError {
        path: path.display().to_string(),
        problem,
    };
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(wrong(error.to_string())),
    };
    // What serde says of a wrong text may repeat a part of it.
    let document: Document = serde_json::from_slice(&text)
        .or(Err(wrong("it is not JSON of the expected form".to_owned())))?;
    let found = document
        .auths
        .iter()
        .find(|(name, _)| host_of(name) == host);
    let Some(encoded) = found.and_then(|(_, entry)| entry.auth.as_deref()) else {
        return Ok(None);
    };
    if encoded.is_empty() {
        return Ok(None);
    }
    let decoded = Base64::decode_vec(encoded).ok();
    let pair = decoded.and_then(|pair| String::from_utf8(pair).ok());
    let pair = pair.as_deref().and_then(|pair| pair.split_once(':'));
    let (name, password) =
        pair.ok_or_else(|| wrong(format!("the entry of {host} is no Basic credential")))?;
    Ok(Some((name.to_owned(), Secret::new(password))))
}

/// Older versions write URLs.
fn host_of(name: &str) -> &str {
    let rest = name.split_once("://").map_or(name, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entry_of_the_registry_is_taken_and_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.json");
        let pair = Base64::encode_string(b"ops:a:b");
        let text = format!(
            r#"{{"auths": {{"other:5000": {{"auth": "x"}}, "https://registry:5000/v1/": {{"auth": "{pair}"}},
                "helper": {{}}, "bad": {{"auth": "!"}}}}, "credsStore": "x"}}"#
        );
        fs::write(&file, text).unwrap();
        let environment = Environment::new("/", [("DOCKER_CONFIG", directory.path())]);
        let of = |host| account(&environment, host);
        let (name, password) = of("registry:5000").unwrap().unwrap();
        assert_eq!((name.as_str(), password.expose()), ("ops", "a:b"));
        for (host, why) in [
            ("registry", "another port"),
            ("helper", "a helper has it"),
            ("absent", "no entry"),
        ] {
            assert!(of(host).unwrap().is_none(), "{why}");
        }
        assert!(of("bad").is_err());
        fs::write(&file, "auths").unwrap();
        assert!(of("registry:5000").is_err());
        fs::remove_file(&file).unwrap();
        assert!(of("registry:5000").unwrap().is_none());
    }
}
