//! The token path: one question of a client to the token service, and those that tell whether it may push.

use std::time::Duration;

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, Uri, request};

use super::token_answer::{TokenAnswer, grants_push};
use super::token_request::TokenRequest;
use super::{Relay, RelayError, challenge};
use crate::auth::{Authorizer, Caller};
use crate::body::{self, Body};
use crate::oci::RepositoryName;
use crate::upstream::{Answer, UpstreamError};

/// Answers of token services are read up to here.
const ANSWER_LIMIT: usize = 64 << 10;

/// How long a seal is believed at most.
const LONGEST: Duration = Duration::from_secs(300);

/// Repositories of one request for which it is asked whether the caller may push: clients name one, or two to mount.
const REPOSITORIES: usize = 4;

impl Relay {
    /// Answers a token request.
    ///
    /// # Errors
    /// See [`RelayError`].
    pub async fn exchange(
        &self,
        parts: &request::Parts,
        body: Body,
        caller: &Caller,
        authorizer: &Authorizer,
    ) -> Result<Response<Body>, RelayError> {
        if !self.is_on() {
            return Err(RelayError::Off);
        }
        let request = TokenRequest::read(parts, body, self.config.body_time).await?;
        let realm = self.announced().await?.ok_or(RelayError::NoRealm)?;
        let answer = self.question(&realm, &request, caller).await?;
        let status = answer.parts.status;
        let gated = self.gated(&request);
        let token = TokenAnswer::parse(&answer.body);
        let (true, false, Some(token)) = (status.is_success(), gated.is_empty(), token) else {
            return relayed(answer);
        };
        let mut may_push = Vec::new();
        for (repository, asked) in gated {
            let holder = Holder {
                relay: self,
                realm: &realm,
                caller,
                authorizer,
            };
            if holder.may_push(&request, &token, &repository, asked).await {
                may_push.push(repository);
            }
        }
        let lifetime = token.lifetime().min(LONGEST);
        let wrapped = token.wrapped(lifetime, |token| {
            self.wrapping.wrap(token, &may_push, lifetime)
        });
        match wrapped {
            Ok(body) => relayed(Answer { body, ..answer }),
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "a token was handed out without a seal"
                );
                relayed(answer)
            }
        }
    }

    fn gated(&self, request: &TokenRequest) -> Vec<(RepositoryName, bool)> {
        let mut gated = request.repositories();
        gated.retain(|(repository, _)| self.gates.covers(repository));
        gated.truncate(REPOSITORIES);
        gated
    }

    pub(super) async fn question(
        &self,
        realm: &Uri,
        request: &TokenRequest,
        caller: &Caller,
    ) -> Result<Answer, UpstreamError> {
        let (kind, body) = request.body();
        let headers: Vec<_> = caller.headers().into_iter().chain(kind).collect();
        let uri = request.uri(realm)?;
        self.upstream
            .submit_elsewhere(&request.method(), uri, &headers, body, ANSWER_LIMIT)
            .await
    }
}

/// The one who asked for a token, and the ways to learn what they may do.
struct Holder<'a> {
    relay: &'a Relay,
    realm: &'a Uri,
    caller: &'a Caller,
    authorizer: &'a Authorizer,
}

impl Holder<'_> {
    /// Whether whoever got `token` for `request` may push. What cannot be learnt is no.
    async fn may_push(
        &self,
        request: &TokenRequest,
        token: &TokenAnswer,
        repository: &RepositoryName,
        asked: bool,
    ) -> bool {
        let first = token.token().unwrap_or_default();
        if asked || grants_push(first, repository) == Some(true) {
            return self.lets_push(first, repository).await;
        }
        // A service that gives a new refresh token for an old one may end the session of whoever shows the old one again.
        if let (Some(old), Some(new)) = (request.refresh_token(), token.refresh_token())
            && old != new
        {
            return false;
        }
        let wider = request.to_push(repository);
        let answer = self.relay.question(self.realm, &wider, self.caller).await;
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the token service did not tell who may push"
                );
                return false;
            }
        };
        let second = TokenAnswer::parse(&answer.body).filter(|_| answer.parts.status.is_success());
        match second.as_ref().and_then(TokenAnswer::token) {
            Some(second) => self.lets_push(second, repository).await,
            None => false,
        }
    }

    /// Whether a token of the token service lets its holder push: it says so itself, or the registry does.
    async fn lets_push(&self, token: &str, repository: &RepositoryName) -> bool {
        if let Some(granted) = grants_push(token, repository) {
            return granted;
        }
        let Some(holder) = self.caller.with_token(token) else {
            return false;
        };
        let decided = self.authorizer.may_push(&holder, repository).await;
        decided.unwrap_or(false)
    }
}

/// What of an answer is the client's: status, body, and how to ask again.
fn relayed(answer: Answer) -> Result<Response<Body>, RelayError> {
    let Answer { parts, body } = answer;
    // Where a redirect leads the client would take its credential.
    if parts.status.is_informational() || parts.status.is_redirection() {
        return Err(RelayError::Redirected(parts.status));
    }
    let length = body.len();
    let mut response = Response::new(body::full(body));
    *response.status_mut() = parts.status;
    let headers = response.headers_mut();
    for name in [CONTENT_TYPE, RETRY_AFTER] {
        if let Some(value) = parts.headers.get(&name) {
            headers.insert(name, value.clone());
        }
    }
    for line in parts.headers.get_all(WWW_AUTHENTICATE) {
        let text = line.to_str().unwrap_or_default();
        if challenge::is_only(text, "basic") {
            headers.append(WWW_AUTHENTICATE, line.clone());
        }
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}
