//! One file per workflow of the distribution specification, and [`Handlers::handle`] that picks it by [`Route`].
//!
//! A handler either forwards the request, whose own status is then the decision, or answers from the store, for which
//! it needs a [`crate::auth::Permit`]: the store is reached through `custody` only.

mod absorb;
mod admit;
mod aliases;
mod answer;
mod behind;
mod blob_pull;
mod blob_upload;
mod capture;
mod chunk_order;
mod custody;
mod document;
mod error;
mod explain;
mod gate;
mod gate_blob;
mod hashing;
mod hidden_tags;
mod manifest_delete;
mod manifest_pull;
mod manifest_push;
mod marker;
mod mount;
mod namespace;
mod passthrough;
mod range;
mod read_upstream;
mod redirect;
mod referrers;
mod restore;
mod subjects;
mod tag_delete;
mod tag_params;
mod tags_list;
mod teach;
mod tee;
mod unframed;
mod upload_answer;
mod upload_session;
mod upstream_referrers;
mod whole_upload;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response, request};
use moka::future::Cache;

use crate::admission::{Admission, Described};
use crate::auth::{Authorizer, Caller, Relay};
use crate::body::{self, Body, Room};
use crate::oci::{Descriptor, Digest, Reference, RepositoryName};
use crate::route::Route;
use crate::store::{OnSubjectDelete, SignatureStore};
use crate::upstream::Upstream;

use custody::Custody;
pub use error::{Denied, HandlerError};
use mount::Seen;
use namespace::OCI_NAMESPACE;
pub use redirect::Redirects;
pub use upload_session::{ForeignUploads, UploadSessions};
use upstream_referrers::UpstreamReferrers;

/// Bytes of descriptions kept in memory, about: an index may list many thousands.
const DESCRIBED: u64 = 16 << 20;
/// Facts about content of the registry behind that are remembered at most.
const REMEMBERED: u64 = 100_000;

/// A tag list that has to be changed here is read whole up to this many bytes.
const LIST_LIMIT: usize = 32 << 20;

/// How long it is believed that a repository has no second names; what another replica records is seen after that.
const ALIASED: Duration = Duration::from_secs(2);
/// How long it is believed that the registry behind finds no manifest by the name of a blob.
const APART: Duration = Duration::from_secs(600);

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
    /// How long what the registry behind lists itself is believed.
    pub refresh: Duration,
    /// What becomes of the referrers of a subject that is deleted.
    pub on_subject_delete: OnSubjectDelete,
    /// The largest manifest, in bytes.
    pub max_manifest: usize,
    /// Memory for manifests that are read whole, all together.
    pub room: Room,
    /// Memory for uploads that are kept for a manifest to claim, until they are stored.
    pub staging_room: Room,
    /// Whether tags are deleted where the registry behind deletes by digest only.
    pub mend_tag_delete: bool,
    /// How long a manifest may take to come.
    pub manifest_time: Duration,
    /// Host, and perhaps port, that clients use, where it is configured.
    pub public_authority: Option<String>,
    /// Who follows redirects of blobs and manifests.
    pub redirects: Redirects,
    /// Hosts by which clients of a mirror know the registry, beside its own.
    pub namespaces: Vec<String>,
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
    sessions: UploadSessions,
    upstream_referrers: UpstreamReferrers,
    /// Judges pushes and pulls; without it everything passes.
    admission: Option<Admission>,
    /// What manifests are that the registry behind has, for decisions.
    described: Cache<(RepositoryName, Digest), Described>,
    /// Whether blobs are text.
    texts: Cache<Digest, bool>,
    /// Blobs that were seen to be no manifests.
    plain_blobs: Cache<Digest, ()>,
    /// Where callers have seen blobs.
    seen: Seen,
    /// Whether repositories have second names, as of a moment ago.
    aliased: Cache<RepositoryName, bool>,
    /// Repositories in which the registry behind does not find a manifest by the name of a blob, as of a while ago.
    apart: Cache<RepositoryName, ()>,
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
        sessions: UploadSessions,
        admission: Option<Admission>,
    ) -> Self {
        Self {
            upstream_referrers: UpstreamReferrers::new(config.refresh),
            config: Arc::new(config),
            upstream,
            authorizer: Arc::new(authorizer),
            relay,
            custody: Custody::new(store),
            sessions,
            admission,
            described: Cache::builder()
                .max_capacity(DESCRIBED)
                .weigher(|_, described: &Described| {
                    u32::try_from(described.weight()).unwrap_or(u32::MAX)
                })
                .build(),
            texts: Cache::new(REMEMBERED),
            plain_blobs: Cache::new(REMEMBERED),
            seen: Seen::default(),
            aliased: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(ALIASED)
                .build(),
            apart: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(APART)
                .build(),
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
        let caller = Caller::of(&parts, wrapping)?;
        caller.set_authorization(&mut parts.headers);
        let is_of_the_api = !matches!(route, Route::Passthrough | Route::Token);
        let namespace = if is_of_the_api {
            self.take_namespace(&mut parts)?
        } else {
            None
        };
        let incoming = Incoming {
            parts,
            body,
            caller,
        };
        let mut response = self.answer(route, incoming).await?;
        let namespace = namespace.map(|namespace| (OCI_NAMESPACE, namespace));
        response.headers_mut().extend(namespace);
        Ok(response)
    }

    async fn answer(
        &self,
        route: &Route,
        incoming: Incoming,
    ) -> Result<Response<Body>, HandlerError> {
        match route {
            Route::Version | Route::Passthrough => {
                self.forward(route, &incoming.parts, &incoming.caller, incoming.body)
                    .await
            }
            Route::Token => self.token(incoming).await,
            Route::TagsList(name) => self.tags_list(route, incoming, name).await,
            Route::BlobPull(..) | Route::ManifestPull(..) => self.pull(route, incoming).await,
            Route::BlobDelete(name, digest)
            | Route::ManifestDelete(name, Reference::Digest(digest)) => {
                self.delete_by_digest(route, incoming, name, digest).await
            }
            Route::UploadStart(name) => self.upload_start(route, incoming, name).await,
            Route::Upload(name, step) => self.upload(route, incoming, name, *step).await,
            Route::SealedUpload(name, step, sealed) => {
                self.sealed_upload(route, incoming, name, *step, sealed)
                    .await
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
}

/// Descriptors without those that name the same content again.
fn unique<'a>(descriptors: impl Iterator<Item = &'a Descriptor>) -> Vec<&'a Descriptor> {
    let mut seen = std::collections::HashSet::new();
    descriptors
        .filter(|descriptor| seen.insert(&descriptor.digest))
        .collect()
}
