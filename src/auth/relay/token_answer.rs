//! What a token service answers (distribution `docs/spec/auth/token.md`, "Token Response Fields").

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::oci::RepositoryName;

/// The two names of the token.
const TOKENS: [&str; 2] = ["token", "access_token"];

/// How long a token lives if nothing is said.
const DEFAULT_LIFETIME: Duration = Duration::from_secs(60);

/// A success of a token service. It holds tokens, and is not printed.
pub(super) struct TokenAnswer(Map<String, Value>);

impl TokenAnswer {
    /// `None` if there is no token in it.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let answer = Self(serde_json::from_slice(body).ok()?);
        answer.token().is_some().then_some(answer)
    }

    pub(super) fn token(&self) -> Option<&str> {
        TOKENS.into_iter().find_map(|name| self.text(name))
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.text("refresh_token")
    }

    pub(super) fn lifetime(&self) -> Duration {
        let seconds = self.0.get("expires_in").and_then(Value::as_f64);
        seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(DEFAULT_LIFETIME)
    }

    /// The same answer with wrapped tokens, which are good as such for `lifetime`: a client that then asks for a new
    /// one keeps its rights.
    pub(super) fn wrapped<E>(
        mut self,
        lifetime: Duration,
        wrap: impl Fn(&str) -> Result<String, E>,
    ) -> Result<Bytes, E> {
        let mut made: Option<(String, String)> = None;
        for name in TOKENS {
            let Some(token) = self.text(name).map(str::to_owned) else {
                continue;
            };
            // Two names of one token stay so.
            let wrapped = match made {
                Some((known, wrapped)) if known == token => wrapped,
                Some(_) | None => wrap(&token)?,
            };
            self.0.insert(name.to_owned(), wrapped.clone().into());
            made = Some((token, wrapped));
        }
        if self.lifetime() > lifetime {
            let seconds = Value::from(lifetime.as_secs());
            self.0.insert("expires_in".to_owned(), seconds);
        }
        Ok(Bytes::from(Value::Object(self.0).to_string()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        let text = self.0.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
    }
}

/// Whether a token lets its holder push, by its own word, which counts only of a token that came from the token
/// service itself; `None` if it does not say.
pub(super) fn grants_push(token: &str, repository: &RepositoryName) -> Option<bool> {
    #[derive(Deserialize)]
    struct Claims {
        access: Vec<Access>,
    }
    #[derive(Deserialize)]
    struct Access {
        #[serde(rename = "type")]
        kind: String,
        name: String,
        actions: Option<Vec<String>>,
    }
    let mut parts = token.split('.');
    let (Some(_), Some(claims), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let claims = Base64UrlUnpadded::decode_vec(claims).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    let of_repository =
        |access: &&Access| access.kind == "repository" && access.name == repository.as_str();
    let mut actions = claims
        .access
        .iter()
        .filter(of_repository)
        .flat_map(|access| access.actions.iter().flatten());
    Some(actions.any(|action| matches!(action.as_str(), "push" | "*")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_by_its_access_claim_whether_it_grants_push() {
        let token = |claims: &str| {
            let claims = Base64UrlUnpadded::encode_string(claims.as_bytes());
            format!("h.{claims}.s")
        };
        let access = |inner: &str| token(&format!(r#"{{"access":[{inner}]}}"#));
        let repository = "a/b".parse().unwrap();
        for (token, expected, why) in [
            (
                access(r#"{"type":"repository","name":"a/b","actions":["pull","push"]}"#),
                Some(true),
                "it does",
            ),
            (
                access(
                    r#"{"type":"repository","name":"a/b","actions":["pull"]},{"type":"repository","name":"a/b","actions":["*"]}"#,
                ),
                Some(true),
                "everything",
            ),
            (
                access(r#"{"type":"repository","name":"a/b","actions":["pull"]}"#),
                Some(false),
                "it does not",
            ),
            (
                access(r#"{"type":"repository","name":"a","actions":["push"]}"#),
                Some(false),
                "another repository",
            ),
            (
                access(r#"{"type":"repository(plugin)","name":"a/b","actions":["push"]}"#),
                Some(false),
                "another kind",
            ),
            (
                access(r#"{"type":"repository","name":"a/b","actions":null}"#),
                Some(false),
                "no actions",
            ),
            (access(""), Some(false), "nothing granted"),
            (token(r#"{"sub":"u"}"#), None, "no access claim"),
            (token(r#"{"access":"push"}"#), None, "an unknown claim"),
            ("opaque".to_owned(), None, "not a JWT"),
            ("a.b.c".to_owned(), None, "not a JWT"),
            (format!("{}.x", access("")), None, "too many parts"),
        ] {
            assert_eq!(grants_push(&token, &repository), expected, "{why}");
        }
    }

    #[test]
    fn both_names_of_a_token_are_wrapped_and_the_rest_stays() {
        let body = br#"{"token":"t","access_token":"a","expires_in":3600,"refresh_token":"r","issued_at":"x"}"#;
        let answer = TokenAnswer::parse(body).unwrap();
        assert_eq!(answer.token(), Some("t"));
        assert_eq!(answer.lifetime(), Duration::from_secs(3600));
        let wrapped = answer
            .wrapped(Duration::from_secs(300), |token| {
                Ok::<_, ()>(format!("w({token})"))
            })
            .unwrap();
        let wrapped: Value = serde_json::from_slice(&wrapped).unwrap();
        let expected = serde_json::json!({
            "token": "w(t)", "access_token": "w(a)", "expires_in": 300, "refresh_token": "r", "issued_at": "x",
        });
        assert_eq!(wrapped, expected);
    }

    #[test]
    fn two_names_of_one_token_are_two_names_of_one_wrapped_token() {
        let answer = TokenAnswer::parse(br#"{"token":"t","access_token":"t"}"#).unwrap();
        let count = std::cell::Cell::new(0);
        let wrapped = answer.wrapped(Duration::from_secs(300), |token| {
            count.set(count.get() + 1);
            Ok::<_, ()>(format!("{}({token})", count.get()))
        });
        let wrapped: Value = serde_json::from_slice(&wrapped.unwrap()).unwrap();
        assert_eq!(
            wrapped,
            serde_json::json!({"token": "1(t)", "access_token": "1(t)"})
        );
    }

    #[test]
    fn an_answer_without_a_token_or_a_lifetime_is_told_apart() {
        for body in [
            "",
            "[]",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":1}"#,
            "<html>",
        ] {
            assert!(TokenAnswer::parse(body.as_bytes()).is_none(), "{body}");
        }
        for (expires, seconds) in [("30", 30), ("null", 60), ("-1", 60), ("\"9\"", 60)] {
            let body = format!(r#"{{"access_token":"a","expires_in":{expires}}}"#);
            let answer = TokenAnswer::parse(body.as_bytes()).unwrap();
            assert_eq!(answer.lifetime(), Duration::from_secs(seconds), "{expires}");
        }
    }
}
