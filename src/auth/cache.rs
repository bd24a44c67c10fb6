//! Decisions that are remembered for a short time, so that one signature costs one question.
//!
//! A key is a keyed hash over registry, credential, where the request comes from, repository and action: one caller's decision is never found by
//! another, and the cache holds no credential. Only a clear yes is kept for longer than its request; "may not push" is
//! kept to hide, never to allow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use moka::Expiry;
use moka::future::Cache;

use crate::auth::caller::Caller;
use crate::clock::Clock;
use crate::oci::RepositoryName;

/// Decisions kept at most; each is about 100 bytes.
const CAPACITY: u64 = 100_000;

/// How long a no is believed, where it hides what others may see.
const HIDDEN_FOR: Duration = Duration::from_secs(30);

/// What a decision is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Reading a repository.
    Pull,
    /// Writing to a repository.
    Push,
    /// Seeing what is kept for those who may write to a repository.
    SeeKept,
}

/// A remembered decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    lives: Duration,
}

/// The decisions of one process.
#[derive(Debug)]
pub(super) struct Decisions {
    key: hmac::Key,
    authority: String,
    lives: Duration,
    clock: Arc<dyn Clock>,
    cache: Cache<[u8; 32], Decision>,
}

/// Names one decision.
pub(super) type Key = [u8; 32];

struct ByDecision;

impl Expiry<Key, Decision> for ByDecision {
    fn expire_after_create(&self, _: &Key, decision: &Decision, _: Instant) -> Option<Duration> {
        Some(decision.lives)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        decision: &Decision,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(decision.lives)
    }
}

impl Decisions {
    /// An empty cache with a key of its own.
    pub(super) fn new(
        key: &[u8; 32],
        authority: String,
        lives: Duration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let cache = Cache::builder()
            .max_capacity(CAPACITY)
            .expire_after(ByDecision)
            .build();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            authority,
            lives,
            clock,
            cache,
        }
    }

    /// The name of a decision.
    pub(super) fn key(&self, caller: &Caller, repository: &RepositoryName, action: Action) -> Key {
        let action: &[u8] = match action {
            Action::Pull => b"pull",
            Action::Push => b"push",
            Action::SeeKept => b"see kept",
        };
        self.name(caller, repository.as_str().as_bytes(), action)
    }

    /// The name of a caller, whatever is decided.
    pub(super) fn caller(&self, caller: &Caller) -> Key {
        self.name(caller, b"", b"")
    }

    /// Every part is preceded by its length, so that no two lists of parts are alike.
    fn name(&self, caller: &Caller, repository: &[u8], action: &[u8]) -> Key {
        let mut context = hmac::Context::with_key(&self.key);
        let credential = caller.authorization().map(|value| value.as_bytes());
        let from = caller.forwarded().iter().map(|(_, value)| value.as_bytes());
        let parts: [&[u8]; 5] = [
            self.authority.as_bytes(),
            if credential.is_some() {
                b"credential"
            } else {
                b"anonymous"
            },
            credential.unwrap_or_default(),
            repository,
            action,
        ];
        for part in parts.into_iter().chain(from) {
            context.update(&part.len().to_be_bytes());
            context.update(part);
        }
        let tag = context.sign();
        let mut key = [0; 32];
        key.copy_from_slice(tag.as_ref());
        key
    }

    /// A decision that has not ended.
    pub(super) async fn find(&self, key: &Key) -> Option<bool> {
        self.cache.get(key).await.map(|decision| decision.allowed)
    }

    /// Remembers a yes, never beyond the end of the caller's token.
    pub(super) async fn allow(&self, key: Key, caller: &Caller) {
        let left = caller
            .expires()
            .map(|end| end.saturating_since(self.clock.now()));
        let lives = left.map_or(self.lives, |left| left.min(self.lives));
        if !lives.is_zero() {
            let allowed = true;
            self.cache.insert(key, Decision { allowed, lives }).await;
        }
    }

    /// Remembers a no, which hides.
    pub(super) async fn hide(&self, key: Key) {
        let decision = Decision {
            allowed: false,
            lives: HIDDEN_FOR,
        };
        self.cache.insert(key, decision).await;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Request;
    use http::header::AUTHORIZATION;

    use super::*;
    use crate::auth::relay::Wrapping;
    use crate::clock::SystemClock;

    fn caller_at(peer: &str, value: Option<&'static str>) -> Caller {
        let mut request = Request::get("/");
        if let Some(value) = value {
            request = request.header(AUTHORIZATION, value);
        }
        let mut request = request.body(()).unwrap().into_parts().0;
        request
            .extensions
            .insert::<SocketAddr>(peer.parse().unwrap());
        Caller::of(&request, &Wrapping::without_keys()).unwrap()
    }

    fn caller(value: Option<&'static str>) -> Caller {
        caller_at("192.0.2.1:1000", value)
    }

    #[tokio::test]
    async fn no_decision_is_found_under_another_name() {
        let decisions = Decisions::new(
            &[1; 32],
            "r:1".to_owned(),
            Duration::from_secs(30),
            Arc::new(SystemClock),
        );
        let (a, b) = ("a".parse().unwrap(), "b".parse().unwrap());
        let alice = caller(Some("Basic YQ=="));
        let key = decisions.key(&alice, &a, Action::Pull);
        decisions.allow(key, &alice).await;
        assert_eq!(decisions.find(&key).await, Some(true));
        for (other, why) in [
            (
                decisions.key(&caller(Some("Basic Yg==")), &a, Action::Pull),
                "another caller",
            ),
            (decisions.key(&caller(None), &a, Action::Pull), "anonymous"),
            (
                decisions.key(
                    &caller_at("192.0.2.2:1000", Some("Basic YQ==")),
                    &a,
                    Action::Pull,
                ),
                "another address",
            ),
            (
                decisions.key(&caller(Some("")), &a, Action::Pull),
                "empty credential",
            ),
            (
                decisions.key(&alice, &b, Action::Pull),
                "another repository",
            ),
            (decisions.key(&alice, &a, Action::Push), "another action"),
        ] {
            assert_eq!(decisions.find(&other).await, None, "{why}");
        }
    }

    #[tokio::test]
    async fn a_token_that_has_ended_is_not_remembered() {
        let decisions = Decisions::new(
            &[1; 32],
            "r:1".to_owned(),
            Duration::from_secs(30),
            Arc::new(SystemClock),
        );
        // The claims are {"exp":1}.
        let ended = caller(Some("Bearer x.eyJleHAiOjF9.y"));
        let key = decisions.key(&ended, &"a".parse().unwrap(), Action::Pull);
        decisions.allow(key, &ended).await;
        assert_eq!(decisions.find(&key).await, None);
    }
}
