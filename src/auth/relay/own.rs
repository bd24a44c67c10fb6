//! regseal's own way to the registry behind: what no caller asked for is read with its service account.

use http::header::WWW_AUTHENTICATE;
use http::{Method, StatusCode};

use super::token_answer::TokenAnswer;
use super::token_request::TokenRequest;
use super::{Relay, challenge};
use crate::auth::Caller;
use crate::oci::RepositoryName;
use crate::upstream::UpstreamError;

impl Relay {
    /// As [`Self::own_caller_for`], to pull from `repository`.
    ///
    /// # Errors
    /// Registry or token service gave no answer.
    pub async fn own_caller(
        &self,
        account: Caller,
        repository: &RepositoryName,
        path: &str,
    ) -> Result<Caller, UpstreamError> {
        let scope = format!("repository:{repository}:pull");
        self.own_caller_for(account, &scope, path).await
    }

    /// `account` as the registry behind wants it for `path`: with a token of `scope` where it asks for one and its
    /// token service may see the credential. Whoever gets none stays as it is, and is refused by the registry.
    ///
    /// # Errors
    /// Registry or token service gave no answer.
    pub async fn own_caller_for(
        &self,
        account: Caller,
        scope: &str,
        path: &str,
    ) -> Result<Caller, UpstreamError> {
        let headers = account.headers();
        let response = self.upstream.ask(&Method::HEAD, path, &headers).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return Ok(account);
        }
        let lines = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let challenges = lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(challenge::bearer);
        for (realm, service) in challenges {
            let Some(allowed) = self.pinning.allowed(&realm, None) else {
                self.warn_once(&realm);
                continue;
            };
            let request = TokenRequest::scoped(service, &[scope.to_owned()]);
            let answer = self.question(&allowed, &request, &account).await?;
            let token =
                TokenAnswer::parse(&answer.body).filter(|_| answer.parts.status.is_success());
            let token = token.as_ref().and_then(TokenAnswer::token);
            if let Some(caller) = token.and_then(|token| account.with_token(token)) {
                return Ok(caller);
            }
        }
        Ok(account)
    }
}
