//! The admin API: what operators and their programs ask of a running regseal, on the second listener.
//!
//! Whoever has the token may ask everything: the answers name what the policy keeps from others. Every request needs it,
//! the description of the API too, and there is no API at all where no token is configured. Nothing here changes anything.
//!
//! | route | answer |
//! |---|---|
//! | `GET /api/v1/explain?reference=REF` | everything about one image: [`crate::admission::Explanation`] |
//! | `GET /api/v1/status?repository=NAME` | the rules about a repository, and the marks on its tags |
//! | `POST /api/v1/policy/simulate` | what a push and a pull would do |
//! | `POST /api/v1/policy/test` | what the policy makes of a file of cases |
//! | `GET /api/v1/trust/check` | what the policy trusts in, and what is wrong with it |
//! | `GET /api/v1/openapi.json` | the description of all of these |

mod answer;
mod lookup;
mod simulate;
mod token;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::header::{ALLOW, HeaderValue, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value as Json;
use tokio::sync::Semaphore;

use crate::admission::Admission;
use crate::auth::Caller;
use crate::body::{self, Body, ReadError};
use crate::handlers::Handlers;
use crate::secret::Secret;
use crate::server;
use crate::store::SignatureStore;

use answer::{Refusal, json, refused};
use token::Token;

/// Requests that are worked on at once.
const IN_FLIGHT: usize = 32;
/// The largest body of a request, in bytes, and how long it may take.
const BODY_LIMIT: usize = 1 << 20;
const BODY_TIME: Duration = Duration::from_secs(30);

const OPENAPI: &str = include_str!("openapi.json");

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Explain,
    Status,
    Simulate,
    TestPolicy,
    CheckTrust,
    Description,
}

const ROUTES: [(Method, &str, Question); 6] = [
    (Method::GET, "/api/v1/explain", Question::Explain),
    (Method::GET, "/api/v1/status", Question::Status),
    (Method::POST, "/api/v1/policy/simulate", Question::Simulate),
    (Method::POST, "/api/v1/policy/test", Question::TestPolicy),
    (Method::GET, "/api/v1/trust/check", Question::CheckTrust),
    (Method::GET, "/api/v1/openapi.json", Question::Description),
];

/// Reads policy and trust material again, as it is now, and tells what is in it.
pub type CheckTrust = Arc<dyn Fn() -> Json + Send + Sync>;

/// What the answers are made from.
#[derive(Clone)]
pub struct Parts {
    /// Reads images and their signatures.
    pub handlers: Handlers,
    /// Judges them.
    pub admission: Admission,
    /// Has the marks.
    pub store: Arc<SignatureStore>,
    /// What regseal itself is to the registry behind.
    pub account: Caller,
    /// Absent where there is no policy.
    pub check_trust: Option<CheckTrust>,
}

/// The admin API.
#[derive(Clone)]
pub struct Api {
    token: Arc<Token>,
    slots: Arc<Semaphore>,
    parts: Arc<Parts>,
}

impl Api {
    /// Answers whoever shows `token`.
    #[must_use]
    pub fn new(token: &Secret, parts: Parts) -> Self {
        Self {
            token: Arc::new(Token::new(token)),
            slots: Arc::new(Semaphore::new(IN_FLIGHT)),
            parts: Arc::new(parts),
        }
    }

    async fn respond(self, request: Request<Body>) -> Response<Full<Bytes>> {
        let Ok(_slot) = self.slots.try_acquire() else {
            let mut busy = refused(&Refusal::Busy);
            busy.headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            return busy;
        };
        if !self.token.is_shown_by(request.headers()) {
            return answer::unauthorized();
        }
        let asked = request.uri().path();
        let mut routes = ROUTES.iter().filter(|(_, path, _)| *path == asked);
        let Some((method, _, question)) = routes.next() else {
            return refused(&Refusal::NoSuchPath);
        };
        if request.method() != method {
            let mut refusal = refused(&Refusal::Method);
            if let Ok(allow) = HeaderValue::from_str(method.as_str()) {
                refusal.headers_mut().insert(ALLOW, allow);
            }
            return refusal;
        }
        let answered = Box::pin(self.parts.answer(*question, request)).await;
        answered.unwrap_or_else(|refusal| refused(&refusal))
    }
}

impl server::Api for Api {
    fn answer(&self, request: Request<Body>) -> BoxFuture<'static, Response<Full<Bytes>>> {
        Box::pin(self.clone().respond(request))
    }
}

impl Parts {
    async fn answer(
        &self,
        question: Question,
        request: Request<Body>,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let answered = match question {
            Question::Explain => self.explain(&query).await?,
            Question::Status => self.status(&query).await?,
            Question::Simulate => self.simulate(&whole(request).await?).await?,
            Question::TestPolicy => self.test_policy(&whole(request).await?)?,
            Question::CheckTrust => self.check_trust().await?,
            Question::Description => {
                return Ok(answer::written(StatusCode::OK, OPENAPI));
            }
        };
        Ok(json(StatusCode::OK, &answered))
    }
}

async fn whole(request: Request<Body>) -> Result<Bytes, Refusal> {
    let read = body::read(request.into_body(), BODY_LIMIT);
    match tokio::time::timeout(BODY_TIME, read).await {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(ReadError::TooLarge)) => Err(Refusal::TooLarge(BODY_LIMIT)),
        Ok(Err(ReadError::Broken(error))) => Err(Refusal::BadBody(error.to_string())),
        Err(elapsed) => Err(Refusal::BadBody(elapsed.to_string())),
    }
}

impl fmt::Debug for Api {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Api").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_description_has_every_route_and_no_other() {
        let description: Json = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(description["openapi"], "3.1.0");
        let mut described = Vec::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                described.push(format!("{} {path}", method.to_uppercase()));
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.contains_key("200"), "{method} {path}");
                assert!(responses.contains_key("401"), "{method} {path}");
            }
        }
        let mut routes = ROUTES.map(|(method, path, _)| format!("{method} {path}"));
        routes.sort();
        described.sort();
        assert_eq!(described, routes);
    }

    #[test]
    fn whatever_the_description_refers_to_is_in_it() {
        let description: Json = serde_json::from_str(OPENAPI).unwrap();
        let mut rest = vec![&description];
        while let Some(value) = rest.pop() {
            if let Some(reference) = value.get("$ref").and_then(Json::as_str) {
                let pointer = reference.trim_start_matches('#');
                assert!(description.pointer(pointer).is_some(), "{reference}");
            }
            match value {
                Json::Object(members) => rest.extend(members.values()),
                Json::Array(items) => rest.extend(items),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => {}
            }
        }
    }
}
