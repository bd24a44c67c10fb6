//! Keys of an S3 bucket.

use std::time::Duration;

use http::Uri;

use crate::config::kind::{Bucket, Choice, FilePath, Flag, Name, Prefix, Url};
use crate::config::mistake::Problem;
use crate::config::section::Section;
use crate::config::settings::S3;
use crate::store::blob::s3::{Checksums, ConditionalWrites, Config, Credentials, Encryption};

/// Reads `storage.s3`. There is none only if a mistake was reported, or if nobody has written one.
pub(super) fn read(keys: &mut Section<'_>) -> Option<S3> {
    let bucket = keys.required("bucket", "The bucket. Required.", &Bucket, None);
    let prefix = keys.optional(
        "prefix",
        "What the keys of all objects begin with, for several regseals in one bucket.",
        &Prefix,
    );
    let region = keys.optional(
        "region",
        "The region of the bucket. Without it: that of the AWS environment, or us-east-1 where an endpoint is set.",
        &Name,
    );
    let endpoint = keys.optional(
        "endpoint",
        "The URL of the service, if it is not AWS itself; also AWS_ENDPOINT_URL_S3.",
        &Url::BASE,
    );
    let path_style = keys.derived(
        "path_style",
        "Whether the bucket stands in the path and not in the host name. By default if an endpoint is set.",
        &Flag,
        endpoint.is_some(),
    );
    let credentials = credentials(keys);
    let encryption = encryption(keys);
    let checksums = keys.value(
        "checksums",
        "When checksums are added: when_required, since several services refuse them, or when_supported. What is read \
         is hashed by regseal in any case.",
        &Choice(&[
            ("when_required", Some(Checksums::WhenRequired)),
            ("when_supported", Some(Checksums::WhenSupported)),
        ]),
        Checksums::WhenRequired,
    );
    let conditional_writes = keys.value(
        "conditional_writes",
        "Whether objects are created only if they are absent (auto). off is for services that refuse that: then two \
         replicas that write the same tag at once may lose one version of it.",
        &Choice(&[
            ("auto", Some(ConditionalWrites::Auto)),
            ("off", Some(ConditionalWrites::Off)),
        ]),
        ConditionalWrites::Auto,
    );
    let scheme = endpoint.as_ref().and_then(Uri::scheme_str);
    let ca = keys.only_if(
        (scheme != Some("http"), "TLS"),
        "ca",
        "A PEM file with certificate authorities to trust besides those of the system.",
        &FilePath,
    );
    Some(S3 {
        config: Config {
            bucket: bucket?,
            prefix,
            region,
            endpoint,
            path_style,
            credentials: credentials?,
            encryption,
            checksums,
            conditional_writes,
            ca: None,
            operation_timeout: Duration::ZERO,
        },
        ca,
    })
}

/// A key pair, a profile, or what the AWS environment has.
fn credentials(keys: &mut Section<'_>) -> Option<Credentials> {
    let (id, profile) = (keys.origin("access_key_id"), keys.origin("profile"));
    let secret = keys.first_written(&["secret_access_key", "secret_access_key_file"]);
    let token = keys.first_written(&["session_token", "session_token_file"]);
    keys.exclusive("access_key_id", "profile");
    let access_key_id = keys.optional(
        "access_key_id",
        "The name of a key pair. Without it and without a profile the AWS environment is used: variables, profile, web \
         identity, container, instance.",
        &Name,
    );
    let secret_access_key = keys.secret(
        ("secret_access_key", "The secret of that key pair."),
        ("secret_access_key_file", "The file with that secret."),
    );
    let session_token = keys.secret(
        ("session_token", "The token of temporary keys."),
        ("session_token_file", "The file with that token."),
    );
    let profile_name = keys.optional(
        "profile",
        "A profile of the AWS configuration files in place of a key pair.",
        &Name,
    );
    match (&id, &secret) {
        (Some(origin), None) => keys.report(
            origin.clone(),
            "access_key_id",
            Problem::Needs("secret_access_key or secret_access_key_file"),
        ),
        (None, Some((origin, name))) => {
            keys.report(origin.clone(), name, Problem::Needs("access_key_id"));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    if let (None, Some((origin, name))) = (&id, token) {
        keys.report(origin, name, Problem::Needs("access_key_id"));
    }
    if id.is_some() {
        return Some(Credentials::Static {
            access_key_id: access_key_id?,
            secret_access_key: secret_access_key?,
            session_token,
        });
    }
    if profile.is_some() {
        return profile_name.map(Credentials::Profile);
    }
    Some(Credentials::Chain)
}

fn encryption(keys: &mut Section<'_>) -> Encryption {
    #[derive(Clone, Copy, PartialEq)]
    enum Word {
        Bucket,
        Aes256,
        Kms,
    }
    let word = keys.value(
        "encryption",
        "The encryption to ask for with each object: bucket (nothing, the bucket decides), aes256 or kms.",
        &Choice(&[
            ("bucket", Some(Word::Bucket)),
            ("aes256", Some(Word::Aes256)),
            ("kms", Some(Word::Kms)),
        ]),
        Word::Bucket,
    );
    let key_id = keys.only_if(
        (word == Word::Kms, "encryption: kms"),
        "kms_key_id",
        "The key to encrypt with. Without it: the one that the account has for S3.",
        &Name,
    );
    match word {
        Word::Bucket => Encryption::Bucket,
        Word::Aes256 => Encryption::Aes256,
        Word::Kms => Encryption::Kms { key_id },
    }
}
