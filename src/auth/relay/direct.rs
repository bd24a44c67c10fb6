//! What a registry asks of its callers, and a token of its token service for a caller that is regseal itself: without a
//! relay, and under the same rule of where a credential may go.

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use http::{StatusCode, Uri};

use super::challenge;
use super::realm::Pinning;
use super::token_answer::TokenAnswer;
use super::token_request::TokenRequest;
use crate::auth::Caller;
use crate::upstream::{Upstream, UpstreamError};

/// Answers of token services are read up to here.
const LIMIT: usize = 64 << 10;

/// What an answer asks its caller for (RFC 9110 section 11.6.1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// A token of one of these services.
    pub tokens: Vec<TokenService>,
    /// Name and password.
    pub basic: bool,
    /// Other schemes.
    pub others: Vec<String>,
}

/// A token service, as a Bearer challenge names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenService {
    /// Its URL.
    pub realm: String,
    /// What it calls the registry.
    pub service: Option<String>,
}

/// What came of asking for a token.
#[derive(Clone, Debug)]
pub enum Granted {
    /// The caller with its token.
    Token(Caller),
    /// The service refused.
    Refused(StatusCode),
    /// It was not asked: credentials go to the host of the registry, or where the configuration says, and nowhere else.
    Elsewhere,
}

impl Demand {
    /// The demands of all challenges of an answer.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let mut demand = Self::default();
        for line in headers.get_all(WWW_AUTHENTICATE) {
            let line = line.to_str().unwrap_or_default();
            let named = challenge::bearer(line).into_iter();
            let services = named.map(|(realm, service)| TokenService { realm, service });
            demand.tokens.extend(services);
            for scheme in challenge::schemes(line) {
                match scheme.to_ascii_lowercase().as_str() {
                    "basic" => demand.basic = true,
                    "bearer" => {}
                    _ => demand.others.push(scheme),
                }
            }
        }
        demand
    }
}

impl TokenService {
    /// Asks for a token with all of `scopes`, such as `repository:a/b:pull`. `realms` are the services that may be asked;
    /// none: those on the host of the registry.
    ///
    /// # Errors
    /// The token service gave no answer.
    pub async fn token(
        &self,
        upstream: &Upstream,
        realms: &[Uri],
        account: &Caller,
        scopes: &[String],
    ) -> Result<Granted, UpstreamError> {
        let pinning = Pinning::new(upstream.url(), realms.to_vec(), None);
        let Some(realm) = pinning.allowed(&self.realm, None) else {
            return Ok(Granted::Elsewhere);
        };
        let request = TokenRequest::scoped(self.service.clone(), scopes);
        let (uri, headers) = (request.uri(&realm)?, account.headers());
        let (method, body) = (request.method(), bytes::Bytes::new());
        let answer = upstream
            .submit_elsewhere(&method, uri, &headers, body, LIMIT)
            .await?;
        let status = answer.parts.status;
        let token = TokenAnswer::parse(&answer.body).filter(|_| status.is_success());
        let caller = token.and_then(|token| account.with_token(token.token()?));
        Ok(caller.map_or(Granted::Refused(status), Granted::Token))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_demands_of_an_answer_are_read() {
        let mut headers = HeaderMap::new();
        assert_eq!(Demand::of(&headers), Demand::default());
        for line in [
            r#"Bearer realm="https://a/token",service="s",scope="x""#,
            r#"BASIC realm="r", Negotiate"#,
            "no list of, challenges=",
        ] {
            headers.append(WWW_AUTHENTICATE, line.parse().unwrap());
        }
        let service = TokenService {
            realm: "https://a/token".to_owned(),
            service: Some("s".to_owned()),
        };
        let expected = Demand {
            tokens: vec![service],
            basic: true,
            others: vec!["Negotiate".to_owned()],
        };
        assert_eq!(Demand::of(&headers), expected);
    }
}
