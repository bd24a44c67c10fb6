//! The registry that is asked, and who asks it. Whatever changes something there takes a [`Writable`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode, Uri, Version};
use rustls::CertificateError;
use thiserror::Error;

use crate::app::inspect::report::plain;
use crate::auth::Caller;
use crate::auth::relay::direct::{Demand, Granted, TokenService};
use crate::body;
use crate::oci::{RepositoryName, media_type};
use crate::upstream::{Upstream, UpstreamError};

/// Answers are read up to here: the longest are lists of tags.
const LIMIT: usize = 32 << 20;

/// So much of a body is looked at for its first line, in bytes.
const READ: usize = 1 << 10;

/// The longest line that is shown of a body, in characters.
const LONGEST_LINE: usize = 120;

/// After so many requests in a row without an answer no more are sent.
const PATIENCE: usize = 3;

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Whoever runs this, with the credential that was found; without one, the anonymous caller.
    Account,
    /// A caller who meets no demand.
    Nobody,
    /// A caller who gives no name, with whatever token such a caller gets.
    Anonymous,
    /// The account, with a token that allows nothing.
    Rightless,
}

/// A repository that may be written to. There is none unless the one who runs this has named it.
#[derive(Clone, Debug)]
pub(super) struct Writable(RepositoryName);

impl Writable {
    /// The repository that `--scratch` names.
    pub(super) fn named(repository: RepositoryName) -> Self {
        Self(repository)
    }

    pub(super) fn repository(&self) -> &RepositoryName {
        &self.0
    }
}

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Question {
    method: Method,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Bytes,
    scopes: Vec<String>,
}

/// An answer, read whole where that was possible.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    asked: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) version: Version,
    pub(super) body: Bytes,
    /// Whether it was asked with a credential or a token.
    pub(super) is_with_credential: bool,
    /// Whether the body came as its head had said.
    pub(super) is_whole: bool,
}

/// There is no answer.
#[derive(Debug, Error)]
pub(super) enum Silence {
    #[error("{asked}: no answer: {}", told(source))]
    NoAnswer {
        asked: String,
        source: UpstreamError,
    },
    #[error("{0}: not asked, since the registry has stopped answering")]
    GivenUp(String),
}

/// A registry, and what is known of how it wants to be asked.
#[derive(Debug)]
pub(super) struct Registry {
    upstream: Upstream,
    account: Caller,
    realms: Vec<Uri>,
    known: Mutex<BTreeMap<(Who, Vec<String>), Caller>>,
    silences: AtomicUsize,
}

impl Question {
    pub(super) fn get(path: impl Into<String>) -> Self {
        Self::of(Method::GET, path)
    }

    pub(super) fn head(path: impl Into<String>) -> Self {
        Self::of(Method::HEAD, path)
    }

    fn of(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            scopes: Vec::new(),
        }
    }

    /// A manifest, of whatever type.
    pub(super) fn manifest(repository: &RepositoryName, reference: impl fmt::Display) -> Self {
        Self::get(format!("/v2/{repository}/manifests/{reference}"))
            .with(ACCEPT, media_type::ACCEPT_MANIFESTS)
            .pulls(repository)
    }

    /// What is not text that a header can have is left out.
    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers
            .extend(HeaderValue::from_str(value).map(|value| (name, value)));
        self
    }

    pub(super) fn pulls(self, repository: &RepositoryName) -> Self {
        self.scoped(format!("repository:{repository}:pull"))
    }

    pub(super) fn scoped(mut self, scope: String) -> Self {
        self.scopes.push(scope);
        self
    }
}

impl Registry {
    pub(super) fn new(upstream: Upstream, account: Caller, realms: Vec<Uri>) -> Self {
        Self {
            upstream,
            account,
            realms,
            known: Mutex::default(),
            silences: AtomicUsize::new(0),
        }
    }

    pub(super) fn has_account(&self) -> bool {
        !self.account.is_anonymous()
    }

    /// What helps where the registry refuses: a credential, if none was shown.
    pub(super) fn remedy(&self, reply: &Reply) -> &'static str {
        if reply.is_refusal() && !self.has_account() {
            "; docker login may help, since no credential was found"
        } else {
            ""
        }
    }

    /// Path and query of a location on the registry itself; none for one elsewhere.
    pub(super) fn own_path(&self, location: &str) -> Option<String> {
        let path = self.upstream.own_path(location, None)?;
        Some(path.as_str().to_owned())
    }

    /// Asks with `GET` or `HEAD`. No redirect is followed.
    ///
    /// # Errors
    /// No answer.
    pub(super) async fn read(&self, who: Who, question: Question) -> Result<Reply, Silence> {
        self.ask(who, question).await
    }

    /// Asks with any method, in the repository that may be written to.
    ///
    /// # Errors
    /// No answer.
    pub(super) async fn write(
        &self,
        writable: &Writable,
        who: Who,
        request: Request<Bytes>,
    ) -> Result<Reply, Silence> {
        let (parts, body) = request.into_parts();
        let headers = parts.headers.iter();
        let mut question = Question {
            headers: headers
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
            body,
            ..Question::of(parts.method, parts.uri.to_string())
        };
        let name = writable.repository();
        question
            .scopes
            .push(format!("repository:{name}:pull,push,delete"));
        let source = parts.extensions.get::<RepositoryName>();
        if let Some(source) = source.filter(|source| *source != name) {
            question.scopes.push(format!("repository:{source}:pull"));
        }
        self.ask(who, question).await
    }

    /// The demand of the registry is met once, if it can be, and again when a token has ended.
    async fn ask(&self, who: Who, question: Question) -> Result<Reply, Silence> {
        let known = (who, question.scopes.clone());
        let caller = self.known().get(&known).cloned();
        let caller = caller.unwrap_or_else(|| Caller::own(None));
        let reply = self.send(&caller, &question).await?;
        if reply.status != StatusCode::UNAUTHORIZED || who == Who::Nobody {
            return Ok(reply);
        }
        let Some(caller) = self
            .meet(who, &Demand::of(&reply.headers), &question.scopes)
            .await
        else {
            return Ok(reply);
        };
        let reply = self.send(&caller, &question).await?;
        self.known().insert(known, caller);
        Ok(reply)
    }

    async fn meet(&self, who: Who, demand: &Demand, scopes: &[String]) -> Option<Caller> {
        let anonymous = Caller::own(None);
        for service in &demand.tokens {
            let (account, scopes) = match who {
                Who::Account => (&self.account, scopes),
                Who::Nobody | Who::Anonymous => (&anonymous, scopes),
                Who::Rightless => (&self.account, &[][..]),
            };
            if let Some(Granted::Token(caller)) = self.token(service, account, scopes).await {
                return Some(caller);
            }
        }
        let wants_password = demand.basic && who == Who::Account && self.has_account();
        wants_password.then(|| self.account.clone())
    }

    async fn token(
        &self,
        service: &TokenService,
        account: &Caller,
        scopes: &[String],
    ) -> Option<Granted> {
        let asked = service.token(&self.upstream, &self.realms, account, scopes);
        asked.await.ok()
    }

    /// What the token service says to the account, which asks for nothing; none if it says nothing.
    pub(super) async fn log_in(&self, service: &TokenService) -> Option<Granted> {
        self.token(service, &self.account, &[]).await
    }

    async fn send(&self, caller: &Caller, question: &Question) -> Result<Reply, Silence> {
        let asked = format!("{} {}", question.method, shortened(&question.path));
        if self.silences.load(Ordering::Relaxed) >= PATIENCE {
            return Err(Silence::GivenUp(asked));
        }
        let answered = self.answer(caller, question, &asked).await;
        match &answered {
            Ok(_) => self.silences.store(0, Ordering::Relaxed),
            Err(_) => {
                self.silences.fetch_add(1, Ordering::Relaxed);
            }
        }
        answered.map_err(|source| Silence::NoAnswer { asked, source })
    }

    async fn answer(
        &self,
        caller: &Caller,
        question: &Question,
        asked: &str,
    ) -> Result<Reply, UpstreamError> {
        let mut request = Request::builder()
            .method(question.method.clone())
            .uri(question.path.as_str())
            .body(body::full(question.body.clone()))?;
        let headers = question.headers.iter().cloned().chain(caller.headers());
        request.headers_mut().extend(headers);
        let response = self.upstream.send(request).await?;
        let (status, version) = (response.status(), response.version());
        let headers = response.headers().clone();
        let (body, is_whole) = match self.upstream.collect(response, LIMIT).await {
            Ok(answer) => (answer.body, true),
            Err(_) => (Bytes::new(), false),
        };
        Ok(Reply {
            asked: asked.to_owned(),
            status,
            headers,
            version,
            body,
            is_with_credential: !caller.is_anonymous(),
            is_whole,
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<(Who, Vec<String>), Caller>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    /// A header as text; empty if there is none, or no text in it.
    pub(super) fn header(&self, name: impl AsRef<str>) -> &str {
        let value = self.headers.get(name.as_ref());
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The media type without parameters.
    pub(super) fn media_type(&self) -> &str {
        media_type::essence(self.header(CONTENT_TYPE))
    }

    /// The body as JSON; null if it is none.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The code of an OCI error; empty if there is none.
    pub(super) fn code(&self) -> String {
        let document = self.json();
        let code = document.pointer("/errors/0/code");
        code.and_then(serde_json::Value::as_str)
            .unwrap_or_default()
            .to_owned()
    }

    /// Whether the question was to delete something.
    pub(super) fn is_to_delete(&self) -> bool {
        self.asked.starts_with("DELETE ")
    }

    /// 401 or 403.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(
            self.status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        )
    }
}

impl Reply {
    /// The first line of the body that has anything in it, to be read by people: cut, and without what a terminal would
    /// obey.
    pub(super) fn first_line(&self) -> Option<String> {
        let start = self.body.get(..READ).unwrap_or(&self.body);
        let text = String::from_utf8_lossy(start);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
        let mut shown: String = line.chars().take(LONGEST_LINE).collect();
        if line.chars().nth(LONGEST_LINE).is_some() {
            shown.push('…');
        }
        Some(plain(&shown))
    }
}

impl fmt::Display for Reply {
    /// What was asked and answered.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} answered {}", self.asked, self.status.as_u16())?;
        let code = self.code();
        match (code.as_str(), self.media_type()) {
            ("", "") => Ok(()),
            ("", media_type) => write!(f, " ({media_type})"),
            (code, _) => write!(f, " {code}"),
        }
    }
}

impl From<&Reply> for String {
    fn from(reply: &Reply) -> Self {
        reply.to_string()
    }
}

impl From<Reply> for String {
    fn from(reply: Reply) -> Self {
        reply.to_string()
    }
}

/// An error with what it comes from, and what helps.
fn told(error: &UpstreamError) -> String {
    let mut shown = error.to_string();
    let mut is_unknown_issuer = false;
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let text = cause.to_string();
        if !shown.ends_with(&text) {
            shown.push_str(": ");
            shown.push_str(&text);
        }
        is_unknown_issuer |= is_of_unknown_issuer(cause);
        source = cause.source();
    }
    if is_unknown_issuer {
        shown.push_str("; try --ca FILE, with the authority that has signed its certificate");
    }
    plain(&shown)
}

/// An error of input and output may have others in it that are not its sources.
fn is_of_unknown_issuer(cause: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(wrapping) = cause.downcast_ref::<io::Error>() {
        return wrapping
            .get_ref()
            .is_some_and(|inner| is_of_unknown_issuer(inner));
    }
    matches!(
        cause.downcast_ref(),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::UnknownIssuer
        ))
    )
}

/// A path in which digests and states are cut, to be read by people.
fn shortened(path: &str) -> String {
    const LONGEST: usize = 24;
    const KEPT: usize = 12;
    let is_word =
        |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '=');
    let mut shown = String::new();
    let mut rest = path;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_word(letter)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.len() > LONGEST {
            shown.extend(word.chars().take(KEPT));
            shown.push('…');
        } else {
            shown.push_str(word);
        }
        let mut others = after.chars();
        shown.extend(others.next());
        rest = others.as_str();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_words_of_a_path_are_cut() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(
            shortened(&format!("/v2/a/referrers/{digest}?n=1")),
            "/v2/a/referrers/sha256:000000000000…?n=1"
        );
        assert_eq!(shortened("/v2/a-b/tags/list"), "/v2/a-b/tags/list");
    }
}
