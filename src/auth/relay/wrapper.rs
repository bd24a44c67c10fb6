//! Wrapped tokens: `rs1.<seal>.<token>`. The seal says where the holder of that token may push, and until when it says so.

use std::fmt;
use std::sync::Arc;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderValue;
use http::uri::Authority;
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, UnixMillis};
use crate::oci::RepositoryName;
use crate::sealing::{Sealer, SealingError};

const PREFIX: &str = "rs1.";
const PURPOSE: &str = "relay";

/// Wraps tokens, and opens what comes back.
#[derive(Clone)]
pub struct Wrapping {
    sealer: Arc<Sealer>,
    upstream: Authority,
    clock: Arc<dyn Clock>,
}

/// What a seal says.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::auth) struct Said {
    /// Where the holder may push.
    pub(in crate::auth) repositories: Vec<RepositoryName>,
    /// Until when that, and the token, holds.
    pub(in crate::auth) expiry: UnixMillis,
}

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Rights {
    repositories: Vec<String>,
    expiry: UnixMillis,
}

impl Wrapping {
    /// Wrapping of tokens for one registry.
    #[must_use]
    pub fn new(sealer: Arc<Sealer>, upstream: Authority, clock: Arc<dyn Clock>) -> Self {
        Self {
            sealer,
            upstream,
            clock,
        }
    }

    /// A wrapping that strips, and believes nothing.
    #[cfg(test)]
    pub(in crate::auth) fn without_keys() -> Self {
        let sealer = Arc::new(Sealer::new(Vec::new()));
        let upstream = Authority::from_static("registry");
        Self::new(sealer, upstream, Arc::new(crate::clock::SystemClock))
    }

    /// Says with `token`, for `lifetime`, that its holder may push to `repositories`.
    pub(super) fn wrap(
        &self,
        token: &str,
        repositories: &[RepositoryName],
        lifetime: std::time::Duration,
    ) -> Result<String, SealingError> {
        let rights = Rights {
            repositories: repositories.iter().map(ToString::to_string).collect(),
            expiry: self.clock.now().saturating_add(lifetime),
        };
        let plain = serde_json::to_vec(&rights).or(Err(SealingError::Cipher))?;
        let sealed = self.sealer.seal(&self.context(token.as_bytes()), &plain)?;
        let sealed = Base64UrlUnpadded::encode_string(&sealed);
        Ok(format!("{PREFIX}{sealed}.{token}"))
    }

    /// Takes the token out of an `Authorization` header, and what its seal says. A seal that does not open, has ended,
    /// or is not the outermost says nothing.
    pub(in crate::auth) fn open(&self, header: &HeaderValue) -> (HeaderValue, Option<Said>) {
        let unchanged = || (header.clone(), None);
        let bytes = header.as_bytes();
        let Some((scheme, mut token)) = bytes
            .iter()
            .position(u8::is_ascii_whitespace)
            .and_then(|end| bytes.split_at_checked(end))
            .map(|(scheme, rest)| (scheme, rest.trim_ascii_start()))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer"))
        else {
            return unchanged();
        };
        let mut said = None;
        while let Some(rest) = token.strip_prefix(PREFIX.as_bytes()) {
            let end = rest.iter().position(|byte| *byte == b'.');
            let (seal, inner) = match end.and_then(|end| rest.split_at_checked(end)) {
                Some((seal, inner)) => (seal, inner.strip_prefix(b".").unwrap_or(inner)),
                None => (&[][..], rest),
            };
            said.get_or_insert_with(|| self.said(seal, inner));
            token = inner;
        }
        let Some(said) = said else {
            return unchanged();
        };
        // A part of a valid value is valid, and the scheme is of letters.
        let Ok(mut stripped) = HeaderValue::from_bytes(&[scheme, b" ", token].concat()) else {
            return (HeaderValue::from_static("Bearer"), None);
        };
        stripped.set_sensitive(true);
        (stripped, said)
    }

    fn said(&self, seal: &[u8], token: &[u8]) -> Option<Said> {
        let sealed = Base64UrlUnpadded::decode_vec(std::str::from_utf8(seal).ok()?).ok()?;
        let plain = self.sealer.open(&self.context(token), &sealed)?;
        let rights: Rights = serde_json::from_slice(&plain).ok()?;
        let repositories = rights.repositories.iter();
        (rights.expiry > self.clock.now()).then(|| Said {
            repositories: repositories.filter_map(|name| name.parse().ok()).collect(),
            expiry: rights.expiry,
        })
    }

    /// A seal is for the token beside it, at this registry.
    fn context(&self, token: &[u8]) -> Vec<u8> {
        let head = format!("{PURPOSE}\0{}\0", self.upstream);
        [head.as_bytes(), token].concat()
    }
}

impl fmt::Debug for Wrapping {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Wrapping")
            .field("upstream", &self.upstream)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::sealing::SealingKey;

    struct Fixture {
        wrapping: Wrapping,
        clock: Arc<ManualClock>,
        sealer: Arc<Sealer>,
    }

    fn fixture() -> Fixture {
        let sealer = Arc::new(Sealer::new(vec![SealingKey::generate().unwrap()]));
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1000)));
        let wrapping = Wrapping::new(
            Arc::clone(&sealer),
            Authority::from_static("registry"),
            Arc::<ManualClock>::clone(&clock),
        );
        Fixture {
            wrapping,
            clock,
            sealer,
        }
    }

    impl Fixture {
        fn wrap(&self, token: &str) -> String {
            let repositories = ["a/b".parse().unwrap(), "c".parse().unwrap()];
            self.wrapping
                .wrap(token, &repositories, Duration::from_millis(10))
                .unwrap()
        }

        fn open(&self, header: &str) -> (String, Vec<String>) {
            let (stripped, said) = self.wrapping.open(&HeaderValue::from_str(header).unwrap());
            let repositories = said.map(|said| said.repositories).unwrap_or_default();
            (
                stripped.to_str().unwrap().to_owned(),
                repositories.iter().map(ToString::to_string).collect(),
            )
        }
    }

    #[test]
    fn a_wrapped_token_is_stripped_and_says_where_its_holder_may_push() {
        let fixture = fixture();
        let wrapped = fixture.wrap("header.claims.signature");
        for scheme in ["Bearer", "bearer", "BEARER "] {
            let (stripped, repositories) = fixture.open(&format!("{scheme} {wrapped}"));
            let expected = format!("{} header.claims.signature", scheme.trim());
            assert_eq!(stripped, expected);
            assert_eq!(repositories, ["a/b", "c"]);
        }
        fixture.clock.set(UnixMillis::new(1009));
        assert_eq!(fixture.open(&format!("Bearer {wrapped}")).1.len(), 2);
        fixture.clock.set(UnixMillis::new(1010));
        let ended = fixture.open(&format!("Bearer {wrapped}"));
        assert_eq!(ended, ("Bearer header.claims.signature".to_owned(), vec![]));
    }

    #[test]
    fn what_is_not_wrapped_stays_as_it_is() {
        let fixture = fixture();
        for header in [
            "Bearer header.claims.signature",
            "Bearer  two",
            "Bearer",
            "",
            "Basic cnMxLmEuYg==",
            "Basic rs1.a.b",
            "Bearer xrs1.a.b",
        ] {
            assert_eq!(fixture.open(header), (header.to_owned(), vec![]));
        }
    }

    #[test]
    fn a_seal_gives_no_right_to_anything_but_what_it_was_made_for() {
        let fixture = fixture();
        let wrapped = fixture.wrap("token");
        let seal = wrapped.split('.').nth(1).unwrap();
        let own = ["a/b".parse().unwrap()];
        let elsewhere = Wrapping::new(
            Arc::clone(&fixture.sealer),
            Authority::from_static("elsewhere"),
            Arc::<ManualClock>::clone(&fixture.clock),
        )
        .wrap("token", &own, Duration::from_secs(1))
        .unwrap();
        let other_key = self::fixture().wrap("token");
        let verdict = fixture
            .sealer
            .seal(
                b"verdict\0registry\0token",
                br#"{"repositories":["a/b"],"expiry":9999999}"#,
            )
            .unwrap();
        let verdict = Base64UrlUnpadded::encode_string(&verdict);
        for (token, inner, why) in [
            (format!("rs1.{seal}.other"), "other", "another token"),
            (format!("rs1.{seal}.token.x"), "token.x", "a longer token"),
            (format!("rs1.{seal}."), "", "no token"),
            (format!("rs1.{seal}x.token"), "token", "a changed seal"),
            ("rs1..token".to_owned(), "token", "no seal"),
            ("rs1.token".to_owned(), "token", "half a wrapper"),
            ("rs1.".to_owned(), "", "nothing"),
            (elsewhere, "token", "another registry"),
            (other_key, "token", "another key"),
            (format!("rs1.{verdict}.token"), "token", "another purpose"),
            (
                format!("rs1.x.{wrapped}"),
                "token",
                "a wrapper within a wrapper",
            ),
            (
                format!("rs1.x.rs1.y.rs1.z.{wrapped}"),
                "token",
                "many of them",
            ),
        ] {
            let (stripped, repositories) = fixture.open(&format!("Bearer {token}"));
            assert_eq!(stripped.trim(), format!("Bearer {inner}").trim(), "{why}");
            assert_eq!(repositories, Vec::<String>::new(), "{why}");
        }
    }

    #[test]
    fn the_outermost_seal_counts() {
        let fixture = fixture();
        let twice = fixture.wrap(&fixture.wrap("token"));
        let (stripped, repositories) = fixture.open(&format!("Bearer {twice}"));
        assert_eq!(stripped, "Bearer token");
        assert_eq!(repositories.len(), 2);
    }
}
