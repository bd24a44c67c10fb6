//! Where the credentials come from. They are looked for when the first request needs them, and again when they expire.

use std::error::Error as StdError;
use std::time::Duration;

use aws_config::default_provider::credentials::DefaultCredentialsChain;
use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{self, ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_s3::config::Region;
use thiserror::Error;
use tokio::time::timeout;

use super::config::Credentials;

/// There are no credentials.
#[derive(Clone, Debug, Error)]
#[error("no credentials for S3: looked for {looked_for}")]
pub(super) struct NoCredentials {
    looked_for: String,
    source: Said,
}

/// What the providers say, as text: their errors can be owned by one only.
#[derive(Clone, Debug, Error)]
#[error("{0}")]
struct Said(String);

/// A provider for `credentials`; `environment` has the client that roles are assumed with, in `region`.
pub(super) fn provider(
    credentials: &Credentials,
    environment: &ProviderConfig,
    region: &Region,
    patience: Duration,
) -> SharedCredentialsProvider {
    let environment = |profile| {
        SharedCredentialsProvider::new(Environment {
            profile,
            environment: environment.clone().with_region(Some(region.clone())),
            region: region.clone(),
            patience,
        })
    };
    match credentials {
        Credentials::Static {
            access_key_id,
            secret_access_key,
            session_token,
        } => SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
            access_key_id,
            secret_access_key.expose(),
            session_token
                .as_ref()
                .map(|token| token.expose().to_owned()),
            None,
            "regseal",
        )),
        Credentials::Profile(name) => environment(Some(name.clone())),
        Credentials::Chain => environment(None),
    }
}

/// What lies outside of regseal's configuration. Read anew each time: the providers remember what they failed with.
#[derive(Debug)]
struct Environment {
    profile: Option<String>,
    environment: ProviderConfig,
    region: Region,
    patience: Duration,
}

impl Environment {
    async fn look(&self) -> provider::Result {
        let found = timeout(self.patience, async {
            let environment = self.environment.clone();
            match &self.profile {
                Some(name) => {
                    let profile = ProfileFileCredentialsProvider::builder().profile_name(name);
                    let profile = profile.configure(&environment).build();
                    profile.provide_credentials().await
                }
                None => {
                    let chain = DefaultCredentialsChain::builder().region(self.region.clone());
                    let chain = chain.configure(environment).build().await;
                    chain.provide_credentials().await
                }
            }
        });
        let said = match found.await {
            Ok(Ok(credentials)) => return Ok(credentials),
            Ok(Err(error)) => causes(&error),
            Err(elapsed) => elapsed.to_string(),
        };
        let looked_for = match &self.profile {
            Some(name) => format!(
                "keys or a role in the profile {name:?} of the AWS configuration files (single sign-on and \
                 credential_process are not supported)"
            ),
            None => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile with keys or a role (single sign-on and \
                     credential_process are not supported), a web identity, a container's and an instance's role"
                .to_owned(),
        };
        Err(CredentialsError::not_loaded(NoCredentials {
            looked_for,
            source: Said(said),
        }))
    }
}

impl ProvideCredentials for Environment {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(Box::pin(self.look()))
    }
}

/// An error with its causes, in one line.
fn causes(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
