//! One file per workflow of the distribution specification, and [`Handlers::handle`] that picks it by [`Route`].
//!
//! A handler either forwards the request, whose own status is then the decision, or answers from the store, for which
//! it needs a [`crate::auth::Permit`]: the store is reached through `custody` only.

mod absorb;
mod admit;
mod answer;
mod behind;
mod blob_pull;
mod blob_upload;
mod capture;
mod custody;
mod document;
mod error;
mod explain;
mod gate;
mod gate_blob;
mod manifest_delete;
mod manifest_pull;
mod manifest_push;
mod marker;
mod passthrough;
mod range;
mod read_upstream;
mod referrers;
mod restore;
mod subjects;
mod tags_list;
mod tee;
mod upstream_referrers;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, request};
use moka::future::Cache;

use crate::admission::{Admission, Described};
use crate::auth::{Authorizer, Caller, Relay};
use crate::body::{self, Body};
use crate::oci::{Descriptor, Digest, RepositoryName};
use crate::route::Route;
use crate::store::{OnSubjectDelete, SignatureStore};
use crate::upstream::Upstream;

use custody::Custody;
pub use error::{Denied, HandlerError};
use upstream_referrers::UpstreamReferrers;

/// Bytes of descriptions kept in memory, about: an index may list many thousands.
const DESCRIBED: u64 = 16 << 20;
/// Facts about content of the registry behind that are remembered at most.
const REMEMBERED: u64 = 100_000;

/// What is captured, and the bounds of what is read into memory.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where captured manifests go.
    pub mode: CaptureMode,
    /// Artifact types of signature manifests.
    pub artifact_types: Vec<String>,
    /// The largest blob of a captured manifest, in bytes.
    pub max_blob: u64,
    /// The largest upload that is kept for a manifest to claim, in bytes.
    pub staging: usize,
    /// Whether fallback tags of the referrers tag schema are absorbed.
    pub absorb_fallback_tags: bool,
    /// Whether cosign's `.sig`, `.att` and `.sbom` tags are captured.
    pub absorb_cosign_tags: bool,
    /// What becomes of the referrers of a subject that is deleted.
    pub on_subject_delete: OnSubjectDelete,
    /// The largest manifest, in bytes.
    pub max_manifest: usize,
    /// How long a manifest may take to come.
    pub manifest_time: Duration,
    /// Scheme that clients use.
    pub public_scheme: &'static str,
    /// Host, and perhaps port, that clients use, where it is configured.
    pub public_authority: Option<String>,
}

/// Where captured manifests go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureMode {
    /// As `Both` where the registry behind has the Referrers API, else as `Store`.
    Auto,
    /// To the store only.
    Store,
    /// To the store and to the registry behind.
    Both,
}

/// All handlers and what they share; a clone shares it too.
#[derive(Clone, Debug)]
pub struct Handlers {
    config: Arc<Config>,
    upstream: Arc<Upstream>,
    authorizer: Arc<Authorizer>,
    relay: Arc<Relay>,
    custody: Custody,
    upstream_referrers: UpstreamReferrers,
    /// Judges pushes and pulls; without it everything passes.
    admission: Option<Admission>,
    /// What manifests are that the registry behind has, for decisions.
    described: Cache<(RepositoryName, Digest), Described>,
    /// Whether blobs are text.
    texts: Cache<Digest, bool>,
    /// Blobs that were seen to be no manifests.
    plain_blobs: Cache<Digest, ()>,
}

/// A request with its caller.
struct Incoming {
    parts: request::Parts,
    body: Body,
    caller: Caller,
}

impl Incoming {
    /// The same request once more, for a method without a body.
    fn without_body(&self) -> Self {
        Self {
            parts: self.parts.clone(),
            body: body::empty(),
            caller: self.caller.clone(),
        }
    }
}

impl Handlers {
    /// Handlers over a registry and a store.
    #[must_use]
    pub fn new(
        config: Config,
        upstream: Arc<Upstream>,
        authorizer: Authorizer,
        relay: Arc<Relay>,
        store: Arc<SignatureStore>,
        admission: Option<Admission>,
    ) -> Self {
        Self {
            config: Arc::new(config),
            upstream,
            authorizer: Arc::new(authorizer),
            relay,
            custody: Custody::new(store),
            upstream_referrers: UpstreamReferrers::default(),
            admission,
            described: Cache::builder()
                .max_capacity(DESCRIBED)
                .weigher(|_, described: &Described| {
                    u32::try_from(described.weight()).unwrap_or(u32::MAX)
                })
                .build(),
            texts: Cache::new(REMEMBERED),
            plain_blobs: Cache::new(REMEMBERED),
        }
    }

    /// Answers one classified request.
    ///
    /// # Errors
    /// Whatever has no answer of the registry behind or of the store: see [`HandlerError`].
    pub fn handle<'a>(
        &'a self,
        route: &'a Route,
        request: Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, HandlerError>> {
        Box::pin(self.dispatch(route, request))
    }

    async fn dispatch(
        &self,
        route: &Route,
        request: Request<Body>,
    ) -> Result<Response<Body>, HandlerError> {
        let (mut parts, body) = request.into_parts();
        let wrapping = self.relay.wrapping();
        let caller = Caller::of(&parts, self.config.public_scheme, wrapping)?;
        caller.set_authorization(&mut parts.headers);
        let incoming = Incoming {
            parts,
            body,
            caller,
        };
        match route {
            Route::Version | Route::Passthrough | Route::BlobDelete(..) => {
                self.forward(route, &incoming.parts, &incoming.caller, incoming.body)
                    .await
            }
            Route::Token => self.token(incoming).await,
            Route::TagsList(name) => self.tags_list(route, incoming, name).await,
            Route::BlobPull(name, digest) => self.blob_pull(route, incoming, name, digest).await,
            Route::UploadStart(name) => self.upload_start(route, incoming, name).await,
            Route::Upload(name, step) => self.upload(route, incoming, name, *step).await,
            Route::ManifestPull(name, reference) => {
                self.manifest_pull(route, incoming, name, reference).await
            }
            Route::ManifestPush(name, reference) => {
                self.manifest_push(route, incoming, name, reference).await
            }
            Route::ManifestDelete(name, reference) => {
                self.manifest_delete(route, incoming, name, reference).await
            }
            Route::Referrers(name, subject) => self.referrers(incoming, name, subject).await,
        }
    }

    /// Gives out a token of the token service behind.
    async fn token(&self, incoming: Incoming) -> Result<Response<Body>, HandlerError> {
        let Incoming {
            parts,
            body,
            caller,
        } = incoming;
        let exchange = self.relay.exchange(&parts, body, &caller, &self.authorizer);
        Ok(Box::pin(exchange).await?)
    }

    /// Whether the artifact type of a manifest is one of a signature.
    fn is_signature_type(&self, artifact_type: Option<&str>) -> bool {
        artifact_type.is_some_and(|is| self.config.artifact_types.iter().any(|listed| listed == is))
    }
}

/// Descriptors without those that name the same content again.
fn unique<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut seen = std::collections::HashSet::new();
    descriptors
        .filter(|descriptor| seen.insert(&descriptor.digest))
        .collect()
}
