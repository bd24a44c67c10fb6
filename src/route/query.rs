//! Query parameters (`application/x-www-form-urlencoded`).

use std::borrow::Cow;

use http::Uri;

/// The name of every parameter, decoded.
pub fn names(uri: &Uri) -> impl Iterator<Item = Cow<'_, str>> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).map(|(name, _)| name)
}

/// Every parameter, decoded, in order.
pub fn pairs(uri: &Uri) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
}

/// The values of every parameter called `name`, decoded, in order.
pub fn values<'a>(uri: &'a Uri, name: &'a str) -> impl Iterator<Item = Cow<'a, str>> {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes())
        .filter(move |(key, _)| key == name)
        .map(|(_, value)| value)
}

/// The first value of the parameter called `name`.
#[must_use]
pub fn first<'a>(uri: &'a Uri, name: &'a str) -> Option<Cow<'a, str>> {
    values(uri, name).next()
}

/// Encodes pairs as a query.
#[must_use]
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(pairs)
        .finish()
}
