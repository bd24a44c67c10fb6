//! The admin API: what operators and their programs ask of a running regseal, on the second listener.
//!
//! Whoever has the token may ask everything: the answers name what the policy keeps from others. Every request needs it,
//! the description of the API too, and there is no API at all where no token is configured. An import changes what regseal
//! keeps and an export what the registry has; nothing else here changes anything.
//!
//! | route | answer |
//! |---|---|
//! | `GET /api/v1/explain?reference=REF` | everything about one image: [`crate::admission::Explanation`] |
//! | `GET /api/v1/status?repository=NAME` | the rules about a repository, and the marks on its tags |
//! | `POST /api/v1/policy/simulate` | what a push and a pull would do |
//! | `POST /api/v1/policy/test` | what the policy makes of a file of cases |
//! | `GET /api/v1/trust/check` | what the policy trusts in, and what is wrong with it |
//! | `POST /api/v1/import` | begins to take over what the registry has; one at a time |
//! | `GET /api/v1/import` | how far that is, or what it has come to |
//! | `POST /api/v1/export` | begins to write what is captured to the registry |
//! | `GET /api/v1/export` | how far that is, or what it has come to |
//! | `GET /api/v1/openapi.json` | the description of all of these |

mod answer;
mod lookup;
mod simulate;
mod token;
mod transfers;

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
use crate::transfer::Jobs;

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
    BeginImport,
    ImportStatus,
    BeginExport,
    ExportStatus,
    Description,
}

const ROUTES: [(Method, &str, Question); 10] = [
    (Method::GET, "/api/v1/explain", Question::Explain),
    (Method::GET, "/api/v1/status", Question::Status),
    (Method::POST, "/api/v1/policy/simulate", Question::Simulate),
    (Method::POST, "/api/v1/policy/test", Question::TestPolicy),
    (Method::GET, "/api/v1/trust/check", Question::CheckTrust),
    (Method::POST, "/api/v1/import", Question::BeginImport),
    (Method::GET, "/api/v1/import", Question::ImportStatus),
    (Method::POST, "/api/v1/export", Question::BeginExport),
    (Method::GET, "/api/v1/export", Question::ExportStatus),
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
    /// Imports and exports.
    pub jobs: Arc<Jobs>,
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
        let routes: Vec<_> = ROUTES
            .iter()
            .filter(|(_, path, _)| *path == asked)
            .collect();
        if routes.is_empty() {
            return refused(&Refusal::NoSuchPath);
        }
        let is_of_method = |(method, ..): &&&(Method, &str, Question)| request.method() == method;
        let question = routes.iter().find(is_of_method);
        let Some((_, _, question)) = question else {
            let mut refusal = refused(&Refusal::Method);
            let methods: Vec<&str> = routes.iter().map(|(method, ..)| method.as_str()).collect();
            if let Ok(allow) = HeaderValue::from_str(&methods.join(", ")) {
                refusal.headers_mut().insert(ALLOW, allow);
            }
            return refusal;
        };
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
            Question::BeginImport => {
                let status = self.begin_import(&whole(request).await?).await?;
                return Ok(json(StatusCode::ACCEPTED, &status));
            }
            Question::ImportStatus => self.import_status().await?,
            Question::BeginExport => {
                let status = self.begin_export(&whole(request).await?)?;
                return Ok(json(StatusCode::ACCEPTED, &status));
            }
            Question::ExportStatus => self.export_status(),
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
                let is_answered = |status: &str| responses.contains_key(status);
                assert!(is_answered("200") || is_answered("202"), "{method} {path}");
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
