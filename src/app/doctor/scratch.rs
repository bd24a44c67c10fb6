//! The repository that may be written to: what is put there is noted, and taken away at the end.
//!
//! All content is new: it has a nonce in it, so that nothing that was there before is overwritten or deleted.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use http::{Method, Request, StatusCode};

use super::capability::{Capability, Findings, Value};
use super::registry::{Question, Registry, Reply, Silence, Who, Writable};
use crate::oci::{Digest, RepositoryName};

/// What has been put there, in this order.
#[derive(Debug)]
enum Made {
    Blob(Digest),
    Manifest(Digest),
    Tag(String),
    Session(String),
}

/// The scratch repository.
#[derive(Debug)]
pub(super) struct Scratch<'a> {
    pub(super) registry: &'a Registry,
    writable: Writable,
    nonce: String,
    count: u32,
    made: Vec<Made>,
}

impl<'a> Scratch<'a> {
    /// `nonce` has never been used before.
    pub(super) fn new(registry: &'a Registry, writable: Writable, nonce: String) -> Self {
        Self {
            registry,
            writable,
            nonce,
            count: 0,
            made: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &RepositoryName {
        self.writable.repository()
    }

    /// A text that is nowhere else.
    pub(super) fn fresh(&mut self) -> String {
        self.count += 1;
        format!("regseal-doctor-{}-{}", self.nonce, self.count)
    }

    /// As [`Registry::write`], below the repository where `path` is no session.
    pub(super) async fn send(
        &self,
        who: Who,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Reply, Silence> {
        self.send_from(who, method, path, headers, (body.into(), None))
            .await
    }

    /// As [`Self::send`], for what also reads from another repository.
    async fn send_from(
        &self,
        who: Who,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        (body, source): (Bytes, Option<&RepositoryName>),
    ) -> Result<Reply, Silence> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(name, *value);
        }
        if let Some(source) = source {
            request = request.extension(source.clone());
        }
        let request = request.body(body).map_err(|error| Silence::NoAnswer {
            asked: path.to_owned(),
            source: error.into(),
        })?;
        self.registry.write(&self.writable, who, request).await
    }

    /// Opens an upload session, and says where it is, if it is on the registry itself.
    pub(super) async fn open(&mut self, who: Who) -> Result<(Reply, Option<String>), Silence> {
        let path = self.path("blobs/uploads/");
        let reply = self.send(who, Method::POST, &path, &[], "").await?;
        let session = self.session(&reply);
        Ok((reply, session))
    }

    /// The session that an answer opens or goes on with.
    pub(super) fn session(&mut self, reply: &Reply) -> Option<String> {
        if reply.status != StatusCode::ACCEPTED {
            return None;
        }
        let session = self.registry.own_path(reply.header(LOCATION))?;
        self.made.push(Made::Session(session.clone()));
        Some(session)
    }

    /// Ends a session without a blob.
    pub(super) async fn cancel(&mut self, who: Who, session: &str) -> Result<Reply, Silence> {
        let reply = self.send(who, Method::DELETE, session, &[], "").await?;
        if is_gone(&reply) {
            self.forget_sessions();
        }
        Ok(reply)
    }

    /// The session has become a blob.
    pub(super) fn forget_sessions(&mut self) {
        self.made.retain(|made| !matches!(made, Made::Session(_)));
    }

    /// Finishes a session.
    pub(super) async fn finish(
        &mut self,
        session: &str,
        digest: &Digest,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Silence> {
        let mark = if session.contains('?') { '&' } else { '?' };
        let path = format!("{session}{mark}digest={digest}");
        let octets = [(CONTENT_TYPE, "application/octet-stream")];
        let reply = self
            .send(Who::Account, Method::PUT, &path, &octets, body)
            .await?;
        if reply.status.is_success() {
            self.forget_sessions();
            self.made.push(Made::Blob(digest.clone()));
            // Some keep it under a digest of their own choice.
            let kept = reply.header("docker-content-digest").parse().ok();
            self.made
                .extend(kept.filter(|kept| kept != digest).map(Made::Blob));
        }
        Ok(reply)
    }

    /// Uploads a blob with `POST` and `PUT`.
    pub(super) async fn upload(
        &mut self,
        digest: &Digest,
        body: impl Into<Bytes>,
    ) -> Result<Reply, Silence> {
        let (reply, session) = self.open(Who::Account).await?;
        match session {
            Some(session) => self.finish(&session, digest, body).await,
            None => Ok(reply),
        }
    }

    /// Sends a `POST` to the uploads with a query: all at once, or a mount of a blob of `source`.
    pub(super) async fn post(
        &mut self,
        query: &str,
        digest: &Digest,
        body: impl Into<Bytes>,
        source: Option<&RepositoryName>,
    ) -> Result<Reply, Silence> {
        let path = format!("{}?{query}", self.path("blobs/uploads/"));
        let octets = [(CONTENT_TYPE, "application/octet-stream")];
        let body = (body.into(), source);
        let reply = self
            .send_from(Who::Account, Method::POST, &path, &octets, body)
            .await?;
        if reply.status == StatusCode::CREATED {
            self.made.push(Made::Blob(digest.clone()));
        } else if let Some(session) = self.session(&reply) {
            self.cancel(Who::Account, &session).await?;
        }
        Ok(reply)
    }

    /// Pushes a manifest under a tag or digest, perhaps with a query.
    pub(super) async fn push(
        &mut self,
        reference: &str,
        media_type: &str,
        manifest: &[u8],
    ) -> Result<Reply, Silence> {
        let path = self.path(&format!("manifests/{reference}"));
        let typed = [(CONTENT_TYPE, media_type)];
        let body = Bytes::copy_from_slice(manifest);
        let reply = self
            .send(Who::Account, Method::PUT, &path, &typed, body)
            .await?;
        if reply.status.is_success() {
            let (reference, query) = reference.split_once('?').unwrap_or((reference, ""));
            let named = reference.parse::<Digest>().ok();
            let is_digest = named.is_some();
            let digest = named.unwrap_or_else(|| Digest::sha256(manifest));
            self.made.push(Made::Manifest(digest));
            let tags = query
                .split('&')
                .filter_map(|pair| pair.strip_prefix("tag="));
            let tags = tags.chain((!is_digest).then_some(reference));
            self.made.extend(tags.map(|tag| Made::Tag(tag.to_owned())));
        }
        Ok(reply)
    }

    /// A tag that the registry has made by itself.
    pub(super) fn found_tag(&mut self, tag: &str) {
        self.made.push(Made::Tag(tag.to_owned()));
    }

    pub(super) async fn manifest(&self, reference: &str) -> Result<Reply, Silence> {
        let question = Question::manifest(self.name(), reference);
        self.registry.read(Who::Account, question).await
    }

    pub(super) async fn blob(&self, digest: &Digest) -> Result<Reply, Silence> {
        let question = Question::head(self.path(&format!("blobs/{digest}"))).pulls(self.name());
        self.registry.read(Who::Account, question).await
    }

    pub(super) async fn delete(&self, what: &str) -> Result<Reply, Silence> {
        let path = self.path(what);
        self.send(Who::Account, Method::DELETE, &path, &[], "")
            .await
    }

    fn path(&self, what: &str) -> String {
        format!("/v2/{}/{what}", self.name())
    }

    /// Takes away all that has been put there, and notes what stays.
    pub(super) async fn clean(&mut self, findings: &mut Findings) {
        let mut left = Vec::new();
        let all: Vec<Made> = self.made.drain(..).rev().collect();
        // A tag goes with its manifest where it cannot go alone.
        let (tags, others): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|made| matches!(made, Made::Tag(_)));
        let (blobs, first): (Vec<_>, Vec<_>) = others
            .into_iter()
            .partition(|made| matches!(made, Made::Blob(_)));
        for tag in &tags {
            if let Made::Tag(tag) = tag {
                let _ = self.delete(&format!("manifests/{tag}")).await;
            }
        }
        for made in first.iter().chain(&blobs).chain(&tags) {
            if !self.remove(made).await {
                left.push(made.shown());
            }
        }
        left.sort();
        left.dedup();
        let how = match left.as_slice() {
            [] => format!("all that was put into {} is deleted", self.name()),
            some => format!("in {}: {}", self.name(), some.join(", ")),
        };
        let count = u64::try_from(left.len()).unwrap_or(u64::MAX);
        findings.note(Capability::LeftBehind, Value::Number(count), how);
    }

    /// Whether it is gone.
    async fn remove(&self, made: &Made) -> bool {
        let removed = match made {
            Made::Blob(digest) => self.delete(&format!("blobs/{digest}")).await,
            Made::Manifest(digest) => self.delete(&format!("manifests/{digest}")).await,
            // It was deleted before, or has gone with its manifest.
            Made::Tag(tag) => self.manifest(tag).await,
            Made::Session(path) => self.send(Who::Account, Method::DELETE, path, &[], "").await,
        };
        removed.is_ok_and(|reply| is_gone(&reply))
    }
}

impl Made {
    fn shown(&self) -> String {
        match self {
            Self::Blob(digest) => format!("blob {digest}"),
            Self::Manifest(digest) => format!("manifest {digest}"),
            Self::Tag(tag) => format!("tag {tag}"),
            Self::Session(_) => "an open upload".to_owned(),
        }
    }
}

/// Whether what was asked to go, or asked for, is not there.
fn is_gone(reply: &Reply) -> bool {
    match reply.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => true,
        status => status.is_success() && reply.is_to_delete(),
    }
}
