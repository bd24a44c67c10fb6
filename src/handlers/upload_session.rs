//! The location of an upload session, as the client has it and as the registry behind means it.
//!
//! What the registry calls a session of this API goes on as it is, so a session belongs to no replica of regseal. Some
//! registries name another path, or another host, where the client would be lost behind a proxy, or leave it. Such a
//! location is sealed and handed out as a session, `/v2/<name>/blobs/uploads/rs1.<sealed>`: any replica opens it, and
//! nobody else can make one, so that it does not turn regseal into an open proxy.

use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Uri};
use serde::{Deserialize, Serialize};

use crate::clock::{Clock, UnixMillis};
use crate::oci::RepositoryName;
use crate::route::{Route, SEALED_SESSION};
use crate::sealing::{Sealer, SealingError};
use crate::upstream::Upstream;
use crate::upstream::place::{Place, PlaceError, Reach};

const PURPOSE: &str = "upload";
/// How long a session is good for, from the answer that opened it.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// What becomes of upload locations that are no session of this API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignUploads {
    /// They are sealed, and regseal goes there for the client.
    Map,
    /// The client goes there itself.
    Relay,
}

/// Seals and opens locations.
#[derive(Clone, Debug)]
pub struct UploadSessions {
    mode: ForeignUploads,
    sealer: Arc<Sealer>,
    registry: Authority,
    clock: Arc<dyn Clock>,
}

/// In the extensions of a request: when its sealed session ends. Who opened it was allowed to, once: going on does not
/// prolong that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SessionEnd(UnixMillis);

/// What is sealed.
#[derive(Serialize, Deserialize)]
struct Sealed {
    location: String,
    expiry: UnixMillis,
}

impl UploadSessions {
    /// Sessions at one registry.
    #[must_use]
    pub fn new(
        mode: ForeignUploads,
        sealer: Arc<Sealer>,
        registry: Authority,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            mode,
            sealer,
            registry,
            clock,
        }
    }

    /// What the client is told where the registry behind says `location`, in an answer about an upload to `name` that
    /// came `from` there; `names` are those by which the registry may call itself.
    ///
    /// # Errors
    /// regseal does not go there, and does not send the client there.
    pub(super) fn hand_out<'a>(
        &self,
        upstream: &Upstream,
        name: &RepositoryName,
        location: &str,
        from: (Option<&Place>, Option<SessionEnd>),
        names: impl Iterator<Item = &'a str>,
    ) -> Result<String, PlaceError> {
        let (from, end) = from;
        let place = upstream.place(location, from, names)?;
        if let Place::Own(path) = &place {
            match own_path(path)? {
                Session::OfTheApi => return Ok(path.to_string()),
                Session::Foreign => {}
            }
        }
        if self.mode == ForeignUploads::Relay {
            let relayed = upstream.checked(place, from, Reach::Link)?;
            return Ok(written(&relayed));
        }
        let place = upstream.checked(place, from, Reach::Public)?;
        let plain = written(&place);
        match self.seal(name, &plain, end) {
            Ok(sealed) => Ok(format!("/v2/{name}/blobs/uploads/{SEALED_SESSION}{sealed}")),
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "an upload location of another host or path goes to the client as it is: it cannot be sealed"
                );
                Ok(plain)
            }
        }
    }

    fn seal(
        &self,
        name: &RepositoryName,
        location: &str,
        end: Option<SessionEnd>,
    ) -> Result<String, SealingError> {
        let expiry = end.map(|SessionEnd(expiry)| expiry);
        let sealed = Sealed {
            location: location.to_owned(),
            expiry: expiry.unwrap_or_else(|| self.clock.now().saturating_add(LIFETIME)),
        };
        let plain = serde_json::to_vec(&sealed).or(Err(SealingError::Cipher))?;
        let sealed = self.sealer.seal(&self.context(name), &plain)?;
        Ok(Base64UrlUnpadded::encode_string(&sealed))
    }

    /// Where a session that was handed out for `name` leads, and until when; `None` if it was not, or too long ago.
    pub(super) fn open(&self, name: &RepositoryName, sealed: &str) -> Option<(Place, SessionEnd)> {
        let sealed = Base64UrlUnpadded::decode_vec(sealed).ok()?;
        let plain = self.sealer.open(&self.context(name), &sealed)?;
        let Sealed { location, expiry } = serde_json::from_slice(&plain).ok()?;
        if expiry <= self.clock.now() {
            return None;
        }
        let place = if location.starts_with('/') {
            location.parse().ok().map(Place::Own)
        } else {
            location.parse().ok().map(Place::Elsewhere)
        };
        Some((place?, SessionEnd(expiry)))
    }

    /// A location is sealed for one repository of one registry.
    fn context(&self, name: &RepositoryName) -> Vec<u8> {
        format!("{PURPOSE}\0{}\0{name}", self.registry).into_bytes()
    }
}

/// What a path on the registry itself is.
enum Session {
    /// A session as the specification has it.
    OfTheApi,
    /// Another path, or a session that another regseal has sealed.
    Foreign,
}

/// A client can make a registry say nothing else: below `/v2/` a location that is no session would let it do, with the
/// word of an upload, what a handler of its own has to decide.
fn own_path(path: &PathAndQuery) -> Result<Session, PlaceError> {
    match Route::parse(&Method::PATCH, &Uri::from(path.clone())) {
        Ok(Route::Upload(..)) => Ok(Session::OfTheApi),
        Ok(Route::SealedUpload(..)) => Ok(Session::Foreign),
        Ok(Route::Passthrough) if !path.path().starts_with("/v2/") => Ok(Session::Foreign),
        Ok(_) | Err(_) => Err(PlaceError::Unrelated),
    }
}

fn written(place: &Place) -> String {
    match place {
        Place::Own(path) => path.to_string(),
        Place::Elsewhere(uri) => uri.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::sealing::SealingKey;

    #[test]
    fn a_session_opens_for_its_repository_at_its_registry_for_a_day() {
        let sealer = Arc::new(Sealer::new(vec![SealingKey::generate().unwrap()]));
        let clock = Arc::new(ManualClock::new(UnixMillis::new(1000)));
        let sessions = |registry: &'static str| {
            let (sealer, clock) = (Arc::clone(&sealer), Arc::<ManualClock>::clone(&clock));
            let registry = Authority::from_static(registry);
            UploadSessions::new(ForeignUploads::Map, sealer, registry, clock)
        };
        let (own, other) = (sessions("registry"), sessions("registry:81"));
        let name = |name: &str| name.parse::<RepositoryName>().unwrap();
        for (location, place) in [
            (
                "https://storage.example/u?sig=a%2Fb",
                Place::Elsewhere(Uri::from_static("https://storage.example/u?sig=a%2Fb")),
            ),
            (
                "/artifacts-uploads/u?x=1",
                Place::Own(PathAndQuery::from_static("/artifacts-uploads/u?x=1")),
            ),
        ] {
            let sealed = own.seal(&name("a/b"), location, None).unwrap();
            let (opened, end) = own.open(&name("a/b"), &sealed).unwrap();
            assert_eq!(opened, place, "{location}");
            clock.advance(Duration::from_millis(1));
            let again = own.seal(&name("a/b"), location, Some(end)).unwrap();
            let (_, same_end) = own.open(&name("a/b"), &again).unwrap();
            assert_eq!(same_end, end, "going on does not prolong it");
            assert_eq!(own.open(&name("a"), &sealed), None, "another repository");
            assert_eq!(other.open(&name("a/b"), &sealed), None, "another registry");
        }
        let sealed = own.seal(&name("a"), "/u", None).unwrap();
        clock.advance(LIFETIME - Duration::from_millis(1));
        assert!(own.open(&name("a"), &sealed).is_some());
        clock.advance(Duration::from_millis(1));
        assert_eq!(own.open(&name("a"), &sealed), None);
    }
}
