//! end-11: a blob of another repository, without an upload.
//!
//! Whether the caller may have it from there is the decision of the registry behind, on the forwarded request. What
//! cannot be mounted becomes an upload session: a client is never sent round in circles for a short cut.

use std::sync::Arc;
use std::time::Duration;

use http::header::LOCATION;
use http::{HeaderMap, Method, Response, StatusCode, Uri, request};
use moka::future::Cache;

use super::error::HandlerError;
use super::{Handlers, Incoming, aliases, answer, whole_upload};
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::oci::{Digest, RepositoryName};
use crate::route::{Route, is_session_of, query};
use crate::store::LinkKind;

/// Bytes of memory for where blobs were seen, about.
const MEMORY: u64 = 4 << 20;
/// How long it is remembered.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Repositories remembered of one blob.
const PLACES: usize = 3;

/// Where callers have pushed or pulled blobs. What one caller has seen is no source for another.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    places: Cache<(Digest, [u8; 32]), Arc<[RepositoryName]>>,
}

impl Default for Seen {
    fn default() -> Self {
        let places = Cache::builder()
            .max_capacity(MEMORY)
            .time_to_live(REMEMBERED)
            .weigher(|_, places: &Arc<[RepositoryName]>| {
                let names: usize = places.iter().map(|name| name.as_str().len() + 32).sum();
                u32::try_from(names + 300).unwrap_or(u32::MAX)
            })
            .build();
        Self { places }
    }
}

/// What is to be mounted where.
struct Mount<'a> {
    route: &'a Route,
    parts: &'a request::Parts,
    caller: &'a Caller,
    name: &'a RepositoryName,
    digest: &'a Digest,
}

/// How a registry takes a mount.
enum Mounted {
    /// 201, and the blob is there.
    Done(Response<Body>),
    /// 202: the session that is open instead.
    Session(Response<Body>),
    /// What the client has to know: a challenge, a limit of the rate.
    Refused(Response<Body>),
    /// Not this way.
    No,
}

impl Handlers {
    /// The caller has pushed or pulled a blob.
    pub(super) async fn note_seen(&self, caller: &Caller, name: &RepositoryName, digest: &Digest) {
        let key = (digest.clone(), self.authorizer.tell_apart(caller));
        let known = self.seen.places.get(&key).await;
        let known = known.as_deref().unwrap_or_default();
        if known.first() == Some(name) {
            return;
        }
        let others = known.iter().filter(|known| *known != name);
        let places = std::iter::once(name).chain(others).take(PLACES);
        let places = places.cloned().collect();
        self.seen.places.insert(key, places).await;
    }

    pub(super) async fn mount(
        &self,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Response<Body>, HandlerError> {
        let Incoming { parts, caller, .. } = &incoming;
        let mount = Mount {
            route,
            parts,
            caller,
            name,
            digest,
        };
        let mounted = match query::first(&parts.uri, "from") {
            Some(from) => match from.parse() {
                Ok(from) => self.mount_from(&mount, &from).await?,
                Err(_) => Mounted::No,
            },
            None => self.mount_from_anywhere(&mount).await?,
        };
        let response = match mounted {
            Mounted::Done(response) => {
                self.note_seen(caller, name, digest).await;
                response
            }
            Mounted::Session(response) | Mounted::Refused(response) => response,
            Mounted::No => self.open_session(route, parts, caller).await?,
        };
        self.authorizer
            .learn_push(caller, name, response.status(), response.headers())
            .await;
        self.relay_upload(parts, name, response)
    }

    /// From where this caller has seen the blob, and may still read it.
    async fn mount_from_anywhere(&self, mount: &Mount<'_>) -> Result<Mounted, HandlerError> {
        let key = (
            mount.digest.clone(),
            self.authorizer.tell_apart(mount.caller),
        );
        let places = self.seen.places.get(&key).await;
        for from in places.as_deref().unwrap_or_default() {
            let may_pull = self.authorizer.pull_or_push(mount.caller, from, None);
            if from == mount.name || may_pull.await.is_err() {
                continue;
            }
            match self.mount_from(mount, from).await? {
                Mounted::Refused(_) | Mounted::No => {}
                mounted @ (Mounted::Done(_) | Mounted::Session(_)) => return Ok(mounted),
            }
        }
        Ok(Mounted::No)
    }

    async fn mount_from(
        &self,
        mount: &Mount<'_>,
        from: &RepositoryName,
    ) -> Result<Mounted, HandlerError> {
        let Mount {
            route,
            parts,
            caller,
            name,
            digest,
        } = *mount;
        let canonical = if aliases::is_second(digest) {
            self.custody.alias(from, digest).await.unwrap_or(None)
        } else {
            None
        };
        let wanted = canonical.as_ref().unwrap_or(digest);
        let mut forwarded = whole_upload::without_body(parts);
        forwarded.uri = of_mount(parts, wanted, from);
        let mut response = self.send(route, &forwarded, caller, body::empty()).await?;
        let status = response.status();
        match status {
            StatusCode::CREATED => {}
            StatusCode::ACCEPTED => {
                if self.adopt(mount, from).await {
                    self.cancel_session(caller, name, response.headers()).await;
                    return answer::uploaded(name, digest).map(Mounted::Done);
                }
                return Ok(Mounted::Session(response));
            }
            StatusCode::TOO_MANY_REQUESTS => return Ok(Mounted::Refused(response)),
            // The challenge names the scopes that a mount needs.
            StatusCode::UNAUTHORIZED if caller.is_anonymous() => {
                return Ok(Mounted::Refused(response));
            }
            _ => return Ok(Mounted::No),
        }
        if let Some(canonical) = canonical {
            let names = (digest, &canonical);
            if self
                .record_alias(caller, name, status, names)
                .await
                .is_err()
            {
                return Ok(Mounted::No);
            }
            aliases::name_created(response.headers_mut(), (name, "blobs", digest))?;
        } else if aliases::is_second(digest)
            && !self.is_upstream(caller, name, "blobs", digest).await?
        {
            // Some registries link a name that they cannot follow.
            return Ok(Mounted::No);
        }
        Ok(Mounted::Done(response))
    }

    /// Links a blob that only regseal holds, for a caller who may read it there and push here.
    async fn adopt(&self, mount: &Mount<'_>, from: &RepositoryName) -> bool {
        let Mount {
            caller,
            name,
            digest,
            ..
        } = *mount;
        let adopted = async {
            let link = self.custody.link(from, digest).await?;
            let Some(link) = link.filter(|link| link.kind == LinkKind::Blob) else {
                return Ok(false);
            };
            let source = self.authorizer.pull_or_push(caller, from, None).await?;
            let status = StatusCode::ACCEPTED;
            let target = self.authorizer.pushed(caller, name, status).await?;
            let writer = self.custody.writer(&target);
            Ok::<_, HandlerError>(writer.adopt(&source, digest, &link.media_type).await?)
        };
        adopted.await.unwrap_or(false)
    }

    /// Best effort: a session that stays open is collected by the registry behind.
    async fn cancel_session(&self, caller: &Caller, name: &RepositoryName, opened: &HeaderMap) {
        let location = opened.get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let path = location.and_then(|location| self.upstream.own_path(location, caller.host()));
        let Some(path) = path.filter(|path| is_session_of(path, name)) else {
            return;
        };
        let headers = caller.headers();
        let cancelled = self.upstream.submit(
            &Method::DELETE,
            path.as_str(),
            &headers,
            bytes::Bytes::new(),
        );
        if let Err(error) = cancelled.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "an upload session was not cancelled"
            );
        }
    }
}

fn of_mount(parts: &request::Parts, digest: &Digest, from: &RepositoryName) -> Uri {
    let rest = whole_upload::without(&parts.uri, &["mount", "from", "digest"]);
    let mount = query::encode([("mount", digest.as_str()), ("from", from.as_str())]);
    let separator = if rest.query().is_some() { '&' } else { '?' };
    let rebuilt = format!("{rest}{separator}{mount}").parse();
    rebuilt.unwrap_or(rest)
}
