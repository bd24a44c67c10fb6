//! Judges what is read before it is answered: every way to the bytes of a manifest comes through here.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, EXPECT, HeaderValue,
    IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE,
    TRANSFER_ENCODING, WARNING,
};
use http::{Method, Response, StatusCode, request};

use super::admit::is_own_name;
use super::aliases::is_second;
use super::answer;
use super::behind::{Behind, size};
use super::error::HandlerError;
use super::passthrough::set_length;
use super::{Handlers, Incoming};
use crate::admission::{self, Admission, Described, Form, PullAsked, PullDecision, Unsigned};
use crate::auth::Caller;
use crate::body::{self, Body};
use crate::oci::{Digest, Manifest, Reference, RepositoryName, Tag, media_type};
use crate::route::Route;
use crate::upstream::Answer;

/// What regseal adds where it shows what others must not see.
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// A manifest that is at hand and about to be served.
pub(super) struct Served<'a> {
    pub(super) parts: &'a request::Parts,
    pub(super) caller: &'a Caller,
    pub(super) name: &'a RepositoryName,
    pub(super) tag: Option<&'a Tag>,
    pub(super) media_type: &'a str,
    pub(super) bytes: &'a Bytes,
    /// The digest it was asked for by, if that is not the canonical one; it is that of the bytes.
    pub(super) second: Option<Digest>,
}

/// What is added to an answer that passes.
#[derive(Debug, Default)]
pub(super) struct Passed {
    warning: Option<HeaderValue>,
    is_shown: bool,
}

impl Passed {
    pub(super) fn apply(self, response: &mut Response<Body>) {
        let headers = response.headers_mut();
        if let Some(warning) = self.warning {
            headers.append(WARNING, warning);
        }
        if self.is_shown {
            headers.insert(CACHE_CONTROL, NO_STORE);
        }
    }
}

impl Handlers {
    /// What judges reads of `name`, if anything does.
    pub(super) fn gate(&self, name: &RepositoryName) -> Option<&Admission> {
        self.admission
            .as_ref()
            .filter(|admission| admission.gates_pulls(name))
    }

    /// Reads a manifest from the registry behind for the caller, and answers it if it is allowed where `tag` names it,
    /// or by its digest.
    pub(super) async fn pull_judged(
        &self,
        admission: &Admission,
        route: &Route,
        incoming: Incoming,
        name: &RepositoryName,
        reference: &Reference,
        tag: Option<&Tag>,
    ) -> Result<Response<Body>, HandlerError> {
        let Incoming {
            parts,
            body: _,
            caller,
        } = incoming;
        let answer = self.read_whole(route, &parts, &caller).await?;
        let status = answer.parts.status;
        self.authorizer
            .learn_pull(&caller, name, status, &answer.parts.headers)
            .await;
        if status == StatusCode::NOT_FOUND
            && let Reference::Digest(digest) = reference
            && let Some(kept) = self
                .show_kept(admission, &parts, &caller, name, digest)
                .await?
        {
            return Ok(kept);
        }
        if status.is_success() && status != StatusCode::OK {
            // The whole was asked for: what has bytes and is not that is judged by nobody.
            return Err(HandlerError::Undecided { status });
        }
        if status != StatusCode::OK {
            return Ok(self.relay_answer(&parts, without_body_of_head(&parts, answer)));
        }
        self.custody.note_shown(name);
        let digest = match reference {
            Reference::Tag(_) => Digest::sha256(&answer.body),
            Reference::Digest(digest) if digest.matches(&answer.body) => digest.clone(),
            Reference::Digest(_) => return Err(HandlerError::Undecided { status }),
        };
        let media_type = answer.content_type();
        let served = Served {
            parts: &parts,
            caller: &caller,
            name,
            tag,
            media_type,
            bytes: &answer.body,
            second: Some(digest.clone()).filter(is_second),
        };
        let passed = self.judge(admission, &served).await?;
        let mut response = self.answer_judged(&parts, &digest, answer);
        passed.apply(&mut response);
        Ok(response)
    }

    /// Whether and how what is at hand may be answered.
    ///
    /// # Errors
    /// It may not, or that could not be decided.
    pub(super) async fn judge(
        &self,
        admission: &Admission,
        served: &Served<'_>,
    ) -> Result<Passed, HandlerError> {
        let manifest = Manifest::parse(served.bytes, served.media_type).ok();
        // A signature is read by its digest; under a tag it is in the place of an image.
        let is_signature = manifest.as_ref().map(admission::form) == Some(Form::Signature);
        if is_signature && served.tag.is_none() {
            return Ok(Passed::default());
        }
        let sha256 = Digest::sha256(served.bytes);
        let tag = served.tag.filter(|tag| !is_own_name(tag, &sha256));
        let asked = PullAsked {
            repository: served.name,
            tag,
            digest: &sha256,
            manifest: manifest.as_ref(),
            size: size(served.bytes),
        };
        let behind = Behind {
            handlers: self,
            caller: served.caller,
            name: served.name,
        };
        let mut pull = admission.pull(asked, &behind).await?;
        if pull.decision != PullDecision::Allow {
            self.find_signatures(served.caller, served.name, &sha256)
                .await;
            pull = admission.pull_again(asked, &behind).await?;
        }
        if pull.decision != PullDecision::Allow
            && let Some(second) = self.second_name(served, &sha256).await?
        {
            // What is said of one name of these bytes is said of the other: a signature, or the index that lists it.
            self.find_signatures(served.caller, served.name, &second)
                .await;
            let asked = PullAsked {
                digest: &second,
                ..asked
            };
            let by_second = admission.pull(asked, &behind).await?;
            if by_second.decision == PullDecision::Allow {
                pull = by_second;
            }
        }
        let passed = match &pull.decision {
            PullDecision::Allow => Passed::default(),
            PullDecision::Warn(unsigned) => Passed {
                warning: warning(unsigned),
                is_shown: false,
            },
            PullDecision::Deny(unsigned) => {
                let is_shown =
                    tag.is_none() && self.is_shown_to_sign(admission, served, &behind).await?;
                if !is_shown {
                    return Err(self.denied(served.parts, served.name, unsigned, false));
                }
                admission.audit_shown(served.name, &sha256);
                Passed {
                    warning: warning(unsigned),
                    is_shown,
                }
            }
        };
        if !passed.is_shown {
            self.note_served(admission, served, &sha256, manifest.as_ref())
                .await;
        }
        Ok(passed)
    }

    /// The other digest of what is served, if anybody is known to use it.
    async fn second_name(
        &self,
        served: &Served<'_>,
        sha256: &Digest,
    ) -> Result<Option<Digest>, HandlerError> {
        if served.second.is_some() {
            return Ok(served.second.clone());
        }
        let recorded = self.custody.alias(served.name, sha256).await?;
        Ok(recorded.filter(|second| second.matches(served.bytes)))
    }

    /// Merges signatures that the registry behind has and that were not merged yet, as far as it answers.
    pub(super) async fn find_signatures(
        &self,
        caller: &Caller,
        name: &RepositoryName,
        subject: &Digest,
    ) {
        let Ok(permit) = self.authorizer.pull(caller, name, Some(subject)).await else {
            return;
        };
        self.merge_upstream(caller, &permit, subject).await;
        if self.config.absorb_cosign_tags
            && let Ok(tag) = format!("{}-{}.sig", subject.algorithm(), subject.encoded()).parse()
        {
            self.merge_upstream_tag(caller, &permit, &tag).await;
        }
    }

    /// Whoever may push sees what has to be signed, by its digest. Where everybody may push, that right hides nothing:
    /// there only what was refused at its push a while ago is shown.
    async fn is_shown_to_sign(
        &self,
        admission: &Admission,
        served: &Served<'_>,
        behind: &Behind<'_>,
    ) -> Result<bool, HandlerError> {
        let sha256 = Digest::sha256(served.bytes);
        let (caller, name) = (served.caller, served.name);
        if !self.authorizer.may_push(caller, name).await? {
            return Ok(false);
        }
        if admission.is_kept(name, &sha256, behind).await? {
            return Ok(true);
        }
        // A credential that nobody looks at proves nothing.
        Ok(!caller.is_anonymous()
            && !self
                .authorizer
                .may_push(&caller.without_credential(), name)
                .await?)
    }

    /// What was refused at its push, to whoever may sign it. Where everybody may read, many clients give their name
    /// only when they are asked for it: so they are, whether there is anything or not.
    pub(super) async fn show_kept(
        &self,
        admission: &Admission,
        parts: &request::Parts,
        caller: &Caller,
        name: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Response<Body>>, HandlerError> {
        if self.relay.keeps(name) {
            self.authorizer.require_name(caller, name).await?;
        }
        let Some(kept) = self.custody.kept(name, digest).await? else {
            return Ok(None);
        };
        if !self.authorizer.may_push(caller, name).await? {
            return Ok(None);
        }
        admission.audit_shown(name, digest);
        let mut response = answer::manifest(parts, digest, &kept.media_type, kept.bytes)?;
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Ok(Some(response))
    }

    /// What a tag names and an index lists, for reads by digest. Best effort: without it they are judged more strictly.
    async fn note_served(
        &self,
        admission: &Admission,
        served: &Served<'_>,
        digest: &Digest,
        manifest: Option<&Manifest>,
    ) {
        let noted = async {
            if let Some(tag) = served.tag.filter(|tag| !is_own_name(tag, digest)) {
                admission.note_tag(served.name, digest, tag).await?;
            }
            if let Some(manifest) = manifest {
                let children = Described::of(manifest, size(served.bytes)).children;
                admission
                    .note_children(served.name, digest, &children)
                    .await?;
            }
            Ok::<_, crate::store::StoreError>(())
        };
        if let Err(error) = noted.await {
            tracing::warn!(
                oci.repository = %served.name,
                oci.digest = %digest,
                error = &error as &dyn std::error::Error,
                "what a tag names was not noted: reads by digest are judged by every rule"
            );
        }
    }

    pub(super) fn denied(
        &self,
        parts: &request::Parts,
        name: &RepositoryName,
        unsigned: &Unsigned,
        is_push: bool,
    ) -> HandlerError {
        HandlerError::Denied(Box::new(super::error::Denied {
            name: name.clone(),
            next: unsigned.next(&self.named(parts, name)),
            unsigned: unsigned.clone(),
            is_push,
        }))
    }

    /// The repository as the client names it, with the host.
    pub(super) fn named(&self, parts: &request::Parts, name: &RepositoryName) -> String {
        let host = parts.headers.get(http::header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        match self.config.public_authority.as_deref().or(host) {
            Some(host) => format!("{host}/{name}"),
            None => name.to_string(),
        }
    }

    /// The whole manifest as the registry behind gives it, whatever part or condition the client asks for.
    async fn read_whole(
        &self,
        route: &Route,
        parts: &request::Parts,
        caller: &Caller,
    ) -> Result<Answer, HandlerError> {
        let whole = whole(parts);
        let mut response = self.send(route, &whole, caller, body::empty()).await?;
        if response.status().is_redirection() {
            let mut headers = caller.headers();
            let accept = parts.headers.get_all(http::header::ACCEPT).iter();
            headers.extend(accept.map(|accept| (http::header::ACCEPT, accept.clone())));
            let path = route.canonical_path().unwrap_or_default();
            response = self.upstream.open(&Method::GET, &path, &headers).await?;
        }
        Ok(self
            .upstream
            .collect(response, self.config.max_manifest)
            .await?)
    }

    fn answer_judged(
        &self,
        parts: &request::Parts,
        digest: &Digest,
        mut answer: Answer,
    ) -> Response<Body> {
        let headers = &mut answer.parts.headers;
        set_length(headers, answer.body.len());
        if let Ok(value) = HeaderValue::from_str(digest.as_str()) {
            headers.insert(answer::CONTENT_DIGEST, value);
        }
        let is_known = answer::has_it(&parts.headers, digest)
            || answer::has_tagged(&parts.headers, headers.get(ETAG));
        if is_known {
            answer.parts.status = StatusCode::NOT_MODIFIED;
            answer.parts.headers.remove(CONTENT_LENGTH);
            answer.parts.headers.remove(CONTENT_TYPE);
            answer.body = Bytes::new();
        }
        self.relay_answer(parts, without_body_of_head(parts, answer))
    }
}

/// The request without what asks for less than the whole, or for the whole in another coding, and without its body.
pub(super) fn whole(parts: &request::Parts) -> request::Parts {
    let mut whole = parts.clone();
    whole.method = Method::GET;
    for header in [
        ACCEPT_ENCODING,
        CONTENT_LENGTH,
        CONTENT_TYPE,
        EXPECT,
        TRANSFER_ENCODING,
        IF_MATCH,
        IF_MODIFIED_SINCE,
        IF_NONE_MATCH,
        IF_RANGE,
        IF_UNMODIFIED_SINCE,
        RANGE,
    ] {
        whole.headers.remove(header);
    }
    whole
}

fn without_body_of_head(parts: &request::Parts, mut answer: Answer) -> Answer {
    if parts.method == Method::HEAD {
        answer.body = Bytes::new();
    }
    answer
}

/// The warning of an answer that passes unsigned (distribution-spec "Warnings").
pub(super) fn warning(unsigned: &Unsigned) -> Option<HeaderValue> {
    let mut text = format!(
        "not signed as rule '{}' requires: {}",
        unsigned.rule, unsigned.requires
    );
    if unsigned.missing.is_empty() {
        text = format!("rule '{}': {}", unsigned.rule, unsigned.reasons.join("; "));
    }
    quoted_warning(&text)
}

/// `299 - "text"`, without what a quoted string cannot have.
pub(super) fn quoted_warning(text: &str) -> Option<HeaderValue> {
    let plain: String = text
        .chars()
        .map(|letter| match letter {
            '"' | '\\' => '\'',
            ' '..='~' => letter,
            _ => '?',
        })
        .collect();
    HeaderValue::from_str(&format!("299 - \"{plain}\"")).ok()
}

/// What of a blob is judged as a manifest, by the type that it gives itself.
pub(super) fn own_media_type(bytes: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
        manifests: Option<serde::de::IgnoredAny>,
    }
    match serde_json::from_slice::<Typed>(bytes) {
        Ok(Typed {
            media_type: Some(own),
            ..
        }) => own,
        Ok(Typed {
            manifests: Some(_), ..
        }) => media_type::IMAGE_INDEX.to_owned(),
        _ => media_type::IMAGE_MANIFEST.to_owned(),
    }
}
