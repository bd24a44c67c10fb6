//! A request for a token (distribution `docs/spec/auth/token.md` and `oauth.md`), with the parameters of the protocol only.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Uri, request};

use super::RelayError;
use crate::body::{self, Body, ReadError};
use crate::oci::RepositoryName;

const FORM: &str = "application/x-www-form-urlencoded";
const LIMIT: usize = 64 << 10;

const OF_GET: [&str; 5] = ["service", "scope", "account", "client_id", "offline_token"];
const OF_POST: [&str; 8] = [
    "grant_type",
    "service",
    "client_id",
    "access_type",
    "scope",
    "refresh_token",
    "username",
    "password",
];

/// What would have the token service give out more than a token.
const FOR_LATER: [&str; 2] = ["offline_token", "access_type"];

/// What a client asks of a token service. It may hold a password, and is not printed.
pub(super) struct TokenRequest {
    is_form: bool,
    fields: Vec<(String, String)>,
}

impl TokenRequest {
    pub(super) async fn read(
        parts: &request::Parts,
        body: Body,
        time: Duration,
    ) -> Result<Self, RelayError> {
        if parts.method != Method::POST {
            let query = parts.uri.query().unwrap_or_default();
            return Ok(Self::of(false, query.as_bytes()));
        }
        let kind = parts.headers.get(CONTENT_TYPE);
        let kind = kind.and_then(|value| value.to_str().ok()).unwrap_or("");
        let kind = kind.split(';').next().unwrap_or_default().trim();
        if !kind.eq_ignore_ascii_case(FORM) {
            return Err(RelayError::NotAForm);
        }
        match tokio::time::timeout(time, body::read(body, LIMIT)).await {
            Ok(Ok(form)) => Ok(Self::of(true, &form)),
            Ok(Err(ReadError::TooLarge)) => Err(RelayError::TooLarge { limit: LIMIT }),
            Ok(Err(ReadError::Broken(error))) => Err(RelayError::Broken(error)),
            Err(_) => Err(RelayError::TooSlow(time)),
        }
    }

    fn of(is_form: bool, encoded: &[u8]) -> Self {
        let known: &[&str] = if is_form { &OF_POST } else { &OF_GET };
        Self {
            is_form,
            fields: form_urlencoded::parse(encoded)
                .into_owned()
                .filter(|(name, _)| known.contains(&name.as_str()))
                .collect(),
        }
    }

    /// For all of `scopes`.
    pub(super) fn scoped(service: Option<String>, scopes: &[String]) -> Self {
        let service = service.map(|service| ("service".to_owned(), service));
        let scopes = scopes
            .iter()
            .map(|scope| ("scope".to_owned(), scope.clone()));
        Self {
            is_form: false,
            fields: service.into_iter().chain(scopes).collect(),
        }
    }

    /// The repositories of the scopes, each once, and whether pushing there is asked for.
    pub(super) fn repositories(&self) -> Vec<(RepositoryName, bool)> {
        let mut found: Vec<(RepositoryName, bool)> = Vec::new();
        let scopes = self.values("scope").flat_map(|scopes| scopes.split(' '));
        for (name, actions) in scopes.filter_map(|scope| {
            let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
            Some((name.parse::<RepositoryName>().ok()?, actions))
        }) {
            let push = actions
                .split(',')
                .any(|action| matches!(action, "push" | "*"));
            match found.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known |= push,
                None => found.push((name, push)),
            }
        }
        found
    }

    /// The same credential, asking for nothing but to push to one repository.
    pub(super) fn to_push(&self, repository: &RepositoryName) -> Self {
        let mut fields = self.fields.clone();
        fields.retain(|(name, _)| name != "scope" && !FOR_LATER.contains(&name.as_str()));
        let scope = format!("repository:{repository}:pull,push");
        fields.push(("scope".to_owned(), scope));
        Self {
            is_form: self.is_form,
            fields,
        }
    }

    pub(super) fn refresh_token(&self) -> Option<&str> {
        self.values("refresh_token").next()
    }

    pub(super) fn method(&self) -> Method {
        if self.is_form {
            Method::POST
        } else {
            Method::GET
        }
    }

    /// The request line of the question to `realm`, whose own query stays.
    pub(super) fn uri(&self, realm: &Uri) -> Result<Uri, http::Error> {
        if self.is_form || self.fields.is_empty() {
            return Ok(realm.clone());
        }
        let mut parts = realm.clone().into_parts();
        let query = self.encoded();
        let all = match realm.query() {
            Some(own) if !own.is_empty() => format!("{}?{own}&{query}", realm.path()),
            Some(_) | None => format!("{}?{query}", realm.path()),
        };
        parts.path_and_query = Some(all.parse::<PathAndQuery>()?);
        Ok(Uri::from_parts(parts)?)
    }

    /// Header and body of a form.
    pub(super) fn body(&self) -> (Option<(HeaderName, HeaderValue)>, Bytes) {
        if !self.is_form {
            return (None, Bytes::new());
        }
        let header = (CONTENT_TYPE, HeaderValue::from_static(FORM));
        (Some(header), Bytes::from(self.encoded()))
    }

    fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.fields)
            .finish()
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let fields = self.fields.iter().filter(move |(key, _)| key == name);
        fields.map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(request: &TokenRequest) -> String {
        request.encoded()
    }

    #[test]
    fn only_the_parameters_of_the_protocol_go_on() {
        let query = "service=s&realm=http%3A%2F%2Fevil&scope=repository%3Aa%3Apull&scope=b+c&x=1\
            &account=u&client_id=c&offline_token=true&password=p&grant_type=g";
        assert_eq!(
            shown(&TokenRequest::of(false, query.as_bytes())),
            "service=s&scope=repository%3Aa%3Apull&scope=b+c&account=u&client_id=c&offline_token=true"
        );
        let form = "grant_type=password&service=s&client_id=c&access_type=offline&scope=b+c&username=u\
            &password=p%26q&refresh_token=r&account=x&redirect_uri=y";
        assert_eq!(
            shown(&TokenRequest::of(true, form.as_bytes())),
            "grant_type=password&service=s&client_id=c&access_type=offline&scope=b+c&username=u\
                &password=p%26q&refresh_token=r"
        );
    }

    #[test]
    fn scopes_name_repositories_repeated_or_parted_by_spaces() {
        let request = TokenRequest::of(
            false,
            b"scope=repository:a/b:pull+registry:catalog:*+repository:c:pull,push&scope=repository:a/b:pull,push\
                &scope=repository:d:delete,*&scope=repository:UPPER:pull&scope=repository:e&scope=&scope=repository(plugin):f:pull",
        );
        let found: Vec<(String, bool)> = request
            .repositories()
            .into_iter()
            .map(|(name, push)| (name.to_string(), push))
            .collect();
        let expected = [("a/b", true), ("c", true), ("d", true)];
        assert_eq!(found, expected.map(|(name, push)| (name.to_owned(), push)));
    }

    #[test]
    fn the_question_about_pushing_has_the_same_credential_and_asks_for_nothing_else() {
        let form = b"grant_type=refresh_token&refresh_token=r&access_type=offline&service=s&scope=repository:a:pull+x";
        let asked = TokenRequest::of(true, form).to_push(&"a/b".parse().unwrap());
        assert_eq!(
            shown(&asked),
            "grant_type=refresh_token&refresh_token=r&service=s&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
        assert_eq!(asked.method(), Method::POST);
    }

    #[test]
    fn the_realm_keeps_its_own_query() {
        let get = TokenRequest::of(false, b"service=s");
        let post = TokenRequest::of(true, b"service=s");
        for (realm, by_get, by_post) in [
            (
                "https://a/token",
                "https://a/token?service=s",
                "https://a/token",
            ),
            (
                "https://a/t?x=1",
                "https://a/t?x=1&service=s",
                "https://a/t?x=1",
            ),
            ("https://a", "https://a/?service=s", "https://a/"),
        ] {
            let realm: Uri = realm.parse().unwrap();
            assert_eq!(get.uri(&realm).unwrap().to_string(), by_get);
            assert_eq!(post.uri(&realm).unwrap().to_string(), by_post);
        }
        assert_eq!(post.body().1, "service=s");
        assert_eq!(get.body().1, "");
    }
}
